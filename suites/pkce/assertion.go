package pkce

import (
	"slices"
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

const privateKeyJWT = "private_key_jwt"

// clientAssertions attacks client authentication by private_key_jwt (RFC 7523 §2.2).
func clientAssertions(s *expect.Suite) {
	b := attacks.Backends()
	t := asserting(s, func(harness.Trial) bool { return true })
	if t == nil {
		for _, check := range append(checksOf(attacks.ClientAssertions()), b.Replayed, b.SameJTI) {
			s.Skip(check, expect.Place{Endpoint: "token"}, "the target file names no client with private_key_jwt that could get a token")
		}
		return
	}
	at := expect.Place{Endpoint: "token", Grant: t.Grant, Client: t.Client.Name}
	for _, a := range attacks.ClientAssertions() {
		other := against(s, a, t)
		switch {
		case a.Against != attacks.Nobody && other == nil:
			s.Skip(a.Check, at, "the target file names no second client with which it could be tried")
		case !strings.HasPrefix(s.AssertionAlg(t.Client), a.Alg):
			s.Skip(a.Check, at, "declared: the client's key is for "+s.AssertionAlg(t.Client))
		default:
			s.It(a.Check, at, func(c *expect.Case) {
				if a.Against == attacks.AssertingClient {
					c.Assume(c.Obtained(s.Honest(other.Client, other.Binding), other.Grant)).To(expect.BeAccepted(), "client "+other.Client.Name+" with its own assertion")
				}
				assertion(c, s, a, t, func(try harness.AssertionChange) harness.TokenRequest {
					q := harness.TokenRequest{ClientAssertion: try, Change: a.Request}
					if other != nil {
						q.Against = other.Client
					}
					return q
				})
			})
		}
	}
	// used sends something of an accepted assertion again.
	used := func(check attacks.Check, again func(captured *harness.Assertion, compact string) harness.AssertionChange) {
		s.It(check, at, func(c *expect.Case) {
			who := s.Honest(t.Client, t.Binding)
			first, second := c.Prepared(who, t.Grant), c.Prepared(who, t.Grant)
			var captured *harness.Assertion
			var compact string
			c.Assume(first(harness.TokenRequest{ClientAssertion: func(a *harness.Assertion) {
				captured = a
				a.Spell = func(input, signature string) string { compact = input + "." + signature; return compact }
			}})).To(expect.BeAccepted(), "the honest assertion")
			var answer harness.Outcome
			c.Attack(func() {
				answer = c.Loot(second(harness.TokenRequest{ClientAssertion: again(captured, compact)}), t.Grant)
			})
			c.Assume(c.Obtained(who, t.Grant)).To(expect.BeAccepted(), "an honest assertion, again")
			c.Refuses(answer, check.Refusal)
		})
	}
	used(b.Replayed, func(_ *harness.Assertion, compact string) harness.AssertionChange {
		return func(a *harness.Assertion) { a.Verbatim(compact) }
	})
	used(b.SameJTI, func(captured *harness.Assertion, _ string) harness.AssertionChange {
		return func(a *harness.Assertion) {
			a.Claims.Set("jti", captured.Claims.Get("jti"))
			a.Altered("jti, used before")
		}
	})
}

// asserting picks a client of private_key_jwt, by the cheapest grant that it has: the client is authenticated before the grant.
func asserting(s *expect.Suite, fits func(harness.Trial) bool) *harness.Trial {
	for _, grant := range []string{harness.ClientCredentialsGrant, harness.CodeGrant, harness.JWTBearerGrant} {
		if t := s.Pick(func(t harness.Trial) bool {
			return t.Grant == grant && t.Client.TokenEndpointAuthMethod == privateKeyJWT && fits(t)
		}); t != nil {
			return t
		}
	}
	return nil
}

// against is the other client of an attack: one that could get a token by the same grant, if there is one.
func against(s *expect.Suite, a attacks.AssertionAttack, t *harness.Trial) *harness.Trial {
	switch a.Against {
	case attacks.AssertingClient:
		return asserting(s, func(o harness.Trial) bool { return o.Client != t.Client })
	case attacks.AnyClient:
		if o := s.Pick(func(o harness.Trial) bool {
			return o.Client != t.Client && o.Grant == t.Grant && o.Client.Confidential()
		}); o != nil {
			return o
		}
		return s.Pick(func(o harness.Trial) bool { return o.Client != t.Client })
	}
	return nil
}

func checksOf(rows []attacks.AssertionAttack) []attacks.Check {
	var out []attacks.Check
	for _, a := range rows {
		out = append(out, a.Check)
	}
	return out
}

// assertion runs one row: an honest token, one for each try of the attack, an honest token.
func assertion(c *expect.Case, s *expect.Suite, a attacks.AssertionAttack, t *harness.Trial, with func(harness.AssertionChange) harness.TokenRequest) {
	who := s.Honest(t.Client, t.Binding)
	answer := c.Between(func() harness.Outcome { return c.Obtained(who, t.Grant) }, func() harness.Outcome {
		var last harness.Outcome
		for _, try := range a.Tries {
			if last = c.Loot(c.Prepared(who, t.Grant)(with(try)), t.Grant); last.State != harness.Refused {
				return last
			}
		}
		return last
	}, "the honest assertion")
	c.Refuses(answer, a.Refusal)
}

// grantAssertions attacks the JWT bearer grant (RFC 7523 §2.1).
func grantAssertions(s *expect.Suite) {
	wrong := attacks.Backends().GrantWrongCredential
	at := expect.Place{Endpoint: "token", Grant: harness.JWTBearerGrant}
	pick := func(fits func(*harness.Client) bool) *harness.Trial {
		return s.Pick(func(t harness.Trial) bool { return t.Grant == harness.JWTBearerGrant && fits(t.Client) })
	}
	t := pick(func(*harness.Client) bool { return true })
	for _, a := range attacks.GrantAssertions() {
		if t == nil {
			s.Skip(a.Check, at, noJWTBearer(s))
			continue
		}
		here := at
		here.Client = t.Client.Name
		s.It(a.Check, here, func(c *expect.Case) {
			assertion(c, s, a, t, func(try harness.AssertionChange) harness.TokenRequest {
				return harness.TokenRequest{Assertion: try}
			})
		})
	}
	if t = pick(hasSecretOrKey); t == nil {
		s.Skip(wrong, at, "no client with a secret or key could get a token by the JWT bearer grant")
		return
	}
	at.Client = t.Client.Name
	s.It(wrong, at, func(c *expect.Case) { refusesCredential(c, s, t, wrongCredential(t.Client)) })
}

func noJWTBearer(s *expect.Suite) string {
	if s.Learned.Has("jwt-bearer") == harness.No {
		return "needs jwt-bearer; " + s.Learned.Capabilities["jwt-bearer"].How
	}
	return "no client could get a token by the JWT bearer grant"
}

// hasSecretOrKey: certificates are for the suite of mutual TLS.
func hasSecretOrKey(c *harness.Client) bool { return c.Confidential() && !c.MutualTLS() }

// wrongCredential is an honest request with the wrong secret, or an assertion by the wrong key.
func wrongCredential(c *harness.Client) harness.TokenRequest {
	if !c.SendsSecret() {
		return harness.TokenRequest{ClientAssertion: attacks.SignedByAttacker}
	}
	return harness.TokenRequest{Change: attacks.WrongSecret}
}

func refusesCredential(c *expect.Case, s *expect.Suite, t *harness.Trial, q harness.TokenRequest) {
	who := s.Honest(t.Client, t.Binding)
	send := c.Prepared(who, t.Grant)
	answer := c.Between(func() harness.Outcome { return c.Obtained(who, t.Grant) }, func() harness.Outcome {
		return c.Loot(send(q), t.Grant)
	}, "the right credential")
	c.Refuses(answer, c.Check.Refusal)
}

// clientCredentials attacks the grant in which the client's credential is all there is (RFC 6749 §4.4), with each binding.
func clientCredentials(s *expect.Suite) {
	b := attacks.Backends()
	const grant = harness.ClientCredentialsGrant
	at := func(c *harness.Client) expect.Place {
		return expect.Place{Endpoint: "token", Grant: grant, Client: c.Name}
	}
	machine := func(fits func(harness.Trial) bool) *harness.Trial {
		return s.Pick(func(t harness.Trial) bool { return t.Grant == grant && t.Client.Confidential() && fits(t) })
	}
	everyone := func(harness.Trial) bool { return true }
	if machine(everyone) == nil {
		for _, check := range []attacks.Check{b.PublicClient, b.NoCredential, b.WrongCredential, b.NoRefreshToken} {
			s.Skip(check, expect.Place{Endpoint: "token", Grant: grant}, "the target file names no confidential client with the client_credentials grant that could get a token")
		}
		return
	}
	var placed []*harness.Client
	for _, binding := range []harness.Binding{harness.Unbound, harness.DPoPBound, harness.CertificateBound} {
		public := s.Pick(func(t harness.Trial) bool {
			return t.Binding == binding && t.Client.Public() && !slices.Contains(placed, t.Client)
		})
		if public == nil {
			continue
		}
		placed = append(placed, public.Client)
		control := machine(func(t harness.Trial) bool { return t.Binding == binding })
		if control == nil {
			control = machine(everyone)
		}
		s.It(b.PublicClient, at(public.Client), func(c *expect.Case) {
			who := s.Honest(public.Client, binding)
			c.Assume(c.Obtained(who, public.Grant)).To(expect.BeAccepted(), "the public client by "+public.Grant)
			answer := c.Between(func() harness.Outcome { return c.Obtained(s.Honest(control.Client, control.Binding), grant) }, func() harness.Outcome {
				return c.Loot(c.ClientCredentials(harness.TokenRequest{Who: who}), grant)
			}, "client credentials of "+control.Client.Name)
			c.Refuses(answer, b.PublicClient.Refusal)
		})
	}
	if len(placed) == 0 {
		s.Skip(b.PublicClient, expect.Place{Endpoint: "token", Grant: grant}, "the target file names no public client that could get a token")
	}
	clients := onePerMethodAndBinding(s.All(func(t harness.Trial) bool { return t.Grant == grant && hasSecretOrKey(t.Client) }))
	for _, t := range clients {
		s.It(b.NoCredential, at(t.Client), func(c *expect.Case) {
			refusesCredential(c, s, t, harness.TokenRequest{Change: attacks.NameOnly})
		})
		s.It(b.WrongCredential, at(t.Client), func(c *expect.Case) { refusesCredential(c, s, t, wrongCredential(t.Client)) })
	}
	if len(clients) == 0 {
		for _, check := range []attacks.Check{b.NoCredential, b.WrongCredential} {
			s.Skip(check, expect.Place{Endpoint: "token", Grant: grant}, "the target file names no client with a secret or key that gets a token by client credentials")
		}
	}
	t := machine(everyone)
	s.It(b.NoRefreshToken, at(t.Client), func(c *expect.Case) {
		o := c.Obtain(s.Honest(t.Client, t.Binding), grant)
		c.Assume(o).To(expect.BeAccepted(), "client credentials")
		c.Assume(c.Spend(o.Token, grant)).To(expect.BeAccepted(), "the token")
		if o.Token.RefreshToken != "" {
			c.Fails("a refresh token came with the access token")
		}
		c.Passes("an access token came, and no refresh token")
	})
}

// onePerMethodAndBinding keeps one client for each way in and each kind of token: a defence may hold for one of them only.
func onePerMethodAndBinding(in []*harness.Trial) []*harness.Trial {
	var out []*harness.Trial
	for _, t := range in {
		if !slices.ContainsFunc(out, func(o *harness.Trial) bool {
			return o.Client == t.Client || o.Client.TokenEndpointAuthMethod == t.Client.TokenEndpointAuthMethod && o.Binding == t.Binding
		}) {
			out = append(out, t)
		}
	}
	return out
}
