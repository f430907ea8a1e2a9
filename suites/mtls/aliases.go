package mtls

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// aliases looks at the addresses under mtls_endpoint_aliases (RFC 8705 §5).
func aliases(s *expect.Suite) {
	k := attacks.Speakers()
	places, why := sitesAt(s, attacks.AtToken, nil)
	if len(places) == 0 {
		s.Skip(k.AliasAddresses, expect.Place{Endpoint: "metadata"}, why)
		s.Skip(k.AliasHTU, expect.Place{Endpoint: "token"}, why)
		return
	}
	where := places[0]
	for _, other := range places { // a server may take one binding only, and leaves the proof then to those who have no other
		if !other.who.Client.TLSClientCertificateBoundAccessTokens {
			where = other
			break
		}
	}
	s.It(k.AliasAddresses, expect.Place{Endpoint: "metadata"}, func(c *expect.Case) {
		honest := where.proven(c)
		c.Assume(honest()).To(expect.BeAccepted(), "the right certificate")
		silent := ""
		for _, name := range slices.Sorted(maps.Keys(c.Metadata.Aliases())) {
			address := c.Metadata.Alias(name)
			if u, err := url.Parse(address); err != nil || u.Scheme != "https" || u.Host == "" {
				c.Fails("%s is %q among the aliases, and no https URL", name, address)
			}
			answer := c.Do(harness.Request{Step: "call of an alias", Method: "POST", URL: address, As: where.who.Cert})
			switch {
			case !answer.OK() && answer.Failure.Kind == harness.RefusedCertificate, !answer.OK() && answer.Failure.Kind == harness.NotNamed:
			case !answer.OK():
				c.Unlearned("%s: %v", address, answer.Failure)
			case answer.TLS != nil && !answer.TLS.CertificateRequested:
				silent = name
			}
		}
		if silent != "" {
			c.Warns("%s answers, and its handshake asks for no certificate", silent)
			return
		}
		c.Passes("all of them are https URLs that answer and ask for a certificate")
	})
	if where.plain == "" {
		s.Skip(k.AliasHTU, where.at, "discovered: the metadata names no alias of the token endpoint")
		return
	}
	s.It(k.AliasHTU, where.at, func(c *expect.Case) {
		who := where.who
		who.Key = c.ProofKey(who.Client.Name)
		prove := func(htu string) harness.Outcome {
			send := c.Prepared(where.who, where.grant)
			return send(harness.TokenRequest{Who: who, Proof: func(p *harness.Proof) { p.Claims.Set("htu", htu) }})
		}
		answer := between(c, where, func() (answer harness.Outcome) {
			c.Attack(func() { answer = prove(c.Metadata.Alias("token_endpoint")) })
			return answer
		})
		if answer.State == harness.Refused {
			conventional := prove(where.plain)
			if conventional.State != harness.Granted {
				c.NotApplicable("observed: the server takes no proof of this client (%s)", answer)
			}
			c.Fails("a proof for %s is refused there (%s), and one for %s is accepted", c.Metadata.Alias("token_endpoint"), answer, where.plain)
		}
		c.Expect(answer).To(expect.BeAccepted())
		if !strings.EqualFold(answer.Token.TokenType, "DPoP") {
			c.NotApplicable("observed: the server does not look at proofs of this client (token_type %s)", answer.Token.TokenType)
		}
		c.Passes("the proof was accepted")
	})
}
