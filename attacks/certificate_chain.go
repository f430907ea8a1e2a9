package attacks

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"time"

	"github.com/popcheck/popcheck/harness"
)

// chains are the rows of chain validation (RFC 8705 §2.1, RFC 5280 §6).
func chains() []CertificateAttack {
	authenticated, row, wrong, other := authenticatedEndpoints(), certificateRow, harness.WrongCertificate, harness.ClientImpersonation
	const validate = "validate the chain as RFC 5280 §6 says, with a library that does"
	return []CertificateAttack{
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
		{Check: graded(harness.Should, harness.High, row("mtls-second-ca", "refuses the registered subject from another CA that it trusts", rfc8705("7.4"), other, invalidClient(), "second-trusted-ca", "MTLS-AS-08.1", "whoever gets a certificate from any CA that the server trusts, for whatever purpose, can act in the name of the client", "trust only the CA that names the clients, or compare the issuer too")),
			Clients: ofOneCA, At: authenticated, Certificate: func(f CertificateFacts) (*harness.Certificate, error) {
				return f.Tester.SecondClientCA().Issue(harness.Issue{Name: "a certificate with the same names of a second CA", Like: f.Right.Leaf})
			}},
		{Check: row("mtls-beside", "refuses a client whose certificate only stands behind the attacker's in the chain", rfc8705("2.1"), wrong, invalidClient(), "trusted-ca", "", impersonated, "look at the leaf alone, whose key the connection proved"),
			Clients: pki, At: authenticated, Certificate: issued(func(f CertificateFacts, w *harness.Issue) { *w = stranger(f) })},
		{Check: row("mtls-beside-stranger", "refuses a client whose certificate only stands behind a stranger's in the chain", rfc8705("2.1"), wrong, invalidClient(), "", "", impersonated, "look at the leaf alone, whose key the connection proved"),
			Clients: pki, At: authenticated, Certificate: behindStranger},
		{Check: row("mtls-expired", "refuses an expired certificate of the trusted CA", rfc8705("2.1"), other, invalidClient(), "trusted-ca", "MTLS-AS-07.4", "a certificate that was given up still authenticates", "validate the dates of the chain"),
			Clients: pki, At: authenticated, Certificate: issued(func(_ CertificateFacts, w *harness.Issue) {
				w.Name, w.NotAfter = "an expired certificate", time.Now().Add(-time.Hour)
			})},
		{Check: row("mtls-not-yet-valid", "refuses a certificate of the trusted CA that is not valid yet", rfc8705("2.1"), other, invalidClient(), "trusted-ca", "MTLS-AS-07.5", "the dates of the chain are not looked at", "validate the dates of the chain"),
			Clients: pki, At: authenticated, Certificate: issued(func(_ CertificateFacts, w *harness.Issue) {
				w.Name, w.Ahead = "a certificate of tomorrow", 24*time.Hour
			})},
		{Check: graded(harness.Should, harness.Low, row("mtls-server-certificate", "refuses a certificate that is for servers only", rfc8705("2.1"), other, invalidClient(), "trusted-ca", "MTLS-AS-07.6", "a certificate for a server under the same name authenticates the client", "require clientAuth as an extended key usage")),
			Clients: pki, At: authenticated, Certificate: issued(func(_ CertificateFacts, w *harness.Issue) {
				w.Name, w.Usage = "a certificate for servers", x509.ExtKeyUsageServerAuth
			})},
		{Check: row("mtls-issued-by-leaf", "refuses the registered subject from a certificate that is no CA", rfc8705("2.1"), other, invalidClient(), "trusted-ca", "MTLS-AS-07.3", "every holder of a certificate of that CA can act in the name of every client", "look at basic constraints: only a CA issues"),
			Clients: pki, At: []Place{AtToken}, Reach: OnePlace, Certificate: func(f CertificateFacts) (*harness.Certificate, error) {
				leaf, err := f.Tester.ClientCA().Issue(harness.Issue{Name: "the attacker's certificate", Like: f.Right.Leaf, Subject: &pkix.Name{CommonName: "attacker.popcheck.example"}}.SetNames())
				if err != nil {
					return nil, err
				}
				return leaf.Issuing().Issue(harness.Issue{Name: "a certificate with the same names that the attacker's certificate issued", Like: f.Right.Leaf})
			}},
		{Check: graded(harness.Should, harness.Low, row("mtls-critical-extension", "refuses a certificate with a critical extension that nobody knows", rfc8705("2.1"), other, invalidClient(), "trusted-ca", "MTLS-AS-07.7", "a certificate authenticates whose CA limited it in a way that the server does not understand", validate)),
			Clients: pki, At: []Place{AtToken}, Reach: OnePlace, Certificate: issued(extended(true)), Harmless: issued(extended(false))},
		{Check: graded(harness.Must, harness.Medium, row("mtls-name-constraint", "refuses a subject outside the name constraint of its CA", rfc8705("2.1"), other, invalidClient(), "trusted-ca", "MTLS-AS-07.8", "whoever runs a CA that was limited to other names can act in the name of the client", validate)),
			Clients: bySubject, At: []Place{AtToken}, Reach: OnePlace, Certificate: bySubordinate(nameConstraint()), Harmless: bySubordinate()},
	}
}

// extended adds an extension under an OID that stands for a document that nobody wrote.
func extended(critical bool) func(CertificateFacts, *harness.Issue) {
	return func(_ CertificateFacts, w *harness.Issue) {
		w.Name = "a certificate of the same CA with an unknown extension"
		w.Further = []pkix.Extension{{Id: []int{1, 3, 6, 1, 4, 1, 32473, 1}, Critical: critical, Value: mustEncode("popcheck")}}
	}
}

// bySubordinate has a CA under the trusted one issue the client's names.
func bySubordinate(limits ...pkix.Extension) func(CertificateFacts) (*harness.Certificate, error) {
	return func(f CertificateFacts) (*harness.Certificate, error) {
		under, err := f.Tester.ClientCA().Subordinate(limits...)
		if err != nil {
			return nil, err
		}
		return under.Issue(harness.Issue{Name: "a certificate of a CA under the same CA", Like: f.Right.Leaf})
	}
}

// nameConstraint permits subjects of another organisation only (RFC 5280 §4.2.1.10).
func nameConstraint() pkix.Extension {
	tagged := func(tag int, content []byte) []byte {
		return mustEncode(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: content})
	}
	sequence := func(content []byte) []byte {
		return mustEncode(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: content})
	}
	elsewhere := encodeDN([]relativeSET{relative([]int{2, 5, 4, 10}, asn1.TagUTF8String, "popcheck permits this only")})
	const permitted, directoryName = 0, 4
	return pkix.Extension{Id: []int{2, 5, 29, 30}, Critical: true, Value: sequence(tagged(permitted, sequence(tagged(directoryName, elsewhere))))}
}

// registrations are the rows of certificates that are registered themselves, and of those of other clients (RFC 8705 §2.2).
func registrations() []CertificateAttack {
	authenticated, row, wrong, other := authenticatedEndpoints(), certificateRow, harness.WrongCertificate, harness.ClientImpersonation
	return []CertificateAttack{
		{Check: row("mtls-self-signed-unregistered", "refuses a self-signed certificate that is not registered", rfc8705("2.2"), wrong, invalidClient(), "mtls-self-signed", "MTLS-AS-09.1 MTLS-AS-09.2", impersonated, "compare the certificate with the registered ones"),
			Clients: selfSigned, At: authenticated, Certificate: selfMade},
		{Check: graded(harness.Hardening, harness.Low, row("mtls-self-signed-same-key", "refuses a new self-signed certificate over the registered key", rfc8705("2.2"), wrong, invalidClient(), "mtls-self-signed", "MTLS-AS-09.4", "the key decides, not the certificate that was registered", "compare certificates")),
			Clients: selfSigned, At: authenticated, Certificate: sameKey},
		{Check: row("mtls-self-signed-ca-issued", "refuses a CA's certificate with the subject of a self-signed one", rfc8705("2.2"), wrong, invalidClient(), "mtls-self-signed trusted-ca", "MTLS-AS-11.3", impersonated, "compare the certificate with the registered ones; a chain proves nothing here"),
			Clients: selfSigned, At: authenticated, Certificate: issued(func(f CertificateFacts, w *harness.Issue) {
				w.Name, w.Serial = "a certificate of the CA with the same names and serial number", f.Right.Leaf.SerialNumber
			})},
		{Check: row("mtls-self-signed-other-of-ca", "refuses any certificate of a CA that it trusts for a client with a self-signed one", rfc8705("2.2"), wrong, invalidClient(), "mtls-self-signed trusted-ca", "MTLS-AS-09.5", "whoever has a certificate of such a CA can act in the name of the client", "compare the certificate with the registered ones; a chain proves nothing here"),
			Clients: selfSigned, At: []Place{AtToken}, Reach: OnePlace, Certificate: issued(func(_ CertificateFacts, w *harness.Issue) {
				w.Name, w.Subject = "a certificate of the CA that was never registered", &pkix.Name{CommonName: "attacker.popcheck.example"}
				*w = w.SetNames()
			})},
		{Check: row("mtls-self-signed-beside", "refuses a client whose registered certificate only stands behind the attacker's in the chain", rfc8705("2.2"), wrong, invalidClient(), "mtls-self-signed", "", impersonated, "look at the leaf alone, whose key the connection proved"),
			Clients: selfSigned, At: authenticated, Certificate: behindStranger},
		{Check: row("mtls-certificate-of-other-client", "refuses the certificate of another client", rfc8705("2"), other, invalidClient("invalid_grant", "invalid_request"), "second-client", "MTLS-AS-09.3 MTLS-AS-10.1", "any client of the server can act in the name of this one", "compare the certificate with the registration of the client_id"),
			At: authenticated, Certificate: ofOther},
	}
}
