package harness

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
)

func TestObjectsKeepOrderAndRepetition(t *testing.T) {
	o := Object{{"b", 1}, {"a", "x"}, {"b", Object{{"z", nil}, {"y", []int{1}}}}}
	data, err := json.Marshal(o)
	if err != nil || string(data) != `{"b":1,"a":"x","b":{"z":null,"y":[1]}}` {
		t.Fatalf("%s, %v", data, err)
	}
	again, err := parseObject(data)
	if err != nil || len(again) != 3 || again[0].Name != "b" || string(again[2].Value.(json.RawMessage)) != `{"z":null,"y":[1]}` {
		t.Errorf("%v, %v", again, err)
	}
	o.Set("b", 2)
	o.Set("c", true)
	if o.Get("b") != 2 || o.Get("none") != nil || len(o) != 4 {
		t.Errorf("after Set: %v", o)
	}
	o.Drop("b")
	if !reflect.DeepEqual(o, Object{{"a", "x"}, {"c", true}}) {
		t.Errorf("after Drop: %v", o)
	}
	for _, text := range []string{"", "[]", `"x"`, "{", `{"a"`, `{"a":}`, "null"} {
		if v, err := parseObject([]byte(text)); err == nil {
			t.Errorf("%q was read as %v", text, v)
		}
	}
}

func TestMembersAreMarked(t *testing.T) {
	honest := Object{{"same", 1}, {"other", "a"}, {"gone", true}}
	sent := Object{{"same", 1}, {"other", "b"}, {"new", Object{{"x", 1}}}}
	want := []Member{
		{Name: "same", Value: "1"},
		{Name: "other", Value: `"b"`, Change: "changed", Was: `"a"`},
		{Name: "new", Value: `{"x":1}`, Change: "added"},
		{Name: "gone", Change: "removed", Was: "true"},
	}
	if got := compareMembers(honest, sent); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestDecodeJWT(t *testing.T) {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	header, claims, err := DecodeJWT(part(`{"alg":"none"}`) + "." + part(`{"sub": "x", "n": 1.50}`) + ".")
	if err != nil || !reflect.DeepEqual(header, []Member{{Name: "alg", Value: `"none"`}}) || !reflect.DeepEqual(claims, []Member{{Name: "sub", Value: `"x"`}, {Name: "n", Value: "1.50"}}) {
		t.Errorf("%v, %v, %v", header, claims, err)
	}
	for _, text := range []string{"", "a.b", "a.b.c", "..", part("{}") + ".x!.", part("[]") + "." + part("{}") + ".", part("{}") + "." + part("1") + "."} {
		if _, _, err := DecodeJWT(text); err == nil {
			t.Errorf("%q was decoded", text)
		}
	}
}

// thumbprintByHand is RFC 7638 spelt out.
func thumbprintByHand(t *testing.T, members Object) string {
	t.Helper()
	names := map[string][]string{"EC": {"crv", "kty", "x", "y"}, "OKP": {"crv", "kty", "x"}, "RSA": {"e", "kty", "n"}}[members.Get("kty").(string)]
	var parts []string
	for _, name := range names {
		parts = append(parts, fmt.Sprintf("%q:%q", name, members.Get(name)))
	}
	sum := sha256.Sum256([]byte("{" + strings.Join(parts, ",") + "}"))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func TestKeysOfEveryAlgorithm(t *testing.T) {
	for _, alg := range []string{"ES256", "ES384", "ES512", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"} {
		t.Run(alg, func(t *testing.T) {
			key, err := NewKey("k", alg, 2048)
			if err != nil {
				t.Fatal(err)
			}
			public := key.PublicJWK()
			if key.Thumbprint() != thumbprintByHand(t, public) {
				t.Errorf("the thumbprint is %s, by hand %s", key.Thumbprint(), thumbprintByHand(t, public))
			}
			for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
				if public.Get(private) != nil {
					t.Errorf("the public key has %s", private)
				}
			}
			compact, err := (&signedJWT{Header: Object{{"alg", alg}}, Claims: Object{{"a", "b"}}, Key: key}).compact()
			if err != nil {
				t.Fatal(err)
			}
			data, _ := json.Marshal(public)
			parsed, err := jwk.ParseKey(data)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := jws.Verify([]byte(compact), jws.WithKey(jwa.SignatureAlgorithm(alg), parsed)); err != nil {
				t.Error(err)
			}
			whole, _ := json.Marshal(key.PrivateJWK())
			again, err := parseKey("again", whole)
			if err != nil || again.Thumbprint() != key.Thumbprint() {
				t.Errorf("the private key is not that of the public one: %v", err)
			}
			if len(key.secrets()) == 0 || !strings.Contains(string(whole), key.secrets()[0]) {
				t.Error("the redactor would not know the private key")
			}
		})
	}
	if _, err := NewKey("k", "HS256", 0); err == nil {
		t.Error("a key for HS256 was made")
	}
}

func TestClientKeysAreRead(t *testing.T) {
	ec := func(c elliptic.Curve) any { k, _ := ecdsa.GenerateKey(c, rand.Reader); return k }
	small, _ := rsa.GenerateKey(rand.Reader, 2048)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	withAlg := func(key any, alg string) []byte {
		k, err := jwk.FromRaw(key)
		if err != nil {
			t.Fatal(err)
		}
		k.Set("kid", "key-1")
		if alg != "" {
			k.Set("alg", alg)
		}
		data, _ := json.Marshal(k)
		return data
	}
	for name, test := range map[string]struct {
		data     []byte
		alg, kid string
	}{
		"P-256, PEM":          {pkcs8(t, ec(elliptic.P256())), "ES256", ""},
		"P-384, PEM":          {pkcs8(t, ec(elliptic.P384())), "ES384", ""},
		"P-521, PEM":          {pkcs8(t, ec(elliptic.P521())), "ES512", ""},
		"RSA, PEM":            {pkcs8(t, small), "PS256", ""},
		"Ed25519, PEM":        {pkcs8(t, ed), "EdDSA", ""},
		"P-256, JWK":          {withAlg(ec(elliptic.P256()), ""), "ES256", "key-1"},
		"RSA of RS256, JWK":   {withAlg(small, "RS256"), "RS256", "key-1"},
		"RSA without alg":     {withAlg(small, ""), "PS256", "key-1"},
		"Ed25519, JWK":        {withAlg(ed, "EdDSA"), "EdDSA", "key-1"},
		"garbage":             {[]byte("garbage"), "", ""},
		"a secret as JWK":     {[]byte(`{"kty":"oct","k":"AAAA"}`), "", ""},
		"PEM of other things": {[]byte("-----BEGIN NOTHING-----\nAAAA\n-----END NOTHING-----\n"), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := parseKey("k", test.data)
			if test.alg == "" {
				if err == nil {
					t.Errorf("was read as %s", key.Alg)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if key.Alg != test.alg || key.KeyID != test.kid {
				t.Errorf("%s %q, want %s %q", key.Alg, key.KeyID, test.alg, test.kid)
			}
			if _, err := key.Sign("x.y"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestIssuedCertificates(t *testing.T) {
	ca := newPKI(t, "the CA")
	like := ca.client(t, "client")
	names, err := ca.Issue(Issue{Name: "names", Like: like.Leaf, DNS: []string{"a.example"}}.SetNames())
	if err != nil {
		t.Fatal(err)
	}
	again, err := ca.Issue(Issue{Name: "again", Like: names.Leaf, Key: names.Signer()})
	if err != nil {
		t.Fatal(err)
	}
	var nobody *Authority
	self, err := nobody.Issue(Issue{Name: "self", Like: names.Leaf})
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := lookalikeAuthority(like.Leaf.RawIssuer)
	if err != nil {
		t.Fatal(err)
	}
	strange, err := stranger.Issue(Issue{Name: "strange", Like: like.Leaf})
	if err != nil {
		t.Fatal(err)
	}
	old, err := ca.Issue(Issue{Name: "old", Like: like.Leaf, NotAfter: like.Leaf.NotBefore})
	if err != nil {
		t.Fatal(err)
	}
	verifies := func(c *Certificate) bool {
		_, err := c.Leaf.Verify(x509.VerifyOptions{Roots: ca.pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		return err == nil
	}
	for _, test := range []struct {
		cert *Certificate
		want bool
	}{{like, true}, {names, true}, {again, true}, {self, false}, {strange, false}, {old, false}} {
		if verifies(test.cert) != test.want {
			t.Errorf("%s: trusted is %v, want %v", test.cert.Name, !test.want, test.want)
		}
	}
	switch {
	case !reflect.DeepEqual(names.Leaf.DNSNames, []string{"a.example"}), !reflect.DeepEqual(self.Leaf.DNSNames, names.Leaf.DNSNames):
		t.Errorf("names: %v, %v", names.Leaf.DNSNames, self.Leaf.DNSNames)
	case string(strange.Leaf.RawSubject) != string(like.Leaf.RawSubject), string(strange.Leaf.RawIssuer) != string(like.Leaf.RawIssuer):
		t.Error("the stranger's certificate does not look like the client's")
	case again.KeyThumbprint() != names.KeyThumbprint(), again.Thumbprint() == names.Thumbprint():
		t.Error("the renewed certificate is not another one over the same key")
	case names.Leaf.SerialNumber.Cmp(again.Leaf.SerialNumber) == 0, names.Leaf.SerialNumber.Cmp(big.NewInt(0)) <= 0:
		t.Error("serial numbers repeat")
	case len(like.IssuerThumbprints()) != 1, len(self.IssuerThumbprints()) != 0:
		t.Errorf("chains: %v, %v", like.IssuerThumbprints(), self.IssuerThumbprints())
	}
}
