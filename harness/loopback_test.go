package harness

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// --- servers and identities on loopback that the tests of this package share ---

// testPKI is a CA with the certificates that it hands out.
type testPKI struct {
	*Authority
	PEM []byte
}

func newPKI(t testing.TB, name string) *testPKI {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &testPKI{&Authority{cert: cert, key: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func (p *testPKI) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.cert)
	return pool
}

// server is a certificate for a server on loopback and for as.example.
func (p *testPKI) server(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		DNSNames: []string{"localhost", "as.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(127, 0, 0, 2)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, p.cert, key.Public(), p.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (p *testPKI) client(t testing.TB, name string) *Certificate {
	t.Helper()
	c, err := p.Issue(Issue{Name: name, Like: &x509.Certificate{}, Subject: &pkix.Name{CommonName: name}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// secureServer serves over TLS with a certificate of p.
func (p *testPKI) secureServer(t testing.TB, config *tls.Config, handler http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.TLS = config.Clone()
	s.TLS.Certificates = []tls.Certificate{p.server(t)}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// plainServer serves over HTTP, which popcheck takes on loopback.
func plainServer(t testing.TB, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s
}

// rawServer accepts TCP connections on an address of loopback and leaves every byte to handle.
type rawServer struct {
	address string
	conns   atomic.Int64
}

func listenRaw(t testing.TB, address string, handle func(net.Conn, *bufio.Reader)) *rawServer {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("no listener on %s: %v", address, err)
	}
	t.Cleanup(func() { l.Close() })
	s := &rawServer{address: l.Addr().String()}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			go func() {
				defer conn.Close()
				handle(conn, bufio.NewReader(conn))
			}()
		}
	}()
	return s
}

// canary is a listener that nobody may call.
func canary(t testing.TB, address string) *rawServer {
	t.Helper()
	return listenRaw(t, address, func(net.Conn, *bufio.Reader) {})
}

// readRaw reads one request as it was spelt: head with its empty line, and body.
func readRaw(in *bufio.Reader) (head, body string, err error) {
	var b strings.Builder
	length := 0
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", "", err
		}
		b.WriteString(line)
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && strings.EqualFold(name, "Content-Length") {
			length, _ = strconv.Atoi(strings.TrimSpace(value))
		}
		if line == "\r\n" {
			break
		}
	}
	rest := make([]byte, length)
	_, err = io.ReadFull(in, rest)
	return b.String(), string(rest), err
}

// testTarget is a target whose issuer is at an address; edit changes it before use.
func testTarget(issuer string, edit ...func(*Target)) *Target {
	target := &Target{
		Path: "test.yaml", Name: "test", Issuer: issuer,
		Limits: Limits{Timeout: 20 * time.Second, Body: 64 << 10, Redirects: 10, FailedLogins: 3},
	}
	for _, e := range edit {
		e(target)
	}
	return target
}

func trusting(p *testPKI) func(*Target) { return func(t *Target) { t.TLS.CA = p.PEM } }

func newTester(t testing.TB, target *Target) *Tester {
	t.Helper()
	tester, err := NewTester(target, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tester.Close)
	tester.Metadata = &Metadata{Members: map[string]any{}}
	return tester
}

func newTrace(t testing.TB, target *Target) *Trace {
	t.Helper()
	return newTester(t, target).Trace(context.Background(), "check")
}

func get(address string) Request { return Request{Step: "request", Method: "GET", URL: address} }

// attack sends one request as an attack.
func attack(tr *Trace, r Request) (a *Answer) {
	tr.Attack(func() { a = tr.Do(r) })
	return a
}

// wantKind fails unless an answer ended in the way that is wanted; "" is an answer.
func wantKind(t testing.TB, a *Answer, want FailureKind) {
	t.Helper()
	got := FailureKind("")
	if a.Failure != nil {
		got = a.Failure.Kind
	}
	if got != want {
		t.Fatalf("ended as %q (%v), want %q", got, a.Failure, want)
	}
}

func wantText(t testing.TB, got string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(got, part) {
			t.Errorf("%q does not say %q", got, part)
		}
	}
}

func mustURL(t testing.TB, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
