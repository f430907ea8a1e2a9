package attacks

import (
	"strings"

	"github.com/popcheck/popcheck/harness"
)

// RefreshAttack is one defect in the use of a refresh token (RFC 6749 §6). A token at the end is the attacker's win.
type RefreshAttack struct {
	Check
	Clients Clients
	Sent    Material
	Refresh []harness.Change // each is tried with a grant of its own
}

// Material is what is sent as the refresh token.
type Material int

// The materials.
const (
	RefreshToken Material = iota
	AccessToken
	Code
)

const refreshParameter = "refresh_token"

// Refreshes are the attacks on refresh tokens that a single request makes.
func Refreshes() []RefreshAttack {
	row := func(id, title string, level harness.Level, severity harness.Severity, covers, why, fix string) Check {
		return Check{ID: id, Title: title, Clause: rfc6749("10.4"), Level: level, Severity: severity, Threat: harness.TokenReplay, Refusal: grantOrRequest(),
			Covers: covers, Needs: "refresh", Harm: RevokesGrants, Why: why, Fix: fix}
	}
	authenticated := func(id, title, needs, covers string) Check {
		return Check{ID: id, Title: title, Clause: rfc6749("6"), Level: harness.Must, Severity: harness.Critical, Threat: harness.ClientImpersonation,
			Refusal: invalidClient("invalid_request", "invalid_grant"), Covers: covers, Needs: needs, Harm: WrongLogins,
			Why: "whoever steals a refresh token of a confidential client can use it: its credential protects nothing", Fix: "authenticate the client when it refreshes, as at every other grant"}
	}
	const guess, stored = "refresh tokens can be guessed or made up from parts", "look the whole value up, or verify its signature"
	return []RefreshAttack{
		{Check: authenticated("refresh-credential-missing", "refuses to refresh for a confidential client without its credential", "refresh confidential-client", "REFRESH-AS-02.1 MTLS-AS-15.2"),
			Clients: EveryMethod, Refresh: []harness.Change{WithoutCredential}},
		{Check: authenticated("refresh-secret-wrong", "refuses to refresh with a wrong client secret", "refresh client-secret", "REFRESH-AS-02.2"),
			Clients: EveryMethod, Refresh: []harness.Change{secretAs(otherLast)}},
		{Check: authenticated("refresh-assertion-wrong", "refuses to refresh with a client assertion whose signature is wrong", "refresh private-key-jwt", "REFRESH-AS-02.4"),
			Clients: EveryMethod, Refresh: []harness.Change{WrongCredential}},
		{Check: Check{ID: "refresh-client-id-missing", Title: "refuses a public client's refresh token without client_id", Clause: rfc6749("3.2.1"), Level: harness.Hardening, Severity: harness.Low,
			Threat: harness.ClientImpersonation, Refusal: invalidClient("invalid_request", "invalid_grant"), Covers: "REFRESH-AS-01.3", Needs: "refresh public-client", Harm: RevokesGrants,
			Why: "the client that a token belongs to is never compared with the one that sends it", Fix: "require client_id of clients without a credential, and compare it with the owner of the token"},
			Clients: PublicOnly, Refresh: []harness.Change{drop("client_id")}},
		{Check: row("refresh-token-altered", "refuses a refresh token in which one character was changed", harness.Must, harness.High, "REFRESH-AS-06.1", guess, stored),
			Refresh: []harness.Change{edit(refreshParameter, AlterEnd), edit(refreshParameter, AlterMiddle)}},
		{Check: row("refresh-token-cut", "refuses the beginning of a refresh token", harness.Must, harness.High, "REFRESH-AS-06.2", guess, stored),
			Refresh: []harness.Change{edit(refreshParameter, func(s string) string { return s[:max(1, len(s)-10)] })}},
		{Check: row("refresh-token-case", "compares refresh tokens with their case", harness.Hardening, harness.Low, "", "the tokens have less entropy than their length says", "compare bytes: some databases fold case"),
			Refresh: []harness.Change{edit(refreshParameter, OtherCase)}},
		{Check: row("refresh-with-access-token", "refuses an access token as a refresh token", harness.Must, harness.High, "REFRESH-AS-06.3", "every resource that sees an access token can make new ones for as long as it likes", "keep the kinds of tokens apart"),
			Sent: AccessToken, Refresh: []harness.Change{nothing}},
		{Check: row("refresh-with-code", "refuses an authorization code as a refresh token", harness.Must, harness.High, "REFRESH-AS-06.4", "a code from the front channel gives tokens without code_verifier and redirect_uri", "keep codes and refresh tokens apart"),
			Sent: Code, Refresh: []harness.Change{nothing}},
	}
}

// RefreshChecks are those that take several requests or several clients.
type RefreshChecks struct {
	OtherClient, OtherCredential Check
	Again, Family, FamilyAccess  Check
	ScopeWider, ScopeOther       Check
}

func (r RefreshChecks) all() []Check {
	return []Check{r.OtherClient, r.OtherCredential, r.Again, r.Family, r.FamilyAccess, r.ScopeWider, r.ScopeOther}
}

// RefreshTokens returns the checks of refresh tokens that are no single request.
func RefreshTokens() RefreshChecks {
	foreign := harness.Refusal{Status: []int{400, 401}, Errors: []string{"invalid_grant", "invalid_client", "invalid_request"}, Where: []harness.Where{harness.InBody, harness.InTLS}}
	scope := harness.Refusal{Status: []int{400}, Errors: []string{"invalid_scope", "invalid_grant"}, Where: []harness.Where{harness.InBody}}
	const widened = "a client, or whoever stole its refresh token, gets more than the user agreed to"
	return RefreshChecks{
		OtherClient: Check{ID: "refresh-token-of-other-client", Title: "refuses a refresh token that was issued to another client", Clause: rfc6749("6"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.ClientImpersonation, Refusal: foreign, Covers: "REFRESH-AS-01.1 REFRESH-AS-01.2", Needs: "refresh second-client", Harm: RevokesGrants,
			Why: "any client of the server can use refresh tokens that were meant for another one", Fix: "compare the authenticated client (or client_id) with the owner of the token, for every kind of client"},
		OtherCredential: Check{ID: "refresh-credential-of-other-client", Title: "refuses a refresh token with the owner's client_id and the credential of another client", Clause: rfc6749("6"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.ClientImpersonation, Refusal: foreign, Covers: "REFRESH-AS-02.3", Needs: "refresh second-client confidential-client", Harm: WrongLogins,
			Why: "any client of the server can use refresh tokens of others by naming them", Fix: "take the client from its authentication, and refuse a client_id that says otherwise"},
		Again: Check{ID: "refresh-token-again", Title: "rotates refresh tokens of public clients that nothing else binds", Clause: rfc9700("4.14.2"), Level: harness.Must, Severity: harness.High,
			Threat: harness.TokenReplay, Refusal: invalidGrant(), Covers: "REFRESH-AS-03.1", Needs: "refresh public-client", Harm: RevokesGrants,
			Why: "a stolen refresh token works for as long as the grant lives, and nobody notices", Fix: "rotate refresh tokens at each use, or bind them to a key"},
		Family: Check{ID: "refresh-replay-revokes-refresh-token", Title: "revokes the refresh token in use when an old one comes again", Clause: rfc9700("4.14.2"), Level: harness.Must, Severity: harness.High,
			Threat: harness.TokenReplay, Refusal: invalidGrant(), Covers: "REFRESH-AS-04.1", Needs: "refresh public-client", Harm: RevokesGrants,
			Why: "a thief who was first to use a stolen refresh token keeps the grant; rotation locks out its owner only", Fix: "revoke the whole family of a refresh token that was replaced before"},
		FamilyAccess: Check{ID: "refresh-replay-revokes-access-token", Title: "revokes the access token of the grant when an old refresh token comes again", Clause: rfc9700("4.14.2"), Level: harness.Hardening, Severity: harness.Low,
			Threat: harness.TokenReplay, Refusal: invalidToken(), Covers: "REFRESH-AS-04.2", Needs: "refresh public-client", Harm: RevokesGrants,
			Why: "the thief's last access token works until it expires", Fix: "revoke access tokens with their grant"},
		ScopeWider: Check{ID: "refresh-scope-wider", Title: "grants no more scope at a refresh than the user did", Clause: rfc6749("6"), Level: harness.Must, Severity: harness.High,
			Threat: harness.TokenReplay, Refusal: scope, Covers: "REFRESH-AS-05.1", Needs: "refresh", Harm: RevokesGrants, Why: widened, Fix: "compare the scope asked for with the one that was granted, not with the registration"},
		ScopeOther: Check{ID: "refresh-scope-other", Title: "grants no other scope at a refresh than the user did", Clause: rfc6749("6"), Level: harness.Must, Severity: harness.High,
			Threat: harness.TokenReplay, Refusal: scope, Covers: "REFRESH-AS-05.2", Needs: "refresh", Harm: RevokesGrants, Why: widened, Fix: "compare the scope asked for with the one that was granted, not with the registration"},
	}
}

// edit changes the value of a parameter.
func edit(name string, change func(string) string) harness.Change {
	return func(m *harness.Message, _ harness.Facts) { m.Params.Set(name, change(m.Params.Get(name))) }
}

// AlterEnd changes the last character of a value that is not padding.
func AlterEnd(s string) string { return alter(s, len(strings.TrimRight(s, "="))-1) }

// AlterMiddle changes a character in the middle of a value.
func AlterMiddle(s string) string {
	at := len(s) / 2
	for at < len(s)-1 && alter(s, at) == s {
		at++
	}
	return alter(s, at)
}

// alter changes one character into another of its alphabet: of hexadecimal digits, or of base64, and there in the highest bit of
// the six, because the last bits of the last character may mean nothing.
func alter(s string, at int) string {
	const hexadecimal, base64URL, base64 = "0123456789abcdef", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	if at < 0 || at >= len(s) {
		return s
	}
	for _, alphabet := range []string{hexadecimal, base64URL, base64} {
		i := strings.IndexByte(alphabet, s[at])
		if i >= 0 && (len(alphabet) == 64 || strings.Trim(s, hexadecimal+"-") == "") {
			return s[:at] + string(alphabet[i^len(alphabet)/2]) + s[at+1:]
		}
	}
	return s
}

// OtherCase is a value with its letters in the other case.
func OtherCase(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return r
	}, s)
}
