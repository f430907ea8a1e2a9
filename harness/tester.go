package harness

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// restLimit is the number of consecutive 429 and 5xx answers after which popcheck stops sending: an
// attack may cause one, and the honest call after it ends the row; ten in a row are a target in trouble.
const restLimit = 10

// Waits is told of a wait, and what it is for.
type Waits func(d time.Duration, why string)

// Tester is one run against one target: what is shared by all its checks.
type Tester struct {
	Target   *Target
	Redactor *Redactor
	Version  string
	RunID    string
	Metadata *Metadata
	Learned  *Learned
	Clock    Clock // of everything that waits
	Slow     bool  // whether checks may wait for minutes
	Waits    Waits // told before each wait; may be nil
	Aged     *Aged // nil in a run that does not wait

	FailedLogins string // the file for the pages of failed logins, numbered from the second on; "" keeps none
	Person       Person // who logs in by hand; the zero value is nobody

	serverHeader string // of the metadata's answer

	roots    *x509.CertPool
	pacer    *pacer
	sessions *sessions
	consents *consents
	nonces   nonces
	keys     *keyRing
	ledger   ledger

	mu      sync.Mutex
	idle    map[string][]*connection
	open    map[string]bool // by host: whether somebody listened there when last asked
	trouble int             // consecutive 429 and 5xx answers
	stopped string          // why nothing more is sent; "" while sending
	sent    int

	pagesKept int
	chromium  chromium
	ended     context.Context // ends when sending does
	end       context.CancelFunc
}

// Worker is one of several processes that share a run (design §8).
type Worker struct {
	Index, Of int    // from 0
	RunID     string // of the run; "" for a new one
	Key       []byte // of the names of secrets; nil for a new one
	IssuerKey []byte // of the token issuer, a JWK; nil for that of the target file, or a new one
}

// bornApart parts the numbers of the secrets that two workers come to know: access_token#1 and access_token#100001 are two tokens.
const bornApart = 100_000

// NewTester prepares a run. It sends nothing. Every secret of the target file is known to the redactor from here on.
func NewTester(target *Target, version string) (*Tester, error) {
	return NewWorker(target, version, Worker{Of: 1})
}

// NewWorker is NewTester for a process that shares the run, and its limits, with others.
func NewWorker(target *Target, version string, w Worker) (*Tester, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if len(target.TLS.CA) > 0 && !roots.AppendCertsFromPEM(target.TLS.CA) {
		return nil, fmt.Errorf("%s: tls.ca: holds no certificate", target.Path)
	}
	if w.RunID == "" {
		w.RunID = NewRunID()
	}
	own := *target // what is registered and removed is of this run only
	own.Clients = slices.Clone(target.Clients)
	for i := range own.Clients {
		own.Clients[i].Name = own.Clients[i].called()
	}
	target = &own
	redactor := NewRedactor()
	if w.Key != nil {
		redactor = newRedactor(w.Key)
	}
	t := &Tester{
		Target: target, Redactor: redactor, Version: version, RunID: w.RunID,
		Clock: WallClock{}, roots: roots, pacer: newPacer(target.Limits.RequestsPerSecond / float64(w.Of)), idle: map[string][]*connection{}, open: map[string]bool{}, nonces: newNonces(),
	}
	t.ended, t.end = context.WithCancel(context.Background())
	for _, s := range target.Secrets() {
		t.Redactor.Register(s.Kind, s.Value)
	}
	if t.keys, err = newKeyRing(target, t.Redactor); err != nil {
		return nil, err
	}
	if err = t.keys.ownHolders(target, w.IssuerKey); err != nil {
		return nil, err
	}
	t.sessions, t.consents = newSessions(target), newConsents()
	t.sessions.allowed = max(1, t.sessions.allowed/w.Of)
	t.Redactor.from = w.Index * bornApart
	return t, nil
}

// NewRunID is what the User-Agent of every request of a run says.
func NewRunID() string {
	id := make([]byte, 4)
	rand.Read(id)
	return hex.EncodeToString(id)
}

// Close ends the kept connections, and the browser.
func (t *Tester) Close() {
	t.sessions.close()
	t.chromium.close()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, conns := range t.idle {
		for _, c := range conns {
			c.Close()
		}
	}
	t.idle = map[string][]*connection{}
}

// Stop ends all sending; why is shown in every result that is not reached.
func (t *Tester) Stop(why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopLocked(why)
}

func (t *Tester) stopLocked(why string) {
	if t.stopped == "" {
		t.stopped = why
		t.end()
	}
}

// Stopped says why nothing more is sent, or "".
func (t *Tester) Stopped() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stopped
}

// Sent is the number of requests that went out.
func (t *Tester) Sent() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sent
}

// pacing tells a kept connection, for honest calls, from a fresh one that cannot be re-tried, for attacks.
type pacing int

const (
	kept pacing = iota
	fresh
)

// exchange sends one request. A kept connection that turns out dead before anything of an answer came is
// replaced once, and only for honest calls: an attack that is sent twice is another attack.
func (t *Tester) exchange(ctx context.Context, r *Request, p pacing) (*Answer, *connection) {
	target, failure := t.permit(r.URL)
	if r.parting && failure != nil && failure.Kind == Stopped {
		failure = nil
	} else if failure == nil && r.held == nil && !r.parting { // those that go out together were paced together
		failure = t.pace(ctx)
	}
	if failure != nil {
		return &Answer{Failure: failure, URL: target}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, t.Target.Limits.Timeout)
	defer cancel()
	key := target.Scheme + "://" + target.Host
	if r.As != nil {
		key += " " + r.As.Name + " " + r.As.Thumbprint()
	}
	if r.Session != nil || r.Over != nil || r.MaxTLS != 0 || r.outside {
		p = fresh // a kept connection has made its handshake, from where it was
	}
	c := r.Over.take()
	if c == nil {
		c = t.takeIdle(key, p)
	}
	if c == nil {
		if c, failure = t.reach(ctx, target, r); failure != nil {
			return &Answer{Failure: failure, URL: target}, c
		}
	}
	release := context.AfterFunc(ctx, func() { c.Close() })
	answer, reusable := c.roundTrip(r, target, t.Target.Limits)
	if !release() && answer.Failure != nil {
		answer.Failure = &Failure{TimedOut, "no whole answer within limits.timeout"}
		if errors.Is(ctx.Err(), context.Canceled) {
			answer.Failure = &Failure{Stopped, "interrupted"}
		}
	}
	if r.held == nil { // a race that makes the target stumble is no target in trouble; the next honest call shows which it is
		t.note(answer)
	}
	switch {
	case reusable && r.Over != nil:
		r.Over.open = c
	case reusable && p == kept:
		t.mu.Lock()
		t.idle[key] = append(t.idle[key], c)
		t.mu.Unlock()
	default:
		c.Close()
	}
	return answer, c
}

// permit lets a request out only to a host that the target file names (whatever metadata or redirects say), while
// the run is not stopped.
func (t *Tester) permit(raw string) (*url.URL, *Failure) {
	target, err := url.Parse(raw)
	if err != nil || target.Host == "" || (target.Scheme != "https" && target.Scheme != "http") {
		return &url.URL{}, &Failure{NotNamed, fmt.Sprintf("%q is not an http(s) URL", raw)}
	}
	if !t.Target.HostAllowed(target.Host) {
		return target, &Failure{NotNamed, fmt.Sprintf("the target file does not name %s; if it is yours to test, add it to hosts", target.Host)}
	}
	if target.Scheme == "http" && !t.Target.loopback(target.Hostname()) {
		return target, &Failure{NotNamed, fmt.Sprintf("%s is not https; popcheck sends no secrets in the clear", target.Host)}
	}
	if why := t.Stopped(); why != "" {
		return target, &Failure{Stopped, why}
	}
	t.mu.Lock()
	t.sent++
	t.mu.Unlock()
	return target, nil
}

func (t *Tester) takeIdle(key string, p pacing) *connection {
	if p == fresh {
		return nil
	}
	for {
		t.mu.Lock()
		conns := t.idle[key]
		if len(conns) == 0 {
			t.mu.Unlock()
			return nil
		}
		c := conns[len(conns)-1]
		t.idle[key] = conns[:len(conns)-1]
		t.mu.Unlock()
		if c.alive() {
			c.facts.FreshConnection = false
			return c
		}
		c.Close()
	}
}

// note watches for a target that asks for rest (429) or breaks (5xx) again and again.
func (t *Tester) note(a *Answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.OK() && a.Status != http.StatusTooManyRequests && a.Status < 500 {
		t.trouble = 0
		return
	}
	what := fmt.Sprintf("were 429 or 5xx (the last one %d)", a.Status)
	if f := a.Failure; f != nil {
		if f.Kind != NotConnected && f.Kind != TimedOut && f.Kind != Dropped {
			return
		}
		what = "did not come: the target stopped answering (" + f.Error() + ")"
	}
	if t.trouble++; t.trouble >= restLimit {
		t.stopLocked(fmt.Sprintf("%d answers in a row %s; popcheck stopped sending", restLimit, what))
	}
}

// nonces are the DPoP nonces by server; those of AS and RS are separate (RFC 9449 §8, §9). Each answer's nonce replaces the last.
type nonces struct {
	mu     sync.Mutex
	latest map[string]string
	places map[string]bool // addresses that gave one
	odd    map[string]bool // servers that ask for a nonce in other words than use_dpop_nonce
}

func newNonces() nonces {
	return nonces{latest: map[string]string{}, places: map[string]bool{}, odd: map[string]bool{}}
}

func (n *nonces) get(server string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.latest[server]
}

func (n *nonces) all() map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.latest)
}

// gave reports whether a nonce came from an address.
func (n *nonces) gave(place string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.places[place]
}

// keep takes the nonce of an answer: it is good at the whole server of the address (RFC 9449 §8.2).
func (n *nonces) keep(address string, answer *Answer) {
	if !answer.OK() || answer.Header.Get("DPoP-Nonce") == "" {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.latest[originOf(address)], n.places[placeOf(address)] = answer.Header.Get("DPoP-Nonce"), true
}

// helped notes that an honest proof was accepted once it carried the nonce that came with its refusal.
func (n *nonces) helped(server string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.odd[server] = true
}

// means reports whether any refusal of a server that brings a nonce may be about the nonce.
func (n *nonces) means(server string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.odd[server]
}
