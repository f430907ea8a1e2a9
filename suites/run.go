// Package suites is the one entry to the checks: for the command, for go test and ginkgo, and for
// popcheck's own tests.
package suites

import (
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/extensions/globals"
	"github.com/onsi/ginkgo/v2/formatter"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
	"github.com/popcheck/popcheck/suites/dpop"
	"github.com/popcheck/popcheck/suites/mtls"
	"github.com/popcheck/popcheck/suites/pkce"
)

// Manners say whether checks may leave something behind at the target.
type Manners = expect.Manners

// A run is thorough unless it is told to be gentle.
const (
	Thorough = expect.Thorough
	Gentle   = expect.Gentle
)

// Options of a run.
type Options struct {
	Target   *harness.Target
	Fault    string // of the embedded target, for the report
	Version  string
	Profile  string
	FailOn   harness.Level
	Select   Selection
	Evidence expect.Evidence
	Patience time.Duration // how long a check may wait for what ends by itself; 0 is expect.DefaultPatience
	Manners  Manners
	Slow     bool                  // whether checks may wait for minutes
	Clock    harness.Clock         // how the run waits; nil: by the time of day
	Waits    harness.Waits         // told before each wait; may be nil
	Seed     uint64                // 0: the order of the catalogue; else all checks are shuffled by it
	Failed   string                // the file for the pages of failed logins (harness.Tester.FailedLogins); "" keeps none
	Person   harness.Person        // who logs in by hand
	Worker   *harness.Worker       // this process' part of a run that several share; nil: all of it
	Learned  func(*harness.Tester) // told after the honest tries, before the first attack; may be nil
	Progress func(r *harness.Result, done, total int)
}

// Run makes the honest tries, runs the checks and returns the record. The error is about popcheck's own set-up; a target that
// cannot be reached is a run without conclusions. When ctx ends, what was not reached is inconclusive.
func Run(ctx context.Context, o Options) (*harness.Run, error) {
	started := time.Now()
	t, end, err := learn(ctx, o)
	if err != nil {
		return nil, err
	}
	defer end()
	if t.Learned.Has("slow") == harness.Yes {
		t.Age(ctx)
	}
	if o.Learned != nil {
		o.Learned(t)
	}
	if o.Target.Login.Driver == "manual" && o.Person.Tell != nil {
		o.Person.Tell(foretell(t, o))
	}
	book := expect.NewBook(o.Progress)
	runSpecs(t, o, book, executed)
	t.CleanUp(ctx)
	left := unregister(t)
	why := t.Stopped()
	if why == "" {
		why = "the run ended early"
	}
	run := &harness.Run{
		Schema: harness.RunSchema, Popcheck: o.Version, Catalogue: attacks.CatalogueVersion,
		Target:  harness.RunTarget{Name: o.Target.Name, Issuer: o.Target.Issuer, File: o.Target.Path, Fault: o.Fault},
		Profile: o.Profile, ProfileText: profileText(o.Profile), FailOn: o.FailOn, Select: o.Select.String(), Seed: o.Seed,
		Started: started.UTC(), Requests: t.Sent(), Logins: t.Logins(), Rests: t.Rests(), Results: book.Results(why), Capabilities: t.Learned.Capabilities, Complete: t.Stopped() == "",
		Incomplete: t.Stopped(), Left: left,
	}
	for _, p := range t.Learned.Problems {
		run.Problems = append(run.Problems, t.Redactor.Text(p))
	}
	if run.Complete && len(run.Problems) > 0 {
		run.Complete, run.Incomplete = false, "not everything that the target file names could be used: "+run.Problems[0]
	}
	for name, c := range run.Capabilities {
		run.Capabilities[name] = harness.Capability{Value: c.Value, How: t.Redactor.Text(c.How)}
	}
	product := t.Product()
	run.Target.Product, run.Target.Version, run.Target.Recipe = product.Name, product.Version, product.Recipe
	sumUp(run, o.Target.Waivers)
	run.Finished = time.Now().UTC()
	return run, nil
}

// loginsPerResult is how many authorizations a result takes that needs the code flow: two controls, the attack, and what they prepare.
const loginsPerResult = 3

// foretell says how often a person will have to act.
func foretell(t *harness.Tester, o Options) string {
	book := expect.NewBook(nil)
	runSpecs(t, o, book, planned)
	results, _ := book.Plan()
	by := 0
	for _, r := range results {
		if r.Endpoint == "authorize" || r.Grant == harness.CodeGrant || r.Grant == harness.RefreshGrant {
			by++
		}
	}
	return fmt.Sprintf("the login driver is manual: the %d checks of the code flow will ask you for about %d logins; where the server keeps your session, most are clicks. "+
		"Fewer: --select, for instance pkce-verifier-wrong; none: login drivers form, browser and exec", by, by*loginsPerResult)
}

// sumUp adds what follows from the results.
func sumUp(run *harness.Run, waivers []harness.Waiver) {
	run.Profiles = attacks.Standings(run.Checks())
	run.BadWaivers = waive(run, waivers, run.Started)
	run.Summary = map[harness.Verdict]int{}
	for i := range run.Results {
		run.Summary[run.Results[i].Verdict]++
	}
}

// learn makes the honest tries with a new tester, which end closes.
func learn(ctx context.Context, o Options) (t *harness.Tester, end func(), err error) {
	worker := harness.Worker{Of: 1}
	if o.Worker != nil {
		worker = *o.Worker
	}
	if t, err = harness.NewWorker(o.Target, o.Version, worker); err != nil {
		return nil, nil, err
	}
	closeIssuer := func() {}
	if worker.Of == 1 { // else the process that all of them share has done it
		if closeIssuer, err = t.Publish(); err != nil {
			return nil, nil, err
		}
	}
	release := context.AfterFunc(ctx, func() { t.Stop("the run was interrupted") })
	t.Slow, t.Waits = o.Slow || o.Target.Capabilities["slow"], o.Waits
	t.FailedLogins, t.Person = o.Failed, o.Person
	if o.Clock != nil {
		t.Clock = o.Clock
	}
	t.Learn(ctx)
	return t, func() { release(); t.Unregister(); t.Close(); closeIssuer() }, nil
}

// unregister removes the clients that popcheck has registered, and says what stays.
func unregister(t *harness.Tester) []string {
	left := t.Unregister()
	for i := range left {
		left[i] = t.Redactor.Text(left[i])
	}
	return left
}

// Preflight is what the honest tries showed, and what a run would make of it.
type Preflight struct {
	Metadata     string   // where the metadata was found
	Issuer       []string // the ways in which resources get the keys of popcheck's own issuer
	Tries        []Try
	Capabilities map[string]harness.Capability
	Problems     []string         // what a person has to mend
	Left         []string         // what was registered and could not be removed, and why
	Apply        []harness.Result // the checks that would run, with their places
	Skipped      []harness.Result // those that would not, and why
	Requests     int
	Logins       int
	Stopped      string // why the tries ended early, or ""
}

// Try is one honest try of a client.
type Try struct {
	Client, Grant, Binding string
	Works                  harness.Known
	How                    string
	Opens                  []string // resources
}

// Check makes the honest tries and no attack, and says which checks a run would make (design §5). All text in the answer is redacted.
func Check(ctx context.Context, o Options) (*Preflight, error) {
	t, end, err := learn(ctx, o)
	if err != nil {
		return nil, err
	}
	defer end()
	return plan(t, o), nil
}

// Plan is Check without a single request: what can only be learned from the target is unknown, and all that would be tried is in the plan.
func Plan(ctx context.Context, o Options) (*Preflight, error) {
	t, err := harness.NewTester(o.Target, o.Version)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	t.Stop("nothing is sent") // the guard that every request passes holds it back
	t.Slow = o.Slow || o.Target.Capabilities["slow"]
	t.Learn(ctx)
	return plan(t, o), nil
}

// plan enters the specs in a book without executing them.
func plan(t *harness.Tester, o Options) *Preflight {
	book := expect.NewBook(nil)
	runSpecs(t, o, book, planned)
	left, text := unregister(t), t.Redactor.Text
	p := &Preflight{Left: left, Issuer: t.Published(), Metadata: text(t.Metadata.From), Capabilities: map[string]harness.Capability{}, Requests: t.Sent(), Logins: t.Logins(), Stopped: text(t.Stopped())}
	p.Apply, p.Skipped = book.Plan()
	for _, trial := range t.Learned.Trials {
		try := Try{Client: trial.Client.Name, Grant: trial.Grant, Binding: string(trial.Binding), Works: trial.Works, How: text(trial.How)}
		for _, r := range trial.Opens {
			try.Opens = append(try.Opens, r.Name)
		}
		p.Tries = append(p.Tries, try)
	}
	for name, c := range t.Learned.Capabilities {
		p.Capabilities[name] = harness.Capability{Value: c.Value, How: text(c.How)}
	}
	for _, problem := range t.Learned.Problems {
		p.Problems = append(p.Problems, text(problem))
	}
	return p
}

// verdictless satisfies Ginkgo: the verdicts are in the book.
type verdictless struct{}

func (verdictless) Fail() {}

// course says whether specs are executed, or only entered in the book.
type course int

const (
	executed course = iota
	planned
)

// runSpecs runs the tree in-process. Ginkgo prints nothing: its console and its reports do not know what is secret.
func runSpecs(t *harness.Tester, o Options, book *expect.Book, how course) {
	globals.Reset()
	console, errors := formatter.ColorableStdOut, formatter.ColorableStdErr
	formatter.ColorableStdOut, formatter.ColorableStdErr = io.Discard, io.Discard
	defer func() { formatter.ColorableStdOut, formatter.ColorableStdErr = console, errors }()
	Declare(expect.Suite{Tester: t, Profile: o.Profile, Select: o.takes, Book: book, Evidence: o.Evidence, Patience: o.Patience, Manners: o.Manners})
	suite, reporter := ginkgo.GinkgoConfiguration()
	suite.Timeout, suite.DryRun = 24*time.Hour, how == planned
	if o.Seed != 0 {
		suite.RandomSeed, suite.RandomizeAllSpecs = int64(o.Seed), true
	}
	reporter.NoColor, reporter.Succinct = true, true
	ginkgo.RunSpecs(verdictless{}, "popcheck", suite, reporter)
}

// Declare puts the specs of every suite into the Ginkgo tree that is being built; all says what they have in common. There is one
// container around them, because Ginkgo shuffles those at the top.
func Declare(all expect.Suite) {
	parts := []struct {
		mechanism harness.Mechanism
		specs     func(*expect.Suite)
	}{
		{harness.PKCE, pkce.Specs}, {harness.DPoP, dpop.Specs}, {harness.MTLS, mtls.Specs},
		// Last, so that what these wait for grows old while the others run (design §8).
		{harness.PKCE, pkce.AgedSpecs}, {harness.DPoP, dpop.AgedSpecs},
	}
	ginkgo.Describe("popcheck", func() {
		for i, part := range parts {
			// Containers of one code location are sorted by their text.
			ginkgo.Describe(fmt.Sprintf("%d %s", i+1, part.mechanism), func() {
				own := all
				own.Mechanism = part.mechanism
				part.specs(&own)
			})
		}
	})
}

func profileText(name string) string {
	for _, p := range attacks.Profiles() {
		if p.Name == name {
			return p.Text
		}
	}
	return ""
}

// Selection is a parsed --select: terms separated by commas, of which one must match.
type Selection []string

// ParseSelection reads a selection and refuses one that cannot match any check of the catalogue, before anything is sent.
func ParseSelection(expr string) (Selection, error) {
	var s Selection
	catalogue := attacks.Catalogue()
	for _, term := range strings.Split(expr, ",") {
		if term = strings.TrimSpace(term); term == "" {
			continue
		}
		id, _, _ := strings.Cut(term, "@")
		if !slices.ContainsFunc(catalogue, func(e attacks.Entry) bool { return matchesCheck(id, e.Check, e.Suite) }) {
			return nil, fmt.Errorf("--select %q matches no check; want ids, keys, suites (pkce, dpop, mtls), clauses (rfc9449/4.3), severities, threats or * patterns: see popcheck list", term)
		}
		s = append(s, term)
	}
	return s, nil
}

// Fits refuses a selection of keys whose endpoint is none of the target's, before anything is sent. Which grants and clients can show
// a check there is known only when the honest tries have been made.
func (s Selection) Fits(target *harness.Target) error {
	endpoints := []string{"token", "par", "authorize", "introspect", "revoke", "metadata", "jwks", "register", "resource", "userinfo"}
	for _, r := range target.Resources {
		endpoints = append(endpoints, r.Name)
	}
	for _, term := range s {
		if _, key, isKey := strings.Cut(term, "@"); isKey {
			at, _, _ := strings.Cut(key, "/")
			if !slices.ContainsFunc(endpoints, func(name string) bool { return matchesPattern(at, name) }) {
				return fmt.Errorf("--select %q: this target has no endpoint %q; want one of %s", term, at, strings.Join(endpoints, ", "))
			}
		}
	}
	return nil
}

// String is the expression again.
func (s Selection) String() string { return strings.Join(s, ",") }

// Matches reports whether a result is selected; the empty selection selects everything.
func (s Selection) Matches(r *harness.Result) bool {
	if len(s) == 0 {
		return true
	}
	for _, term := range s {
		if strings.Contains(term, "@") {
			// A key that goes on where the term ends is meant too: id@token selects every grant and client there.
			parts := strings.Split(r.Key, "/")
			if matchesPattern(term, strings.Join(parts[:min(len(parts), 1+strings.Count(term, "/"))], "/")) {
				return true
			}
			continue
		}
		check := attacks.Check{ID: r.ID, Clause: r.Clause, Severity: r.Severity, Threat: r.Threat}
		if matchesCheck(term, check, r.Mechanism) {
			return true
		}
	}
	return false
}

func matchesCheck(term string, c attacks.Check, suite harness.Mechanism) bool {
	clause := strings.ToLower(strings.ReplaceAll(c.Clause.Spec, " ", ""))
	for _, name := range []string{c.ID, string(suite), clause, clause + "/" + c.Clause.Section, string(c.Severity), string(c.Threat)} {
		if matchesPattern(term, name) {
			return true
		}
	}
	return false
}

func matchesPattern(pattern, name string) bool {
	if pattern == name || !strings.ContainsAny(pattern, `*?[\`) {
		return pattern == name
	}
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}

// waive attaches the waivers to the results and returns what is wrong with them (design §3): expired, unknown, or no longer needed.
// A waiver whose checks were not selected or inconclusive stays.
func waive(run *harness.Run, waivers []harness.Waiver, now time.Time) []string {
	var bad []string
	for _, w := range waivers {
		complain := func(format string, args ...any) {
			bad = append(bad, fmt.Sprintf("%s:%d: waiver of %s: ", run.Target.File, w.Line, w.Check)+fmt.Sprintf(format, args...))
		}
		if now.After(w.Until.AddDate(0, 0, 1)) {
			complain("it ended on %s", w.Until.Format(time.DateOnly))
			continue
		}
		id, _, isKey := strings.Cut(w.Check, "@")
		if !slices.ContainsFunc(attacks.Catalogue(), func(e attacks.Entry) bool { return e.ID == id }) {
			complain("there is no such check")
			continue
		}
		matched, needed, open := 0, 0, 0
		for i := range run.Results {
			r := &run.Results[i]
			if r.ID != w.Check && r.Key != w.Check {
				continue
			}
			matched++
			switch r.Verdict {
			case harness.Fail, harness.Warn:
				needed++
				r.Waiver = &harness.RunWaiver{Reason: w.Reason, Until: w.Until.Format(time.DateOnly)}
			case harness.Inconclusive:
				open++
			}
		}
		switch {
		case matched == 0 && isKey && len(run.Select) == 0 && run.Complete:
			complain("there is no such result on this target")
		case matched > 0 && needed == 0 && open == 0:
			complain("the check passes now: remove the waiver")
		}
	}
	return bad
}
