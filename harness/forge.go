package harness

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"slices"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

// Forgery is an honest JWT access token taken apart, and what an attacker has to put it together again: its own signature, the
// key that the server publishes, and keys of the attacker's own.
type Forgery struct {
	Header, Claims Object
	Compact        string // the honest token
	// OtherSubject is the sub of another user, as the server knows it; where none can be had, one that nobody has.
	OtherSubject func() string

	tester    *Tester
	signature string          // as it came
	published json.RawMessage // the server's public key, nil when it publishes none
}

// Forge takes a token apart; ok is false when it is no JWT. The server's key is read from jwks_uri, by kid.
func (tr *Trace) Forge(compact string) (f *Forgery, ok bool) {
	parts := strings.Split(compact, ".")
	if _, jwt := claimsOf(compact); !jwt {
		return nil, false
	}
	f = &Forgery{Compact: compact, tester: tr.Tester, signature: parts[2]}
	f.OtherSubject = func() string { return f.Claim("sub") + "-popcheck" }
	for i, into := range []*Object{&f.Header, &f.Claims} {
		data, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			return nil, false
		}
		if *into, err = parseObject(data); err != nil {
			return nil, false
		}
	}
	f.published = tr.publishedKey(f.text(f.Header, "kid"))
	return f, true
}

// publishedKey is the key of the server's key set with that kid, as it is published; the only one where kid is empty.
func (tr *Trace) publishedKey(kid string) json.RawMessage {
	var set struct{ Keys []json.RawMessage }
	if own := tr.keys.tokens; own != nil {
		data, _ := own.keySet()
		json.Unmarshal(data, &set)
	} else if address := tr.Metadata.String("jwks_uri"); address != "" {
		if answer := tr.Do(Request{Step: "key set", Method: "GET", URL: address}); answer.OK() && answer.Status == 200 {
			json.Unmarshal(answer.Body, &set)
		}
	}
	i := slices.IndexFunc(set.Keys, func(raw json.RawMessage) bool {
		var key struct{ Kid string }
		return json.Unmarshal(raw, &key) == nil && key.Kid == kid
	})
	if i < 0 && kid == "" && len(set.Keys) == 1 {
		i = 0
	}
	if i < 0 {
		return nil
	}
	return set.Keys[i]
}

func (f *Forgery) text(o Object, name string) string {
	raw, _ := o.Get(name).(json.RawMessage)
	var s string
	json.Unmarshal(raw, &s)
	return s
}

// Claim is a claim of the honest token that is a string, or "".
func (f *Forgery) Claim(name string) string { return f.text(f.Claims, name) }

// Algorithm is that of the honest token.
func (f *Forgery) Algorithm() string { return f.text(f.Header, "alg") }

// Alter returns the token with another header and other claims, under the signature of the honest one.
func (f *Forgery) Alter(edit func(header, claims *Object)) string {
	return f.assemble(edit, func(string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(f.signature) })
}

// Unsigned returns the token with an algorithm and an empty signature.
func (f *Forgery) Unsigned(alg string) string {
	return f.assemble(func(header, _ *Object) { header.Set("alg", alg) }, func(string) ([]byte, error) { return nil, nil })
}

// WithSignature returns the token with the bytes of another signature.
func (f *Forgery) WithSignature(signature []byte) string {
	return f.assemble(nil, func(string) ([]byte, error) { return signature, nil })
}

// SignedByAttacker returns the token, signed by a key of its algorithm that the server does not know; "" when no such key can be
// made. The key is there to be named in the header.
func (f *Forgery) SignedByAttacker(edit func(header *Object, key *Key)) string {
	key := f.tester.attackerKey(f.Algorithm())
	if key.Alg != f.Algorithm() {
		return ""
	}
	return f.assemble(func(header, _ *Object) {
		if edit != nil {
			edit(header, key)
		}
	}, key.Sign)
}

// AttackerThumbprint is that of the attacker's proof key.
func (f *Forgery) AttackerThumbprint() string { return f.tester.ProofKey("attacker").Thumbprint() }

// MACed returns the token with HS256 under a secret.
func (f *Forgery) MACed(secret []byte) string {
	return f.assemble(func(header, _ *Object) { header.Set("alg", "HS256") }, func(input string) ([]byte, error) { return HMAC256(secret, input), nil })
}

func (f *Forgery) assemble(edit func(header, claims *Object), sign func(input string) ([]byte, error)) string {
	header, claims := f.Header.clone(), f.Claims.clone()
	if edit != nil {
		edit(&header, &claims)
	}
	h, errH := encodeSegment(header)
	p, errC := encodeSegment(claims)
	signature, err := sign(h + "." + p)
	if errors.Join(errH, errC, err) != nil {
		return ""
	}
	compact := h + "." + p + "." + base64.RawURLEncoding.EncodeToString(signature)
	f.tester.Redactor.Register("forged_token", compact)
	return compact
}

// PublishedKey is the server's public key in every text in which a server may hold it, each of which could be mistaken for a
// secret: PEM, DER, JWK, and as it stands in the key set; none when it is not published.
func (f *Forgery) PublishedKey() [][]byte {
	key, err := jwk.ParseKey(f.published)
	if err != nil {
		return nil
	}
	public, err := key.PublicKey() // the set may hold a private one: a finding of its own
	if err != nil {
		return nil
	}
	asPEM, asJWK := (&Key{public: public}).PublicForms()
	if len(asPEM) == 0 {
		return nil
	}
	forms := append(append(asPEM, asJWK...), f.published)
	var compact bytes.Buffer
	if json.Compact(&compact, f.published) == nil {
		forms = append(forms, compact.Bytes())
	}
	var members map[string]any // a reader that writes it again, in the order of the alphabet
	if json.Unmarshal(f.published, &members) == nil {
		if sorted, err := json.Marshal(members); err == nil {
			forms = append(forms, sorted)
		}
	}
	if block, _ := pem.Decode(asPEM[0]); block != nil {
		forms = append(forms, block.Bytes)
	}
	return slices.CompactFunc(forms, bytes.Equal)
}

// Altered changes six letters and digits at the end of a token, each within its kind, so that no reader can take the change for
// another spelling of the same value: not a letter's case. The last two characters stay, because of the unused bits at the end of
// base64url.
func (t *Tester) Altered(token string) string {
	b := []byte(token)
	for i, left := len(b)-3, 6; i >= 0 && left > 0; i-- {
		switch c := b[i]; {
		case c >= '0' && c <= '9':
			b[i] = '0' + (c-'0'+5)%10
		case c >= 'a' && c <= 'f':
			b[i] = 'a' + (c-'a'+3)%6
		case c >= 'g' && c <= 'z':
			b[i] = 'g' + (c-'g'+10)%20
		case c >= 'A' && c <= 'F':
			b[i] = 'A' + (c-'A'+3)%6
		case c >= 'G' && c <= 'Z':
			b[i] = 'G' + (c-'G'+10)%20
		default:
			continue
		}
		left--
	}
	t.Redactor.Register("altered_token", string(b))
	return string(b)
}
