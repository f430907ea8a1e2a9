package attacks

import (
	"crypto/elliptic"
	"encoding/base64"
	"math/big"
	"net/url"
	"slices"
	"strings"

	"github.com/popcheck/popcheck/harness"
)

// Captured is a proof that the target has accepted, as an attacker sees it on its way.
type Captured struct {
	Compact string
	Claims  harness.Object
}

// Capture keeps an honest proof.
func (c *Captured) Capture(p *harness.Proof) {
	c.Claims = slices.Clone(p.Claims)
	p.Spell = func(input, signature string) string { c.Compact = input + "." + signature; return c.Compact }
}

// Again sends the proof with its claims changed, signed anew by its own key: nonce, iat and ath stay.
func (c *Captured) Again(what string, edit func(*harness.Object)) harness.ProofChange {
	return func(p *harness.Proof) {
		p.Claims = slices.Clone(c.Claims)
		edit(&p.Claims)
		p.Pin(what)
	}
}

// Rewritten are other spellings of the signature that verify as well; none of them needs the key. The second half of an ECDSA
// signature may be replaced by its negative, and the last bits of base64url may mean nothing.
func (c *Captured) Rewritten(alg string) []string {
	input, signature := c.Compact, ""
	if i := strings.LastIndexByte(input, '.'); i >= 0 {
		input, signature = input[:i+1], input[i+1:]
	}
	var out []string
	curve := map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}[alg]
	if raw, err := base64.RawURLEncoding.DecodeString(signature); err == nil && curve != nil {
		half := len(raw) / 2
		s := new(big.Int).Sub(curve.Params().N, new(big.Int).SetBytes(raw[half:]))
		out = append(out, input+base64.RawURLEncoding.EncodeToString(append(slices.Clone(raw[:half]), s.FillBytes(make([]byte, half))...)))
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	if end := len(signature) - 1; end > 0 && len(signature)%4 != 0 {
		if i := strings.IndexByte(alphabet, signature[end]); i >= 0 {
			out = append(out, input+signature[:end]+string(alphabet[i^1]))
		}
	}
	return out
}

// Respelling is another way to write the same htu (RFC 9449 §4.3 item 9, RFC 3986 §6.2.2).
type Respelling struct {
	Name string
	Edit func(u *url.URL)
}

// Respellings are the ways that servers know or have to ignore.
func Respellings() []Respelling {
	return []Respelling{
		{"query", func(u *url.URL) { u.RawQuery = "again" }},
		{"host in upper case", func(u *url.URL) { u.Host = strings.ToUpper(u.Host) }},
		{"default port", func(u *url.URL) {
			if u.Port() == "" {
				u.Host += map[string]string{"https": ":443", "http": ":80"}[u.Scheme]
			}
		}},
	}
}

// Respell writes an htu in another way; "" when that is the same.
func (r Respelling) Respell(htu any) string {
	s, _ := htu.(string)
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	if r.Edit(u); u.String() == s {
		return ""
	}
	return u.String()
}

// ReplayChecks are the replays of a proof in other forms and at other places.
type ReplayChecks struct{ Rewritten, SameJTI, Respelt, Elsewhere, OtherClient Check }

func (r ReplayChecks) all() []Check {
	return []Check{r.Rewritten, r.SameJTI, r.Respelt, r.Elsewhere, r.OtherClient}
}

// Replays returns them. Where a server takes the very bytes again, the other forms say nothing new.
func Replays() ReplayChecks {
	const remember = "remember jti in the context of the key and of the normalised URI of the endpoint, while a proof is fresh"
	return ReplayChecks{
		Rewritten: Check{ID: "dpop-replay-rewritten", Title: "recognises a captured proof whose signature is spelt otherwise", Clause: rfc9449("11.1", ""), Level: harness.Should, Severity: harness.Medium,
			Threat: harness.ProofReplay, Refusal: InvalidDPoPProof(), Why: "whoever captures a proof makes a new one of it, without the key", Fix: remember + "; not the bytes of the proof"},
		SameJTI: Check{ID: "dpop-replay-same-jti", Title: "accepts a jti once", Clause: rfc9449("11.1", ""), Level: harness.Hardening, Severity: harness.Low,
			Threat: harness.ProofReplay, Refusal: InvalidDPoPProof(), Covers: "DPOP-AS-15.2 DPOP-RS-14.2", Why: "replay is not recognised by the jti", Fix: remember},
		Respelt: Check{ID: "dpop-replay-respelt-htu", Title: "accepts a jti once, however htu is spelt", Clause: rfc9449("11.1", ""), Level: harness.Hardening, Severity: harness.Low,
			Threat: harness.ProofReplay, Refusal: InvalidDPoPProof(), Why: "replay is recognised by htu as it was written", Fix: remember},
		Elsewhere: Check{ID: "dpop-replay-elsewhere", Title: "refuses a proof that another endpoint accepted", Clause: rfc9449("4.3", "9"), Level: harness.Must, Severity: harness.Critical,
			Threat: harness.ProofReplay, Refusal: InvalidDPoPProof(), Covers: "DPOP-AS-12.8 DPOP-RS-11.3", Why: "whoever sees a proof at one endpoint can use it at another", Fix: "compare htu and htm with the request"},
		OtherClient: Check{ID: "dpop-jti-of-other-client", Title: "a jti is that of one client, or of all", Clause: rfc9449("11.1", ""), Level: harness.Hardening, Severity: harness.Info,
			Threat: harness.Interoperability, Refusal: InvalidDPoPProof(), Needs: "second-client", Covers: "DPOP-AS-15.4", Why: "both answers are legitimate: §11.1 leaves open whether jti are told apart by the key",
			Fix: remember},
	}
}
