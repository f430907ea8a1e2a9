package attacks

import (
	"crypto/x509/pkix"
	"slices"
	"strings"

	"github.com/popcheck/popcheck/harness"
)

// CertificateAttack presents another certificate than the client's, or none, where the certificate decides.
type CertificateAttack struct {
	Check
	Clients     func(*harness.Client) bool // nil: every client of mutual TLS
	Certificate func(CertificateFacts) (*harness.Certificate, error)
	// Harmless is the same certificate without its defect. A server that refuses it too refuses the other one for another reason, and
	// the row says nothing. nil where the client's own certificate is that control.
	Harmless func(CertificateFacts) (*harness.Certificate, error)
	Change   harness.Change // a further change of the request
	Plain    Listener
	At       []Place
	Reach    Reach
	Mode     Mode     // Accept: the request must be accepted
	Lenient  Lenience // Always: both answers are right, and recorded
}

// Listener says where a request goes.
type Listener int

// The endpoint beside its mutual-TLS alias is a way around the certificate.
const (
	Aliased      Listener = iota // where the client would go
	Conventional                 // the endpoint of the metadata itself; of UserInfo, whichever of its addresses the target file does not name
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

// fromTrustedCA reports whether the row takes its certificate from the CA that the server trusts.
func (a CertificateAttack) fromTrustedCA() bool {
	return slices.Contains(strings.Fields(a.Needs), "trusted-ca")
}

// DiffersFromIssued reports whether the row differs in one property only from a certificate that client_ca issued under the client's own
// names: where the server takes no such certificate, the row says nothing.
func (a CertificateAttack) DiffersFromIssued(c *harness.Client) bool {
	return a.fromTrustedCA() && pki(c)
}

func pki(c *harness.Client) bool { return c.TokenEndpointAuthMethod == "tls_client_auth" }

// ofOneCA is a client of which its server could know which CA names it: a registration cannot tell (RFC 8705 §2.1.2 has no member for it).
func ofOneCA(c *harness.Client) bool { return pki(c) && !c.Register }

func selfSigned(c *harness.Client) bool {
	return c.TokenEndpointAuthMethod == "self_signed_tls_client_auth"
}

// The threats and consequences that the rows share.
const (
	impersonated = "anyone can act in the name of the client"
	stolenBound  = "a stolen token works for the thief: the binding means nothing"
)

func certificateRow(id, title string, clause harness.Clause, threat harness.Threat, refusal harness.Refusal, needs, covers, why, fix string) Check {
	return Check{ID: id, Title: title, Clause: clause, Level: harness.Must, Severity: harness.Critical, Threat: threat, Refusal: refusal, Needs: needs, Covers: covers, Why: why, Fix: fix}
}

// graded gives a row that wins less another level.
func graded(level harness.Level, severity harness.Severity, c Check) Check {
	c.Level, c.Severity = level, severity
	return c
}

func authenticatedEndpoints() []Place { return []Place{AtToken, AtPAR, AtIntrospection, AtRevocation} }

// Certificates are the attacks on client authentication by mutual TLS and on certificate-bound tokens.
func Certificates() []CertificateAttack {
	return slices.Concat(withoutCertificate(), subjects(), alternativeNames(), chains(), registrations(), boundTokens())
}

// withoutCertificate are the rows of something else in place of the certificate (RFC 8705 §2).
func withoutCertificate() []CertificateAttack {
	authenticated, row, other := authenticatedEndpoints(), certificateRow, harness.ClientImpersonation
	return []CertificateAttack{
		{Check: row("mtls-no-certificate", "refuses a client without its certificate", rfc8705("2"), other, invalidClient(), "", "MTLS-AS-01.1 MTLS-AS-01.5 MTLS-AS-01.6 MTLS-AS-01.7 MTLS-AS-11.2", impersonated, "authenticate the client by the certificate of the connection"), At: authenticated, Certificate: noCertificate},
		{Check: row("mtls-secret-instead", "refuses a client secret instead of the certificate", rfc8705("2"), other, invalidClient("invalid_request"), "", "MTLS-AS-01.2 MTLS-AS-11.1", impersonated, "accept only the method that the client registered"), At: authenticated, Certificate: noCertificate, Change: set("client_secret", "guessed-by-chance")},
		{Check: row("mtls-empty-secret", "refuses an empty client secret instead of the certificate", rfc8705("2"), other, invalidClient("invalid_request"), "", "MTLS-AS-01.3", impersonated, "accept only the method that the client registered"), At: []Place{AtToken}, Reach: OnePlace, Certificate: noCertificate, Change: emptySecret},
		{Check: row("mtls-certificate-parameter", "refuses a certificate in a form parameter", rfc8705("2"), other, invalidClient("invalid_request"), "", "MTLS-AS-01.4", impersonated, "take the certificate from the connection, whose key it proved"), At: []Place{AtToken}, Reach: OnePlace, Certificate: noCertificate, Change: certificateAsParameter},
		{Check: row("mtls-plain-endpoint", "does not serve the client beside mtls_endpoint_aliases", rfc8705("5"), harness.Downgrade, invalidClient(), "mtls-aliases", "MTLS-AS-18.2", impersonated, "authenticate the client at both addresses of an endpoint in the same way"), At: authenticated, Certificate: noCertificate, Plain: Conventional},
		{Check: graded(harness.Must, harness.High, row("mtls-conventional-endpoint", "serves the client beside mtls_endpoint_aliases only with its certificate", rfc8705("5"), harness.Downgrade, harness.Refusal{}, "mtls-aliases", "MTLS-AS-18.1", impersonated, "where no certificate is asked for, let no client of mutual TLS in")), At: []Place{AtToken}, Reach: OnePlace,
			Certificate: func(f CertificateFacts) (*harness.Certificate, error) { return f.Right, nil }, Plain: Conventional, Lenient: Always},
	}
}

// emptySecret names the client as one with a secret, which is empty.
func emptySecret(m *harness.Message, f harness.Facts) {
	m.Params.Drop("client_id")
	withAuthorization(f.Tester.BasicCredentials(m.Who.Client.ClientID, ""))(m, f)
}

// certificateAsParameter sends the public certificate under every name that a server might read it from.
func certificateAsParameter(m *harness.Message, f harness.Facts) {
	for _, name := range []string{"client_certificate", "client_cert", "certificate", "cert", "x509"} {
		m.Params.Set(name, pemOf(f.Cert))
	}
	m.Params.Set("x5c", base64DER(f.Cert))
}

// stranger is the attacker's own certificate, with the victim's behind it in the chain.
func stranger(f CertificateFacts) harness.Issue {
	return harness.Issue{Name: "the attacker's certificate, before the right one", Like: f.Right.Leaf, Subject: &pkix.Name{CommonName: "attacker.popcheck.example"}, Beside: f.Right}.SetNames()
}

func behindStranger(f CertificateFacts) (*harness.Certificate, error) {
	var nobody *harness.Authority
	return nobody.Issue(stranger(f))
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
