package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// nonceServer asks for nonces; each serves once. It keeps what arrived.
type nonceServer struct {
	*httptest.Server
	name      string
	challenge func(w http.ResponseWriter, nonce string)
	always    bool // a challenge is the answer to every proof

	mu      sync.Mutex
	given   int
	arrived []arrivedProof
}

type arrivedProof struct {
	compact string
	claims  map[string]any
	form    url.Values
}

func (a arrivedProof) text(claim string) string { s, _ := a.claims[claim].(string); return s }

func newNonceServer(t *testing.T, name string, challenge func(http.ResponseWriter, string)) *nonceServer {
	s := &nonceServer{name: name, challenge: challenge}
	s.Server = plainServer(t, s.serve)
	return s
}

func (s *nonceServer) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.ParseForm()
	compact := r.Header.Get("DPoP")
	claims, _ := claimsOf(compact)
	s.arrived = append(s.arrived, arrivedProof{compact, claims, r.PostForm})
	want := fmt.Sprintf("%s-nonce-%d", s.name, s.given)
	s.given++
	fresh := fmt.Sprintf("%s-nonce-%d", s.name, s.given)
	if claims["nonce"] != want || s.always {
		s.challenge(w, fresh)
		return
	}
	w.Header().Set("DPoP-Nonce", fresh)
	io.WriteString(w, `{"access_token": "token-0001", "token_type": "DPoP"}`)
}

func (s *nonceServer) take() []arrivedProof {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.arrived
	s.arrived = nil
	return out
}

func inBody(w http.ResponseWriter, nonce string) {
	w.Header().Set("DPoP-Nonce", nonce)
	w.WriteHeader(400)
	io.WriteString(w, `{"error": "use_dpop_nonce"}`)
}

func inChallenge(lines ...string) func(http.ResponseWriter, string) {
	return func(w http.ResponseWriter, nonce string) {
		w.Header().Set("DPoP-Nonce", nonce)
		w.Header()["WWW-Authenticate"] = lines
		w.WriteHeader(401)
	}
}

// nonceTester speaks to an AS and an RS that both ask for nonces.
func nonceTester(t *testing.T, as, rs *nonceServer) (*Trace, Identity, func(ProofChange) Outcome, func(ProofChange) Outcome) {
	t.Helper()
	target := testTarget(as.URL, func(t *Target) {
		t.Clients = []Client{{ClientID: "worker", TokenEndpointAuthMethod: "client_secret_jwt", ClientSecret: "a-secret-of-32-characters-or-more", GrantTypes: []string{ClientCredentialsGrant}}}
		t.Resources = []Resource{{Name: "api", URL: rs.URL + "/api", Method: "GET", Status: 200}}
	})
	tester := newTester(t, target)
	tester.Metadata.Members["token_endpoint"] = as.URL + "/token"
	tr := tester.Trace(context.Background(), "check")
	who := Identity{Client: &target.Clients[0], Key: tester.ProofKey("worker")}
	token := func(change ProofChange) Outcome { return tr.ClientCredentials(TokenRequest{Who: who, Proof: change}) }
	call := func(change ProofChange) Outcome {
		return tr.Call(ResourceCall{Who: who, Token: "token-0001", Resource: &target.Resources[0], Proof: change})
	}
	return tr, who, token, call
}

func TestANonceIsGivenBackOnce(t *testing.T) {
	challenges := map[string]func(http.ResponseWriter, string){
		"in the body":          inBody,
		"in the challenge":     inChallenge(`DPoP error="use_dpop_nonce", error_description="Resource server requires nonce in DPoP proof"`),
		"after another scheme": inChallenge(`Bearer realm="a, DPoP b", error="invalid_token", DPoP algs="ES256", error="use_dpop_nonce"`),
		"in a second line":     inChallenge(`Bearer error="invalid_token"`, `dpop error=use_dpop_nonce`),
		"under the wrong error": func(w http.ResponseWriter, nonce string) {
			w.Header().Set("DPoP-Nonce", nonce)
			w.WriteHeader(400)
			io.WriteString(w, `{"error":"invalid_dpop_proof"}`)
		},
		"with a body, at a resource": func(w http.ResponseWriter, nonce string) {
			inChallenge(`DPoP error="use_dpop_nonce"`)(w, nonce)
			io.WriteString(w, `{"error": "unauthorized"}`)
		},
	}
	for name, challenge := range challenges {
		t.Run(name, func(t *testing.T) {
			as, rs := newNonceServer(t, "as", challenge), newNonceServer(t, "rs", challenge)
			_, _, token, call := nonceTester(t, as, rs)
			changed := func(p *Proof) { p.Claims.Set("extra", "member"); p.Header.Set("kid", "1") }
			for place, send := range map[*nonceServer]func(ProofChange) Outcome{as: token, rs: call} {
				wantGranted(t, send(nil))
				first := place.take()
				if len(first) != 2 {
					t.Fatalf("%d requests, want one and one more with the nonce", len(first))
				}
				if _, there := first[0].claims["nonce"]; there || first[1].text("nonce") != place.name+"-nonce-1" {
					t.Errorf("nonces: %v, then %v", first[0].claims["nonce"], first[1].claims["nonce"])
				}
				if first[0].text("jti") == first[1].text("jti") {
					t.Error("the second proof has the jti of the first")
				}
				// The nonce that came with the success is the next one.
				wantGranted(t, send(nil))
				if n := len(place.take()); n != 1 {
					t.Errorf("%d requests with a nonce at hand", n)
				}
				if name == "under the wrong error" {
					continue // only where no nonce was sent is this taken as a challenge
				}
				// A stale nonce is replaced, and the change stays.
				place.mu.Lock()
				place.given += 5
				place.mu.Unlock()
				wantGranted(t, send(changed))
				again := place.take()
				if len(again) != 2 {
					t.Fatalf("%d requests after a stale nonce", len(again))
				}
				for i, a := range again {
					header, _, err := DecodeJWT(a.compact)
					if err != nil || a.text("extra") != "member" || !slices.Contains(header, Member{Name: "kid", Value: `"1"`}) {
						t.Errorf("proof %d lost the change: %v %v", i, header, a.claims)
					}
				}
				if again[0].text("jti") == again[1].text("jti") || again[0].text("nonce") == again[1].text("nonce") {
					t.Errorf("the second proof is not fresh: %v", again)
				}
			}
		})
	}
}

func TestAnAssertionIsFreshWhenANonceWasAskedFor(t *testing.T) {
	as, rs := newNonceServer(t, "as", inBody), newNonceServer(t, "rs", inBody)
	_, _, token, _ := nonceTester(t, as, rs)
	wantGranted(t, token(nil))
	seen := map[string]bool{}
	for _, a := range as.take() {
		claims, ok := claimsOf(a.form.Get("client_assertion"))
		if !ok || claims["iss"] != "worker" || claims["aud"] != as.URL {
			t.Fatalf("the assertion is %v", claims)
		}
		seen[claims["jti"].(string)] = true
	}
	if len(seen) != 2 {
		t.Errorf("%d assertions for two requests", len(seen))
	}
}

func TestWhatIsNotRepairedWithANonce(t *testing.T) {
	as, rs := newNonceServer(t, "as", inBody), newNonceServer(t, "rs", inChallenge(`DPoP error="use_dpop_nonce"`))
	tr, _, token, call := nonceTester(t, as, rs)
	for place, send := range map[*nonceServer]func(ProofChange) Outcome{as: token, rs: call} {
		wantGranted(t, send(nil))
		captured := place.take()[1].compact
		for name, change := range map[string]ProofChange{
			"a captured proof":     func(p *Proof) { p.Verbatim(captured) },
			"a nonce made up":      func(p *Proof) { p.Claims.Set("nonce", "made-up") },
			"a nonce left out":     func(p *Proof) { p.Claims.Drop("nonce") },
			"a nonce of no string": func(p *Proof) { p.Claims.Set("nonce", 1) },
		} {
			t.Run(place.name+": "+name, func(t *testing.T) {
				place.take()
				before := len(tr.Exchanges())
				o := send(change)
				if o.State != Refused || o.Error != "use_dpop_nonce" {
					t.Errorf("settled as %+v", o)
				}
				arrived := place.take()
				if len(arrived) != 1 || len(tr.Exchanges()) != before+1 {
					t.Fatalf("%d requests arrived", len(arrived))
				}
				if name == "a captured proof" && arrived[0].compact != captured {
					t.Error("the captured proof was changed")
				}
				wantGranted(t, send(nil))
			})
		}
	}
}

func TestASecondChallengeTeachesNothing(t *testing.T) {
	as, rs := newNonceServer(t, "as", inBody), newNonceServer(t, "rs", inChallenge(`DPoP error="use_dpop_nonce"`))
	as.always, rs.always = true, true
	_, _, token, call := nonceTester(t, as, rs)
	for place, send := range map[*nonceServer]func(ProofChange) Outcome{as: token, rs: call} {
		for name, change := range map[string]ProofChange{"honest": nil, "attack": func(p *Proof) { p.Claims.Set("htm", "PUT") }} {
			o := send(change)
			if o.State != Unknown {
				t.Errorf("%s, %s: settled as %+v", place.name, name, o)
			}
			wantText(t, o.Why, string(NonceLoop))
			if n := len(place.take()); n != 2 {
				t.Errorf("%s, %s: %d requests", place.name, name, n)
			}
		}
	}
}

func TestNoncesOfServersAreApart(t *testing.T) {
	as, rs := newNonceServer(t, "as", inBody), newNonceServer(t, "rs", inChallenge(`DPoP error="use_dpop_nonce"`))
	tr, _, token, call := nonceTester(t, as, rs)
	for range 3 {
		wantGranted(t, token(nil))
		wantGranted(t, call(nil))
	}
	for _, place := range []*nonceServer{as, rs} {
		for _, a := range place.take() {
			if nonce := a.text("nonce"); nonce != "" && !strings.HasPrefix(nonce, place.name) {
				t.Errorf("%s got the nonce %s", place.name, nonce)
			}
		}
	}
	if tr.NonceOf(as.URL+"/other") == tr.NonceOf(rs.URL) || tr.NonceOf("http://127.0.0.9/") != "" {
		t.Errorf("nonces: %q, %q", tr.NonceOf(as.URL), tr.NonceOf(rs.URL))
	}
}

func TestHonestMembers(t *testing.T) {
	tr := newTrace(t, testTarget("https://as.example"))
	key := tr.ProofKey("spa")
	for target, htu := range map[string]string{
		"https://rs.example/a/b?x=y":       "https://rs.example/a/b",
		"https://rs.example:8443/a%2Fb#c":  "https://rs.example:8443/a%2Fb",
		"https://rs.example/a?x=y#c":       "https://rs.example/a",
		"https://rs.example":               "https://rs.example",
		"https://rs.example/?":             "https://rs.example/",
		"https://rs.example/caf%C3%A9?a=b": "https://rs.example/caf%C3%A9",
	} {
		if got := tr.honestProof(key, "GET", target, "", "").Claims.Get("htu"); got != htu {
			t.Errorf("htu of %s is %v, want %s", target, got, htu)
		}
	}
	bare, full := tr.honestProof(key, "GET", "https://rs.example", "", ""), tr.honestProof(key, "GET", "https://rs.example", "t", "n")
	if bare.Claims.Get("ath") != nil || bare.Claims.Get("nonce") != nil || full.Claims.Get("ath") != AccessTokenHash("t") || full.Claims.Get("nonce") != "n" {
		t.Errorf("claims: %v, %v", bare.Claims, full.Claims)
	}
	// The example of RFC 9449 §7.1.
	if got := AccessTokenHash("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"); got != "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo" {
		t.Errorf("ath is %s", got)
	}
}

func TestAChangeDoesNotReachTheHonestProof(t *testing.T) {
	tr := newTrace(t, testTarget("https://as.example"))
	honest := tr.honestProof(tr.ProofKey("spa"), "GET", "https://rs.example", "t", "n")
	before, _ := json.Marshal([]any{honest.Header, honest.Claims})
	c := honest.clone()
	c.Claims.Drop("jti")
	c.Claims.Set("htm", "X")
	jwk := c.Header.Get("jwk").(Object)
	jwk[0].Value = "changed"
	jwk.Set("x", "changed")
	c.Header.Drop("typ")
	if after, _ := json.Marshal([]any{honest.Header, honest.Claims}); string(after) != string(before) {
		t.Errorf("the honest proof became %s", after)
	}
}

// A nonce that comes with every answer makes no challenge of a refusal that is about something else: what was sent stays sent once.
func TestARefusalBesideANonceIsNoChallenge(t *testing.T) {
	for _, answer := range []string{`400 {"error":"invalid_grant"}`, `401 {"error":"invalid_client"}`, `429 {"error":"slow_down"}`, `503 <h1>busy</h1>`} {
		t.Run(answer, func(t *testing.T) {
			code, body, _ := strings.Cut(answer, " ")
			status, _ := strconv.Atoi(code)
			as := newNonceServer(t, "as", func(w http.ResponseWriter, nonce string) {
				w.Header().Set("DPoP-Nonce", nonce)
				w.WriteHeader(status)
				io.WriteString(w, body)
			})
			tr, _, token, _ := nonceTester(t, as, newNonceServer(t, "rs", inBody))
			tr.Clock = &hurriedClock{}
			var o Outcome
			tr.Attack(func() { o = token(nil) })
			if n := len(as.take()); n != 1 || o.State == Granted {
				t.Errorf("%d requests: %s", n, o)
			}
		})
	}
}
