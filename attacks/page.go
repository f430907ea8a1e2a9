package attacks

import "github.com/popcheck/popcheck/harness"

// PageChecks are about what a browser gets to see of the server: its pages, their header fields, and the responses that pass through.
type PageChecks struct {
	ConsentForged                                              Check
	PageFramed                                                 Check
	StateScript, StateLong                                     Check
	IssEchoed                                                  Check
	RedirectAfterDenial                                        Check
	CodeRedirectCached                                         Check
	CORSRegisteredOrigin, CORSPreflight                        Check
	ImplicitTokenInQuery, HybridIDToken, ImplicitTokenForBound Check
	PasswordTold                                               Check
	ReplayWrongVerifier, ReplayWrongCredential                 Check
	Guessable                                                  Check
}

// All are the checks.
func (p PageChecks) All() []Check {
	return []Check{p.ConsentForged, p.PageFramed, p.StateScript, p.StateLong, p.IssEchoed, p.RedirectAfterDenial, p.CodeRedirectCached, p.CORSRegisteredOrigin, p.CORSPreflight,
		p.ImplicitTokenInQuery, p.HybridIDToken, p.ImplicitTokenForBound, p.PasswordTold, p.ReplayWrongVerifier, p.ReplayWrongCredential, p.Guessable}
}

// Pages returns the checks of what a browser gets to see.
func Pages() PageChecks {
	implicit := func(id, title, covers string, level harness.Level, severity harness.Severity, why, fix string) Check {
		return Check{ID: id, Title: title, Clause: rfc9700("2.1.2"), Level: level, Severity: severity, Threat: harness.Leakage, Refusal: noTokenInFront(), Covers: covers, Why: why, Fix: fix}
	}
	replay := func(id, title, covers, needs string) Check {
		return Check{ID: id, Title: title, Clause: harness.Clause{Spec: "OAuth 2.1 draft-16", Section: "7.5.3"}, Level: harness.Hardening, Severity: harness.Low, Threat: harness.DenialOfService, Covers: covers, Needs: needs, Harm: RevokesGrants,
			Why: "whoever sees a code, and can do nothing else with it, logs its user out (RFC 6749 §4.1.2 asks for revocation without this distinction)", Fix: "revoke what was issued from a code only when the request that brings it again is right in every other point"}
	}
	return PageChecks{
		// Any answer without a code will do: what a server shows to a form that it does not trust is its own matter.
		ConsentForged: Check{ID: "consent-forged", Title: "refuses a consent that a page of another site sends", Clause: rfc6749("10.12"), Level: harness.Must, Severity: harness.High, Threat: harness.ClientImpersonation,
			Refusal: harness.Refusal{Status: []int{200, 302, 303, 400, 401, 403, 404, 405, 409, 410, 422}, Where: []harness.Where{harness.OnPage, harness.InRedirect, harness.InBody}},
			Covers:  "CODE-AS-20.1 CODE-AS-20.2 CODE-AS-20.3", Needs: "second-user", Why: "a page that the user visits lets a client of its choice in, without a question",
			Fix: "put a value into the form that only this browser's session knows, and compare it before anything else; take the decision by POST only"},
		PageFramed: Check{ID: "page-framed", Title: "keeps its pages out of the frames of other sites", Clause: rfc9700("4.16"), Level: harness.Should, Severity: harness.Medium, Threat: harness.ClientImpersonation,
			Covers: "CODE-AS-17.1", Why: "a page that shows it under something else makes the user press its buttons (a script on the page may prevent that; it cannot be seen from outside)",
			Fix: "send Content-Security-Policy: frame-ancestors 'none' with every page that has a form"},
		StateScript: Check{ID: "state-script", Title: "writes no script of a request into its pages", Clause: rfc6749("10.14"), Level: harness.Must, Severity: harness.High, Threat: harness.Leakage,
			Covers: "CODE-AS-11.5", Why: "a link runs an attacker's script on the page where users type their passwords", Fix: "escape every value where it is written into a page"},
		StateLong: Check{ID: "state-long", Title: "returns a state of 1,000 characters whole, or refuses it", Clause: rfc6749("4.1.2"), Level: harness.Should, Severity: harness.Low, Threat: harness.Interoperability,
			Covers: "CODE-AS-11.3", Why: "a client that keeps more than an identifier in state is told something else than it sent", Fix: "store state whole, or refuse one that is too long"},
		IssEchoed: Check{ID: "iss-echoed", Title: "names itself in the response, not whom the request names", Clause: rfc9207("2"), Level: harness.Must, Severity: harness.Medium, Threat: harness.CodeInjection,
			Covers: "CODE-AS-12.4", Needs: "iss", Why: "an attacker's link makes the client believe that another server answered", Fix: "take iss from the configuration, never from the request"},
		RedirectAfterDenial: Check{ID: "redirect-after-denial", Title: "does not make the browser send a form on (after the user said no)", Clause: rfc9700("4.12"), Level: harness.Must, Severity: harness.Medium, Threat: harness.Leakage,
			Covers: "CODE-AS-13.3", Why: "with 307 or 308 the browser posts the form to the client", Fix: "redirect with 303 after a form"},
		CodeRedirectCached: Check{ID: "code-redirect-cached", Title: "lets no cache keep the redirect with the code", Clause: rfc9700("4.2.4"), Level: harness.Hardening, Severity: harness.Info, Threat: harness.Leakage,
			Covers: "CODE-AS-18.3", Why: "a cache on the way keeps codes, and answers with one that is used", Fix: "send Cache-Control: no-store with the authorization response"},
		CORSRegisteredOrigin: Check{ID: "authorize-cors-registered-origin", Title: "keeps the authorization endpoint out of CORS, also for the origins of clients", Clause: rfc9700("2.6"), Level: harness.Hardening, Severity: harness.Low, Threat: harness.Leakage,
			Covers: "CODE-AS-16.2", Why: "a script at a client can read authorization responses that were meant for the browser", Fix: "send no Access-Control-Allow-Origin there"},
		CORSPreflight: Check{ID: "authorize-cors-preflight", Title: "answers no preflight for the authorization endpoint", Clause: rfc9700("2.6"), Level: harness.Hardening, Severity: harness.Low, Threat: harness.Leakage,
			Covers: "CODE-AS-16.3", Why: "scripts of other origins may send authorization requests with header fields of their own", Fix: "leave the endpoint out of what answers CORS"},
		ImplicitTokenInQuery: implicit("implicit-token-in-query", "issues no access token in the query of a redirect", "CODE-AS-14.4", harness.Should, harness.High,
			"the token goes to the client's server, its logs and every Referer", "do not offer the implicit grant, least of all with response_mode=query"),
		HybridIDToken: implicit("hybrid-id-token-token", "issues no access token in the redirect (response_type=id_token token)", "CODE-AS-14.3", harness.Should, harness.Medium,
			"tokens leak through the browser's history, referrers and injected scripts", "do not offer response types with token"),
		ImplicitTokenForBound: implicit("implicit-token-for-bound-client", "issues no unbound access token in the redirect to a client whose tokens are bound", "CODE-AS-14.5", harness.Must, harness.High,
			"whoever reads the redirect has a token that works without the client's key", "do not offer the implicit grant; a token cannot be bound there"),
		PasswordTold: Check{ID: "password-grant-told", Title: "does not tell by its refusal of the password grant whether a password is right", Clause: rfc6749("10.10"), Level: harness.Should, Severity: harness.Low, Threat: harness.Leakage,
			Covers: "CODE-AS-15.2", Needs: "second-user", Harm: WrongPassword, Why: "passwords can be guessed here, past what protects the login page", Fix: "refuse the grant before the password is looked at"},
		ReplayWrongVerifier:   replay("code-replay-wrong-verifier", "keeps a client's tokens when its code comes again with a wrong verifier", "CODE-AS-03.1", "public-client"),
		ReplayWrongCredential: replay("code-replay-wrong-credential", "keeps a client's tokens when its code comes again with a wrong credential", "CODE-AS-03.2", "confidential-client"),
		Guessable: Check{ID: "values-guessable", Title: "gives out values that cannot be guessed", Clause: rfc6749("10.10"), Level: harness.Must, Severity: harness.Medium, Threat: harness.CodeInterception,
			Covers: "CODE-AS-21.1", Why: "whoever sees some of them can guess those of others", Fix: "take at least 128 bits, better 160, from a cryptographic source"},
	}
}

// WrongCredential is a credential of the client that is not right.
func WrongCredential(m *harness.Message, f harness.Facts) {
	switch {
	case m.Params.Get("client_assertion") != "":
		edit("client_assertion", AlterEnd)(m, f) // its signature
	case m.Who.Client.SendsSecret():
		secretAs(otherLast)(m, f)
	default:
		WithoutCredential(m, f)
	}
}

// SmallestRoom is how many bits a value must have room for where it is not to be guessed in practice, and AskedRoom what RFC 6749
// §10.10 asks for.
const (
	SmallestRoom = 64
	AskedRoom    = 128
)
