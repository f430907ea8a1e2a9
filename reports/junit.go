package reports

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/popcheck/popcheck/harness"
)

// The JUnit dialect that Jenkins, GitLab and the usual actions of GitHub have in common.
type (
	junitSuites struct {
		XMLName xml.Name `xml:"testsuites"`
		Name    string   `xml:"name,attr"`
		junitCounts
		Time      string       `xml:"time,attr"`
		Timestamp string       `xml:"timestamp,attr,omitempty"`
		Suites    []junitSuite `xml:"testsuite"`
	}
	junitCounts struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
		Skipped  int `xml:"skipped,attr"`
	}
	junitSuite struct {
		Name string `xml:"name,attr"`
		junitCounts
		Time       string           `xml:"time,attr"`
		Timestamp  string           `xml:"timestamp,attr,omitempty"`
		Properties *junitProperties `xml:"properties"`
		Cases      []junitCase      `xml:"testcase"`
	}
	junitCase struct {
		Name       string           `xml:"name,attr"`
		Class      string           `xml:"classname,attr"`
		Time       string           `xml:"time,attr"`
		File       string           `xml:"file,attr,omitempty"`
		Line       int              `xml:"line,attr,omitempty"`
		Properties *junitProperties `xml:"properties"`
		Skipped    *junitSkipped    `xml:"skipped"`
		Failure    *junitTrouble    `xml:"failure"`
		Error      *junitTrouble    `xml:"error"`
		Output     string           `xml:"system-out,omitempty"`
	}
	junitProperties struct {
		List []junitProperty `xml:"property"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitSkipped struct {
		Message string `xml:"message,attr"`
	}
	junitTrouble struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Body    string `xml:",chardata"`
	}
)

// JUnit writes the run for build servers: a fail that counts is a failure, what was not learned an
// error, a skip skipped; warnings, waived and lesser fails pass and say so in their output.
// A run that ended early and waivers out of date stand in a suite of their own,
// so that a build server and the exit code never disagree.
func JUnit(w io.Writer, run *harness.Run) error {
	run = readable(run)
	doc := junitSuites{Name: line("popcheck: " + run.Target.Name + ". " + strings.Join(origin(run), " ")), Time: seconds(lasted(run)), Timestamp: junitTime(run.Started)}
	for _, name := range suites(run) {
		doc.add(junitSuiteOf(run, name))
	}
	if cases := runCases(run); len(cases) > 0 {
		doc.add(junitSuite{Name: "popcheck.run", Time: seconds(0), Timestamp: doc.Timestamp, Cases: cases})
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// suites are the names of the suites of the run, in order.
func suites(run *harness.Run) []string {
	var names []string
	for _, r := range run.Results {
		if name := suiteOf(r); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func suiteOf(r harness.Result) string {
	if r.Suite != "" {
		return "popcheck." + line(r.Suite)
	}
	return "popcheck." + string(r.Mechanism)
}

func junitSuiteOf(run *harness.Run, name string) junitSuite {
	suite := junitSuite{Name: name, Timestamp: junitTime(run.Started), Properties: &junitProperties{List: []junitProperty{
		{"target", line(run.Target.Name)}, {"target_file", line(run.Target.File)}, {"issuer", line(run.Target.Issuer)}, {"popcheck", run.Popcheck}, {"catalogue", run.Catalogue},
		{"profile", line(run.Profile)}, {"profile_text", line(run.ProfileText)}, {"fail_on", string(run.FailOn)}, {"seed", fmt.Sprint(run.Seed)},
	}}}
	if run.Target.Fault != "" {
		suite.Properties.List = append(suite.Properties.List, junitProperty{"fault", run.Target.Fault})
	}
	var total int64
	for _, r := range run.Results {
		if suiteOf(r) == name {
			total += r.Duration
			suite.Cases = append(suite.Cases, junitCaseOf(run, r))
		}
	}
	slices.SortStableFunc(suite.Cases, func(a, b junitCase) int { return strings.Compare(a.Name, b.Name) })
	suite.Time = seconds(time.Duration(total) * time.Millisecond)
	return suite
}

func junitCaseOf(run *harness.Run, r harness.Result) junitCase {
	c := junitCase{
		Name: line(brief(r.Key+" "+r.Title, 400)), Class: suiteOf(r), Time: seconds(time.Duration(r.Duration) * time.Millisecond),
		File: line(r.Source.File), Line: r.Source.Line,
		Properties: &junitProperties{List: []junitProperty{
			{"id", line(r.ID)}, {"verdict", string(r.Verdict)}, {"level", string(r.Level)}, {"severity", string(r.Severity)}, {"clause", line(r.Clause.String())}}},
	}
	message := line(brief(r.Reason, 500))
	switch verdictOf(r) {
	case harness.Inconclusive:
		c.Error = &junitTrouble{Message: message, Type: "inconclusive", Body: account(r)}
	case harness.Skip:
		c.Skipped = &junitSkipped{Message: message}
	case harness.Warn:
		c.Output = "warn (" + harness.Warn.Legend() + ")\n" + account(r)
	case harness.Fail:
		switch {
		case counts(r, run.FailOn):
			c.Failure = &junitTrouble{Message: message, Type: string(r.Level) + "." + string(r.Severity), Body: account(r)}
		case r.Waiver != nil:
			c.Output = fmt.Sprintf("fail, waived until %s: %s\n%s", r.Waiver.Until, line(r.Waiver.Reason), account(r))
		default:
			c.Output = fmt.Sprintf("fail at level %s, which does not count under fail-on %s\n%s", r.Level, run.FailOn, account(r))
		}
	default:
		if r.Measured != "" {
			c.Output = "measured: " + brief(r.Measured, 1000)
		}
	}
	return c
}

// runCases are troubles of the run as a whole.
func runCases(run *harness.Run) []junitCase {
	var cases []junitCase
	add := func(name string, c junitCase) {
		c.Name, c.Class, c.Time = name, "popcheck.run", seconds(0)
		cases = append(cases, c)
	}
	switch {
	case !run.Complete:
		add("the run is complete", junitCase{Error: &junitTrouble{Type: "incomplete", Message: line(brief("not complete: "+run.Incomplete, 500)), Body: problems(run)}})
	case len(run.Results) == 0:
		add("the run has results", junitCase{Error: &junitTrouble{Type: "incomplete", Message: "no check was run", Body: problems(run)}})
	}
	if len(run.BadWaivers) > 0 {
		add("the waivers are up to date", junitCase{Failure: &junitTrouble{Type: "waiver",
			Message: count(len(run.BadWaivers), "waiver is", "waivers are") + " out of date", Body: brief(strings.Join(run.BadWaivers, "\n"), 20_000)}})
	}
	return cases
}

func problems(run *harness.Run) string { return brief(strings.Join(run.Problems, "\n"), 20_000) }

// account tells a result in plain text: the clause, what it asks for, what was seen, and the exchanges in a line each.
func account(r harness.Result) string {
	var b strings.Builder
	say := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "%-12s %s\n", name+":", line(brief(text, 1000)))
		}
	}
	say("Clause", fmt.Sprintf("%s (%s, %s)", r.Clause, r.Level, r.Severity))
	say("Expected", r.Expected)
	say("Seen", r.Reason)
	say("Measured", r.Measured)
	say("Consequence", r.Why)
	say("Fix", r.Fix)
	const most = 40
	for i, e := range r.Exchanges {
		if i == most {
			fmt.Fprintf(&b, "  … %s more in run.json\n", count(len(r.Exchanges)-most, "exchange", "exchanges"))
			break
		}
		if i == 0 {
			b.WriteString("Evidence:\n")
		}
		fmt.Fprintf(&b, "  %-7s  %s: %s\n", e.Role, line(brief(e.Step, 100)), exchangeLine(e))
	}
	return b.String()
}

// exchangeLine is an exchange in a line: what was asked, what came back, what was changed.
func exchangeLine(e harness.Exchange) string {
	s := line(brief(e.Request.Method, 40)+" "+brief(e.Request.URL, 300)) + " → " + answer(e.Response)
	if len(e.Request.Changed) > 0 {
		s += ", changed: " + line(brief(strings.Join(e.Request.Changed, ", "), 300))
	}
	return s
}

// answer is a response in a word: its status, or why there is none.
func answer(r harness.ExchangeResponse) string {
	switch {
	case r.Status != 0:
		return fmt.Sprint(r.Status)
	case r.Error != "":
		return "no answer (" + line(brief(r.Error, 200)) + ")"
	}
	return "no answer"
}

func (d *junitSuites) add(s junitSuite) {
	for _, c := range s.Cases {
		s.Tests++
		switch {
		case c.Failure != nil:
			s.Failures++
		case c.Error != nil:
			s.Errors++
		case c.Skipped != nil:
			s.Skipped++
		}
	}
	d.Tests += s.Tests
	d.Failures += s.Failures
	d.Errors += s.Errors
	d.Skipped += s.Skipped
	d.Suites = append(d.Suites, s)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

// junitTime has no zone, as the schema of JUnit wants it; it is UTC.
func junitTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05")
}
