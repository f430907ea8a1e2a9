package suites

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	"github.com/popcheck/popcheck/harness"
)

// TestAWorkerThatIsLost: what it should have said is not missed in silence.
func TestAWorkerThatIsLost(t *testing.T) {
	target := &harness.Target{Name: "t", Path: "t.yaml"}
	_, err := RunParallel(t.Context(), Options{Target: target}, 2, "t.yaml", func(ctx context.Context) *exec.Cmd { return exec.CommandContext(ctx, "false") })
	if err == nil {
		t.Fatal("nobody worked, and a run came of it")
	}
	n := 0
	run, err := RunParallel(t.Context(), Options{Target: target}, 2, "t.yaml", func(ctx context.Context) *exec.Cmd {
		if n++; n == 1 {
			return exec.CommandContext(ctx, "false")
		}
		return exec.CommandContext(ctx, "echo", `{"Run":{"complete":true,"results":[{"key":"pkce-s256@token","id":"pkce-s256","verdict":"pass"}]}}`)
	})
	if err != nil || run.Complete || !strings.Contains(run.Incomplete, "a part of the run was lost") || len(run.Results) != 1 {
		t.Errorf("%v %+v", err, run)
	}
}

func TestEveryResultHasOneWorker(t *testing.T) {
	for _, key := range []string{"a@token", "b@token/authorization_code/spa", "c@accounts", "d@token/authorization_code/spa/consent"} {
		id, _, _ := strings.Cut(key, "@")
		r := &harness.Result{ID: id, Key: key, Mechanism: harness.PKCE}
		if strings.HasSuffix(key, "/consent") {
			r.Variant = "consent"
		}
		workers := 0
		for i := range 5 {
			if (Options{Worker: &harness.Worker{Index: i, Of: 5}}).takes(r) {
				workers++
			}
		}
		if workers != 1 {
			t.Errorf("%s is run by %d", key, workers)
		}
	}
}
