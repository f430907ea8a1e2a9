package attacks

import (
	"strings"

	"github.com/popcheck/popcheck/harness"
)

// TokenAttack is a request to a resource with an access token that must not open it; all else about the request is right, the
// proof and the certificate of the token's holder included.
type TokenAttack struct {
	Check
	// What is presented, each of the list in a request of its own: the honest token edited, or taken apart and forged, or ...
	Tokens func(t *harness.Tester, token string) []string
	Forge  func(f *harness.Forgery) []string // none: it cannot be made of this token
	// ... something else that the client was given; or the token stays, and the request is changed.
	Instead  Instead
	Requests []harness.Change
	Sender   Sender
	Attempts bool              // an attempt to authenticate, though no token: the answer may name an error (RFC 6750 §3.1)
	Bindings []harness.Binding // of the token, the first that the resource takes; none: any, a bearer token first
}

// Instead is what is presented in the place of an access token.
type Instead int

// What else a client was given.
const (
	NothingElse Instead = iota
	ItsRefreshToken
	ItsIDToken
	ItsCode
)

// Sender is who presents the token.
type Sender int

// A token is presented by its holder, by someone who has nothing else, or by an attacker with a proof of an own key.
const (
	Holder Sender = iota
	Finder
	Attacker
)

const (
	anyoneIn  = "anyone gets in who can send a request"
	forgeable = "anyone can make a token for any user, any client and any scope"
)

// Tokens are the attacks on what a resource does with access tokens (RFC 6749 §7, RFC 6750, RFC 9068 §4).
func Tokens() []TokenAttack {
	either := harness.Refusal{Status: []int{400, 401}, Where: []harness.Where{harness.InWWWAuthenticate, harness.InBody, harness.InTLS}}
	challenge := harness.Refusal{Status: []int{401}, Where: []harness.Where{harness.InWWWAuthenticate, harness.InTLS}}
	row := func(id, title string, clause harness.Clause, threat harness.Threat, refusal harness.Refusal, covers, why, fix string) Check {
		return Check{ID: id, Title: title, Clause: clause, Level: harness.Must, Severity: harness.Critical, Threat: threat, Refusal: refusal, Covers: covers, Why: why, Fix: fix}
	}
	none := func(id, title, covers string) Check {
		return row(id, title, rfc6750("3"), harness.TokenReplay, challenge, covers, anyoneIn, "answer 401 with a challenge whatever is there instead of a token")
	}
	malformed := func(c Check) Check { c.Refusal = either; return c } // invalid_request is as good (RFC 6750 §3.1)
	invalid := func(id, title, covers, why, fix string) Check {
		return row(id, title, rfc6749("7"), harness.TokenReplay, invalidToken(), covers, why, fix)
	}
	jwt := func(id, title, covers, why, fix string) Check {
		c := row(id, title, rfc9068("4"), harness.ClientImpersonation, invalidToken(), covers, why, fix)
		c.Needs = "jwt-at"
		return c
	}
	needing := func(needs string, c Check) Check { c.Needs = strings.TrimSpace(c.Needs + " " + needs); return c }
	const verify = "verify the signature with the keys of jwks_uri, with the algorithms that the server is known to use and no others, and refuse the token before reading a claim"
	claims := func(edit func(f *harness.Forgery, claims *harness.Object)) func(*harness.Forgery) []string {
		return func(f *harness.Forgery) []string {
			return []string{f.Alter(func(_, claims *harness.Object) { edit(f, claims) })}
		}
	}
	return []TokenAttack{
		{Check: none("resource-no-token", "refuses a request without a token", "TOKEN-RS-01.1"), Sender: Finder, Requests: []harness.Change{withAuthorization("")}},
		{Check: malformed(none("resource-empty-token", "refuses the name of a scheme without a token", "TOKEN-RS-01.2")), Sender: Finder, Requests: []harness.Change{withAuthorization("Bearer")}, Attempts: true},
		{Check: malformed(none("resource-basic-credentials", "refuses Basic credentials instead of a token", "TOKEN-RS-01.3")), Sender: Finder, Requests: []harness.Change{basicCredentials}},
		{Check: invalid("resource-altered-token", "refuses a token whose end was changed", "TOKEN-RS-02.1", anyoneIn+" and knows the form of a token", "compare the whole token, or verify its signature"),
			Tokens: func(t *harness.Tester, token string) []string { return []string{t.Altered(token)} }},
		{Check: invalid("resource-cut-token", "refuses a token that was cut", "TOKEN-RS-02.2", "what is left out of a token (its signature) does not count", "compare the whole token, or verify its signature"),
			Tokens: func(t *harness.Tester, token string) []string { return []string{cutToken(t, token)} }},
		{Check: needing("refresh", invalid("resource-refresh-token", "refuses a refresh token as an access token", "TOKEN-RS-02.5", "a refresh token, which lives for months, opens the resource itself", "look at the kind of the token; introspection calls refresh tokens active too")),
			Instead: ItsRefreshToken},
		{Check: needing("code", invalid("resource-code", "refuses an authorization code as an access token", "TOKEN-RS-02.6", "a code from the browser's history opens the resource without the client", "look at the kind of the token")),
			Instead: ItsCode},
		{Check: needing("code", jwt("resource-id-token", "refuses an ID token as an access token", "TOKEN-RS-02.7", "every client can use what it was told about its user as a token for the resource", "require typ at+jwt and the resource's own audience")),
			Instead: ItsIDToken},

		{Check: jwt("resource-jwt-scope", "refuses a token whose scope was changed", "TOKEN-RS-03.1", forgeable, verify),
			Forge: claims(func(f *harness.Forgery, claims *harness.Object) {
				claims.Set("scope", strings.TrimSpace(f.Claim("scope")+" popcheck"))
			})},
		{Check: jwt("resource-jwt-subject", "refuses a token whose sub was changed", "TOKEN-RS-03.1", forgeable, verify),
			Forge: claims(func(f *harness.Forgery, claims *harness.Object) { claims.Set("sub", f.OtherSubject()) })},
		{Check: jwt("resource-jwt-none", "refuses a token with alg none, in any spelling", "TOKEN-RS-03.2", forgeable, verify),
			Forge: func(f *harness.Forgery) []string {
				return []string{f.Unsigned("none"), f.Unsigned("None"), f.Unsigned("nOnE")}
			}},
		{Check: jwt("resource-jwt-other-key", "refuses a token signed by another key under the server's kid", "TOKEN-RS-03.3", forgeable, verify),
			Forge: func(f *harness.Forgery) []string { return made(f.SignedByAttacker(nil)) }},
		{Check: jwt("resource-jwt-hs256", "refuses HS256 keyed with the server's published key", "TOKEN-RS-03.4", forgeable, verify),
			Forge: withPublishedKey},
		{Check: jwt("resource-jwt-jwk", "refuses a token that brings its own key", "TOKEN-RS-03.5", forgeable, verify),
			Forge: func(f *harness.Forgery) []string {
				return made(f.SignedByAttacker(func(header *harness.Object, key *harness.Key) { header.Set("jwk", key.PublicJWK()) }))
			}},
		{Check: jwt("resource-jwt-cnf-replaced", "refuses a token that was bound to another key by hand", "TOKEN-RS-03.7", "a stolen token works with the thief's own key: the binding means nothing", verify),
			Sender: Attacker, Bindings: []harness.Binding{harness.DPoPBound},
			Forge: claims(func(f *harness.Forgery, claims *harness.Object) {
				claims.Set("cnf", harness.Object{{Name: "jkt", Value: f.AttackerThumbprint()}})
			})},
		{Check: jwt("resource-jwt-cnf-removed", "refuses a bound token whose cnf was taken out, as a bearer token", "TOKEN-RS-03.8", bearerAgain, verify),
			Sender: Finder, Bindings: []harness.Binding{harness.DPoPBound, harness.CertificateBound},
			Forge: claims(func(_ *harness.Forgery, claims *harness.Object) { claims.Drop("cnf") })},
		{Check: jwt("resource-jwt-zero-signature", "refuses an ECDSA signature of zeros", "TOKEN-RS-03.11", forgeable, "use a library that checks that r and s are not 0 (CVE-2022-21449)"),
			Forge: func(f *harness.Forgery) []string {
				if size := map[string]int{"ES256": 64, "ES384": 96, "ES512": 132}[f.Algorithm()]; size > 0 {
					return []string{f.WithSignature(make([]byte, size))}
				}
				return nil
			}},

		// RFC 6750 §2.3: SHOULD NOT be used, and servers may take it; OAuth 2.1 §5.2 and FAPI 2.0 §5.3.4 forbid it. Under the newer
		// profiles it is must: see LevelUnder.
		{Check: Check{ID: "resource-query-token", Title: "refuses a token in the query", Clause: rfc6750("2.3"), Level: harness.Should, Severity: harness.Medium, Threat: harness.Leakage, Refusal: either,
			Covers: "TOKEN-RS-06.1", Why: "the token is in logs, in the browser's history and in referrers", Fix: "take tokens from the Authorization header only"},
			Requests: []harness.Change{InQuery}, Bindings: []harness.Binding{harness.Unbound, harness.CertificateBound}},
		// Nothing is won without a token that is good.
		{Check: Check{ID: "resource-two-tokens", Title: "refuses two Authorization headers with different tokens", Clause: rfc6750("2"), Level: harness.Hardening, Severity: harness.Medium, Threat: harness.TokenReplay,
			Refusal: harness.Refusal{Status: []int{400, 401}, Errors: []string{"invalid_request", "invalid_token"}, Where: []harness.Where{harness.InWWWAuthenticate, harness.InBody, harness.InTLS}},
			Covers:  "TOKEN-RS-06.4", Why: "a proxy that checks one token and a resource that uses the other do not notice", Fix: "refuse more than one Authorization header field"},
			Requests: []harness.Change{besideToken(func(own, other harness.Field) []harness.Field { return []harness.Field{own, other} }),
				besideToken(func(own, other harness.Field) []harness.Field { return []harness.Field{other, own} })}},
	}
}

// withAuthorization replaces the credentials of a request; "" leaves them out.
func withAuthorization(value string) harness.Change {
	return func(m *harness.Message, _ harness.Facts) {
		m.Header = withoutHeader(m.Header, "Authorization")
		if value != "" {
			m.Header = append(m.Header, harness.Field{Name: "Authorization", Value: value})
		}
	}
}

// basicCredentials are those of a client with a secret that it does not have.
func basicCredentials(m *harness.Message, f harness.Facts) {
	withAuthorization(f.Tester.BasicCredentials(m.Who.Client.ClientID, harness.Random(16)))(m, f)
}

// InQuery moves the token from the header to the query.
func InQuery(m *harness.Message, _ harness.Facts) {
	token := bearerOf(m)
	m.Header = withoutHeader(m.Header, "Authorization")
	m.Params.Set("access_token", token)
}

// besideToken adds a second Authorization header with a token that nobody issued.
func besideToken(order func(own, other harness.Field) []harness.Field) harness.Change {
	return func(m *harness.Message, f harness.Facts) {
		for _, own := range m.Header {
			if own.Name == "Authorization" {
				scheme, _, _ := strings.Cut(own.Value, " ")
				other := harness.Field{Name: "Authorization", Value: scheme + " " + f.Tester.UnknownToken()}
				m.Header = append(withoutHeader(m.Header, "Authorization"), order(own, other)...)
				return
			}
		}
	}
}

func cutToken(t *harness.Tester, token string) string {
	cut := token[:max(1, len(token)-10)]
	t.Redactor.Register("cut_token", cut)
	return cut
}

// made is a list of what could be made.
func made(token string) []string {
	if token == "" {
		return nil
	}
	return []string{token}
}

// withPublishedKey takes the public key for the secret of a MAC (RFC 8725 §2.1).
func withPublishedKey(f *harness.Forgery) []string {
	var out []string
	for _, secret := range f.PublishedKey() {
		out = append(out, f.MACed(secret))
	}
	return out
}

// ResourceChecks are the single checks of tokens at a resource; each has a spec of its own.
type ResourceChecks struct{ Unknown, Revoked, Scope, Audience Check }

func (k ResourceChecks) all() []Check { return []Check{k.Unknown, k.Revoked, k.Scope, k.Audience} }

// TokensAtResource returns the single checks of tokens at a resource.
func TokensAtResource() ResourceChecks {
	return ResourceChecks{
		Unknown: Check{ID: "resource-unknown-token", Title: "refuses a token that nobody issued", Clause: rfc6749("7"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.TokenReplay, Refusal: invalidToken(), Covers: "TOKEN-RS-02.1", Why: anyoneIn, Fix: "look the token up or verify it; look at active in the answer of introspection"},
		// The authorization server SHOULD support it, and a resource that verifies tokens by itself cannot know of it (RFC 7009 §2, §3).
		Revoked: Check{ID: "resource-revoked-token", Title: "refuses a token that was revoked", Clause: rfc7009("2.1"), Level: harness.Should, Severity: harness.Medium,
			Threat: harness.TokenReplay, Refusal: invalidToken(), Covers: "TOKEN-RS-02.4", Needs: "revocation", Why: "a token that was reported as stolen goes on working until it expires",
			Fix: "introspect tokens at the resource, or keep their lifetime short", Harm: RevokesGrants},
		Scope: Check{ID: "resource-scope", Title: "refuses a token without the scope that it needs", Clause: rfc6749("7"), Level: harness.Must, Severity: harness.High,
			Threat:  harness.TokenReplay,
			Refusal: harness.Refusal{Status: []int{403}, Errors: []string{"insufficient_scope"}, Where: []harness.Where{harness.InWWWAuthenticate, harness.InTLS}},
			Covers:  "TOKEN-RS-04.1", Why: "every client can do what only some were allowed to", Fix: "look for the scope in the token before serving the request"},
		Audience: Check{ID: "resource-audience", Title: "refuses a token that was issued for another resource server", Clause: rfc9700("2.3"), Level: harness.Must, Severity: harness.High,
			Threat:  harness.TokenReplay,
			Refusal: harness.Refusal{Status: []int{401, 403}, Errors: []string{"invalid_token"}, Where: []harness.Where{harness.InWWWAuthenticate, harness.InTLS}},
			Covers:  "TOKEN-RS-05.1", Needs: "second-rs", Why: "one resource server can use the tokens that its callers bring at another", Fix: "compare aud with the resource's own name"},
	}
}
