package suites_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/popcheck/popcheck/fixtures"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
	"github.com/popcheck/popcheck/reports"
	"github.com/popcheck/popcheck/suites"
)

// foreign counts the connections to hosts that no target file names: another address of this machine, and a name and a port of it.
type foreign struct {
	connections     atomic.Int64
	address, byName string
}

func newForeign(t *testing.T) *foreign {
	t.Helper()
	f := &foreign{}
	listen := func(address string) string {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				f.connections.Add(1)
				conn.Close()
			}
		}()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		return port
	}
	f.address = "https://127.0.0.2:" + listen("127.0.0.2:0")
	f.byName = "https://localhost:" + listen("127.0.0.1:0")
	return f
}

// rewritten stands before every handler and edits what it answers; an edit sees header, status and body before they are sent.
func rewritten(edit func(r *http.Request, answer *httptest.ResponseRecorder)) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, r)
			edit(r, answer)
			for name, values := range answer.Header() {
				if name != "Content-Length" {
					w.Header()[name] = values
				}
			}
			w.WriteHeader(answer.Code)
			w.Write(answer.Body.Bytes())
		})
	}
}

// members edits an answer that is a JSON object.
func members(answer *httptest.ResponseRecorder, edit func(map[string]any)) {
	var object map[string]any
	if json.Unmarshal(answer.Body.Bytes(), &object) != nil {
		return
	}
	edit(object)
	answer.Body.Reset()
	json.NewEncoder(answer.Body).Encode(object)
}

func isMetadata(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/.well-known/") }

// scoped runs some checks on a reference target behind an edit. The target file names the three servers with their ports, and nothing else.
func scoped(t *testing.T, selection string, edit func(*http.Request, *httptest.ResponseRecorder)) *harness.Run {
	t.Helper()
	reference, target := startReference(t, fixtures.Options{Wrap: rewritten(edit)})
	target.Hosts = reference.Addresses()
	selected, err := suites.ParseSelection(selection)
	if err != nil {
		t.Fatal(err)
	}
	run, err := suites.Run(context.Background(), suites.Options{Target: target, Version: "test", Profile: "bcp", FailOn: harness.Must, Select: selected, Evidence: expect.VerdictsOnly})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// representative are checks of each endpoint and each suite.
const representative = "pkce-verifier-wrong,pkce-challenge-missing,dpop-ath-random,dpop-htu-host,mtls-bound-stranger,par-*,redirect-*,page-*,metadata-*,iss-*,code-replay,refresh-*"

// A server that mentions other hosts wherever it can, and needs none of them, is judged as it is, and nothing goes there.
func TestOtherHostsAreNotVisited(t *testing.T) {
	f := newForeign(t)
	run := scoped(t, representative, func(r *http.Request, answer *httptest.ResponseRecorder) {
		h := answer.Header()
		h.Add("Link", "<"+f.address+"/next>; rel=preload, <"+f.byName+">; rel=\"http://openid.net/specs/connect/1.0/issuer\"")
		h.Set("Alt-Svc", `h2="`+strings.TrimPrefix(f.address, "https://")+`"`)
		h.Set("Content-Location", f.address)
		if answer.Code == http.StatusCreated {
			h.Set("Location", f.address+"/pushed")
		}
		for i, challenge := range h.Values("WWW-Authenticate") {
			h["Www-Authenticate"][i] = challenge + fmt.Sprintf(`, resource_metadata="%s/.well-known/oauth-protected-resource", error_uri="%s/e"`, f.address, f.byName)
		}
		if strings.Contains(h.Get("Content-Type"), "html") {
			mention := fmt.Sprintf(`<iframe src="%[1]s/frame"></iframe><img src="%[1]s/i"><script src="%[1]s/s"></script><link rel=stylesheet href="%[2]s/c">`+
				`<link rel=prefetch href="%[1]s/p"><a href="%[1]s">help</a><form action="%[2]s/search"><input name=q></form>`, f.address, f.byName)
			page := bytes.Replace(answer.Body.Bytes(), []byte("</body>"), []byte(mention+"</body>"), 1)
			if !bytes.Contains(page, []byte(f.address)) {
				page = append(page, mention...)
			}
			answer.Body = bytes.NewBuffer(page)
		}
		members(answer, func(m map[string]any) {
			if isMetadata(r) {
				for _, name := range []string{"service_documentation", "op_policy_uri", "op_tos_uri", "device_authorization_endpoint",
					"end_session_endpoint", "check_session_iframe", "signed_metadata_uri", "backchannel_authentication_endpoint"} {
					m[name] = f.address + "/" + name
				}
				return
			}
			m["error_uri"], m["jwks_uri"] = f.address+"/error", f.byName+"/jwks"
			if _, registered := m["registration_client_uri"]; !registered {
				m["registration_client_uri"] = f.address + "/client"
			}
		})
	})
	if n := f.connections.Load(); n != 0 {
		t.Errorf("%d connections", n)
	}
	if !run.Complete || run.Summary[harness.Inconclusive] > 0 || run.Summary[harness.Pass] == 0 {
		t.Errorf("complete %v (%s): %v", run.Complete, run.Incomplete, run.Summary)
	}
	for _, r := range run.Results {
		if r.Verdict == harness.Fail && r.Level == harness.Must {
			t.Errorf("%s: %s", r.Key, r.Reason)
		}
	}
}

// A server that needs other hosts is not followed there: the run says that it did not go, what to do about it, and is incomplete.
func TestOtherHostsThatAreNeededAreNamed(t *testing.T) {
	inMetadata := func(names ...string) func(*foreign) func(*http.Request, *httptest.ResponseRecorder) {
		return func(f *foreign) func(*http.Request, *httptest.ResponseRecorder) {
			return func(r *http.Request, answer *httptest.ResponseRecorder) {
				if isMetadata(r) {
					members(answer, func(m map[string]any) {
						for _, name := range names {
							var at any = f.byName + "/" + name
							if name == "mtls_endpoint_aliases" {
								at = map[string]any{"token_endpoint": f.byName + "/token", "introspection_endpoint": f.byName + "/introspect"}
							}
							m[name] = at
						}
					})
				}
			}
		}
	}
	redirected := func(code int, paths ...string) func(*foreign) func(*http.Request, *httptest.ResponseRecorder) {
		return func(f *foreign) func(*http.Request, *httptest.ResponseRecorder) {
			return func(r *http.Request, answer *httptest.ResponseRecorder) {
				if slices.ContainsFunc(paths, func(path string) bool { return strings.HasPrefix(r.URL.Path, path) }) {
					answer.Code = code
					answer.Header().Set("Location", f.address+r.URL.Path)
				}
			}
		}
	}
	for name, test := range map[string]struct {
		selection string
		code      int // 0 where the rest can be judged, and a skip says what could not be
		edit      func(*foreign) func(*http.Request, *httptest.ResponseRecorder)
	}{
		"authorization endpoint":   {"pkce-verifier-wrong", 3, inMetadata("authorization_endpoint")},
		"token endpoint":           {"pkce-verifier-wrong,dpop-htu-host", 3, inMetadata("token_endpoint")},
		"pushed requests":          {"par-*", 3, inMetadata("pushed_authorization_request_endpoint")},
		"introspection":            {"pkce-verifier-wrong,mtls-*@introspect", 3, inMetadata("introspection_endpoint")},
		"revocation":               {"*revo*", 3, inMetadata("revocation_endpoint")},
		"keys":                     {"dpop-*server*,metadata-*", 0, inMetadata("jwks_uri")},
		"mutual TLS aliases":       {"mtls-bound-stranger", 3, inMetadata("mtls_endpoint_aliases")},
		"registration":             {"pkce-verifier-wrong@token/authorization_code/enrolled", 3, inMetadata("registration_endpoint")},
		"redirected authorization": {"pkce-verifier-wrong", 3, redirected(302, "/authorize")},
		"redirected login":         {"pkce-verifier-wrong", 3, redirected(307, "/login")},
		"redirected tokens":        {"pkce-verifier-wrong,dpop-htu-host", 3, redirected(307, "/token")},
		"redirected resource":      {"dpop-ath-random", 3, redirected(308, "/accounts", "/archive", "/userinfo")},
		"redirected metadata":      {"pkce-verifier-wrong", 3, redirected(302, "/.well-known/")},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForeign(t)
			run := scoped(t, test.selection, test.edit(f))
			if n := f.connections.Load(); n != 0 {
				t.Errorf("%d connections", n)
			}
			said := 0
			for _, r := range run.Results {
				if strings.Contains(r.Reason, "the target file does not name") || strings.Contains(r.Reason, "that popcheck does not follow") {
					said++
				} else if r.Verdict != harness.Pass && r.Verdict != harness.Skip {
					t.Errorf("%s %s: %s", r.Verdict, r.Key, r.Reason)
				}
			}
			if slices.ContainsFunc(run.Problems, func(p string) bool { return strings.Contains(p, "the target file does not name") }) {
				said++
			}
			if code := reports.ExitCode(run); said == 0 || code != test.code {
				t.Errorf("exit %d, and %d of %v say where it did not go; problems: %q", code, said, run.Summary, run.Problems)
			}
		})
	}
}

// Where a client that popcheck registered can be removed is what the server says: another host gets neither a request nor the token for it.
func TestARegistrationElsewhereIsNotVisited(t *testing.T) {
	f := newForeign(t)
	run := scoped(t, "pkce-verifier-wrong", func(_ *http.Request, answer *httptest.ResponseRecorder) {
		members(answer, func(m map[string]any) {
			if m["registration_client_uri"] != nil {
				m["registration_client_uri"] = f.address + "/client"
			}
		})
	})
	if n := f.connections.Load(); n != 0 {
		t.Errorf("%d connections", n)
	}
	if len(run.Left) != 1 || !strings.Contains(run.Left[0], "the target file does not name") {
		t.Errorf("what is left at the server: %q", run.Left)
	}
}
