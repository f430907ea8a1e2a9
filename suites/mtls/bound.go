package mtls

import (
	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// moreTokens looks at tokens that are bound twice or not at all, and at two tokens on one connection.
func moreTokens(s *expect.Suite, sites []site, none func(attacks.Check, string)) {
	k := attacks.CertificateBindings()
	if len(sites) == 0 {
		for _, check := range []attacks.Check{k.OneConnection, k.BothOtherCertificate, k.BothOtherKey, k.BothNoCertificate, k.BothNoProof, k.Unbound} {
			none(check, "no resource takes certificate-bound tokens")
		}
		return
	}
	where := sites[0]
	s.It(k.OneConnection, where.at, func(c *expect.Case) { oneConnection(c, s, where) })
	boundTwice(s, where)
	unboundToken(s, k.Unbound, where)
}

// oneConnection sends a token of the connection's own certificate first, and the stolen one after it.
func oneConnection(c *expect.Case, s *expect.Suite, where site) {
	r := where.resource
	thief := s.Pick(func(t harness.Trial) bool { return bound(t) && t.Client != where.who.Client && t.Opened(r) })
	if thief == nil {
		c.NotApplicable("no second client opens %s with a certificate", r.Name)
	}
	theirs := s.Honest(thief.Client, harness.CertificateBound)
	own := c.Kept(theirs, thief.Grant)
	over := &harness.Connection{}
	defer over.Close()
	call := func(token string) harness.Outcome {
		return c.Call(harness.ResourceCall{Who: theirs, Token: token, Resource: r, Change: func(m *harness.Message, _ harness.Facts) { m.Over = over }})
	}
	answer := between(c, where, func() (answer harness.Outcome) {
		stolen := c.Kept(where.who, where.grant)
		c.Assume(call(own)).To(expect.BeAccepted(), "client "+thief.Client.Name+" with its own token and certificate")
		c.Attack(func() { answer = call(stolen) })
		return answer
	})
	if !over.Reused {
		c.NotApplicable("observed: the server ends the connection after each answer")
	}
	c.Refuses(answer, c.Check.Refusal)
}

// boundTwice takes a token that is bound to a key and to a certificate, and exchanges one of them.
func boundTwice(s *expect.Suite, where site) {
	k := attacks.CertificateBindings()
	honest := where.who
	honest.Key = s.ProofKey(honest.Client.Name)
	attack := func(check attacks.Check, thief func(c *expect.Case) harness.Identity) {
		s.It(check, where.at, func(c *expect.Case) {
			c.Assume(where.proven(c)()).To(expect.BeAccepted(), "the right certificate")
			o := c.Prepared(where.who, where.grant)(harness.TokenRequest{Who: honest})
			if o.State == harness.Refused {
				c.NotApplicable("observed: the server takes no proof of this client (%s)", o)
			}
			c.Assume(o).To(expect.BeAccepted(), "a certificate and a proof")
			call := func(who harness.Identity) harness.Outcome {
				return c.Call(harness.ResourceCall{Who: who, Token: o.Token.AccessToken, Resource: where.resource})
			}
			if s.TakesBinding(where.resource, harness.DPoPBound) == harness.No {
				c.NotApplicable("observed: the resource takes no DPoP-bound tokens")
			}
			if !isBoundTwice(c, o.Token) {
				c.NotApplicable("observed: nothing shows that the token is bound to both the certificate and the key")
			}
			wrong := thief(c)
			answer := c.Between(func() harness.Outcome { return call(honest) }, func() harness.Outcome { return call(wrong) }, "the right certificate and the right proof")
			c.Refuses(answer, check.Refusal)
		})
	}
	attack(k.BothOtherCertificate, func(c *expect.Case) harness.Identity {
		thief := honest
		thief.Cert = strangers(c, honest)
		return thief
	})
	attack(k.BothOtherKey, func(c *expect.Case) harness.Identity {
		thief := honest
		thief.Key = c.ProofKey("attacker")
		return thief
	})
	attack(k.BothNoCertificate, func(*expect.Case) harness.Identity { return harness.Identity{Client: honest.Client, Key: honest.Key} })
	attack(k.BothNoProof, func(*expect.Case) harness.Identity { return harness.Identity{Client: honest.Client, Cert: honest.Cert} })
}

func isBoundTwice(c *expect.Case, token *harness.Token) bool {
	members, jwt := token.Claims()
	if !jwt && c.CanIntrospect() {
		members, _ = c.Introspect(token.AccessToken)
	}
	cnf, _ := members["cnf"].(map[string]any)
	_, toKey := cnf["jkt"].(string)
	_, toCertificate := cnf["x5t#S256"].(string)
	return toKey && toCertificate
}

// unboundToken presents an unbound token on a connection with a certificate: what then happens is a matter of policy.
func unboundToken(s *expect.Suite, check attacks.Check, where site) {
	r := where.resource
	t := s.Pick(func(t harness.Trial) bool { return t.Binding == harness.Unbound && (t.Opened(r) || len(t.Opens) == 0) })
	if t == nil {
		s.Skip(check, where.at, "no client gets an unbound token for "+where.resource.Name)
		return
	}
	who := s.Honest(t.Client, harness.Unbound)
	who.Cert = where.who.Cert
	s.It(check, where.at, func(c *expect.Case) {
		answer := between(c, where, func() (answer harness.Outcome) {
			token := c.Kept(s.Honest(t.Client, harness.Unbound), t.Grant)
			c.Attack(func() { answer = c.Call(harness.ResourceCall{Who: who, Token: token, Resource: r}) })
			return answer
		})
		decided(c, answer)
	})
}
