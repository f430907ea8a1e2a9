package suites_test

import (
	"context"
	"slices"
	"testing"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/fixtures"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
	"github.com/popcheck/popcheck/suites"
)

// forbidden is what the plain reference does that a profile forbids, each with its reason. It is sound under all others.
var forbidden = map[string]map[string]string{
	attacks.RFC: {}, attacks.OAuth21: {},
	attacks.FAPI2: {
		"fapi-request-not-pushed":        "requests need not be pushed",
		"fapi-public-client-pushes":      "there are public clients",
		"fapi-public-client-token":       "there are public clients",
		"fapi-client-secret":             "there are clients with secrets",
		"fapi-assertion-audience-list":   "an assertion may name its audience in a list, as RFC 7519 §4.1.3 has it",
		"fapi-assertion-audience-others": "so that others may be in it too",
		// RFC 9126 §2 wants the token endpoint accepted.
		"fapi-assertion-audience-endpoint": "an assertion may be addressed to the token endpoint",
		"fapi-unbound-token":               "who proves nothing gets a bearer token",
		"fapi-unbound-token-at-resource":   "and it is served",
		"fapi-refresh-token-kept":          "refresh tokens are rotated",
		"fapi-refresh-token-not-rotated":   "refresh tokens are rotated",
		"fapi-hsts":                        "it sends no Strict-Transport-Security",
	},
}

// TestTheSoundTargetUnderEveryProfile: what fails on the plain reference is what the profile forbids, and nothing else.
func TestTheSoundTargetUnderEveryProfile(t *testing.T) {
	for profile, want := range forbidden {
		if raceEnabled && profile != attacks.FAPI2 {
			continue
		}
		_, target := startReference(t, fixtures.Options{Named: true})
		run, err := suites.Run(context.Background(), suites.Options{Target: target, Version: "test", Profile: profile, FailOn: harness.Must, Evidence: expect.VerdictsOnly})
		if err != nil {
			t.Fatal(err)
		}
		var failed []string
		for _, r := range run.Results {
			switch r.Verdict {
			case harness.Fail:
				failed = append(failed, r.ID)
				if want[r.ID] == "" {
					t.Errorf("%s: %s: %s", profile, r.Key, r.Reason)
				}
			case harness.Warn, harness.Inconclusive:
				t.Errorf("%s: %s is %s: %s", profile, r.Key, r.Verdict, r.Reason)
			}
		}
		for id, why := range want {
			if !slices.Contains(failed, id) {
				t.Errorf("%s: %s does not fail, although %s", profile, id, why)
			}
		}
	}
}
