package pkce

import (
	"slices"
	"strings"
	"time"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// refreshTokens checks for whom a refresh token works, how often and for what (RFC 6749 §6, RFC 9700 §4.14).
func refreshTokens(s *expect.Suite) {
	for _, a := range attacks.Refreshes() {
		refreshRow(s, a)
	}
	refreshByOthers(s)
	refreshWithOtherCredential(s)
	rotation(s)
	refreshScope(s)
}

// refreshes reports whether the trial may have brought a refresh token.
func refreshes(t harness.Trial) bool { return t.Grant == harness.CodeGrant && t.Refresh != harness.No }

// refreshesUnbound reports whether the trial may have brought a refresh token that whoever holds it can use.
func refreshesUnbound(t harness.Trial) bool {
	return refreshes(t) && t.Binding == harness.Unbound && t.Client.Public()
}

// atRefresh is the place of a refresh by a trial's client.
func atRefresh(t *harness.Trial) expect.Place {
	return expect.Place{Endpoint: "token", Grant: harness.RefreshGrant, Client: t.Client.Name}
}

const noRefresh = "no such client gets a refresh token"

// refreshersOf picks one client of each kind that the row runs with.
func refreshersOf(s *expect.Suite, kind attacks.Clients) []*harness.Trial {
	public := s.Pick(func(t harness.Trial) bool { return refreshes(t) && t.Client.Public() })
	confidential := s.Pick(func(t harness.Trial) bool { return refreshes(t) && t.Client.Confidential() })
	var out []*harness.Trial
	switch kind {
	case attacks.PublicOnly:
		out = []*harness.Trial{public}
	case attacks.EveryMethod:
		for _, t := range s.All(func(t harness.Trial) bool { return refreshes(t) && t.Client.Confidential() }) {
			if !slices.ContainsFunc(out, func(o *harness.Trial) bool {
				return o.Client.TokenEndpointAuthMethod == t.Client.TokenEndpointAuthMethod
			}) {
				out = append(out, t)
			}
		}
	default:
		out = []*harness.Trial{public, confidential}
	}
	return slices.DeleteFunc(out, func(t *harness.Trial) bool { return t == nil })
}

// refreshRow runs one row; each of its ways takes a grant of its own.
func refreshRow(s *expect.Suite, a attacks.RefreshAttack) {
	trials := refreshersOf(s, a.Clients)
	if strings.Contains(a.Needs, "client-secret") {
		trials = slices.DeleteFunc(trials, func(t *harness.Trial) bool { return !t.Client.SendsSecret() })
	}
	if strings.Contains(a.Needs, "private-key-jwt") {
		trials = slices.DeleteFunc(trials, func(t *harness.Trial) bool { return t.Client.TokenEndpointAuthMethod != privateKeyJWT })
	}
	if len(trials) == 0 {
		why := s.Missing(a.Check)
		if why == "" {
			why = noRefresh
		}
		s.Skip(a.Check, expect.Place{Endpoint: "token", Grant: harness.RefreshGrant}, why)
		return
	}
	for _, t := range trials {
		who := s.Honest(t.Client, t.Binding)
		s.It(a.Check, atRefresh(t), func(c *expect.Case) {
			answer := c.Between(honestRefresh(c, who), func() harness.Outcome {
				var last harness.Outcome
				for _, change := range a.Refresh {
					token, failed := material(c, who, a.Sent)
					if failed.At != "" {
						return failed
					}
					if last = c.Loot(c.Refresh(token, harness.TokenRequest{Who: who, Change: change}), harness.RefreshGrant); last.State != harness.Refused {
						return last
					}
				}
				return last
			}, "the honest refresh")
			c.Refuses(answer, a.Refusal)
		})
	}
}

func honestRefresh(c *expect.Case, who harness.Identity) func() harness.Outcome {
	return func() harness.Outcome { return c.Obtained(who, harness.RefreshGrant) }
}

// prepared is how a preparation that was refused looks: nothing is learned from it.
func prepared(o harness.Outcome) harness.Outcome {
	return harness.Outcome{At: o.At, Why: "the preparation of the attack was refused: " + o.String()}
}

// material is what is sent as the refresh token; an outcome with a place says why there is none.
func material(c *expect.Case, who harness.Identity, kind attacks.Material) (*harness.Token, harness.Outcome) {
	if kind == attacks.Code {
		o := c.Authorize(harness.AuthorizationRequest{Who: who})
		if o.State != harness.Granted || o.Code == nil {
			return nil, prepared(o)
		}
		return &harness.Token{RefreshToken: o.Code.Code, Who: who}, harness.Outcome{}
	}
	o := c.Obtain(who, harness.CodeGrant)
	if o.State != harness.Granted || o.Token.RefreshToken == "" {
		return nil, prepared(o)
	}
	token := *o.Token
	if kind == attacks.AccessToken {
		token.RefreshToken = token.AccessToken
	}
	return &token, harness.Outcome{}
}

// family is how a client shows who it is.
func family(c *harness.Client) string {
	switch {
	case c.Public():
		return "none"
	case c.MutualTLS():
		return "certificate"
	case strings.HasSuffix(c.TokenEndpointAuthMethod, "_jwt"):
		return "assertion"
	}
	return "secret"
}

// refreshByOthers lets a client of each kind, as itself and with its own binding, use the refresh tokens of every other kind: a
// server may compare the owner for some of them only.
func refreshByOthers(s *expect.Suite) {
	check := attacks.RefreshTokens().OtherClient
	all := s.All(refreshes)
	firstOf := func(kind func(*harness.Trial) string, in []*harness.Trial) []*harness.Trial {
		var out []*harness.Trial
		for _, t := range in {
			if !slices.ContainsFunc(out, func(o *harness.Trial) bool { return kind(o) == kind(t) }) {
				out = append(out, t)
			}
		}
		return out
	}
	owners := firstOf(func(t *harness.Trial) string {
		if t.Client.Public() { // what binds the refresh tokens of public clients is what else they are checked by
			return "none " + string(t.Binding)
		}
		return family(t.Client)
	}, all)
	placed := false
	for _, owner := range owners {
		others := slices.DeleteFunc(slices.Clone(all), func(t *harness.Trial) bool { return t.Client == owner.Client })
		for _, thief := range firstOf(func(t *harness.Trial) string { return family(t.Client) }, others) {
			placed = true
			at := atRefresh(owner)
			at.Variant = "by-" + thief.Client.Name
			if owner.Client.Public() && owner.Binding == harness.DPoPBound {
				at.Variant = "dpop-" + at.Variant
			}
			who, other := s.Honest(owner.Client, owner.Binding), s.Honest(thief.Client, thief.Binding)
			s.It(check, at, func(c *expect.Case) {
				c.Assume(c.Obtained(other, harness.CodeGrant)).To(expect.BeAccepted(), "the honest flow of client "+other.Client.Name)
				answer := c.Between(honestRefresh(c, who), func() harness.Outcome {
					return c.Loot(c.Prepared(who, harness.RefreshGrant)(harness.TokenRequest{Who: other}), harness.RefreshGrant)
				}, "the honest refresh")
				c.Refuses(answer, check.Refusal)
			})
		}
	}
	if !placed {
		s.Skip(check, expect.Place{Endpoint: "token", Grant: harness.RefreshGrant}, orMissing(s, check, "the target file names no two clients that get refresh tokens"))
	}
}

func orMissing(s *expect.Suite, check attacks.Check, why string) string {
	if missing := s.Missing(check); missing != "" {
		return missing
	}
	return why
}

// refreshWithOtherCredential names the owner in the body and authenticates as somebody else. A secret in the body would go with
// the name there, so the other client is one that authenticates elsewhere.
func refreshWithOtherCredential(s *expect.Suite) {
	check := attacks.RefreshTokens().OtherCredential
	var thief *harness.Trial
	for _, method := range []string{"client_secret_basic", "private_key_jwt", "client_secret_jwt"} {
		if thief == nil {
			thief = s.Pick(func(t harness.Trial) bool { return refreshes(t) && t.Client.TokenEndpointAuthMethod == method })
		}
	}
	placed := false
	for _, confidential := range []bool{false, true} {
		owner := s.Pick(func(t harness.Trial) bool {
			return thief != nil && refreshes(t) && t.Client != thief.Client && t.Client.Confidential() == confidential && !t.Client.MutualTLS()
		})
		if owner == nil {
			continue
		}
		placed = true
		who, other := s.Honest(owner.Client, owner.Binding), s.Honest(thief.Client, thief.Binding)
		s.It(check, atRefresh(owner), func(c *expect.Case) {
			c.Assume(c.Obtained(other, harness.CodeGrant)).To(expect.BeAccepted(), "the honest flow of client "+other.Client.Name)
			answer := c.Between(honestRefresh(c, who), func() harness.Outcome {
				return c.Loot(c.Prepared(who, harness.RefreshGrant)(harness.TokenRequest{Who: other, Change: func(m *harness.Message, _ harness.Facts) {
					m.Params.Set("client_id", who.Client.ClientID)
				}}), harness.RefreshGrant)
			}, "the honest refresh")
			c.Refuses(answer, check.Refusal)
		})
	}
	if !placed {
		s.Skip(check, expect.Place{Endpoint: "token", Grant: harness.RefreshGrant}, orMissing(s, check, "the target file names no client that authenticates by header or assertion beside another one that gets refresh tokens"))
	}
}

// rotation uses refresh tokens again that were exchanged for others (RFC 9700 §4.14.2).
func rotation(s *expect.Suite) {
	k := attacks.RefreshTokens()
	t := s.Pick(refreshesUnbound)
	if t == nil {
		for _, check := range []attacks.Check{k.Again, k.Family, k.FamilyAccess} {
			s.Skip(check, expect.Place{Endpoint: "token", Grant: harness.RefreshGrant}, "no public client gets a refresh token that neither a key nor a certificate binds")
		}
		return
	}
	r := &rotated{who: s.Honest(t.Client, harness.Unbound), patience: s.Patience}
	if r.patience == 0 {
		r.patience = expect.DefaultPatience
	}
	s.It(k.Again, atRefresh(t), func(c *expect.Case) {
		answer := c.Between(honestRefresh(c, r.who), func() harness.Outcome {
			chain, failed := r.chain(c)
			if failed.At != "" {
				return failed
			}
			return c.Loot(r.again(c, chain), harness.RefreshGrant)
		}, "the honest refresh")
		c.Refuses(answer, k.Again.Refusal)
		if r.grace != "" {
			c.Value(harness.Value{Name: "grace period of replaced refresh tokens", Value: r.grace, How: "the old token again and again, until it was refused"})
			c.Warns("%s, and was refused then", r.grace)
		}
	})
	// What a server does about the thief shows at the successor of the old token: the one that is in use, and its access token.
	replayed := func(check attacks.Check, use func(c *expect.Case, last *harness.Token) harness.Outcome) {
		s.It(check, atRefresh(t), func(c *expect.Case) {
			honest := func() harness.Outcome {
				chain, failed := r.chain(c)
				if failed.At != "" {
					return failed
				}
				return use(c, chain[2])
			}
			answer := c.Between(honest, func() harness.Outcome {
				chain, failed := r.chain(c)
				if failed.At != "" {
					return failed
				}
				if chain[1].RefreshToken == chain[0].RefreshToken {
					c.NotApplicable("observed: refresh tokens are not rotated; see %s", k.Again.ID)
				}
				switch replay := r.again(c, chain); replay.State {
				case harness.Granted:
					c.NotApplicable("observed: an old refresh token is not refused; see %s", k.Again.ID)
				case harness.Unknown:
					return replay
				}
				return use(c, chain[2])
			}, "two honest refreshes")
			if _, jwt := claimsOf(answer); jwt && answer.State == harness.Granted && check.ID == k.FamilyAccess.ID {
				c.Measured("self-contained access tokens live on until they expire")
			}
			c.Refuses(answer, check.Refusal)
		})
	}
	replayed(k.Family, func(c *expect.Case, last *harness.Token) harness.Outcome {
		return c.Loot(c.Refresh(last, harness.TokenRequest{Who: r.who}), harness.RefreshGrant)
	})
	replayed(k.FamilyAccess, func(c *expect.Case, last *harness.Token) harness.Outcome { return c.Alive(last, harness.RefreshGrant) })
}

func claimsOf(o harness.Outcome) (map[string]any, bool) {
	if o.Token == nil {
		return nil, false
	}
	return o.Token.Claims()
}

// rotated is what is known of a server's rotation. A server may take a replaced token once more, for a client that lost the answer
// with its successor: only waiting tells such a grace period from no rotation at all, and one check's waiting serves the others.
type rotated struct {
	who      harness.Identity
	patience time.Duration
	endless  bool   // it was waited for the end of the grace period, in vain
	grace    string // what was seen of one
}

// chain is a grant with its first three refresh tokens; where the server keeps the token, they are one.
func (r *rotated) chain(c *expect.Case) ([]*harness.Token, harness.Outcome) {
	o := c.Obtain(r.who, harness.CodeGrant)
	if o.State != harness.Granted || o.Token.RefreshToken == "" {
		return nil, prepared(o)
	}
	chain := []*harness.Token{o.Token}
	for range 2 {
		last := chain[len(chain)-1]
		if o = c.Refresh(last, harness.TokenRequest{Who: r.who}); o.State != harness.Granted {
			return nil, prepared(o)
		}
		next := *o.Token
		if next.RefreshToken == "" { // the old one stays (RFC 6749 §6)
			next.RefreshToken = last.RefreshToken
		}
		chain = append(chain, &next)
	}
	return chain, harness.Outcome{}
}

// again uses the first token of a chain once more, and goes on until it is refused or patience ends: its successor has been used,
// so that no client waits for it any more.
func (r *rotated) again(c *expect.Case, chain []*harness.Token) harness.Outcome {
	use := func() harness.Outcome { return c.Refresh(chain[0], harness.TokenRequest{Who: r.who}) }
	begun := time.Now()
	o := use()
	if o.State != harness.Granted || r.endless || chain[1].RefreshToken == chain[0].RefreshToken {
		return o
	}
	for wait := time.Second; time.Since(begun) < r.patience; wait *= 2 {
		c.Wait(min(wait, r.patience-time.Since(begun)))
		if o = use(); o.State != harness.Granted {
			r.grace = "a replaced refresh token worked again, for less than " + time.Since(begun).Round(time.Second).String()
			return o
		}
	}
	r.endless = true
	o.Got += "; the old refresh token still worked " + time.Since(begun).Round(time.Second).String() + " after it was replaced and its successor was used"
	return o
}

// refreshScope asks a refresh for a scope that the client may have and the user did not grant.
func refreshScope(s *expect.Suite) {
	k := attacks.RefreshTokens()
	for _, row := range []struct {
		check attacks.Check
		ask   func(granted, extra string) string
	}{
		{k.ScopeWider, func(granted, extra string) string { return granted + " " + extra }},
		{k.ScopeOther, func(_, extra string) string { return extra }},
	} {
		trials := slices.DeleteFunc(refreshersOf(s, attacks.PublicAndConfidential), func(t *harness.Trial) bool { return spare(s, t) == "" })
		if len(trials) == 0 {
			s.Skip(row.check, expect.Place{Endpoint: "token", Grant: harness.RefreshGrant}, orMissing(s, row.check, "no client that gets refresh tokens has a scope in the target file that it could do without"))
			continue
		}
		for _, t := range trials {
			extra := spare(s, t)
			granted := without(t.Client.Scope, extra)
			who := s.Honest(t.Client, t.Binding)
			s.It(row.check, atRefresh(t), func(c *expect.Case) {
				narrow := func(ask string) harness.Outcome {
					o := c.Authorize(harness.AuthorizationRequest{Who: who, Change: func(m *harness.Message, _ harness.Facts) { m.Params.Set("scope", granted) }})
					if o.State != harness.Granted || o.Code == nil {
						return prepared(o)
					}
					if o = c.Redeem(o.Code, harness.TokenRequest{Who: who}); o.State != harness.Granted || o.Token.RefreshToken == "" {
						return prepared(o)
					}
					if has(o.Token.Scope, extra) {
						c.NotApplicable("observed: the server granted %s although it was not asked for", extra)
					}
					return c.Refresh(o.Token, harness.TokenRequest{Who: who, Change: func(m *harness.Message, _ harness.Facts) {
						if ask != "" {
							m.Params.Set("scope", ask)
						}
					}})
				}
				answer := c.Between(func() harness.Outcome { return narrow("") }, func() harness.Outcome {
					return widened(c, narrow(row.ask(granted, extra)), extra)
				}, "the honest refresh of a grant with the scope "+granted)
				c.Refuses(answer, row.check.Refusal)
			})
		}
	}
}

// spare is a scope that a client can do without, best one that opens a resource; "" when there is none. Those that decide whether
// there is an ID token or a refresh token stay.
func spare(s *expect.Suite, t *harness.Trial) string {
	own := slices.DeleteFunc(strings.Fields(t.Client.Scope), func(scope string) bool { return scope == "openid" || scope == "offline_access" })
	if without(t.Client.Scope, strings.Join(own, " ")) == "" && len(own) < 2 {
		return ""
	}
	for _, r := range t.Opens {
		if scope := strings.Fields(r.Scope); len(scope) == 1 && slices.Contains(own, scope[0]) {
			return scope[0]
		}
	}
	if len(own) == 0 {
		return ""
	}
	return own[len(own)-1]
}

func without(scope, extra string) string {
	return strings.Join(slices.DeleteFunc(strings.Fields(scope), func(x string) bool { return has(extra, x) }), " ")
}

func has(scope, one string) bool { return slices.Contains(strings.Fields(scope), one) }

// widened judges a refreshed token by what it may do: by the resource that wants the scope, by what the token or introspection says
// of itself, by the announcement. A refresh that leaves the extra scope out is a refusal in another form (RFC 6749 §3.3).
func widened(c *expect.Case, o harness.Outcome, extra string) harness.Outcome {
	if o.State != harness.Granted {
		return o
	}
	won := func(how string) harness.Outcome {
		o.Got = "a token with the scope " + extra + " was issued: " + how
		return o
	}
	left := harness.Outcome{State: harness.Refused, At: o.At, Status: o.Status, Answer: o.Answer, Where: harness.InBody,
		Got: "a token was issued, without the scope " + extra}
	if has(o.Token.Scope, extra) {
		return won("the response names it")
	}
	for _, r := range c.ResourcesFor(o.Token.Who.Client, harness.CodeGrant) {
		if r.Scope != extra {
			continue
		}
		if opened := c.Call(harness.ResourceCall{Who: o.Token.Who, Token: o.Token.AccessToken, Resource: r}); opened.State == harness.Granted {
			return won(opened.Got)
		}
	}
	if o.Token.Scope != "" {
		return left
	}
	said := []map[string]any{}
	if claims, jwt := o.Token.Claims(); jwt {
		said = append(said, claims)
	}
	if c.CanIntrospect() {
		if members, answer := c.Introspect(o.Token.AccessToken); answer.State == harness.Granted {
			said = append(said, members)
		}
	}
	for _, members := range said {
		if scope, ok := members["scope"].(string); ok {
			if has(scope, extra) {
				return won("it says so itself")
			}
			return left
		}
	}
	return harness.Outcome{At: o.At, Why: "a token was issued, and nothing tells whether it has the scope " + extra}
}
