// Package attacks is the catalogue: every check is a row of data that says what is sent, what must happen
// and which sentence of which specification asks for it. A new attack is a new row.
package attacks

import (
	"embed"
	"slices"
	"strings"
	"sync"

	"github.com/popcheck/popcheck/harness"
)

// CatalogueVersion changes with the set of checks or the meaning of one.
const CatalogueVersion = "2026.11"

// Check is what every row has in common. IDs are words, never positions, and never reused.
type Check struct {
	ID       string
	Title    string // what the server does: "refuses a proof made for another host"
	Clause   harness.Clause
	Level    harness.Level // under the profile bcp, or under Only; see LevelUnder
	Only     string        // the one profile that asks for the check; empty: every one does, but for what differences says
	Severity harness.Severity
	Threat   harness.Threat
	Refusal  harness.Refusal // the form in which the attack is to be refused; empty where nothing is refused
	Covers   string          // mutations of the requirement catalogue, separated by spaces
	Needs    string          // capabilities, separated by spaces
	Why      string          // the consequence when it fails
	Fix      string
	Harm     Harm
}

// Harm is what a check may leave behind at the target, beyond tokens that expire.
type Harm string

// The harms that a check declares.
const (
	NoHarm           Harm = ""
	RevokesGrants    Harm = "revokes a grant that popcheck itself obtained"
	WrongLogins      Harm = "sends wrong client credentials"
	ManyRefusals     Harm = "has 20 requests refused in a row, which a guard may take for an attack"
	RegistersClients Harm = "registers clients, which it removes"
	WrongPassword    Harm = "sends a wrong password of a user, once"
)

// Covered are the mutations of the requirement catalogue that the check sends.
func (c Check) Covered() []string { return strings.Fields(c.Covers) }

// Entry is a check with its place in the catalogue.
type Entry struct {
	Check
	Suite  harness.Mechanism
	Source harness.Source
}

//go:embed *.go
var rows embed.FS

// SourceOf finds the row of a check, so that a line of a report leads to it.
func SourceOf(id string) harness.Source { return places()[id] }

// places reads the rows once: they are looked up for every result.
var places = sync.OnceValue(func() map[string]harness.Source {
	out := map[string]harness.Source{}
	for _, e := range catalogue() {
		out[e.ID] = locate(e.ID)
	}
	return out
})

func locate(id string) harness.Source {
	entries, err := rows.ReadDir(".")
	if err != nil {
		return harness.Source{}
	}
	for _, e := range entries {
		data, err := rows.ReadFile(e.Name())
		if err != nil {
			continue
		}
		for i, line := range strings.Split(string(data), "\n") {
			if strings.Contains(line, `ID: "`+id+`"`) || strings.Contains(line, `("`+id+`", "`) {
				return harness.Source{File: "attacks/" + e.Name(), Line: i + 1}
			}
		}
	}
	return harness.Source{}
}

// Catalogue lists every check in the order of the suites.
func Catalogue() []Entry {
	out := catalogue()
	for i := range out {
		out[i].Source = SourceOf(out[i].ID)
	}
	return out
}

func catalogue() []Entry {
	var out []Entry
	add := func(suite harness.Mechanism, checks ...Check) {
		for _, c := range checks {
			out = append(out, Entry{Check: c, Suite: suite})
		}
	}
	for _, a := range Codes() {
		add(harness.PKCE, a.Check)
	}
	for _, a := range Repeats() {
		add(harness.PKCE, a.Check)
	}
	add(harness.PKCE, PKCESingles().all()...)
	for _, a := range slices.Concat(Redirects(), NativeRedirects()) {
		add(harness.PKCE, a.Check)
	}
	add(harness.PKCE, FrontChannel().all()...)
	add(harness.PKCE, Pages().All()...)
	for _, a := range Races() {
		add(harness.PKCE, a.Check)
	}
	for _, a := range slices.Concat(ClientAssertions(), GrantAssertions()) {
		add(harness.PKCE, a.Check)
	}
	add(harness.PKCE, Backends().all()...)
	for _, a := range PushedRequests() {
		add(harness.PKCE, a.Check)
	}
	add(harness.PKCE, PushedSingles().All()...)
	for _, a := range slices.Concat(TokenRequests(), AuthorizationRequests()) {
		add(harness.PKCE, a.Check)
	}
	for _, a := range Refreshes() {
		add(harness.PKCE, a.Check)
	}
	add(harness.PKCE, RefreshTokens().all()...)
	for _, a := range Introspections() {
		add(harness.PKCE, a.Check)
	}
	add(harness.PKCE, DirectEndpoints().all()...)
	for _, a := range MetadataHeaders() {
		add(harness.PKCE, a.Check)
	}
	add(harness.PKCE, ServerMetadata().pkce()...)
	for _, a := range RedirectRegistrations() {
		add(harness.PKCE, a.Check)
	}
	for _, a := range StatementAttacks() {
		add(harness.PKCE, a.Check)
	}
	add(harness.PKCE, Registrations().pkce()...)
	for _, a := range FAPIRequests() {
		add(harness.PKCE, a.Check)
	}
	for _, a := range FAPIAssertions() {
		add(harness.PKCE, a.Check)
	}
	add(harness.PKCE, FAPI().all()...)
	for _, a := range Tokens() {
		add(harness.PKCE, a.Check)
	}
	add(harness.PKCE, TokensAtResource().all()...)
	for _, a := range MintedTokens() {
		if a.Binding == "" {
			add(harness.PKCE, a.Check)
		}
	}
	for _, a := range Proofs() {
		add(harness.DPoP, a.Check)
	}
	for _, a := range MintedTokens() {
		switch a.Binding {
		case harness.DPoPBound:
			add(harness.DPoP, a.Check)
		case harness.CertificateBound:
			add(harness.MTLS, a.Check)
		}
	}
	for _, a := range FAPIProofs() {
		add(harness.DPoP, a.Check)
	}
	add(harness.DPoP, HostHeader().Check)
	for _, a := range ResourceRequests() {
		add(harness.DPoP, a.Check)
	}
	add(harness.DPoP, Keys().all()...)
	add(harness.DPoP, Rotations().dpop()...)
	for _, a := range Nonces() {
		add(harness.DPoP, a.Check)
	}
	add(harness.DPoP, NonceRules().all()...)
	add(harness.DPoP, Replays().all()...)
	add(harness.DPoP, ProofRace())
	aged := Aged()
	add(harness.PKCE, aged.Code, aged.Token, PushedSingles().Expired)
	add(harness.DPoP, aged.Nonce)
	measured := Measured()
	add(harness.PKCE, measured.pkce()...)
	add(harness.DPoP, measured.dpop()...)
	add(harness.DPoP, ServerMetadata().dpop()...)
	add(harness.DPoP, Registrations().dpop()...)
	for _, a := range Certificates() {
		add(harness.MTLS, a.Check)
	}
	for _, a := range Headers() {
		add(harness.MTLS, a.Check)
	}
	add(harness.MTLS, CertificateBindings().all()...)
	add(harness.MTLS, Speakers().all()...)
	add(harness.MTLS, ServerMetadata().mtls()...)
	add(harness.MTLS, Rotations().mtls()...)
	add(harness.MTLS, Registrations().mtls()...)
	return out
}

func rfc6749(section string) harness.Clause {
	return harness.Clause{Spec: "RFC 6749", Section: section}
}
func rfc7515(section string) harness.Clause {
	return harness.Clause{Spec: "RFC 7515", Section: section}
}
func rfc7523(section, item string) harness.Clause {
	return harness.Clause{Spec: "RFC 7523", Section: section, Item: item}
}
func rfc6750(section string) harness.Clause {
	return harness.Clause{Spec: "RFC 6750", Section: section}
}
func rfc7591(section string) harness.Clause {
	return harness.Clause{Spec: "RFC 7591", Section: section}
}
func rfc7009(section string) harness.Clause {
	return harness.Clause{Spec: "RFC 7009", Section: section}
}
func rfc8414(section string) harness.Clause {
	return harness.Clause{Spec: "RFC 8414", Section: section}
}
func rfc9068(section string) harness.Clause {
	return harness.Clause{Spec: "RFC 9068", Section: section}
}
func rfc7519(section string) harness.Clause {
	return harness.Clause{Spec: "RFC 7519", Section: section}
}
func rfc7636(section string) harness.Clause {
	return harness.Clause{Spec: "RFC 7636", Section: section}
}
func rfc8705(section string) harness.Clause {
	return harness.Clause{Spec: "RFC 8705", Section: section}
}
func rfc9126(section string) harness.Clause {
	return harness.Clause{Spec: "RFC 9126", Section: section}
}
func rfc9207(section string) harness.Clause {
	return harness.Clause{Spec: "RFC 9207", Section: section}
}
func rfc9700(section string) harness.Clause {
	return harness.Clause{Spec: "RFC 9700", Section: section}
}

func rfc9449(section, item string) harness.Clause {
	return harness.Clause{Spec: "RFC 9449", Section: section, Item: item}
}

// The usual forms of a refusal.
func invalidGrant() harness.Refusal {
	return harness.Refusal{Status: []int{400}, Errors: []string{"invalid_grant"}, Where: []harness.Where{harness.InBody}}
}

func grantOrRequest() harness.Refusal {
	return harness.Refusal{Status: []int{400}, Errors: []string{"invalid_grant", "invalid_request"}, Where: []harness.Where{harness.InBody}}
}

func badRequestAnywhere() harness.Refusal {
	return harness.Refusal{Status: []int{302, 303, 400}, Errors: []string{"invalid_request", "invalid_grant"},
		Where: []harness.Where{harness.InRedirect, harness.InBody}}
}

func invalidRequestAtAuthorize() harness.Refusal {
	return harness.Refusal{Status: []int{302, 303}, Errors: []string{"invalid_request"}, Where: []harness.Where{harness.InRedirect}}
}

// noTokenInFront is how a response type with a token is refused; where requests have to be pushed, PAR says so in its body (RFC 9126 §2.3).
func noTokenInFront() harness.Refusal {
	return harness.Refusal{Status: []int{302, 303, 400}, Errors: []string{"unsupported_response_type", "unauthorized_client", "invalid_request"}, Where: []harness.Where{harness.InRedirect, harness.InBody}}
}

func invalidClient(more ...string) harness.Refusal {
	return harness.Refusal{Status: []int{400, 401}, Errors: append([]string{"invalid_client"}, more...), Where: []harness.Where{harness.InBody, harness.InTLS}}
}

// InvalidDPoPProof is how an authorization server refuses a bad proof (RFC 9449 §5).
func InvalidDPoPProof() harness.Refusal {
	return harness.Refusal{Status: []int{400}, Errors: []string{"invalid_dpop_proof"}, Where: []harness.Where{harness.InBody}}
}

// useNonce is how an authorization server asks for a nonce (RFC 9449 §8).
func useNonce() harness.Refusal {
	return harness.Refusal{Status: []int{400}, Errors: []string{"use_dpop_nonce"}, Where: []harness.Where{harness.InBody}}
}

// DPoPChallenge is how a resource refuses a bad proof (RFC 9449 §7.1).
func DPoPChallenge(codes ...string) harness.Refusal {
	return harness.Refusal{Status: []int{401}, Errors: codes, Where: []harness.Where{harness.InWWWAuthenticate}, Scheme: "DPoP"}
}

func invalidToken() harness.Refusal {
	return harness.Refusal{Status: []int{401}, Errors: []string{"invalid_token"}, Where: []harness.Where{harness.InWWWAuthenticate, harness.InTLS}}
}
