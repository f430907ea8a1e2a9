package mtls

import (
	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// metadata compares what the server says of certificate-bound tokens with the tokens of a client that is registered for them.
func metadata(s *expect.Suite) {
	const member = "tls_client_certificate_bound_access_tokens"
	s.Document(attacks.ServerMetadata().CertificateBound, bound, func(c *expect.Case, d *harness.Metadata, t *harness.Trial) {
		o := c.Obtain(s.Honest(t.Client, harness.CertificateBound), t.Grant)
		c.Assume(o).To(expect.BeAccepted(), "the right certificate")
		members, jwt := o.Token.Claims()
		if !jwt {
			if s.Learned.Has("introspection") == harness.No {
				c.NotApplicable("observed: the access token is opaque, and nothing introspects it")
			}
			members = c.Introspected(s.Honest(t.Client, harness.CertificateBound), t.Grant)
		}
		_, isBound := thumbprint(members)
		switch announced := d.True(member); {
		case isBound && !announced:
			c.Fails("tokens are bound to certificates, and %s is not true", member)
		case announced && !isBound:
			c.Fails("%s is true, and the token of %s is not bound", member, t.Client.Name)
		}
		c.Passes("%s is true, and tokens are bound", member)
	})
}
