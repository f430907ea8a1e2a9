package suites_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/popcheck/popcheck/fixtures"
	"github.com/popcheck/popcheck/harness"
)

// TestDialectWorker runs a part of the dialects in a process of its own: Ginkgo's tree is global to a process.
func TestDialectWorker(t *testing.T) {
	work(t, func(t *testing.T, dialect, selection string) (judged, error) {
		return judgeReference(t, fixtures.Options{Dialect: dialect}, selection)
	})
}

// TestDialects demands that popcheck says of a sound server in another dialect what it says of the reference, but for what
// testdata/dialects.txt lists with its reason: correct servers differ, and none is to be accused for it. Beside what its line speaks of, each
// meets one check in three; with POPCHECK_KILL=whole (make kill) all of them.
func TestDialects(t *testing.T) {
	want := expected(t, "dialects.txt")
	var ids []string
	for _, d := range fixtures.Dialects() {
		if want[d.ID] == nil {
			t.Errorf("testdata/dialects.txt has no line for %s", d.ID)
		}
		ids = append(ids, d.ID)
	}
	for id := range want {
		if !slices.Contains(ids, id) {
			t.Errorf("testdata/dialects.txt has a line for %s, which is no dialect", id)
		}
	}
	ids = sample(ids, len(ids))
	selections := map[string]string{}
	for _, id := range ids {
		selections[id] = selected(want[id], func(check string) bool { return drawn(id, check, 3) })
	}
	got := killAll(t, "TestDialectWorker", append([]string{""}, ids...), selections)
	dump(t, "", got)
	for _, id := range ids {
		sound := placed(part(got[""].Verdicts, selections[id]), got[id].Verdicts)
		for _, surprise := range surprises(sound, settled(sound, got[id].Verdicts), want[id]) {
			t.Errorf("%s: %s", id, surprise)
		}
	}
}

// placed leaves out the results of the sound target whose place a dialect does not have: an endpoint, a client or a grant that none of its
// results speaks of, but for those that are skipped. What is skipped for it is in the dialect's own results.
func placed(sound, dialect map[string]harness.Verdict) map[string]harness.Verdict {
	places := func(key string) []string {
		_, at, _ := strings.Cut(key, "@")
		return strings.Split(at, "/")
	}
	there := map[string]bool{}
	for key, v := range dialect {
		for _, part := range places(key) {
			there[part] = there[part] || v != harness.Skip
		}
	}
	out := map[string]harness.Verdict{}
	for key, v := range sound {
		_, known := dialect[key]
		if known || !slices.ContainsFunc(places(key), func(part string) bool { return !there[part] }) {
			out[key] = v
		}
	}
	return out
}

// settled tells a result that is gone from one that has moved: where a check is skipped, so are its results that are gone, and where it
// passes at a place that the sound target does not have, they have moved there and are no change.
func settled(sound, dialect map[string]harness.Verdict) map[string]harness.Verdict {
	instead := map[string]harness.Verdict{} // by check
	for key, v := range dialect {
		id, _, _ := strings.Cut(key, "@")
		if _, known := sound[key]; v == harness.Skip || v == harness.Pass && !known && instead[id] == "" {
			instead[id] = v
		}
	}
	out := map[string]harness.Verdict{}
	for key, v := range dialect {
		if _, known := sound[key]; known || v != harness.Pass {
			out[key] = v
		}
	}
	for key := range sound {
		id, _, _ := strings.Cut(key, "@")
		if _, there := dialect[key]; !there && instead[id] != "" {
			out[key] = instead[id]
		}
	}
	return out
}
