package attacks

import (
	"strings"
	"time"

	"github.com/popcheck/popcheck/harness"
)

// MintedAttack is an access token of popcheck's own issuer that no sound resource takes. Its signature is right: only the issuer can
// make it, so it can be tried only where popcheck is the issuer.
type MintedAttack struct {
	Check
	Changes []harness.MintChange // each of a token of its own
	Sender  Sender
	Where   func(t *harness.Target, r *harness.Resource) (why string) // why it does not apply to a resource, or ""; nil: it does
	Binding harness.Binding                                           // of the holder, and of what the row is about; "" for any
}

const ownIssuer = "token-issuer"

// MintedTokens are the attacks by what stands in a token that is signed as it should be (RFC 9068 §4, RFC 7519 §4.1, RFC 7800 §3).
func MintedTokens() []MintedAttack {
	row := func(id, title string, clause harness.Clause, level harness.Level, severity harness.Severity, threat harness.Threat, covers, why, fix string) Check {
		return Check{ID: id, Title: title, Clause: clause, Level: level, Severity: severity, Threat: threat, Refusal: invalidToken(), Needs: ownIssuer, Covers: covers, Why: why, Fix: fix}
	}
	set := func(claim string, value func(m *harness.Minted) any) harness.MintChange {
		return func(m *harness.Minted) { m.Claims.Set(claim, value(m)) }
	}
	in := func(d time.Duration) func(*harness.Minted) any {
		return func(*harness.Minted) any { return time.Now().Add(d).Unix() }
	}
	text := func(s string) func(*harness.Minted) any { return func(*harness.Minted) any { return s } }
	// A resource that was never told its own name cannot be held to it.
	named := func(t *harness.Target, r *harness.Resource) string {
		if t.NamesAudience(r) {
			return ""
		}
		return "declared: the target file says nothing of aud (token_issuer: claims, or resource)"
	}
	scoped := func(_ *harness.Target, r *harness.Resource) string {
		if r.Scope != "" {
			return ""
		}
		return "declared: the resource needs no scope"
	}
	scope := func(id, title, covers, fix string) Check {
		c := row(id, title, rfc6749("7"), harness.Must, harness.High, harness.TokenReplay, covers, "every client can do what only some were allowed to", fix)
		c.Refusal = harness.Refusal{Status: []int{403}, Errors: []string{"insufficient_scope"}, Where: []harness.Where{harness.InWWWAuthenticate, harness.InTLS}}
		return c
	}
	audience := func(c Check) Check {
		c.Refusal = harness.Refusal{Status: []int{401, 403}, Errors: []string{"invalid_token"}, Where: []harness.Where{harness.InWWWAuthenticate, harness.InTLS}}
		return c
	}
	thumbprint := func(m *harness.Minted) string { return m.Who.Key.Thumbprint() }
	certificate := func(m *harness.Minted) string { return m.Who.Cert.Thumbprint() }
	cnf := func(member string, value func(m *harness.Minted) any) harness.MintChange {
		return set("cnf", func(m *harness.Minted) any { return harness.Object{{Name: member, Value: value(m)}} })
	}
	// unreadable are values that are no thumbprint, though their issuer wanted a binding. None is null, which readers of JSON take for
	// a member that is not there. Nobody but the issuer makes such tokens, so that little is won.
	unreadable := func(member string, right func(*harness.Minted) string) []harness.MintChange {
		var out []harness.MintChange
		for _, value := range []func(*harness.Minted) any{
			text(""),
			func(*harness.Minted) any { return 0 },
			func(*harness.Minted) any { return []any{} },
			func(m *harness.Minted) any { return []string{right(m)} },
			func(m *harness.Minted) any { return harness.Object{{Name: "S256", Value: right(m)}} },
		} {
			out = append(out, cnf(member, value))
		}
		return append(out, set("cnf", func(m *harness.Minted) any { return right(m) }))
	}
	// RFC 9449 §7.1 leaves open which of the two does not fit.
	proven := func(c Check) Check {
		c.Refusal = harness.Refusal{Status: []int{401}, Errors: []string{"invalid_token", "invalid_dpop_proof"}, Where: []harness.Where{harness.InWWWAuthenticate, harness.InTLS}}
		return c
	}
	const compare = "compare the whole value with what the request proves"
	const broken = "a token that was meant to be bound works for whoever finds it"
	return []MintedAttack{
		{Check: row("minted-expired", "refuses a token that expired an hour ago", rfc9068("4"), harness.Must, harness.High, harness.TokenReplay, "TOKEN-RS-02.3",
			"a stolen token works for ever", "compare exp with the clock, with some seconds of leeway"),
			Changes: []harness.MintChange{func(m *harness.Minted) {
				m.Claims.Set("iat", time.Now().Add(-2*time.Hour).Unix())
				m.Claims.Set("exp", time.Now().Add(-time.Hour).Unix())
			}}},
		{Check: row("minted-no-expiry", "refuses a token that never expires", rfc9068("2.2"), harness.Hardening, harness.Low, harness.TokenReplay, "",
			"a token without an end is good for ever once it leaks", "demand exp"),
			Changes: []harness.MintChange{func(m *harness.Minted) { m.Claims.Drop("exp") }}},
		{Check: row("minted-not-yet-valid", "refuses a token that is valid only in an hour", rfc7519("4.1.5"), harness.Should, harness.Low, harness.TokenReplay, "",
			"a token that was made for later works now", "compare nbf with the clock, with some seconds of leeway"),
			Changes: []harness.MintChange{set("nbf", in(time.Hour))}},
		// The key is that of the issuer: what is won is a token of another issuer that shares it, as the tenants of one server do.
		{Check: row("minted-other-issuer", "refuses a token in the name of another issuer", rfc9068("4"), harness.Should, harness.Medium, harness.TokenReplay, "",
			"where tenants share keys, the users of one open the resources of another", "compare iss letter by letter with the issuer that is trusted"),
			Changes: []harness.MintChange{set("iss", text("https://other.popcheck.example"))}},
		{Check: audience(row("minted-other-audience", "refuses a token for another resource server", rfc9068("4"), harness.Must, harness.High, harness.TokenReplay, "TOKEN-RS-05.1",
			"one resource server can use the tokens that its callers bring at another", "compare aud with the resource's own name")), Where: named,
			Changes: []harness.MintChange{set("aud", text("https://other.popcheck.example")), set("aud", func(*harness.Minted) any {
				return []string{"https://other.popcheck.example", "https://third.popcheck.example"}
			})}},
		{Check: audience(row("minted-audience-of-issuer", "refuses a token that is for the authorization server", rfc9068("4"), harness.Must, harness.Medium, harness.TokenReplay, "TOKEN-RS-05.2",
			"tokens that clients got for UserInfo open the resource", "compare aud with the resource's own name, and nothing else")), Where: named,
			Changes: []harness.MintChange{set("aud", func(m *harness.Minted) any { return m.Tester.Target.Issuer })}},
		{Check: scope("minted-no-scope", "refuses a token without any scope", "TOKEN-RS-04.2", "look for the scope in the token; that there is none is no permission"), Where: scoped,
			Changes: []harness.MintChange{func(m *harness.Minted) { m.Claims.Drop("scope") }, set("scope", text(""))}},
		{Check: scope("minted-longer-scope", "refuses a token whose scope only begins like the needed one", "TOKEN-RS-04.3", "split scope at spaces and compare whole values"), Where: scoped,
			Changes: []harness.MintChange{set("scope", func(m *harness.Minted) any { return longer(m) })}},
		{Check: row("minted-other-type", "refuses another kind of token of the issuer", rfc9068("4"), harness.Hardening, harness.Medium, harness.TokenReplay, "",
			"whatever else the issuer signs works as an access token", "demand typ at+jwt"),
			Where: func(t *harness.Target, _ *harness.Resource) string {
				if typ, ok := t.TokenIssuer.Header["typ"]; ok && typ != "at+jwt" && typ != "application/at+jwt" {
					return "declared: the tokens of this issuer do not say that they are access tokens"
				}
				return ""
			},
			Changes: []harness.MintChange{func(m *harness.Minted) { m.Header.Set("typ", "logout+jwt") }}},

		{Check: proven(row("minted-cnf-other-key", "refuses a token that is bound to another key than that of the proof", rfc9449("7.1", ""), harness.Must, harness.Critical, harness.TokenReplay, "",
			"a stolen token works with the thief's own key", compare)), Binding: harness.DPoPBound,
			Changes: []harness.MintChange{cnf("jkt", func(m *harness.Minted) any { return m.Tester.ProofKey("attacker").Thumbprint() })}},
		{Check: proven(row("minted-cnf-cut-key", "refuses a token whose cnf.jkt is only the beginning of a thumbprint", rfc9449("6.1", ""), harness.Hardening, harness.Medium, harness.TokenReplay, "",
			"a comparison of beginnings lets other keys through", compare)), Binding: harness.DPoPBound,
			Changes: []harness.MintChange{cnf("jkt", func(m *harness.Minted) any { return thumbprint(m)[:4] })}},
		{Check: proven(row("minted-cnf-unreadable-key", "refuses a token whose cnf.jkt is no thumbprint, with anyone's proof", rfc9449("6.1", ""), harness.Hardening, harness.Medium, harness.Downgrade, "", broken, "refuse a token whose binding cannot be read")),
			Binding: harness.DPoPBound, Sender: Attacker, Changes: unreadable("jkt", thumbprint)},
		{Check: row("minted-cnf-other-certificate", "refuses a token that is bound to another certificate than that of the connection", rfc8705("3"), harness.Must, harness.Critical, harness.WrongCertificate, "",
			"a stolen token works with the thief's own certificate", compare), Binding: harness.CertificateBound,
			Changes: []harness.MintChange{cnf("x5t#S256", func(m *harness.Minted) any { return harness.AccessTokenHash("another certificate") })}},
		{Check: row("minted-cnf-cut-certificate", "refuses a token whose cnf.x5t#S256 is only the beginning of a hash", rfc8705("3.1"), harness.Hardening, harness.Medium, harness.WrongCertificate, "",
			"a comparison of beginnings lets other certificates through", compare), Binding: harness.CertificateBound,
			Changes: []harness.MintChange{cnf("x5t#S256", func(m *harness.Minted) any { return certificate(m)[:4] })}},
		{Check: row("minted-cnf-unreadable-certificate", "refuses a token whose cnf.x5t#S256 is no hash, without a certificate", rfc8705("3.1"), harness.Hardening, harness.Medium, harness.Downgrade, "", broken, "refuse a token whose binding cannot be read"),
			Binding: harness.CertificateBound, Sender: Finder, Changes: unreadable("x5t#S256", certificate)},
	}
}

// longer is a scope of which each value begins with one of the holder's.
func longer(m *harness.Minted) string {
	var all []string
	for _, value := range strings.Fields(m.Who.Client.Scope) {
		all = append(all, value+"-popcheck")
	}
	return strings.Join(all, " ")
}
