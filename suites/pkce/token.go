package pkce

import (
	"slices"
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// directEndpoints checks the endpoints that clients call without a browser: token responses, introspection and revocation.
func directEndpoints(s *expect.Suite) {
	caching(s)
	introspection(s)
	revocation(s)
}

// caching looks for Cache-Control: no-store (RFC 6749 §5.1, RFC 9126 §2.2).
func caching(s *expect.Suite) {
	k := attacks.DirectEndpoints()
	look := func(check attacks.Check, at expect.Place, honest func(c *expect.Case) harness.Outcome) {
		s.It(check, at, func(c *expect.Case) {
			o := honest(c)
			c.Assume(o).To(expect.BeAccepted(), "the honest request")
			if o.Answer == nil {
				c.Unlearned("there is no answer to look at")
			}
			said := strings.Join(o.Answer.Header.Values("Cache-Control"), ", ")
			if !slices.ContainsFunc(strings.Split(said, ","), func(d string) bool { return strings.EqualFold(strings.TrimSpace(d), "no-store") }) {
				if check.ID == k.NoStoreElsewhere.ID { // no text asks for it where no token is handed out
					c.Warns("Cache-Control is %q", said)
					return
				}
				c.Fails("Cache-Control is %q", said)
			}
			c.Measured("Cache-Control: %s; Pragma: %s", said, o.Answer.Header.Get("Pragma"))
			c.Passes("Cache-Control says no-store")
		})
	}
	for _, grant := range []string{harness.CodeGrant, harness.RefreshGrant, harness.ClientCredentialsGrant} {
		t := s.Pick(func(t harness.Trial) bool { return t.Grant == grant || grant == harness.RefreshGrant && refreshes(t) })
		at := expect.Place{Endpoint: "token", Grant: grant}
		if t == nil {
			s.Skip(k.NoStore, at, "no client of the target file can use the grant")
			continue
		}
		at.Client = t.Client.Name
		look(k.NoStore, at, func(c *expect.Case) harness.Outcome { return c.Obtain(s.Honest(t.Client, t.Binding), grant) })
	}
	if t := s.Pusher(anyTrial); t == nil || s.Learned.Has("par") == harness.No {
		s.Skip(k.NoStoreElsewhere, expect.Place{Endpoint: "par"}, "no client can push a request here")
	} else {
		look(k.NoStoreElsewhere, expect.Place{Endpoint: "par", Client: t.Client.Name}, func(c *expect.Case) harness.Outcome {
			who := s.Honest(t.Client, t.Binding)
			c.Assume(pushedFlow(c, who)()).To(expect.BeAccepted(), "the honest pushed request")
			return c.Push(harness.AuthorizationRequest{Who: who})
		})
	}
	at := expect.Place{Endpoint: "introspect"}
	if t := introspected(s); t == nil || s.Learned.Has("introspection") == harness.No {
		s.Skip(k.NoStoreElsewhere, at, "no client can ask about a token here")
	} else {
		look(k.NoStoreElsewhere, at, func(c *expect.Case) harness.Outcome { return subject(c, s.Honest(t.Client, t.Binding), t.Grant) })
	}
}

// introspected is the trial whose tokens are asked about.
func introspected(s *expect.Suite) *harness.Trial {
	of := func(grant string) func(harness.Trial) bool {
		return func(t harness.Trial) bool { return t.Grant == grant }
	}
	return s.Introspected(of(harness.CodeGrant), of(harness.ClientCredentialsGrant))
}

// asked is what introspection makes of a value: granted is active=true.
func asked(c *expect.Case, value string, change harness.Change) harness.Outcome {
	members, o := c.IntrospectAs(value, c.Honest(c.Target.Client(c.Target.IntrospectionClient), harness.Unbound), change)
	if o.State != harness.Granted {
		return o
	}
	if active, _ := members["active"].(bool); active {
		o.Got = "introspection calls it active"
		return o
	}
	o.State, o.Where, o.Error, o.Got = harness.Refused, harness.InBody, "active=false", ""
	if len(members) > 1 { // RFC 7662 §2.2: nothing else should be said
		o.Error = "active=false with further members"
	}
	return o
}

// subject is an honest token that introspection calls active: an access token or, where those are checked by themselves, the
// refresh token that came with it. The token of the outcome holds it as its access token, and a refresh token as that too.
func subject(c *expect.Case, who harness.Identity, grant string) harness.Outcome {
	got := c.Obtain(who, grant)
	if got.State != harness.Granted {
		return got
	}
	var last harness.Outcome
	for _, value := range []string{got.Token.AccessToken, got.Token.RefreshToken} {
		if value == "" {
			continue
		}
		last = asked(c, value, nil)
		if last.State == harness.Granted {
			last.Token = &harness.Token{AccessToken: value, Who: who}
			if value == got.Token.RefreshToken {
				last.Token.RefreshToken = value
			}
			return last
		}
	}
	if last.State == harness.Refused && last.Error == "unsupported_token_type" {
		c.NotApplicable("observed: the server introspects no tokens of this kind (%s)", last)
	}
	return last
}

func introspection(s *expect.Suite) {
	k := attacks.DirectEndpoints()
	t := introspected(s)
	place := expect.Place{Endpoint: "introspect"}
	if t == nil {
		for _, a := range attacks.Introspections() {
			s.Skip(a.Check, place, orMissing(s, a.Check, "no client of the target file gets a token that could be asked about"))
		}
		for _, check := range []attacks.Check{k.IntrospectRevoked, k.IntrospectHint} {
			s.Skip(check, place, orMissing(s, check, "no client of the target file gets a token that could be asked about"))
		}
		return
	}
	place.Grant, place.Client = t.Grant, t.Client.Name
	who := s.Honest(t.Client, t.Binding)
	honest := func(c *expect.Case) func() harness.Outcome {
		return func() harness.Outcome { return subject(c, who, t.Grant) }
	}
	caller := s.Target.Client(s.Target.IntrospectionClient)
	for _, a := range attacks.Introspections() {
		switch {
		case caller == nil:
		case len(a.Callers) > 0 && caller.Public():
			s.Skip(a.Check, place, "declared: the introspection client "+caller.Name+" has no credential")
			continue
		case strings.Contains(a.Needs, "confidential-client") && !hasSecretOrKey(caller):
			s.Skip(a.Check, place, "declared: the introspection client "+caller.Name+" has neither client_secret nor private_key")
			continue
		}
		s.It(a.Check, place, func(c *expect.Case) {
			answer := c.Between(honest(c), func() harness.Outcome { return ask(c, s, a, who, t.Grant) }, "introspection of an honest token")
			c.Refuses(answer, a.Refusal)
		})
	}
	s.It(k.IntrospectRevoked, place, func(c *expect.Case) {
		answer := c.Between(honest(c), func() harness.Outcome {
			o := subject(c, who, t.Grant)
			if o.State != harness.Granted {
				return prepared(o)
			}
			ended(c, o.Token.AccessToken, who)
			return asked(c, o.Token.AccessToken, nil)
		}, "introspection of an honest token")
		c.Refuses(answer, k.IntrospectRevoked.Refusal)
	})
	s.It(k.IntrospectHint, place, func(c *expect.Case) {
		answer := c.Between(honest(c), func() harness.Outcome {
			o := subject(c, who, t.Grant)
			if o.State != harness.Granted {
				return prepared(o)
			}
			hint := "refresh_token"
			if o.Token.RefreshToken != "" {
				hint = "access_token"
			}
			return asked(c, o.Token.AccessToken, func(m *harness.Message, _ harness.Facts) { m.Params.Set("token_type_hint", hint) })
		}, "introspection of an honest token")
		c.Expect(answer).To(expect.BeAccepted())
		c.Passes("it was found")
	})
}

// ask puts the question of one row.
func ask(c *expect.Case, s *expect.Suite, a attacks.IntrospectionAttack, who harness.Identity, grant string) harness.Outcome {
	value := ""
	if a.Sent == attacks.Code {
		t := anyCodeClient(s)
		if t == nil {
			c.NotApplicable(noCodeClient)
		}
		token, failed := material(c, s.Honest(t.Client, t.Binding), attacks.Code)
		if failed.At != "" {
			return failed
		}
		value = token.RefreshToken
	} else {
		o := subject(c, who, grant)
		if o.State != harness.Granted {
			return prepared(o)
		}
		value = o.Token.AccessToken
	}
	if a.Value != nil {
		if value = a.Value(value); value == "" {
			c.NotApplicable("observed: the tokens that are introspected are opaque")
		}
	}
	if len(a.Callers) == 0 {
		return asked(c, value, nil)
	}
	var last harness.Outcome
	for _, change := range a.Callers {
		if last = asked(c, value, change); last.State != harness.Refused {
			return last
		}
	}
	return last
}

// ended revokes a token in its owner's name. That the server does not do it for this kind of token or client is no defect
// of what is checked.
func ended(c *expect.Case, token string, owner harness.Identity) {
	switch o := c.Revoke(token, owner); o.State {
	case harness.Refused:
		c.NotApplicable("observed: the server does not revoke this kind of token for client %s (%s)", owner.Client.Name, o)
	case harness.Unknown:
		c.Unlearned("the revocation: %s", o)
	}
}

func revocation(s *expect.Suite) {
	k := attacks.DirectEndpoints()
	trials := refreshersOf(s, attacks.PublicAndConfidential)
	if len(trials) == 0 {
		for _, check := range []attacks.Check{k.RevokeOfOther, k.RevokeNoCredential, k.RevokeWrongCredential, k.RevokeHint, k.RevokeUnknown, k.RevokedAccessToken, k.RevokedRefreshToken, k.RevokedGrant} {
			s.Skip(check, expect.Place{Endpoint: "revoke"}, orMissing(s, check, noRefresh))
		}
		return
	}
	confidential, others := false, false
	for _, t := range trials {
		at := expect.Place{Endpoint: "revoke", Client: t.Client.Name}
		r := revoker{s.Honest(t.Client, t.Binding)}
		s.It(k.RevokedRefreshToken, at, func(c *expect.Case) {
			c.Refuses(c.Between(honestRefresh(c, r.who), func() harness.Outcome { return r.after(c, refreshOf, r.refresh) }, "the honest refresh"), k.RevokedRefreshToken.Refusal)
		})
		s.It(k.RevokeHint, at, func(c *expect.Case) {
			// As in survives: where no refresh works, each token looks as if it had ended.
			c.Assume(honestRefresh(c, r.who)()).To(expect.BeAccepted(), "the honest refresh")
			answer := c.Between(func() harness.Outcome { return r.own(c) }, func() harness.Outcome {
				token, failed := material(c, r.who, attacks.RefreshToken)
				if failed.At != "" {
					return failed
				}
				if said := c.RevokeAs(token.RefreshToken, r.who, setting("token_type_hint", "access_token")); said.State == harness.Unknown {
					return said
				} else if said.State == harness.Refused {
					c.Assume(r.own(c)).To(expect.BeAccepted(), "the revocation of an own token, again")
					c.NotApplicable("observed: the server does not revoke under this hint, and says so (%s)", said)
				}
				return r.refresh(c, token)
			}, "the revocation of an own token")
			c.Refuses(answer, k.RevokeHint.Refusal)
		})
		spent := func(check attacks.Check, which func(*harness.Token) string) {
			s.It(check, at, func(c *expect.Case) {
				if check.ID == k.RevokedGrant.ID { // asked of a server that revokes access tokens (RFC 7009 §2.1)
					o := c.Obtain(r.who, harness.CodeGrant)
					c.Assume(o).To(expect.BeAccepted(), "the honest flow")
					ended(c, o.Token.AccessToken, r.who)
				}
				answer := c.Between(func() harness.Outcome { return c.Obtained(r.who, harness.CodeGrant) }, func() harness.Outcome { return r.after(c, which, r.spend) }, "the honest flow")
				if _, jwt := claimsOf(answer); jwt && answer.State == harness.Granted {
					c.Measured("self-contained access tokens live on until they expire, where resources do not ask the server")
				}
				c.Refuses(answer, check.Refusal)
			})
		}
		spent(k.RevokedAccessToken, func(t *harness.Token) string { return t.AccessToken })
		spent(k.RevokedGrant, refreshOf)
		s.It(k.RevokeUnknown, at, func(c *expect.Case) {
			answer := c.Between(func() harness.Outcome { return r.own(c) }, func() harness.Outcome { return c.Revoke(c.UnknownToken(), r.who) }, "the revocation of an own token")
			c.Expect(answer).To(expect.BeAccepted())
			c.Passes("it was answered with HTTP 200")
		})
		if t.Client.Confidential() {
			confidential = true
			s.It(k.RevokeNoCredential, at, func(c *expect.Case) {
				r.survives(c, k.RevokeNoCredential, "a caller without credential", r.who, attacks.WithoutCredential)
			})
		}
		for _, public := range []bool{true, false} {
			other := s.Pick(func(o harness.Trial) bool {
				return refreshes(o) && o.Client != t.Client && o.Client.Public() == public && !o.Client.MutualTLS()
			})
			if other == nil {
				continue
			}
			others = true
			at := at
			at.Variant = "by-" + other.Client.Name
			thief := s.Honest(other.Client, other.Binding)
			s.It(k.RevokeOfOther, at, func(c *expect.Case) {
				c.Assume(c.Obtained(thief, harness.CodeGrant)).To(expect.BeAccepted(), "the honest flow of client "+other.Client.Name)
				r.survives(c, k.RevokeOfOther, "client "+other.Client.Name, thief, nil)
			})
		}
	}
	credentials := slices.DeleteFunc(refreshersOf(s, attacks.EveryMethod), func(t *harness.Trial) bool { return !hasSecretOrKey(t.Client) })
	for _, t := range credentials {
		r := revoker{s.Honest(t.Client, t.Binding)}
		s.It(k.RevokeWrongCredential, place(expect.Place{Endpoint: "revoke"}, t), func(c *expect.Case) {
			r.survives(c, k.RevokeWrongCredential, "a caller with a wrong credential", r.who, attacks.WrongCredential)
		})
	}
	if len(credentials) == 0 {
		s.Skip(k.RevokeWrongCredential, expect.Place{Endpoint: "revoke"}, orMissing(s, k.RevokeWrongCredential, "no client with a secret or key gets a refresh token"))
	}
	if !confidential {
		s.Skip(k.RevokeNoCredential, expect.Place{Endpoint: "revoke"}, orMissing(s, k.RevokeNoCredential, "no confidential client gets a refresh token"))
	}
	if !others {
		s.Skip(k.RevokeOfOther, expect.Place{Endpoint: "revoke"}, orMissing(s, k.RevokeOfOther, "the target file names no two clients that get refresh tokens"))
	}
}

func refreshOf(t *harness.Token) string { return t.RefreshToken }

// revoker is the client whose tokens are revoked.
type revoker struct{ who harness.Identity }

func (r revoker) refresh(c *expect.Case, t *harness.Token) harness.Outcome {
	return c.Loot(c.Refresh(t, harness.TokenRequest{Who: r.who}), harness.RefreshGrant)
}

func (r revoker) spend(c *expect.Case, t *harness.Token) harness.Outcome {
	return c.Alive(t, harness.CodeGrant)
}

// after revokes one token of a fresh grant, and then uses the grant.
func (r revoker) after(c *expect.Case, which func(*harness.Token) string, use func(*expect.Case, *harness.Token) harness.Outcome) harness.Outcome {
	token, failed := material(c, r.who, attacks.RefreshToken)
	if failed.At != "" {
		return failed
	}
	ended(c, which(token), r.who)
	return use(c, token)
}

// own is the control of foreign revocations: that of the owner is answered with 200 and ends the token.
func (r revoker) own(c *expect.Case) harness.Outcome {
	o := r.after(c, refreshOf, r.refresh)
	switch o.State {
	case harness.Granted:
		c.NotApplicable("observed: revocation has no effect for the owner either; see %s", attacks.DirectEndpoints().RevokedRefreshToken.ID)
	case harness.Refused:
		o.State, o.Got = harness.Granted, "the owner's revocation ended the token"
	}
	return o
}

// survives lets somebody else revoke a refresh token, which must work for its owner afterwards. Where it does and the answer was
// 200, nothing is lost, but nobody is told.
func (r revoker) survives(c *expect.Case, check attacks.Check, name string, who harness.Identity, change harness.Change) {
	// Where no refresh works, whatever was done to the token, its owner's revocation looks as if it had ended it.
	c.Assume(c.Obtained(r.who, harness.RefreshGrant)).To(expect.BeAccepted(), "the honest refresh")
	answer := c.Between(func() harness.Outcome { return r.own(c) }, func() harness.Outcome {
		token, failed := material(c, r.who, attacks.RefreshToken)
		if failed.At != "" {
			return failed
		}
		said := c.RevokeAs(token.RefreshToken, who, change)
		if said.State == harness.Unknown {
			return said
		}
		used := c.Refresh(token, harness.TokenRequest{Who: r.who})
		switch used.State {
		case harness.Unknown:
			return used
		case harness.Refused:
			said.State, said.Got = harness.Granted, name+" revoked a token of client "+r.who.Client.Name+": "+used.String()
			return said
		}
		said.State = harness.Refused
		if said.Got != "" {
			said.Got = "the revocation was answered with HTTP 200, though the token lives on"
		}
		return said
	}, "the revocation of an own token")
	c.Refuses(answer, check.Refusal)
}
