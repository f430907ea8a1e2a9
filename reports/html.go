package reports

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/popcheck/popcheck/harness"
)

//go:embed report.css
var reportCSS string

//go:embed report.html.tmpl
var reportTemplate string

// HTML writes the report for people: one file without script, which fetches nothing and whose
// own policy forbids both. Everything that comes from the run is escaped text; the
// only addresses in it are those of clauses, which are built here.
func HTML(w io.Writer, run *harness.Run) error {
	t, err := template.New("report").Parse(reportTemplate)
	if err != nil {
		return fmt.Errorf("the template of the report: %w", err)
	}
	return t.Execute(w, newPage(readable(run)))
}

// page is everything that the template prints; it takes no decision itself.
type page struct {
	Style     template.CSS
	Policy    string
	Title     string
	Banner    banner
	Notices   []notice
	Identity  []fact
	Numbers   []number
	Contents  []content
	Findings  []findingList
	Uses      []useRow
	Threats   []threatRow
	Columns   []string
	Defences  []defenceRow
	Profiles  []profileView
	Unlearned []reasonView
	Warnings  []reasonView
	Skipped   []reasonView
	Clauses   []specView
	Readings  []reading
	Measured  []entry
	Abilities []ability
	Verdicts  []legend
	Levels    []legend
	Outcomes  []legend
	Version   string
}

// reading is a row of the table of what was measured.
type reading struct {
	Name, Value, Stated, How string
	Places                   []place
}

// place leads to the result of which a value is.
type place struct {
	Text string
	entry
}

type banner struct {
	State, Word, Sentence string
	Further               []string
}

// notice is something said prominently beside the verdict.
type notice struct {
	Title string
	Items []string
}

// number is a count of results, with its share of the bar.
type number struct {
	Verdict, Mark string
	Count         int
	X, Width      string
}

type content struct {
	Anchor, Title string
	Count         string
}

type findingList struct {
	Title, Note string
	Cards       []card
}

// card is one check, with the places where it has the same to say.
type card struct {
	Verdict, Mark string
	Lead          string // a title says what a sound server does; of a fail it is not true
	ID, Title     string
	Severity      string
	Level         string
	Threat        string
	Clause        link
	Covers        []string
	Why, Fix      string
	Expected      string // where all places expect the same; else each place says it
	Source        string
	Entries       []entry
}

// entry is one result.
type entry struct {
	Anchor        string // the place of the result in the page
	Here          bool   // whether this entry is that place; elsewhere it links there
	Key, Title    string
	Verdict, Mark string
	Note          string // "not counted", "waived": where the verdict alone misleads
	Expected      string
	Reason        string
	Measured      string
	Clause        link
	Waiver        string
	Evidence      *evidence
}

// link is a text with an address that was built here, or with none.
type link struct{ Text, URL string }

type useRow struct {
	Title   string
	Outcome chip
	Reasons []string
}

type chip struct{ Class, Mark, Text string }

type threatRow struct {
	Title string
	Cell  cellView
}

type defenceRow struct {
	Aspect string
	Cells  []defenceCell
}

type defenceCell struct {
	Mechanism, Means string
	Cell             cellView
}

// cellView is an outcome and by what.
type cellView struct {
	Outcome chip
	Counts  string
	Reasons []string
	Broken  []entry
	Unknown []entry
	Held    []entry
}

type reasonView struct {
	Reason  string
	Entries []entry
}

type specView struct {
	Spec     string
	Sections []sectionView
}

type sectionView struct {
	Clause  link
	Entries []entry
}

type ability struct{ Name, Value, How string }

type legend struct {
	Chip    chip
	Meaning string
}

// builder makes the parts of the page in the order of reading, so that the budget for
// evidence is spent on what a reader needs first.
type builder struct {
	run     *harness.Run
	results []harness.Result // in the order of a report
	anchors map[string]string
	budget  *ledger
	judged  judgement
}

// contentPolicy lets a page have its own style and nothing else.
func contentPolicy() string {
	sum := sha256.Sum256([]byte(reportCSS))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
}

func newPage(run *harness.Run) *page {
	b := &builder{run: run, results: sorted(run.Results), budget: &ledger{left: pageBudget}, judged: judge(run)}
	b.anchor()
	p := &page{
		Style:    template.CSS(reportCSS),
		Policy:   contentPolicy(),
		Title:    "popcheck report: " + line(brief(orNone(run.Target.Name, "unnamed target"), 200)),
		Banner:   banner{b.judged.state, b.judged.word, b.judged.sentence, shortened(b.judged.further)},
		Notices:  notices(run),
		Identity: identity(run),
		Numbers:  numbers(b.judged.tally, len(run.Results)),
		Version:  run.Popcheck,
	}
	p.Findings = b.findings()
	p.Uses, p.Threats, p.Defences, p.Profiles = b.uses(), b.threats(), b.defences(), b.profiles()
	for _, m := range mechanisms() {
		p.Columns = append(p.Columns, mechanismTitle(m))
	}
	p.Unlearned = b.reasons(b.judged.tally[harness.Inconclusive])
	p.Warnings = b.reasons(b.judged.tally[harness.Warn])
	p.Skipped = b.reasons(b.judged.tally[harness.Skip])
	p.Clauses = b.clauses()
	p.Readings, p.Measured = b.readings(), b.measured()
	p.Abilities = abilities(run)
	p.Verdicts, p.Levels, p.Outcomes = verdictLegend(), levelLegend(), outcomeLegend()
	p.Contents = contents(p, b.judged, len(run.Results))
	return p
}

// anchor gives every key a name that may stand in an id attribute, each once.
func (b *builder) anchor() {
	b.anchors = map[string]string{}
	taken := map[string]bool{}
	for _, r := range b.results {
		if _, known := b.anchors[r.Key]; known {
			continue
		}
		name := strings.Map(func(c rune) rune {
			if unicode.IsSpace(c) {
				return '-'
			}
			return c
		}, brief(r.Key, 300))
		for taken[name] || strings.HasPrefix(name, "s-") || name == "" {
			name += "."
		}
		taken[name] = true
		b.anchors[r.Key] = name
	}
}

func (b *builder) entry(r harness.Result) entry {
	v := verdictOf(r)
	e := entry{
		Anchor: b.anchors[r.Key], Key: short(r.Key), Title: short(r.Title), Verdict: string(v), Mark: mark(v),
		Expected: short(r.Expected), Reason: short(r.Reason), Measured: short(r.Measured), Clause: clauseLink(r.Clause),
	}
	if r.Waiver != nil {
		e.Waiver = fmt.Sprintf("until %s: %s", short(orNone(r.Waiver.Until, "no date")), short(r.Waiver.Reason))
	}
	if v == harness.Fail && !counts(r, b.run.FailOn) {
		e.Note = "not counted"
		if r.Waiver != nil {
			e.Note = "waived"
		}
	}
	return e
}

// full is the entry at the place of the result: with its anchor and its evidence.
func (b *builder) full(r harness.Result, space room) entry {
	e := b.entry(r)
	e.Here = true
	e.Evidence = show(r, space, b.budget)
	return e
}

func (b *builder) entries(results []harness.Result) []entry {
	var out []entry
	for _, r := range results {
		out = append(out, b.entry(r))
	}
	return out
}

// findings are all fails: those that count first, then the lesser ones, then the waived ones.
func (b *builder) findings() []findingList {
	var out []findingList
	add := func(title, note string, results []harness.Result) {
		if len(results) > 0 {
			out = append(out, findingList{title, note, b.cards(results)})
		}
	}
	add(fmt.Sprintf("Counted under fail-on %s", b.run.FailOn), "These make the run fail.", b.judged.counted)
	add("Of a lesser level: not counted", fmt.Sprintf("The attack worked, but the check does not bind under fail-on %s.", b.run.FailOn), b.judged.lesser)
	add("Waived: not counted", "The attack worked, and somebody answers for it until the date given.", b.judged.waived)
	return out
}

// cards groups results that differ in their place only, so that a fault seen at ten endpoints is read once.
func (b *builder) cards(results []harness.Result) []card {
	var out []card
	index := map[string]int{}
	for _, r := range results {
		same := strings.Join([]string{r.ID, r.Title, string(r.Severity), string(r.Level), string(r.Threat), r.Clause.String(), r.Why, r.Fix}, "\x00")
		at, known := index[same]
		if !known {
			at = len(out)
			index[same] = at
			out = append(out, b.card(r))
		}
		out[at].add(r, b.full(r, wideRoom()))
	}
	for i := range out {
		out[i].lift()
	}
	return out
}

func (c *card) add(r harness.Result, e entry) {
	for _, id := range r.Covers {
		if id = short(id); !slices.Contains(c.Covers, id) {
			c.Covers = append(c.Covers, id)
		}
	}
	c.Entries = append(c.Entries, e)
}

// lift moves what every place expects to the card, where it is read once.
func (c *card) lift() {
	first := c.Entries[0].Expected
	if slices.ContainsFunc(c.Entries, func(e entry) bool { return e.Expected != first }) {
		return
	}
	c.Expected = first
	for i := range c.Entries {
		c.Entries[i].Expected = ""
	}
}

func (b *builder) card(r harness.Result) card {
	v := verdictOf(r)
	c := card{
		Verdict: string(v), Mark: mark(v), ID: short(r.ID), Title: short(r.Title), Severity: string(r.Severity), Level: string(r.Level), Threat: r.Threat.Title(),
		Clause: clauseLink(r.Clause), Why: short(r.Why), Fix: short(r.Fix),
	}
	switch v {
	case harness.Fail:
		c.Lead = "Does not hold:"
	case harness.Warn: // the attack failed: what it would have been worth, and against what, is no measure of the form of an answer
		c.Severity, c.Level, c.Why, c.Fix = "", "", "", ""
	}
	if r.Source.File != "" {
		c.Source = fmt.Sprintf("%s:%d", short(r.Source.File), r.Source.Line)
	}
	return c
}

func (b *builder) uses() []useRow {
	var out []useRow
	for _, u := range uses() {
		f := u.weigh(b.run, b.results)
		out = append(out, useRow{u.title, outcomeChip(f.outcome), shortened(f.reasons)})
	}
	return out
}

// threatOf says what the run shows about a threat.
func threatOf(run *harness.Run, t harness.Threat) finding {
	var own []harness.Result
	for _, r := range run.Results {
		if r.Threat == t {
			own = append(own, r)
		}
	}
	f := finding{tally: tallyOf(sorted(own))}
	f.outcome = f.tally.outcome(run)
	if len(own) == 0 {
		f.reasons = []string{"no check of it ran"}
	}
	return f
}

func (b *builder) threats() []threatRow {
	var out []threatRow
	for _, t := range harness.Threats() {
		out = append(out, threatRow{t.Title(), b.cell(threatOf(b.run, t))})
	}
	return out
}

func (b *builder) defences() []defenceRow {
	var out []defenceRow
	for _, aspect := range aspects() {
		row := defenceRow{Aspect: aspect}
		for _, d := range defences() {
			if d.aspect == aspect {
				row.Cells = append(row.Cells, defenceCell{mechanismTitle(d.mechanism), d.means, b.cell(d.measure(b.run, b.results))})
			}
		}
		out = append(out, row)
	}
	return out
}

func (b *builder) cell(f finding) cellView {
	var parts []string
	for _, part := range []struct {
		n    int
		word string
	}{
		{len(f.tally.shown()), "held"}, {len(f.tally[harness.Fail]), "broken"},
		{len(f.tally[harness.Inconclusive]), "inconclusive"}, {len(f.tally[harness.Skip]), "not applicable"},
	} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.word))
		}
	}
	return cellView{
		Outcome: outcomeChip(f.outcome), Counts: strings.Join(parts, ", "), Reasons: shortened(f.reasons),
		Broken: b.entries(f.tally[harness.Fail]), Unknown: b.entries(f.tally[harness.Inconclusive]), Held: b.entries(f.tally.shown()),
	}
}

// reasonGroup is a set of results with one reason.
type reasonGroup struct {
	reason  string
	results []harness.Result
}

// byReason groups results by reason, the most frequent first.
func byReason(results []harness.Result) []reasonGroup {
	var out []reasonGroup
	index := map[string]int{}
	for _, r := range results {
		at, known := index[r.Reason]
		if !known {
			at = len(out)
			index[r.Reason] = at
			out = append(out, reasonGroup{reason: r.Reason})
		}
		out[at].results = append(out[at].results, r)
	}
	slices.SortStableFunc(out, func(a, b reasonGroup) int { return len(b.results) - len(a.results) })
	return out
}

func (b *builder) reasons(results []harness.Result) []reasonView {
	var out []reasonView
	for _, g := range byReason(results) {
		view := reasonView{Reason: short(orNone(g.reason, "no reason was recorded"))}
		for _, r := range g.results {
			view.Entries = append(view.Entries, b.full(r, wideRoom()))
		}
		out = append(out, view)
	}
	return out
}

// clauses are all results by specification and section. Here is the place of the passes; the others link to theirs.
func (b *builder) clauses() []specView {
	ordered := slices.Clone(b.results)
	slices.SortStableFunc(ordered, func(x, y harness.Result) int { return compareClauses(x.Clause, y.Clause) })
	var out []specView
	for _, r := range ordered {
		section := harness.Clause{Spec: r.Clause.Spec, Section: r.Clause.Section}
		if n := len(out); n == 0 || out[n-1].Spec != short(r.Clause.Spec) {
			out = append(out, specView{Spec: short(r.Clause.Spec)})
		}
		spec := &out[len(out)-1]
		if n := len(spec.Sections); n == 0 || spec.Sections[n-1].Clause != clauseLink(section) {
			spec.Sections = append(spec.Sections, sectionView{Clause: clauseLink(section)})
		}
		last := &spec.Sections[len(spec.Sections)-1]
		if verdictOf(r) == harness.Pass {
			last.Entries = append(last.Entries, b.full(r, narrowRoom()))
		} else {
			last.Entries = append(last.Entries, b.entry(r))
		}
	}
	return out
}

func (b *builder) readings() []reading {
	var out []reading
	for _, v := range Readings(b.run) {
		row := reading{Name: short(v.Name), Value: short(v.Value.Value), Stated: short(v.Stated), How: short(v.How)}
		for _, r := range v.Results {
			row.Places = append(row.Places, place{short(where(r)), b.entry(r)})
		}
		out = append(out, row)
	}
	return out
}

// measured are the results that noted something which is no value of the table.
func (b *builder) measured() []entry {
	var out []entry
	for _, r := range b.results {
		if r.Measured != "" && len(r.Values) == 0 {
			out = append(out, b.entry(r))
		}
	}
	slices.SortStableFunc(out, func(x, y entry) int { return strings.Compare(x.Key, y.Key) })
	return out
}

func clauseLink(c harness.Clause) link {
	return link{short(orNone(c.String(), "no clause")), clauseURL(c)}
}

// identity is what was tested, with what and when.
func identity(run *harness.Run) []fact {
	var out []fact
	add := func(name, value string) {
		if value != "" {
			out = append(out, fact{name, short(value)})
		}
	}
	add("Target", orNone(run.Target.Name, "unnamed"))
	add("Issuer", run.Target.Issuer)
	add("Product", orNone(strings.TrimSpace(run.Target.Product+" "+run.Target.Version), "not said"))
	add("Recipe", run.Target.Recipe)
	add("Target file", run.Target.File)
	add("Fault", run.Target.Fault)
	add("popcheck", fmt.Sprintf("%s, catalogue %s", orNone(run.Popcheck, "unknown"), orNone(run.Catalogue, "unknown")))
	add("Profile", Profile(run))
	add("Fail on", string(run.FailOn))
	add("Selection", orNone(run.Select, "all checks"))
	add("Seed", fmt.Sprint(run.Seed))
	add("Started", moment(run.Started))
	add("Duration", fmt.Sprintf("%.1f s", lasted(run).Seconds()))
	if run.Requests > 0 {
		add("Traffic", Traffic(run))
	}
	if pace := Pace(run); pace != "" {
		add("Pace", pace)
	}
	if run.Complete {
		add("Complete", "yes")
	} else {
		add("Complete", "no: "+orNone(run.Incomplete, "no reason was recorded"))
	}
	return out
}

// embeddedFile is the name of the reference target in place of a file.
const embeddedFile = "embedded"

// origin says that the target is the embedded one, and with which fault; every report says it.
func origin(run *harness.Run) []string {
	var out []string
	if run.Target.File == embeddedFile {
		out = append(out, "This is popcheck's own reference target, not a server of yours.")
	}
	if run.Target.Fault != "" {
		out = append(out, fmt.Sprintf("It ran with the fault “%s”, put in on purpose to show what a finding looks like.", short(run.Target.Fault)))
	}
	return out
}

func notices(run *harness.Run) []notice {
	var out []notice
	if said := origin(run); len(said) > 0 {
		out = append(out, notice{Title: strings.Join(said, " ")})
	}
	if len(run.Notes) > 0 {
		out = append(out, notice{"About the levels", shortened(run.Notes)})
	}
	if len(run.BadWaivers) > 0 {
		out = append(out, notice{"Waivers out of date", shortened(run.BadWaivers)})
	}
	if len(run.Left) > 0 {
		out = append(out, notice{"Left behind at the target", shortened(run.Left)})
	}
	if len(run.Problems) > 0 {
		out = append(out, notice{"To be mended before the next run", shortened(run.Problems)})
	}
	return out
}

// shortened bounds a list and each of its items.
func shortened(list []string) []string {
	const most = 200
	var out []string
	for _, s := range list[:min(len(list), most)] {
		out = append(out, short(s))
	}
	if left := len(list) - most; left > 0 {
		out = append(out, fmt.Sprintf("… %d more in run.json", left))
	}
	return out
}

// numbers counts the verdicts; the bar is 1000 wide.
func numbers(t tally, total int) []number {
	const width = 1000.0
	var out []number
	before := 0
	for _, v := range harness.Verdicts() {
		n := number{Verdict: string(v), Mark: mark(v), Count: len(t[v]), X: "0", Width: "0"}
		if total > 0 {
			n.X = fmt.Sprintf("%.1f", width*float64(before)/float64(total))
			n.Width = fmt.Sprintf("%.1f", width*float64(n.Count)/float64(total))
		}
		before += n.Count
		out = append(out, n)
	}
	return out
}

func contents(p *page, j judgement, total int) []content {
	return []content{
		{"s-findings", "Findings", fmt.Sprint(len(j.tally[harness.Fail]))},
		{"s-uses", "Fit for use", ""},
		{"s-threats", "By threat", ""},
		{"s-defences", "The defences", ""},
		{"s-profiles", "Under other profiles", ""},
		{"s-inconclusive", "Inconclusive", fmt.Sprint(len(j.tally[harness.Inconclusive]))},
		{"s-warnings", "Warnings", fmt.Sprint(len(j.tally[harness.Warn]))},
		{"s-skipped", "Not tested", fmt.Sprint(len(j.tally[harness.Skip]))},
		{"s-clauses", "All results by clause", fmt.Sprint(total)},
		{"s-measured", "Measured", fmt.Sprint(len(p.Readings) + len(p.Measured))},
		{"s-capabilities", "Capabilities", fmt.Sprint(len(p.Abilities))},
		{"s-legend", "Legend", ""},
	}
}

func abilities(run *harness.Run) []ability {
	var out []ability
	for name, c := range run.Capabilities {
		out = append(out, ability{short(name), short(c.Value), short(c.How)})
	}
	slices.SortFunc(out, func(a, b ability) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// mark is a sign beside a word, so that a verdict is found at a glance without colour.
func mark(v harness.Verdict) string {
	switch v {
	case harness.Fail:
		return "✕"
	case harness.Warn:
		return "!"
	case harness.Pass:
		return "✓"
	case harness.Skip:
		return "–"
	}
	return "?"
}

func outcomeChip(o outcome) chip {
	like := map[outcome]harness.Verdict{held: harness.Pass, ready: harness.Pass, broken: harness.Fail, notReady: harness.Fail,
		notShown: harness.Inconclusive, notApplicable: harness.Skip}[o]
	return chip{string(like), mark(like), string(o)}
}

func verdictLegend() []legend {
	var out []legend
	for _, v := range harness.Verdicts() {
		out = append(out, legend{chip{string(v), mark(v), string(v)}, v.Legend()})
	}
	return out
}

func levelLegend() []legend {
	return []legend{
		{chip{"level", "", string(harness.Must)}, "binding: the attack wins something usable, or the profile demands the behaviour"},
		{chip{"level", "", string(harness.Should)}, "recommended by the profile"},
		{chip{"level", "", string(harness.Hardening)}, "beyond what the profile asks for"},
	}
}

func outcomeLegend() []legend {
	return []legend{
		{outcomeChip(held), "at least one result held, none failed, none is inconclusive, and the run is complete"},
		{outcomeChip(broken), "at least one attack worked, whatever its level and waived or not"},
		{outcomeChip(notShown), "nothing can be concluded: something needed was not run or is inconclusive"},
		{outcomeChip(notApplicable), "the mechanism has no such part, or the target does not offer it"},
		{outcomeChip(ready), "what the use needs is held at every side that must defend; no attack at level must worked"},
		{outcomeChip(notReady), "an attack at level must, or one that counts, worked"},
	}
}
