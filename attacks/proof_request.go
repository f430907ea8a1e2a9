package attacks

import (
	"fmt"
	"net/url"
	"strings"
	"unicode"

	"github.com/popcheck/popcheck/harness"
)

func htu(edit func(u *url.URL)) harness.ProofChange {
	return func(p *harness.Proof) {
		u, err := url.Parse(p.Facts.URL)
		if err != nil {
			return
		}
		u.RawQuery, u.Fragment = "", ""
		edit(u)
		p.Claims.Set("htu", u.String())
	}
}

// proofMethods are proofs for another method (RFC 9449 §4.3 item 8).
func proofMethods() []ProofAttack {
	const looser = "the comparison is looser than the clause"
	return []ProofAttack{
		refusesProof("dpop-htm-other", "refuses a proof for another method", "8", harness.High, "DPOP-AS-11.1 DPOP-RS-10.1 DPOP-RS-10.2", "compare htm with the method of the request", func(p *harness.Proof) { p.Claims.Set("htm", otherMethod(p)) }),
		softened(refusesProof("dpop-htm-lower-case", "compares htm with its case", "8", harness.Low, "DPOP-AS-11.3 DPOP-RS-10.4", "methods are case-sensitive (RFC 9110 §9.1)", func(p *harness.Proof) {
			p.Claims.Set("htm", strings.ToLower(p.Facts.Method))
		}), harness.Hardening, "the comparison is looser than the clause"),
		placed(once(refusesProof("dpop-htm-empty", "refuses an empty htm", "8", harness.High, "DPOP-AS-11.2", "compare htm with the method of the request", claim("htm", ""))), AtToken),
		placed(once(softened(refusesProof("dpop-htm-padded", "compares htm with its spaces", "8", harness.Low, "DPOP-AS-11.4", "compare the whole value", func(p *harness.Proof) {
			p.Claims.Set("htm", p.Facts.Method+" ")
		}), harness.Hardening, looser)), AtToken),
	}
}

// proofAddresses are proofs for another address (RFC 9449 §4.3 item 9).
func proofAddresses() []ProofAttack {
	const compare = "compare htu with the URI of the request"
	return []ProofAttack{
		refusesProof("dpop-htu-host", "refuses a proof made for another host", "9", harness.Critical, "DPOP-AS-12.1 DPOP-RS-11.2 DPOP-AS-18.2 DPOP-AS-28.4", "compare htu with the URI of the request", htu(func(u *url.URL) { u.Host = "attacker.example" })),
		refusesProof("dpop-htu-path", "refuses a proof made for another path of the host", "9", harness.Critical, "DPOP-AS-12.2 DPOP-RS-11.1 DPOP-AS-12.3 DPOP-RS-11.5", "compare htu with the URI of the request", htu(func(u *url.URL) { u.Path += "/other"; u.RawPath = "" })),
		refusesProof("dpop-htu-parent", "refuses a proof made for a part of its path", "9", harness.High, "DPOP-AS-12.4 DPOP-RS-11.4", "compare the whole URI, not its beginning", htu(func(u *url.URL) { u.Path, u.RawPath = u.Path[:strings.LastIndex(u.Path, "/")+1], "" })),
		refusesProof("dpop-htu-path-case", "compares the path of htu with its case", "9", harness.Low, "DPOP-AS-12.11 DPOP-RS-11.10", "paths are case-sensitive (RFC 3986 §6.2.2.1)", htu(func(u *url.URL) { u.Path, u.RawPath = otherCase(u.Path), "" })),
		refusesProof("dpop-htu-http", "refuses a proof made for http", "9", harness.Critical, "DPOP-AS-12.5 DPOP-RS-11.6", "compare the scheme as well; behind a proxy configure the external URL", htu(func(u *url.URL) { u.Scheme = "http" })),
		refusesProof("dpop-htu-elsewhere", "refuses a proof made for another endpoint of the target", "9", harness.Critical, "DPOP-AS-12.7 DPOP-RS-11.3 DPOP-AS-22.4", "compare htu with the URI of the request", func(p *harness.Proof) { p.Claims.Set("htu", p.Facts.Elsewhere) }),
		outside(refusesProof("dpop-htu-forwarded-host", "does not believe a client about its own host (X-Forwarded-Host)", "9", harness.High, "DPOP-AS-12.13 DPOP-RS-11.9", believeNobody, forwarded(func(u *url.URL) []harness.Field {
			return []harness.Field{{Name: "X-Forwarded-Host", Value: u.Host}, {Name: "X-Forwarded-Proto", Value: u.Scheme}, {Name: "X-Forwarded-Port", Value: portOf(u)},
				{Name: "X-Forwarded-Server", Value: u.Host}, {Name: "X-Original-Host", Value: u.Host}, {Name: "X-Host", Value: u.Host}}
		}, otherHost))),
		outside(refusesProof("dpop-htu-forwarded", "does not believe a client about its own host (Forwarded)", "9", harness.High, "DPOP-AS-12.13 DPOP-RS-11.9", believeNobody, forwarded(func(u *url.URL) []harness.Field {
			return []harness.Field{{Name: "Forwarded", Value: `for=192.0.2.1;host="` + u.Host + `";proto=` + u.Scheme}}
		}, otherHost))),
		outside(refusesProof("dpop-htu-forwarded-proto", "does not believe a client about its own scheme (X-Forwarded-Proto)", "9", harness.High, "", believeNobody, forwarded(func(u *url.URL) []harness.Field {
			return []harness.Field{{Name: "X-Forwarded-Proto", Value: u.Scheme}, {Name: "X-Forwarded-Ssl", Value: "off"}, {Name: "Forwarded", Value: "for=192.0.2.1;proto=" + u.Scheme}}
		}, func(u *url.URL) { u.Scheme = "http" }))),
		placed(outside(refusesProof("dpop-htm-override", "does not let a header replace the method that htm is compared with", "8", harness.Medium, "", "compare htm with the method of the request line", func(p *harness.Proof) {
			p.Claims.Set("htm", "GET")
			p.Send([]harness.Field{{Name: "X-HTTP-Method-Override", Value: "GET"}, {Name: "X-Method-Override", Value: "GET"}, {Name: "X-HTTP-Method", Value: "GET"}})
		})), AtToken, AtPAR),
		placed(once(softened(outside(refusesProof("dpop-htm-override-resource", "does not let a header replace the method that htm is compared with, at a resource", "8", harness.Medium, "DPOP-RS-10.5", "compare htm with the method of the request line", func(p *harness.Proof) {
			other := otherMethod(p)
			p.Claims.Set("htm", other)
			p.Send([]harness.Field{{Name: "X-HTTP-Method-Override", Value: other}, {Name: "X-Method-Override", Value: other}, {Name: "X-HTTP-Method", Value: other}})
		})), harness.Should, "a proof of one method lets another one through, where only the reader of proofs believes the header")), AtResource),
		once(refusesProof("dpop-htu-port", "refuses a proof made for another port", "9", harness.High, "DPOP-AS-12.6 DPOP-RS-11.7", compare, htu(otherPort))),
		placed(once(softened(refusesProof("dpop-htu-relative", "refuses a relative reference as htu", "9", harness.Medium, "DPOP-AS-12.9", "compare absolute URIs", htu(func(u *url.URL) {
			u.Scheme, u.Host = "", ""
		})), harness.Should, "such a proof fits every server that has the path")), AtToken),
		placed(once(refusesProof("dpop-htu-issuer", "refuses a proof made for the issuer", "9", harness.High, "DPOP-AS-12.10", compare, func(p *harness.Proof) {
			p.Claims.Set("htu", p.Facts.Tester.Target.Issuer)
		})), AtToken),
		placed(once(refusesProof("dpop-htu-userinfo", "refuses the host of an attacker behind its own name", "9", harness.Critical, "DPOP-AS-12.12", "parse htu as a URI; do not look for the name in it", htu(func(u *url.URL) {
			u.User = url.User(u.Hostname())
			otherHost(u)
		}))), AtToken),
		placed(once(softened(refusesProof("dpop-htu-encoded-slash", "does not take an encoded slash for a slash in htu", "9", harness.Low, "DPOP-RS-11.11", "normalise without decoding reserved characters (RFC 3986 §6.2.2.2)", htu(func(u *url.URL) {
			dir, last := lastSegment(u)
			u.RawPath = dir + "x%2F..%2F" + last
			u.Path, _ = url.PathUnescape(u.RawPath)
		})), harness.Hardening, "two addresses that mean different things count as one")), AtResource),
	}
}

func otherMethod(p *harness.Proof) string {
	if p.Facts.Method == "GET" {
		return "POST"
	}
	return "GET"
}

func otherPort(u *url.URL) {
	port := "8443"
	if u.Port() == port {
		port = "9443"
	}
	u.Host = u.Hostname() + ":" + port
	if strings.Contains(u.Hostname(), ":") {
		u.Host = "[" + u.Hostname() + "]:" + port
	}
}

// lastSegment cuts the path of an address, as it is spelt, behind its last slash.
func lastSegment(u *url.URL) (dir, last string) {
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	cut := strings.LastIndex(path, "/") + 1
	return path[:cut], path[cut:]
}

// encoded percent-encodes one letter of the path, the last whose code has a digit that is spelt in two ways. format is how.
func encoded(format string) func(u *url.URL) {
	return func(u *url.URL) {
		path := u.EscapedPath()
		if i := strings.LastIndexAny(path, TwoSpellings); i >= 0 {
			u.RawPath = path[:i] + fmt.Sprintf(format, path[i]) + path[i+1:]
		}
	}
}

// TwoSpellings are letters whose percent-encoding has a hexadecimal digit that may be in upper or lower case.
const TwoSpellings = "jklmnozJKLMNOZ"

// proofSpellings are other spellings of the right address (RFC 9449 §4.3 item 9).
func proofSpellings() []ProofAttack {
	// Normalisation is a SHOULD, and what honest clients send they read from the same metadata: little is lost without.
	item := rfc9449("4.3", "9")
	const leftIn = "a client that leaves in what §4.2 has it leave out is refused, though the server is to ignore it"
	return []ProofAttack{
		softened(acceptsProof("dpop-htu-query", "ignores a query in htu", rfc9449("4.3", "9"), harness.Should, harness.Low, "DPOP-AS-13.1 DPOP-RS-12.1", htu(func(u *url.URL) { u.RawQuery = "a=b" })),
			harness.Hardening, leftIn),
		softened(acceptsProof("dpop-htu-fragment", "ignores a fragment in htu", rfc9449("4.3", "9"), harness.Should, harness.Low, "DPOP-AS-13.2 DPOP-RS-12.3", htu(func(u *url.URL) { u.Fragment = "part" })),
			harness.Hardening, leftIn),
		acceptsProof("dpop-htu-host-case", "compares the host of htu without case", rfc9449("4.3", "9"), harness.Should, harness.Low, "DPOP-AS-13.3 DPOP-RS-12.4", htu(func(u *url.URL) { u.Host = strings.ToUpper(u.Host) })),
		acceptsProof("dpop-htu-default-port", "knows the default port in htu", rfc9449("4.3", "9"), harness.Should, harness.Low, "DPOP-AS-13.5 DPOP-RS-12.6", htu(func(u *url.URL) {
			if u.Port() == "" {
				u.Host += ":443"
			}
		})),
		once(acceptsProof("dpop-htu-scheme-case", "compares the scheme of htu without case", item, harness.Should, harness.Low, "DPOP-AS-13.4 DPOP-RS-12.5", htu(func(u *url.URL) { u.Scheme = strings.ToUpper(u.Scheme) }))),
		once(acceptsProof("dpop-htu-percent", "decodes unreserved characters of htu", item, harness.Hardening, harness.Low, "DPOP-AS-13.6 DPOP-RS-12.7", htu(encoded("%%%02X")))),
		placed(once(acceptsProof("dpop-htu-percent-lower-case", "knows percent-encoding in lower case", item, harness.Hardening, harness.Low, "DPOP-AS-13.7", htu(encoded("%%%02x")))), AtToken),
		placed(once(acceptsProof("dpop-htu-dot-segments", "removes dot segments from htu", item, harness.Hardening, harness.Info, "DPOP-AS-13.8", htu(func(u *url.URL) {
			dir, last := lastSegment(u)
			u.RawPath = dir + "./" + last
			u.Path, _ = url.PathUnescape(u.RawPath)
		}))), AtToken),
	}
}

// HostHeader is a request whose Host names the attacker's site, with a proof that was made for it: one that the attacker's own server
// was given. Its answer needs care, because under another name another site may live.
func HostHeader() ProofAttack {
	return outside(ProofAttack{Check: Check{ID: "dpop-htu-host-header", Title: "does not take its own address from the Host of a request", Clause: rfc9449("4.3", "9"), Level: harness.Should, Severity: harness.Medium,
		Threat: harness.ProofReplay, Covers: "DPOP-AS-12.13 DPOP-RS-11.9", Why: "a proof that another server was given works here", Fix: "take the public address from the configuration; answer only to the names of the site"},
		Change: forwarded(func(u *url.URL) []harness.Field { return []harness.Field{{Name: "Host", Value: u.Host}} }, otherHost)})
}

const believeNobody = "take the public address from the configuration; let the proxy in front delete such headers of clients"

// outside marks rows with headers that a proxy may send: any refusal will do, a redirect to the right address included.
func outside(a ProofAttack) ProofAttack {
	a.Refusal = harness.Refusal{Status: []int{301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 421}}
	a.Resource = a.Refusal
	return a
}

// forwarded makes the proof for another address and sends headers that claim to be of a proxy and name that address.
func forwarded(fields func(u *url.URL) []harness.Field, edit func(u *url.URL)) harness.ProofChange {
	return func(p *harness.Proof) {
		htu(edit)(p)
		s, _ := p.Claims.Get("htu").(string)
		if u, err := url.Parse(s); err == nil {
			p.Send(fields(u))
		}
	}
}

// otherHost keeps the port: a server may put its own behind the host that it is told.
func otherHost(u *url.URL) {
	if port := u.Port(); port != "" {
		u.Host = "attacker.example:" + port
		return
	}
	u.Host = "attacker.example"
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	return map[string]string{"https": "443", "http": "80"}[u.Scheme]
}

// otherCase changes the case of every letter.
func otherCase(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsUpper(r) {
			return unicode.ToLower(r)
		}
		return unicode.ToUpper(r)
	}, s)
}
