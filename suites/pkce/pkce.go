// Package pkce checks the front channel, PKCE (RFC 7636) and the handling of authorization codes.
package pkce

import (
	"fmt"
	"slices"
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// Specs declares the checks of the suite for a target.
func Specs(s *expect.Suite) {
	codes(s)
	repeats(s)
	observed(s)
	redirects(s)
	frontChannel(s)
	codeReuse(s)
	pushedRequests(s)
	races(s)
	clientAssertions(s)
	grantAssertions(s)
	clientCredentials(s)
	refreshTokens(s)
	directEndpoints(s)
	metadata(s)
	resourceTokens(s)
	fapi(s)
	measurements(s)
	pages(s)
	registrations(s)
}

func codes(s *expect.Suite) {
	for _, a := range slices.Concat(attacks.Codes(), attacks.TokenRequests(), attacks.AuthorizationRequests()) {
		trials := clientsOf(s, a.Clients)
		if len(trials) == 0 {
			s.Skip(a.Check, expect.Place{Endpoint: "token", Grant: harness.CodeGrant}, whyNoClient(s, a))
			continue
		}
		for _, trial := range trials {
			for _, variant := range append([]attacks.Variant{""}, a.Also...) {
				if variant != "" && !representative(s, trial) {
					continue
				}
				at := expect.Place{Endpoint: "token", Grant: harness.CodeGrant, Client: trial.Client.Name, Variant: string(variant)}
				if why := unfit(s, a, trial, variant); why != "" {
					s.Skip(a.Check, at, why)
					continue
				}
				s.It(a.Check, at, func(c *expect.Case) { code(c, s, a, trial, variant) })
			}
		}
	}
}

// clientsOf picks one client of each kind that the row runs with; a defence may hold for one kind only.
func clientsOf(s *expect.Suite, kind attacks.Clients) []*harness.Trial {
	pick := func(fits func(*harness.Client) bool) *harness.Trial {
		return s.Pick(func(t harness.Trial) bool { return t.Grant == harness.CodeGrant && fits(t.Client) })
	}
	public := pick((*harness.Client).Public)
	confidential := pick((*harness.Client).Confidential)
	var out []*harness.Trial
	switch kind {
	case attacks.PublicOnly:
		out = []*harness.Trial{public}
	case attacks.SecretOnly:
		out = []*harness.Trial{pick((*harness.Client).SendsSecret)}
	case attacks.ConfidentialOnly:
		out = []*harness.Trial{confidential}
	case attacks.EveryClient:
		for i := range s.Target.Clients {
			out = append(out, pick(func(c *harness.Client) bool { return c == &s.Target.Clients[i] }))
		}
	case attacks.PKCEOptionalOnly:
		if optional := s.Learned.PKCEOptional; optional != nil {
			out = []*harness.Trial{pick(func(c *harness.Client) bool { return c == optional })}
			if optional.Public() { // it may be optional for clients with a credential as well
				out = append(out, confidential)
			}
		} else if s.Learned.Has("pkce-optional") == harness.NotKnown {
			out = []*harness.Trial{public}
		}
	default:
		out = []*harness.Trial{public, confidential}
	}
	return slices.DeleteFunc(out, func(t *harness.Trial) bool { return t == nil })
}

func whyNoClient(s *expect.Suite, a attacks.CodeAttack) string {
	if why := s.Missing(a.Check); why != "" {
		return why
	}
	kind := map[attacks.Clients]string{attacks.PublicOnly: "public ", attacks.ConfidentialOnly: "confidential "}[a.Clients]
	with := map[attacks.Clients]string{attacks.SecretOnly: "a client_secret and "}[a.Clients]
	return "the target file names no " + kind + "client with " + with + "the authorization_code grant that could get a token"
}

// unfit says why a row does not apply to a client, or "".
func unfit(s *expect.Suite, a attacks.CodeAttack, t *harness.Trial, v attacks.Variant) string {
	if v == attacks.Pushed || v == attacks.PushedConsent {
		if s.Learned.Has("par") == harness.No {
			return "needs par; " + s.Learned.Capabilities["par"].How
		}
		if t.CannotPush != "" {
			return t.CannotPush
		}
	}
	for _, need := range strings.Fields(a.Needs) {
		switch need {
		case "par":
			if t.CannotPush != "" {
				return t.CannotPush
			}
		case "second-redirect-uri":
			if len(t.Client.RedirectURIs) < 2 {
				return "client " + t.Client.Name + " has one redirect_uri only"
			}
		case "letters-in-secret":
			if secret := t.Client.ClientSecret; attacks.OtherCase(secret) == secret {
				return "the client_secret of client " + t.Client.Name + " has no letters"
			}
		case "letters-in-path":
			if uri := t.Client.RedirectURIs[0]; attacks.OtherPathCase(uri) == uri {
				return "the path of " + uri + " has no letters"
			}
		}
	}
	return ""
}

// code runs one row: an honest flow, the flow with its defect, an honest flow.
func code(c *expect.Case, s *expect.Suite, a attacks.CodeAttack, t *harness.Trial, v attacks.Variant) {
	who := s.Honest(t.Client, t.Binding)
	honest := c.Proven(fmt.Sprintf("flow of %s %s, pushed %t", who.Client.Name, v, a.Beside != nil), func() harness.Outcome {
		return flow(c, who, in(a, v, harness.AuthorizationRequest{}), nil, nil)
	})
	pairs := pairFor(c, a)
	authorization := func() harness.AuthorizationRequest {
		return in(a, v, harness.AuthorizationRequest{Who: who, PKCE: pairs(), Change: a.Authorize, Beside: a.Beside})
	}
	switch {
	case v == attacks.FirstConsent:
		firstConsent(c, a, who, authorization())
		return
	case v.Change() != nil:
		takes(c, a, v, who)
	case a.Unless != nil:
		unless(c, who, a.Unless)
	}
	if a.ID == attacks.PlainCode {
		servesAtAll(c, who)
		return
	}
	if a.Mode == attacks.Accept {
		answer := c.Between(honest, func() harness.Outcome { return flow(c, who, authorization(), nil, nil) }, "the honest flow")
		c.Expect(answer).To(expect.BeAccepted())
		c.Passes("it was served: %s", answer)
		return
	}
	other := second(c, s, a, t, who, v)
	attack := func() harness.Outcome {
		var last harness.Outcome
		for _, redeem := range a.Redeem {
			if last = flow(c, other.redeems, authorization(), redeem, other); last.State != harness.Refused {
				return last
			}
		}
		return last
	}
	answer := c.Between(honest, attack, "the honest flow")
	c.Expect(answer).To(expect.BeRefused())
	if a.Observed.Redeem != nil {
		c.Measured("%s: %s", a.Observed.What, flow(c, who, authorization(), a.Observed.Redeem, nil))
	}
	if a.Tolerated != nil {
		lenient := flow(c, who, authorization(), a.Tolerated, nil)
		if lenient.State == harness.Granted {
			c.Warns("the request was not refused; the right verifier redeems its code, others do not")
			return
		}
	}
	c.Prefer(answer).To(expect.BeRefusedAs(formAt(a, answer)))
	if len(a.Failed) > 0 {
		measureAfterFailure(c, authorization(), other)
	}
}

// servesAtAll is the positive control of all others, as a check of its own. That a client is not let in at all is no word about PKCE.
func servesAtAll(c *expect.Case, who harness.Identity) {
	o := c.Authorize(harness.AuthorizationRequest{Who: who})
	c.Assume(o).To(expect.BeAccepted(), "the authorization request")
	o = c.Redeem(o.Code, harness.TokenRequest{Who: who})
	if o.State == harness.Refused && o.Error == "invalid_grant" {
		c.Fails("the right verifier was refused: %s", o)
	}
	c.Assume(o).To(expect.BeAccepted(), "the redemption")
	c.Assume(c.Spend(o.Token, harness.CodeGrant)).To(expect.BeAccepted(), "the token")
	c.Passes("the right verifier redeemed its code")
}

// formAt is the form of a refusal by where it came: a row about the redemption may be refused earlier, by an error redirect.
func formAt(a attacks.CodeAttack, o harness.Outcome) harness.Refusal {
	if o.Where == harness.InRedirect && !slices.Contains(a.Refusal.Where, harness.InRedirect) {
		return harness.Refusal{Status: []int{302, 303}, Errors: []string{"invalid_request"}, Where: []harness.Where{harness.InRedirect}}
	}
	// A pushed request is refused in the body of the PAR endpoint (RFC 9126 §2.3).
	if o.At == "the PAR endpoint" {
		return harness.Refusal{Status: []int{400}, Errors: append([]string{"invalid_request"}, a.Refusal.Errors...), Where: []harness.Where{harness.InBody}}
	}
	return a.Refusal
}

// representative reports whether a client is the one of its kind with which variants run.
func representative(s *expect.Suite, t *harness.Trial) bool {
	return slices.ContainsFunc(clientsOf(s, attacks.PublicAndConfidential), func(o *harness.Trial) bool { return o.Client == t.Client })
}

func pairFor(c *expect.Case, a attacks.CodeAttack) func() harness.PKCEPair {
	return func() harness.PKCEPair {
		pair := c.NewPKCE()
		if a.Verifier != nil {
			pair = c.PKCEFor(a.Verifier(harness.Facts{Tester: c.Tester}))
		}
		if a.Challenge != nil {
			pair.Challenge = a.Challenge(pair.Challenge)
		}
		return pair
	}
}

// party is whom and what an attack takes part of, beside the transaction that is attacked.
type party struct {
	transaction *harness.Authorization
	later       func(*harness.Authorization) harness.Outcome // begins the other transaction when the code has been issued
	redeems     harness.Identity
	against     *harness.Client  // whom the change of the redemption may name
	before      bool             // the code is redeemed honestly first
	failed      []harness.Change // redemptions before that have to fail
}

func second(c *expect.Case, s *expect.Suite, a attacks.CodeAttack, t *harness.Trial, who harness.Identity, v attacks.Variant) *party {
	p := &party{redeems: who, failed: a.Failed}
	q := in(a, v, harness.AuthorizationRequest{Who: who})
	switch a.Needs2 {
	case attacks.Transaction:
		o := c.Authorize(q)
		c.Assume(o).To(expect.BeAccepted(), "the other transaction")
		p.transaction = o.Code
	case attacks.OtherUser, attacks.LaterTransaction:
		if a.Needs2 == attacks.OtherUser && len(c.Target.Users) > 1 {
			q.User = &c.Target.Users[1]
		}
		p.later = func(*harness.Authorization) harness.Outcome { return c.Authorize(q) }
	case attacks.SameState:
		p.later = func(first *harness.Authorization) harness.Outcome {
			q.Change = setting("state", first.State)
			o := c.Authorize(q)
			if o.State == harness.Refused {
				q.Change = nil
				c.Assume(c.Authorize(q)).To(expect.BeAccepted(), "the other transaction with a state of its own")
				c.NotApplicable("observed: the server takes no state a second time (%s)", o)
			}
			return o
		}
	case attacks.OtherClient, attacks.OtherCredential:
		fits := a.Other
		if fits == nil {
			fits = func(x *harness.Client) bool { return x.Public() == t.Client.Public() }
		}
		other := s.Pick(func(x harness.Trial) bool {
			if a.Needs2 == attacks.OtherCredential && x.Client.ClientSecret == t.Client.ClientSecret || a.Needs2 == attacks.OtherClient && x.Grant != harness.CodeGrant {
				return false // in a laboratory every client may have the same secret, and then it is nobody else's
			}
			return x.Client != t.Client && fits(x.Client)
		})
		if other == nil {
			c.NotApplicable("the target file names no second client that can take part in this attack on %s", t.Client.Name)
		}
		if p.against = t.Client; a.Needs2 == attacks.OtherCredential {
			p.against = other.Client
			break
		}
		p.redeems = s.Honest(other.Client, other.Binding)
		c.Assume(c.Obtained(p.redeems, harness.CodeGrant)).To(expect.BeAccepted(), "the honest flow of client "+other.Client.Name)
	case attacks.Replay:
		p.before = true
	}
	return p
}

// flow plays a code flow; redeem is the change of its redemption. What comes out is worth something only when it can be spent.
func flow(c *expect.Case, redeems harness.Identity, q harness.AuthorizationRequest, redeem harness.Change, p *party) harness.Outcome {
	if q.Who.Client == nil {
		q.Who = redeems
	}
	request := harness.TokenRequest{Who: redeems, Change: redeem}
	if p != nil {
		q.Other, request.Other, request.Against = p.transaction, p.transaction, p.against
	}
	o := c.Authorize(q)
	if o.State != harness.Granted || o.Code == nil || o.Code.Code == "" {
		return o
	}
	if p != nil && p.later != nil {
		other := p.later(o.Code)
		if other.State != harness.Granted || other.Code == nil {
			return harness.Outcome{At: other.At, Why: "the other transaction was refused: " + other.String()}
		}
		request.Other = other.Code
	}
	if p != nil {
		for _, change := range p.failed {
			if first := c.Redeem(o.Code, harness.TokenRequest{Who: redeems, Change: change}); first.State != harness.Refused {
				return c.Loot(first, harness.CodeGrant)
			}
		}
	}
	if p != nil && p.before {
		first := c.Redeem(o.Code, harness.TokenRequest{Who: redeems})
		if first.State != harness.Granted {
			return harness.Outcome{At: first.At, Why: "the first redemption was refused: " + first.String()}
		}
	}
	if o = c.Redeem(o.Code, request); o.State != harness.Granted {
		return o
	}
	if redeem == nil {
		return c.Spend(o.Token, harness.CodeGrant)
	}
	return c.Loot(o, harness.CodeGrant)
}
