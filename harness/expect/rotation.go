package expect

import (
	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
)

// Refreshing picks a client that gets refresh tokens by a code with a binding.
func (s *Suite) Refreshing(b harness.Binding, fits func(*harness.Client) bool) *harness.Trial {
	return s.Pick(func(t harness.Trial) bool {
		return t.Grant == harness.CodeGrant && t.Binding == b && t.Refresh != harness.No && fits(t.Client)
	})
}

// StolenAfterRotation declares that the refresh token of a public client which came by a refresh itself is refused to who has it and
// not what it is bound to: a server may bind what a code brings, and forget it for what a refresh token brings.
func (s *Suite) StolenAfterRotation(check attacks.Check, b harness.Binding, steal func(c *Case, who harness.Identity) harness.TokenRequest) {
	at := Place{Endpoint: "token", Grant: harness.RefreshGrant}
	t := s.Refreshing(b, (*harness.Client).Public)
	if t == nil {
		with := map[harness.Binding]string{harness.DPoPBound: "DPoP", harness.CertificateBound: "a certificate"}[b]
		s.Skip(check, at, "no public client gets a refresh token with "+with)
		return
	}
	at.Client = t.Client.ClientID
	who := s.Honest(t.Client, b)
	s.It(check, at, func(c *Case) {
		stolen := steal(c, who)
		send := c.Rotated(who)
		answer := c.Between(func() harness.Outcome { return c.Obtained(who, harness.RefreshGrant) }, func() harness.Outcome {
			return c.Loot(send(stolen), harness.RefreshGrant)
		}, "the honest refresh")
		c.Refuses(answer, check.Refusal)
	})
}
