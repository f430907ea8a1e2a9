package dpop

import (
	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// registration registers a client whose tokens have to be bound (RFC 9449 §5.2), and asks for one without proof.
func registration(s *expect.Suite) {
	check := attacks.Registrations().DPoPBound
	unbound := func(fits func(*harness.Client) bool) func(*harness.Client) bool {
		return func(c *harness.Client) bool { return fits(c) && !c.TLSClientCertificateBoundAccessTokens }
	}
	like := s.Template(unbound(expect.Machine), unbound(expect.WithCode))
	s.Registering(check, like, "client that could be registered once more", func(c *expect.Case, like *harness.Client) {
		bound := *like
		bound.DPoPBoundAccessTokens = true
		r := c.Given(&bound)
		defer c.GiveUp(r)
		if !r.Client.DPoPBoundAccessTokens {
			c.Warns("the client was registered without dpop_bound_access_tokens, as the answer says")
			return
		}
		grant := expect.GrantOf(r.Client)
		answer := c.Between(func() harness.Outcome { return c.Obtained(c.Honest(r.Client, harness.DPoPBound), grant) }, func() harness.Outcome {
			return c.Loot(c.Obtain(c.Honest(r.Client, harness.Unbound), grant), grant)
		}, "the registered client with a proof")
		c.Refuses(answer, check.Refusal)
	})
}
