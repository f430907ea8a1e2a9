package attacks

import (
	"slices"
	"strings"

	"github.com/popcheck/popcheck/harness"
)

// The profiles: each is a text, and fixes the level of every check.
const (
	BCP     = "bcp" // the default
	RFC     = "rfc"
	OAuth21 = "oauth21"
	FAPI2   = "fapi2"
)

// Profile names a set of levels and the text that it follows.
type Profile struct{ Name, Text string }

// Profiles returns the profiles of design, the default first.
func Profiles() []Profile {
	return []Profile{
		{BCP, "RFC 9700 (OAuth 2.0 Security Best Current Practice)"},
		{RFC, "the RFCs as they stand (RFC 6749, 7636, 8705, 9126, 9207, 9449)"},
		{OAuth21, "OAuth 2.1, draft 16"},
		{FAPI2, "FAPI 2.0 Security Profile, working-group text of 2026-09"},
	}
}

// Standing says how a check stands under a profile. A profile may not ask for a check at all: then it is a skip there.
func (c Check) Standing(profile string) harness.Standing {
	if c.Only != "" && c.Only != profile {
		return harness.Standing{Unasked: true, Level: c.Level, Why: "asked for by the profile " + c.Only + " only"}
	}
	for _, d := range differences() {
		if !slices.Contains(strings.Fields(d.checks), c.ID) {
			continue
		}
		says, differs := d.under[profile]
		if !differs {
			return harness.Standing{Level: c.Level, Why: d.bcp}
		}
		if says.level == unasked {
			return harness.Standing{Unasked: true, Level: c.Level, Why: says.why}
		}
		return harness.Standing{Level: says.level, Why: says.why}
	}
	if c.Only != "" {
		return harness.Standing{Level: c.Level, Why: c.Clause.String() + " asks for it"}
	}
	return harness.Standing{Level: c.Level}
}

// LevelUnder is the level of a check under a profile; where the profile does not ask for it, the level that it has where it is asked for.
func LevelUnder(c Check, profile string) harness.Level { return c.Standing(profile).Level }

// Standings are the profiles with the checks, among those named, about which they do not all say the same. Ids that the catalogue
// does not know are left out.
func Standings(ids []string) []harness.RunProfile {
	var out []harness.RunProfile
	for _, p := range Profiles() {
		out = append(out, harness.RunProfile{Name: p.Name, Text: p.Text, Checks: map[string]harness.Standing{}})
	}
	for _, e := range catalogue() {
		if !e.Differs() || !slices.Contains(ids, e.ID) {
			continue
		}
		for i := range out {
			out[i].Checks[e.ID] = e.Standing(out[i].Name)
		}
	}
	return out
}

// Differs reports whether the profiles disagree about the check.
func (c Check) Differs() bool {
	return c.Only != "" || slices.ContainsFunc(differences(), func(d difference) bool { return slices.Contains(strings.Fields(d.checks), c.ID) })
}

// difference is what the profiles say otherwise of some checks. The level under bcp is that of the row, and bcp says why; so is the
// level under a profile that is not named.
type difference struct {
	checks string // ids, separated by spaces
	bcp    string
	under  says
}

type says map[string]struct {
	level harness.Level
	why   string
}

// unasked is in place of a level where a profile does not ask for the check.
const unasked harness.Level = ""

// differences is the whole of what profiles change. A usable token, code or resource for someone without the verifier, key,
// certificate or credential is must in every profile, whatever its text says: such a check has no line here.
func differences() []difference {
	const must, should, hardening = harness.Must, harness.Should, harness.Hardening
	return []difference{
		// PKCE
		{"pkce-challenge-missing", "RFC 9700 §2.1.1: public clients have to use PKCE; the duty is the client's, and a server that relies on it is not safe with a careless one", says{
			RFC:     {hardening, "RFC 7636 leaves it to the server whether it requires PKCE (§4.4.1)"},
			OAuth21: {must, "OAuth 2.1 §4.1.1 and §7.5.1: the server enforces the use of code_challenge"},
			FAPI2:   {must, "FAPI 2.0 §5.3.2.2 item 5: the server requires PKCE"}}},
		{"pkce-challenge-missing-confidential", "RFC 9700 §2.1.1 only recommends PKCE to confidential clients", says{
			OAuth21: {should, "OAuth 2.1 §7.5.1: enforced, but for confidential clients of which the server knows that they use nonce; recommended for these too"},
			FAPI2:   {must, "FAPI 2.0 §5.3.2.2 item 5: the server requires PKCE, and all its clients are confidential"}}},
		{"pkce-method-plain", "RFC 9700 §2.1.1: clients should use a method that does not show the verifier in the authorization request; that is S256", says{
			RFC:     {hardening, "RFC 7636 §4.2 defines plain, and §7.2 only advises against it"},
			OAuth21: {must, "OAuth 2.1 §7.5.2 forbids plain"},
			FAPI2:   {must, "FAPI 2.0 §5.3.2.2 item 5: S256 is the method"}}},
		{"pkce-method-omitted-plain", "RFC 9700 §2.1.1: clients should use a method that does not show the verifier in the authorization request", says{
			RFC:     {hardening, "RFC 7636 §4.3: a challenge without method is plain"},
			OAuth21: {must, "OAuth 2.1 §4.1.1 requires the method, and §7.5.2 forbids plain"},
			FAPI2:   {must, "FAPI 2.0 §5.3.2.2 item 5: S256 is the method"}}},
		{"pkce-method-omitted-assumed-s256", "RFC 7636 §4.3: a challenge without method is plain; a server that takes it for S256 lets nobody in by that", says{
			OAuth21: {should, "OAuth 2.1 §4.1.1 requires the method"}}},
		{"metadata-pkce-methods", "RFC 9700 §2.1.1: servers should announce PKCE in their metadata", says{
			RFC: {hardening, "RFC 8414 §2: code_challenge_methods_supported is optional"}}},
		{"metadata-pkce-plain", "RFC 9700 §2.1.1: clients should use S256; what they are offered beside it tempts the careless ones", says{
			OAuth21: {should, "OAuth 2.1 §7.5.2 forbids plain: to announce it is wrong, whether it works or not"},
			FAPI2:   {should, "FAPI 2.0 §5.3.2.2 item 5: S256 is the method; to announce another is wrong, whether it works or not"}}},

		// Codes and the front channel
		{"redirect-uri-omitted", "RFC 6749 §4.1.3 requires redirect_uri at the token endpoint; where PKCE is enforced, nothing is won without it", says{
			OAuth21: {unasked, "OAuth 2.1 §10.2: the token request has no redirect_uri any more"}}},
		{"redirect-uri-of-other-place redirect-uri-unregistered-at-token", "RFC 6749 §4.1.3: the redirect_uri of the token request is that of the authorization request", says{
			OAuth21: {hardening, "OAuth 2.1 §10.2: redirect_uri is compared for older clients only; PKCE does what it was for"}}},
		{"implicit-token implicit-token-in-query hybrid-code-token hybrid-id-token-token", "RFC 9700 §2.1.2: clients should not use response types with a token", says{
			RFC:     {hardening, "RFC 6749 §4.2 defines the implicit grant"},
			OAuth21: {must, "OAuth 2.1 §10.1: the implicit grant is gone"},
			FAPI2:   {must, "FAPI 2.0 §5.3.2.2 item 1: response_type is code"}}},
		{"password-grant", "RFC 9700 §2.4: the password grant must not be used", says{
			RFC: {hardening, "RFC 6749 §4.3 defines the password grant"}}},
		{"authorize-cors", "RFC 9700 §2.6: the authorization endpoint must not support CORS", says{
			RFC: {hardening, "RFC 6749 §3.1 does not speak of CORS"}}},
		{"redirect-after-consent", "RFC 9700 §4.12: no 307 after a form with credentials", says{
			RFC: {hardening, "RFC 6749 §1.7 leaves the kind of redirect open"}}},
		{"code-old", "RFC 6749 §4.1.2: a lifetime of ten minutes at most is recommended", says{
			FAPI2: {must, "FAPI 2.0 §5.3.2.1 item 11: codes live for 60 seconds at most"}}},

		// Refresh tokens
		{"refresh-token-again", "RFC 9700 §2.2.2 and §4.14.2: refresh tokens of public clients are bound to their sender or rotated", says{
			RFC:   {should, "RFC 6749 §10.4: where the client cannot authenticate, the server should have other means against abuse, such as rotation"},
			FAPI2: {unasked, "FAPI 2.0 §5.3.2.1 item 10 wants no rotation, and item 6 no public clients: their refresh tokens are bound by the client's credential"}}},
		{"refresh-replay-revokes-refresh-token", "RFC 9700 §4.14.2: which of the two used the old token is not known, so the server revokes the one in use", says{
			RFC:   {hardening, "RFC 6749 §10.4 describes rotation as an example, and what it is good for"},
			FAPI2: {unasked, "FAPI 2.0 §5.3.2.1 item 10 wants no rotation"}}},
		{"refresh-race", "RFC 9700 §4.14.2: a rotated refresh token has one successor", says{
			RFC:   {should, "RFC 6749 §10.4 describes rotation as an example of what a server should have against abuse"},
			FAPI2: {unasked, "FAPI 2.0 §5.3.2.1 item 10 wants no rotation"}}},
		{"refresh-race-protected", "RFC 9700 §4.14.2 asks for rotation only where nothing else binds a refresh token", says{
			FAPI2: {unasked, "FAPI 2.0 §5.3.2.1 item 10 wants no rotation"}}},
		{"refresh-replay-revokes-access-token", "RFC 9700 §4.14.2 speaks of the refresh token; the access token is soon over", says{
			FAPI2: {unasked, "FAPI 2.0 §5.3.2.1 item 10 wants no rotation"}}},

		// Resources
		{"resource-query-token", "RFC 9700 §4.3.2: clients must not pass access tokens in the query", says{
			RFC:     {hardening, "RFC 6750 §2.3 defines the query parameter, and advises against it"},
			OAuth21: {must, "OAuth 2.1 §5.1: the query is no place for an access token, and is not read"},
			FAPI2:   {must, "FAPI 2.0 §5.3.4 item 2: no access tokens in the query"}}},
		{"resource-revoked-token", "RFC 7009 §2.1: a revoked token ends at once or soon after; tokens that a resource verifies by itself may live on", says{
			FAPI2: {must, "FAPI 2.0 §5.3.4 item 3: resources verify that a token was not revoked"}}},

		// DPoP
		{"dpop-replay dpop-replay-rewritten dpop-replay-race", "RFC 9449 §11.1: a server can remember the jti of a proof for as long as the proof is fresh; a captured proof works again otherwise", says{
			RFC: {hardening, "RFC 9449 §11.1 says that servers can remember jti, not that they have to"}}},
		{"dpop-rsa-1024", "RFC 7518 §3.3 and §3.5: RSA keys have 2048 bits or more", says{
			FAPI2: {must, "FAPI 2.0 §5.4.1: RSA keys have 2048 bits or more"}}},

		// Mutual TLS
		{"mtls-bound-token-without-certificate", "RFC 8705 §3.4 leaves it to the server what a client gets that wants bound tokens and comes without certificate", says{
			FAPI2: {must, "FAPI 2.0 §5.3.2.1 item 4: only sender-constrained access tokens are issued"}}},
	}
}
