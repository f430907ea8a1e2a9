package suites_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/popcheck/popcheck/fixtures/targets"
	"github.com/popcheck/popcheck/harness"
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

// brokenOIDCProvider demands that popcheck finds each defence that was removed from a real server, and that nothing else changes against
// the sound one in the same arrangement: testdata/broken.txt lists the results. Unlike a fault of the reference target, these know
// nothing of popcheck.
func brokenOIDCProvider(t *testing.T, copies []broken, want map[string]map[harness.Verdict][]string, selections map[string]string, got map[string]judged) {
	differences := func(b broken) []string {
		sound, there := got[b.options]
		if !there || got[b.start()].Verdicts == nil {
			return []string{"it did not run"}
		}
		return surprises(part(sound.Verdicts, selections[b.start()]), got[b.start()].Verdicts, want[b.id])
	}
	var again []string
	for _, b := range copies {
		if d := differences(b); len(d) > 0 {
			t.Logf("%s is run again: %q", b.id, d)
			again = append(again, b.start())
		}
	}
	maps.Copy(got, killAll(t, "TestOIDCProviderWorker", again, selections))

	for _, b := range copies {
		for _, d := range differences(b) {
			t.Errorf("%s (%s): %s", b.start(), b.breaks, d)
		}
		failed := 0
		for _, flip := range flips(part(got[b.options].Verdicts, selections[b.start()]), got[b.start()].Verdicts) {
			if strings.HasPrefix(flip, fmt.Sprint(harness.Fail)) {
				failed++
			}
		}
		if failed == 0 {
			t.Errorf("%s (%s): no check finds it", b.start(), b.breaks)
		}
		t.Logf("%-40s %d results fail: %s", b.start(), failed, b.breaks)
	}
	byOptions := map[string]map[string]judged{}
	for _, b := range copies {
		if byOptions[b.options] == nil {
			byOptions[b.options] = map[string]judged{"": got[b.options]}
		}
		byOptions[b.options][b.id] = got[b.start()]
	}
	for options, verdicts := range byOptions {
		dump(t, strings.ReplaceAll(options, " ", ""), verdicts)
	}
}
