package harness

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// What is waited for when a target asks for rest: where it does not say how long, each time in a row twice as long, to a length that
// sees ten such answers through a limiter's minute. A rest that it names and that is longer, or a sum that is, ends the run, which says so.
const (
	firstRest   = time.Second
	unnamedRest = 10 * time.Second
	longestRest = 2 * time.Minute
	restBudget  = 30 * time.Minute
	// honestTries is how often an honest call is sent that the target did not want to hear now.
	honestTries = 6
	// gatewayTries is the same for one that a gateway could not bring to the target: seven seconds are enough to start a server anew.
	gatewayTries = 4
	// Each time popcheck goes on at this part of its speed, down to slowestRate in requests per second.
	slower      = 0.75
	slowestRate = 0.5
)

// pacer keeps to limits.requests_per_second, and to less where the target does not take as many: a limiter in front of it would
// answer the attacks instead of it.
type pacer struct {
	mu      sync.Mutex
	limiter *rate.Limiter
	until   time.Time     // nothing is sent before
	recent  []time.Time   // when the requests of the last second were sent
	inRow   int           // answers in a row that asked for rest
	asked   int           // answers that asked for rest
	waited  time.Duration // for them
}

func newPacer(perSecond float64) *pacer {
	p := &pacer{limiter: rate.NewLimiter(rate.Inf, 1)}
	if perSecond > 0 {
		p.limiter = rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond/4)))
	}
	return p
}

// next reserves the place of a request and says how long it has to wait for it.
func (p *pacer) next(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := now
	if p.until.After(at) {
		at = p.until
	}
	wait := at.Sub(now) + p.limiter.ReserveN(at, 1).DelayFrom(at)
	p.recent = append(p.recent, now.Add(wait))
	for len(p.recent) > 0 && now.Add(wait).Sub(p.recent[0]) > time.Second {
		p.recent = p.recent[1:]
	}
	return wait
}

// answered notes an answer that does not ask for rest.
func (p *pacer) answered() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inRow = 0
}

// rest notes that the target asked for one, for a time that it named or did not (0). Where it was an honest call that it did not
// take, popcheck was too fast: it is slower from then on. What an attack is answered may be about the attack.
// The error says that this is more than popcheck waits.
func (p *pacer) rest(now time.Time, wanted time.Duration, honest bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if wanted == 0 {
		wanted = min(firstRest<<min(p.inRow, 20), unnamedRest)
	}
	p.inRow++
	p.asked++
	if wanted > longestRest {
		return fmt.Errorf("the target asked for a rest of %s (Retry-After); popcheck waits %s at most", wanted, longestRest)
	}
	if until := now.Add(wanted); until.After(p.until) {
		p.waited += until.Sub(laterOf(p.until, now))
		p.until = until
	}
	if p.waited > restBudget {
		return fmt.Errorf("the target asked for rest %d times, together for %s", p.asked, p.waited)
	}
	if honest {
		perSecond := max(slowestRate, min(float64(p.limiter.Limit()), float64(len(p.recent)))*slower)
		p.limiter.SetLimitAt(p.until, rate.Limit(perSecond))
		p.limiter.SetBurstAt(p.until, 1)
	}
	return nil
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// perSecond is how many requests may be sent in a second; 0: as many as there are.
func (p *pacer) perSecond() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.limiter.Limit() == rate.Inf {
		return 0
	}
	return float64(p.limiter.Limit())
}

// asksForRest reports whether nothing was decided because the target, or what stands before it, is too busy, and for how long it wants
// to be left alone; 0 where it does not say (RFC 6585 §4, RFC 9110 §10.2.3, §15.6.4).
func asksForRest(a *Answer, now time.Time) (wanted time.Duration, asked bool) {
	if !a.OK() || a.Status != http.StatusTooManyRequests && a.Status != http.StatusServiceUnavailable {
		return 0, false
	}
	after := strings.TrimSpace(a.Header.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(after, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(after); err == nil {
		// By the target's clock, where it tells it.
		if date, err := http.ParseTime(a.Header.Get("Date")); err == nil {
			now = date
		}
		return max(0, at.Sub(now)), true
	}
	return 0, true
}

// behindGateway reports whether a gateway answered because it had no answer of the target (RFC 9110 §15.6.3, §15.6.5).
func behindGateway(a *Answer) bool {
	return a.OK() && (a.Status == http.StatusBadGateway || a.Status == http.StatusGatewayTimeout)
}

// pace waits until the next request may be sent.
func (t *Tester) pace(ctx context.Context) *Failure {
	if wait := t.pacer.next(t.Clock.Now()); wait > 0 {
		if wait >= firstRest && t.Waits != nil {
			t.Waits(wait, "because the target asked for rest, or for fewer requests")
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(t.ended, cancel)()
		t.Clock.Sleep(ctx, wait)
	}
	if ctx.Err() != nil || t.Stopped() != "" {
		return &Failure{Stopped, valueOr(t.Stopped(), "interrupted")}
	}
	return nil
}

// Rests is how the target slowed popcheck down so far; nil where it did not.
func (t *Tester) Rests() *RunRests {
	perSecond := t.pacer.perSecond()
	t.pacer.mu.Lock()
	defer t.pacer.mu.Unlock()
	if t.pacer.asked == 0 {
		return nil
	}
	return &RunRests{Asked: t.pacer.asked, WaitedMS: t.pacer.waited.Milliseconds(), PerSecond: perSecond}
}
