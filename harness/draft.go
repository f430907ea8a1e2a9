package harness

import (
	"cmp"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// placeholder begins every value of a draft that a person has to replace; a target file that still holds one is refused with its line.
const placeholder = "FILL IN: "

// Draft is a target file for a server of which only its issuer is known: what its metadata tells is filled in, what only its operator
// knows is a placeholder, and what would make more checks possible stands in comments. ca is the file of a CA to trust, and resource the
// URL of what tokens open, or "".
func Draft(issuer, resource, ca string, m *Metadata) string {
	d := draft{m: m}
	d.head(issuer)
	d.line("issuer: %s", quoted(issuer))
	d.authorized(cmp.Or(resource, issuer), issuer)
	d.endpoints(issuer)
	d.trust(ca)
	d.clients()
	d.users()
	d.resources(resource)
	d.registration()
	return d.String()
}

// DraftResource is a target file for a resource server alone: popcheck issues the tokens, or its user brings them.
func DraftResource(resource, ca string) string {
	d := draft{}
	d.head(resource)
	d.authorized(resource)
	d.trust(ca)
	d.line("")
	d.say("popcheck signs the access tokens itself, with a claim cnf or without, and the resource server has to trust its keys.")
	d.line("token_issuer:")
	if u, err := url.Parse(resource); err == nil && Loopback(u.Hostname()) {
		d.line("  issuer: http://127.0.0.1:9400   # iss; metadata and key set are served there while popcheck runs")
	} else {
		d.line("  issuer: %s", fill("the iss that the resource server asks for, a name: nothing is sent there"))
	}
	d.say("  jwks_file: jwks.json            # where it reads keys from a file: popcheck check writes it")
	d.say("  private_key: {file: issuer.key} # where it knows the key already, or keeps key sets: else each run has a new key, which it may not look for at once")
	d.say("                                  # made by: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out issuer.key")
	d.line("  claims: {aud: %s, sub: popcheck, client_id: popcheck, scope: read}   # what it asks for beside the binding", quoted(resource))
	d.say("Where popcheck cannot be trusted as an issuer, bring tokens, in the place of token_issuer:")
	d.say("tokens:")
	d.say("  - {name: alice, token: {env: ALICE_TOKEN}}                                      # a bearer token")
	d.say("  - {name: proven, token: {env: PROVEN_TOKEN}, private_key: {file: holder.key}}   # bound to a DPoP key")
	d.say("  - {name: shown, token: {env: SHOWN_TOKEN}, certificate: {cert: holder.crt, key: holder.key}}")
	d.resources(resource)
	return d.String()
}

type draft struct {
	strings.Builder
	m *Metadata
}

func (d *draft) line(format string, args ...any) { fmt.Fprintf(d, format+"\n", args...) }

// say is a comment of its own.
func (d *draft) say(format string, args ...any) { d.line("# "+format, args...) }

// off is a line that is not in force, with what it is for.
func (d *draft) off(line, about string) { d.line("# %s   # %s", line, about) }

// quoted is a text as YAML reads it in quotes, whatever a server put into it.
func quoted(s string) string { return strconv.QuoteToASCII(s) }

func fill(what string) string { return quoted(placeholder + what) }

// head says what the file is, and names it after a host.
func (d *draft) head(address string) {
	d.say("Target file of popcheck (every key: harness/TARGET.md, or popcheck schema target).")
	d.say("Replace what begins with %q, take the # away from what your server has, and then:", strings.TrimSpace(placeholder))
	d.say("  popcheck check FILE    honest calls only: shows what works, and what a run would skip")
	d.say("  popcheck run FILE      all checks")
	if u, err := url.Parse(address); err == nil {
		address = u.Host
	}
	d.line("name: %s", quoted(address))
}

func (d *draft) trust(ca string) {
	if ca == "" {
		d.off("tls: {ca: ca.pem}", "where the server's certificate is of a CA of your own")
		return
	}
	if whole, err := filepath.Abs(ca); err == nil {
		ca = whole
	}
	d.line("tls: {ca: %s}", quoted(ca))
}

func (d *draft) authorized(addresses ...string) {
	if !slices.ContainsFunc(addresses, func(address string) bool {
		u, err := url.Parse(address)
		return err != nil || !Loopback(u.Hostname())
	}) {
		return
	}
	d.line("authorized: %s   # popcheck attacks this server: true, once its owner has agreed", fill("true"))
}

// endpoints are written by hand where no metadata was found; other hosts that the metadata names have to be allowed.
func (d *draft) endpoints(issuer string) {
	if d.m.Problem != "" {
		d.say("No metadata was found (RFC 8414, OpenID Connect Discovery): name the endpoints that there are.")
		d.line("metadata:")
		base := strings.TrimSuffix(issuer, "/")
		d.line("  authorization_endpoint: %s", fill(base+"/authorize"))
		d.line("  token_endpoint: %s", fill(base+"/token"))
		for _, name := range []string{"pushed_authorization_request_endpoint", "introspection_endpoint", "revocation_endpoint", "userinfo_endpoint", "jwks_uri"} {
			d.line("  # %s: %s", name, quoted(base+"/"+strings.TrimSuffix(strings.TrimSuffix(name, "_endpoint"), "_uri")))
		}
		d.line("  # dpop_signing_alg_values_supported: [ES256]   # where the server takes DPoP proofs")
		d.line("  # code_challenge_methods_supported: [S256]")
		return
	}
	d.say("Metadata: %s", quoted(d.m.From))
	if hosts := d.m.otherHosts(issuer); len(hosts) > 0 {
		for i, h := range hosts {
			hosts[i] = quoted(h)
		}
		d.line("hosts: [%s]   # the metadata names these beside the issuer; popcheck contacts no other", strings.Join(hosts, ", "))
	}
}

// otherHosts are the hosts of endpoints, aliases included, that are not the issuer's.
func (m *Metadata) otherHosts(issuer string) []string {
	own, err := url.Parse(issuer)
	if err != nil {
		return nil
	}
	var out []string
	add := func(members map[string]any) {
		for name, value := range members {
			address, _ := value.(string)
			u, err := url.Parse(address)
			if !strings.HasSuffix(name, "_endpoint") && name != "jwks_uri" || err != nil || u.Host == "" || u.Host == own.Host || slices.Contains(out, u.Host) {
				continue
			}
			out = append(out, u.Host)
		}
	}
	add(m.Members)
	if aliases, ok := m.Members["mtls_endpoint_aliases"].(map[string]any); ok {
		add(aliases)
	}
	slices.Sort(out)
	return out
}

// offers reports whether a list of the metadata has a word; a list that is left out has the default of RFC 8414 §2, or says nothing.
func (d *draft) offers(list, word string, otherwise ...string) bool {
	if !d.m.Has(list) {
		return slices.Contains(otherwise, word)
	}
	return slices.Contains(d.m.Strings(list), word)
}

const methodsSupported = "token_endpoint_auth_methods_supported"

func (d *draft) clients() {
	code := d.m.Problem != "" || d.m.Has("authorization_endpoint") && d.offers("grant_types_supported", CodeGrant, CodeGrant)
	machine := d.m.Problem != "" || d.offers("grant_types_supported", ClientCredentialsGrant)
	scope := ""
	if d.offers("scopes_supported", "openid") {
		scope = "openid"
	}
	redirects := `["https://client.example/cb", "https://client.example/other"]   # as registered; read from redirects, never requested`
	d.line("")
	d.say("Clients, as they are registered at the server. The more kinds there are, the more is checked; two of a kind show whether one can play the other.")
	d.line("clients:")
	if code {
		d.line("  - client_id: %s", fill("a public client with the code flow"))
		d.line("    token_endpoint_auth_method: none")
		d.line("    redirect_uris: %s", redirects)
		d.line("    grant_types: [authorization_code, refresh_token]")
		if scope != "" {
			d.line("    scope: %s   # and what the resource below needs", scope)
		} else {
			d.line("    # scope: read   # what the resource below needs")
		}
	} else {
		d.line("  - client_id: %s", fill("a client with client credentials"))
		d.line("    token_endpoint_auth_method: %s", d.method())
		d.line("    client_secret: {env: CLIENT_SECRET}")
		d.line("    grant_types: [client_credentials]")
	}
	d.say("  - client_id: web                                   # a client with a secret")
	d.say("    token_endpoint_auth_method: %s", d.method())
	d.say("    client_secret: {env: WEB_SECRET}")
	if code {
		d.say(`    redirect_uris: ["https://client.example/cb"]`)
	}
	var grants []string
	if code {
		grants = append(grants, CodeGrant, RefreshGrant)
	}
	if machine {
		grants = append(grants, ClientCredentialsGrant)
	}
	d.say("    grant_types: [%s]", strings.Join(grants, ", "))
	if d.m.Problem != "" || d.offers(methodsSupported, methodPrivateKey) {
		d.say("  - client_id: worker                                # a client that signs assertions (RFC 7523)")
		d.say("    token_endpoint_auth_method: private_key_jwt")
		d.say("    private_key: {file: worker.key}                  # PEM or JWK")
		d.say("    grant_types: [client_credentials]")
	}
	if d.m.Has("dpop_signing_alg_values_supported") {
		d.say("  - client_id: mobile                                # the server offers DPoP: a client whose tokens have to be bound (RFC 9449 §5.2)")
		d.say("    token_endpoint_auth_method: none")
		d.say("    dpop_bound_access_tokens: true")
		d.say(`    redirect_uris: ["https://client.example/cb"]`)
	}
	for i, method := range []string{"tls_client_auth", "self_signed_tls_client_auth"} {
		if d.offers(methodsSupported, method) || d.m.Problem != "" {
			d.say("  - client_id: %s                                 # mutual TLS (RFC 8705 §2.%d)", []string{"bank ", "vault"}[i], i+1)
			d.say("    token_endpoint_auth_method: %s", method)
			d.say("    certificate: {cert: bank.crt, key: bank.key}")
			d.say("    tls_client_certificate_bound_access_tokens: true")
			d.say("    grant_types: [client_credentials]")
		}
	}
	if d.m.True("tls_client_certificate_bound_access_tokens") {
		d.off("client_ca: {cert: ca.crt, key: ca.key}", "a CA that the server trusts for clients: lets popcheck make certificates that are almost right")
	}
	if d.m.Has("introspection_endpoint") {
		d.off("introspection_client: web", "the client that may introspect: shows what tokens are bound to")
	}
}

// method is how a client with a secret authenticates.
func (d *draft) method() string {
	if d.offers(methodsSupported, "client_secret_post") && !d.offers(methodsSupported, "client_secret_basic", "client_secret_basic") {
		return "client_secret_post"
	}
	return "client_secret_basic" // the default of RFC 8414 §2
}

func (d *draft) users() {
	if d.m.Problem == "" && !d.m.Has("authorization_endpoint") {
		return
	}
	d.line("")
	d.say("People who can log in. The first does; each further one is spent on first consents, and the second takes part in attacks between users.")
	d.line("users:")
	d.line("  - {username: %s, password: %s}", fill("a user name"), fill("its password, or {env: NAME} without quotes"))
	d.say("  - {username: bob, password: {env: BOB_PASSWORD}}")
	d.say("How they log in; popcheck fills plain forms by itself. One of:")
	d.off("login: {driver: form, fields: {username: login, password: passwd}}", "names of the fields, where the page does not tell")
	d.off("login: {driver: browser}", "pages that scripts build: headless Chromium; with steps: [{fill: \"#user\", with: username}, …] where the page does not tell")
	d.off("login: {driver: exec, command: [./login]}", "a program of yours gets the address, and prints the redirect")
	d.off("login: {driver: manual}", "you log in yourself, for a few checks; best with a redirect URI as http://127.0.0.1:8400/cb")
}

// registration stands in comments: what is registered changes the server, and that is for its owner to want.
func (d *draft) registration() {
	if !d.m.Has("registration_endpoint") {
		return
	}
	d.line("")
	d.say("The server registers clients (RFC 7591). popcheck checks how, once the file says so, and removes what it registered (RFC 7592):")
	d.say("registration: {}                                     # open to all; or what it asks for, one or more of:")
	d.say("registration:")
	d.say("  initial_access_token: {env: REGISTRATION_TOKEN}")
	d.say("  certificate: {cert: registrar.crt, key: registrar.key}")
	d.say("  software_statement: {file: statement.jwt}          # or {issuer: …, private_key: {file: issuer.key}}: popcheck signs them")
	d.say("A client under clients: may be registered for the run, instead of one with a client_id:")
	d.say("  - name: app")
	d.say("    register: true                                   # or members beside these, as in {application_type: native}")
	d.say("    token_endpoint_auth_method: %s", d.method())
	d.say("    grant_types: [client_credentials]")
}

func (d *draft) resources(known string) {
	d.line("")
	d.say("Where tokens are spent: an address that answers as named under grants to a good token, and otherwise to any other.")
	if known == "" && d.m.Has("userinfo_endpoint") {
		d.say("Without one, UserInfo is used (%s).", quoted(cmp.Or(d.m.String("userinfo_endpoint"), "?")))
		d.off(`resources: [{name: api, url: "https://api.example.com/me", scope: read, grants: {status: 200}}]`, "the API that the tokens are for")
		return
	}
	d.line("resources:")
	address := fill("https://api.example.com/me")
	if known != "" {
		address = quoted(known)
	}
	d.line("  - {name: api, url: %s, grants: {status: 200}}   # method: POST, scope: read, where it asks for them", address)
}
