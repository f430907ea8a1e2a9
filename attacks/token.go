package attacks

import (
	"encoding/base64"
	"strings"

	"github.com/popcheck/popcheck/harness"
)

// TokenRequests are attacks on the form of a token request (RFC 6749 §3.2): the redemption of a code, sent in another way.
func TokenRequests() []CodeAttack {
	// No error code is asked for: a router that knows no GET here answers for itself.
	elsewhere := harness.Refusal{Status: []int{400, 401, 404, 405}}
	check := func(id, title string, level harness.Level, severity harness.Severity, threat harness.Threat, refusal harness.Refusal, covers, why, fix string) Check {
		return Check{ID: id, Title: title, Clause: rfc6749("3.2"), Level: level, Severity: severity, Threat: threat, Refusal: refusal, Covers: covers, Why: why, Fix: fix}
	}
	const logged = "codes, verifiers and client secrets end in logs, histories and caches of everything between client and server"
	twice := func(id, name, covers, other string) CodeAttack {
		return CodeAttack{Check: check(id, "refuses a token request with "+name+" twice", harness.Hardening, harness.Low, harness.CodeInjection, invalidClient("invalid_request", "invalid_grant", "unsupported_grant_type"), covers,
			"a gateway and the server may take different values for the one that counts", "answer a repeated parameter with invalid_request"),
			Clients: PublicOnly, Redeem: []harness.Change{
				func(m *harness.Message, _ harness.Facts) { m.Params = inFront(m.Params, name, other) },
				func(m *harness.Message, _ harness.Facts) { m.Params.Add(name, other) },
			}}
	}
	return []CodeAttack{
		{Check: check("token-by-get", "refuses a token request by GET", harness.Should, harness.Medium, harness.Leakage, elsewhere, "TOKEN-AS-05.1", logged, "accept POST only"),
			Redeem: []harness.Change{func(m *harness.Message, _ harness.Facts) { m.Method = "GET" }}},
		{Check: check("token-parameters-in-query", "takes no parameters of a token request from the URL", harness.Should, harness.Medium, harness.Leakage, elsewhere, "TOKEN-AS-05.2", logged, "read the body only"),
			Redeem: []harness.Change{func(m *harness.Message, _ harness.Facts) { m.URL += "?" + m.Params.Encode(); m.Params = nil }}},
		twice("token-code-twice", "code", "TOKEN-AS-05.3", "made-up-by-nobody"),
		twice("token-client-id-twice", "client_id", "TOKEN-AS-05.4", "popcheck-no-such-client"),
		twice("token-grant-type-twice", "grant_type", "TOKEN-AS-05.5", "refresh_token"),
	}
}

// inFront puts another value in front of a parameter.
func inFront(in harness.Params, name, value string) harness.Params {
	out := harness.Params{{Name: name, Value: value}}
	return append(out, in...)
}

// IntrospectionAttack is one question to the introspection endpoint (RFC 7662), in another name or about another value.
type IntrospectionAttack struct {
	Check
	Callers []harness.Change    // of the caller's authentication; each must be refused
	Value   func(string) string // what is asked about, instead of an honest token; "" where it cannot be made of one
	Sent    Material            // Code: what is asked about is an unused code
}

// Introspections are the attacks on introspection that a single request makes.
func Introspections() []IntrospectionAttack {
	closed := harness.Refusal{Status: []int{400, 401, 403}}
	inactive := harness.Refusal{Status: []int{200}, Errors: []string{"active=false"}, Where: []harness.Where{harness.InBody}}
	caller := func(id, title, covers string) Check {
		return Check{ID: id, Title: title, Clause: harness.Clause{Spec: "RFC 7662", Section: "2.1"}, Level: harness.Must, Severity: harness.High, Threat: harness.Leakage, Refusal: closed,
			Covers: covers, Needs: "introspection", Harm: WrongLogins, Why: "anyone can scan for valid tokens, and reads whose they are", Fix: "authenticate the caller before looking at the token"}
	}
	value := func(id, title, needs, covers, why, fix string) Check {
		return Check{ID: id, Title: title, Clause: harness.Clause{Spec: "RFC 7662", Section: "2.2"}, Level: harness.Must, Severity: harness.High, Threat: harness.TokenReplay, Refusal: inactive,
			Covers: covers, Needs: strings.TrimSpace("introspection " + needs), Why: why, Fix: fix}
	}
	const opens = "every resource that asks the server opens for it"
	nameless := func(m *harness.Message, f harness.Facts) { WithoutCredential(m, f); m.Params.Drop("client_id") }
	return []IntrospectionAttack{
		{Check: caller("introspection-credential-missing", "answers no introspection without a credential", "TOKEN-AS-11.1"), Callers: []harness.Change{WithoutCredential, nameless}},
		{Check: func() Check {
			c := caller("introspection-by-public-client", "answers no introspection to the bare name of a public client", "")
			c.Needs += " public-client"
			return c
		}(), Callers: []harness.Change{asPublicClient}},
		{Check: func() Check {
			c := caller("introspection-secret-wrong", "answers no introspection with a wrong client secret or assertion", "TOKEN-AS-11.2")
			c.Needs += " confidential-client"
			return c
		}(), Callers: []harness.Change{WrongCredential}},
		{Check: value("introspection-unknown-token", "calls a token inactive that nobody issued", "", "TOKEN-AS-12.1", opens, "answer active=false to what is not found"),
			Value: func(string) string { return harness.Random(32) }},
		{Check: value("introspection-altered-token", "calls a token inactive in which one character was changed", "", "TOKEN-AS-12.2", opens, "compare the whole value, or verify its signature"), Value: AlterEnd},
		{Check: value("introspection-changed-claim", "calls a token inactive in which a claim was changed", "jwt-at", "TOKEN-AS-12.3", "anyone can write tokens", "verify the signature over the claims"), Value: changedClaim},
		{Check: value("introspection-code", "calls an authorization code inactive", "code", "TOKEN-AS-12.6", "a resource that looks at active alone opens for a code from the front channel", "search tokens only"), Sent: Code},
	}
}

// asPublicClient names the first public client, which has nothing to authenticate with.
func asPublicClient(m *harness.Message, f harness.Facts) {
	WithoutCredential(m, f)
	for _, c := range f.Tester.Target.Clients {
		if c.Public() {
			m.Params.Set("client_id", c.ClientID)
			return
		}
	}
}

// changedClaim gives a JWT another subject under the old signature; "" for what is no JWT.
func changedClaim(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || len(claims) < 2 || claims[len(claims)-1] != '}' {
		return ""
	}
	parts[1] = base64.RawURLEncoding.EncodeToString(append(claims[:len(claims)-1], `,"popcheck":"changed"}`...))
	return strings.Join(parts, ".")
}

// TokenChecks are the single checks of the endpoints that clients call directly.
type TokenChecks struct {
	NoStore, NoStoreElsewhere                                                           Check
	IntrospectRevoked, IntrospectHint                                                   Check
	RevokeOfOther, RevokeNoCredential, RevokeWrongCredential, RevokeHint, RevokeUnknown Check
	RevokedAccessToken, RevokedRefreshToken, RevokedGrant                               Check
}

func (t TokenChecks) all() []Check {
	return []Check{t.NoStore, t.NoStoreElsewhere, t.IntrospectRevoked, t.IntrospectHint, t.RevokeOfOther, t.RevokeNoCredential, t.RevokeWrongCredential, t.RevokeHint, t.RevokeUnknown,
		t.RevokedAccessToken, t.RevokedRefreshToken, t.RevokedGrant}
}

// DirectEndpoints returns the single checks of token responses, introspection and revocation.
func DirectEndpoints() TokenChecks {
	rfc7009 := func(section string) harness.Clause { return harness.Clause{Spec: "RFC 7009", Section: section} }
	rfc7662 := func(section string) harness.Clause { return harness.Clause{Spec: "RFC 7662", Section: section} }
	inactive := harness.Refusal{Status: []int{200}, Errors: []string{"active=false"}, Where: []harness.Where{harness.InBody}}
	foreign := harness.Refusal{Status: []int{400, 401, 403}, Errors: []string{"invalid_client", "invalid_grant", "invalid_token", "unauthorized_client", "invalid_request", "access_denied"}, Where: []harness.Where{harness.InBody, harness.InTLS}}
	return TokenChecks{
		NoStore: Check{ID: "token-no-store", Title: "keeps token responses out of caches", Clause: rfc6749("5.1"), Level: harness.Should, Severity: harness.Medium, Threat: harness.Leakage, Covers: "TOKEN-AS-01.1 TOKEN-AS-01.2",
			Why: "tokens may be kept by a proxy or a browser and be read from there", Fix: "send Cache-Control: no-store with every token response"},
		NoStoreElsewhere: Check{ID: "direct-no-store", Title: "keeps other answers to clients out of caches", Clause: rfc9126("2.2"), Level: harness.Hardening, Severity: harness.Info, Threat: harness.Leakage, Covers: "TOKEN-AS-01.2",
			Why: "request URIs and what is known of tokens may be read from a cache that keeps answers to POST, which none should (RFC 9110 §9.3.3)", Fix: "send Cache-Control: no-store with these answers too"},
		IntrospectRevoked: Check{ID: "introspection-revoked-token", Title: "calls a revoked token inactive", Clause: rfc7662("2.2"), Level: harness.Must, Severity: harness.High, Threat: harness.TokenReplay, Refusal: inactive,
			Covers: "TOKEN-AS-12.5", Needs: "introspection revocation", Harm: RevokesGrants, Why: "every resource that asks the server goes on to open for a token that its owner ended", Fix: "look at the revocation, not at the expiry alone"},
		IntrospectHint: Check{ID: "introspection-wrong-hint", Title: "finds a token under a wrong token_type_hint", Clause: rfc7662("2.1"), Level: harness.Must, Severity: harness.Low, Threat: harness.Interoperability,
			Covers: "TOKEN-AS-12.7", Needs: "introspection", Why: "a resource that guesses the kind of a token is told that it is not active", Fix: "extend the search to every kind of token"},
		RevokeOfOther: Check{ID: "revocation-by-other-client", Title: "lets no client revoke the token of another", Clause: rfc7009("2.1"), Level: harness.Should, Severity: harness.Medium, Threat: harness.DenialOfService, Refusal: foreign,
			Covers: "TOKEN-AS-13.1", Needs: "revocation refresh second-client", Harm: RevokesGrants, Why: "whoever sees a token can log its user out", Fix: "compare the client with the owner of the token before it is revoked"},
		RevokeNoCredential: Check{ID: "revocation-credential-missing", Title: "revokes nothing for a confidential client without its credential", Clause: rfc7009("2.1"), Level: harness.Should, Severity: harness.Medium, Threat: harness.DenialOfService, Refusal: foreign,
			Covers: "TOKEN-AS-13.2", Needs: "revocation refresh confidential-client", Harm: WrongLogins, Why: "whoever sees a token can log its user out", Fix: "authenticate the client as at the token endpoint"},
		RevokeWrongCredential: Check{ID: "revocation-credential-wrong", Title: "revokes nothing for a client with a wrong secret or assertion", Clause: rfc7009("2.1"), Level: harness.Should, Severity: harness.Medium, Threat: harness.DenialOfService, Refusal: foreign,
			Covers: "TOKEN-AS-13.7", Needs: "revocation refresh confidential-client", Harm: WrongLogins, Why: "whoever sees a token can log its user out", Fix: "authenticate the client as at the token endpoint"},
		RevokeHint: Check{ID: "revocation-wrong-hint", Title: "ends a refresh token that was revoked under a wrong token_type_hint", Clause: rfc7009("2.1"), Level: harness.Must, Severity: harness.Medium, Threat: harness.TokenReplay, Refusal: invalidGrant(),
			Covers: "TOKEN-AS-13.8", Needs: "revocation refresh", Harm: RevokesGrants, Why: "the client was told that its token is dead, and a thief goes on to use it", Fix: "extend the search to every kind of token"},
		RevokeUnknown: Check{ID: "revocation-unknown-token", Title: "answers 200 to the revocation of a token that it does not know", Clause: rfc7009("2.2"), Level: harness.Hardening, Severity: harness.Info, Threat: harness.Interoperability,
			Covers: "TOKEN-AS-13.3", Needs: "revocation refresh", Why: "clients take the answer for a failure, and try again", Fix: "answer 200: the token is not valid, as was asked"},
		RevokedAccessToken: Check{ID: "revoked-access-token", Title: "ends an access token that was revoked", Clause: rfc7009("2.1"), Level: harness.Should, Severity: harness.High, Threat: harness.TokenReplay, Refusal: invalidToken(),
			Covers: "TOKEN-AS-13.4", Needs: "revocation", Harm: RevokesGrants, Why: "the client was told that its token is dead, and a thief goes on to use it", Fix: "let resources ask, keep lifetimes short, or answer unsupported_token_type"},
		RevokedRefreshToken: Check{ID: "revoked-refresh-token", Title: "ends a refresh token that was revoked", Clause: rfc7009("2.1"), Level: harness.Must, Severity: harness.High, Threat: harness.TokenReplay, Refusal: invalidGrant(),
			Covers: "TOKEN-AS-13.5", Needs: "revocation refresh", Harm: RevokesGrants, Why: "logging out does not end a stolen refresh token", Fix: "invalidate the token before the answer"},
		RevokedGrant: Check{ID: "revoked-grant-access-token", Title: "ends the access tokens of a grant whose refresh token was revoked", Clause: rfc7009("2.1"), Level: harness.Should, Severity: harness.Low, Threat: harness.TokenReplay, Refusal: invalidToken(),
			Covers: "TOKEN-AS-13.6", Needs: "revocation refresh", Harm: RevokesGrants, Why: "access tokens live on after the user logged out", Fix: "revoke access tokens with their grant, or keep their lifetimes short"},
	}
}
