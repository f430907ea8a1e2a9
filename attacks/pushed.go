package attacks

import "github.com/popcheck/popcheck/harness"

// PushedAttack is one defect in a pushed authorization request, or in what comes to the authorization endpoint instead of one (RFC 9126).
// A code that is redeemed at the end is the attacker's win.
type PushedAttack struct {
	Check
	Push   harness.Change             // of the pushed request; Facts.Other holds a request_uri that was issued before
	URI    func(issued string) string // of the request_uri at the authorization endpoint
	Direct harness.Change             // of a request that is not pushed, by a client that has to
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
	return []PushedAttack{
		inside("par-request-uri-inside", "refuses a pushed request that contains a request_uri", "PAR-AS-02.1", set("request_uri", "https://attacker.example/request")),
		inside("par-request-uri-inside-issued", "refuses a pushed request that contains a request_uri of its own", "PAR-AS-02.2", setTo("request_uri", func(f harness.Facts) string { return f.Other.RequestURI })),
		{Check: Check{ID: "par-request-uri-altered", Title: "refuses a request_uri in which one character was changed", Clause: rfc9126("7.1"), Level: harness.Must, Severity: harness.Medium, Threat: harness.CodeInjection, Refusal: anywhere,
			Covers: "PAR-AS-08.1", Needs: "par", Why: "references to the requests of others can be guessed", Fix: "look the whole value up"}, URI: AlterEnd},
		direct("par-required-direct", "refuses a direct authorization request where requests have to be pushed", "PAR-AS-09.1", nothing),
		direct("par-required-made-up-request-uri", "refuses a direct authorization request with a made-up request_uri where requests have to be pushed", "PAR-AS-09.2", set("request_uri", "urn:example:popcheck")),
	}
}

// PushedChecks are the single checks of pushed requests; each has a spec of its own.
type PushedChecks struct {
	PushWithoutCredential, PushedByOther, PushedTwice, RedirectURI Check
}

func (p PushedChecks) all() []Check {
	return []Check{p.PushWithoutCredential, p.PushedByOther, p.PushedTwice, p.RedirectURI}
}

// PushedSingles returns the single checks of pushed requests.
func PushedSingles() PushedChecks {
	return PushedChecks{
		PushWithoutCredential: Check{ID: "par-credential-missing", Title: "refuses a pushed request of a confidential client without its credential", Clause: rfc9126("2.1"), Level: harness.Must, Severity: harness.High,
			Threat: harness.ClientImpersonation, Refusal: invalidClient("invalid_request"), Covers: "PAR-AS-01.1", Needs: "par confidential-client", Harm: WrongLogins, Why: "anyone can start authorizations in the name of the client", Fix: "authenticate the client as at the token endpoint"},
		PushedByOther: Check{ID: "par-request-uri-of-other-client", Title: "refuses a request_uri that another client pushed", Clause: rfc9126("2.2"), Level: harness.Must, Severity: harness.High,
			Threat:  harness.ClientImpersonation,
			Refusal: harness.Refusal{Status: []int{302, 303, 400, 401, 403}, Errors: nil, Where: []harness.Where{harness.OnPage, harness.InRedirect, harness.InBody}},
			Covers:  "PAR-AS-03.1", Needs: "par second-client", Why: "the request of one client is used for another", Fix: "bind request_uri to the client that pushed it"},
		PushedTwice: Check{ID: "par-request-uri-again", Title: "accepts a request_uri for one authorization", Clause: rfc9126("4"), Level: harness.Should, Severity: harness.Medium,
			Threat:  harness.CodeInjection,
			Refusal: harness.Refusal{Status: []int{302, 303, 400}, Errors: nil, Where: []harness.Where{harness.OnPage, harness.InRedirect, harness.InBody}},
			Covers:  "PAR-AS-04.1", Needs: "par", Why: "whoever sees the authorization URL can start the same authorization again", Fix: "delete the request when it was used"},
		RedirectURI: Check{ID: "par-redirect-uri-unregistered", Title: "refuses an unregistered redirect_uri in a pushed request", Clause: rfc9126("2.1"), Level: harness.Must, Severity: harness.Critical,
			Threat:  harness.CodeInterception,
			Refusal: harness.Refusal{Status: []int{302, 303, 400, 401, 403}, Errors: nil, Where: []harness.Where{harness.OnPage, harness.InRedirect, harness.InBody}},
			Covers:  "PAR-AS-06.1", Needs: "par", Why: "the user's code is sent to an address that an attacker chose", Fix: "validate a pushed request as one of the front channel; only clients that authenticate may bring their own redirect_uri (RFC 9126 §2.4)"},
	}
}
