package expect

import (
	"slices"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
)

// RegisterPlace is where registrations are tried.
func RegisterPlace() Place { return Place{Endpoint: "register"} }

// Template is a client like which others may be registered, of the first kind that there is: one that popcheck has registered already, else
// one that is known to the server from before; nil where none fits.
func (s *Suite) Template(kinds ...func(*harness.Client) bool) *harness.Client {
	for _, registered := range []bool{true, false} {
		for _, fits := range kinds {
			for i := range s.Target.Clients {
				if c := &s.Target.Clients[i]; c.Register == registered && fits(c) && !slices.Contains(c.GrantTypes, harness.JWTBearerGrant) {
					return c
				}
			}
		}
	}
	return nil
}

// Registering declares a check of registration, with the client like which others are registered. A client that is known from before is
// a guess: its server may give to its administrators what it registers for nobody.
func (s *Suite) Registering(check attacks.Check, like *harness.Client, why string, body func(c *Case, like *harness.Client)) {
	if like == nil && s.Missing(check) == "" {
		s.Skip(check, RegisterPlace(), "declared: the target file names no "+why)
		return
	}
	s.It(check, RegisterPlace(), func(c *Case) {
		if !like.Register {
			if o := c.HonestRegistration(like)(); o.State == harness.Refused {
				c.NotApplicable("observed: the server registers no client like %s (%s); name one with register: true", like.Name, o)
			}
		}
		body(c, like)
	})
}

// Machine is a client that needs no user and whose secret the server makes.
func Machine(c *harness.Client) bool {
	return c.HasGrant(harness.ClientCredentialsGrant) && c.SendsSecret()
}

// WithCode is a client of the code flow that can be registered anew.
func WithCode(c *harness.Client) bool { return c.HasGrant(harness.CodeGrant) && !c.MutualTLS() }

// HonestRegistration registers a client as it stands in the target file, and removes it: the control of attacks on registration.
func (c *Case) HonestRegistration(like *harness.Client) func() harness.Outcome {
	return c.Proven("registration of "+like.Name, func() harness.Outcome {
		o := c.Register(harness.RegistrationRequest{Like: like})
		c.GiveUp(o.Registered)
		return o
	})
}

// Given is a client that was registered honestly for this check.
func (c *Case) Given(like *harness.Client) *harness.Registered {
	o := c.Register(harness.RegistrationRequest{Like: like})
	c.Assume(o).To(BeAccepted(), "an honest registration")
	return o.Registered
}

// GiveUp removes a client before the run ends; what fails here is tried again then.
func (c *Case) GiveUp(r *harness.Registered) {
	if r != nil && r.Managed() {
		c.Configure(harness.ConfigurationRequest{Method: "DELETE", Of: r})
	}
}

// Held is the identity of a registered client.
func (c *Case) Held(r *harness.Registered) harness.Identity {
	b := harness.Unbound
	switch {
	case r.Client.DPoPBoundAccessTokens:
		b = harness.DPoPBound
	case r.Client.TLSClientCertificateBoundAccessTokens, r.Client.MutualTLS():
		b = harness.CertificateBound
	}
	return c.Honest(r.Client, b)
}

// GrantOf is the grant by which a registered client gets its tokens, without a user where it may.
func GrantOf(client *harness.Client) string {
	if client.HasGrant(harness.ClientCredentialsGrant) {
		return harness.ClientCredentialsGrant
	}
	return harness.CodeGrant
}
