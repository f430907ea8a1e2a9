package reports

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/popcheck/popcheck/harness"
)

// Under is the run as another profile sees it, from what the run itself says of the profiles: each result at its level there. What
// the profile does not ask for is a skip. What the run left out because its own profile does not ask for it is inconclusive: nothing
// is known of it. Under its own profile a run is what it was. The error says that the run does not know the profile.
func Under(run *harness.Run, profile string) (*harness.Run, error) {
	made := madeUnder(run)
	at := slices.IndexFunc(run.Profiles, func(p harness.RunProfile) bool { return p.Name == profile })
	own := slices.IndexFunc(run.Profiles, func(p harness.RunProfile) bool { return p.Name == made })
	if at < 0 || own < 0 {
		return nil, fmt.Errorf("the run says nothing of how its checks stand under the profiles %s and %s", profile, made)
	}
	out := *run
	out.Profile, out.ProfileText, out.MadeUnder = profile, run.Profiles[at].Text, ""
	if profile != made {
		out.MadeUnder = made
	}
	out.Results, out.Summary = slices.Clone(run.Results), map[harness.Verdict]int{}
	for i := range out.Results {
		r := &out.Results[i]
		restore(r)
		if standing, differs := run.Profiles[at].Checks[r.ID]; differs && profile != made {
			stand(r, standing, run.Profiles[own].Checks[r.ID], profile, made)
		} else if differs {
			r.Level = standing.Level
		}
		out.Summary[verdictOf(*r)]++
	}
	return &out, nil
}

// madeUnder is the profile that decided what the run tried.
func madeUnder(run *harness.Run) string {
	if run.MadeUnder != "" {
		return run.MadeUnder
	}
	return run.Profile
}

// restore makes the result what the run itself came to.
func restore(r *harness.Result) {
	if r.Observed != nil {
		r.Verdict, r.Reason, r.Observed = r.Observed.Verdict, r.Observed.Reason, nil
	}
}

// stand puts a result under another profile than that of the run.
func stand(r *harness.Result, now, was harness.Standing, profile, made string) {
	r.Level = now.Level
	observed := &harness.Observed{Verdict: r.Verdict, Reason: r.Reason}
	switch {
	case now.Unasked && (r.Verdict != harness.Skip || was.Unasked):
		r.Verdict, r.Reason, r.Observed = harness.Skip, now.Why, observed
	case was.Unasked && !now.Unasked && r.Verdict == harness.Skip:
		r.Verdict, r.Observed = harness.Inconclusive, observed
		r.Reason = fmt.Sprintf("not tried: the profile %s of the run does not ask for it; run again with --profile %s", made, profile)
	}
}

// profileView is the run under one profile, in the section that compares them.
type profileView struct {
	Name, Text string
	Own        bool     // the one of the report
	Fails      []string // by level, as many as there are levels
	Untried    string
	Means      string // what it comes to under the run's fail_on
	Changes    []changeView
	Others     []changeView // in which nothing failed
}

// changeView is a check that stands otherwise under another profile.
type changeView struct {
	ID, Title, From, To, Why string
	Failed                   []entry
	Results                  string
}

// profiles are the run under each profile that it knows; none where it knows of none.
func (b *builder) profiles() []profileView {
	var out []profileView
	for _, p := range b.run.Profiles {
		under, err := Under(b.run, p.Name)
		if err != nil {
			return nil
		}
		judged := judge(under)
		view := profileView{Name: p.Name, Text: short(p.Text), Own: p.Name == b.run.Profile, Means: judged.word}
		for _, level := range levels() {
			n := 0
			for _, r := range judged.tally[harness.Fail] {
				if r.Level == level {
					n++
				}
			}
			view.Fails = append(view.Fails, fmt.Sprint(n))
		}
		if n := untried(under); n > 0 {
			view.Untried = count(n, "result was", "results were") + " not tried: run again with --profile " + p.Name
		}
		if !view.Own {
			view.Changes, view.Others = b.changes(under)
		}
		out = append(out, view)
	}
	return out
}

func untried(under *harness.Run) int {
	n := 0
	for _, r := range under.Results {
		if r.Observed != nil && r.Verdict == harness.Inconclusive {
			n++
		}
	}
	return n
}

// changes are the checks that stand otherwise under another profile than in this report, those that failed here first.
func (b *builder) changes(under *harness.Run) (failed, others []changeView) {
	here := b.standings(b.run.Profile)
	there := b.standings(under.Profile)
	for _, id := range slices.Sorted(maps.Keys(there)) {
		if here[id].String() == there[id].String() {
			continue
		}
		change := changeView{ID: short(id), From: here[id].String(), To: there[id].String(), Why: short(there[id].Why)}
		n := 0
		for _, r := range b.results {
			if r.ID != id {
				continue
			}
			n++
			change.Title = short(r.Title)
			if verdictOf(r) == harness.Fail {
				change.Failed = append(change.Failed, b.entry(r))
			}
		}
		change.Results = count(n, "result", "results")
		switch {
		case len(change.Failed) > 0:
			failed = append(failed, change)
		case n > 0:
			others = append(others, change)
		}
	}
	return failed, others
}

func (b *builder) standings(profile string) map[string]harness.Standing {
	for _, p := range b.run.Profiles {
		if p.Name == profile {
			return p.Checks
		}
	}
	return nil
}

// Profile names the profile of a run, its text, and the profile of the run itself where that is another.
func Profile(run *harness.Run) string {
	s := run.Profile
	if run.ProfileText != "" {
		s += " (" + run.ProfileText + ")"
	}
	if run.MadeUnder != "" {
		s += "; the run itself was made under " + run.MadeUnder
	}
	return strings.TrimSpace(s)
}
