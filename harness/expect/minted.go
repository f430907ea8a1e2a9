package expect

import (
	"slices"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
)

// Minted declares the rows of tokens that only an issuer can make, at every resource that takes the binding; "" is any, a bearer token first.
func (s *Suite) Minted(b harness.Binding) {
	for _, a := range attacks.MintedTokens() {
		if a.Binding != b {
			continue
		}
		placed, why := false, "observed: no resource takes such tokens of popcheck's own"
		for _, r := range s.Resources() {
			if s.Learned.Has("token-issuer") != harness.Yes {
				why = s.Missing(a.Check)
				break
			}
			t := s.minting(r, b)
			if t == nil {
				continue
			}
			if a.Where != nil {
				if reason := a.Where(s.Target, r); reason != "" {
					why = reason
					continue
				}
			}
			placed = true
			at := Place{Endpoint: r.Name, Grant: t.Grant, Client: t.Client.ClientID, Role: harness.ResourceServer}
			s.It(a.Check, at, func(c *Case) { minted(c, a, s.Honest(t.Client, t.Binding), r) })
		}
		if !placed {
			s.Skip(a.Check, Place{Endpoint: "resource", Role: harness.ResourceServer}, why)
		}
	}
}

// minting is a holder of popcheck's own tokens that a resource takes, also where it takes those alone that are for its own name.
func (s *Suite) minting(r *harness.Resource, b harness.Binding) *harness.Trial {
	bindings := []harness.Binding{b}
	if b == "" {
		bindings = []harness.Binding{harness.Unbound, harness.DPoPBound, harness.CertificateBound}
	}
	for _, b := range bindings {
		if t := s.Opener(r, b); t != nil && s.TakesBinding(r, b) != harness.No {
			return t
		}
		named := s.Pick(func(t harness.Trial) bool {
			return t.Binding == b && slices.ContainsFunc(s.ResourcesFor(t.Client, t.Grant), func(o *harness.Resource) bool { return o.Name == r.Name })
		})
		if r.Indicator != "" && named != nil {
			return named
		}
	}
	return nil
}

// minted presents each of the bad tokens between two good ones of the same holder.
func minted(c *Case, a attacks.MintedAttack, who harness.Identity, r *harness.Resource) {
	send := func(as harness.Identity, change harness.MintChange) harness.Outcome {
		o := c.Mint(who, r, change)
		if o.State != harness.Granted {
			return o
		}
		return c.Call(harness.ResourceCall{Who: as, Token: o.Token.AccessToken, Resource: r})
	}
	sender := who
	switch a.Sender {
	case attacks.Finder:
		sender = harness.Identity{Client: who.Client}
	case attacks.Attacker:
		sender.Key = c.ProofKey("attacker")
	}
	answer := c.Between(func() harness.Outcome { return send(who, nil) }, func() harness.Outcome {
		var refused harness.Outcome
		for i, change := range a.Changes {
			o := send(sender, change)
			if o.State != harness.Refused {
				return o
			}
			if i == 0 || a.Refusal.Misfit(refused) == "" {
				refused = o
			}
		}
		return refused
	}, "a token without the defect")
	c.Refuses(answer, a.Refusal)
}
