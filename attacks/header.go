package attacks

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"net/url"
	"slices"
	"strings"

	"github.com/popcheck/popcheck/harness"
)

// HeaderAttack forges what a proxy tells the server behind it about the client's certificate: the certificate itself, which is
// public, or the verdict on it. The victim's key is never used (RFC 9440 §4, RFC 9700 §4.13).
type HeaderAttack struct {
	Check
	At        []Place
	Bearing   Bearing
	Spellings []Spelling
}

// Bearing says what the attacker's own connection shows.
type Bearing int

// A server may believe a header only where the connection has no certificate, or only where it has one.
const (
	Bare           Bearing = iota
	OwnCertificate         // the attacker's
)

// HeaderFacts are what a header can tell. Declared is the name that the target file gives, "" for none.
type HeaderFacts struct {
	Client   *harness.Client
	Cert     *harness.Certificate
	Strange  *harness.Certificate // one that nobody knows
	Declared string
}

// Spelling is one way of proxies to tell of a certificate: alternatives, each of fields that belong together.
type Spelling func(HeaderFacts) [][]harness.Field

// headerBudget bounds the forged fields of one request, in bytes: 8 KiB for a whole head is a common limit.
const headerBudget = 6 << 10

// Requests parts the fields of the row among requests: every name is tried, no name stands twice in a request, and none is too large
// for a usual server. A request is a list of alternatives; a server that trusts any of them is caught.
func (a HeaderAttack) Requests(f HeaderFacts) [][][]harness.Field {
	var out [][][]harness.Field
	for _, spell := range a.Spellings {
		var request [][]harness.Field
		size, names := 0, map[string]bool{}
		for _, set := range spell(f) {
			length, again := 0, false
			for _, field := range set {
				length += len(field.Name) + len(field.Value) + len(": \r\n")
				again = again || names[strings.ToLower(field.Name)]
			}
			if len(request) > 0 && (size+length > headerBudget || again) {
				out, request, size, names = append(out, request), nil, 0, map[string]bool{}
			}
			request, size = append(request, set), size+length
			for _, field := range set {
				names[strings.ToLower(field.Name)] = true
			}
		}
		out = append(out, request)
	}
	return out
}

// Verified is what many servers want to read beside a forwarded certificate.
func Verified() []harness.Field {
	return []harness.Field{{Name: "X-SSL-Client-Verify", Value: "SUCCESS"}, {Name: "SSL-Client-Verify", Value: "SUCCESS"},
		{Name: "SSL_CLIENT_VERIFY", Value: "SUCCESS"}, {Name: "X-Client-Verify", Value: "SUCCESS"}}
}

// under writes a certificate in one encoding under each of the names, and under the one that the target declares.
func under(encode func(*harness.Certificate) string, names ...string) Spelling {
	return func(f HeaderFacts) [][]harness.Field {
		all := slices.Clone(names)
		if f.Declared != "" && !slices.ContainsFunc(all, func(n string) bool { return strings.EqualFold(n, f.Declared) }) {
			all = append(all, f.Declared)
		}
		var out [][]harness.Field
		for _, name := range all {
			out = append(out, []harness.Field{{Name: name, Value: encode(f.Cert)}})
		}
		return out
	}
}

func pemOf(c *harness.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Leaf.Raw}))
}

// escapedPEM is nginx's $ssl_client_escaped_cert, and what AWS sends.
func escapedPEM(c *harness.Certificate) string {
	return strings.ReplaceAll(url.QueryEscape(pemOf(c)), "+", "%20")
}

// onelinePEM is what Apache sends: a field has no line breaks.
func onelinePEM(c *harness.Certificate) string {
	return strings.TrimSpace(strings.ReplaceAll(pemOf(c), "\n", " "))
}

func base64DER(c *harness.Certificate) string { return base64.StdEncoding.EncodeToString(c.Leaf.Raw) }

// byteSequence is the encoding of RFC 9440 §2.1 (RFC 8941 §3.3.5).
func byteSequence(c *harness.Certificate) string { return ":" + base64DER(c) + ":" }

func sha256Hex(c *harness.Certificate) string {
	sum := sha256.Sum256(c.Leaf.Raw)
	return hex.EncodeToString(sum[:])
}

func sha1Hex(c *harness.Certificate) string {
	sum := sha1.Sum(c.Leaf.Raw)
	return hex.EncodeToString(sum[:])
}

// subjectOf is the subject as the client registered it, where it registered one.
func subjectOf(f HeaderFacts) string {
	if f.Client.TLSClientAuthSubjectDN != "" {
		return f.Client.TLSClientAuthSubjectDN
	}
	return f.Cert.Leaf.Subject.String()
}

// slashed is a distinguished name as OpenSSL wrote it for long: /C=DE/O=Example/CN=name.
func slashed(dn string) string {
	parts := strings.Split(dn, ",")
	slices.Reverse(parts)
	return "/" + strings.Join(parts, "/")
}

// clientCert is RFC 9440 §2.2 and §2.3.
func clientCert(f HeaderFacts) [][]harness.Field {
	return [][]harness.Field{{{Name: "Client-Cert", Value: byteSequence(f.Cert)}, {Name: "Client-Cert-Chain", Value: byteSequence(f.Cert)}}}
}

// forwardedClientCert is Envoy's XFCC: with the certificate, and with the hash and the names alone.
func forwardedClientCert(f HeaderFacts) [][]harness.Field {
	names := "Hash=" + sha256Hex(f.Cert) + `;Subject="` + subjectOf(f) + `"`
	for _, u := range f.Cert.Leaf.URIs {
		names += ";URI=" + u.String()
	}
	for _, name := range f.Cert.Leaf.DNSNames {
		names += ";DNS=" + name
	}
	const field = "X-Forwarded-Client-Cert"
	return [][]harness.Field{{{Name: field, Value: names + `;Cert="` + escapedPEM(f.Cert) + `"`}}, {{Name: field, Value: names}}}
}

// traefik is X-Forwarded-Tls-Client-Cert: the body of the PEM, escaped by version 2.
func traefik(f HeaderFacts) [][]harness.Field {
	const field = "X-Forwarded-Tls-Client-Cert"
	return [][]harness.Field{{{Name: field, Value: base64DER(f.Cert)}}, {{Name: field, Value: url.QueryEscape(base64DER(f.Cert))}}}
}

// twice writes each field two times, the victim's certificate first: a proxy may remove one of them only.
func twice(spell Spelling) Spelling {
	return func(f HeaderFacts) [][]harness.Field {
		strange := f
		strange.Cert = f.Strange
		again := spell(strange)
		var out [][]harness.Field
		for i, set := range spell(f) {
			out = append(out, slices.Concat(set, again[i]))
		}
		return out
	}
}

// disowned names the fields as belonging to this connection only (RFC 9110 §7.6.1), so that a proxy that obeys drops what it wrote itself.
func disowned(spell Spelling) Spelling {
	return func(f HeaderFacts) [][]harness.Field {
		var names []string
		for _, field := range slices.Concat(spell(f)...) {
			names = append(names, field.Name)
		}
		return [][]harness.Field{{{Name: "Connection", Value: strings.Join(names, ", ")}}}
	}
}

// verdict tells who the client is, and no certificate.
func verdict(verify string, spelt func(dn string) string) Spelling {
	return func(f HeaderFacts) [][]harness.Field {
		leaf := f.Cert.Leaf
		subject, issuer, serial := spelt(subjectOf(f)), spelt(leaf.Issuer.String()), strings.ToUpper(leaf.SerialNumber.Text(16))
		set := []harness.Field{
			{Name: "X-Client-Cert-Present", Value: "true"}, {Name: "X-Client-Cert-Chain-Verified", Value: "true"}, {Name: "X-SSL-Client-Verified", Value: "true"},
			{Name: "X-SSL-Client-SHA1", Value: sha1Hex(f.Cert)}, {Name: "SSL-Client-Fingerprint", Value: sha1Hex(f.Cert)}, {Name: "X-SSL-Client-Fingerprint", Value: sha256Hex(f.Cert)},
			{Name: "X-Client-Cert-Hash", Value: f.Cert.Thumbprint()}, {Name: "X-Client-Cert-Thumbprint", Value: f.Cert.Thumbprint()},
			{Name: "X-Forwarded-Tls-Client-Cert-Info", Value: url.QueryEscape(`Subject="` + subject + `";Issuer="` + issuer + `"`)},
		}
		for _, told := range []struct {
			value string
			names []string
		}{
			{verify, []string{"X-SSL-Client-Verify", "SSL-Client-Verify", "SSL_CLIENT_VERIFY", "X-Client-Verify"}},
			{subject, []string{"X-SSL-Client-S-DN", "X-SSL-Client-DN", "SSL-Client-Subject-DN", "SSL_CLIENT_S_DN", "X-Client-DN", "X-Client-Subject-DN", "X-SSL-Subject", "X-Amzn-Mtls-Clientcert-Subject"}},
			{issuer, []string{"X-SSL-Client-I-DN", "SSL-Client-Issuer-DN", "SSL_CLIENT_I_DN", "X-SSL-Issuer", "X-Amzn-Mtls-Clientcert-Issuer"}},
			{leaf.Subject.CommonName, []string{"X-SSL-Client-CN", "SSL_CLIENT_S_DN_CN"}},
			{serial, []string{"X-SSL-Client-Serial", "SSL_CLIENT_M_SERIAL", "X-Amzn-Mtls-Clientcert-Serial-Number"}},
		} {
			for _, name := range told.names {
				set = append(set, harness.Field{Name: name, Value: told.value})
			}
		}
		return [][]harness.Field{set}
	}
}

// Headers are the attacks by forged headers, on client authentication and on certificate-bound tokens.
func Headers() []HeaderAttack {
	asEscapedPEM := under(escapedPEM, "X-SSL-Client-Cert", "SSL-Client-Cert", "X-SSL-Cert", "X-Client-Cert", "SSL_CLIENT_CERT", "X-Amzn-Mtls-Clientcert", "X-Amzn-Mtls-Clientcert-Leaf")
	asPEM := under(onelinePEM, "SSL_CLIENT_CERT", "SSL-Client-Cert", "X-SSL-Client-Cert", "X-SSL-Cert", "X-Client-Cert", "X-ClientCert", "X-Client-Certificate")
	asDER := under(base64DER, "X-Client-Cert", "X-ARR-ClientCert", "X-SSL-Client-DER", "X-SSL-Client-Cert", "SSL_CLIENT_CERT", "SSL-Client-Cert", "Cf-Client-Cert-Der-Base64", "X-Client-Certificate", "X-WSO2-Client-Certificate")
	certificates := []Spelling{asEscapedPEM, asPEM, asDER, traefik, clientCert, under(byteSequence, "X-Client-Cert-Leaf", "X-Client-Cert"), forwardedClientCert}
	verdicts := []Spelling{verdict("SUCCESS", strings.Clone), verdict("0", slashed)}
	const fix = "let the proxy remove these fields from every request before it sets its own, and take them from the proxy alone"
	as := func(id, title, covers string, bearing Bearing, spellings ...Spelling) HeaderAttack {
		return HeaderAttack{At: []Place{AtToken, AtPAR, AtIntrospection, AtRevocation}, Bearing: bearing, Spellings: spellings,
			Check: Check{ID: id, Title: title, Clause: rfc9700("4.13"), Level: harness.Must, Severity: harness.Critical, Threat: harness.ClientImpersonation,
				Refusal: invalidClient(), Covers: covers, Why: "whoever has seen the client's certificate, which is public, acts in its name", Fix: fix}}
	}
	rs := func(id, title, covers string, bearing Bearing, spellings ...Spelling) HeaderAttack {
		return HeaderAttack{At: []Place{AtResource}, Bearing: bearing, Spellings: spellings,
			Check: Check{ID: id, Title: title, Clause: rfc9700("4.13"), Level: harness.Must, Severity: harness.Critical, Threat: harness.ClientImpersonation,
				Refusal: invalidToken(), Covers: covers, Why: "a stolen token works for the thief, who adds the victim's public certificate", Fix: fix}}
	}
	only := func(at Place, a HeaderAttack) HeaderAttack { a.At = []Place{at}; return a }
	return []HeaderAttack{
		as("mtls-header-pem-escaped", "refuses a certificate in a header as escaped PEM", "MTLS-AS-17.1 MTLS-AS-17.4 MTLS-AS-17.10", Bare, asEscapedPEM),
		as("mtls-header-pem", "refuses a certificate in a header as PEM in one line", "MTLS-AS-17.1 MTLS-AS-17.7 MTLS-AS-17.10", Bare, asPEM),
		as("mtls-header-der", "refuses a certificate in a header as base64", "MTLS-AS-17.1 MTLS-AS-17.4 MTLS-AS-17.10", Bare, asDER, traefik),
		as("mtls-header-client-cert", "refuses a certificate in Client-Cert", "MTLS-AS-17.2 MTLS-AS-17.10", Bare, clientCert, under(byteSequence, "X-Client-Cert-Leaf", "X-Client-Cert")),
		as("mtls-header-xfcc", "refuses a certificate in X-Forwarded-Client-Cert", "MTLS-AS-17.3", Bare, forwardedClientCert),
		as("mtls-header-verdict", "refuses a header's word for who the client is", "MTLS-AS-17.5", Bare, verdicts...),
		as("mtls-header-over-certificate", "refuses a certificate in a header beside another one in TLS", "MTLS-AS-17.6", OwnCertificate, append(certificates, verdicts...)...),
		only(AtToken, as("mtls-header-twice", "refuses a certificate in the first of two equal headers", "MTLS-AS-17.8", Bare, twice(asEscapedPEM), twice(asPEM), twice(asDER), twice(clientCert))),
		only(AtToken, as("mtls-header-disowned", "refuses the attacker's certificate where Connection names the headers of the proxy", "MTLS-AS-17.9", OwnCertificate, disowned(asEscapedPEM), disowned(asDER), disowned(clientCert), disowned(forwardedClientCert))),

		rs("mtls-bound-header", "refuses a bound token whose certificate stands in a header only", "MTLS-RS-04.1 MTLS-RS-04.3", Bare, certificates...),
		rs("mtls-bound-header-verdict", "refuses a bound token for whose certificate a header vouches", "MTLS-RS-04.1", Bare, verdicts...),
		rs("mtls-bound-header-over-certificate", "refuses a bound token whose certificate stands in a header beside another one in TLS", "MTLS-RS-04.2", OwnCertificate, append(certificates, verdicts...)...),
	}
}
