package suites_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/fixtures"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/suites"
)

var update = flag.Bool("update", false, "write testdata/sent.txt anew; read the difference before you commit it")

// TestWhatWasSent reads from the recorded exchanges of a run in which nothing failed that every check sent its mutation, and
// changed nothing else: testdata/sent.txt says for each what its attacks had otherwise than the honest request of the same step.
// A check without such a line judges an honest answer.
func TestWhatWasSent(t *testing.T) {
	// What only one profile asks for is sent to the server that claims it.
	run, fapi, alone := sentTo(t, ""), sentTo(t, fixtures.FAPI), sentTo(t, fixtures.RSAlone)
	const file = "testdata/sent.txt"
	got := sent(run, fapi, alone)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	wanted := strings.Split(string(want), "\n")
	for line := range strings.SplitSeq(got, "\n") {
		if i := slices.Index(wanted, line); i >= 0 {
			wanted = slices.Delete(wanted, i, i+1)
			continue
		}
		t.Errorf("sent, and not in %s: %s", file, line)
	}
	for _, line := range wanted {
		t.Errorf("in %s, and not sent: %s", file, line)
	}
	exchanges := 0
	for _, r := range run.Results {
		exchanges += len(r.Exchanges)
	}
	t.Logf("%d results, %d exchanges, %d logins", len(run.Results), exchanges, logins(run))
}

// sentTo is a whole run against the reference target in a dialect.
func sentTo(t *testing.T, dialect string) *harness.Run {
	t.Helper()
	reference, target := startReference(t, fixtures.Options{Named: true, Dialect: dialect})
	run, err := suites.Run(context.Background(), suites.Options{Target: target, Version: "test", Profile: target.Profile, FailOn: harness.Must,
		Slow: true, Clock: &agingClock{target: reference}})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// sent lists the changes of each check's attacks, with their steps, in the order of the catalogue: those of the run, and for what
// only FAPI 2.0 asks for, or only popcheck as the issuer can send, those of the others.
func sent(bcp, fapi, alone *harness.Run) string {
	var out strings.Builder
	for _, e := range attacks.Catalogue() {
		run := bcp
		if e.Only == attacks.FAPI2 {
			run = fapi
		}
		if strings.Contains(e.Needs, "token-issuer") {
			run = alone
		}
		steps := map[string][]string{} // by change
		for _, r := range run.Results {
			for _, x := range r.Exchanges {
				if r.ID == e.ID && x.Role == harness.AttackExchange {
					changed := slices.Clone(x.Request.Changed)
					if slices.Contains(changed, "DPoP the jti of a proof before") { // so is its time, which may be the same second
						changed = slices.DeleteFunc(changed, func(c string) bool { return c == "DPoP iat" })
					}
					change := strings.Join(changed, ", ")
					if !slices.Contains(steps[change], x.Step) {
						steps[change] = append(steps[change], x.Step)
					}
				}
			}
		}
		if len(steps) > 1 {
			delete(steps, "") // what an attack needs beside
		}
		var parts []string
		for _, change := range slices.Sorted(maps.Keys(steps)) {
			slices.Sort(steps[change])
			parts = append(parts, fmt.Sprintf("[%s] in %s", change, strings.Join(steps[change], ", ")))
		}
		if len(parts) == 0 {
			parts = []string{"an honest answer is judged"}
		}
		fmt.Fprintf(&out, "%s: %s\n", e.ID, strings.Join(parts, "; "))
	}
	return out.String()
}

func logins(run *harness.Run) int {
	n := 0
	for _, r := range run.Results {
		for _, x := range r.Exchanges {
			if x.Step == "login form" {
				n++
			}
		}
	}
	return n
}
