package suites_test

import (
	"os"
	"testing"

	"github.com/popcheck/popcheck/fixtures/targets"
)

// TestKeycloak demands that everything that Keycloak does is understood, and that popcheck accuses none of the defences that were looked up
// in its source. It says nothing about the rest: whether another vendor's server has a flaw is not for this repository to tell.
// The archive is large: it runs where POPCHECK_VENDORS is set.
func TestKeycloak(t *testing.T) {
	if os.Getenv("POPCHECK_VENDORS") == "" {
		t.Skip("POPCHECK_VENDORS is not set")
	}
	unlessMissing(t, targets.Install(t.Context(), "keycloak"))
	understood(t, startTarget(t, "keycloak"), keycloakHolds())
}

// keycloakHolds are keys of results that may warn or be skipped, and must not fail.
func keycloakHolds() []string {
	return []string{
		// org.keycloak.protocol.oidc.utils.PkceUtils, …utils.OAuth2CodeParser
		"pkce-verifier-*", "pkce-challenge-as-verifier@*", "pkce-method-*@token/authorization_code/spa*", "pkce-challenge-missing@*",
		"code-of-*", "code-race@*", "code-redirect-*",
		// org.keycloak.protocol.oidc.utils.RedirectUtils
		"redirect-uri-*", "open-redirect-*",
		// org.keycloak.services.util.DPoPUtil
		"dpop-ath-*", "dpop-htm-*", "dpop-typ-*", "dpop-alg-*", "dpop-no-proof@*", "dpop-two-proofs@*", "dpop-replay@*", "dpop-replay-same-jti@*",
		"dpop-replay-race@*", "dpop-jkt-*", "dpop-cnf-jkt*", "dpop-refresh-*", "dpop-token-*", "dpop-kid-*",
		// org.keycloak.authentication.authenticators.client.JWTClientAuthenticator and ClientIdAndSecretAuthenticator
		"client-assertion-*", "client-secret-*", "client-credential-missing@*",
		// …X509ClientAuthenticator, org.keycloak.services.util.MtlsHoKTokenUtil, and Quarkus for the handshake
		"mtls-subject-*", "mtls-untrusted-*", "mtls-expired*", "mtls-not-*", "mtls-self-*", "mtls-no-*", "mtls-bound-*", "mtls-header-*",
		"mtls-second-ca@*", "mtls-cnf*", "mtls-certificate-of-other-client@*",
		// org.keycloak.protocol.oidc.TokenManager
		"refresh-token-*", "refresh-secret-wrong@*", "refresh-credential-*", "revoked-*", "resource-jwt-*", "resource-scope@*",
	}
}
