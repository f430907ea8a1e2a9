package suites_test

import (
	"context"
	"testing"

	"github.com/popcheck/popcheck/fixtures"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
	"github.com/popcheck/popcheck/suites"
)

// skippedByMode are the results of the DPoP suite that do not apply to the sound target in a mode of nonces; all others pass.
var skippedByMode = map[fixtures.NonceMode][]string{
	fixtures.NonceOff: {"dpop-nonce-*"},
	// Nonces that nobody asks for: there is no challenge, and it is not known whose they are.
	fixtures.NonceOffered:   {"dpop-nonce-missing@*", "dpop-nonce-of-other-server@*", "dpop-nonce-keeps-grant@*", "dpop-nonce-in-header@*"},
	fixtures.NonceRequired:  {},
	fixtures.NonceSingleUse: {"code-race@*/dpop", "refresh-race-protected@*/dpop"}, // requests at the same moment cannot all have the nonce
}

// failsByMode are the results that are a finding in a mode: a server that only offers nonces accepts proofs without (RFC 9449 §11.3).
var failsByMode = map[fixtures.NonceMode][]string{
	fixtures.NonceOffered: {"dpop-nonce-omitted-later@*"},
}

// TestNonceModes runs the DPoP suite, and the races, against sound servers that use nonces in each way that RFC 9449 allows: honest calls are never
// inconclusive, and every skip is one that the mode justifies.
func TestNonceModes(t *testing.T) {
	selection, err := suites.ParseSelection("dpop,code-race,refresh-race-protected")
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range fixtures.NonceModes() {
		t.Run(mode.String(), func(t *testing.T) {
			reference, err := fixtures.Start(fixtures.Options{Dir: t.TempDir(), Named: true, Nonces: mode})
			if err != nil {
				t.Fatal(err)
			}
			defer reference.Close()
			target, err := harness.LoadTarget(reference.TargetFile())
			if err != nil {
				t.Fatal(err)
			}
			run, err := suites.Run(context.Background(), suites.Options{Target: target, Version: "test", Profile: "bcp", FailOn: harness.Must, Select: selection, Evidence: expect.VerdictsOnly,
				Slow: true, Clock: &agingClock{target: reference}})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range run.Results {
				want := harness.Pass
				for verdict, patterns := range map[harness.Verdict][]string{harness.Skip: skippedByMode[mode], harness.Fail: failsByMode[mode]} {
					for _, pattern := range patterns {
						if glob(pattern, r.Key) {
							want = verdict
						}
					}
				}
				if r.Verdict != want {
					t.Errorf("%s %s, not %s: %s", r.Verdict, r.Key, want, r.Reason)
				}
			}
		})
	}
}
