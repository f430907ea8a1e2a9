package mtls

import (
	"net/url"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// start begins a TLS session as the attacker. What it is answered does not matter, as long as a ticket comes.
type start struct {
	with string // what the attacker showed there, for the reader
	send func(c *expect.Case, session *harness.TLSSession)
}

// resumptions begin a TLS session without the victim's certificate and go on with it in the victim's name: what counts is the
// certificate of the session, and there is none or another one.
func resumptions(s *expect.Suite) {
	k := attacks.CertificateBindings()
	run := func(check attacks.Check, where site, starts func(c *expect.Case) []start) {
		s.It(check, where.at, func(c *expect.Case) {
			honest := where.proven(c)
			c.Assume(honest()).To(expect.BeAccepted(), "the right certificate")
			answer, resumed := where.resumed(c, starts(c))
			c.Assume(honest()).To(expect.BeAccepted(), "the right certificate, again")
			if !resumed {
				c.NotApplicable("observed: the server resumed none of the TLS sessions that were begun elsewhere or with another certificate")
			}
			where.refuses(c, answer, check.Refusal)
		})
	}
	clients, why := sitesAt(s, attacks.AtToken, nil)
	for _, where := range clients {
		run(k.Resumed, where, where.starts)
		run(k.ResumedElsewhere, where, where.startsElsewhere)
	}
	if len(clients) == 0 {
		s.Skip(k.Resumed, expect.Place{Endpoint: "token"}, why)
		s.Skip(k.ResumedElsewhere, expect.Place{Endpoint: "token"}, why)
	}
	for _, kind := range authenticated() {
		elsewhere, _ := sitesAt(s, kind, nil)
		if kind != attacks.AtToken && len(elsewhere) > 0 { // the session is looked at before the client's method matters
			run(k.Resumed, elsewhere[0], elsewhere[0].starts)
		}
	}
	opening, why := sitesAt(s, attacks.AtResource, nil)
	for _, where := range opening {
		run(k.BoundResumed, where, where.starts)
		resourceResumed(s, k.ResourceResumed, where)
	}
	if len(opening) == 0 {
		s.Skip(k.BoundResumed, expect.Place{Endpoint: "resource", Role: harness.ResourceServer}, why)
		s.Skip(k.ResourceResumed, expect.Place{Endpoint: "resource", Role: harness.ResourceServer}, why)
	}
}

// resumed tries each start, and reports whether any session was resumed.
func (where site) resumed(c *expect.Case, starts []start) (outcome harness.Outcome, any bool) {
	for _, from := range starts {
		session := &harness.TLSSession{}
		if from.send(c, session); !session.Begun() {
			continue
		}
		answer := where.attempt(c, func(m *harness.Message, _ harness.Facts) { m.Who.Cert, m.Session = nil, session })
		if !session.Resumed {
			continue
		}
		any, outcome = true, answer
		switch {
		case answer.State == harness.Unknown:
			return answer, true
		case answer.State == harness.Granted:
			if where.attempt(c, func(m *harness.Message, _ harness.Facts) { m.Who.Cert = nil }).State == harness.Granted {
				c.Unlearned("the server serves a fresh connection without a certificate too, so it cannot be seen what the session did: %s", answer)
			}
			outcome.Got += "; the TLS session was begun " + from.with
			return outcome, true
		}
	}
	return outcome, any
}

// shown begins a session at the site itself.
func (where site) shown(with string, cert *harness.Certificate, address string) start {
	return start{with, func(c *expect.Case, session *harness.TLSSession) {
		where.attempt(c, func(m *harness.Message, _ harness.Facts) {
			m.Who.Cert, m.Session = cert, session
			if address != "" {
				m.URL = address
			}
		})
	}}
}

// namesake is what anyone can make: a certificate with the victim's names.
func (where site) namesake(c *expect.Case) *harness.Certificate {
	return made(c, nil, harness.Issue{Name: "a self-signed certificate with the same names and serial number", Like: where.who.Cert.Leaf, Serial: where.who.Cert.Leaf.SerialNumber})
}

func (where site) starts(c *expect.Case) []start {
	return []start{where.shown("without a certificate", nil, ""), where.shown("with the attacker's certificate", certificateOfAttacker(c, where).Certificate, ""),
		where.shown("with a self-signed certificate that has the same names", where.namesake(c), "")}
}

// startsElsewhere are the other addresses of the server: the endpoint that asks for no certificate, and the resources, which need
// not validate one (RFC 8705 §6.2).
func (where site) startsElsewhere(c *expect.Case) []start {
	var out []start
	if where.plain != "" {
		out = append(out, where.shown("at "+where.plain+" without a certificate", nil, where.plain))
	}
	for _, r := range c.ResourcesFor(where.who.Client, where.grant) {
		if oneAddress(r.URL, c.Metadata.Endpoint("token_endpoint", where.who.Cert)) {
			continue
		}
		out = append(out, atResource(r, "without a certificate", nil), atResource(r, "with a self-signed certificate that has the same names", where.namesake(c)))
	}
	return out
}

func oneAddress(a, b string) bool {
	u, err := url.Parse(a)
	v, errOther := url.Parse(b)
	return err == nil && errOther == nil && u.Host == v.Host
}

func atResource(r *harness.Resource, with string, cert *harness.Certificate) start {
	return start{"at " + r.Name + " " + with, func(c *expect.Case, session *harness.TLSSession) {
		c.Attack(func() {
			c.Call(harness.ResourceCall{Token: c.UnknownToken(), Resource: r, Change: func(m *harness.Message, _ harness.Facts) {
				m.Who.Cert, m.Session = cert, session
			}})
		})
	}}
}

// resourceResumed lets the honest client come back on the session that it began (RFC 8446 §2.2).
func resourceResumed(s *expect.Suite, check attacks.Check, where site) {
	s.It(check, where.at, func(c *expect.Case) {
		honest := where.proven(c)
		c.Assume(honest()).To(expect.BeAccepted(), "the right certificate")
		session := &harness.TLSSession{}
		call := func() harness.Outcome {
			return c.Call(harness.ResourceCall{Who: where.who, Token: c.Kept(where.who, where.grant), Resource: where.resource,
				Change: func(m *harness.Message, _ harness.Facts) { m.Session = session }})
		}
		c.Assume(call()).To(expect.BeAccepted(), "the right certificate, on a new TLS session")
		again := call()
		if !session.Resumed {
			c.NotApplicable("observed: the server did not resume the TLS session")
		}
		c.Expect(again).To(expect.BeAccepted())
		c.Passes("it opened on the resumed session")
	})
}
