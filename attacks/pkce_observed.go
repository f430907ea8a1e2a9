package attacks

import "github.com/popcheck/popcheck/harness"

// Guesses are so many wrong verifiers for one code; RFC 6749 §10.10 names no number.
const Guesses = 20

// PKCEChecks are the single checks of PKCE; each has a spec of its own.
type PKCEChecks struct{ Exposed, ExposedPlain, Guessed Check }

func (p PKCEChecks) all() []Check { return []Check{p.Exposed, p.ExposedPlain, p.Guessed} }

// PKCESingles returns the single checks of PKCE.
func PKCESingles() PKCEChecks {
	return PKCEChecks{
		Exposed: Check{ID: "pkce-challenge-exposed", Title: "keeps an S256 challenge out of the authorization response", Clause: rfc7636("4.4"), Level: harness.Hardening, Severity: harness.Low,
			Threat: harness.Leakage, Covers: "PKCE-AS-16.1", Why: "nobody gets from an S256 challenge to its verifier; where the same is done with plain, the response is all that a thief needs",
			Fix: "store the challenge with the code, or encrypt a code that carries it"},
		ExposedPlain: Check{ID: "pkce-plain-challenge-exposed", Title: "keeps a plain challenge out of the authorization response", Clause: rfc7636("4.4"), Level: harness.Must, Severity: harness.High,
			Threat: harness.CodeInterception, Refusal: invalidRequestAtAuthorize(), Covers: "PKCE-AS-16.2", Why: "the challenge is the verifier: " + intercepted,
			Fix: "support S256 only; store the challenge with the code, or encrypt a code that carries it"},
		Guessed: Check{ID: "pkce-verifier-guessed", Title: "refuses every wrong verifier, however many came before", Clause: rfc6749("10.10"), Level: harness.Must, Severity: harness.High,
			Threat: harness.CodeInterception, Covers: "PKCE-AS-17.1", Why: "failed attempts switch the defence off: " + intercepted, Fix: "leave code and challenge as they were when a redemption is refused, or delete both",
			Harm: ManyRefusals},
	}
}
