package suites_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/fixtures"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/suites"
)

// TestAloneWorker runs a part of the faults against a resource server that stands alone.
func TestAloneWorker(t *testing.T) {
	work(t, func(t *testing.T, fault, selection string) (judged, error) {
		return judgeReference(t, fixtures.Options{Fault: fault, Dialect: fixtures.RSAlone}, selection)
	})
}

// notAlone are faults that a resource cannot have without the authorization server that it shares a store with.
var notAlone = map[string]string{
	"rs-revocation-unseen":               "nothing is revoked where nobody can",
	"rs-refresh-token-accepted":          "there are no refresh tokens",
	"rs-refresh-token-accepted-userinfo": "there are no refresh tokens",
	"rs-code-accepted":                   "there are no codes",
	"rs-any-jwt-of-the-issuer":           "there are no ID tokens; minted-other-type is about them",
}

// TestResourceFaultsAreCaughtAlone demands that the bugs of a resource are found without any authorization server too, by the same checks:
// those that the lines of the kill matrix name for them at a resource.
func TestResourceFaultsAreCaughtAlone(t *testing.T) {
	lines := expected(t, "kill/*.txt")
	var faults []string
	selections := map[string]string{}
	ids := map[string][][]string{} // by pattern of the line
	for _, f := range fixtures.Faults() {
		ofResource := slices.ContainsFunc(f.Breaks, func(id string) bool { return strings.Contains(id, "-RS-") }) &&
			!slices.ContainsFunc(f.Breaks, func(id string) bool { return strings.Contains(id, "-AS-") })
		if !ofResource || f.Weak || f.Dialect != "" || f.Nonces != fixtures.NonceRequired || notAlone[f.ID] != "" {
			continue
		}
		var all []string
		for _, pattern := range lines[f.ID][harness.Fail] {
			name, _, _ := strings.Cut(pattern, "@")
			var named []string
			for _, e := range attacks.Catalogue() {
				if glob(name, e.ID) {
					named = append(named, e.ID)
				}
			}
			ids[f.ID], all = append(ids[f.ID], named), append(all, named...)
		}
		if len(ids[f.ID]) > 0 {
			faults = append(faults, f.ID)
			selections[f.ID] = strings.Join(all, ",")
		}
	}
	if faults = sample(faults, 4); os.Getenv("POPCHECK_KILL")+os.Getenv("POPCHECK_KILL_ONLY") == "" {
		faults = everyNth(faults, 3) // the same checks at the same resource as TestKillMatrix
	}
	got := killAll(t, "TestAloneWorker", append([]string{""}, faults...), selections)
	for _, fault := range faults {
		for _, named := range ids[fault] {
			could, caught := false, false
			for key, v := range got[""].Verdicts {
				check, at, _ := strings.Cut(key, "@")
				could = could || slices.Contains(named, check) && v == harness.Pass && strings.Contains(at, "/")
			}
			for key, v := range got[fault].Verdicts {
				check, _, _ := strings.Cut(key, "@")
				caught = caught || slices.Contains(named, check) && v == harness.Fail
			}
			if could && !caught {
				t.Errorf("%s: none of %q fails where the resource server stands alone", fault, named)
			}
		}
	}
	t.Logf("%d faults", len(faults))
}

// A sound resource is not accused either where its user brings the tokens, one of each kind.
func TestBroughtTokens(t *testing.T) {
	reference, target := startReference(t, fixtures.Options{Dialect: fixtures.RSAlone})
	issuer, err := harness.NewTester(target, "test")
	if err != nil {
		t.Fatal(err)
	}
	tr := issuer.Trace(context.Background(), "test")
	holder, err := harness.NewKey("holder", "ES256", 0)
	if err != nil {
		t.Fatal(err)
	}
	key, err := json.Marshal(holder.PrivateJWK())
	if err != nil {
		t.Fatal(err)
	}
	mint := func(who harness.Identity) string {
		o := tr.Mint(who, nil, nil)
		if o.State != harness.Granted {
			t.Fatal(o)
		}
		return o.Token.AccessToken
	}
	bearer, dpop, bound := target.Client("bearer"), target.Client("dpop"), target.Client("mtls")
	dir := filepath.Dir(reference.TargetFile())
	text := fmt.Sprintf("tls: {ca: %s}\ntokens:\n  - {name: plain, token: %s}\n  - {name: proven, token: %s, private_key: %q}\n  - {name: shown, token: %s, certificate: {cert: %s, key: %s}}\nresources:\n",
		filepath.Join(dir, "ca.pem"), mint(harness.Identity{Client: bearer}), mint(harness.Identity{Client: dpop, Key: holder}), key,
		mint(issuer.Honest(bound, harness.CertificateBound)), filepath.Join(dir, "bank.pem"), filepath.Join(dir, "bank.key"))
	for _, r := range target.Resources[:2] {
		text += fmt.Sprintf("  - {name: %s, url: %s, method: %s}\n", r.Name, r.URL, r.Method)
	}
	brought, err := harness.ParseTarget("brought.yaml", dir, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	run, err := suites.Run(context.Background(), suites.Options{Target: brought, Version: "test", Profile: "bcp", FailOn: harness.Must})
	if err != nil {
		t.Fatal(err)
	}
	passed := 0
	for _, r := range run.Results {
		switch r.Verdict {
		case harness.Pass:
			passed++
		case harness.Skip:
		default:
			t.Errorf("%s is %s: %s", r.Key, r.Verdict, r.Reason)
		}
	}
	if passed < 200 || len(run.Problems) > 0 {
		t.Errorf("%d results passed, problems: %q", passed, run.Problems)
	}
}

// A sound authorization server is not accused either where no resource, no UserInfo and no introspection shows what its tokens are worth, and
// where its endpoints were named by hand because it serves no metadata.
func TestServerAlone(t *testing.T) {
	hidden := false
	_, target := startReference(t, fixtures.Options{Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if hidden && strings.HasPrefix(r.URL.Path, "/.well-known/") {
				http.NotFound(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}})
	asker, err := harness.NewTester(target, "test")
	if err != nil {
		t.Fatal(err)
	}
	target.Metadata = asker.Trace(context.Background(), "test").Discover().Members
	for _, name := range []string{"userinfo_endpoint", "introspection_endpoint"} {
		delete(target.Metadata, name)
	}
	asker.Close()
	hidden = true
	target.Resources, target.IntrospectionClient = nil, ""
	chosen, err := suites.ParseSelection("code-replay*,pkce-verifier-wrong,refresh-re*,revo*,resource-*,dpop-htu-elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	run, err := suites.Run(context.Background(), suites.Options{Target: target, Version: "test", Profile: "bcp", FailOn: harness.Must, Select: chosen, Patience: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	passed := map[string]int{}
	for _, r := range run.Results {
		switch r.Verdict {
		case harness.Pass:
			passed[r.ID]++
		case harness.Skip:
			if r.Reason == "" {
				t.Errorf("%s is skipped without a reason", r.Key)
			}
		default:
			t.Errorf("%s is %s: %s", r.Key, r.Verdict, r.Reason)
		}
	}
	if len(run.Problems) > 0 || passed["pkce-verifier-wrong"] == 0 || passed["dpop-htu-elsewhere"] == 0 || passed["code-replay-revokes-access-token"]+passed["revoked-access-token"] > 0 {
		t.Errorf("passed %v, problems: %q", passed, run.Problems)
	}
}
