package suites_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/popcheck/popcheck/fixtures/targets"
	"github.com/popcheck/popcheck/harness"
)

// TestKeycloak demands that everything that Keycloak does is understood, and that popcheck accuses none of the defences that were looked up
// in its source. It says nothing about the rest: whether another vendor's server has a flaw is not for this repository to tell.
// The archive is large: it runs where POPCHECK_VENDORS is set.
func TestKeycloak(t *testing.T) {
	if os.Getenv("POPCHECK_VENDORS") == "" {
		t.Skip("POPCHECK_VENDORS is not set")
	}
	unlessMissing(t, targets.Install(t.Context(), "keycloak"))
	target := startTarget(t, "keycloak")
	before := keycloakClients(t, target)
	understood(t, target, keycloakHolds())
	if after := keycloakClients(t, target); !slices.Equal(before, after) {
		t.Errorf("clients before the run: %q, and after it: %q", before, after)
	}
}

// keycloakClients are those that Keycloak's own administration knows, whoever registered them.
func keycloakClients(t *testing.T, target *harness.Target) []string {
	t.Helper()
	dir := filepath.Dir(target.Path)
	secret, err := os.ReadFile(filepath.Join(dir, "admin.secret"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "files", "server-ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(ca)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}, Timeout: time.Minute}
	base := strings.TrimSuffix(target.Issuer, "/realms/pop")
	read := func(r *http.Request, into any) {
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if err := json.NewDecoder(answer.Body).Decode(into); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: HTTP %d, %v", r.URL, answer.StatusCode, err)
		}
	}
	asked, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/realms/master/protocol/openid-connect/token", strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		t.Fatal(err)
	}
	asked.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	asked.SetBasicAuth("recipe", url.QueryEscape(strings.TrimSpace(string(secret))))
	var token struct {
		AccessToken string `json:"access_token"`
	}
	read(asked, &token)
	if asked, err = http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/admin/realms/pop/clients?max=10000", nil); err != nil {
		t.Fatal(err)
	}
	asked.Header.Set("Authorization", "Bearer "+token.AccessToken)
	var clients []struct {
		ID string `json:"clientId"`
	}
	read(asked, &clients)
	var ids []string
	for _, c := range clients {
		ids = append(ids, c.ID)
	}
	slices.Sort(ids)
	return ids
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
		// org.keycloak.services.clientregistration: ClientRegistrationAuth, ClientRegistrationTokenUtils, …oidc.DescriptionConverter
		"registration-no-token@*", "registration-unknown-token@*", "registration-token-*", "registration-removal-by-other@*", "registration-removed*",
		"registration-taken-id@*", "registration-twice@*", "registration-chosen-secret@*", "registration-dpop-bound@*", "registration-no-subject@*",
		// …protocol.oidc.grants.ClientCredentialsGrantType
		"registration-public-machine@*",
		// org.keycloak.protocol.oidc.TokenManager
		"refresh-token-*", "refresh-secret-wrong@*", "refresh-credential-*", "revoked-*", "resource-jwt-*", "resource-scope@*",
	}
}
