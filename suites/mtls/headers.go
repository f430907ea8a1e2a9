package mtls

import (
	"crypto/x509/pkix"
	"slices"
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// headers runs every row of forged headers at every endpoint where a certificate decides: on the mutual-TLS alias, and on the plain
// endpoint beside it, which is where a proxy is forgotten.
func headers(s *expect.Suite) {
	for _, a := range attacks.Headers() {
		for _, kind := range a.At {
			places, why := sitesAt(s, kind, nil)
			if kind != attacks.AtToken && kind != attacks.AtResource {
				places = places[:min(1, len(places))] // the header is read before the client's method matters
			}
			for _, where := range places {
				s.It(a.Check, where.at, func(c *expect.Case) {
					own := &attackersCertificate{}
					if a.Bearing == attacks.OwnCertificate {
						own = certificateOfAttacker(c, where)
					}
					honest := where.proven(c)
					c.Assume(honest()).To(expect.BeAccepted(), "the right certificate")
					answer := forged(c, a, where, own)
					c.Assume(honest()).To(expect.BeAccepted(), "the right certificate, again")
					where.refuses(c, answer, a.Refusal)
				})
			}
			if len(places) == 0 {
				s.Skip(a.Check, expect.Place{Endpoint: string(kind), Role: roleAt(kind)}, why)
			}
		}
	}
}

// attackersCertificate is what the attacker's connection shows; nobody says that no one whom the server trusts issued it.
type attackersCertificate struct {
	*harness.Certificate
	nobodys bool
}

// certificateOfAttacker is one that the server's TLS takes, if there is such a one: else the header would not be read.
func certificateOfAttacker(c *expect.Case, where site) *attackersCertificate {
	cert := made(c, c.ClientCA(), attackers(where))
	if c.ClientCA() == nil {
		for i := range c.Target.Clients {
			if other := &c.Target.Clients[i]; other != where.who.Client && c.CertificateOf(other) != nil {
				return &attackersCertificate{Certificate: c.CertificateOf(other)}
			}
		}
	}
	return &attackersCertificate{cert, c.ClientCA() == nil}
}

// attackers is a certificate with the names of nobody that the server knows.
func attackers(where site) harness.Issue {
	return harness.Issue{Name: "the attacker's certificate", Like: where.who.Cert.Leaf, Subject: &pkix.Name{CommonName: "attacker.popcheck.example"}}.SetNames()
}

// made is a certificate of an authority, nil for one that signs itself.
func made(c *expect.Case, by *harness.Authority, wish harness.Issue) *harness.Certificate {
	cert, err := by.Issue(wish)
	if err != nil {
		c.Unlearned("the attacking certificate cannot be made: %v", err)
	}
	return cert
}

// forged sends the requests of a row until one of them wins. A server for which the fields are too many gets them one by one.
func forged(c *expect.Case, a attacks.HeaderAttack, where site, own *attackersCertificate) harness.Outcome {
	facts := attacks.HeaderFacts{Client: where.who.Client, Cert: where.who.Cert, Strange: made(c, nil, attackers(where)), Declared: c.Target.CertificateHeader}
	addresses := []string{""}
	if where.plain != "" && a.Bearing == attacks.Bare {
		addresses = append(addresses, where.plain)
	}
	var outcome harness.Outcome
	for _, address := range addresses {
		for _, request := range a.Requests(facts) {
			answer := forge(c, where, own.Certificate, address, request)
			if tooMuch(answer) {
				answer = oneByOne(c, where, own.Certificate, address, request)
			}
			switch {
			case answer.State == harness.Granted:
				return named(c, where, own.Certificate, address, request, answer)
			case answer.State == harness.Unknown:
				return answer
			case answer.Where == harness.InTLS && own.nobodys:
				c.NotApplicable("observed: the server's TLS takes no certificate of an issuer that it does not know, so the header is not read; name client_ca, or a second client with a certificate")
			case own.Certificate != nil && answer.Answer != nil && answer.Answer.TLS != nil && !answer.Answer.TLS.CertificateRequested:
				c.Unlearned("the server did not ask for a certificate on this connection: the attack was not seen (%s)", answer)
			}
			if outcome.State == harness.Unknown || a.Refusal.Misfit(outcome) == "" {
				outcome = answer // the refusal that fits least is the one to report
			}
			if answer.Where == harness.InTLS {
				break // nothing behind the handshake is reached there
			}
		}
	}
	return outcome
}

func forge(c *expect.Case, where site, own *harness.Certificate, address string, request [][]harness.Field) harness.Outcome {
	return where.attempt(c, func(m *harness.Message, _ harness.Facts) {
		m.Who.Cert = own
		if address != "" {
			m.URL = address
		}
		fields := slices.Concat(request...)
		for _, f := range attacks.Verified() {
			if len(fields) > 0 && !slices.ContainsFunc(fields, func(o harness.Field) bool { return strings.EqualFold(o.Name, f.Name) }) {
				fields = append(fields, f)
			}
		}
		m.Header = append(m.Header, fields...)
	})
}

// tooMuch reports whether a server gave up before it read the request: 431 (RFC 6585 §5), nginx's 494, or an end of the connection.
func tooMuch(o harness.Outcome) bool {
	return o.State == harness.Refused && (o.Status == 431 || o.Status == 494 || o.Where == harness.Nowhere)
}

// oneByOne sends the alternatives of a request alone. What is still too much for the server cannot fool it.
func oneByOne(c *expect.Case, where site, own *harness.Certificate, address string, request [][]harness.Field) harness.Outcome {
	outcome := harness.Outcome{At: string(where.kind), Why: "the server takes no header fields of the size of a certificate, so the attack was not seen"}
	for _, set := range request {
		answer := forge(c, where, own, address, [][]harness.Field{set})
		if answer.State == harness.Granted {
			return answer
		}
		if answer.Where == harness.Nowhere || !tooMuch(answer) {
			outcome = answer
		}
	}
	return outcome
}

// named says which header it was, by sending the alternatives once more, each alone. Where the same connection is served without any
// of them too, it was no header.
func named(c *expect.Case, where site, own *harness.Certificate, address string, request [][]harness.Field, answer harness.Outcome) harness.Outcome {
	if forge(c, where, own, address, nil).State == harness.Granted {
		c.Unlearned("the server serves this connection without any header too, so it cannot be seen whether it believes one: %s", answer)
	}
	believed := request
	for _, set := range request {
		if alone := [][]harness.Field{set}; len(request) > 1 && forge(c, where, own, address, alone).State == harness.Granted {
			believed = alone
			break
		}
	}
	var names []string
	for _, f := range slices.Concat(believed...) {
		names = append(names, f.Name)
	}
	answer.Got += "; the server believed " + strings.Join(names, ", ")
	if address != "" {
		answer.Got += " at " + address
	}
	return answer
}
