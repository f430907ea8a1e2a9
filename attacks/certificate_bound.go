package attacks

import (
	"crypto/x509/pkix"

	"github.com/popcheck/popcheck/harness"
)

// boundTokens are the rows of certificate-bound tokens at a resource (RFC 8705 §3).
func boundTokens() []CertificateAttack {
	resource, row, wrong := []Place{AtResource}, certificateRow, harness.WrongCertificate
	const compare = "compare the certificate of the connection with cnf.x5t#S256"
	const wherever = "check the binding wherever the token is taken from"
	// A proof makes no other token of it: the DPoP scheme is for tokens with cnf.jkt (RFC 9449 §7.1).
	proven := harness.Refusal{Status: []int{400, 401}, Errors: []string{"invalid_token", "invalid_dpop_proof", "invalid_request"}, Where: []harness.Where{harness.InWWWAuthenticate, harness.InTLS}}
	return []CertificateAttack{
		{Check: row("mtls-bound-no-certificate", "refuses a bound token without a certificate", rfc8705("3"), harness.TokenReplay, invalidToken(), "", "MTLS-RS-02.1", stolenBound, compare), At: resource, Certificate: noCertificate},
		{Check: row("mtls-bound-other-address", "refuses a bound token without a certificate at the other address of UserInfo", rfc8705("3"), harness.Downgrade, invalidToken(), "", "MTLS-RS-02.2", stolenBound, "check the binding at every address of the resource"), At: resource, Certificate: noCertificate, Plain: Conventional},
		{Check: row("mtls-bound-token-in-body", "refuses a bound token in a form body, without a certificate", rfc8705("3"), harness.TokenReplay, elsewhere(), "", "MTLS-RS-02.3", stolenBound, wherever), At: resource, Certificate: noCertificate, Change: tokenInBody},
		{Check: row("mtls-bound-token-in-query", "refuses a bound token in the query, without a certificate", rfc8705("3"), harness.TokenReplay, elsewhere(), "", "MTLS-RS-02.3", stolenBound, wherever), At: resource, Certificate: noCertificate, Change: InQuery},
		{Check: row("mtls-bound-as-dpop", "refuses a bound token with anyone's proof instead of the certificate", rfc8705("3"), harness.Downgrade, proven, "dpop", "MTLS-RS-02.4", stolenBound, compare+", also where a proof came"), At: resource, Certificate: noCertificate, Change: provenByAttacker},
		{Check: row("mtls-bound-as-dpop-stranger", "refuses a bound token with the attacker's proof and certificate", rfc8705("3"), harness.Downgrade, proven, "dpop", "MTLS-RS-05.2", stolenBound, "demand each binding that the token names, and no other in its place"), At: resource, Certificate: selfMade, Change: provenByAttacker},
		{Check: row("mtls-bound-same-ca", "refuses a bound token with another certificate of the same CA", rfc8705("3"), wrong, invalidToken(), "trusted-ca", "MTLS-RS-03.1 MTLS-RS-03.8", stolenBound, compare), At: resource,
			Certificate: issued(func(_ CertificateFacts, w *harness.Issue) {
				w.Subject = &pkix.Name{CommonName: "attacker.popcheck.example"}
				*w = w.SetNames()
			})},
		{Check: row("mtls-bound-same-names", "refuses a bound token with another certificate of the same CA under the same names", rfc8705("3"), wrong, invalidToken(), "trusted-ca", "", stolenBound, "compare the hash of the certificate, not its names"), At: resource,
			Certificate: issued(func(f CertificateFacts, w *harness.Issue) { w.Serial = f.Right.Leaf.SerialNumber })},
		{Check: row("mtls-bound-stranger", "refuses a bound token with a stranger's certificate", rfc8705("3"), wrong, invalidToken(), "", "MTLS-RS-03.2 MTLS-RS-03.6", stolenBound, compare), At: resource, Certificate: selfMade},
		{Check: row("mtls-bound-beside", "refuses a bound token whose certificate only stands behind the attacker's in the chain", rfc8705("3"), wrong, invalidToken(), "trusted-ca", "MTLS-RS-03.5", stolenBound, "compare the leaf whose key the connection proved"), At: resource,
			Certificate: issued(func(f CertificateFacts, w *harness.Issue) { *w = stranger(f) })},
		{Check: row("mtls-bound-other-client", "refuses a bound token with the certificate of another client", rfc8705("3"), wrong, invalidToken(), "second-client", "MTLS-RS-03.3", stolenBound, compare), At: resource, Certificate: ofOther},
		{Check: graded(harness.Should, harness.Medium, row("mtls-bound-renewed", "refuses a bound token with a renewed certificate over the same key", rfc8705("3"), wrong, invalidToken(), "", "MTLS-RS-03.4", "the key decides, not the certificate to which the token is bound", "compare the hash of the whole certificate")),
			At: resource, Certificate: sameKey},
	}
}

// provenByAttacker presents the token under the DPoP scheme with a perfect proof of a key that it is not bound to.
func provenByAttacker(m *harness.Message, f harness.Facts) {
	m.Who.Key = f.Tester.ProofKey("attacker")
	withAuthorization("DPoP "+bearerOf(m))(m, f)
}
