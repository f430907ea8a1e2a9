package reports

import (
	"fmt"
	"slices"
	"strings"

	"github.com/popcheck/popcheck/harness"
)

// The aspects of the defence table (design §9), in the order of its rows.
const (
	tokenBinding    = "Token binding"
	clientAuth      = "Client authentication"
	requestBinding  = "Request binding"
	replayDefence   = "Replay protection"
	browserFriendly = "Browser-friendliness"
	keyManagement   = "Key management"
)

func aspects() []string {
	return []string{tokenBinding, clientAuth, requestBinding, replayDefence, browserFriendly, keyManagement}
}

func mechanisms() []harness.Mechanism {
	return []harness.Mechanism{harness.PKCE, harness.DPoP, harness.MTLS}
}

// mechanismTitle is the mechanism as its specification writes it.
func mechanismTitle(m harness.Mechanism) string {
	switch m {
	case harness.PKCE:
		return "PKCE"
	case harness.DPoP:
		return "DPoP"
	case harness.MTLS:
		return "mTLS"
	}
	return string(m)
}

// defence is one cell of the defence table, as data: which results speak for it.
type defence struct {
	mechanism harness.Mechanism
	aspect    string
	means     string // what the cell measures, or why the mechanism has no such aspect
	// Requirements of the catalogue ("DPOP-AS-12"). A result of the mechanism that covers one of
	// them, or a mutation of one ("DPOP-AS-12.3"), belongs to the cell.
	covers []string
	// Of these, the ones without which the cell is not shown, however much else held.
	// One whose results are all skipped does not apply to the target and is not asked for.
	core []string
	// Results that name no requirement belong to the cell by their threat.
	threats []harness.Threat
}

// defences is the defence table. A cell without requirements is an aspect that the mechanism does not have.
func defences() []defence {
	return []defence{
		{mechanism: harness.PKCE, aspect: tokenBinding, means: "PKCE binds the code, not the token that comes from it"},
		{mechanism: harness.DPoP, aspect: tokenBinding, means: "whether a token works only with the key it was issued to",
			covers: ids("DPOP-AS 1 2 3 18 19 20 21 22 23 28", "DPOP-RS 1 2 16 17 18 19", "FAPI-AS 6", "FAPI-RS 2", "TOKEN-AS 16"),
			core:   ids("DPOP-AS 1", "DPOP-RS 2 16 17"), threats: []harness.Threat{harness.TokenReplay}},
		{mechanism: harness.MTLS, aspect: tokenBinding, means: "whether a token works only with the certificate it was issued to",
			covers: ids("MTLS-AS 12 13 14 15 16", "MTLS-RS 1 2 3 5 6", "FAPI-AS 6", "FAPI-RS 2", "TOKEN-AS 16"),
			core:   ids("MTLS-RS 2 3"), threats: []harness.Threat{harness.TokenReplay}},

		{mechanism: harness.PKCE, aspect: clientAuth, means: "PKCE itself proves no client; measured is whether a code is good for its own client only",
			covers: ids("CODE-AS 4 7", "PAR-AS 1 3", "REFRESH-AS 1 2", "TOKEN-AS 6 7 8"),
			core:   ids("CODE-AS 4"), threats: []harness.Threat{harness.ClientImpersonation}},
		{mechanism: harness.DPoP, aspect: clientAuth, means: "a proof shows a key, not which client holds it"},
		{mechanism: harness.MTLS, aspect: clientAuth, means: "whether only the registered certificate authenticates the client",
			covers: ids("MTLS-AS 1 2 3 4 5 6 7 8 9 10 11 17 18", "DCR-AS 7"),
			core:   ids("MTLS-AS 1 10"), threats: []harness.Threat{harness.ClientImpersonation, harness.WrongCertificate}},

		{mechanism: harness.PKCE, aspect: requestBinding, means: "whether the code is redeemed only by who made the authorization request",
			covers: ids("PKCE-AS 2 3 4 5 6 7 8 9 10 13 14 15", "CODE-AS 5 11 12 20", "PAR-AS 2 6 8"),
			core:   ids("PKCE-AS 2 3 6"), threats: []harness.Threat{harness.CodeInterception, harness.CodeInjection, harness.Downgrade}},
		{mechanism: harness.DPoP, aspect: requestBinding, means: "whether a proof is good for one method, one address and one token",
			covers: ids("DPOP-AS 4 5 6 7 9 11 12 13 29", "DPOP-RS 3 4 5 6 8 10 11 12 15"),
			core:   ids("DPOP-AS 9 11 12", "DPOP-RS 8 10 11 15")},
		{mechanism: harness.MTLS, aspect: requestBinding, means: "whether the client's own connection is what counts, and no header can stand in for it",
			covers: ids("MTLS-AS 17 18", "MTLS-RS 2 4"),
			core:   ids("MTLS-RS 2"), threats: []harness.Threat{harness.Downgrade}},

		{mechanism: harness.PKCE, aspect: replayDefence, means: "whether a code works once and not for long",
			covers: ids("CODE-AS 1 2 3 6 21", "PKCE-AS 17", "PAR-AS 4 5"),
			core:   ids("CODE-AS 1"), threats: []harness.Threat{harness.TokenReplay, harness.ProofReplay}},
		{mechanism: harness.DPoP, aspect: replayDefence, means: "whether a proof is fresh, and is not taken twice",
			covers: ids("DPOP-AS 14 15 16 24 25 26 27", "DPOP-RS 13 14 21", "FAPI-AS 10"),
			core:   ids("DPOP-AS 14", "DPOP-RS 13"), threats: []harness.Threat{harness.ProofReplay}},
		{mechanism: harness.MTLS, aspect: replayDefence, means: "whether a stolen token or refresh token is worth nothing on another connection",
			covers: ids("MTLS-RS 2 3 5", "MTLS-AS 14 15", "REFRESH-AS 3 4"),
			core:   ids("MTLS-RS 3"), threats: []harness.Threat{harness.ProofReplay}},

		{mechanism: harness.PKCE, aspect: browserFriendly, means: "whether redirects alone are enough, and pages keep what they know",
			covers: ids("PKCE-AS 1 16", "CODE-AS 8 9 10 13 14 16 17 18 19", "TOKEN-AS 14"),
			core:   ids("PKCE-AS 1"), threats: []harness.Threat{harness.Interoperability, harness.Leakage}},
		{mechanism: harness.DPoP, aspect: browserFriendly, means: "whether honest proofs of many makes are taken, and errors say what to do next",
			covers: ids("DPOP-AS 1 13 20 24", "DPOP-RS 1 12 20 21", "TOKEN-AS 14"),
			core:   ids("DPOP-AS 1", "DPOP-RS 1"), threats: []harness.Threat{harness.Interoperability}},
		{mechanism: harness.MTLS, aspect: browserFriendly, means: "browsers do not choose certificates well; measured is whether endpoints of their own keep them free of prompts",
			covers: ids("MTLS-AS 18"), core: ids("MTLS-AS 18"), threats: []harness.Threat{harness.Interoperability}},

		{mechanism: harness.PKCE, aspect: keyManagement, means: "there is no key to manage: every request has a verifier of its own"},
		{mechanism: harness.DPoP, aspect: keyManagement, means: "whether only public keys of sound algorithms are taken, and are named by their thumbprint",
			covers: ids("DPOP-AS 2 3 8 10 27 29", "DPOP-RS 7 9", "FAPI-AS 11"),
			core:   ids("DPOP-AS 8 10", "DPOP-RS 7 9")},
		{mechanism: harness.MTLS, aspect: keyManagement, means: "whether chains are validated, and only registered certificates count",
			covers: ids("MTLS-AS 7 8 9 12 13", "DCR-AS 7", "FAPI-AS 11"),
			core:   ids("MTLS-AS 7 9"), threats: []harness.Threat{harness.WrongCertificate}},
	}
}

// ids spells requirement ids out: "DPOP-AS 1 12" is DPOP-AS-01 and DPOP-AS-12.
func ids(families ...string) []string {
	var out []string
	for _, family := range families {
		words := strings.Fields(family)
		for _, number := range words[1:] {
			out = append(out, fmt.Sprintf("%s-%02s", words[0], number))
		}
	}
	return out
}

// covering reports whether the result covers the requirement or one of its mutations.
func covering(r harness.Result, requirement string) bool {
	return slices.ContainsFunc(r.Covers, func(id string) bool {
		return id == requirement || strings.HasPrefix(id, requirement+".")
	})
}

// speaks reports whether the result belongs to the cell.
func (d defence) speaks(r harness.Result) bool {
	switch {
	case r.Mechanism != d.mechanism || len(d.covers) == 0:
		return false
	case len(r.Covers) == 0:
		return slices.Contains(d.threats, r.Threat)
	}
	return slices.ContainsFunc(d.covers, func(id string) bool { return covering(r, id) })
}

// finding is what the run says about a threat, a cell or a use: the outcome, and by what.
type finding struct {
	outcome outcome
	tally   tally
	missing []string // requirements that nothing in the run speaks of
	reasons []string // why, where the counts do not tell
}

// measure fills the cell from the results of the run.
func (d defence) measure(run *harness.Run, results []harness.Result) finding {
	if len(d.covers) == 0 {
		return finding{outcome: notApplicable, tally: tally{}}
	}
	var own []harness.Result
	for _, r := range results {
		if d.speaks(r) {
			own = append(own, r)
		}
	}
	f := finding{tally: tallyOf(own)}
	f.outcome = f.tally.outcome(run)
	if f.outcome != held {
		return f
	}
	for _, id := range d.core {
		if !slices.ContainsFunc(own, func(r harness.Result) bool { return covering(r, id) }) {
			f.missing = append(f.missing, id)
		}
	}
	if len(f.missing) > 0 {
		f.outcome = notShown
		f.reasons = append(f.reasons, "not run: "+strings.Join(f.missing, ", "))
	}
	return f
}

// use is a purpose that one of the mechanisms is chosen for.
type use struct {
	title     string
	mechanism harness.Mechanism
	needs     []string // the aspects that must hold
	roles     []harness.Role
}

func uses() []use {
	both := []harness.Role{harness.AuthorizationServer, harness.ResourceServer}
	return []use{
		{"Single-page and mobile apps (PKCE)", harness.PKCE, []string{requestBinding, replayDefence, browserFriendly}, both[:1]},
		{"Light token binding (DPoP)", harness.DPoP, []string{tokenBinding, requestBinding, replayDefence, keyManagement}, both},
		{"Strong client authentication and binding (mTLS)", harness.MTLS, []string{clientAuth, tokenBinding, keyManagement}, both},
	}
}

// The outcomes of a use; "not shown" and "not applicable" are shared with the other tables.
const (
	ready    outcome = "ready"
	notReady outcome = "not ready"
)

// weigh says whether the target is ready for the use. A fail at level must, waived or not, or one that
// counts, means not ready; a lesser one is told as a reservation.
func (u use) weigh(run *harness.Run, results []harness.Result) finding {
	var own []harness.Result
	for _, r := range results {
		if r.Mechanism == u.mechanism {
			own = append(own, r)
		}
	}
	f := finding{tally: tallyOf(own)}
	var grave, light []harness.Result
	for _, r := range f.tally[harness.Fail] {
		if reaches(r.Level, harness.Must) || counts(r, run.FailOn) {
			grave = append(grave, r)
		} else {
			light = append(light, r)
		}
	}
	if len(grave) > 0 {
		f.outcome = notReady
		f.reasons = []string{fmt.Sprintf("%s: %s", count(len(grave), "attack worked", "attacks worked"), listed(checks(grave)))}
		return f
	}
	if len(own) == 0 {
		f.outcome, f.reasons = notShown, []string{"no check of it ran"}
		return f
	}
	if len(f.tally[harness.Skip]) == len(own) {
		f.outcome, f.reasons = notApplicable, skipReasons(own)
		return f
	}
	held := len(f.tally.shown())
	if f.reasons = u.doubts(run, results, f.tally); len(f.reasons) > 0 {
		if f.outcome = notShown; held > 0 && len(light) == 0 {
			f.reasons = append(f.reasons, fmt.Sprintf("what was tried held (%s)", count(held, "result", "results")))
		}
		return f
	}
	f.outcome = ready
	f.reasons = []string{fmt.Sprintf("%s, nothing inconclusive", count(held, "result held", "results held"))}
	if len(light) > 0 {
		f.reasons = append(f.reasons, fmt.Sprintf("with reservations, at lesser levels: %s", listed(checks(light))))
	}
	return f
}

// doubts are the reasons for which readiness cannot be claimed, though nothing grave was found.
func (u use) doubts(run *harness.Run, results []harness.Result, t tally) []string {
	var out []string
	if !run.Complete {
		out = append(out, "the run is not complete")
	}
	if n := len(t[harness.Inconclusive]); n > 0 {
		out = append(out, fmt.Sprintf("%s inconclusive", count(n, "result is", "results are")))
	}
	for _, role := range u.roles {
		if !slices.ContainsFunc(t.shown(), func(r harness.Result) bool { return r.Role == role }) {
			out = append(out, "nothing was shown at the "+roleTitle(role))
		}
	}
	for _, d := range defences() {
		if d.mechanism != u.mechanism || !slices.Contains(u.needs, d.aspect) {
			continue
		}
		if cell := d.measure(run, results); cell.outcome == notShown || cell.outcome == notApplicable {
			why := ""
			if len(cell.reasons) > 0 {
				why = " (" + strings.Join(cell.reasons, "; ") + ")"
			}
			out = append(out, fmt.Sprintf("%s: %s%s", strings.ToLower(d.aspect), cell.outcome, why))
		}
	}
	return out
}

func roleTitle(role harness.Role) string {
	if role == harness.ResourceServer {
		return "resource server"
	}
	return "authorization server"
}

// skipReasons are the distinct reasons of skipped results, a few of them.
func skipReasons(results []harness.Result) []string {
	var out []string
	for _, r := range results {
		if !slices.Contains(out, r.Reason) {
			out = append(out, r.Reason)
		}
	}
	return out[:min(len(out), 3)]
}

// listed names a few things and counts the others.
func listed(names []string) string {
	const few = 6
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}
