package attacks

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/popcheck/popcheck/harness"
)

// ProofAttack is one defect in a DPoP proof. It runs at the token endpoint, at PAR and at every resource.
type ProofAttack struct {
	Check
	Change harness.ProofChange
	Mode   Mode
	At     []Place // nil: everywhere
	// Resource is the refusal at a resource, where it is not the usual challenge.
	Resource harness.Refusal
	// Lenient rows say what it means when the server accepts: nothing to gain, a warning of the catalogue.
	NonceDecides Lenience
}

// Place is a kind of endpoint that takes proofs.
type Place string

// The places of proofs.
const (
	AtToken         Place = "token"
	AtPAR           Place = "par"
	AtIntrospection Place = "introspect"
	AtRevocation    Place = "revoke"
	AtResource      Place = "resource"
)

// Lenience says when acceptance is no finding.
type Lenience int

// With a fresh nonce of the server in the proof, iat need not be looked at (RFC 9449 §4.3 item 11).
const (
	Never Lenience = iota
	WithNonce
	Always // only recorded: both answers are legitimate
	Anyhow // both answers are fine, but an answer there must be: no 5xx, no dropped connection
)

// RunsAt reports whether the row applies to a kind of endpoint.
func (a ProofAttack) RunsAt(p Place) bool { return a.At == nil || slices.Contains(a.At, p) }

const forged = "a token bound to a key can be obtained or used without holding that key"

func claim(name string, value any) harness.ProofChange {
	return func(p *harness.Proof) { p.Claims.Set(name, value) }
}

func dropClaim(name string) harness.ProofChange {
	return func(p *harness.Proof) { p.Claims.Drop(name) }
}

func header(name string, value any) harness.ProofChange {
	return func(p *harness.Proof) { p.Header.Set(name, value) }
}

func dropHeader(name string) harness.ProofChange {
	return func(p *harness.Proof) { p.Header.Drop(name) }
}

func iat(offset time.Duration) harness.ProofChange {
	return func(p *harness.Proof) { p.Claims.Set("iat", time.Now().Add(offset).Unix()) }
}

func htu(edit func(u *url.URL)) harness.ProofChange {
	return func(p *harness.Proof) {
		u, err := url.Parse(p.Facts.URL)
		if err != nil {
			return
		}
		u.RawQuery, u.Fragment = "", ""
		edit(u)
		p.Claims.Set("htu", u.String())
	}
}

// Proofs are the defects of a proof (RFC 9449 §4.3, by item).
func Proofs() []ProofAttack {
	must := func(id, title, item string, severity harness.Severity, covers, fix string, change harness.ProofChange) ProofAttack {
		return ProofAttack{Check: Check{ID: id, Title: title, Clause: rfc9449("4.3", item), Level: harness.Must, Severity: severity, Threat: harness.ProofReplay,
			Refusal: InvalidDPoPProof(), Covers: covers, Why: forged, Fix: fix}, Change: change}
	}
	mustAccept := func(id, title string, clause harness.Clause, level harness.Level, severity harness.Severity, covers string, change harness.ProofChange) ProofAttack {
		return ProofAttack{Check: Check{ID: id, Title: title, Clause: clause, Level: level, Severity: severity, Threat: harness.Interoperability,
			Covers: covers, Why: "honest clients are refused", Fix: "accept it: the clause asks for that"}, Change: change, Mode: Accept}
	}
	in := func(a ProofAttack, places ...Place) ProofAttack { a.At = places; return a }
	soften := func(a ProofAttack, level harness.Level, why string) ProofAttack {
		a.Level, a.Why = level, why
		return a
	}
	return []ProofAttack{
		must("dpop-two-proofs", "refuses two proofs in two header fields", "1", harness.Medium, "DPOP-AS-04.1 DPOP-RS-03.1", "require exactly one DPoP header field", func(p *harness.Proof) {
			p.Altered("header field, twice")
			p.Fields = func(one string) []harness.Field {
				return []harness.Field{{Name: "DPoP", Value: one}, {Name: "DPoP", Value: p.Facts.Another()}}
			}
		}),
		must("dpop-same-proof-twice", "refuses the same proof in two header fields", "1", harness.Medium, "DPOP-AS-04.2 DPOP-RS-03.2", "require exactly one DPoP header field", func(p *harness.Proof) {
			p.Altered("header field, twice")
			p.Fields = func(one string) []harness.Field {
				return []harness.Field{{Name: "DPoP", Value: one}, {Name: "DPoP", Value: one}}
			}
		}),
		must("dpop-two-proofs-joined", "refuses two proofs joined by a comma", "2", harness.Medium, "DPOP-AS-05.1 DPOP-RS-04.1", "parse the header field as one JWT", func(p *harness.Proof) {
			p.Altered("header field, two proofs joined")
			p.Fields = func(one string) []harness.Field {
				return []harness.Field{{Name: "DPoP", Value: one + ", " + p.Facts.Another()}}
			}
		}),
		must("dpop-no-signature-part", "refuses a proof without its signature part", "2", harness.Critical, "DPOP-AS-05.3 DPOP-RS-04.2", "require three parts and verify the signature", func(p *harness.Proof) {
			p.Altered("signature part, left out")
			p.Spell = func(input, _ string) string { return input }
		}),
		in(must("dpop-garbage", "refuses a header field that is no JWT", "2", harness.Medium, "DPOP-AS-05.6", "refuse what cannot be parsed; do not treat it as absent", func(p *harness.Proof) {
			p.Altered("whole value")
			p.Spell = func(string, string) string { return "garbage" }
		}), AtToken, AtPAR),
		must("dpop-four-parts", "refuses a proof with a fourth part", "2", harness.Medium, "DPOP-AS-05.4 DPOP-RS-04.3", "require exactly three parts", func(p *harness.Proof) {
			p.Altered("a fourth part")
			p.Spell = func(input, signature string) string { return input + "." + signature + "." + signature }
		}),
		must("dpop-no-jti", "refuses a proof without jti", "3", harness.High, "DPOP-AS-06.1 DPOP-RS-05.1", "require jti", dropClaim("jti")),
		must("dpop-no-htm", "refuses a proof without htm", "3", harness.High, "DPOP-AS-06.2 DPOP-RS-05.2", "require htm", dropClaim("htm")),
		must("dpop-no-htu", "refuses a proof without htu", "3", harness.High, "DPOP-AS-06.3 DPOP-RS-05.3", "require htu", dropClaim("htu")),
		must("dpop-no-iat", "refuses a proof without iat", "3", harness.High, "DPOP-AS-06.4 DPOP-RS-05.4", "require iat", dropClaim("iat")),
		must("dpop-typ-missing", "refuses a proof without typ", "4", harness.High, "DPOP-AS-07.1 DPOP-RS-06.1", "require typ dpop+jwt", dropHeader("typ")),
		must("dpop-typ-jwt", "refuses another kind of JWT as proof", "4", harness.High, "DPOP-AS-07.2 DPOP-RS-06.2", "require typ dpop+jwt", header("typ", "JWT")),
		must("dpop-typ-longer", "refuses a typ that only begins like that of a proof", "4", harness.Medium, "DPOP-AS-07.4 DPOP-RS-06.3", "compare the whole value", header("typ", "dpop+jwtx")),
		in(ProofAttack{Check: Check{ID: "dpop-typ-case", Title: "typ is compared as a media type", Clause: rfc9449("4.3", "4"), Level: harness.Hardening, Severity: harness.Info,
			Threat: harness.Interoperability, Refusal: InvalidDPoPProof(), Covers: "DPOP-AS-07.6", Why: "both answers are legitimate"}, Change: header("typ", "DPOP+JWT"), NonceDecides: Always}, AtToken),
		must("dpop-alg-none", "refuses an unsigned proof (alg none)", "5", harness.Critical, "DPOP-AS-08.1 DPOP-RS-07.1", "allow a fixed list of asymmetric algorithms", func(p *harness.Proof) {
			p.Header.Set("alg", "none")
			p.Sign = func(string) ([]byte, error) { return nil, nil }
		}),
		in(must("dpop-alg-symmetric", "refuses a symmetric key in the proof (HS256 with an oct jwk)", "5", harness.Critical, "DPOP-AS-08.3", "allow a fixed list of asymmetric algorithms", func(p *harness.Proof) {
			secret := harness.Random(32)
			p.Facts.Tester.Redactor.Register("private_key", base64.RawURLEncoding.EncodeToString([]byte(secret)))
			p.Header.Set("alg", "HS256")
			p.Header.Set("jwk", harness.Object{{Name: "kty", Value: "oct"}, {Name: "k", Value: base64.RawURLEncoding.EncodeToString([]byte(secret))}})
			p.Sign = func(input string) ([]byte, error) { return harness.HMAC256([]byte(secret), input), nil }
		}), AtToken, AtPAR),
		must("dpop-alg-confusion", "refuses a MAC keyed with the public key (HS256)", "5", harness.Critical, "DPOP-AS-08.4 DPOP-RS-07.3", "choose the algorithm by the type of the key", func(p *harness.Proof) {
			p.Header.Set("alg", "HS256")
			public, err := json.Marshal(p.Key.PublicJWK())
			p.Sign = func(input string) ([]byte, error) { return harness.HMAC256(public, input), err }
		}),
		in(soften(must("dpop-alg-unlisted", "refuses an algorithm that its metadata does not list", "5", harness.Low, "DPOP-AS-08.7", "keep the list and the code together", unlistedAlgorithm),
			harness.Hardening, "the published list is not the whole truth: clients and auditors cannot rely on it"), AtToken, AtPAR),
		must("dpop-signed-by-other-key", "refuses a proof that is not signed by the key it carries", "6", harness.Critical, "DPOP-AS-09.1 DPOP-RS-08.1", "verify the signature with the jwk of the header", func(p *harness.Proof) {
			p.Altered("signature, by another key")
			p.Sign = p.Facts.Attacker.Sign
		}),
		must("dpop-signature-bit", "refuses a proof with one bit of its signature changed", "6", harness.Critical, "DPOP-AS-09.2 DPOP-RS-08.2 DPOP-AS-18.1", "verify the signature", func(p *harness.Proof) {
			p.Altered("signature, one bit")
			key := p.Key
			p.Sign = func(input string) ([]byte, error) {
				raw, err := key.Sign(input)
				if err == nil && len(raw) > 0 {
					raw[len(raw)/2] ^= 1
				}
				return raw, err
			}
		}),
		soften(must("dpop-jwk-private", "refuses a proof that carries a private key", "7", harness.High, "DPOP-AS-10.1 DPOP-RS-09.1", "refuse a jwk with private members", func(p *harness.Proof) {
			p.Header.Set("jwk", p.Key.PrivateJWK())
		}), harness.Must, "a client that publishes its private key is served: its tokens are bound to nothing"),
		must("dpop-jwk-missing", "refuses a proof without a key", "6", harness.High, "DPOP-AS-10.3 DPOP-RS-09.2", "require jwk", dropHeader("jwk")),
		must("dpop-kid-instead-of-jwk", "refuses a proof that only names its key (kid)", "6", harness.High, "DPOP-AS-10.4 DPOP-RS-09.3", "require jwk; do not look keys up", func(p *harness.Proof) {
			p.Header.Drop("jwk")
			p.Header.Set("kid", p.Key.Thumbprint())
		}),
		in(soften(must("dpop-rsa-1024", "refuses an RSA key of 1024 bits", "5", harness.Medium, "DPOP-AS-10.9", "require at least 2048 bits (RFC 7518 §3.3)", func(p *harness.Proof) {
			p.Resign("RS256", 1024)
		}), harness.Should, "the key can be broken, and with it the binding"), AtToken, AtPAR),
		must("dpop-htm-other", "refuses a proof for another method", "8", harness.High, "DPOP-AS-11.1 DPOP-RS-10.1 DPOP-RS-10.2", "compare htm with the method of the request", func(p *harness.Proof) {
			other := "GET"
			if p.Facts.Method == "GET" {
				other = "POST"
			}
			p.Claims.Set("htm", other)
		}),
		soften(must("dpop-htm-lower-case", "compares htm with its case", "8", harness.Low, "DPOP-AS-11.3 DPOP-RS-10.4", "methods are case-sensitive (RFC 9110 §9.1)", func(p *harness.Proof) {
			p.Claims.Set("htm", strings.ToLower(p.Facts.Method))
		}), harness.Hardening, "the comparison is looser than the clause"),
		must("dpop-htu-host", "refuses a proof made for another host", "9", harness.Critical, "DPOP-AS-12.1 DPOP-RS-11.2", "compare htu with the URI of the request", htu(func(u *url.URL) { u.Host = "attacker.example" })),
		must("dpop-htu-path", "refuses a proof made for another path of the host", "9", harness.Critical, "DPOP-AS-12.2 DPOP-RS-11.1", "compare htu with the URI of the request", htu(func(u *url.URL) { u.Path += "/other"; u.RawPath = "" })),
		must("dpop-htu-parent", "refuses a proof made for a part of its path", "9", harness.High, "DPOP-AS-12.4 DPOP-RS-11.4", "compare the whole URI, not its beginning", htu(func(u *url.URL) { u.Path, u.RawPath = u.Path[:strings.LastIndex(u.Path, "/")+1], "" })),
		must("dpop-htu-path-case", "compares the path of htu with its case", "9", harness.Low, "DPOP-AS-12.11 DPOP-RS-11.10", "paths are case-sensitive (RFC 3986 §6.2.2.1)", htu(func(u *url.URL) { u.Path, u.RawPath = otherCase(u.Path), "" })),
		must("dpop-htu-http", "refuses a proof made for http", "9", harness.Critical, "DPOP-AS-12.5 DPOP-RS-11.6", "compare the scheme as well; behind a proxy configure the external URL", htu(func(u *url.URL) { u.Scheme = "http" })),
		must("dpop-htu-elsewhere", "refuses a proof made for another endpoint of the target", "9", harness.Critical, "DPOP-AS-12.7 DPOP-RS-11.3 DPOP-AS-22.4", "compare htu with the URI of the request", func(p *harness.Proof) { p.Claims.Set("htu", p.Facts.Elsewhere) }),
		outside(must("dpop-htu-forwarded-host", "does not believe a client about its own host (X-Forwarded-Host)", "9", harness.High, "DPOP-AS-12.13 DPOP-RS-11.9", believeNobody, forwarded(func(u *url.URL) []harness.Field {
			return []harness.Field{{Name: "X-Forwarded-Host", Value: u.Host}, {Name: "X-Forwarded-Proto", Value: u.Scheme}, {Name: "X-Forwarded-Port", Value: portOf(u)},
				{Name: "X-Forwarded-Server", Value: u.Host}, {Name: "X-Original-Host", Value: u.Host}, {Name: "X-Host", Value: u.Host}}
		}, otherHost))),
		outside(must("dpop-htu-forwarded", "does not believe a client about its own host (Forwarded)", "9", harness.High, "DPOP-AS-12.13 DPOP-RS-11.9", believeNobody, forwarded(func(u *url.URL) []harness.Field {
			return []harness.Field{{Name: "Forwarded", Value: `for=192.0.2.1;host="` + u.Host + `";proto=` + u.Scheme}}
		}, otherHost))),
		outside(must("dpop-htu-forwarded-proto", "does not believe a client about its own scheme (X-Forwarded-Proto)", "9", harness.High, "", believeNobody, forwarded(func(u *url.URL) []harness.Field {
			return []harness.Field{{Name: "X-Forwarded-Proto", Value: u.Scheme}, {Name: "X-Forwarded-Ssl", Value: "off"}, {Name: "Forwarded", Value: "for=192.0.2.1;proto=" + u.Scheme}}
		}, func(u *url.URL) { u.Scheme = "http" }))),
		in(outside(must("dpop-htm-override", "does not let a header replace the method that htm is compared with", "8", harness.Medium, "", "compare htm with the method of the request line", func(p *harness.Proof) {
			p.Claims.Set("htm", "GET")
			p.Send([]harness.Field{{Name: "X-HTTP-Method-Override", Value: "GET"}, {Name: "X-Method-Override", Value: "GET"}, {Name: "X-HTTP-Method", Value: "GET"}})
		})), AtToken, AtPAR),
		mustAccept("dpop-htu-query", "ignores a query in htu", rfc9449("4.3", "9"), harness.Should, harness.Low, "DPOP-AS-13.1 DPOP-RS-12.1", htu(func(u *url.URL) { u.RawQuery = "a=b" })),
		mustAccept("dpop-htu-fragment", "ignores a fragment in htu", rfc9449("4.3", "9"), harness.Should, harness.Low, "DPOP-AS-13.2 DPOP-RS-12.3", htu(func(u *url.URL) { u.Fragment = "part" })),
		mustAccept("dpop-htu-host-case", "compares the host of htu without case", rfc9449("4.3", "9"), harness.Should, harness.Low, "DPOP-AS-13.3 DPOP-RS-12.4", htu(func(u *url.URL) { u.Host = strings.ToUpper(u.Host) })),
		mustAccept("dpop-htu-default-port", "knows the default port in htu", rfc9449("4.3", "9"), harness.Should, harness.Low, "DPOP-AS-13.5 DPOP-RS-12.6", htu(func(u *url.URL) {
			if u.Port() == "" {
				u.Host += ":443"
			}
		})),
		fresh(must("dpop-iat-old", "refuses a proof that is an hour old", "11", harness.High, "DPOP-AS-14.1 DPOP-RS-13.1", "accept proofs for a short time only, or use nonces", iat(-time.Hour))),
		fresh(must("dpop-iat-future", "refuses a proof that is dated an hour ahead", "11", harness.High, "DPOP-AS-14.4 DPOP-RS-13.3", "accept proofs for a short time only, or use nonces", iat(time.Hour))),
		soften(must("dpop-iat-string", "refuses iat as a string", "3", harness.Low, "DPOP-AS-14.7 DPOP-RS-13.5", "require a number", func(p *harness.Proof) {
			p.Claims.Set("iat", unixText())
		}), harness.Hardening, "a malformed time reaches the comparison"),
		mustAccept("dpop-iat-recent", "accepts a proof that is ten seconds old", rfc9449("11.1", ""), harness.Should, harness.Low, "DPOP-AS-14.11 DPOP-RS-13.7", iat(-10*time.Second)),
		soften(must("dpop-jti-empty", "refuses an empty jti", "3", harness.Medium, "DPOP-AS-16.1 DPOP-RS-05.5", "require a jti that can be told from others", claim("jti", "")), harness.Should, "replay cannot be detected by an empty name"),
		in(ProofAttack{Check: Check{ID: "dpop-jti-huge", Title: "survives a jti of 30,000 characters", Clause: rfc9449("11.1", ""), Level: harness.Should, Severity: harness.Low, Threat: harness.DenialOfService,
			Refusal: harness.Refusal{Status: []int{400, 413, 414, 431}, Errors: nil, Where: nil}, Covers: "DPOP-AS-16.3", Why: "the store of used jti can be filled", Fix: "limit the size of proofs; store hashes"},
			Change: claim("jti", strings.Repeat("x", 30000)), NonceDecides: Anyhow}, AtToken),
		in(mustAccept("dpop-jwk-extra-members", "accepts a jwk with kid, use and alg", rfc9449("7.1", ""), harness.Must, harness.Medium, "DPOP-RS-01.6", func(p *harness.Proof) {
			p.Header.Set("jwk", decorated(p))
		}), AtResource),

		{Check: Check{ID: "dpop-ath-missing", Title: "refuses a proof without ath", Clause: rfc9449("4.3", "12"), Level: harness.Must, Severity: harness.Critical, Threat: harness.TokenReplay,
			Covers: "DPOP-RS-15.1", Why: "a proof made for one token works with another one", Fix: "require ath next to an access token"}, Change: dropClaim("ath"), At: []Place{AtResource}},
		{Check: Check{ID: "dpop-ath-random", Title: "refuses a proof with the ath of something else", Clause: rfc9449("4.3", "12"), Level: harness.Must, Severity: harness.Critical, Threat: harness.TokenReplay,
			Covers: "DPOP-RS-15.2", Why: "a proof made for one token works with another one", Fix: "compare ath with the hash of the access token"}, Change: func(p *harness.Proof) { p.Claims.Set("ath", harness.AccessTokenHash(harness.Random(16))) }, At: []Place{AtResource}},
		{Check: Check{ID: "dpop-ath-cut", Title: "compares the whole ath", Clause: rfc9449("4.3", "12"), Level: harness.Must, Severity: harness.High, Threat: harness.TokenReplay,
			Why: "a proof made for one token works with another one", Fix: "compare the whole value"}, Change: func(p *harness.Proof) { p.Claims.Set("ath", harness.AccessTokenHash(p.Facts.Token)[:8]) }, At: []Place{AtResource}},
		{Check: Check{ID: "dpop-ath-padded", Title: "compares ath without repairing it", Clause: rfc9449("4.3", "12"), Level: harness.Hardening, Severity: harness.Low, Threat: harness.TokenReplay,
			Covers: "DPOP-RS-15.6", Why: "values outside the grammar reach the comparison", Fix: "compare the unpadded base64url value"}, Change: func(p *harness.Proof) { p.Claims.Set("ath", harness.AccessTokenHash(p.Facts.Token)+"=") }, At: []Place{AtResource}},
		{Check: Check{ID: "dpop-key-of-attacker", Title: "refuses a stolen token with a perfect proof of another key", Clause: rfc9449("7.1", ""), Level: harness.Must, Severity: harness.Critical, Threat: harness.TokenReplay,
			Covers: "DPOP-RS-16.1", Why: "a stolen token works for the thief: the binding means nothing", Fix: "compare the thumbprint of the proof key with cnf.jkt of the token"},
			Change: func(p *harness.Proof) {
				p.Key = p.Facts.Attacker
				p.Header.Set("alg", p.Key.Alg)
				p.Header.Set("jwk", p.Key.PublicJWK())
			}, At: []Place{AtResource}, Resource: DPoPChallenge("invalid_token", "invalid_dpop_proof")},
	}
}

// HostHeader is a request whose Host names the attacker's site, with a proof that was made for it: one that the attacker's own server
// was given. Its answer needs care, because under another name another site may live.
func HostHeader() ProofAttack {
	return outside(ProofAttack{Check: Check{ID: "dpop-htu-host-header", Title: "does not take its own address from the Host of a request", Clause: rfc9449("4.3", "9"), Level: harness.Should, Severity: harness.Medium,
		Threat: harness.ProofReplay, Covers: "DPOP-AS-12.13 DPOP-RS-11.9", Why: "a proof that another server was given works here", Fix: "take the public address from the configuration; answer only to the names of the site"},
		Change: forwarded(func(u *url.URL) []harness.Field { return []harness.Field{{Name: "Host", Value: u.Host}} }, otherHost)})
}

const believeNobody = "take the public address from the configuration; let the proxy in front delete such headers of clients"

// outside marks rows with headers that a proxy may send: any refusal will do, a redirect to the right address included.
func outside(a ProofAttack) ProofAttack {
	a.Refusal = harness.Refusal{Status: []int{301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 421}}
	a.Resource = a.Refusal
	return a
}

// forwarded makes the proof for another address and sends headers that claim to be of a proxy and name that address.
func forwarded(fields func(u *url.URL) []harness.Field, edit func(u *url.URL)) harness.ProofChange {
	return func(p *harness.Proof) {
		htu(edit)(p)
		s, _ := p.Claims.Get("htu").(string)
		if u, err := url.Parse(s); err == nil {
			p.Send(fields(u))
		}
	}
}

// otherHost keeps the port: a server may put its own behind the host that it is told.
func otherHost(u *url.URL) {
	if port := u.Port(); port != "" {
		u.Host = "attacker.example:" + port
		return
	}
	u.Host = "attacker.example"
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	return map[string]string{"https": "443", "http": "80"}[u.Scheme]
}

// fresh marks rows about time: with the server's own fresh nonce, iat need not count.
func fresh(a ProofAttack) ProofAttack { a.NonceDecides = WithNonce; return a }

func unixText() string {
	text, _ := json.Marshal(time.Now().Unix())
	return string(text)
}

// decorated is the public key with the members that an honest client may add; a thumbprint counts the required ones only (RFC 7638 §3.2).
func decorated(p *harness.Proof) harness.Object {
	jwk := p.Key.PublicJWK()
	jwk.Set("kid", "popcheck-1")
	jwk.Set("use", "sig")
	jwk.Set("alg", p.Key.Alg)
	return jwk
}

// Decorate is the change of dpop-jwk-extra-members, for the check that reads cnf.jkt.
func Decorate(p *harness.Proof) {
	jwk := decorated(p)
	jwk.Set("popcheck", "an unknown member")
	p.Header.Set("jwk", jwk)
}

// otherCase changes the case of every letter.
func otherCase(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsUpper(r) {
			return unicode.ToLower(r)
		}
		return unicode.ToUpper(r)
	}, s)
}

// unlistedAlgorithm signs with the first registered asymmetric algorithm that the metadata does not list.
func unlistedAlgorithm(p *harness.Proof) {
	if alg := UnlistedAlgorithm(p.Facts.Tester.Metadata.Strings("dpop_signing_alg_values_supported")); alg != "" {
		p.Resign(alg, 2048)
	}
}

// UnlistedAlgorithm is the first registered asymmetric algorithm that is not listed, "" when all are.
func UnlistedAlgorithm(listed []string) string {
	for _, alg := range []string{"ES384", "PS256", "ES256", "EdDSA", "RS256"} {
		if !slices.Contains(listed, alg) {
			return alg
		}
	}
	return ""
}
