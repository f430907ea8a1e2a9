package dpop

import (
	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// rotation looks at bindings after a refresh: that of the refresh token of a public client stays, that of the access token of a
// confidential client moves with its key (RFC 9449 §5).
func rotation(s *expect.Suite) {
	k := attacks.Rotations()
	steal := func(check attacks.Check, key *harness.Key) {
		s.StolenAfterRotation(check, harness.DPoPBound, func(_ *expect.Case, who harness.Identity) harness.TokenRequest {
			who.Key = key
			return harness.TokenRequest{Who: who}
		})
	}
	steal(k.OtherKey, s.ProofKey("attacker"))
	steal(k.NoProof, nil)
	t := s.Refreshing(harness.DPoPBound, (*harness.Client).Confidential)
	if t == nil || len(t.Opens) == 0 {
		s.Skip(k.OldKey, expect.Place{Endpoint: "token", Grant: harness.RefreshGrant}, "no confidential client gets a refresh token with DPoP and opens a resource")
		return
	}
	r := t.Opens[0]
	who := s.Honest(t.Client, harness.DPoPBound)
	moved := who
	moved.Key = s.ProofKey("new key of " + t.Client.Name)
	place := expect.Place{Endpoint: r.Name, Grant: harness.RefreshGrant, Client: t.Client.Name, Role: harness.ResourceServer}
	s.It(k.OldKey, place, func(c *expect.Case) {
		honest := func() harness.Outcome {
			return c.Call(harness.ResourceCall{Who: who, Token: c.Kept(who, harness.RefreshGrant), Resource: r})
		}
		o := c.Prepared(who, harness.RefreshGrant)(harness.TokenRequest{Who: moved})
		if o.State == harness.Refused {
			c.NotApplicable("observed: a new key is refused at refresh (%s)", o)
		}
		c.Assume(o).To(expect.BeAccepted(), "the refresh with a new key")
		answer := c.Between(honest, func() harness.Outcome {
			return c.Call(harness.ResourceCall{Who: who, Token: o.Token.AccessToken, Resource: r})
		}, "a token of the old key with that key")
		c.Refuses(answer, k.OldKey.Refusal)
	})
}
