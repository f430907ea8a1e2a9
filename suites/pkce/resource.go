package pkce

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// reader is a resource with a client whose tokens open it, or should.
type reader struct {
	resource *harness.Resource
	trial    *harness.Trial
	who      harness.Identity
	at       expect.Place
}

// anyBinding is the order in which a resource is tried: without proof and certificate the token is all that it can look at.
func anyBinding() []harness.Binding {
	return []harness.Binding{harness.Unbound, harness.DPoPBound, harness.CertificateBound}
}

// readerOf picks the client for a resource: one whose token opened it; else one whose token should have, or will when it is asked
// for by the resource's name. nil when no client's tokens are of the bindings, or fit.
func readerOf(s *expect.Suite, r *harness.Resource, bindings []harness.Binding, fits func(harness.Trial) bool) *reader {
	if len(bindings) == 0 {
		bindings = anyBinding()
	}
	own := func(t harness.Trial) bool {
		return slices.ContainsFunc(s.ResourcesFor(t.Client, t.Grant), func(o *harness.Resource) bool { return o.Name == r.Name })
	}
	for _, may := range []func(harness.Trial) bool{
		func(t harness.Trial) bool { return t.Opened(r) },
		func(t harness.Trial) bool {
			return own(t) && (len(t.Opens) == 0 || r.Indicator != "" || s.Distrusted(r.Name) != "")
		},
	} {
		for _, b := range bindings {
			if b != harness.Unbound && s.TakesBinding(r, b) == harness.No {
				continue
			}
			if t := s.Pick(func(t harness.Trial) bool { return t.Binding == b && may(t) && (fits == nil || fits(t)) }); t != nil {
				return &reader{r, t, s.Honest(t.Client, b), expect.Place{Endpoint: r.Name, Grant: t.Grant, Client: t.Client.Name, Role: harness.ResourceServer}}
			}
		}
	}
	return nil
}

// atEveryResource declares a check at each resource that some client's token opens; why says what is missing where none does.
func atEveryResource(s *expect.Suite, check attacks.Check, why string, pick func(*harness.Resource) *reader, body func(*expect.Case, *reader)) {
	placed := false
	for _, r := range s.Resources() {
		if where := pick(r); where != nil {
			placed = true
			s.It(check, where.at, func(c *expect.Case) { body(c, where) })
		}
	}
	if !placed {
		s.Skip(check, expect.Place{Endpoint: "resource", Role: harness.ResourceServer}, why)
	}
}

// token is an honest access token for the resource, and what came with it.
func (w *reader) token(c *expect.Case) *harness.Token {
	o := c.ObtainFor(w.who, w.trial.Grant, w.resource, "")
	c.Assume(o).To(expect.BeAccepted(), "an honest token by "+w.trial.Grant)
	return o.Token
}

// call presents a token as its holder does.
func (w *reader) call(token string) harness.ResourceCall {
	return harness.ResourceCall{Who: w.who, Token: token, Resource: w.resource}
}

// resourceTokens runs what every resource has to do with access tokens.
func resourceTokens(s *expect.Suite) {
	const nobody = "no client's token of that kind opens a resource of the target file"
	for _, a := range attacks.Tokens() {
		pick := func(r *harness.Resource) *reader {
			return readerOf(s, r, a.Bindings, func(t harness.Trial) bool {
				switch a.Instead {
				case attacks.ItsRefreshToken:
					return t.Grant == harness.CodeGrant && t.Refresh != harness.No
				case attacks.ItsIDToken:
					return t.Grant == harness.CodeGrant && slices.Contains(strings.Fields(t.Client.Scope), "openid")
				case attacks.ItsCode:
					return t.Grant == harness.CodeGrant
				}
				return true
			})
		}
		atEveryResource(s, a.Check, nobody, pick, func(c *expect.Case, w *reader) { tokenAttack(c, a, w) })
	}
	s.Minted("")
	k := attacks.TokensAtResource()
	any := func(r *harness.Resource) *reader { return readerOf(s, r, nil, nil) }
	atEveryResource(s, k.Unknown, nobody, any, unknownToken)
	atEveryResource(s, k.Revoked, nobody, any, revokedToken)
	atEveryResource(s, k.Scope, "no resource of the target file names a scope", func(r *harness.Resource) *reader {
		if r.Scope == "" {
			return nil
		}
		return any(r)
	}, func(c *expect.Case, w *reader) { lesserScope(c, s, w) })
	// What a token is bound to and what it is good for may be looked at on different ways through a resource.
	for _, r := range s.Resources() {
		first := any(r)
		for _, b := range []harness.Binding{harness.DPoPBound, harness.CertificateBound} {
			w := readerOf(s, r, []harness.Binding{b}, func(t harness.Trial) bool { return t.Opened(r) })
			if r.Scope == "" || w == nil || w.trial.Binding == first.trial.Binding {
				continue
			}
			w.at.Variant = string(b)
			s.It(k.Scope, w.at, func(c *expect.Case) { lesserScope(c, s, w) })
		}
	}
	atEveryResource(s, k.Audience, nobody, func(r *harness.Resource) *reader {
		if elsewhere(s, r) == nil {
			return nil
		}
		return any(r)
	}, func(c *expect.Case, w *reader) { otherAudience(c, w, elsewhere(s, w.resource)) })
}

// tokenAttack runs one row: every request of it has to be refused between two that open the resource.
func tokenAttack(c *expect.Case, a attacks.TokenAttack, w *reader) {
	token := w.token(c)
	calls := attackCalls(c, a, w, token)
	answer := c.Between(func() harness.Outcome { return c.Call(w.call(token.AccessToken)) }, func() harness.Outcome {
		var refused harness.Outcome
		for i, call := range calls {
			o := c.Call(call)
			if o.State != harness.Refused {
				return o
			}
			if i == 0 || a.Refusal.Misfit(refused) == "" {
				refused = o
			}
		}
		return refused
	}, "the honest request")
	c.Refuses(answer, a.Refusal)
	if a.Sender == attacks.Finder && a.Requests != nil && !a.Attempts && answer.ChallengeParameter("error") != "" && answer.Status == 401 {
		c.Warns("an error is named although no token was sent (RFC 6750 §3.1)")
	}
}

// attackCalls are the requests of a row with an honest token.
func attackCalls(c *expect.Case, a attacks.TokenAttack, w *reader, token *harness.Token) []harness.ResourceCall {
	presented := []string{token.AccessToken}
	switch {
	case a.Tokens != nil:
		presented = a.Tokens(c.Tester, token.AccessToken)
	case a.Forge != nil:
		f, jwt := c.Forge(token.AccessToken)
		if !jwt {
			c.NotApplicable("observed: the access token is opaque")
		}
		if users := c.Target.Users; w.trial.Grant == harness.CodeGrant && len(users) > 1 {
			f.OtherSubject = func() string { return subjectOf(c, w, &users[1]) }
		}
		if presented = a.Forge(f); len(presented) == 0 {
			c.NotApplicable("observed: a token with alg %q cannot be forged this way, or its key is not at jwks_uri", f.Algorithm())
		}
	case a.Instead != attacks.NothingElse:
		presented = []string{instead(c, a.Instead, w, token)}
	}
	var calls []harness.ResourceCall
	for _, value := range presented {
		call := w.call(value)
		switch a.Sender {
		case attacks.Finder:
			call.Who = harness.Identity{Client: w.who.Client}
		case attacks.Attacker:
			call.Who.Key = c.ProofKey("attacker")
		}
		calls = append(calls, call)
		for i, change := range a.Requests {
			if i > 0 {
				calls = append(calls, call)
			}
			calls[len(calls)-1].Change = change
		}
	}
	return calls
}

// subjectOf is the sub of a user in the tokens of a client.
func subjectOf(c *expect.Case, w *reader, user *harness.User) string {
	o := c.Authorize(harness.AuthorizationRequest{Who: w.who, User: user})
	c.Assume(o).To(expect.BeAccepted(), "an honest authorization of "+user.Username)
	if o = c.Redeem(o.Code, harness.TokenRequest{Who: w.who}); o.Token != nil {
		claims, _ := o.Token.Claims()
		if sub, ok := claims["sub"].(string); ok {
			return sub
		}
	}
	c.Unlearned("no token that names %s: %s", user.Username, o)
	return ""
}

// instead is something else that the client was given with its token.
func instead(c *expect.Case, kind attacks.Instead, w *reader, token *harness.Token) string {
	switch kind {
	case attacks.ItsRefreshToken:
		if token.RefreshToken == "" {
			c.NotApplicable("observed: no refresh token came with the access token")
		}
		return token.RefreshToken
	case attacks.ItsIDToken:
		if token.IDToken == "" {
			c.NotApplicable("observed: no ID token came with the access token")
		}
		return token.IDToken
	}
	o := c.Authorize(harness.AuthorizationRequest{Who: w.who})
	c.Assume(o).To(expect.BeAccepted(), "an honest authorization")
	return o.Code.Code
}

// unknownToken presents a token that nobody issued. A resource that opened for one in the preflight is judged by nothing else, and
// here it fails only when it refuses a request without any token: then it does decide. A page for everyone is no resource.
func unknownToken(c *expect.Case, w *reader) {
	token := w.token(c).AccessToken
	if c.Distrusted(w.resource.Name) == "" {
		answer := c.Between(func() harness.Outcome { return c.Call(w.call(token)) }, func() harness.Outcome { return c.Call(w.call(c.UnknownToken())) }, "the honest request")
		c.Refuses(answer, c.Check.Refusal)
		return
	}
	if bare := c.Ask(harness.ResourceCall{Who: harness.Identity{Client: w.who.Client}, Resource: w.resource}); bare.State != harness.Refused {
		c.Unlearned("without any token: %s; what %s answers is no proof of access", bare, w.resource.Name)
	}
	answer := c.Between(func() harness.Outcome { return c.Ask(w.call(token)) }, func() harness.Outcome { return c.Ask(w.call(c.UnknownToken())) }, "the honest request")
	c.Refuses(answer, c.Check.Refusal)
}

// revokedToken ends a token at the authorization server. Each control has a token of its own, because a server may end more than
// the one that was named (RFC 7009 §2.1).
func revokedToken(c *expect.Case, w *reader) {
	honest := func() harness.Outcome { return c.Call(w.call(w.token(c).AccessToken)) }
	answer := c.Between(honest, func() harness.Outcome {
		token := w.token(c)
		if o := c.Call(w.call(token.AccessToken)); o.State != harness.Granted {
			return harness.Outcome{At: o.At, Why: "the token did not work before it was revoked: " + o.String()}
		}
		o := c.Revoke(token.AccessToken, w.who)
		if o.State == harness.Refused && o.Error == "unsupported_token_type" {
			c.NotApplicable("observed: the server revokes no access tokens of this kind (%s)", o)
		}
		if o.State == harness.Refused && o.Status == 401 && w.who.Client.Public() { // RFC 7009 §2.1 has clients authenticate
			c.NotApplicable("observed: public clients revoke nothing here (%s)", o)
		}
		if o.State != harness.Granted {
			return harness.Outcome{At: o.At, Why: "the revocation was refused: " + o.String()}
		}
		if _, jwt := token.Claims(); jwt {
			c.Measured("the access token is self-contained: a resource that verifies it by itself takes it until it expires")
		}
		return c.Call(w.call(token.AccessToken))
	}, "the honest request")
	c.Refuses(answer, c.Check.Refusal)
}

// lesserScope presents a token that the server says has another scope than the resource needs: asked for by the same client, or
// by one that cannot have more. Where a resource of the same server takes that scope, it has to open: the token is good.
func lesserScope(c *expect.Case, s *expect.Suite, w *reader) {
	token := w.token(c).AccessToken
	honest := func() harness.Outcome { return c.Call(w.call(token)) }
	c.Assume(honest()).To(expect.BeAccepted(), "a token with the scope")
	lesser := withoutScope(c, s, w)
	for _, r := range s.ResourcesFor(lesser.Who.Client, lesser.grant) {
		if r.Scope != "" && within(r.Scope, lesser.scope) && r.Indicator == w.resource.Indicator && lesser.trial.Opened(r) {
			call := w.call(lesser.AccessToken)
			call.Who, call.Resource = lesser.Who, r
			c.Assume(c.Call(call)).To(expect.BeAccepted(), "the token with the scope "+lesser.scope+" at "+r.Name)
			break
		}
	}
	answer := c.Between(honest, func() harness.Outcome {
		call := w.call(lesser.AccessToken)
		call.Who = lesser.Who
		return c.Call(call)
	}, "a token with the scope")
	if userInfo(s, w.resource) && namesNobody(answer) {
		c.Warns("UserInfo answered HTTP %d, though with nothing that says of whom; expected: %s", answer.Status, c.Check.Refusal)
		return
	}
	c.Refuses(answer, c.Check.Refusal)
}

// scoped is a token with the scope that the server gave it.
type scoped struct {
	*harness.Token
	scope, grant string
	trial        *harness.Trial
}

// withoutScope gets a token that lacks a scope of the resource. The server's word for the scope of a token is the scope member,
// which may be left out only when the scope is the one that was asked for (RFC 6749 §5.1), and the claim.
func withoutScope(c *expect.Case, s *expect.Suite, w *reader) scoped {
	why := "no client of the target file has a scope that the resource does not need"
	for _, t := range append([]*harness.Trial{w.trial}, s.All(func(t harness.Trial) bool { return t.Binding == w.trial.Binding && t.Client != w.trial.Client })...) {
		scopes := slices.DeleteFunc(strings.Fields(t.Client.Scope), func(scope string) bool {
			return within(scope, w.resource.Scope) || t.Grant == harness.ClientCredentialsGrant && scope == "openid" || userInfo(s, w.resource) && opensUserInfo(scope)
		})
		if len(scopes) == 0 || t.Grant == harness.BroughtGrant && (t.Works != harness.Yes || within(w.resource.Scope, t.Client.Scope)) {
			continue
		}
		asked := strings.Join(scopes, " ")
		o := c.ObtainFor(s.Honest(t.Client, t.Binding), t.Grant, w.resource, asked)
		switch {
		case o.State == harness.Unknown:
			c.Unlearned("a token with the scope %s: %s", asked, o)
		case o.State == harness.Refused:
			why = "observed: the server gives no token with the scope " + asked + " alone: " + o.String()
			continue
		}
		got := o.Token.Scope
		if got == "" {
			got = asked
		}
		if claims, jwt := o.Token.Claims(); jwt {
			if claim, ok := claims["scope"].(string); ok {
				got += " " + claim
			}
		}
		if within(w.resource.Scope, got) {
			why = "observed: the server adds the scope to what was asked for"
			continue
		}
		return scoped{o.Token, got, t.Grant, t}
	}
	c.NotApplicable("%s", why)
	return scoped{}
}

func userInfo(s *expect.Suite, r *harness.Resource) bool {
	return r.URL == s.Metadata.String("userinfo_endpoint")
}

// opensUserInfo reports whether a value of scope asks for claims of UserInfo (OpenID Connect Core §5.4), whether or not there is openid too.
func opensUserInfo(scope string) bool {
	return slices.Contains([]string{"openid", "profile", "email", "address", "phone"}, scope)
}

// namesNobody reports whether an answer of UserInfo has no sub, which is always in one that is of use (OpenID Connect Core §5.3.2).
func namesNobody(o harness.Outcome) bool {
	var members map[string]any
	if o.State != harness.Granted || o.Answer == nil || json.Unmarshal(o.Answer.Body, &members) != nil {
		return false
	}
	_, named := members["sub"]
	return !named
}

// within reports whether every value of one scope is in another.
func within(scope, other string) bool {
	has := strings.Fields(other)
	return !slices.ContainsFunc(strings.Fields(scope), func(s string) bool { return !slices.Contains(has, s) })
}

// elsewhere is a resource with another name in token requests, or nil.
func elsewhere(s *expect.Suite, r *harness.Resource) *harness.Resource {
	for _, other := range s.Resources() {
		if r.Indicator != "" && other.Indicator != "" && other.Indicator != r.Indicator {
			return other
		}
	}
	return nil
}

// otherAudience presents a token that was asked for by the name of another resource, which it opens.
func otherAudience(c *expect.Case, w *reader, other *harness.Resource) {
	own := w.token(c).AccessToken
	o := c.ObtainFor(w.who, w.trial.Grant, other, "")
	c.Assume(o).To(expect.BeAccepted(), "a token for "+other.Name)
	foreign := o.Token.AccessToken
	if foreign == own {
		c.NotApplicable("observed: the token for %s is the token for %s", other.Name, w.resource.Name)
	}
	answer := c.Between(func() harness.Outcome {
		call := w.call(foreign)
		call.Resource = other
		if o := c.Call(call); o.State != harness.Granted {
			return o
		}
		return c.Call(w.call(own))
	}, func() harness.Outcome { return c.Call(w.call(foreign)) }, "each token at its own resource")
	c.Refuses(answer, c.Check.Refusal)
}
