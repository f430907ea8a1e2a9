package pkce

import (
	"fmt"
	"time"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// measurements learns what decides how much is won by what is stolen: lifetimes, rotation; and whether the clocks agree.
func measurements(s *expect.Suite) {
	m := attacks.Measured()
	clocks(s, m.Clock)
	lifetime(s, m.Lifetime)
	rotationMode(s, m.Rotation)
}

// clocks compares the server's time with ours: at the token endpoint and at every resource.
func clocks(s *expect.Suite, check attacks.Check) {
	if t := s.Pick(func(harness.Trial) bool { return true }); t != nil {
		who := s.Honest(t.Client, t.Binding)
		s.It(check, expect.Place{Endpoint: "token", Grant: t.Grant, Client: t.Client.Name}, func(c *expect.Case) {
			c.Assume(c.Obtained(who, t.Grant)).To(expect.BeAccepted(), "the honest flow")
			clock(c, c.Obtain(who, t.Grant))
		})
	} else {
		s.Skip(check, expect.Place{Endpoint: "token"}, "no client of the target file could get a token")
	}
	for _, r := range s.Resources() {
		t := s.Pick(func(t harness.Trial) bool { return t.Opened(r) })
		if t == nil {
			continue
		}
		who := s.Honest(t.Client, t.Binding)
		s.It(check, expect.Place{Endpoint: r.Name, Client: t.Client.Name, Role: harness.ResourceServer}, func(c *expect.Case) {
			call := harness.ResourceCall{Who: who, Token: c.Kept(who, t.Grant), Resource: r}
			c.Assume(c.Call(call)).To(expect.BeAccepted(), "the honest call")
			clock(c, c.Call(call))
		})
	}
}

// clock reads the time of an honest answer, on a connection that has been used.
func clock(c *expect.Case, answer harness.Outcome) {
	c.Assume(answer).To(expect.BeAccepted(), "the honest call, again")
	ahead, off, ok := answer.Answer.Skew()
	if !ok {
		c.NotApplicable("observed: the answer has no Date")
	}
	value := fmt.Sprintf("%+.0f s", ahead.Seconds())
	if ahead.Abs() <= off {
		value = "0 s"
	}
	if off > time.Second {
		value += fmt.Sprintf(", give or take %.0f s", off.Seconds())
	}
	c.Value(harness.Value{Name: "clock, ahead of popcheck's", Value: value, How: "the Date of an answer"})
	c.Passes("measured only")
}

// lifetime compares what a token says of its end with the response that it came in.
func lifetime(s *expect.Suite, check attacks.Check) {
	t := s.Pick(func(harness.Trial) bool { return true })
	if t == nil {
		s.Skip(check, expect.Place{Endpoint: "token"}, "no client of the target file could get a token")
		return
	}
	who := s.Honest(t.Client, t.Binding)
	s.It(check, expect.Place{Endpoint: "token", Grant: t.Grant, Client: t.Client.Name}, func(c *expect.Case) {
		o := c.Obtain(who, t.Grant)
		c.Assume(o).To(expect.BeAccepted(), "the honest flow")
		c.Assume(c.Spend(o.Token, t.Grant)).To(expect.BeAccepted(), "the token")
		v := harness.Value{Name: "lifetime of an access token", Value: "not said", How: "nothing says it"}
		if announced := o.Token.Announced(); announced > 0 {
			v.Stated = "expires_in " + fmt.Sprint(announced.Seconds())
			v.Value, v.How = span(announced), "as stated"
		}
		claims, _ := o.Token.Claims()
		how := "exp and iat of the token"
		if claims == nil && c.CanIntrospect() {
			how = "exp and iat of introspection"
			if members, answer := c.Introspect(o.Token.AccessToken); answer.State == harness.Granted {
				claims = members
			}
		}
		exp, hasEnd := claims["exp"].(float64)
		iat, hasBegin := claims["iat"].(float64)
		if hasEnd && hasBegin && exp > iat && exp-iat < 1e9 {
			v.Value, v.How = span(time.Duration(exp-iat)*time.Second), how
		}
		c.Value(v)
		c.Passes("measured only")
	})
}

func span(d time.Duration) string { return fmt.Sprintf("%.0f s", d.Seconds()) }

// rotationMode uses the refresh token of each kind of client twice.
func rotationMode(s *expect.Suite, check attacks.Check) {
	var trials []*harness.Trial
	for _, of := range []attacks.Raced{attacks.TheRefreshToken, attacks.TheProtectedRefreshToken} {
		trials = append(trials, racers(s, of)...)
	}
	for _, t := range trials {
		at, who := atRefresh(t), s.Honest(t.Client, t.Binding)
		if t.Binding != harness.Unbound {
			at.Variant = string(t.Binding)
		}
		s.It(check, at, func(c *expect.Case) {
			c.Assume(c.Obtained(who, harness.RefreshGrant)).To(expect.BeAccepted(), "the honest refresh")
			first := c.Obtain(who, harness.CodeGrant)
			c.Assume(first).To(expect.BeAccepted(), "the honest flow")
			next := c.Refresh(first.Token, harness.TokenRequest{Who: who})
			c.Assume(next).To(expect.BeAccepted(), "the honest refresh")
			v := harness.Value{Name: "rotation of refresh tokens", Value: "no: the token stays", How: "one refresh"}
			if token := next.Token.RefreshToken; token != "" && token != first.Token.RefreshToken {
				var again harness.Outcome
				c.Attack(func() { again = c.Refresh(first.Token, harness.TokenRequest{Who: who}) })
				v.How = "the old token again, at once"
				switch {
				case again.State == harness.Unknown:
					c.Unlearned("the old refresh token, again: %s", again)
				case again.State == harness.Refused:
					v.Value = "yes: the old token is refused at once"
				case again.Token.RefreshToken == token:
					v.Value = "yes: the old token brings the same answer again"
				default:
					v.Value = "yes: the old token works on for a while, or for ever"
				}
			}
			c.Assume(c.Obtained(who, harness.RefreshGrant)).To(expect.BeAccepted(), "the honest refresh, again")
			c.Value(v)
			c.Passes("measured only; see refresh-token-again for what a public client needs")
		})
	}
	if len(trials) == 0 {
		s.Skip(check, expect.Place{Endpoint: "token", Grant: harness.RefreshGrant}, orMissing(s, check, noRefresh))
	}
}

// watched sees codes and request_uris grow old.
func watched(s *expect.Suite) {
	m := attacks.Measured()
	t := s.Pick(func(t harness.Trial) bool { return t.Grant == harness.CodeGrant })
	if t == nil {
		s.Skip(m.CodeAge, expect.Place{Endpoint: "token", Grant: harness.CodeGrant}, noCodeClient)
		s.Skip(m.PushAge, expect.Place{Endpoint: "par"}, noCodeClient)
		return
	}
	who := s.Honest(t.Client, t.Binding)
	honest := func(c *expect.Case) harness.Outcome { return c.Obtained(who, harness.CodeGrant) }
	s.Watch(m.CodeAge, expect.Place{Endpoint: "token", Grant: harness.CodeGrant, Client: t.Client.Name}, harness.Refused, func(c *expect.Case) []expect.Try {
		c.Assume(honest(c)).To(expect.BeAccepted(), "the honest flow")
		var tries []expect.Try
		for _, age := range attacks.WatchedAges() {
			o := c.Authorize(harness.AuthorizationRequest{Who: who})
			c.Assume(o).To(expect.BeAccepted(), "the honest authorization")
			tries = append(tries, expect.Try{Age: age, Use: func(c *expect.Case) (out harness.Outcome) {
				c.Attack(func() { out = c.Loot(c.Redeem(o.Code, harness.TokenRequest{Who: who}), harness.CodeGrant) })
				return out
			}})
		}
		return tries
	}, func(c *expect.Case, w expect.Life) {
		c.Assume(w.First()).To(expect.BeAccepted(), "a code redeemed at once")
		c.Assume(honest(c)).To(expect.BeAccepted(), "the honest flow, again")
		c.Value(harness.Value{Name: "lifetime of a code", Value: w.Span(), How: "codes of one time, each redeemed at another age"})
		c.Passes("measured only; see code-old for the limit")
	})
	pusher := s.Pusher(anyTrial)
	pushAge(s, m.PushAge, s.Honest(pusher.Client, pusher.Binding))
}

// pushAge tries request_uris up to their announced end, and just beyond it.
func pushAge(s *expect.Suite, check attacks.Check, who harness.Identity) {
	honest := func(c *expect.Case) harness.Outcome {
		return c.Authorize(harness.AuthorizationRequest{Who: who, Via: harness.PushedRequest})
	}
	var announced time.Duration
	s.Watch(check, expect.Place{Endpoint: "par", Client: who.Client.Name}, harness.Refused, func(c *expect.Case) []expect.Try {
		c.Assume(honest(c)).To(expect.BeAccepted(), "the honest pushed request")
		var tries []expect.Try
		push := func(age time.Duration) {
			pair := c.NewPKCE()
			o := c.Push(harness.AuthorizationRequest{Who: who, PKCE: pair})
			c.Assume(o).To(expect.BeAccepted(), "the honest push")
			announced = o.Lifetime()
			tries = append(tries, expect.Try{Age: age, Use: func(c *expect.Case) (out harness.Outcome) {
				c.Attack(func() {
					out = c.Authorize(harness.AuthorizationRequest{Who: who, Via: harness.PushedRequest, Pushed: o.RequestURI, PKCE: pair})
				})
				return out
			}})
		}
		for _, age := range attacks.WatchedAges() {
			if announced == 0 || age < announced {
				push(age)
			}
		}
		if announced > 0 && announced <= attacks.TokenPatience {
			push(announced + attacks.IatSlack)
		}
		return tries
	}, func(c *expect.Case, w expect.Life) {
		c.Assume(w.First()).To(expect.BeAccepted(), "a request_uri used at once")
		c.Assume(honest(c)).To(expect.BeAccepted(), "the honest pushed request, again")
		v := harness.Value{Name: "lifetime of a request_uri", Value: w.Span(), How: "pushed requests of one time, each used at another age"}
		if announced > 0 {
			v.Stated = "expires_in " + fmt.Sprint(announced.Seconds())
		}
		c.Value(v)
		c.Passes("measured only; see par-request-uri-old for the limit")
	})
}
