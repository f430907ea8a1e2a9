package attacks

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write COVERAGE.md anew")

// uncovered are mutations that no check sends, with the reason; all of the core tier that are not sent have one.
var uncovered = map[string]string{
	"MTLS-AS-07.9": "takes a certificate that the tester's CA has revoked, where the server looks for it",
	"MTLS-AS-09.6": "takes a registered certificate that has expired, which many servers would not register",
	"MTLS-AS-11.4": "takes a client that is registered for one method, and with the certificate of another",
	"MTLS-RS-04.4": "the port behind the proxy is not known; the headers are sent to every address that is",
}

// notYet are the families that no check speaks of yet.
var notYet = map[string]string{}

// TestCoverage compares COVERAGE.md with the catalogue, and demands that every core mutation is sent or has a reason.
func TestCoverage(t *testing.T) {
	checks := map[string][]string{} // by mutation
	for _, e := range catalogue() {
		for _, id := range e.Covered() {
			if slices.Contains(checks[id], e.ID) {
				t.Errorf("%s covers %s twice", e.ID, id)
			}
			checks[id] = append(checks[id], e.ID)
		}
	}
	known := map[string]bool{}
	for _, r := range Requirements() {
		for _, m := range r.Mutations {
			if known[m.ID] {
				t.Errorf("requirements.txt has %s twice", m.ID)
			}
			known[m.ID] = true
			_, later := notYet[r.Family()]
			_, excused := uncovered[m.ID]
			switch sent := len(checks[m.ID]) > 0; {
			case sent && excused:
				t.Errorf("%s is covered and excused", m.ID)
			case m.Tier == Core && !sent && !excused && !later:
				t.Errorf("%s is covered by no check: %s", m.ID, m.What)
			}
		}
	}
	for id := range checks {
		if !known[id] {
			t.Errorf("%q covers %s, which is no mutation", checks[id], id)
		}
	}
	got := coverage(checks)
	if *update {
		if err := os.WriteFile("COVERAGE.md", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("COVERAGE.md")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Error("COVERAGE.md is not what the catalogue says: go test ./attacks -run TestCoverage -update")
	}
}

// coverage renders the table: the families first, then each mutation with its checks.
func coverage(checks map[string][]string) string {
	var families []string
	count, sent := map[string]map[Tier]int{}, map[string]map[Tier]int{}
	var body strings.Builder
	for _, r := range Requirements() {
		if f := r.Family(); !slices.Contains(families, f) {
			families = append(families, f)
			count[f], sent[f] = map[Tier]int{}, map[Tier]int{}
			fmt.Fprintf(&body, "\n## %s\n\n| mutation | tier | what | checks |\n|---|---|---|---|\n", f)
		}
		fmt.Fprintf(&body, "| **%s** | | **%s** %s §%s%s | |\n", r.ID, r.Summary, r.Spec, r.Section, partly(r))
		for _, m := range r.Mutations {
			count[r.Family()][m.Tier]++
			by := strings.Join(checks[m.ID], ", ")
			if by != "" {
				sent[r.Family()][m.Tier]++
			} else if why := uncovered[m.ID]; why != "" {
				by = "*" + why + "*"
			}
			fmt.Fprintf(&body, "| %s | %s | %s | %s |\n", m.ID, m.Tier, strings.ReplaceAll(m.What, "|", `\|`), by)
		}
	}
	var out strings.Builder
	out.WriteString("# Coverage\n\nWhich check sends which mutation of the requirement catalogue (`requirements.txt`). Generated: `go test ./attacks -run TestCoverage -update`.\n\n")
	out.WriteString("| family | core | extended | info | |\n|---|---|---|---|---|\n")
	total, all := map[Tier]int{}, map[Tier]int{}
	cell := func(sent, count map[Tier]int, tier Tier) string {
		if count[tier] == 0 {
			return ""
		}
		return fmt.Sprintf("%d of %d", sent[tier], count[tier])
	}
	for _, f := range families {
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s |\n", f, cell(sent[f], count[f], Core), cell(sent[f], count[f], Extended), cell(sent[f], count[f], Info), later(f))
		for tier, n := range count[f] {
			all[tier] += n
			total[tier] += sent[f][tier]
		}
	}
	fmt.Fprintf(&out, "| **all** | %s | %s | %s | |\n", cell(total, all, Core), cell(total, all, Extended), cell(total, all, Info))
	return out.String() + body.String()
}

func partly(r Requirement) string {
	if r.Partly == "" {
		return ""
	}
	return " (seen in part: " + r.Partly + ")"
}

func later(family string) string {
	if what := notYet[family]; what != "" {
		return "not yet: " + what
	}
	return ""
}
