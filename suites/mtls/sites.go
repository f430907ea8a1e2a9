package mtls

import (
	"fmt"
	"slices"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// site is one endpoint where a certificate decides.
type site struct {
	kind     attacks.Place
	at       expect.Place
	who      harness.Identity
	grant    string
	resource *harness.Resource // nil at the authorization server
	plain    string            // the other address beside the mutual-TLS alias, "" where there is none (RFC 8705 §5)
	issued   harness.Known     // whether a certificate of client_ca under the client's own names is taken
	honest   func(c *expect.Case) harness.Outcome
	// attempt makes fresh material and sends the honest request with a change. Granted means that the attacker won something.
	attempt func(c *expect.Case, change harness.Change) harness.Outcome
}

// authenticated are the endpoints at which clients authenticate (RFC 8705 §2, RFC 9126 §2, RFC 7662 §2.1, RFC 7009 §2.1).
func authenticated() []attacks.Place {
	return []attacks.Place{attacks.AtToken, attacks.AtPAR, attacks.AtIntrospection, attacks.AtRevocation}
}

// sitesAt are the sites of one kind that a row can be tried at: with every client that the row is about at the token endpoint,
// with one of each authentication method elsewhere. Where there is none, why says what is missing.
func sitesAt(s *expect.Suite, kind attacks.Place, fits func(*harness.Client) bool) (sites []site, why string) {
	switch kind {
	case attacks.AtToken:
		clients := fits
		if clients == nil {
			clients = (*harness.Client).MutualTLS
		}
		trials := trialsOf(s, clients, func(*harness.Trial) bool { return true })
		if fits == nil {
			trials = onePerMethod(trials)
		}
		return each(s, trials, tokenSite), "the target file names no client with a certificate to which it applies"
	case attacks.AtPAR:
		if s.Learned.Has("par") == harness.No {
			return nil, "needs par; " + s.Learned.Capabilities["par"].How
		}
		return each(s, onePerMethod(trialsOf(s, fits, func(t *harness.Trial) bool { return t.Grant == harness.CodeGrant && t.CannotPush == "" })), pushSite),
			"no client of mutual TLS gets codes"
	case attacks.AtIntrospection:
		sites = each(s, onePerMethod(trialsOf(s, fits, func(t *harness.Trial) bool { return t.Introspects == harness.Yes })), introspectionSite)
		return sites, "observed: introspection tells no client of mutual TLS about its tokens"
	case attacks.AtRevocation:
		sites = each(s, onePerMethod(trialsOf(s, fits, func(t *harness.Trial) bool { return t.Revokes != "" })), revocationSite)
		return sites, "observed: no token was seen to die when its client of mutual TLS revoked it"
	}
	return resourceSites(s), "no resource takes certificate-bound tokens"
}

func each(s *expect.Suite, trials []*harness.Trial, make func(*expect.Suite, *harness.Trial) site) []site {
	var out []site
	for _, t := range trials {
		out = append(out, make(s, t))
	}
	return out
}

// trialsOf are the trials of the clients of mutual TLS, one for each client, by the cheapest grant: the certificate is checked
// before the grant. Without fits it is every such client.
func trialsOf(s *expect.Suite, fits func(*harness.Client) bool, also func(*harness.Trial) bool) []*harness.Trial {
	var out []*harness.Trial
	for _, grant := range []string{harness.ClientCredentialsGrant, harness.JWTBearerGrant, harness.CodeGrant} {
		for _, t := range s.All(func(t harness.Trial) bool {
			return t.Grant == grant && t.Client.MutualTLS() && (fits == nil || fits(t.Client)) && also(&t)
		}) {
			if !slices.ContainsFunc(out, func(o *harness.Trial) bool { return o.Client == t.Client }) {
				out = append(out, t)
			}
		}
	}
	return out
}

// onePerMethod keeps the first client of each authentication method: a defence may hold for one method only.
func onePerMethod(in []*harness.Trial) []*harness.Trial {
	var out []*harness.Trial
	for _, t := range in {
		if !slices.ContainsFunc(out, func(o *harness.Trial) bool {
			return o.Client.TokenEndpointAuthMethod == t.Client.TokenEndpointAuthMethod
		}) {
			out = append(out, t)
		}
	}
	return out
}

// onePerClientMethod is onePerMethod for the rows that are not worth every client.
func onePerClientMethod(in []site) []site {
	var out []site
	for _, where := range in {
		if !slices.ContainsFunc(out, func(o site) bool {
			return o.who.Client.TokenEndpointAuthMethod == where.who.Client.TokenEndpointAuthMethod
		}) {
			out = append(out, where)
		}
	}
	return out
}

// siteOf is what the sites at the authorization server have in common.
func siteOf(s *expect.Suite, t *harness.Trial, kind attacks.Place, endpoint string) site {
	where := site{kind: kind, who: s.Honest(t.Client, t.Binding), grant: t.Grant, issued: t.TakesIssued, at: expect.Place{Endpoint: string(kind), Client: t.Client.Name}}
	if plain := s.Metadata.String(endpoint); plain != s.Metadata.Endpoint(endpoint, where.who.Cert) {
		where.plain = plain
	}
	return where
}

func tokenSite(s *expect.Suite, t *harness.Trial) site {
	where := siteOf(s, t, attacks.AtToken, "token_endpoint")
	who, grant := where.who, where.grant
	where.at.Grant = grant
	where.honest = func(c *expect.Case) harness.Outcome { return c.Obtained(who, grant) }
	where.attempt = func(c *expect.Case, change harness.Change) harness.Outcome {
		send := c.Prepared(who, grant)
		var answer harness.Outcome
		c.Attack(func() {
			answer = c.Loot(send(harness.TokenRequest{Who: who, Change: change}), grant)
		})
		return inTheName(c, answer, who, grant)
	}
	return where
}

// inTheName counts a token that is bound to the certificate of the client whose name was used: it opens nothing for the attacker, and
// yet the server took the attacker for the client.
func inTheName(c *expect.Case, answer harness.Outcome, who harness.Identity, grant string) harness.Outcome {
	if answer.State != harness.Refused || answer.Token == nil {
		return answer
	}
	token := *answer.Token
	token.Who = who
	if spent := c.Spend(&token, grant); spent.State == harness.Granted {
		answer.State, answer.Got = harness.Granted, fmt.Sprintf("an access token was issued in the name of %s; it is bound to the client's own certificate, with which it works", who.Client.Name)
	}
	return answer
}

// pushSite is a pushed authorization request (RFC 9126 §2). A request_uri counts when the authorization endpoint takes it.
func pushSite(s *expect.Suite, t *harness.Trial) site {
	where := siteOf(s, t, attacks.AtPAR, "pushed_authorization_request_endpoint")
	who := where.who
	where.honest = func(c *expect.Case) harness.Outcome {
		o := c.Authorize(harness.AuthorizationRequest{Who: who, Via: harness.PushedRequest})
		if o.State != harness.Granted {
			return o
		}
		return c.Redeem(o.Code, harness.TokenRequest{Who: who})
	}
	where.attempt = func(c *expect.Case, change harness.Change) harness.Outcome {
		var answer harness.Outcome
		c.Attack(func() {
			if answer = c.Push(harness.AuthorizationRequest{Who: who, PushAuth: change}); answer.State != harness.Granted {
				return
			}
			taken := c.Authorize(harness.AuthorizationRequest{Who: who, Via: harness.PushedRequest, Pushed: answer.RequestURI})
			switch taken.State {
			case harness.Granted:
				answer.Got = "a request_uri was issued in the name of " + who.Client.Name + ", and it led to a code"
			case harness.Refused:
				answer.State, answer.Where = harness.Refused, harness.InBody
				answer.Got = "a request_uri was issued that led to no code (" + taken.String() + ")"
			default:
				answer = taken
			}
		})
		return answer
	}
	return where
}

// introspectionSite lets a client ask about its own token (RFC 7662 §2.1).
func introspectionSite(s *expect.Suite, t *harness.Trial) site {
	where := siteOf(s, t, attacks.AtIntrospection, "introspection_endpoint")
	who, grant := where.who, where.grant
	ask := func(c *expect.Case, change harness.Change) harness.Outcome {
		members, o := c.IntrospectAs(c.Kept(who, grant), who, change)
		switch active, _ := members["active"].(bool); {
		case active:
			o.Got = "introspection told about the token"
		case o.State == harness.Granted:
			o.State, o.Where, o.Got = harness.Refused, harness.InBody, ""
		}
		return o
	}
	where.honest = func(c *expect.Case) harness.Outcome { return ask(c, nil) }
	where.attempt = func(c *expect.Case, change harness.Change) harness.Outcome {
		c.Kept(who, grant)
		var answer harness.Outcome
		c.Attack(func() { answer = ask(c, change) })
		return answer
	}
	return where
}

// revocationSite lets a client end its own token (RFC 7009 §2.1). What counts is whether the token is dead, not what was answered:
// a server may say 200 to a stranger and do nothing.
func revocationSite(s *expect.Suite, t *harness.Trial) site {
	where := siteOf(s, t, attacks.AtRevocation, "revocation_endpoint")
	who, grant, kind := where.who, where.grant, t.Revokes
	where.honest = func(c *expect.Case) harness.Outcome {
		o := c.Obtain(who, grant)
		if o.State != harness.Granted {
			return o
		}
		token, lives := o.Token, c.Lives(o.Token, kind, grant)
		if lives.State != harness.Granted {
			return lives
		}
		if kind == "refresh_token" && lives.Token.RefreshToken != "" {
			token = lives.Token
		}
		revoked := c.Revoke(token.Value(kind), who)
		if revoked.State != harness.Granted {
			return revoked
		}
		switch lives = c.Lives(token, kind, grant); lives.State {
		case harness.Granted:
			return harness.Outcome{At: revoked.At, Why: "the client revoked its own token, and it still works"}
		case harness.Refused:
			return revoked
		}
		return lives
	}
	where.attempt = func(c *expect.Case, change harness.Change) harness.Outcome {
		o := c.Obtain(who, grant)
		c.Assume(o).To(expect.BeAccepted(), "a token to be revoked")
		var answer harness.Outcome
		c.Attack(func() { answer = c.RevokeAs(o.Token.Value(kind), who, change) })
		if answer.State == harness.Unknown {
			return answer
		}
		switch lives := c.Lives(o.Token, kind, grant); lives.State {
		case harness.Unknown:
			return lives
		case harness.Refused:
			answer.State, answer.Got = harness.Granted, "the token of "+who.Client.Name+" was revoked"
		default:
			answer.State = harness.Refused
		}
		return answer
	}
	return where
}

// resourceSites are the resources that take certificate-bound tokens, each with a client that can show it.
func resourceSites(s *expect.Suite) []site {
	var out []site
	for _, r := range s.Resources() {
		if s.TakesBinding(r, harness.CertificateBound) == harness.No {
			continue
		}
		if t := s.Opener(r, harness.CertificateBound); t != nil {
			out = append(out, resourceSite(s, t, r))
		}
	}
	return out
}

func resourceSite(s *expect.Suite, t *harness.Trial, r *harness.Resource) site {
	return resourceSiteBy(s, t, r, t.Grant)
}

func resourceSiteBy(s *expect.Suite, t *harness.Trial, r *harness.Resource, grant string) site {
	who := s.Honest(t.Client, harness.CertificateBound)
	return site{
		kind: attacks.AtResource, who: who, grant: grant, resource: r, plain: otherAddress(s, r),
		at: expect.Place{Endpoint: r.Name, Grant: grant, Client: t.Client.Name, Role: harness.ResourceServer},
		honest: func(c *expect.Case) harness.Outcome {
			return c.Call(harness.ResourceCall{Who: who, Token: c.Kept(who, grant), Resource: r})
		},
		attempt: func(c *expect.Case, change harness.Change) harness.Outcome {
			token := c.Kept(who, grant)
			var answer harness.Outcome
			c.Attack(func() { answer = c.Attempt(harness.ResourceCall{Who: who, Token: token, Resource: r, Change: change}) })
			return answer
		},
	}
}

// otherAddress is that of UserInfo which the target file does not name: beside its mutual-TLS alias the same resource stands where
// others call it. Of other resources no second address is known.
func otherAddress(s *expect.Suite, r *harness.Resource) string {
	const member = "userinfo_endpoint"
	conventional, alias := s.Metadata.String(member), s.Metadata.Alias(member)
	switch {
	case alias == "" || alias == conventional:
		return ""
	case r.URL == conventional:
		return alias
	case r.URL == alias:
		return conventional
	}
	return ""
}

// everyGrant are the further ways to a bound token: a grant whose tokens are not bound shows at a resource, also where tokens are opaque.
func everyGrant(s *expect.Suite, have []site) []site {
	var out []site
	for _, t := range s.All(func(t harness.Trial) bool { return bound(t) && len(t.Opens) > 0 }) {
		grants := []string{t.Grant}
		if t.Grant == harness.CodeGrant && t.Refresh == harness.Yes {
			grants = append(grants, harness.RefreshGrant)
		}
		for _, grant := range grants {
			where := resourceSiteBy(s, t, t.Opens[0], grant)
			if !slices.ContainsFunc(have, func(o site) bool { return o.at == where.at }) {
				out = append(out, where)
			}
		}
	}
	return out
}

// proven is the honest call of the site, shared with the checks that run there before and after.
func (where site) proven(c *expect.Case) func() harness.Outcome {
	return c.Proven(where.at.Key("mtls"), func() harness.Outcome { return where.honest(c) })
}

// refuses judges an attack at a site.
func (where site) refuses(c *expect.Case, answer harness.Outcome, form harness.Refusal) {
	if where.kind == attacks.AtRevocation && answer.State == harness.Refused && answer.Status == 200 {
		c.Passes("the answer was HTTP 200, and the token still works")
		return
	}
	c.Refuses(answer, form)
}
