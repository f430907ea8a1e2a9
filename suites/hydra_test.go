package suites_test

import (
	"os"
	"testing"

	"github.com/popcheck/popcheck/fixtures/targets"
)

// TestHydra demands of Ory Hydra what TestKeycloak demands of Keycloak. It is built from source, which takes minutes.
func TestHydra(t *testing.T) {
	if os.Getenv("POPCHECK_VENDORS") == "" {
		t.Skip("POPCHECK_VENDORS is not set")
	}
	unlessMissing(t, targets.Install(t.Context(), "hydra"))
	understood(t, startTarget(t, "hydra"), hydraHolds())
}

// hydraHolds are keys of results that may warn or be skipped, and must not fail.
func hydraHolds() []string {
	return []string{
		// github.com/ory/fosite v0.49.0, handler/pkce/handler.go
		"pkce-s256@*", "pkce-verifier-wrong@*", "pkce-verifier-missing@*", "pkce-challenge-twice@*",
		// handler/oauth2/flow_refresh.go
		"refresh-scope-wider@*",
		// client_authentication.go
		"client-assertion-expired@*", "client-assertion-replayed@*",
		// handler/oauth2/revocation.go
		"revocation-by-other-client@*",
	}
}
