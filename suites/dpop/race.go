package dpop

import (
	"fmt"
	"sync"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// proofRaces sends the very same proof at the same moment, at one kind of request to the token endpoint and at every resource.
func proofRaces(s *expect.Suite) {
	check := attacks.ProofRace()
	n := s.RaceSize(attacks.RaceRequests)
	places := simplest(s)
	for _, where := range places {
		if n < 2 {
			s.Skip(check, where.at, fmt.Sprintf("limits.requests_per_second is %g: no two requests may be sent at the same moment", s.Target.Limits.RequestsPerSecond))
			continue
		}
		s.It(check, where.at, func(c *expect.Case) {
			refusedAgain(c, where)
			race := expect.Race{What: "proof", Requests: n, Rounds: attacks.RaceRounds, Start: func() (func(*harness.Trace) harness.Outcome, harness.Outcome) {
				return oneProof(c, s, where, n)
			}, Prizes: func(won []harness.Outcome) harness.Outcome {
				last := won[0]
				for _, o := range won[:2] {
					if last = c.Loot(o, where.at.Grant); last.State != harness.Granted {
						return last
					}
				}
				last.Got = fmt.Sprintf("%d of %d requests with the very same proof were accepted: %s", len(won), n, last)
				return last
			}}
			if where.place == attacks.AtToken && where.at.Grant == harness.CodeGrant {
				race.Rounds = attacks.RaceLoginRounds
			}
			seen := ""
			answer := c.Between(where.proven(c), func() harness.Outcome {
				o, how := c.Race(race)
				seen = how
				return o
			}, "the honest proof")
			if answer.State == harness.Granted {
				refusedAgain(c, where) // it is no chance that this is refused, of a nonce that had just ended
			}
			c.Expect(answer).To(expect.BeRefused())
			c.Passes("%s, between two accepted honest calls", seen)
		})
	}
	if len(places) == 0 {
		s.Skip(check, expect.Place{Endpoint: "token"}, nowhere)
	}
}

// simplest are the token endpoint, by the grant that takes the fewest requests, and every resource.
func simplest(s *expect.Suite) []site {
	all := sites(s)
	var out []site
	for _, grant := range []string{harness.ClientCredentialsGrant, harness.JWTBearerGrant, harness.CodeGrant} {
		for _, where := range all {
			if where.place == attacks.AtToken && where.at.Grant == grant && len(out) == 0 {
				out = append(out, where)
			}
		}
	}
	for _, where := range all {
		if where.place == attacks.AtResource {
			out = append(out, where)
		}
	}
	return out
}

// oneProof makes a proof that was never sent, and what n requests need beside it: where a code is redeemed, one of its own for each.
// It has the nonce that came last: a round that finds it spent brings the next.
func oneProof(c *expect.Case, s *expect.Suite, where site, n int) (send func(*harness.Trace) harness.Outcome, failed harness.Outcome) {
	var once sync.Once
	compact := ""
	same := func(p *harness.Proof) {
		once.Do(func() { compact = p.Facts.Another() })
		p.Verbatim(compact)
	}
	request := harness.TokenRequest{Who: where.who, Proof: same}
	switch {
	case where.place == attacks.AtResource:
		token, r := c.Kept(where.who, where.at.Grant), resourceOf(s, where)
		return func(lane *harness.Trace) harness.Outcome {
			return lane.Call(harness.ResourceCall{Who: where.who, Token: token, Resource: r, Proof: same})
		}, failed
	case where.at.Grant == harness.ClientCredentialsGrant:
		return func(lane *harness.Trace) harness.Outcome { return lane.ClientCredentials(request) }, failed
	case where.at.Grant == harness.JWTBearerGrant:
		return func(lane *harness.Trace) harness.Outcome { return lane.JWTBearer(request) }, failed
	}
	codes := make(chan *harness.Authorization, n)
	for range n {
		o := c.Authorize(harness.AuthorizationRequest{Who: where.who})
		if o.State != harness.Granted || o.Code == nil {
			return nil, harness.Outcome{At: o.At, Why: "the preparation was refused: " + o.String()}
		}
		codes <- o.Code
	}
	return func(lane *harness.Trace) harness.Outcome { return lane.Redeem(<-codes, request) }, failed
}
