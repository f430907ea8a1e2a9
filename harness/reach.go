package harness

import (
	"context"
	"net/url"
	"time"
)

// reach connects. A server that listened before and does so no more may have ended and be started again, as the restart policy of a
// container has it: nothing was sent, so that to wait changes no request. It is waited for once, within limits.timeout.
func (t *Tester) reach(ctx context.Context, target *url.URL, r *Request) (*connection, *Failure) {
	const longest = time.Second
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, longest) {
		c, failure := t.dial(ctx, target, r)
		away := c == nil && failure != nil && failure.Kind == NotConnected
		if !away || r.held != nil || !t.listened(target.Host) {
			t.listens(target.Host, !away)
			return c, failure
		}
		select {
		case <-ctx.Done():
			t.listens(target.Host, false)
			return c, failure
		case <-time.After(wait):
		}
	}
}

func (t *Tester) listened(host string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open[host]
}

func (t *Tester) listens(host string, now bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open[host] = now
}
