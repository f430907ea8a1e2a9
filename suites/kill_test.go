package suites_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/popcheck/popcheck/fixtures"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
	"github.com/popcheck/popcheck/suites"
)

// verdicts of a run against the reference target with a fault, by key.
func verdictsOf(fault, dir string) (map[string]harness.Verdict, error) {
	reference, err := fixtures.Start(fixtures.Options{Fault: fault, Dir: dir, Named: true})
	if err != nil {
		return nil, err
	}
	defer reference.Close()
	target, err := harness.LoadTarget(reference.TargetFile())
	if err != nil {
		return nil, err
	}
	run, err := suites.Run(context.Background(), suites.Options{Target: target, Version: "test", Profile: "bcp", FailOn: harness.Must, Evidence: expect.VerdictsOnly})
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
	for _, fault := range strings.Split(list, ",") {
		id := strings.TrimPrefix(fault, "=")
		k := killed{Fault: id}
		if k.Verdicts, err = verdictsOf(id, filepath.Join(t.TempDir(), "target")); err != nil {
			k.Error = err.Error()
		}
		if err := json.NewEncoder(out).Encode(k); err != nil {
			t.Fatal(err)
		}
	}
}

// killAll runs the reference target with each fault, in as many processes as there are processors; "" is the sound target.
func killAll(t *testing.T, faults []string) map[string]map[string]harness.Verdict {
	t.Helper()
	workers := min(runtime.GOMAXPROCS(0), len(faults))
	type worker struct {
		cmd  *exec.Cmd
		file string
		log  strings.Builder
	}
	var all []*worker
	for i := range workers {
		var part []string
		for j := i; j < len(faults); j += workers {
			part = append(part, "="+faults[j])
		}
		w := &worker{file: filepath.Join(t.TempDir(), fmt.Sprint(i))}
		w.cmd = exec.Command(os.Args[0], "-test.run=^TestKillWorker$", "-test.timeout=60m")
		w.cmd.Env = append(os.Environ(), "POPCHECK_KILL_FAULTS="+strings.Join(part, ","), "POPCHECK_KILL_OUT="+w.file)
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

// TestKillMatrix demands that every fault flips exactly the results that kills.txt lists for it by hand, and that every check is
// caught by some fault.
func TestKillMatrix(t *testing.T) {
	faults := []string{""}
	for _, f := range fixtures.Faults() {
		faults = append(faults, f.ID)
	}
	if raceEnabled {
		faults = append(faults[:1], everyNth(faults[1:], 40)...)
	}
	got := killAll(t, faults)
	if dump := os.Getenv("POPCHECK_KILL_DUMP"); dump != "" {
		data, _ := json.MarshalIndent(got, "", " ")
		os.WriteFile(dump, data, 0o644)
	}
}

func everyNth(in []string, n int) []string {
	var out []string
	for i := 0; i < len(in); i += n {
		out = append(out, in[i])
	}
	return out
}
