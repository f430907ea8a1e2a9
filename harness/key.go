package harness

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// Key is a signing key: a client's proof key, its assertion key, or an attacker's.
type Key struct {
	Name    string
	Alg     string // JWS name, "ES256"
	KeyID   string
	private any
	public  jwk.Key
}

// NewKey makes a key for a JWS algorithm: ES256, ES384, ES512, EdDSA, RS*, PS*; bits counts for RSA only.
func NewKey(name, alg string, bits int) (*Key, error) {
	var private any
	var err error
	switch alg {
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
		private, err = rsa.GenerateKey(rand.Reader, bits)
	default:
		return nil, fmt.Errorf("no key can be made for algorithm %q", alg)
	}
	if err != nil {
		return nil, err
	}
	return keyFrom(name, alg, private)
}

func keyFrom(name, alg string, private any) (*Key, error) {
	whole, err := jwk.FromRaw(private)
	if err != nil {
		return nil, err
	}
	public, err := whole.PublicKey()
	if err != nil {
		return nil, err
	}
	return &Key{Name: name, Alg: alg, private: private, public: public}, nil
}

// parseKey reads the private key of a client, PEM or JWK, and picks the algorithm that fits it.
func parseKey(name string, data []byte) (*Key, error) {
	whole, err := jwk.ParseKey(data)
	if err != nil {
		if whole, err = jwk.ParseKey(data, jwk.WithPEM(true)); err != nil {
			return nil, fmt.Errorf("neither PEM nor JWK: %w", err)
		}
	}
	var private any
	if err := whole.Raw(&private); err != nil {
		return nil, err
	}
	alg := whole.Algorithm().String()
	if alg == "" {
		switch private := private.(type) {
		case *ecdsa.PrivateKey:
			alg = map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[private.Curve.Params().BitSize]
		case *rsa.PrivateKey:
			alg = "PS256"
		case ed25519.PrivateKey:
			alg = "EdDSA"
		}
	}
	if alg == "" {
		return nil, fmt.Errorf("no signature algorithm fits a key of type %T", private)
	}
	key, err := keyFrom(name, alg, private)
	if err == nil {
		key.KeyID = whole.KeyID()
	}
	return key, err
}

// fits reports whether a JWS algorithm can sign with the key.
func (k *Key) fits(alg string) bool {
	_, err := signJWS(alg, k.private, "popcheck")
	return err == nil
}

// PublicJWK is the public key as ordered members, required members first.
func (k *Key) PublicJWK() Object { return jwkObject(k.public) }

// PrivateJWK has the private members too: only for the attack that sends them.
func (k *Key) PrivateJWK() Object {
	whole, err := jwk.FromRaw(k.private)
	if err != nil {
		return nil
	}
	return jwkObject(whole)
}

func jwkObject(key jwk.Key) Object {
	data, err := json.Marshal(key)
	if err != nil {
		return nil
	}
	var members map[string]any
	if json.Unmarshal(data, &members) != nil {
		return nil
	}
	var out Object
	for _, name := range []string{"kty", "crv", "x", "y", "n", "e", "k", "d", "p", "q", "dp", "dq", "qi"} {
		if v, ok := members[name]; ok {
			out.Set(name, v)
		}
	}
	return out
}

// Thumbprint is the base64url SHA-256 JWK thumbprint (RFC 7638), as in cnf.jkt and dpop_jkt.
func (k *Key) Thumbprint() string {
	sum, err := k.public.Thumbprint(crypto.SHA256)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// Sign makes the JWS signature over a signing input.
func (k *Key) Sign(input string) ([]byte, error) { return signJWS(k.Alg, k.private, input) }

// As is the same key under another algorithm: for attacks on servers that do not ask whether the two fit.
func (k *Key) As(alg string) *Key {
	other := *k
	other.Alg = alg
	return &other
}

// SelfSigned is a certificate of the key in DER, signed by itself; nil when none can be made.
func (k *Key) SelfSigned() []byte {
	signer, ok := k.private.(crypto.Signer)
	if !ok {
		return nil
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: k.Name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		return nil
	}
	return der
}

func signJWS(alg string, key any, input string) ([]byte, error) {
	signer, err := jws.NewSigner(jwa.SignatureAlgorithm(alg))
	if err != nil {
		return nil, err
	}
	return signer.Sign([]byte(input), key)
}

// SignAs signs with another algorithm than the key's own, which its type has to allow.
func (k *Key) SignAs(alg string) func(input string) ([]byte, error) {
	return func(input string) ([]byte, error) { return signJWS(alg, k.private, input) }
}

// secrets are the private members, for the redactor.
func (k *Key) secrets() []string {
	var out []string
	for _, m := range k.PrivateJWK() {
		switch m.Name {
		case "d", "p", "q", "dp", "dq", "qi", "k":
			if s, ok := m.Value.(string); ok {
				out = append(out, s)
			}
		}
	}
	return out
}
