package dpop

import (
	"slices"
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// form is how a refusal looks at a site: in the body of the AS, in the challenge of a resource.
func (w site) form(as harness.Refusal) harness.Refusal {
	if w.place == attacks.AtResource {
		return attacks.DPoPChallenge(as.Errors...)
	}
	return as
}

// jkt reads the key that a token is bound to.
func jkt(claims map[string]any) (string, bool) {
	cnf, _ := claims["cnf"].(map[string]any)
	s, ok := cnf["jkt"].(string)
	return s, ok
}

// binding looks at the tokens themselves (RFC 9449 §5, §6).
func binding(s *expect.Suite) {
	k := attacks.Keys()
	thumbprint := func(check attacks.Check, where site, grant string, change harness.ProofChange) {
		s.It(check, where.at, func(c *expect.Case) {
			o := c.Prepared(where.who, grant)(harness.TokenRequest{Proof: change})
			if change == nil {
				c.Assume(o).To(expect.BeAccepted(), "the honest proof")
			} else {
				c.Assume(c.Obtained(where.who, grant)).To(expect.BeAccepted(), "the honest proof")
				c.Expect(o).To(expect.BeAccepted())
			}
			boundToKey(c, o, where.who.Key)
		})
	}
	for _, grant := range grants() {
		trial := prover(s, grant)
		if trial == nil {
			skipGrant(s, k.Bound, grant)
			continue
		}
		where := tokenSite(s, grant, trial)
		s.It(k.Bound, where.at, func(c *expect.Case) {
			o := c.Obtain(where.who, grant)
			c.Assume(o).To(expect.BeAccepted(), "the honest proof")
			kind := o.Token.TokenType
			if !strings.EqualFold(kind, "DPoP") { // the value is the same in any case (RFC 6749 §5.1)
				c.Fails("a valid proof was answered with token_type %q", kind)
			}
			c.Assume(c.Spend(o.Token, grant)).To(expect.BeAccepted(), "the bound token with its proof")
			c.Passes("token_type %s", kind)
		})
		s.It(k.EveryGrant, where.at, func(c *expect.Case) { everyGrant(c, trial, where.who, grant) })
		if s.Learned.Has("jwt-at") == harness.No {
			continue
		}
		thumbprint(k.Thumbprint, where, grant, nil)
		if grant == harness.CodeGrant {
			thumbprint(k.ThumbprintExtra, where, grant, attacks.Decorate)
		}
	}
	if s.Learned.Has("jwt-at") == harness.No {
		s.Skip(k.Thumbprint, expect.Place{Endpoint: "token"}, s.Learned.Capabilities["jwt-at"].How)
		s.Skip(k.ThumbprintExtra, expect.Place{Endpoint: "token"}, s.Learned.Capabilities["jwt-at"].How)
	}
	if !slices.ContainsFunc(grants(), func(grant string) bool { return prover(s, grant) != nil }) {
		s.Skip(k.EveryGrant, expect.Place{Endpoint: "token"}, "no client gets DPoP-bound tokens")
	}
	thumbprints(s)
	introspection(s, k.Introspection)
	introspectedPlain(s, k.IntrospectionPlain)
	proofMissing(s, k.ProofMissing)
	proofEmpty(s, k.ProofEmpty)
}

// boundToKey judges cnf.jkt of a token that came.
func boundToKey(c *expect.Case, o harness.Outcome, key *harness.Key) {
	claims, jwt := o.Token.Claims()
	if !jwt {
		c.NotApplicable("observed: the access token is opaque")
	}
	switch got, there := jkt(claims); {
	case !there:
		c.Fails("the access token has no cnf.jkt")
	case got != key.Thumbprint():
		c.Fails("cnf.jkt is %q, the thumbprint of the proof key is %q", got, key.Thumbprint())
	}
	c.Passes("cnf.jkt is the thumbprint of the proof key")
}

// thumbprints looks at tokens for other kinds of keys, and for a key that is written otherwise, with one grant (RFC 7638 §3).
func thumbprints(s *expect.Suite) {
	k := attacks.Keys()
	all := sites(s)
	i := slices.IndexFunc(all, func(w site) bool { return w.place == attacks.AtToken && representative(all, w) })
	if i < 0 {
		for _, check := range []attacks.Check{k.ThumbprintRSA, k.ThumbprintOKP, k.ThumbprintOrder} {
			s.Skip(check, expect.Place{Endpoint: "token"}, "no client gets DPoP-bound tokens")
		}
		return
	}
	where := all[i]
	listed := s.Metadata.Strings("dpop_signing_alg_values_supported")
	of := func(check attacks.Check, alg string) {
		if !slices.Contains(listed, alg) {
			s.Skip(check, where.at, "discovered: the metadata lists no algorithm of such keys that can be tried")
			return
		}
		s.It(check, where.at, func(c *expect.Case) {
			c.Assume(where.honest(c)).To(expect.BeAccepted(), "the honest proof")
			key, err := c.MakeKey(alg+" key", alg, 2048)
			if err != nil {
				c.Unlearned("no key can be made: %v", err)
			}
			who := where.who
			who.Key = key
			o := c.Obtain(who, where.at.Grant)
			if o.State == harness.Refused {
				c.NotApplicable("observed: a proof with %s is refused, which is said elsewhere (%s)", alg, o)
			}
			c.Assume(o).To(expect.BeAccepted(), "a proof with "+alg)
			boundToKey(c, o, key)
		})
	}
	of(k.ThumbprintRSA, attacks.RSAAlgorithm(listed))
	of(k.ThumbprintOKP, "EdDSA")
	s.It(k.ThumbprintOrder, where.at, func(c *expect.Case) {
		c.Assume(where.honest(c)).To(expect.BeAccepted(), "the honest proof")
		o := c.Prepared(where.who, where.at.Grant)(harness.TokenRequest{Proof: attacks.Reorder})
		c.Assume(o).To(expect.BeAccepted(), "a proof whose jwk is written in another order")
		boundToKey(c, o, where.who.Key)
	})
}

// introspectedPlain asks about a token that was issued without a proof.
func introspectedPlain(s *expect.Suite, check attacks.Check) {
	at := expect.Place{Endpoint: "introspect"}
	t := s.Introspected(func(t harness.Trial) bool { return t.Binding == harness.Unbound })
	if t == nil {
		s.Skip(check, at, "no client gets an unbound token")
		return
	}
	at.Grant, at.Client = t.Grant, t.Client.Name
	s.It(check, at, func(c *expect.Case) {
		if got, there := jkt(c.Introspected(s.Honest(t.Client, harness.Unbound), t.Grant)); there {
			c.Fails("introspection names %q as the key of a token for which none was proven", got)
		}
		c.Passes("introspection names no key")
	})
}

// proofEmpty sends an empty DPoP header for a client that registered dpop_bound_access_tokens (RFC 9449 §5.2).
func proofEmpty(s *expect.Suite, check attacks.Check) {
	t := s.Pick(func(t harness.Trial) bool { return t.Grant == harness.CodeGrant && t.Client.DPoPBoundAccessTokens })
	if t == nil {
		s.Skip(check, expect.Place{Endpoint: "token"}, "declared: no client with the authorization_code grant has dpop_bound_access_tokens: true")
		return
	}
	where := tokenSite(s, harness.CodeGrant, t)
	s.It(check, where.at, func(c *expect.Case) {
		c.Refuses(c.Between(where.proven(c), func() harness.Outcome { return where.prepare(c)(attacks.EmptyField) }, "the honest proof"), check.Refusal)
	})
}

// everyGrant looks for the binding of one grant's tokens, opaque ones too (RFC 9449 §5).
func everyGrant(c *expect.Case, t *harness.Trial, who harness.Identity, grant string) {
	o := c.Obtain(who, grant)
	c.Assume(o).To(expect.BeAccepted(), "the honest proof")
	if !strings.EqualFold(o.Token.TokenType, "DPoP") {
		c.Fails("a valid proof was answered with token_type %q", o.Token.TokenType)
	}
	var at *harness.Resource
	if len(t.Opens) > 0 {
		at = t.Opens[0]
	}
	thief, bearer := who, who
	thief.Key, bearer.Key = c.ProofKey("attacker"), nil
	c.BoundTo(o.Token, jkt, who.Key.Thumbprint(), at, thief, bearer)
}

// skipGrant says why proofs are not tried with a grant that the target has: a server may answer a valid proof with a bearer token
// (RFC 9449 §5), and what was seen must be said.
func skipGrant(s *expect.Suite, check attacks.Check, grant string) {
	for _, t := range s.Learned.Trials {
		if t.Grant == grant && t.Binding == harness.DPoPBound {
			s.Skip(check, expect.Place{Endpoint: "token", Grant: grant, Client: t.Client.Name}, "no proof is tried with this grant; "+t.How)
			return
		}
	}
}

func introspection(s *expect.Suite, check attacks.Check) {
	of := func(grant string) func(harness.Trial) bool {
		return func(t harness.Trial) bool { return proves(t) && t.Grant == grant }
	}
	trial := s.Introspected(of(harness.CodeGrant), of(harness.ClientCredentialsGrant))
	at := expect.Place{Endpoint: "introspect"}
	if trial == nil {
		s.Skip(check, at, "no client gets DPoP-bound tokens")
		return
	}
	at.Grant, at.Client = trial.Grant, trial.Client.Name
	who := s.Honest(trial.Client, harness.DPoPBound)
	s.It(check, at, func(c *expect.Case) {
		members := c.Introspected(who, trial.Grant)
		got, there := jkt(members)
		want := who.Key.Thumbprint()
		kind, _ := members["token_type"].(string)
		switch {
		case !there:
			c.Fails("the introspection of a bound token has no cnf.jkt")
		case got != want:
			c.Fails("cnf.jkt is %q, the thumbprint of the proof key is %q", got, want)
		case kind != "" && !strings.EqualFold(kind, "DPoP"):
			c.Fails("token_type is %q for a DPoP-bound token", kind)
		}
		c.Passes("introspection names the bound key")
	})
}

// proofMissing leaves the proof out for clients that registered dpop_bound_access_tokens (RFC 9449 §5.2), a public one and one with a
// credential: they come in by different doors.
func proofMissing(s *expect.Suite, check attacks.Check) {
	placed := false
	for _, grant := range grants() {
		for _, kind := range []func(*harness.Client) bool{(*harness.Client).Public, (*harness.Client).Confidential} {
			trial := s.Pick(func(t harness.Trial) bool {
				own := t.Grant == grant || grant == harness.RefreshGrant && t.Grant == harness.CodeGrant && t.Refresh != harness.No
				return own && t.Client.DPoPBoundAccessTokens && kind(t.Client)
			})
			if trial == nil {
				continue
			}
			placed = true
			where := tokenSite(s, grant, trial)
			s.It(check, where.at, func(c *expect.Case) {
				without := where.who
				without.Key = nil
				send := c.Prepared(where.who, grant)
				answer := c.Between(func() harness.Outcome { return where.honest(c) }, func() harness.Outcome {
					return c.Loot(send(harness.TokenRequest{Who: without}), grant)
				}, "the honest proof")
				c.Refuses(answer, check.Refusal)
			})
		}
	}
	if !placed {
		s.Skip(check, expect.Place{Endpoint: "token"}, "declared: no client of the target file has dpop_bound_access_tokens: true")
	}
}

func refresh(s *expect.Suite) {
	k := attacks.Keys()
	pick := func(kind func(*harness.Client) bool) *harness.Trial {
		return s.Pick(func(t harness.Trial) bool {
			return t.Grant == harness.CodeGrant && t.Binding == harness.DPoPBound && t.Refresh != harness.No && kind(t.Client)
		})
	}
	place := func(t *harness.Trial) expect.Place {
		return expect.Place{Endpoint: "token", Grant: harness.RefreshGrant, Client: t.Client.Name}
	}
	if public := pick((*harness.Client).Public); public == nil {
		for _, check := range []attacks.Check{k.RefreshOtherKey, k.RefreshNoProof} {
			s.Skip(check, expect.Place{Endpoint: "token", Grant: harness.RefreshGrant}, "no public client gets a refresh token with DPoP")
		}
	} else {
		who := s.Honest(public.Client, harness.DPoPBound)
		attack := func(check attacks.Check, key func(c *expect.Case) *harness.Key) {
			s.It(check, place(public), func(c *expect.Case) {
				thief := who
				thief.Key = key(c)
				send := c.Prepared(who, harness.RefreshGrant)
				answer := c.Between(func() harness.Outcome { return c.Obtained(who, harness.RefreshGrant) }, func() harness.Outcome {
					return c.Loot(send(harness.TokenRequest{Who: thief}), harness.RefreshGrant)
				}, "the honest refresh")
				c.Refuses(answer, check.Refusal)
			})
		}
		attack(k.RefreshOtherKey, func(c *expect.Case) *harness.Key { return c.ProofKey("attacker") })
		attack(k.RefreshNoProof, func(*expect.Case) *harness.Key { return nil })
	}
	confidential := pick((*harness.Client).Confidential)
	if confidential == nil {
		for _, check := range []attacks.Check{k.RefreshNewKey, k.RefreshFollows, k.RefreshUnproven} {
			s.Skip(check, expect.Place{Endpoint: "token", Grant: harness.RefreshGrant}, "no confidential client gets a refresh token with DPoP")
		}
		return
	}
	who := s.Honest(confidential.Client, harness.DPoPBound)
	moved := who
	moved.Key = s.ProofKey("new key of " + confidential.Client.Name)
	move := func(c *expect.Case) harness.Outcome {
		send := c.Prepared(who, harness.RefreshGrant)
		return c.Between(func() harness.Outcome { return c.Obtained(who, harness.RefreshGrant) }, func() harness.Outcome {
			return send(harness.TokenRequest{Who: moved})
		}, "the honest refresh")
	}
	s.It(k.RefreshNewKey, place(confidential), func(c *expect.Case) {
		answer := move(c)
		c.Expect(answer).To(expect.BeAccepted())
		c.Expect(c.Spend(answer.Token, harness.RefreshGrant)).To(expect.BeAccepted())
		c.Passes("the refresh token works with a new key, and so does its access token")
	})
	unproven(s, k.RefreshUnproven, place(confidential), who)
	s.It(k.RefreshFollows, place(confidential), func(c *expect.Case) {
		answer := move(c)
		if answer.State != harness.Granted {
			c.NotApplicable("observed: a new key is refused at refresh (%s)", answer)
		}
		claims, jwt := answer.Token.Claims()
		if !jwt {
			c.NotApplicable("observed: the access token is opaque")
		}
		if got, _ := jkt(claims); got != moved.Key.Thumbprint() {
			c.Fails("cnf.jkt of the refreshed token is %q, the proof of the request was made with %q", got, moved.Key.Thumbprint())
		}
		c.Passes("the refreshed token is bound to the new key")
	})
}

// unproven refreshes without a proof what a confidential client got with one. Whether it gets a token is the server's choice.
func unproven(s *expect.Suite, check attacks.Check, at expect.Place, who harness.Identity) {
	if who.Client.DPoPBoundAccessTokens {
		s.Skip(check, at, "declared: the client has dpop_bound_access_tokens: true; see dpop-proof-missing")
		return
	}
	s.It(check, at, func(c *expect.Case) {
		bare := who
		bare.Key = nil
		send := c.Prepared(who, harness.RefreshGrant)
		answer := c.Between(func() harness.Outcome { return c.Obtained(who, harness.RefreshGrant) }, func() harness.Outcome {
			return send(harness.TokenRequest{Who: bare})
		}, "the honest refresh")
		switch answer.State {
		case harness.Unknown:
			c.Unlearned("%s", answer)
		case harness.Refused:
			c.Measured("refused")
			c.Passes("a refresh without a proof is refused: %s", answer)
			return
		}
		c.Measured("accepted")
		claims, jwt := answer.Token.Claims()
		if !jwt {
			c.NotApplicable("observed: the access token is opaque")
		}
		if got, there := jkt(claims); there {
			c.Fails("no proof came with the refresh, and cnf.jkt of the token is %q", got)
		}
		c.Passes("the token that comes without a proof names no key")
	})
}

// codeBinding checks that a code which was asked for with a key is redeemed with that key only (RFC 9449 §10).
func codeBinding(s *expect.Suite) {
	k := attacks.Keys()
	trial := s.Pusher(proves) // the same client announces its key either way
	if trial == nil {
		trial = prover(s, harness.CodeGrant)
	}
	checks := []attacks.Check{k.JKTOtherKey, k.JKTNoProof, k.JKTTwice, k.JKTMalformed, k.JKTBeside, k.PAROtherKey, k.PARNoProof, k.PARContradiction, k.PARJKT, k.PARHeader}
	if trial == nil {
		for _, check := range checks {
			s.Skip(check, expect.Place{Endpoint: "token", Grant: harness.CodeGrant}, "no client with the authorization_code grant gets DPoP-bound tokens")
		}
		return
	}
	codeBindingOf(s, trial)
	// A key may count for one kind of client only, or where a proof comes, as it has to from some clients.
	if other := s.Pusher(func(t harness.Trial) bool { return proves(t) && t.Client.Public() != trial.Client.Public() }); other != nil {
		codeBindingOf(s, other)
	}
}

func codeBindingOf(s *expect.Suite, trial *harness.Trial) {
	k := attacks.Keys()
	who := s.Honest(trial.Client, harness.DPoPBound)
	at := expect.Place{Endpoint: "token", Grant: harness.CodeGrant, Client: trial.Client.Name}
	thief, nobody := who, who
	thief.Key, nobody.Key = s.ProofKey("attacker"), nil
	announced := func(key *harness.Key) harness.Change {
		return func(m *harness.Message, _ harness.Facts) { m.Params.Set("dpop_jkt", key.Thumbprint()) }
	}
	byParameter := harness.AuthorizationRequest{Who: who, Change: announced(who.Key)}
	byProof := harness.AuthorizationRequest{Who: who, Via: harness.PushedRequest, PushProof: harness.WithProof}
	// redeem plays the authorization honestly and redeems its code as someone.
	redeem := func(c *expect.Case, q harness.AuthorizationRequest, as harness.Identity) harness.Outcome {
		o := c.Authorize(q)
		if o.State != harness.Granted || o.Code == nil {
			return o
		}
		return c.Loot(c.Redeem(o.Code, harness.TokenRequest{Who: as}), harness.CodeGrant)
	}
	stolen := func(check attacks.Check, q harness.AuthorizationRequest, as harness.Identity) {
		s.It(check, at, func(c *expect.Case) {
			answer := c.Between(func() harness.Outcome { return redeem(c, q, who) }, func() harness.Outcome { return redeem(c, q, as) }, "the announced key")
			c.Refuses(answer, check.Refusal)
		})
	}
	// other announces the key in another way than the control.
	other := func(check attacks.Check, honest, changed harness.AuthorizationRequest, as harness.Identity) {
		s.It(check, at, func(c *expect.Case) {
			answer := c.Between(func() harness.Outcome { return redeem(c, honest, who) }, func() harness.Outcome { return redeem(c, changed, as) }, "the announced key")
			c.Expect(answer).To(expect.BeRefused())
		})
	}
	twice, malformed, beside := byParameter, byParameter, byParameter
	twice.Change = func(m *harness.Message, _ harness.Facts) {
		m.Params.Add("dpop_jkt", who.Key.Thumbprint())
		m.Params.Add("dpop_jkt", thief.Key.Thumbprint())
	}
	malformed.Change = func(m *harness.Message, _ harness.Facts) { m.Params.Set("dpop_jkt", who.Key.Thumbprint()[:10]) }
	if s.Learned.Has("dpop-jkt") != harness.No {
		stolen(k.JKTOtherKey, byParameter, thief)
		stolen(k.JKTNoProof, byParameter, nobody)
		other(k.JKTTwice, byParameter, twice, thief)
		other(k.JKTMalformed, byParameter, malformed, who)
	} else {
		for _, check := range []attacks.Check{k.JKTOtherKey, k.JKTNoProof, k.JKTTwice, k.JKTMalformed} {
			s.Skip(check, at, "needs dpop-jkt; "+s.Learned.Capabilities["dpop-jkt"].How)
		}
	}
	stolen(k.PAROtherKey, byProof, thief)
	stolen(k.PARNoProof, byProof, nobody)
	beside.Via = harness.PushedRequest
	plain := beside
	beside.Beside = announced(thief.Key)
	s.It(k.JKTBeside, at, func(c *expect.Case) {
		if o := redeem(c, plain, thief); o.State == harness.Granted {
			c.NotApplicable("observed: a pushed dpop_jkt binds nothing here; see dpop-par-jkt-alone")
		}
		answer := c.Between(func() harness.Outcome { return redeem(c, plain, who) }, func() harness.Outcome { return redeem(c, beside, thief) }, "the announced key")
		c.Expect(answer).To(expect.BeRefused())
	})

	par := expect.Place{Endpoint: "par", Client: trial.Client.Name}
	pushed := byParameter
	pushed.Via = harness.PushedRequest
	silent := func(c *expect.Case) func() harness.Outcome {
		return func() harness.Outcome {
			if o := c.Obtained(who, harness.CodeGrant); o.State != harness.Granted {
				return o
			}
			return redeem(c, harness.AuthorizationRequest{Who: who, Via: harness.PushedRequest}, who)
		}
	}
	s.It(k.PARContradiction, par, func(c *expect.Case) {
		both := byProof
		both.Change = announced(who.Key)
		contrary := byProof
		contrary.Change = announced(thief.Key)
		answer := c.Between(func() harness.Outcome { return redeem(c, both, who) }, func() harness.Outcome {
			return c.Push(contrary)
		}, "dpop_jkt and proof of the same key")
		c.Refuses(answer, k.PARContradiction.Refusal)
	})
	s.It(k.PARJKT, par, func(c *expect.Case) {
		c.Expect(c.Between(silent(c), func() harness.Outcome { return redeem(c, pushed, who) }, "the pushed request that announces no key")).To(expect.BeAccepted())
		c.Expect(c.Between(silent(c), func() harness.Outcome { return redeem(c, pushed, thief) }, "the pushed request that announces no key")).To(expect.BeRefused())
		c.Passes("a code with a pushed dpop_jkt is redeemed with that key only")
	})
	s.It(k.PARHeader, par, func(c *expect.Case) {
		answer := c.Between(silent(c), func() harness.Outcome { return redeem(c, byProof, who) }, "the pushed request that announces no key")
		c.Expect(answer).To(expect.BeAccepted())
		c.Passes("a pushed request with a proof leads to a token")
	})
}
