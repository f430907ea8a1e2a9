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
		trials := racers(s)
		n := s.RaceSize(attacks.RaceRequests)
		switch {
		case len(trials) == 0:
			s.Skip(a.Check, at, noCodeClient)
			continue
		case n < 2:
			s.Skip(a.Check, at, fmt.Sprintf("limits.requests_per_second is %g: no two requests may be sent at the same moment", s.Target.Limits.RequestsPerSecond))
			continue
		}
		for _, t := range trials {
			at.Client, at.Variant = t.Client.ClientID, ""
			if t.Binding != harness.Unbound {
				at.Variant = string(t.Binding)
			}
			who := s.Honest(t.Client, t.Binding)
			s.It(a.Check, at, func(c *expect.Case) {
				seen := ""
				answer := c.Between(func() harness.Outcome { return c.Obtained(who, harness.CodeGrant) }, func() harness.Outcome {
					o, how := race(c, a.Of, who, n)
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
func racers(s *expect.Suite) []*harness.Trial {
	out := clientsOf(s, attacks.PublicAndConfidential)
	for _, b := range []harness.Binding{harness.DPoPBound, harness.CertificateBound} {
		t := s.Pick(func(t harness.Trial) bool { return t.Grant == harness.CodeGrant && t.Binding == b })
		if t != nil && !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}

// race plays the rounds until one yields two tokens, and says what was seen. Refused means that no round did, and that in one at
// least somebody won.
func race(c *expect.Case, what attacks.Raced, who harness.Identity, n int) (answer harness.Outcome, seen string) {
	rounds, overlapped, served, revoked := 0, 0, 0, 0
	for range attacks.RaceRounds {
		send, failed := startLine(c, what, who)
		if send == nil {
			return failed, ""
		}
		r := c.AtOnce(n, send)
		// Where a nonce works once, all proofs but one are refused before the code is looked at.
		runners := slices.DeleteFunc(r.Decided(), func(o harness.Outcome) bool { return o.Error == "use_dpop_nonce" || o.Error == "invalid_dpop_proof" })
		if challenged := len(r.Decided()) - len(runners); len(runners) == 1 && challenged > 0 && c.OffersNonce(c.Metadata.Endpoint("token_endpoint", who.Cert)) {
			c.NotApplicable("observed: a nonce works once here, so that %d of %d requests at the same moment were refused for theirs", challenged, n)
		}
		if len(runners) < 2 {
			return harness.Outcome{At: r.Outcomes[0].At, Why: fmt.Sprintf("%d of %d requests at the same moment were decided, so nobody raced; the first came to: %s", len(runners), n, r.Outcomes[0])}, ""
		}
		rounds, overlapped = rounds+1, overlapped+r.Overlapped
		c.Measured("%d requests at the same moment, rounds: %d; %d of %d were complete before the first answer of their round", n, rounds, overlapped, rounds*n)
		won := winners(runners)
		served += min(len(won), 1)
		for _, o := range runners {
			if o.State == harness.Refused {
				answer = o
			}
		}
		if len(won) < 2 {
			continue
		}
		usable := 0
		for _, o := range won {
			switch o = c.Loot(o, harness.CodeGrant); o.State {
			case harness.Unknown:
				return o, ""
			case harness.Granted:
				usable++
			}
			if usable > 1 {
				o.Got = fmt.Sprintf("%d different access tokens came of one code in round %d, and at least two of them work: %s", len(won), rounds, o.Got)
				return o, ""
			}
		}
		revoked++
	}
	if served == 0 {
		return harness.Outcome{At: answer.At, Why: "none of the requests at the same moment got a token, not even one: " + answer.String()}, ""
	}
	seen = fmt.Sprintf("not one of %d codes, each sent %d times at the same moment, brought a second token", rounds, n)
	if revoked > 0 {
		seen += fmt.Sprintf("; of %d several tokens were issued, and at most one worked afterwards", revoked)
	}
	answer.State = harness.Refused
	return answer, seen
}

// startLine makes one thing that works once, and says how to use it; send is nil when it could not be made.
func startLine(c *expect.Case, what attacks.Raced, who harness.Identity) (send func(*harness.Trace) harness.Outcome, failed harness.Outcome) {
	switch what {
	case attacks.TheCode:
		o := c.Authorize(harness.AuthorizationRequest{Who: who})
		if o.State != harness.Granted || o.Code == nil {
			return nil, harness.Outcome{At: o.At, Why: "the preparation was refused: " + o.String()}
		}
		return func(lane *harness.Trace) harness.Outcome { return lane.Redeem(o.Code, harness.TokenRequest{Who: who}) }, failed
	}
	return nil, harness.Outcome{Why: "popcheck does not know how to race this"}
}

// winners are the outcomes with different access tokens: a server may answer a request that comes again with the same token.
func winners(outcomes []harness.Outcome) []harness.Outcome {
	var out []harness.Outcome
	for _, o := range outcomes {
		if o.State == harness.Granted && !slices.ContainsFunc(out, func(w harness.Outcome) bool { return w.Token.AccessToken == o.Token.AccessToken }) {
			out = append(out, o)
		}
	}
	return out
}
