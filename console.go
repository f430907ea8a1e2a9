package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/reports"
	"golang.org/x/term"
)

// console prints one line per result as it ends; colour only on a terminal.
type console struct {
	w      io.Writer
	colour bool
	said   map[string]bool // reasons of results that are inconclusive or warn: a dead server, or a habit of one, gives the same hundreds of times
}

func newConsole(w io.Writer) *console {
	f, ok := w.(*os.File)
	return &console{w, ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb", map[string]bool{}}
}

func (c *console) paint(v harness.Verdict) string {
	word := fmt.Sprintf("%-12s", v)
	if !c.colour {
		return word
	}
	return map[harness.Verdict]string{harness.Pass: "\x1b[32m", harness.Fail: "\x1b[1;31m", harness.Warn: "\x1b[33m", harness.Inconclusive: "\x1b[35m", harness.Skip: "\x1b[2m"}[v] + word + "\x1b[0m"
}

func (c *console) learned(t *harness.Tester) {
	for _, p := range t.Learned.Problems {
		fmt.Fprintln(c.w, "problem:", oneLine(t.Redactor.Text(p)))
	}
}

func (c *console) waits(d time.Duration, why string) {
	fmt.Fprintln(c.w, "waiting", d.Round(time.Second), why)
}

func (c *console) progress(r *harness.Result, done, total int) {
	fmt.Fprintf(c.w, "%*d/%d %s %s  %s\n", len(fmt.Sprint(total)), done, total, c.paint(r.Verdict), r.Key, r.Title)
	switch {
	case r.Verdict == harness.Pass || r.Verdict == harness.Skip:
		return
	case r.Verdict != harness.Fail && c.said[r.Reason]:
		return
	}
	c.said[r.Reason] = true
	weight := fmt.Sprintf(", %s, %s", r.Level, r.Severity)
	if r.Verdict == harness.Warn {
		weight = "" // the attack failed: what it would have been worth is no measure of the form of an answer
	}
	fmt.Fprintf(c.w, "        %s%s: %s\n", r.Clause, weight, oneLine(r.Reason))
	if r.Verdict == harness.Fail {
		fmt.Fprintf(c.w, "        popcheck explain %s\n", r.ID)
	}
}

func (c *console) summary(run *harness.Run, dir, what string) {
	var counts []string
	for _, v := range harness.Verdicts() {
		if n := run.Summary[v]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, v))
		}
	}
	for _, p := range append(slices.Clone(run.Problems), run.BadWaivers...) {
		fmt.Fprintln(c.w, "problem:", oneLine(p))
	}
	for _, left := range run.Left {
		fmt.Fprintln(c.w, "left behind:", oneLine(left))
	}
	if !run.Complete {
		fmt.Fprintln(c.w, "incomplete:", oneLine(run.Incomplete))
	}
	switch {
	case len(run.Problems) == 0:
	case run.Summary[harness.Fail]+run.Summary[harness.Warn]+run.Summary[harness.Pass] == 0:
		fmt.Fprintln(c.w, "Nothing was judged: mend the problems above, and run again.")
	default:
		fmt.Fprintln(c.w, "Not everything could be tried: mend the problems above, and run again.")
	}
	if pace := reports.Pace(run); pace != "" {
		fmt.Fprintln(c.w, "pace:", pace)
	}
	for _, value := range reports.Measured(run) {
		fmt.Fprintln(c.w, "measured:", oneLine(value))
	}
	took := run.Finished.Sub(run.Started).Seconds()
	fmt.Fprintf(c.w, "profile %s\n%s\n%s in %.1f s; reports: %s\n%s: %s\n", reports.Profile(run), reports.Headline(run), reports.Traffic(run), took,
		filepath.Join(dir, reports.HTMLFile), what, strings.Join(counts, ", "))
}

// oneLine makes text that may come from the target safe for a terminal, and for logs that are read line by line: it neither
// moves the cursor nor begins a line.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return '\uFFFD'
		}
		return r
	}, strings.Join(strings.Fields(s), " "))
}

// annotations is how many errors of a step GitHub shows.
const annotations = 10

// tellGitHub adds the run to the summary of the job and marks its findings.
func tellGitHub(w io.Writer, run *harness.Run) error {
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	annotate := func(title, text string) {
		fmt.Fprintf(w, "::error title=%s::%s\n", property.Replace(oneLine(title)), data.Replace(oneLine(text)))
	}
	findings := reports.Findings(run)
	for _, r := range findings[:min(len(findings), annotations)] {
		annotate(r.Key, fmt.Sprintf("%s: it does not hold. %s (%s, %s, %s)", r.Title, r.Reason, r.Clause, r.Level, r.Severity))
	}
	if len(findings) == 0 && reports.ExitCode(run) != exitFine {
		annotate("popcheck", reports.Headline(run))
	}
	path := os.Getenv("GITHUB_STEP_SUMMARY")
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(reports.Markdown(f, run), f.Close())
}
