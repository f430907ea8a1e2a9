package attacks

import (
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/popcheck/popcheck/harness"
)

// Clients says with which clients a row runs.
type Clients int

// A defence may hold for one kind of client only, so most rows run with both.
const (
	PublicAndConfidential Clients = iota
	PublicOnly
	ConfidentialOnly
	SecretOnly       // a confidential client that sends a secret
	PKCEOptionalOnly // a client that may leave PKCE out
	EveryMethod      // one confidential client of each authentication method
	EveryClient      // each, with the binding that it uses: a server may look at the verifier only where nothing else binds
)

// CodeAttack is one defect in a code flow: in the authorization request, next to a request_uri, or in the redemption.
// A token at the end is the attacker's win.
type CodeAttack struct {
	Check
	Clients   Clients
	Verifier  func(harness.Facts) string // instead of 43 random characters; the challenge fits it
	Challenge func(string) string        // edits the fitting challenge
	Authorize harness.Change
	Beside    harness.Change   // parameters next to the request_uri; makes the flow a pushed one
	Failed    []harness.Change // redemptions of the same code before, which have to fail
	Redeem    []harness.Change
	Tolerated harness.Change // a redemption that, where it works, only shows leniency: a warning
	Observed  Observation    // a redemption of which both answers are right
	Unless    harness.Change // an authorization request that says nothing new where it is served: the row does not apply
	Mode      Mode
	Also      []Variant // further ways to run the row
	Needs2    Need
	Other     func(*harness.Client) bool // which client may be the other one; nil for one of the same kind
}

// Observation is a redemption that is only reported.
type Observation struct {
	What   string
	Redeem harness.Change
}

// Mode says what has to happen.
type Mode int

// Most rows are attacks; some are honest calls that a server must not refuse.
const (
	Refuse Mode = iota
	Accept
)

// Variant is a further way to run a row.
type Variant string

// The variants: a server may lose the challenge on one way to the code and keep it on all others.
const (
	Pushed        Variant = "par"                // a pushed authorization request (RFC 9126)
	Login         Variant = "login"              // a new browser session: the login page is shown
	FirstConsent  Variant = "consent"            // a user who has not consented yet
	ConsentAgain  Variant = "prompt-consent"     // the user is asked again (OpenID Connect Core §3.1.2.1)
	PushedConsent Variant = "par-prompt-consent" // the same by a pushed request
	Stateless     Variant = "no-state"           // state is left out, as it may be (RFC 6749 §4.1.1)
)

// Change is what a variant has otherwise in the authorization request, in its controls as well; nil for nothing.
func (v Variant) Change() harness.Change {
	switch v {
	case ConsentAgain, PushedConsent:
		return set("prompt", "consent")
	case Stateless:
		return drop("state")
	}
	return nil
}

// Need is a second party that an attack takes part of.
type Need int

// The second parties.
const (
	Alone            Need = iota
	Transaction           // another transaction of the same client and user, begun before
	LaterTransaction      // another one, begun when the code had been issued
	SameState             // such a one with the state of the first, which comes to the client with the code
	OtherUser             // another transaction of the same client, by another user, begun when the code had been issued
	OtherClient           // another client redeems
	OtherCredential       // another client's credential is at hand
	Replay                // the code was redeemed before
)

// PlainCode is the row without any change.
const PlainCode = "pkce-s256"

const intercepted = "whoever reads the code from the redirect (another app, a log, a referrer) gets the user's tokens"

// Codes are the attacks on PKCE and on the code itself.
func Codes() []CodeAttack {
	noChallenge := drop("code_challenge", "code_challenge_method")
	right := func(f harness.Facts) string { return f.PKCE.Verifier }
	// method is a challenge method that no server has.
	method := func(id, name, covers, title string) CodeAttack {
		return CodeAttack{Check: Check{ID: id, Title: title, Clause: rfc7636("4.4.1"), Level: harness.Must, Severity: harness.High,
			Threat: harness.Downgrade, Refusal: invalidRequestAtAuthorize(), Covers: covers, Why: "a method that falls through the comparison switches the defence off: " + intercepted, Fix: "answer any method that is not supported with invalid_request"},
			Authorize: set("code_challenge_method", name), Redeem: []harness.Change{drop("code_verifier"), setTo("code_verifier", wrongVerifier)}, Tolerated: nothing}
	}
	// verifier is one outside the grammar, whose challenge fits.
	verifier := func(id, what, covers string, severity harness.Severity, why string, value func() string) CodeAttack {
		return CodeAttack{Check: Check{ID: id, Title: "refuses a verifier " + what, Clause: rfc7636("4.1"), Level: harness.Hardening, Severity: severity,
			Threat: harness.CodeInterception, Refusal: grantOrRequest(), Covers: covers, Why: why, Fix: "check the grammar of code_verifier: 43 to 128 unreserved characters"},
			Verifier: func(harness.Facts) string { return value() }, Redeem: []harness.Change{nothing}}
	}
	// elsewhere is a verifier that comes in a place in which none is looked for. A server that finds and compares it there is lenient.
	elsewhere := func(id, title, covers string, put func(value func(harness.Facts) string) harness.Change) CodeAttack {
		return CodeAttack{Check: Check{ID: id, Title: title, Clause: rfc9700("2.1.1"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.CodeInterception, Refusal: grantOrRequest(), Covers: covers, Why: intercepted, Fix: "when a challenge was stored with the code, require code_verifier in the body of the token request"},
			Redeem: []harness.Change{all(drop("code_verifier"), put(wrongVerifier))}, Tolerated: all(drop("code_verifier"), put(right))}
	}
	// twice is a token request with two verifiers, of which none fits; where one of them does, a server may pick it.
	twice := func(id, title, covers string, tolerated harness.Change) CodeAttack {
		return CodeAttack{Check: Check{ID: id, Title: title, Clause: rfc6749("3.2"), Level: harness.Must, Severity: harness.Medium,
			Threat: harness.CodeInterception, Refusal: grantOrRequest(), Covers: covers, Why: "a list of verifiers is compared otherwise than one, or not at all: " + intercepted, Fix: "answer a repeated parameter with invalid_request"},
			Redeem: []harness.Change{all(setTo("code_verifier", wrongVerifier), addTo("code_verifier", wrongVerifier))}, Tolerated: tolerated}
	}
	const grammar = "values outside the grammar reach the comparison"
	anyOfTheTwo := harness.Refusal{Status: []int{400, 401}, Errors: []string{"invalid_grant", "invalid_client", "invalid_request"}, Where: []harness.Where{harness.InBody, harness.InTLS}}
	const impersonates = "any client of the server can act in the name of this one"
	return []CodeAttack{
		{Check: Check{ID: "pkce-s256", Title: "serves a flow with S256", Clause: rfc7636("4.2"), Level: harness.Must, Severity: harness.High,
			Threat: harness.Interoperability, Covers: "PKCE-AS-01.1 PKCE-AS-11.4", Why: "no client can protect its codes",
			Fix: "implement S256: BASE64URL(SHA256(code_verifier)) without padding"}, Mode: Accept},
		{Check: Check{ID: "pkce-verifier-128", Title: "accepts a verifier of 128 characters, of every allowed kind", Clause: rfc7636("4.1"), Level: harness.Must, Severity: harness.Low,
			Threat: harness.Interoperability, Covers: "PKCE-AS-01.2 PKCE-AS-11.5", Why: "honest clients are refused", Fix: "allow 43 to 128 unreserved characters"},
			Verifier: func(harness.Facts) string { return longVerifier(128) }, Mode: Accept},

		{Check: Check{ID: "pkce-verifier-wrong", Title: "refuses a code with another verifier", Clause: rfc7636("4.6"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.CodeInterception, Refusal: invalidGrant(), Covers: "PKCE-AS-02.1 PKCE-AS-15.1", Why: intercepted,
			Fix: "compare the transformed code_verifier with the stored code_challenge before any token is issued"},
			Clients: EveryClient, Redeem: []harness.Change{setTo("code_verifier", wrongVerifier)}, Also: []Variant{Pushed, Login, FirstConsent, ConsentAgain, PushedConsent, Stateless}},
		{Check: Check{ID: "pkce-verifier-last-character", Title: "refuses a verifier that differs in its last character", Clause: rfc7636("4.6"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.CodeInterception, Refusal: invalidGrant(), Covers: "PKCE-AS-02.2", Why: intercepted, Fix: "compare the whole value"},
			Redeem: []harness.Change{setTo("code_verifier", func(f harness.Facts) string { return otherLast(f.PKCE.Verifier) })}},
		{Check: Check{ID: "pkce-verifier-longer", Title: "refuses the right verifier with one more character", Clause: rfc7636("4.6"), Level: harness.Should, Severity: harness.Low,
			Threat: harness.CodeInterception, Refusal: invalidGrant(), Covers: "PKCE-AS-02.4", Why: "the comparison stops early: other verifiers fit as well", Fix: "compare the whole value"},
			Redeem: []harness.Change{setTo("code_verifier", func(f harness.Facts) string { return f.PKCE.Verifier + "A" })}},
		{Check: Check{ID: "pkce-verifier-case", Title: "compares the verifier with its case", Clause: rfc7636("4.6"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.CodeInterception, Refusal: invalidGrant(), Covers: "PKCE-AS-02.3", Why: "other verifiers fit as well: they can be guessed sooner", Fix: "hash the verifier as it was sent"},
			Redeem: []harness.Change{setTo("code_verifier", func(f harness.Facts) string { return oneOtherCase(f.PKCE.Verifier) })}},
		{Check: Check{ID: "pkce-verifier-cut", Title: "refuses the first 43 characters of a longer verifier", Clause: rfc7636("4.6"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.CodeInterception, Refusal: invalidGrant(), Covers: "PKCE-AS-02.5", Why: "the comparison stops early: other verifiers fit as well", Fix: "compare the whole value"},
			Verifier: func(harness.Facts) string { return longVerifier(64) }, Redeem: []harness.Change{setTo("code_verifier", func(f harness.Facts) string { return f.PKCE.Verifier[:43] })}},
		{Check: Check{ID: "pkce-verifier-hash", Title: "refuses the hexadecimal hash of the verifier as verifier", Clause: rfc7636("4.6"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.Downgrade, Refusal: invalidGrant(), Covers: "PKCE-AS-02.6", Why: "the hash follows from the challenge, which is public: " + intercepted, Fix: "hash what comes as code_verifier; compare nothing else"},
			Redeem: []harness.Change{setTo("code_verifier", func(f harness.Facts) string { return inHex(f.PKCE.Challenge) })}},
		elsewhere("pkce-verifier-misspelt", "refuses a code with a verifier under another name", "PKCE-AS-03.4",
			func(value func(harness.Facts) string) harness.Change { return addTo("code_verifer", value) }),
		elsewhere("pkce-verifier-in-query", "refuses a code with its verifier in the URL only", "PKCE-AS-03.5", func(value func(harness.Facts) string) harness.Change {
			return func(m *harness.Message, f harness.Facts) {
				m.URL += "?" + harness.Params{{Name: "code_verifier", Value: value(f)}}.Encode()
			}
		}),
		twice("pkce-verifier-twice-last", "refuses a wrong verifier in front of another one", "PKCE-AS-14.3", all(setTo("code_verifier", wrongVerifier), addTo("code_verifier", right))),
		twice("pkce-verifier-twice-first", "refuses a wrong verifier behind another one", "PKCE-AS-14.4", addTo("code_verifier", wrongVerifier)),
		{Check: Check{ID: "pkce-verifier-missing", Title: "refuses a code without its verifier", Clause: rfc9700("2.1.1"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.CodeInterception, Refusal: grantOrRequest(), Covers: "PKCE-AS-03.1 PKCE-AS-03.3 PKCE-AS-15.2", Why: intercepted,
			Fix: "when a challenge was stored with the code, require code_verifier, also of clients that authenticate"},
			Clients: EveryClient, Redeem: []harness.Change{drop("code_verifier")}, Also: []Variant{Pushed, Login, FirstConsent, ConsentAgain, PushedConsent, Stateless}},
		{Check: Check{ID: "pkce-verifier-wrong-again", Title: "refuses another wrong verifier after a refused one", Clause: rfc7636("4.6"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.CodeInterception, Refusal: invalidGrant(), Covers: "PKCE-AS-02.1 PKCE-AS-17.2", Why: "the first attempt switches the defence off: " + intercepted,
			Fix: "leave code and challenge as they were when a redemption is refused, or delete both"},
			Failed: []harness.Change{setTo("code_verifier", wrongVerifier)}, Redeem: []harness.Change{setTo("code_verifier", wrongVerifier)}},
		{Check: Check{ID: "pkce-verifier-missing-after-wrong", Title: "refuses a code without its verifier after a refused one", Clause: rfc7636("4.6"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.CodeInterception, Refusal: grantOrRequest(), Covers: "PKCE-AS-03.1 PKCE-AS-03.3", Why: "the first attempt switches the defence off: " + intercepted,
			Fix: "leave code and challenge as they were when a redemption is refused, or delete both"},
			Failed: []harness.Change{setTo("code_verifier", wrongVerifier)}, Redeem: []harness.Change{drop("code_verifier")}},
		{Check: Check{ID: "pkce-verifier-empty", Title: "refuses a code with an empty verifier", Clause: rfc9700("2.1.1"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.CodeInterception, Refusal: grantOrRequest(), Covers: "PKCE-AS-03.2", Why: intercepted, Fix: "treat an empty code_verifier as wrong, not as absent"},
			Redeem: []harness.Change{set("code_verifier", "")}},
		{Check: Check{ID: "pkce-verifier-unasked", Title: "refuses a verifier for a code that was asked for without a challenge", Clause: rfc9700("4.8.2"), Level: harness.Must, Severity: harness.High,
			Threat: harness.Downgrade, Refusal: grantOrRequest(), Covers: "PKCE-AS-04.1 PKCE-AS-04.4", Needs: "pkce-optional",
			Why: "an attacker who strips the challenge from the victim's request can inject a code, and the client does not notice",
			Fix: "refuse a token request with code_verifier when no code_challenge was stored"},
			Clients: PKCEOptionalOnly, Authorize: noChallenge, Redeem: []harness.Change{nothing}},
		{Check: Check{ID: "pkce-challenge-empty", Title: "refuses a verifier for a code that was asked for with an empty challenge", Clause: rfc9700("4.8.2"), Level: harness.Must, Severity: harness.High,
			Threat: harness.Downgrade, Refusal: badRequestAnywhere(), Covers: "PKCE-AS-04.2", Needs: "pkce-optional",
			Why: "an attacker who empties the challenge of the victim's request switches the defence off", Fix: "treat an empty code_challenge as malformed, not as absent"},
			Clients: PKCEOptionalOnly, Authorize: set("code_challenge", ""), Redeem: []harness.Change{nothing}},
		{Check: Check{ID: "pkce-method-without-challenge", Title: "refuses a verifier for a code that was asked for with a method and no challenge", Clause: rfc9700("4.8.2"), Level: harness.Must, Severity: harness.High,
			Threat: harness.Downgrade, Refusal: badRequestAnywhere(), Covers: "PKCE-AS-04.3", Needs: "pkce-optional",
			Why: "an attacker who takes the challenge out of the victim's request switches the defence off, and the client does not notice", Fix: "answer a code_challenge_method without code_challenge with invalid_request"},
			Clients: PKCEOptionalOnly, Authorize: drop("code_challenge"), Redeem: []harness.Change{nothing}},
		{Check: Check{ID: "pkce-method-instead-of-challenge", Title: "does not take a method for a challenge where PKCE is required", Clause: rfc7636("4.4.1"), Level: harness.Must, Severity: harness.High,
			Threat: harness.Downgrade, Refusal: invalidRequestAtAuthorize(), Covers: "PKCE-AS-04.3", Why: "the requirement is met without any defence: " + intercepted, Fix: "require code_challenge itself, and store what is compared later"},
			Unless: noChallenge, Authorize: drop("code_challenge"), Redeem: []harness.Change{drop("code_verifier"), setTo("code_verifier", wrongVerifier)}},
		{Check: Check{ID: "pkce-empty-instead-of-challenge", Title: "does not take an empty challenge for one where PKCE is required", Clause: rfc7636("4.4.1"), Level: harness.Must, Severity: harness.High,
			Threat: harness.Downgrade, Refusal: invalidRequestAtAuthorize(), Covers: "PKCE-AS-10.2", Why: "the requirement is met without any defence: " + intercepted, Fix: "treat an empty code_challenge as malformed"},
			Unless: noChallenge, Authorize: set("code_challenge", ""), Redeem: []harness.Change{drop("code_verifier"), setTo("code_verifier", wrongVerifier)}},
		{Check: Check{ID: "pkce-challenge-as-verifier", Title: "refuses the challenge itself as verifier", Clause: rfc7636("4.5"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.Downgrade, Refusal: invalidGrant(), Covers: "PKCE-AS-05.1", Why: "the challenge is public: " + intercepted, Fix: "use the method that was stored with the code"},
			Redeem: []harness.Change{setTo("code_verifier", func(f harness.Facts) string { return f.PKCE.Challenge })}, Also: []Variant{FirstConsent}},
		{Check: Check{ID: "pkce-method-at-token", Title: "takes the method from the authorization request, not from the token request", Clause: rfc7636("4.5"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.Downgrade, Refusal: grantOrRequest(), Covers: "PKCE-AS-05.2", Why: "the challenge is public: " + intercepted, Fix: "ignore code_challenge_method at the token endpoint"},
			Redeem: []harness.Change{all(setTo("code_verifier", func(f harness.Facts) string { return f.PKCE.Challenge }), set("code_challenge_method", "plain"))}},
		{Check: Check{ID: "pkce-method-at-token-s256", Title: "does not hash the verifier of a plain challenge because the token request says so", Clause: rfc7636("4.5"), Level: harness.Should, Severity: harness.Low,
			Threat: harness.Downgrade, Refusal: grantOrRequest(), Covers: "PKCE-AS-05.3", Why: "the method is that of whoever redeems the code, not of who asked for it", Fix: "ignore code_challenge_method at the token endpoint"},
			Authorize: set("code_challenge_method", "plain"), Redeem: []harness.Change{set("code_challenge_method", "S256")}},
		{Check: Check{ID: "pkce-verifier-of-other-transaction", Title: "refuses the verifier of another transaction", Clause: rfc7636("4.4"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.CodeInjection, Refusal: invalidGrant(), Covers: "PKCE-AS-06.1 PKCE-AS-06.3", Why: "an injected code is redeemed in the session of someone else", Fix: "store challenge and method with the one code they came with"},
			Needs2: Transaction, Redeem: []harness.Change{setTo("code_verifier", func(f harness.Facts) string { return f.Other.PKCE.Verifier })}},
		{Check: Check{ID: "pkce-verifier-of-later-transaction", Title: "refuses the verifier of a transaction that began later", Clause: rfc7636("4.4"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.CodeInjection, Refusal: invalidGrant(), Covers: "PKCE-AS-06.1", Why: "whoever can start another authorization in the user's browser replaces the challenge of a code", Fix: "store challenge and method with the one code they came with"},
			Needs2: LaterTransaction, Redeem: []harness.Change{setTo("code_verifier", func(f harness.Facts) string { return f.Other.PKCE.Verifier })}},
		{Check: Check{ID: "pkce-verifier-of-same-state", Title: "refuses the verifier of a later transaction with the same state", Clause: rfc7636("4.4"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.CodeInterception, Refusal: invalidGrant(), Covers: "PKCE-AS-06.4", Why: "state stands beside the code in the redirect: who reads both replaces the challenge by one of its own", Fix: "store challenge and method with the one code they came with, not under state"},
			Needs2: SameState, Redeem: []harness.Change{setTo("code_verifier", func(f harness.Facts) string { return f.Other.PKCE.Verifier })}},
		{Check: Check{ID: "pkce-code-of-other-user", Title: "refuses the code of one user with the verifier of another user's session", Clause: rfc7636("4.4"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.CodeInjection, Refusal: invalidGrant(), Covers: "PKCE-AS-06.2", Needs: "second-user", Why: "an attacker is logged in as the victim by an injected code", Fix: "store challenge and method with the one code they came with"},
			Needs2: OtherUser, Redeem: []harness.Change{setTo("code_verifier", func(f harness.Facts) string { return f.Other.PKCE.Verifier })}, Also: []Variant{Pushed}},
		{Check: Check{ID: "pkce-method-unknown", Title: "refuses a challenge method that it does not know", Clause: rfc7636("4.4.1"), Level: harness.Must, Severity: harness.High,
			Threat: harness.Downgrade, Refusal: invalidRequestAtAuthorize(), Covers: "PKCE-AS-07.1 PKCE-AS-07.5", Why: "an unknown method switches the defence off: " + intercepted, Fix: "answer any method that is not supported with invalid_request"},
			Authorize: set("code_challenge_method", "S512"), Redeem: []harness.Change{drop("code_verifier"), setTo("code_verifier", wrongVerifier)}, Tolerated: nothing, Also: []Variant{Pushed}},
		{Check: Check{ID: "pkce-method-case", Title: "compares the challenge method with its case", Clause: rfc7636("4.4.1"), Level: harness.Must, Severity: harness.High,
			Threat: harness.Downgrade, Refusal: invalidRequestAtAuthorize(), Covers: "PKCE-AS-07.2", Why: "a method that falls through the comparison switches the defence off", Fix: "answer any method that is not supported with invalid_request"},
			Authorize: set("code_challenge_method", "s256"), Redeem: []harness.Change{drop("code_verifier"), setTo("code_verifier", wrongVerifier)}, Tolerated: nothing},
		method("pkce-method-none", "none", "PKCE-AS-07.3", "refuses the challenge method none"),
		method("pkce-method-trailing-space", "S256 ", "PKCE-AS-07.4", "compares the challenge method with the space behind it"),
		{Check: Check{ID: "pkce-method-plain", Title: "refuses the plain method", Clause: rfc7636("7.2"), Level: harness.Should, Severity: harness.Medium,
			Threat: harness.Downgrade, Refusal: invalidRequestAtAuthorize(), Covers: "PKCE-AS-08.1 FAPI-AS-03.2", Why: "the challenge in the authorization request is the verifier: whoever reads the request can redeem the code", Fix: "support S256 only"},
			Authorize: all(set("code_challenge_method", "plain"), setTo("code_challenge", func(f harness.Facts) string { return f.PKCE.Verifier })), Redeem: []harness.Change{nothing}, Also: []Variant{Pushed}},
		{Check: Check{ID: "pkce-method-omitted-plain", Title: "does not take a challenge without method as plain", Clause: rfc7636("7.2"), Level: harness.Should, Severity: harness.Medium,
			Threat: harness.Downgrade, Refusal: badRequestAnywhere(), Covers: "PKCE-AS-09.4", Why: "the challenge in the authorization request is the verifier: whoever reads the request can redeem the code", Fix: "refuse a challenge without method"},
			Authorize: all(drop("code_challenge_method"), setTo("code_challenge", func(f harness.Facts) string { return f.PKCE.Verifier })), Redeem: []harness.Change{nothing}},
		{Check: Check{ID: "pkce-method-omitted-without-verifier", Title: "does not switch PKCE off when the method is left out (no verifier)", Clause: rfc7636("4.3"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.Downgrade, Refusal: badRequestAnywhere(), Covers: "PKCE-AS-09.1", Why: intercepted, Fix: "a challenge without method is plain, or an error; never no challenge"},
			Authorize: drop("code_challenge_method"), Redeem: []harness.Change{drop("code_verifier")}},
		{Check: Check{ID: "pkce-method-omitted-wrong-verifier", Title: "does not switch PKCE off when the method is left out (wrong verifier)", Clause: rfc7636("4.3"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.Downgrade, Refusal: badRequestAnywhere(), Covers: "PKCE-AS-09.2", Why: intercepted, Fix: "a challenge without method is plain, or an error; never no challenge"},
			Authorize: drop("code_challenge_method"), Redeem: []harness.Change{setTo("code_verifier", wrongVerifier)}},
		{Check: Check{ID: "pkce-method-omitted-assumed-s256", Title: "does not assume S256 when the method is left out", Clause: rfc7636("4.3"), Level: harness.Hardening, Severity: harness.Low,
			Threat: harness.Downgrade, Refusal: badRequestAnywhere(), Covers: "PKCE-AS-09.3 FAPI-AS-03.3", Why: "the server's default differs from the stated one, so clients and server may disagree about the method", Fix: "refuse a challenge without method, or take it as plain"},
			Authorize: drop("code_challenge_method"), Redeem: []harness.Change{nothing}, Also: []Variant{Pushed}},
		{Check: Check{ID: "pkce-challenge-missing", Title: "refuses an authorization request without challenge from a public client", Clause: rfc7636("4.4.1"), Level: harness.Should, Severity: harness.High,
			Threat: harness.Downgrade, Refusal: invalidRequestAtAuthorize(), Covers: "PKCE-AS-10.1 PKCE-AS-10.3", Why: "a client that forgets PKCE, or whose request an attacker strips of it, has no defence against a stolen code", Fix: "require PKCE of public clients"},
			Clients: PublicOnly, Authorize: noChallenge, Redeem: []harness.Change{drop("code_verifier")}, Also: []Variant{Pushed}},
		{Check: Check{ID: "pkce-challenge-missing-confidential", Title: "refuses an authorization request without challenge from a confidential client", Clause: rfc9700("2.1.1"), Level: harness.Hardening, Severity: harness.Low,
			Threat: harness.Downgrade, Refusal: invalidRequestAtAuthorize(), Covers: "PKCE-AS-10.4 FAPI-AS-03.1", Why: "a code can be injected into a client that does not check its nonce", Fix: "require PKCE of every client"},
			Clients: ConfidentialOnly, Authorize: noChallenge, Redeem: []harness.Change{drop("code_verifier")}, Also: []Variant{Pushed}},
		{Check: Check{ID: "pkce-verifier-short", Title: "refuses a verifier of 42 characters", Clause: rfc7636("4.1"), Level: harness.Hardening, Severity: harness.Low,
			Threat: harness.CodeInterception, Refusal: grantOrRequest(), Covers: "PKCE-AS-11.1", Why: "a careless client's verifier can be guessed", Fix: "check the grammar of code_verifier: 43 to 128 unreserved characters"},
			Verifier: func(harness.Facts) string { return longVerifier(42) }, Redeem: []harness.Change{nothing}},
		verifier("pkce-verifier-one-character", "of one character", "PKCE-AS-11.2", harness.Medium, "a careless client's verifier can be guessed at once", func() string { return longVerifier(43)[:1] }),
		{Check: Check{ID: "pkce-verifier-long", Title: "refuses a verifier of 129 characters", Clause: rfc7636("4.1"), Level: harness.Hardening, Severity: harness.Low,
			Threat: harness.CodeInterception, Refusal: grantOrRequest(), Covers: "PKCE-AS-11.3", Why: "values outside the grammar reach the comparison", Fix: "check the grammar of code_verifier: 43 to 128 unreserved characters"},
			Verifier: func(harness.Facts) string { return longVerifier(129) }, Redeem: []harness.Change{nothing}},
		{Check: Check{ID: "pkce-verifier-plus-slash", Title: "refuses a verifier with + and /", Clause: rfc7636("4.1"), Level: harness.Hardening, Severity: harness.Low,
			Threat: harness.CodeInterception, Refusal: grantOrRequest(), Covers: "PKCE-AS-12.1", Why: "values outside the grammar reach the comparison", Fix: "allow unreserved characters only"},
			Verifier: func(harness.Facts) string { return longVerifier(41) + "+/" }, Redeem: []harness.Change{nothing}},
		{Check: Check{ID: "pkce-verifier-space", Title: "refuses a verifier with a space", Clause: rfc7636("4.1"), Level: harness.Hardening, Severity: harness.Low,
			Threat: harness.CodeInterception, Refusal: grantOrRequest(), Covers: "PKCE-AS-12.3", Why: "values outside the grammar reach the comparison", Fix: "allow unreserved characters only"},
			Verifier: func(harness.Facts) string { return longVerifier(21) + " " + longVerifier(21) }, Redeem: []harness.Change{nothing}},
		verifier("pkce-verifier-padding", "with padding", "PKCE-AS-12.2", harness.Low, grammar, func() string { return longVerifier(43) + "=" }),
		verifier("pkce-verifier-non-ascii", "with a letter that is not ASCII", "PKCE-AS-12.4", harness.Low, grammar, func() string { return longVerifier(43) + "é" }),
		{Check: Check{ID: "pkce-verifier-nul", Title: "does not cut a verifier at a NUL byte", Clause: rfc7636("4.1"), Level: harness.Should, Severity: harness.High,
			Threat: harness.CodeInterception, Refusal: grantOrRequest(), Covers: "PKCE-AS-12.5", Why: "the value that is compared is not the value that was sent", Fix: "allow unreserved characters only"},
			Redeem: []harness.Change{setTo("code_verifier", func(f harness.Facts) string { return f.PKCE.Verifier + "\x00x" })}},
		{Check: Check{ID: "pkce-challenge-cut", Title: "does not accept a verifier for a challenge that was cut", Clause: rfc7636("4.2"), Level: harness.Must, Severity: harness.Low,
			Threat: harness.Downgrade, Refusal: badRequestAnywhere(), Covers: "PKCE-AS-13.1", Why: "the comparison stops early: other verifiers fit as well", Fix: "compare the whole challenge; refuse one that is not 43 base64url characters"},
			Challenge: func(s string) string { return s[:len(s)-1] }, Redeem: []harness.Change{nothing}},
		{Check: Check{ID: "pkce-challenge-padded", Title: "does not repair a challenge with padding", Clause: rfc7636("4.2"), Level: harness.Hardening, Severity: harness.Low,
			Threat: harness.Downgrade, Refusal: badRequestAnywhere(), Covers: "PKCE-AS-13.4", Why: "values outside the grammar reach the comparison", Fix: "refuse a challenge that is not 43 base64url characters"},
			Challenge: func(s string) string { return s + "=" }, Redeem: []harness.Change{nothing}},
		{Check: Check{ID: "pkce-challenge-case", Title: "compares the challenge with its case", Clause: rfc7636("4.6"), Level: harness.Must, Severity: harness.Medium,
			Threat: harness.CodeInterception, Refusal: badRequestAnywhere(), Why: "other verifiers fit as well: the comparison is the database's, which does not look at case", Fix: "compare the challenge byte by byte"},
			Authorize: setTo("code_challenge", func(f harness.Facts) string { return otherCase(f.PKCE.Challenge) }), Redeem: []harness.Change{nothing}},
		{Check: Check{ID: "pkce-challenge-long", Title: "does not cut a challenge that is too long", Clause: rfc7636("4.2"), Level: harness.Hardening, Severity: harness.Low,
			Threat: harness.Downgrade, Refusal: badRequestAnywhere(), Covers: "PKCE-AS-13.2", Why: "the value that is compared is not the value that was sent", Fix: "refuse a challenge that is not 43 base64url characters"},
			Challenge: func(s string) string { return s + strings.Repeat("A", 129-len(s)) }, Redeem: []harness.Change{nothing}},
		// An address of this length may be too long for what stands before the server.
		{Check: Check{ID: "pkce-challenge-huge", Title: "does not cut a challenge of 10,000 characters", Clause: rfc7636("4.2"), Level: harness.Hardening, Severity: harness.Low,
			Threat: harness.Downgrade, Refusal: harness.Refusal{Status: []int{302, 303, 400, 413, 414, 431}}, Covers: "PKCE-AS-13.7", Why: "the value that is compared is not the value that was sent", Fix: "refuse a challenge that is not 43 base64url characters"},
			Challenge: func(s string) string { return s + strings.Repeat("A", 10000-len(s)) }, Redeem: []harness.Change{nothing}},
		{Check: Check{ID: "pkce-challenge-base64", Title: "does not repair a challenge in standard base64", Clause: rfc7636("4.2"), Level: harness.Hardening, Severity: harness.Low,
			Threat: harness.Downgrade, Refusal: badRequestAnywhere(), Covers: "PKCE-AS-13.3", Why: "values outside the grammar reach the comparison", Fix: "refuse a challenge that is not 43 base64url characters"},
			Verifier: withMappableChallenge, Challenge: strings.NewReplacer("-", "+", "_", "/").Replace, Redeem: []harness.Change{nothing}},
		{Check: Check{ID: "pkce-challenge-hex", Title: "does not accept a hexadecimal challenge", Clause: rfc7636("4.2"), Level: harness.Hardening, Severity: harness.Low,
			Threat: harness.Downgrade, Refusal: badRequestAnywhere(), Covers: "PKCE-AS-13.5", Why: "one verifier has several challenges: client and server may disagree about the method", Fix: "refuse a challenge that is not 43 base64url characters"},
			Challenge: inHex, Redeem: []harness.Change{nothing}},
		{Check: Check{ID: "pkce-challenge-newline", Title: "does not cut white space from a challenge", Clause: rfc7636("4.2"), Level: harness.Hardening, Severity: harness.Low,
			Threat: harness.Downgrade, Refusal: badRequestAnywhere(), Covers: "PKCE-AS-13.6", Why: "values outside the grammar reach the comparison", Fix: "refuse a challenge that is not 43 base64url characters"},
			Challenge: func(s string) string { return s + "\n" }, Redeem: []harness.Change{nothing}},
		{Check: Check{ID: "pkce-challenge-beside-request-uri", Title: "does not let the query replace a pushed challenge", Clause: rfc9126("4"), Level: harness.Must, Severity: harness.High,
			Threat: harness.CodeInjection, Refusal: grantOrRequest(), Covers: "PKCE-AS-15.3", Needs: "par", Why: "whoever can edit the authorization URL chooses the verifier", Fix: "take every parameter from the pushed request"},
			Needs2: Transaction, Beside: all(setTo("code_challenge", func(f harness.Facts) string { return f.Other.PKCE.Challenge }), set("code_challenge_method", "S256")),
			Redeem: []harness.Change{setTo("code_verifier", func(f harness.Facts) string { return f.Other.PKCE.Verifier })}},
		// RFC 9101 §6.3 wants what stands beside the request ignored, RFC 7636 what was pushed enforced: a code without PKCE is no surprise, a
		// verifier that fits nothing is.
		{Check: Check{ID: "pkce-challenge-only-beside-request-uri", Title: "takes no verifier that fits nothing where a challenge stands only beside the request_uri", Clause: rfc9126("4"), Level: harness.Must, Severity: harness.High,
			Threat: harness.Downgrade, Refusal: grantOrRequest(), Covers: "PKCE-AS-15.4", Needs: "par pkce-optional", Why: "the challenge counts as sent and is not compared: a client that sends it has no defence against an injected code",
			Fix: "take every parameter from the pushed request; refuse a verifier where no challenge was pushed"},
			Clients: PKCEOptionalOnly, Authorize: noChallenge, Beside: all(setTo("code_challenge", func(f harness.Facts) string { return f.PKCE.Challenge }), set("code_challenge_method", "S256")),
			Redeem: []harness.Change{setTo("code_verifier", wrongVerifier)}, Tolerated: nothing, Observed: Observation{"a token request without verifier", drop("code_verifier")}},

		{Check: Check{ID: "code-replay", Title: "redeems a code once", Clause: rfc6749("4.1.2"), Level: harness.Must, Severity: harness.High,
			Threat: harness.TokenReplay, Refusal: invalidGrant(), Covers: "CODE-AS-01.1", Harm: RevokesGrants, Why: "a code from a log or a referrer still works after the client used it", Fix: "mark the code as used in one atomic step with issuing the token"},
			Needs2: Replay, Redeem: []harness.Change{nothing}},
		{Check: Check{ID: "code-of-other-client", Title: "refuses a code that was issued to another client", Clause: rfc6749("4.1.3"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.ClientImpersonation, Refusal: anyOfTheTwo,
			Covers: "CODE-AS-04.1 CODE-AS-04.2", Needs: "second-client", Why: "any client of the server can use codes that were meant for another one", Fix: "compare the authenticated client (or client_id) with the one of the code"},
			Needs2: OtherClient, Redeem: []harness.Change{nothing}},
		{Check: Check{ID: "redirect-uri-omitted", Title: "requires the redirect_uri of the authorization request at the token endpoint", Clause: rfc6749("4.1.3"), Level: harness.Should, Severity: harness.Low,
			Threat: harness.CodeInjection, Refusal: grantOrRequest(), Covers: "CODE-AS-05.1", Why: "one of the two defences against injected codes is missing; PKCE is the other", Fix: "require the parameter when it was in the authorization request"},
			Redeem: []harness.Change{drop("redirect_uri")}},
		{Check: Check{ID: "redirect-uri-of-other-place", Title: "refuses another registered redirect_uri at the token endpoint", Clause: rfc6749("4.1.3"), Level: harness.Must, Severity: harness.High,
			Threat: harness.CodeInjection, Refusal: grantOrRequest(), Covers: "CODE-AS-05.2 CODE-AS-05.6", Needs: "second-redirect-uri", Why: "a code that leaked at one redirect URI can be injected at another", Fix: "compare with the value that is stored with the code"},
			Redeem: []harness.Change{func(m *harness.Message, _ harness.Facts) {
				if uris := m.Who.Client.RedirectURIs; len(uris) > 1 {
					m.Params.Set("redirect_uri", uris[1])
				}
			}}, Also: []Variant{Pushed}},
		{Check: Check{ID: "redirect-uri-unregistered-at-token", Title: "refuses an unregistered redirect_uri at the token endpoint", Clause: rfc6749("4.1.3"), Level: harness.Must, Severity: harness.High,
			Threat: harness.CodeInjection, Refusal: grantOrRequest(), Covers: "CODE-AS-05.3", Why: "a code that was caught at an attacker's address can be redeemed", Fix: "compare with the value that is stored with the code"},
			Redeem: []harness.Change{set("redirect_uri", "https://attacker.example/cb")}},
		{Check: Check{ID: "client-credential-missing", Title: "refuses a confidential client without its credential", Clause: rfc6749("4.1.3"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.ClientImpersonation, Refusal: invalidClient("invalid_request"), Covers: "CODE-AS-07.1", Why: "anyone can redeem codes in the name of the client", Fix: "authenticate the client by the method that it registered before looking at the grant", Harm: WrongLogins},
			Clients: ConfidentialOnly, Redeem: []harness.Change{WithoutCredential}},
		{Check: Check{ID: "client-secret-wrong", Title: "refuses a wrong client secret", Clause: rfc6749("4.1.3"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.ClientImpersonation, Refusal: invalidClient("invalid_request"), Covers: "CODE-AS-07.2", Needs: "client-secret", Why: "anyone can redeem codes in the name of the client", Fix: "compare the whole secret", Harm: WrongLogins},
			Clients: SecretOnly, Redeem: []harness.Change{secretAs(otherLast)}},
		{Check: Check{ID: "client-secret-cut", Title: "refuses the beginning of the client secret", Clause: rfc6749("4.1.3"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.ClientImpersonation, Refusal: invalidClient("invalid_request"), Covers: "CODE-AS-07.4", Needs: "client-secret", Why: "the secret can be guessed character by character", Fix: "compare the whole secret, in constant time", Harm: WrongLogins},
			Clients: SecretOnly, Redeem: []harness.Change{secretAs(func(s string) string { return s[:max(1, len(s)-1)] })}},
		{Check: Check{ID: "client-secret-case", Title: "compares the client secret with its case", Clause: rfc6749("4.1.3"), Level: harness.Should, Severity: harness.Low,
			Threat: harness.ClientImpersonation, Refusal: invalidClient("invalid_request"), Covers: "CODE-AS-07.8", Needs: "client-secret letters-in-secret", Why: "the secret has less entropy than its length says", Fix: "compare bytes: some databases fold case", Harm: WrongLogins},
			Clients: SecretOnly, Redeem: []harness.Change{secretAs(OtherCase)}},
		{Check: Check{ID: "code-of-named-client", Title: "takes the client that authenticates for the one that asks, not the one that is named in the body", Clause: rfc6749("4.1.3"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.ClientImpersonation, Refusal: anyOfTheTwo, Covers: "CODE-AS-04.3", Needs: "confidential-client second-client", Why: impersonates, Fix: "refuse a client_id that is not that of the client which authenticated"},
			Clients: ConfidentialOnly, Needs2: OtherClient, Other: authenticatesBeside, Redeem: []harness.Change{setTo("client_id", func(f harness.Facts) string { return f.Client.ClientID })}},
		{Check: Check{ID: "code-nameless-client", Title: "refuses a public client that does not say who it is", Clause: rfc6749("4.1.3"), Level: harness.Hardening, Severity: harness.Low,
			Threat: harness.ClientImpersonation, Refusal: anyOfTheTwo, Covers: "CODE-AS-04.4", Why: "that a code belongs to the client which sends it is not looked at where the client does not say who it is", Fix: "require client_id of clients that do not authenticate"},
			Clients: PublicOnly, Redeem: []harness.Change{drop("client_id")}},
		{Check: Check{ID: "redirect-uri-slash-at-token", Title: "refuses the redirect_uri with a trailing slash at the token endpoint", Clause: rfc6749("4.1.3"), Level: harness.Hardening, Severity: harness.Low,
			Threat: harness.CodeInjection, Refusal: grantOrRequest(), Covers: "CODE-AS-05.4", Why: "what is compared is not what was sent", Fix: "compare with the value that is stored with the code, character by character"},
			Clients: PublicOnly, Redeem: []harness.Change{editRedirect(func(s string) string { return s + "/" })}},
		{Check: Check{ID: "redirect-uri-case-at-token", Title: "refuses the redirect_uri in another letter case at the token endpoint", Clause: rfc6749("4.1.3"), Level: harness.Hardening, Severity: harness.Low,
			Threat: harness.CodeInjection, Refusal: grantOrRequest(), Covers: "CODE-AS-05.5", Needs: "letters-in-path", Why: "what is compared is not what was sent", Fix: "compare with the value that is stored with the code, character by character"},
			Clients: PublicOnly, Redeem: []harness.Change{editRedirect(OtherPathCase)}},
		{Check: Check{ID: "client-secret-wrong-in-body", Title: "refuses a wrong client secret in the body", Clause: rfc6749("2.3.1"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.ClientImpersonation, Refusal: invalidClient("invalid_request"), Covers: "CODE-AS-07.3", Needs: "client-secret", Why: "anyone can redeem codes in the name of the client", Fix: "compare the secret wherever it comes from", Harm: WrongLogins},
			Clients: SecretOnly, Redeem: []harness.Change{secretInBody(func(f harness.Facts, own string) string { return otherLast(own) })}},
		{Check: Check{ID: "client-secret-in-query", Title: "takes no client secret from the URL", Clause: rfc6749("2.3.1"), Level: harness.Should, Severity: harness.Medium,
			Threat: harness.Leakage, Refusal: invalidClient("invalid_request"), Covers: "CODE-AS-07.5", Needs: "client-secret", Why: "the client's secret ends in logs and histories of everything between client and server", Fix: "read credentials from the Authorization header or the body only"},
			Clients: SecretOnly, Redeem: []harness.Change{secretInQuery}},
		{Check: Check{ID: "client-credentials-of-two", Title: "refuses two client credentials of which one is wrong", Clause: rfc6749("2.3"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.ClientImpersonation, Refusal: anyOfTheTwo, Covers: "CODE-AS-07.6", Needs: "client-secret second-client", Why: impersonates, Fix: "refuse a request with more than one method of client authentication", Harm: WrongLogins},
			Clients: SecretOnly, Needs2: OtherClient, Other: (*harness.Client).SendsSecret, Redeem: []harness.Change{besideOwnCredential}},
		{Check: Check{ID: "client-secret-of-other-client", Title: "refuses the secret of another client", Clause: rfc6749("4.1.3"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.ClientImpersonation, Refusal: anyOfTheTwo, Covers: "CODE-AS-07.7", Needs: "client-secret second-client", Why: impersonates, Fix: "compare with the secret of the client that is named", Harm: WrongLogins},
			Clients: SecretOnly, Needs2: OtherCredential, Other: (*harness.Client).SendsSecret, Redeem: []harness.Change{
				func(m *harness.Message, f harness.Facts) {
					secretAs(func(string) string { return f.Client.ClientSecret })(m, f)
				},
				secretInBody(func(f harness.Facts, _ string) string { return f.Client.ClientSecret }),
			}},
	}
}

// authenticatesBeside is a client whose credential is no parameter beside client_id.
func authenticatesBeside(c *harness.Client) bool {
	return c.TokenEndpointAuthMethod == "client_secret_basic" || strings.HasSuffix(c.TokenEndpointAuthMethod, "_jwt")
}

func editRedirect(edit func(string) string) harness.Change {
	return func(m *harness.Message, _ harness.Facts) {
		m.Params.Set("redirect_uri", edit(m.Params.Get("redirect_uri")))
	}
}

// secretInBody sends a client secret as client_secret_post does, and nothing else of a credential.
func secretInBody(secret func(f harness.Facts, own string) string) harness.Change {
	return func(m *harness.Message, f harness.Facts) {
		value := secret(f, m.Who.Client.ClientSecret)
		f.Tester.Redactor.Register("wrong_client_secret", value)
		cert := m.Who.Cert
		WithoutCredential(m, f)
		m.Who.Cert = cert
		m.Params.Set("client_secret", value)
	}
}

func secretInQuery(m *harness.Message, f harness.Facts) {
	cert := m.Who.Cert
	WithoutCredential(m, f)
	m.Who.Cert = cert
	m.URL += "?" + (harness.Params{{Name: "client_id", Value: m.Who.Client.ClientID}, {Name: "client_secret", Value: m.Who.Client.ClientSecret}}).Encode()
	m.Params.Drop("client_id")
}

// besideOwnCredential puts the name of the code's client, with a secret that is wrong, next to the sender's own credential.
func besideOwnCredential(m *harness.Message, f harness.Facts) {
	wrong := harness.Random(24)
	f.Tester.Redactor.Register("wrong_client_secret", wrong)
	if m.Params.Get("client_secret") != "" {
		m.Header = append(m.Header, harness.Field{Name: "Authorization", Value: f.Tester.BasicCredentials(f.Client.ClientID, wrong)})
		return
	}
	m.Params.Set("client_id", f.Client.ClientID)
	m.Params.Set("client_secret", wrong)
}

// nothing redeems honestly: the defect is elsewhere in the row.
func nothing(*harness.Message, harness.Facts) {}

// longVerifier has n characters and uses every unreserved kind.
func longVerifier(n int) string {
	s := strings.Repeat(harness.Random(96), 2)
	return (s[:n-4] + "-._~")[:n]
}

// withMappableChallenge is a verifier whose challenge differs between the alphabets of base64 and base64url.
func withMappableChallenge(harness.Facts) string {
	for {
		if v := longVerifier(64); strings.ContainsAny(harness.AccessTokenHash(v), "-_") {
			return v
		}
	}
}

// oneOtherCase changes the case of one letter.
func oneOtherCase(s string) string {
	i := strings.IndexFunc(s, func(r rune) bool { return otherCase(string(r)) != string(r) })
	return s[:i] + otherCase(s[i:i+1]) + s[i+1:]
}

// inHex spells a challenge as the hexadecimal hash.
func inHex(challenge string) string {
	sum, _ := base64.RawURLEncoding.DecodeString(challenge) // popcheck's own
	return hex.EncodeToString(sum)
}

// WithoutCredential leaves the client_id and nothing else.
func WithoutCredential(m *harness.Message, _ harness.Facts) {
	m.Params.Drop("client_secret")
	m.Params.Drop("client_assertion")
	m.Params.Drop("client_assertion_type")
	m.Params.Set("client_id", m.Who.Client.ClientID)
	m.Header = withoutHeader(m.Header, "Authorization")
	m.Who.Cert = nil
}

// secretAs edits the client secret, by the method that the client registered.
func secretAs(edit func(string) string) harness.Change {
	return func(m *harness.Message, f harness.Facts) {
		wrong := edit(m.Who.Client.ClientSecret)
		f.Tester.Redactor.Register("wrong_client_secret", wrong)
		if m.Params.Get("client_secret") != "" {
			m.Params.Set("client_secret", wrong)
			return
		}
		for i := range m.Header {
			if m.Header[i].Name == "Authorization" {
				m.Header[i].Value = f.Tester.BasicCredentials(m.Who.Client.ClientID, wrong)
			}
		}
	}
}

func withoutHeader(in []harness.Field, name string) []harness.Field {
	var out []harness.Field
	for _, f := range in {
		if !strings.EqualFold(f.Name, name) {
			out = append(out, f)
		}
	}
	return out
}
