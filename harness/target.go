package harness

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"
)

// Target is the target file (design §4): who may be tested, as whom, and within which limits.
// LoadTarget fills it; names are those of RFC 7591 (clients) and RFC 8414 (endpoints).
type Target struct {
	Path string // as given on the command line; "embedded" for the reference target
	Dir  string // relative paths in the file start here

	Name                string
	Product             TargetProduct
	Issuer              string
	Metadata            map[string]any // overrides or replaces discovery, member by member
	Authorized          bool
	Hosts               []string
	Profile             string
	TLS                 TargetTLS
	Request             TargetRequest
	Clients             []Client
	Users               []User
	Login               Login
	IntrospectionClient string
	ClientCA            *KeyPair // a CA that the server trusts for clients
	SecondClientCA      *KeyPair // another one, which it trusts for others than these clients (RFC 8705 §7.4)
	CertificateHeader   string   // the header field in which the deployment's proxy forwards client certificates
	AssertionIssuer     *AssertionIssuer
	TokenIssuer         *TokenIssuer   // popcheck itself, in place of an authorization server
	Tokens              []BroughtToken // the same, where it issues none
	Registration        *Registration  // nil: popcheck registers no clients
	Resources           []Resource
	Limits              Limits
	Waivers             []Waiver
	Capabilities        map[string]bool // overrides what is found out
}

// TargetTLS is what is trusted beside the system's roots.
type TargetTLS struct {
	CA []byte // PEM; nil when none is named
}

// TargetRequest shapes every request: headers of a staging gate, a proxy, fixed addresses.
type TargetRequest struct {
	Headers map[string]string
	Proxy   string            // http://[user:password@]host:port; the environment's proxy is never used
	Resolve map[string]string // host (in the form of CanonicalHost) → ip or ip:port
}

// Client is a registered client, in the words of RFC 7591.
type Client struct {
	Line                    int    // of the target file
	Name                    string // in keys of results and reports; the ClientID unless it is named
	ClientID                string // of a client that popcheck registers: "" until it has
	TokenEndpointAuthMethod string
	ClientSecret            string
	PrivateKey              []byte // PEM or JWK, for private_key_jwt
	Certificate             *KeyPair
	RedirectURIs            []string
	GrantTypes              []string
	Scope                   string
	AuthorizationParameters map[string]string
	TokenParameters         map[string]string
	Register                bool           // popcheck registers it, and removes it afterwards (RFC 7591, RFC 7592)
	Metadata                map[string]any // further members to register it with

	DPoPBoundAccessTokens                 bool
	TLSClientCertificateBoundAccessTokens bool
	RequirePushedAuthorizationRequests    bool
	TLSClientAuthSubjectDN                string
	TLSClientAuthSANDNS                   string
	TLSClientAuthSANURI                   string
	TLSClientAuthSANIP                    string
	TLSClientAuthSANEmail                 string
}

// AssertionIssuer is an issuer that the server trusts for the JWT bearer grant, and whose key the tester holds (RFC 7523 §2.1).
type AssertionIssuer struct {
	Line       int // of the target file
	Issuer     string
	PrivateKey []byte // PEM or JWK
	Subject    string
	Audience   string // "" is the issuer of the server
}

// KeyPair is a certificate chain and its key, both PEM.
type KeyPair struct {
	Cert, Key []byte
}

// User is a person who may log in. TOTPSeed (base32) is for a second factor.
type User struct {
	Line               int
	Username, Password string
	TOTPSeed           string
}

// Login says how a browser's part is played.
type Login struct {
	Line    int
	Driver  string            // form, exec, browser or manual
	Fields  map[string]string // username, password, totp: names of the form's fields, where the page does not tell
	Command []string          // exec: the program (absolute, if the file gave a path) and its arguments; the authorization URL is appended
	Browser string            // browser: the program; "" for CHROME, or one of the usual names
	Steps   []LoginStep       // browser: what to do on the login pages, where the page does not tell
	Consent []LoginStep       // browser: what to do on a consent page; clicks only
}

// LoginStep fills an element of a rendered page or clicks it; its selector is one of CSS.
type LoginStep struct {
	Fill, Click string
	With        string // username, password or totp
	Text        string // where With is ""
}

// Selector names the element.
func (s LoginStep) Selector() string {
	if s.Fill != "" {
		return s.Fill
	}
	return s.Click
}

// Resource is a protected resource; Status is the answer that proves access.
type Resource struct {
	Line      int
	Name      string
	URL       string
	Method    string // default GET
	Scope     string
	Indicator string // resource: what tokens for it are asked for with (RFC 8707); "" when they need not name it
	Status    int    // grants: {status: …}; default 200
}

// Limits bound what popcheck does to a target and what it takes from one.
type Limits struct {
	RequestsPerSecond float64       // 0: no limit, the default on loopback; 20 elsewhere
	Timeout           time.Duration // of one exchange; default 10s
	Body              int64         // bytes of an answer's body that are read; default 1MiB
	Redirects         int           // of one login; default 10
	FailedLogins      int           // of a run; default 3
	Login             time.Duration // of one login by a person; default 5m
}

// Waiver accepts a known finding until a date. Check is an id or a key of a result.
type Waiver struct {
	Line   int
	Check  string
	Reason string
	Until  time.Time // the last day on which it holds: 00:00 UTC of that day
}

// Client returns the client with this client_id or name, or nil.
func (t *Target) Client(id string) *Client {
	for i := range t.Clients {
		if c := &t.Clients[i]; id != "" && (c.ClientID == id || c.Name == id) {
			return &t.Clients[i]
		}
	}
	return nil
}

// HasGrant reports whether the client is registered for the grant type (RFC 7591 §2, grant_types).
func (c *Client) HasGrant(grant string) bool { return slices.Contains(c.GrantTypes, grant) }

// Secret is a value of the target file that must never reach a report.
// Kind is client_secret, access_token, password, totp_seed, private_key, request_header or proxy_userinfo.
type Secret struct {
	Kind, Value string
}

// Secrets returns every secret value of the target, each once. One secret may appear in several
// forms: a PEM key also as its joined base64 body, because a server may echo it without line breaks.
func (t *Target) Secrets() []Secret {
	var all []Secret
	add := func(kind string, values ...string) {
		for _, value := range values {
			if s := (Secret{kind, value}); value != "" && !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	for _, c := range t.Clients {
		add("client_secret", c.ClientSecret)
		add("private_key", keyForms(c.PrivateKey)...)
		if c.Certificate != nil {
			add("private_key", keyForms(c.Certificate.Key)...)
		}
	}
	if t.AssertionIssuer != nil {
		add("private_key", keyForms(t.AssertionIssuer.PrivateKey)...)
	}
	if i := t.TokenIssuer; i != nil {
		add("private_key", keyForms(i.PrivateKey)...)
		if i.Certificate != nil {
			add("private_key", keyForms(i.Certificate.Key)...)
		}
	}
	for _, b := range t.Tokens {
		add("access_token", b.Token)
		add("private_key", keyForms(b.PrivateKey)...)
	}
	t.Registration.secrets(add)
	for _, ca := range []*KeyPair{t.ClientCA, t.SecondClientCA} {
		if ca != nil {
			add("private_key", keyForms(ca.Key)...)
		}
	}
	for _, u := range t.Users {
		add("password", u.Password)
		add("totp_seed", u.TOTPSeed)
	}
	for _, name := range sortedKeys(t.Request.Headers) {
		add("request_header", headerForms(t.Request.Headers[name])...)
	}
	add("proxy_userinfo", proxyForms(t.Request.Proxy)...)
	return all
}

// keyForms returns the forms in which a private key can leak: the file, each private block of a PEM
// and its base64 body, each private member of a JWK (RFC 7518 §6).
func keyForms(data []byte) []string {
	if len(data) == 0 {
		return nil
	}
	forms := []string{strings.TrimSpace(string(data))}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		whole := strings.TrimSpace(string(pem.EncodeToMemory(block)))
		forms = append(forms, whole, pemBody(whole))
	}
	var jwk map[string]any
	if json.Unmarshal(data, &jwk) == nil {
		for _, member := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if value, ok := jwk[member].(string); ok {
				forms = append(forms, value)
			}
		}
	}
	return forms
}

// pemBody joins the base64 lines of one PEM block.
func pemBody(block string) string {
	var body strings.Builder
	for line := range strings.Lines(block) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") && !strings.Contains(line, ":") {
			body.WriteString(line)
		}
	}
	return body.String()
}

// headerForms returns the value and, where it is "scheme credentials" (RFC 9110 §11.4), the
// credentials alone: a server that logs them drops the scheme.
func headerForms(value string) []string {
	if scheme, credentials, found := strings.Cut(value, " "); found && scheme != "" {
		return []string{value, strings.TrimSpace(credentials)}
	}
	return []string{value}
}

// proxyForms returns user:password and the password of the proxy's URL, as written and decoded.
func proxyForms(proxy string) []string {
	u, err := url.Parse(proxy)
	if err != nil || u.User == nil {
		return nil
	}
	password, _ := u.User.Password()
	forms := []string{u.User.String(), u.User.Username() + ":" + password, password}
	if _, encoded, found := strings.Cut(u.User.String(), ":"); found {
		return append(forms, encoded)
	}
	return append(forms, u.User.Username()) // a token alone, without a password
}

// HostAllowed reports whether the target file names the host, so that something may be sent to it:
// in issuer, an endpoint of metadata, the URL of a resource, or hosts. It takes a host or host:port;
// letter case, a trailing dot and the spelling of an international name or an IP address do not
// matter. The port is ignored, unless an entry of hosts names a port of this host: then only the
// ports that the file names are allowed (a missing port stands for 443 or 80).
func (t *Target) HostAllowed(hostport string) bool {
	host, port := splitHost(hostport)
	if host = CanonicalHost(host); host == "" || !validPort(port) {
		return false
	}
	known, limited, named := false, false, false
	for _, n := range t.namedHosts() {
		if n.host != host {
			continue
		}
		if n.anyPort {
			return true
		}
		known, limited = true, limited || n.limits
		named = named || port == n.port || port == "" && (n.port == "443" || n.port == "80")
	}
	return known && (!limited || named)
}

// Contacted are the hosts that the file names, with a port where only that one is allowed: a run sends nothing to any other.
func (t *Target) Contacted() []string {
	var all []string
	for _, n := range t.namedHosts() {
		host := n.host
		if !t.HostAllowed(net.JoinHostPort(host, "1")) { // any port would do else
			host = net.JoinHostPort(host, n.port)
		}
		if !slices.Contains(all, host) {
			all = append(all, host)
		}
	}
	return all
}

// namedHost is a host that the target file names, and where.
type namedHost struct {
	key        string // "resources[0].url"
	host, port string // canonical; the port is never empty, unless anyPort
	limits     bool   // an entry of hosts with a port
	anyPort    bool   // an entry of hosts without one
}

// namedHosts lists what issuer, metadata, resources and hosts name. What does not parse is left out:
// the loader has reported it.
func (t *Target) namedHosts() []namedHost {
	var all []namedHost
	addURL := func(key, raw string) {
		u, err := url.Parse(raw)
		if err != nil || u.Hostname() == "" {
			return
		}
		port := u.Port()
		if port == "" {
			port = defaultPort(u.Scheme)
		}
		all = append(all, namedHost{key: key, host: CanonicalHost(u.Hostname()), port: port})
	}
	if !t.Alone() { // the issuer of popcheck's own tokens is a name
		addURL("issuer", t.Issuer)
	}
	for _, name := range sortedKeys(t.Metadata) {
		addMetadata(addURL, name, t.Metadata[name])
	}
	for i, r := range t.Resources {
		addURL(fmt.Sprintf("resources[%d].url", i), r.URL)
	}
	for i, entry := range t.Hosts {
		host, port := splitHost(entry)
		if host = CanonicalHost(host); host != "" {
			all = append(all, namedHost{fmt.Sprintf("hosts[%d]", i), host, port, port != "", port == ""})
		}
	}
	return all
}

// addMetadata names the hosts of the members that a client calls (RFC 8414 §2, RFC 8705 §5). Pages
// for people (service_documentation, op_tos_uri, …) are never fetched, so they allow nothing.
func addMetadata(add func(key, raw string), name string, value any) {
	if raw, ok := value.(string); ok && (name == "jwks_uri" || strings.HasSuffix(name, "_endpoint")) {
		add(keyPath("metadata", name), raw)
	}
	if aliases, ok := value.(map[string]any); ok && name == "mtls_endpoint_aliases" {
		for _, alias := range sortedKeys(aliases) {
			if raw, ok := aliases[alias].(string); ok {
				add(keyPath("metadata."+name, alias), raw)
			}
		}
	}
}

// loopback reports whether requests to the host stay on this machine: its name is Loopback, or
// request.resolve gives it a loopback address. What resolve says comes first.
func (t *Target) loopback(host string) bool {
	if address, ok := t.Request.Resolve[CanonicalHost(host)]; ok {
		return Loopback(address)
	}
	return Loopback(host)
}

// Loopback reports whether a host, with or without a port, is this machine by its name alone:
// 127.0.0.0/8, ::1 or localhost. Other names are not looked up: an answer could change.
func Loopback(host string) bool {
	name, _ := splitHost(host)
	name = CanonicalHost(name)
	address, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && address.IsLoopback()
}

// CanonicalHost returns the one spelling of a host (without a port) that comparisons use: lower case,
// no brackets, no trailing dot, international names in their ASCII form (RFC 5890), IP addresses as
// RFC 5952 writes them.
func CanonicalHost(host string) string {
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if address, err := netip.ParseAddr(host); err == nil {
		return address.Unmap().String()
	}
	if ascii, err := idna.Lookup.ToASCII(host); err == nil {
		host = ascii // an error is a name such as a_b that is no host name in DNS, but may be in use
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// splitHost parts host:port; an IPv6 address may stand with or without brackets.
func splitHost(hostport string) (host, port string) {
	if inside, ok := strings.CutPrefix(hostport, "["); ok {
		address, rest, closed := strings.Cut(inside, "]")
		if port, ok := strings.CutPrefix(rest, ":"); closed && (ok || rest == "") {
			return address, port
		}
		return "", ""
	}
	if strings.Count(hostport, ":") != 1 {
		return hostport, ""
	}
	host, port, _ = strings.Cut(hostport, ":")
	return host, port
}

// validPort takes what may follow the colon; no port at all is valid.
func validPort(port string) bool {
	if port == "" {
		return true
	}
	number, err := strconv.ParseUint(port, 10, 16)
	return err == nil && number > 0
}

func defaultPort(scheme string) string {
	if strings.EqualFold(scheme, "http") {
		return "80"
	}
	return "443"
}
