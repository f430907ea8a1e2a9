package attacks

import (
	"time"

	"github.com/popcheck/popcheck/harness"
)

// RedirectRegistration is a redirect URI that must not be registered (RFC 7591 §5).
type RedirectRegistration struct {
	Check
	URI string // registered beside the honest ones
	Ask string // what an authorization request names to find out whether it is in force
}

// foreignHost is of popcheck's own invention: nothing is ever sent there.
const foreignHost = "registered.popcheck.example"

// PlainRedirect is a redirect URI that stands in the request alone, beside a software statement with others.
const PlainRedirect = "https://" + foreignHost + "/plain"

func registrationRow(id, title string, clause harness.Clause, level harness.Level, severity harness.Severity, threat harness.Threat, refusal harness.Refusal, covers, needs, why, fix string) Check {
	return Check{ID: id, Title: title, Clause: clause, Level: level, Severity: severity, Threat: threat, Refusal: refusal, Covers: covers, Needs: needs, Why: why, Fix: fix, Harm: RegistersClients}
}

func rfc7592(section string) harness.Clause {
	return harness.Clause{Spec: "RFC 7592", Section: section}
}

func metadataRefusal(more ...string) harness.Refusal {
	return harness.Refusal{Status: []int{400}, Errors: append([]string{"invalid_client_metadata"}, more...), Where: []harness.Where{harness.InBody}}
}

func statementRefusal(more ...string) harness.Refusal {
	return harness.Refusal{Status: []int{400}, Errors: append([]string{"invalid_software_statement"}, more...), Where: []harness.Where{harness.InBody}}
}

// tokenRefusal is that of RFC 6750 §3.1; the error may stand in the body too.
func tokenRefusal() harness.Refusal {
	return harness.Refusal{Status: []int{401, 403}, Where: []harness.Where{harness.InWWWAuthenticate, harness.InBody, harness.OnPage}}
}

// RedirectRegistrations are the redirect URIs.
func RedirectRegistrations() []RedirectRegistration {
	row := func(id, title, uri, ask string, clause harness.Clause, severity harness.Severity, covers, why string) RedirectRegistration {
		return RedirectRegistration{registrationRow(id, title, clause, harness.Must, severity, harness.CodeInterception, metadataRefusal("invalid_redirect_uri"), covers, "dcr code", why,
			"register https, http on loopback, and the schemes of apps; compare each redirect_uri with that list at registration"), uri, ask}
	}
	plain, script, data := "http://"+foreignHost+"/cb", "javascript:alert(1)", "data:text/html,popcheck"
	return []RedirectRegistration{
		row("registration-redirect-http", "registers no http redirect_uri on a public host", plain, plain, rfc9700("2.6"), harness.High, "DCR-AS-03.1", "codes cross the network in the clear"),
		row("registration-redirect-javascript", "registers no javascript: redirect_uri", script, script, rfc7591("5"), harness.Critical, "DCR-AS-03.2", "a client runs its script in the server's own pages"),
		row("registration-redirect-data", "registers no data: redirect_uri", data, data, rfc7591("5"), harness.High, "DCR-AS-03.3", "a client shows its own page as if it were the server's"),
		row("registration-redirect-wildcard", "takes a * in a registered redirect_uri for no pattern", "https://"+foreignHost+"/*", "https://"+foreignHost+"/popcheck", rfc9700("2.1"), harness.High, "DCR-AS-03.6", "codes go to any page of the host"),
	}
}

// StatementAttack is a software statement that no server may believe (RFC 7591 §2.3).
type StatementAttack struct {
	Check
	Change harness.AssertionChange
	Signs  bool // the tester has to hold the issuer's key
}

// StatementAttacks are those on the statement itself.
func StatementAttacks() []StatementAttack {
	const must, should = harness.Must, harness.Should
	row := func(id, title string, level harness.Level, severity harness.Severity, refusal harness.Refusal, covers, fix string, change harness.AssertionChange) StatementAttack {
		return StatementAttack{Check: registrationRow(id, title, rfc7591("2.3"), level, severity, harness.ClientImpersonation, refusal, covers, "dcr ssa",
			"anyone registers as software that a trusted issuer vouches for", fix), Change: change}
	}
	signed := func(a StatementAttack) StatementAttack { a.Signs = true; return a }
	own := func(issuer func(known string) string) harness.AssertionChange {
		return func(a *harness.Assertion) {
			known, _ := a.Claims.Get("iss").(string)
			a.Claims.Set("iss", issuer(known))
			byAttacker(a)
		}
	}
	either := statementRefusal("unapproved_software_statement")
	return []StatementAttack{
		row("statement-changed-after-signing", "refuses a software statement that was changed after it was signed", must, harness.Critical, statementRefusal(), "DCR-AS-09.1", "verify the signature over the very bytes", func(a *harness.Assertion) {
			a.Seal()
			a.Claims.Set("redirect_uris", []string{"https://" + foreignHost + "/stated"})
		}),
		row("statement-alg-none", "refuses an unsigned software statement (alg none)", must, harness.Critical, statementRefusal(), "DCR-AS-09.2", "allow the issuer's algorithms only", unsigned),
		row("statement-other-key", "refuses a software statement of the trusted issuer signed with another key", must, harness.Critical, statementRefusal("unapproved_software_statement"), "DCR-AS-09.4", "verify the signature with the issuer's key", byAttacker),
		row("statement-untrusted-issuer", "refuses a software statement of an issuer that it does not trust", must, harness.Critical, either, "DCR-AS-10.1", "look the issuer up first; no key, no trust",
			own(func(string) string { return "https://untrusted-directory.popcheck.example" })),
		row("statement-issuer-prefix", "refuses a software statement of an issuer whose name begins like that of the trusted one", must, harness.Critical, either, "DCR-AS-10.2", "compare iss as a whole",
			own(func(known string) string { return known + ".popcheck.example" })),
		signed(row("statement-expired", "refuses a software statement that expired an hour ago", should, harness.High, either, "DCR-AS-11.1", "compare exp with the clock, where it is there", at("exp", -time.Hour))),
		signed(row("statement-other-audience", "refuses a software statement that is for another server (aud)", should, harness.Medium, either, "DCR-AS-11.4", "refuse a statement whose aud names others only (RFC 7519 §4.1.3)", func(a *harness.Assertion) {
			a.Claims.Set("aud", "https://other-server.popcheck.example")
		})),
		signed(row("statement-not-yet", "refuses a software statement that is not valid yet (nbf)", should, harness.Medium, either, "DCR-AS-11.2", "compare nbf with the clock", at("nbf", time.Hour))),
	}
}

// RegistrationChecks are the single checks of registration and of its management; each has a spec of its own.
type RegistrationChecks struct {
	Answer, UnknownMember, Twice                    Check
	NoToken, UnknownToken                           Check
	PublicMachine, TakenID                          Check
	StatementWins, NoStatement, StatementAgain      Check
	TokenOfOther, NoManagementToken, RandomToken    Check
	RemovalByOther, ChosenSecret, Removed, OldToken Check

	DPoPBound              Check // of the suite dpop
	TwoSubjects, NoSubject Check // of the suite mtls
}

func (r RegistrationChecks) pkce() []Check {
	return []Check{r.Answer, r.UnknownMember, r.Twice, r.NoToken, r.UnknownToken, r.PublicMachine, r.TakenID, r.StatementWins, r.NoStatement, r.StatementAgain,
		r.TokenOfOther, r.NoManagementToken, r.RandomToken, r.RemovalByOther, r.ChosenSecret, r.Removed, r.OldToken}
}
func (r RegistrationChecks) dpop() []Check { return []Check{r.DPoPBound} }
func (r RegistrationChecks) mtls() []Check { return []Check{r.TwoSubjects, r.NoSubject} }

// Registrations returns them.
func Registrations() RegistrationChecks {
	const must, should, hardening = harness.Must, harness.Should, harness.Hardening
	const impersonation = harness.ClientImpersonation
	row, seen := registrationRow, harness.Refusal{}
	const register, stolen = "compare the token of each registration", "whoever has it changes the redirect URIs and keys of the client"
	gone := harness.Refusal{Status: []int{400, 401}, Errors: []string{"invalid_client", "invalid_token", "invalid_grant", "unauthorized_client"}, Where: []harness.Where{harness.InBody, harness.InWWWAuthenticate, harness.OnPage}}
	return RegistrationChecks{
		Answer: row("registration-answer", "answers a registration with what is registered", rfc7591("3.2.1"), should, harness.Low, harness.Interoperability, seen, "DCR-AS-01.1", "dcr",
			"clients do not know what they may do, or when their secret ends", "answer 201 with all metadata, and client_secret_expires_at beside a secret"),
		UnknownMember: row("registration-unknown-member", "ignores metadata that it does not know", rfc7591("2"), must, harness.Low, harness.Interoperability, seen, "DCR-AS-01.3", "dcr",
			"clients that say more than this server knows cannot register", "ignore what is unknown"),
		Twice: row("registration-twice", "gives each client an identifier and a secret of its own", rfc7591("3.2.1"), must, harness.Medium, impersonation, seen, "DCR-AS-01.2", "dcr",
			"one client can act as the other", "make client_id and client_secret at random for each registration"),
		NoToken: row("registration-no-token", "refuses a registration without initial access token", rfc7591("3"), should, harness.High, impersonation, tokenRefusal(), "DCR-AS-02.1", "dcr initial-access-token",
			"whoever reaches the endpoint registers clients, and the token is no barrier; where that is meant, leave it out of the target file", "demand the initial access token"),
		UnknownToken: row("registration-unknown-token", "refuses a registration with a token that nobody issued", rfc7591("3"), must, harness.High, impersonation, tokenRefusal(), "DCR-AS-02.2", "dcr initial-access-token",
			"the initial access token is asked for and not compared", register),
		PublicMachine: row("registration-public-machine", "gives no client credentials grant to a client without credential", rfc6749("4.4"), must, harness.High, impersonation, metadataRefusal(), "DCR-AS-04.3", "dcr",
			"whoever knows the client_id gets its tokens", "refuse client_credentials with token_endpoint_auth_method none"),
		TakenID: row("registration-taken-id", "registers nobody under the client_id of another client", rfc9700("4.15"), must, harness.Critical, impersonation, metadataRefusal(), "DCR-AS-05.1", "dcr",
			"whoever registers takes the place of any client", "choose client_id in the server"),
		StatementWins: row("statement-wins", "believes the software statement and not what stands beside it", rfc7591("3.1.1"), must, harness.High, impersonation, seen, "DCR-AS-08.1", "dcr ssa code",
			"whoever has a statement of other software gets its codes", "put the values of the statement over those of the request"),
		NoStatement: row("registration-no-statement", "refuses a registration without software statement, where one is demanded", rfc7591("3.1.1"), must, harness.High, impersonation,
			harness.Refusal{Status: []int{400, 401, 403}, Errors: []string{"invalid_software_statement", "unapproved_software_statement", "invalid_client_metadata"}, Where: []harness.Where{harness.InBody}}, "DCR-AS-12.1", "dcr ssa ssa-required",
			"software that nobody vouches for is registered", "demand the statement"),
		// All instances of a software share its statement; some ecosystems make one for each.
		StatementAgain: row("statement-again", "takes a software statement once or for every instance of the software", rfc7591("2.3"), hardening, harness.Info, impersonation, seen, "DCR-AS-11.5", "dcr ssa",
			"it decides what a software statement is worth to who sees it", "both are sound; this is measured to be known"),
		TokenOfOther: row("registration-token-of-other", "shows a client to nobody with another client's registration token", rfc7592("2.1"), must, harness.Critical, impersonation, tokenRefusal(), "DCR-AS-13.3", "dcr dcr-manage",
			"every client reads the secret of every other", "compare the token with that of this client"),
		NoManagementToken: row("registration-token-missing", "shows a client to nobody without registration token", rfc7592("2.1"), must, harness.Critical, impersonation, tokenRefusal(), "DCR-AS-13.1", "dcr dcr-manage", stolen, "demand the registration access token"),
		RandomToken:       row("registration-token-unknown", "shows a client to nobody with a token that nobody issued", rfc7592("2.1"), must, harness.Critical, impersonation, tokenRefusal(), "DCR-AS-13.2", "dcr dcr-manage", stolen, "compare the registration access token"),
		RemovalByOther: row("registration-removal-by-other", "removes no client on the word of another", rfc7592("2.3"), must, harness.Critical, impersonation, tokenRefusal(), "DCR-AS-13.5", "dcr dcr-manage",
			"every client can remove every other", "compare the token with that of this client"),
		ChosenSecret: row("registration-chosen-secret", "lets no client choose its secret", rfc7592("2.2"), should, harness.High, impersonation, harness.Refusal{Status: []int{400, 401, 403}, Errors: []string{"invalid_client_metadata", "invalid_request"}, Where: []harness.Where{harness.InBody}}, "DCR-AS-14.2", "dcr dcr-manage",
			"secrets are as weak as people choose them", "refuse a client_secret that is not the current one"),
		Removed: row("registration-removed", "serves no client that was removed", rfc7592("2.3"), must, harness.Medium, harness.TokenReplay, gone, "DCR-AS-15.1 DCR-AS-15.2", "dcr dcr-manage",
			"a client that was given up goes on getting tokens", "remove its credentials and grants with it"),
		OldToken: row("registration-removed-token", "refuses the registration token of a client that was removed", rfc7592("2.3"), should, harness.Medium, harness.TokenReplay, tokenRefusal(), "DCR-AS-15.5", "dcr dcr-manage",
			"a client that was given up is still there, with all that it knew", "remove the registration access token with the client"),
		DPoPBound: row("registration-dpop-bound", "demands proofs of a client that was registered with dpop_bound_access_tokens", rfc9449("5.2", ""), must, harness.High, harness.Downgrade,
			harness.Refusal{Status: []int{400, 401}, Errors: []string{"invalid_request", "invalid_dpop_proof", "invalid_grant"}, Where: []harness.Where{harness.InBody}}, "DCR-AS-06.1", "dcr dpop",
			"who intercepts the client's request leaves the proof out and gets a token that works without", "store the member, and refuse token requests without proof"),
		TwoSubjects: row("registration-two-subjects", "registers no client of mutual TLS under two names", rfc8705("2.1.2"), hardening, harness.Medium, harness.WrongCertificate, metadataRefusal(), "DCR-AS-07.1", "dcr mtls-pki",
			"which certificate is the client's depends on which name is looked at", "demand exactly one of tls_client_auth_*"),
		NoSubject: row("registration-no-subject", "registers no client of mutual TLS without a name", rfc8705("2.1.2"), must, harness.Critical, harness.WrongCertificate, metadataRefusal(), "DCR-AS-07.2", "dcr mtls-pki",
			"any certificate of the CA is the client's", "demand exactly one of tls_client_auth_*"),
	}
}
