package reports

import (
	"cmp"
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/popcheck/popcheck/harness"
)

//go:embed compare.html.tmpl
var compareTemplate string

// Comparison holds several runs against each other: of several servers, or of one before and after a change. It is a pure function
// of the runs; a check that is not in a run (another selection, another catalogue) is told from one that was skipped.
type Comparison struct {
	Runs   []*harness.Run
	Checks []ComparedCheck
	// Changes are the results that differ between two runs of one server, the broken ones first; nil for anything else.
	Changes []Change
}

// ComparedCheck is one check with what each run says of it, in the order of the runs.
type ComparedCheck struct {
	harness.Result // of the first run that has it: what it is, not what came of it
	Cells          []Cell
}

// Cell is what one run says of one check at all its places.
type Cell struct {
	Verdict harness.Verdict // the one that decides: fail, inconclusive, warn, pass, skip; "" where the run does not have the check
	Counts  map[harness.Verdict]int
	Reason  string // of the result that decides
}

// Change is one result that is not what it was.
type Change struct {
	Kind   ChangeKind
	Result harness.Result // as it is now; as it was, where it is gone
	Was    harness.Verdict
}

// ChangeKind says what a change means.
type ChangeKind string

// The kinds of change, in the order in which they are shown.
const (
	Broke   ChangeKind = "broke"   // it fails, and did not
	Fixed   ChangeKind = "fixed"   // it failed, and does not
	Unsure  ChangeKind = "unsure"  // it says nothing any more, or something for the first time
	Altered ChangeKind = "altered" // between pass, warn and skip
	New     ChangeKind = "new"     // no such result before
	Gone    ChangeKind = "gone"    // no such result now
)

// ChangeKinds are all of them.
func ChangeKinds() []ChangeKind { return []ChangeKind{Broke, Fixed, Unsure, Altered, New, Gone} }

// Compare holds runs against each other; it needs two at least.
func Compare(runs []*harness.Run) (*Comparison, error) {
	if len(runs) < 2 {
		return nil, errors.New("a comparison needs two runs")
	}
	c := &Comparison{Runs: runs}
	at := map[string]int{}
	for i, run := range runs {
		for _, r := range run.Results {
			row, known := at[r.ID]
			if !known {
				row = len(c.Checks)
				at[r.ID] = row
				c.Checks = append(c.Checks, ComparedCheck{Result: r, Cells: make([]Cell, len(runs))})
			}
			c.Checks[row].Cells[i].add(r)
		}
	}
	slices.SortStableFunc(c.Checks, func(a, b ComparedCheck) int {
		return cmp.Or(cmp.Compare(rank(mechanisms(), a.Mechanism), rank(mechanisms(), b.Mechanism)),
			cmp.Compare(rank(harness.Severities(), a.Severity), rank(harness.Severities(), b.Severity)), cmp.Compare(a.ID, b.ID))
	})
	if len(runs) == 2 && sameServer(runs[0], runs[1]) {
		c.Changes = changes(runs[0], runs[1])
	}
	return c, nil
}

// deciding are the verdicts by what they tell of a check: one place where the attack worked decides, whatever held elsewhere.
func deciding() []harness.Verdict {
	return []harness.Verdict{harness.Fail, harness.Inconclusive, harness.Warn, harness.Pass, harness.Skip}
}

func (c *Cell) add(r harness.Result) {
	if c.Counts == nil {
		c.Counts = map[harness.Verdict]int{}
	}
	v := verdictOf(r)
	c.Counts[v]++
	if c.Verdict == "" || rank(deciding(), v) < rank(deciding(), c.Verdict) {
		c.Verdict, c.Reason = v, r.Reason
	}
}

// Text is the cell in words: "fail 2 of 5".
func (c Cell) Text() string {
	all := 0
	for _, n := range c.Counts {
		all += n
	}
	switch {
	case c.Verdict == "":
		return "not in this run"
	case c.Counts[c.Verdict] == all:
		return fmt.Sprintf("%s %d", c.Verdict, all)
	}
	return fmt.Sprintf("%s %d of %d", c.Verdict, c.Counts[c.Verdict], all)
}

// Differs reports whether the runs that have the check do not all say the same of it.
func (c ComparedCheck) Differs() bool {
	said := map[harness.Verdict]bool{}
	for _, cell := range c.Cells {
		if cell.Verdict != "" {
			said[cell.Verdict] = true
		}
	}
	return len(said) > 1
}

func sameServer(a, b *harness.Run) bool { return a.Target.Issuer == b.Target.Issuer }

func changes(before, now *harness.Run) []Change {
	was, is := byKey(before), byKey(now)
	out := []Change{}
	for _, key := range slices.Sorted(maps.Keys(is)) {
		old, there := was[key]
		change := Change{Kind: New, Result: is[key]}
		if there {
			change.Was = verdictOf(old)
			change.Kind = kindOf(change.Was, verdictOf(is[key]))
		}
		if change.Kind != "" {
			out = append(out, change)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(was)) {
		if _, there := is[key]; !there {
			out = append(out, Change{Kind: Gone, Result: was[key], Was: verdictOf(was[key])})
		}
	}
	slices.SortStableFunc(out, func(a, b Change) int { return cmp.Compare(rank(ChangeKinds(), a.Kind), rank(ChangeKinds(), b.Kind)) })
	return out
}

// kindOf is "" where nothing changed.
func kindOf(was, is harness.Verdict) ChangeKind {
	switch {
	case was == is:
		return ""
	case is == harness.Fail:
		return Broke
	// What is inconclusive or skipped now was not shown to be mended.
	case was == harness.Fail && (is == harness.Pass || is == harness.Warn):
		return Fixed
	case was == harness.Fail || was == harness.Inconclusive || is == harness.Inconclusive:
		return Unsure
	}
	return Altered
}

func byKey(run *harness.Run) map[string]harness.Result {
	out := map[string]harness.Result{}
	for _, r := range run.Results {
		out[r.Key] = r
	}
	return out
}

// versioned is the name of what was tested, or another one where it has none, with its version where the name does not tell.
func versioned(run *harness.Run, otherwise string) string {
	name := orNone(run.Target.Name, otherwise)
	if run.Target.Version == "" || strings.Contains(name, run.Target.Version) {
		return name
	}
	return name + " (" + strings.TrimSpace(run.Target.Product+" "+run.Target.Version) + ")"
}

// CompareText writes what a terminal has room for: each run in a line, what changed between two runs of one server, or else the checks
// that fail somewhere.
func CompareText(w io.Writer, c *Comparison) error {
	var b strings.Builder
	for i, run := range c.Runs {
		fmt.Fprintf(&b, "%d  %s: %s\n", i+1, line(visible(versioned(run, run.Target.Issuer))), Headline(run))
	}
	if said := ChangeSentence(c); said != "" {
		fmt.Fprintln(&b, said)
	}
	for _, change := range c.Changes {
		fmt.Fprintf(&b, "  %-8s %s\n", change.Kind, visible(change.Result.Key))
	}
	for _, check := range c.Checks {
		if c.Changes != nil || !slices.ContainsFunc(check.Cells, func(x Cell) bool { return x.Verdict == harness.Fail }) {
			continue
		}
		var cells []string
		for _, cell := range check.Cells {
			cells = append(cells, cell.Text())
		}
		fmt.Fprintf(&b, "  %-40s %s\n", visible(check.ID), strings.Join(cells, " | "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// CompareCSV writes the matrix: a line for each check, two columns (the deciding verdict, and the counts) for each run.
func CompareCSV(w io.Writer, c *Comparison) error {
	out := csv.NewWriter(w)
	head := []string{"check", "title", "mechanism", "threat", "clause", "severity", "level"}
	for i, run := range c.Runs {
		name := fmt.Sprintf("%d %s", i+1, line(versioned(run, "")))
		head = append(head, name, name+": results")
	}
	if err := out.Write(inert(head)); err != nil {
		return err
	}
	for _, check := range c.Checks {
		row := []string{check.ID, check.Title, string(check.Mechanism), string(check.Threat), check.Clause.String(), string(check.Severity), string(check.Level)}
		for _, cell := range check.Cells {
			var counts []string
			for _, v := range deciding() {
				if n := cell.Counts[v]; n > 0 {
					counts = append(counts, fmt.Sprintf("%s %d", v, n))
				}
			}
			row = append(row, string(cell.Verdict), strings.Join(counts, ", "))
		}
		if err := out.Write(inert(row)); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// inert keeps a spreadsheet from taking a cell for a formula: a run may come from anywhere.
func inert(cells []string) []string {
	out := make([]string, len(cells))
	for i, cell := range cells {
		cell = visible(cell)
		if strings.HasPrefix(strings.TrimLeft(cell, " \t\n"), "=") || strings.ContainsAny(cell[:min(1, len(cell))], "+-@\t\n") {
			cell = "'" + cell
		}
		out[i] = cell
	}
	return out
}

// CompareHTML writes the matrix for people, as one file without script.
func CompareHTML(w io.Writer, c *Comparison) error {
	t, err := template.New("compare").Parse(compareTemplate)
	if err != nil {
		return fmt.Errorf("the template of the comparison: %w", err)
	}
	readableRuns := make([]*harness.Run, len(c.Runs))
	for i, run := range c.Runs {
		readableRuns[i] = readable(run)
	}
	c, err = Compare(readableRuns)
	if err != nil {
		return err
	}
	return t.Execute(w, newComparePage(c))
}

type comparePage struct {
	Style    template.CSS
	Policy   string
	Sentence string
	Common   []fact // what is said of every run alike
	Servers  []comparedRun
	Changes  []differenceList
	Same     bool // two runs of one server without a change
	Parts    []matrixPart
	Threats  []threatLine
	Outcomes []legend
}

type comparedRun struct {
	Number   int
	Name     string
	Chip     chip
	Sentence string
	Facts    []fact
	Numbers  []number
}

type differenceList struct {
	Title, Note string
	Changes     []differenceView
}

type differenceView struct {
	Was, Is    chip
	Key, Title string
	Reason     string
	Level      string
}

type matrixPart struct {
	Title string
	Rows  []matrixRow
}

type matrixRow struct {
	ID, Title string
	Clause    link
	Severity  string
	Level     string
	Cells     []matrixCell
	Differs   bool
}

type matrixCell struct {
	Chip chip
	Hint string
}

type threatLine struct {
	Title string
	Cells []chip
}

// shared takes the facts out of the runs that are the same in all of them.
func shared(runs []comparedRun) []fact {
	var out []fact
	for _, f := range runs[0].Facts {
		if !slices.ContainsFunc(runs, func(r comparedRun) bool { return !slices.Contains(r.Facts, f) }) {
			out = append(out, f)
		}
	}
	for i := range runs {
		runs[i].Facts = slices.DeleteFunc(runs[i].Facts, func(f fact) bool { return slices.Contains(out, f) })
	}
	return out
}

func newComparePage(c *Comparison) *comparePage {
	p := &comparePage{
		Style:    template.CSS(reportCSS),
		Policy:   contentPolicy(),
		Outcomes: outcomeLegend(),
	}
	for i, run := range c.Runs {
		j := judge(run)
		p.Servers = append(p.Servers, comparedRun{Number: i + 1, Name: short(versioned(run, "unnamed target")), Sentence: j.sentence,
			Chip: chip{Class: bannerVerdict(j.state), Text: j.word}, Facts: identity(run), Numbers: numbers(j.tally, len(run.Results))})
	}
	p.Common = shared(p.Servers)
	differing := 0
	for _, m := range mechanisms() {
		part := matrixPart{Title: mechanismTitle(m)}
		for _, check := range c.Checks {
			if check.Mechanism != m {
				continue
			}
			row := matrixRow{ID: short(check.ID), Title: short(check.Title), Clause: clauseLink(check.Clause), Severity: string(check.Severity),
				Level: string(check.Level), Differs: check.Differs()}
			for _, cell := range check.Cells {
				row.Cells = append(row.Cells, matrixCell{cellChip(cell), short(cell.Reason)})
			}
			if row.Differs {
				differing++
			}
			part.Rows = append(part.Rows, row)
		}
		if len(part.Rows) > 0 {
			p.Parts = append(p.Parts, part)
		}
	}
	for _, threat := range harness.Threats() {
		row := threatLine{Title: threat.Title()}
		for _, run := range c.Runs {
			row.Cells = append(row.Cells, outcomeChip(threatOf(run, threat).outcome))
		}
		p.Threats = append(p.Threats, row)
	}
	p.Sentence = fmt.Sprintf("%s in %d runs; they differ in %d", count(len(c.Checks), "check", "checks"), len(c.Runs), differing)
	if c.Changes != nil {
		p.Changes = differenceLists(c.Changes)
		p.Same = len(c.Changes) == 0
		p.Sentence = ChangeSentence(c)
	}
	return p
}

// ChangeSentence says in one line what changed between two runs of one server; "" for anything else.
func ChangeSentence(c *Comparison) string {
	if c.Changes == nil {
		return ""
	}
	if len(c.Changes) == 0 {
		return "Nothing changed between the two runs"
	}
	var parts []string
	for _, kind := range ChangeKinds() {
		n := 0
		for _, change := range c.Changes {
			if change.Kind == kind {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, kind))
		}
	}
	return "Between the two runs: " + strings.Join(parts, ", ")
}

func differenceLists(all []Change) []differenceList {
	notes := map[ChangeKind][2]string{
		Broke:   {"Broke", "An attack works that did not."},
		Fixed:   {"Fixed", "An attack worked, and is refused now."},
		Unsure:  {"Said less, or more", "One of the two runs learned nothing here."},
		Altered: {"Otherwise", "Between pass, warn and skip."},
		New:     {"New", "The first run had no such result."},
		Gone:    {"Gone", "The second run has no such result."},
	}
	var out []differenceList
	for _, kind := range ChangeKinds() {
		list := differenceList{Title: notes[kind][0], Note: notes[kind][1]}
		for _, c := range all {
			if c.Kind != kind {
				continue
			}
			view := differenceView{Key: short(c.Result.Key), Title: short(c.Result.Title), Reason: short(c.Result.Reason), Level: string(c.Result.Level)}
			if c.Was != "" {
				view.Was = chip{string(c.Was), mark(c.Was), string(c.Was)}
			}
			if kind != Gone {
				v := verdictOf(c.Result)
				view.Is = chip{string(v), mark(v), string(v)}
			}
			list.Changes = append(list.Changes, view)
		}
		if len(list.Changes) > 0 {
			out = append(out, list)
		}
	}
	return out
}

func cellChip(c Cell) chip {
	if c.Verdict == "" {
		return chip{Class: "none", Text: c.Text()}
	}
	return chip{string(c.Verdict), mark(c.Verdict), c.Text()}
}

// bannerVerdict is the verdict whose colours a state of the banner has.
func bannerVerdict(state string) string {
	switch state {
	case "findings":
		return string(harness.Fail)
	case "held":
		return string(harness.Pass)
	case "lesser":
		return string(harness.Warn)
	}
	return string(harness.Inconclusive)
}
