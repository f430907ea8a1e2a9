package pkce

import (
	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// pushedRequests checks that a request_uri is as good as the client that pushed it (RFC 9126).
func pushedRequests(s *expect.Suite) {
	f := attacks.FrontChannel()
	trials := clientsOf(s, attacks.PublicAndConfidential)
	if len(trials) == 0 {
		for _, check := range []attacks.Check{f.PushWithoutCredential, f.PushedByOther, f.PushedTwice} {
			s.Skip(check, expect.Place{Endpoint: "par"}, noCodeClient)
		}
		return
	}
	honest := func(c *expect.Case, who harness.Identity) func() harness.Outcome {
		return func() harness.Outcome {
			return flow(c, who, harness.AuthorizationRequest{Who: who, Via: harness.PushedRequest}, nil, nil)
		}
	}
	if confidential := clientsOf(s, attacks.ConfidentialOnly); len(confidential) == 0 {
		s.Skip(f.PushWithoutCredential, expect.Place{Endpoint: "par"}, "the target file names no confidential client with the authorization_code grant that could get a token")
	} else {
		t := confidential[0]
		who := s.Honest(t.Client, t.Binding)
		s.It(f.PushWithoutCredential, expect.Place{Endpoint: "par", Client: t.Client.ClientID}, func(c *expect.Case) {
			answer := c.Between(honest(c, who), func() harness.Outcome {
				return c.Push(harness.AuthorizationRequest{Who: who, PushAuth: attacks.WithoutCredential})
			}, "the honest pushed request")
			c.Refuses(answer, f.PushWithoutCredential.Refusal)
		})
	}
	first := trials[0]
	who := s.Honest(first.Client, first.Binding)
	at := expect.Place{Endpoint: "authorize", Client: first.Client.ClientID, Variant: string(attacks.Pushed)}
	other := s.Pick(func(t harness.Trial) bool { return t.Grant == harness.CodeGrant && t.Client != first.Client })
	if other == nil {
		s.Skip(f.PushedByOther, at, "the target file names no second client with the authorization_code grant")
	} else {
		s.It(f.PushedByOther, at, func(c *expect.Case) {
			answer := c.Between(honest(c, who), func() harness.Outcome {
				return c.Authorize(harness.AuthorizationRequest{Who: who, Via: harness.PushedRequest, Beside: func(m *harness.Message, _ harness.Facts) {
					m.Params.Set("client_id", other.Client.ClientID)
				}})
			}, "the honest pushed request")
			c.Refuses(answer, f.PushedByOther.Refusal)
		})
	}
	s.It(f.PushedTwice, at, func(c *expect.Case) {
		answer := c.Between(honest(c, who), func() harness.Outcome {
			o := c.Authorize(harness.AuthorizationRequest{Who: who, Via: harness.PushedRequest})
			if o.State != harness.Granted || o.Code == nil {
				return harness.Outcome{At: o.At, Why: "the preparation was refused: " + o.String()}
			}
			return c.Authorize(harness.AuthorizationRequest{Who: who, Via: harness.PushedRequest, Pushed: o.Code.RequestURI})
		}, "the honest pushed request")
		c.Refuses(answer, f.PushedTwice.Refusal)
	})
}

// refreshRotation uses a refresh token again that was exchanged for another (RFC 9700 §4.14.2). A server may let it work once more
// within a short grace period.
func refreshRotation(s *expect.Suite) {
	check := attacks.FrontChannel().RefreshRotation
	at := expect.Place{Endpoint: "token", Grant: harness.RefreshGrant}
	t := s.Pick(func(t harness.Trial) bool {
		return t.Grant == harness.CodeGrant && t.Binding == harness.Unbound && t.Client.Public() && t.Refresh != harness.No
	})
	if t == nil {
		s.Skip(check, at, "no public client gets a refresh token that neither a key nor a certificate binds")
		return
	}
	at.Client = t.Client.ClientID
	who := s.Honest(t.Client, harness.Unbound)
	s.It(check, at, func(c *expect.Case) {
		once := false
		answer := c.Between(func() harness.Outcome { return c.Obtained(who, harness.RefreshGrant) }, func() harness.Outcome {
			o := c.Obtain(who, harness.CodeGrant)
			if o.State != harness.Granted || o.Token.RefreshToken == "" {
				return harness.Outcome{At: o.At, Why: "the preparation was refused: " + o.String()}
			}
			use := func() harness.Outcome { return c.Refresh(o.Token, harness.TokenRequest{Who: who}) }
			if first := use(); first.State != harness.Granted {
				return harness.Outcome{At: first.At, Why: "the first use of the refresh token was refused: " + first.String()}
			}
			second := use()
			if second.State != harness.Granted {
				return second
			}
			once = true
			return c.Loot(use(), harness.RefreshGrant)
		}, "the honest refresh")
		c.Refuses(answer, check.Refusal)
		if once {
			c.Warns("an old refresh token worked once more before it was refused")
		}
	})
}
