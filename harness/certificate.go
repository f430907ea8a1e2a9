package harness

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"
)

// Certificate is a client certificate with its key. Name is what a report calls it.
type Certificate struct {
	Name string
	pair tls.Certificate
	Leaf *x509.Certificate
}

// Thumbprint is the base64url SHA-256 of the DER, as in cnf.x5t#S256 (RFC 8705 §3.1).
func (c *Certificate) Thumbprint() string {
	sum := sha256.Sum256(c.pair.Certificate[0])
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// KeyThumbprint is the hash of the public key instead: what a server that confuses the two would write.
func (c *Certificate) KeyThumbprint() string {
	sum := sha256.Sum256(c.Leaf.RawSubjectPublicKeyInfo)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func parseCertificate(name string, pair *KeyPair) (*Certificate, error) {
	parsed, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(parsed.Certificate[0])
	if err != nil {
		return nil, err
	}
	return &Certificate{Name: name, pair: parsed, Leaf: leaf}, nil
}

// Authority issues client certificates: the tester's CA that the server trusts, or a stranger's.
type Authority struct {
	cert  *x509.Certificate
	key   crypto.Signer
	above [][]byte // DER of the certificates between it and the root, and of the root; none for a root
}

// parseAuthority returns nil for the CA that the target file does not name.
func parseAuthority(pair *KeyPair) (*Authority, error) {
	if pair == nil {
		return nil, nil
	}
	c, err := parseCertificate("client CA", pair)
	if err != nil {
		return nil, err
	}
	signer, ok := c.pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot sign", c.pair.PrivateKey)
	}
	return &Authority{cert: c.Leaf, key: signer}, nil
}

// lookalikeAuthority is a CA with the same name as the real one and another key: what a stranger can make.
func lookalikeAuthority(subject []byte) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), RawSubject: subject, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &Authority{cert: cert, key: key}, err
}

// Subordinate is a CA under a, with further extensions (RFC 5280 §4.2.1.10 has one that limits it); a must not be nil.
func (a *Authority) Subordinate(extensions ...pkix.Extension) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "popcheck subordinate CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, ExtraExtensions: extensions,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &Authority{cert: cert, key: key, above: a.chain()}, err
}

// chain is what a certificate of the authority is sent with.
func (a *Authority) chain() [][]byte { return append([][]byte{a.cert.Raw}, a.above...) }

// Issuing is a certificate that issues others, though it is no CA.
func (c *Certificate) Issuing() *Authority {
	return &Authority{cert: c.Leaf, key: c.Signer(), above: c.pair.Certificate[1:]}
}

// Issue is a wish for a certificate that imitates a client's.
type Issue struct {
	Name     string
	Like     *x509.Certificate // subject and names are taken from it; must be set
	Subject  *pkix.Name        // instead
	RawDN    []byte            // DER of the subject, instead of both
	DNS      []string          // these four replace the names of Like when SetNames is called
	Emails   []string
	URIs     []*url.URL
	IPs      []net.IP
	renamed  bool
	NotAfter time.Time        // zero: ten days from now
	Ahead    time.Duration    // the certificate becomes valid only then
	Usage    x509.ExtKeyUsage // zero (any): client authentication
	Serial   *big.Int         // nil: a random one
	Beside   *Certificate     // sent in the chain behind the leaf
	Key      crypto.Signer    // nil: a new one
	Further  []pkix.Extension // beside the usual ones, or in their place where one has the same OID
}

// SetNames makes the certificate carry exactly the names of the wish, not those of Like.
func (i Issue) SetNames() Issue { i.renamed = true; return i }

// Issue signs a certificate under a; a nil authority signs it with its own key (self-signed).
func (a *Authority) Issue(wish Issue) (*Certificate, error) {
	key := wish.Key
	if key == nil {
		made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		key = made
	}
	template := &x509.Certificate{
		SerialNumber: serial(), RawSubject: wish.Like.RawSubject,
		DNSNames: wish.Like.DNSNames, EmailAddresses: wish.Like.EmailAddresses, URIs: wish.Like.URIs, IPAddresses: wish.Like.IPAddresses,
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(240 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		ExtraExtensions: wish.Further,
	}
	if wish.Subject != nil {
		template.RawSubject, template.Subject = nil, *wish.Subject
	}
	if wish.RawDN != nil {
		template.RawSubject = wish.RawDN
	}
	if wish.renamed {
		template.DNSNames, template.EmailAddresses, template.URIs, template.IPAddresses = wish.DNS, wish.Emails, wish.URIs, wish.IPs
	}
	if wish.Serial != nil {
		template.SerialNumber = wish.Serial
	}
	if wish.Usage != x509.ExtKeyUsageAny {
		template.ExtKeyUsage = []x509.ExtKeyUsage{wish.Usage}
	}
	if wish.Ahead > 0 {
		template.NotBefore = time.Now().Add(wish.Ahead)
	}
	if !wish.NotAfter.IsZero() {
		template.NotAfter, template.NotBefore = wish.NotAfter, wish.NotAfter.Add(-24*time.Hour)
	}
	issuer, signer := template, key
	if a != nil {
		issuer, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	chain := [][]byte{der}
	if wish.Beside != nil {
		chain = append(chain, wish.Beside.Leaf.Raw)
	}
	if a != nil {
		chain = append(chain, a.chain()...)
	}
	return &Certificate{Name: wish.Name, Leaf: leaf, pair: tls.Certificate{Certificate: chain, PrivateKey: key}}, nil
}

// Signer is the key of a certificate, to re-issue a certificate over the same key.
func (c *Certificate) Signer() crypto.Signer {
	s, _ := c.pair.PrivateKey.(crypto.Signer)
	return s
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return big.NewInt(time.Now().UnixNano())
	}
	return n
}

// SelfSigned reports whether the certificate names itself as its issuer.
func (c *Certificate) SelfSigned() bool { return bytes.Equal(c.Leaf.RawIssuer, c.Leaf.RawSubject) }

// IssuerThumbprints are the hashes of the other certificates of the chain.
func (c *Certificate) IssuerThumbprints() []string {
	var out []string
	for _, der := range c.pair.Certificate[1:] {
		sum := sha256.Sum256(der)
		out = append(out, base64.RawURLEncoding.EncodeToString(sum[:]))
	}
	return out
}

// SameIssuer reports whether two certificates name one issuer.
func (c *Certificate) SameIssuer(other *Certificate) bool {
	return other != nil && bytes.Equal(c.Leaf.RawIssuer, other.Leaf.RawIssuer)
}
