package dpop

import (
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// resources runs the rows that attack a resource outside the proof.
func resources(s *expect.Suite) {
	var found []site
	for _, where := range sites(s) {
		if where.place == attacks.AtResource {
			found = append(found, where)
		}
	}
	for _, a := range attacks.ResourceRequests() {
		if len(found) == 0 {
			s.Skip(a.Check, expect.Place{Endpoint: "resource", Role: harness.ResourceServer}, "no resource of the target file takes DPoP-bound tokens of its clients")
		}
		for _, where := range found {
			if a.Reach == attacks.OnePlace && !representative(found, where) {
				continue
			}
			r := resourceOf(s, where)
			s.It(a.Check, where.at, func(c *expect.Case) { resource(c, s, a, where, r) })
		}
	}
}

func resourceOf(s *expect.Suite, where site) *harness.Resource {
	for _, r := range s.ResourcesFor(where.who.Client, where.at.Grant) {
		if r.Name == where.at.Endpoint {
			return r
		}
	}
	return nil
}

func resource(c *expect.Case, s *expect.Suite, a attacks.ResourceAttack, where site, r *harness.Resource) {
	if a.ID == attacks.PlainResource {
		opensAtAll(c, s, where, r)
		return
	}
	honest := where.proven(c)
	c.Assume(honest()).To(expect.BeAccepted(), "the honest request")
	call := material(c, s, a, where, r)
	var answer harness.Outcome
	send := c.Attempt
	if a.Mode == attacks.Accept {
		send = c.Call
	}
	c.Attack(func() { answer = send(call) })
	c.Assume(honest()).To(expect.BeAccepted(), "the honest request, again")
	if a.Mode == attacks.Accept {
		c.Expect(answer).To(expect.BeAccepted())
		c.Passes("it opened")
		return
	}
	c.Refuses(answer, a.Refusal)
}

// opensAtAll is the positive control of all others here, as a check of its own: a resource that other tokens open, and that asks
// for DPoP, must open for a bound token with its proof.
func opensAtAll(c *expect.Case, s *expect.Suite, where site, r *harness.Resource) {
	c.Assume(c.Obtain(where.who, where.at.Grant)).To(expect.BeAccepted(), "an honest token")
	answer := where.honest(c)
	if answer.State == harness.Refused && s.TakesBinding(r, harness.Unbound) != harness.Yes && s.TakesBinding(r, harness.CertificateBound) != harness.Yes {
		c.Unlearned("no token of any client opened %s: %s", r.Name, answer)
	}
	c.Expect(answer).To(expect.BeAccepted())
	c.Passes("it opened")
}

// oddTries bounds the tokens that are asked for: one in four has a hash that both alphabets spell alike.
const oddTries = 10

// material is the request of an attack, with the token that it presents; a token that is not the case's own is first shown to work.
func material(c *expect.Case, s *expect.Suite, a attacks.ResourceAttack, where site, r *harness.Resource) harness.ResourceCall {
	call := harness.ResourceCall{Who: where.who, Token: c.Kept(where.who, where.at.Grant), Resource: r, Scheme: a.Scheme, Change: a.Change}
	if call.Scheme == "" {
		call.Scheme = "DPoP"
	}
	if a.NoProof == attacks.Proof {
		call.Who.Key = nil
	}
	switch a.Token {
	case attacks.PlainToken:
		plain := s.Pick(func(t harness.Trial) bool {
			return t.Binding == harness.Unbound && t.Opened(r)
		})
		if plain == nil {
			c.NotApplicable("observed: no client gets an unbound token for %s", r.Name)
		}
		token := c.Obtain(s.Honest(plain.Client, harness.Unbound), plain.Grant)
		c.Assume(token).To(expect.BeAccepted(), "an unbound token")
		c.Assume(c.Call(harness.ResourceCall{Who: s.Honest(plain.Client, harness.Unbound), Token: token.Token.AccessToken, Resource: r})).To(expect.BeAccepted(), "the unbound token as a bearer token")
		call.Token = token.Token.AccessToken
	case attacks.CertificateToken:
		bound := s.Pick(func(t harness.Trial) bool { return t.Binding == harness.CertificateBound && t.Opened(r) })
		if bound == nil {
			c.NotApplicable("observed: no client gets a certificate-bound token for %s", r.Name)
		}
		who := s.Honest(bound.Client, harness.CertificateBound)
		token := c.Obtain(who, bound.Grant)
		c.Assume(token).To(expect.BeAccepted(), "a certificate-bound token")
		c.Assume(c.Call(harness.ResourceCall{Who: who, Token: token.Token.AccessToken, Resource: r})).To(expect.BeAccepted(), "the certificate-bound token with its certificate")
		call.Token = token.Token.AccessToken
	case attacks.OddHashToken:
		if where.at.Grant == harness.BroughtGrant {
			c.NotApplicable("declared: the target file brings one token of this key, and its hash may look the same in standard base64")
		}
		spelt := attacks.StandardHash(call.Token)
		for try := 0; try < oddTries && spelt == harness.AccessTokenHash(call.Token); try++ {
			token := c.Obtain(where.who, where.at.Grant)
			c.Assume(token).To(expect.BeAccepted(), "another token")
			call.Token = token.Token.AccessToken
			spelt = attacks.StandardHash(call.Token)
		}
		if spelt == harness.AccessTokenHash(call.Token) {
			c.Unlearned("no token came whose hash looks otherwise in standard base64")
		}
		c.Assume(c.Call(harness.ResourceCall{Who: where.who, Token: call.Token, Resource: r})).To(expect.BeAccepted(), "the token with its hash in base64url")
		call.Proof = func(p *harness.Proof) { p.Claims.Set("ath", spelt) }
	case attacks.OtherBoundToken:
		other := c.Obtain(where.who, where.at.Grant)
		c.Assume(other).To(expect.BeAccepted(), "another token of the same key")
		if other.Token.AccessToken == call.Token {
			c.NotApplicable("observed: no second token of this key comes, only the same one again")
		}
		c.Assume(c.Call(harness.ResourceCall{Who: where.who, Token: other.Token.AccessToken, Resource: r})).To(expect.BeAccepted(), "the other token")
		made := call.Token
		call.Token = other.Token.AccessToken
		call.Proof = func(p *harness.Proof) { p.Claims.Set("ath", harness.AccessTokenHash(made)) }
	case attacks.TokenOfOther:
		other := s.Pick(func(t harness.Trial) bool {
			return t.Binding == harness.DPoPBound && t.Client != where.who.Client && t.Opened(r)
		})
		if other == nil {
			c.NotApplicable("no second client gets DPoP-bound tokens for %s", r.Name)
		}
		who := s.Honest(other.Client, harness.DPoPBound)
		token := c.Obtain(who, other.Grant)
		c.Assume(token).To(expect.BeAccepted(), "a token of client "+other.Client.Name)
		c.Assume(c.Call(harness.ResourceCall{Who: who, Token: token.Token.AccessToken, Resource: r})).To(expect.BeAccepted(), "the token of client "+other.Client.Name)
		call.Token = token.Token.AccessToken
	}
	return call
}

// challenges reads the WWW-Authenticate of a resource (RFC 9449 §7.1).
func challenges(s *expect.Suite) {
	k := attacks.Keys()
	for _, where := range sites(s) {
		if where.place != attacks.AtResource {
			continue
		}
		r := resourceOf(s, where)
		between := func(c *expect.Case, attack func() harness.Outcome) harness.Outcome {
			answer := c.Between(where.proven(c), attack, "the honest request")
			c.Expect(answer).To(expect.BeRefused())
			return answer
		}
		s.It(k.ChallengePlain, where.at, func(c *expect.Case) {
			o := between(c, func() harness.Outcome {
				return c.Call(harness.ResourceCall{Who: harness.Identity{Client: where.who.Client}, Resource: r})
			})
			switch {
			case o.Status != 401:
				c.Fails("a request without credentials was answered with HTTP %d, not 401", o.Status)
			case !o.Challenges("DPoP"): // the server can answer so (RFC 9449 §7.1): where bearer tokens are good as well, clients have a challenge
				c.Warns("refused, but WWW-Authenticate names no DPoP challenge")
			case o.ChallengeParameter("algs") == "":
				c.Warns("the DPoP challenge has no algs")
			case o.ChallengeParameter("error") != "":
				c.Warns("an error is named although nothing was sent")
			default:
				c.Passes("WWW-Authenticate: DPoP algs=%q", o.ChallengeParameter("algs"))
			}
		})
		s.It(k.ChallengeAlgorithms, where.at, func(c *expect.Case) {
			o := between(c, func() harness.Outcome {
				return c.Call(harness.ResourceCall{Who: harness.Identity{Client: where.who.Client}, Resource: r})
			})
			listed := strings.Fields(o.ChallengeParameter("algs"))
			if len(listed) == 0 {
				c.NotApplicable("observed: the challenge names no algorithms")
			}
			for _, alg := range listed {
				if strings.EqualFold(alg, "none") || strings.HasPrefix(alg, "HS") {
					c.Fails("the challenge asks for %s", alg)
				}
			}
			c.Passes("the challenge asks for %s", strings.Join(listed, ", "))
		})
		send := func(change harness.ProofChange) func(c *expect.Case) func() harness.Outcome {
			return func(c *expect.Case) func() harness.Outcome {
				call := where.prepare(c)
				return func() harness.Outcome { return call(change) }
			}
		}
		// A wrong code here is the finding itself, so it fails at the level of the row instead of warning.
		codes := func(check attacks.Check, change harness.ProofChange) {
			s.It(check, where.at, func(c *expect.Case) {
				o := between(c, send(change)(c))
				if misfit := check.Refusal.Misfit(o); misfit != "" {
					c.Warns("refused, but %s", misfit)
					return
				}
				c.Passes("refused with %s", o)
			})
		}
		codes(k.ChallengeKey, func(p *harness.Proof) {
			p.Key = p.Facts.Attacker
			p.Header.Set("alg", p.Key.Alg)
			p.Header.Set("jwk", p.Key.PublicJWK())
		})
		codes(k.ChallengeProof, func(p *harness.Proof) {
			p.Altered("signature, by another key")
			p.Sign = p.Facts.Attacker.Sign
		})
	}
}
