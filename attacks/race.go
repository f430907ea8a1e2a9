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
)

// Of a race, so many requests are sent at the same moment, and so often, unless one wins earlier: a server that is
// not quick enough once may be so the next time.
const (
	RaceRequests = 10
	RaceRounds   = 5
)

// Races are the attacks with requests at the same moment.
func Races() []RaceAttack {
	return []RaceAttack{
		{Check: Check{ID: "code-race", Title: "redeems a code once, also for requests at the same moment", Clause: rfc6749("4.1.2"), Level: harness.Must, Severity: harness.High,
			Threat: harness.TokenReplay, Refusal: invalidGrant(), Covers: "CODE-AS-01.2", Harm: RevokesGrants,
			Why: "whoever sends a stolen code in the moment of its redemption gets tokens beside the client's", Fix: "mark the code as used in one atomic step with issuing the token (a conditional update, not a read and a write)"},
			Of: TheCode},
	}
}
