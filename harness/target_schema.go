package harness

import (
	_ "embed"
	"maps"
	"slices"
	"strings"
)

//go:embed target.schema.json
var targetSchema string // a string, because no caller can change it

// TargetSchema returns the JSON Schema (2020-12) of the target file. It says what one value must look
// like; LoadTarget also checks what lies between values: credentials against methods, keys against
// certificates, hosts against the permission to attack them.
func TargetSchema() []byte { return []byte(targetSchema) }

// The grant types that popcheck can run (RFC 7591 §2).
const (
	grantCode        = "authorization_code"
	grantRefresh     = "refresh_token"
	grantCredentials = "client_credentials"
	grantJWTBearer   = "urn:ietf:params:oauth:grant-type:jwt-bearer"
)

// The client authentication methods (RFC 7591 §2, RFC 8705 §2).
const (
	methodNone       = "none"
	methodBasic      = "client_secret_basic"
	methodPost       = "client_secret_post"
	methodSecretJWT  = "client_secret_jwt"
	methodPrivateKey = "private_key_jwt"
	methodTLS        = "tls_client_auth"
	methodSelfSigned = "self_signed_tls_client_auth"
)

// Defaults of the target file; those of RFC 7591 §2 apply to clients.
const (
	defaultProfile = "bcp"
	defaultDriver  = "form"
	defaultMethod  = "GET"
	defaultStatus  = 200
)

func targetKeys() []string {
	return append([]string{"name", "issuer", "metadata", "authorized", "hosts", "profile", "tls", "request", "clients", "users",
		"login", "introspection_client", "client_ca", "second_client_ca", "certificate_header", "assertion_issuer", "registration", "token_issuer", "tokens", "resources",
		"limits", "waivers", "capabilities"}, productKeys()...)
}

func clientKeys() []string {
	return append([]string{"client_id", "token_endpoint_auth_method", "client_secret", "private_key", "certificate",
		"redirect_uris", "grant_types", "scope", "authorization_parameters", "token_parameters",
		"dpop_bound_access_tokens", "tls_client_certificate_bound_access_tokens",
		"require_pushed_authorization_requests", "name", "register"}, subjectKeys()...)
}

// subjectKeys are the ways to name the subject of a client certificate (RFC 8705 §2.1.2).
func subjectKeys() []string {
	return []string{"tls_client_auth_subject_dn", "tls_client_auth_san_dns", "tls_client_auth_san_uri",
		"tls_client_auth_san_ip", "tls_client_auth_san_email"}
}

func profiles() []string { return []string{"rfc", "bcp", "oauth21", "fapi2"} }

func loginDrivers() []string { return []string{"form", "exec", "browser", "manual"} }

func grantTypes() []string {
	return []string{grantCode, grantRefresh, grantCredentials, grantJWTBearer}
}

func authMethods() []string {
	return []string{methodNone, methodBasic, methodPost, methodSecretJWT, methodPrivateKey, methodTLS, methodSelfSigned}
}

// reservedAuthorization are the parameters of an authorization request that popcheck sets itself. A
// fixed value would be a second difference between an attack and its control.
func reservedAuthorization() []string {
	return []string{"response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge",
		"code_challenge_method", "dpop_jkt", "request", "request_uri"}
}

// reservedToken is the same for the token request.
func reservedToken() []string {
	return []string{"grant_type", "code", "redirect_uri", "client_id", "client_secret", "code_verifier", "refresh_token",
		"scope", "assertion", "client_assertion", "client_assertion_type"}
}

// refusedHeader says why a header (in lower case) may not be set for every request; "" if it may.
func refusedHeader(name string) string {
	switch name {
	case "host":
		return "it decides which server answers; use request.resolve to choose an address"
	case "authorization":
		return "checks put client credentials and access tokens there"
	case "dpop":
		return "checks put proofs there"
	case "cookie":
		return "each session keeps its own cookies"
	case "content-length", "transfer-encoding", "connection":
		return "it follows from the request"
	case "content-type":
		return "it follows from the body"
	case "user-agent":
		return "it names the check in the server's log"
	case "proxy-authorization":
		return "write the credentials into request.proxy, as http://user:password@host:port"
	}
	return ""
}

// The kinds of value of a registered metadata member.
const (
	metadataText    = "text"
	metadataURL     = "url"
	metadataPage    = "page" // a URL for people, never fetched
	metadataList    = "list"
	metadataFlag    = "flag"
	metadataAliases = "aliases"
)

// metadataKind says what a metadata member holds: the registered ones of RFC 8414, OpenID Connect
// Discovery 1.0, RFC 8705, RFC 9126, RFC 9207 and RFC 9449; any other *_endpoint is a URL. "" for the
// rest: the registry is open.
func metadataKind(name string) string {
	switch name {
	case "issuer", "signed_metadata":
		return metadataText
	case "jwks_uri":
		return metadataURL
	case "service_documentation", "op_policy_uri", "op_tos_uri":
		return metadataPage
	case "mtls_endpoint_aliases":
		return metadataAliases
	case "scopes_supported", "response_types_supported", "response_modes_supported", "grant_types_supported",
		"token_endpoint_auth_methods_supported", "token_endpoint_auth_signing_alg_values_supported",
		"revocation_endpoint_auth_methods_supported", "revocation_endpoint_auth_signing_alg_values_supported",
		"introspection_endpoint_auth_methods_supported", "introspection_endpoint_auth_signing_alg_values_supported",
		"ui_locales_supported", "code_challenge_methods_supported", "dpop_signing_alg_values_supported",
		"subject_types_supported", "id_token_signing_alg_values_supported", "acr_values_supported", "claims_supported":
		return metadataList
	case "tls_client_certificate_bound_access_tokens", "require_pushed_authorization_requests",
		"authorization_response_iss_parameter_supported", "request_parameter_supported",
		"request_uri_parameter_supported", "require_request_uri_registration", "claims_parameter_supported":
		return metadataFlag
	}
	if strings.HasSuffix(name, "_endpoint") {
		return metadataURL
	}
	return ""
}

// KnownCapabilities returns the names that `capabilities` of a target file may set, sorted. A
// capability is something that a server does or that the tester has; a check needs some of them.
func KnownCapabilities() []string { return slices.Sorted(maps.Keys(capabilityMeanings())) }

// capabilityMeanings says of each capability what it is.
func capabilityMeanings() map[string]string {
	return map[string]string{
		"as-metadata":          "serves authorization server metadata",
		"bearer":               "also issues or accepts unbound bearer tokens",
		"browser":              "a script can drive its login and consent pages",
		"cert-header":          "TLS ends before the application, which takes the client certificate from a header",
		"client-credentials":   "client credentials grant for at least one client",
		"client-secret":        "a client with a shared secret",
		"code":                 "authorization code grant, with a login that can be completed",
		"confidential-client":  "a confidential client",
		"dcr":                  "dynamic client registration (RFC 7591)",
		"dcr-manage":           "client configuration endpoint (RFC 7592)",
		"dpop":                 "issues DPoP-bound access tokens",
		"dpop-bound-client":    "a client registered with dpop_bound_access_tokens",
		"dpop-jkt":             "honours dpop_jkt at the authorization endpoint",
		"dpop-rs":              "the resource server takes the DPoP scheme",
		"fapi2":                "claims the FAPI 2.0 Security Profile",
		"initial-access-token": "registration needs an initial access token, and the tester has one",
		"introspection":        "introspection endpoint, with a credential for the tester",
		"iss":                  "sends iss in authorization responses (RFC 9207)",
		"jwt-at":               "access tokens are JWTs that the tester can decode",
		"jwt-bearer":           "JWT bearer grant; the tester holds the key of a trusted issuer",
		"loopback-client":      "a native client with a loopback redirect URI",
		"mtls-bound":           "issues certificate-bound access tokens",
		"mtls-pki":             "tls_client_auth, with a client's certificate for the tester",
		"mtls-rs":              "the resource server checks certificate-bound tokens",
		"mtls-self-signed":     "self_signed_tls_client_auth",
		"nonce-as":             "the authorization server demands DPoP nonces",
		"nonce-rs":             "the resource server demands DPoP nonces",
		"par":                  "pushed authorization requests (RFC 9126)",
		"par-required":         "takes pushed authorization requests only",
		"pkce":                 "supports PKCE",
		"pkce-optional":        "at least one client gets codes without a challenge",
		"plain":                "the plain challenge method is enabled",
		"private-key-jwt":      "a client with private_key_jwt",
		"public-client":        "a public client",
		"refresh":              "issues refresh tokens",
		"revocation":           "revocation endpoint",
		"rotation":             "rotates refresh tokens",
		"rs":                   "a protected resource can be reached",
		"san-dns":              "a client registered by tls_client_auth_san_dns",
		"san-email":            "a client registered by tls_client_auth_san_email",
		"san-ip":               "a client registered by tls_client_auth_san_ip",
		"san-uri":              "a client registered by tls_client_auth_san_uri",
		"scopes":               "two scopes of different power",
		"second-client":        "a second, independent client",
		"second-rs":            "a second resource server with its own audience",
		"second-trusted-ca":    "a second CA that the server trusts and the tester can use",
		"second-user":          "a second user",
		"slow":                 "waiting for minutes is allowed",
		"ssa":                  "the tester holds the key of a trusted issuer of software statements",
		"ssa-required":         "registration demands a software statement",
		"token-issuer":         "popcheck issues the access tokens itself (token_issuer)",
		"trusted-ca":           "the tester can issue from a CA that the server trusts for clients",
	}
}
