package attacks

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/popcheck/popcheck/harness"
)

// CertificateAttack presents another certificate than the client's, or none, where the certificate decides.
type CertificateAttack struct {
	Check
	Clients     func(*harness.Client) bool // nil: every client of mutual TLS
	Certificate func(CertificateFacts) (*harness.Certificate, error)
	Change      harness.Change // a further change of the token request
	Plain       Listener
	At          []Place
	Lenient     Lenience
}

// Listener says where a request goes.
type Listener int

// The endpoint beside its mutual-TLS alias is a way around the certificate.
const (
	Aliased      Listener = iota // where the client would go
	Conventional                 // the endpoint of the metadata itself
)

// CertificateFacts is what an attacker works with.
type CertificateFacts struct {
	Tester *harness.Tester
	Client *harness.Client
	Right  *harness.Certificate // the victim's; its key is used only where the row says so
	Other  *harness.Client      // another client of mutual TLS
}

// RunsAt reports whether the row applies to a kind of endpoint.
func (a CertificateAttack) RunsAt(p Place) bool { return slices.Contains(a.At, p) }

// NoCertificate is the row that says what keeps the rows of client authentication from an endpoint.
const NoCertificate = "mtls-no-certificate"

// NoCertificateAtResource is the row that runs with the tokens of every grant.
const NoCertificateAtResource = "mtls-bound-no-certificate"

// RenewedCertificate is the row that only a CA which the server trusts can try at a server that validates chains.
const RenewedCertificate = "mtls-bound-renewed"

func noCertificate(CertificateFacts) (*harness.Certificate, error) { return nil, nil }

// issued asks the tester's CA, which the server trusts.
func issued(edit func(CertificateFacts, *harness.Issue)) func(CertificateFacts) (*harness.Certificate, error) {
	return func(f CertificateFacts) (*harness.Certificate, error) {
		wish := harness.Issue{Name: "a certificate of the same CA", Like: f.Right.Leaf}
		edit(f, &wish)
		return f.Tester.ClientCA().Issue(wish)
	}
}

func pki(c *harness.Client) bool     { return c.TokenEndpointAuthMethod == "tls_client_auth" }
func byDNS(c *harness.Client) bool   { return c.TLSClientAuthSANDNS != "" }
func byURI(c *harness.Client) bool   { return c.TLSClientAuthSANURI != "" }
func byIP(c *harness.Client) bool    { return c.TLSClientAuthSANIP != "" }
func byEmail(c *harness.Client) bool { return c.TLSClientAuthSANEmail != "" }

func before(names []string, prefix string) []string {
	var out []string
	for _, n := range names {
		out = append(out, prefix+n)
	}
	return out
}

func selfSigned(c *harness.Client) bool {
	return c.TokenEndpointAuthMethod == "self_signed_tls_client_auth"
}

// Certificates are the attacks on client authentication by mutual TLS and on certificate-bound tokens.
func Certificates() []CertificateAttack {
	authenticated, resource := []Place{AtToken, AtPAR, AtIntrospection, AtRevocation}, []Place{AtResource}
	row := func(id, title string, clause harness.Clause, threat harness.Threat, refusal harness.Refusal, needs, covers, why, fix string) Check {
		return Check{ID: id, Title: title, Clause: clause, Level: harness.Must, Severity: harness.Critical, Threat: threat, Refusal: refusal, Needs: needs, Covers: covers, Why: why, Fix: fix}
	}
	wrong, other := harness.WrongCertificate, harness.ClientImpersonation
	const impersonated = "anyone can act in the name of the client"
	const stolen = "a stolen token works for the thief: the binding means nothing"
	names := func(id, title, covers, method string, is func(*harness.Client) bool, edit func(right *x509.Certificate, w *harness.Issue)) CertificateAttack {
		return CertificateAttack{Check: row(id, title, rfc8705("2"), wrong, invalidClient(), "trusted-ca", covers, impersonated, "compare the "+method+" with the registered one, and nothing else"),
			Clients: is, At: authenticated, Certificate: issued(func(f CertificateFacts, w *harness.Issue) { edit(f.Right.Leaf, w); *w = w.SetNames() })}
	}
	return []CertificateAttack{
		{Check: row("mtls-no-certificate", "refuses a client without its certificate", rfc8705("2"), other, invalidClient(), "", "MTLS-AS-01.1 MTLS-AS-01.5 MTLS-AS-01.6 MTLS-AS-01.7 MTLS-AS-11.2", impersonated, "authenticate the client by the certificate of the connection"), At: authenticated, Certificate: noCertificate},
		{Check: row("mtls-secret-instead", "refuses a client secret instead of the certificate", rfc8705("2"), other, invalidClient("invalid_request"), "", "MTLS-AS-01.2 MTLS-AS-11.1", impersonated, "accept only the method that the client registered"), At: authenticated, Certificate: noCertificate, Change: set("client_secret", "popcheck-guess")},
		{Check: row("mtls-plain-endpoint", "does not serve the client beside mtls_endpoint_aliases", rfc8705("5"), harness.Downgrade, invalidClient(), "mtls-aliases", "MTLS-AS-18.2", impersonated, "authenticate the client at both addresses of an endpoint in the same way"), At: authenticated, Certificate: noCertificate, Plain: Conventional},
		{Check: row("mtls-subject-other-name", "refuses another common name of the same CA", rfc8705("2"), wrong, invalidClient(), "trusted-ca", "MTLS-AS-02.1", impersonated, "compare the whole subject with tls_client_auth_subject_dn"),
			Clients: func(c *harness.Client) bool { return pki(c) && c.TLSClientAuthSubjectDN != "" }, At: authenticated,
			Certificate: issued(func(f CertificateFacts, w *harness.Issue) {
				subject := f.Right.Leaf.Subject
				subject.CommonName, subject.ExtraNames = "another-"+subject.CommonName, nil
				w.Subject = &subject
			})},
		{Check: row("mtls-subject-missing-rdn", "refuses the registered subject with one RDN missing", rfc8705("2"), wrong, invalidClient(), "trusted-ca", "MTLS-AS-02.3", impersonated, "compare the whole subject: a common name alone is not the client"),
			Clients: func(c *harness.Client) bool { return pki(c) && strings.Contains(c.TLSClientAuthSubjectDN, ",") }, At: authenticated,
			Certificate: issued(func(f CertificateFacts, w *harness.Issue) {
				w.Subject = &pkix.Name{ExtraNames: withoutRDN(f.Right.Leaf.Subject.Names)}
			})},
		{Check: row("mtls-subject-extra-rdn", "refuses the registered subject with one more RDN", rfc8705("2"), wrong, invalidClient(), "trusted-ca", "MTLS-AS-02.2", impersonated, "compare the whole subject, not its beginning or a part"),
			Clients: func(c *harness.Client) bool { return pki(c) && c.TLSClientAuthSubjectDN != "" }, At: authenticated,
			Certificate: issued(func(f CertificateFacts, w *harness.Issue) {
				w.Subject = &pkix.Name{ExtraNames: append(slices.Clone(f.Right.Leaf.Subject.Names), pkix.AttributeTypeAndValue{Type: []int{2, 5, 4, 11}, Value: "popcheck"})}
			})},
		names("mtls-san-dns-other", "refuses another DNS name of the same CA", "MTLS-AS-03.1", "dNSName", byDNS, func(_ *x509.Certificate, w *harness.Issue) { w.DNS = []string{"other.popcheck.example"} }),
		names("mtls-san-uri-other", "refuses another URI of the same CA", "MTLS-AS-04.1", "uniformResourceIdentifier", byURI, func(_ *x509.Certificate, w *harness.Issue) {
			w.URIs = []*url.URL{{Scheme: "https", Host: "other.popcheck.example", Path: "/client"}}
		}),
		names("mtls-san-ip-other", "refuses another IP address of the same CA", "MTLS-AS-05.1", "iPAddress", byIP, func(_ *x509.Certificate, w *harness.Issue) { w.IPs = []net.IP{net.IPv4(203, 0, 113, 99)} }),
		names("mtls-san-email-other", "refuses another mail address of the same CA", "MTLS-AS-06.1", "rfc822Name", byEmail, func(_ *x509.Certificate, w *harness.Issue) { w.Emails = []string{"other@popcheck.example"} }),
		names("mtls-san-dns-subdomain", "refuses a subdomain of the registered DNS name", "MTLS-AS-03.5", "dNSName", byDNS, func(right *x509.Certificate, w *harness.Issue) { w.DNS = before(right.DNSNames, "sub.") }),
		names("mtls-san-dns-wildcard", "refuses a wildcard that covers the registered DNS name", "MTLS-AS-03.3", "dNSName", byDNS, func(right *x509.Certificate, w *harness.Issue) {
			if len(right.DNSNames) > 0 {
				_, parent, _ := strings.Cut(right.DNSNames[0], ".")
				w.DNS = []string{"*." + parent}
			}
		}),
		names("mtls-san-dns-common-name", "refuses the registered DNS name as a common name", "MTLS-AS-03.2", "dNSName", byDNS, func(right *x509.Certificate, w *harness.Issue) {
			if len(right.DNSNames) > 0 {
				w.Subject = &pkix.Name{CommonName: right.DNSNames[0]}
			}
		}),
		names("mtls-san-uri-longer", "refuses a URI that begins with the registered one", "MTLS-AS-04.2", "uniformResourceIdentifier", byURI, func(right *x509.Certificate, w *harness.Issue) {
			for _, u := range right.URIs {
				longer := *u
				longer.Path += "/x"
				w.URIs = append(w.URIs, &longer)
			}
		}),
		names("mtls-san-ip-as-dns", "refuses the registered address as a DNS name", "MTLS-AS-05.2", "iPAddress", byIP, func(right *x509.Certificate, w *harness.Issue) {
			for _, ip := range right.IPAddresses {
				w.DNS = append(w.DNS, ip.String())
			}
		}),
		names("mtls-san-email-longer", "refuses a mail address that ends with the registered one", "MTLS-AS-06.3", "rfc822Name", byEmail, func(right *x509.Certificate, w *harness.Issue) { w.Emails = before(right.EmailAddresses, "x") }),
		{Check: row("mtls-untrusted-ca", "refuses the registered subject from a CA that it does not trust", rfc8705("2.1"), other, invalidClient(), "", "MTLS-AS-07.1", impersonated, "validate the chain up to a trust anchor for clients"),
			Clients: pki, At: authenticated, Certificate: func(f CertificateFacts) (*harness.Certificate, error) {
				stranger, err := f.Tester.StrangerCA(f.Right)
				if err != nil {
					return nil, err
				}
				return stranger.Issue(harness.Issue{Name: "a certificate with the same subject of a stranger's CA", Like: f.Right.Leaf})
			}},
		{Check: row("mtls-self-made-subject", "refuses a self-signed certificate with the registered subject", rfc8705("2.1"), other, invalidClient(), "", "MTLS-AS-07.2", impersonated, "validate the chain up to a trust anchor for clients"),
			Clients: pki, At: authenticated, Certificate: selfMade},
		{Check: func() Check {
			c := row("mtls-second-ca", "refuses the registered subject from another CA that it trusts", rfc8705("7.4"), other, invalidClient(), "second-trusted-ca", "MTLS-AS-08.1", "whoever gets a certificate from any CA that the server trusts, for whatever purpose, can act in the name of the client", "trust only the CA that names the clients, or compare the issuer too")
			c.Level, c.Severity = harness.Should, harness.High
			return c
		}(), Clients: pki, At: authenticated, Certificate: func(f CertificateFacts) (*harness.Certificate, error) {
			return f.Tester.SecondClientCA().Issue(harness.Issue{Name: "a certificate with the same names of a second CA", Like: f.Right.Leaf})
		}},
		{Check: row("mtls-beside", "refuses a client whose certificate only stands behind the attacker's in the chain", rfc8705("2.1"), wrong, invalidClient(), "trusted-ca", "", impersonated, "look at the leaf alone, whose key the connection proved"),
			Clients: pki, At: authenticated, Certificate: issued(func(f CertificateFacts, w *harness.Issue) { *w = stranger(f) })},
		{Check: row("mtls-beside-stranger", "refuses a client whose certificate only stands behind a stranger's in the chain", rfc8705("2.1"), wrong, invalidClient(), "", "", impersonated, "look at the leaf alone, whose key the connection proved"),
			Clients: pki, At: authenticated, Certificate: behindStranger},
		{Check: row("mtls-self-signed-beside", "refuses a client whose registered certificate only stands behind the attacker's in the chain", rfc8705("2.2"), wrong, invalidClient(), "mtls-self-signed", "", impersonated, "look at the leaf alone, whose key the connection proved"),
			Clients: selfSigned, At: authenticated, Certificate: behindStranger},
		{Check: row("mtls-self-signed-ca-issued", "refuses a CA's certificate with the subject of a self-signed one", rfc8705("2.2"), wrong, invalidClient(), "mtls-self-signed trusted-ca", "MTLS-AS-11.3", impersonated, "compare the certificate with the registered ones; a chain proves nothing here"),
			Clients: selfSigned, At: authenticated, Certificate: issued(func(f CertificateFacts, w *harness.Issue) {
				w.Name, w.Serial = "a certificate of the CA with the same names and serial number", f.Right.Leaf.SerialNumber
			})},
		{Check: row("mtls-expired", "refuses an expired certificate of the trusted CA", rfc8705("2.1"), other, invalidClient(), "trusted-ca", "MTLS-AS-07.4", "a certificate that was given up still authenticates", "validate the dates of the chain"),
			Clients: pki, At: authenticated, Certificate: issued(func(_ CertificateFacts, w *harness.Issue) {
				w.Name, w.NotAfter = "an expired certificate", time.Now().Add(-time.Hour)
			})},
		{Check: row("mtls-not-yet-valid", "refuses a certificate of the trusted CA that is not valid yet", rfc8705("2.1"), other, invalidClient(), "trusted-ca", "MTLS-AS-07.5", "the dates of the chain are not looked at", "validate the dates of the chain"),
			Clients: pki, At: authenticated, Certificate: issued(func(_ CertificateFacts, w *harness.Issue) {
				w.Name, w.Ahead = "a certificate of tomorrow", 24*time.Hour
			})},
		{Check: func() Check {
			c := row("mtls-server-certificate", "refuses a certificate that is for servers only", rfc8705("2.1"), other, invalidClient(), "trusted-ca", "MTLS-AS-07.6", "a certificate for a server under the same name authenticates the client", "require clientAuth as an extended key usage")
			c.Level, c.Severity = harness.Should, harness.Low
			return c
		}(), Clients: pki, At: authenticated, Certificate: issued(func(_ CertificateFacts, w *harness.Issue) {
			w.Name, w.Usage = "a certificate for servers", x509.ExtKeyUsageServerAuth
		})},
		{Check: row("mtls-self-signed-unregistered", "refuses a self-signed certificate that is not registered", rfc8705("2.2"), wrong, invalidClient(), "mtls-self-signed", "MTLS-AS-09.1 MTLS-AS-09.2", impersonated, "compare the certificate with the registered ones"),
			Clients: selfSigned, At: authenticated, Certificate: selfMade},
		{Check: func() Check {
			c := row("mtls-self-signed-same-key", "refuses a new self-signed certificate over the registered key", rfc8705("2.2"), wrong, invalidClient(), "mtls-self-signed", "MTLS-AS-09.4", "the key decides, not the certificate that was registered", "compare certificates")
			c.Level, c.Severity = harness.Hardening, harness.Low
			return c
		}(), Clients: selfSigned, At: authenticated, Certificate: sameKey},
		{Check: row("mtls-certificate-of-other-client", "refuses the certificate of another client", rfc8705("2"), other, invalidClient("invalid_grant", "invalid_request"), "second-client", "MTLS-AS-09.3 MTLS-AS-10.1", "any client of the server can act in the name of this one", "compare the certificate with the registration of the client_id"),
			At: authenticated, Certificate: ofOther},

		{Check: row("mtls-bound-no-certificate", "refuses a bound token without a certificate", rfc8705("3"), harness.TokenReplay, invalidToken(), "", "MTLS-RS-02.1", stolen, "compare the certificate of the connection with cnf.x5t#S256"), At: resource, Certificate: noCertificate},
		{Check: row("mtls-bound-token-in-body", "refuses a bound token in a form body, without a certificate", rfc8705("3"), harness.TokenReplay, elsewhere(), "", "", stolen, "check the binding wherever the token is taken from"), At: resource, Certificate: noCertificate, Change: tokenInBody},
		{Check: row("mtls-bound-same-ca", "refuses a bound token with another certificate of the same CA", rfc8705("3"), wrong, invalidToken(), "trusted-ca", "MTLS-RS-03.1", stolen, "compare the certificate of the connection with cnf.x5t#S256"), At: resource,
			Certificate: issued(func(_ CertificateFacts, w *harness.Issue) {
				w.Subject = &pkix.Name{CommonName: "attacker.popcheck.example"}
				*w = w.SetNames()
			})},
		{Check: row("mtls-bound-same-names", "refuses a bound token with another certificate of the same CA under the same names", rfc8705("3"), wrong, invalidToken(), "trusted-ca", "", stolen, "compare the hash of the certificate, not its names"), At: resource,
			Certificate: issued(func(f CertificateFacts, w *harness.Issue) { w.Serial = f.Right.Leaf.SerialNumber })},
		{Check: row("mtls-bound-stranger", "refuses a bound token with a stranger's certificate", rfc8705("3"), wrong, invalidToken(), "", "MTLS-RS-03.2", stolen, "compare the certificate of the connection with cnf.x5t#S256"), At: resource, Certificate: selfMade},
		{Check: row("mtls-bound-beside", "refuses a bound token whose certificate only stands behind the attacker's in the chain", rfc8705("3"), wrong, invalidToken(), "trusted-ca", "MTLS-RS-03.5", stolen, "compare the leaf whose key the connection proved"), At: resource,
			Certificate: issued(func(f CertificateFacts, w *harness.Issue) { *w = stranger(f) })},
		{Check: row("mtls-bound-other-client", "refuses a bound token with the certificate of another client", rfc8705("3"), wrong, invalidToken(), "second-client", "MTLS-RS-03.3", stolen, "compare the certificate of the connection with cnf.x5t#S256"), At: resource, Certificate: ofOther},
		{Check: func() Check {
			c := row("mtls-bound-renewed", "refuses a bound token with a renewed certificate over the same key", rfc8705("3"), wrong, invalidToken(), "", "MTLS-RS-03.4", "the key decides, not the certificate to which the token is bound", "compare the hash of the whole certificate")
			c.Level, c.Severity = harness.Should, harness.Medium
			return c
		}(), At: resource, Certificate: sameKey},
	}
}

// stranger is the attacker's own certificate, with the victim's behind it in the chain.
func stranger(f CertificateFacts) harness.Issue {
	return harness.Issue{Name: "the attacker's certificate, before the right one", Like: f.Right.Leaf, Subject: &pkix.Name{CommonName: "attacker.popcheck.example"}, Beside: f.Right}.SetNames()
}

func behindStranger(f CertificateFacts) (*harness.Certificate, error) {
	var nobody *harness.Authority
	return nobody.Issue(stranger(f))
}

// withoutRDN leaves the last part of a name out that is no common name.
func withoutRDN(names []pkix.AttributeTypeAndValue) []pkix.AttributeTypeAndValue {
	for i := len(names) - 1; i >= 0; i-- {
		if !names[i].Type.Equal([]int{2, 5, 4, 3}) {
			return slices.Delete(slices.Clone(names), i, i+1)
		}
	}
	return names[:0]
}

func selfMade(f CertificateFacts) (*harness.Certificate, error) {
	var nobody *harness.Authority
	return nobody.Issue(harness.Issue{Name: "a self-signed certificate with the same names and serial number", Like: f.Right.Leaf, Serial: f.Right.Leaf.SerialNumber})
}

// sameKey renews the certificate over its key: by the CA that the server trusts where there is one, since a chain that does not
// verify would be refused for that.
func sameKey(f CertificateFacts) (*harness.Certificate, error) {
	var issuer *harness.Authority
	if !f.Right.SelfSigned() {
		issuer = f.Tester.ClientCA()
	}
	return issuer.Issue(harness.Issue{Name: "a new certificate over the same key", Like: f.Right.Leaf, Key: f.Right.Signer()})
}

func ofOther(f CertificateFacts) (*harness.Certificate, error) {
	return f.Tester.CertificateOf(f.Other), nil
}

// CertificateChecks are the single checks of certificate binding; each has a spec of its own.
type CertificateChecks struct {
	Thumbprint, ThumbprintOfLeaf, Introspection       Check
	RefreshOther, RefreshNone, RefreshOfOther         Check
	WithoutCertificate, EveryGrant                    Check
	Resource, ResourceSelfSigned, BearerOverMutualTLS Check
	Resumed, ResumedElsewhere                         Check
	BoundResumed, ResourceResumed                     Check
}

func (c CertificateChecks) all() []Check {
	return []Check{c.Thumbprint, c.ThumbprintOfLeaf, c.Introspection, c.RefreshOther, c.RefreshNone, c.RefreshOfOther,
		c.WithoutCertificate, c.EveryGrant, c.Resource, c.ResourceSelfSigned, c.BearerOverMutualTLS,
		c.Resumed, c.ResumedElsewhere, c.BoundResumed, c.ResourceResumed}
}

// CertificateBindings returns the single checks of certificate binding.
func CertificateBindings() CertificateChecks {
	check := func(id, title string, clause harness.Clause, level harness.Level, severity harness.Severity, threat harness.Threat, refusal harness.Refusal, needs, covers, why, fix string) Check {
		return Check{ID: id, Title: title, Clause: clause, Level: level, Severity: severity, Threat: threat, Refusal: refusal, Needs: needs, Covers: covers, Why: why, Fix: fix}
	}
	none := harness.Refusal{}
	refused := harness.Refusal{Status: []int{400, 401}, Errors: []string{"invalid_grant", "invalid_client", "invalid_request"}, Where: []harness.Where{harness.InBody, harness.InTLS}}
	const stolenRefresh = "a stolen refresh token works for the thief"
	return CertificateChecks{
		Thumbprint: check("mtls-cnf", "puts the hash of the client's certificate into the token", rfc8705("3.1"), harness.Must, harness.Critical, harness.WrongCertificate, none, "jwt-at", "MTLS-AS-12.1",
			"a resource cannot check the binding, or checks another certificate", "cnf.x5t#S256 is the base64url SHA-256 of the certificate's DER without padding"),
		ThumbprintOfLeaf: check("mtls-cnf-of-certificate", "hashes the certificate, not its key or its issuer", rfc8705("3.1"), harness.Must, harness.Critical, harness.WrongCertificate, none, "jwt-at", "MTLS-AS-12.3",
			"tokens are bound to something that other certificates share", "hash the DER of the leaf certificate"),
		Introspection: check("mtls-introspection-cnf", "tells resources the bound certificate by introspection", rfc8705("3.2"), harness.Must, harness.Critical, harness.WrongCertificate, none, "introspection", "MTLS-AS-13.1",
			"a resource that introspects cannot check the binding", "return cnf with x5t#S256 at top level"),
		RefreshOther: check("mtls-refresh-other-certificate", "refuses a public client's refresh token with another certificate", rfc8705("4"), harness.Must, harness.High, harness.TokenReplay, refused, "refresh public-client", "MTLS-AS-14.1", stolenRefresh, "bind refresh tokens of public clients to the certificate, or rotate them"),
		RefreshNone:  check("mtls-refresh-no-certificate", "refuses a public client's refresh token without a certificate", rfc8705("4"), harness.Must, harness.High, harness.TokenReplay, refused, "refresh public-client", "MTLS-AS-14.2", stolenRefresh, "bind refresh tokens of public clients to the certificate, or rotate them"),
		RefreshOfOther: check("mtls-refresh-certificate-of-other-client", "refuses a refresh with the certificate of another client", rfc6749("6"), harness.Must, harness.Critical, harness.TokenReplay, refused, "refresh second-client", "MTLS-AS-15.1",
			stolenRefresh, "authenticate the client when it refreshes"),
		WithoutCertificate: check("mtls-bound-token-without-certificate", "gives no unbound token to a client that asked for bound ones", rfc8705("3.4"), harness.Hardening, harness.Medium, harness.Downgrade, harness.Refusal{Status: []int{400, 401}, Errors: []string{"invalid_request", "invalid_client", "invalid_grant"}, Where: []harness.Where{harness.InBody, harness.InTLS}}, "", "MTLS-AS-16.1",
			"the client's tokens are bearer tokens when it forgets the certificate, or when an attacker has its secret", "refuse the request; the RFC leaves it to the server"),
		EveryGrant: check("mtls-client-credentials-bound", "binds tokens of the grants without a user too", rfc8705("3"), harness.Must, harness.High, harness.TokenReplay, none, "", "MTLS-AS-16.3",
			"tokens of this grant are bearer tokens", "bind whenever a certificate was used"),
		Resource: check("mtls-resource", "opens for a bound token with its certificate", rfc8705("3"), harness.Must, harness.High, harness.Interoperability, none, "", "MTLS-RS-01.1", "honest clients are refused", "compare the certificate of the connection with cnf.x5t#S256"),
		ResourceSelfSigned: check("mtls-resource-self-signed", "opens for a token bound to a self-signed certificate", rfc8705("6.2"), harness.Should, harness.Medium, harness.Interoperability, none, "mtls-self-signed", "MTLS-RS-01.2",
			"honest clients are refused", "compare the hash; the chain need not be validated at a resource"),
		Resumed: check("mtls-resumed-session", "refuses a client on a resumed TLS session that began without its certificate", rfc8705("2"), harness.Must, harness.Critical, harness.ClientImpersonation, invalidClient(), "", "",
			"anyone can act in the name of the client by resuming a TLS session of his own", "keep the certificate with the session, and look at it in every request"),
		ResumedElsewhere: check("mtls-resumed-elsewhere", "refuses a client on a TLS session that began at another address", rfc8705("2"), harness.Must, harness.Critical, harness.ClientImpersonation, invalidClient(), "", "",
			"a session that began where no certificate is asked for, or any is taken, passes where one is validated (CVE-2025-23419)", "share no session tickets between servers with other rules for client certificates"),
		BoundResumed: check("mtls-bound-resumed", "refuses a bound token on a resumed TLS session that began without its certificate", rfc8705("3"), harness.Must, harness.Critical, harness.TokenReplay, invalidToken(), "", "",
			"a stolen token works for the thief, who resumes a TLS session of his own", "compare the certificate of the session with cnf.x5t#S256 in every request"),
		ResourceResumed: check("mtls-resource-resumed", "opens for a bound token on a resumed TLS session too", rfc8705("3"), harness.Should, harness.Low, harness.Interoperability, harness.Refusal{}, "", "MTLS-RS-01.3",
			"honest clients are refused from their second connection on", "keep the certificate with the session"),
		BearerOverMutualTLS: check("mtls-dpop-token-as-bearer", "refuses a DPoP-bound token as a bearer token over mutual TLS", rfc8705("3"), harness.Must, harness.Critical, harness.Downgrade, harness.Refusal{Status: []int{400, 401}, Errors: []string{"invalid_token", "invalid_request"}, Where: []harness.Where{harness.InWWWAuthenticate, harness.InTLS}}, "dpop", "MTLS-RS-05.1 DPOP-RS-17.6",
			"a stolen token works without the key", "demand each binding that the token names"),
	}
}
