package attacks

import (
	"strings"

	"github.com/popcheck/popcheck/harness"
)

// ResourceAttack is one defect in a request to a resource with a DPoP-bound token, outside the proof itself.
type ResourceAttack struct {
	Check
	Scheme  string // instead of DPoP
	Change  harness.Change
	NoProof Without
	Mode    Mode
	Token   TokenKind
	Reach   Reach
}

// Without says whether the request carries a proof.
type Without int

// A request carries a proof unless its absence is the attack.
const (
	Nothing Without = iota
	Proof
)

// TokenKind is the token that an attack presents.
type TokenKind int

// The tokens that an attack presents.
const (
	BoundToken       TokenKind = iota
	PlainToken                 // an unbound token of the same client
	OtherBoundToken            // the proof is made for another token of the same key
	TokenOfOther               // a token of another client, with the proof of this one
	CertificateToken           // a certificate-bound token, without its certificate
	OddHashToken               // one whose hash looks otherwise in standard base64, with a proof that spells it so
)

// PlainResource is the row without any change.
const PlainResource = "dpop-resource"

const bearerAgain = "a stolen token works without the key: the binding means nothing"

// ResourceRequests are the attacks on a resource that leave the proof as it is, or leave it out (RFC 9449 §7).
func ResourceRequests() []ResourceAttack {
	row := func(id, title string, clause harness.Clause, severity harness.Severity, threat harness.Threat, refusal harness.Refusal, covers, why, fix string) Check {
		return Check{ID: id, Title: title, Clause: clause, Level: harness.Must, Severity: severity, Threat: threat, Refusal: refusal, Covers: covers, Why: why, Fix: fix}
	}
	// lesser rows prove possession all the same: nothing is won by them.
	lesser := func(id, title string, clause harness.Clause, severity harness.Severity, threat harness.Threat, refusal harness.Refusal, covers, why, fix string) Check {
		c := row(id, title, clause, severity, threat, refusal, covers, why, fix)
		c.Level = harness.Hardening
		return c
	}
	needing := func(needs string, c Check) Check { c.Needs = needs; return c }
	accept := func(id, title string, level harness.Level, severity harness.Severity, covers string) Check {
		return Check{ID: id, Title: title, Clause: rfc9449("7.1", ""), Level: level, Severity: severity, Threat: harness.Interoperability, Covers: covers,
			Why: "honest clients are refused", Fix: "accept it: the clause asks for that"}
	}
	tokenOrProof := DPoPChallenge("invalid_token", "invalid_dpop_proof", "invalid_request")
	withPlainStatus := func(r harness.Refusal, status ...int) harness.Refusal {
		r.Status = append(r.Status, status...)
		return r
	}
	// at one resource: the place of a check makes no difference for them.
	once := func(a ResourceAttack) ResourceAttack { a.Reach = OnePlace; return a }
	return []ResourceAttack{
		{Check: accept("dpop-resource", "opens for a bound token with its proof", harness.Must, harness.High, "DPOP-RS-01.1 DPOP-RS-01.7"), Mode: Accept},
		{Check: accept("dpop-scheme-lower-case", "accepts the scheme in lower case", harness.Should, harness.Low, "DPOP-RS-01.2"), Mode: Accept, Scheme: "dpop"},
		{Check: accept("dpop-scheme-upper-case", "accepts the scheme in upper case", harness.Should, harness.Low, "DPOP-RS-01.2"), Mode: Accept, Scheme: "DPOP"},
		{Check: row("dpop-no-proof", "refuses a bound token without a proof", rfc9449("7.1", ""), harness.Critical, harness.TokenReplay, tokenOrProof, "DPOP-RS-02.1", bearerAgain, "require a proof with the DPoP scheme"), NoProof: Proof},
		{Check: row("dpop-as-bearer", "refuses a bound token as a bearer token", rfc9449("7.2", ""), harness.Critical, harness.Downgrade, withPlainStatus(DPoPChallenge("invalid_token", "invalid_request"), 400), "DPOP-RS-17.1", bearerAgain, "refuse a token with cnf.jkt under the Bearer scheme"), Scheme: "Bearer", NoProof: Proof},
		{Check: lesser("dpop-as-bearer-with-proof", "refuses a bound token under the Bearer scheme, even with a proof", rfc9449("7.2", ""), harness.Low, harness.Downgrade, withPlainStatus(DPoPChallenge("invalid_token", "invalid_request"), 400), "DPOP-RS-17.3", "the scheme is wrong, though possession is proven", "refuse a token with cnf.jkt under the Bearer scheme"), Scheme: "Bearer"},
		{Check: row("dpop-token-in-query", "refuses a bound token in the query, without a proof", rfc9449("7.2", ""), harness.Critical, harness.Downgrade, withPlainStatus(harness.Refusal{Status: []int{401}, Where: []harness.Where{harness.InWWWAuthenticate, harness.InBody}}, 400), "DPOP-RS-17.4", bearerAgain, "do not take tokens from the query"), NoProof: Proof,
			Change: InQuery},
		{Check: row("dpop-token-in-body", "refuses a bound token in a form body, without a proof", rfc9449("7.2", ""), harness.Critical, harness.Downgrade, elsewhere(), "DPOP-RS-17.5", bearerAgain, "take bound tokens from the Authorization header only, and check them wherever they are"), NoProof: Proof, Change: tokenInBody},
		{Check: needing("bearer", row("dpop-scheme-for-plain-token", "refuses an unbound token under the DPoP scheme", rfc9449("7.1", ""), harness.High, harness.Downgrade, tokenOrProof, "DPOP-RS-18.1", "a stolen bearer token passes for a bound one with anyone's proof", "require cnf.jkt in the token and compare it")), Token: PlainToken},
		{Check: lesser("dpop-two-authorizations", "refuses a request with Bearer and DPoP together", rfc9449("7.2", ""), harness.Medium, harness.Downgrade, harness.Refusal{Status: []int{400, 401}, Errors: []string{"invalid_request", "invalid_token"}, Where: []harness.Where{harness.InWWWAuthenticate, harness.InBody}}, "DPOP-RS-19.1", "servers in a chain may read different headers", "refuse more than one Authorization header field"),
			Change: func(m *harness.Message, _ harness.Facts) {
				m.Header = append([]harness.Field{{Name: "Authorization", Value: "Bearer " + bearerOf(m)}}, m.Header...)
			}},
		{Check: row("dpop-proof-for-other-token", "refuses a proof made for another token of the same key", rfc9449("4.3", "12"), harness.Critical, harness.TokenReplay, DPoPChallenge("invalid_dpop_proof"), "DPOP-RS-15.3 DPOP-RS-15.4", "a captured proof works with other tokens", "compare ath with the hash of the access token"), Token: OtherBoundToken},
		once(ResourceAttack{Check: row("dpop-as-bearer-lower-case", "refuses a bound token as a bearer token, however the scheme is spelt", rfc9449("7.2", ""), harness.Critical, harness.Downgrade, withPlainStatus(DPoPChallenge("invalid_token", "invalid_request"), 400), "DPOP-RS-17.2", bearerAgain, "refuse a token with cnf.jkt under the Bearer scheme, whatever its letters"), Scheme: "bearer", NoProof: Proof}),
		once(ResourceAttack{Check: row("dpop-no-proof-lower-case", "refuses a bound token without a proof, however the DPoP scheme is spelt", rfc9449("7.1", ""), harness.Critical, harness.Downgrade, tokenOrProof, "DPOP-RS-02.4", bearerAgain, "compare the scheme without case, and let no token through under a scheme that is not known"), Scheme: "dpop", NoProof: Proof}),
		once(ResourceAttack{Check: row("dpop-as-unknown-scheme", "refuses a bound token under a scheme that it does not know", rfc9449("7.2", ""), harness.Critical, harness.Downgrade, harness.Refusal{Status: []int{400, 401}}, "DPOP-RS-17.7", bearerAgain, "let no token through under a scheme that is not known"), Scheme: "Token", NoProof: Proof}),
		once(ResourceAttack{Check: needing("bearer", lesser("dpop-scheme-for-plain-token-no-proof", "refuses an unbound token under the DPoP scheme without a proof", rfc9449("7.1", ""), harness.Low, harness.Downgrade, tokenOrProof, "DPOP-RS-18.2", "the scheme promises a proof that nobody asks for", "require a proof with the DPoP scheme")), Token: PlainToken, NoProof: Proof}),
		once(ResourceAttack{Check: row("dpop-scheme-for-certificate-token", "refuses a certificate-bound token without its certificate under the DPoP scheme", rfc9449("7.1", ""), harness.Critical, harness.Downgrade, tokenOrProof, "DPOP-RS-18.3", "a stolen token works without the certificate, with anyone's proof", "check each binding that the token names, whatever the scheme"), Token: CertificateToken}),
		once(ResourceAttack{Check: lesser("dpop-two-tokens", "refuses two tokens under the DPoP scheme", rfc9449("7.2", ""), harness.Medium, harness.Downgrade, harness.Refusal{Status: []int{400, 401}, Errors: []string{"invalid_request", "invalid_token"}, Where: []harness.Where{harness.InWWWAuthenticate, harness.InBody}}, "DPOP-RS-19.2", "servers in a chain may read different headers", "refuse more than one Authorization header field"),
			Change: func(m *harness.Message, f harness.Facts) {
				m.Header = append(m.Header, harness.Field{Name: "Authorization", Value: "DPoP " + f.Tester.UnknownToken()})
			}}),
		once(ResourceAttack{Check: lesser("dpop-ath-standard-base64", "compares ath in its own alphabet", rfc9449("4.3", "12"), harness.Low, harness.TokenReplay, DPoPChallenge("invalid_dpop_proof"), "DPOP-RS-15.7", "values outside the grammar reach the comparison", "compare the unpadded base64url value"), Token: OddHashToken}),
		{Check: needing("second-client", row("dpop-token-of-other-client", "refuses a token of one client with the proof of another", rfc9449("4.3", "12"), harness.Critical, harness.TokenReplay, DPoPChallenge("invalid_token", "invalid_dpop_proof"), "DPOP-RS-16.2", bearerAgain, "compare the thumbprint of the proof key with cnf.jkt of the token")), Token: TokenOfOther},
	}
}

// elsewhere is how a request is refused that carries its token where a resource may not look, or by a method that it does not know.
func elsewhere() harness.Refusal { return harness.Refusal{Status: []int{400, 401, 403, 404, 405, 415}} }

// tokenInBody moves the access token into a form (RFC 6750 §2.2).
func tokenInBody(m *harness.Message, _ harness.Facts) {
	token := bearerOf(m)
	m.Header = withoutHeader(m.Header, "Authorization")
	m.Params.Set("access_token", token)
	m.AsForm()
}

func bearerOf(m *harness.Message) string {
	for _, f := range m.Header {
		if f.Name == "Authorization" {
			if _, token, ok := strings.Cut(f.Value, " "); ok {
				return token
			}
		}
	}
	return ""
}

// KeyChecks are the single checks of binding, replay and nonces; each has a spec of its own.
type KeyChecks struct {
	Replay, ReplayCaptured                                         Check
	Bound, Thumbprint, ThumbprintExtra, Introspection, EveryGrant  Check
	ThumbprintRSA, ThumbprintOKP, ThumbprintOrder                  Check
	ProofMissing, ProofEmpty                                       Check
	IntrospectionPlain                                             Check
	RefreshUnproven                                                Check
	JKTTwice, JKTMalformed, JKTBeside                              Check
	ChallengeAlgorithms                                            Check
	RefreshOtherKey, RefreshNoProof, RefreshNewKey, RefreshFollows Check
	JKTOtherKey, JKTNoProof                                        Check
	PAROtherKey, PARNoProof, PARContradiction, PARJKT, PARHeader   Check
	NonceMissing, NonceOne, NonceRandom, NonceOfOther, NonceDrop   Check
	ChallengePlain, ChallengeKey, ChallengeProof                   Check
}

func (k KeyChecks) all() []Check {
	return []Check{k.Replay, k.Bound, k.Thumbprint, k.ThumbprintExtra, k.ThumbprintRSA, k.ThumbprintOKP, k.ThumbprintOrder, k.Introspection, k.IntrospectionPlain, k.EveryGrant, k.ProofMissing, k.ProofEmpty,
		k.RefreshOtherKey, k.RefreshNoProof, k.RefreshNewKey, k.RefreshFollows, k.RefreshUnproven, k.JKTOtherKey, k.JKTNoProof, k.JKTTwice, k.JKTMalformed, k.JKTBeside,
		k.PAROtherKey, k.PARNoProof, k.PARContradiction, k.PARJKT, k.PARHeader,
		k.NonceMissing, k.NonceOne, k.NonceRandom, k.NonceOfOther, k.NonceDrop, k.ChallengePlain, k.ChallengeAlgorithms, k.ChallengeKey, k.ChallengeProof}
}

// Keys returns the single checks of DPoP.
func Keys() KeyChecks {
	refused := harness.Refusal{Status: []int{400, 401}, Errors: []string{"invalid_grant", "invalid_dpop_proof", "invalid_request"}, Where: []harness.Where{harness.InBody}}
	atPAR := harness.Refusal{Status: []int{400}, Errors: []string{"invalid_request", "invalid_dpop_proof", "invalid_grant"}, Where: []harness.Where{harness.InBody}}
	check := func(id, title string, clause harness.Clause, level harness.Level, severity harness.Severity, threat harness.Threat, refusal harness.Refusal, needs, covers, why, fix string) Check {
		return Check{ID: id, Title: title, Clause: clause, Level: level, Severity: severity, Threat: threat, Refusal: refusal, Needs: needs, Covers: covers, Why: why, Fix: fix}
	}
	none := harness.Refusal{}
	const stolenCode, stolenRefresh = "a stolen code is redeemed with the thief's key", "a stolen refresh token works for the thief"
	return KeyChecks{
		Replay: check("dpop-replay", "accepts a proof once", rfc9449("11.1", ""), harness.Should, harness.Medium, harness.ProofReplay, InvalidDPoPProof(), "", "DPOP-AS-15.1 DPOP-RS-14.1",
			"whoever captures a proof can use it again while it is fresh", "remember jti while a proof is fresh, or use single-use nonces"),
		Bound: check("dpop-token-bound", "binds a token to the key of the proof", rfc9449("5", ""), harness.Must, harness.High, harness.TokenReplay, none, "", "DPOP-AS-01.1",
			"the client believes that its token is bound, and it is a bearer token", "answer a valid proof with token_type DPoP"),
		Thumbprint: check("dpop-cnf-jkt", "puts the thumbprint of the proof key into the token", rfc9449("6.1", ""), harness.Must, harness.Critical, harness.TokenReplay, none, "jwt-at", "DPOP-AS-02.1",
			"a resource cannot check the binding, or checks another key", "cnf.jkt is the base64url SHA-256 JWK thumbprint (RFC 7638) without padding"),
		ThumbprintExtra: check("dpop-cnf-jkt-required-members", "counts only the required members of the key for the thumbprint", rfc9449("6.1", ""), harness.Must, harness.Critical, harness.Interoperability, none, "jwt-at", "DPOP-AS-02.4",
			"tokens are bound to a hash that no resource computes", "hash the required members only (RFC 7638 §3.2)"),
		ThumbprintRSA: check("dpop-cnf-jkt-rsa", "puts the thumbprint of an RSA key into the token", rfc9449("6.1", ""), harness.Must, harness.High, harness.TokenReplay, none, "jwt-at", "DPOP-AS-02.2",
			"a resource cannot check the binding, or checks another key", "hash e, kty and n, in this order (RFC 7638 §3.2)"),
		ThumbprintOKP: check("dpop-cnf-jkt-okp", "puts the thumbprint of an Ed25519 key into the token", rfc9449("6.1", ""), harness.Must, harness.High, harness.TokenReplay, none, "jwt-at", "DPOP-AS-02.3",
			"a resource cannot check the binding, or checks another key", "hash crv, kty and x, in this order (RFC 8037 §2)"),
		ThumbprintOrder: check("dpop-cnf-jkt-order", "sorts the members of a key for the thumbprint", rfc9449("6.1", ""), harness.Must, harness.High, harness.Interoperability, none, "jwt-at", "DPOP-AS-02.5",
			"tokens are bound to a hash that no resource computes", "hash the required members in lexical order (RFC 7638 §3.3)"),
		IntrospectionPlain: check("dpop-introspection-plain", "names no key for an unbound token", rfc9449("6.2", ""), harness.Should, harness.Medium, harness.Interoperability, none, "introspection bearer", "DPOP-AS-03.2",
			"a resource that introspects asks for proofs of a key that nobody proved", "leave cnf.jkt out where the token is bound to no key"),
		ProofEmpty: check("dpop-proof-missing-empty", "gives no token for an empty DPoP header to a client that asked for bound tokens", rfc9449("5.2", ""), harness.Must, harness.Critical, harness.Downgrade, harness.Refusal{Status: []int{400}, Errors: []string{"invalid_request", "invalid_dpop_proof", "invalid_grant"}, Where: []harness.Where{harness.InBody}}, "", "DPOP-AS-17.4",
			"whoever steals a code gets a bearer token by sending an empty header", "demand a verified proof, not a header"),
		RefreshUnproven: check("dpop-refresh-unproven-key", "binds no refreshed token to a key that was not proven", rfc9449("5", ""), harness.Hardening, harness.Info, harness.Interoperability, none, "refresh confidential-client jwt-at", "DPOP-AS-20.3",
			"a client that left DPoP gets tokens that it cannot use", "take cnf.jkt from the proof of the request, and leave it out without one"),
		JKTTwice: check("dpop-jkt-twice", "does not bind a code to the second of two announced keys", rfc9449("10", ""), harness.Hardening, harness.Medium, harness.CodeInjection, refused, "", "DPOP-AS-21.3",
			"which of two keys counts depends on the reader", "refuse parameters that come twice (RFC 6749 §3.1)"),
		JKTMalformed: check("dpop-jkt-malformed", "redeems no code whose announced key is none", rfc9449("10", ""), harness.Should, harness.Low, harness.CodeInjection, refused, "", "DPOP-AS-21.4",
			"a client that misspells its key is served without the binding it asked for", "refuse a dpop_jkt that is no thumbprint, or let no key match it"),
		JKTBeside: check("dpop-jkt-beside-request-uri", "does not take the key from beside a pushed request", rfc9449("10.1", ""), harness.Must, harness.High, harness.CodeInjection, refused, "par", "DPOP-AS-23.4",
			"who can change the browser's request binds the code to a key of its own", "use the pushed parameters alone (RFC 9126 §4)"),
		ChallengeAlgorithms: check("dpop-challenge-algs", "asks for asymmetric algorithms only", rfc9449("7.1", ""), harness.Should, harness.Low, harness.Downgrade, none, "", "DPOP-RS-20.5",
			"a proof without a private key proves nothing", "take asymmetric algorithms only, and list no others"),
		Introspection: check("dpop-introspection-cnf", "tells resources the bound key by introspection", rfc9449("6.2", ""), harness.Must, harness.Critical, harness.TokenReplay, none, "introspection", "DPOP-AS-03.1",
			"a resource that introspects cannot check the binding", "return cnf.jkt at top level, and token_type DPoP"),
		EveryGrant: check("dpop-every-grant", "binds tokens of this grant too", rfc9449("5", ""), harness.Must, harness.High, harness.TokenReplay, none, "", "DPOP-AS-28.1 DPOP-AS-28.3",
			"tokens of this grant are bearer tokens", "handle proofs before the grant, for every grant"),
		ProofMissing: check("dpop-proof-missing", "gives no token without a proof to a client that asked for bound tokens", rfc9449("5.2", ""), harness.Must, harness.Critical, harness.Downgrade, harness.Refusal{Status: []int{400}, Errors: []string{"invalid_request", "invalid_dpop_proof", "invalid_grant"}, Where: []harness.Where{harness.InBody}}, "", "DPOP-AS-17.1 DPOP-AS-17.2 DPOP-AS-17.3 DPOP-AS-17.5",
			"whoever steals a code or refresh token gets a bearer token by leaving the proof out", "enforce dpop_bound_access_tokens at every grant"),
		RefreshOtherKey: check("dpop-refresh-other-key", "refuses a public client's refresh token with another key", rfc9449("5", ""), harness.Must, harness.Critical, harness.TokenReplay, refused, "refresh public-client", "DPOP-AS-19.1",
			stolenRefresh, "bind refresh tokens of public clients to the key, and compare"),
		RefreshNoProof: check("dpop-refresh-no-proof", "refuses a public client's refresh token without a proof", rfc9449("5", ""), harness.Must, harness.Critical, harness.TokenReplay, refused, "refresh public-client", "DPOP-AS-19.2",
			stolenRefresh, "require a proof when the refresh token is bound"),
		RefreshNewKey: check("dpop-refresh-new-key", "lets a confidential client move to a new key", rfc9449("5", ""), harness.Hardening, harness.Low, harness.Interoperability, none, "refresh confidential-client", "DPOP-AS-20.1",
			"a confidential client cannot rotate its key", "bind refresh tokens of confidential clients to the client authentication only"),
		RefreshFollows: check("dpop-refresh-follows-key", "binds the refreshed token to the key of the new proof", rfc9449("5", ""), harness.Must, harness.High, harness.TokenReplay, none, "refresh confidential-client jwt-at", "DPOP-AS-20.2",
			"the new token is bound to a key that was not proven", "take cnf.jkt from the proof of the request"),
		JKTOtherKey: check("dpop-jkt-other-key", "redeems a code only with the announced key", rfc9449("10", ""), harness.Must, harness.High, harness.CodeInjection, refused, "", "DPOP-AS-21.1 DPOP-AS-21.5", stolenCode, "store dpop_jkt with the code and compare"),
		JKTNoProof:  check("dpop-jkt-no-proof", "does not redeem a code without the announced key", rfc9449("10", ""), harness.Must, harness.High, harness.CodeInjection, refused, "", "DPOP-AS-21.2", stolenCode, "require a proof when dpop_jkt was announced"),
		PAROtherKey: check("dpop-par-other-key", "redeems a code only with the key of the pushed request", rfc9449("10.1", ""), harness.Must, harness.High, harness.CodeInjection, refused, "par", "DPOP-AS-22.1", stolenCode, "bind the code to the key that was proven at PAR"),
		PARNoProof:  check("dpop-par-no-proof", "does not redeem a code without the key of the pushed request", rfc9449("10.1", ""), harness.Must, harness.High, harness.CodeInjection, refused, "par", "DPOP-AS-22.2", stolenCode, "bind the code to the key that was proven at PAR"),
		PARContradiction: check("dpop-par-contradiction", "refuses a pushed request that names two keys", rfc9449("10.1", ""), harness.Must, harness.High, harness.CodeInjection, atPAR, "par", "DPOP-AS-23.1",
			"the code may be bound to another key than the client believes", "compare dpop_jkt with the key of the proof"),
		PARJKT: check("dpop-par-jkt-alone", "honours dpop_jkt in a pushed request", rfc9449("10.1", ""), harness.Must, harness.High, harness.CodeInjection, none, "par", "DPOP-AS-23.2", stolenCode, "support dpop_jkt and the DPoP header at PAR alike"),
		PARHeader: check("dpop-par-proof-alone", "serves a pushed request with a proof", rfc9449("10.1", ""), harness.Must, harness.High, harness.Interoperability, none, "par", "DPOP-AS-23.3",
			"a client that proves its key at PAR is refused", "support dpop_jkt and the DPoP header at PAR alike"),
		NonceMissing: check("dpop-nonce-missing", "asks for a nonce when a proof has none", rfc9449("8", ""), harness.Must, harness.High, harness.ProofReplay, useNonce(), "", "DPOP-AS-24.1 DPOP-RS-21.1",
			"proofs that were made in advance are accepted", "require the nonce in every proof"),
		NonceOne: check("dpop-nonce-one", "hands out one nonce at a time", rfc9449("8", ""), harness.Must, harness.Low, harness.Interoperability, none, "", "DPOP-AS-24.2 DPOP-RS-21.7",
			"a client does not know which nonce counts", "send one DPoP-Nonce header field"),
		NonceRandom: check("dpop-nonce-random", "refuses a nonce that it did not hand out", rfc9449("8", ""), harness.Must, harness.High, harness.ProofReplay, useNonce(), "", "DPOP-AS-25.1 DPOP-RS-21.3",
			"proofs that were made in advance are accepted", "verify the nonce, not only its presence"),
		NonceOfOther: check("dpop-nonce-of-other-server", "refuses a nonce of another server", rfc9449("9", ""), harness.Should, harness.Medium, harness.ProofReplay, useNonce(), "nonce-as nonce-rs", "DPOP-AS-25.5 DPOP-RS-21.5",
			"a nonce of one server lets proofs pass at another", "keep the nonces of servers apart"),
		NonceDrop: check("dpop-nonce-omitted-later", "goes on to ask for a nonce after it has handed one out", rfc9449("11.3", ""), harness.Hardening, harness.Medium, harness.Downgrade, useNonce(), "", "DPOP-AS-26.1 DPOP-AS-26.2 DPOP-RS-21.2",
			"an attacker falls back to proofs without nonce", "once nonces are in use, refuse proofs without"),
		ChallengePlain: check("dpop-challenge", "asks for DPoP with its algorithms and without an error when nothing was sent", rfc9449("7.1", ""), harness.Should, harness.Low, harness.Interoperability, none, "", "DPOP-RS-20.1",
			"clients do not learn what the resource wants", "answer 401 with WWW-Authenticate: DPoP algs=\"…\""),
		ChallengeKey: check("dpop-challenge-key", "says invalid_token or invalid_dpop_proof to a proof of another key", rfc9449("7.1", ""), harness.Should, harness.Low, harness.Interoperability, DPoPChallenge("invalid_token", "invalid_dpop_proof"), "", "DPOP-RS-20.2",
			"clients cannot tell a bad proof from a bad token", "answer 401 with error=\"invalid_token\""),
		ChallengeProof: check("dpop-challenge-proof", "says invalid_dpop_proof to a broken proof", rfc9449("7.1", ""), harness.Should, harness.Low, harness.Interoperability, DPoPChallenge("invalid_dpop_proof"), "", "DPOP-RS-20.3",
			"clients cannot tell a bad proof from a bad token", "answer 401 with error=\"invalid_dpop_proof\""),
	}
}
