package attacks

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/popcheck/popcheck/harness"
)

// twoFields sends two DPoP header fields; pair gets the proof of the request.
func twoFields(pair func(p *harness.Proof, one string) [2]string) harness.ProofChange {
	return func(p *harness.Proof) {
		p.Altered("header field, twice")
		p.Fields = func(one string) []harness.Field {
			two := pair(p, one)
			return []harness.Field{{Name: "DPoP", Value: two[0]}, {Name: "DPoP", Value: two[1]}}
		}
	}
}

// inOneField puts two proofs into one header field, with something between them.
func inOneField(between string) harness.ProofChange {
	return func(p *harness.Proof) {
		p.Altered("header field, two proofs joined")
		p.Fields = func(one string) []harness.Field {
			return []harness.Field{{Name: "DPoP", Value: one + between + p.Facts.Another()}}
		}
	}
}

// assembled spells a proof in a way of its own; sign is the proof's own key.
func assembled(what string, spell func(header, payload string, sign func(input string) []byte) string) harness.ProofChange {
	return func(p *harness.Proof) {
		p.Altered(what)
		p.Spell = func(input, _ string) string {
			header, payload, _ := strings.Cut(input, ".")
			return spell(header, payload, signedBy(p.Key))
		}
	}
}

// payload replaces the claims by something else, signed all the same. The nonce goes with them, so that it may be asked for.
func payload(what, text string) harness.ProofChange {
	return func(p *harness.Proof) {
		p.Pin(what)
		p.Spell = func(input, _ string) string {
			header, _, _ := strings.Cut(input, ".")
			input = header + "." + base64.RawURLEncoding.EncodeToString([]byte(text))
			return input + "." + base64.RawURLEncoding.EncodeToString(signedBy(p.Key)(input))
		}
	}
}

// orNonce marks rows without a nonce, which a server may ask for before it looks at the rest.
func orNonce(a ProofAttack) ProofAttack {
	a.Refusal.Errors = append(slices.Clone(a.Refusal.Errors), "use_dpop_nonce")
	a.Resource = DPoPChallenge(a.Refusal.Errors...)
	return a
}

func signedBy(key *harness.Key) func(input string) []byte {
	return func(input string) []byte {
		raw, err := key.Sign(input)
		if err != nil {
			return nil
		}
		return raw
	}
}

// standardBase64 is the padded encoding of RFC 4648 §4; what was signed is what is sent. A proof may by chance be spelt alike in both
// alphabets: a further member has + and / in it wherever it begins.
func standardBase64(header, payload string, sign func(string) []byte) string {
	again := func(segment, further string) string {
		raw, err := base64.RawURLEncoding.DecodeString(segment)
		if err != nil {
			return segment
		}
		return base64.StdEncoding.EncodeToString([]byte(strings.Replace(string(raw), "{", "{"+further, 1)))
	}
	input := again(header, "") + "." + again(payload, `"popcheck":">>>???",`)
	return input + "." + base64.StdEncoding.EncodeToString(sign(input))
}

// flattened is the JSON serialisation of a JWS (RFC 7515 §7.2.2).
func flattened(header, payload string, sign func(string) []byte) string {
	text, err := json.Marshal(map[string]string{"protected": header, "payload": payload, "signature": base64.RawURLEncoding.EncodeToString(sign(header + "." + payload))})
	if err != nil {
		return ""
	}
	return string(text)
}

// unencoded is a payload as RFC 7797 allows it. Its periods are escaped, so that they end no part.
func unencoded(header, payload string, sign func(string) []byte) string {
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return ""
	}
	input := header + "." + strings.ReplaceAll(string(raw), ".", `\u002e`)
	return input + "." + base64.RawURLEncoding.EncodeToString(sign(input))
}

// emptyField is a DPoP header field with nothing in it.
func emptyField(p *harness.Proof) {
	p.Altered("header field, empty")
	p.Fields = func(string) []harness.Field { return []harness.Field{{Name: "DPoP", Value: ""}} }
}

// EmptyField is the change of dpop-header-empty, for the check of clients that must send proofs.
func EmptyField(p *harness.Proof) { emptyField(p) }

// proofForms are the defects of the header field and of the JWT in it (RFC 9449 §4.3 items 1 and 2).
func proofForms() []ProofAttack {
	const oneJWT, readers = "parse the header field as one compact JWT", "two readers in a chain may see different proofs"
	return []ProofAttack{
		refusesProof("dpop-two-proofs", "refuses two proofs in two header fields", "1", harness.Medium, "DPOP-AS-04.1 DPOP-RS-03.1", "require exactly one DPoP header field", twoFields(func(p *harness.Proof, one string) [2]string { return [2]string{one, p.Facts.Another()} })),
		refusesProof("dpop-same-proof-twice", "refuses the same proof in two header fields", "1", harness.Medium, "DPOP-AS-04.2 DPOP-RS-03.2", "require exactly one DPoP header field", twoFields(func(_ *harness.Proof, one string) [2]string { return [2]string{one, one} })),
		refusesProof("dpop-two-proofs-joined", "refuses two proofs joined by a comma", "2", harness.Medium, "DPOP-AS-05.1 DPOP-RS-04.1", "parse the header field as one JWT", inOneField(", ")),
		refusesProof("dpop-no-signature-part", "refuses a proof without its signature part", "2", harness.Critical, "DPOP-AS-05.3 DPOP-RS-04.2", "require three parts and verify the signature", func(p *harness.Proof) {
			p.Altered("signature part, left out")
			p.Spell = func(input, _ string) string { return input }
		}),
		placed(refusesProof("dpop-garbage", "refuses a header field that is no JWT", "2", harness.Medium, "DPOP-AS-05.6", "refuse what cannot be parsed; do not treat it as absent", garbage), AtToken, AtPAR),
		refusesProof("dpop-four-parts", "refuses a proof with a fourth part", "2", harness.Medium, "DPOP-AS-05.4 DPOP-RS-04.3", "require exactly three parts", func(p *harness.Proof) {
			p.Altered("a fourth part")
			p.Spell = func(input, signature string) string { return input + "." + signature + "." + signature }
		}),
		once(softened(refusesProof("dpop-two-proofs-first-valid", "refuses a broken proof behind a valid one", "1", harness.Medium, "DPOP-AS-04.3 DPOP-RS-03.3", "require exactly one DPoP header field",
			twoFields(func(p *harness.Proof, one string) [2]string {
				return [2]string{one, p.Facts.Tester.Altered(p.Facts.Another())}
			})), harness.Should, readers)),
		once(softened(refusesProof("dpop-two-proofs-second-valid", "refuses a broken proof before a valid one", "1", harness.Medium, "DPOP-AS-04.4 DPOP-RS-03.4", "require exactly one DPoP header field",
			twoFields(func(p *harness.Proof, one string) [2]string {
				return [2]string{p.Facts.Tester.Altered(p.Facts.Another()), one}
			})), harness.Should, readers)),
		placed(once(softened(refusesProof("dpop-two-proofs-spaced", "refuses two proofs joined by a space", "2", harness.Medium, "DPOP-AS-05.2", oneJWT, inOneField(" ")), harness.Should, readers)), AtToken),
		placed(once(softened(refusesProof("dpop-five-parts", "refuses a proof of five parts", "2", harness.Medium, "DPOP-AS-05.5", "require exactly three parts", func(p *harness.Proof) {
			p.Altered("two further parts")
			p.Spell = func(input, signature string) string {
				return input + "." + signature + "." + signature + "." + signature
			}
		}), harness.Should, readers)), AtToken),
		placed(once(eitherProof("dpop-header-empty", "an empty header field is no proof, or a bad one", rfc9449("4.3", "2"), "DPOP-AS-05.7", emptyField)), AtToken),
		placed(once(challenged(refusesProof("dpop-proof-empty", "refuses a bound token with an empty header field for a proof", "2", harness.Critical, "DPOP-RS-02.2", "an empty header field is no proof", emptyField), "invalid_token", "invalid_dpop_proof", "invalid_request")), AtResource),
		placed(once(orNonce(refusesProof("dpop-payload-array", "refuses a proof whose claims are an array", "2", harness.High, "DPOP-AS-05.8", "the claims are a JSON object: refuse anything else", payload("claims, an array", "[]")))), AtToken),
		once(orNonce(refusesProof("dpop-payload-text", "refuses a proof whose claims are no JSON", "2", harness.High, "DPOP-AS-05.9 DPOP-RS-04.4", "the claims are a JSON object: refuse anything else", payload("claims, no JSON", "popcheck")))),
		placed(once(softened(refusesProof("dpop-standard-base64", "refuses a proof in padded standard base64", "2", harness.Low, "DPOP-AS-05.10", "decode base64url without padding, and nothing else", assembled("encoding", standardBase64)),
			harness.Hardening, "one proof has several spellings: what compares proofs as text is fooled")), AtToken),
		once(softened(refusesProof("dpop-json-serialisation", "refuses a proof in JSON serialisation", "2", harness.Low, "DPOP-AS-05.11 DPOP-RS-04.5", oneJWT, assembled("serialisation", flattened)),
			harness.Should, "JSON serialisation has a header that is not signed, in which the key may be another one")),
		placed(once(softened(refusesProof("dpop-claim-twice", "refuses a proof that names two addresses", "2", harness.Low, "DPOP-AS-05.12", "refuse members that come twice (RFC 7519 §4)", func(p *harness.Proof) {
			p.Claims = append(p.Claims, harness.ObjectMember{Name: "htu", Value: p.Facts.Elsewhere})
		}), harness.Hardening, readers)), AtToken),
		once(survivesProof("dpop-proof-huge", "survives a proof of 100 kB", "DPOP-AS-05.13 DPOP-RS-04.6", "limit the size of header fields", func(p *harness.Proof) {
			p.Claims.Set("popcheck", strings.Repeat("x", 75000)) // 100 kB as base64
		})),
		crit("dpop-crit-unknown", "refuses a critical header parameter that it does not know", harness.Must, "DPOP-AS-29.1", func(p *harness.Proof) {
			p.Header.Set("crit", []string{"popcheck"})
			p.Header.Set("popcheck", true)
		}),
		crit("dpop-crit-b64", "refuses a proof whose payload is not encoded (b64)", harness.Hardening, "DPOP-AS-29.2", func(p *harness.Proof) {
			p.Header.Set("crit", []string{"b64"})
			p.Header.Set("b64", false)
			assembled("claims, not encoded", unencoded)(p)
		}),
		crit("dpop-crit-empty", "refuses an empty list of critical header parameters", harness.Hardening, "DPOP-AS-29.3", header("crit", []string{})),
		once(acceptsProof("dpop-extra-members", "accepts a proof with further header parameters and claims", rfc9449("4.2", ""), harness.Should, harness.Low, "DPOP-AS-01.4", func(p *harness.Proof) {
			p.Header.Set("popcheck", "an unknown parameter")
			p.Claims.Set("https://popcheck.example/claim", "an unknown claim")
		})),
	}
}

// crit is a row about critical header parameters. Nobody wins by them what a proof could not do without.
func crit(id, title string, level harness.Level, covers string, change harness.ProofChange) ProofAttack {
	return placed(once(ProofAttack{Check: Check{ID: id, Title: title, Clause: rfc7515("4.1.11"), Level: level, Severity: harness.Low, Threat: harness.ProofReplay,
		Refusal: InvalidDPoPProof(), Covers: covers, Why: "a rule that the sender called critical is not followed", Fix: "refuse every crit whose parameters are not understood"}, Change: change}), AtToken)
}

// proofClaims are claims that are missing or of another type (RFC 9449 §4.3 item 3).
func proofClaims() []ProofAttack {
	const types, meanings = "check the type of each claim before comparing it", "a value of another type is repaired instead of refused"
	return []ProofAttack{
		refusesProof("dpop-no-jti", "refuses a proof without jti", "3", harness.High, "DPOP-AS-06.1 DPOP-RS-05.1", "require jti", dropClaim("jti")),
		refusesProof("dpop-no-htm", "refuses a proof without htm", "3", harness.High, "DPOP-AS-06.2 DPOP-RS-05.2", "require htm", dropClaim("htm")),
		refusesProof("dpop-no-htu", "refuses a proof without htu", "3", harness.High, "DPOP-AS-06.3 DPOP-RS-05.3", "require htu", dropClaim("htu")),
		refusesProof("dpop-no-iat", "refuses a proof without iat", "3", harness.High, "DPOP-AS-06.4 DPOP-RS-05.4", "require iat", dropClaim("iat")),
		placed(once(refusesProof("dpop-no-claims", "refuses a proof without any claim", "3", harness.High, "DPOP-AS-06.5", "require jti, htm, htu and iat", func(p *harness.Proof) {
			p.Claims = slices.DeleteFunc(p.Claims, func(m harness.ObjectMember) bool { return m.Name != "nonce" }) // without it, another answer is asked for
		})), AtToken),
		placed(once(softened(refusesProof("dpop-jti-number", "refuses a number as jti", "3", harness.Low, "DPOP-AS-06.6", types, func(p *harness.Proof) {
			p.Claims.Set("jti", time.Now().UnixNano())
		}), harness.Hardening, meanings)), AtToken),
		placed(once(softened(refusesProof("dpop-htm-array", "refuses an array as htm", "3", harness.Low, "DPOP-AS-06.7", types, func(p *harness.Proof) {
			p.Claims.Set("htm", []string{p.Facts.Method})
		}), harness.Hardening, meanings)), AtToken),
		placed(once(softened(refusesProof("dpop-htu-array", "refuses an array as htu", "3", harness.Low, "DPOP-AS-06.8", types, func(p *harness.Proof) {
			p.Claims.Set("htu", []any{p.Claims.Get("htu")})
		}), harness.Hardening, meanings)), AtToken),
	}
}

// proofTypes are other kinds of JWT (RFC 9449 §4.3 item 4).
func proofTypes() []ProofAttack {
	return []ProofAttack{
		refusesProof("dpop-typ-missing", "refuses a proof without typ", "4", harness.High, "DPOP-AS-07.1 DPOP-RS-06.1", "require typ dpop+jwt", dropHeader("typ")),
		refusesProof("dpop-typ-jwt", "refuses another kind of JWT as proof", "4", harness.High, "DPOP-AS-07.2 DPOP-RS-06.2", "require typ dpop+jwt", header("typ", "JWT")),
		refusesProof("dpop-typ-longer", "refuses a typ that only begins like that of a proof", "4", harness.Medium, "DPOP-AS-07.4 DPOP-RS-06.3", "compare the whole value", header("typ", "dpop+jwtx")),
		once(eitherProof("dpop-typ-case", "typ is compared as a media type", rfc9449("4.3", "4"), "DPOP-AS-07.6 DPOP-RS-06.4", header("typ", "DPOP+JWT"))),
		placed(once(refusesProof("dpop-typ-access-token", "refuses the typ of an access token", "4", harness.High, "DPOP-AS-07.3", "require typ dpop+jwt", header("typ", "at+jwt"))), AtToken),
		placed(once(refusesProof("dpop-client-assertion", "refuses a client assertion as proof", "4", harness.High, "DPOP-AS-07.5", "require typ dpop+jwt, and the claims of a proof", asClientAssertion)), AtToken),
		once(eitherProof("dpop-typ-application", "typ is compared with or without application/", rfc9449("4.3", "4"), "DPOP-AS-07.7 DPOP-RS-06.5", header("typ", "application/dpop+jwt"))),
	}
}

// asClientAssertion makes the proof what the same key would sign to authenticate its client (RFC 7523 §3).
func asClientAssertion(p *harness.Proof) {
	p.Header.Set("typ", "JWT")
	p.Header.Drop("jwk")
	p.Claims.Drop("htm")
	p.Claims.Drop("htu")
	p.Claims.Set("iss", p.Key.Name)
	p.Claims.Set("sub", p.Key.Name)
	p.Claims.Set("aud", p.Facts.Tester.Target.Issuer)
	p.Claims.Set("exp", time.Now().Add(time.Minute).Unix())
}

// NothingRight are headers in which nothing is right: one that is no JWT, and one whose every part is another. Who takes both does not
// look at proofs. That is said once, by the rows that Unread names, and not by each defect that is not seen either.
func NothingRight() []harness.ProofChange {
	return []harness.ProofChange{
		garbage,
		func(p *harness.Proof) {
			for _, change := range []harness.ProofChange{header("typ", "JWT"), claim("htm", "TRACE"), htu(func(u *url.URL) { u.Host = "attacker.example" }), iat(-time.Hour), dropClaim("jti"),
				signature("one bit", oneBit)} {
				change(p)
			}
		},
	}
}

// Unread are the rows that fail where proofs are not looked at.
func Unread() []string { return []string{"dpop-garbage", "dpop-signature-bit"} }

func garbage(p *harness.Proof) {
	p.Altered("whole value")
	p.Spell = func(string, string) string { return "garbage" }
}
