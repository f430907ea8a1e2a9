package reports

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/popcheck/popcheck/harness"
)

// summaryLimit keeps the summary below the 1 MiB that GITHUB_STEP_SUMMARY takes, with room for
// what other steps write: beyond it the whole summary would be dropped.
const summaryLimit = 900 << 10

// Markdown writes the summary of the run for GITHUB_STEP_SUMMARY and merge requests. What comes
// from the target is escaped and never begins a line, so that it can neither shape the page nor,
// printed to a log, be taken for a command of the build server.
func Markdown(w io.Writer, run *harness.Run) error {
	run = readable(run)
	j := judge(run)
	m := &summary{}
	m.say("# popcheck: " + prose(j.sentence))
	m.say("")
	for _, s := range slices.Concat(origin(run), j.further) {
		m.say("- " + prose(brief(s, 1000)))
	}
	m.identity(run)
	m.list("About the levels", run.Notes)
	m.list("What a person has to mend", run.Problems)
	m.list("Left behind at the target", run.Left)
	m.list("Waivers out of date", run.BadWaivers)
	m.verdicts(j)
	m.results("Findings", j.counted)
	m.results("Inconclusive", j.tally[harness.Inconclusive])
	m.outcomes(run)
	m.results("Findings that do not count: of a lesser level, or waived", slices.Concat(j.lesser, j.waived))
	m.reasons("Warnings", j.tally[harness.Warn])
	m.measured(run)
	m.reasons("Not tested", j.tally[harness.Skip])
	m.end()
	_, err := io.WriteString(w, m.b.String())
	return err
}

// summary collects lines up to the limit, and counts those that found no room.
type summary struct {
	b    strings.Builder
	left int
}

func (m *summary) say(text string) {
	if m.left > 0 || m.b.Len()+len(text) > summaryLimit {
		m.left++
		return
	}
	m.b.WriteString(text)
	m.b.WriteByte('\n')
}

func (m *summary) end() {
	if m.left > 0 {
		fmt.Fprintf(&m.b, "\n**Cut here: %s left out; report.html and run.json have everything.**\n", count(m.left, "line was", "lines were"))
	}
}

func (m *summary) heading(text string) {
	m.say("")
	m.say("## " + text)
	m.say("")
}

func (m *summary) table(columns ...string) {
	m.row(columns...)
	m.row(slices.Repeat([]string{"---"}, len(columns))...)
}

func (m *summary) row(cells ...string) { m.say("| " + strings.Join(cells, " | ") + " |") }

func (m *summary) identity(run *harness.Run) {
	m.say("")
	m.table("Target", prose(brief(run.Target.Name, 200)))
	for _, r := range identity(run) {
		if r.Name != "Target" {
			m.row(r.Name, code(r.Value))
		}
	}
}

func (m *summary) list(title string, items []string) {
	if len(items) == 0 {
		return
	}
	m.heading(title)
	for _, item := range items {
		m.say("- " + prose(brief(item, 1000)))
	}
}

func (m *summary) verdicts(j judgement) {
	m.say("")
	m.table("Verdict", "Results", "Meaning")
	for _, v := range harness.Verdicts() {
		m.row(string(v), fmt.Sprint(len(j.tally[v])), prose(v.Legend()))
	}
}

func (m *summary) results(title string, results []harness.Result) {
	if len(results) == 0 {
		return
	}
	m.heading(fmt.Sprintf("%s (%d)", title, len(results)))
	m.table("Severity", "Level", "Check", "What must hold", "Clause", "What was seen")
	for _, r := range results {
		seen := prose(brief(r.Reason, 400))
		if r.Waiver != nil {
			seen += prose(fmt.Sprintf(" (waived until %s: %s)", r.Waiver.Until, brief(r.Waiver.Reason, 200)))
		}
		clause := prose(brief(r.Clause.String(), 100))
		if url := clauseURL(r.Clause); url != "" {
			clause = "[" + clause + "](" + url + ")"
		}
		m.row(string(r.Severity), string(r.Level), code(r.Key), prose(brief(r.Title, 200)), clause, seen)
	}
}

func (m *summary) outcomes(run *harness.Run) {
	m.heading("Fit for use")
	m.table("Use", "", "Why")
	for _, u := range uses() {
		f := u.weigh(run, run.Results)
		m.row(prose(u.title), "**"+string(f.outcome)+"**", prose(brief(strings.Join(f.reasons, "; "), 600)))
	}
	m.heading("By threat")
	m.table("Threat", "", "Held", "Broken", "Not shown", "Not applicable")
	for _, t := range harness.Threats() {
		f := threatOf(run, t)
		m.row(prose(t.Title()), "**"+string(f.outcome)+"**", fmt.Sprint(len(f.tally.shown())), fmt.Sprint(len(f.tally[harness.Fail])),
			fmt.Sprint(len(f.tally[harness.Inconclusive])), fmt.Sprint(len(f.tally[harness.Skip])))
	}
}

func (m *summary) measured(run *harness.Run) {
	all := Readings(run)
	if len(all) == 0 {
		return
	}
	m.heading("Measured")
	m.table("Value", "Measured", "Where", "Stated", "How")
	for _, v := range all {
		var places []string
		for _, r := range v.Results {
			places = append(places, where(r))
		}
		cell := func(s string, limit int) string { return prose(brief(s, limit)) }
		m.row(cell(v.Name, 100), cell(v.Value.Value, 200), cell(strings.Join(places, "; "), 300), cell(v.Stated, 200), cell(v.How, 300))
	}
}

// reasons are results of which each reason is read once, with some of the keys.
func (m *summary) reasons(title string, results []harness.Result) {
	if len(results) == 0 {
		return
	}
	m.heading(fmt.Sprintf("%s (%d)", title, len(results)))
	m.table("Reason", "Results", "For instance")
	for _, g := range byReason(results) {
		m.row(prose(brief(g.reason, 400)), fmt.Sprint(len(g.results)), code(g.results[0].Key))
	}
}

// prose escapes text so that Markdown (GitHub's and GitLab's) shows it as it is, on one line: no
// markup, no HTML, no table cell, and no link made of something that looks like an address.
func prose(s string) string {
	var b strings.Builder
	text := []rune(line(s))
	for i, r := range text {
		switch {
		case r == ':' && (i+1 == len(text) || text[i+1] == ' '):
			b.WriteRune(r) // punctuation; an address or a command has no space here
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '&':
			b.WriteString("&amp;")
		case strings.ContainsRune("\\`*_{}[]|#!~:@$+^=", r):
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	return strings.NewReplacer("www.", `www\.`, "WWW.", `WWW\.`).Replace(b.String())
}

// code shows text as code, where nothing but a backtick and, in a table, the bar and what escapes it
// has a meaning; text with one of these is shown as prose.
func code(s string) string {
	s = line(brief(s, 400))
	if s == "" || strings.ContainsAny(s, "`|\\") {
		return prose(s)
	}
	return "`" + s + "`"
}
