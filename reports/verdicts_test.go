package reports

import (
	"slices"
	"strings"
	"testing"

	"github.com/popcheck/popcheck/harness"
)

func result(verdict harness.Verdict, level harness.Level) harness.Result {
	return harness.Result{Key: "a@token", ID: "a", Title: "an attack", Suite: "dpop", Mechanism: harness.DPoP, Role: harness.AuthorizationServer, Verdict: verdict, Level: level,
		Severity: harness.High, Threat: harness.ProofReplay, Reason: "seen", Covers: []string{"DPOP-AS-14.1"}}
}

func waived(r harness.Result) harness.Result {
	r.Waiver = &harness.RunWaiver{Reason: "known", Until: "2027-01-01"}
	return r
}

func runOf(results ...harness.Result) *harness.Run {
	return &harness.Run{Schema: harness.RunSchema, FailOn: harness.Must, Complete: true, Results: results}
}

func TestExitCode(t *testing.T) {
	t.Parallel()
	pass, unknown := result(harness.Pass, harness.Must), result(harness.Inconclusive, harness.Hardening)
	with := func(run *harness.Run, change func(*harness.Run)) *harness.Run { change(run); return run }
	incomplete := func(r *harness.Run) { r.Complete = false }
	badWaiver := func(r *harness.Run) { r.BadWaivers = []string{"dpop-replay: expired"} }
	failOn := func(l harness.Level) func(*harness.Run) { return func(r *harness.Run) { r.FailOn = l } }
	for name, c := range map[string]struct {
		run  *harness.Run
		want int
	}{
		"pass":                           {runOf(pass), 0},
		"warn":                           {runOf(result(harness.Warn, harness.Must)), 0},
		"skip":                           {runOf(result(harness.Skip, harness.Must)), 0},
		"must fails":                     {runOf(pass, result(harness.Fail, harness.Must)), 1},
		"should fails":                   {runOf(pass, result(harness.Fail, harness.Should)), 0},
		"should fails under should":      {with(runOf(result(harness.Fail, harness.Should)), failOn(harness.Should)), 1},
		"must fails under should":        {with(runOf(result(harness.Fail, harness.Must)), failOn(harness.Should)), 1},
		"hardening fails under should":   {with(runOf(result(harness.Fail, harness.Hardening)), failOn(harness.Should)), 0},
		"hardening fails under the same": {with(runOf(result(harness.Fail, harness.Hardening)), failOn(harness.Hardening)), 1},
		"must fails under never":         {with(runOf(result(harness.Fail, harness.Must)), failOn(harness.NeverLevel)), 0},
		"inconclusive under never":       {with(runOf(unknown), failOn(harness.NeverLevel)), 3},
		"waived":                         {runOf(waived(result(harness.Fail, harness.Must))), 0},
		"waived and another":             {runOf(waived(result(harness.Fail, harness.Must)), result(harness.Fail, harness.Must)), 1},
		"bad waiver":                     {with(runOf(pass), badWaiver), 1},
		"bad waiver under never":         {with(with(runOf(pass), badWaiver), failOn(harness.NeverLevel)), 1},
		"inconclusive":                   {runOf(pass, unknown), 3},
		"inconclusive, waived":           {runOf(pass, waived(unknown)), 3},
		"incomplete":                     {with(runOf(pass), incomplete), 3},
		"fail before incomplete":         {with(runOf(result(harness.Fail, harness.Must), unknown), incomplete), 1},
		"bad waiver before incomplete":   {with(with(runOf(unknown), badWaiver), incomplete), 1},
		"problems are not findings":      {with(runOf(pass), func(r *harness.Run) { r.Problems = []string{"x"} }), 0},
		"no results":                     {runOf(), 3},
		"unknown verdict":                {runOf(result("fine", harness.Must)), 3},
		"unknown level":                  {runOf(result(harness.Fail, "")), 1},
		"unknown fail-on":                {with(runOf(result(harness.Fail, harness.Must)), failOn("")), 1},
	} {
		if got := ExitCode(c.run); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestFindingsAreWorstFirst(t *testing.T) {
	t.Parallel()
	found := Findings(sampleRun())
	if len(found) != 5 {
		t.Errorf("%d findings", len(found))
	}
	for _, r := range found {
		if r.Verdict != harness.Fail || r.Waiver != nil || r.Level != harness.Must {
			t.Errorf("%s is no finding", r.Key)
		}
	}
	a, b, c := result(harness.Fail, harness.Must), result(harness.Fail, harness.Must), result(harness.Fail, harness.Should)
	a.Key, a.Severity = "z", harness.Critical
	b.Key, b.Severity = "b", harness.Low
	c.Key, c.Severity = "a", harness.Low
	run := runOf(c, b, a)
	run.FailOn = harness.Should
	var keys []string
	for _, r := range Findings(run) {
		keys = append(keys, r.Key)
	}
	if !slices.Equal(keys, []string{"z", "b", "a"}) {
		t.Errorf("order %v", keys)
	}
}

func TestHeadline(t *testing.T) {
	t.Parallel()
	incomplete := runOf(result(harness.Pass, harness.Must))
	incomplete.Complete, incomplete.Incomplete = false, "interrupted"
	bad := runOf(result(harness.Pass, harness.Must))
	bad.BadWaivers = []string{"x"}
	for want, run := range map[string]*harness.Run{
		"1 finding in 1 check: 1 high.":                                   runOf(result(harness.Fail, harness.Must), result(harness.Inconclusive, harness.Must)),
		"Nothing found; everything that ran was proven by controls.":      runOf(result(harness.Pass, harness.Must), result(harness.Skip, harness.Must)),
		"Incomplete: nothing can be concluded about 1 result of 2.":       runOf(result(harness.Pass, harness.Must), result(harness.Inconclusive, harness.Must)),
		"Incomplete: nothing can be concluded about what was not reached": incomplete,
		"Nothing was tested: nothing can be concluded about this target.": runOf(result(harness.Skip, harness.Must)),
		"Nothing that counts under fail-on must: 1 lesser finding.":       runOf(result(harness.Pass, harness.Must), result(harness.Fail, harness.Should)),
		"Nothing that counts under fail-on must: 1 waived finding.":       runOf(waived(result(harness.Fail, harness.Must))),
		"1 waiver is out of date: mend the list of waivers.":              bad,
	} {
		if got := Headline(run); !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for _, run := range []*harness.Run{sampleRun(), cleanRun(), incomplete} {
		for name, f := range renderers() {
			if strings.Contains(string(render(t, f, run)), "100 %") {
				t.Errorf("%s says 100 %%", name)
			}
		}
	}
}

func TestAThreatIsHeldOnlyWhenThatWasShown(t *testing.T) {
	t.Parallel()
	pass := result(harness.Pass, harness.Must)
	partial := runOf(pass)
	partial.Complete = false
	for name, c := range map[string]struct {
		run  *harness.Run
		want outcome
	}{
		"pass":             {runOf(pass), held},
		"warn":             {runOf(result(harness.Warn, harness.Must)), held},
		"with skips":       {runOf(pass, result(harness.Skip, harness.Must)), held},
		"skips only":       {runOf(result(harness.Skip, harness.Must)), notApplicable},
		"nothing":          {runOf(), notShown},
		"inconclusive":     {runOf(pass, result(harness.Inconclusive, harness.Must)), notShown},
		"lesser fail":      {runOf(pass, result(harness.Fail, harness.Hardening)), broken},
		"waived fail":      {runOf(pass, waived(result(harness.Fail, harness.Must))), broken},
		"incomplete":       {partial, notShown},
		"unknown verdict":  {runOf(pass, result("fine", harness.Must)), notShown},
		"fail and unknown": {runOf(result(harness.Inconclusive, harness.Must), result(harness.Fail, harness.Must)), broken},
	} {
		if got := threatOf(c.run, harness.ProofReplay).outcome; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func cell(mechanism harness.Mechanism, aspect string) defence {
	for _, d := range defences() {
		if d.mechanism == mechanism && d.aspect == aspect {
			return d
		}
	}
	panic("no such cell")
}

func TestEveryCellOfTheDefenceTableIsThereOnce(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for _, d := range defences() {
		seen[string(d.mechanism)+d.aspect]++
		for _, id := range d.core {
			if !slices.Contains(d.covers, id) {
				t.Errorf("%s of %s: %s is core and not covered", d.aspect, d.mechanism, id)
			}
		}
	}
	if len(seen) != len(aspects())*len(mechanisms()) || len(seen) != len(defences()) {
		t.Errorf("cells: %v", seen)
	}
}

func TestACellNeedsItsCore(t *testing.T) {
	t.Parallel()
	replay := cell(harness.DPoP, replayDefence)
	as, rs := result(harness.Pass, harness.Must), result(harness.Pass, harness.Must)
	rs.Covers = []string{"DPOP-RS-13.2"}
	near := rs
	near.Covers = []string{"DPOP-RS-130.1"} // another requirement with the same beginning
	skipped := rs
	skipped.Verdict = harness.Skip
	bare := as
	bare.Covers = nil
	other := rs
	other.Mechanism = harness.MTLS
	for name, c := range map[string]struct {
		results []harness.Result
		want    outcome
	}{
		"both":                        {[]harness.Result{as, rs}, held},
		"one side only":               {[]harness.Result{as}, notShown},
		"the other side inapplicable": {[]harness.Result{as, skipped}, held},
		"a like name":                 {[]harness.Result{as, near}, notShown},
		"another mechanism":           {[]harness.Result{as, other}, notShown},
		"by threat alone":             {[]harness.Result{bare}, notShown},
		"nothing":                     {nil, notShown},
	} {
		run := runOf(c.results...)
		if got := replay.measure(run, run.Results).outcome; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	if got := cell(harness.PKCE, keyManagement).measure(runOf(as), nil).outcome; got != notApplicable {
		t.Errorf("an aspect that does not exist: %s", got)
	}
}

func TestFitness(t *testing.T) {
	t.Parallel()
	weigh := func(run *harness.Run) map[harness.Mechanism]outcome {
		out := map[harness.Mechanism]outcome{}
		for _, u := range uses() {
			out[u.mechanism] = u.weigh(run, run.Results).outcome
		}
		return out
	}
	with := func(change func(*harness.Result)) *harness.Run {
		run := cleanRun()
		for i := range run.Results {
			change(&run.Results[i])
		}
		return run
	}
	at := func(id string, change func(*harness.Result)) *harness.Run {
		return with(func(r *harness.Result) {
			if r.ID == id {
				change(r)
			}
		})
	}
	incomplete := cleanRun()
	incomplete.Complete = false
	for name, c := range map[string]struct {
		run  *harness.Run
		of   harness.Mechanism
		want outcome
	}{
		"all held, PKCE":       {cleanRun(), harness.PKCE, ready},
		"all held, DPoP":       {cleanRun(), harness.DPoP, ready},
		"all held, mTLS":       {cleanRun(), harness.MTLS, ready},
		"a must fails":         {at("dpop-htm", func(r *harness.Result) { r.Verdict = harness.Fail }), harness.DPoP, notReady},
		"waived":               {at("dpop-htm", func(r *harness.Result) { *r = waived(*r); r.Verdict = harness.Fail }), harness.DPoP, notReady},
		"lesser":               {at("dpop-replay", func(r *harness.Result) { r.Verdict = harness.Fail }), harness.DPoP, ready},
		"inconclusive":         {at("mtls-aliases", func(r *harness.Result) { r.Verdict = harness.Inconclusive }), harness.MTLS, notShown},
		"incomplete":           {incomplete, harness.PKCE, notShown},
		"not offered":          {with(func(r *harness.Result) { r.Verdict = harness.Skip }), harness.MTLS, notApplicable},
		"not run":              {only(cleanRun(), func(r harness.Result) bool { return r.Mechanism == harness.PKCE }), harness.DPoP, notShown},
		"core not run":         {only(cleanRun(), func(r harness.Result) bool { return r.ID != "pkce-no-verifier" }), harness.PKCE, notShown},
		"one side only":        {only(cleanRun(), func(r harness.Result) bool { return r.Role == harness.ResourceServer }), harness.DPoP, notShown},
		"others do not matter": {at("pkce-plain", func(r *harness.Result) { r.Verdict = harness.Fail }), harness.DPoP, ready},
	} {
		if got := weigh(c.run)[c.of]; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestClausesAreInTheirOrder(t *testing.T) {
	t.Parallel()
	var got []string
	list := []harness.Clause{{Spec: "RFC 9449", Section: "4.10"}, {Spec: "RFC 9449", Section: "4.9"}, {Spec: "RFC 9449", Section: "4.3", Item: "11"}, {Spec: "RFC 9449", Section: "4.3", Item: "9"}, {Spec: "RFC 7636", Section: "10"}}
	slices.SortFunc(list, compareClauses)
	for _, c := range list {
		got = append(got, c.String())
	}
	if want := []string{"RFC 7636 §10", "RFC 9449 §4.3 item 9", "RFC 9449 §4.3 item 11", "RFC 9449 §4.9", "RFC 9449 §4.10"}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
