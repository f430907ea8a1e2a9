package suites_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/reports"
	"github.com/popcheck/popcheck/suites"
)

const recipe = "../fixtures/targets/oidc-provider"

// unless skips a test on a user's machine where a part is missing; in CI its absence is a failure.
func unless(t *testing.T, found bool, missing string) {
	t.Helper()
	if found {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal(missing)
	}
	t.Skip(missing)
}

// startOIDCProvider starts the recipe and returns the path of its target file. The server ends with its standard input.
func startOIDCProvider(t *testing.T, args ...string) string {
	t.Helper()
	node, err := exec.LookPath("node")
	unless(t, err == nil, "node is not installed: the run against oidc-provider is left out")
	version, err := exec.Command(node, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	major, _ := strconv.Atoi(strings.Split(strings.TrimPrefix(strings.TrimSpace(string(version)), "v"), ".")[0])
	unless(t, major >= 20, fmt.Sprintf("oidc-provider needs Node 20 or later, this is %s", version))
	_, err = os.Stat(filepath.Join(recipe, "node_modules", "oidc-provider"))
	unless(t, err == nil, "oidc-provider is not installed: run npm ci in fixtures/targets/oidc-provider (make test does)")

	cmd := exec.Command(node, append([]string{"start.mjs", "--stdin", "--dir", t.TempDir()}, args...)...)
	cmd.Dir = recipe
	var complaints strings.Builder
	cmd.Stderr = &complaints
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); io.Copy(io.Discard, stdout); cmd.Wait() })
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if path, ok := strings.CutPrefix(lines.Text(), "ready: "); ok {
			return path
		}
	}
	t.Fatalf("oidc-provider did not start: %s", complaints.String())
	return ""
}

// confirmed are the results on oidc-provider that are no pass, each looked up in its source; nothing else may appear.
var confirmed = map[string]map[harness.Verdict][]string{
	"nonces required": {
		harness.Fail: {
			// JWT access tokens cannot be revoked (lib/shared/reject_structured_tokens.js); /accounts checks them by themselves.
			"code-replay-revokes-access-token@token/authorization_code/*",
			// The recipe's /accounts: oauth4webapi keeps no jti, and takes an empty one.
			"dpop-replay@accounts/*", "dpop-jti-empty@accounts/*",
		},
		harness.Warn: {
			// A replay is answered with invalid_grant, invalid_request or invalid_token (lib/helpers/validate_dpop.js).
			"dpop-replay@par/*", "dpop-replay@token/*", "dpop-replay@userinfo/*",
			// UserInfo answers 400 invalid_request to the DPoP scheme without a proof (lib/helpers/oidc_context.js).
			"dpop-no-proof@userinfo/*",
		},
		harness.Skip: {
			"dpop-htu-default-port@*",                           // the addresses name ports
			"dpop-nonce-*@accounts/*",                           // oauth4webapi asks for no nonces
			"dpop-nonce-of-other-server@token",                  // only the AS demands nonces
			"dpop-introspection-cnf@*",                          // JWT access tokens are not introspected
			"mtls-introspection-cnf@*",                          // the same
			"pkce-verifier-unasked@*", "pkce-challenge-empty@*", // every client must use PKCE
		},
	},
}

func TestOIDCProvider(t *testing.T) {
	for name, args := range map[string][]string{"nonces required": nil} {
		t.Run(name, func(t *testing.T) {
			file := startOIDCProvider(t, args...)
			target, err := harness.LoadTarget(file)
			if err != nil {
				t.Fatal(err)
			}
			run, err := suites.Run(context.Background(), suites.Options{Target: target, Version: "test", Profile: "bcp", FailOn: harness.Must})
			if err != nil {
				t.Fatal(err)
			}
			counts := map[string]int{}
			for _, r := range run.Results {
				counts[r.Suite+" "+string(r.Verdict)]++
				if r.Verdict == harness.Pass {
					control := false
					for _, x := range r.Exchanges {
						control = control || x.Role == harness.ControlExchange
					}
					if !control {
						t.Errorf("%s passed without a control", r.Key)
					}
					continue
				}
				known := false
				for _, pattern := range confirmed[name][r.Verdict] {
					known = known || glob(pattern, r.Key)
				}
				if !known {
					t.Errorf("%s %s: %s", r.Verdict, r.Key, r.Reason)
				}
			}
			t.Logf("%d results: %v", len(run.Results), counts)
			if code := reports.ExitCode(run); code != 0 {
				t.Errorf("exit code %d; problems: %q", code, run.Problems)
			}
		})
	}
}

// glob matches * against anything, slashes included.
func glob(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	for i, part := range parts[1:] {
		if i == len(parts)-2 {
			return strings.HasSuffix(s, part)
		}
		at := strings.Index(s, part)
		if at < 0 {
			return false
		}
		s = s[at+len(part):]
	}
	return s == ""
}
