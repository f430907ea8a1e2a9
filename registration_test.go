package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/popcheck/popcheck/fixtures"
	"github.com/popcheck/popcheck/harness"
)

// ofRegistration are checks that register clients, and one that uses the client that was registered for the whole run.
const ofRegistration = "registration-*,statement-*,pkce-s256"

// TestInterruptedRunRemovesItsClients: whoever ends a run in the middle of its registrations leaves none of them at the server.
func TestInterruptedRunRemovesItsClients(t *testing.T) {
	for name, arguments := range map[string][]string{"alone": nil, "parallel": {"--parallel", "3"}} {
		for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			t.Run(name+", "+signal.String(), func(t *testing.T) {
				t.Parallel()
				r := attacked(t, fixtures.Options{})
				s := start(t, append([]string{"run", r.TargetFile(), "--select", ofRegistration}, arguments...)...)
				s.until(t, " 6/")
				if r.Registered() == 0 {
					t.Error("nothing is registered in the middle of a run")
				}
				if err := s.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
				said, code := s.ends(t)
				if code != exitIncomplete || strings.Contains(said, "left behind") {
					t.Errorf("exit code %d: %s%s", code, said, s.stderr.String())
				}
				if run := s.leftReports(t); len(run.Left) > 0 {
					t.Errorf("left behind: %q", run.Left)
				}
				if n := r.Registered(); n != 0 {
					t.Errorf("%d clients are left", n)
				}
			})
		}
	}
}

// TestParallelRunRemovesItsClients: each process registers clients of its own, and removes them.
func TestParallelRunRemovesItsClients(t *testing.T) {
	t.Parallel()
	r := attacked(t, fixtures.Options{})
	s := start(t, "run", r.TargetFile(), "--parallel", "3", "--select", ofRegistration)
	s.until(t, " 6/")
	if r.Registered() == 0 {
		t.Error("nothing is registered in the middle of a run")
	}
	said, code := s.ends(t)
	if code != exitFine || strings.Contains(said, "left behind") {
		t.Errorf("exit code %d: %s%s", code, said, s.stderr.String())
	}
	if n := r.Registered(); n != 0 {
		t.Errorf("%d clients are left", n)
	}
}

// TestCheckRemovesItsClients: honest calls register too.
func TestCheckRemovesItsClients(t *testing.T) {
	t.Parallel()
	r := attacked(t, fixtures.Options{})
	if said, code := start(t, "check", r.TargetFile()).ends(t); code != exitFine {
		t.Errorf("exit code %d: %s", code, said)
	}
	if n := r.Registered(); n != 0 {
		t.Errorf("%d clients are left", n)
	}
}

// TestAGivenStatementRegisters: a statement that was handed to the tester goes with every registration; what needs its issuer's key is skipped.
func TestAGivenStatementRegisters(t *testing.T) {
	t.Parallel()
	var first sync.Once
	statement := ""
	r := attacked(t, fixtures.Options{Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.Method == http.MethodPost && req.URL.Path == "/register" {
				body, _ := io.ReadAll(req.Body)
				first.Do(func() {
					var members struct {
						Statement string `json:"software_statement"`
					}
					if err := json.Unmarshal(body, &members); err != nil {
						t.Error(err)
					}
					statement = members.Statement
				})
				req.Body = io.NopCloser(bytes.NewReader(body))
			}
			next.ServeHTTP(w, req)
		})
	}})
	if said, code := start(t, "check", r.TargetFile()).ends(t); code != exitFine || statement == "" {
		t.Fatalf("no statement was signed: %s", said)
	}
	text, err := os.ReadFile(r.TargetFile())
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	file["registration"].(map[string]any)["software_statement"] = statement
	if text, err = yaml.Marshal(file); err != nil {
		t.Fatal(err)
	}
	given := filepath.Join(t.TempDir(), "given.yaml")
	if err := os.WriteFile(given, text, 0o600); err != nil {
		t.Fatal(err)
	}
	said, code := start(t, "run", given, "--select", "registration-*,statement-*").ends(t)
	if code != exitFine || r.Registered() != 0 {
		t.Errorf("exit code %d, %d clients are left: %s", code, r.Registered(), said)
	}
	for check, verdict := range map[string]string{"statement-changed-after-signing": "pass", "statement-alg-none": "pass", "statement-other-key": "pass",
		"statement-expired": "skip", "statement-not-yet": "skip", "statement-again": "skip", "registration-answer": "pass"} {
		if !regexp.MustCompile(`(?m)^ *[0-9]+/[0-9]+ ` + verdict + ` +` + check + `@`).MatchString(said) {
			t.Errorf("%s is not %s:\n%s", check, verdict, said)
		}
	}
}

// TestClientsThatNobodyCanRemoveAreNamed: a server without RFC 7592 is no reason to fail a run, and its operator is told what stays.
func TestClientsThatNobodyCanRemoveAreNamed(t *testing.T) {
	t.Parallel()
	r := attacked(t, fixtures.Options{Dialect: "open-registration"})
	s := start(t, "run", r.TargetFile(), "--select", "registration-*,statement-*")
	said, code := s.ends(t)
	if code != exitFine {
		t.Errorf("exit code %d: %s%s", code, said, s.stderr.String())
	}
	left, found := r.Registered(), strings.Count(said, "\nleft behind: client ")
	if left == 0 || found != left {
		t.Errorf("%d clients are left, and %d are named:\n%s", left, found, said)
	}
	if !strings.Contains(said, "left behind: client enrolled (client_id c-") || !strings.Contains(said, "RFC 7592") {
		t.Errorf("it does not say which, and why:\n%s", said)
	}
	text, err := os.ReadFile(filepath.Join(s.Dir, "popcheck-out", "run.json"))
	if err != nil || strings.Count(string(text), `"client enrolled (client_id c-`) == 0 || !strings.Contains(string(text), `"left_behind"`) {
		t.Errorf("run.json does not say so (%v)", err)
	}
	for _, v := range []harness.Verdict{harness.Fail, harness.Inconclusive} {
		if strings.Contains(said, " "+string(v)+" ") {
			t.Errorf("a sound server without RFC 7592 is %s:\n%s", v, said)
		}
	}
}
