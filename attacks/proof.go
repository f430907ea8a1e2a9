package attacks

import (
	"slices"

	"github.com/popcheck/popcheck/harness"
)

// ProofAttack is one defect in a DPoP proof. It runs at the token endpoint, at PAR and at every resource.
type ProofAttack struct {
	Check
	Change harness.ProofChange
	Mode   Mode
	At     []Place // nil: everywhere
	Reach  Reach
	// Resource is the refusal at a resource, where it is not the usual challenge.
	Resource harness.Refusal
	// OtherKey rows are proofs by another key. Where only the bound one is taken, they show nothing else.
	OtherKey bool
	// Lenient rows say what it means when the server accepts: nothing to gain, a warning of the catalogue.
	NonceDecides Lenience
}

// Place is a kind of endpoint that takes proofs.
type Place string

// The places of proofs.
const (
	AtToken         Place = "token"
	AtPAR           Place = "par"
	AtIntrospection Place = "introspect"
	AtRevocation    Place = "revoke"
	AtResource      Place = "resource"
)

// Reach says how many endpoints of a kind a row visits.
type Reach int

// Of the rarer defects one token endpoint and one resource are enough: the same program reads the proofs of every grant. Of the rarer
// certificates one client of each authentication method is enough.
const (
	EveryPlace Reach = iota
	OnePlace
)

// Lenience says when acceptance is no finding.
type Lenience int

// With a fresh nonce of the server in the proof, iat need not be looked at (RFC 9449 §4.3 item 11).
const (
	Never Lenience = iota
	WithNonce
	Always // only recorded: both answers are legitimate
	Anyhow // both answers are fine, but an answer there must be: no 5xx, no dropped connection
)

// RunsAt reports whether the row applies to a kind of endpoint.
func (a ProofAttack) RunsAt(p Place) bool { return a.At == nil || slices.Contains(a.At, p) }

const forged = "a token bound to a key can be obtained or used without holding that key"

func claim(name string, value any) harness.ProofChange {
	return func(p *harness.Proof) { p.Claims.Set(name, value) }
}

func dropClaim(name string) harness.ProofChange {
	return func(p *harness.Proof) { p.Claims.Drop(name) }
}

func header(name string, value any) harness.ProofChange {
	return func(p *harness.Proof) { p.Header.Set(name, value) }
}

func dropHeader(name string) harness.ProofChange {
	return func(p *harness.Proof) { p.Header.Drop(name) }
}

// refusesProof is a row of a proof that must be refused (RFC 9449 §4.3, by item).
func refusesProof(id, title, item string, severity harness.Severity, covers, fix string, change harness.ProofChange) ProofAttack {
	return ProofAttack{Check: Check{ID: id, Title: title, Clause: rfc9449("4.3", item), Level: harness.Must, Severity: severity, Threat: harness.ProofReplay,
		Refusal: InvalidDPoPProof(), Covers: covers, Why: forged, Fix: fix}, Change: change}
}

// acceptsProof is a row of an unusual proof that an honest client may send.
func acceptsProof(id, title string, clause harness.Clause, level harness.Level, severity harness.Severity, covers string, change harness.ProofChange) ProofAttack {
	return ProofAttack{Check: Check{ID: id, Title: title, Clause: clause, Level: level, Severity: severity, Threat: harness.Interoperability,
		Covers: covers, Why: "honest clients are refused", Fix: "accept it: the clause asks for that"}, Change: change, Mode: Accept}
}

// eitherProof is a row that only records what the server does: both answers are legitimate.
func eitherProof(id, title string, clause harness.Clause, covers string, change harness.ProofChange) ProofAttack {
	return ProofAttack{Check: Check{ID: id, Title: title, Clause: clause, Level: harness.Hardening, Severity: harness.Info, Threat: harness.Interoperability,
		Refusal: InvalidDPoPProof(), Covers: covers, Why: "both answers are legitimate"}, Change: change, NonceDecides: Always}
}

// survivesProof is a row that a server may take or refuse, but not break on.
func survivesProof(id, title string, covers, fix string, change harness.ProofChange) ProofAttack {
	survived := harness.Refusal{Status: []int{400, 401, 413, 414, 431}}
	return ProofAttack{Check: Check{ID: id, Title: title, Clause: rfc9449("11.1", ""), Level: harness.Should, Severity: harness.Low, Threat: harness.DenialOfService,
		Refusal: survived, Covers: covers, Why: "what a request can break, anybody can break", Fix: fix}, Change: change, NonceDecides: Anyhow, Resource: survived}
}

func placed(a ProofAttack, places ...Place) ProofAttack { a.At = places; return a }

// once marks rows for which one place of a kind is enough, and no pushed request.
func once(a ProofAttack) ProofAttack {
	a.Reach = OnePlace
	if a.At == nil {
		a.At = []Place{AtToken, AtResource}
	}
	return a
}

// challenged says how a resource refuses, where several codes fit.
func challenged(a ProofAttack, codes ...string) ProofAttack {
	a.Resource = DPoPChallenge(codes...)
	return a
}

func softened(a ProofAttack, level harness.Level, why string) ProofAttack {
	a.Level, a.Why = level, why
	return a
}

// Proofs are the defects of a proof (RFC 9449 §4.3, by item).
func Proofs() []ProofAttack {
	return slices.Concat(proofForms(), proofClaims(), proofTypes(), proofAlgorithms(), proofSignatures(), proofKeys(), proofMethods(), proofAddresses(),
		proofSpellings(), proofTimes(), proofNames(), proofTokens())
}
