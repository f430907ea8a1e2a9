package suites_test

import (
	"os"
	"testing"

	"github.com/popcheck/popcheck/fixtures/targets"
)

// TestAuthelia demands of Authelia what TestKeycloak demands of Keycloak. Its users log in by the program of the recipe, not by a browser,
// and consent is implicit, as in the run that these keys were taken from.
func TestAuthelia(t *testing.T) {
	if os.Getenv("POPCHECK_VENDORS") == "" {
		t.Skip("POPCHECK_VENDORS is not set")
	}
	unlessMissing(t, targets.Install(t.Context(), "authelia"))
	understood(t, startTarget(t, "authelia", "--login", "exec", "--consent", "implicit"), autheliaHolds())
}

// autheliaHolds are keys of results that may warn or be skipped, and must not fail. Each was looked up in the source of Authelia 4.37.5
// (github.com/authelia/authelia/v4) and of the library that it uses (github.com/ory/fosite v0.44.0).
func autheliaHolds() []string {
	return []string{
		// fosite, handler/pkce/handler.go: validate takes S256 alone; HandleTokenEndpointRequest takes 43 to 128 characters of the
		// grammar, compares, and refuses a code whose challenge is not found.
		"pkce-s256@*", "pkce-verifier-wrong@*", "pkce-verifier-last-character@*", "pkce-verifier-longer@*", "pkce-verifier-case@*", "pkce-verifier-cut@*",
		"pkce-verifier-hash@*", "pkce-verifier-missing@*", "pkce-verifier-misspelt@*", "pkce-verifier-in-query@*", "pkce-verifier-empty@*",
		"pkce-verifier-wrong-again@*", "pkce-verifier-missing-after-wrong@*", "pkce-verifier-of-*", "pkce-code-of-other-user@*", "pkce-challenge-as-verifier@*",
		"pkce-verifier-short@*", "pkce-verifier-one-character@*", "pkce-verifier-long@*", "pkce-verifier-plus-slash@*", "pkce-verifier-space@*",
		"pkce-verifier-padding@*", "pkce-verifier-non-ascii@*", "pkce-verifier-nul@*", "pkce-method-*", "pkce-challenge-missing*",
		// The same: Form.Get takes the first of several values everywhere, so these warn.
		"pkce-challenge-twice@*", "pkce-verifier-twice-*",
		// fosite, handler/oauth2/flow_authorize_code_token.go, and Authelia, internal/oidc/store.go: loadSessionBySignature tells a used code
		"code-replay@*", "code-of-other-client@*", "redirect-uri-omitted@*", "redirect-uri-of-other-place@*", "redirect-uri-*-at-token@*",
		// Authelia, internal/storage/sql_provider_queries.go: a session that was revoked by its request is not found any more
		"code-replay-revokes-access-token@*", "revoked-access-token@*", "revoked-grant-access-token@*", "introspection-revoked-token@*",
		// fosite, authorize_helper.go: MatchRedirectURIWithClientRedirectURIs compares strings
		"redirect-uri-other-*", "redirect-uri-subdomain@*", "redirect-uri-path-*", "redirect-uri-traversal@*", "redirect-uri-extra-query@*", "redirect-uri-http@*",
		"redirect-uri-trailing-slash@*", "redirect-uri-userinfo@*", "redirect-uri-backslash@*", "redirect-uri-encoded*", "redirect-uri-fragment@*",
		"redirect-uri-default-port@*", "redirect-uri-host-case@*", "redirect-uri-missing@*",
		// fosite, authorize_request_handler.go: the response types of the client, and no others
		"response-type-*", "implicit-token@*", "implicit-token-in-query@*", "hybrid-*",
		// fosite, access_request_handler.go: POST, and of it the body; no handler for the grant (internal/oidc/config.go), which warns
		"token-by-get@*", "token-parameters-in-query@*", "password-grant@*",
		// fosite, client_authentication.go: checkClientSecret
		"client-credential-missing@*", "client-secret-*", "refresh-credential-missing@*", "refresh-secret-wrong@*", "refresh-credential-of-other-client@*",
		// fosite, handler/oauth2/flow_refresh.go: the client is compared, and the scope is that of the grant, whatever is asked for, which warns
		"refresh-token-of-other-client@*", "refresh-scope-*",
		// Authelia, internal/oidc/hmac.go, and fosite, token/hmac/hmacsha.go: tokens have a signature, and are looked up by it in the table of their kind
		"refresh-token-altered@*", "refresh-token-cut@*", "refresh-with-*", "resource-altered-token@*", "resource-cut-token@*", "introspection-altered-token@*",
		"introspection-unknown-token@*", "introspection-code@*",
		// fosite, introspection_request_handler.go: Basic and a secret, or a token
		"introspection-credential-missing@*", "introspection-by-public-client@*", "introspection-secret-wrong@*",
		// Authelia, internal/handlers/handler_oidc_userinfo.go: an error is named whatever was sent, which warns
		"resource-no-token@*", "resource-empty-token@*", "resource-basic-credentials@*",
		// Authelia, internal/middlewares/authelia_context.go: RootURL knows no Forwarded, and no prefix but the configured one
		"metadata-forwarded@*", "metadata-forwarded-prefix@*",
		// Authelia, internal/oidc/discovery.go: plain is announced where it is switched on
		"metadata-pkce-methods@*", "metadata-pkce-plain@*",
		// Authelia, internal/server/handlers.go: CORS where the configuration names the endpoint
		"authorize-cors@*", "authorize-cors-registered-origin@*",
	}
}
