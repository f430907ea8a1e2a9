package attacks

import "github.com/popcheck/popcheck/harness"

// RedirectAttack is an authorization request that must end on a page: the browser is never sent to the mutated address.
type RedirectAttack struct {
	Check
	Client func(string) string // edits client_id
	URI    func(string) string // edits the registered redirect_uri
	Scope  string
	Pushed Pushing
}

// Pushing says whether a row of the front channel is tried in a pushed request as well.
type Pushing int

// What is wrong in a pushed request is said to the client that pushes it, so there is nobody to be redirected by mistake.
const (
	FrontOnly Pushing = iota
	AsWell
)

const attackerURI = "https://attacker.example/cb"

// Redirects are the attacks on redirect_uri at the authorization endpoint.
func Redirects() []RedirectAttack {
	page := harness.Refusal{Status: []int{400, 401, 403, 404}, Where: []harness.Where{harness.OnPage, harness.InBody}}
	row := func(id, what, covers string, edit func(string) string) RedirectAttack {
		return RedirectAttack{Check: Check{ID: id, Title: "refuses a redirect_uri with " + what, Clause: rfc9700("2.1"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.CodeInterception, Refusal: page, Covers: covers,
			Why: "the user's code is sent to an address that an attacker chose", Fix: "compare redirect_uri with the registered values as whole strings"}, URI: edit, Pushed: AsWell}
	}
	return []RedirectAttack{
		row("redirect-uri-other-host", "another host", "CODE-AS-08.1", func(string) string { return attackerURI }),
		row("redirect-uri-subdomain", "the registered host as a label of another", "CODE-AS-08.2", func(s string) string { return beforePath(s, ".attacker.example") }),
		row("redirect-uri-path-suffix", "a longer path", "CODE-AS-08.3", func(s string) string { return s + "/x" }),
		row("redirect-uri-traversal", "a path traversal", "CODE-AS-08.4", func(s string) string { return s + "/../other" }),
		row("redirect-uri-extra-query", "an extra query parameter", "CODE-AS-08.5", func(s string) string { return s + "?x=1" }),
		row("redirect-uri-http", "http instead of https", "CODE-AS-08.9", plainHTTP),
		row("redirect-uri-trailing-slash", "a trailing slash", "CODE-AS-08.14", func(s string) string { return s + "/" }),
		{Check: Check{ID: "open-redirect-unknown-client", Title: "does not redirect for an unknown client", Clause: rfc6749("4.1.2.1"), Level: harness.Must, Severity: harness.High,
			Threat: harness.Leakage, Refusal: page, Covers: "CODE-AS-09.1", Why: "the server is an open redirector: a link to it leads anywhere", Fix: "show an error page when client_id or redirect_uri is not valid"},
			Client: func(s string) string { return s + "-unknown" }, URI: func(string) string { return attackerURI }},
		{Check: Check{ID: "open-redirect-bad-scope", Title: "does not redirect an error to an unregistered redirect_uri", Clause: rfc6749("4.1.2.1"), Level: harness.Must, Severity: harness.High,
			Threat: harness.Leakage, Refusal: page, Covers: "CODE-AS-09.3", Why: "the server is an open redirector: a link to it leads anywhere", Fix: "check redirect_uri before anything else; show an error page"},
			URI: func(string) string { return attackerURI }, Scope: "popcheck-no-such-scope"},
	}
}

func beforePath(uri, insert string) string {
	for i := len("https://"); i < len(uri); i++ {
		if uri[i] == '/' {
			return uri[:i] + insert + uri[i:]
		}
	}
	return uri + insert
}

func plainHTTP(uri string) string {
	if len(uri) > 5 && uri[:5] == "https" {
		return "http" + uri[5:]
	}
	return uri // registered as it is: the check then says that it does not apply
}

// FrontChecks are the single checks of the front channel and of code reuse; each has a spec of its own.
type FrontChecks struct {
	CodeReplayAccessToken, CodeReplayRefreshToken Check
	StateExact, StateInError                      Check
	IssPresent, IssInError                        Check
	RedirectAfterLogin, RedirectAfterConsent      Check
	ImplicitToken, HybridToken                    Check
	PasswordGrant                                 Check
	AuthorizeCORS, ReferrerPolicy                 Check
}

func (f FrontChecks) all() []Check {
	return []Check{f.CodeReplayAccessToken, f.CodeReplayRefreshToken, f.StateExact, f.StateInError, f.IssPresent, f.IssInError,
		f.RedirectAfterLogin, f.RedirectAfterConsent, f.ImplicitToken, f.HybridToken, f.PasswordGrant, f.AuthorizeCORS, f.ReferrerPolicy}
}

// FrontChannel returns the single checks of the front channel.
func FrontChannel() FrontChecks {
	// A pushed request is refused in the body of the PAR endpoint (RFC 9126 §2.3).
	noToken := harness.Refusal{Status: []int{302, 303, 400}, Errors: []string{"unsupported_response_type", "unauthorized_client", "invalid_request"}, Where: []harness.Where{harness.InRedirect, harness.InBody}}
	return FrontChecks{
		CodeReplayAccessToken: Check{ID: "code-replay-revokes-access-token", Title: "revokes the access token when its code is used again", Clause: rfc6749("4.1.2"), Level: harness.Should, Severity: harness.Medium,
			Threat: harness.TokenReplay, Refusal: invalidToken(), Covers: "CODE-AS-02.1", Harm: RevokesGrants, Why: "when a code was stolen, whoever came first keeps working tokens", Fix: "revoke what was issued from a code when it comes again"},
		CodeReplayRefreshToken: Check{ID: "code-replay-revokes-refresh-token", Title: "revokes the refresh token when its code is used again", Clause: rfc6749("4.1.2"), Level: harness.Should, Severity: harness.Medium,
			Threat: harness.TokenReplay, Refusal: invalidGrant(), Covers: "CODE-AS-02.2", Needs: "refresh", Harm: RevokesGrants, Why: "when a code was stolen, whoever came first keeps the grant", Fix: "revoke what was issued from a code when it comes again"},
		StateExact: Check{ID: "state-exact", Title: "returns state exactly as it was sent", Clause: rfc6749("4.1.2"), Level: harness.Must, Severity: harness.Medium,
			Threat: harness.CodeInjection, Covers: "CODE-AS-11.1", Why: "a client cannot tell its own response from an injected one", Fix: "encode state when it is put into the redirect"},
		StateInError: Check{ID: "state-in-error", Title: "returns state with an error", Clause: rfc6749("4.1.2.1"), Level: harness.Must, Severity: harness.Medium,
			Threat: harness.CodeInjection, Covers: "CODE-AS-11.4", Why: "a client cannot tell its own response from an injected one", Fix: "add state to error responses"},
		IssPresent: Check{ID: "iss-present", Title: "names itself in the authorization response", Clause: rfc9207("2"), Level: harness.Must, Severity: harness.Medium,
			Threat: harness.CodeInjection, Covers: "CODE-AS-12.1", Needs: "iss", Why: "a client of several servers can be made to send a code to the wrong one", Fix: "add iss, identical to the issuer of the metadata"},
		IssInError: Check{ID: "iss-in-error", Title: "names itself in an error response", Clause: rfc9207("2"), Level: harness.Should, Severity: harness.Low,
			Threat: harness.CodeInjection, Covers: "CODE-AS-12.2", Needs: "iss", Why: "a client of several servers cannot tell whose error it got", Fix: "add iss to error responses as well"},
		RedirectAfterLogin: Check{ID: "redirect-after-login", Title: "does not make the browser send the password on (after the login form)", Clause: rfc9700("4.12"), Level: harness.Must, Severity: harness.High,
			Threat: harness.Leakage, Covers: "CODE-AS-13.1", Why: "with 307 or 308 the browser posts the user's password to the next address, which may be the client's", Fix: "redirect with 303 after a form"},
		RedirectAfterConsent: Check{ID: "redirect-after-consent", Title: "does not make the browser send a form on (after the consent form)", Clause: rfc9700("4.12"), Level: harness.Must, Severity: harness.High,
			Threat: harness.Leakage, Covers: "CODE-AS-13.2", Why: "with 307 or 308 the browser posts the form to the client", Fix: "redirect with 303 after a form"},
		ImplicitToken: Check{ID: "implicit-token", Title: "issues no access token in the redirect (response_type=token)", Clause: rfc9700("2.1.2"), Level: harness.Should, Severity: harness.Medium,
			Threat: harness.Leakage, Refusal: noToken, Covers: "CODE-AS-14.1", Why: "tokens leak through the browser's history, referrers and injected scripts", Fix: "do not offer the implicit grant"},
		HybridToken: Check{ID: "hybrid-code-token", Title: "issues no access token in the redirect (response_type=code token)", Clause: rfc9700("2.1.2"), Level: harness.Should, Severity: harness.Medium,
			Threat: harness.Leakage, Refusal: noToken, Covers: "CODE-AS-14.2", Why: "tokens leak through the browser's history, referrers and injected scripts", Fix: "do not offer hybrid response types with token"},
		PasswordGrant: Check{ID: "password-grant", Title: "does not offer the password grant", Clause: rfc9700("2.4"), Level: harness.Must, Severity: harness.Medium,
			Threat:  harness.Leakage,
			Refusal: harness.Refusal{Status: []int{400, 401}, Errors: []string{"unsupported_grant_type", "unauthorized_client", "invalid_client"}, Where: []harness.Where{harness.InBody}},
			Covers:  "CODE-AS-15.1", Needs: "second-user", Why: "users get used to giving their password to clients", Fix: "switch the grant off"},
		AuthorizeCORS: Check{ID: "authorize-cors", Title: "keeps the authorization endpoint out of CORS", Clause: rfc9700("2.6"), Level: harness.Must, Severity: harness.Medium,
			Threat: harness.Leakage, Covers: "CODE-AS-16.1", Why: "a script of another origin can read authorization responses", Fix: "send no Access-Control-Allow-Origin there"},
		ReferrerPolicy: Check{ID: "referrer-policy", Title: "keeps request parameters out of the Referer of its pages", Clause: rfc9700("4.2.4"), Level: harness.Hardening, Severity: harness.Low,
			Threat: harness.Leakage, Covers: "CODE-AS-18.2", Why: "a resource of a third party on the page learns the authorization request", Fix: "send Referrer-Policy: no-referrer with every page"},
	}
}
