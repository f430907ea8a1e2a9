package suites_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/popcheck/popcheck/fixtures/targets"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
	"github.com/popcheck/popcheck/suites"
)

// unlessMissing ends the test with an error; where a part of a recipe is missing on a user's machine, the test is skipped.
func unlessMissing(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, targets.ErrMissing) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// startTarget starts a recipe, which has to be installed, and loads its target file; the server ends with the test.
func startTarget(t *testing.T, name string, options ...string) *harness.Target {
	t.Helper()
	server, err := targets.Start(t.Context(), name, t.TempDir(), options...)
	unlessMissing(t, err)
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	target, err := harness.LoadTarget(server.TargetFile)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// confirmed are the results on oidc-provider that are no pass, each looked up in its source, by the option of the recipe that they come
// with ("" is every run). Nothing else may appear, and each pattern must be met in every run with its option.
var confirmed = map[string]map[harness.Verdict][]string{
	"": {
		harness.Fail: {
			// The recipe's /accounts: oauth4webapi keeps no jti, and takes an empty one. So do the checks of accounts.mjs for opaque tokens.
			"dpop-replay@accounts/*", "dpop-jti-empty@accounts/*",
			// Node drops a second Authorization field (node:http, message.headers), and koa shows the library the first.
			"resource-two-tokens@userinfo/*",
			// The addresses of the endpoints are built from the request (lib/helpers/oidc_context.js, urlFor); the issuer is not.
			"metadata-host@metadata",
			// So is the htu that a proof is compared with (lib/helpers/validate_dpop.js, line 125).
			"dpop-htu-host-header@token/*", "dpop-htu-host-header@userinfo/*",
			// htu is compared as the URL class of WHATWG spells it, which leaves %6E as it is (the same file, line 126; so does oauth4webapi).
			"dpop-htu-percent@*", "dpop-htu-percent-lower-case@*",
		},
		harness.Warn: {
			// A replay is answered with invalid_grant, invalid_request or invalid_token (lib/helpers/validate_dpop.js).
			"dpop-replay@par/*", "dpop-replay@token/*", "dpop-replay@userinfo/*",
			"dpop-replay-rewritten@par/*", "dpop-replay-rewritten@token/*", "dpop-replay-rewritten@userinfo/*",
			"dpop-replay-same-jti@par/*", "dpop-replay-same-jti@token/*", "dpop-replay-same-jti@userinfo/*",
			"dpop-replay-respelt-htu@par/*", "dpop-replay-respelt-htu@token/*", "dpop-replay-respelt-htu@userinfo/*",
			// UserInfo answers 400 invalid_request to the DPoP scheme without a proof (lib/helpers/oidc_context.js).
			"dpop-no-proof@userinfo/*",
			// The same file, and the recipe's accounts.mjs: a scheme that is neither Bearer nor DPoP is answered with 400.
			// A token for UserInfo is no token of /accounts and the other way round, whatever its scope: the answer is invalid_token
			// (accounts.mjs, lib/actions/userinfo.js).
			"resource-scope@*",
			// A grant that the client is not registered for is invalid_request, not unauthorized_client (lib/actions/token.js).
			"client-credentials-public@token/*",
			// Who may not ask about a token is told active=false (lib/helpers/defaults.js, introspectionAllowedPolicy).
			"introspection-by-public-client@introspect/*",
			// Who may not revoke a token is told 200 (lib/actions/revocation.js, allowedPolicy).
			"revocation-by-other-client@revoke/*",
		},
		harness.Skip: {
			// Where the very same proof is accepted again, its variants show nothing.
			"dpop-replay-rewritten@accounts/*", "dpop-replay-same-jti@accounts/*", "dpop-replay-respelt-htu@accounts/*",
			"dpop-htu-default-port@*", // the addresses name ports
			// The recipe lists ES256 and EdDSA for proofs.
			"dpop-jwk-private-rsa@*", "dpop-rsa-exponent-one@*", "dpop-cnf-jkt-rsa@*",
			"dpop-nonce-*@accounts/*",          // oauth4webapi asks for no nonces
			"dpop-nonce-of-other-server@token", // only the AS demands nonces, if any does
			// Bound refresh tokens rotate only after most of their lifetime (lib/helpers/defaults.js, rotateRefreshToken).
			"dpop-refresh-again-*@*", "mtls-refresh-again-*@*",
			// Nor do those of confidential clients (the same function): a race for them shows nothing.
			"refresh-race-protected@*",
			"dpop-replay-race@accounts/*",                                                                   // where the very same proof is accepted again, a race shows nothing
			"code-lifetime@*", "par-request-uri-lifetime@*", "dpop-replay-later@*", "dpop-nonce-lifetime@*", // without --slow
			// The recipe has no client with other grants, pushed requests only or a second CA; its client with private_key_jwt gets no codes.
			"par-client-assertion-aud-other@*", "refresh-assertion-wrong@*",
			"jwt-bearer-*@*", "par-required-*@*", "mtls-second-ca@*", "resource-audience@resource",
			"code-old@*", "token-expired@*", "par-request-uri-old@*", // without --slow
			"mtls-san-ip-text@*",     // no client with an IPv6 address
			"mtls-name-constraint@*", // the recipe's CA may have no CA under it (pki.mjs: the path length of its basic constraints is 0)
			// A token is bound to a key or to a certificate, never to both (lib/models/token_helpers.js).
			"mtls-both-bindings-*@*", "mtls-alias-htu@*",
			"fapi-*@*",                                                             // asked for by another profile
			"minted-*@resource", "registration-*@register", "statement-*@register", // the recipe has an issuer, and no registration
			// Nor a native app, one with addresses of its own, or a second one that redeems codes and authenticates by header or assertion.
			"redirect-uri-loopback-*@authorize", "redirect-uri-of-other-client@authorize", "code-of-named-client@*",
			"mtls-resumed-elsewhere@*",      // each listener seals its tickets with a key of its own (Node, lib/_tls_wrap.js: Server)
			"introspection-changed-claim@*", // what is introspected is opaque
			"resource-jwt-*@userinfo/*",     // UserInfo takes opaque tokens only
		},
	},
	"--pkce required": {
		harness.Skip: {"pkce-verifier-unasked@*", "pkce-challenge-empty@*", "pkce-method-without-challenge@*", "pkce-challenge-only-beside-request-uri@*"}, // every client must use PKCE
	},
	"--nonces required": {
		harness.Skip: {"dpop-nonce-old@*"}, // without --slow
	},
	"--nonces off": {
		harness.Skip: {"dpop-nonce-*@token*", "dpop-nonce-*@par/*", "dpop-nonce-*@userinfo/*"}, // without a secret the library has no nonces
	},
	"--tokens jwt": {
		harness.Fail: {
			// JWT access tokens cannot be revoked (lib/shared/reject_structured_tokens.js); /accounts checks them by themselves.
			"code-replay-revokes-access-token@token/authorization_code/*", "refresh-replay-revokes-access-token@*",
		},
		harness.Skip: {
			"dpop-introspection-cnf@*", "dpop-introspection-plain@*", "mtls-introspection-cnf@*", "mtls-introspection-unbound@*", // JWT access tokens are not introspected (the same file)
			"revoked-access-token@*", "resource-revoked-token@accounts/*", "revoked-grant-access-token@*", // and not revoked
		},
	},
	"--tokens opaque": {
		harness.Skip: {
			// What a token is bound to stands in none that can be read.
			"dpop-cnf-jkt@token", "dpop-cnf-jkt-required-members@token", "dpop-refresh-follows-key@token/*",
			"dpop-cnf-jkt-okp@*", "dpop-cnf-jkt-order@*", "dpop-refresh-unproven-key@*",
			"mtls-cnf@token/*", "mtls-cnf-of-certificate@token/*", "mtls-cnf-of-leaf@token/*",
			// Nothing in it can be changed either.
			"resource-id-token@*", "resource-jwt-*@accounts/*",
		},
	},
}

// arrangements are the options that the sound server is started with, beside the recipe's defaults; those of every broken copy are among them.
func arrangements() []string {
	return []string{"", "--nonces off", "--pkce optional", "--pkce optional --nonces off", "--tokens opaque"}
}

// inForce are the options of an arrangement with the recipe's defaults.
func inForce(options string) string {
	for _, standard := range []string{"--pkce required", "--nonces required", "--tokens jwt"} {
		if name, _, _ := strings.Cut(standard, " "); !strings.Contains(options, name) {
			options += " " + standard
		}
	}
	return options
}

// TestOIDCProviderWorker runs a part of the servers in a process of its own: Ginkgo's tree is global to a process.
func TestOIDCProviderWorker(t *testing.T) {
	work(t, func(t *testing.T, start, selection string) (judged, error) {
		evidence := expect.VerdictsOnly
		if selection == "" {
			evidence = expect.KeepEvidence
		}
		return judge(suites.Options{Target: startTarget(t, "oidc-provider", strings.Fields(start)...), Evidence: evidence}, selection)
	})
}

// TestOIDCProvider runs everything against the sound server in each arrangement, and against its broken copies what their lines name.
func TestOIDCProvider(t *testing.T) {
	starts, selections := arrangements(), map[string]string{}
	copies, want := brokenCopies(t), expected(t, "broken.txt")
	var ids []string
	for _, b := range copies {
		if ids = append(ids, b.id); want[b.id] == nil {
			t.Errorf("testdata/broken.txt has no line for %s", b.id)
		}
	}
	for id := range want {
		if !slices.Contains(ids, id) {
			t.Errorf("testdata/broken.txt has a line for %s, which the recipe does not know", id)
		}
	}
	ids = sample(ids, 8)
	copies = slices.DeleteFunc(copies, func(b broken) bool { return !slices.Contains(ids, b.id) })
	for _, b := range copies {
		starts = append(starts, b.start())
		selections[b.start()] = neighboursOf(b.id, want[b.id])
	}
	got := killAll(t, "TestOIDCProviderWorker", starts, selections)
	for _, options := range arrangements() {
		t.Run("sound "+options, func(t *testing.T) { soundOIDCProvider(t, inForce(options), got[options]) })
	}
	t.Run("broken", func(t *testing.T) { brokenOIDCProvider(t, copies, want, selections, got) })
}

// soundOIDCProvider demands that what is no pass was confirmed.
func soundOIDCProvider(t *testing.T, arrangement string, got judged) {
	met := map[string]bool{}
	for option, verdicts := range confirmed {
		if strings.Contains(arrangement, option) {
			for verdict, patterns := range verdicts {
				for _, pattern := range patterns {
					met[string(verdict)+" "+pattern] = false
				}
			}
		}
	}
	counts := map[harness.Verdict]int{}
	for key, v := range got.Verdicts {
		counts[v]++
		if v == harness.Pass {
			if !got.Controlled[key] {
				t.Errorf("%s passed without a control", key)
			}
			continue
		}
		listed := false
		for line := range met {
			if verdict, pattern, _ := strings.Cut(line, " "); verdict == string(v) && glob(pattern, key) {
				met[line], listed = true, true
			}
		}
		if !listed {
			t.Errorf("%s %s: %s", v, key, got.Reasons[key])
		}
	}
	for line, once := range met {
		if !once {
			t.Errorf("confirmed lists %s, and no result is that", line)
		}
	}
	t.Logf("%d results: %v", len(got.Verdicts), counts)
	if got.Exit != 0 {
		t.Errorf("exit code %d; problems: %q", got.Exit, got.Problems)
	}
}

// glob matches * against anything, slashes included.
func glob(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	for i, part := range parts[1:] {
		if i == len(parts)-2 {
			return strings.HasSuffix(s, part)
		}
		at := strings.Index(s, part)
		if at < 0 {
			return false
		}
		s = s[at+len(part):]
	}
	return s == ""
}
