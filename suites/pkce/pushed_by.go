package pkce

import (
	"slices"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// pushedBy checks who may push, and for whom (RFC 9126 §2.1, §2.2).
func pushedBy(s *expect.Suite) {
	f := attacks.PushedSingles()
	at := expect.Place{Endpoint: "par"}
	pick := func(fits func(*harness.Client) bool) *harness.Trial {
		return s.Pusher(func(t harness.Trial) bool { return fits(t.Client) })
	}
	if t := pick(hasSecretOrKey); t == nil {
		s.Skip(f.WrongCredential, at, "the target file names no client with a secret or key that gets a code")
	} else {
		s.It(f.WrongCredential, place(at, t), func(c *expect.Case) {
			who, wrong := s.Honest(t.Client, t.Binding), wrongCredential(t.Client)
			answer := c.Between(pushedFlow(c, who), func() harness.Outcome {
				return c.Push(harness.AuthorizationRequest{Who: who, PushAuth: wrong.Change, Assertion: wrong.ClientAssertion})
			}, "the honest pushed request")
			c.Refuses(answer, f.WrongCredential.Refusal)
		})
	}
	if t := pick(func(c *harness.Client) bool { return c.TokenEndpointAuthMethod == privateKeyJWT }); t == nil {
		s.Skip(f.Audience, at, "the target file names no client with private_key_jwt that gets a code")
	} else {
		s.It(f.Audience, place(at, t), func(c *expect.Case) { pushedAudience(c, s.Honest(t.Client, t.Binding), f.Audience) })
	}
	// A secret in the body goes with the name there, so the client is one that authenticates elsewhere.
	t := pick(func(c *harness.Client) bool {
		return hasSecretOrKey(c) && c.TokenEndpointAuthMethod != "client_secret_post"
	})
	var other *harness.Trial
	if t != nil {
		another := func(c *harness.Client) bool { return c != t.Client }
		if other = pick(func(c *harness.Client) bool { return another(c) && c.Confidential() }); other == nil {
			other = pick(another)
		}
	}
	for _, row := range []struct {
		check attacks.Check
		name  func(m *harness.Message, other *harness.Client)
	}{
		{f.InNameOfOther, func(m *harness.Message, other *harness.Client) { m.Params.Set("client_id", other.ClientID) }},
		{f.InNoName, func(m *harness.Message, _ *harness.Client) { m.Params.Drop("client_id") }},
	} {
		if other == nil {
			s.Skip(row.check, at, "the target file names no client that authenticates in a header or by an assertion and gets a code, and a second one that gets codes")
			continue
		}
		s.It(row.check, place(at, t), func(c *expect.Case) {
			pushedForOther(c, s.Honest(t.Client, t.Binding), s.Honest(other.Client, other.Binding), func(m *harness.Message, _ harness.Facts) { row.name(m, other.Client) })
		})
	}
}

func place(at expect.Place, t *harness.Trial) expect.Place {
	at.Client = t.Client.Name
	return at
}

// pushedForOther pushes as one client under the name of another or of none, and uses the request for the other one. A server that takes
// the request for that of whoever authenticated has won nothing for anybody.
func pushedForOther(c *expect.Case, who, other harness.Identity, name harness.Change) {
	both := func() harness.Outcome {
		if o := pushedFlow(c, who)(); o.State != harness.Granted {
			return o
		}
		return pushedFlow(c, other)()
	}
	answer := c.Between(both, func() harness.Outcome {
		pushed := c.Push(harness.AuthorizationRequest{Who: who, PushAuth: name})
		if pushed.State != harness.Granted {
			return pushed
		}
		c.Measured("a request_uri was issued")
		victim := *other.Client // the code may come to either
		victim.RedirectURIs = slices.Concat(victim.RedirectURIs, who.Client.RedirectURIs)
		as := other
		as.Client = &victim
		o := c.Authorize(harness.AuthorizationRequest{Who: as, Via: harness.PushedRequest, Pushed: pushed.RequestURI})
		if o.State == harness.Granted {
			o.Got = "what client " + who.Client.Name + " pushed brought a code for client " + other.Client.Name
		}
		return o
	}, "the honest pushed requests of both clients")
	if answer.State == harness.Granted && other.Client.Public() {
		c.NotApplicable("observed: %s; that one is public, so that anybody can push in its name: nothing is won, and the target file names no confidential one beside", answer)
	}
	c.Refuses(answer, c.Check.Refusal)
}

// pushedAudience pushes with an assertion for another server, and tells which names of this one are taken: RFC 9126 §2 wants issuer, token
// endpoint and PAR endpoint, later profiles the issuer alone.
func pushedAudience(c *expect.Case, who harness.Identity, check attacks.Check) {
	answer := c.Between(pushedFlow(c, who), func() harness.Outcome {
		return c.Push(harness.AuthorizationRequest{Who: who, Assertion: attacks.ForOtherServer})
	}, "the honest pushed request")
	taken := func(audience string) string {
		if o := c.Push(harness.AuthorizationRequest{Who: who, Assertion: attacks.For(audience)}); o.State != harness.Granted {
			return "refused (" + o.String() + ")"
		}
		return "accepted"
	}
	c.Measured("audience token endpoint: %s; PAR endpoint: %s", taken(c.Metadata.String("token_endpoint")), taken(c.Metadata.String("pushed_authorization_request_endpoint")))
	c.Refuses(answer, check.Refusal)
}
