package attacks

import (
	"time"

	"github.com/popcheck/popcheck/harness"
)

// AgedChecks need material that was made minutes before; they run with --slow only.
type AgedChecks struct{ Code, Token, Nonce Check }

// CodeAge is when a code has to be dead: half a minute after the recommended ceiling (RFC 6749 §4.1.2).
const CodeAge = 10*time.Minute + 30*time.Second

// NonceAge is when a nonce counts as one that was not supplied recently (RFC 9449 §8); the RFC names no number.
const NonceAge = CodeAge

// TokenPatience is the longest lifetime of an access token whose end is waited for.
const TokenPatience = 15 * time.Minute

// TokenLeeways are how long after its end a token is tried: at once, but for the clocks; and then, if it still works, after the few
// minutes that are allowed at most (RFC 7519 §4.1.4).
func TokenLeeways() []time.Duration {
	return []time.Duration{time.Minute, 5*time.Minute + 30*time.Second}
}

// Aged returns the checks that wait.
func Aged() AgedChecks {
	return AgedChecks{
		Code: Check{ID: "code-old", Title: "refuses a code that is older than ten minutes", Clause: rfc6749("4.1.2"), Level: harness.Should, Severity: harness.Medium,
			Threat: harness.CodeInterception, Refusal: invalidGrant(), Covers: "CODE-AS-06.1", Needs: "slow",
			Why: "a code from a log or a browser's history works long after the login", Fix: "let codes expire, best after a minute, at the latest after ten"},
		Token: Check{ID: "token-expired", Title: "refuses an expired access token", Clause: rfc6749("7"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.TokenReplay, Refusal: invalidToken(), Covers: "TOKEN-RS-02.3", Needs: "slow",
			Why: "a stolen token works for ever", Fix: "compare exp with the time, with a leeway of seconds"},
		Nonce: Check{ID: "dpop-nonce-old", Title: "refuses a nonce that is older than ten minutes", Clause: rfc9449("8", ""), Level: harness.Should, Severity: harness.Medium,
			Threat: harness.ProofReplay, Refusal: useNonce(), Covers: "DPOP-AS-25.7 DPOP-RS-21.6", Needs: "slow",
			Why: "proofs that were made in advance are accepted for as long as their nonce is", Fix: "accept a nonce for a few minutes after it was handed out"},
	}
}
