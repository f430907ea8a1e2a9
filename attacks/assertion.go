package attacks

import (
	"strings"
	"time"

	"github.com/popcheck/popcheck/harness"
)

// AssertionAttack is one defect in a JWT that authenticates a client, or that is a grant (RFC 7523 §3).
type AssertionAttack struct {
	Check
	// Tries are made one after the other, each with fresh material; the first that works counts.
	Tries []harness.AssertionChange
	// Request is what the request around it says.
	Request harness.Change
	Against Party
	Alg     string // the beginning of the algorithm for which it means something: "ES" for ECDSA, "" for all
}

// Party is who is attacked, beside the client that the attacker is.
type Party int

// Some attacks act in the name of another client, and some need a second client that signs its assertions too.
const (
	Nobody Party = iota
	AnyClient
	AssertingClient
)

const (
	clientForged = "anyone can act in the name of the client"
	grantForged  = "anyone can get tokens in the name of any subject"
)

// asserts gives a claim another value.
func asserts(name string, value any) harness.AssertionChange {
	return func(a *harness.Assertion) { a.Claims.Set(name, value) }
}

// leavesOut drops a claim.
func leavesOut(name string) harness.AssertionChange {
	return func(a *harness.Assertion) { a.Claims.Drop(name) }
}

// at gives a claim a time, from now.
func at(name string, offset time.Duration) harness.AssertionChange {
	return func(a *harness.Assertion) { a.Claims.Set(name, time.Now().Add(offset).Unix()) }
}

// aboutOther names the other client in a claim.
func aboutOther(name string) harness.AssertionChange {
	return func(a *harness.Assertion) { a.Claims.Set(name, a.Facts.Other.ClientID) }
}

// asOther names the other client in the request.
func asOther(m *harness.Message, f harness.Facts) { m.Params.Set("client_id", f.Client.ClientID) }

// byAttacker signs with the attacker's key under the name of the right one.
func byAttacker(a *harness.Assertion) {
	a.Altered("signature, by another key")
	a.Sign = a.Facts.Attacker.Sign
}

func unsigned(a *harness.Assertion) {
	a.Header.Set("alg", "none")
	a.Sign = func(string) ([]byte, error) { return nil, nil }
}

// inHeader carries the attacker's key, as a proof may and an assertion must not (RFC 7515 §4.1.3 does not make it trusted).
func inHeader(a *harness.Assertion) {
	byAttacker(a)
	a.Header.Drop("kid")
	a.Header.Set("jwk", a.Facts.Attacker.PublicJWK())
}

// macs are HS256 keyed with the texts of the public key: first those of one form, then of the other.
func macs(pick func(asPEM, asJWK [][]byte) [][]byte) []harness.AssertionChange {
	var out []harness.AssertionChange
	for i := range 2 {
		out = append(out, func(a *harness.Assertion) {
			text := pick(a.Key.PublicForms())[i]
			a.Header.Set("alg", "HS256")
			a.Sign = func(input string) ([]byte, error) { return harness.HMAC256(text, input), nil }
		})
	}
	return out
}

func pemForms(asPEM, _ [][]byte) [][]byte { return asPEM }
func jwkForms(_, asJWK [][]byte) [][]byte { return asJWK }

// audienceNear is an audience that begins with the issuer and is another: as a host, where the issuer has neither port nor path.
func audienceNear(ending string) harness.AssertionChange {
	return func(a *harness.Assertion) { a.Claims.Set("aud", a.Facts.Tester.Target.Issuer+ending) }
}

const otherServer = "https://other-server.popcheck.example"

// ClientAssertions are the attacks on private_key_jwt.
func ClientAssertions() []AssertionAttack {
	row := func(id, title, item string, severity harness.Severity, covers, fix string, tries ...harness.AssertionChange) AssertionAttack {
		return AssertionAttack{Check: Check{ID: id, Title: title, Clause: rfc7523("3", item), Level: harness.Must, Severity: severity, Threat: harness.ClientImpersonation,
			Refusal: invalidClient("invalid_request"), Needs: "private-key-jwt", Covers: covers, Why: clientForged, Fix: fix, Harm: WrongLogins}, Tries: tries}
	}
	why := func(a AssertionAttack, why string) AssertionAttack { a.Why = why; return a }
	against := func(p Party, a AssertionAttack) AssertionAttack {
		a.Against = p
		a.Needs += " second-client"
		return a
	}
	onCurve := func(a AssertionAttack) AssertionAttack { a.Alg = "ES"; return a }
	named := func(a AssertionAttack) AssertionAttack { a.Request = asOther; return a }
	const same = "iss and sub are both the client_id, and so is client_id in the body where it comes"
	const beside = "what goes by client_id, be it a limit, a log or the token itself, takes the client that signed for the other one"
	const claims, captured, forEver = "the assertion is not looked at as a whole", "an assertion made for another server works here: whoever runs that server can act as the client", "an assertion from a log works for ever"
	return []AssertionAttack{
		against(AnyClient, why(row("client-assertion-iss-other", "refuses a client assertion that another client is said to have made", "1", harness.Medium, "TOKEN-AS-07.1", same, aboutOther("iss")), claims)),
		against(AnyClient, row("client-assertion-sub-other", "refuses a client assertion about another client", "2", harness.Critical, "TOKEN-AS-07.2", same, aboutOther("sub"))),
		named(against(AssertingClient, row("client-assertion-of-itself-for-other", "does not take one client's assertion for another client", "2", harness.Critical, "TOKEN-AS-07.2", "verify with the key of the client in sub, and compare iss with sub", aboutOther("sub")))),
		// RFC 7521 §4.2: both have to name one client. The token may still be of the client that signed, and then nobody is impersonated yet.
		named(against(AnyClient, why(row("client-assertion-beside-other-client-id", "refuses the client_id of another client next to an assertion", "2", harness.Medium, "TOKEN-AS-07.3", same, unaltered), beside))),
		why(row("client-assertion-no-iss", "refuses a client assertion without iss", "1", harness.Medium, "TOKEN-AS-07.4", same, leavesOut("iss")), claims),
		why(row("client-assertion-no-sub", "refuses a client assertion without sub", "2", harness.Medium, "TOKEN-AS-07.5", same, leavesOut("sub")), claims),
		why(row("client-assertion-no-aud", "refuses a client assertion without aud", "3", harness.High, "TOKEN-AS-07.6", "require the server itself in aud", leavesOut("aud")), captured),
		why(row("client-assertion-aud-other", "refuses a client assertion for another server", "3", harness.Critical, "TOKEN-AS-07.7", "require the server itself in aud", asserts("aud", otherServer)), captured),
		why(row("client-assertion-aud-near", "refuses a client assertion for a server whose name begins like its own", "3", harness.High, "TOKEN-AS-07.14", "compare aud with the server's own names as a whole, letter by letter", audienceNear(".attacker.example"), audienceNear("-other")), captured),
		why(row("client-assertion-no-exp", "refuses a client assertion without exp", "4", harness.Medium, "TOKEN-AS-07.9", "require exp, and compare it with the clock", leavesOut("exp")), forEver),
		why(row("client-assertion-expired", "refuses a client assertion that expired an hour ago", "4", harness.High, "TOKEN-AS-07.10", "require exp, and compare it with the clock", at("exp", -time.Hour)), forEver),
		why(row("client-assertion-not-yet", "refuses a client assertion that is not valid yet (nbf)", "5", harness.Medium, "TOKEN-AS-07.11", "compare nbf with the clock", at("nbf", time.Hour)), claims),
		row("client-assertion-other-key", "refuses a client assertion signed with an unregistered key", "9", harness.Critical, "TOKEN-AS-08.1", "verify the signature with the registered key", byAttacker),
		row("client-assertion-alg-none", "refuses an unsigned client assertion (alg none)", "9", harness.Critical, "TOKEN-AS-08.2", "allow the registered algorithm only", unsigned),
		row("client-assertion-alg-confusion-pem", "refuses a MAC keyed with the client's public key as PEM (HS256)", "9", harness.Critical, "TOKEN-AS-08.3", "choose the algorithm by the type of the key", macs(pemForms)...),
		row("client-assertion-alg-confusion-jwk", "refuses a MAC keyed with the client's public key as JWK (HS256)", "9", harness.Critical, "TOKEN-AS-08.3", "choose the algorithm by the type of the key", macs(jwkForms)...),
		row("client-assertion-jwk-header", "refuses a client assertion that brings its own key (jwk)", "9", harness.Critical, "TOKEN-AS-08.4", "verify the signature with the registered key", inHeader),
		row("client-assertion-changed-after-signing", "refuses a client assertion that was changed after it was signed", "9", harness.Critical, "TOKEN-AS-08.6", "verify the signature over the very bytes", func(a *harness.Assertion) {
			a.Altered("payload, after signing")
			sign := a.Sign
			a.Sign = func(input string) ([]byte, error) {
				header, _, _ := strings.Cut(input, ".")
				return sign(header + ".e30") // an empty object
			}
		}),
		onCurve(row("client-assertion-zero-signature", "refuses an ECDSA signature of zeros", "9", harness.Critical, "TOKEN-AS-08.7", "use a library that checks r and s", func(a *harness.Assertion) {
			a.Altered("signature, all zero")
			sign := a.Sign
			a.Sign = func(input string) ([]byte, error) {
				raw, err := sign(input)
				return make([]byte, len(raw)), err
			}
		})),
		against(AssertingClient, row("client-assertion-key-of-other", "refuses a client assertion signed with the key of another client", "9", harness.Critical, "TOKEN-AS-08.8", "look keys up among those of the client alone", func(a *harness.Assertion) {
			a.Altered("signature, by another client")
			a.Sign = a.Facts.OtherKey.Sign
			a.Header.Drop("kid")
			if kid := a.Facts.OtherKey.KeyID; kid != "" {
				a.Header.Set("kid", kid)
			}
		})),
	}
}

// GrantAssertions are the attacks on the JWT bearer grant.
func GrantAssertions() []AssertionAttack {
	row := func(id, title, item string, severity harness.Severity, covers, fix string, tries ...harness.AssertionChange) AssertionAttack {
		return AssertionAttack{Check: Check{ID: id, Title: title, Clause: rfc7523("3", item), Level: harness.Must, Severity: severity, Threat: harness.ClientImpersonation,
			Refusal: grantRefused(), Needs: "jwt-bearer", Covers: covers, Why: grantForged, Fix: fix}, Tries: tries}
	}
	why := func(a AssertionAttack, why string) AssertionAttack { a.Why = why; return a }
	const captured, forEver = "an assertion made for another server works here", "an assertion from a log works for ever"
	const issuer = "https://untrusted-issuer.popcheck.example"
	return []AssertionAttack{
		row("jwt-bearer-untrusted-issuer", "refuses an assertion of an issuer that it does not trust", "1", harness.Critical, "TOKEN-AS-10.1", "look the issuer up first; no key, no trust", func(a *harness.Assertion) {
			a.Claims.Set("iss", issuer)
			a.Header.Drop("kid")
			byAttacker(a)
		}),
		why(row("jwt-bearer-iss-other", "refuses the trusted issuer's signature under another name", "1", harness.Medium, "TOKEN-AS-10.1", "compare iss with the issuer whose key it is", asserts("iss", issuer)), "the keys of one issuer speak for every issuer"),
		row("jwt-bearer-other-key", "refuses an assertion of the trusted issuer signed with another key", "9", harness.Critical, "TOKEN-AS-10.2", "verify the signature with the issuer's key", byAttacker),
		row("jwt-bearer-jwk-header", "refuses an assertion that brings its own key (jwk)", "9", harness.Critical, "TOKEN-AS-10.2", "verify the signature with the issuer's key", inHeader),
		row("jwt-bearer-alg-none", "refuses an unsigned assertion (alg none)", "9", harness.Critical, "TOKEN-AS-10.3", "allow the issuer's algorithm only", unsigned),
		row("jwt-bearer-alg-confusion-pem", "refuses a MAC keyed with the issuer's public key as PEM (HS256)", "9", harness.Critical, "TOKEN-AS-10.4", "choose the algorithm by the type of the key", macs(pemForms)...),
		row("jwt-bearer-alg-confusion-jwk", "refuses a MAC keyed with the issuer's public key as JWK (HS256)", "9", harness.Critical, "TOKEN-AS-10.4", "choose the algorithm by the type of the key", macs(jwkForms)...),
		why(row("jwt-bearer-aud-other", "refuses an assertion for another server", "3", harness.Critical, "TOKEN-AS-10.5", "require the server itself in aud", asserts("aud", otherServer)), captured),
		why(row("jwt-bearer-no-aud", "refuses an assertion without aud", "3", harness.High, "TOKEN-AS-10.6", "require the server itself in aud", leavesOut("aud")), captured),
		why(row("jwt-bearer-no-sub", "refuses an assertion without sub", "2", harness.High, "TOKEN-AS-10.7", "require sub: it is for whom the token is", leavesOut("sub")), "a token is issued for nobody, or for whom the server thinks of"),
		why(row("jwt-bearer-expired", "refuses an assertion that expired an hour ago", "4", harness.High, "TOKEN-AS-10.8", "require exp, and compare it with the clock", at("exp", -time.Hour)), forEver),
		why(row("jwt-bearer-no-exp", "refuses an assertion without exp", "4", harness.Medium, "TOKEN-AS-10.9", "require exp, and compare it with the clock", leavesOut("exp")), forEver),
		why(row("jwt-bearer-not-yet", "refuses an assertion that is not valid yet (nbf)", "5", harness.Medium, "TOKEN-AS-10.10", "compare nbf with the clock", at("nbf", time.Hour)), "an assertion that was made in advance works at once"),
	}
}

func unaltered(*harness.Assertion) {}

func grantRefused() harness.Refusal {
	return harness.Refusal{Status: []int{400, 401}, Errors: []string{"invalid_grant", "invalid_client"}, Where: []harness.Where{harness.InBody}}
}

// BackendChecks are the single checks of the grants without a user; each has a spec of its own.
type BackendChecks struct {
	Replayed, SameJTI                           Check
	PublicClient, NoCredential, WrongCredential Check
	NoRefreshToken, GrantWrongCredential        Check
}

func (b BackendChecks) all() []Check {
	return []Check{b.Replayed, b.SameJTI, b.PublicClient, b.NoCredential, b.WrongCredential, b.NoRefreshToken, b.GrantWrongCredential}
}

// Backends returns the single checks of client credentials and assertions.
func Backends() BackendChecks {
	check := func(id, title string, clause harness.Clause, level harness.Level, severity harness.Severity, refusal harness.Refusal, needs, covers, why, fix string) Check {
		return Check{ID: id, Title: title, Clause: clause, Level: level, Severity: severity, Threat: harness.ClientImpersonation, Refusal: refusal, Needs: needs, Covers: covers, Why: why, Fix: fix}
	}
	wrongLogin := func(c Check) Check { c.Harm = WrongLogins; return c }
	replay := func(c Check) Check { c.Threat = harness.TokenReplay; return wrongLogin(c) }
	machines := harness.Refusal{Status: []int{400, 401}, Errors: []string{"invalid_client", "unauthorized_client", "unsupported_grant_type"}, Where: []harness.Where{harness.InBody, harness.InTLS}}
	const remember = "remember jti until exp"
	return BackendChecks{
		Replayed: replay(check("client-assertion-replayed", "accepts a client assertion once", rfc7523("3", "7"), harness.Hardening, harness.Low, invalidClient("invalid_request", "invalid_grant"), "private-key-jwt", "TOKEN-AS-09.1",
			"whoever captures an assertion can act as the client until it expires", remember)),
		SameJTI: replay(check("client-assertion-jti-again", "accepts the jti of a client assertion once", rfc7523("3", "7"), harness.Hardening, harness.Low, invalidClient("invalid_request", "invalid_grant"), "private-key-jwt", "TOKEN-AS-09.2",
			"replay is told by the bytes and not by the name", remember)),
		PublicClient: check("client-credentials-public", "gives a public client no token by client credentials", rfc6749("4.4.2"), harness.Must, harness.High, machines, "client-credentials public-client", "TOKEN-AS-06.1",
			"whoever knows a client_id gets tokens", "allow the grant to authenticated clients only"),
		NoCredential: wrongLogin(check("client-credentials-no-credential", "refuses client credentials without the credential", rfc6749("4.4.2"), harness.Must, harness.Critical, invalidClient("invalid_request", "unauthorized_client"), "client-credentials", "TOKEN-AS-06.2",
			"whoever knows a client_id gets tokens", "authenticate the client before looking at the grant")),
		WrongCredential: wrongLogin(check("client-credentials-wrong-credential", "refuses client credentials with a wrong secret or assertion", rfc6749("4.4.2"), harness.Must, harness.Critical, invalidClient("invalid_request", "unauthorized_client"), "client-credentials", "TOKEN-AS-06.2",
			"whoever knows a client_id gets tokens", "authenticate the client before looking at the grant")),
		NoRefreshToken: check("client-credentials-no-refresh-token", "issues no refresh token with client credentials", rfc6749("4.4.3"), harness.Should, harness.Low, harness.Refusal{}, "client-credentials", "TOKEN-AS-06.4",
			"a second, longer-lived secret is made for a client that has one", "issue refresh tokens only where a user has granted something"),
		GrantWrongCredential: wrongLogin(check("jwt-bearer-wrong-credential", "refuses a good assertion next to a wrong client credential", rfc7523("3.1", ""), harness.Must, harness.High, invalidClient("invalid_grant", "invalid_request"), "jwt-bearer", "TOKEN-AS-10.11",
			"a captured assertion works without being its client", "validate client credentials that are present (RFC 7521 §4.1)")),
	}
}

// WrongSecret replaces the secret of a request by one that differs in its last character.
func WrongSecret(m *harness.Message, f harness.Facts) { secretAs(otherLast)(m, f) }

// NameOnly leaves the client_id; a certificate to which tokens are bound goes on being presented.
func NameOnly(m *harness.Message, f harness.Facts) {
	cert := m.Who.Cert
	WithoutCredential(m, f)
	m.Who.Cert = cert
}

// SignedByAttacker is the change of client-assertion-other-key, for the checks of one grant.
func SignedByAttacker(a *harness.Assertion) { byAttacker(a) }
