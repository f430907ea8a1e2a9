// Command popcheck says whether an OAuth 2.0 server holds the defences that it claims: PKCE, DPoP and mTLS.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/fixtures"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/reports"
	"github.com/popcheck/popcheck/suites"
)

// version is set when a release is built: -ldflags "-X main.version=1.2.3".
var version = "0.1.0-dev"

// The exit codes of design §3.
const (
	exitFine       = 0
	exitWrongUse   = 2
	exitIncomplete = 3
)

type commands struct {
	Run     runCommand     `cmd:"" help:"Run the checks against a target and write the reports."`
	List    listCommand    `cmd:"" help:"List the checks."`
	Explain explainCommand `cmd:"" help:"Explain one check: what is sent, what must happen, why."`
	Target  targetCommand  `cmd:"" help:"Start the embedded reference target and print where its target file is."`
	Schema  schemaCommand  `cmd:"" help:"Print a JSON Schema."`
	Report  reportCommand  `cmd:"" help:"Render the reports of a run again."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// streams are where a command writes.
type streams struct{ out, err io.Writer }

// failure is an error with its exit code.
type failure struct {
	code int
	error
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var c commands
	exited := -1
	parser, err := kong.New(&c, kong.Name("popcheck"), kong.Writers(stdout, stderr), kong.Exit(func(code int) { exited = code }),
		kong.Description("popcheck tests whether an OAuth 2.0 server holds PKCE, DPoP and mTLS. Exit codes: 0 nothing found, 1 findings, 2 wrong use, 3 incomplete."),
		kong.UsageOnError(), kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(streams{stdout, stderr}))
	if err != nil {
		fmt.Fprintln(stderr, "popcheck:", err)
		return exitWrongUse
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 { // --help
		return exited
	}
	if err == nil {
		err = parsed.Run()
	}
	var coded failure
	switch {
	case err == nil:
		return exitFine
	case errors.As(err, &coded):
		if coded.error != nil {
			fmt.Fprintln(stderr, "popcheck:", coded.error)
		}
		return coded.code
	}
	fmt.Fprintln(stderr, "popcheck:", err)
	return exitWrongUse
}

type runCommand struct {
	Target  *string `arg:"" optional:"" help:"Target file; without it the embedded reference target is tested."`
	Out     string  `default:"popcheck-out" placeholder:"DIR" help:"Directory of the reports (default ${default})."`
	Select  string  `placeholder:"EXPR" help:"Ids, keys, suites, clauses (rfc9449/4.3), severities or threats, separated by commas."`
	Profile string  `placeholder:"P" help:"bcp, rfc, oauth21 or fapi2; default: that of the target file."`
	FailOn  string  `default:"must" placeholder:"LEVEL" help:"must, should, hardening or never (default ${default})."`
	Seed    uint64  `placeholder:"N" help:"Shuffle the checks by this seed."`
	Fault   string  `placeholder:"ID" help:"Give the embedded target this fault: shows what a finding looks like."`
}

func (r *runCommand) Run(ctx context.Context, w streams) error {
	level, err := harness.ParseLevel(r.FailOn)
	if err != nil {
		return fmt.Errorf("--fail-on: %w", err)
	}
	selection, err := suites.ParseSelection(r.Select)
	if err != nil {
		return err
	}
	target, closeTarget, err := r.target()
	if err != nil {
		return err
	}
	defer closeTarget()
	profile := r.Profile
	if profile == "" {
		profile = target.Profile
	}
	if !slices.ContainsFunc(attacks.Profiles(), func(p attacks.Profile) bool { return p.Name == profile }) {
		return fmt.Errorf("--profile: %q is none of bcp, rfc, oauth21, fapi2", profile)
	}
	if err := os.MkdirAll(r.Out, 0o755); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	what := target.Name + " (" + target.Issuer + ", " + target.Path + ")"
	if r.Target == nil {
		what = "the embedded reference target"
		if r.Fault != "" {
			what += " with the fault " + r.Fault
		}
	}
	fmt.Fprintf(w.out, "popcheck %s tests %s\n", version, what)
	console := newConsole(w.out)
	run, err := suites.Run(ctx, suites.Options{Target: target, Fault: r.Fault, Version: version, Profile: profile, FailOn: level, Select: selection, Seed: r.Seed,
		Learned: console.learned, Progress: console.progress})
	if err != nil {
		return err
	}
	if len(run.Results) == 0 {
		return fmt.Errorf("--select %q matches nothing on this target", r.Select)
	}
	if err := reports.Write(r.Out, run); err != nil {
		return failure{exitIncomplete, err}
	}
	console.summary(run, r.Out, what)
	if code := reports.ExitCode(run); code != exitFine {
		return failure{code, nil}
	}
	return nil
}

func (r *runCommand) target() (*harness.Target, func(), error) {
	if r.Target != nil {
		if *r.Target == "" {
			return nil, nil, errors.New("the target file has an empty name; leave it out to test the embedded reference target")
		}
		if r.Fault != "" {
			return nil, nil, errors.New("--fault is for the embedded reference target, without a target file")
		}
		target, err := harness.LoadTarget(*r.Target)
		return target, func() {}, err
	}
	reference, dir, err := startReference(r.Fault)
	if err != nil {
		return nil, nil, err
	}
	end := func() { reference.Close(); os.RemoveAll(dir) }
	target, err := harness.LoadTarget(reference.TargetFile())
	if err != nil {
		end()
		return nil, nil, err
	}
	target.Path = "embedded"
	return target, end, nil
}

func startReference(fault string) (*fixtures.Reference, string, error) {
	dir, err := os.MkdirTemp("", "popcheck-target-")
	if err != nil {
		return nil, "", err
	}
	reference, err := fixtures.Start(fixtures.Options{Fault: fault, Dir: dir, Named: true})
	if err != nil {
		os.RemoveAll(dir)
		return nil, "", err
	}
	return reference, dir, nil
}

// console prints one line per result as it ends; colour only on a terminal.
type console struct {
	w      io.Writer
	colour bool
}

func newConsole(w io.Writer) *console {
	f, ok := w.(*os.File)
	return &console{w, ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == ""}
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
		fmt.Fprintln(c.w, "problem:", t.Redactor.Text(p))
	}
}

func (c *console) progress(r *harness.Result, done, total int) {
	fmt.Fprintf(c.w, "%*d/%d %s %s  %s\n", len(fmt.Sprint(total)), done, total, c.paint(r.Verdict), r.Key, r.Title)
	if r.Verdict == harness.Fail || r.Verdict == harness.Inconclusive || r.Verdict == harness.Warn {
		fmt.Fprintf(c.w, "        %s, %s, %s: %s\n", r.Clause, r.Level, r.Severity, r.Reason)
	}
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
		fmt.Fprintln(c.w, "problem:", p)
	}
	if !run.Complete {
		fmt.Fprintln(c.w, "incomplete:", run.Incomplete)
	}
	fmt.Fprintf(c.w, "%s\nreports: %s\n%s: %s\n", reports.Headline(run), filepath.Join(dir, reports.HTMLFile), what, strings.Join(counts, ", "))
}

type listCommand struct {
	JSON bool `help:"As JSON."`
}

type listed struct {
	ID       string           `json:"id"`
	Title    string           `json:"title"`
	Suite    string           `json:"suite"`
	Clause   harness.Clause   `json:"clause"`
	Level    harness.Level    `json:"level"`
	Severity harness.Severity `json:"severity"`
	Threat   harness.Threat   `json:"threat"`
	Covers   []string         `json:"covers"`
	Harm     string           `json:"harm,omitempty"`
}

func (l *listCommand) Run(w streams) error {
	if !l.JSON {
		for _, e := range attacks.Catalogue() {
			fmt.Fprintf(w.out, "%-42s %-5s %-9s %-8s %-24s %s\n", e.ID, e.Suite, e.Level, e.Severity, e.Clause, e.Title)
		}
		return nil
	}
	out := []listed{}
	for _, e := range attacks.Catalogue() {
		out = append(out, listed{e.ID, e.Title, string(e.Suite), e.Clause, e.Level, e.Severity, e.Threat, e.Covered(), string(e.Harm)})
	}
	encoder := json.NewEncoder(w.out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(out)
}

type explainCommand struct {
	ID string `arg:"" help:"Id of a check, or key of a result."`
}

func (x *explainCommand) Run(w streams) error {
	id, _, _ := strings.Cut(x.ID, "@")
	for _, e := range attacks.Catalogue() {
		if e.ID != id {
			continue
		}
		fmt.Fprintf(w.out, "%s: %s\n\n", e.ID, e.Title)
		row := func(name, text string) {
			if text != "" {
				fmt.Fprintf(w.out, "%-12s %s\n", name, text)
			}
		}
		row("clause", e.Clause.String())
		row("suite", string(e.Suite))
		row("level", string(e.Level)+levels(e.Check))
		row("severity", string(e.Severity))
		row("threat", e.Threat.Title())
		row("if it fails", e.Why)
		row("refusal", e.Refusal.String())
		row("to mend", e.Fix)
		row("needs", e.Needs)
		row("harm", string(e.Harm))
		row("covers", e.Covers)
		row("row", fmt.Sprintf("%s:%d", e.Source.File, e.Source.Line))
		return nil
	}
	return fmt.Errorf("there is no check %q; popcheck list names them", id)
}

func levels(c attacks.Check) string {
	var other []string
	for _, p := range attacks.Profiles() {
		if l := attacks.LevelUnder(c, p.Name); l != c.Level {
			other = append(other, string(l)+" under "+p.Name)
		}
	}
	if len(other) == 0 {
		return ""
	}
	return " (" + strings.Join(other, ", ") + ")"
}

type targetCommand struct {
	Fault string `placeholder:"ID" help:"The fault that the target has."`
	List  bool   `help:"Print the fault ids, one a line."`
}

func (t *targetCommand) Run(ctx context.Context, w streams) error {
	if t.List {
		for _, f := range fixtures.Faults() {
			fmt.Fprintln(w.out, f.ID)
		}
		return nil
	}
	reference, dir, err := startReference(t.Fault)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	defer reference.Close()
	fmt.Fprintf(w.out, "%s\n", reference.TargetFile())
	fmt.Fprintln(w.err, "the reference target runs until it is interrupted; its target file is named above")
	<-ctx.Done()
	return nil
}

type schemaCommand struct {
	Name string `arg:"" enum:"run,target" help:"run or target."`
}

func (s *schemaCommand) Run(w streams) error {
	schema := reports.Schema()
	if s.Name == "target" {
		schema = harness.TargetSchema()
	}
	_, err := w.out.Write(schema)
	return err
}

type reportCommand struct {
	Run_ string `arg:"" name:"run.json" help:"The record of a run."`
	Out  string `default:"popcheck-out" placeholder:"DIR" help:"Directory of the reports (default ${default})."`
}

func (r *reportCommand) Run(w streams) error {
	run, err := reports.Read(r.Run_)
	if err != nil {
		return err
	}
	if err := reports.Write(r.Out, run); err != nil {
		return err
	}
	fmt.Fprintln(w.out, "reports:", filepath.Join(r.Out, reports.HTMLFile))
	return nil
}

type versionCommand struct{}

func (versionCommand) Run(w streams) error {
	fmt.Fprintf(w.out, "popcheck %s, catalogue %s\n", version, attacks.CatalogueVersion)
	return nil
}
