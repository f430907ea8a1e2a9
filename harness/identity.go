package harness

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
)

// Identity is who speaks: a client, its proof key and its certificate. An attack exchanges one of them.
type Identity struct {
	Client *Client
	Key    *Key         // DPoP proofs are made with it; nil sends none
	Cert   *Certificate // presented on its connections; nil presents none
}

// called is the name of a client; one that was not read from a target file goes by its client_id.
func (c *Client) called() string { return valueOr(c.Name, c.ClientID) }

// Public reports whether the client has no credential (RFC 6749 §2.1).
func (c *Client) Public() bool { return c.TokenEndpointAuthMethod == "none" }

// Confidential reports whether the client has a credential.
func (c *Client) Confidential() bool { return !c.Public() }

// SendsSecret reports whether the client's secret goes over the wire; one that signs with it (client_secret_jwt) keeps it.
func (c *Client) SendsSecret() bool {
	return c.TokenEndpointAuthMethod == "client_secret_basic" || c.TokenEndpointAuthMethod == "client_secret_post"
}

// MutualTLS reports whether the client authenticates by its certificate (RFC 8705 §2).
func (c *Client) MutualTLS() bool {
	return c.TokenEndpointAuthMethod == "tls_client_auth" || c.TokenEndpointAuthMethod == "self_signed_tls_client_auth"
}

// Binding names how the tokens of an identity are constrained.
func (id Identity) Binding() Binding {
	switch {
	case id.Key != nil:
		return DPoPBound
	case id.Cert != nil && (id.Client.TLSClientCertificateBoundAccessTokens || id.Client.MutualTLS()):
		return CertificateBound
	}
	return Unbound
}

// Binding is how a token is tied to its sender.
type Binding string

// The bindings that popcheck knows.
const (
	Unbound          Binding = "bearer"
	DPoPBound        Binding = "dpop"
	CertificateBound Binding = "mtls"
)

// keyRing holds the keys and certificates of a run: those of the target file, and an attacker's.
type keyRing struct {
	redactor   *Redactor
	clientCA   *Authority
	secondCA   *Authority
	certs      map[string]*Certificate // by the name of the client
	assertions map[string]*Key         // by the name of the client
	issuer     *Key                    // of the assertions of the JWT bearer grant, or nil
	tokens     *Key                    // of popcheck's own access tokens, or nil
	registrar  *Certificate            // with which clients are registered, or nil
	statements *Key                    // of software statements, or nil

	mu        sync.Mutex
	made      map[string]*Key   // for this run, by name
	audiences map[string]string // of client assertions, where it is not the issuer, by the name of the client
}

func newKeyRing(target *Target, redactor *Redactor) (*keyRing, error) {
	ring := &keyRing{redactor: redactor, certs: map[string]*Certificate{}, assertions: map[string]*Key{}, made: map[string]*Key{}, audiences: map[string]string{}}
	for i := range target.Clients {
		c := &target.Clients[i]
		if c.Certificate != nil {
			cert, err := parseCertificate("certificate of "+c.called(), c.Certificate)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: clients[%d].certificate: %w", target.Path, c.Line, i, err)
			}
			ring.certs[c.called()] = cert
			c.nameSubject(cert.Leaf)
		}
		if len(c.PrivateKey) > 0 {
			key, err := parseKey("key of "+c.called(), c.PrivateKey)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: clients[%d].private_key: %w", target.Path, c.Line, i, err)
			}
			ring.assertions[c.called()] = ring.known(key)
		}
	}
	if i := target.AssertionIssuer; i != nil {
		key, err := parseKey("key of "+i.Issuer, i.PrivateKey)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: assertion_issuer.private_key: %w", target.Path, i.Line, err)
		}
		ring.issuer = ring.known(key)
	}
	if err := ring.readRegistration(target); err != nil {
		return nil, err
	}
	var err error
	if ring.clientCA, err = parseAuthority(target.ClientCA); err != nil {
		return nil, fmt.Errorf("%s: client_ca: %w", target.Path, err)
	}
	if ring.secondCA, err = parseAuthority(target.SecondClientCA); err != nil {
		return nil, fmt.Errorf("%s: second_client_ca: %w", target.Path, err)
	}
	return ring, nil
}

// readRegistration reads the certificate and the key with which clients are registered.
func (r *keyRing) readRegistration(target *Target) (err error) {
	g := target.Registration
	if g == nil {
		return nil
	}
	if g.Certificate != nil {
		if r.registrar, err = parseCertificate("certificate of the registration", g.Certificate); err != nil {
			return fmt.Errorf("%s:%d: registration.certificate: %w", target.Path, g.Line, err)
		}
	}
	if s := g.Statement; s != nil && s.Given == "" {
		key, err := parseKey("key of "+s.Issuer, s.PrivateKey)
		if err != nil {
			return fmt.Errorf("%s:%d: registration.software_statement.private_key: %w", target.Path, s.Line, err)
		}
		r.statements = r.known(key)
	}
	return nil
}

// nameSubject fills in what the target file leaves out and the certificate tells: where it has no alternative name, the server can
// know the client by nothing but its subject (RFC 8705 §2.1.2).
func (c *Client) nameSubject(leaf *x509.Certificate) {
	named := c.TLSClientAuthSubjectDN + c.TLSClientAuthSANDNS + c.TLSClientAuthSANURI + c.TLSClientAuthSANIP + c.TLSClientAuthSANEmail
	alternatives := len(leaf.DNSNames) + len(leaf.URIs) + len(leaf.IPAddresses) + len(leaf.EmailAddresses)
	if c.TokenEndpointAuthMethod == "tls_client_auth" && named == "" && alternatives == 0 {
		c.TLSClientAuthSubjectDN = leaf.Subject.String()
	}
}

func (r *keyRing) known(k *Key) *Key {
	for _, s := range k.secrets() {
		r.redactor.Register("private_key", s)
	}
	return k
}

// ProofKey returns the proof key of that name, made on first use: "spa", "attacker".
func (t *Tester) ProofKey(name string) *Key { return t.ringKey(name, t.proofAlg()) }

// KeyOf is a key of the run for an algorithm of JWS, RSA with 2048 bits. The error says that none can be made.
func (t *Tester) KeyOf(alg string) (*Key, error) {
	name := "key for " + alg
	t.keys.mu.Lock()
	k := t.keys.made[name]
	t.keys.mu.Unlock()
	if k != nil {
		return k, nil
	}
	k, err := t.MakeKey(name, alg, 2048)
	if err != nil {
		return nil, err
	}
	t.keys.mu.Lock()
	defer t.keys.mu.Unlock()
	t.keys.made[name] = k
	return k, nil
}

// ringKey returns the key of that name, made on first use.
func (t *Tester) ringKey(name, alg string) *Key {
	r := t.keys
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.made[name]; k != nil {
		return k
	}
	// ES256 is the one algorithm that servers of RFC 9449 have in common; a server that lists others only gets one of those.
	k, err := NewKey(name, alg, 2048)
	if err != nil {
		k, _ = NewKey(name, "ES256", 0)
	}
	r.made[name] = r.known(k)
	return k
}

// audience is the one that the server was seen to take from a client instead of its issuer, or "".
func (r *keyRing) audience(c *Client) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.audiences[c.called()]
}

// addressAssertions chooses the audience of a client's assertions; "" is the issuer.
func (t *Tester) addressAssertions(c *Client, audience string) {
	t.keys.mu.Lock()
	defer t.keys.mu.Unlock()
	t.keys.audiences[c.called()] = audience
}

func (t *Tester) proofAlg() string {
	listed := t.Metadata.Strings("dpop_signing_alg_values_supported")
	for _, want := range []string{"ES256", "EdDSA", "ES384", "PS256", "RS256", "ES512"} {
		for _, alg := range listed {
			if alg == want {
				return alg
			}
		}
	}
	return "ES256"
}

// MakeKey makes a key for one attack, known to the redactor.
func (t *Tester) MakeKey(name, alg string, bits int) (*Key, error) {
	k, err := NewKey(name, alg, bits)
	if err != nil {
		return nil, err
	}
	return t.keys.known(k), nil
}

// CertificateOf is the certificate of a client in the target file, or nil.
func (t *Tester) CertificateOf(c *Client) *Certificate {
	if c == nil {
		return nil
	}
	return t.keys.certs[c.called()]
}

// ClientCA issues certificates that the server trusts, if the target file names such a CA; else nil.
func (t *Tester) ClientCA() *Authority { return t.keys.clientCA }

// SecondClientCA issues certificates that the server trusts for other purposes than to name these clients (RFC 8705 §7.4); else nil.
func (t *Tester) SecondClientCA() *Authority { return t.keys.secondCA }

// StrangerCA is a CA that the server does not trust, under the name of the issuer of like.
func (t *Tester) StrangerCA(like *Certificate) (*Authority, error) {
	return lookalikeAuthority(like.Leaf.RawIssuer)
}

// Honest is the identity of a client as it is registered, with the binding that it asks for.
func (t *Tester) Honest(c *Client, b Binding) Identity {
	id := Identity{Client: c}
	if c.MutualTLS() || c.HasGrant(BroughtGrant) { // a token that is bound twice wants both
		id.Cert = t.CertificateOf(c)
	}
	switch b {
	case DPoPBound:
		id.Key = t.ProofKey(c.called())
	case CertificateBound:
		id.Cert = t.CertificateOf(c)
	}
	return id
}

// authenticate adds the client's registered authentication to a request (RFC 6749 §2.3, RFC 7523 §2.2, RFC 8705 §2). A change
// is that of a client assertion, against another client where it names one.
func (t *Tester) authenticate(m *Message, change AssertionChange, against *Client) error {
	c := m.Who.Client
	switch c.TokenEndpointAuthMethod {
	case "client_secret_basic":
		m.Header = append(m.Header, Field{"Authorization", t.BasicCredentials(c.ClientID, c.ClientSecret)})
	case "client_secret_post":
		m.Params.Set("client_id", c.ClientID)
		m.Params.Set("client_secret", c.ClientSecret)
	case "private_key_jwt", "client_secret_jwt":
		m.Params.Set("client_id", c.ClientID)
		m.Params.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		honest := func() (signedJWT, error) { return t.honestClientAssertion(c), nil }
		return t.assert(m, clientAssertion, honest, change, against)
	default: // none, and mutual TLS, where client_id tells whose certificate to expect (RFC 8705 §2)
		m.Params.Set("client_id", c.ClientID)
	}
	return nil
}

// Random returns n random bytes in base64url without padding.
func Random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// Metadata is the authorization server's metadata (RFC 8414), discovered and overridden by the target file.
type Metadata struct {
	Members   map[string]any
	From      string // where it was read
	Problem   string // why it could not be read
	Unreached bool   // no answer came at all
}

// String returns a string member, "" when it is absent.
func (m *Metadata) String(name string) string {
	if m == nil {
		return ""
	}
	s, _ := m.Members[name].(string)
	return s
}

// Strings returns the strings of an array member.
func (m *Metadata) Strings(name string) []string {
	if m == nil {
		return nil
	}
	list, _ := m.Members[name].([]any)
	var out []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// True reports whether a boolean member is true.
func (m *Metadata) True(name string) bool {
	if m == nil {
		return false
	}
	b, _ := m.Members[name].(bool)
	return b
}

// Has reports whether a member is there.
func (m *Metadata) Has(name string) bool {
	if m == nil {
		return false
	}
	_, ok := m.Members[name]
	return ok
}

// names reports whether an address is one of the endpoints, or of their mutual-TLS aliases.
func (m *Metadata) names(address string) bool {
	if m == nil {
		return false
	}
	for _, members := range []map[string]any{m.Members, m.Aliases()} {
		for _, v := range members {
			if s, ok := v.(string); ok && s == address {
				return true
			}
		}
	}
	return false
}

// Endpoint is the address of an endpoint for an identity: with a certificate it is the one under
// mtls_endpoint_aliases, where the server names one (RFC 8705 §5).
func (m *Metadata) Endpoint(name string, cert *Certificate) string {
	if alias := m.Alias(name); cert != nil && alias != "" {
		return alias
	}
	return m.String(name)
}

// Alias is the address of an endpoint under mtls_endpoint_aliases, or "" (RFC 8705 §5).
func (m *Metadata) Alias(name string) string {
	s, _ := m.Aliases()[name].(string)
	return s
}

// Aliases are the members of mtls_endpoint_aliases.
func (m *Metadata) Aliases() map[string]any {
	if m == nil {
		return nil
	}
	aliases, _ := m.Members["mtls_endpoint_aliases"].(map[string]any)
	return aliases
}

// fromTargetFile is where the endpoints of a server are named that serves no metadata.
const fromTargetFile = "the target file"

// Discover reads the metadata: RFC 8414 first, then OpenID Connect Discovery; members of the target file win.
func (tr *Trace) Discover() *Metadata {
	m := &Metadata{Members: map[string]any{}}
	for name, value := range tr.Target.Metadata {
		m.Members[name] = value
	}
	var problems []string
	for _, address := range tr.MetadataAddresses() {
		found, answer := tr.Document(address)
		if found.Problem != "" {
			problems = append(problems, address+": "+found.Problem)
			if answer.Failure != nil {
				m.Unreached = true
				break // the second address is on the same server
			}
			continue
		}
		m.From, tr.serverHeader = address, answer.Header.Get("Server")
		for name, value := range found.Members {
			if _, fixed := m.Members[name]; !fixed {
				m.Members[name] = value
			}
		}
		return m
	}
	if len(tr.Target.Metadata) == 0 || m.String("token_endpoint") == "" {
		m.Problem = strings.Join(problems, "; ")
	} else {
		m.From = fromTargetFile
	}
	return m
}

// MetadataAddresses are where metadata may be: as RFC 8414 §3 puts it, and as OpenID Connect Discovery §4 does.
func (t *Tester) MetadataAddresses() [2]string {
	issuer, err := url.Parse(t.Target.Issuer)
	if err != nil { // the loader has seen to that
		return [2]string{t.Target.Issuer, t.Target.Issuer}
	}
	path := strings.TrimSuffix(issuer.EscapedPath(), "/")
	base := issuer.Scheme + "://" + issuer.Host
	return [2]string{base + "/.well-known/oauth-authorization-server" + path, base + path + "/.well-known/openid-configuration"}
}

// Document reads metadata as it is served, without the members of the target file; header fields are those of an attack.
func (tr *Trace) Document(address string, header ...Field) (*Metadata, *Answer) {
	r := Request{Step: "metadata", Method: "GET", URL: address, Header: append([]Field{{"Accept", "application/json"}}, header...), outside: len(header) > 0}
	for _, f := range header {
		r.Changed = append(r.Changed, f.Name)
	}
	answer := tr.Do(r)
	m := &Metadata{From: address}
	m.Members, m.Problem = readMetadata(answer)
	return m, answer
}

func readMetadata(a *Answer) (map[string]any, string) {
	if a.Failure != nil {
		return nil, a.Failure.Error()
	}
	if a.Status != 200 {
		return nil, fmt.Sprintf("HTTP %d", a.Status) + unfollowed(a)
	}
	var members map[string]any
	if err := json.Unmarshal(a.Body, &members); err != nil {
		return nil, "not a JSON object"
	}
	if _, ok := members["issuer"].(string); !ok {
		return nil, "JSON without an issuer: not metadata"
	}
	return members, ""
}

// BasicCredentials is the value of an Authorization header for client_secret_basic (RFC 6749 §2.3.1).
func (t *Tester) BasicCredentials(clientID, secret string) string {
	value := base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(clientID) + ":" + url.QueryEscape(secret)))
	t.Redactor.Register("client_secret", value)
	return "Basic " + value
}
