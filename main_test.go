package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/popcheck/popcheck/fixtures"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/reports"
)

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != "popcheck" { // the tests, not the command that they start
		// On GitHub the runs of a test are no part of the job's summary.
		os.Unsetenv("GITHUB_ACTIONS")
		os.Unsetenv("GITHUB_STEP_SUMMARY")
	}
	testscript.Main(m, map[string]func(){"popcheck": main})
}

// The scripts are what a person or a build server does with the command.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "suites/testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Values[servedKey{}] = &served{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "reference": reference, "serve": serve, "nothing-sent": nothingSent, "edit": edit, "verdicts": verdicts,
		},
	})
}

// exits CODE PROGRAM ARGS...: the program must end with this code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		code = ended.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if want, _ := strconv.Atoi(args[0]); code != want {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// reference DIR [FAULT]: the reference target runs until the script ends; DIR/target.yaml describes it.
func reference(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: reference DIR [FAULT]")
	}
	r, err := fixtures.Start(fixtures.Options{Dir: ts.MkAbs(args[0]), Fault: strings.Join(args[1:], "")})
	ts.Check(err)
	ts.Defer(func() { r.Close() })
}

// attacked is a reference target that ends with the test.
func attacked(t *testing.T, options fixtures.Options) *fixtures.Reference {
	t.Helper()
	options.Dir = filepath.Join(t.TempDir(), "target")
	r, err := fixtures.Start(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// served counts the requests to the servers of a script.
type (
	served    struct{ requests atomic.Int64 }
	servedKey struct{}
)

// serve STATUS [BODY]: a server that gives this answer to everything. discovered.yaml leaves its endpoints to metadata,
// described.yaml names them.
func serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: serve STATUS [BODY]")
	}
	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	count := ts.Value(servedKey{}).(*served)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		count.requests.Add(1)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, strings.Join(args[1:], ""))
	}))
	ts.Defer(server.Close)
	discovered := strings.ReplaceAll(servedTarget, "SERVER", server.URL)
	described := discovered + strings.ReplaceAll(servedMetadata, "SERVER", server.URL)
	ts.Check(os.WriteFile(ts.MkAbs("discovered.yaml"), []byte(discovered), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("described.yaml"), []byte(described), 0o600))
}

const servedTarget = `issuer: SERVER
clients:
  - client_id: spa
    token_endpoint_auth_method: none
    redirect_uris: ["http://127.0.0.1:8000/cb"]
    grant_types: [authorization_code, refresh_token]
  - client_id: web
    client_secret: correct-horse-battery
    redirect_uris: ["http://127.0.0.1:8000/cb"]
    grant_types: [authorization_code, client_credentials]
users:
  - {username: alice, password: wonderland-rabbit}
resources:
  - {name: accounts, url: "SERVER/accounts"}
`

const servedMetadata = `metadata:
  authorization_endpoint: SERVER/authorize
  token_endpoint: SERVER/token
  introspection_endpoint: SERVER/introspect
  pushed_authorization_request_endpoint: SERVER/par
  dpop_signing_alg_values_supported: [ES256]
  tls_client_certificate_bound_access_tokens: true
introspection_client: web
`

// nothing-sent: no server of the script was asked for anything.
func nothingSent(ts *testscript.TestScript, neg bool, args []string) {
	if n := ts.Value(servedKey{}).(*served).requests.Load(); (n == 0) == neg {
		ts.Fatalf("%d requests were sent", n)
	}
}

// edit FILE REGEXP NEW: replaces text that must be there; \n in NEW ends a line.
func edit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: edit FILE REGEXP NEW")
	}
	text, old := ts.ReadFile(args[0]), regexp.MustCompile("(?m)"+args[1])
	if !old.MatchString(text) {
		ts.Fatalf("%s does not contain %s", args[0], old)
	}
	changed := old.ReplaceAllLiteralString(text, strings.ReplaceAll(args[2], `\n`, "\n"))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(changed), 0o600))
}

// verdicts RUN.JSON VERDICT...: the run has these verdicts and no others, and its summary counts them.
func verdicts(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: verdicts RUN.JSON VERDICT...")
	}
	run, err := reports.Read(ts.MkAbs(args[0]))
	ts.Check(err)
	seen, counted := map[harness.Verdict]int{}, 0
	for _, r := range run.Results {
		seen[r.Verdict]++
		if !slices.Contains(args[1:], string(r.Verdict)) {
			ts.Fatalf("%s is %s: %s", r.Key, r.Verdict, r.Reason)
		}
	}
	for v, n := range run.Summary {
		if counted += n; n != seen[v] {
			ts.Fatalf("the summary counts %d %s of %d", n, v, seen[v])
		}
	}
	if len(seen) != len(args)-1 || counted != len(run.Results) {
		ts.Fatalf("the verdicts are %v, the summary is %v", seen, run.Summary)
	}
}

// ran is what a command left behind.
type ran struct {
	code           int
	stdout, stderr string
}

// try runs a command in this process. Not a run: Ginkgo ends a test process that was started with -count.
func try(t *testing.T, args ...string) ran {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := command(context.Background(), args, &stdout, &stderr)
	return ran{code, stdout.String(), stderr.String()}
}

func TestListIsWhatScriptsReadIt(t *testing.T) {
	r := try(t, "list", "--json")
	var checks []map[string]any
	if err := json.Unmarshal([]byte(r.stdout), &checks); err != nil || r.code != 0 {
		t.Fatalf("list --json ends with %d: %v", r.code, err)
	}
	if len(checks) < 50 {
		t.Errorf("only %d checks", len(checks))
	}
	seen := map[any]bool{}
	plain := try(t, "list").stdout
	for i, c := range checks {
		for _, member := range []string{"id", "title", "suite", "clause", "level", "severity", "threat", "covers"} {
			if c[member] == nil || c[member] == "" {
				t.Errorf("%v has no %s", c["id"], member)
			}
		}
		if seen[c["id"]] {
			t.Errorf("%v is listed twice", c["id"])
		}
		seen[c["id"]] = true
		if !strings.Contains(plain, fmt.Sprintf("%s ", c["id"])) {
			t.Errorf("%v is not in the plain list", c["id"])
		}
		if i%20 != 0 { // one is like the other
			continue
		}
		if e := try(t, "explain", c["id"].(string)); e.code != 0 || !strings.Contains(e.stdout, c["title"].(string)) {
			t.Errorf("explain %v ends with %d: %s%s", c["id"], e.code, e.stdout, e.stderr)
		}
	}
}

func TestSchemasAreSchemas(t *testing.T) {
	for _, name := range []string{"run", "target"} {
		r := try(t, "schema", name)
		document, err := jsonschema.UnmarshalJSON(strings.NewReader(r.stdout))
		if err != nil || r.code != 0 {
			t.Fatalf("schema %s ends with %d: %v", name, r.code, err)
		}
		c := jsonschema.NewCompiler()
		if err := c.AddResource("memory:schema", document); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Compile("memory:schema"); err != nil {
			t.Errorf("schema %s: %v", name, err)
		}
	}
}

func TestFaultsAreListedOneALine(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(try(t, "target", "--list").stdout, "\n"), "\n")
	var want []string
	for _, f := range fixtures.Faults() {
		want = append(want, f.ID)
	}
	if !slices.Equal(lines, want) {
		t.Errorf("target --list prints %q", lines)
	}
}

// What comes from a target must neither move the cursor nor begin a line of a log that a build server reads.
func TestTargetTextStaysOnItsLine(t *testing.T) {
	var out bytes.Buffer
	c := newConsole(&out)
	hostile := "a\x1b[31m\r\n::error::b\u202ec\x00\xff"
	c.progress(&harness.Result{Key: "k", Verdict: harness.Inconclusive, Reason: hostile}, 1, 1)
	c.summary(&harness.Run{Problems: []string{hostile}, Incomplete: hostile, BadWaivers: []string{hostile}}, "out", "it")
	t.Setenv("GITHUB_STEP_SUMMARY", "")
	run := &harness.Run{Complete: true}
	for i := range 12 {
		run.Results = append(run.Results, harness.Result{Key: fmt.Sprintf("k,%d:%%", i), Verdict: harness.Fail, Level: harness.Must, Reason: hostile + "100%"})
	}
	annotated := bytes.Buffer{}
	if err := tellGitHub(&annotated, run); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String() + annotated.String()) {
		if strings.ContainsAny(strings.TrimSuffix(line, "\n"), "\x1b\r\x00\u202e") || strings.HasPrefix(line, "::error::") {
			t.Errorf("on the console: %q", line)
		}
	}
	if n := strings.Count(annotated.String(), "\n"); n != annotations {
		t.Errorf("%d annotations", n)
	}
	if !strings.HasPrefix(annotated.String(), "::error title=k%2C0%3A%25::") || !strings.Contains(annotated.String(), "100%25") {
		t.Errorf("annotated: %s", annotated.String())
	}
}

// started is popcheck as a process of its own.
type started struct {
	*exec.Cmd
	stdout io.ReadCloser
	out    *bufio.Reader
	stderr bytes.Buffer
}

func start(t *testing.T, args ...string) *started {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &started{Cmd: &exec.Cmd{Path: self, Args: append([]string{"popcheck"}, args...), Dir: t.TempDir()}}
	s.Stderr = &s.stderr
	stdout, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.stdout, s.out = stdout, bufio.NewReader(stdout)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(2*time.Minute, func() { s.Process.Kill() })
	t.Cleanup(func() { stuck.Stop(); s.Process.Kill() })
	return s
}

// until reads up to a line that contains text.
func (s *started) until(t *testing.T, text string) string {
	t.Helper()
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			t.Fatalf("it ended without %q: %v\n%s", text, err, s.stderr.String())
		}
		if strings.Contains(line, text) {
			return line
		}
	}
}

// ends reads the rest and returns the exit code.
func (s *started) ends(t *testing.T) (string, int) {
	t.Helper()
	rest, err := io.ReadAll(s.out)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Wait()
	if ended := (*exec.ExitError)(nil); err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	return string(rest), s.ProcessState.ExitCode()
}

// leftReports checks what an interrupted run must leave.
func (s *started) leftReports(t *testing.T) *harness.Run {
	t.Helper()
	dir := filepath.Join(s.Dir, "popcheck-out")
	for _, name := range []string{reports.JUnitFile, reports.HTMLFile, reports.MarkdownFile} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.Contains(strings.ToLower(string(text)), "interrupted") {
			t.Errorf("%s does not say that the run was interrupted (%v)", name, err)
		}
	}
	run, err := reports.Read(filepath.Join(dir, reports.JSONFile))
	if err != nil {
		t.Fatal(err)
	}
	if run.Complete || !strings.Contains(run.Incomplete, "interrupted") {
		t.Errorf("the run is complete: %v, %q", run.Complete, run.Incomplete)
	}
	return run
}

func TestInterruptedRunLeavesItsReports(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			s := start(t, "run")
			s.until(t, " 20/")
			if err := s.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			rest, code := s.ends(t)
			if code != exitIncomplete || !strings.Contains("\n"+rest, "\nincomplete: the run was interrupted\n") {
				t.Errorf("exit code %d: %s%s", code, rest, s.stderr.String())
			}
			run := s.leftReports(t)
			if run.Summary[harness.Pass] < 10 || run.Summary[harness.Inconclusive] < 50 || run.Summary[harness.Fail] > 0 {
				t.Errorf("summary: %v", run.Summary)
			}
		})
	}
}

// hanging takes every request and answers none.
func hanging(t *testing.T) (targetFile string, asked chan struct{}) {
	t.Helper()
	asked = make(chan struct{}, 1000)
	end := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-end
	}))
	t.Cleanup(func() { close(end); server.Close() })
	path := filepath.Join(t.TempDir(), "hanging.yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(servedTarget+servedMetadata, "SERVER", server.URL)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, asked
}

func TestInterruptBeforeTheFirstCheck(t *testing.T) {
	t.Parallel()
	target, asked := hanging(t)
	s := start(t, "run", target)
	<-asked
	if err := s.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if rest, code := s.ends(t); code != exitIncomplete {
		t.Errorf("exit code %d: %s%s", code, rest, s.stderr.String())
	}
	if run := s.leftReports(t); run.Summary[harness.Pass]+run.Summary[harness.Fail] > 0 {
		t.Errorf("summary: %v", run.Summary)
	}
}

func TestSecondInterruptEndsAtOnce(t *testing.T) {
	t.Parallel()
	target, asked := hanging(t)
	s := start(t, "run", target)
	<-asked
	// Stopped, it finds both signals when it goes on. They are of two kinds: a second one of the same kind would be dropped.
	for _, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCONT} {
		if err := s.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
	}
	if _, code := s.ends(t); code != exitIncomplete {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(filepath.Join(s.Dir, "popcheck-out", reports.HTMLFile)); err == nil {
		t.Error("it went on to write its reports")
	}
}

func TestReaderThatGoesAway(t *testing.T) {
	t.Parallel()
	s := start(t, "run", "--select", "pkce-verifier-wrong")
	s.until(t, "tests")
	if err := s.stdout.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(); err != nil {
		t.Errorf("%v: %s", err, s.stderr.String())
	}
	if _, err := os.Stat(filepath.Join(s.Dir, "popcheck-out", reports.HTMLFile)); err != nil {
		t.Error(err)
	}
}

func TestTargetRunsUntilItIsInterrupted(t *testing.T) {
	t.Parallel()
	s := start(t, "target", "--fault", "dpop-as-htu-unchecked")
	path := strings.TrimPrefix(strings.TrimSpace(s.until(t, "target.yaml")), "# ")
	client := start(t, "run", path, "--select", "dpop-htu-host@token")
	if output, code := client.ends(t); code != 1 {
		t.Errorf("a run against it ends with %d: %s%s", code, output, client.stderr.String())
	}
	if err := s.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if rest, code := s.ends(t); code != 0 {
		t.Errorf("exit code %d: %s", code, rest)
	}
	if _, err := os.Stat(filepath.Dir(path)); err == nil {
		t.Errorf("%s is left behind", filepath.Dir(path))
	}
}

// The README's target file is the first that a reader copies.
func TestTargetFileOfTheReadmeLoads(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile("(?s)```yaml\n(issuer:.*?)```").FindSubmatch(readme)
	if example == nil {
		t.Fatal("README.md has no target file")
	}
	path := filepath.Join(t.TempDir(), "target.yaml")
	if err := os.WriteFile(path, example[1], 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WEB_SECRET", "correct-horse-battery")
	t.Setenv("ALICE_PASSWORD", "wonderland-rabbit")
	if _, err := harness.LoadTarget(path); err != nil {
		t.Error(err)
	}
}
