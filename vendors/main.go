// Command vendors runs popcheck on every real server that this machine can start, and writes the matrix of them all. It is for those who
// work on popcheck: a finding on a server of another vendor is either true or a fault of popcheck, and has to be told apart by hand.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/popcheck/popcheck/fixtures/targets"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/reports"
)

// arrangement is one way to start one server: a recipe of fixtures/targets, and its options.
type arrangement struct{ recipe, options string }

// arrangements are the columns of the matrix, in their order.
func arrangements() []arrangement {
	return []arrangement{
		{"oidc-provider", ""},
		{"oidc-provider", "--pkce optional --nonces off --tokens opaque"},
		{"keycloak", ""},
		{"container", ""},
		{"hydra", ""},
		{"hydra", "--pkce public --tokens jwt"},
		{"authelia", "--login exec --consent implicit"},
	}
}

func (a arrangement) String() string { return strings.TrimSpace(a.recipe + " " + a.options) }

// slug is the arrangement as the name of a directory.
func (a arrangement) slug() string {
	return strings.NewReplacer(" --", "-", " ", "-", "=", "-", "/", "-").Replace(a.String())
}

// outcome is what came of one arrangement.
type outcome struct {
	arrangement
	run         *harness.Run // nil where there is none
	exit        int          // of popcheck
	start, took time.Duration
	skipped     error // ErrMissing: this machine cannot run it
	wrong       error // it should have run
}

// vendors is one call of this command.
type vendors struct {
	popcheck, out string
	args          []string // for popcheck run
}

func main() {
	v := vendors{}
	flag.StringVar(&v.popcheck, "popcheck", "bin/popcheck", "the program to run")
	flag.StringVar(&v.out, "out", "vendors-out", "directory of the reports and the matrix")
	only := flag.String("only", "*", "recipes to run, with *")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: vendors [options] [-- options of popcheck run]")
		flag.PrintDefaults()
	}
	flag.Parse()
	v.args = flag.Args()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()

	var all []outcome
	for _, a := range arrangements() {
		if chosen, err := path.Match(*only, a.recipe); err != nil || !chosen || ctx.Err() != nil {
			continue
		}
		fmt.Fprintf(os.Stderr, "vendors: %s\n", a)
		o := v.try(ctx, a)
		if reason := cmp.Or(o.skipped, o.wrong); reason != nil {
			fmt.Fprintf(os.Stderr, "vendors: %s: %v\n", a, reason)
		}
		all = append(all, o)
	}
	err := errors.Join(write(os.Stdout, all), v.matrix(ctx, all), ctx.Err())
	for _, o := range all {
		err = errors.Join(err, o.wrong)
	}
	if len(all) == 0 {
		err = errors.Join(err, fmt.Errorf("no recipe is called %s", *only))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vendors:", err)
		os.Exit(1)
	}
}

// try installs and starts the server, runs popcheck on it, and ends it.
func (v vendors) try(ctx context.Context, a arrangement) (o outcome) {
	o.arrangement = a
	dir := filepath.Join(v.out, a.slug())
	if err := os.RemoveAll(dir); err != nil {
		o.wrong = err
		return o
	}
	if o.wrong = targets.Install(ctx, a.recipe); o.wrong == nil {
		o.wrong = v.measure(ctx, &o, dir)
	}
	if errors.Is(o.wrong, targets.ErrMissing) {
		o.skipped, o.wrong = o.wrong, nil
	}
	return o
}

func (v vendors) measure(ctx context.Context, o *outcome, dir string) (err error) {
	began := time.Now()
	server, err := targets.Start(ctx, o.recipe, filepath.Join(dir, "server"), strings.Fields(o.options)...)
	if err != nil {
		return err
	}
	defer func() {
		if stopped := server.Stop(); stopped != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", o, stopped))
		}
	}()
	o.start = time.Since(began)

	began = time.Now()
	o.exit, err = v.command(ctx, filepath.Join(dir, "run.log"), append([]string{"run", "--out", dir}, append(v.args, server.TargetFile)...)...)
	o.took = time.Since(began)
	if err != nil {
		return err
	}
	if o.run, err = reports.Read(filepath.Join(dir, "run.json")); err != nil {
		return fmt.Errorf("%s: popcheck ended with exit code %d: %w", o, o.exit, err)
	}
	// 0: nothing found, 1: findings. Anything else says that popcheck and this server do not get along.
	if o.exit > 1 {
		return fmt.Errorf("%s: popcheck ended with exit code %d: %s", o, o.exit, reports.Headline(o.run))
	}
	return nil
}

// command runs popcheck, keeps what it prints, and returns its exit code.
func (v vendors) command(ctx context.Context, log string, args ...string) (int, error) {
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		return 0, err
	}
	file, err := os.Create(log)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	cmd := exec.CommandContext(ctx, v.popcheck, args...)
	cmd.Stdout, cmd.Stderr = file, file
	// popcheck still writes its reports after the first signal.
	cmd.Cancel, cmd.WaitDelay = func() error { return cmd.Process.Signal(syscall.SIGTERM) }, time.Minute
	err = cmd.Run()
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) && ended.Exited() {
		return ended.ExitCode(), nil
	}
	return 0, err
}

// write prints a line for each arrangement.
func write(w io.Writer, all []outcome) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "server\tversion\texit\tstart\trun\tpkce\tdpop\tmtls")
	for _, o := range all {
		switch {
		case o.skipped != nil:
			fmt.Fprintf(t, "%s\t\tskipped: %s\n", o, lastLine(o.skipped))
		case o.run == nil:
			fmt.Fprintf(t, "%s\t\twrong: %s\n", o, lastLine(o.wrong))
		default:
			fmt.Fprintf(t, "%s\t%s\t%d\t%.0f s\t%.0f s\t%s\t%s\t%s\n", o, cmp.Or(o.run.Target.Version, "?"), o.exit, o.start.Seconds(), o.took.Seconds(),
				counts(o.run, "pkce"), counts(o.run, "dpop"), counts(o.run, "mtls"))
		}
	}
	return t.Flush()
}

// counts are the results of one suite: "120 pass, 3 warn, 1 fail, 40 skip".
func counts(run *harness.Run, suite string) string {
	n := map[harness.Verdict]int{}
	for _, r := range run.Results {
		if r.Suite == suite {
			n[r.Verdict]++
		}
	}
	var said []string
	for _, v := range []harness.Verdict{harness.Pass, harness.Warn, harness.Fail, harness.Inconclusive, harness.Skip} {
		if n[v] > 0 {
			said = append(said, fmt.Sprintf("%d %s", n[v], v))
		}
	}
	return cmp.Or(strings.Join(said, ", "), "none")
}

func lastLine(err error) string {
	lines := strings.Split(err.Error(), "\n")
	return lines[len(lines)-1]
}

// matrix holds the runs against each other; a comparison needs two.
func (v vendors) matrix(ctx context.Context, all []outcome) error {
	var runs []string
	for _, o := range all {
		if o.run != nil {
			runs = append(runs, filepath.Join(v.out, o.slug(), "run.json"))
		}
	}
	if len(runs) < 2 {
		return nil
	}
	page, table := filepath.Join(v.out, "matrix.html"), filepath.Join(v.out, "matrix.csv")
	log := filepath.Join(v.out, "matrix.txt")
	switch exit, err := v.command(ctx, log, append([]string{"compare", "--html", page, "--csv", table}, runs...)...); {
	case err != nil:
		return err
	case exit != 0:
		return fmt.Errorf("popcheck compare ended with exit code %d: see %s", exit, log)
	}
	fmt.Printf("written: %s, %s\n", page, table)
	return nil
}
