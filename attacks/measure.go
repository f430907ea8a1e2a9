package attacks

import (
	"time"

	"github.com/popcheck/popcheck/harness"
)

// Measurements are the checks that bring a number, or a word for how the server works. Most of them cannot fail: every value is sound.
// What crosses a limit fails.
type Measurements struct {
	Window, Algorithms, Nonces               Check // of proofs
	Clock, Rotation, Lifetime                Check
	CodeAge, PushAge, NonceLives, ReplayLate Check // these watch things grow old
}

// The limits of a window around iat; the RFC speaks of seconds or minutes (RFC 9449 §11.1).
const (
	IatFuture = 5 * time.Minute
	IatPast   = 10 * time.Minute
	IatSlack  = 10 * time.Second // what measuring is off by at most
)

// WatchedAges are when a thing is tried that grows old; the longer lifetimes have checks of their own.
func WatchedAges() []time.Duration {
	return []time.Duration{0, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute}
}

// ProofAlgorithms are those that a proof is tried with, beside all that the server lists (RFC 7518 §3.1, RFC 8037 §3.1).
func ProofAlgorithms() []string {
	return []string{"ES256", "ES384", "ES512", "PS256", "RS256", "EdDSA"}
}

// Measured returns them.
func Measured() Measurements {
	row := func(id, title string, clause harness.Clause, threat harness.Threat, covers, needs, why string) Check {
		return Check{ID: id, Title: title, Clause: clause, Level: harness.Hardening, Severity: harness.Info, Threat: threat, Covers: covers, Needs: needs, Why: why,
			Fix: "every value is sound; this one is measured to be known"}
	}
	limited := func(c Check, level harness.Level, severity harness.Severity, refusal harness.Refusal, fix string) Check {
		c.Level, c.Severity, c.Refusal, c.Fix = level, severity, refusal, fix
		return c
	}
	return Measurements{
		Window: limited(row("dpop-iat-window", "accepts proofs that are dated minutes from its own time, at most", rfc9449("11.1", ""), harness.ProofReplay, "DPOP-AS-14.13", "",
			"proofs that somebody made in advance on a client's device, or captured, work for as long as the window is wide"),
			harness.Hardening, harness.Low, harness.Refusal{}, "accept an iat of the last minutes, and of the next one for clocks that differ; or use nonces"),
		Algorithms: row("dpop-algorithms", "accepts proofs with some algorithms", rfc9449("5.1", ""), harness.Interoperability, "DPOP-AS-01.2", "", "it decides which clients can prove their keys"),
		Nonces:     row("dpop-nonces", "uses nonces or none", rfc9449("8", ""), harness.ProofReplay, "", "", "it decides what a captured proof is worth"),
		Clock:      row("clock-skew", "keeps the time", rfc9449("11.1", ""), harness.Interoperability, "", "", "honest proofs and assertions look old, or not yet valid"),
		Rotation: row("refresh-rotation", "rotates refresh tokens or keeps them", rfc9700("4.14.2"), harness.TokenReplay, "REFRESH-AS-03.2", "refresh",
			"it decides what a stolen refresh token is worth"),
		Lifetime:   row("token-lifetime", "says how long an access token lives", rfc6749("5.1"), harness.TokenReplay, "", "", "it decides for how long a stolen token works"),
		CodeAge:    row("code-lifetime", "lets a code live for a while", rfc6749("4.1.2"), harness.CodeInterception, "CODE-AS-06.2", "slow", "it decides for how long an intercepted code works"),
		PushAge:    row("par-request-uri-lifetime", "lets a request_uri live for a while", rfc9126("2.2"), harness.ProofReplay, "", "par slow", "it decides for how long a pushed request that somebody saw can be used"),
		NonceLives: row("dpop-nonce-lifetime", "takes a nonce for a while", rfc9449("8", ""), harness.ProofReplay, "", "slow", "it decides for how long a proof that was made in advance works"),
		ReplayLate: limited(row("dpop-replay-later", "refuses a proof again for as long as it would be fresh", rfc9449("11.1", ""), harness.ProofReplay, "", "slow",
			"whoever captures a proof waits until the server has forgotten it, and uses it while its iat is still good"), harness.Should, harness.Medium, InvalidDPoPProof(),
			"remember a jti until the iat of its proof is too old, also for one that was dated ahead"),
	}
}

func (m Measurements) pkce() []Check {
	return []Check{m.Clock, m.Rotation, m.Lifetime, m.CodeAge, m.PushAge}
}

func (m Measurements) dpop() []Check {
	return []Check{m.Window, m.Algorithms, m.Nonces, m.NonceLives, m.ReplayLate}
}
