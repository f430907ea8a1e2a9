package suites_test

import (
	"bufio"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/fixtures"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
	"github.com/popcheck/popcheck/suites"
)

// verdictsOf runs a selection against the reference target with a fault.
func verdictsOf(fault, selection, dir string) (map[string]harness.Verdict, error) {
	chosen, err := suites.ParseSelection(selection)
	if err != nil {
		return nil, err
	}
	reference, err := fixtures.Start(fixtures.Options{Fault: fault, Dir: dir, Named: true})
	if err != nil {
		return nil, err
	}
	defer reference.Close()
	target, err := harness.LoadTarget(reference.TargetFile())
	if err != nil {
		return nil, err
	}
	run, err := suites.Run(context.Background(), suites.Options{Target: target, Version: "test", Profile: "bcp", FailOn: harness.Must, Select: chosen, Evidence: expect.VerdictsOnly,
		Slow: true, Patience: time.Second, Clock: &agingClock{target: reference}})
	if err != nil {
		return nil, err
	}
	out := map[string]harness.Verdict{}
	for _, r := range run.Results {
		out[r.Key] = r.Verdict
	}
	return out, nil
}

type killed struct {
	Fault    string
	Verdicts map[string]harness.Verdict
	Error    string
}

// TestKillWorker runs a part of the matrix in a process of its own: Ginkgo's tree is global to a process.
func TestKillWorker(t *testing.T) {
	list := os.Getenv("POPCHECK_KILL_FAULTS")
	if list == "" {
		t.Skip("only for TestKillMatrix")
	}
	out, err := os.Create(os.Getenv("POPCHECK_KILL_OUT"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	for _, one := range strings.Split(list, ";") {
		id, selection, _ := strings.Cut(one, "=")
		k := killed{Fault: id}
		if k.Verdicts, err = verdictsOf(id, selection, filepath.Join(t.TempDir(), "target")); err != nil {
			k.Error = err.Error()
		}
		if err := json.NewEncoder(out).Encode(k); err != nil {
			t.Fatal(err)
		}
	}
}

// killAll runs the reference target with each fault, in as many processes as there are processors; "" is the sound target, and
// selections say what is run against which.
func killAll(t *testing.T, faults []string, selections map[string]string) map[string]map[string]harness.Verdict {
	t.Helper()
	// Popcheck and target wait for each other half of the time. No workers at all: nothing to run again.
	workers := min(2*runtime.GOMAXPROCS(0), len(faults))
	type worker struct {
		cmd  *exec.Cmd
		file string
		log  strings.Builder
	}
	var all []*worker
	for i := range workers {
		var part []string
		for j := i; j < len(faults); j += workers {
			part = append(part, faults[j]+"="+selections[faults[j]])
		}
		w := &worker{file: filepath.Join(t.TempDir(), fmt.Sprint(i))}
		w.cmd = exec.Command(os.Args[0], "-test.run=^TestKillWorker$", "-test.timeout=60m")
		w.cmd.Env = append(os.Environ(), "POPCHECK_KILL_FAULTS="+strings.Join(part, ";"), "POPCHECK_KILL_OUT="+w.file)
		w.cmd.Stdout, w.cmd.Stderr = &w.log, &w.log
		if err := w.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, w)
	}
	out := map[string]map[string]harness.Verdict{}
	for _, w := range all {
		if err := w.cmd.Wait(); err != nil {
			t.Errorf("a worker of the matrix failed: %v\n%s", err, w.log.String())
		}
		f, err := os.Open(w.file)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<24)
		for lines.Scan() {
			var k killed
			if err := json.Unmarshal(lines.Bytes(), &k); err != nil {
				t.Fatal(err)
			}
			if k.Error != "" {
				t.Errorf("%s: %s", k.Fault, k.Error)
			}
			out[k.Fault] = k.Verdicts
		}
		f.Close()
	}
	return out
}

// flips are the results that differ from the sound target, as "verdict key".
func flips(sound, faulty map[string]harness.Verdict) []string {
	var out []string
	keys := map[string]bool{}
	for k := range sound {
		keys[k] = true
	}
	for k := range faulty {
		keys[k] = true
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if sound[key] != faulty[key] {
			v := faulty[key]
			if v == "" {
				v = "absent"
			}
			out = append(out, string(v)+" "+key)
		}
	}
	return out
}

//go:embed testdata/kill/*.txt
var expectations embed.FS

// expected reads testdata/kill: a line "fault: verdict pattern pattern …; verdict pattern …" for each fault.
func expected(t *testing.T) map[string]map[harness.Verdict][]string {
	t.Helper()
	out := map[string]map[harness.Verdict][]string{}
	files, err := fs.Glob(expectations, "testdata/kill/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := expectations.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			line, _, _ = strings.Cut(line, "#")
			if strings.TrimSpace(line) == "" {
				continue
			}
			fault, rest, ok := strings.Cut(line, ":")
			if _, twice := out[fault]; !ok || twice {
				t.Fatalf("%s:%d: want one line \"fault: verdict patterns; …\" a fault", file, i+1)
			}
			out[fault] = map[harness.Verdict][]string{}
			for _, group := range strings.Split(rest, ";") {
				words := strings.Fields(group)
				if len(words) < 2 {
					t.Fatalf("%s:%d: a verdict without patterns", file, i+1)
				}
				out[fault][harness.Verdict(words[0])] = words[1:]
			}
		}
	}
	return out
}

// absent is what a result is that exists only with, or only without, a fault: the fault changed which client can show a check.
const absent harness.Verdict = "absent"

// surprises say where the flips are not exactly those of the patterns, and which pattern matches nothing.
func surprises(sound, faulty map[string]harness.Verdict, want map[harness.Verdict][]string) []string {
	var out []string
	used := map[string]bool{}
	for _, flip := range flips(sound, faulty) {
		verdict, key, _ := strings.Cut(flip, " ")
		known := false
		for _, pattern := range want[harness.Verdict(verdict)] {
			if glob(pattern, key) {
				known = true
				used[verdict+" "+pattern] = true
			}
		}
		if !known {
			out = append(out, fmt.Sprintf("%s became %s, which testdata/kill does not list", key, verdict))
		}
	}
	for verdict, patterns := range want {
		for _, pattern := range patterns {
			if !used[string(verdict)+" "+pattern] {
				out = append(out, fmt.Sprintf("nothing that matches %s became %s", pattern, verdict))
			}
			for key, v := range sound {
				now, there := faulty[key]
				if !there {
					now = absent
				}
				if v == harness.Pass && glob(pattern, key) && now != verdict && now == v {
					out = append(out, fmt.Sprintf("%s stayed %s, testdata/kill says %s", key, v, verdict))
				}
			}
		}
	}
	return out
}

// suiteOf is the suite of each check; the catalogue is built anew at each call, and this is asked for every result.
var suiteOf = sync.OnceValue(func() map[string]string {
	out := map[string]string{}
	for _, e := range attacks.Catalogue() {
		out[e.ID] = string(e.Suite)
	}
	return out
})

// suitesOf are the suites that a line of testdata/kill speaks of, as a selection. A fault is run against these; with
// POPCHECK_KILL=whole (make kill) against everything, which shows as well that no other suite is touched.
func suitesOf(want map[harness.Verdict][]string) string {
	if os.Getenv("POPCHECK_KILL") == "whole" {
		return ""
	}
	var out []string
	for _, patterns := range want {
		for _, pattern := range patterns {
			id, _, _ := strings.Cut(pattern, "@")
			for check, suite := range suiteOf() {
				if glob(id, check) && !slices.Contains(out, suite) {
					out = append(out, suite)
				}
			}
		}
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

// part is what a selection leaves of the sound target's results.
func part(sound map[string]harness.Verdict, selection string) map[string]harness.Verdict {
	if selection == "" {
		return sound
	}
	out := map[string]harness.Verdict{}
	for key, v := range sound {
		id, _, _ := strings.Cut(key, "@")
		if slices.Contains(strings.Split(selection, ","), suiteOf()[id]) {
			out[key] = v
		}
	}
	return out
}

// onlyMeasured are checks that cannot fail, because both answers are right: they record a value.
var onlyMeasured = []string{"dpop-typ-case", "dpop-nonce-reuse"}

// TestKillMatrix demands that every fault flips exactly the results that testdata/kill lists for it, that every fault is caught, and that
// every check catches one. Under the race detector it takes a sample.
func TestKillMatrix(t *testing.T) {
	var faults []string
	weak := map[string]bool{}
	for _, f := range fixtures.Faults() {
		faults = append(faults, f.ID)
		weak[f.ID] = f.Weak
	}
	want := expected(t)
	for _, fault := range faults {
		if want[fault] == nil {
			t.Errorf("testdata/kill has no line for the fault %s", fault)
		}
	}
	for fault := range want {
		if !slices.Contains(faults, fault) {
			t.Errorf("testdata/kill has a line for %s, which is no fault", fault)
		}
	}
	if only := os.Getenv("POPCHECK_KILL_ONLY"); only != "" {
		faults = slices.DeleteFunc(faults, func(fault string) bool {
			return !slices.ContainsFunc(strings.Split(only, ","), func(pattern string) bool { return glob(pattern, fault) })
		})
	} else if raceEnabled || testing.Short() {
		faults = everyNth(faults, 40)
	}
	selections := map[string]string{}
	for _, fault := range faults {
		selections[fault] = suitesOf(want[fault])
	}
	got := killAll(t, append([]string{""}, faults...), selections)
	again := killAll(t, slices.DeleteFunc(slices.Clone(faults), func(fault string) bool {
		return len(surprises(part(got[""], selections[fault]), got[fault], want[fault])) == 0
	}), selections)
	for fault, verdicts := range again {
		t.Logf("%s was run again: %q", fault, surprises(part(got[""], selections[fault]), got[fault], want[fault]))
		got[fault] = verdicts
	}
	if dump := os.Getenv("POPCHECK_KILL_DUMP"); dump != "" {
		data, _ := json.MarshalIndent(got, "", " ")
		os.WriteFile(dump, data, 0o644)
	}
	sound := got[""]
	for key, v := range sound {
		if v != harness.Pass {
			t.Errorf("sound target: %s is %s", key, v)
		}
	}
	caught := map[string][]string{}
	for _, fault := range faults {
		for _, surprise := range surprises(part(sound, selections[fault]), got[fault], want[fault]) {
			t.Errorf("%s: %s", fault, surprise)
		}
		failed := 0
		for _, flip := range flips(part(sound, selections[fault]), got[fault]) {
			if verdict, key, _ := strings.Cut(flip, " "); verdict == string(harness.Fail) || verdict == string(harness.Warn) && weak[fault] {
				failed++
				id, _, _ := strings.Cut(key, "@")
				if !slices.Contains(caught[id], fault) {
					caught[id] = append(caught[id], fault)
				}
			}
		}
		if failed == 0 {
			t.Errorf("%s: no check catches it", fault)
		}
	}
	total := 0
	for _, e := range attacks.Catalogue() {
		total++
		t.Logf("%-44s %s", e.ID, strings.Join(caught[e.ID], " "))
		if len(caught[e.ID]) == 0 && !slices.Contains(onlyMeasured, e.ID) && len(faults) == len(want) {
			t.Errorf("%s: no fault makes it fail", e.ID)
		}
	}
	t.Logf("%d faults, %d checks, %d results each", len(faults), total, len(sound))
}

func everyNth(in []string, n int) []string {
	var out []string
	for i := 0; i < len(in); i += n {
		out = append(out, in[i])
	}
	return out
}
