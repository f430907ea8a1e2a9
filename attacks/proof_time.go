package attacks

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/popcheck/popcheck/harness"
)

func iat(offset time.Duration) harness.ProofChange {
	return func(p *harness.Proof) { p.Claims.Set("iat", time.Now().Add(offset).Unix()) }
}

// proofTimes are proofs of another time (RFC 9449 §4.3 item 11, §11.1).
func proofTimes() []ProofAttack {
	const window = "accept proofs for a short time only, or use nonces"
	return []ProofAttack{
		fresh(refusesProof("dpop-iat-old", "refuses a proof that is an hour old", "11", harness.High, "DPOP-AS-14.1 DPOP-RS-13.1 DPOP-AS-22.5 DPOP-AS-28.5", "accept proofs for a short time only, or use nonces", iat(-time.Hour))),
		fresh(refusesProof("dpop-iat-future", "refuses a proof that is dated an hour ahead", "11", harness.High, "DPOP-AS-14.4 DPOP-RS-13.3", "accept proofs for a short time only, or use nonces", iat(time.Hour))),
		softened(refusesProof("dpop-iat-string", "refuses iat as a string", "3", harness.Low, "DPOP-AS-14.7 DPOP-RS-13.5", "require a number", func(p *harness.Proof) {
			p.Claims.Set("iat", unixText())
		}), harness.Hardening, "a value of another type is repaired instead of refused"),
		acceptsProof("dpop-iat-recent", "accepts a proof that is ten seconds old", rfc9449("11.1", ""), harness.Hardening, harness.Low, "DPOP-AS-14.11 DPOP-RS-13.7", iat(-10*time.Second)),
		once(fresh(refusesProof("dpop-iat-day-old", "refuses a proof that is a day old", "11", harness.High, "DPOP-AS-14.2 DPOP-RS-13.2", window, iat(-24*time.Hour)))),
		once(fresh(refusesProof("dpop-iat-zero", "refuses a proof of 1970", "11", harness.High, "DPOP-AS-14.3 DPOP-RS-13.6", window, claim("iat", 0)))),
		once(fresh(refusesProof("dpop-iat-year-ahead", "refuses a proof that is dated a year ahead", "11", harness.High, "DPOP-AS-14.5 DPOP-RS-13.4", window, iat(365*24*time.Hour)))),
		placed(once(fresh(refusesProof("dpop-iat-negative", "refuses a proof from before 1970", "11", harness.High, "DPOP-AS-14.6", window, func(p *harness.Proof) {
			p.Claims.Set("iat", -time.Now().Unix())
		}))), AtToken),
		placed(once(fresh(refusesProof("dpop-iat-enormous", "refuses a proof of a time beyond all integers", "11", harness.High, "DPOP-AS-14.8", "check the range of iat before computing with it", claim("iat", 1e300)))), AtToken),
		placed(once(fresh(refusesProof("dpop-iat-null", "refuses null as iat", "3", harness.High, "DPOP-AS-14.9", "require a number", claim("iat", nil)))), AtToken),
		placed(once(eitherProof("dpop-iat-fraction", "iat may have a fraction", rfc9449("4.3", "11"), "DPOP-AS-14.10", func(p *harness.Proof) {
			p.Claims.Set("iat", float64(time.Now().UnixMilli())/1000-0.0005)
		})), AtToken),
		placed(once(acceptsProof("dpop-iat-five-seconds", "accepts a proof that is five seconds old", rfc9449("11.1", ""), harness.Should, harness.Low, "DPOP-AS-01.5", iat(-5*time.Second))), AtToken),
		// A MAY here; FAPI 2.0 wants it for clocks that differ.
		once(acceptsProof("dpop-iat-ahead", "accepts a proof that is dated five seconds ahead", rfc9449("11.1", ""), harness.Hardening, harness.Info, "DPOP-AS-14.12 DPOP-RS-13.8", iat(5*time.Second))),
	}
}

// proofNames are odd values of jti (RFC 9449 §11.1).
func proofNames() []ProofAttack {
	return []ProofAttack{
		softened(refusesProof("dpop-jti-empty", "refuses an empty jti", "3", harness.Medium, "DPOP-AS-16.1 DPOP-RS-05.5", "require a jti that can be told from others", claim("jti", "")), harness.Should, "replay cannot be detected by an empty name"),
		placed(survivesProof("dpop-jti-huge", "survives a jti of 30,000 characters", "DPOP-AS-16.3", "limit the size of proofs; store hashes", claim("jti", strings.Repeat("x", 30000))), AtToken),
		placed(once(survivesProof("dpop-jti-long", "survives a jti of 1,000 characters", "DPOP-AS-16.2", "limit the size of proofs; store hashes", func(p *harness.Proof) {
			name := harness.Random(16)
			p.Claims.Set("jti", name+strings.Repeat("x", 1000-len(name)))
		})), AtToken),
		placed(once(survivesProof("dpop-jti-characters", "survives a jti with NUL, quotes and letters of other alphabets", "DPOP-AS-16.4", "store hashes of jti", func(p *harness.Proof) {
			p.Claims.Set("jti", harness.Random(16)+"\x00'\"\\é雪")
		})), AtToken),
	}
}

// fresh marks rows about time: with the server's own fresh nonce, iat need not count.
func fresh(a ProofAttack) ProofAttack { a.NonceDecides = WithNonce; return a }

func unixText() string {
	text, _ := json.Marshal(time.Now().Unix())
	return string(text)
}
