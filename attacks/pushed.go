package attacks

import (
	"time"

	"github.com/popcheck/popcheck/harness"
)

// PushedAttack is one defect in a pushed authorization request, or in what comes to the authorization endpoint instead of one (RFC 9126).
// A code that is redeemed at the end is the attacker's win.
type PushedAttack struct {
	Check
	Push    harness.Change             // of the pushed request; Facts.Other holds a request_uri that was issued before
	Sent    harness.Change             // of the request to the PAR endpoint, as it is sent
	URI     func(issued string) string // of the request_uri at the authorization endpoint
	Beside  harness.Change             // of what comes to the authorization endpoint with the request_uri
	Direct  harness.Change             // of a request that is not pushed, by a client that has to
	Binding harness.Binding            // of the client's tokens; "" for any
	Instead string                     // what a server made of the request that answered it like an honest one: a warning
}

// PushedRequests are the attacks on pushed requests that end in a code or not.
func PushedRequests() []PushedAttack {
	inBody := harness.Refusal{Status: []int{400}, Errors: []string{"invalid_request", "invalid_request_object", "invalid_request_uri", "request_uri_not_supported"}, Where: []harness.Where{harness.InBody}}
	anywhere := harness.Refusal{Status: []int{302, 303, 400, 401, 403}, Where: []harness.Where{harness.OnPage, harness.InRedirect, harness.InBody}}
	inside := func(id, title, covers string, change harness.Change) PushedAttack {
		return PushedAttack{Check: Check{ID: id, Title: title, Clause: rfc9126("2.1"), Level: harness.Should, Severity: harness.Medium, Threat: harness.CodeInjection, Refusal: inBody, Covers: covers, Needs: "par",
			Why: "what the server checked when the request was pushed is not what it uses, or it fetches an address of the attacker's", Fix: "refuse a pushed request that contains request_uri"}, Push: change}
	}
	direct := func(id, title, covers string, change harness.Change) PushedAttack {
		return PushedAttack{Check: Check{ID: id, Title: title, Clause: rfc9126("4"), Level: harness.Must, Severity: harness.Medium, Threat: harness.Downgrade,
			Refusal: harness.Refusal{Status: []int{302, 303, 400}, Errors: nil, Where: []harness.Where{harness.InRedirect, harness.OnPage, harness.InBody}},
			Covers:  covers, Needs: "par-required code", Why: "whoever can edit the authorization URL goes around the pushed request, and with it around client authentication", Fix: "refuse what was not pushed, for every client and server of which that was said"}, Direct: change}
	}
	invalid := func(id, title, clause, covers, why, fix string, change harness.Change) PushedAttack {
		return PushedAttack{Check: Check{ID: id, Title: title, Clause: rfc6749(clause), Level: harness.Hardening, Severity: harness.Low, Threat: harness.Downgrade, Refusal: pushedOrLater(), Covers: covers, Needs: "par",
			Why: why, Fix: fix}, Push: change}
	}
	token := invalid("par-response-type-token", "issues no access token in the redirect (response_type=token, pushed)", "4.2", "PAR-AS-06.4", "tokens leak through the browser's history, referrers and injected scripts", "do not offer the implicit grant",
		set("response_type", "token"))
	token.Clause, token.Level, token.Severity, token.Threat, token.Instead = rfc9700("2.1.2"), harness.Should, harness.Medium, harness.Leakage, "response_type=token was answered as if it were code"
	// sent is a push in another way than by POST of a form.
	sent := func(id, title, covers, why, fix, instead string, change harness.Change) PushedAttack {
		return PushedAttack{Check: Check{ID: id, Title: title, Clause: rfc9126("2.1"), Level: harness.Hardening, Severity: harness.Low, Threat: harness.Leakage,
			Refusal: harness.Refusal{Status: []int{400, 401, 404, 405, 415}}, Covers: covers, Needs: "par", Why: why, Fix: fix}, Sent: change, Instead: instead}
	}
	return []PushedAttack{
		invalid("par-response-type-missing", "refuses a pushed request without response_type", "3.1.1", "PAR-AS-06.3", "what was pushed is checked less than what comes to the authorization endpoint", "validate a pushed request as one of the front channel", drop("response_type")),
		token,
		{Check: Check{ID: "par-dpop-jkt-malformed", Title: "refuses a pushed dpop_jkt that is no thumbprint", Clause: rfc9449("10", ""), Level: harness.Hardening, Severity: harness.Low, Threat: harness.CodeInterception, Refusal: pushedOrLater(),
			Covers: "PAR-AS-06.5", Needs: "par dpop dpop-jkt", Why: "the client thinks that its code is bound to a key, and it is not", Fix: "answer a dpop_jkt that is not 43 base64url characters with invalid_request"},
			Push: set("dpop_jkt", "popcheck-x"), Binding: harness.DPoPBound},
		sent("par-by-get", "takes no pushed request by GET", "PAR-AS-06.6", "requests and client secrets end in logs, histories and caches of everything between client and server", "accept POST only", "",
			func(m *harness.Message, _ harness.Facts) { m.Method = "GET" }),
		sent("par-as-json", "takes no pushed request as JSON", "PAR-AS-06.7", "what stands before the server checks forms", "accept application/x-www-form-urlencoded only", "a request as JSON was taken as if it were a form",
			func(m *harness.Message, _ harness.Facts) { m.Media = "application/json" }),
		{Check: Check{ID: "par-request-uri-without-client-id", Title: "refuses a request_uri without the client that pushed it", Clause: harness.Clause{Spec: "RFC 9101", Section: "5"}, Level: harness.Hardening, Severity: harness.Low, Threat: harness.ClientImpersonation, Refusal: anywhere,
			Covers: "PAR-AS-03.2", Needs: "par", Why: "who leaves client_id out goes around the comparison with the client that pushed", Fix: "require client_id, and compare it"}, Beside: drop("client_id")},
		{Check: Check{ID: "par-request-uri-unknown", Title: "refuses a request_uri that it did not issue", Clause: rfc9126("7.1"), Level: harness.Must, Severity: harness.Medium, Threat: harness.CodeInjection, Refusal: anywhere,
			Covers: "PAR-AS-08.2", Needs: "par", Why: "the requests of others can be used without knowing their references", Fix: "look the value up"},
			URI: func(string) string { return "urn:ietf:params:oauth:request_uri:" + harness.Random(32) }},
		inside("par-request-uri-inside", "refuses a pushed request that contains a request_uri", "PAR-AS-02.1", set("request_uri", "https://attacker.example/request")),
		inside("par-request-uri-inside-issued", "refuses a pushed request that contains a request_uri of its own", "PAR-AS-02.2", setTo("request_uri", func(f harness.Facts) string { return f.Other.RequestURI })),
		{Check: Check{ID: "par-request-uri-altered", Title: "refuses a request_uri in which one character was changed", Clause: rfc9126("7.1"), Level: harness.Must, Severity: harness.Medium, Threat: harness.CodeInjection, Refusal: anywhere,
			Covers: "PAR-AS-08.1", Needs: "par", Why: "references to the requests of others can be guessed", Fix: "look the whole value up"}, URI: AlterEnd},
		direct("par-required-direct", "refuses a direct authorization request where requests have to be pushed", "PAR-AS-09.1", nothing),
		direct("par-required-made-up-request-uri", "refuses a direct authorization request with a made-up request_uri where requests have to be pushed", "PAR-AS-09.2", set("request_uri", "urn:example:popcheck")),
	}
}

// pushedOrLater is the refusal of a request that the front channel would refuse as well: when it is pushed, or when it is used (RFC 9126 §2.3).
func pushedOrLater() harness.Refusal {
	return harness.Refusal{Status: []int{302, 303, 400, 401, 403}, Errors: nil, Where: []harness.Where{harness.InBody, harness.InRedirect, harness.OnPage}}
}

// ForOtherServer is the change of client-assertion-aud-other, for assertions at other endpoints.
func ForOtherServer(a *harness.Assertion) { a.Claims.Set("aud", otherServer) }

// For gives an assertion an audience.
func For(audience string) harness.AssertionChange { return asserts("aud", audience) }

// PushLeeways are how long after its end a request_uri is tried; the second time, if it still works, is after the few minutes by which
// clocks and the sweeping of a store may differ.
func PushLeeways() []time.Duration {
	return []time.Duration{10 * time.Second, 5*time.Minute + 30*time.Second}
}

// PushedChecks are the single checks of pushed requests; each has a spec of its own.
type PushedChecks struct {
	PushWithoutCredential, PushedByOther, PushedTwice, RedirectURI Check
	WrongCredential, InNameOfOther, InNoName, Audience             Check
	RedirectBeside, Scope, PushedTwiceElsewhere, Answer, Foreign, Expired/* --slow */ Check
}

// All are those that need no waiting.
func (p PushedChecks) All() []Check {
	return []Check{p.PushWithoutCredential, p.PushedByOther, p.PushedTwice, p.RedirectURI, p.WrongCredential, p.InNameOfOther, p.InNoName, p.Audience,
		p.RedirectBeside, p.Scope, p.PushedTwiceElsewhere, p.Answer, p.Foreign}
}

// PushedSingles returns the single checks of pushed requests.
func PushedSingles() PushedChecks {
	used := harness.Refusal{Status: []int{302, 303, 400, 401, 403}, Errors: nil, Where: []harness.Where{harness.OnPage, harness.InRedirect, harness.InBody}}
	const impersonated = "anyone can start authorizations in the name of the client"
	return PushedChecks{
		WrongCredential: Check{ID: "par-credential-wrong", Title: "refuses a pushed request with a wrong credential", Clause: rfc9126("2.1"), Level: harness.Must, Severity: harness.High,
			Threat: harness.ClientImpersonation, Refusal: invalidClient("invalid_request"), Covers: "PAR-AS-01.2", Needs: "par confidential-client", Harm: WrongLogins, Why: impersonated, Fix: "authenticate the client as at the token endpoint"},
		InNameOfOther: Check{ID: "par-credential-of-other-client", Title: "lets no client push a request of another client", Clause: rfc9126("2.1"), Level: harness.Must, Severity: harness.High,
			Threat: harness.ClientImpersonation, Refusal: used, Covers: "PAR-AS-01.3", Needs: "par confidential-client second-client", Harm: WrongLogins, Why: impersonated, Fix: "compare client_id with the client that authenticated; bind request_uri to that one"},
		InNoName: Check{ID: "par-client-id-missing", Title: "binds a pushed request without client_id to the client that pushed it", Clause: rfc9126("2.2"), Level: harness.Must, Severity: harness.High,
			Threat: harness.ClientImpersonation, Refusal: used, Covers: "PAR-AS-01.4", Needs: "par confidential-client second-client", Why: "the request of one client is used for another", Fix: "bind request_uri to the client that authenticated; require client_id"},
		Audience: Check{ID: "par-client-assertion-aud-other", Title: "refuses a pushed request with a client assertion for another server", Clause: rfc9126("2"), Level: harness.Must, Severity: harness.High,
			Threat: harness.ClientImpersonation, Refusal: invalidClient("invalid_request"), Covers: "PAR-AS-10.1 PAR-AS-10.2 PAR-AS-10.3", Needs: "par private-key-jwt code", Harm: WrongLogins,
			Why: "an assertion made for another server works here: whoever runs that server can push in the name of the client", Fix: "require the server itself in aud"},
		Scope: Check{ID: "par-scope-unregistered", Title: "gives no scope to a pushed request that a direct one would not get", Clause: rfc9126("2.1"), Level: harness.Should, Severity: harness.Medium,
			Threat: harness.Downgrade, Refusal: pushedOrLater(), Covers: "PAR-AS-06.2", Needs: "par", Why: "a client gets more than it was registered for", Fix: "validate a pushed request as one of the front channel"},
		PushedTwiceElsewhere: Check{ID: "par-request-uri-again-elsewhere", Title: "accepts a request_uri for one authorization, also in another browser", Clause: rfc9126("4"), Level: harness.Should, Severity: harness.Medium,
			Threat: harness.CodeInjection, Refusal: used, Covers: "PAR-AS-04.2", Needs: "par second-user", Why: "whoever sees the authorization URL can have another user run into the same authorization", Fix: "delete the request when it was used"},
		Answer: Check{ID: "par-response", Title: "answers a pushed request with request_uri and a positive expires_in", Clause: rfc9126("2.2"), Level: harness.Should, Severity: harness.Low,
			Threat: harness.Interoperability, Covers: "PAR-AS-07.1", Needs: "par", Why: "clients do not know how long they may use the request_uri, or take the answer for an error", Fix: "send expires_in as a JSON number above zero"},
		Foreign: Check{ID: "par-request-uri-of-attacker", Title: "fetches no request from an address that comes as request_uri", Clause: rfc9126("7.1"), Level: harness.Should, Severity: harness.High,
			Threat: harness.CodeInjection, Refusal: used, Covers: "PAR-AS-08.3", Needs: "par", Why: "whoever can edit the authorization URL makes the server call any address that it can reach, and chooses the request",
			Fix: "take request_uri values only that this server issued; where others are wanted, have them registered"},
		Expired: Check{ID: "par-request-uri-old", Title: "refuses an expired request_uri", Clause: rfc9126("4"), Level: harness.Must, Severity: harness.Medium,
			Threat: harness.CodeInjection, Refusal: used, Covers: "PAR-AS-05.1", Needs: "slow par", Why: "an authorization URL from a log or a browser's history starts the authorization of its client long after", Fix: "compare expires_in with the clock, at the authorization endpoint"},
		PushWithoutCredential: Check{ID: "par-credential-missing", Title: "refuses a pushed request of a confidential client without its credential", Clause: rfc9126("2.1"), Level: harness.Must, Severity: harness.High,
			Threat: harness.ClientImpersonation, Refusal: invalidClient("invalid_request"), Covers: "PAR-AS-01.1 FAPI-AS-02.1", Needs: "par confidential-client", Harm: WrongLogins, Why: "anyone can start authorizations in the name of the client", Fix: "authenticate the client as at the token endpoint"},
		PushedByOther: Check{ID: "par-request-uri-of-other-client", Title: "refuses a request_uri that another client pushed", Clause: rfc9126("2.2"), Level: harness.Must, Severity: harness.High,
			Threat:  harness.ClientImpersonation,
			Refusal: harness.Refusal{Status: []int{302, 303, 400, 401, 403}, Errors: nil, Where: []harness.Where{harness.OnPage, harness.InRedirect, harness.InBody}},
			Covers:  "PAR-AS-03.1", Needs: "par second-client", Why: "the request of one client is used for another", Fix: "bind request_uri to the client that pushed it"},
		PushedTwice: Check{ID: "par-request-uri-again", Title: "accepts a request_uri for one authorization", Clause: rfc9126("4"), Level: harness.Should, Severity: harness.Medium,
			Threat:  harness.CodeInjection,
			Refusal: harness.Refusal{Status: []int{302, 303, 400}, Errors: nil, Where: []harness.Where{harness.OnPage, harness.InRedirect, harness.InBody}},
			Covers:  "PAR-AS-04.1 PAR-AS-04.3", Needs: "par", Why: "whoever sees the authorization URL can start the same authorization again", Fix: "delete the request when it was used"},
		RedirectBeside: Check{ID: "par-redirect-uri-beside-request-uri", Title: "does not redirect to a redirect_uri that stands beside the request_uri", Clause: rfc9126("4"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.CodeInterception, Refusal: used, Covers: "PAR-AS-03.3", Needs: "par", Why: "whoever can edit the authorization URL has the user's code sent to an address of its own", Fix: "take every parameter from the pushed request (RFC 9101 §6.3)"},
		RedirectURI: Check{ID: "par-redirect-uri-unregistered", Title: "refuses an unregistered redirect_uri in a pushed request", Clause: rfc9126("2.1"), Level: harness.Must, Severity: harness.Critical,
			Threat:  harness.CodeInterception,
			Refusal: harness.Refusal{Status: []int{302, 303, 400, 401, 403}, Errors: nil, Where: []harness.Where{harness.OnPage, harness.InRedirect, harness.InBody}},
			Covers:  "PAR-AS-06.1", Needs: "par", Why: "the user's code is sent to an address that an attacker chose", Fix: "validate a pushed request as one of the front channel; only clients that authenticate may bring their own redirect_uri (RFC 9126 §2.4)"},
	}
}
