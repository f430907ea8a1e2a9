package pkce

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// pushedAnswers checks what a pushed request brings, with one client: the server makes it, whoever asks.
func pushedAnswers(s *expect.Suite) {
	f := attacks.PushedSingles()
	t := s.Pusher(anyTrial)
	who := s.Honest(t.Client, t.Binding)
	par, authorize := place(expect.Place{Endpoint: "par"}, t), place(expect.Place{Endpoint: "authorize", Variant: string(attacks.Pushed)}, t)
	s.It(f.Answer, par, func(c *expect.Case) { pushedAnswer(c, who) })
	s.It(f.Scope, par, func(c *expect.Case) { pushedScope(c, s, who) })
	s.It(f.Foreign, authorize, func(c *expect.Case) { foreignRequest(c, who) })
	s.It(f.PushedTwiceElsewhere, authorize, func(c *expect.Case) {
		second := &c.Target.Users[1]
		c.Assume(flow(c, who, harness.AuthorizationRequest{Who: who, User: second}, nil, nil)).To(expect.BeAccepted(), "the honest flow of user "+second.Username)
		answer := c.Between(pushedFlow(c, who), func() harness.Outcome {
			o := c.Authorize(harness.AuthorizationRequest{Who: who, Via: harness.PushedRequest})
			if o.State != harness.Granted || o.Code == nil {
				return prepared(o)
			}
			return c.Authorize(harness.AuthorizationRequest{Who: who, User: second, Via: harness.PushedRequest, Pushed: o.Code.RequestURI})
		}, "the honest pushed request")
		c.Refuses(answer, f.PushedTwiceElsewhere.Refusal)
	})
}

// pushedAnswer looks at the form of a success (RFC 9126 §2.2).
func pushedAnswer(c *expect.Case, who harness.Identity) {
	c.Assume(pushedFlow(c, who)()).To(expect.BeAccepted(), "the honest pushed request")
	o := c.Push(harness.AuthorizationRequest{Who: who})
	c.Assume(o).To(expect.BeAccepted(), "a pushed request")
	var body struct {
		ExpiresIn json.RawMessage `json:"expires_in"`
	}
	var seconds float64
	switch err := json.Unmarshal(o.Answer.Body, &body); {
	case err != nil:
		c.Unlearned("the answer cannot be read: %v", err)
	case len(body.ExpiresIn) == 0:
		c.Fails("the answer has no expires_in")
	case json.Unmarshal(body.ExpiresIn, &seconds) != nil || seconds <= 0:
		c.Fails("expires_in is %s, and no number above zero", body.ExpiresIn)
	}
	c.Passes("expires_in is %s", body.ExpiresIn)
	var odd []string
	if o.Status != 201 {
		odd = append(odd, "the status is not 201")
	}
	if seconds > 600 {
		odd = append(odd, "a request_uri lives longer than ten minutes")
	}
	c.Measured("HTTP %d, expires_in %s", o.Status, body.ExpiresIn)
	if len(odd) > 0 {
		c.Warns("%s", strings.Join(odd, "; "))
	}
}

// pushedScope asks for a scope that no client has. What counts is the token: a server may leave out what it does not grant (RFC 6749 §3.3).
func pushedScope(c *expect.Case, s *expect.Suite, who harness.Identity) {
	const more = "popcheck-no-such-scope"
	ask := func(via harness.Via) harness.Outcome {
		o := c.Authorize(harness.AuthorizationRequest{Who: who, Via: via, Change: func(m *harness.Message, _ harness.Facts) {
			m.Params.Set("scope", strings.TrimSpace(who.Client.Scope+" "+more))
		}})
		if o.State != harness.Granted || o.Code == nil {
			return o
		}
		return c.Redeem(o.Code, harness.TokenRequest{Who: who})
	}
	granted := func(o harness.Outcome) bool {
		return o.State == harness.Granted && o.Token != nil && scopeOf(o.Token, more)
	}
	answer := c.Between(pushedFlow(c, who), func() harness.Outcome {
		o := ask(harness.PushedRequest)
		if granted(o) {
			o.Got = "the token has the scope " + more + ", for which no client is registered"
		}
		return o
	}, "the honest pushed request")
	switch {
	case answer.State == harness.Granted && !granted(answer):
		c.Passes("the token does not have the scope that no client is registered for")
		return
	case granted(answer) && !s.MustPush(who.Client) && granted(ask(harness.FrontChannelRequest)):
		c.NotApplicable("observed: the server grants any scope, pushed or not")
	}
	c.Refuses(answer, c.Check.Refusal)
}

// scopeOf reports whether a token response or the token itself names a scope.
func scopeOf(t *harness.Token, scope string) bool {
	claims, _ := t.Claims()
	said := t.Scope
	for _, member := range []string{"scope", "scp"} {
		switch value := claims[member].(type) {
		case string:
			said += " " + value
		case []any:
			for _, one := range value {
				text, _ := one.(string)
				said += " " + text
			}
		}
	}
	return slices.Contains(strings.Fields(said), scope)
}

// foreignRequest comes with an address of the attacker's as request_uri. On this machine popcheck listens there; a server that says that it
// takes requests by reference may look (OpenID Connect Core §6.2: that is so where its metadata does not say otherwise).
func foreignRequest(c *expect.Case, who harness.Identity) {
	lure, address := c.Lure(), "https://attacker.example/request"
	if lure != nil {
		defer lure.Close()
		address = lure.URL
	}
	answer := c.Between(pushedFlow(c, who), func() harness.Outcome {
		return flow(c, who, harness.AuthorizationRequest{Who: who, Via: harness.PushedRequest, Beside: func(m *harness.Message, _ harness.Facts) {
			m.Params.Set("request_uri", address)
		}}, nil, nil)
	}, "the honest pushed request")
	const member = "request_uri_parameter_supported"
	offered := c.Metadata.True(member) || !c.Metadata.Has(member) && c.Metadata.Has("id_token_signing_alg_values_supported")
	switch {
	case lure == nil:
		c.Measured("whether the address is fetched cannot be seen: popcheck listens on this machine only")
	case lure.Connections() > 0 && !offered:
		c.Fails("the server connected to the address that came as request_uri, and does not say that it takes such ones (%s)", member)
	case lure.Connections() > 0:
		c.Measured("the server connected to the address; its metadata says that it takes such ones")
	default:
		c.Measured("the server did not connect to the address")
	}
	c.Refuses(answer, c.Check.Refusal)
}
