package mtls

import (
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// registration registers clients of mutual TLS that are known by two names, or by none (RFC 8705 §2.1.2).
func registration(s *expect.Suite) {
	k := attacks.Registrations()
	like := s.Template(func(c *harness.Client) bool {
		return c.TokenEndpointAuthMethod == "tls_client_auth" && s.CertificateOf(c) != nil
	})
	const why = "client with tls_client_auth, like which others could be registered"
	const second = "tls_client_auth_san_dns"
	s.Registering(k.TwoSubjects, like, why, func(c *expect.Case, like *harness.Client) {
		added, value := second, "second.popcheck.example"
		if like.TLSClientAuthSANDNS != "" {
			added, value = "tls_client_auth_subject_dn", "CN=second.popcheck.example"
		}
		// Else a server that does not know this name at all would seem to refuse the pair.
		if alone := c.Register(harness.RegistrationRequest{Like: like, Change: func(m *harness.Object) { withoutSubject(m); m.Set(added, value) }}); alone.State == harness.Refused {
			c.Assume(c.HonestRegistration(like)()).To(expect.BeAccepted(), "an honest registration")
			c.NotApplicable("observed: the server registers no client by %s: %s", added, alone)
		}
		subjects(c, like, func(m *harness.Object) { m.Set(added, value) }, func(members map[string]any) string {
			if members[added] == nil {
				return "without " + added
			}
			return ""
		})
	})
	s.Registering(k.NoSubject, like, why, func(c *expect.Case, like *harness.Client) {
		subjects(c, like, withoutSubject, func(members map[string]any) string {
			for name, value := range members {
				if strings.HasPrefix(name, "tls_client_auth_") && value != nil && value != "" {
					return "with a " + name
				}
			}
			return ""
		})
	})
}

func withoutSubject(m *harness.Object) {
	for _, name := range []string{"subject_dn", "san_dns", "san_uri", "san_ip", "san_email"} {
		m.Drop("tls_client_auth_" + name)
	}
}

// subjects registers a client with names that do not fit. It counts when its certificate then brings a token.
func subjects(c *expect.Case, like *harness.Client, change harness.MembersChange, replaced func(members map[string]any) string) {
	answer := c.Between(c.HonestRegistration(like), func() harness.Outcome {
		return c.Register(harness.RegistrationRequest{Like: like, Change: change})
	}, "an honest registration")
	if answer.State != harness.Granted {
		c.Refuses(answer, c.Check.Refusal)
		return
	}
	r := answer.Registered
	defer c.GiveUp(r)
	if method := r.Client.TokenEndpointAuthMethod; method != like.TokenEndpointAuthMethod {
		c.NotApplicable("observed: the server registered the client with %s instead of %s (RFC 7591 §3.2.1)", method, like.TokenEndpointAuthMethod)
	}
	if how := replaced(r.Members); how != "" {
		c.Warns("the client was registered %s", how)
		return
	}
	var token harness.Outcome
	c.Attack(func() {
		token = c.Loot(c.Obtain(c.Honest(r.Client, harness.CertificateBound), expect.GrantOf(r.Client)), expect.GrantOf(r.Client))
	})
	c.Expect(token).To(expect.BeRefused())
	c.Warns("the client was registered, and gets no token (%s)", token)
}
