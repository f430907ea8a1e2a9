package attacks

import "github.com/popcheck/popcheck/harness"

// RotationChecks are about what binds a refresh token, and the access token that it brings, after a refresh: a server may bind what
// a code brings and forget it for what a refresh token brings.
type RotationChecks struct {
	OtherKey, NoProof, OldKey                            Check // DPoP
	OtherCertificate, NoCertificate, Renewed, FollowsNew Check // mutual TLS
}

func (r RotationChecks) dpop() []Check { return []Check{r.OtherKey, r.NoProof, r.OldKey} }

func (r RotationChecks) mtls() []Check {
	return []Check{r.OtherCertificate, r.NoCertificate, r.Renewed, r.FollowsNew}
}

// Rotations returns the checks of bindings after a refresh.
func Rotations() RotationChecks {
	refused := func(errors ...string) harness.Refusal {
		return harness.Refusal{Status: []int{400, 401}, Errors: append(errors, "invalid_grant", "invalid_request"), Where: []harness.Where{harness.InBody, harness.InTLS}}
	}
	check := func(id, title string, clause harness.Clause, level harness.Level, severity harness.Severity, threat harness.Threat, refusal harness.Refusal, needs, covers, why, fix string) Check {
		return Check{ID: id, Title: title, Clause: clause, Level: level, Severity: severity, Threat: threat, Refusal: refusal, Needs: needs, Covers: covers, Why: why, Fix: fix}
	}
	const stolen, carry = "the first refresh takes the binding away: every later refresh token works for a thief", "give the new refresh token the binding of the old one"
	return RotationChecks{
		OtherKey: check("dpop-refresh-again-other-key", "refuses a public client's rotated refresh token with another key", rfc9449("5", ""), harness.Must, harness.Critical, harness.TokenReplay,
			refused("invalid_dpop_proof"), "refresh public-client", "DPOP-AS-19.3", stolen, carry),
		NoProof: check("dpop-refresh-again-no-proof", "refuses a public client's rotated refresh token without a proof", rfc9449("5", ""), harness.Must, harness.Critical, harness.TokenReplay,
			refused("invalid_dpop_proof"), "refresh public-client", "", stolen, carry),
		OldKey: check("dpop-refresh-old-key", "does not open for the old key once a confidential client has moved to a new one", rfc9449("5", ""), harness.Must, harness.High, harness.TokenReplay,
			DPoPChallenge("invalid_token", "invalid_dpop_proof"), "refresh confidential-client", "DPOP-AS-20.2", "a key that was given up, perhaps because it leaked, goes on to work", "bind the new token to the key of the proof that came with the refresh"),
		OtherCertificate: check("mtls-refresh-again-other-certificate", "refuses a public client's rotated refresh token with another certificate", rfc8705("4"), harness.Must, harness.High, harness.TokenReplay,
			refused("invalid_client"), "refresh public-client", "", stolen, carry),
		NoCertificate: check("mtls-refresh-again-no-certificate", "refuses a public client's rotated refresh token without a certificate", rfc8705("4"), harness.Must, harness.High, harness.TokenReplay,
			refused("invalid_client"), "refresh public-client", "", stolen, carry),
		Renewed: check("mtls-refresh-renewed-certificate", "lets a client refresh with a renewed certificate", rfc8705("7.1"), harness.Hardening, harness.Low, harness.Interoperability,
			harness.Refusal{}, "refresh mtls-pki trusted-ca", "MTLS-AS-15.3", "every renewal of a certificate ends all grants of its client", "bind refresh tokens of confidential clients to the client authentication only"),
		FollowsNew: check("mtls-refresh-follows-certificate", "binds the refreshed token to the certificate of the request", rfc8705("3"), harness.Must, harness.High, harness.TokenReplay,
			invalidToken(), "refresh mtls-pki trusted-ca", "MTLS-AS-15.4", "the new token is bound to a certificate that was not presented: one that was given up goes on to work", "take cnf.x5t#S256 from the connection of the refresh"),
	}
}
