package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/popcheck/popcheck/fixtures"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/reports"
)

// agents starts the reference target, and collects for which checks the requests came that it got: the User-Agent names them.
func agents(t *testing.T) (targetFile string, seen func() map[string]int) {
	t.Helper()
	var mu sync.Mutex
	got := map[string]int{}
	r := attacked(t, fixtures.Options{Wrap: func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			_, about, _ := strings.Cut(req.UserAgent(), "(")
			check, _, _ := strings.Cut(about, ";")
			mu.Lock()
			got[check]++
			mu.Unlock()
			h.ServeHTTP(w, req)
		})
	}})
	return r.TargetFile(), func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		return got
	}
}

// TestCheckMakesNoAttack: the preflight makes honest calls only, and says what a run would do.
func TestCheckMakesNoAttack(t *testing.T) {
	file, seen := agents(t)
	p := start(t, "check", file)
	said, code := p.ends(t)
	if code != exitFine {
		t.Fatalf("exit %d\n%s%s", code, said, p.stderr.String())
	}
	for check, n := range seen() {
		if check != "preflight" && check != "clean-up" { // of what it registered
			t.Errorf("%d requests for %s", n, check)
		}
	}
	for _, want := range []string{"works     spa by authorization_code, dpop: its token opens accounts, transfers, userinfo",
		"harm ", "needs --slow", "ready: popcheck run " + file} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
}

// TestADryRunSendsNothing, not even to find out what applies, and says what would be sent where, and the harm of each check.
func TestADryRunSendsNothing(t *testing.T) {
	file, seen := agents(t)
	out := filepath.Join(t.TempDir(), "unused")
	p := start(t, "run", "--dry-run", "--out", out, file)
	said, code := p.ends(t)
	if code != exitFine {
		t.Fatalf("exit %d\n%s%s", code, said, p.stderr.String())
	}
	if got := seen(); len(got) > 0 {
		t.Errorf("requests by check: %v", got)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("it made the directory of the reports")
	}
	for _, want := range []string{"hosts     127.0.0.1, and no other\n", "where     accounts     GET https://127.0.0.1:", "needs --slow", "0 requests were made",
		"would run pkce-verifier-wrong@token/authorization_code/spa  refuses", "would run dpop-ath-random@accounts/", "would run mtls-"} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	for line := range strings.Lines(said) {
		if strings.HasPrefix(line, "would run code-replay@") && !strings.Contains(line, "; harm: revokes a grant") {
			t.Errorf("without its harm: %s", line)
		}
	}
}

// TestCheckSaysWhatToMend: a wrong secret is named with its line, and the run would not be complete.
func TestCheckSaysWhatToMend(t *testing.T) {
	file, _ := agents(t)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for i, l := range lines {
		if strings.Contains(l, "client_id: web") {
			for j := i; ; j++ {
				if before, _, is := strings.Cut(lines[j], "client_secret: "); is {
					lines[j] = before + "client_secret: of-another-client"
					break
				}
			}
		}
	}
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	said, code := start(t, "check", file).ends(t)
	if code != exitIncomplete {
		t.Errorf("exit %d", code)
	}
	for _, want := range []string{"FAILS     web by client_credentials", "client web got no usable token by client_credentials: HTTP 401 invalid_client at the token endpoint (\"unknown client or wrong credential\"); check client_secret", "works     spa"} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
}

// TestGentleLeavesOutWhatHarms: what a check declares as harm keeps it out, and the report says so.
func TestGentleLeavesOutWhatHarms(t *testing.T) {
	file, seen := agents(t)
	out := t.TempDir()
	said, code := start(t, "run", "--gentle", "--select", "code-replay,pkce-s256", "--out", out, file).ends(t)
	if code != exitFine {
		t.Errorf("exit %d\n%s", code, said)
	}
	run, err := reports.Read(filepath.Join(out, reports.JSONFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range run.Results {
		if r.ID == "code-replay" && (r.Verdict != harness.Skip || !strings.HasPrefix(r.Reason, "left out by --gentle: it revokes a grant")) {
			t.Errorf("%s %s: %s", r.Verdict, r.Key, r.Reason)
		}
	}
	if got := seen(); got["code-replay"] > 0 || got["pkce-s256"] == 0 {
		t.Errorf("requests by check: %v", got)
	}
}
