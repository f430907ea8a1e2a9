package suites_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/popcheck/popcheck/fixtures"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
	"github.com/popcheck/popcheck/reports"
	"github.com/popcheck/popcheck/suites"
)

// disturbed runs every check against the reference target with something standing before its handlers.
func disturbed(t *testing.T, wrap func(http.Handler) http.Handler, progress func(r *harness.Result, done, total int)) *harness.Run {
	t.Helper()
	reference, err := fixtures.Start(fixtures.Options{Dir: t.TempDir(), Named: true, Wrap: wrap})
	if err != nil {
		t.Fatal(err)
	}
	defer reference.Close()
	return runAgainst(t, reference, progress)
}

func runAgainst(t *testing.T, reference *fixtures.Reference, progress func(r *harness.Result, done, total int)) *harness.Run {
	t.Helper()
	target, err := harness.LoadTarget(reference.TargetFile())
	if err != nil {
		t.Fatal(err)
	}
	run, err := suites.Run(context.Background(), suites.Options{Target: target, Version: "test", Profile: "bcp", FailOn: harness.Must, Evidence: expect.VerdictsOnly, Progress: progress,
		Slow: true, Clock: &agingClock{target: reference}})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func metadataOnly(other http.HandlerFunc) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/.well-known/") {
				h.ServeHTTP(w, r)
				return
			}
			other(w, r)
		})
	}
}

func always(other http.HandlerFunc) func(http.Handler) http.Handler {
	return func(http.Handler) http.Handler { return other }
}

func says(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

// A target that decides nothing must not look secure: no check may pass on it.
func TestNothingPassesOnATargetThatDecidesNothing(t *testing.T) {
	const tokenForAll = `{"access_token":"the-same-for-everyone","token_type":"DPoP","expires_in":600,"refresh_token":"again-the-same","request_uri":"urn:x:1","expires_in":60,"active":true,"issuer":"https://as.reference.test","error":""}`
	drop := func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }
	for name, wrap := range map[string]func(http.Handler) http.Handler{
		"500 to everything":                 always(says(500, "text/html", "<h1>sorry</h1>")),
		"404 to everything":                 always(says(404, "text/html", "<h1>what?</h1>")),
		"200 and a page to everything":      always(says(200, "text/html", "<h1>welcome</h1>")),
		"200 and a token to everything":     always(says(200, "application/json", tokenForAll)),
		"ends every connection":             always(drop),
		"metadata, and 500 to the rest":     metadataOnly(says(500, "text/html", "<h1>sorry</h1>")),
		"metadata, and 404 to the rest":     metadataOnly(says(404, "text/html", "<h1>what?</h1>")),
		"metadata, and a page to the rest":  metadataOnly(says(200, "text/html", "<h1>welcome</h1>")),
		"metadata, and a token to the rest": metadataOnly(says(200, "application/json", tokenForAll)),
		"metadata, and 401 to the rest":     metadataOnly(says(401, "application/json", `{"error":"invalid_client"}`)),
		"metadata, and 400 to the rest":     metadataOnly(says(400, "application/json", `{"error":"invalid_dpop_proof"}`)),
		"metadata, and 429 to the rest":     metadataOnly(says(429, "text/plain", "later")),
		"metadata, and asks nonces for ever": metadataOnly(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("DPoP-Nonce", "n")
			says(400, "application/json", `{"error":"use_dpop_nonce"}`)(w, r)
		}),
		"metadata, and redirects for ever":    metadataOnly(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/authorize?again", 302) }),
		"metadata, and ends every connection": metadataOnly(drop),
	} {
		t.Run(name, func(t *testing.T) {
			run := disturbed(t, wrap, nil)
			if len(run.Results) == 0 {
				t.Fatal("no results")
			}
			for _, r := range run.Results {
				if r.Verdict == harness.Pass || r.Verdict == harness.Warn || r.Verdict == harness.Fail {
					t.Errorf("%s %s: %s", r.Verdict, r.Key, r.Reason)
				}
			}
			if code := reports.ExitCode(run); code != 3 {
				t.Errorf("exit code %d; problems: %q", code, run.Problems)
			}
			if len(run.Problems) == 0 && run.Incomplete == "" {
				t.Error("no word about what is wrong")
			}
		})
	}
}

// A target that dies, or locks popcheck out, in mid-run: what was not earned before is inconclusive.
func TestATargetThatEndsInMidRun(t *testing.T) {
	const after = 60
	lockout := func(answer http.HandlerFunc) (func(http.Handler) http.Handler, *atomic.Bool) {
		ended := &atomic.Bool{}
		return func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if ended.Load() {
					answer(w, r)
					return
				}
				h.ServeHTTP(w, r)
			})
		}, ended
	}
	for name, answer := range map[string]http.HandlerFunc{
		"500":               says(500, "text/html", "<h1>sorry</h1>"),
		"404":               says(404, "text/html", "<h1>what?</h1>"),
		"401":               says(401, "application/json", `{"error":"invalid_client"}`),
		"200":               says(200, "text/html", "<h1>maintenance</h1>"),
		"ended connections": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			wrap, ended := lockout(answer)
			earned := map[string]bool{}
			run := disturbed(t, wrap, func(r *harness.Result, done, _ int) {
				if done <= after {
					earned[r.Key] = true
				}
				ended.Store(done >= after)
			})
			passed := 0
			for _, r := range run.Results {
				if r.Verdict == harness.Pass {
					passed++
				}
				if r.Verdict != harness.Inconclusive && r.Verdict != harness.Skip && !earned[r.Key] {
					t.Errorf("%s %s: %s", r.Verdict, r.Key, r.Reason)
				}
			}
			if passed == 0 || passed > after {
				t.Errorf("%d passed", passed)
			}
			if code := reports.ExitCode(run); code != 3 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// The sound target: every check of the catalogue that the profile asks for runs, and passes.
func TestTheSoundTarget(t *testing.T) {
	run := disturbed(t, nil, nil)
	for _, r := range run.Results {
		if r.Verdict != harness.Pass && (r.Verdict != harness.Skip || asked(r.ID)) {
			t.Errorf("%s %s: %s", r.Verdict, r.Key, r.Reason)
		}
	}
	if code := reports.ExitCode(run); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// Where every refresh is refused, a refresh token never works, whoever revoked it and how: nothing about revocation passes for that.
func TestARevocationIsNotSeenWhereNoRefreshWorks(t *testing.T) {
	_, target := startReference(t, fixtures.Options{Named: true, Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if strings.Contains(string(body), "grant_type=refresh_token") {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusBadRequest)
				io.WriteString(w, `{"error": "invalid_grant"}`)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			next.ServeHTTP(w, r)
		})
	}})
	selection, err := suites.ParseSelection("revocation-*,revoked-refresh-token")
	if err != nil {
		t.Fatal(err)
	}
	run, err := suites.Run(t.Context(), suites.Options{Target: target, Version: "test", Profile: "bcp", FailOn: harness.Must, Select: selection, Evidence: expect.VerdictsOnly})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range run.Results {
		if r.Verdict == harness.Pass && r.ID != "revocation-unknown-token" {
			t.Errorf("%s passes: %s", r.Key, r.Reason)
		}
	}
	if run.Summary[harness.Inconclusive] < 4 {
		t.Errorf("%v", run.Summary)
	}
}
