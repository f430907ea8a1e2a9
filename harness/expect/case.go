package expect

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	gomegatypes "github.com/onsi/gomega/types"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
)

// Case is one check at one place while it runs.
type Case struct {
	*harness.Trace
	Check  attacks.Check
	suite  *Suite
	result *harness.Result
	last   harness.Outcome
	kept   map[string]*harness.Token

	evidence Evidence
}

// It declares a check at a place. Where a capability is missing the result is a skip that says so.
func (s *Suite) It(check attacks.Check, at Place, body func(*Case)) {
	s.declare(check, at, s.Missing(check), body)
}

// Skip declares a check that does not apply to this target.
func (s *Suite) Skip(check attacks.Check, at Place, reason string) {
	s.declare(check, at, reason, nil)
}

func (s *Suite) declare(check attacks.Check, at Place, missing string, body func(*Case)) {
	r := s.result(check, at)
	if s.Target.Alone() && r.Role == harness.AuthorizationServer {
		missing = strings.TrimSuffix(harness.NoServer+"; "+missing, "; ")
	}
	if standing := check.Standing(s.Profile); standing.Unasked {
		missing = standing.Why
	}
	if s.Manners == Gentle && check.Harm != attacks.NoHarm && missing == "" {
		missing = "left out by --gentle: it " + string(check.Harm)
	}
	if s.Select != nil && !s.Select(r) {
		return
	}
	if s.control == nil {
		s.control = &control{}
	}
	r.Reason = s.Redactor.Text(missing)
	number := s.Book.declare(r, string(s.Mechanism)+at.Key(""))
	labels := ginkgo.Label(check.ID, string(s.Mechanism), string(r.Level), string(r.Severity), string(r.Threat))
	// Ginkgo sorts specs of one code location by their text.
	ginkgo.It(fmt.Sprintf("%s %s %s", number, check.Title, r.Key), labels, func(ctx ginkgo.SpecContext) {
		if missing != "" {
			r.Verdict = harness.Skip
			s.Book.finish(r)
			ginkgo.Skip(r.Reason)
		}
		start, trace, expected := time.Now(), s.Trace(ctx, check.ID), r.Expected
		for range attempts {
			unheard := trace.Unheard()
			r.Verdict, r.Reason, r.Measured, r.Values, r.Expected = "", "", "", nil, expected
			(&Case{Trace: trace, Check: check, suite: s, result: r, evidence: s.Evidence}).run(ctx, body)
			if trace.Unheard() == unheard || trace.Stopped() != "" {
				break
			}
		}
		r.Duration = time.Since(start).Milliseconds()
		s.Book.finish(r)
		if r.Verdict == harness.Fail || r.Verdict == harness.Inconclusive {
			ginkgo.Fail(r.Reason)
		}
		if r.Verdict == harness.Skip {
			ginkgo.Skip(r.Reason)
		}
	})
}

// attempts is how often a check is made: a request of it that the target had no time for decided nothing, and sent once more it would
// be another attack. The check is begun again, with new material; its record shows all of it.
const attempts = 4

func (c *Case) run(ctx context.Context, body func(*Case)) {
	defer func() { c.close(recover(), ctx.Err()) }()
	body(c)
}

// verdictReached unwinds a check whose verdict is known.
type verdictReached struct{}

// close settles the verdict, also when the check was interrupted or popcheck itself failed.
func (c *Case) close(thrown any, interrupted error) {
	r := c.result
	if _, ours := thrown.(verdictReached); thrown != nil && !ours {
		r.Verdict, r.Reason = harness.Inconclusive, fmt.Sprintf("popcheck itself failed here, please report it: %v", thrown)
	}
	if interrupted != nil && r.Verdict != harness.Fail {
		r.Verdict, r.Reason = harness.Inconclusive, "not reached: the run was interrupted"
	}
	if r.Verdict == "" {
		r.Verdict = harness.Pass
		if r.Reason == "" && c.last.State == harness.Refused {
			r.Reason = "refused (" + c.last.String() + ") between two accepted honest calls"
		}
	}
	if c.evidence == KeepEvidence {
		r.Exchanges = c.Exchanges()
	}
	r.Reason, r.Measured = c.Redactor.Text(r.Reason), c.Redactor.Text(r.Measured)
	for i, v := range r.Values {
		hide := c.Redactor.Text
		r.Values[i] = harness.Value{Name: hide(v.Name), Value: hide(v.Value), Stated: hide(v.Stated), How: hide(v.How)}
	}
}

func (c *Case) end(v harness.Verdict, reason string) {
	c.result.Verdict, c.result.Reason = v, reason
	panic(verdictReached{})
}

// Assume judges a control: it can only make the result inconclusive.
func (c *Case) Assume(o harness.Outcome) gomega.Assertion {
	return gomega.NewGomega(func(message string, _ ...int) {
		c.end(harness.Inconclusive, oneLine(message))
	}).Expect(o)
}

// Expect judges an attack: only here a result can fail. An outcome from which nothing can be learned makes it inconclusive.
func (c *Case) Expect(o harness.Outcome) gomega.Assertion {
	c.last = o
	return gomega.NewGomega(func(message string, _ ...int) {
		if o.State == harness.Unknown {
			c.end(harness.Inconclusive, oneLine(message))
		}
		c.end(harness.Fail, oneLine(message))
	}).Expect(o)
}

// Prefer judges the form of a refusal: it can only make the result a warning.
func (c *Case) Prefer(o harness.Outcome) gomega.Assertion {
	return gomega.NewGomega(func(message string, _ ...int) {
		c.result.Verdict, c.result.Reason = harness.Warn, oneLine(message)
	}).Expect(o)
}

// Fails ends the check: the required behaviour is missing.
func (c *Case) Fails(format string, args ...any) { c.end(harness.Fail, fmt.Sprintf(format, args...)) }

// Warns marks the result: the defence is there, in another form than the clause asks for.
func (c *Case) Warns(format string, args ...any) {
	c.result.Verdict, c.result.Reason = harness.Warn, fmt.Sprintf(format, args...)
}

// Passes says what was seen.
func (c *Case) Passes(format string, args ...any) { c.result.Reason = fmt.Sprintf(format, args...) }

// Unlearned ends the check: nothing can be concluded.
func (c *Case) Unlearned(format string, args ...any) {
	c.end(harness.Inconclusive, fmt.Sprintf(format, args...))
}

// NotApplicable ends the check: what was observed shows that it does not apply.
func (c *Case) NotApplicable(format string, args ...any) {
	c.end(harness.Skip, fmt.Sprintf(format, args...))
}

// Measured records a value for the report.
func (c *Case) Measured(format string, args ...any) { c.result.Measured = fmt.Sprintf(format, args...) }

// Value records a measured value for the table of the report; the text of what was measured has them all.
func (c *Case) Value(v harness.Value) {
	c.result.Values = append(c.result.Values, v)
	var all []string
	for _, v := range c.result.Values {
		all = append(all, v.Name+": "+v.Value)
	}
	c.Measured("%s", strings.Join(all, "; "))
}

// Between runs an attack between two honest calls and returns its outcome; all three are recorded also when the attack works.
func (c *Case) Between(honest, attack func() harness.Outcome, what string) harness.Outcome {
	c.Assume(honest()).To(BeAccepted(), what)
	var answer harness.Outcome
	c.Attack(func() { answer = attack() })
	c.Assume(honest()).To(BeAccepted(), what+", again")
	return answer
}

// Refuses is the usual judgement of an attack: it must be refused, and should be in the form of the row.
func (c *Case) Refuses(answer harness.Outcome, form harness.Refusal) {
	c.result.Expected = form.String()
	if c.Check.Level == harness.Hardening && answer.State == harness.Granted { // by which alone nobody wins anything
		c.Fails("was not refused: %s", answer)
	}
	c.Expect(answer).To(BeRefused())
	c.Prefer(answer).To(BeRefusedAs(form))
}

// Obtained is an honest token, spent: a control counts only when its token opens what it should.
func (c *Case) Obtained(who harness.Identity, grant string) harness.Outcome {
	o := c.Obtain(who, grant)
	if o.State != harness.Granted {
		return o
	}
	return c.Spend(o.Token, grant)
}

// Alive is whether a token still works. That it was issued once is no answer to this: where nothing else can be asked, the check does not apply.
func (c *Case) Alive(token *harness.Token, grant string) harness.Outcome {
	o := c.Spend(token, grant)
	if o.Unspent {
		c.NotApplicable("declared: nothing shows whether an access token still works; name a resource or an introspection_client")
	}
	return o
}

// Kept is an honest access token of this case: got once, and used by its control and its attack alike.
func (c *Case) Kept(who harness.Identity, grant string) string {
	key := who.Client.ClientID + " " + grant
	if c.kept[key] == nil {
		o := c.Obtain(who, grant)
		c.Assume(o).To(BeAccepted(), "an honest token by "+grant)
		if c.kept == nil {
			c.kept = map[string]*harness.Token{}
		}
		c.kept[key] = o.Token
	}
	return c.kept[key].AccessToken
}

// Forget gives up the kept tokens, which may have ended.
func (c *Case) Forget() { c.kept = nil }

// KeptLifetime is how long the server says that the token of Kept lives; 0 when it does not, or there is none.
func (c *Case) KeptLifetime(who harness.Identity, grant string) time.Duration {
	if t := c.kept[who.Client.ClientID+" "+grant]; t != nil {
		return t.Lifetime()
	}
	return 0
}

// Prepared makes fresh honest material for a grant (a code, a refresh token) and returns the last request, to be sent
// with a change. When the preparation fails, that is what the request comes to, as nothing learned.
func (c *Case) Prepared(who harness.Identity, grant string) func(harness.TokenRequest) harness.Outcome {
	failed := func(o harness.Outcome) func(harness.TokenRequest) harness.Outcome {
		return func(harness.TokenRequest) harness.Outcome {
			return harness.Outcome{At: o.At, Why: "the preparation of the attack was refused: " + o.String()}
		}
	}
	switch grant {
	case harness.ClientCredentialsGrant:
		return func(q harness.TokenRequest) harness.Outcome { q.Who = or(q.Who, who); return c.ClientCredentials(q) }
	case harness.JWTBearerGrant:
		return func(q harness.TokenRequest) harness.Outcome { q.Who = or(q.Who, who); return c.JWTBearer(q) }
	case harness.BroughtGrant:
		return func(q harness.TokenRequest) harness.Outcome { return c.Obtain(or(q.Who, who), grant) }
	case harness.SelfIssuedGrant:
		return func(q harness.TokenRequest) harness.Outcome { return c.Mint(or(q.Who, who), nil, nil) }
	case harness.RefreshGrant:
		o := c.Obtain(who, harness.CodeGrant)
		if o.State != harness.Granted {
			return failed(o)
		}
		if o.Token.RefreshToken == "" {
			return failed(harness.Outcome{At: o.At, Why: "no refresh token came with the access token"})
		}
		return func(q harness.TokenRequest) harness.Outcome { q.Who = or(q.Who, who); return c.Refresh(o.Token, q) }
	}
	o := c.Authorize(harness.AuthorizationRequest{Who: who})
	if o.State != harness.Granted || o.Code == nil {
		return failed(o)
	}
	return func(q harness.TokenRequest) harness.Outcome { q.Who = or(q.Who, who); return c.Redeem(o.Code, q) }
}

// BoundTo judges what a token is bound to by whatever shows it: the token itself, introspection, or a resource at which thieves use it.
func (c *Case) BoundTo(token *harness.Token, confirmation func(members map[string]any) (string, bool), want string, at *harness.Resource, thieves ...harness.Identity) {
	said := map[string]map[string]any{}
	if claims, jwt := token.Claims(); jwt {
		said["the access token"] = claims
	}
	if c.CanIntrospect() {
		unknown, _ := c.Introspect(c.UnknownToken())
		members, _ := c.Introspect(token.AccessToken)
		if liar, _ := unknown["active"].(bool); !liar && members["active"] == true {
			said["introspection"] = members
		}
	}
	for _, by := range []string{"the access token", "introspection"} {
		switch got, there := confirmation(said[by]); {
		case there && got != want:
			c.Fails("%s names %q as what the token is bound to; %q was proven", by, got, want)
		case there:
			c.Passes("%s names what the token is bound to", by)
			return
		}
	}
	switch {
	case at == nil && len(said) == 0:
		c.NotApplicable("observed: the access token is opaque, and nothing else shows to what it is bound")
	case at == nil:
		c.Fails("neither the access token nor introspection names what the token is bound to")
	}
	answer := c.Between(func() harness.Outcome {
		return c.Call(harness.ResourceCall{Who: token.Who, Token: token.AccessToken, Resource: at})
	}, func() harness.Outcome {
		var last harness.Outcome
		for _, thief := range thieves {
			if last = c.Call(harness.ResourceCall{Who: thief, Token: token.AccessToken, Resource: at}); last.State != harness.Refused {
				return last
			}
		}
		return last
	}, "the bound token with its proof")
	c.Expect(answer).To(BeRefused())
	c.Passes("%s refuses the token in other hands", at.Name)
}

// Rotated is Prepared for a refresh token that came by a refresh itself. A server that keeps its refresh tokens has none.
func (c *Case) Rotated(who harness.Identity) func(harness.TokenRequest) harness.Outcome {
	first := c.Obtain(who, harness.CodeGrant)
	c.Assume(first).To(BeAccepted(), "the honest flow")
	second := c.Refresh(first.Token, harness.TokenRequest{Who: who})
	c.Assume(second).To(BeAccepted(), "the honest refresh")
	if token := second.Token.RefreshToken; token == "" || token == first.Token.RefreshToken {
		c.NotApplicable("observed: a refresh brings no new refresh token")
	}
	return func(q harness.TokenRequest) harness.Outcome {
		q.Who = or(q.Who, who)
		return c.Refresh(second.Token, q)
	}
}

func or(a, b harness.Identity) harness.Identity {
	if a.Client == nil {
		return b
	}
	return a
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// GrownOld returns when a moment has come; what other checks took until then was part of the wait.
func (c *Case) GrownOld(at time.Time) {
	if ages := attacks.WatchedAges(); at.Sub(c.Clock.Now()) > ages[len(ages)-1] {
		c.suite.Book.watch(c) // which is over before this wait is
	}
	if err := c.WaitUntil(at); err != nil {
		c.Unlearned("%v", err)
	}
	*c.suite.control = control{} // what was honest before the wait may be old now
}

// BeAccepted matches an outcome from which the thing asked for came.
func BeAccepted() gomegatypes.GomegaMatcher { return stateMatcher{harness.Granted} }

// BeRefused matches an outcome from which nothing came, by a decision of the target.
func BeRefused() gomegatypes.GomegaMatcher { return stateMatcher{harness.Refused} }

type stateMatcher struct{ want harness.State }

func (m stateMatcher) Match(actual any) (bool, error) {
	o, ok := actual.(harness.Outcome)
	if !ok {
		return false, fmt.Errorf("want an Outcome, not %T", actual)
	}
	return o.State == m.want, nil
}

func (m stateMatcher) FailureMessage(actual any) string {
	o, _ := actual.(harness.Outcome)
	switch {
	case m.want == harness.Refused && o.State == harness.Granted:
		return "the attack worked: " + o.String()
	case m.want == harness.Granted && o.State == harness.Refused:
		return "was refused: " + o.String()
	}
	return "could not be judged: " + o.String()
}

func (m stateMatcher) NegatedFailureMessage(actual any) string {
	return "expected the contrary of: " + m.FailureMessage(actual)
}

// BeRefusedAs matches a refusal in the form that a clause asks for.
func BeRefusedAs(form harness.Refusal) gomegatypes.GomegaMatcher { return formMatcher{form} }

type formMatcher struct{ form harness.Refusal }

func (m formMatcher) Match(actual any) (bool, error) {
	o, ok := actual.(harness.Outcome)
	if !ok {
		return false, fmt.Errorf("want an Outcome, not %T", actual)
	}
	return m.form.Misfit(o) == "", nil
}

func (m formMatcher) FailureMessage(actual any) string {
	o, _ := actual.(harness.Outcome)
	if o.Got != "" {
		return o.Got
	}
	return "refused, but " + m.form.Misfit(o)
}

func (m formMatcher) NegatedFailureMessage(actual any) string {
	return "expected another form than " + m.form.String()
}

// Introspected is what introspection says of an honest token; an unknown token must come back as inactive first. Where the client that
// introspects is not told of it, the owner asks, who may be the only one that is (RFC 7662 §2.2, §4).
func (c *Case) Introspected(who harness.Identity, grant string) map[string]any {
	o := c.Obtain(who, grant)
	c.Assume(o).To(BeAccepted(), "an honest token by "+grant)
	unknown, answer := c.Introspect(c.UnknownToken())
	if isActive(unknown) {
		c.Unlearned("introspection calls a token active that nobody issued: its answers prove nothing")
	}
	members, answer := c.Introspect(o.Token.AccessToken)
	if answer.State == harness.Refused && answer.Error == "unsupported_token_type" {
		c.NotApplicable("observed: the server introspects no tokens of this kind (%s)", answer)
	}
	c.Assume(answer).To(BeAccepted(), "introspection of an honest token")
	if isActive(members) {
		return members
	}
	if who.Client.Confidential() && who.Client.ClientID != c.Target.IntrospectionClient {
		unknown, _ = c.IntrospectAs(c.UnknownToken(), who, nil)
		if own, _ := c.IntrospectAs(o.Token.AccessToken, who, nil); isActive(own) && !isActive(unknown) {
			return own
		}
	}
	c.Unlearned("introspection calls an honest token inactive; may %s introspect tokens of %s?", c.Target.IntrospectionClient, who.Client.ClientID)
	return nil
}

func isActive(members map[string]any) bool {
	active, _ := members["active"].(bool)
	return active
}
