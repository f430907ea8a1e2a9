package attacks

import (
	"time"

	"github.com/popcheck/popcheck/harness"
)

// FAPIChecks are what only the FAPI 2.0 Security Profile asks for; each has a spec of its own.
type FAPIChecks struct {
	PublicPushes, PublicToken, Secret, SecretJWT                Check // whom the server serves
	RedirectURI, CodeLifetime, PushLifetime                     Check
	Unbound, RefreshKept, RefreshReplaced                       Check
	MetadataAlgorithms, TokenAlgorithm, OldTLS, TransportPolicy Check
	QueryToken, UnboundAtResource                               Check
}

func (f FAPIChecks) all() []Check {
	return []Check{f.PublicPushes, f.PublicToken, f.Secret, f.SecretJWT, f.RedirectURI, f.CodeLifetime, f.PushLifetime, f.Unbound, f.RefreshKept, f.RefreshReplaced,
		f.MetadataAlgorithms, f.TokenAlgorithm, f.OldTLS, f.TransportPolicy, f.QueryToken, f.UnboundAtResource}
}

// FAPIAlgorithms are those that the profile allows (§5.4.1).
func FAPIAlgorithms() []string { return []string{"PS256", "ES256", "EdDSA"} }

// The limits of §5.3.2.1 and §5.3.2.2. A code is tried ten seconds after its end, for the clocks.
const (
	FAPICodeAge      = 70 * time.Second
	FAPIPushLifetime = 600 // seconds; it has to be less
)

func fapi2(section, item string) harness.Clause {
	return harness.Clause{Spec: "FAPI 2.0 SP", Section: section, Item: item}
}

// inFAPI marks a check as one that only this profile asks for.
func inFAPI(c Check) Check { c.Only = FAPI2; return c }

// FAPI returns the single checks of the profile.
func FAPI() FAPIChecks {
	const must, should, hardening = harness.Must, harness.Should, harness.Hardening
	row := func(id, title string, clause harness.Clause, level harness.Level, severity harness.Severity, threat harness.Threat, refusal harness.Refusal, covers, needs, why, fix string) Check {
		return inFAPI(Check{ID: id, Title: title, Clause: clause, Level: level, Severity: severity, Threat: threat, Refusal: refusal, Covers: covers, Needs: needs, Why: why, Fix: fix})
	}
	notServed := invalidClient("unauthorized_client", "invalid_request")
	seen := harness.Refusal{} // nothing is refused
	const stolen = "a stolen token works for whoever has it"
	return FAPIChecks{
		PublicPushes: row("fapi-public-client-pushes", "takes no pushed request from a public client", fapi2("5.3.2.1", "3"), must, harness.Critical, harness.ClientImpersonation, notServed, "FAPI-AS-02.2", "par public-client code",
			"anyone can act as the client", "register confidential clients only"),
		PublicToken: row("fapi-public-client-token", "gives no token to a public client", fapi2("5.3.2.1", "3"), must, harness.Critical, harness.ClientImpersonation, notServed, "FAPI-AS-02.3", "public-client code",
			"anyone can act as the client", "register confidential clients only"),
		Secret: row("fapi-client-secret", "gives no token to a client with a shared secret", fapi2("5.3.2.1", "6"), must, harness.High, harness.ClientImpersonation, notServed, "FAPI-AS-07.1", "",
			"the secret crosses the wire with each request, and lies in two places", "use private_key_jwt or mutual TLS"),
		SecretJWT: row("fapi-client-secret-jwt", "gives no token to a client that signs with a shared secret (client_secret_jwt)", fapi2("5.3.2.1", "6"), must, harness.High, harness.ClientImpersonation, notServed, "FAPI-AS-07.2", "",
			"the secret lies in two places: who reads the server's can act as the client", "use private_key_jwt or mutual TLS"),
		RedirectURI: row("fapi-push-without-redirect-uri", "refuses a pushed request without redirect_uri", fapi2("5.3.2.2", "6"), must, harness.Medium, harness.CodeInjection,
			harness.Refusal{Status: []int{400}, Errors: []string{"invalid_request"}, Where: []harness.Where{harness.InBody}}, "FAPI-AS-04.1", "par code",
			"where the code goes is not part of what the client asked for", "require redirect_uri in every pushed request"),
		CodeLifetime: row("fapi-code-minute-old", "refuses a code that is older than a minute", fapi2("5.3.2.1", "11"), must, harness.Medium, harness.CodeInterception, invalidGrant(), "FAPI-AS-05.1", "slow code",
			"a code from a log or a browser's history works long after the login", "let codes expire after 60 seconds"),
		PushLifetime: row("fapi-request-uri-lifetime", "issues request_uri for less than ten minutes", fapi2("5.3.2.2", "12"), must, harness.Medium, harness.CodeInjection, seen, "FAPI-AS-05.2", "par code",
			"a request_uri from a log starts an authorization long after it was made", "issue request_uri with expires_in below 600"),
		Unbound: row("fapi-unbound-token", "issues no token without a proof or a certificate", fapi2("5.3.2.1", "4"), must, harness.Critical, harness.TokenReplay,
			harness.Refusal{Status: []int{400, 401}, Errors: []string{"invalid_request", "invalid_dpop_proof", "invalid_grant", "invalid_client"}, Where: []harness.Where{harness.InBody, harness.InTLS}},
			"FAPI-AS-06.1 FAPI-AS-06.2 FAPI-AS-06.3", "confidential-client", stolen, "require a DPoP proof or a client certificate of every token request"),
		RefreshKept: row("fapi-refresh-token-kept", "takes a refresh token again after it was used", fapi2("5.3.2.1", "10"), must, harness.Low, harness.Interoperability, seen, "FAPI-AS-09.1", "refresh confidential-client",
			"a client that lost one answer has lost its grant, and the user has to come back", "do not rotate refresh tokens: the client's credential binds them"),
		RefreshReplaced: row("fapi-refresh-token-not-rotated", "keeps a refresh token at a refresh", fapi2("5.3.2.1", "10"), should, harness.Low, harness.Interoperability, seen, "FAPI-AS-09.2", "refresh confidential-client",
			"clients have to store a new token with each refresh, and some will lose it", "do not rotate refresh tokens: the client's credential binds them"),
		MetadataAlgorithms: row("fapi-metadata-algorithms", "announces no algorithm that the profile forbids", fapi2("5.4.1", "1"), should, harness.Low, harness.Downgrade, seen, "FAPI-AS-11.4", "as-metadata",
			"clients use what is announced, and it is weak or refused", "list PS256, ES256 and EdDSA only"),
		TokenAlgorithm: row("fapi-token-algorithm", "signs its tokens with an algorithm of the profile", fapi2("5.4.1", "1"), must, harness.Medium, harness.Downgrade, seen, "FAPI-AS-11.5", "code",
			"RS256 uses a padding that has failed again and again where it was verified carelessly", "sign with PS256, ES256 or EdDSA"),
		OldTLS: row("fapi-old-tls", "refuses versions of TLS before 1.2", fapi2("5.2.1", "2"), must, harness.High, harness.Downgrade, harness.Refusal{}, "FAPI-AS-12.1", "",
			"who sits between client and server breaks the connection with what is known of old versions", "set the least version to TLS 1.2"),
		TransportPolicy: row("fapi-hsts", "tells browsers to stay with https (HSTS)", fapi2("5.2.3", "1"), hardening, harness.Low, harness.Leakage, seen, "FAPI-AS-12.3", "code",
			"the first request of a browser may go out without TLS, where whoever reads it can answer it", "send Strict-Transport-Security, or have the host preloaded"),
		QueryToken: row("fapi-query-token", "refuses a bound token in the query, with its proof", fapi2("5.3.4", "2"), must, harness.High, harness.Leakage,
			harness.Refusal{Status: []int{400, 401}, Where: []harness.Where{harness.InWWWAuthenticate, harness.InBody, harness.OnPage}}, "FAPI-RS-01.1", "rs dpop",
			"the token is in logs, in the browser's history and in referrers", "take tokens from the Authorization header only"),
		UnboundAtResource: row("fapi-unbound-token-at-resource", "refuses a token that is bound to nothing", fapi2("5.3.4", "5"), must, harness.Critical, harness.TokenReplay,
			harness.Refusal{Status: []int{401}, Errors: []string{"invalid_token"}, Where: []harness.Where{harness.InWWWAuthenticate}}, "FAPI-RS-02.1", "rs", stolen, "serve sender-constrained tokens only"),
	}
}

// FAPIRequests are authorization requests that have to be pushed, and what may not be pushed.
func FAPIRequests() []PushedAttack {
	row := func(id, title, item, covers, why, fix string, severity harness.Severity) Check {
		return inFAPI(Check{ID: id, Title: title, Clause: fapi2("5.3.2.2", item), Level: harness.Must, Severity: severity, Threat: harness.Downgrade,
			Refusal: harness.Refusal{Status: []int{302, 303, 400}, Where: []harness.Where{harness.InRedirect, harness.OnPage, harness.InBody}}, Covers: covers, Needs: "par code", Why: why, Fix: fix})
	}
	const around, pushed = "whoever can edit the authorization URL goes around the pushed request, and with it around client authentication", "serve nothing at the authorization endpoint but request_uri"
	const front, code = "what belongs between client and server comes through the browser", "serve response_type=code only"
	signed := row("fapi-request-object", "refuses a signed request object that was not pushed", "2", "FAPI-AS-01.4", around, pushed, harness.High)
	signed.Needs += " private-key-jwt"
	return []PushedAttack{
		{Check: row("fapi-request-not-pushed", "refuses an authorization request that was not pushed", "2", "FAPI-AS-01.1", around, pushed, harness.High), Direct: nothing},
		{Check: signed, Direct: signedObject},
		{Check: row("fapi-response-type-token", "refuses to push response_type=token", "1", "FAPI-AS-01.2", front, code, harness.High), Push: set("response_type", "token")},
		{Check: row("fapi-response-type-hybrid", "refuses to push response_type=code id_token", "1", "FAPI-AS-01.3", front, code, harness.High), Push: set("response_type", "code id_token")},
	}
}

// signedObject puts the whole request into a request object.
func signedObject(m *harness.Message, f harness.Facts) {
	object, err := f.Tester.RequestObject(m.Who.Client, m.Params)
	if err != nil {
		return
	}
	m.Params = harness.Params{{Name: "client_id", Value: m.Who.Client.ClientID}, {Name: "request", Value: object}}
}

// FAPIAssertion is a client assertion that the profile forbids, or wants accepted.
type FAPIAssertion struct {
	AssertionAttack
	Mode Mode
	Algs []string // the honest assertion has to have one of them; none: any
}

// FAPIAssertions are about client assertions.
func FAPIAssertions() []FAPIAssertion {
	row := func(id, title string, clause harness.Clause, level harness.Level, severity harness.Severity, covers, why, fix string, tries ...harness.AssertionChange) FAPIAssertion {
		return FAPIAssertion{AssertionAttack: AssertionAttack{Check: inFAPI(Check{ID: id, Title: title, Clause: clause, Level: level, Severity: severity, Threat: harness.ClientImpersonation,
			Refusal: invalidClient("invalid_request"), Covers: covers, Needs: "private-key-jwt", Why: why, Fix: fix, Harm: WrongLogins}), Tries: tries}}
	}
	aud := func(audience func(a *harness.Assertion) any) harness.AssertionChange {
		return func(a *harness.Assertion) { a.Claims.Set("aud", audience(a)) }
	}
	ahead := func(offset time.Duration) harness.AssertionChange {
		return func(a *harness.Assertion) { at("iat", offset)(a); at("nbf", offset)(a) }
	}
	const elsewhere, issuer = "an assertion that was made for another server may be good here too, and one that is good here may be sent to another", "accept the issuer as a single string, and nothing else"
	const clock, window = "an assertion can be made long before it is used", "accept iat and nbf up to 10 seconds ahead, and not more than 60"
	out := []FAPIAssertion{
		row("fapi-assertion-audience-list", "refuses an assertion whose audience is a list", fapi2("5.3.2.1", "8"), harness.Hardening, harness.Low, "FAPI-AS-08.1", elsewhere, issuer,
			aud(func(a *harness.Assertion) any { return []string{a.Facts.Tester.Target.Issuer} })),
		row("fapi-assertion-audience-endpoint", "refuses an assertion addressed to the token endpoint", fapi2("5.3.2.1", "8"), harness.Should, harness.Medium, "FAPI-AS-08.2", elsewhere, issuer,
			aud(func(a *harness.Assertion) any { return a.Facts.Tester.Metadata.String("token_endpoint") })),
		row("fapi-assertion-audience-others", "refuses an assertion addressed to another server as well", fapi2("5.3.2.1", "8"), harness.Must, harness.High, "FAPI-AS-08.3", elsewhere, issuer,
			aud(func(a *harness.Assertion) any { return []string{a.Facts.Tester.Target.Issuer, otherServer} })),
		row("fapi-assertion-clock-ahead", "accepts an assertion dated eight seconds ahead", fapi2("5.3.2.1", "13"), harness.Must, harness.Medium, "FAPI-AS-10.3", "clients whose clocks are a little ahead are refused", window, ahead(8*time.Second)),
		row("fapi-assertion-far-ahead", "refuses an assertion dated ninety seconds ahead", fapi2("5.3.2.1", "13"), harness.Must, harness.Medium, "FAPI-AS-10.4", clock, window, ahead(90*time.Second)),
		row("fapi-assertion-rs256", "refuses an assertion signed with RS256", fapi2("5.4.1", "1"), harness.Must, harness.Medium, "FAPI-AS-11.3", "RS256 uses a padding that has failed again and again where it was verified carelessly",
			"accept PS256, ES256 and EdDSA only", func(a *harness.Assertion) {
				a.Header.Set("alg", "RS256")
				a.Sign = a.Key.SignAs("RS256")
			}),
	}
	out[3].Mode, out[3].Threat, out[3].Harm = Accept, harness.Interoperability, NoHarm
	out[5].Algs = []string{"PS256", "RS256"} // one key serves for both
	return out
}

// FAPIProofs are about DPoP proofs.
func FAPIProofs() []ProofAttack {
	row := func(id, title string, clause harness.Clause, covers, why, fix string, change harness.ProofChange) ProofAttack {
		return ProofAttack{Check: inFAPI(Check{ID: id, Title: title, Clause: clause, Level: harness.Must, Severity: harness.Medium, Threat: harness.ProofReplay, Refusal: InvalidDPoPProof(), Covers: covers, Needs: "dpop", Why: why, Fix: fix}),
			Change: change, At: []Place{AtToken}}
	}
	ahead := func(offset time.Duration) harness.ProofChange {
		return func(p *harness.Proof) { p.Claims.Set("iat", time.Now().Add(offset).Unix()) }
	}
	const window, algorithms = "accept iat up to 10 seconds ahead, and not more than 60", "accept PS256, ES256 and EdDSA only, and RSA keys of 2048 bits or more"
	out := []ProofAttack{
		row("fapi-proof-clock-ahead", "accepts a proof dated eight seconds ahead", fapi2("5.3.2.1", "13"), "FAPI-AS-10.1", "clients whose clocks are a little ahead are refused", window, ahead(8*time.Second)),
		row("fapi-proof-far-ahead", "refuses a proof dated ninety seconds ahead", fapi2("5.3.2.1", "13"), "FAPI-AS-10.2", "proofs can be made long before they are used", window, ahead(90*time.Second)),
		row("fapi-proof-rs256", "refuses a proof signed with RS256", fapi2("5.4.1", "1"), "FAPI-AS-11.1", "RS256 uses a padding that has failed again and again where it was verified carelessly", algorithms,
			func(p *harness.Proof) { p.Resign("RS256", 2048) }),
		row("fapi-proof-rsa-1024", "refuses a proof signed with PS256 by a key of 1024 bits", fapi2("5.4.1", "2"), "FAPI-AS-11.2", "the key can be broken, and with it the binding", algorithms,
			func(p *harness.Proof) { p.Resign("PS256", 1024) }),
	}
	out[0].Mode, out[0].Threat = Accept, harness.Interoperability
	return out
}
