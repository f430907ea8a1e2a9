package reports

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/popcheck/popcheck/harness"
)

// ExitCode is what the run means to a script (design §3): 1 when something counts,
// a finding or a waiver out of date; else 3 when something was not learned; else 0.
// A run without a single result learned nothing.
func ExitCode(run *harness.Run) int {
	switch {
	case len(Findings(run)) > 0 || len(run.BadWaivers) > 0:
		return 1
	case !run.Complete || len(run.Results) == 0 || slices.ContainsFunc(run.Results, unlearned):
		return 3
	}
	return 0
}

// Findings returns the fails that count: at or above the run's fail_on and not waived, worst first.
func Findings(run *harness.Run) []harness.Result {
	var found []harness.Result
	for _, r := range sorted(run.Results) {
		if counts(r, run.FailOn) {
			found = append(found, r)
		}
	}
	return found
}

// Headline says in one sentence what the run means to a reader.
func Headline(run *harness.Run) string { return judge(run).sentence }

// counts reports whether the result is a finding that makes the run fail. An unknown level
// counts as the strongest: what is not understood must not look harmless.
func counts(r harness.Result, failOn harness.Level) bool {
	return r.Verdict == harness.Fail && r.Waiver == nil && reaches(r.Level, failOn)
}

func reaches(level, failOn harness.Level) bool {
	if _, err := harness.ParseLevel(string(failOn)); err != nil {
		failOn = harness.Must
	}
	if level == harness.Should || level == harness.Hardening {
		return level.AtLeast(failOn)
	}
	return harness.Must.AtLeast(failOn)
}

// unlearned reports whether nothing can be concluded from the result; an unknown verdict is such.
func unlearned(r harness.Result) bool { return verdictOf(r) == harness.Inconclusive }

func verdictOf(r harness.Result) harness.Verdict {
	if slices.Contains(harness.Verdicts(), r.Verdict) {
		return r.Verdict
	}
	return harness.Inconclusive
}

// sorted returns the results in the order of a report: severity, level, key.
func sorted(results []harness.Result) []harness.Result {
	out := slices.Clone(results)
	slices.SortStableFunc(out, func(a, b harness.Result) int {
		return cmp.Or(
			cmp.Compare(rank(harness.Severities(), a.Severity), rank(harness.Severities(), b.Severity)),
			cmp.Compare(rank(levels(), a.Level), rank(levels(), b.Level)),
			cmp.Compare(a.Key, b.Key))
	})
	return out
}

// rank is the place of a word in a closed list; what is not in the list comes first, where it is seen.
func rank[T comparable](list []T, word T) int { return slices.Index(list, word) }

func levels() []harness.Level {
	return []harness.Level{harness.Must, harness.Should, harness.Hardening}
}

// tally is a set of results by verdict.
type tally map[harness.Verdict][]harness.Result

func tallyOf(results []harness.Result) tally {
	t := tally{}
	for _, r := range results {
		t[verdictOf(r)] = append(t[verdictOf(r)], r)
	}
	return t
}

// shown are the results in which the defence held.
func (t tally) shown() []harness.Result { return slices.Concat(t[harness.Pass], t[harness.Warn]) }

// outcome is what a set of results says about a threat, a cell of the defence table or a use.
type outcome string

const (
	held          outcome = "held"
	broken        outcome = "broken"
	notShown      outcome = "not shown"
	notApplicable outcome = "not applicable"
)

// outcome of the tally. "Held" is claimed only of a complete run, with something
// that held, nothing that failed (waived or not: a waiver is a decision, no defence) and nothing inconclusive.
func (t tally) outcome(run *harness.Run) outcome {
	switch {
	case len(t[harness.Fail]) > 0:
		return broken
	case len(t[harness.Inconclusive]) > 0:
		return notShown
	case len(t.shown()) == 0 && len(t[harness.Skip]) > 0:
		return notApplicable
	case len(t.shown()) == 0 || !run.Complete:
		return notShown
	}
	return held
}

// judgement is the verdict on a whole run.
type judgement struct {
	state    string // findings, incomplete, nothing, held: which colour and word a banner has
	word     string
	sentence string
	further  []string // what a reader must know beside the sentence
	counted  []harness.Result
	lesser   []harness.Result
	waived   []harness.Result
	tally    tally
}

// judge weighs the run as [ExitCode] does and finds the words. It never says that
// all is well while something is inconclusive.
func judge(run *harness.Run) judgement {
	j := judgement{tally: tallyOf(sorted(run.Results))}
	for _, r := range j.tally[harness.Fail] {
		switch {
		case counts(r, run.FailOn):
			j.counted = append(j.counted, r)
		case r.Waiver != nil:
			j.waived = append(j.waived, r)
		default:
			j.lesser = append(j.lesser, r)
		}
	}
	j.state, j.word, j.sentence = j.say(run)
	j.further = j.beside(run)
	return j
}

func (j judgement) say(run *harness.Run) (state, word, sentence string) {
	unknown := len(j.tally[harness.Inconclusive])
	switch {
	case len(j.counted) > 0:
		return "findings", "Findings", fmt.Sprintf("%s in %s: %s.", count(len(j.counted), "finding", "findings"),
			count(len(checks(j.counted)), "check", "checks"), bySeverity(j.counted))
	case len(run.BadWaivers) > 0:
		return "findings", "Waivers", fmt.Sprintf("%s out of date: mend the list of waivers.", count(len(run.BadWaivers), "waiver is", "waivers are"))
	case unknown > 0:
		return "incomplete", "Incomplete", fmt.Sprintf("Incomplete: nothing can be concluded about %s of %d.", count(unknown, "result", "results"), len(run.Results))
	case !run.Complete:
		return "incomplete", "Incomplete", "Incomplete: nothing can be concluded about what was not reached."
	case len(j.tally.shown()) == 0 && len(j.lesser)+len(j.waived) == 0:
		return "nothing", "Nothing tested", "Nothing was tested: nothing can be concluded about this target."
	case len(j.lesser)+len(j.waived) > 0:
		return "lesser", "Nothing that counts", fmt.Sprintf("Nothing that counts under fail-on %s: %s.", run.FailOn, j.uncounted())
	}
	return "held", "Nothing found", "Nothing found; everything that ran was proven by controls."
}

// beside are the sentences under the banner: nothing that the first sentence leaves unsaid is lost.
func (j judgement) beside(run *harness.Run) []string {
	var out []string
	unknown := len(j.tally[harness.Inconclusive])
	if j.state == "findings" {
		if unknown > 0 {
			out = append(out, fmt.Sprintf("Beside this, nothing can be concluded about %s of %d.", count(unknown, "result", "results"), len(run.Results)))
		}
		if len(run.BadWaivers) > 0 && len(j.counted) > 0 {
			out = append(out, fmt.Sprintf("%s out of date.", count(len(run.BadWaivers), "waiver is", "waivers are")))
		}
	}
	if !run.Complete {
		why := run.Incomplete
		if why == "" {
			why = "no reason was recorded"
		}
		out = append(out, "The run is not complete: "+strings.TrimSuffix(why, ".")+".")
	}
	if j.state != "lesser" && len(j.lesser)+len(j.waived) > 0 {
		out = append(out, "Not counted: "+j.uncounted()+".")
	}
	if n := len(j.tally[harness.Warn]); n > 0 {
		out = append(out, fmt.Sprintf("%s: the defence held, in another form than the clause asks for.", count(n, "warning", "warnings")))
	}
	if n := len(j.tally[harness.Skip]); n > 0 {
		out = append(out, fmt.Sprintf("%s not tested, because they do not apply to this target.", count(n, "result", "results")))
	}
	if run.Select != "" {
		out = append(out, "Only a selection of the checks ran.")
	}
	return out
}

func (j judgement) uncounted() string {
	var parts []string
	if n := len(j.lesser); n > 0 {
		parts = append(parts, count(n, "lesser finding", "lesser findings"))
	}
	if n := len(j.waived); n > 0 {
		parts = append(parts, count(n, "waived finding", "waived findings"))
	}
	return strings.Join(parts, " and ")
}

// bySeverity counts results in the words of a sentence: "1 critical, 2 high".
func bySeverity(results []harness.Result) string {
	var parts []string
	for _, s := range harness.Severities() {
		n := 0
		for _, r := range results {
			if r.Severity == s {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	return strings.Join(parts, ", ")
}

// checks returns the distinct ids of the results, in their order.
func checks(results []harness.Result) []string {
	var ids []string
	for _, r := range results {
		if !slices.Contains(ids, r.ID) {
			ids = append(ids, r.ID)
		}
	}
	return ids
}
