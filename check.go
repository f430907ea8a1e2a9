package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/suites"
)

type checkCommand struct {
	Target  string  `arg:"" help:"Target file."`
	Select  *string `placeholder:"EXPR" help:"Ids, keys, suites, clauses (rfc9449/4.3), severities or threats, separated by commas."`
	Profile *string `placeholder:"P" help:"bcp, rfc, oauth21 or fapi2; default: that of the target file."`
	Slow    bool    `help:"Count the checks that wait."`
}

// Run proves the target file. It ends with 0 when every client got a token that opens what it should, and with 3 when something has
// to be mended.
func (c *checkCommand) Run(ctx context.Context, w streams) error {
	asRun := runCommand{Target: &c.Target, Select: c.Select, Profile: c.Profile, FailOn: string(harness.Must), Out: "unused"}
	_, selection, err := asRun.validate()
	if err != nil {
		return err
	}
	target, err := harness.LoadTarget(c.Target)
	if err != nil {
		return err
	}
	if err := selection.Fits(target); err != nil {
		return err
	}
	return preflight(ctx, w, suites.Options{Target: target, Version: version, Profile: or(c.Profile, target.Profile), Select: selection, Slow: c.Slow}, bySuite)
}

// detail says how much of the plan is printed.
type detail int

const (
	bySuite detail = iota
	everyCheck
)

// preflight makes the honest calls and prints what they showed.
func preflight(ctx context.Context, w streams, o suites.Options, d detail) error {
	fmt.Fprintf(w.out, "popcheck %s looks at %s (%s, %s); honest calls only\n", version, oneLine(o.Target.Name), o.Target.Issuer, o.Target.Path)
	o.Person = person(w)
	if o.Failed == "" {
		o.Failed = filepath.Join(os.TempDir(), fmt.Sprintf("popcheck-%d-%s", os.Getpid(), loginFailed))
	}
	if o.Target.Login.Driver == "manual" {
		fmt.Fprintf(w.out, "login     by hand: you will be asked for about %d logins; where the server keeps your session, all but the first are clicks\n", harness.HonestLogins(o.Target))
	}
	p, err := suites.Check(ctx, o)
	if err != nil {
		return err
	}
	row := func(format string, args ...any) {
		fmt.Fprintln(w.out, strings.TrimRight(oneLines(fmt.Sprintf(format, args...)), " "))
	}
	row("metadata  %s", cmp.Or(p.Metadata, "none"))
	for _, way := range p.Issuer {
		row("issuer    %s", way)
	}
	for _, t := range p.Tries {
		seen := t.How
		if t.Works == harness.Yes && len(t.Opens) > 0 {
			seen = "its token opens " + strings.Join(t.Opens, ", ")
		}
		row("%-9s %s by %s, %s: %s", map[harness.Known]string{harness.Yes: "works", harness.No: "no", harness.NotKnown: "FAILS"}[t.Works],
			t.Client, harness.ShortGrant(t.Grant), t.Binding, seen)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Capabilities)) {
		row("can       %-20s %-8s %s", name, p.Capabilities[name].Value, p.Capabilities[name].How)
	}
	printPlan(row, p, d)
	for _, left := range p.Left {
		row("left behind: %s", left)
	}
	for _, problem := range p.Problems {
		row("problem:  %s", problem)
	}
	row("%d requests and %d logins were made", p.Requests, p.Logins)
	switch {
	case p.Stopped != "":
		return failure{exitIncomplete, errors.New("the honest calls ended early: " + oneLine(p.Stopped))}
	case len(p.Problems) > 0:
		return failure{exitIncomplete, fmt.Errorf("%d of the things above have to be mended before a run is complete", len(p.Problems))}
	}
	row("ready: popcheck run %s", o.Target.Path)
	return nil
}

// dryRun prints what a run would try, without one request. What only the target can tell is not known then: popcheck check asks it.
func dryRun(ctx context.Context, w streams, o suites.Options) error {
	p, err := suites.Plan(ctx, o)
	if err != nil {
		return err
	}
	row := func(format string, args ...any) {
		fmt.Fprintln(w.out, strings.TrimRight(oneLines(fmt.Sprintf(format, args...)), " "))
	}
	row("popcheck %s would test %s (%s, %s); nothing is sent now", version, o.Target.Name, o.Target.Issuer, o.Target.Path)
	row("hosts     %s, and no other", strings.Join(o.Target.Contacted(), ", "))
	for _, r := range o.Target.Resources {
		row("where     %-12s %s %s", r.Name, r.Method, r.URL)
	}
	for _, name := range slices.Sorted(maps.Keys(o.Target.Metadata)) {
		if address, ok := o.Target.Metadata[name].(string); ok && strings.HasSuffix(name, "_endpoint") {
			row("where     %-12s %s", strings.TrimSuffix(name, "_endpoint"), address)
		}
	}
	row("where     %-12s as the metadata of %s names it", "the rest", o.Target.Issuer)
	for i, r := range p.Skipped {
		if strings.HasPrefix(r.Reason, "discovered: ") || strings.HasPrefix(r.Reason, "observed: ") {
			p.Skipped[i].Reason = "only the target can tell whether they apply"
		}
	}
	printPlan(row, p, everyCheck)
	row("%d requests were made; popcheck check FILE makes the honest calls, and says what of this does not apply", p.Requests)
	return nil
}

// printPlan says what would run, what would be skipped and for which reason, and what harm the checks declare.
func printPlan(row func(string, ...any), p *suites.Preflight, d detail) {
	harms := map[string]attacks.Harm{}
	for _, e := range attacks.Catalogue() {
		harms[e.ID] = e.Harm
	}
	count := map[string]int{}
	harmful := map[attacks.Harm]int{}
	for _, r := range p.Apply {
		count[r.Suite]++
		if h := harms[r.ID]; h != attacks.NoHarm {
			harmful[h]++
		}
		if d == everyCheck {
			line := r.Key + "  " + r.Title
			if h := harms[r.ID]; h != attacks.NoHarm {
				line += "; harm: " + string(h)
			}
			row("would run %s", line)
		}
	}
	for _, suite := range slices.Sorted(maps.Keys(count)) {
		row("would run %d results of %s", count[suite], suite)
	}
	for _, h := range slices.Sorted(maps.Keys(harmful)) {
		row("harm      %d of them: %s", harmful[h], h)
	}
	reasons := map[string][]string{}
	for _, r := range p.Skipped {
		reason := r.Reason
		if strings.HasPrefix(reason, harness.NoServer) {
			reason = harness.NoServer // what each check would need of one is in the report
		}
		reasons[reason] = append(reasons[reason], r.Key)
	}
	for _, reason := range slices.SortedFunc(maps.Keys(reasons), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(reasons[b]), len(reasons[a])), cmp.Compare(a, b))
	}) {
		row("skips     %d: %s", len(reasons[reason]), reason)
		if d == everyCheck {
			for _, key := range reasons[reason] {
				row("            %s", key)
			}
		}
	}
}

// oneLines is oneLine that keeps what a table needs: runs of spaces.
func oneLines(s string) string {
	words := strings.Split(s, " ")
	for i, word := range words {
		words[i] = oneLine(word)
	}
	return strings.Join(words, " ")
}
