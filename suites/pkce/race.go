package pkce

import (
	"fmt"
	"slices"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// races uses what works once many times at the same moment, with each kind of client and of binding.
func races(s *expect.Suite) {
	for _, a := range attacks.Races() {
		at := expect.Place{Endpoint: "token", Grant: harness.CodeGrant}
		if a.Of != attacks.TheCode {
			at.Grant = harness.RefreshGrant
		}
		trials := racers(s, a.Of)
		n := s.RaceSize(attacks.RaceRequests)
		switch {
		case len(trials) == 0:
			s.Skip(a.Check, at, orMissing(s, a.Check, map[attacks.Raced]string{attacks.TheCode: noCodeClient,
				attacks.TheRefreshToken:          "no public client gets a refresh token that neither a key nor a certificate binds",
				attacks.TheProtectedRefreshToken: "no client gets a refresh token that only it can use"}[a.Of]))
			continue
		case n < 2:
			s.Skip(a.Check, at, fmt.Sprintf("limits.requests_per_second is %g: no two requests may be sent at the same moment", s.Target.Limits.RequestsPerSecond))
			continue
		}
		for _, t := range trials {
			at.Client, at.Variant = t.Client.Name, ""
			if t.Binding != harness.Unbound {
				at.Variant = string(t.Binding)
			}
			who := s.Honest(t.Client, t.Binding)
			s.It(a.Check, at, func(c *expect.Case) {
				if a.Of != attacks.TheCode {
					rotatesAtOnce(c, who)
				}
				race := raceFor(c, a.Of, who)
				race.Requests, race.Rounds = n, attacks.RaceRounds
				seen := ""
				answer := c.Between(func() harness.Outcome { return c.Obtained(who, at.Grant) }, func() harness.Outcome {
					o, how := c.Race(race)
					seen = how
					return o
				}, "the honest flow")
				c.Expect(answer).To(expect.BeRefused())
				c.Passes("%s, between two accepted honest calls", seen)
			})
		}
	}
}

// racers are a public and a confidential client, and one with each binding: a proof or a certificate may be looked at between the
// check of what is raced and its mark.
func racers(s *expect.Suite, of attacks.Raced) []*harness.Trial {
	var out []*harness.Trial
	bound := func(fits func(harness.Trial) bool) {
		for _, b := range []harness.Binding{harness.DPoPBound, harness.CertificateBound} {
			t := s.Pick(func(t harness.Trial) bool { return fits(t) && t.Binding == b })
			if t != nil && !slices.Contains(out, t) {
				out = append(out, t)
			}
		}
	}
	switch of {
	case attacks.TheCode:
		out = clientsOf(s, attacks.PublicAndConfidential)
		bound(func(t harness.Trial) bool { return t.Grant == harness.CodeGrant })
	case attacks.TheRefreshToken:
		if t := s.Pick(refreshesUnbound); t != nil {
			out = []*harness.Trial{t}
		}
	case attacks.TheProtectedRefreshToken:
		if t := s.Pick(func(t harness.Trial) bool { return refreshes(t) && t.Client.Confidential() }); t != nil {
			out = []*harness.Trial{t}
		}
		bound(func(t harness.Trial) bool { return refreshes(t) && t.Client.Public() })
	}
	return out
}

// rotatesAtOnce ends a case of a server that takes a refresh token again that it has just replaced, also without any haste: it keeps
// its tokens, or gives clients a grace period that lost the answer with the new one. One that repeats that answer is no such server.
func rotatesAtOnce(c *expect.Case, who harness.Identity) {
	first := c.Obtain(who, harness.CodeGrant)
	c.Assume(first).To(expect.BeAccepted(), "the honest flow")
	next := c.Refresh(first.Token, harness.TokenRequest{Who: who})
	c.Assume(next).To(expect.BeAccepted(), "the honest refresh")
	if token := next.Token.RefreshToken; token == "" || token == first.Token.RefreshToken {
		c.NotApplicable("observed: a refresh brings no new refresh token here")
	}
	var again harness.Outcome
	c.Attack(func() { again = c.Refresh(first.Token, harness.TokenRequest{Who: who}) })
	switch {
	case again.State == harness.Unknown:
		c.Unlearned("the same refresh token once more: %s", again)
	case again.State == harness.Granted && again.Token.RefreshToken != next.Token.RefreshToken:
		c.Measured("a replaced refresh token works again at once")
		c.NotApplicable("observed: a refresh token that was just replaced is accepted again in peace too, so that a race shows nothing; refresh-token-again and refresh-rotation say for how long")
	}
}

// raceFor is how a thing is raced for, and what it takes to have won.
func raceFor(c *expect.Case, what attacks.Raced, who harness.Identity) expect.Race {
	r := expect.Race{Aside: func(o harness.Outcome) bool { return o.Error == "use_dpop_nonce" || o.Error == "invalid_dpop_proof" }}
	if c.OffersNonce(c.Metadata.Endpoint("token_endpoint", who.Cert)) {
		r.Excuse = "a nonce works once here"
	}
	switch what {
	case attacks.TheCode:
		r.What = "code"
		r.Start = func() (send func(*harness.Trace) harness.Outcome, failed harness.Outcome) {
			o := c.Authorize(harness.AuthorizationRequest{Who: who})
			if o.State != harness.Granted || o.Code == nil {
				return nil, prepared(o)
			}
			return func(lane *harness.Trace) harness.Outcome { return lane.Redeem(o.Code, harness.TokenRequest{Who: who}) }, failed
		}
		r.Prizes = func(won []harness.Outcome) harness.Outcome {
			return twoWork(different(won, func(t *harness.Token) string { return t.AccessToken }), "access tokens", func(o harness.Outcome) harness.Outcome {
				return c.Loot(o, harness.CodeGrant)
			})
		}
	default:
		r.What = "refresh token"
		r.Start = func() (send func(*harness.Trace) harness.Outcome, failed harness.Outcome) {
			o := c.Obtain(who, harness.CodeGrant)
			if o.State != harness.Granted || o.Token.RefreshToken == "" {
				return nil, prepared(o)
			}
			return func(lane *harness.Trace) harness.Outcome {
				return lane.Refresh(o.Token, harness.TokenRequest{Who: who})
			}, failed
		}
		// A chain goes on when its refresh token brings a token that works. An access token alone ends with its time.
		r.Prizes = func(won []harness.Outcome) harness.Outcome {
			return twoWork(different(won, func(t *harness.Token) string { return t.RefreshToken }), "refresh tokens", func(o harness.Outcome) harness.Outcome {
				return c.Loot(c.Refresh(o.Token, harness.TokenRequest{Who: who}), harness.RefreshGrant)
			})
		}
		r.Void = func(o harness.Outcome) bool { return o.Error == "invalid_grant" }
	}
	return r
}

// twoWork tries the prizes until two of them have worked.
func twoWork(prizes []harness.Outcome, what string, try func(harness.Outcome) harness.Outcome) harness.Outcome {
	usable, last := 0, harness.Outcome{State: harness.Refused}
	for _, prize := range prizes {
		switch last = try(prize); last.State {
		case harness.Unknown:
			return last
		case harness.Granted:
			usable++
		}
		if usable > 1 {
			last.Got = fmt.Sprintf("%d different %s came of it, and at least two of them work: %s", len(prizes), what, last.Got)
			return last
		}
	}
	last.State = harness.Refused
	return last
}

// different are the outcomes whose tokens differ: a server may answer a request that comes again with the same token.
func different(won []harness.Outcome, token func(*harness.Token) string) []harness.Outcome {
	var out []harness.Outcome
	for _, o := range won {
		if token(o.Token) != "" && !slices.ContainsFunc(out, func(w harness.Outcome) bool { return token(w.Token) == token(o.Token) }) {
			out = append(out, o)
		}
	}
	return out
}
