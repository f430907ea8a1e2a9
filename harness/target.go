package harness

import "time"

// Target is the target file (design §4): who may be tested, as whom, and within which limits.
// LoadTarget fills it; names are those of RFC 7591 (clients) and RFC 8414 (endpoints).
type Target struct {
	Path string // as given on the command line; "embedded" for the reference target
	Dir  string // relative paths in the file start here

	Name                string
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
	Proxy   string            // http://host:port; the environment's proxy is never used
	Resolve map[string]string // host → address
}

// Client is a registered client, in the words of RFC 7591.
type Client struct {
	Line                    int // of the target file
	ClientID                string
	TokenEndpointAuthMethod string
	ClientSecret            string
	PrivateKey              []byte // PEM or JWK, for private_key_jwt
	Certificate             *KeyPair
	RedirectURIs            []string
	GrantTypes              []string
	Scope                   string
	AuthorizationParameters map[string]string
	TokenParameters         map[string]string

	DPoPBoundAccessTokens                 bool
	TLSClientCertificateBoundAccessTokens bool
	RequirePushedAuthorizationRequests    bool
	TLSClientAuthSubjectDN                string
	TLSClientAuthSANDNS                   string
	TLSClientAuthSANURI                   string
	TLSClientAuthSANIP                    string
	TLSClientAuthSANEmail                 string
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
	Fields  map[string]string // username, password: names of the form's fields, where the page does not tell
	Command []string          // exec: the program and its arguments; the authorization URL is appended
}

// Resource is a protected resource; Status is the answer that proves access.
type Resource struct {
	Line   int
	Name   string
	URL    string
	Method string // default GET
	Scope  string
	Status int // grants: {status: …}; default 200
}

// Limits bound what popcheck does to a target and what it takes from one.
type Limits struct {
	RequestsPerSecond float64       // 0: no limit, the default on loopback; 20 elsewhere
	Timeout           time.Duration // of one exchange; default 10s
	Body              int64         // bytes of an answer's body that are read; default 1MiB
	Redirects         int           // of one login; default 10
	FailedLogins      int           // of a run; default 3
}

// Waiver accepts a known finding until a date. Check is an id or a key of a result.
type Waiver struct {
	Line   int
	Check  string
	Reason string
	Until  time.Time
}
