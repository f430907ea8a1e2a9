package suites_test

import (
	"context"
	"os"
	"slices"
	"testing"

	"github.com/popcheck/popcheck/fixtures/targets"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/suites"
)

// TestSpringAuthorizationServer demands what TestKeycloak does.
func TestSpringAuthorizationServer(t *testing.T) {
	if os.Getenv("POPCHECK_VENDORS") == "" {
		t.Skip("POPCHECK_VENDORS is not set")
	}
	unlessMissing(t, targets.Install(t.Context(), "spring-authorization-server"))
	understood(t, startTarget(t, "spring-authorization-server"), springHolds())
}

// TestSpringResourceServer judges a resource server alone, whose tokens popcheck issues, and the same one with a check left out: three of
// them always, for each is a Java server of its own, and all where POPCHECK_VENDORS is set.
func TestSpringResourceServer(t *testing.T) {
	unlessMissing(t, targets.Install(t.Context(), "spring-resource-server"))
	understood(t, startTarget(t, "spring-resource-server"), springResourceHolds())
	for broken, finds := range map[string][]string{
		"ath":         {"dpop-ath-missing", "dpop-ath-random", "dpop-proof-for-other-token"},
		"key":         {"dpop-key-of-attacker", "dpop-token-of-other-client", "minted-cnf-other-key"},
		"htm":         {"dpop-no-htm", "dpop-htm-other"},
		"htu":         {"dpop-no-htu", "dpop-htu-host", "dpop-htu-path"},
		"iat":         {"dpop-iat-old", "dpop-iat-future"},
		"jti":         {"dpop-replay", "dpop-no-jti"},
		"certificate": {"mtls-bound-no-certificate", "mtls-bound-stranger", "mtls-bound-other-client", "minted-cnf-other-certificate"},
		"issuer":      {"minted-other-issuer"},
		"audience":    {"minted-other-audience", "minted-audience-of-issuer"},
		"expiry":      {"minted-expired", "minted-not-yet-valid"},
		"scope":       {"minted-no-scope", "minted-longer-scope"},
	} {
		if !slices.Contains([]string{"ath", "key", "certificate"}, broken) && os.Getenv("POPCHECK_VENDORS") == "" {
			continue
		}
		for _, r := range results(t, startTarget(t, "spring-resource-server", "--break", broken), finds...) {
			if r.Verdict != harness.Fail {
				t.Errorf("--break %s: %s %s: %s", broken, r.Verdict, r.Key, r.Reason)
			}
		}
	}
}

// results are those of a run of the selected checks, or of all.
func results(t *testing.T, target *harness.Target, selection ...string) []harness.Result {
	t.Helper()
	run, err := suites.Run(context.Background(), suites.Options{Target: target, Version: "test", Profile: "bcp", FailOn: harness.Must, Select: selection})
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range run.Problems {
		t.Error(problem)
	}
	if len(run.Results) == 0 {
		t.Errorf("nothing came of %q", selection)
	}
	return run.Results
}

// understood runs everything on a server: nothing is inconclusive, and no result fails of which the key matches one of these. Each of them
// is met by a result that was no skip.
func understood(t *testing.T, target *harness.Target, defences []string) {
	t.Helper()
	held, counts := map[string]int{}, map[string]int{}
	for _, r := range results(t, target) {
		counts[r.Suite+" "+string(r.Verdict)]++
		if r.Verdict == harness.Inconclusive {
			t.Errorf("%s %s: %s", r.Verdict, r.Key, r.Reason)
		}
		for _, defence := range defences {
			switch {
			case !glob(defence, r.Key):
			case r.Verdict == harness.Fail:
				t.Errorf("%s %s: %s", r.Verdict, r.Key, r.Reason)
			case r.Verdict != harness.Skip:
				held[defence]++
			}
		}
	}
	for _, defence := range defences {
		if held[defence] == 0 {
			t.Errorf("%s: nothing was tried", defence)
		}
	}
	t.Logf("%v", counts)
}

// springHolds are keys of results that may warn or be skipped, and must not fail.
func springHolds() []string {
	return append(springResourceHolds(),
		// …server.authorization.authentication: CodeVerifierAuthenticator, OAuth2AuthorizationCodeRequestAuthenticationValidator
		"pkce-verifier-wrong@*", "pkce-verifier-missing@*", "pkce-verifier-empty@*", "pkce-method-*", "pkce-challenge-missing@*", "redirect-uri-*",
		// OAuth2AuthorizationCodeAuthenticationProvider, OAuth2RefreshTokenAuthenticationProvider
		"code-of-*", "code-redirect-*", "refresh-token-*", "refresh-credential-missing@*",
		// OAuth2PushedAuthorizationRequestUri
		"par-request-uri-*", "par-credential-*",
		// X509ClientCertificateAuthenticationProvider, X509SelfSignedCertificateVerifier, and the trust manager of the recipe
		"mtls-subject-*", "mtls-untrusted-*", "mtls-no-certificate@*", "mtls-header-*", "mtls-cnf@*",
	)
}

// springResourceHolds are those of Spring Security's resource server.
func springResourceHolds() []string {
	return []string{
		// …oauth2.jwt.DPoPProofJwtDecoderFactory, DPoPProofReplayValidator
		"dpop-ath-*@accounts*", "dpop-typ-*@accounts*", "dpop-alg-*@accounts*", "dpop-key-of-*@accounts*", "dpop-htm-other@accounts*",
		"dpop-htu-host@accounts*", "dpop-htu-elsewhere@accounts*", "dpop-iat-old@accounts*", "dpop-replay@accounts*", "dpop-replay-race@accounts*",
		// …resource.web.authentication.BearerTokenAuthenticationFilter, DPoPAuthenticationConverter
		"dpop-as-bearer*@accounts*", "dpop-no-proof@accounts*", "dpop-two-proofs*@accounts*",
		// …oauth2.jwt.X509CertificateThumbprintValidator
		"mtls-bound-*@accounts*", "resource-jwt-*@accounts*",
	}
}
