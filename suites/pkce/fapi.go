package pkce

import (
	"cmp"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// fapi checks what only the FAPI 2.0 Security Profile asks for. The places name no client, so that a report of one server and of the
// next have the same keys.
func fapi(s *expect.Suite) {
	for _, a := range attacks.FAPIRequests() {
		fapiRequest(s, a)
	}
	fapiServes(s)
	fapiPushes(s)
	fapiAssertions(s)
	fapiUnbound(s)
	fapiRefresh(s)
	fapiAlgorithms(s)
	fapiTransport(s)
	fapiResources(s)
}

// pusher is the client of pushed requests: one that authenticates, and that has a key where it has to sign.
func pusher(s *expect.Suite, fits func(*harness.Client) bool) *harness.Trial {
	return s.Pusher(func(t harness.Trial) bool { return t.Client.Confidential() && fits(t.Client) })
}

func anyClient(*harness.Client) bool { return true }

func signs(c *harness.Client) bool { return c.TokenEndpointAuthMethod == privateKeyJWT }

// fapiRequest is pushedRow with a client that authenticates; what comes out is worth something when it can be spent.
func fapiRequest(s *expect.Suite, a attacks.PushedAttack) {
	at, fits := expect.Place{Endpoint: "par"}, anyClient
	if a.Direct != nil {
		at.Endpoint = "authorize"
	}
	if strings.Contains(a.Needs, "private-key-jwt") {
		fits = signs
	}
	t := pusher(s, fits)
	if t == nil {
		s.Skip(a.Check, at, orMissing(s, a.Check, "the target file names no such confidential client with the authorization_code grant"))
		return
	}
	who := s.Honest(t.Client, t.Binding)
	s.It(a.Check, at, func(c *expect.Case) {
		answer := c.Between(pushedFlow(c, who), func() harness.Outcome {
			q := harness.AuthorizationRequest{Who: who, Via: harness.PushedRequest, Change: a.Push}
			if a.Direct != nil {
				q.Via, q.Change = harness.DirectRequest, a.Direct
			}
			o := c.Authorize(q)
			if o.State != harness.Granted || o.Code == nil || o.Code.Response.Get("access_token") != "" {
				return o // a token in the redirect is the whole win
			}
			if o.Code.RedirectURI == "" { // it stands in the request object
				o.Code.RedirectURI = t.Client.RedirectURIs[0]
			}
			if o = c.Redeem(o.Code, harness.TokenRequest{Who: who}); o.State != harness.Granted {
				return o
			}
			return c.Spend(o.Token, harness.CodeGrant)
		}, "the honest pushed request")
		c.Refuses(answer, a.Refusal)
	})
}

// fapiServes looks for clients that the profile forbids, among those of the target file. The control is one that it allows, where
// there is one: without it a refusal says nothing.
func fapiServes(s *expect.Suite) {
	k := attacks.FAPI()
	withMethod := func(methods ...string) *harness.Trial {
		return s.Pick(func(t harness.Trial) bool { return slices.Contains(methods, t.Client.TokenEndpointAuthMethod) })
	}
	secret, mac := withMethod("client_secret_basic", "client_secret_post"), withMethod("client_secret_jwt")
	public := s.Pick(func(t harness.Trial) bool { return t.Grant == harness.CodeGrant && t.Client.Public() })
	for _, row := range []struct {
		check attacks.Check
		at    string
		t     *harness.Trial
		what  string
		send  func(c *expect.Case, who harness.Identity, grant string) harness.Outcome
	}{
		{k.PublicPushes, "par", public, "public client", func(c *expect.Case, who harness.Identity, _ string) harness.Outcome {
			return c.Push(harness.AuthorizationRequest{Who: who})
		}},
		{k.PublicToken, "token", public, "public client", (*expect.Case).Obtained},
		{k.Secret, "token", secret, "client with client_secret_basic or client_secret_post", (*expect.Case).Obtained},
		{k.SecretJWT, "token", mac, "client with client_secret_jwt", (*expect.Case).Obtained},
	} {
		at := expect.Place{Endpoint: row.at}
		if row.t == nil {
			s.Skip(row.check, at, "declared: the target file names no "+row.what+" that could get a token")
			continue
		}
		control := s.Pick(func(t harness.Trial) bool { return signs(t.Client) || t.Client.MutualTLS() })
		s.It(row.check, at, func(c *expect.Case) {
			attack := func() harness.Outcome { return row.send(c, s.Honest(row.t.Client, row.t.Binding), row.t.Grant) }
			var answer harness.Outcome
			if control == nil {
				if c.Attack(func() { answer = attack() }); answer.State == harness.Refused {
					c.Unlearned("client %s was refused (%s), and no client that the profile allows is there to show that others are not", row.t.Client.Name, answer)
				}
			} else {
				answer = c.Between(func() harness.Outcome { return c.Obtained(s.Honest(control.Client, control.Binding), control.Grant) }, attack, "client "+control.Client.Name)
			}
			c.Refuses(answer, row.check.Refusal)
		})
	}
}

// fapiPushes looks at what a pushed request needs and for how long it is kept.
func fapiPushes(s *expect.Suite) {
	k := attacks.FAPI()
	at := expect.Place{Endpoint: "par"}
	t := pusher(s, func(c *harness.Client) bool { return len(c.RedirectURIs) == 1 })
	if t == nil {
		t = pusher(s, anyClient)
	}
	if t == nil {
		for _, check := range []attacks.Check{k.RedirectURI, k.PushLifetime} {
			s.Skip(check, at, orMissing(s, check, "the target file names no confidential client with the authorization_code grant"))
		}
		return
	}
	who := s.Honest(t.Client, t.Binding)
	s.It(k.RedirectURI, at, func(c *expect.Case) {
		answer := c.Between(pushedFlow(c, who), func() harness.Outcome {
			return c.Push(harness.AuthorizationRequest{Who: who, Change: func(m *harness.Message, _ harness.Facts) { m.Params.Drop("redirect_uri") }})
		}, "the honest pushed request")
		c.Refuses(answer, k.RedirectURI.Refusal)
	})
	s.It(k.PushLifetime, at, func(c *expect.Case) {
		c.Assume(pushedFlow(c, who)()).To(expect.BeAccepted(), "the honest pushed request")
		o := c.Push(harness.AuthorizationRequest{Who: who})
		c.Assume(o).To(expect.BeAccepted(), "the honest pushed request, again")
		var body struct {
			ExpiresIn *float64 `json:"expires_in"`
		}
		if json.Unmarshal(o.Answer.Body, &body) != nil || body.ExpiresIn == nil {
			c.Fails("the answer has no expires_in that is a number (RFC 9126 §2.2)")
		}
		c.Measured("%.0f s", *body.ExpiresIn)
		if *body.ExpiresIn >= attacks.FAPIPushLifetime {
			c.Fails("a request_uri lives for %.0f seconds", *body.ExpiresIn)
		}
		c.Passes("a request_uri lives for %.0f seconds", *body.ExpiresIn)
	})
}

// fapiCode redeems a code that was issued before the first check.
func fapiCode(s *expect.Suite) {
	check := attacks.FAPI().CodeLifetime
	at := expect.Place{Endpoint: "token", Grant: harness.CodeGrant}
	if t := anyCodeClient(s); t != nil {
		at.Client = t.Client.Name // that of the older code: what is at one place is tried in this order
	}
	s.It(check, at, func(c *expect.Case) { redeemOld(c, s.Aged, s.Aged.Second, attacks.FAPICodeAge) })
}

func fapiAssertions(s *expect.Suite) {
	at := expect.Place{Endpoint: "token"}
	for _, a := range attacks.FAPIAssertions() {
		t := asserting(s, func(t harness.Trial) bool {
			return len(a.Algs) == 0 || slices.Contains(a.Algs, s.AssertionAlg(t.Client))
		})
		if t == nil {
			why := "the target file names no client with private_key_jwt that could get a token"
			if len(a.Algs) > 0 {
				why = "declared: no client with private_key_jwt has an RSA key"
			}
			s.Skip(a.Check, at, orMissing(s, a.Check, why))
			continue
		}
		s.It(a.Check, at, func(c *expect.Case) {
			with := func(try harness.AssertionChange) harness.TokenRequest {
				return harness.TokenRequest{ClientAssertion: try}
			}
			if a.Mode != attacks.Accept {
				assertion(c, s, a.AssertionAttack, t, with)
				return
			}
			who := s.Honest(t.Client, t.Binding)
			answer := c.Between(func() harness.Outcome { return c.Obtained(who, t.Grant) }, func() harness.Outcome {
				return c.Prepared(who, t.Grant)(with(a.Tries[0]))
			}, "the honest assertion")
			c.Expect(answer).To(expect.BeAccepted())
			c.Passes("it was accepted")
		})
	}
}

// fapiUnbound asks for tokens without the proof or the certificate that they would be bound to. That one is issued is the finding:
// whether it opens anything is for the resource to say.
func fapiUnbound(s *expect.Suite) {
	check := attacks.FAPI().Unbound
	for _, grant := range []string{harness.CodeGrant, harness.RefreshGrant, harness.ClientCredentialsGrant} {
		at := expect.Place{Endpoint: "token", Grant: grant}
		t := unbindable(s, func(t harness.Trial) bool {
			if grant == harness.RefreshGrant {
				return refreshes(t)
			}
			return t.Grant == grant
		})
		if t == nil {
			s.Skip(check, at, "the target file names no confidential client with this grant that could leave its proof or its certificate out")
			continue
		}
		who := s.Honest(t.Client, t.Binding)
		s.It(check, at, func(c *expect.Case) {
			answer := c.Between(func() harness.Outcome { return c.Obtained(who, grant) }, func() harness.Outcome {
				return c.Prepared(who, grant)(harness.TokenRequest{Who: s.Honest(t.Client, harness.Unbound)})
			}, "the honest request")
			c.Refuses(answer, check.Refusal)
		})
	}
}

// unbindable picks a client that authenticates otherwise than by its certificate, one with bound tokens first.
func unbindable(s *expect.Suite, fits func(harness.Trial) bool) *harness.Trial {
	for _, bound := range []bool{true, false} {
		if t := s.Pick(func(t harness.Trial) bool {
			return fits(t) && t.Client.Confidential() && !t.Client.MutualTLS() && (t.Binding != harness.Unbound) == bound
		}); t != nil {
			return t
		}
	}
	return nil
}

// fapiRefresh uses a refresh token twice, and looks whether another one came.
func fapiRefresh(s *expect.Suite) {
	k := attacks.FAPI()
	at := expect.Place{Endpoint: "token", Grant: harness.RefreshGrant}
	t := s.Pick(func(t harness.Trial) bool { return refreshes(t) && t.Client.Confidential() })
	if t == nil {
		for _, check := range []attacks.Check{k.RefreshKept, k.RefreshReplaced} {
			s.Skip(check, at, orMissing(s, check, noRefresh))
		}
		return
	}
	who := s.Honest(t.Client, t.Binding)
	refreshed := func(c *expect.Case) (first, second *harness.Token) {
		o := c.Obtain(who, harness.CodeGrant)
		c.Assume(o).To(expect.BeAccepted(), "the honest flow")
		if first = o.Token; first.RefreshToken == "" {
			c.Unlearned("no refresh token came with the access token")
		}
		o = c.Refresh(first, harness.TokenRequest{Who: who})
		c.Assume(o).To(expect.BeAccepted(), "the honest refresh")
		return first, o.Token
	}
	s.It(k.RefreshKept, at, func(c *expect.Case) {
		first, _ := refreshed(c)
		var again harness.Outcome
		c.Attack(func() { again = c.Refresh(first, harness.TokenRequest{Who: who}) })
		c.Assume(honestRefresh(c, who)()).To(expect.BeAccepted(), "an honest refresh, again")
		if again.State == harness.Refused {
			c.Fails("the refresh token is dead after one use: %s", again)
		}
		c.Expect(again).To(expect.BeAccepted())
		c.Passes("the refresh token worked again")
	})
	s.It(k.RefreshReplaced, at, func(c *expect.Case) {
		first, second := refreshed(c)
		if second.RefreshToken != "" && second.RefreshToken != first.RefreshToken {
			c.Fails("the refresh brought another refresh token")
		}
		c.Passes("the refresh brought no other refresh token")
	})
}

// fapiAlgorithms reads what the server announces and what it signs with.
func fapiAlgorithms(s *expect.Suite) {
	k := attacks.FAPI()
	weak := func(alg string) bool {
		return alg == "none" || strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "HS")
	}
	s.Document(k.MetadataAlgorithms, func(harness.Trial) bool { return true }, func(c *expect.Case, d *harness.Metadata, _ *harness.Trial) {
		var all []string
		for _, member := range []string{"dpop_signing_alg_values_supported", "token_endpoint_auth_signing_alg_values_supported"} {
			listed := d.Strings(member)
			if slices.ContainsFunc(listed, weak) {
				c.Fails("%s is %q; the profile allows %q", member, listed, attacks.FAPIAlgorithms())
			}
			all = append(all, listed...)
		}
		c.Passes("what is announced for proofs and client authentication: %q", all)
	})
	at := expect.Place{Endpoint: "token"}
	t := s.Pick(func(t harness.Trial) bool { return t.Grant == harness.CodeGrant })
	if t == nil {
		s.Skip(k.TokenAlgorithm, at, noCodeClient)
		return
	}
	s.It(k.TokenAlgorithm, at, func(c *expect.Case) {
		o := c.Obtain(s.Honest(t.Client, t.Binding), harness.CodeGrant)
		c.Assume(o).To(expect.BeAccepted(), "an honest token")
		c.Assume(c.Spend(o.Token, harness.CodeGrant)).To(expect.BeAccepted(), "the token, spent")
		var said []string
		for _, signed := range []struct{ name, value string }{{"access token", o.Token.AccessToken}, {"ID token", o.Token.IDToken}} {
			alg := algorithmOf(signed.value)
			if alg == "" {
				continue
			}
			if weak(alg) {
				c.Fails("the %s is signed with %s; the profile allows %q", signed.name, alg, attacks.FAPIAlgorithms())
			}
			said = append(said, signed.name+": "+alg)
		}
		if said == nil {
			c.NotApplicable("observed: the access token is opaque, and no ID token came")
		}
		c.Measured("%s", strings.Join(said, ", "))
		c.Passes("%s", strings.Join(said, ", "))
	})
}

// algorithmOf is the alg of a JWT, "" for what is none.
func algorithmOf(token string) string {
	segment, _, _ := strings.Cut(token, ".")
	data, err := base64.RawURLEncoding.DecodeString(segment)
	var header struct {
		Alg string `json:"alg"`
	}
	if err != nil || json.Unmarshal(data, &header) != nil {
		return ""
	}
	return header.Alg
}

// fapiTransport tries old versions of TLS at the endpoints, and reads whether browsers are told to stay with https.
func fapiTransport(s *expect.Suite) {
	k := attacks.FAPI()
	addresses := map[string]string{}
	for _, endpoint := range []string{"token", "authorization"} {
		addresses[endpoint] = s.Metadata.String(endpoint + "_endpoint")
	}
	if resources := s.Resources(); len(resources) > 0 {
		addresses["resource"] = resources[0].URL
	}
	for _, name := range []string{"token", "authorization", "resource"} {
		address, at := addresses[name], expect.Place{Endpoint: map[string]string{"authorization": "authorize"}[name]}
		if at.Endpoint = cmp.Or(at.Endpoint, name); name == "resource" {
			at.Role = harness.ResourceServer
		}
		if u, err := url.Parse(address); err != nil || u.Scheme != "https" {
			s.Skip(k.OldTLS, at, "declared: no https address of the "+name+" endpoint is known")
			continue
		}
		s.It(k.OldTLS, at, func(c *expect.Case) { oldTLS(c, address) })
	}
	authorize := expect.Place{Endpoint: "authorize"}
	t := anyCodeClient(s)
	if t == nil {
		s.Skip(k.TransportPolicy, authorize, noCodeClient)
		return
	}
	s.It(k.TransportPolicy, authorize, func(c *expect.Case) {
		o := c.Authorize(harness.AuthorizationRequest{Who: s.Honest(t.Client, t.Binding), Session: harness.NewSession})
		c.Assume(o).To(expect.BeAccepted(), "a login in a new browser session")
		if !strings.HasPrefix(c.Metadata.String("authorization_endpoint"), "https://") {
			c.NotApplicable("declared: the address is http itself")
		}
		if o.Code.Front.Unseen != "" {
			c.NotApplicable("declared: %s", o.Code.Front.Unseen)
		}
		for _, hop := range o.Code.Front.Hops {
			if policy := hop.Answer.Header.Get("Strict-Transport-Security"); policy != "" {
				c.Passes("Strict-Transport-Security: %s", policy)
				return
			}
		}
		c.Fails("no answer to the browser has Strict-Transport-Security; whether the host is preloaded cannot be seen here")
	})
}

// oldTLS compares two handshakes that differ in the newest version on offer. What is asked for over them does not matter.
func oldTLS(c *expect.Case, address string) {
	ask := func(newest uint16) *harness.Answer {
		r := harness.Request{Step: "handshake", Method: "GET", URL: address, MaxTLS: newest}
		if newest != 0 {
			r.Changed = []string{"TLS version"}
		}
		return c.Do(r)
	}
	control := func(which string) {
		if answer := ask(0); !answer.OK() {
			c.Unlearned("%s: %s", which, answer.Failure)
		}
	}
	control("a handshake of today")
	var answer *harness.Answer
	c.Attack(func() { answer = ask(tls.VersionTLS11) })
	control("a handshake of today, again")
	switch {
	case answer.OK():
		c.Fails("a request was answered over %s", answer.TLS.Version)
	case answer.Failure.Kind == harness.RefusedVersion:
		c.Passes("TLS 1.1 and older are refused (%s)", answer.Failure.Detail)
	default:
		c.Unlearned("a handshake with TLS 1.1 at most: %s", answer.Failure)
	}
}

// fapiResources sends tokens to resources in ways that the profile forbids.
func fapiResources(s *expect.Suite) {
	k := attacks.FAPI()
	at := expect.Place{Endpoint: "resource", Role: harness.ResourceServer}
	var query, plain bool
	for _, r := range s.Resources() {
		if t := s.Opener(r, harness.DPoPBound); t != nil && !query && s.TakesBinding(r, harness.DPoPBound) != harness.No {
			query = true
			s.It(k.QueryToken, at, func(c *expect.Case) { queryToken(c, s, t, r) })
		}
		if t := unbindable(s, func(t harness.Trial) bool { return t.Opened(r) || len(t.Opens) == 0 }); t != nil && !plain {
			plain = true
			s.It(k.UnboundAtResource, at, func(c *expect.Case) { unboundAtResource(c, s, t, r) })
		}
	}
	if !query {
		s.Skip(k.QueryToken, at, orMissing(s, k.QueryToken, "no resource of the target file takes DPoP-bound tokens of its clients"))
	}
	if !plain {
		s.Skip(k.UnboundAtResource, at, orMissing(s, k.UnboundAtResource, "the target file names no confidential client that could leave its proof or its certificate out"))
	}
}

func queryToken(c *expect.Case, s *expect.Suite, t *harness.Trial, r *harness.Resource) {
	who := s.Honest(t.Client, harness.DPoPBound)
	call := harness.ResourceCall{Who: who, Token: c.Kept(who, t.Grant), Resource: r}
	answer := c.Between(func() harness.Outcome { return c.Call(call) }, func() harness.Outcome {
		inQuery := call
		inQuery.Change = attacks.InQuery
		return c.Attempt(inQuery)
	}, "the token in its header")
	c.Refuses(answer, c.Check.Refusal)
}

// unboundAtResource needs a token that no server of this profile issues: where none comes, there is nothing to refuse.
func unboundAtResource(c *expect.Case, s *expect.Suite, t *harness.Trial, r *harness.Resource) {
	who, bare := s.Honest(t.Client, t.Binding), s.Honest(t.Client, harness.Unbound)
	token := c.Prepared(who, t.Grant)(harness.TokenRequest{Who: bare})
	if token.State == harness.Refused {
		c.NotApplicable("observed: the server issues no unbound token (%s)", token)
	}
	c.Assume(token).To(expect.BeAccepted(), "a token without proof and certificate")
	if t.Binding == harness.Unbound {
		answer := c.Call(harness.ResourceCall{Who: bare, Token: token.Token.AccessToken, Resource: r})
		if answer.State == harness.Refused {
			c.Unlearned("%s, and no bound token is there to show that others are not", answer)
		}
		c.Refuses(answer, c.Check.Refusal)
		return
	}
	answer := c.Between(func() harness.Outcome { return c.Obtained(who, t.Grant) }, func() harness.Outcome {
		return c.Call(harness.ResourceCall{Who: bare, Token: token.Token.AccessToken, Resource: r, Scheme: "Bearer"})
	}, "a bound token")
	c.Refuses(answer, c.Check.Refusal)
}
