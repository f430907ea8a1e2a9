package attacks

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"

	"github.com/popcheck/popcheck/harness"
)

// StandardHash is the ath of a token in the alphabet of RFC 4648 §4, without padding.
func StandardHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawStdEncoding.EncodeToString(sum[:])
}

// proofTokens are proofs that do not fit the access token beside them (RFC 9449 §4.3 item 12, §7.1).
func proofTokens() []ProofAttack {
	// other is the right token, hashed or written in another way: whoever can make such a proof could make a right one.
	other := func(id, title, covers string, ath func(token string) any) ProofAttack {
		return placed(once(ProofAttack{Check: Check{ID: id, Title: title, Clause: rfc9449("4.3", "12"), Level: harness.Hardening, Severity: harness.Low, Threat: harness.TokenReplay,
			Covers: covers, Why: "values outside the grammar reach the comparison", Fix: "compare with the unpadded base64url SHA-256 of the access token"},
			Change: func(p *harness.Proof) { p.Claims.Set("ath", ath(p.Facts.Token)) }}), AtResource)
	}
	return []ProofAttack{
		placed(acceptsProof("dpop-jwk-extra-members", "accepts a jwk with kid, use and alg", rfc9449("7.1", ""), harness.Must, harness.Medium, "DPOP-RS-01.6", func(p *harness.Proof) {
			p.Header.Set("jwk", decorated(p))
		}), AtResource),
		{Check: Check{ID: "dpop-ath-missing", Title: "refuses a proof without ath", Clause: rfc9449("4.3", "12"), Level: harness.Must, Severity: harness.Critical, Threat: harness.TokenReplay,
			Covers: "DPOP-RS-15.1", Why: "a proof made for one token works with another one", Fix: "require ath next to an access token"}, Change: dropClaim("ath"), At: []Place{AtResource}},
		{Check: Check{ID: "dpop-ath-random", Title: "refuses a proof with the ath of something else", Clause: rfc9449("4.3", "12"), Level: harness.Must, Severity: harness.Critical, Threat: harness.TokenReplay,
			Covers: "DPOP-RS-15.2", Why: "a proof made for one token works with another one", Fix: "compare ath with the hash of the access token"}, Change: func(p *harness.Proof) { p.Claims.Set("ath", harness.AccessTokenHash(harness.Random(16))) }, At: []Place{AtResource}},
		{Check: Check{ID: "dpop-ath-cut", Title: "compares the whole ath", Clause: rfc9449("4.3", "12"), Level: harness.Must, Severity: harness.High, Threat: harness.TokenReplay,
			Why: "a proof made for one token works with another one", Fix: "compare the whole value"}, Change: func(p *harness.Proof) { p.Claims.Set("ath", harness.AccessTokenHash(p.Facts.Token)[:8]) }, At: []Place{AtResource}},
		{Check: Check{ID: "dpop-ath-padded", Title: "compares ath without repairing it", Clause: rfc9449("4.3", "12"), Level: harness.Hardening, Severity: harness.Low, Threat: harness.TokenReplay,
			Covers: "DPOP-RS-15.6", Why: "values outside the grammar reach the comparison", Fix: "compare the unpadded base64url value"}, Change: func(p *harness.Proof) { p.Claims.Set("ath", harness.AccessTokenHash(p.Facts.Token)+"=") }, At: []Place{AtResource}},
		{Check: Check{ID: "dpop-key-of-attacker", Title: "refuses a stolen token with a perfect proof of another key", Clause: rfc9449("7.1", ""), Level: harness.Must, Severity: harness.Critical, Threat: harness.TokenReplay,
			Covers: "DPOP-RS-16.1 DPOP-RS-16.5 DPOP-RS-16.4", Why: "a stolen token works for the thief: the binding means nothing", Fix: "compare the thumbprint of the proof key with cnf.jkt of the token"},
			Change: func(p *harness.Proof) {
				p.Key = p.Facts.Attacker
				p.Header.Set("alg", p.Key.Alg)
				p.Header.Set("jwk", p.Key.PublicJWK())
			}, At: []Place{AtResource}, Resource: DPoPChallenge("invalid_token", "invalid_dpop_proof")},
		placed(once(ProofAttack{Check: Check{ID: "dpop-key-of-attacker-same-kid", Title: "does not take an attacker's key for the bound one by its kid", Clause: rfc9449("7.1", ""), Level: harness.Must, Severity: harness.Critical, Threat: harness.TokenReplay,
			Covers: "DPOP-RS-16.3", Why: "a stolen token works for the thief: the binding means nothing", Fix: "compute the thumbprint of the proof key, and compare that with cnf.jkt of the token"},
			Change: func(p *harness.Proof) {
				jwk := p.Facts.Attacker.PublicJWK()
				jwk.Set("kid", p.Key.Thumbprint())
				p.Key = p.Facts.Attacker
				p.Header.Set("alg", p.Key.Alg)
				p.Header.Set("jwk", jwk)
			}, Resource: DPoPChallenge("invalid_token", "invalid_dpop_proof")}), AtResource),
		other("dpop-ath-hex", "refuses a hexadecimal ath", "DPOP-RS-15.5", func(token string) any {
			sum := sha256.Sum256([]byte(token))
			return hex.EncodeToString(sum[:])
		}),
		other("dpop-ath-sha512", "refuses an ath of another hash (SHA-512)", "DPOP-RS-15.8", func(token string) any {
			sum := sha512.Sum512([]byte(token))
			return base64.RawURLEncoding.EncodeToString(sum[:])
		}),
		other("dpop-ath-array", "refuses an array as ath", "DPOP-RS-15.9", func(token string) any { return []string{harness.AccessTokenHash(token)} }),
		other("dpop-ath-of-header", "refuses an ath over the token with its scheme", "DPOP-RS-15.10", func(token string) any { return harness.AccessTokenHash("DPoP " + token) }),
	}
}
