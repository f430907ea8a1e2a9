package attacks

import "github.com/popcheck/popcheck/harness"

// RaceAttack is a thing that works once, used by many at the same moment: looking whether it was used and marking it as used have
// to be one step, or all of them find it unused.
type RaceAttack struct {
	Check
	Of Raced
}

// Raced is what works once.
type Raced int

// The things that are raced.
const (
	TheCode Raced = iota
	TheRefreshToken
	TheProtectedRefreshToken // only its client can use it: it is bound to a key or certificate, or the client authenticates
)

// Of a race, so many requests are sent at the same moment, and so often, unless one wins earlier: a server that is
// not quick enough once may be so the next time. Where each request takes a login of its own, two rounds have to do.
const (
	RaceRequests    = 10
	RaceRounds      = 5
	RaceLoginRounds = 2
)

// Races are the attacks with requests at the same moment.
func Races() []RaceAttack {
	return []RaceAttack{
		{Check: Check{ID: "code-race", Title: "redeems a code once, also for requests at the same moment", Clause: rfc6749("4.1.2"), Level: harness.Must, Severity: harness.High,
			Threat: harness.TokenReplay, Refusal: invalidGrant(), Covers: "CODE-AS-01.2", Harm: RevokesGrants,
			Why: "whoever sends a stolen code in the moment of its redemption gets tokens beside the client's", Fix: "mark the code as used in one atomic step with issuing the token (a conditional update, not a read and a write)"},
			Of: TheCode},
		{Check: Check{ID: "refresh-race", Title: "rotates a refresh token into one, also for requests at the same moment", Clause: rfc9700("4.14.2"), Level: harness.Must, Severity: harness.Medium,
			Threat: harness.TokenReplay, Refusal: invalidGrant(), Needs: "refresh public-client", Harm: RevokesGrants,
			Why: "whoever sends a stolen refresh token in the moment of its use has a chain of tokens beside the client's, and neither of them ever shows the theft", Fix: atOnce},
			Of: TheRefreshToken},
		{Check: Check{ID: "refresh-race-protected", Title: "rotates a refresh token that only its client can use into one, also for requests at the same moment", Clause: rfc9700("4.14.2"), Level: harness.Hardening, Severity: harness.Low,
			Threat: harness.TokenReplay, Refusal: invalidGrant(), Needs: "refresh", Harm: RevokesGrants,
			Why: "one use leaves several chains of tokens, so that a later replay of the others is not noticed", Fix: atOnce},
			Of: TheProtectedRefreshToken},
	}
}

const atOnce = "mark the refresh token as replaced in one atomic step with issuing its successor (a conditional update, not a read and a write)"

// ProofRace is the very same proof, used by many at the same moment. It says something only where a proof is refused that comes again
// afterwards.
func ProofRace() Check {
	return Check{ID: "dpop-replay-race", Title: "accepts a proof once, also for requests at the same moment", Clause: rfc9449("11.1", ""), Level: harness.Should, Severity: harness.Medium,
		Threat: harness.ProofReplay, Refusal: InvalidDPoPProof(), Covers: "DPOP-AS-15.3 DPOP-RS-14.3",
		Why: "whoever sends a captured proof in the moment of its use has it accepted beside the client's: the memory of proofs protects nothing", Fix: "look the jti up and keep it in one atomic step (an insert that fails when it is there)"}
}
