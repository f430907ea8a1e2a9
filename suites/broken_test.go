package suites_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/popcheck/popcheck/fixtures/targets"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/suites"
)

// broken is a copy of oidc-provider with one defence removed: see defects.mjs of the recipe.
type broken struct {
	id      string
	options string // of the recipe, without which the defect cannot be seen
	breaks  string
}

// start is the command line that starts the copy.
func (b broken) start() string { return strings.TrimSpace("--break " + b.id + " " + b.options) }

func brokenCopies(t *testing.T) []broken {
	t.Helper()
	list, err := targets.Ask(t.Context(), "oidc-provider", "--list-breaks")
	unlessMissing(t, err)
	var out []broken
	for line := range strings.Lines(list) {
		words := strings.Split(strings.TrimSpace(line), "\t")
		if len(words) != 3 {
			t.Fatalf("--list-breaks says %q", line)
		}
		out = append(out, broken{id: words[0], options: words[1], breaks: words[2]})
	}
	return out
}

// TestBrokenWorker runs a part of the copies in a process of its own: Ginkgo's tree is global to a process.
func TestBrokenWorker(t *testing.T) {
	work(t, func(t *testing.T, start, selection string) (map[string]harness.Verdict, error) {
		return verdictsOf(suites.Options{Target: startTarget(t, "oidc-provider", strings.Fields(start)...)}, selection)
	})
}

// TestBrokenCopies demands that popcheck finds each defence that was removed from a real server, and that nothing else changes against
// the sound one: testdata/broken.txt lists the results. Unlike a fault of the reference target, these know nothing of popcheck.
func TestBrokenCopies(t *testing.T) {
	want := expected(t, "broken.txt")
	copies := map[string]broken{}
	var ids []string
	for _, b := range brokenCopies(t) {
		if want[b.id] == nil {
			t.Errorf("testdata/broken.txt has no line for %s", b.id)
		}
		copies[b.id] = b
		ids = append(ids, b.id)
	}
	for id := range want {
		if !slices.Contains(ids, id) {
			t.Errorf("testdata/broken.txt has a line for %s, which the recipe does not know", id)
		}
	}
	ids = sample(ids, 8)

	// Each arrangement has its own sound copy, which runs whatever its broken ones do.
	selections := map[string]string{}
	var starts []string
	for _, id := range ids {
		b := copies[id]
		selections[b.start()] = neighboursOf(id, want[id])
		if _, there := selections[b.options]; !there {
			selections[b.options] = ""
			starts = append(starts, b.options)
		}
	}
	for _, id := range ids {
		starts = append(starts, copies[id].start())
	}
	got := killAll(t, "TestBrokenWorker", starts, selections)
	differences := func(id string) []string {
		b := copies[id]
		if got[b.start()] == nil || got[b.options] == nil {
			return []string{"it did not run"}
		}
		return surprises(part(got[b.options], selections[b.start()]), got[b.start()], want[id])
	}
	var again []string
	for _, id := range ids {
		if d := differences(id); len(d) > 0 {
			t.Logf("%s is run again: %q", id, d)
			again = append(again, copies[id].start())
		}
	}
	for start, verdicts := range killAll(t, "TestBrokenWorker", again, selections) {
		got[start] = verdicts
	}

	for _, id := range ids {
		b := copies[id]
		for _, d := range differences(id) {
			t.Errorf("%s (%s): %s", b.start(), b.breaks, d)
		}
		failed := 0
		for _, flip := range flips(part(got[b.options], selections[b.start()]), got[b.start()]) {
			if strings.HasPrefix(flip, fmt.Sprint(harness.Fail)) {
				failed++
			}
		}
		if failed == 0 {
			t.Errorf("%s (%s): no check finds it", b.start(), b.breaks)
		}
		t.Logf("%-40s %d results fail: %s", b.start(), failed, b.breaks)
	}
	for options := range selections {
		if strings.HasPrefix(options, "--break") {
			continue
		}
		verdicts := map[string]map[string]harness.Verdict{"": got[options]}
		for _, id := range ids {
			if copies[id].options == options {
				verdicts[id] = got[copies[id].start()]
			}
		}
		dump(t, strings.ReplaceAll(options, " ", ""), verdicts)
	}
}
