package mtls

import (
	"crypto/x509/pkix"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// speakers asks whom a certificate speaks for, where the request names another client, two or none (RFC 8705 §2).
func speakers(s *expect.Suite) {
	k := attacks.Speakers()
	places, why := sitesAt(s, attacks.AtToken, nil)
	own := func(check attacks.Check, body func(c *expect.Case, where site)) {
		if len(places) == 0 {
			s.Skip(check, expect.Place{Endpoint: "token"}, why)
			return
		}
		s.It(check, places[0].at, func(c *expect.Case) { body(c, places[0]) })
	}
	own(k.NoID, func(c *expect.Case, where site) {
		answer := between(c, where, func() harness.Outcome {
			return where.attempt(c, func(m *harness.Message, _ harness.Facts) { m.Params.Drop("client_id") })
		})
		if answer.State == harness.Granted {
			o := c.Obtain(where.who, where.grant)
			c.Assume(o).To(expect.BeAccepted(), "the right certificate and client_id")
			if own, got := owner(c, o.Token), owner(c, answer.Token); own != "" && got != "" && got != own {
				c.Fails("a token of %s was issued for the certificate of %s", got, own)
			}
		}
		decided(c, answer)
	})
	own(k.PublicID, func(c *expect.Case, where site) {
		public := publicClient(c.Target)
		answer := between(c, where, func() harness.Outcome {
			return where.attempt(c, func(m *harness.Message, _ harness.Facts) { m.Params.Set("client_id", public.ClientID) })
		})
		if answer.State == harness.Granted && owner(c, answer.Token) == public.ClientID {
			c.Passes("the token is that of %s, which needs no certificate", public.Name)
			return
		}
		c.Refuses(answer, c.Check.Refusal)
	})
	codesOfOthers(s)
	insteadOfAssertion(s, k.InsteadOfAssertion)
	addressText(s, k.AddressText)
}

// publicClient is any; the capability public-client says that there is one.
func publicClient(t *harness.Target) harness.Client {
	for _, c := range t.Clients {
		if c.Public() {
			return c
		}
	}
	return harness.Client{}
}

func between(c *expect.Case, where site, attack func() harness.Outcome) harness.Outcome {
	honest := where.proven(c)
	c.Assume(honest()).To(expect.BeAccepted(), "the right certificate")
	answer := attack()
	c.Assume(honest()).To(expect.BeAccepted(), "the right certificate, again")
	return answer
}

// owner is the client that a token or its introspection names, or "" (RFC 9068 §2.2, RFC 7662 §2.2).
func owner(c *expect.Case, token *harness.Token) string {
	if token == nil {
		return ""
	}
	members, jwt := token.Claims()
	if !jwt && c.CanIntrospect() {
		members, _ = c.Introspect(token.AccessToken)
	}
	for _, name := range []string{"client_id", "azp", "cid", "appid"} {
		if named, _ := members[name].(string); named != "" {
			return named
		}
	}
	return ""
}

// codesOfOthers redeems the code of one client with the certificate of another, which names itself or both.
func codesOfOthers(s *expect.Suite) {
	k := attacks.Speakers()
	victim := s.Pick(func(t harness.Trial) bool { return bound(t) && t.Grant == harness.CodeGrant && t.Client.MutualTLS() })
	thief := s.Pick(func(t harness.Trial) bool {
		return bound(t) && t.Client.MutualTLS() && victim != nil && t.Client != victim.Client && t.Client.HasGrant(harness.CodeGrant)
	})
	if thief == nil {
		for _, check := range []attacks.Check{k.CodeOfOther, k.TwoIDs} {
			s.Skip(check, expect.Place{Endpoint: "token", Grant: harness.CodeGrant}, "the target file names no two clients of mutual TLS that get codes")
		}
		return
	}
	where := tokenSite(s, victim)
	theirs := s.Honest(thief.Client, thief.Binding)
	steal := func(check attacks.Check, changes ...harness.Change) {
		s.It(check, where.at, func(c *expect.Case) {
			c.Assume(c.Obtained(theirs, thief.Grant)).To(expect.BeAccepted(), "client "+thief.Client.Name+" with its own certificate")
			answer := between(c, where, func() (answer harness.Outcome) {
				for _, change := range changes {
					send := c.Prepared(where.who, harness.CodeGrant)
					c.Attack(func() {
						answer = c.Loot(send(harness.TokenRequest{Who: theirs, Change: change}), harness.CodeGrant)
					})
					if answer.State != harness.Refused {
						break
					}
				}
				return answer
			})
			c.Refuses(answer, check.Refusal)
		})
	}
	id := victim.Client.ClientID
	steal(k.CodeOfOther, nil)
	steal(k.TwoIDs, func(m *harness.Message, _ harness.Facts) { m.Params.Add("client_id", id) },
		func(m *harness.Message, _ harness.Facts) {
			m.Params = append(harness.Params{{Name: "client_id", Value: id}}, m.Params...)
		})
}

// insteadOfAssertion comes as a client of private_key_jwt with a certificate and without an assertion.
func insteadOfAssertion(s *expect.Suite, check attacks.Check) {
	places, why := sitesAt(s, attacks.AtToken, nil)
	t := s.Pick(func(t harness.Trial) bool {
		return t.Client.TokenEndpointAuthMethod == "private_key_jwt" && t.Grant != harness.JWTBearerGrant
	})
	if t == nil || len(places) == 0 {
		if t == nil {
			why = "the target file names no client with private_key_jwt that could get a token"
		}
		s.Skip(check, expect.Place{Endpoint: "token"}, why)
		return
	}
	who := s.Honest(t.Client, t.Binding)
	s.It(check, expect.Place{Endpoint: "token", Grant: t.Grant, Client: t.Client.Name}, func(c *expect.Case) {
		send, before := c.Prepared(who, t.Grant), 0
		cert := certificateOfAttacker(c, places[0]).Certificate
		if c.ClientCA() != nil {
			cert = made(c, c.ClientCA(), harness.Issue{Name: "a certificate with the client's name", Like: places[0].who.Cert.Leaf, Subject: &pkix.Name{CommonName: t.Client.ClientID}}.SetNames())
		}
		answer := c.Between(func() harness.Outcome { return c.Obtained(who, t.Grant) }, func() harness.Outcome {
			before = c.Recorded()
			return c.Loot(send(harness.TokenRequest{Who: who, At: c.Metadata.Endpoint("token_endpoint", cert), Change: func(m *harness.Message, _ harness.Facts) {
				m.Params.Drop("client_assertion")
				m.Params.Drop("client_assertion_type")
				m.Who.Cert = cert
			}}), t.Grant)
		}, "the honest assertion")
		if answer.State == harness.Refused && askedForCertificate(c, before) == harness.No {
			c.Unlearned("the server did not ask for a certificate on this connection: the attack was not seen (%s)", answer)
		}
		c.Refuses(answer, check.Refusal)
	})
}

// addressText looks at a client that is known by an IPv6 address, of which there are many texts (RFC 4291 §2.2). Whether its
// certificate is good shows only where it is accepted; that of another client of the same issuer shows that nothing else is wrong.
func addressText(s *expect.Suite, check attacks.Check) {
	t := s.Pick(func(t harness.Trial) bool { return strings.Contains(t.Client.TLSClientAuthSANIP, ":") })
	at := expect.Place{Endpoint: "token"}
	if t == nil {
		s.Skip(check, at, "the target file names no client with an IPv6 address")
		return
	}
	who := s.Honest(t.Client, t.Binding)
	known := s.Pick(func(o harness.Trial) bool {
		cert := s.CertificateOf(o.Client)
		return o.Client != t.Client && o.Client.TokenEndpointAuthMethod == t.Client.TokenEndpointAuthMethod && cert != nil && cert.SameIssuer(who.Cert)
	})
	at.Grant, at.Client = t.Grant, t.Client.Name
	if known == nil || !slices.ContainsFunc(who.Cert.Leaf.IPAddresses, func(ip net.IP) bool { return isAddress(ip, t.Client.TLSClientAuthSANIP) }) {
		s.Skip(check, at, "the target file names no other client of the same issuer, or the certificate does not carry the registered address")
		return
	}
	s.It(check, at, func(c *expect.Case) {
		c.Assume(c.Obtained(s.Honest(known.Client, known.Binding), known.Grant)).To(expect.BeAccepted(), "client "+known.Client.Name+", whose certificate has the same issuer")
		c.Expect(c.Obtain(who, t.Grant)).To(expect.BeAccepted())
		c.Passes("%s was known by its address", t.Client.Name)
	})
}

func isAddress(ip net.IP, text string) bool {
	want, err := netip.ParseAddr(text)
	got, ok := netip.AddrFromSlice(ip)
	return err == nil && ok && got == want
}
