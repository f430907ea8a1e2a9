package pkce

import (
	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// in is an authorization request in the way of a variant; a row that puts parameters next to a request_uri needs one.
func in(a attacks.CodeAttack, v attacks.Variant, q harness.AuthorizationRequest) harness.AuthorizationRequest {
	if v == attacks.Pushed || v == attacks.PushedConsent || a.Beside != nil {
		q.Via = harness.PushedRequest
	}
	if v == attacks.Login {
		q.Session = harness.NewSession
	}
	if way, own := v.Change(), q.Change; way != nil {
		q.Change = func(m *harness.Message, f harness.Facts) {
			way(m, f)
			if own != nil {
				own(m, f)
			}
		}
	}
	return q
}

// takes ends the check where the target does not serve the way of a variant, as it need not: state may be required, prompt is a
// parameter of OpenID Connect. Where prompt=consent shows no page, nothing differs from the row without it.
func takes(c *expect.Case, a attacks.CodeAttack, v attacks.Variant, who harness.Identity) {
	c.Assume(flow(c, who, harness.AuthorizationRequest{}, nil, nil)).To(expect.BeAccepted(), "the honest flow")
	o := c.Authorize(in(a, v, harness.AuthorizationRequest{Who: who}))
	if o.State == harness.Refused {
		c.NotApplicable("observed: the target does not serve such a request (%s)", o)
	}
	c.Assume(o).To(expect.BeAccepted(), "the honest request of this kind")
	if v != attacks.Stateless && !o.Code.Front.Showed(harness.ConsentForm) {
		c.NotApplicable("observed: prompt=consent shows no consent page")
	}
}

// unless ends the check where a request is served that has to be refused for the row to say anything.
func unless(c *expect.Case, who harness.Identity, request harness.Change) {
	c.Assume(flow(c, who, harness.AuthorizationRequest{}, nil, nil)).To(expect.BeAccepted(), "the honest flow")
	switch o := c.Authorize(harness.AuthorizationRequest{Who: who, Change: request}); o.State {
	case harness.Granted:
		c.NotApplicable("observed: client %s gets a code without PKCE, so there is no requirement to evade", who.Client.Name)
	case harness.Unknown:
		c.Unlearned("%s", o)
	}
}

// firstConsent runs a row in the authorization in which a user consents, between ordinary flows; the second is that user's.
func firstConsent(c *expect.Case, a attacks.CodeAttack, who harness.Identity, q harness.AuthorizationRequest) {
	c.Assume(flow(c, who, harness.AuthorizationRequest{}, nil, nil)).To(expect.BeAccepted(), "the honest flow")
	var consent harness.Consent
	var answer harness.Outcome
	c.Attack(func() {
		if consent = c.Consenting(q); consent.State == harness.Granted && consent.How != "" {
			answer = c.Loot(c.Redeem(consent.Code, harness.TokenRequest{Who: who, Change: a.Redeem[0]}), harness.CodeGrant)
		}
	})
	if consent.Why != "" {
		c.NotApplicable("%s", consent.Why)
	}
	c.Assume(consent.Outcome).To(expect.BeAccepted(), "the authorization by user "+consent.User.Username)
	c.Measured("in %s", consent.How)
	c.Assume(flow(c, who, harness.AuthorizationRequest{User: consent.User}, nil, nil)).To(expect.BeAccepted(), "the honest flow of user "+consent.User.Username)
	if answer.State == harness.Granted {
		answer.Got += ", in " + consent.How
	}
	c.Expect(answer).To(expect.BeRefused())
	c.Passes("refused (%s) in %s, between two accepted honest calls", answer, consent.How)
	c.Prefer(answer).To(expect.BeRefusedAs(a.Refusal))
}

// measureAfterFailure tells whether a refused redemption costs the client its code. Both are right: RFC 7636 says nothing of it.
func measureAfterFailure(c *expect.Case, q harness.AuthorizationRequest, p *party) {
	switch o := flow(c, q.Who, q, nil, p); o.State {
	case harness.Granted:
		c.Measured("after a refused verifier the right one redeems the code")
	case harness.Refused:
		c.Measured("after a refused verifier the right one is refused as well (%s)", o)
	}
}
