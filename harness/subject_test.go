package harness_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/popcheck/popcheck/harness"
)

func selfSignedPair(t *testing.T, template *x509.Certificate) *harness.KeyPair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotAfter = big.NewInt(1), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &harness.KeyPair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

// Target files need not say by which name a server knows a certificate: without an alternative name it is the subject.
func TestTheSubjectOfACertificateWithoutOtherNamesIsKnown(t *testing.T) {
	subject := pkix.Name{CommonName: "bank", Organization: []string{"Heron"}}
	plain := selfSignedPair(t, &x509.Certificate{Subject: subject})
	alternative := selfSignedPair(t, &x509.Certificate{Subject: subject, DNSNames: []string{"bank.example"}})
	for name, x := range map[string]struct {
		client harness.Client
		want   string
	}{
		"nothing named":           {harness.Client{TokenEndpointAuthMethod: "tls_client_auth", Certificate: plain}, "CN=bank,O=Heron"},
		"another subject named":   {harness.Client{TokenEndpointAuthMethod: "tls_client_auth", Certificate: plain, TLSClientAuthSubjectDN: "CN=other"}, "CN=other"},
		"an alternative name":     {harness.Client{TokenEndpointAuthMethod: "tls_client_auth", Certificate: alternative}, ""},
		"the certificate decides": {harness.Client{TokenEndpointAuthMethod: "self_signed_tls_client_auth", Certificate: plain}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			target := &harness.Target{Path: "test.yaml", Issuer: "https://as.example", Clients: []harness.Client{x.client}}
			tester, err := harness.NewTester(target, "test")
			if err != nil {
				t.Fatal(err)
			}
			defer tester.Close()
			if got := tester.Target.Clients[0].TLSClientAuthSubjectDN; got != x.want {
				t.Errorf("the subject is %q, want %q", got, x.want)
			}
		})
	}
}
