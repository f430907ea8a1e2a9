package mtls

import (
	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// rotation looks at bindings after a refresh: that of the refresh token of a public client stays (RFC 8705 §4), that of the access
// token of a client that authenticates by its certificate follows a renewed one.
func rotation(s *expect.Suite) {
	k := attacks.Rotations()
	steal := func(check attacks.Check, cert func(*expect.Case, harness.Identity) *harness.Certificate) {
		s.StolenAfterRotation(check, harness.CertificateBound, func(c *expect.Case, who harness.Identity) harness.TokenRequest {
			return with(c, who, cert(c, who))
		})
	}
	steal(k.OtherCertificate, strangers)
	steal(k.NoCertificate, func(*expect.Case, harness.Identity) *harness.Certificate { return nil })

	at := expect.Place{Endpoint: "token", Grant: harness.RefreshGrant}
	t := s.Refreshing(harness.CertificateBound, func(c *harness.Client) bool { return c.TokenEndpointAuthMethod == "tls_client_auth" })
	if t == nil || s.ClientCA() == nil {
		s.Skip(k.Renewed, at, "no client with tls_client_auth gets a refresh token, or the target file names no client_ca to renew its certificate with")
		s.Skip(k.FollowsNew, at, "no client with tls_client_auth gets a refresh token, or the target file names no client_ca to renew its certificate with")
		return
	}
	at.Client = t.Client.Name
	who := s.Honest(t.Client, harness.CertificateBound)
	renew := func(c *expect.Case) (*harness.Certificate, harness.Outcome) {
		cert := made(c, s.ClientCA(), harness.Issue{Name: "a renewed certificate", Like: who.Cert.Leaf})
		send := c.Prepared(who, harness.RefreshGrant)
		return cert, c.Between(func() harness.Outcome { return c.Obtained(who, harness.RefreshGrant) }, func() harness.Outcome {
			return send(with(c, who, cert))
		}, "the honest refresh")
	}
	s.It(k.Renewed, at, func(c *expect.Case) {
		_, answer := renew(c)
		c.Expect(answer).To(expect.BeAccepted())
		c.Passes("the refresh token works with a renewed certificate")
	})
	if !t.Client.TLSClientCertificateBoundAccessTokens {
		s.Skip(k.FollowsNew, at, "declared: client "+t.Client.Name+" does not ask for certificate-bound tokens")
		return
	}
	s.It(k.FollowsNew, at, func(c *expect.Case) {
		cert, answer := renew(c)
		if answer.State == harness.Refused {
			c.NotApplicable("observed: a renewed certificate is refused at refresh (%s)", answer)
		}
		c.Assume(answer).To(expect.BeAccepted(), "the refresh with a renewed certificate")
		claims, jwt := answer.Token.Claims()
		got, claimed := thumbprint(claims)
		if jwt && claimed { // whether a resource looks is not for this check to say
			if got != cert.Thumbprint() {
				c.Fails("cnf.x5t#S256 of the refreshed token is %q, the hash of the certificate of the request is %q", got, cert.Thumbprint())
			}
			c.Passes("the refreshed token is bound to the renewed certificate")
			return
		}
		if len(t.Opens) > 0 {
			var old harness.Outcome
			c.Attack(func() {
				old = c.Call(harness.ResourceCall{Who: who, Token: answer.Token.AccessToken, Resource: t.Opens[0]})
			})
			c.Assume(c.Obtained(who, harness.RefreshGrant)).To(expect.BeAccepted(), "a token of the old certificate with that certificate")
			c.Refuses(old, k.FollowsNew.Refusal)
			return
		}
		c.Unlearned("nothing shows what the refreshed token is bound to: it does not say it, and the client opens no resource")
	})
}

// with is a refresh over another certificate, at the address that the client would use.
func with(c *expect.Case, who harness.Identity, cert *harness.Certificate) harness.TokenRequest {
	return harness.TokenRequest{Who: who, At: c.Metadata.Endpoint("token_endpoint", who.Cert), Change: func(m *harness.Message, _ harness.Facts) { m.Who.Cert = cert }}
}
