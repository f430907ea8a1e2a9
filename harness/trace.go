package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// evidenceLimit is what is kept of a body as evidence, in bytes: enough for any OAuth answer.
const evidenceLimit = 64 << 10

// Trace is what one check said and heard. Every exchange goes through it, so that none is missing.
type Trace struct {
	*Tester
	ctx       context.Context
	check     string
	role      ExchangeRole
	started   time.Time
	exchanges []Exchange
	unheard   int   // requests that stayed without an answer but that the target wants rest
	parting   bool  // of what is sent when the run is over
	held      *held // of a request that is sent at the same moment as others

	minted map[string]tokenShown // the access tokens that popcheck made for this check
}

// Trace begins the record of one check; its id goes into every request's User-Agent.
func (t *Tester) Trace(ctx context.Context, check string) *Trace {
	return &Trace{Tester: t, ctx: ctx, check: check, role: ControlExchange, started: time.Now()}
}

// Context ends with the run.
func (tr *Trace) Context() context.Context { return tr.ctx }

// Attack records what do sends as the attack, on fresh connections that cannot be re-tried.
func (tr *Trace) Attack(do func()) {
	tr.role = AttackExchange
	defer func() { tr.role = ControlExchange }()
	do()
}

// Wait waits, for a while or until the run ends.
func (tr *Trace) Wait(d time.Duration) {
	select {
	case <-time.After(d):
	case <-tr.ctx.Done():
	}
}

// Do sends one request and records the exchange.
func (tr *Trace) Do(r Request) *Answer {
	pace := kept
	if tr.role == AttackExchange && !(r.browser && len(r.Changed) == 0) {
		pace = fresh
	}
	// The server's log names the check by it.
	userAgent := fmt.Sprintf("popcheck/%s (%s; run %s)", tr.Version, tr.check, tr.RunID)
	r.Header = append([]Field{{"User-Agent", userAgent}}, r.Header...)
	for _, name := range sortedKeys(tr.Target.Request.Headers) { // control and attack differ in nothing else
		r.Header = append(r.Header, Field{name, tr.Target.Request.Headers[name]})
	}
	r.held, r.parting = tr.held, tr.parting
	step, honest := r.Step, tr.role == ControlExchange
	answer := tr.send(&r, pace)
	if honest && answer.Failure != nil && answer.Failure.Kind == Dropped && answer.TLS != nil && !answer.TLS.FreshConnection {
		// The server closed a kept connection at the moment of use: an honest call may be sent once more.
		r.Step = step + " (again: the kept connection had ended)"
		answer = tr.send(&r, fresh)
	}
	if honest && r.Method == http.MethodGet && answer.Failure != nil && answer.Failure.Kind == TimedOut {
		// A server that has just started takes longer for its first page; to ask for one twice does no harm.
		r.Step = step + " (again: no answer came in time)"
		answer = tr.send(&r, fresh)
	}
	if r.held != nil { // a race may be too much for a target that takes each of its requests
		return answer
	}
	for tries := 1; ; tries++ {
		wanted, asked := asksForRest(answer, tr.Clock.Now())
		gone := honest && tries < gatewayTries && behindGateway(answer)
		if !asked && !gone {
			tr.pacer.answered()
			return answer
		}
		if err := tr.pacer.rest(tr.Clock.Now(), wanted, honest && asked); err != nil {
			tr.Stop(err.Error())
		}
		// Nothing was decided. An honest call may come again; an attack would be another attack then.
		if !honest || tries == honestTries || tr.Stopped() != "" {
			tr.unheard++
			return answer
		}
		r.Step = step + " (again: the target had asked for rest)"
		if gone {
			r.Step = step + " (again: the gateway had not reached the target)"
		}
		answer = tr.send(&r, pace)
	}
}

// send sends a request and records the exchange.
func (tr *Trace) send(r *Request, p pacing) *Answer {
	begun := time.Now()
	answer, c := tr.exchange(tr.ctx, r, p)
	if c != nil {
		facts := c.facts
		answer.TLS = &facts
	}
	tr.registerInvented(answer)
	tr.record(r, answer, begun)
	return answer
}

// Unheard is the number of requests so far that the target did not decide about, because it wanted rest.
func (tr *Trace) Unheard() int { return tr.unheard }

func (tr *Trace) record(r *Request, a *Answer, begun time.Time) {
	x := Exchange{
		Role: tr.role, Step: r.Step, TLS: a.TLS,
		Request:  ExchangeRequest{Method: r.Method, URL: r.URL, Headers: slices.Clone(r.Header), Body: r.Body, Decoded: r.Decoded, Changed: r.Changed},
		Response: ExchangeResponse{Status: a.Status},
		OffsetMS: begun.Sub(tr.started).Milliseconds(), TookMS: time.Since(begun).Milliseconds(),
	}
	if a.Failure != nil {
		x.Response.Error = a.Failure.Error()
	}
	names := make([]string, 0, len(a.Header))
	for name := range a.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range a.Header[name] {
			x.Response.Headers = append(x.Response.Headers, Field{name, value})
		}
	}
	body := a.Body
	if r.aside {
		body, x.Response.Truncated = nil, len(a.Body) > 0
	}
	x.Response.Decoded = decodeTokens(body)
	if len(body) > evidenceLimit {
		body, x.Response.Truncated = body[:evidenceLimit], true
	}
	x.Response.Body = string(body)
	tr.exchanges = append(tr.exchanges, x)
}

// Recorded is the number of exchanges so far.
func (tr *Trace) Recorded() int { return len(tr.exchanges) }

// Since are the exchanges from a number on.
func (tr *Trace) Since(n int) []Exchange { return slices.Clone(tr.exchanges[n:]) }

// Adopt adds what another record has, of the same check.
func (tr *Trace) Adopt(other *Trace) { tr.exchanges = append(tr.exchanges, other.exchanges...) }

// Share adds honest exchanges to the record that were made for another check.
func (tr *Trace) Share(exchanges []Exchange) {
	for _, x := range exchanges {
		x.Shared, x.OffsetMS = true, 0
		tr.exchanges = append(tr.exchanges, x)
	}
}

// Exchanges returns the record, redacted by value with every secret that is known by now.
func (tr *Trace) Exchanges() []Exchange {
	hide := tr.Redactor.Text
	fields := func(in []Field) []Field {
		out := make([]Field, len(in))
		for i, f := range in {
			out[i] = Field{hide(f.Name), hide(f.Value)}
		}
		return out
	}
	members := func(in []Member) []Member {
		out := make([]Member, len(in))
		for i, m := range in {
			out[i] = Member{hide(m.Name), hide(m.Value), m.Change, hide(m.Was)}
		}
		return out
	}
	decoded := func(in []Decoded) []Decoded {
		var out []Decoded
		for _, d := range in {
			out = append(out, Decoded{d.Name, members(d.Header), members(d.Claims)})
		}
		return out
	}
	markDifferences(tr.exchanges)
	out := make([]Exchange, len(tr.exchanges))
	for i, x := range tr.exchanges {
		x.Step = hide(x.Step)
		q, s := &x.Request, &x.Response
		q.URL, q.Headers, q.Body, q.Decoded = hide(q.URL), fields(q.Headers), hide(q.Body), decoded(q.Decoded)
		s.Headers, s.Body, s.Decoded, s.Error = fields(s.Headers), hide(s.Body), decoded(s.Decoded), hide(s.Error)
		out[i] = x
	}
	return out
}

// inventedParameters are the places where a server puts secrets of its own making.
func inventedParameters() []string {
	return []string{"access_token", "refresh_token", "id_token", "code", "request_uri", "client_secret",
		"registration_access_token", "device_code", "software_statement"}
}

// invented tells a secret from a word: {"code": "not_found"} in an error body is no authorization code.
func invented(name, value string) bool {
	return name != "code" && name != "request_uri" || len(value) >= 8 && strings.ContainsAny(value, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
}

// registerInvented makes the secrets known that an answer brings: tokens, codes, cookies.
func (tr *Trace) registerInvented(a *Answer) {
	for _, line := range a.Header["Set-Cookie"] {
		if cookie, err := http.ParseSetCookie(line); err == nil && len(cookie.Value) >= 6 {
			tr.Redactor.Register("cookie", cookie.Value)
		}
	}
	if location := a.Header.Get("Location"); location != "" {
		tr.registerURL(location)
	}
	if body := strings.TrimSpace(string(a.Body)); strings.HasPrefix(body, "{") {
		var v any
		if json.Unmarshal([]byte(body), &v) == nil {
			tr.registerMembers(v)
		}
	}
}

func (tr *Trace) registerURL(raw string) {
	u, err := url.Parse(raw)
	if err != nil {
		return
	}
	fragment, _ := url.ParseQuery(u.EscapedFragment())
	for _, values := range []url.Values{u.Query(), fragment} {
		for _, name := range inventedParameters() {
			for _, v := range values[name] {
				if invented(name, v) {
					tr.Redactor.Register(name, v)
				}
			}
		}
	}
}

func (tr *Trace) registerMembers(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range inventedParameters() {
			if s, ok := v[name].(string); ok && invented(name, s) {
				tr.Redactor.Register(name, s)
			}
		}
		for _, inner := range v {
			tr.registerMembers(inner)
		}
	case []any:
		for _, inner := range v {
			tr.registerMembers(inner)
		}
	}
}

// decodeTokens shows the JWTs of a token response by member.
func decodeTokens(body []byte) []Decoded {
	var response map[string]any
	if json.Unmarshal(body, &response) != nil {
		return nil
	}
	var out []Decoded
	for _, name := range []string{"access_token", "id_token", "refresh_token"} {
		if s, ok := response[name].(string); ok {
			if header, claims, err := DecodeJWT(s); err == nil {
				out = append(out, Decoded{Name: name, Header: header, Claims: claims})
			}
		}
	}
	return out
}
