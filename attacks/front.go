package attacks

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/popcheck/popcheck/harness"
)

// RedirectAttack is an authorization request that must end on a page: the browser is never sent to the mutated address.
type RedirectAttack struct {
	Check
	Client  func(string) string                              // edits client_id; "" leaves it out
	URI     func(registered string) string                   // edits a registered redirect_uri; "" where it cannot be made of that one
	Of      Registration                                     // whose redirect_uri is edited
	Send    func(m *harness.Message, registered, uri string) // puts the address into the request, where that is not simply done
	Change  harness.Change                                   // what else is wrong with the request; nil for nothing
	Session harness.Session                                  // the browser in which it is tried
	Pushed  Pushing
	Mode    Mode
}

// Registration says whose registered redirect_uri a row starts from.
type Registration int

// Most rows edit an address of the client itself.
const (
	OwnAddress Registration = iota
	OtherClientsAddress
)

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
	// Once is enough: how a pushed address is compared is seen by the rows before.
	frontOnly := func(a RedirectAttack, level harness.Level, severity harness.Severity, why string) RedirectAttack {
		a.Pushed, a.Level, a.Severity = FrontOnly, level, severity
		if why != "" {
			a.Why = why
		}
		return a
	}
	const same = "no attacker gains by it alone, but what is compared is not what was sent, and the next difference may be one that leads elsewhere"
	const loopback = "another program on the user's machine, or another page of that address, gets the code"
	native := func(a RedirectAttack, level harness.Level, severity harness.Severity, why string) RedirectAttack {
		a.Clause = harness.Clause{Spec: "RFC 8252", Section: "7.3"}
		return frontOnly(a, level, severity, why)
	}
	twice := func(id, title, covers string, send func(m *harness.Message, registered, uri string)) RedirectAttack {
		a := frontOnly(row(id, "", covers, func(string) string { return attackerURI }), harness.Must, harness.Critical, "the address that is compared is not the one that the code is sent to")
		a.Title, a.Send, a.Fix = title, send, "answer a repeated parameter with an error, as RFC 6749 §3.1 asks for"
		a.Refusal.Status, a.Refusal.Where = append([]int{302, 303}, a.Refusal.Status...), append([]harness.Where{harness.InRedirect}, a.Refusal.Where...)
		return a
	}
	open := func(id, title, covers string) RedirectAttack {
		return RedirectAttack{Check: Check{ID: id, Title: title, Clause: rfc6749("4.1.2.1"), Level: harness.Must, Severity: harness.High,
			Threat: harness.Leakage, Refusal: page, Covers: covers, Why: "the server is an open redirector: a link to it leads anywhere", Fix: "check client_id and redirect_uri before anything else; show an error page"},
			URI: func(string) string { return attackerURI }}
	}
	silent := open("open-redirect-prompt-none", "does not redirect a silent request to an unregistered redirect_uri", "CODE-AS-09.5")
	silent.Change, silent.Session = set("prompt", "none"), harness.NewSession
	unknownType := open("open-redirect-bad-response-type", "does not redirect an unknown response_type to an unregistered redirect_uri", "CODE-AS-09.4")
	unknownType.Change = set("response_type", "popcheck-unknown")
	nameless := open("open-redirect-no-client", "does not redirect for a request without client_id", "CODE-AS-09.2")
	nameless.Client = func(string) string { return "" }
	foreign := open("redirect-uri-of-other-client", "refuses the redirect_uri of another client", "CODE-AS-09.6")
	foreign.Severity, foreign.Threat, foreign.Needs = harness.Critical, harness.CodeInterception, "second-client"
	foreign.Why, foreign.Fix = "every client of the server gets the codes of every other", "compare redirect_uri with what this client registered; one that both registered belongs under both in the target file"
	foreign.Of, foreign.URI = OtherClientsAddress, func(s string) string { return s }
	return []RedirectAttack{
		row("redirect-uri-other-host", "another host", "CODE-AS-08.1 CODE-AS-08.19", func(string) string { return attackerURI }),
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
			URI: func(string) string { return attackerURI }, Change: set("scope", "popcheck-no-such-scope")},

		frontOnly(row("redirect-uri-userinfo", "the registered host as user of another", "CODE-AS-08.7", webURI(func(host, rest string) string { return "https://" + host + "@attacker.example" + rest })), harness.Must, harness.Critical, ""),
		frontOnly(row("redirect-uri-backslash", "a backslash in its host", "CODE-AS-08.8", webURI(func(host, rest string) string { return `https://attacker.example\@` + host + rest })), harness.Must, harness.Critical,
			"browsers take the backslash for a slash, so that the code goes to the host before it"),
		frontOnly(row("redirect-uri-encoded-slash", "an encoded slash in its host", "CODE-AS-08.8", webURI(func(host, rest string) string { return "https://" + host + "%2F@attacker.example" + rest })), harness.Must, harness.Critical,
			"what is compared was decoded first; the browser goes to the host behind it"),
		frontOnly(row("redirect-uri-other-port", "another port", "CODE-AS-08.11", webURI(func(host, rest string) string { return "https://" + host + ":8443" + rest })), harness.Must, harness.High,
			"another service of the host, which need not be the client's, gets the code"),
		frontOnly(row("redirect-uri-fragment", "a fragment", "CODE-AS-08.6", func(s string) string { return s + "#popcheck" }), harness.Should, harness.Low, same),
		frontOnly(row("redirect-uri-path-case", "its path in another letter case", "CODE-AS-08.13", OtherPathCase), harness.Should, harness.Medium, "where the case of a path matters, the code is sent to another page"),
		frontOnly(row("redirect-uri-default-port", "the default port spelt out", "CODE-AS-08.10", webURI(func(host, rest string) string { return "https://" + host + ":443" + rest })), harness.Hardening, harness.Low, same),
		frontOnly(row("redirect-uri-host-case", "its host in another letter case", "CODE-AS-08.12", webURI(func(host, rest string) string { return "https://" + strings.ToUpper(host) + rest })), harness.Hardening, harness.Low, same),
		frontOnly(row("redirect-uri-encoded", "a letter of its path percent-encoded", "CODE-AS-08.15", encodedPath), harness.Hardening, harness.Low, same),
		twice("redirect-uri-twice", "does not redirect to a second redirect_uri", "CODE-AS-08.16", func(m *harness.Message, registered, uri string) {
			m.Params.Set("redirect_uri", registered)
			m.Params.Add("redirect_uri", uri)
		}),
		twice("redirect-uri-twice-first", "does not redirect to an unregistered redirect_uri before the registered one", "CODE-AS-08.17", func(m *harness.Message, registered, uri string) {
			m.Params.Set("redirect_uri", registered)
			m.Params = inFront(m.Params, "redirect_uri", uri)
		}),
		native(row("redirect-uri-loopback-path", "another path on loopback", "CODE-AS-10.4", loopbackURI(func(port, path string) string { return "http://127.0.0.1" + port + "/popcheck" + path })), harness.Should, harness.Medium, loopback),
		native(row("redirect-uri-loopback-label", "127.0.0.1 as a label of another host", "CODE-AS-10.5", loopbackURI(func(port, path string) string { return "http://127.0.0.1.attacker.example" + port + path })), harness.Must, harness.Critical, ""),
		native(row("redirect-uri-loopback-https", "https instead of http on loopback", "CODE-AS-10.6", loopbackURI(func(port, path string) string { return "https://127.0.0.1" + port + path })), harness.Hardening, harness.Low, same),
		nameless, unknownType, silent, foreign,
	}
}

// webURI edits an https address with a name for a host and no port: its host and the rest behind it.
func webURI(edit func(host, rest string) string) func(string) string {
	return func(registered string) string {
		u, err := url.Parse(registered)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.Port() != "" || u.User != nil || u.Hostname() == "localhost" || net.ParseIP(u.Hostname()) != nil {
			return ""
		}
		return edit(u.Host, strings.TrimPrefix(registered, "https://"+u.Host))
	}
}

// loopbackURI edits an address of a native app on loopback: ":port" or "", and the path with its query.
func loopbackURI(edit func(port, path string) string) func(string) string {
	return func(registered string) string {
		u, err := url.Parse(registered)
		if err != nil || u.Scheme != "http" || u.Hostname() != "127.0.0.1" {
			return ""
		}
		port := strings.TrimPrefix(u.Host, "127.0.0.1")
		return edit(port, strings.TrimPrefix(registered, "http://"+u.Host))
	}
}

// pathOf are the bounds of the path in an address.
func pathOf(address string) (begin, end int) {
	if i := strings.Index(address, "://"); i >= 0 {
		begin = i + len("://")
	} else {
		begin = strings.Index(address, ":") + 1
	}
	end = len(address)
	if i := strings.IndexAny(address[begin:], "?#"); i >= 0 {
		end = begin + i
	}
	if i := strings.Index(address[begin:end], "/"); i >= 0 {
		return begin + i, end
	}
	return end, end
}

// OtherPathCase spells the letters of the path in the other case.
func OtherPathCase(address string) string {
	begin, end := pathOf(address)
	return address[:begin] + otherCase(address[begin:end]) + address[end:]
}

// encodedPath spells the last letter of the path as %XX, which says the same (RFC 3986 §6.2.2.2).
func encodedPath(address string) string {
	begin, end := pathOf(address)
	for i := end - 1; i > begin; i-- {
		if c := address[i]; c >= 'a' && c <= 'z' {
			return address[:i] + fmt.Sprintf("%%%02X", c) + address[i+1:]
		}
	}
	return ""
}

// NativeRedirects are the addresses with another port that a native app may use on loopback (RFC 8252 §7.3): the server must not refuse them.
func NativeRedirects() []RedirectAttack {
	row := func(id, host, covers string, level harness.Level) RedirectAttack {
		return RedirectAttack{Check: Check{ID: id, Title: "accepts another port on " + host, Clause: harness.Clause{Spec: "RFC 8252", Section: "7.3"}, Level: level, Severity: harness.Info,
			Threat: harness.Interoperability, Covers: covers, Why: "native apps listen on a port that is free at the moment, and cannot log in", Fix: "leave the port out of the comparison for http on a loopback address"},
			URI: func(registered string) string {
				u, err := url.Parse(registered)
				if err != nil || u.Scheme != "http" || u.Hostname() != strings.Trim(host, "[]") {
					return ""
				}
				rest := strings.TrimPrefix(registered, "http://"+u.Host)
				return "http://" + host + ":51004" + rest
			}, Mode: Accept}
	}
	return []RedirectAttack{
		row("redirect-uri-loopback-port", "127.0.0.1", "CODE-AS-10.1 CODE-AS-10.3", harness.Hardening),
		row("redirect-uri-loopback-port-ipv6", "[::1]", "CODE-AS-10.2", harness.Hardening),
	}
}

// LocalhostURI is a registered http address of localhost with another port, "" for any other address. Both answers to it are right:
// RFC 9700 §4.1.3 asks for it, RFC 8252 §8.3 advises against localhost.
func LocalhostURI(registered string) string {
	u, err := url.Parse(registered)
	if err != nil || u.Scheme != "http" || u.Hostname() != "localhost" {
		return ""
	}
	return "http://localhost:51004" + strings.TrimPrefix(registered, "http://"+u.Host)
}

// AuthorizationRequests are defects of the authorization request that are an error (RFC 6749 §3.1, §3.1.1). None wins anything by itself:
// a token at the end shows that the server does not read strictly.
func AuthorizationRequests() []CodeAttack {
	form := harness.Refusal{Status: []int{302, 303, 400}, Errors: []string{"invalid_request", "unsupported_response_type"}, Where: []harness.Where{harness.InRedirect}}
	// Where the client or its address is in doubt, the error is shown to the user.
	page := harness.Refusal{Status: []int{302, 303, 400, 401, 403, 404}, Where: []harness.Where{harness.InRedirect, harness.OnPage, harness.InBody}}
	row := func(id, title, covers string, refusal harness.Refusal, why, fix string, change harness.Change) CodeAttack {
		return CodeAttack{Check: Check{ID: id, Title: title, Clause: rfc6749("3.1"), Level: harness.Hardening, Severity: harness.Low, Threat: harness.CodeInjection,
			Refusal: refusal, Covers: covers, Why: why, Fix: fix}, Clients: PublicOnly, Authorize: change, Redeem: []harness.Change{nothing}}
	}
	const guesses = "the server guesses what a client meant, and may guess wrong where it matters"
	const differs = "a gateway, a log and the server may take different values for the one that counts"
	twice := func(id, name, covers string, refusal harness.Refusal, value string) CodeAttack {
		return row(id, "refuses an authorization request with "+name+" twice", covers, refusal, differs, "answer a repeated parameter with invalid_request",
			func(m *harness.Message, _ harness.Facts) { m.Params.Add(name, value) })
	}
	several := row("redirect-uri-missing", "refuses an authorization request without redirect_uri where several are registered", "CODE-AS-08.18", page, guesses, "require the parameter where more than one address is registered", drop("redirect_uri"))
	several.Clause, several.Needs = rfc6749("3.1.2.3"), "second-redirect-uri"
	return []CodeAttack{
		several,
		row("response-type-missing", "refuses an authorization request without response_type", "CODE-AS-19.1", form, guesses, "require the parameter", drop("response_type")),
		row("response-type-unknown", "refuses an unknown response_type", "CODE-AS-19.2", form, guesses, "answer with unsupported_response_type", set("response_type", "bogus")),
		twice("authorize-client-id-twice", "client_id", "CODE-AS-19.3", page, "popcheck-no-such-client"),
		twice("authorize-scope-twice", "scope", "CODE-AS-19.4", form, "popcheck-no-such-scope"),
		twice("authorize-state-twice", "state", "CODE-AS-19.5", form, "popcheck-other-state"),
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
	if rest, ok := strings.CutPrefix(uri, "https://"); ok {
		return "http://" + rest
	}
	return ""
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
	return FrontChecks{
		CodeReplayAccessToken: Check{ID: "code-replay-revokes-access-token", Title: "revokes the access token when its code is used again", Clause: rfc6749("4.1.2"), Level: harness.Should, Severity: harness.Medium,
			Threat: harness.TokenReplay, Refusal: invalidToken(), Covers: "CODE-AS-02.1", Harm: RevokesGrants, Why: "when a code was stolen, whoever came first keeps working tokens", Fix: "revoke what was issued from a code when it comes again"},
		CodeReplayRefreshToken: Check{ID: "code-replay-revokes-refresh-token", Title: "revokes the refresh token when its code is used again", Clause: rfc6749("4.1.2"), Level: harness.Should, Severity: harness.Medium,
			Threat: harness.TokenReplay, Refusal: invalidGrant(), Covers: "CODE-AS-02.2", Needs: "refresh", Harm: RevokesGrants, Why: "when a code was stolen, whoever came first keeps the grant", Fix: "revoke what was issued from a code when it comes again"},
		StateExact: Check{ID: "state-exact", Title: "returns state exactly as it was sent", Clause: rfc6749("4.1.2"), Level: harness.Must, Severity: harness.Medium,
			Threat: harness.CodeInjection, Covers: "CODE-AS-11.1 CODE-AS-11.2", Why: "a client cannot tell its own response from an injected one", Fix: "encode state when it is put into the redirect"},
		StateInError: Check{ID: "state-in-error", Title: "returns state with an error", Clause: rfc6749("4.1.2.1"), Level: harness.Must, Severity: harness.Medium,
			Threat: harness.CodeInjection, Covers: "CODE-AS-11.4", Why: "a client cannot tell its own response from an injected one", Fix: "add state to error responses"},
		IssPresent: Check{ID: "iss-present", Title: "names itself in the authorization response", Clause: rfc9207("2"), Level: harness.Must, Severity: harness.Medium,
			Threat: harness.CodeInjection, Covers: "CODE-AS-12.1 CODE-AS-12.3", Needs: "iss", Why: "a client of several servers can be made to send a code to the wrong one", Fix: "add iss, identical to the issuer of the metadata"},
		IssInError: Check{ID: "iss-in-error", Title: "names itself in an error response", Clause: rfc9207("2"), Level: harness.Should, Severity: harness.Low,
			Threat: harness.CodeInjection, Covers: "CODE-AS-12.2", Needs: "iss", Why: "a client of several servers cannot tell whose error it got", Fix: "add iss to error responses as well"},
		RedirectAfterLogin: Check{ID: "redirect-after-login", Title: "does not make the browser send the password on (after the login form)", Clause: rfc9700("4.12"), Level: harness.Must, Severity: harness.High,
			Threat: harness.Leakage, Covers: "CODE-AS-13.1", Why: "with 307 or 308 the browser posts the user's password to the next address, which may be the client's", Fix: "redirect with 303 after a form"},
		RedirectAfterConsent: Check{ID: "redirect-after-consent", Title: "does not make the browser send a form on (after the consent form)", Clause: rfc9700("4.12"), Level: harness.Must, Severity: harness.High,
			Threat: harness.Leakage, Covers: "CODE-AS-13.2", Why: "with 307 or 308 the browser posts the form to the client", Fix: "redirect with 303 after a form"},
		ImplicitToken: Check{ID: "implicit-token", Title: "issues no access token in the redirect (response_type=token)", Clause: rfc9700("2.1.2"), Level: harness.Should, Severity: harness.Medium,
			Threat: harness.Leakage, Refusal: noTokenInFront(), Covers: "CODE-AS-14.1", Why: "tokens leak through the browser's history, referrers and injected scripts", Fix: "do not offer the implicit grant"},
		HybridToken: Check{ID: "hybrid-code-token", Title: "issues no access token in the redirect (response_type=code token)", Clause: rfc9700("2.1.2"), Level: harness.Should, Severity: harness.Medium,
			Threat: harness.Leakage, Refusal: noTokenInFront(), Covers: "CODE-AS-14.2", Why: "tokens leak through the browser's history, referrers and injected scripts", Fix: "do not offer hybrid response types with token"},
		PasswordGrant: Check{ID: "password-grant", Title: "does not offer the password grant", Clause: rfc9700("2.4"), Level: harness.Must, Severity: harness.Medium,
			Threat:  harness.Leakage,
			Refusal: harness.Refusal{Status: []int{400, 401}, Errors: []string{"unsupported_grant_type", "unauthorized_client", "invalid_client"}, Where: []harness.Where{harness.InBody}},
			Covers:  "CODE-AS-15.1", Needs: "second-user", Why: "users get used to giving their password to clients", Fix: "switch the grant off"},
		AuthorizeCORS: Check{ID: "authorize-cors", Title: "keeps the authorization endpoint out of CORS", Clause: rfc9700("2.6"), Level: harness.Must, Severity: harness.Medium,
			Threat: harness.Leakage, Covers: "CODE-AS-16.1", Why: "a script of another origin can read authorization responses", Fix: "send no Access-Control-Allow-Origin there"},
		ReferrerPolicy: Check{ID: "referrer-policy", Title: "keeps request parameters out of the Referer of its pages", Clause: rfc9700("4.2.4"), Level: harness.Hardening, Severity: harness.Low,
			Threat: harness.Leakage, Covers: "CODE-AS-18.1 CODE-AS-18.2", Why: "a resource of a third party on the page learns the authorization request", Fix: "send Referrer-Policy: no-referrer with every page"},
	}
}
