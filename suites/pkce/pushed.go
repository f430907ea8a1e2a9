package pkce

import (
	"slices"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// pushedFlow is the honest flow with a pushed request.
func pushedFlow(c *expect.Case, who harness.Identity) func() harness.Outcome {
	return func() harness.Outcome {
		return flow(c, who, harness.AuthorizationRequest{Who: who, Via: harness.PushedRequest}, nil, nil)
	}
}

// pushedRequests checks that a request_uri is as good as the client that pushed it (RFC 9126).
func pushedRequests(s *expect.Suite) {
	f := attacks.PushedSingles()
	for _, a := range attacks.PushedRequests() {
		pushedRow(s, a)
	}
	trials := slices.DeleteFunc(clientsOf(s, attacks.PublicAndConfidential), func(t *harness.Trial) bool { return t.CannotPush != "" })
	if len(trials) == 0 {
		for _, check := range f.All() {
			s.Skip(check, expect.Place{Endpoint: "par"}, noCodeClient)
		}
		return
	}
	pushedBy(s)
	pushedAnswers(s)
	if confidential := clientsOf(s, attacks.ConfidentialOnly); len(confidential) == 0 {
		s.Skip(f.PushWithoutCredential, expect.Place{Endpoint: "par"}, "the target file names no confidential client with the authorization_code grant that could get a token")
	} else {
		t := confidential[0]
		who := s.Honest(t.Client, t.Binding)
		s.It(f.PushWithoutCredential, expect.Place{Endpoint: "par", Client: t.Client.Name}, func(c *expect.Case) {
			answer := c.Between(pushedFlow(c, who), func() harness.Outcome {
				return c.Push(harness.AuthorizationRequest{Who: who, PushAuth: attacks.WithoutCredential})
			}, "the honest pushed request")
			c.Refuses(answer, f.PushWithoutCredential.Refusal)
		})
	}
	first := trials[0]
	who := s.Honest(first.Client, first.Binding)
	at := expect.Place{Endpoint: "authorize", Client: first.Client.Name, Variant: string(attacks.Pushed)}
	other := s.Pick(func(t harness.Trial) bool { return t.Grant == harness.CodeGrant && t.Client != first.Client }) // it pushes nothing
	if other == nil {
		s.Skip(f.PushedByOther, at, "the target file names no second client with the authorization_code grant")
	} else {
		s.It(f.PushedByOther, at, func(c *expect.Case) {
			answer := c.Between(pushedFlow(c, who), func() harness.Outcome {
				return c.Authorize(harness.AuthorizationRequest{Who: who, Via: harness.PushedRequest, Beside: func(m *harness.Message, _ harness.Facts) {
					m.Params.Set("client_id", other.Client.ClientID)
				}})
			}, "the honest pushed request")
			c.Refuses(answer, f.PushedByOther.Refusal)
		})
	}
	s.It(f.PushedTwice, at, func(c *expect.Case) {
		answer := c.Between(pushedFlow(c, who), func() harness.Outcome {
			o := c.Authorize(harness.AuthorizationRequest{Who: who, Via: harness.PushedRequest})
			if o.State != harness.Granted || o.Code == nil {
				return harness.Outcome{At: o.At, Why: "the preparation was refused: " + o.String()}
			}
			return c.Authorize(harness.AuthorizationRequest{Who: who, Via: harness.PushedRequest, Pushed: o.Code.RequestURI})
		}, "the honest pushed request")
		switch o := c.Authorize(harness.AuthorizationRequest{Who: who, Via: harness.PushedRequest, Session: harness.ReloadedSession}); o.State { // RFC 9126 §4 allows both
		case harness.Granted:
			c.Measured("a user may reload the authorization page before the login")
		case harness.Refused:
			c.Measured("a user may not reload the authorization page before the login (%s)", o)
		}
		c.Refuses(answer, f.PushedTwice.Refusal)
	})
	const wanted = "https://attacker.example/cb"
	s.It(f.RedirectBeside, at, func(c *expect.Case) {
		answer := c.Between(pushedFlow(c, who), func() harness.Outcome {
			return c.PushedToRedirect(harness.AuthorizationRequest{Who: who, Beside: setting("redirect_uri", wanted)}, wanted)
		}, "the honest pushed request")
		c.Refuses(answer, f.RedirectBeside.Refusal)
	})
	for _, t := range trials {
		pushedRedirect(s, f.RedirectURI, t)
	}
}

// pushedRedirect pushes the address of an attacker. A client that authenticates may bring an address of its own, if the server
// wants it so (RFC 9126 §2.4): the attacker cannot push in its name.
func pushedRedirect(s *expect.Suite, check attacks.Check, t *harness.Trial) {
	who := s.Honest(t.Client, t.Binding)
	const wanted = "https://attacker.example/cb"
	s.It(check, expect.Place{Endpoint: "par", Client: t.Client.Name}, func(c *expect.Case) {
		answer := c.Between(pushedFlow(c, who), func() harness.Outcome {
			return c.PushedToRedirect(harness.AuthorizationRequest{Who: who, Change: setting("redirect_uri", wanted)}, wanted)
		}, "the honest pushed request")
		if answer.State == harness.Granted && t.Client.Confidential() {
			c.NotApplicable("observed: %s; RFC 9126 §2.4 allows that to a client that authenticates", answer)
		}
		c.Refuses(answer, check.Refusal)
	})
}

// pushedRow runs one row with one client: what is compared is the request, not who sends it.
func pushedRow(s *expect.Suite, a attacks.PushedAttack) {
	at := expect.Place{Endpoint: "authorize", Variant: string(attacks.Pushed)}
	if a.Push != nil || a.Sent != nil {
		at = expect.Place{Endpoint: "par"}
	}
	if a.Direct != nil {
		at.Variant = ""
	}
	t := s.Pusher(func(t harness.Trial) bool {
		return (a.Direct == nil || s.MustPush(t.Client)) && (a.Binding == "" || t.Binding == a.Binding)
	})
	if t == nil {
		why := noCodeClient
		if a.Binding != "" {
			why = "no client with the authorization_code grant gets tokens of the kind " + string(a.Binding)
		}
		s.Skip(a.Check, at, orMissing(s, a.Check, why))
		return
	}
	at.Client = t.Client.Name
	who := s.Honest(t.Client, t.Binding)
	s.It(a.Check, at, func(c *expect.Case) {
		answer := c.Between(pushedFlow(c, who), func() harness.Outcome {
			q := harness.AuthorizationRequest{Who: who, Via: harness.PushedRequest, Change: a.Push, PushAuth: a.Sent, Beside: a.Beside}
			switch {
			case a.Direct != nil:
				q.Via, q.Change = harness.DirectRequest, a.Direct
			case a.Push != nil:
				issued := c.Push(harness.AuthorizationRequest{Who: who})
				if issued.State != harness.Granted {
					return prepared(issued)
				}
				q.Other = &harness.Authorization{RequestURI: issued.RequestURI}
			case a.URI != nil:
				q.Beside = func(m *harness.Message, f harness.Facts) {
					uri := a.URI(m.Params.Get("request_uri"))
					f.Tester.Redactor.Register("request_uri", uri)
					m.Params.Set("request_uri", uri)
				}
			}
			return flow(c, who, q, nil, nil)
		}, "the honest pushed request")
		if a.Instead != "" && answer.State == harness.Granted && answer.At != "the authorization endpoint" {
			c.Warns("%s", a.Instead)
			return
		}
		c.Refuses(answer, a.Refusal)
	})
}
