package main

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/reports"
)

// TestParallelRunsSayTheSame: several processes come to the verdicts of one, under one name for the run, and find what it finds.
func TestParallelRunsSayTheSame(t *testing.T) {
	results := map[string]map[string]harness.Verdict{}
	for _, n := range []string{"1", "3"} {
		out := t.TempDir()
		said, code := start(t, "run", "--parallel", n, "--fault", "dpop-rs-ath-unchecked", "--select", "pkce-verifier*,dpop-ath*,mtls-cnf*,pkce-s256", "--out", out).ends(t)
		if code != 1 {
			t.Fatalf("--parallel %s: exit %d\n%s", n, code, said)
		}
		run, err := reports.Read(filepath.Join(out, reports.JSONFile))
		if err != nil {
			t.Fatal(err)
		}
		verdicts := map[string]harness.Verdict{}
		for _, r := range run.Results {
			if verdicts[r.Key] != "" {
				t.Errorf("--parallel %s: %s twice", n, r.Key)
			}
			verdicts[r.Key] = r.Verdict
			if r.Verdict == harness.Fail && len(r.Exchanges) == 0 {
				t.Errorf("--parallel %s: %s has no evidence", n, r.Key)
			}
		}
		if !run.Complete {
			t.Errorf("--parallel %s: %s", n, run.Incomplete)
		}
		results[n] = verdicts
	}
	if !maps.Equal(results["1"], results["3"]) {
		t.Errorf("one process:   %v\nthree of them: %v", results["1"], results["3"])
	}
}

// TestParallelRunIsInterrupted: the processes are told, and what they have is kept.
func TestParallelRunIsInterrupted(t *testing.T) {
	p := start(t, "run", "--parallel", "2")
	p.until(t, " 20/")
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_, code := p.ends(t)
	if code != exitIncomplete {
		t.Errorf("exit %d", code)
	}
	p.leftReports(t)
}
