package harness

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
	write("bank.crt", testCertificate(t, p256, isLeaf))
	write("bank.key", pkcs8(t, p256))
	write("reversed.crt", append(append([]byte{}, caCert...), testCertificate(t, p256, isLeaf)...))
	write("worker.key", pkcs8(t, p256))
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
			{Line: 11, ClientID: "spa", TokenEndpointAuthMethod: "none",
				RedirectURIs: []string{"https://client.example/cb", "https://client.example/other"},
				GrantTypes:   []string{"authorization_code", "refresh_token"}, Scope: "openid read",
				AuthorizationParameters: map[string]string{"audience": "api"}},
			{Line: 17, ClientID: "web", TokenEndpointAuthMethod: "client_secret_basic", ClientSecret: "web-secret-value",
				RedirectURIs: []string{"https://client.example/cb"},
				GrantTypes:   []string{"authorization_code", "refresh_token", "client_credentials"}},
			{Line: 22, ClientID: "worker", TokenEndpointAuthMethod: "private_key_jwt",
				PrivateKey: []byte(strings.TrimSpace(string(file("worker.key")))),
				GrantTypes: []string{"client_credentials"}, DPoPBoundAccessTokens: true},
			{Line: 27, ClientID: "bank", TokenEndpointAuthMethod: "tls_client_auth",
				Certificate:                           &KeyPair{Cert: file("bank.crt"), Key: file("bank.key")},
				TLSClientCertificateBoundAccessTokens: true,
				GrantTypes:                            []string{"authorization_code", "client_credentials"},
				RedirectURIs:                          []string{"https://client.example/cb"}},
		},
		Users:               []User{{Line: 34, Username: "alice", Password: "alice-password-value"}},
		Login:               Login{Line: 35, Driver: "form", Fields: map[string]string{"username": "login", "password": "passwd"}},
		IntrospectionClient: "web",
		ClientCA:            &KeyPair{Cert: file("ca.crt"), Key: file("ca.key")},
		Resources:           []Resource{{Line: 39, Name: "accounts", URL: "https://api.example.com/accounts", Method: "GET", Scope: "read", Status: 200}},
		Limits:              Limits{RequestsPerSecond: 20, Timeout: 10 * time.Second, Body: 1 << 20, Redirects: 10, FailedLogins: 3},
	}
	if diff := cmp.Diff(want, target); diff != "" {
		t.Error(diff)
	}
}
