package harness

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Proof is a DPoP proof before it is spelt (RFC 9449 §4.2); the jwk of its header is the public part of its key.
type Proof struct {
	signedJWT
	Fields func(compact string) []Field // instead of one DPoP header field
	Facts  ProofFacts                   // what a change may draw on
}

// ProofFacts is what an attacker has at hand when a proof is changed.
type ProofFacts struct {
	Tester    *Tester
	Method    string
	URL       string
	Elsewhere string // another endpoint of the target that also takes proofs
	Token     string // the access token of the request; "" at the AS
	Attacker  *Key
	// Another makes one more honest proof for the same request.
	Another func() string
}

// ProofChange is the one defect of an attack.
type ProofChange func(*Proof)

// Send adds header fields to the request beside the proof; its record names them.
func (p *Proof) Send(more []Field) {
	p.Fields = func(compact string) []Field { return append([]Field{{"DPoP", compact}}, more...) }
}

// honestProof is a proof as RFC 9449 §4.2 wants it.
func (tr *Trace) honestProof(key *Key, method, target, token, nonce string) *Proof {
	p := &Proof{signedJWT: signedJWT{
		Key:    key,
		Header: Object{{"typ", "dpop+jwt"}, {"alg", key.Alg}, {"jwk", key.PublicJWK()}},
		Claims: Object{{"jti", Random(16)}, {"htm", method}, {"htu", withoutQuery(target)}, {"iat", time.Now().Unix()}},
	}}
	if token != "" {
		p.Claims.Set("ath", AccessTokenHash(token))
	}
	if nonce != "" {
		p.Claims.Set("nonce", nonce)
	}
	return p
}

// AccessTokenHash is the ath of a token: base64url of the SHA-256 of its ASCII (RFC 9449 §4.2).
func AccessTokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func withoutQuery(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = "", false, "", ""
	return u.String()
}

// proofTries is how often a request with a proof is built: once more after a nonce challenge (RFC 9449 §8).
const proofTries = 2

// proven sends a request with a proof. build gets the proof's header fields and makes the whole request anew for each try,
// so that an assertion in it is fresh too. A challenge for a nonce is answered with the same changed proof, unless the
// nonce or the very bytes are the attack; a second challenge stays as it is, and is judged inconclusive.
func (tr *Trace) proven(key *Key, method, target, token string, change ProofChange, build func([]Field) (*Request, error)) (*Answer, error) {
	if key == nil {
		r, err := build(nil)
		if err != nil {
			return nil, err
		}
		return tr.Do(*r), nil
	}
	server := originOf(target)
	nonce, oddly := tr.nonces.get(server), false
	for try := 1; ; try++ {
		honest := tr.honestProof(key, method, target, token, nonce)
		sent := &Proof{signedJWT: honest.clone()}
		sent.Facts = tr.proofFacts(key, method, target, token, nonce)
		if change != nil {
			change(sent)
		}
		compact, err := sent.compact()
		if err != nil {
			return nil, err
		}
		fields := []Field{{"DPoP", compact}}
		if sent.Fields != nil {
			fields = sent.Fields(compact)
		}
		tr.registerProofs(fields)
		r, err := build(fields)
		if err != nil {
			return nil, err
		}
		shown, changed := sent.evidence(honest.signedJWT, "DPoP proof", "DPoP")
		if len(fields) > 0 && len(shown.Header) > 0 {
			r.Decoded = append(r.Decoded, shown)
		}
		r.Changed = append(r.Changed, changed...)
		answer := tr.Do(*r)
		tr.nonces.keep(target, answer)
		if oddly && change == nil && answer.OK() && answer.Status < 300 {
			tr.nonces.helped(server)
		}
		challenged := nonceChallenge(answer)
		if oddly = false; !challenged && mayMeanNonce(answer) && answer.Header.Get("DPoP-Nonce") != nonce {
			// Some servers say invalid_dpop_proof next to a new DPoP-Nonce. An honest proof takes that as a challenge; an attack
			// only where an honest one was helped by it: else it is how this server refuses.
			oddly = true
			challenged = change == nil || tr.nonces.means(server)
		}
		if change == nil && tr.Learned != nil && nonceChallenge(answer) && nonce == "" {
			tr.Learned.challenge(target)
		}
		if sent.touchesNonce(r.Changed) || !challenged || tr.held != nil { // a second try would come after the race
			return answer, nil
		}
		if try == proofTries {
			if nonceChallenge(answer) {
				answer.Failure = &Failure{NonceLoop, "a nonce was asked for again although the proof carried the one just given"}
			}
			return answer, nil
		}
		// The nonce of this very answer: another request may have used the one that is kept, and nonces may work once.
		if given := answer.Header.Get("DPoP-Nonce"); given != "" {
			nonce = given
		}
	}
}

// touchesNonce reports whether the nonce, or the very bytes, are the attack: such a proof is not made anew.
func (p *Proof) touchesNonce(changed []string) bool {
	return slices.Contains(changed, "DPoP nonce") || p.verbatim != "" || p.pinned
}

// elsewhere is another address at which proofs are used; where the target has no second one, an address beside the one that it has.
func (t *Tester) elsewhere(target string) string {
	others := []string{t.Metadata.String("token_endpoint")}
	for _, r := range t.Target.Resources {
		others = append(others, r.URL)
	}
	for _, other := range append(others, t.Metadata.String("userinfo_endpoint")) {
		if other != "" && !strings.EqualFold(placeOf(other), placeOf(target)) {
			return other
		}
	}
	return originOf(target) + strings.TrimSuffix(pathOf(target), "/") + "/popcheck"
}

func (tr *Trace) proofFacts(key *Key, method, target, token, nonce string) ProofFacts {
	return ProofFacts{
		Tester: tr.Tester, Method: method, URL: target, Elsewhere: tr.elsewhere(target), Token: token, Attacker: tr.ProofKey("attacker"),
		Another: func() string {
			p := tr.honestProof(key, method, target, token, nonce)
			compact, err := p.compact()
			if err != nil {
				return ""
			}
			tr.Redactor.Register("proof", compact)
			return compact
		},
	}
}

func (tr *Trace) registerProofs(fields []Field) {
	for _, f := range fields {
		if strings.EqualFold(f.Name, "DPoP") {
			for _, one := range strings.FieldsFunc(f.Value, func(c rune) bool { return c == ',' || c == ' ' }) {
				tr.Redactor.Register("proof", one)
			}
		}
	}
}

// nonceChallenge reports whether an answer asks for a nonce (RFC 9449 §8 at the AS, §9 at the RS).
func nonceChallenge(a *Answer) bool {
	if !a.OK() || a.Status < 400 {
		return false
	}
	inBody, _ := errorOf(a)
	inChallenge, _ := resourceErrorOf(a)
	return inBody == "use_dpop_nonce" || inChallenge == "use_dpop_nonce"
}

// mayMeanNonce reports whether a refusal that brings a nonce may be about the nonce, though it does not say so. A server may send
// DPoP-Nonce with every answer (RFC 9449 §8.2): what is said to be wrong with the grant, the client or the scope is not the nonce.
func mayMeanNonce(a *Answer) bool {
	if !a.OK() || a.Status < 400 || a.Status >= 500 || a.Status == http.StatusTooManyRequests || a.Header.Get("DPoP-Nonce") == "" {
		return false
	}
	inBody, _ := errorOf(a)
	inChallenge, _ := resourceErrorOf(a)
	return !slices.ContainsFunc([]string{inBody, inChallenge}, func(code string) bool {
		switch code {
		case "invalid_grant", "invalid_client", "invalid_scope", "invalid_target", "unauthorized_client", "unsupported_grant_type", "insufficient_scope":
			return true
		}
		return false
	})
}

func originOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	return strings.ToLower(u.Scheme + "://" + u.Host)
}

func pathOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	return u.EscapedPath()
}

// formMethod is the method of a request that carries a form.
const formMethod = http.MethodPost

// Resign makes the proof with a new key of another algorithm; bits counts for RSA.
func (p *Proof) Resign(alg string, bits int) {
	key, err := p.Facts.Tester.MakeKey(alg+" key", alg, bits)
	if err != nil {
		return
	}
	p.Key = key
	p.Header.Set("alg", alg)
	p.Header.Set("jwk", key.PublicJWK())
}

// HMAC256 is the MAC of HS256.
func HMAC256(key []byte, input string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(input))
	return mac.Sum(nil)
}

// NonceOf is the latest nonce of the server at an address.
func (t *Tester) NonceOf(address string) string { return t.nonces.get(originOf(address)) }

// OffersNonce reports whether an address has handed out a nonce, asked for or not.
func (t *Tester) OffersNonce(address string) bool { return t.nonces.gave(placeOf(address)) }

// OneServer reports whether two addresses belong to one server, which then may share its nonces: those of one origin, and all
// that the metadata names, UserInfo and the mutual-TLS aliases among them.
func (t *Tester) OneServer(a, b string) bool {
	return originOf(a) == originOf(b) || t.Metadata.names(a) && t.Metadata.names(b)
}
