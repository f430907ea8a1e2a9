package harness

import (
	"bytes"
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
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// --- files and environment that the samples name ---

// targetFiles makes a directory with the keys and certificates of the samples, and sets their
// environment.
func targetFiles(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ca, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	caCert := testCertificate(t, ca, isCA)
	write("ca.pem", caCert)
	write("ca.crt", caCert)
	write("ca.key", pkcs8(t, ca))
	write("partner.crt", caCert)
	write("partner.key", pkcs8(t, ca))
	write("bank.crt", testCertificate(t, p256, isLeaf))
	write("bank.key", pkcs8(t, p256))
	write("reversed.crt", append(append([]byte{}, caCert...), testCertificate(t, p256, isLeaf)...))
	write("worker.key", pkcs8(t, p256))
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	write("p224.key", pkcs8(t, p224))
	write("nosign.crt", testCertificate(t, ca, isCAWithoutSigning))
	write("garbage.crt", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	write("secret.txt", []byte("from a file\n"))
	write("empty.txt", []byte("\n"))
	write("nothing.txt", nil)
	write("binary.txt", []byte{0xff, 0xfe, 0x00})
	write("large.txt", make([]byte, maxTargetBytes+1))
	t.Setenv("WEB_SECRET", "web-secret-value")
	t.Setenv("ALICE_PASSWORD", "alice-password-value")
	t.Setenv("EMPTY_VARIABLE", "")
	return dir
}

type certKind int

const (
	isLeaf certKind = iota
	isCA
	isCAWithoutSigning
)

func testCertificate(t testing.TB, key crypto.Signer, kind certKind) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(4e9, 0),
		BasicConstraintsValid: true, IsCA: kind != isLeaf,
	}
	switch kind {
	case isCA:
		template.KeyUsage = x509.KeyUsageCertSign
	case isCAWithoutSigning:
		template.KeyUsage = x509.KeyUsageDigitalSignature
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func pkcs8(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func readSample(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "target", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// --- what a good file becomes ---

func TestTheFullExampleLoads(t *testing.T) {
	dir := targetFiles(t)
	path := filepath.Join(dir, "staging.yaml")
	if err := os.WriteFile(path, []byte(readSample(t, "full.yaml")), 0o600); err != nil {
		t.Fatal(err)
	}
	target, err := LoadTarget(path)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	want := &Target{
		Path: path, Dir: dir, Name: "staging", Issuer: "https://as.example.com",
		Metadata:   map[string]any{"introspection_endpoint": "https://as.example.com/introspect"},
		Authorized: true, Hosts: []string{"api.example.com"}, Profile: "bcp",
		TLS:     TargetTLS{CA: file("ca.pem")},
		Request: TargetRequest{Headers: map[string]string{"X-Tenant": "blue"}},
		Clients: []Client{
			{Line: 11, Name: "spa", ClientID: "spa", TokenEndpointAuthMethod: "none",
				RedirectURIs: []string{"https://client.example/cb", "https://client.example/other"},
				GrantTypes:   []string{"authorization_code", "refresh_token"}, Scope: "openid read",
				AuthorizationParameters: map[string]string{"audience": "api"}},
			{Line: 17, Name: "web", ClientID: "web", TokenEndpointAuthMethod: "client_secret_basic", ClientSecret: "web-secret-value",
				RedirectURIs: []string{"https://client.example/cb"},
				GrantTypes:   []string{"authorization_code", "refresh_token", "client_credentials"}},
			{Line: 22, Name: "worker", ClientID: "worker", TokenEndpointAuthMethod: "private_key_jwt",
				PrivateKey: []byte(strings.TrimSpace(string(file("worker.key")))),
				GrantTypes: []string{"client_credentials"}, DPoPBoundAccessTokens: true},
			{Line: 27, Name: "bank", ClientID: "bank", TokenEndpointAuthMethod: "tls_client_auth",
				Certificate:                           &KeyPair{Cert: file("bank.crt"), Key: file("bank.key")},
				TLSClientCertificateBoundAccessTokens: true,
				GrantTypes:                            []string{"authorization_code", "client_credentials"},
				RedirectURIs:                          []string{"https://client.example/cb"}},
		},
		Users:               []User{{Line: 34, Username: "alice", Password: "alice-password-value"}},
		Login:               Login{Line: 35, Driver: "form", Fields: map[string]string{"username": "login", "password": "passwd"}},
		IntrospectionClient: "web",
		ClientCA:            &KeyPair{Cert: file("ca.crt"), Key: file("ca.key")},
		Resources:           []Resource{{Line: 39, Name: "accounts", URL: "https://api.example.com/accounts", Method: "GET", Scope: "read", Indicator: "https://api.example.com", Status: 200}},
		Limits:              Limits{RequestsPerSecond: 20, Timeout: 10 * time.Second, Body: 1 << 20, Redirects: 10, FailedLogins: 3, Login: 5 * time.Minute},
	}
	if diff := cmp.Diff(want, target); diff != "" {
		t.Error(diff)
	}
}

const minimal = `issuer: http://127.0.0.1:9000
clients:
  - client_id: svc
    client_secret: literal-secret
    grant_types: [client_credentials]
`

// codeClient is a target whose client uses the code flow; nobody can log in yet.
const codeClient = `issuer: http://127.0.0.1:9000
clients:
  - client_id: spa
    token_endpoint_auth_method: none
    redirect_uris: [https://client.example/cb]
`

func TestDefaults(t *testing.T) {
	target, err := ParseTarget("t.yaml", "", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	want := &Target{
		Path: "t.yaml", Name: "127.0.0.1:9000", Issuer: "http://127.0.0.1:9000", Profile: "bcp", Login: Login{Driver: "form"},
		Clients: []Client{{Line: 3, Name: "svc", ClientID: "svc", TokenEndpointAuthMethod: "client_secret_basic", ClientSecret: "literal-secret", GrantTypes: []string{"client_credentials"}}},
		Limits:  Limits{Timeout: 10 * time.Second, Body: 1 << 20, Redirects: 10, FailedLogins: 3, Login: 5 * time.Minute},
	}
	if diff := cmp.Diff(want, target); diff != "" {
		t.Error(diff)
	}
	remote := strings.Replace(minimal, "http://127.0.0.1:9000", "https://as.example.com\nauthorized: true", 1)
	target, err = ParseTarget("t.yaml", "", []byte(remote))
	if err != nil {
		t.Fatal(err)
	}
	if target.Limits.RequestsPerSecond != 20 || target.Name != "as.example.com" {
		t.Errorf("%v requests per second, name %q", target.Limits.RequestsPerSecond, target.Name)
	}
	resolved := strings.Replace(minimal, "http://127.0.0.1:9000", "http://AS.test.:80\nrequest: {resolve: {as.test: 127.0.0.1:8080}}", 1)
	if _, err = ParseTarget("t.yaml", "", []byte(resolved)); err != nil {
		t.Errorf("a name that is resolved to loopback is loopback: %v", err)
	}
}

// alone begins a file of a resource without an authorization server.
const alone = "resources: [{name: r, url: 'http://localhost/r'}]\ntoken_issuer:\n"

// goodSamples are accepted by loader and schema alike.
func goodSamples(t testing.TB) map[string]string {
	rest := codeClient + "users: [{username: a, password: b}]\n"
	return map[string]string{
		"full":                  readSample(t, "full.yaml"),
		"minimal":               minimal,
		"bom":                   "\ufeff" + minimal,
		"crlf":                  strings.ReplaceAll(minimal, "\n", "\r\n"),
		"explicit document":     "---\n" + minimal + "...\n",
		"json":                  `{"issuer": "http://localhost", "clients": [{"client_id": "a", "client_secret": "b", "grant_types": ["client_credentials"]}]}`,
		"users":                 rest,
		"assertion issuer":      minimal + "assertion_issuer: {issuer: 'https://idp.example', private_key: {file: worker.key}, subject: alice}\n",
		"assertion audience":    minimal + "assertion_issuer: {issuer: idp, private_key: {file: worker.key}, subject: alice, audience: 'https://as.example/token'}\n",
		"open registration":     minimal + "registration: {}\n",
		"registered":            withRegistered("name: app\n    register: {application_type: native, scope: null}"),
		"token issuer":          "token_issuer: {issuer: 'http://127.0.0.1:9400', claims: {aud: [a, b], n: 1, o: {p: null}}, bindings: [dpop]}\nresources: [{name: r, url: 'http://localhost/r'}]\n",
		"brought tokens":        "tokens: [{name: a, token: {file: secret.txt}, certificate: {cert: bank.crt, key: bank.key}}]\nresources: [{name: r, url: 'http://localhost/r'}]\n",
		"totp":                  codeClient + "users: [{username: a, password: {file: secret.txt}, totp_seed: jbsw y3dp}]\n",
		"exec without users":    codeClient + "login: {driver: exec, command: ./login.sh --fast}\n",
		"exec with a list":      codeClient + "login: {driver: exec, command: [login, 'a b', '']}\n",
		"browser":               rest + "login: {driver: browser, browser: chromium, fields: {totp: otp}, steps: [{fill: '#u', with: username}, {fill: '#r', text: corp}, {click: '#go'}], consent: [{click: '#yes'}]}\nlimits: {login: 90s}\n",
		"manual without users":  codeClient + "login: {driver: manual}\nusers: [{username: a}]\n",
		"native redirect":       strings.Replace(rest, "https://client.example/cb", "'com.example.app:/cb', 'http://127.0.0.1/cb', 'http://[::1]:1/cb', 'http://localhost:3000'", 1),
		"unknown metadata":      minimal + "metadata: {x_vendor: {a: [1, null, true, text, 1.5]}, scopes_supported: [a], mtls_endpoint_aliases: {token_endpoint: 'https://localhost:8443/t'}}\n",
		"pages of other hosts":  minimal + "metadata: {service_documentation: https://docs.example.com}\n",
		"hosts":                 minimal + "hosts: [localhost, '[::1]:8443', '::1', 127.9.9.9]\n",
		"waivers":               minimal + "waivers: [{id: dpop-x, reason: known, until: 2031-01-31}, {key: dpop-x@token/refresh_token, reason: r, until: '2030-01-01'}]\n",
		"limits":                minimal + "limits: {requests_per_second: 0.5, timeout: 1m30s, body: 65536, redirects: 0, failed_logins: 0}\n",
		"size":                  minimal + "limits: {body: 512KiB}\n",
		"capabilities":          minimal + "capabilities: {dpop: false, nonce-as: true}\n",
		"headers":               minimal + "request: {headers: {X-Gate: {env: WEB_SECRET}, X-B: b}, proxy: 'http://u:p@127.0.0.1:3128', resolve: {a.test: 127.0.0.1, b.test: '[::1]:443', c.test: '::1'}}\n",
		"ca from the variable":  minimal + "tls: {ca: {file: ca.pem}}\n",
		"resource":              minimal + "resources: [{name: r_1-a, url: 'http://localhost/r?x=1', method: POST, grants: {status: 204}}, {name: b, url: 'https://[::1]/', resource: 'urn:b'}]\n",
		"parameters":            strings.Replace(rest, "spa\n", "spa\n    authorization_parameters: {prompt: '', resource: 'https://x'}\n    token_parameters: {audience: a}\n", 1),
		"anchors and merge":     "issuer: http://localhost\nclients:\n  - &c\n    client_id: a\n    client_secret: b\n    grant_types: &g [client_credentials]\n  - <<: *c\n    client_id: b\n  - {client_id: c, client_secret: d, grant_types: *g}\n",
		"certificate with none": strings.Replace(rest, "spa\n", "spa\n    certificate: {cert: {file: bank.crt}, key: bank.key}\n    tls_client_certificate_bound_access_tokens: true\n", 1),
		"subject":               strings.Replace(minimal, "client_secret: literal-secret", "token_endpoint_auth_method: tls_client_auth\n    certificate: {cert: bank.crt, key: bank.key}\n    tls_client_auth_san_ip: 2001:db8::1", 1),
	}
}

func TestGoodSamplesLoadAndMatchTheSchema(t *testing.T) {
	schema := compiledSchema(t)
	dir := targetFiles(t)
	for name, text := range goodSamples(t) {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseTarget("t.yaml", dir, []byte(text)); err != nil {
				t.Error(err)
			}
			if err := schema.Validate(asJSON(t, text)); err != nil {
				t.Error(err)
			}
		})
	}
}

// --- what a bad file gets ---

type speaks int

const (
	schemaRefuses speaks = iota // the schema refuses it as well
	schemaSilent                // no schema can express it
)

type badSample struct {
	text   string
	want   string // of one problem
	schema speaks
}

// withClient replaces a line of the minimal client.
func withClient(old, new string) string { return strings.Replace(minimal, old, new, 1) }

const keyLine = "    client_secret: literal-secret\n"

// withKey makes the minimal client one with private_key_jwt.
func withKey(key string) string {
	return withClient(keyLine, "    token_endpoint_auth_method: private_key_jwt\n    private_key: "+key+"\n")
}

// withRegistered makes the minimal client one that popcheck registers.
func withRegistered(lines string) string {
	return strings.Replace(withClient(keyLine, ""), "client_id: svc", lines, 1)
}

func withCertificate(pair string) string {
	return withClient(keyLine, "    token_endpoint_auth_method: tls_client_auth\n    certificate: "+pair+"\n")
}

func badSamples() map[string]badSample {
	remote := strings.Replace(minimal, "http://127.0.0.1:9000", "https://as.example.com", 1)
	users := codeClient + "users: [{username: a, password: b}]\n"
	return map[string]badSample{
		// keys
		"unknown key":                 {minimal + "isuer: x\n", "t.yaml:6: isuer: unknown key; did you mean issuer?", schemaRefuses},
		"unknown key, far":            {minimal + "colour: x\n", "t.yaml:6: colour: unknown key; known here: name, issuer", schemaRefuses},
		"unknown key of a client":     {withClient("client_secret:", "clientSecret:"), "t.yaml:4: clients[0].clientSecret: unknown key; did you mean client_secret?", schemaRefuses},
		"unknown key of tls":          {minimal + "tls: {caa: x}\n", "t.yaml:6: tls.caa: unknown key; did you mean ca?", schemaRefuses},
		"unknown key of request":      {minimal + "request: {header: {}}\n", "request.header: unknown key; did you mean headers?", schemaRefuses},
		"unknown key of a user":       {codeClient + "users: [{user: a, password: b}]\n", "users[0].user: unknown key", schemaRefuses},
		"unknown key of login":        {users + "login: {drivr: form}\n", "login.drivr: unknown key; did you mean driver?", schemaRefuses},
		"unknown key of fields":       {users + "login: {fields: {user_name: x, name: y}}\n", "login.fields.user_name: unknown key; did you mean username?", schemaRefuses},
		"unknown key of a resource":   {minimal + "resources: [{name: a, url: 'http://localhost', verb: GET}]\n", "resources[0].verb: unknown key", schemaRefuses},
		"unknown key of grants":       {minimal + "resources: [{name: a, url: 'http://localhost', grants: {code: 200}}]\n", "resources[0].grants.code: unknown key", schemaRefuses},
		"unknown key of limits":       {minimal + "limits: {rps: 1}\n", "limits.rps: unknown key", schemaRefuses},
		"unknown key of a waiver":     {minimal + "waivers: [{check: a, id: a, reason: b, until: 2030-01-01}]\n", "waivers[0].check: unknown key", schemaRefuses},
		"unknown capability":          {minimal + "capabilities: {dpopp: true}\n", "capabilities.dpopp: unknown key; did you mean dpop?", schemaRefuses},
		"unknown key of a secret":     {withClient("literal-secret", "{evn: WEB_SECRET}"), "clients[0].client_secret.evn: unknown key; did you mean env?", schemaRefuses},
		"a templated secret":          {withClient("literal-secret", "{hunter2hunter2: }"), "clients[0].client_secret: holds an unknown key", schemaRefuses},
		"unknown key of a key pair":   {withCertificate("{cert: bank.crt, key: bank.key, chain: x}"), "clients[0].certificate.chain: unknown key", schemaRefuses},
		"unknown key of client_ca":    {minimal + "client_ca: {cert: ca.crt, key: ca.key, x: y}\n", "client_ca.x: unknown key", schemaRefuses},
		"unknown key of issuer":       {minimal + "assertion_issuer: {issuer: a, private_key: {file: worker.key}, subject: b, aud: c}\n", "t.yaml:6: assertion_issuer.aud: unknown key; known here: issuer, private_key", schemaRefuses},
		"unknown key of registration": {minimal + "registration: {token: a}\n", "t.yaml:6: registration.token: unknown key; did you mean initial_access_token?", schemaRefuses},
		"registration is text":        {minimal + "registration: open\n", "t.yaml:6: registration: is a text; write keys and values", schemaRefuses},
		"registration, half a pair":   {minimal + "registration: {certificate: {cert: bank.crt}}\n", "t.yaml:6: registration.certificate: needs key", schemaRefuses},
		"statement, no issuer":        {minimal + "registration:\n  software_statement: {private_key: {file: worker.key}}\n", "t.yaml:7: registration.software_statement: needs issuer", schemaRefuses},
		"statement, no key":           {minimal + "registration:\n  software_statement: {issuer: a}\n", "t.yaml:7: registration.software_statement: needs private_key", schemaRefuses},
		"statement, a path":           {minimal + "registration:\n  software_statement: {issuer: a, private_key: worker.key}\n", "t.yaml:7: registration.software_statement.private_key: holds no private key", schemaSilent},
		"statement, unknown key":      {minimal + "registration:\n  software_statement: {issuer: a, private_key: {file: worker.key}, kid: b}\n", "t.yaml:7: registration.software_statement.kid: unknown key", schemaRefuses},
		"statement, no JWT":           {minimal + "registration:\n  software_statement: {file: secret.txt}\n", "t.yaml:7: registration.software_statement: is no software statement; write a signed JWT", schemaSilent},
		"statement, missing file":     {minimal + "registration:\n  software_statement: {file: none.jwt}\n", `t.yaml:7: registration.software_statement.file: "none.jwt" cannot be read`, schemaSilent},
		"initial token, unset":        {minimal + "registration: {initial_access_token: {env: POPCHECK_NO_SUCH_VARIABLE}}\n", "t.yaml:6: registration.initial_access_token.env: the environment variable POPCHECK_NO_SUCH_VARIABLE is not set", schemaSilent},
		"registered, no name":         {withRegistered("register: true"), "t.yaml:3: clients[0]: needs name; write how reports call it", schemaRefuses},
		"registered, an id":           {withRegistered("name: app\n    register: true\n    client_id: app"), "t.yaml:5: clients[0].client_id: is chosen by the server, which registers this client", schemaRefuses},
		"registered, a secret":        {withRegistered("name: app\n    register: {application_type: web}\n    client_secret: s"), "t.yaml:5: clients[0].client_secret: is chosen by the server", schemaRefuses},
		"registered, not":             {withRegistered("name: app\n    register: false"), "t.yaml:3: clients[0]: needs client_id", schemaSilent},
		"registered, a number":        {withRegistered("name: app\n    register: 1"), "t.yaml:4: clients[0].register: is a number; write true or false", schemaRefuses},
		"registered, odd name":        {withRegistered("name: an app\n    register: true"), `t.yaml:3: clients[0].name: "an app" is not allowed; use letters, digits`, schemaRefuses},
		"registered, name twice":      {withRegistered("name: app\n    register: true") + "  - {name: app, register: true, grant_types: [client_credentials]}\n", "t.yaml:6: clients[1]: \"app\" is the name of another client too", schemaSilent},
		"no way to the keys":          {alone + "  issuer: idp\n", "t.yaml:3: token_issuer: tells no way in which the resources get its keys; add listen", schemaSilent},
		"a listener for everyone":     {alone + "  issuer: idp\n  listen: 0.0.0.0:9400\n", `token_issuer.listen: "0.0.0.0:9400" is no address of this machine alone`, schemaRefuses},
		"a claim that checks set":     {alone + "  issuer: http://127.0.0.1:9400\n  claims: {exp: 1}\n", "token_issuer.claims.exp: popcheck sets it itself; remove it", schemaRefuses},
		"an algorithm of none":        {alone + "  issuer: idp\n  private_key: {file: worker.key}\n  algorithm: RS256\n", "token_issuer.algorithm: RS256 is no algorithm of the private_key", schemaSilent},
		"an issuer beside another":    {alone + "  issuer: http://127.0.0.1:9400\nissuer: http://127.0.0.1:9000\n", "t.yaml:4: issuer: stands beside token_issuer, which is for resources without", schemaRefuses},
		"an issuer for nothing":       {"token_issuer: {issuer: 'http://127.0.0.1:9400'}\n", "t.yaml:1: needs resources; with token_issuer list at least one", schemaRefuses},
		"tokens of two kinds":         {alone + "  issuer: http://127.0.0.1:9400\ntokens: [{name: a, token: b}]\n", "tokens: stands beside token_issuer; keep one of the two", schemaRefuses},
		"two tokens of a name":        {"tokens: [{name: a, token: b}, {name: a, token: c}]\nresources: [{name: r, url: 'http://localhost/r'}]\n", "tokens[1].name: is the name of another token too", schemaSilent},
		"a key that is no word":       {minimal + "\"a\\nb\": x\n", `t.yaml:6: ["a\nb"]: unknown key`, schemaRefuses},
		"duplicate key":               {minimal + "name: a\nname: b\n", "t.yaml:7: name: is a duplicate: line 6 has this key too", schemaSilent},
		"duplicate key in metadata":   {minimal + "metadata: {x: {a: 1, a: 2}}\n", "t.yaml:6: metadata.x.a: is a duplicate", schemaSilent},
		"a list as a key":             {minimal + "? [a]\n: b\n", "t.yaml:6: a key is a list or a mapping", schemaSilent},
		"a merged unknown key":        {"issuer: http://localhost\nclients:\n  - &c\n    client_id: a\n    client_secret: b\n    grant_types: [client_credentials]\n    colour: red\n  - <<: *c\n    client_id: b\n", "t.yaml:7: clients[1].colour: unknown key", schemaRefuses},
		"a merge of a text":           {minimal + "limits: {<<: x}\n", "limits: is a text; write keys and values", schemaSilent},
		// types
		"a number as a text":    {withClient("literal-secret", "12345"), "t.yaml:4: clients[0].client_secret: is a number; a text is wanted: put it in quotes", schemaRefuses},
		"a list as a text":      {minimal + "name: [a]\n", "name: is a list; write a text", schemaRefuses},
		"no value":              {minimal + "name:\n", "name: has no value; write a text, or remove the key", schemaRefuses},
		"an empty text":         {minimal + "name: ''\n", "name: is empty", schemaRefuses},
		"yes":                   {minimal + "authorized: yes\n", "authorized: is a text; write true or false", schemaRefuses},
		"a text as a list":      {minimal + "hosts: localhost\n", "hosts: is a text; write a list", schemaRefuses},
		"a list as a mapping":   {minimal + "limits: []\n", "limits: is a list; write keys and values", schemaRefuses},
		"null sections":         {minimal + "waivers:\n", "waivers: has no value; write a list", schemaRefuses},
		"two lines in a name":   {minimal + "name: \"a\\nb\"\n", "name: ", schemaRefuses},
		"a client that is text": {"issuer: http://localhost\nclients: [spa]\n", "clients[0]: is a text; write keys and values", schemaRefuses},
		"a tag":                 {minimal + "name: !x a\n", "t.yaml:6: a value has a YAML tag", schemaSilent},
		// top level
		"no issuer":            {"clients:\n  - client_id: a\n    client_secret: b\n    grant_types: [client_credentials]\n", "t.yaml:1: needs issuer", schemaRefuses},
		"no clients":           {"issuer: http://localhost\n", "t.yaml:1: needs clients; list at least one client", schemaRefuses},
		"empty clients":        {"issuer: http://localhost\nclients: []\n", "clients: is an empty list", schemaRefuses},
		"profile":              {minimal + "profile: fapi\n", `profile: "fapi" is unknown; did you mean fapi2?`, schemaRefuses},
		"introspection client": {minimal + "introspection_client: svd\n", `introspection_client: no client has the client_id "svd"; did you mean svc?`, schemaSilent},
		// URLs
		"issuer, http":                 {strings.Replace(remote, "https:", "http:", 1) + "authorized: true\n", "t.yaml:1: issuer: is http, and its host is not loopback", schemaSilent},
		"issuer, relative":             {strings.Replace(minimal, "http://127.0.0.1:9000", "as.example.com", 1), "issuer: is no absolute URL", schemaRefuses},
		"issuer, query":                {strings.Replace(minimal, ":9000", ":9000/?a=b", 1), "issuer: has a query", schemaRefuses},
		"issuer, fragment":             {strings.Replace(minimal, ":9000", ":9000/#a", 1), "issuer: has a fragment", schemaRefuses},
		"issuer, user":                 {strings.Replace(minimal, "127", "u:p@127", 1), "issuer: holds user information", schemaRefuses},
		"issuer, port":                 {strings.Replace(minimal, "9000", "99999", 1), `issuer: "127.0.0.1:99999" is no host`, schemaSilent},
		"issuer, capitals":             {strings.Replace(minimal, "http:", "HTTP:", 1), "issuer: has a scheme in capitals; write http", schemaRefuses},
		"issuer, scheme":               {strings.Replace(minimal, "http:", "ftp:", 1), `issuer: has the scheme "ftp"`, schemaRefuses},
		"metadata, endpoint":           {minimal + "metadata: {token_endpoint: /token}\n", "metadata.token_endpoint: is no absolute URL", schemaRefuses},
		"metadata, new one":            {minimal + "metadata: {x_endpoint: 5}\n", "metadata.x_endpoint: is a number", schemaRefuses},
		"metadata, list":               {minimal + "metadata: {scopes_supported: openid}\n", "metadata.scopes_supported: is a text; write a list", schemaRefuses},
		"metadata, flag":               {minimal + "metadata: {require_pushed_authorization_requests: 'true'}\n", "metadata.require_pushed_authorization_requests: is a text; write true or false", schemaRefuses},
		"metadata, alias":              {minimal + "metadata: {mtls_endpoint_aliases: {token_endpoint: x}}\n", "metadata.mtls_endpoint_aliases.token_endpoint: is no absolute URL", schemaRefuses},
		"metadata, issuer":             {minimal + "metadata: {issuer: http://127.0.0.1:9001}\n", "metadata.issuer: differs from the issuer", schemaSilent},
		"metadata, page":               {minimal + "metadata: {op_tos_uri: x}\n", "metadata.op_tos_uri: is no absolute URL", schemaRefuses},
		"resource, relative":           {minimal + "resources: [{name: a, url: accounts}]\n", "resources[0].url: is no absolute URL", schemaRefuses},
		"resource, method":             {minimal + "resources: [{name: a, url: 'http://localhost', method: get}]\n", "resources[0].method: \"get\" is not allowed", schemaRefuses},
		"resource, name":               {minimal + "resources: [{name: A b, url: 'http://localhost'}]\n", "resources[0].name: \"A b\" is not allowed", schemaRefuses},
		"resource, no name":            {minimal + "resources: [{url: 'http://localhost'}]\n", "resources[0]: needs name", schemaRefuses},
		"resource, twice":              {minimal + "resources: [{name: a, url: 'http://localhost'}, {name: a, url: 'http://localhost/b'}]\n", "resources[1].name: is the name of another", schemaSilent},
		"resource, 401":                {minimal + "resources: [{name: a, url: 'http://localhost', grants: {status: 401}}]\n", "resources[0].grants.status: 401 is how a resource refuses", schemaRefuses},
		"resource, relative indicator": {minimal + "resources: [{name: a, url: 'http://localhost', resource: api}]\n", "resources[0].resource: \"api\" is not allowed", schemaRefuses},
		"resource, fragment":           {minimal + "resources: [{name: a, url: 'http://localhost', resource: 'https://a/#b'}]\n", "resources[0].resource: ", schemaRefuses},
		"resource, scope":              {minimal + "resources: [{name: a, url: 'http://localhost', scope: 'a  b'}]\n", "resources[0].scope: ", schemaRefuses},
		"hosts, URL":                   {minimal + "hosts: ['https://localhost/x']\n", "hosts[0]: is a URL; write its host alone: localhost", schemaRefuses},
		"hosts, wildcard":              {minimal + "hosts: ['*.example.com']\n", "hosts[0]: holds a wildcard", schemaRefuses},
		"hosts, port":                  {minimal + "hosts: ['localhost:0']\n", "hosts[0]: \"localhost:0\" is no host", schemaSilent},
		"hosts, twice":                 {minimal + "hosts: [localhost, localhost]\n", "hosts[1]: is in the list twice", schemaRefuses},
		"remote":                       {remote, "t.yaml:1: issuer: names as.example.com, which is not loopback; if you have the permission to attack it, write authorized: true", schemaSilent},
		"remote host":                  {minimal + "hosts: [api.example.com]\n", "t.yaml:6: hosts[0]: names api.example.com, which is not loopback", schemaSilent},
		"remote resource":              {minimal + "authorized: false\nresources:\n  - name: a\n    url: https://api.example.com/a\n", "t.yaml:9: resources[0].url: names api.example.com", schemaSilent},
		"remote endpoint":              {minimal + "metadata:\n  token_endpoint: https://x.example/t\n", "t.yaml:7: metadata.token_endpoint: names x.example", schemaSilent},
		"remote proxy":                 {minimal + "request: {proxy: 'http://proxy.example:3128'}\n", "t.yaml:6: request.proxy: names proxy.example", schemaSilent},
		"loopback sent abroad":         {minimal + "request: {resolve: {127.0.0.1: 192.0.2.1}}\n", "issuer: is http, and its host is not loopback", schemaSilent},
		// request
		"header, Host":          {minimal + "request: {headers: {Host: a}}\n", "request.headers.Host: cannot be set for every request: it decides which server answers", schemaRefuses},
		"header, authorization": {minimal + "request: {headers: {authorization: a}}\n", "request.headers.authorization: cannot be set for every request: checks put", schemaRefuses},
		"header, dpop":          {minimal + "request: {headers: {dpop: a}}\n", "checks put proofs there", schemaRefuses},
		"header, cookie":        {minimal + "request: {headers: {Cookie: a}}\n", "each session keeps its own cookies", schemaRefuses},
		"header, length":        {minimal + "request: {headers: {Content-Length: '1'}}\n", "it follows from the request", schemaRefuses},
		"header, agent":         {minimal + "request: {headers: {User-Agent: a}}\n", "it names the check in the server's log", schemaRefuses},
		"header, name":          {minimal + "request: {headers: {'X Y': a}}\n", `request.headers["X Y"]: is no name of a header`, schemaRefuses},
		"header, two spellings": {minimal + "request: {headers: {X-A: a, x-a: b}}\n", "request.headers.x-a: is there in another spelling too", schemaSilent},
		"header, line break":    {minimal + "request: {headers: {X-A: \"a\\r\\nB: c\"}}\n", "request.headers.X-A: holds a line break", schemaSilent},
		"proxy":                 {minimal + "request: {proxy: 'socks5://localhost:1'}\n", "request.proxy: is no URL of an HTTP proxy", schemaRefuses},
		"resolve, name":         {minimal + "request: {resolve: {localhost: localhost}}\n", `request.resolve.localhost: "localhost" is no IP address`, schemaRefuses},
		"resolve, host":         {minimal + "request: {resolve: {'a/b': 127.0.0.1}}\n", `request.resolve["a/b"]: is no host`, schemaRefuses},
		// clients
		"no client_id":        {withClient("client_id: svc", "scope: a"), "t.yaml:3: clients[0]: needs client_id", schemaRefuses},
		"client_id, letters":  {withClient("svc", "süc"), "clients[0].client_id: ", schemaRefuses},
		"client_id twice":     {minimal + "  - client_id: svc\n    client_secret: b\n    grant_types: [client_credentials]\n", `t.yaml:6: clients[1].client_id: "svc" is the client_id of another client too`, schemaSilent},
		"method":              {withClient(keyLine, "    token_endpoint_auth_method: client_secret\n"), `"client_secret" is unknown`, schemaRefuses},
		"no secret":           {withClient(keyLine, ""), "t.yaml:3: clients[0]: needs client_secret: without token_endpoint_auth_method the method is client_secret_basic", schemaRefuses},
		"post without secret": {withClient(keyLine, "    token_endpoint_auth_method: client_secret_post\n"), "t.yaml:4: clients[0].token_endpoint_auth_method: client_secret_post needs client_secret", schemaRefuses},
		"jwt without secret":  {withClient(keyLine, "    token_endpoint_auth_method: client_secret_jwt\n"), "client_secret_jwt needs client_secret", schemaRefuses},
		"key method, no key":  {withClient(keyLine, "    token_endpoint_auth_method: private_key_jwt\n"), "private_key_jwt needs private_key", schemaRefuses},
		"tls method, no cert": {withClient(keyLine, "    token_endpoint_auth_method: self_signed_tls_client_auth\n"), "self_signed_tls_client_auth needs certificate", schemaRefuses},
		"none with a secret":  {withClient(keyLine, keyLine+"    token_endpoint_auth_method: none\n"), "t.yaml:4: clients[0].client_secret: a client with the method none has no secret", schemaRefuses},
		"bound without cert":  {withClient(keyLine, keyLine+"    tls_client_certificate_bound_access_tokens: true\n"), "clients[0].tls_client_certificate_bound_access_tokens: needs certificate", schemaRefuses},
		"two subjects":        {withCertificate("{cert: bank.crt, key: bank.key}\n    tls_client_auth_san_dns: a\n    tls_client_auth_san_uri: b"), "clients[0].tls_client_auth_san_uri: is a second name of the subject", schemaRefuses},
		"subject, no tls":     {withClient(keyLine, keyLine+"    tls_client_auth_san_dns: a\n"), "clients[0].tls_client_auth_san_dns: is for clients with the method tls_client_auth", schemaRefuses},
		"subject, ip":         {withCertificate("{cert: bank.crt, key: bank.key}\n    tls_client_auth_san_ip: a"), `clients[0].tls_client_auth_san_ip: "a" is no IP address`, schemaSilent},
		"grant":               {withClient("[client_credentials]", "[client_credential]"), `clients[0].grant_types[0]: "client_credential" is unknown; did you mean client_credentials?`, schemaRefuses},
		"no grants":           {withClient("[client_credentials]", "[]"), "clients[0].grant_types: is an empty list", schemaSilent},
		"grant twice":         {withClient("[client_credentials]", "[client_credentials, client_credentials]"), "clients[0].grant_types[1]: is in the list twice", schemaRefuses},
		"no redirect":         {strings.Replace(users, "    redirect_uris: [https://client.example/cb]\n", "", 1), "t.yaml:3: clients[0]: needs redirect_uris", schemaRefuses},
		"empty redirects":     {strings.Replace(users, "[https://client.example/cb]", "[]", 1), "clients[0]: needs redirect_uris", schemaRefuses},
		"redirect, relative":  {strings.Replace(users, "https://client.example/cb", "/cb", 1), "clients[0].redirect_uris[0]: is no absolute URI", schemaRefuses},
		"redirect, fragment":  {strings.Replace(users, "https://client.example/cb", "'https://client.example/cb#x'", 1), "clients[0].redirect_uris[0]: has a fragment", schemaRefuses},
		"redirect, http":      {strings.Replace(users, "https:", "http:", 1), "clients[0].redirect_uris[0]: is http, and its host is not loopback", schemaRefuses},
		"redirect, script":    {strings.Replace(users, "https://client.example/cb", "'javascript:alert(1)'", 1), `clients[0].redirect_uris[0]: has the scheme "javascript"`, schemaRefuses},
		"reserved parameter":  {withClient(keyLine, keyLine+"    token_parameters: {code_verifier: a}\n"), "clients[0].token_parameters.code_verifier: is a parameter that popcheck sets itself", schemaRefuses},
		"parameter, state":    {withClient(keyLine, keyLine+"    authorization_parameters: {state: a}\n"), "clients[0].authorization_parameters.state: is a parameter", schemaRefuses},
		"parameter, number":   {withClient(keyLine, keyLine+"    token_parameters: {a: 1}\n"), "clients[0].token_parameters.a: is a number; a text is wanted", schemaRefuses},
		// secrets, keys and certificates
		"variable, unset":       {withClient("literal-secret", "{env: POPCHECK_NO_SUCH_VARIABLE}"), "t.yaml:4: clients[0].client_secret.env: the environment variable POPCHECK_NO_SUCH_VARIABLE is not set; export it before the run", schemaSilent},
		"variable, empty":       {withClient("literal-secret", "{env: EMPTY_VARIABLE}"), "the environment variable EMPTY_VARIABLE is empty", schemaSilent},
		"variable, name":        {withClient("literal-secret", "{env: $WEB_SECRET}"), "clients[0].client_secret.env: is no name of an environment variable", schemaRefuses},
		"file, missing":         {withClient("literal-secret", "{file: no.txt}"), `clients[0].client_secret.file: "no.txt" cannot be read: no such file or directory`, schemaSilent},
		"file, empty":           {withClient("literal-secret", "{file: empty.txt}"), `clients[0].client_secret.file: "empty.txt" is empty`, schemaSilent},
		"file, nothing":         {withClient("literal-secret", "{file: nothing.txt}"), `"nothing.txt" is empty`, schemaSilent},
		"file, directory":       {withClient("literal-secret", "{file: .}"), `"." is a directory`, schemaSilent},
		"file, device":          {withClient("literal-secret", "{file: /dev/null}"), `"/dev/null" is no regular file`, schemaSilent},
		"file, large":           {withClient("literal-secret", "{file: large.txt}"), `"large.txt" is larger than 1 MiB`, schemaSilent},
		"file, binary":          {withClient("literal-secret", "{file: binary.txt}"), `"binary.txt" is not UTF-8`, schemaSilent},
		"two sources":           {withClient("literal-secret", "{file: secret.txt, env: WEB_SECRET}"), "clients[0].client_secret: names no source, or two", schemaRefuses},
		"no source":             {withClient("literal-secret", "{}"), "clients[0].client_secret: names no source, or two", schemaRefuses},
		"key, a path":           {withKey("worker.key"), "clients[0].private_key: holds no private key; use an unencrypted key as PEM (PKCS #8, PKCS #1 or SEC 1); if this is a path, write {file: path}", schemaSilent},
		"key, a certificate":    {withKey("{file: bank.crt}"), "clients[0].private_key: holds no private key", schemaSilent},
		"key, curve":            {withKey("{file: p224.key}"), "clients[0].private_key: is an EC key on P-224", schemaSilent},
		"key, public JWK":       {withKey(`'{"kty":"EC","crv":"P-256","x":"a","y":"b"}'`), "is a public key: it has no member d", schemaSilent},
		"key, symmetric":        {withKey(`'{"kty":"oct","k":"a"}'`), "is a symmetric key", schemaSilent},
		"key, JWK Set":          {withKey(`'{"keys":[]}'`), "is a JWK Set", schemaSilent},
		"key, JWK curve":        {withKey(`'{"kty":"EC","crv":"secp256k1","d":"a"}'`), `has the crv "secp256k1"; use P-256`, schemaSilent},
		"key, short RSA JWK":    {withKey(`'{"kty":"RSA","n":"AQAB","d":"a"}'`), "is an RSA key of fewer than 2048 bits", schemaSilent},
		"key, broken JSON":      {withKey(`'{"kty":'`), "is not JSON", schemaSilent},
		"certificate, other":    {withCertificate("{cert: bank.crt, key: ca.key}"), "clients[0].certificate.key: does not match the certificate", schemaSilent},
		"certificate, order":    {withCertificate("{cert: reversed.crt, key: bank.key}"), "belongs to certificate 2 of the chain, not to the first; put the certificate of the key first", schemaSilent},
		"certificate, a key":    {withCertificate("{cert: bank.key, key: bank.key}"), "clients[0].certificate.cert: holds no certificate", schemaSilent},
		"certificate, garbage":  {withCertificate("{cert: garbage.crt, key: bank.key}"), "clients[0].certificate.cert: certificate 1 cannot be read", schemaSilent},
		"certificate, half":     {withCertificate("{cert: bank.crt}"), "clients[0].certificate: needs key", schemaRefuses},
		"tls.ca":                {minimal + "tls: {ca: bank.key}\n", "tls.ca: holds no certificate", schemaSilent},
		"client_ca, a leaf":     {minimal + "client_ca: {cert: bank.crt, key: bank.key}\n", "client_ca: its certificate is not that of a CA", schemaSilent},
		"client_ca, no usage":   {minimal + "client_ca: {cert: nosign.crt, key: ca.key}\n", "client_ca: its certificate may not sign certificates", schemaSilent},
		"second_client_ca":      {minimal + "second_client_ca: {cert: bank.crt, key: bank.key}\n", "second_client_ca: its certificate is not that of a CA", schemaSilent},
		"certificate_header":    {minimal + "certificate_header: 'X Client Cert'\n", "t.yaml:6: certificate_header: \"X Client Cert\" is not allowed; write the name of a header field", schemaRefuses},
		"client_ca, other key":  {minimal + "client_ca: {cert: ca.crt, key: bank.key}\n", "client_ca.key: does not match the certificate", schemaSilent},
		"assertion, no subject": {minimal + "assertion_issuer: {issuer: a, private_key: {file: worker.key}}\n", "t.yaml:6: assertion_issuer: needs subject", schemaRefuses},
		"assertion, no key":     {minimal + "assertion_issuer: {issuer: a, subject: b}\n", "t.yaml:6: assertion_issuer: needs private_key", schemaRefuses},
		"assertion, no issuer":  {minimal + "assertion_issuer: {subject: b, private_key: {file: worker.key}}\n", "t.yaml:6: assertion_issuer: needs issuer", schemaRefuses},
		"assertion, a path":     {minimal + "assertion_issuer: {issuer: a, subject: b, private_key: worker.key}\n", "t.yaml:6: assertion_issuer.private_key: holds no private key", schemaSilent},
		"assertion, curve":      {minimal + "assertion_issuer: {issuer: a, subject: b, private_key: {file: p224.key}}\n", "assertion_issuer.private_key: is an EC key on P-224", schemaSilent},
		// users and login
		"no users":         {codeClient, "t.yaml:3: clients[0]: may use authorization_code, but users lists nobody who could log in", schemaRefuses},
		"empty users":      {codeClient + "users: []\n", "but users lists nobody", schemaRefuses},
		"no password":      {codeClient + "users: [{username: a}]\n", "users[0]: needs password", schemaRefuses},
		"no username":      {codeClient + "users: [{password: a}]\n", "users[0]: needs username", schemaRefuses},
		"user twice":       {codeClient + "users: [{username: a, password: b}, {username: a, password: c}]\n", "users[1].username: is a user of the list already", schemaSilent},
		"totp":             {codeClient + "users: [{username: a, password: b, totp_seed: '0189'}]\n", "users[0].totp_seed: is not base32", schemaSilent},
		"driver":           {users + "login: {driver: forms}\n", `login.driver: "forms" is unknown; did you mean form?`, schemaRefuses},
		"exec, no command": {codeClient + "login: {driver: exec}\n", "login: needs command", schemaRefuses},
		"command, empty":   {codeClient + "login: {driver: exec, command: []}\n", "login.command: names no program", schemaRefuses},
		"command, form":    {users + "login: {command: x}\n", "login.command: is for the driver exec", schemaRefuses},
		"fields, manual":   {users + "login: {driver: manual, fields: {username: x}}\n", "login.fields: is for the drivers form and browser", schemaRefuses},
		"step, neither":    {users + "login: {driver: browser, steps: [{click: '#a'}, {with: username}]}\n", "login.steps[1]: is no step; write {fill: selector, with: username} or {click: selector}", schemaRefuses},
		"step, both":       {users + "login: {driver: browser, steps: [{fill: '#a', click: '#b', with: username}]}\n", "login.steps[0]: is no step", schemaRefuses},
		"step, nothing":    {users + "login: {driver: browser, steps: [{fill: '#a'}]}\n", "login.steps[0]: has to say what is filled in; write with: username, password or totp; or text:", schemaRefuses},
		"step, twice":      {users + "login: {driver: browser, steps: [{fill: '#a', with: username, text: b}]}\n", "login.steps[0]: has to say what is filled in", schemaRefuses},
		"step, click":      {users + "login: {driver: browser, steps: [{click: '#a', with: totp}]}\n", "login.steps[0]: clicks, and has something to fill in; remove with and text", schemaRefuses},
		"step, with":       {users + "login: {driver: browser, steps: [{fill: '#a', with: pasword}]}\n", `login.steps[0].with: "pasword" is unknown; did you mean password?`, schemaRefuses},
		"step, key":        {users + "login: {driver: browser, steps: [{press: '#a'}]}\n", "login.steps[0].press: unknown key", schemaRefuses},
		"steps, no list":   {users + "login: {driver: browser, steps: {click: '#a'}}\n", "login.steps: ", schemaRefuses},
		"steps, form":      {users + "login: {steps: [{click: '#a'}]}\n", "login.steps: is for the driver browser; remove it, or write driver: browser", schemaRefuses},
		"consent, fills":   {users + "login: {driver: browser, consent: [{click: '#a'}, {fill: '#b', text: c}]}\n", "login.consent[1]: fills something in; a consent is given by clicks", schemaRefuses},
		"consent, exec":    {users + "login: {driver: exec, command: x, consent: [{click: '#a'}]}\n", "login.consent: is for the driver browser", schemaRefuses},
		"browser, form":    {users + "login: {browser: /usr/bin/chromium}\n", "login.browser: is for the driver browser", schemaRefuses},
		"browser, list":    {users + "login: {driver: browser, browser: [chromium, --headless]}\n", "login.browser: ", schemaRefuses},
		// limits, waivers, capabilities
		"login, no unit":      {minimal + "limits: {login: 120}\n", `limits.login: "120" is no such duration; write a duration above 0 with a unit`, schemaRefuses},
		"login, zero":         {minimal + "limits: {login: 0s}\n", `limits.login: "0s" is no such duration`, schemaSilent},
		"rate":                {minimal + "limits: {requests_per_second: 0}\n", "limits.requests_per_second: 0 is not allowed; write a number above 0", schemaRefuses},
		"rate, infinite":      {minimal + "limits: {requests_per_second: .inf}\n", "limits.requests_per_second: is no finite number", schemaSilent},
		"timeout, no unit":    {minimal + "limits: {timeout: 10}\n", `limits.timeout: "10" is no such duration; write a duration above 0 with a unit`, schemaRefuses},
		"timeout, zero":       {minimal + "limits: {timeout: 0s}\n", `limits.timeout: "0s" is no such duration`, schemaSilent},
		"timeout, sign":       {minimal + "limits: {timeout: -5s}\n", `"-5s" is no such duration`, schemaRefuses},
		"body, unit":          {minimal + "limits: {body: 1MB}\n", "limits.body: is no size; write bytes from 1 to 1GiB", schemaRefuses},
		"body, zero":          {minimal + "limits: {body: 0}\n", "limits.body: is no size", schemaRefuses},
		"body, huge":          {minimal + "limits: {body: 2GiB}\n", "limits.body: 2GiB is not allowed", schemaSilent},
		"redirects":           {minimal + "limits: {redirects: -1}\n", "limits.redirects: -1 is not allowed; write a whole number", schemaRefuses},
		"failed logins":       {minimal + "limits: {failed_logins: 1.5}\n", "limits.failed_logins: 1.5 is not allowed", schemaRefuses},
		"waiver, both":        {minimal + "waivers: [{id: a, key: a@b, reason: r, until: 2030-01-01}]\n", "waivers[0]: needs id or key, one of the two", schemaRefuses},
		"waiver, neither":     {minimal + "waivers: [{reason: r, until: 2030-01-01}]\n", "waivers[0]: needs id or key", schemaRefuses},
		"waiver, no reason":   {minimal + "waivers: [{id: a, until: 2030-01-01}]\n", "waivers[0]: needs reason", schemaRefuses},
		"waiver, no date":     {minimal + "waivers: [{id: a, reason: r}]\n", "waivers[0]: needs until", schemaRefuses},
		"waiver, format":      {minimal + "waivers: [{id: a, reason: r, until: 31.12.2030}]\n", `waivers[0].until: "31.12.2030" is no date; write YYYY-MM-DD`, schemaRefuses},
		"waiver, no such day": {minimal + "waivers: [{id: a, reason: r, until: '2030-02-30'}]\n", `"2030-02-30" is no date`, schemaRefuses},
		"waiver, key as id":   {minimal + "waivers: [{id: a@token, reason: r, until: 2030-01-01}]\n", "waivers[0].id: ", schemaRefuses},
		"waiver, id as key":   {minimal + "waivers: [{key: a, reason: r, until: 2030-01-01}]\n", "waivers[0].key: ", schemaRefuses},
		"waiver, twice":       {minimal + "waivers: [{id: a, reason: r, until: 2030-01-01}, {id: a, reason: s, until: 2030-01-01}]\n", "waivers[1]: waives what another waiver does", schemaSilent},
		"capability, value":   {minimal + "capabilities: {dpop: maybe}\n", "capabilities.dpop: is a text; write true or false", schemaRefuses},
	}
}

func TestBadSamplesAreReportedAndRefusedByTheSchema(t *testing.T) {
	schema := compiledSchema(t)
	dir := targetFiles(t)
	for name, bad := range badSamples() {
		t.Run(name, func(t *testing.T) {
			_, err := ParseTarget("t.yaml", dir, []byte(bad.text))
			var all *TargetError
			if !errors.As(err, &all) {
				t.Fatalf("accepted, or no *TargetError: %v", err)
			}
			if !slices.ContainsFunc(all.Problems, func(p TargetProblem) bool { return strings.Contains(p.String(), bad.want) }) {
				t.Errorf("want %q in:\n%v", bad.want, err)
			}
			for _, p := range all.Problems {
				if p.Line == 0 || p.Right == "" || strings.ContainsAny(p.String(), "\r\n") {
					t.Errorf("without a line, without advice, or of several lines: %q", p)
				}
			}
			if bad.schema == schemaRefuses && schema.Validate(asJSON(t, bad.text)) == nil {
				t.Error("the schema accepts it")
			}
		})
	}
}

// Most slips should give one problem: a reader who sees five looks for five.
func TestOneSlipIsOneProblem(t *testing.T) {
	dir := targetFiles(t)
	several := []string{"unknown key of fields", "a merged unknown key"} // two slips, or one at two places
	for name, bad := range badSamples() {
		_, err := ParseTarget("t.yaml", dir, []byte(bad.text))
		var all *TargetError
		if errors.As(err, &all) && len(all.Problems) > 1 && !slices.Contains(several, name) {
			t.Errorf("%s:\n%v", name, err)
		}
	}
}

func TestAllProblemsAtOnceByLine(t *testing.T) {
	text := `nam: x
issuer: as.example.com
clients:
  - client_id: a
    token_endpoint_auth_method: none
    client_secret: b
    redirect_uris: [/cb]
    grant_types: [authorisation_code]
resources:
  - {name: a, url: x}
profile: bcpp
limits: {timeout: 10}
`
	_, err := ParseTarget("dir/t.yaml", "", []byte(text))
	want := `dir/t.yaml:1: nam: unknown key; did you mean name?
dir/t.yaml:2: issuer: is no absolute URL; write an absolute URL: https://host/path
dir/t.yaml:6: clients[0].client_secret: a client with the method none has no secret; remove it, or write token_endpoint_auth_method: client_secret_basic
dir/t.yaml:7: clients[0].redirect_uris[0]: is no absolute URI; write one with a scheme: https://client.example/cb
dir/t.yaml:8: clients[0].grant_types[0]: "authorisation_code" is unknown; did you mean authorization_code? write one of authorization_code, refresh_token, client_credentials, urn:ietf:params:oauth:grant-type:jwt-bearer
dir/t.yaml:10: resources[0].url: is no absolute URL; write an absolute URL: https://host/path
dir/t.yaml:11: profile: "bcpp" is unknown; did you mean bcp? write one of rfc, bcp, oauth21, fapi2
dir/t.yaml:12: limits.timeout: "10" is no such duration; write a duration above 0 with a unit, as in 10s, 1m30s or 500ms`
	if diff := cmp.Diff(want, fmt.Sprint(err)); diff != "" {
		t.Error(diff)
	}
}

// --- what is hardly a file ---

func TestTextsThatAreNoTargetFile(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 9), ", "))
	}
	for name, row := range map[string]struct{ text, want string }{
		"empty":              {"", "t.yaml: is empty; it needs at least issuer and clients"},
		"comments":           {"# nothing\n\n", "t.yaml: is empty"},
		"null":               {"~\n", "t.yaml: is empty"},
		"a text":             {"hello\n", "t.yaml:1: is a text; write keys and values"},
		"a list":             {"\n- a\n", "t.yaml:2: is a list"},
		"not YAML":           {"issuer: [a\nname: b\n", "is not YAML: "},
		"not YAML, line 1":   {"a: b: c\n", "t.yaml:1: is not YAML: mapping values are not allowed"},
		"not YAML, line 3":   {"issuer: x\nname: y\na: b: c\n", "t.yaml:3: is not YAML: mapping values are not allowed"},
		"a tab":              {"issuer: a\nclients:\n\t- client_id: x\n", "t.yaml:3: is not YAML: is indented with a tab; YAML is indented with spaces"},
		"two documents":      {minimal + "---\nname: x\n", "t.yaml:6: a second document starts here"},
		"half a document":    {minimal + "---\n[a\n", "is not YAML"},
		"UTF-16":             {"\xff\xfea\x00", "t.yaml:1: is UTF-16; save it as UTF-8"},
		"Latin-1":            {"issuer: x\nname: M\xfcller\n", "t.yaml:2: is not UTF-8"},
		"control characters": {"issuer: x\n\nname: a\x00b\n", "t.yaml:3: holds the control character U+0000"},
		"an escape":          {"issuer: x\nname: a\x1b[31mb\n", "t.yaml:2: holds the control character U+001B"},
		"huge":               {strings.Repeat("# padding\n", maxTargetBytes/8), "t.yaml: is larger than 1 MiB"},
		"deep":               {"metadata: " + strings.Repeat("[", 500) + strings.Repeat("]", 500), "t.yaml:1: is nested deeper than 32 levels"},
		"very deep":          {strings.Repeat("[", 500_000), "t.yaml"},
		"an alias bomb":      {bomb, "holds more than 20000 values, with aliases expanded"},
		"an endless alias":   {"metadata: &a {b: *a}\n", "or an alias contains itself"},
		"an asterisk":        {"issuer: x\nname: *hunter2\n", "t.yaml:2: is not YAML: an alias has no anchor; put a value that starts with * into quotes"},
		"a wide file":        {"hosts: [" + strings.Repeat("a,", maxTargetNodes) + "]", "holds more than"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseTarget("t.yaml", "", []byte(row.text))
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("want %q in %v", row.want, err)
			}
		})
	}
}

func TestPathsThatAreNoTargetFile(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yaml")
	if err := os.WriteFile(large, make([]byte, 3*maxTargetBytes), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"":                              "cannot be read",
		dir:                             dir + ": is a directory; name a target file in YAML",
		filepath.Join(dir, "none.yaml"): "none.yaml: cannot be read: no such file or directory; name a target file",
		large:                           "larger than 1 MiB",
	} {
		_, err := LoadTarget(path)
		var all *TargetError
		if !errors.As(err, &all) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: want %q in %v", path, want, err)
		}
	}
}

// Problems go to a terminal and to logs of CI.
func TestProblemsRepeatNoSecret(t *testing.T) {
	const canary = "hunter2canary"
	for _, text := range []string{
		"client_secret: [" + canary + "]", "client_secret: {" + canary + ": x}", "client_secret: *" + canary,
		"client_secret: {env: $" + canary + "}", "private_key: " + canary, "private_key: '{\"kty\": " + canary + "'",
		"client_secret: !" + canary + " x", "client_secret: \"\\q" + canary + "\"", "client_secret: {env: A, " + canary + "}",
	} {
		_, err := ParseTarget("t.yaml", "", []byte(withClient("client_secret: literal-secret", text)))
		if err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, proxy := range []string{"http://u:" + canary + "@", "https://u:" + canary + "@localhost", "http://u:" + canary + "@local host:1"} {
		_, err := ParseTarget("t.yaml", "", []byte(minimal+"request: {proxy: '"+proxy+"'}\n"))
		if err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", proxy, err)
		}
	}
}

// --- keys ---

func TestPrivateKeysOfEachKind(t *testing.T) {
	for name, data := range keysOfEachKind(t) {
		if problem := checkClientKey(data); problem != nil {
			t.Errorf("%s: %v", name, *problem)
		}
	}
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	encrypted := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"DEK-Info": "x"}, Bytes: []byte{1}})
	for want, data := range map[string][]byte{
		"is an RSA key of 1024 bits":              pkcs8(t, short),
		"is encrypted, and popcheck asks":         encrypted,
		"holds a private key that cannot be read": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}),
		`holds a "OPENSSH PRIVATE KEY"`:           pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: []byte{1}}),
		"holds no private key":                    []byte("x"),
	} {
		if problem := checkClientKey(data); problem == nil || !strings.Contains(problem.wrong, want) {
			t.Errorf("want %q: %v", want, problem)
		}
	}
}

func keysOfEachKind(t *testing.T) map[string][]byte {
	t.Helper()
	keys := map[string][]byte{}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		parameters := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 0}}) // openssl writes it first
		keys["SEC 1 "+curve.Params().Name] = append(parameters, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})...)
		keys["PKCS #8 "+curve.Params().Name] = pkcs8(t, key)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys["Ed25519"] = pkcs8(t, ed)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	keys["PKCS #1"] = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)})
	keys["PKCS #8 RSA"] = pkcs8(t, rsaKey)
	keys["JWK EC"] = []byte(`{"kty":"EC","crv":"P-256","x":"a","y":"b","d":"c"}`)
	keys["JWK OKP"] = []byte(` {"kty":"OKP","crv":"Ed25519","x":"a","d":"c"}`)
	keys["JWK RSA"] = fmt.Appendf(nil, `{"kty":"RSA","n":%q,"e":"AQAB","d":"c"}`, base64.RawURLEncoding.EncodeToString(rsaKey.N.Bytes()))
	return keys
}

func TestKeysMayStandInTheFile(t *testing.T) {
	dir := targetFiles(t)
	inline := func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		quoted, _ := json.Marshal(string(data))
		return string(quoted)
	}
	for name, text := range map[string]string{
		"key":         withKey(inline("worker.key")),
		"certificate": withCertificate("{cert: " + inline("bank.crt") + ", key: " + inline("bank.key") + "}"),
		"ca":          minimal + "tls: {ca: " + inline("ca.pem") + "}\n",
	} {
		if _, err := ParseTarget("t.yaml", t.TempDir(), []byte(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// --- methods of a target ---

func TestSecrets(t *testing.T) {
	dir := targetFiles(t)
	text := readSample(t, "full.yaml")
	text = strings.Replace(text, "X-Tenant: blue}", "X-Gate: Bearer gate-token}, proxy: 'http://pu:p%40ss@127.0.0.1:1'", 1)
	text = strings.Replace(text, "{env: ALICE_PASSWORD}", "{file: secret.txt}, totp_seed: jbsw y3dp", 1)
	target, err := ParseTarget("t.yaml", dir, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []Secret{
		{"client_secret", "web-secret-value"}, {"password", "from a file"}, {"totp_seed", "JBSWY3DP"},
		{"request_header", "Bearer gate-token"}, {"request_header", "gate-token"},
		{"proxy_userinfo", "pu:p%40ss"}, {"proxy_userinfo", "pu:p@ss"}, {"proxy_userinfo", "p@ss"}, {"proxy_userinfo", "p%40ss"},
	}
	for _, file := range []string{"worker.key", "bank.key", "ca.key"} {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(data)
		want = append(want, Secret{"private_key", strings.TrimSpace(string(data))}, Secret{"private_key", base64.StdEncoding.EncodeToString(block.Bytes)})
	}
	got := target.Secrets()
	for _, secret := range want {
		if !slices.Contains(got, secret) {
			t.Errorf("%v is missing", secret)
		}
	}
	for i, secret := range got {
		if !slices.Contains(want, secret) || slices.Contains(got[:i], secret) {
			t.Errorf("%v is there without need", secret)
		}
	}
	jwk := &Target{Clients: []Client{{PrivateKey: []byte(`{"kty":"EC","d":"private-member"}`)}}}
	if !slices.Contains(jwk.Secrets(), Secret{"private_key", "private-member"}) {
		t.Error("the member d of a JWK is missing")
	}
	issuer := &Target{AssertionIssuer: &AssertionIssuer{PrivateKey: []byte(`{"kty":"EC","d":"issuer-member"}`)}}
	if !slices.Contains(issuer.Secrets(), Secret{"private_key", "issuer-member"}) {
		t.Error("the key of the assertion issuer is missing")
	}
}

func TestHostAllowed(t *testing.T) {
	target := &Target{
		Issuer: "https://AS.example.com/tenant",
		Metadata: map[string]any{
			"token_endpoint":        "https://token.example.com:8443/t",
			"jwks_uri":              "https://keys.example.com",
			"service_documentation": "https://docs.example.com",
			"mtls_endpoint_aliases": map[string]any{"token_endpoint": "https://mtls.example.com"},
		},
		Resources: []Resource{{URL: "https://[2001:db8::1]:8443/r"}},
		Hosts:     []string{"login.example.com", "Port.example.com.:8443", "keys.example.com:444", "bücher.example", "::1"},
	}
	for host, want := range map[string]bool{
		"as.example.com": true, "AS.EXAMPLE.COM": true, "as.example.com.": true, "as.example.com:1234": true,
		"token.example.com": true, "token.example.com:443": true, "mtls.example.com:443": true,
		"[2001:db8::1]:8443": true, "2001:0db8::0001": true, "[2001:DB8::1]": true, "[::1]:80": true, "::1": true,
		"login.example.com:99": true, "xn--bcher-kva.example": true, "BÜCHER.example": true,
		"port.example.com:8443": true, "port.example.com": false, "port.example.com:443": false,
		"keys.example.com": true, "keys.example.com:443": true, "keys.example.com:444": true, "keys.example.com:8443": false,
		"docs.example.com": false, "example.com": false, "evil.as.example.com": false, "as.example.com.evil": false,
		"as.example.com@evil": false, "": false, ":443": false, ".": false, "[": false, "[]": false, "[::1": false,
		"as.example.com:abc": false, "as.example.com:99999": false, "as.example.com:443:443": false, "as.example.com..": false,
	} {
		if target.HostAllowed(host) != want {
			t.Errorf("%q: want %v", host, want)
		}
	}
	if (&Target{}).HostAllowed("") {
		t.Error("an empty target names no host")
	}
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LOCALHOST.": true, "localhost:80": true, "127.0.0.1": true, "127.255.0.3:1": true, "::1": true,
		"[::1]": true, "[::1]:443": true, "0:0:0:0:0:0:0:1": true, "::ffff:127.0.0.1": true,
		"": false, "localhost.example.com": false, "a.localhost": false, "128.0.0.1": false, "0.0.0.0": false, "::": false,
		"127.1": false, "2130706433": false, "127.0.0.1.nip.io": false, "::2": false, "[::1": false,
	} {
		if Loopback(host) != want {
			t.Errorf("%q: want %v", host, want)
		}
	}
}

func TestClientAndGrants(t *testing.T) {
	target := &Target{Clients: []Client{{ClientID: "a"}, {ClientID: "b", GrantTypes: []string{"refresh_token"}}}}
	if c := target.Client("b"); c != &target.Clients[1] || !c.HasGrant("refresh_token") || c.HasGrant("authorization_code") {
		t.Errorf("client b is %+v", c)
	}
	if target.Client("c") != nil {
		t.Error("there is no client c")
	}
}

func TestCommandIsFoundFromTheFile(t *testing.T) {
	for text, want := range map[string][]string{
		"./login.sh --fast": {"/targets/login.sh", "--fast"},
		"[../login, a b]":   {"/login", "a b"},
		"login":             {"login"},
		"/bin/login x":      {"/bin/login", "x"},
	} {
		target, err := ParseTarget("t.yaml", "/targets", []byte(codeClient+"login: {driver: exec, command: "+text+"}\n"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, target.Login.Command); diff != "" {
			t.Error(diff)
		}
	}
}

// --- the schema ---

func compiledSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(TargetSchema()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("target.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("target.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// asJSON reads YAML as an editor with a schema does: dates are texts, numbers are JSON's.
func asJSON(t testing.TB, text string) any {
	t.Helper()
	var node yaml.Node
	if err := yaml.Unmarshal([]byte(text), &node); err != nil {
		t.Fatal(err)
	}
	datesAsTexts(&node)
	var value any
	if err := node.Decode(&value); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	value, err = jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func datesAsTexts(node *yaml.Node) {
	if node.Tag == "!!timestamp" {
		node.Tag = "!!str"
	}
	for _, child := range node.Content {
		datesAsTexts(child)
	}
}

// Every mapping of the schema is closed, but for those with free names, and every key is described.
func TestTheSchemaIsClosedAndDescribed(t *testing.T) {
	var document map[string]any
	if err := json.Unmarshal(TargetSchema(), &document); err != nil {
		t.Fatal(err)
	}
	var walk func(path string, value any)
	walk = func(path string, value any) {
		object, ok := value.(map[string]any)
		if !ok {
			return
		}
		if _, has := object["additionalProperties"]; object["type"] == "object" && !has {
			t.Errorf("%s: not closed", path)
		}
		if properties, ok := object["properties"].(map[string]any); ok && object["type"] == "object" {
			if object["additionalProperties"] != false && path != "#/properties/metadata" {
				t.Errorf("%s: open", path)
			}
			for name, property := range properties {
				if p, _ := property.(map[string]any); p["description"] == nil && path != "#/properties/metadata" {
					t.Errorf("%s/%s: no description", path, name)
				}
			}
		}
		for key, child := range object {
			if key != "if" && key != "then" && key != "else" {
				walk(path+"/"+key, child)
			}
		}
	}
	walk("#", document)
}

// The lists of the loader and of the schema are the same.
func TestTheSchemaKnowsTheSameNames(t *testing.T) {
	var document struct {
		Properties map[string]struct {
			Enum       []string
			Properties map[string]json.RawMessage
		}
		Defs map[string]struct {
			Properties map[string]struct {
				Enum          []string
				Items         struct{ Enum []string }
				PropertyNames struct{ Not struct{ Enum []string } }
			}
		} `json:"$defs"`
	}
	if err := json.Unmarshal(TargetSchema(), &document); err != nil {
		t.Fatal(err)
	}
	same := func(what string, want, got []string) {
		t.Helper()
		if diff := cmp.Diff(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(got))); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	client := document.Defs["client"].Properties
	same("keys", targetKeys(), sortedKeys(document.Properties))
	same("keys of a client", clientKeys(), sortedKeys(client))
	same("capabilities", KnownCapabilities(), sortedKeys(document.Properties["capabilities"].Properties))
	same("profiles", profiles(), document.Properties["profile"].Enum)
	same("methods", authMethods(), client["token_endpoint_auth_method"].Enum)
	same("grants", grantTypes(), client["grant_types"].Items.Enum)
	same("authorization parameters", reservedAuthorization(), client["authorization_parameters"].PropertyNames.Not.Enum)
	same("token parameters", reservedToken(), client["token_parameters"].PropertyNames.Not.Enum)
	for name := range document.Properties["metadata"].Properties {
		if metadataKind(name) == "" {
			t.Errorf("the loader does not know the metadata member %s", name)
		}
	}
}

func TestWhatTheDeploymentTrustsIsRead(t *testing.T) {
	dir := targetFiles(t)
	target, err := ParseTarget("t.yaml", dir, []byte(minimal+"second_client_ca: {cert: partner.crt, key: partner.key}\ncertificate_header: X_Client-Cert\n"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(dir, "partner.key"))
	if err != nil {
		t.Fatal(err)
	}
	if target.CertificateHeader != "X_Client-Cert" || target.SecondClientCA == nil || string(target.SecondClientCA.Key) != string(key) {
		t.Errorf("%q, %v", target.CertificateHeader, target.SecondClientCA)
	}
	if !slices.Contains(target.Secrets(), Secret{"private_key", strings.TrimSpace(string(key))}) {
		t.Error("the key of second_client_ca is not known as a secret")
	}
}

// --- the page ---

// TARGET.md is read by people who copy from it: each of its YAML blocks must load, and match the schema.
func TestThePageIsTrue(t *testing.T) {
	page, err := os.ReadFile("TARGET.md")
	if err != nil {
		t.Fatal(err)
	}
	dir, schema := targetFiles(t), compiledSchema(t)
	t.Setenv("GATE_TOKEN", "gate-token-value")
	t.Setenv("TOTP_SEED", "JBSWY3DPEHPK3PXP")
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) < 2 {
		t.Fatalf("%d YAML blocks", len(blocks))
	}
	for i, block := range blocks {
		if _, err := ParseTarget("TARGET.md", dir, []byte(block[1])); err != nil {
			t.Errorf("block %d: %v", i+1, err)
		}
		if err := schema.Validate(asJSON(t, block[1])); err != nil {
			t.Errorf("block %d: %v", i+1, err)
		}
	}
}

func TestThePageNamesEveryKey(t *testing.T) {
	page, err := os.ReadFile("TARGET.md")
	if err != nil {
		t.Fatal(err)
	}
	words := slices.Concat(targetKeys(), clientKeys(), issuerKeys(), tokenKeys(), reservedClaims(), tokenAlgorithms(), bindingNames(), KnownCapabilities(), authMethods(), grantTypes(), profiles(), loginDrivers(),
		[]string{"ca", "headers", "proxy", "resolve", "username", "password", "totp_seed", "totp", "driver", "fields", "command", "url", "method",
			"grants", "status", "requests_per_second", "timeout", "body", "redirects", "failed_logins", "id", "key", "reason", "until", "cert", "env", "file"})
	for _, word := range words {
		if !regexp.MustCompile(`[^\w-]` + regexp.QuoteMeta(word) + `[^\w-]`).Match(page) {
			t.Errorf("TARGET.md does not name %s", word)
		}
	}
}

// The errors that the page shows are those of the loader.
func TestThePageShowsRealErrors(t *testing.T) {
	page, err := os.ReadFile("TARGET.md")
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile("(?s)```yml\n(.*?)```.*?```text\n(.*?)```").FindStringSubmatch(string(page))
	if match == nil {
		t.Fatal("no bad file with its errors")
	}
	_, err = ParseTarget("staging.yaml", targetFiles(t), []byte(match[1]))
	if diff := cmp.Diff(strings.TrimSpace(match[2]), fmt.Sprint(err)); diff != "" {
		t.Error(diff)
	}
}

// --- fuzzing ---

// FuzzParseTarget: no text makes the loader panic or hang, and every refusal says why. What it accepts
// keeps the promises that a run relies on.
func FuzzParseTarget(f *testing.F) {
	for _, text := range goodSamples(f) {
		f.Add([]byte(text))
	}
	for _, bad := range badSamples() {
		f.Add([]byte(bad.text))
	}
	f.Add([]byte("metadata: &a {b: *a, <<: *a}\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		target, err := ParseTarget("t.yaml", dir, data)
		if err != nil {
			var all *TargetError
			if !errors.As(err, &all) || len(all.Problems) == 0 || target != nil {
				t.Fatalf("%T %v", err, err)
			}
			for _, p := range all.Problems {
				if p.Wrong == "" || p.Right == "" || strings.Count(p.String(), "\n") > 0 {
					t.Errorf("%q", p)
				}
			}
			return
		}
		for _, n := range target.namedHosts() {
			if !target.Authorized && !target.loopback(n.host) {
				t.Errorf("%s is attacked without permission", n.host)
			}
		}
		if len(target.Clients) == 0 && (target.TokenIssuer == nil || len(target.TokenIssuer.Bindings) > 0) || len(target.namedHosts()) == 0 || !target.HostAllowed(target.namedHosts()[0].host) {
			t.Errorf("no clients, or the issuer %q may not be contacted", target.Issuer)
		}
		target.Secrets()
	})
}
