// Package harness speaks OAuth to a target and keeps what was said: the target
// file, identities, flows, proofs, certificates, recorded exchanges, redaction
// and the words of a verdict. It knows no test framework.
package harness

import (
	"fmt"
	"slices"
)

// Verdict is what a check learned (design §3). The zero value is no verdict.
type Verdict string

// The five verdicts. Their order is the order of a report: what needs a reader first.
const (
	// Fail: the attack worked, or the required behaviour is missing.
	Fail Verdict = "fail"
	// Inconclusive: a control was refused, the target broke, or the check was not reached.
	Inconclusive Verdict = "inconclusive"
	// Warn: the defence held, but the answer is not in the form that the clause asks for.
	Warn Verdict = "warn"
	// Pass: the attack was refused between two accepted controls, in the right form.
	Pass Verdict = "pass"
	// Skip: not applicable; the reason names the missing capability and how that is known.
	Skip Verdict = "skip"
)

// Verdicts returns the closed list, worst first.
func Verdicts() []Verdict { return []Verdict{Fail, Inconclusive, Warn, Pass, Skip} }

// Legend says in one sentence what the verdict means to a reader.
func (v Verdict) Legend() string {
	switch v {
	case Fail:
		return "the attack worked, or the required behaviour is missing"
	case Inconclusive:
		return "nothing was learned: an honest call was refused, the target broke, or the check was not reached"
	case Warn:
		return "the defence held, but the answer is not in the form that the clause asks for"
	case Pass:
		return "the attack was refused between two accepted honest calls, or the required behaviour was seen"
	case Skip:
		return "not applicable to this target"
	}
	return ""
}

// Level says how binding a check is under the profile of the run.
type Level string

// The levels, strongest first. NeverLevel is only a value of --fail-on.
const (
	Must       Level = "must"
	Should     Level = "should"
	Hardening  Level = "hardening"
	NeverLevel Level = "never"
)

// AtLeast reports whether l is as strong as the threshold or stronger; nothing reaches "never".
func (l Level) AtLeast(threshold Level) bool {
	order := []Level{Must, Should, Hardening}
	own, limit := slices.Index(order, l), slices.Index(order, threshold)
	return own >= 0 && limit >= 0 && own <= limit
}

// ParseLevel reads a value of --fail-on.
func ParseLevel(s string) (Level, error) {
	switch l := Level(s); l {
	case Must, Should, Hardening, NeverLevel:
		return l, nil
	}
	return "", fmt.Errorf("%q is not a level: want must, should, hardening or never", s)
}

// Severity says how much a finding costs.
type Severity string

// The severities, worst first.
const (
	Critical Severity = "critical"
	High     Severity = "high"
	Medium   Severity = "medium"
	Low      Severity = "low"
	Info     Severity = "info"
)

// Severities returns the closed list, worst first.
func Severities() []Severity { return []Severity{Critical, High, Medium, Low, Info} }

// Threat is what an attacker gains; a closed list.
type Threat string

// The threats of the catalogue.
const (
	CodeInterception    Threat = "code-interception"
	CodeInjection       Threat = "code-injection"
	TokenReplay         Threat = "token-replay"
	ProofReplay         Threat = "proof-replay"
	WrongCertificate    Threat = "wrong-certificate"
	ClientImpersonation Threat = "client-impersonation"
	Downgrade           Threat = "downgrade"
	Leakage             Threat = "leakage"
	DenialOfService     Threat = "dos"
	Interoperability    Threat = "interoperability"
)

// Threats returns the closed list in the order of a report.
func Threats() []Threat {
	return []Threat{CodeInterception, CodeInjection, TokenReplay, ProofReplay, WrongCertificate,
		ClientImpersonation, Downgrade, Leakage, DenialOfService, Interoperability}
}

// Title is the threat in a reader's words.
func (t Threat) Title() string {
	switch t {
	case CodeInterception:
		return "Authorization code interception"
	case CodeInjection:
		return "Authorization code injection"
	case TokenReplay:
		return "Token replay"
	case ProofReplay:
		return "Proof replay and forgery"
	case WrongCertificate:
		return "Wrong-certificate presentation"
	case ClientImpersonation:
		return "Client impersonation"
	case Downgrade:
		return "Downgrade"
	case Leakage:
		return "Front-channel leakage"
	case DenialOfService:
		return "Denial of service"
	case Interoperability:
		return "Interoperability"
	}
	return string(t)
}

// Mechanism is one of the three defences that popcheck judges.
type Mechanism string

// The mechanisms; each has its suite.
const (
	PKCE Mechanism = "pkce"
	DPoP Mechanism = "dpop"
	MTLS Mechanism = "mtls"
)

// Role is the side of the target that a check judges.
type Role string

// The roles of a target.
const (
	AuthorizationServer Role = "AS"
	ResourceServer      Role = "RS"
)

// Clause is the sentence of a specification that a check rests on.
type Clause struct {
	Spec    string `json:"spec"`           // "RFC 9449"
	Section string `json:"section"`        // "4.3"
	Item    string `json:"item,omitempty"` // "9", where the section numbers its items
}

// String names the clause as a reader would: "RFC 9449 §4.3 item 9".
func (c Clause) String() string {
	s := c.Spec
	if c.Section != "" {
		s += " §" + c.Section
	}
	if c.Item != "" {
		s += " item " + c.Item
	}
	return s
}
