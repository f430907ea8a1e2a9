package pkce

import (
	"fmt"
	"time"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// AgedSpecs declares the checks of codes and tokens that were made before the first check. They are declared after all others.
func AgedSpecs(s *expect.Suite) {
	fapiCode(s)
	watched(s)
	agedCode(s)
	agedRequest(s)
	expiredTokens(s)
}

func agedCode(s *expect.Suite) {
	check := attacks.Aged().Code
	at := expect.Place{Endpoint: "token", Grant: harness.CodeGrant}
	trial := s.Pick(func(t harness.Trial) bool { return t.Grant == harness.CodeGrant })
	if trial == nil {
		s.Skip(check, at, "no client of the target file has the authorization_code grant")
		return
	}
	at.Client = trial.Client.Name
	s.It(check, at, func(c *expect.Case) { redeemOld(c, s.Aged, s.Aged.Code, attacks.CodeAge) })
}

// redeemOld redeems a code of an age, between redemptions of new ones.
func redeemOld(c *expect.Case, aged *harness.Aged, code *harness.Authorization, age time.Duration) {
	if code == nil {
		c.Unlearned("there is no code that could grow old: %s", aged.WhyNot)
	}
	who := c.Honest(aged.Trial.Client, aged.Trial.Binding)
	c.GrownOld(aged.Made.Add(age))
	answer := c.Between(func() harness.Outcome { return c.Obtained(who, harness.CodeGrant) }, func() harness.Outcome {
		return c.Loot(c.Redeem(code, harness.TokenRequest{Who: who}), harness.CodeGrant)
	}, "a new code")
	c.Measured("a code of %s", age)
	c.Refuses(answer, c.Check.Refusal)
}

// agedRequest uses a request_uri after the end that its server named (RFC 9126 §4).
func agedRequest(s *expect.Suite) {
	check := attacks.PushedSingles().Expired
	at := expect.Place{Endpoint: "authorize", Variant: string(attacks.Pushed)}
	trial := s.Pusher(anyTrial)
	if trial == nil {
		s.Skip(check, at, noCodeClient)
		return
	}
	s.It(check, place(at, trial), func(c *expect.Case) {
		leeways := attacks.PushLeeways()
		if len(s.Aged.Pushed) < len(leeways) {
			c.Unlearned("no request could be pushed that could grow old")
		}
		old := s.Aged.Pushed[0]
		switch {
		case old.Lifetime == 0:
			c.NotApplicable("observed: the server does not say when its request_uri expires")
		case old.Lifetime > attacks.TokenPatience:
			c.NotApplicable("observed: a request_uri lives %s; the end of one that lives longer than %s is not waited for", old.Lifetime, attacks.TokenPatience)
		}
		who := s.Honest(old.Trial.Client, old.Trial.Binding)
		var answer harness.Outcome
		for i, leeway := range leeways {
			old = s.Aged.Pushed[i]
			c.GrownOld(old.Made.Add(old.Lifetime + leeway))
			answer = c.Between(pushedFlow(c, who), func() harness.Outcome {
				return c.Authorize(harness.AuthorizationRequest{Who: who, Via: harness.PushedRequest, Pushed: old.RequestURI})
			}, "a new pushed request")
			c.Measured("%s after its end", leeway)
			if answer.State != harness.Granted {
				break
			}
		}
		c.Refuses(answer, check.Refusal)
	})
}

// expiredTokens tries at each resource a token that opened it before the first check, and has expired since.
func expiredTokens(s *expect.Suite) {
	check := attacks.Aged().Token
	resources := s.Resources()
	for _, r := range resources {
		at := expect.Place{Endpoint: r.Name, Role: harness.ResourceServer}
		if why := unripe(s, r); why != "" {
			s.Skip(check, at, why)
			continue
		}
		s.It(check, at, func(c *expect.Case) {
			old := s.Aged.Of(r)
			if old == nil {
				c.Unlearned("no client got a token for %s that could expire", r.Name)
			}
			who := old.Who
			c.Assume(old.Opened).To(expect.BeAccepted(), "the token when it was new")
			honest := func() harness.Outcome {
				o := c.ObtainFor(who, old.Trial.Grant, r, "")
				if o.State != harness.Granted {
					return o
				}
				return c.Call(harness.ResourceCall{Who: who, Token: o.Token.AccessToken, Resource: r})
			}
			var answer harness.Outcome
			var tried []time.Duration
			for _, leeway := range attacks.TokenLeeways() {
				c.GrownOld(old.Made.Add(old.Lifetime + leeway))
				answer = c.Between(honest, func() harness.Outcome {
					return c.Call(harness.ResourceCall{Who: who, Token: old.AccessToken, Resource: r})
				}, "a new token")
				tried = append(tried, leeway)
				if answer.State != harness.Granted {
					break
				}
			}
			v := harness.Value{Name: "end of an access token", How: "one of before the first check, tried when it had ended", Stated: fmt.Sprintf("lives %.0f s", old.Lifetime.Seconds())}
			if v.Value = fmt.Sprintf("%.0f s after that at the latest", tried[len(tried)-1].Seconds()); answer.State == harness.Granted {
				v.Value = fmt.Sprintf("not even %.0f s after that", tried[len(tried)-1].Seconds())
			}
			c.Value(v)
			c.Refuses(answer, check.Refusal)
		})
	}
	if len(resources) == 0 {
		s.Skip(check, expect.Place{Endpoint: "resource", Role: harness.ResourceServer}, "the target file names no resource")
	}
}

// unripe says why the end of a resource's token is not waited for, or "".
func unripe(s *expect.Suite, r *harness.Resource) string {
	if s.Aged == nil || s.Aged.Of(r) == nil {
		return ""
	}
	switch lifetime := s.Aged.Of(r).Lifetime; {
	case lifetime == 0:
		return "observed: the server does not say when its token for " + r.Name + " expires"
	case lifetime > attacks.TokenPatience:
		return "observed: the token for " + r.Name + " lives " + lifetime.Round(time.Second).String() + "; the end of one that lives longer than " + attacks.TokenPatience.String() + " is not waited for"
	}
	return ""
}
