package suites_test

import (
	"context"
	"strings"
	"testing"

	"github.com/popcheck/popcheck/fixtures"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
	"github.com/popcheck/popcheck/suites"
)

// TestBindingsOfOpaqueTokens looks for the binding of each grant's tokens where they say nothing themselves: by introspection, and
// where there is none, at a resource in other hands. A grant that forgets the binding shows either way.
func TestBindingsOfOpaqueTokens(t *testing.T) {
	selection, err := suites.ParseSelection("dpop-every-grant,mtls-client-credentials-bound")
	if err != nil {
		t.Fatal(err)
	}
	for fault, failing := range map[string][]string{
		"":                        nil,
		"dpop-jwt-bearer-unbound": {"dpop-every-grant@token/jwt-bearer/*"},
		"dpop-machine-ignored":    {"dpop-every-grant@token/client_credentials/*"},
		"mtls-jwt-bearer-unbound": {"mtls-client-credentials-bound@token/jwt-bearer/*"},
	} {
		for _, introspection := range []string{"web", ""} {
			t.Run(fault+" introspection by "+introspection, func(t *testing.T) {
				_, target := startReference(t, fixtures.Options{Named: true, Opaque: true, Fault: fault})
				target.IntrospectionClient = introspection
				run, err := suites.Run(context.Background(), suites.Options{Target: target, Version: "test", Profile: "bcp", FailOn: harness.Must, Select: selection, Evidence: expect.VerdictsOnly})
				if err != nil {
					t.Fatal(err)
				}
				grants := map[string]bool{}
				for _, r := range run.Results {
					want := harness.Pass
					for _, pattern := range failing {
						if glob(pattern, r.Key) {
							want = harness.Fail
						}
					}
					grants[r.ID+" "+r.Grant] = true
					by := map[string]string{"web": "introspection names", "": "refuses the token in other hands"}[introspection]
					if r.Verdict != want || want == harness.Pass && !strings.Contains(r.Reason, by) {
						t.Errorf("%s %s, not %s: %s", r.Verdict, r.Key, want, r.Reason)
					}
				}
				if len(grants) != 6 {
					t.Errorf("these were tried: %v", grants)
				}
			})
		}
	}
}

// TestBoundTokensThatAreOpaque opens a resource, and attacks it, with tokens that only introspection can tell of (RFC 8705 §3.2).
func TestBoundTokensThatAreOpaque(t *testing.T) {
	const opens, stolen = "mtls-resource@accounts/authorization_code/bank", "mtls-bound-stranger@accounts/authorization_code/bank"
	for fault, want := range map[string]map[string]harness.Verdict{
		"":                        {opens: harness.Pass, stolen: harness.Pass},
		"mtls-rs-any-certificate": {opens: harness.Pass, stolen: harness.Fail},
	} {
		got, err := judgeReference(t, fixtures.Options{Fault: fault, Opaque: true}, "mtls-resource,mtls-bound-stranger")
		if err != nil {
			t.Fatal(err)
		}
		for key, verdict := range want {
			if got.Verdicts[key] != verdict {
				t.Errorf("%q: %s is %s, not %s: %s", fault, key, got.Verdicts[key], verdict, got.Reasons[key])
			}
		}
	}
}
