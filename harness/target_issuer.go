package harness

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// TokenIssuer makes popcheck itself the issuer of access tokens, so that resources are tested without any authorization server.
type TokenIssuer struct {
	Line        int            // of the target file
	Issuer      string         // iss of the tokens
	Listen      string         // host:port on loopback where metadata and keys are served; "" serves none
	JWKSFile    string         // where the key set is written; "" writes none
	PrivateKey  []byte         // PEM or JWK; nil for a new key in each run
	Algorithm   string         // of the signature of tokens; "" is what fits the key
	Header      map[string]any // of the tokens, beside alg and kid
	Claims      map[string]any // of the tokens, beside those that popcheck sets itself
	Lifetime    time.Duration  // of an honest token
	Bindings    []Binding      // the kinds of token that the resources take; nil: popcheck finds out
	Certificate *KeyPair       // of the holder of certificate-bound tokens; nil for a new one
}

// BroughtToken is an access token that the user brings, and what its holder has.
type BroughtToken struct {
	Line        int // of the target file
	Name        string
	Token       string
	PrivateKey  []byte // the key that the token is bound to (RFC 9449); nil when it is to none
	Certificate *KeyPair
	Scope       string
}

// Alone reports whether there is no authorization server: popcheck issues the tokens, or the user brings them.
func (t *Target) Alone() bool { return t.TokenIssuer != nil || len(t.Tokens) > 0 }

// NoServer is why a check of an authorization server does not apply to a target that has none.
const NoServer = "resource server alone: the target file names no authorization server"

// The ways to a token without an authorization server.
const (
	SelfIssuedGrant = "self-issued" // popcheck is the issuer
	BroughtGrant    = "brought"     // the user brought it
)

const mintedLifetime = 10 * time.Minute

func issuerKeys() []string {
	return []string{"issuer", "listen", "jwks_file", "private_key", "algorithm", "header", "claims", "lifetime", "bindings", "certificate"}
}

func tokenKeys() []string { return []string{"name", "token", "private_key", "certificate", "scope"} }

// reservedClaims are those that checks set: a fixed value would be a second difference between an attack and its control.
func reservedClaims() []string { return []string{"iss", "exp", "iat", "nbf", "jti", "cnf"} }

func tokenAlgorithms() []string {
	return []string{"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"}
}

func bindingNames() []string {
	return []string{string(Unbound), string(DPoPBound), string(CertificateBound)}
}

// alone reads token_issuer and tokens, and puts their holders in the place of clients.
func (l *targetLoader) alone(root yamlTable) {
	t := l.target
	if at, ok := root.values["token_issuer"]; ok {
		t.TokenIssuer = l.tokenIssuer(at)
	}
	if at, ok := root.values["tokens"]; ok {
		t.Tokens = l.tokens(at)
	}
	where, alone := root.values["tokens"], root.has("tokens")
	if at, ok := root.values["token_issuer"]; ok {
		if alone {
			l.problem(where, "stands beside token_issuer", "keep one of the two: tokens that you bring, or those that popcheck issues")
		}
		where, alone = at, true
	}
	if !alone {
		l.needs(root, "issuer", "write issuer: https://as.example.com")
		l.needs(root, "clients", "list at least one client")
		return
	}
	for _, key := range []string{"issuer", "metadata", "clients", "users", "login", "introspection_client", "assertion_issuer"} {
		if at, ok := root.values[key]; ok {
			l.problem(at, "stands beside "+where.path+", which is for resources without any authorization server", "remove one of the two")
		}
	}
	if len(t.Resources) == 0 && root.lacks("resources") {
		l.problem(root.yamlPlace, "needs resources", "with "+where.path+" list at least one: they are all that is tested")
	}
	if t.TokenIssuer != nil {
		t.Issuer = t.TokenIssuer.Issuer
		t.Clients = t.holders()
	}
	for _, b := range t.Tokens {
		t.Clients = append(t.Clients, Client{Line: b.Line, ClientID: b.Name, TokenEndpointAuthMethod: methodNone, GrantTypes: []string{BroughtGrant}, Scope: b.Scope,
			DPoPBoundAccessTokens: b.PrivateKey != nil, Certificate: b.Certificate, TLSClientCertificateBoundAccessTokens: b.Certificate != nil && b.PrivateKey == nil})
	}
}

// holders are whom popcheck issues tokens to: one for bearer tokens, and two for each binding, because a token must not work for the
// other.
func (t *Target) holders() []Client {
	var out []Client
	scope, _ := t.TokenIssuer.Claims["scope"].(string)
	if scope == "" {
		var all []string
		for _, r := range t.Resources {
			for _, s := range strings.Fields(r.Scope) {
				if !slices.Contains(all, s) {
					all = append(all, s)
				}
			}
		}
		scope = strings.Join(all, " ")
	}
	for _, name := range []string{"bearer", "dpop", "dpop-2", "mtls", "mtls-2"} {
		kind, _, _ := strings.Cut(name, "-")
		if taken := t.TokenIssuer.Bindings; taken != nil && !slices.Contains(taken, Binding(kind)) {
			continue
		}
		out = append(out, Client{Line: t.TokenIssuer.Line, ClientID: name, TokenEndpointAuthMethod: methodNone, GrantTypes: []string{SelfIssuedGrant}, Scope: scope,
			DPoPBoundAccessTokens: kind == string(DPoPBound), TLSClientCertificateBoundAccessTokens: kind == string(CertificateBound)})
	}
	return out
}

func (l *targetLoader) tokenIssuer(at yamlPlace) *TokenIssuer {
	table, ok := l.table(at, issuerKeys())
	if !ok {
		return nil
	}
	l.needs(table, "issuer", "write what stands as iss in the tokens, as in issuer: http://127.0.0.1:9400")
	i := &TokenIssuer{
		Line: at.node.Line, Issuer: l.matching(table, "issuer", `^\S+$`, "write it without spaces, as in http://127.0.0.1:9400"),
		PrivateKey: l.privateKey(table), Algorithm: l.choice(table, "algorithm", tokenAlgorithms(), ""), Lifetime: mintedLifetime,
		Header: l.membersOf(table, "header", []string{"alg", "kid"}), Claims: l.membersOf(table, "claims", reservedClaims()),
	}
	if at, ok := table.values["lifetime"]; ok {
		i.Lifetime = l.duration(at)
	}
	if at, ok := table.values["bindings"]; ok {
		for _, name := range l.texts(at, func(at yamlPlace) (string, bool) { name := l.oneOf(at, bindingNames()); return name, name != "" }) {
			i.Bindings = append(i.Bindings, Binding(name))
		}
	}
	if at, ok := table.values["certificate"]; ok {
		i.Certificate, _ = l.keyPair(at)
	}
	if at, ok := table.values["listen"]; ok {
		i.Listen = l.listen(at)
	} else if u, err := url.Parse(i.Issuer); err == nil && u.Scheme == "http" && u.Port() != "" && Loopback(u.Host) {
		i.Listen = u.Host
	}
	if file := l.textOf(table, "jwks_file"); file != "" {
		i.JWKSFile = l.resolvePath(file)
	}
	if !table.has("listen") && i.Listen == "" && i.JWKSFile == "" && table.lacks("jwks_file") && i.PrivateKey == nil {
		l.problem(at, "tells no way in which the resources get its keys", "add listen: 127.0.0.1:9400, jwks_file: jwks.json, or a private_key whose public half they have")
	}
	if i.Algorithm != "" && i.PrivateKey != nil {
		if key, err := parseKey("", i.PrivateKey); err == nil && !key.fits(i.Algorithm) {
			l.problem(table.values["algorithm"], fmt.Sprintf("%s is no algorithm of the private_key", i.Algorithm), "leave it out, or name one that fits the key")
		}
	}
	return i
}

// listen reads host:port. Keys and metadata of a tester are for this machine alone.
func (l *targetLoader) listen(at yamlPlace) string {
	text, ok := l.text(at)
	if !ok {
		return ""
	}
	host, port := splitHost(text)
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if host != "localhost" && (err != nil || !address.IsLoopback()) || port == "" || port == "0" || !validPort(port) {
		l.problem(at, fmt.Sprintf("%q is no address of this machine alone", clip(text)), "write a loopback address and a port, as in 127.0.0.1:9400")
		return ""
	}
	return text
}

func (l *targetLoader) tokens(at yamlPlace) []BroughtToken {
	var all []BroughtToken
	for _, item := range l.filled(at, "bring at least one token, or remove the key") {
		table, ok := l.table(item, tokenKeys())
		if !ok {
			continue
		}
		l.needs(table, "name", "write a name for it, as in name: alice")
		l.needs(table, "token", "write token: {env: NAME} or {file: path}")
		b := BroughtToken{Line: item.node.Line, Name: l.matching(table, "name", `^[a-z0-9_-]+$`, "use a to z, 0 to 9, - and _"),
			Token: strings.TrimSpace(l.secretOf(table, "token")), PrivateKey: l.privateKey(table), Scope: l.scope(table)}
		if at, ok := table.values["certificate"]; ok {
			b.Certificate, _ = l.keyPair(at)
		}
		if slices.ContainsFunc(all, func(o BroughtToken) bool { return b.Name != "" && o.Name == b.Name }) {
			l.problem(table.values["name"], "is the name of another token too", "give each its own name")
		}
		all = append(all, b)
	}
	return all
}
