package attacks

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/popcheck/popcheck/harness"
)

func bySubject(c *harness.Client) bool { return pki(c) && c.TLSClientAuthSubjectDN != "" }
func byDNS(c *harness.Client) bool     { return c.TLSClientAuthSANDNS != "" }
func byURI(c *harness.Client) bool     { return c.TLSClientAuthSANURI != "" }
func byIP(c *harness.Client) bool      { return c.TLSClientAuthSANIP != "" }
func byEmail(c *harness.Client) bool   { return c.TLSClientAuthSANEmail != "" }

func byCommonName(c *harness.Client) bool {
	return bySubject(c) && strings.Contains(strings.ToUpper(c.TLSClientAuthSubjectDN), "CN=")
}

func bySeveralRDNs(c *harness.Client) bool {
	return bySubject(c) && strings.Contains(c.TLSClientAuthSubjectDN, ",")
}

// byPath leaves out URIs without a path, for which / is another spelling of the same (RFC 3986 §6.2.3).
func byPath(c *harness.Client) bool {
	u, err := url.Parse(c.TLSClientAuthSANURI)
	return byURI(c) && err == nil && strings.Trim(u.Path, "/") != ""
}

func byIPv4(c *harness.Client) bool { return byIP(c) && net.ParseIP(c.TLSClientAuthSANIP).To4() != nil }

// subjects are the rows of tls_client_auth_subject_dn (RFC 8705 §2.1.2).
func subjects() []CertificateAttack {
	authenticated, token := authenticatedEndpoints(), []Place{AtToken}
	const whole = "compare the whole subject, parsed, with tls_client_auth_subject_dn"
	row := func(id, title, covers, fix string) Check {
		return certificateRow(id, title, rfc8705("2"), harness.WrongCertificate, invalidClient(), "trusted-ca", covers, impersonated, fix)
	}
	either := func(id, title, covers string) Check {
		return graded(harness.Hardening, harness.Info, certificateRow(id, title, rfc8705("2.1.2"), harness.Interoperability, harness.Refusal{}, "trusted-ca", covers,
			"a CA that spells a name anew locks the client out", "compare names as distinguishedNameMatch does (RFC 4517 §4.2.15)"))
	}
	return []CertificateAttack{
		{Check: row("mtls-subject-other-name", "refuses another common name of the same CA", "MTLS-AS-02.1", whole), Clients: bySubject, At: authenticated,
			Certificate: withSubject(commonName(func(cn, _ string) string { return "another-" + cn }))},
		{Check: row("mtls-subject-missing-rdn", "refuses the registered subject with one RDN missing", "MTLS-AS-02.3", "compare the whole subject: a common name alone is not the client"), Clients: bySeveralRDNs, At: authenticated,
			Certificate: withSubject(withoutRDN)},
		{Check: row("mtls-subject-extra-rdn", "refuses the registered subject with one more RDN", "MTLS-AS-02.2", "compare the whole subject, not its beginning or a part"), Clients: bySubject, At: authenticated,
			Certificate: withSubject(func(dn []relativeSET, _ *harness.Client) []relativeSET {
				return append(dn, relative([]int{2, 5, 4, 11}, asn1.TagUTF8String, "popcheck"))
			})},
		{Check: row("mtls-subject-longer-name", "refuses a common name that begins with the registered one", "MTLS-AS-02.4", whole), Clients: byCommonName, At: token, Reach: OnePlace,
			Certificate: withSubject(commonName(func(cn, _ string) string { return cn + "0" }))},
		{Check: graded(harness.Should, harness.Medium, row("mtls-subject-reversed", "refuses the registered subject with its RDNs in reverse order", "MTLS-AS-02.5", "compare the RDNs in their order: another order is another name")), Clients: bySeveralRDNs, At: token, Reach: OnePlace,
			Certificate: withSubject(func(dn []relativeSET, _ *harness.Client) []relativeSET { slices.Reverse(dn); return dn })},
		{Check: row("mtls-subject-in-alternative-name", "refuses the registered common name as an alternative name of another subject", "MTLS-AS-02.6", "look at the subject alone, where a subject is registered"), Clients: byCommonName, At: token, Reach: OnePlace,
			Certificate: issued(func(f CertificateFacts, w *harness.Issue) {
				w.Subject = &pkix.Name{CommonName: "attacker.popcheck.example"}
				if name := f.Right.Leaf.Subject.CommonName; strings.ContainsAny(name, " _") {
					w.Emails = []string{name} // no host name
				} else {
					w.DNS = []string{name}
				}
				*w = w.SetNames()
			})},
		{Check: row("mtls-subject-nul", "refuses a common name that goes on after a NUL", "MTLS-AS-02.7", "compare values by their length, not as strings that end at a NUL"), Clients: byCommonName, At: token, Reach: OnePlace,
			Certificate: withSubject(commonName(func(cn, _ string) string { return cn + "\x00.popcheck.example" }))},
		{Check: row("mtls-subject-in-common-name", "refuses a common name that contains the text of the registered subject", "MTLS-AS-02.8", whole), Clients: bySubject, At: token, Reach: OnePlace,
			Certificate: withSubject(alone(func(_, registered string) string { return "popcheck," + registered }))},
		{Check: row("mtls-subject-unescaped", "refuses a common name that reads like the registered subject where its commas are not escaped", "", whole),
			Clients: func(c *harness.Client) bool {
				return bySeveralRDNs(c) && strings.HasPrefix(strings.ToUpper(c.TLSClientAuthSubjectDN), "CN=")
			}, At: token, Reach: OnePlace,
			Certificate: withSubject(alone(func(_, registered string) string { return registered[len("CN="):] }))},
		{Check: either("mtls-subject-string-type", "compares the registered subject with one in other string types", "MTLS-AS-02.9"), Clients: bySubject, At: token, Reach: OnePlace, Lenient: Always,
			Certificate: withSubject(otherStringTypes)},
		{Check: either("mtls-subject-letter-case", "compares the registered subject with one in another letter case", "MTLS-AS-02.9"), Clients: byCommonName, At: token, Reach: OnePlace, Lenient: Always,
			Certificate: withSubject(commonName(func(cn, _ string) string { return strings.ToUpper(cn) }))},
	}
}

// alternativeNames are the rows of tls_client_auth_san_dns, _uri, _ip and _email (RFC 8705 §2.1.2).
func alternativeNames() []CertificateAttack {
	authenticated := authenticatedEndpoints()
	names := func(id, title, covers, method string, is func(*harness.Client) bool, edit func(right *x509.Certificate, w *harness.Issue)) CertificateAttack {
		return CertificateAttack{Check: certificateRow(id, title, rfc8705("2"), harness.WrongCertificate, invalidClient(), "trusted-ca", covers, impersonated, "compare the "+method+" with the registered one, and nothing else"),
			Clients: is, At: authenticated, Certificate: issued(func(f CertificateFacts, w *harness.Issue) { edit(f.Right.Leaf, w); *w = w.SetNames() })}
	}
	rarely := func(id, title, covers, method string, is func(*harness.Client) bool, edit func(right *x509.Certificate, w *harness.Issue)) CertificateAttack {
		a := names(id, title, covers, method, is, edit)
		a.At, a.Reach = []Place{AtToken}, OnePlace
		return a
	}
	lesser := func(level harness.Level, severity harness.Severity, a CertificateAttack) CertificateAttack {
		a.Check = graded(level, severity, a.Check)
		return a
	}
	// tolerated rows are no attacks: the name that is registered is there.
	tolerated := func(a CertificateAttack, why string) CertificateAttack {
		a.Level, a.Severity, a.Threat, a.Refusal, a.Why = harness.Hardening, harness.Info, harness.Interoperability, harness.Refusal{}, why
		return a
	}
	accept := func(a CertificateAttack) CertificateAttack { a.Mode = Accept; return a }
	either := func(a CertificateAttack) CertificateAttack { a.Lenient = Always; return a }
	return []CertificateAttack{
		names("mtls-san-dns-other", "refuses another DNS name of the same CA", "MTLS-AS-03.1", "dNSName", byDNS, func(_ *x509.Certificate, w *harness.Issue) { w.DNS = []string{"other.popcheck.example"} }),
		names("mtls-san-uri-other", "refuses another URI of the same CA", "MTLS-AS-04.1", "uniformResourceIdentifier", byURI, func(_ *x509.Certificate, w *harness.Issue) {
			w.URIs = []*url.URL{{Scheme: "https", Host: "other.popcheck.example", Path: "/client"}}
		}),
		names("mtls-san-ip-other", "refuses another IP address of the same CA", "MTLS-AS-05.1", "iPAddress", byIP, func(_ *x509.Certificate, w *harness.Issue) { w.IPs = []net.IP{net.IPv4(203, 0, 113, 99)} }),
		names("mtls-san-email-other", "refuses another mail address of the same CA", "MTLS-AS-06.1", "rfc822Name", byEmail, func(_ *x509.Certificate, w *harness.Issue) { w.Emails = []string{"other@popcheck.example"} }),
		names("mtls-san-dns-subdomain", "refuses a subdomain of the registered DNS name", "MTLS-AS-03.5", "dNSName", byDNS, func(right *x509.Certificate, w *harness.Issue) { w.DNS = before(right.DNSNames, "sub.") }),
		names("mtls-san-dns-longer", "refuses a DNS name that begins with the registered one", "MTLS-AS-03.8", "dNSName", byDNS, func(right *x509.Certificate, w *harness.Issue) { w.DNS = behind(right.DNSNames, ".attacker.example") }),
		names("mtls-san-dns-wildcard", "refuses a wildcard that covers the registered DNS name", "MTLS-AS-03.3", "dNSName", byDNS, func(right *x509.Certificate, w *harness.Issue) {
			if len(right.DNSNames) > 0 {
				_, parent, _ := strings.Cut(right.DNSNames[0], ".")
				w.DNS = []string{"*." + parent}
			}
		}),
		names("mtls-san-dns-common-name", "refuses the registered DNS name as a common name", "MTLS-AS-03.2", "dNSName", byDNS, func(right *x509.Certificate, w *harness.Issue) {
			if len(right.DNSNames) > 0 {
				w.Subject = &pkix.Name{CommonName: right.DNSNames[0]}
			}
		}),
		rarely("mtls-san-dns-other-kind", "refuses the registered DNS name as a URI and as a mail address", "MTLS-AS-03.4", "dNSName", byDNS, func(right *x509.Certificate, w *harness.Issue) {
			for _, name := range right.DNSNames {
				w.URIs, w.Emails = append(w.URIs, &url.URL{Path: name}), append(w.Emails, name)
			}
		}),
		accept(tolerated(rarely("mtls-san-dns-one-of-several", "accepts a certificate with further DNS names", "MTLS-AS-03.6", "dNSNames", byDNS, func(right *x509.Certificate, w *harness.Issue) {
			w.DNS = append([]string{"first.popcheck.example"}, right.DNSNames...)
		}), "clients whose certificates have several names are refused")),
		either(tolerated(rarely("mtls-san-dns-letter-case", "compares the registered DNS name with one in another letter case", "MTLS-AS-03.7", "dNSName", byDNS, func(right *x509.Certificate, w *harness.Issue) {
			for _, name := range right.DNSNames {
				w.DNS = append(w.DNS, strings.ToUpper(name))
			}
		}), "host names have no case (RFC 5280 §7.2)")),
		names("mtls-san-uri-longer", "refuses a URI that begins with the registered one", "MTLS-AS-04.2", "uniformResourceIdentifier", byURI, func(right *x509.Certificate, w *harness.Issue) {
			for _, u := range right.URIs {
				longer := *u
				longer.Path += "/x"
				w.URIs = append(w.URIs, &longer)
			}
		}),
		lesser(harness.Should, harness.Medium, rarely("mtls-san-uri-slash", "refuses the registered URI with a slash at its end", "MTLS-AS-04.3", "uniformResourceIdentifier", byPath, func(right *x509.Certificate, w *harness.Issue) {
			for _, u := range right.URIs {
				other := *u
				if other.Path = strings.TrimSuffix(u.Path, "/"); other.Path == u.Path {
					other.Path += "/"
				}
				w.URIs = append(w.URIs, &other)
			}
		})),
		rarely("mtls-san-uri-common-name", "refuses the registered URI as a common name", "MTLS-AS-04.4", "uniformResourceIdentifier", byURI, func(right *x509.Certificate, w *harness.Issue) {
			for _, u := range right.URIs {
				w.Subject = &pkix.Name{CommonName: u.String()}
			}
		}),
		names("mtls-san-ip-as-dns", "refuses the registered address as a DNS name", "MTLS-AS-05.2", "iPAddress", byIP, func(right *x509.Certificate, w *harness.Issue) {
			for _, ip := range right.IPAddresses {
				w.DNS = append(w.DNS, ip.String())
			}
		}),
		lesser(harness.Hardening, harness.Low, rarely("mtls-san-ip-mapped", "refuses the IPv6 form of the registered IPv4 address", "MTLS-AS-05.4", "iPAddress", byIPv4, func(right *x509.Certificate, w *harness.Issue) {
			w.Further = mappedAddresses(right.IPAddresses)
		})),
		names("mtls-san-email-longer", "refuses a mail address that ends with the registered one", "MTLS-AS-06.3", "rfc822Name", byEmail, func(right *x509.Certificate, w *harness.Issue) { w.Emails = before(right.EmailAddresses, "x") }),
		rarely("mtls-san-email-in-subject", "refuses the registered mail address in the subject", "MTLS-AS-06.2", "rfc822Name", byEmail, func(right *x509.Certificate, w *harness.Issue) {
			for _, address := range right.EmailAddresses {
				w.RawDN = encodeDN([]relativeSET{relative([]int{1, 2, 840, 113549, 1, 9, 1}, asn1.TagIA5String, address)})
			}
		}),
	}
}

func behind(names []string, suffix string) []string {
	var out []string
	for _, n := range names {
		out = append(out, n+suffix)
	}
	return out
}

func before(names []string, prefix string) []string {
	var out []string
	for _, n := range names {
		out = append(out, prefix+n)
	}
	return out
}

// mappedAddresses are alternative names of sixteen octets for addresses of four (RFC 4291 §2.5.5.2), which crypto/x509 would write as four.
func mappedAddresses(of []net.IP) []pkix.Extension {
	var names []asn1.RawValue
	for _, ip := range of {
		names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 7, Bytes: ip.To16()})
	}
	return []pkix.Extension{{Id: []int{2, 5, 29, 17}, Value: mustEncode(names)}}
}

// relativeSET is a relative distinguished name as it stands in a certificate, string types included. encoding/asn1 knows a set by its name.
type relativeSET []attribute

type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

func relative(oid []int, tag int, value string) relativeSET {
	return relativeSET{{Type: oid, Value: asn1.RawValue{Tag: tag, Bytes: []byte(value)}}}
}

func encodeDN(dn []relativeSET) []byte { return mustEncode(dn) }

// mustEncode encodes what was parsed before, or is made here.
func mustEncode(v any) []byte {
	der, err := asn1.Marshal(v)
	if err != nil {
		panic(err)
	}
	return der
}

// withSubject asks the tester's CA for a certificate whose subject differs from the client's in nothing but the edit.
func withSubject(edit func(dn []relativeSET, c *harness.Client) []relativeSET) func(CertificateFacts) (*harness.Certificate, error) {
	return func(f CertificateFacts) (*harness.Certificate, error) {
		var dn []relativeSET
		if _, err := asn1.Unmarshal(f.Right.Leaf.RawSubject, &dn); err != nil {
			return nil, err
		}
		return f.Tester.ClientCA().Issue(harness.Issue{Name: "a certificate of the same CA", Like: f.Right.Leaf, RawDN: encodeDN(edit(dn, f.Client))})
	}
}

// isCommonName is 2.5.4.3 (RFC 4519 §2.3).
func isCommonName(a attribute) bool { return a.Type.Equal([]int{2, 5, 4, 3}) }

// commonName gives the common name another value, made of the old one and of the subject as it is registered; a subject without one gets one.
func commonName(value func(cn, registered string) string) func([]relativeSET, *harness.Client) []relativeSET {
	return func(dn []relativeSET, c *harness.Client) []relativeSET {
		for _, rdn := range dn {
			for i, a := range rdn {
				if isCommonName(a) {
					rdn[i].Value = asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(value(string(a.Value.Bytes), c.TLSClientAuthSubjectDN))}
					return dn
				}
			}
		}
		return append(dn, alone(value)(nil, c)...)
	}
}

// alone is a subject with a common name and nothing else.
func alone(value func(cn, registered string) string) func([]relativeSET, *harness.Client) []relativeSET {
	return func(_ []relativeSET, c *harness.Client) []relativeSET {
		return []relativeSET{relative([]int{2, 5, 4, 3}, asn1.TagUTF8String, value("", c.TLSClientAuthSubjectDN))}
	}
}

// withoutRDN leaves the last part of a name out that is no common name.
func withoutRDN(dn []relativeSET, _ *harness.Client) []relativeSET {
	for i := len(dn) - 1; i >= 0; i-- {
		if !slices.ContainsFunc(dn[i], isCommonName) {
			return slices.Delete(dn, i, i+1)
		}
	}
	return dn[:0]
}

// otherStringTypes writes each value as PrintableString that was a UTF8String, and the other way round. A country is always the former
// (X.520 §6.3.1).
func otherStringTypes(dn []relativeSET, _ *harness.Client) []relativeSET {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 '()+,-./:=?"
	for _, rdn := range dn {
		for i, a := range rdn {
			printable := strings.Trim(string(a.Value.Bytes), letters) == ""
			switch {
			case a.Type.Equal([]int{2, 5, 4, 6}):
			case a.Value.Tag == asn1.TagPrintableString:
				rdn[i].Value = asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: a.Value.Bytes}
			case a.Value.Tag == asn1.TagUTF8String && printable:
				rdn[i].Value = asn1.RawValue{Tag: asn1.TagPrintableString, Bytes: a.Value.Bytes}
			}
		}
	}
	return dn
}
