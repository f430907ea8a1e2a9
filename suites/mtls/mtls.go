// Package mtls checks client authentication by mutual TLS and certificate-bound tokens (RFC 8705).
package mtls

import (
	"slices"
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// Specs declares the checks of the suite for a target.
func Specs(s *expect.Suite) {
	certificates(s)
	headers(s)
	tokens(s)
	refresh(s)
	rotation(s)
	resources(s)
	s.Minted(harness.CertificateBound)
	resumptions(s)
	speakers(s)
	aliases(s)
	metadata(s)
	registration(s)
}

func bound(t harness.Trial) bool { return t.Binding == harness.CertificateBound }

// certificates runs every row of wrong certificates at every endpoint where one decides.
func certificates(s *expect.Suite) {
	for _, a := range attacks.Certificates() {
		for _, kind := range append(authenticated(), attacks.AtResource) {
			if !a.RunsAt(kind) {
				continue
			}
			places, why := sitesAt(s, kind, a.Clients)
			if a.Plain == attacks.Conventional {
				places, why = slices.DeleteFunc(places, func(where site) bool { return where.plain == "" }), "discovered: the metadata names no second address"
			}
			if a.Reach == attacks.OnePlace {
				places = onePerClientMethod(places)
			}
			if a.ID == attacks.NoCertificateAtResource {
				places = append(places, everyGrant(s, places)...)
			}
			for _, where := range places {
				if a.DiffersFromIssued(where.who.Client) && where.issued == harness.No {
					s.Skip(a.Check, where.at, "observed: the server refuses a certificate of client_ca under the client's own names too, so it would refuse every other one")
					continue
				}
				s.It(a.Check, where.at, func(c *expect.Case) { certificate(c, s, a, where) })
			}
			// A row that runs elsewhere says only once, by the plainest of them, what keeps it from here.
			if first := kind == a.At[0]; len(places) == 0 && (first || a.ID == attacks.NoCertificate) {
				s.Skip(a.Check, expect.Place{Endpoint: string(kind), Role: roleAt(kind)}, why)
			}
		}
	}
}

func roleAt(kind attacks.Place) harness.Role {
	if kind == attacks.AtResource {
		return harness.ResourceServer
	}
	return harness.AuthorizationServer
}

func certificate(c *expect.Case, s *expect.Suite, a attacks.CertificateAttack, where site) {
	facts := attacks.CertificateFacts{Tester: s.Tester, Client: where.who.Client, Right: where.who.Cert, Other: other(c, s, a, where)}
	cert, err := a.Certificate(facts)
	if err != nil {
		c.Unlearned("the attacking certificate cannot be made: %v", err)
	}
	honest := where.proven(c)
	c.Assume(honest()).To(expect.BeAccepted(), "the right certificate")
	present := func(cert *harness.Certificate) harness.Outcome {
		return where.attempt(c, func(m *harness.Message, f harness.Facts) {
			m.Who.Cert = cert
			if a.Plain == attacks.Conventional {
				m.URL = where.plain
			}
			if a.Change != nil {
				a.Change(m, f)
			}
		})
	}
	if a.Harmless != nil {
		harmless, err := a.Harmless(facts)
		if err != nil {
			c.Unlearned("the certificate without the defect cannot be made: %v", err)
		}
		switch o := present(harmless); o.State {
		case harness.Refused:
			c.NotApplicable("observed: the same certificate is refused without the defect as well (%s)", o)
		case harness.Unknown:
			c.Assume(o).To(expect.BeAccepted(), "the same certificate without the defect")
		}
	}
	before := c.Recorded()
	answer := present(cert)
	asked := askedForCertificate(c, before)
	c.Assume(honest()).To(expect.BeAccepted(), "the right certificate, again")
	switch {
	case a.Mode == attacks.Accept:
		c.Expect(answer).To(expect.BeAccepted())
		c.Passes("it was accepted: %s", answer)
		return
	case a.Lenient == attacks.Always:
		if asked == harness.No { // then none can have been looked at
			c.Expect(answer).To(expect.BeRefused())
		}
		decided(c, answer)
		return
	case answer.State == harness.Refused && cert != nil && asked == harness.No:
		c.Unlearned("the server did not ask for a certificate on this connection: the attack was not seen (%s)", answer)
	case a.ID == attacks.RenewedCertificate && answer.Where == harness.InTLS && s.ClientCA() == nil:
		c.Unlearned("the server ended the connection because nobody it trusts issued the certificate: a renewed one cannot be tried without client_ca")
	case facts.Other != nil && answer.State == harness.Granted && owner(c, answer.Token) == facts.Other.ClientID:
		c.Warns("client_id was ignored: the token is that of %s, whose certificate it was", facts.Other.Name)
		return
	}
	where.refuses(c, answer, a.Refusal)
}

// askedForCertificate reports whether the server asked for one on the connection of the first attack since a moment.
func askedForCertificate(c *expect.Case, before int) harness.Known {
	for _, x := range c.Since(before) {
		switch {
		case x.Role != harness.AttackExchange || x.TLS == nil:
		case x.TLS.CertificateRequested:
			return harness.Yes
		default:
			return harness.No
		}
	}
	return harness.NotKnown
}

// decided passes an answer that may be either, and says which it was; only a server that broke is warned of.
func decided(c *expect.Case, answer harness.Outcome) {
	if answer.State == harness.Granted {
		c.Measured("accepted")
		c.Passes("it was accepted, which is as legitimate as a refusal")
		return
	}
	c.Measured("refused")
	c.Refuses(answer, harness.Refusal{})
}

// other is a second client with a certificate of its own, shown to work where the row uses its certificate.
func other(c *expect.Case, s *expect.Suite, a attacks.CertificateAttack, where site) *harness.Client {
	if !strings.Contains(a.ID, "other-client") {
		return nil
	}
	t := second(c, s, where.who.Client)
	c.Assume(c.Obtained(s.Honest(t.Client, harness.CertificateBound), t.Grant)).To(expect.BeAccepted(), "client "+t.Client.Name+" with its own certificate")
	return t.Client
}

// second is another client with a certificate, one that the server trusts in the same way if it can be had: a self-signed certificate
// is refused where any certificate of the CA would do. One certificate may be that of several clients, and then it is nobody else's.
func second(c *expect.Case, s *expect.Suite, first *harness.Client) *harness.Trial {
	own := c.CertificateOf(first)
	others := func(t harness.Trial) bool {
		cert := c.CertificateOf(t.Client)
		return bound(t) && t.Client != first && (own == nil || cert == nil || cert.Thumbprint() != own.Thumbprint())
	}
	t := s.Pick(func(t harness.Trial) bool {
		return others(t) && t.Client.TokenEndpointAuthMethod == first.TokenEndpointAuthMethod
	})
	if t == nil {
		t = s.Pick(others)
	}
	if t == nil {
		c.NotApplicable("the target file names no second client with a certificate")
	}
	return t
}

// thumbprint reads the certificate that a token is bound to (RFC 8705 §3.1).
func thumbprint(members map[string]any) (string, bool) {
	cnf, _ := members["cnf"].(map[string]any)
	s, ok := cnf["x5t#S256"].(string)
	return s, ok
}

// tokens looks at certificate-bound tokens themselves.
func tokens(s *expect.Suite) {
	k := attacks.CertificateBindings()
	asks := func(grant string) func(harness.Trial) bool {
		return func(t harness.Trial) bool {
			return bound(t) && t.Grant == grant && t.Client.TLSClientCertificateBoundAccessTokens
		}
	}
	first := func(grant string) *harness.Trial { return s.Pick(asks(grant)) }
	code, machine := first(harness.CodeGrant), first(harness.ClientCredentialsGrant)
	either := code
	if either == nil {
		either = machine
	}
	look := func(check attacks.Check, t *harness.Trial, see func(c *expect.Case, who harness.Identity, grant string)) {
		if t == nil {
			s.Skip(check, expect.Place{Endpoint: "token"}, "no client with tls_client_certificate_bound_access_tokens and a certificate gets a token")
			return
		}
		endpoint := "token"
		if check.ID == k.Introspection.ID {
			endpoint = "introspect"
		}
		s.It(check, expect.Place{Endpoint: endpoint, Grant: t.Grant, Client: t.Client.Name}, func(c *expect.Case) {
			see(c, s.Honest(t.Client, harness.CertificateBound), t.Grant)
		})
	}
	claims := func(c *expect.Case, who harness.Identity, grant string) map[string]any {
		o := c.Obtain(who, grant)
		c.Assume(o).To(expect.BeAccepted(), "the right certificate")
		claims, jwt := o.Token.Claims()
		if !jwt {
			c.NotApplicable("observed: the access token is opaque")
		}
		return claims
	}
	isBound := func(c *expect.Case, who harness.Identity, grant string) {
		got, there := thumbprint(claims(c, who, grant))
		switch want := who.Cert.Thumbprint(); {
		case !there:
			c.Fails("the access token has no cnf.x5t#S256 although a certificate was presented")
		case got == who.Cert.KeyThumbprint():
			c.Fails("cnf.x5t#S256 is the hash of the public key, not of the certificate")
		case got != want:
			c.Fails("cnf.x5t#S256 is %q, the hash of the certificate is %q", got, want)
		}
		c.Passes("cnf.x5t#S256 is the hash of the certificate")
	}
	look(k.Thumbprint, either, isBound)
	look(k.ThumbprintOfLeaf, either, func(c *expect.Case, who harness.Identity, grant string) {
		got, there := thumbprint(claims(c, who, grant))
		switch {
		case !there:
			c.Unlearned("the access token has no cnf.x5t#S256 to look at")
		case got == who.Cert.KeyThumbprint():
			c.Fails("cnf.x5t#S256 is the hash of the public key (SPKI)")
		case slices.Contains(who.Cert.IssuerThumbprints(), got):
			c.Fails("cnf.x5t#S256 is the hash of the issuer's certificate")
		}
		c.Passes("cnf.x5t#S256 is the hash neither of the key nor of the issuer")
	})
	backends := 0
	for _, grant := range []string{harness.ClientCredentialsGrant, harness.JWTBearerGrant} {
		if t := first(grant); t != nil {
			backends++
			look(k.EveryGrant, t, func(c *expect.Case, who harness.Identity, grant string) { boundByGrant(c, t, who, grant) })
		}
	}
	if backends == 0 {
		look(k.EveryGrant, nil, nil)
	}
	look(k.ThumbprintOfSent, s.Pick(func(t harness.Trial) bool {
		return bound(t) && t.Client.TLSClientCertificateBoundAccessTokens && t.Client.TokenEndpointAuthMethod == "tls_client_auth"
	}), func(c *expect.Case, who harness.Identity, grant string) { leafOfSeveral(c, s, who, grant) })
	look(k.Introspection, s.Introspected(asks(harness.CodeGrant), asks(harness.ClientCredentialsGrant)), func(c *expect.Case, who harness.Identity, grant string) {
		got, there := thumbprint(c.Introspected(who, grant))
		switch {
		case !there:
			c.Fails("the introspection of a bound token has no cnf.x5t#S256")
		case got != who.Cert.Thumbprint():
			c.Fails("cnf.x5t#S256 is %q, the hash of the certificate is %q", got, who.Cert.Thumbprint())
		}
		c.Passes("introspection names the bound certificate")
	})
	unboundIntrospection(s, k.IntrospectionUnbound)
	withoutCertificate(s, k.WithoutCertificate)
	otherMethod(s, k.OtherMethod)
}

// leafOfSeveral comes with a certificate and that of its issuer behind it.
func leafOfSeveral(c *expect.Case, s *expect.Suite, who harness.Identity, grant string) {
	claims := func(who harness.Identity) (map[string]any, bool) {
		o := c.Obtain(who, grant)
		if o.State == harness.Refused && who.Cert != c.CertificateOf(who.Client) {
			c.NotApplicable("observed: a certificate of client_ca under the client's own names is refused (%s)", o)
		}
		c.Assume(o).To(expect.BeAccepted(), "a certificate of the client's")
		return o.Token.Claims()
	}
	if members, jwt := claims(who); !jwt {
		c.NotApplicable("observed: the access token is opaque")
	} else if _, there := thumbprint(members); !there {
		c.Unlearned("the access token has no cnf.x5t#S256 to look at")
	}
	who.Cert = made(c, s.ClientCA(), harness.Issue{Name: "a renewed certificate, with its issuer behind it", Like: who.Cert.Leaf})
	members, _ := claims(who)
	switch got, _ := thumbprint(members); {
	case slices.Contains(who.Cert.IssuerThumbprints(), got):
		c.Fails("cnf.x5t#S256 is the hash of the issuer's certificate, which the client sent behind its own")
	case got != who.Cert.Thumbprint():
		c.Fails("cnf.x5t#S256 is %q, the hash of the certificate is %q", got, who.Cert.Thumbprint())
	}
	c.Passes("cnf.x5t#S256 is the hash of the client's own certificate")
}

// unboundIntrospection asks about a token that is bound to nothing.
func unboundIntrospection(s *expect.Suite, check attacks.Check) {
	t := s.Introspected(func(t harness.Trial) bool { return t.Binding == harness.Unbound })
	if t == nil {
		s.Skip(check, expect.Place{Endpoint: "introspect"}, "no client of the target file gets unbound tokens")
		return
	}
	s.It(check, expect.Place{Endpoint: "introspect", Grant: t.Grant, Client: t.Client.Name}, func(c *expect.Case) {
		if got, there := thumbprint(c.Introspected(s.Honest(t.Client, t.Binding), t.Grant)); there {
			c.Fails("the introspection of an unbound token has cnf.x5t#S256 %q", got)
		}
		c.Passes("it names no certificate")
	})
}

// boundByGrant looks for the binding of one grant's tokens, opaque ones too (RFC 8705 §3).
func boundByGrant(c *expect.Case, t *harness.Trial, who harness.Identity, grant string) {
	o := c.Obtain(who, grant)
	c.Assume(o).To(expect.BeAccepted(), "the right certificate")
	var at *harness.Resource
	if len(t.Opens) > 0 {
		at = t.Opens[0]
	}
	thief, nobody := who, who
	thief.Cert, nobody.Cert = strangers(c, who), nil
	c.BoundTo(o.Token, thumbprint, who.Cert.Thumbprint(), at, nobody, thief)
}

// strangers is a certificate with the same names that nobody trusts.
func strangers(c *expect.Case, who harness.Identity) *harness.Certificate {
	return made(c, nil, harness.Issue{Name: "a stranger's certificate", Like: who.Cert.Leaf})
}

// authenticatedOtherwise is a client that asked for certificate-bound tokens and has a secret or key.
func authenticatedOtherwise(s *expect.Suite) *harness.Trial {
	return s.Pick(func(t harness.Trial) bool { return bound(t) && !t.Client.MutualTLS() && t.Client.Confidential() })
}

const noneOtherwise = "the target file names no client with a secret or key that asks for certificate-bound tokens"

// otherMethod lets such a client come with its certificate and its other credential (RFC 8705 §3).
func otherMethod(s *expect.Suite, check attacks.Check) {
	t := authenticatedOtherwise(s)
	if t == nil {
		s.Skip(check, expect.Place{Endpoint: "token"}, noneOtherwise)
		return
	}
	where := tokenSite(s, t)
	s.It(check, where.at, func(c *expect.Case) { boundByGrant(c, t, where.who, where.grant) })
}

// withoutCertificate lets a client that asked for bound tokens, and authenticates in another way, come without a certificate.
func withoutCertificate(s *expect.Suite, check attacks.Check) {
	t := authenticatedOtherwise(s)
	if t == nil {
		s.Skip(check, expect.Place{Endpoint: "token"}, noneOtherwise)
		return
	}
	where := tokenSite(s, t)
	s.It(check, where.at, func(c *expect.Case) {
		answer := c.Between(func() harness.Outcome { return where.honest(c) }, func() harness.Outcome {
			bare := where.who
			bare.Cert = nil
			o := c.Prepared(bare, where.grant)(harness.TokenRequest{Who: bare})
			if o.State != harness.Granted {
				return o
			}
			if claims, jwt := o.Token.Claims(); jwt {
				if got, claimed := thumbprint(claims); claimed {
					o.Got = "a token was issued that claims to be bound to " + got + ", though no certificate was presented"
					return o
				}
			}
			o.Got = "an unbound token was issued, which RFC 8705 leaves to the server"
			return o
		}, "the right certificate")
		c.Refuses(answer, check.Refusal)
	})
}

func refresh(s *expect.Suite) {
	k := attacks.CertificateBindings()
	attack := func(check attacks.Check, t *harness.Trial, cert func(c *expect.Case, who harness.Identity) *harness.Certificate, judge func(*expect.Case, harness.Outcome)) {
		at := expect.Place{Endpoint: "token", Grant: harness.RefreshGrant}
		if t == nil {
			s.Skip(check, at, "the target file names no such client that gets a refresh token with a certificate")
			return
		}
		at.Client = t.Client.Name
		who := s.Honest(t.Client, harness.CertificateBound)
		s.It(check, at, func(c *expect.Case) {
			wrong := cert(c, who)
			send := c.Prepared(who, harness.RefreshGrant)
			answer := c.Between(func() harness.Outcome { return c.Obtained(who, harness.RefreshGrant) }, func() harness.Outcome {
				return c.Loot(send(harness.TokenRequest{At: c.Metadata.Endpoint("token_endpoint", who.Cert), Change: func(m *harness.Message, _ harness.Facts) { m.Who.Cert = wrong }}), harness.RefreshGrant)
			}, "the honest refresh")
			judge(c, answer)
		})
	}
	refuses := func(c *expect.Case, answer harness.Outcome) { c.Refuses(answer, c.Check.Refusal) }
	public := s.Refreshing(harness.CertificateBound, (*harness.Client).Public)
	attack(k.RefreshOther, public, strangers, refuses)
	attack(k.RefreshNone, public, func(*expect.Case, harness.Identity) *harness.Certificate { return nil }, refuses)
	attack(k.RefreshSameKey, public, renewedOverKey, decided)
	attack(k.RefreshOfOther, s.Refreshing(harness.CertificateBound, (*harness.Client).MutualTLS), func(c *expect.Case, who harness.Identity) *harness.Certificate {
		return c.CertificateOf(second(c, s, who.Client).Client)
	}, refuses)
}

// renewedOverKey is a new certificate over the key of the old one.
func renewedOverKey(c *expect.Case, who harness.Identity) *harness.Certificate {
	var issuer *harness.Authority
	if !who.Cert.SelfSigned() {
		issuer = c.ClientCA()
	}
	return made(c, issuer, harness.Issue{Name: "a new certificate over the same key", Like: who.Cert.Leaf, Key: who.Cert.Signer()})
}

// resources looks at what must open, and at a token of the other binding.
func resources(s *expect.Suite) {
	k := attacks.CertificateBindings()
	none := func(check attacks.Check, why string) {
		s.Skip(check, expect.Place{Endpoint: "resource", Role: harness.ResourceServer}, why)
	}
	sites := resourceSites(s)
	if len(sites) == 0 {
		none(k.Resource, "no resource of the target file takes certificate-bound tokens of its clients")
	}
	for _, where := range sites {
		s.It(k.Resource, where.at, func(c *expect.Case) {
			c.Assume(c.Obtain(where.who, where.grant)).To(expect.BeAccepted(), "the right certificate at the token endpoint")
			answer := where.honest(c)
			if answer.State == harness.Refused && s.TakesBinding(where.resource, harness.Unbound) != harness.Yes && s.TakesBinding(where.resource, harness.DPoPBound) != harness.Yes {
				c.Unlearned("no token of any other client opened %s: %s", where.resource.Name, answer)
			}
			c.Expect(answer).To(expect.BeAccepted())
			c.Passes("it opened")
		})
	}
	selfSigned := s.Pick(func(t harness.Trial) bool {
		return bound(t) && t.Client.TokenEndpointAuthMethod == "self_signed_tls_client_auth" && len(t.Opens)+len(s.ResourcesFor(t.Client, t.Grant)) > 0
	})
	if selfSigned == nil {
		none(k.ResourceSelfSigned, "no client with a self-signed certificate gets a token for a resource")
	} else {
		where := resourceSite(s, selfSigned, append(selfSigned.Opens, s.ResourcesFor(selfSigned.Client, selfSigned.Grant)...)[0])
		s.It(k.ResourceSelfSigned, where.at, func(c *expect.Case) {
			c.Assume(c.Obtain(where.who, where.grant)).To(expect.BeAccepted(), "the right certificate at the token endpoint")
			c.Expect(where.honest(c)).To(expect.BeAccepted())
			c.Passes("it opened")
		})
	}
	bearerOverMutualTLS(s, k.BearerOverMutualTLS, sites, none)
	moreTokens(s, sites, none)
}

// bearerOverMutualTLS presents a DPoP-bound token without proof on a connection with a certificate.
func bearerOverMutualTLS(s *expect.Suite, check attacks.Check, sites []site, none func(attacks.Check, string)) {
	placed := false
	for _, where := range sites {
		r := where.resource
		t := s.Pick(func(t harness.Trial) bool { return t.Binding == harness.DPoPBound && t.Opened(r) })
		if t == nil {
			continue
		}
		placed = true
		who := s.Honest(t.Client, harness.DPoPBound)
		s.It(check, where.at, func(c *expect.Case) {
			answer := c.Between(func() harness.Outcome {
				if o := where.honest(c); o.State != harness.Granted {
					return o
				}
				return c.Call(harness.ResourceCall{Who: who, Token: c.Kept(who, t.Grant), Resource: r})
			}, func() harness.Outcome {
				return c.Call(harness.ResourceCall{Who: harness.Identity{Client: where.who.Client, Cert: where.who.Cert}, Token: c.Kept(who, t.Grant), Resource: r})
			}, "each token in its own way")
			c.Refuses(answer, check.Refusal)
		})
	}
	if !placed {
		none(check, "no resource takes both certificate-bound and DPoP-bound tokens")
	}
}
