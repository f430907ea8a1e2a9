package expect_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/extensions/globals"
	"github.com/onsi/ginkgo/v2/formatter"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

type verdictless struct{}

func (verdictless) Fail() {}

func newTester(t *testing.T, issuer string) *harness.Tester {
	t.Helper()
	tester, err := harness.NewTester(&harness.Target{
		Path: "test.yaml", Issuer: issuer, Limits: harness.Limits{Timeout: 20 * time.Second, Body: 1 << 16, Redirects: 5, FailedLogins: 1},
	}, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tester.Close)
	tester.Metadata = &harness.Metadata{Members: map[string]any{}}
	tester.Learned = &harness.Learned{Capabilities: map[string]harness.Capability{
		"there": {Value: "yes", How: "observed"}, "not-there": {Value: "no", How: "discovered: the metadata has none"}, "perhaps": {Value: "unknown", How: "nothing was seen"}}}
	return tester
}

// run declares checks and runs them as the command does; it returns their results in order.
func run(t *testing.T, tester *harness.Tester, declare func(*expect.Suite), edit ...func(*expect.Suite)) []harness.Result {
	t.Helper()
	globals.Reset()
	console, errors := formatter.ColorableStdOut, formatter.ColorableStdErr
	formatter.ColorableStdOut, formatter.ColorableStdErr = io.Discard, io.Discard
	defer func() { formatter.ColorableStdOut, formatter.ColorableStdErr = console, errors }()
	s := &expect.Suite{Tester: tester, Mechanism: harness.DPoP, Profile: "bcp", Book: expect.NewBook(nil)}
	for _, e := range edit {
		e(s)
	}
	ginkgo.Describe("checks", func() { declare(s) })
	suite, reporter := ginkgo.GinkgoConfiguration()
	reporter.NoColor, reporter.Succinct = true, true
	ginkgo.RunSpecs(verdictless{}, "checks", suite, reporter)
	return s.Book.Results("the run ended early")
}

func check(id string) attacks.Check {
	return attacks.Check{ID: id, Title: "refuses it", Clause: harness.Clause{Spec: "RFC 9449", Section: "4.3"}, Level: harness.Must, Severity: harness.High, Threat: harness.ProofReplay}
}

var at = expect.Place{Endpoint: "token", Grant: "authorization_code", Client: "spa"}

// one runs a single check.
func one(t *testing.T, body func(*expect.Case)) harness.Result {
	t.Helper()
	results := run(t, newTester(t, "https://as.example"), func(s *expect.Suite) { s.It(check("test-check"), at, body) })
	if len(results) != 1 || results[0].Key != "test-check@token/authorization_code/spa" {
		t.Fatalf("results: %+v", results)
	}
	return results[0]
}

func granted() harness.Outcome {
	return harness.Outcome{State: harness.Granted, Got: "an access token", At: "the token endpoint", Status: 200}
}

func unknown() harness.Outcome {
	return harness.Outcome{At: "the token endpoint", Why: "nothing came back from the token endpoint: timed out"}
}

func refused(status int, code string, where harness.Where) harness.Outcome {
	return harness.Outcome{State: harness.Refused, At: "the token endpoint", Status: status, Error: code, Where: where}
}

func TestVerdicts(t *testing.T) {
	form := harness.Refusal{Status: []int{400}, Errors: []string{"invalid_dpop_proof"}, Where: []harness.Where{harness.InBody}}
	right := refused(400, "invalid_dpop_proof", harness.InBody)
	for name, test := range map[string]struct {
		before, attack, after harness.Outcome
		form                  harness.Refusal
		want                  harness.Verdict
		says                  []string
	}{
		"refused as it should be":       {granted(), right, granted(), form, harness.Pass, []string{"HTTP 400 invalid_dpop_proof", "between two accepted"}},
		"worked":                        {granted(), granted(), granted(), form, harness.Fail, []string{"the attack worked", "an access token"}},
		"another error":                 {granted(), refused(400, "server_error", harness.InBody), granted(), form, harness.Warn, []string{"server_error", "invalid_dpop_proof"}},
		"another status":                {granted(), refused(401, "invalid_dpop_proof", harness.InBody), granted(), form, harness.Warn, []string{"401"}},
		"broken between good controls":  {granted(), refused(500, "", harness.OnPage), granted(), form, harness.Warn, []string{"500"}},
		"broken, where all forms do":    {granted(), refused(502, "", harness.OnPage), granted(), harness.Refusal{}, harness.Warn, []string{"502"}},
		"dropped between good controls": {granted(), refused(0, "", harness.Nowhere), granted(), form, harness.Warn, []string{"dropping the connection"}},
		"dropped, where all forms do":   {granted(), refused(0, "", harness.Nowhere), granted(), harness.Refusal{}, harness.Warn, []string{"dropped"}},
		"ended by TLS, as it may":       {granted(), refused(0, "", harness.InTLS), granted(), harness.Refusal{Status: []int{401}, Where: []harness.Where{harness.InBody, harness.InTLS}}, harness.Pass, []string{"TLS connection was ended"}},
		"ended by TLS, as it may not":   {granted(), refused(0, "", harness.InTLS), granted(), form, harness.Warn, []string{"TLS"}},
		"control refused before":        {right, right, granted(), form, harness.Inconclusive, []string{"the honest call", "was refused"}},
		"control refused after":         {granted(), right, right, form, harness.Inconclusive, []string{"the honest call, again", "was refused"}},
		"worked, but control refused":   {granted(), granted(), right, form, harness.Inconclusive, []string{"the honest call, again"}},
		"worked, but control unknown":   {granted(), granted(), unknown(), form, harness.Inconclusive, []string{"timed out"}},
		"control unknown before":        {unknown(), right, granted(), form, harness.Inconclusive, []string{"timed out"}},
		"attack unknown":                {granted(), unknown(), granted(), form, harness.Inconclusive, []string{"timed out"}},
		"everything refused":            {right, right, right, form, harness.Inconclusive, nil},
		"everything unknown":            {unknown(), unknown(), unknown(), form, harness.Inconclusive, nil},
		"everything granted":            {granted(), granted(), granted(), form, harness.Fail, nil},
	} {
		t.Run(name, func(t *testing.T) {
			controls := []harness.Outcome{test.before, test.after}
			r := one(t, func(c *expect.Case) {
				answer := c.Between(func() harness.Outcome { o := controls[0]; controls = controls[1:]; return o }, func() harness.Outcome { return test.attack }, "the honest call")
				c.Refuses(answer, test.form)
			})
			if r.Verdict != test.want {
				t.Errorf("%s (%s), want %s", r.Verdict, r.Reason, test.want)
			}
			for _, part := range test.says {
				if !strings.Contains(r.Reason, part) {
					t.Errorf("the reason %q does not say %q", r.Reason, part)
				}
			}
			if strings.ContainsAny(r.Reason, "\n\t") {
				t.Errorf("the reason has several lines: %q", r.Reason)
			}
		})
	}
}

func TestOtherEndings(t *testing.T) {
	for name, test := range map[string]struct {
		body func(*expect.Case)
		want harness.Verdict
		says string
	}{
		"nothing said":          {func(*expect.Case) {}, harness.Pass, ""},
		"panic":                 {func(*expect.Case) { panic("an index") }, harness.Inconclusive, "an index"},
		"panic after a warning": {func(c *expect.Case) { c.Warns("odd"); panic("late") }, harness.Inconclusive, "late"},
		"nil dereference":       {func(*expect.Case) { var o *harness.Outcome; _ = o.State }, harness.Inconclusive, "popcheck itself failed here"},
		"panic in the attack":   {func(c *expect.Case) { c.Between(granted, func() harness.Outcome { panic("in it") }, "x") }, harness.Inconclusive, "in it"},
		"fails":                 {func(c *expect.Case) { c.Fails("missing %d", 1) }, harness.Fail, "missing 1"},
		"fails after a warning": {func(c *expect.Case) { c.Warns("odd"); c.Fails("missing") }, harness.Fail, "missing"},
		"nothing after an end":  {func(c *expect.Case) { c.Unlearned("first"); c.Fails("second") }, harness.Inconclusive, "first"},
		"warns":                 {func(c *expect.Case) { c.Warns("odd") }, harness.Warn, "odd"},
		"passes":                {func(c *expect.Case) { c.Passes("seen") }, harness.Pass, "seen"},
		"not applicable":        {func(c *expect.Case) { c.NotApplicable("observed: none") }, harness.Skip, "observed: none"},
		"assumption about a fact": {func(c *expect.Case) {
			c.Assume(refused(401, "invalid_client", harness.InBody)).To(expect.BeAccepted(), "the client")
		}, harness.Inconclusive, "invalid_client"},
		"expected acceptance":    {func(c *expect.Case) { c.Expect(refused(400, "x", harness.InBody)).To(expect.BeAccepted()) }, harness.Fail, "was refused"},
		"acceptance unknown":     {func(c *expect.Case) { c.Expect(unknown()).To(expect.BeAccepted()) }, harness.Inconclusive, "timed out"},
		"refusal of the unknown": {func(c *expect.Case) { c.Refuses(unknown(), harness.Refusal{}) }, harness.Inconclusive, "timed out"},
	} {
		t.Run(name, func(t *testing.T) {
			r := one(t, test.body)
			if r.Verdict != test.want || !strings.Contains(r.Reason, test.says) {
				t.Errorf("%s (%s), want %s (%s)", r.Verdict, r.Reason, test.want, test.says)
			}
		})
	}
}

func TestWhatIsNotReachedIsInconclusive(t *testing.T) {
	results := run(t, newTester(t, "https://as.example"), func(s *expect.Suite) {
		s.It(check("a-first"), at, func(*expect.Case) {})
		s.It(check("b-second"), at, func(*expect.Case) { ginkgo.AbortSuite("the end") })
		s.It(check("c-third"), at, func(*expect.Case) {})
	})
	var got []string
	for _, r := range results {
		got = append(got, r.ID+" "+string(r.Verdict))
	}
	if want := []string{"a-first pass", "b-second inconclusive", "c-third inconclusive"}; !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
	if r := results[2].Reason; r != "not reached: the run ended early" {
		t.Errorf("the reason is %q", r)
	}
}

func TestWhatDoesNotApplyIsSkipped(t *testing.T) {
	ran := map[string]bool{}
	results := run(t, newTester(t, "https://as.example"), func(s *expect.Suite) {
		for _, needs := range []string{"", "there", "perhaps", "never-looked-at", "not-there", "there not-there"} {
			c := check("needs-" + strings.ReplaceAll(needs, " ", "-"))
			c.Needs = needs
			s.It(c, at, func(*expect.Case) { ran[needs] = true })
		}
		s.Skip(check("skipped"), at, "declared: no such thing")
	})
	for _, r := range results {
		want := harness.Pass
		if strings.Contains(r.ID, "not-there") || r.ID == "skipped" {
			want = harness.Skip
		}
		if r.Verdict != want {
			t.Errorf("%s: %s (%s), want %s", r.ID, r.Verdict, r.Reason, want)
		}
		if strings.Contains(r.ID, "not-there") && r.Reason != "needs not-there; discovered: the metadata has none" {
			t.Errorf("%s: %s", r.ID, r.Reason)
		}
	}
	if len(ran) != 4 || ran["not-there"] {
		t.Errorf("ran: %v", ran)
	}
}

func TestSelectionAndProgress(t *testing.T) {
	var told []string
	results := run(t, newTester(t, "https://as.example"), func(s *expect.Suite) {
		s.It(check("unselected"), at, func(*expect.Case) {})
		s.It(check("a"), at, func(c *expect.Case) { c.Fails("x") })
		s.It(check("b"), at, func(*expect.Case) {})
	}, func(s *expect.Suite) {
		s.Select = func(r *harness.Result) bool { return r.ID != "unselected" }
		s.Book = expect.NewBook(func(r *harness.Result, done, total int) {
			told = append(told, fmt.Sprintf("%s %s %d/%d", r.ID, r.Verdict, done, total))
		})
	})
	if want := []string{"a fail 1/2", "b pass 2/2"}; !slices.Equal(told, want) || len(results) != 2 {
		t.Errorf("told %v, %d results", told, len(results))
	}
}

func TestTwoResultsCannotShareAKey(t *testing.T) {
	defer func() {
		if thrown := fmt.Sprint(recover()); !strings.Contains(thrown, "two results with the key same@token") {
			t.Errorf("thrown: %v", thrown)
		}
	}()
	globals.Reset()
	defer globals.Reset()
	s := &expect.Suite{Tester: newTester(t, "https://as.example"), Mechanism: harness.DPoP, Profile: "bcp", Book: expect.NewBook(nil)}
	s.It(check("same"), at, func(*expect.Case) {})
	s.It(check("same"), at, func(*expect.Case) {})
}

func TestPlacesHaveKeys(t *testing.T) {
	for want, place := range map[string]expect.Place{
		"id@token":                              {Endpoint: "token"},
		"id@token/refresh_token/spa":            {Endpoint: "token", Grant: "refresh_token", Client: "spa"},
		"id@par/authorization_code/web/variant": {Endpoint: "par", Grant: "authorization_code", Client: "web", Variant: "variant"},
		"id@accounts/spa":                       {Endpoint: "accounts", Client: "spa", Role: harness.ResourceServer},
	} {
		if got := place.Key("id"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestEvidenceIsWholeAndRedacted(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "you said "+r.Header.Get("Authorization"))
	}))
	defer server.Close()
	tester := newTester(t, server.URL)
	tester.Redactor.Register("access_token", "secret-token-1")
	send := func(c *expect.Case, step string, o harness.Outcome) func() harness.Outcome {
		return func() harness.Outcome {
			c.Do(harness.Request{Step: step, Method: "GET", URL: server.URL + "/", Header: []harness.Field{{Name: "Authorization", Value: "Bearer secret-token-1"}}})
			return o
		}
	}
	results := run(t, tester, func(s *expect.Suite) {
		for _, attack := range []harness.Outcome{granted(), refused(400, "secret-token-1", harness.InBody), unknown()} {
			place := at
			place.Variant = fmt.Sprint(attack.State)
			s.It(check("evidence"), place, func(c *expect.Case) {
				answer := c.Between(send(c, "honest", granted()), send(c, "attack", attack), "an honest call with secret-token-1")
				c.Measured("%s seconds", "secret-token-1")
				c.Refuses(answer, harness.Refusal{Errors: []string{"other"}})
			})
		}
	})
	for _, r := range results {
		var roles []harness.ExchangeRole
		for _, x := range r.Exchanges {
			roles = append(roles, x.Role)
		}
		if !slices.Equal(roles, []harness.ExchangeRole{harness.ControlExchange, harness.AttackExchange, harness.ControlExchange}) {
			t.Errorf("%s: the evidence is %v", r.Key, roles)
		}
		if text := fmt.Sprintf("%+v", r); strings.Contains(text, "secret-token-1") {
			t.Errorf("%s shows a secret: %s", r.Key, text)
		}
	}
}

func TestAPreparationThatFailsTeachesNothing(t *testing.T) {
	client := &harness.Client{ClientID: "spa", TokenEndpointAuthMethod: "none"}
	for _, grant := range []string{harness.CodeGrant, harness.RefreshGrant, harness.ClientCredentialsGrant} {
		t.Run(grant, func(t *testing.T) {
			r := one(t, func(c *expect.Case) {
				send := c.Prepared(harness.Identity{Client: client}, grant) // no endpoint is known
				var answer harness.Outcome
				c.Attack(func() { answer = send(harness.TokenRequest{}) })
				c.Refuses(answer, harness.Refusal{})
			})
			if r.Verdict != harness.Inconclusive {
				t.Errorf("%s: %s", r.Verdict, r.Reason)
			}
		})
	}
}

func TestAnInterruptedCheckIsInconclusive(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	tester := newTester(t, server.URL)
	results := run(t, tester, func(s *expect.Suite) {
		s.It(check("stopped"), at, func(c *expect.Case) {
			tester.Stop("the run was interrupted")
			a := c.Do(harness.Request{Step: "request", Method: "GET", URL: server.URL})
			if a.OK() {
				c.Fails("something was sent")
			}
			c.Assume(harness.Outcome{At: "here", Why: a.Failure.Error()}).To(expect.BeAccepted(), "an honest call")
		})
	})
	if r := results[0]; r.Verdict != harness.Inconclusive || !strings.Contains(r.Reason, "interrupted") {
		t.Errorf("%s: %s", r.Verdict, r.Reason)
	}
}
