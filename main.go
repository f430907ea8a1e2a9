// Command popcheck says whether an OAuth 2.0 server holds the defences that it claims: PKCE, DPoP and mTLS.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

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
	Check   checkCommand   `cmd:"" help:"Prove the target file without one attack: discovery, each client, the login, every honest call; and say what a run would skip."`
	Init    initCommand    `cmd:"" help:"Write a commented target file from a server's discovery."`
	List    listCommand    `cmd:"" help:"List the checks."`
	Explain explainCommand `cmd:"" help:"Explain one check: what is sent, what must happen, why."`
	Target  targetCommand  `cmd:"" help:"Start the embedded reference target and print a target file for it."`
	Schema  schemaCommand  `cmd:"" help:"Print a JSON Schema."`
	Report  reportCommand  `cmd:"" help:"Render the reports of a run again."`
	Compare compareCommand `cmd:"" help:"Hold runs against each other: several servers, or one before and after a change."`
	Worker  workerCommand  `cmd:"" hidden:""`
	Version versionCommand `cmd:"" help:"Print the version."`
}

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	// The first signal ends the run, which then writes its reports; the second one ends the process. Ginkgo handles signals
	// too while specs run, so the default action never comes back by itself.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals
		cancel()
		if len(os.Args) > 1 && os.Args[1] == "worker" { // it hears a Ctrl-C from the terminal and from the process that shares its work out
			return
		}
		<-signals
		os.Exit(exitIncomplete)
	}()
	// A reader that goes away (popcheck run | head) is no reason to lose the reports.
	signal.Ignore(syscall.SIGPIPE)
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
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(streams{stdout, stderr}))
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
	var wrongUse *kong.ParseError
	switch {
	case err == nil:
		return exitFine
	case errors.As(err, &wrongUse):
		asked := "popcheck"
		if c := wrongUse.Context.Selected(); c != nil {
			asked += " " + c.Path()
		}
		fmt.Fprintf(stderr, "popcheck: %v; see %s --help\n", err, asked)
		return exitWrongUse
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
	Target   *string `arg:"" optional:"" help:"Target file; without it the embedded reference target is tested."`
	Out      string  `default:"popcheck-out" placeholder:"DIR" help:"Directory of the reports (default ${default})."`
	Select   *string `placeholder:"EXPR" help:"Ids, keys, suites, clauses (rfc9449/4.3), severities or threats, separated by commas."`
	Profile  *string `placeholder:"P" help:"bcp, rfc, oauth21 or fapi2; default: that of the target file."`
	FailOn   string  `default:"must" placeholder:"LEVEL" help:"must, should, hardening or never (default ${default})."`
	Slow     bool    `help:"Also run the checks that wait for codes, tokens and nonces to grow old: a quarter of an hour."`
	Parallel int     `placeholder:"N" default:"1" help:"Run in N processes, each with its own sessions (default ${default})."`
	Gentle   bool    `help:"Leave out the checks that may leave something behind: revoked grants, wrong logins."`
	DryRun   bool    `help:"Send nothing: print what would be sent where, and the harm that each check declares."`
	Seed     uint64  `placeholder:"N" help:"Shuffle the checks by this seed."`
	Fault    *string `placeholder:"ID" help:"Give the embedded target this fault: shows what a finding looks like."`
	Dialect  *string `placeholder:"ID" help:"Have the embedded target speak like another sound server; popcheck target --dialects names them."`
}

func (r *runCommand) Run(ctx context.Context, w streams) error {
	level, selection, err := r.validate()
	if err != nil {
		return err
	}
	target, file, closeTarget, err := r.target()
	if err != nil {
		return err
	}
	defer closeTarget()
	if err := selection.Fits(target); err != nil {
		return err
	}
	fault, profile := or(r.Fault, ""), or(r.Profile, target.Profile)
	options := suites.Options{Target: target, Fault: fault, Version: version, Profile: profile, FailOn: level, Select: selection, Seed: r.Seed, Slow: r.Slow}
	if r.Gentle {
		options.Manners = suites.Gentle
	}
	options.Person = person(w)
	if r.DryRun {
		return dryRun(ctx, w, options)
	}
	if target.Login.Driver == "manual" && r.Parallel > 1 {
		return errors.New("--parallel: the login driver manual asks one person, who can log in for one process only; leave it out")
	}
	if err := prepareOut(r.Out); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	what := oneLine(target.Name) + " (" + target.Issuer + ", " + target.Path + ")"
	if r.Target == nil {
		what = "the embedded reference target"
		if fault != "" {
			what += " with the fault " + fault
		}
		if r.Dialect != nil {
			what += " in the dialect " + *r.Dialect
		}
	}
	fmt.Fprintf(w.out, "popcheck %s tests %s\n", version, what)
	defer context.AfterFunc(ctx, func() {
		fmt.Fprintln(w.err, "popcheck: interrupted: writing the reports; interrupt again to end without them")
	})()
	options.Failed = filepath.Join(r.Out, loginFailed)
	console := newConsole(w.out)
	options.Waits, options.Learned, options.Progress = console.waits, console.learned, console.progress
	run, err := r.run(ctx, options, file)
	if err != nil {
		return err
	}
	if len(run.Results) == 0 {
		return fmt.Errorf("--select %q matches nothing on this target", selection)
	}
	if err := reports.Write(r.Out, run); err != nil {
		return failure{exitIncomplete, err}
	}
	if os.Getenv("GITHUB_ACTIONS") == "true" {
		if err := tellGitHub(w.out, run); err != nil {
			fmt.Fprintln(w.err, "popcheck: the summary of the job:", err)
		}
	}
	console.summary(run, r.Out, what)
	if code := reports.ExitCode(run); code != exitFine {
		return failure{code, nil}
	}
	return nil
}

// validate reads the options. One that is there and empty is an unset variable of a script: it must not mean "the default".
func (r *runCommand) validate() (level harness.Level, selection suites.Selection, err error) {
	for _, option := range []struct {
		name  string
		value *string
	}{{"--out", &r.Out}, {"--select", r.Select}, {"--profile", r.Profile}, {"--fault", r.Fault}, {"--dialect", r.Dialect}} {
		if option.value != nil && strings.Trim(*option.value, " ,") == "" {
			return "", nil, fmt.Errorf("%s is empty; leave it out for the default", option.name)
		}
	}
	if r.Target != nil && *r.Target == "" {
		return "", nil, errors.New("the target file has an empty name; leave it out to test the embedded reference target")
	}
	if r.Target != nil && (r.Fault != nil || r.Dialect != nil) {
		return "", nil, errors.New("--fault and --dialect are for the embedded reference target, without a target file")
	}
	if r.Parallel < 0 || r.Parallel > 64 {
		return "", nil, errors.New("--parallel: want a number of processes from 1 to 64")
	}
	if level, err = harness.ParseLevel(r.FailOn); err != nil {
		return "", nil, fmt.Errorf("--fail-on: %w", err)
	}
	if r.Profile != nil {
		if err := knownProfile(*r.Profile); err != nil {
			return "", nil, err
		}
	}
	selection, err = suites.ParseSelection(or(r.Select, ""))
	return level, selection, err
}

func knownProfile(name string) error {
	if !slices.ContainsFunc(attacks.Profiles(), func(p attacks.Profile) bool { return p.Name == name }) {
		return fmt.Errorf("--profile: %q is none of bcp, rfc, oauth21, fapi2", name)
	}
	return nil
}

func or(option *string, otherwise string) string {
	if option == nil {
		return otherwise
	}
	return *option
}

// run is one process, or several of this very program.
func (r *runCommand) run(ctx context.Context, o suites.Options, file string) (*harness.Run, error) {
	if r.Parallel <= 1 {
		return suites.Run(ctx, o)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("--parallel: each process reads the target file, and %s can be read once only", file)
	}
	run, err := suites.RunParallel(ctx, o, r.Parallel, file, func(ctx context.Context) *exec.Cmd {
		cmd := exec.CommandContext(ctx, self, "worker")
		cmd.Args[0], cmd.Stderr = "popcheck", os.Stderr
		return cmd
	})
	if err != nil {
		return nil, failure{exitIncomplete, err}
	}
	return run, nil
}

// target is the target of the run, and the file that tells of it.
func (r *runCommand) target() (target *harness.Target, file string, end func(), err error) {
	if r.Target != nil {
		target, err := harness.LoadTarget(*r.Target)
		return target, *r.Target, func() {}, err
	}
	reference, end, err := startReference(fixtures.Options{Fault: or(r.Fault, ""), Dialect: or(r.Dialect, ""), Named: true, Version: version})
	if err != nil {
		return nil, "", nil, err
	}
	if target, err = harness.LoadTarget(reference.TargetFile()); err != nil {
		end()
		return nil, "", nil, err
	}
	target.Path = "embedded"
	return target, reference.TargetFile(), end, nil
}

// workerCommand is one process of run --parallel.
type workerCommand struct{}

func (workerCommand) Run(ctx context.Context, w streams) error {
	return suites.Work(ctx, os.Stdin, w.out)
}

// prepareOut makes sure, before anything is sent, that the reports can be written, and removes those of an earlier run: a
// run that dies must not leave another one's verdicts behind.
func prepareOut(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	probe, err := os.CreateTemp(dir, ".popcheck-*")
	if err != nil {
		return err
	}
	errs := []error{probe.Close(), os.Remove(probe.Name())}
	for _, name := range []string{reports.JSONFile, reports.JUnitFile, reports.HTMLFile, reports.MarkdownFile, reports.SARIFFile} {
		if err := os.Remove(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// startReference starts the embedded target; end also removes the directory that was made for it.
func startReference(options fixtures.Options) (reference *fixtures.Reference, end func(), err error) {
	if options.Fault != "" && !slices.ContainsFunc(fixtures.Faults(), func(f fixtures.Fault) bool { return f.ID == options.Fault }) {
		return nil, nil, fmt.Errorf("--fault: the reference target has no fault %q; popcheck target --list names them", options.Fault)
	}
	if options.Dialect != "" && !slices.ContainsFunc(fixtures.Dialects(), func(d fixtures.Dialect) bool { return d.ID == options.Dialect }) {
		return nil, nil, fmt.Errorf("--dialect: the reference target has no dialect %q; popcheck target --dialects names them", options.Dialect)
	}
	if reference, err = fixtures.Start(options); err != nil { // without Dir it makes a directory, which goes with it
		return nil, nil, err
	}
	return reference, func() { reference.Close() }, nil
}

type targetCommand struct {
	Fault    string   `placeholder:"ID" help:"The fault that the target has."`
	Dialect  string   `placeholder:"ID" help:"The dialect that the target speaks."`
	Login    string   `placeholder:"WAY" help:"How users log in: totp (a one-time code after the password) or script (pages that scripts build, for the login driver browser)."`
	Listen   []string `placeholder:"ADDRESS" help:"Addresses of its three servers (issuer, mutual TLS, resources); one on all interfaces (:8443) is known as 127.0.0.1. Default: free ports."`
	Dir      string   `placeholder:"DIR" help:"Write target file, keys and certificates there. Default: a directory that goes with the target."`
	List     bool     `help:"Print the fault ids, one a line."`
	Dialects bool     `help:"Print the dialects, one a line."`
}

func (t *targetCommand) Run(ctx context.Context, w streams) error {
	if t.List {
		for _, f := range fixtures.Faults() {
			fmt.Fprintln(w.out, f.ID)
		}
		return nil
	}
	if t.Dialects {
		for _, d := range fixtures.Dialects() {
			fmt.Fprintf(w.out, "%-24s %s (%s)\n", d.ID, d.Summary, d.Clause)
		}
		return nil
	}
	if n := len(t.Listen); n != 0 && n != 3 {
		return fmt.Errorf("--listen names %d addresses; the target has three servers: issuer, mutual TLS, resources", n)
	}
	// By address: other tools can reach it too.
	reference, end, err := startReference(fixtures.Options{Fault: t.Fault, Dialect: t.Dialect, Login: t.Login, Listen: t.Listen, Dir: t.Dir, Version: version})
	if err != nil {
		return err
	}
	defer end()
	file, err := os.ReadFile(reference.TargetFile())
	if err != nil {
		return err
	}
	fmt.Fprintf(w.out, "# %s\n%s", reference.TargetFile(), file)
	fmt.Fprintln(w.err, "the reference target runs until it is interrupted; its target file stands above, and at "+reference.TargetFile())
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

type versionCommand struct{}

func (versionCommand) Run(w streams) error {
	fmt.Fprintf(w.out, "popcheck %s, catalogue %s\n", version, attacks.CatalogueVersion)
	return nil
}
