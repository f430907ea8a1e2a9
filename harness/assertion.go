package harness

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"time"
)

// assertionLifetime is short, because an assertion is used at once (RFC 7523 §3).
const assertionLifetime = time.Minute

// The names of the two uses of an assertion, as parameters and in evidence.
const (
	clientAssertion = "client_assertion" // authenticates a client (RFC 7523 §2.2)
	grantAssertion  = "assertion"        // is the grant (RFC 7523 §2.1)
)

// Assertion is a JWT that speaks for a client or for the subject of a grant, before it is spelt (RFC 7523 §3).
type Assertion struct {
	signedJWT
	Facts AssertionFacts
}

// AssertionFacts is what an attacker has at hand when an assertion is changed: keys of its own, and what is public.
type AssertionFacts struct {
	Tester   *Tester
	Attacker *Key    // of the algorithm that the honest assertion has
	Other    *Client // another client of the target, nil where the attack has none
	OtherKey *Key    // with which that client signs, nil for none
	// Another makes one more honest assertion.
	Another func() string
}

// AssertionChange is the one defect of an attack.
type AssertionChange func(*Assertion)

// asserts reports whether the client authenticates by a JWT (RFC 7523 §2.2).
func (c *Client) asserts() bool {
	return c.TokenEndpointAuthMethod == methodPrivateKey || c.TokenEndpointAuthMethod == methodSecretJWT
}

// honestClientAssertion is RFC 7523 §3 with iss and sub the client, signed with its key or its secret.
func (t *Tester) honestClientAssertion(c *Client) signedJWT {
	j := t.honestAssertion(t.keys.assertions[c.called()], c.ClientID, c.ClientID, valueOr(t.keys.audience(c), t.Target.Issuer))
	if c.TokenEndpointAuthMethod == methodSecretJWT {
		j.Header = Object{{"alg", "HS256"}, {"typ", "JWT"}}
		j.Sign = func(input string) ([]byte, error) { return HMAC256([]byte(c.ClientSecret), input), nil }
	}
	return j
}

// honestGrantAssertion is an assertion of the issuer whose key the tester holds.
func (t *Tester) honestGrantAssertion() (signedJWT, error) {
	i := t.Target.AssertionIssuer
	if i == nil {
		return signedJWT{}, fmt.Errorf("the target file names no assertion_issuer")
	}
	return t.honestAssertion(t.keys.issuer, i.Issuer, i.Subject, valueOr(i.Audience, t.Target.Issuer)), nil
}

func (t *Tester) honestAssertion(key *Key, iss, sub, aud string) signedJWT {
	now := time.Now()
	j := signedJWT{Claims: Object{{"iss", iss}, {"sub", sub}, {"aud", aud}, {"jti", Random(16)},
		{"iat", now.Unix()}, {"exp", now.Add(assertionLifetime).Unix()}}}
	if key == nil {
		return j
	}
	alg := t.assertionAlg(key)
	j.Key, j.Header = key, Object{{"alg", alg}, {"typ", "JWT"}}
	j.Sign = func(input string) ([]byte, error) { return signJWS(alg, key.private, input) }
	if key.KeyID != "" {
		j.Header.Set("kid", key.KeyID)
	}
	return j
}

// AssertionAlg is the algorithm of a client's assertions, "" where it has no key.
func (t *Tester) AssertionAlg(c *Client) string {
	if key := t.keys.assertions[c.called()]; key != nil {
		return t.assertionAlg(key)
	}
	return ""
}

// assertionAlg is the algorithm of a client's key; an RSA key has several, and the metadata says which the server knows (RFC 8414 §2).
func (t *Tester) assertionAlg(k *Key) string {
	listed := t.Metadata.Strings("token_endpoint_auth_signing_alg_values_supported")
	if k.Alg == "PS256" && !slices.Contains(listed, "PS256") && slices.Contains(listed, "RS256") {
		return "RS256"
	}
	return k.Alg
}

// assert puts an assertion into its parameter. Honest and attacked ones are made here, and differ in the change only.
func (t *Tester) assert(m *Message, parameter string, honest func() (signedJWT, error), change AssertionChange, against *Client) error {
	plain, err := honest()
	if err != nil {
		return err
	}
	sent := &Assertion{signedJWT: plain.clone()}
	if change != nil {
		alg, _ := plain.Header.Get("alg").(string)
		sent.Facts = AssertionFacts{Tester: t, Attacker: t.attackerKey(alg), Other: against, Another: func() string {
			another, err := honest()
			if err != nil {
				return ""
			}
			compact, _ := another.compact()
			t.Redactor.Register(parameter, compact)
			return compact
		}}
		if against != nil {
			sent.Facts.OtherKey = t.keys.assertions[against.called()]
		}
		change(sent)
	}
	compact, err := sent.compact()
	if err != nil {
		return err
	}
	t.Redactor.Register(parameter, compact)
	m.Params.Set(parameter, compact)
	shown, changed := sent.evidence(plain, parameter+" JWT", parameter)
	if len(shown.Header) > 0 {
		m.decoded = append(m.decoded, shown)
	}
	m.changed = append(m.changed, changed...)
	return nil
}

// RequestObject is an authorization request that its client signs (RFC 9101 §4): the parameters as claims. A client without a key
// cannot make one.
func (t *Tester) RequestObject(c *Client, params Params) (string, error) {
	key := t.keys.assertions[c.called()]
	if key == nil {
		return "", fmt.Errorf("client %s has no key", c.called())
	}
	j := t.honestAssertion(key, c.ClientID, c.ClientID, t.Target.Issuer)
	j.Header.Set("typ", "oauth-authz-req+jwt")
	j.Claims.Drop("sub") // so that it is no client assertion (RFC 9101 §10.8)
	for _, p := range params {
		j.Claims.Set(p.Name, p.Value)
	}
	compact, err := j.compact()
	t.Redactor.Register("request_object", compact)
	return compact, err
}

// attackerKey is a key of the attacker's own for an algorithm; for a MAC it is one of ES256, which no such server takes.
func (t *Tester) attackerKey(alg string) *Key {
	return t.ringKey("attacker of assertions "+alg, alg)
}

// PublicForms are the texts in which a server may keep a public key, each of which could be mistaken for a secret: PEM with and
// without its last line break, and JWK with its members in the usual order and in that of RFC 7638.
func (k *Key) PublicForms() (asPEM, asJWK [][]byte) {
	var public any
	if k.public.Raw(&public) == nil {
		if der, err := x509.MarshalPKIXPublicKey(public); err == nil {
			text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
			asPEM = [][]byte{text, bytes.TrimSpace(text)}
		}
	}
	members := map[string]any{}
	for _, m := range k.PublicJWK() {
		members[m.Name] = m.Value
	}
	for _, form := range []any{k.PublicJWK(), members} { // a map is marshalled in lexical order
		if text, err := json.Marshal(form); err == nil {
			asJWK = append(asJWK, text)
		}
	}
	return asPEM, asJWK
}
