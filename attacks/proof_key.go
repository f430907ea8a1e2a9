package attacks

import (
	"cmp"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"

	"github.com/popcheck/popcheck/harness"
)

// signature changes the signature of the proof's own key.
func signature(what string, edit func(raw []byte) []byte) harness.ProofChange {
	return func(p *harness.Proof) {
		p.Altered("signature, " + what)
		key := p.Key
		p.Sign = func(input string) ([]byte, error) {
			raw, err := key.Sign(input)
			if err != nil {
				return nil, err
			}
			return edit(raw), nil
		}
	}
}

// signedFor signs a proof with other members than those that are sent.
func signedFor(what string, key func(p *harness.Proof) *harness.Key, edit func(p *harness.Proof, header, claims *harness.Object)) harness.ProofChange {
	return func(p *harness.Proof) {
		p.Altered(what)
		p.Sign = func(string) ([]byte, error) {
			header, claims := slices.Clone(p.Header), slices.Clone(p.Claims)
			edit(p, &header, &claims)
			h, err := json.Marshal(header)
			if err != nil {
				return nil, err
			}
			c, err := json.Marshal(claims)
			if err != nil {
				return nil, err
			}
			return key(p).Sign(base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(c))
		}
	}
}

// asDER is an ECDSA signature as other protocols spell it.
func asDER(raw []byte) []byte {
	half := len(raw) / 2
	der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:half]), new(big.Int).SetBytes(raw[half:])})
	if err != nil {
		return nil
	}
	return der
}

func unsignedAs(alg string) harness.ProofChange {
	return func(p *harness.Proof) {
		p.Header.Set("alg", alg)
		p.Sign = func(string) ([]byte, error) { return nil, nil }
	}
}

const listed = "allow a fixed list of asymmetric algorithms, by their exact names"

// proofAlgorithms are algorithms that are none, or do not fit (RFC 9449 §4.3 item 5).
func proofAlgorithms() []ProofAttack {
	const other = "the algorithm of the header is not the one that is used: what it forbids is not forbidden"
	return []ProofAttack{
		refusesProof("dpop-alg-none", "refuses an unsigned proof (alg none)", "5", harness.Critical, "DPOP-AS-08.1 DPOP-RS-07.1", "allow a fixed list of asymmetric algorithms", unsignedAs("none")),
		placed(refusesProof("dpop-alg-symmetric", "refuses a symmetric key in the proof (HS256 with an oct jwk)", "5", harness.Critical, "DPOP-AS-08.3 DPOP-RS-07.4", "allow a fixed list of asymmetric algorithms", func(p *harness.Proof) {
			secret := harness.Random(32)
			p.Facts.Tester.Redactor.Register("private_key", base64.RawURLEncoding.EncodeToString([]byte(secret)))
			p.Header.Set("alg", "HS256")
			p.Header.Set("jwk", harness.Object{{Name: "kty", Value: "oct"}, {Name: "k", Value: base64.RawURLEncoding.EncodeToString([]byte(secret))}})
			p.Sign = func(input string) ([]byte, error) { return harness.HMAC256([]byte(secret), input), nil }
		}), AtToken, AtPAR, AtResource),
		refusesProof("dpop-alg-confusion", "refuses a MAC keyed with the public key (HS256)", "5", harness.Critical, "DPOP-AS-08.4 DPOP-RS-07.3", "choose the algorithm by the type of the key", func(p *harness.Proof) {
			p.Header.Set("alg", "HS256")
			public, err := json.Marshal(p.Key.PublicJWK())
			p.Sign = func(input string) ([]byte, error) { return harness.HMAC256(public, input), err }
		}),
		otherKey(placed(softened(refusesProof("dpop-alg-unlisted", "refuses an algorithm that its metadata does not list", "5", harness.Low, "DPOP-AS-08.7", "keep the list and the code together", unlistedAlgorithm),
			harness.Hardening, "the published list is not the whole truth: clients and auditors cannot rely on it"), AtToken, AtPAR)),
		once(refusesProof("dpop-alg-none-capitalised", "refuses an unsigned proof (alg None)", "5", harness.Critical, "DPOP-AS-08.2 DPOP-RS-07.2", listed, unsignedAs("None"))),
		once(refusesProof("dpop-alg-none-mixed-case", "refuses an unsigned proof (alg nOnE)", "5", harness.Critical, "DPOP-AS-08.2 DPOP-RS-07.2", listed, unsignedAs("nOnE"))),
		once(softened(refusesProof("dpop-alg-missing", "refuses a proof without alg", "5", harness.Medium, "DPOP-AS-08.5 DPOP-RS-07.5", listed, dropHeader("alg")), harness.Should, other)),
		placed(once(softened(refusesProof("dpop-alg-unregistered", "refuses an algorithm that nobody registered", "5", harness.Medium, "DPOP-AS-08.6", listed, header("alg", "XS256")), harness.Should, other)), AtToken),
		placed(once(softened(refusesProof("dpop-alg-of-other-kind", "refuses an RSA signature under the name of an ECDSA one", "5", harness.Medium, "DPOP-AS-08.8", "verify with the algorithm of the header, and require a key of its kind", func(p *harness.Proof) {
			p.Resign("RS256", 2048)
			p.Header.Set("alg", "ES256")
		}), harness.Should, other)), AtToken),
		placed(once(softened(refusesProof("dpop-alg-other-curve", "refuses a key of another curve than the algorithm's", "5", harness.Medium, "DPOP-AS-08.9", "ES256 is for P-256 alone (RFC 7518 §3.4)", func(p *harness.Proof) {
			p.Resign("ES384", 0)
			p.Header.Set("alg", "ES256")
			p.Sign = p.Key.As("ES256").Sign
		}), harness.Should, other)), AtToken),
	}
}

// proofSignatures are signatures that do not verify, or only loosely (RFC 9449 §4.3 item 6).
func proofSignatures() []ProofAttack {
	const verify, spellings = "verify the signature with the jwk of the header", "one proof has several spellings: what compares proofs as text is fooled"
	own := func(p *harness.Proof) *harness.Key { return p.Key }
	attacker := func(p *harness.Proof) *harness.Key { return p.Facts.Attacker }
	return []ProofAttack{
		refusesProof("dpop-signed-by-other-key", "refuses a proof that is not signed by the key it carries", "6", harness.Critical, "DPOP-AS-09.1 DPOP-RS-08.1 DPOP-AS-28.2", "verify the signature with the jwk of the header", func(p *harness.Proof) {
			p.Altered("signature, by another key")
			p.Sign = p.Facts.Attacker.Sign
		}),
		refusesProof("dpop-signature-bit", "refuses a proof with one bit of its signature changed", "6", harness.Critical, "DPOP-AS-09.2 DPOP-RS-08.2 DPOP-AS-18.1 DPOP-AS-18.3 DPOP-AS-19.4 DPOP-AS-22.3", "verify the signature", signature("one bit", oneBit)),
		once(refusesProof("dpop-signature-empty", "refuses an empty signature", "6", harness.Critical, "DPOP-AS-09.3 DPOP-RS-08.3", verify, signature("left empty", func([]byte) []byte { return nil }))),
		once(refusesProof("dpop-signature-zero", "refuses a signature of zeros", "6", harness.Critical, "DPOP-AS-09.6 DPOP-RS-08.5", "use a library that checks r and s", signature("all zero", func(raw []byte) []byte { return make([]byte, len(raw)) }))),
		once(refusesProof("dpop-signature-payload", "refuses a proof whose htu was changed after it was signed", "6", harness.Critical, "DPOP-AS-09.4 DPOP-RS-08.4", verify,
			signedFor("signature, over another htu", own, func(p *harness.Proof, _, claims *harness.Object) { claims.Set("htu", p.Facts.Elsewhere) }))),
		placed(once(refusesProof("dpop-signature-header", "refuses a proof whose key was changed after it was signed", "6", harness.Critical, "DPOP-AS-09.5", verify,
			signedFor("signature, over another jwk", attacker, func(p *harness.Proof, header, _ *harness.Object) { header.Set("jwk", p.Facts.Attacker.PublicJWK()) }))), AtToken),
		placed(once(softened(refusesProof("dpop-signature-der", "refuses an ECDSA signature in DER", "6", harness.Low, "DPOP-AS-09.7", "take R and S of fixed length only (RFC 7518 §3.4)", signature("in DER", asDER)), harness.Hardening, spellings)), AtToken),
		placed(once(softened(refusesProof("dpop-signature-longer", "refuses a signature with further bytes", "6", harness.Low, "DPOP-AS-09.8", "take signatures of the right length only", signature("with two more bytes", func(raw []byte) []byte {
			return append(slices.Clone(raw), 0, 1)
		})), harness.Hardening, spellings)), AtToken),
	}
}

// proofKeys are keys that are private, weak, or not there (RFC 9449 §4.3 item 7, §4.2).
func proofKeys() []ProofAttack {
	const embedded = "require jwk; fetch nothing, and look nothing up"
	return []ProofAttack{
		softened(refusesProof("dpop-jwk-private", "refuses a proof that carries a private key", "7", harness.High, "DPOP-AS-10.1 DPOP-RS-09.1 DPOP-AS-22.6", "refuse a jwk with private members", func(p *harness.Proof) {
			p.Header.Set("jwk", p.Key.PrivateJWK())
		}), harness.Must, "a client that publishes its private key is served: its tokens are bound to nothing"),
		refusesProof("dpop-jwk-missing", "refuses a proof without a key", "6", harness.High, "DPOP-AS-10.3 DPOP-RS-09.2", "require jwk", dropHeader("jwk")),
		refusesProof("dpop-kid-instead-of-jwk", "refuses a proof that only names its key (kid)", "6", harness.High, "DPOP-AS-10.4 DPOP-RS-09.3", "require jwk; do not look keys up", func(p *harness.Proof) {
			p.Header.Drop("jwk")
			p.Header.Set("kid", p.Key.Thumbprint())
		}),
		otherKey(placed(softened(refusesProof("dpop-rsa-1024", "refuses an RSA key of 1024 bits", "5", harness.Medium, "DPOP-AS-10.9", "require at least 2048 bits (RFC 7518 §3.3)", func(p *harness.Proof) {
			p.Resign(rsaFor(p), 1024)
		}), harness.Should, "the key can be broken, and with it the binding"), AtToken, AtPAR)),
		placed(once(refusesProof("dpop-jwk-private-rsa", "refuses a proof that carries a private RSA key", "7", harness.High, "DPOP-AS-10.2", "refuse a jwk with private members", func(p *harness.Proof) {
			p.Resign(rsaFor(p), 2048)
			p.Header.Set("jwk", p.Key.PrivateJWK())
		})), AtToken),
		once(refusesProof("dpop-jku-instead-of-jwk", "refuses a proof that names an address of its key (jku, x5u)", "6", harness.High, "DPOP-AS-10.5 DPOP-RS-09.4", embedded, func(p *harness.Proof) {
			p.Header.Drop("jwk")
			p.Header.Set("jku", "https://attacker.popcheck.example/jwks.json")
			p.Header.Set("x5u", "https://attacker.popcheck.example/chain.pem")
		})),
		placed(once(refusesProof("dpop-x5c-instead-of-jwk", "refuses a proof that brings a certificate of its key (x5c)", "6", harness.High, "DPOP-AS-10.6", embedded, func(p *harness.Proof) {
			p.Header.Drop("jwk")
			p.Header.Set("x5c", []string{base64.StdEncoding.EncodeToString(p.Key.SelfSigned())})
		})), AtToken),
		placed(once(softened(refusesProof("dpop-jwk-text", "refuses a jwk that is a string", "6", harness.Low, "DPOP-AS-10.7", "jwk is a JSON object", func(p *harness.Proof) {
			text, err := json.Marshal(p.Key.PublicJWK())
			if err == nil {
				p.Header.Set("jwk", string(text))
			}
		}), harness.Hardening, "a value of another type is repaired instead of refused")), AtToken),
		placed(once(refusesProof("dpop-jwk-off-curve", "refuses a key that is not on its curve", "6", harness.High, "DPOP-AS-10.8", "use a library that checks points", func(p *harness.Proof) {
			jwk := p.Key.PublicJWK()
			jwk.Set("y", jwk.Get("x"))
			p.Header.Set("jwk", jwk)
		})), AtToken),
		placed(once(softened(refusesProof("dpop-rsa-exponent-one", "refuses an RSA key with the exponent 1", "5", harness.High, "DPOP-AS-10.10", "refuse keys that protect nothing", func(p *harness.Proof) {
			alg := rsaFor(p)
			p.Resign(alg, 2048)
			jwk := p.Key.PublicJWK()
			jwk.Set("e", "AQ")
			p.Header.Set("jwk", jwk)
			p.Sign = func(input string) ([]byte, error) { return harness.EncodedDigest(alg, input), nil } // which is its own signature
		}), harness.Should, "everybody can sign for such a key: the token is bound to nothing")), AtToken),
	}
}

func otherKey(a ProofAttack) ProofAttack {
	a.OtherKey = true
	return a
}

// rsaFor is an RSA algorithm that the server of a proof takes, as far as its metadata tells.
func rsaFor(p *harness.Proof) string {
	return cmp.Or(RSAAlgorithm(p.Facts.Tester.Metadata.Strings("dpop_signing_alg_values_supported")), "RS256")
}

// RSAAlgorithm is the RSA algorithm with SHA-256 of a list; RS256 where there is no list, "" where a list has none.
func RSAAlgorithm(list []string) string {
	if len(list) == 0 {
		return "RS256"
	}
	for _, alg := range list {
		if slices.Contains([]string{"RS256", "PS256"}, alg) {
			return alg
		}
	}
	return ""
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

// Reorder writes the members of the key backwards: a thumbprint sorts them (RFC 7638 §3.3).
func Reorder(p *harness.Proof) {
	jwk := p.Key.PublicJWK()
	slices.Reverse(jwk)
	p.Header.Set("jwk", jwk)
	p.Altered("jwk, in another order")
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

func oneBit(raw []byte) []byte {
	raw[len(raw)/2] ^= 1
	return raw
}
