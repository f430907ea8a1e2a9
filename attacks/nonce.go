package attacks

import (
	"strings"

	"github.com/popcheck/popcheck/harness"
)

// NonceAttack is a proof with another nonce than the one that was handed out, or with the right one in the wrong place.
type NonceAttack struct {
	Check
	Change harness.ProofChange
	Absent bool // no nonce claim is there: nothing to see where none is needed
}

// Nonces are the wrong nonces that run once for each kind of endpoint; the usual ones are in KeyChecks, and run everywhere.
func Nonces() []NonceAttack {
	row := func(id, title string, level harness.Level, severity harness.Severity, covers, why string, change harness.ProofChange) NonceAttack {
		return NonceAttack{Check: Check{ID: id, Title: title, Clause: rfc9449("8", ""), Level: level, Severity: severity, Threat: harness.ProofReplay, Refusal: useNonce(), Covers: covers,
			Why: why, Fix: "compare the whole nonce claim with what was handed out"}, Change: change}
	}
	absent := func(a NonceAttack) NonceAttack { a.Absent = true; return a }
	// A proof with a nonce of another type is no proof (RFC 9449 §4.3 item 3), and says so as well as any.
	malformed := func(a NonceAttack) NonceAttack {
		a.Refusal.Errors = append(a.Refusal.Errors, "invalid_dpop_proof")
		return a
	}
	const advance = "proofs that were made in advance are accepted"
	return []NonceAttack{
		row("dpop-nonce-last-character", "compares the whole nonce", harness.Must, harness.High, "DPOP-AS-25.2 DPOP-RS-21.4", advance, func(p *harness.Proof) {
			p.Claims.Set("nonce", otherEnd(nonceOf(p)))
		}),
		row("dpop-nonce-empty", "refuses an empty nonce", harness.Must, harness.High, "DPOP-AS-25.3", advance, claim("nonce", "")),
		malformed(row("dpop-nonce-number", "refuses a number as nonce", harness.Must, harness.High, "DPOP-AS-25.4", advance, claim("nonce", 1234567890))),
		absent(row("dpop-nonce-in-header", "reads the nonce from the claims only", harness.Hardening, harness.Low, "DPOP-AS-25.8", "the comparison is looser than the clause", func(p *harness.Proof) {
			p.Header.Set("nonce", nonceOf(p))
			p.Claims.Drop("nonce")
		})),
	}
}

func nonceOf(p *harness.Proof) string {
	s, _ := p.Claims.Get("nonce").(string)
	return s
}

// otherEnd changes the last character of a text so that its meaning changes too where it is base64: there the lower bits of the last
// character may mean nothing.
func otherEnd(s string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	end := len(strings.TrimRight(s, "="))
	if end == 0 {
		return s + "A"
	}
	other := byte('A')
	if i := strings.IndexByte(alphabet, s[end-1]); i >= 0 {
		other = alphabet[i^32]
	}
	return s[:end-1] + string(other) + s[end:]
}

// NonceChecks are the single checks of what a server hands out.
type NonceChecks struct{ KeepsGrant, Characters, Predictable, Reuse Check }

func (n NonceChecks) all() []Check {
	return []Check{n.KeepsGrant, n.Characters, n.Predictable, n.Reuse}
}

// NonceRules returns the single checks of nonces.
func NonceRules() NonceChecks {
	return NonceChecks{
		KeepsGrant: Check{ID: "dpop-nonce-keeps-grant", Title: "leaves a code or refresh token usable when it asks for a nonce", Clause: rfc9449("8", ""), Level: harness.Should, Severity: harness.Medium,
			Threat: harness.Interoperability, Covers: "DPOP-AS-24.4", Why: "a client loses its grant whenever a nonce has expired", Fix: "verify the proof before the grant is spent"},
		Characters: Check{ID: "dpop-nonce-characters", Title: "hands out nonces of the allowed characters", Clause: rfc9449("8.1", ""), Level: harness.Hardening, Severity: harness.Info,
			Threat: harness.Interoperability, Covers: "DPOP-AS-24.3", Why: "clients may not be able to send the nonce back", Fix: "use base64url"},
		Predictable: Check{ID: "dpop-nonce-predictable", Title: "hands out nonces that cannot be guessed", Clause: rfc9449("8", ""), Level: harness.Should, Severity: harness.Low,
			Threat: harness.ProofReplay, Covers: "DPOP-AS-27.1", Why: "proofs can be made in advance for a nonce that is still to come", Fix: "use 16 random bytes, or an encrypted time"},
		Reuse: Check{ID: "dpop-nonce-reuse", Title: "nonces work once or for a time", Clause: rfc9449("8", ""), Level: harness.Hardening, Severity: harness.Info,
			Threat: harness.ProofReplay, Why: "both are legitimate"},
	}
}
