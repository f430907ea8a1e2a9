package harness_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
)

// accepter takes every request and keeps it as it arrived; it stands for every endpoint that takes proofs.
type accepter struct {
	mu   sync.Mutex
	last *http.Request
}

func (s *accepter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = r
	switch r.URL.Path {
	case "/par":
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"request_uri": "urn:example:Request-0001", "expires_in": 60}`)
	case "/token":
		io.WriteString(w, `{"access_token": "token-0002", "token_type": "DPoP"}`)
	}
}

func (s *accepter) take() *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

const token = "token-0001"

// prover is a client with a key of an algorithm, and its ways to send proofs.
type prover struct {
	*harness.Tester
	server *accepter
	who    harness.Identity
	send   map[attacks.Place]func(*harness.Trace, harness.ProofChange) harness.Outcome
	url    map[attacks.Place]string
}

func newProver(t *testing.T, alg string) *prover {
	t.Helper()
	s := &accepter{}
	server := httptest.NewUnstartedServer(s)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Config.MaxHeaderBytes = 1 << 20
	server.StartTLS() // its certificate is for example.com
	t.Cleanup(server.Close)
	target := &harness.Target{
		Path: "test.yaml", Issuer: "https://example.com", Limits: harness.Limits{Timeout: 20 * time.Second, Body: 1 << 20, Redirects: 5, FailedLogins: 1},
		TLS:     harness.TargetTLS{CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})},
		Request: harness.TargetRequest{Resolve: map[string]string{"example.com": server.Listener.Addr().String()}},
		Clients: []harness.Client{{ClientID: "worker", TokenEndpointAuthMethod: "none", RedirectURIs: []string{"https://client.example/cb"},
			GrantTypes: []string{harness.ClientCredentialsGrant}}},
		Resources: []harness.Resource{{Name: "api", URL: "https://example.com/Resources/api", Method: "GET", Status: 200}},
	}
	tester, err := harness.NewTester(target, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tester.Close)
	p := &prover{Tester: tester, server: s, url: map[attacks.Place]string{attacks.AtToken: "https://example.com/token", attacks.AtPAR: "https://example.com/par", attacks.AtResource: target.Resources[0].URL}}
	tester.Metadata = &harness.Metadata{Members: map[string]any{
		"token_endpoint": p.url[attacks.AtToken], "pushed_authorization_request_endpoint": p.url[attacks.AtPAR], "dpop_signing_alg_values_supported": []any{alg}}}
	p.who = harness.Identity{Client: &target.Clients[0], Key: tester.ProofKey("worker")}
	p.send = map[attacks.Place]func(*harness.Trace, harness.ProofChange) harness.Outcome{
		attacks.AtToken: func(tr *harness.Trace, change harness.ProofChange) harness.Outcome {
			return tr.ClientCredentials(harness.TokenRequest{Who: p.who, Proof: change})
		},
		attacks.AtPAR: func(tr *harness.Trace, change harness.ProofChange) harness.Outcome {
			return tr.Push(harness.AuthorizationRequest{Who: p.who, PushProof: harness.WithProof, ProofChange: change})
		},
		attacks.AtResource: func(tr *harness.Trace, change harness.ProofChange) harness.Outcome {
			return tr.Call(harness.ResourceCall{Who: p.who, Token: token, Resource: &target.Resources[0], Proof: change})
		},
	}
	return p
}

func places() []attacks.Place {
	return []attacks.Place{attacks.AtToken, attacks.AtPAR, attacks.AtResource}
}

// raw is a proof as it arrived.
type raw struct {
	compact        string
	header, claims map[string]any
}

func decode(t *testing.T, compact string) raw {
	t.Helper()
	r := raw{compact: compact}
	parts := strings.Split(compact, ".")
	for i, into := range []*map[string]any{&r.header, &r.claims} {
		if i >= len(parts) {
			t.Fatalf("%.60q has no part %d", compact, i)
		}
		data, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, into); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// jwkOf reads the key of a proof, with jwx and by hand.
func (r raw) jwkOf(t *testing.T) (key jwk.Key, thumbprint string) {
	t.Helper()
	members, _ := r.header["jwk"].(map[string]any)
	data, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	if key, err = jwk.ParseKey(data); err != nil {
		t.Fatal(err)
	}
	required := map[string]any{}
	for _, name := range map[string][]string{"EC": {"crv", "kty", "x", "y"}, "OKP": {"crv", "kty", "x"}, "RSA": {"e", "kty", "n"}}[members["kty"].(string)] {
		required[name] = members[name]
	}
	canonical, _ := json.Marshal(required) // in lexical order (RFC 7638 §3.3)
	sum := sha256.Sum256(canonical)
	return key, base64.RawURLEncoding.EncodeToString(sum[:])
}

func (r raw) verifies(t *testing.T) bool {
	t.Helper()
	key, _ := r.jwkOf(t)
	alg, _ := r.header["alg"].(string)
	_, err := jws.Verify([]byte(r.compact), jws.WithKey(jwa.SignatureAlgorithm(alg), key))
	return err == nil
}

func TestAnHonestProofVerifiesElsewhere(t *testing.T) {
	for _, alg := range []string{"ES256", "ES384", "ES512", "EdDSA", "PS256", "RS256"} {
		t.Run(alg, func(t *testing.T) {
			p := newProver(t, alg)
			seen := map[any]bool{}
			for _, place := range places() {
				if o := p.send[place](p.Trace(context.Background(), "check"), nil); o.State != harness.Granted {
					t.Fatalf("at %s: %s", place, o)
				}
				arrived := p.server.take()
				fields := arrived.Header.Values("DPoP")
				if len(fields) != 1 {
					t.Fatalf("at %s: %d proofs", place, len(fields))
				}
				proof := decode(t, fields[0])
				if !proof.verifies(t) {
					t.Errorf("at %s: the signature does not verify", place)
				}
				if _, thumbprint := proof.jwkOf(t); thumbprint != p.who.Key.Thumbprint() {
					t.Errorf("at %s: thumbprint %s, want %s", place, thumbprint, p.who.Key.Thumbprint())
				}
				wantHeader := []string{"alg", "jwk", "typ"}
				if got := slices.Sorted(maps.Keys(proof.header)); !slices.Equal(got, wantHeader) || proof.header["typ"] != "dpop+jwt" || proof.header["alg"] != alg {
					t.Errorf("at %s: header %v", place, proof.header)
				}
				for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
					if _, there := proof.header["jwk"].(map[string]any)[private]; there {
						t.Errorf("at %s: the jwk has %s", place, private)
					}
				}
				want := map[string]any{"htm": arrived.Method, "htu": p.url[place]}
				if place == attacks.AtResource {
					sum := sha256.Sum256([]byte(token))
					want["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
				}
				issued, _ := proof.claims["iat"].(float64)
				if age := float64(time.Now().Unix()) - issued; issued != math.Trunc(issued) || age < -1 || age > 600 {
					t.Errorf("at %s: iat %v", place, proof.claims["iat"])
				}
				jti, _ := proof.claims["jti"].(string)
				if len(jti) < 16 || seen[jti] {
					t.Errorf("at %s: jti %q", place, jti)
				}
				seen[jti] = true
				delete(proof.claims, "iat")
				delete(proof.claims, "jti")
				if !reflect.DeepEqual(proof.claims, want) {
					t.Errorf("at %s: claims %v, want %v", place, proof.claims, want)
				}
			}
		})
	}
}

// about says which members a row is about, where its id does not: dpop-no-jti and dpop-htu-host are about jti and htu.
func about(id string) []string {
	switch id {
	case "dpop-alg-symmetric", "dpop-alg-unlisted", "dpop-rsa-1024":
		return []string{"alg", "jwk"}
	case "dpop-kid-instead-of-jwk":
		return []string{"jwk", "kid"}
	case "dpop-key-of-attacker", "dpop-key-of-attacker-same-kid":
		return []string{"jwk"}
	case "dpop-alg-of-other-kind", "dpop-alg-other-curve": // the name is the honest one
		return []string{"jwk"}
	case "dpop-rsa-exponent-one":
		return []string{"alg", "jwk"}
	case "dpop-jwk-private-rsa":
		return []string{"alg", "jwk"}
	case "dpop-jku-instead-of-jwk":
		return []string{"jku", "jwk", "x5u"}
	case "dpop-x5c-instead-of-jwk":
		return []string{"jwk", "x5c"}
	case "dpop-claim-twice":
		return []string{"htu"}
	case "dpop-proof-huge":
		return []string{"popcheck"}
	case "dpop-crit-unknown":
		return []string{"crit", "popcheck"}
	case "dpop-crit-empty":
		return []string{"crit"}
	case "dpop-extra-members":
		return []string{"https://popcheck.example/claim", "popcheck"}
	case "dpop-no-claims":
		return []string{"htm", "htu", "iat", "jti"}
	case "dpop-client-assertion":
		return []string{"aud", "exp", "htm", "htu", "iss", "jwk", "sub", "typ"}
	}
	if !outside(id) {
		for _, word := range strings.Split(id, "-")[1:] {
			if slices.Contains([]string{"typ", "alg", "jwk", "jti", "htm", "htu", "iat", "ath", "nonce"}, word) {
				return []string{word}
			}
		}
	}
	return nil
}

// shapes are rows whose header fields hold anything but one JWT of three parts, in lines.
func shapes() map[string]string {
	const part, jwt = `[\w-]+`, `[\w-]+\.[\w-]+\.[\w-]+`
	return map[string]string{
		"dpop-garbage":                 part,
		"dpop-two-proofs-first-valid":  jwt + "\n" + jwt,
		"dpop-two-proofs-second-valid": jwt + "\n" + jwt,
		"dpop-two-proofs-spaced":       jwt + " " + jwt,
		"dpop-five-parts":              jwt + `\.` + part + `\.` + part,
		"dpop-payload-array":           part + `\.W10\.` + part,
		"dpop-payload-text":            part + `\.cG9wY2hlY2s\.` + part,
		"dpop-standard-base64":         `[\w+/]+=*\.\w+\+\w*/[\w+/]*=*\.[\w+/]+==`,
		"dpop-json-serialisation":      `\{"payload":"` + part + `","protected":"` + part + `","signature":"` + part + `"\}`,
		"dpop-crit-b64":                part + `\.\{[^.]+\}\.` + part,
		"dpop-header-empty":            "()",
		"dpop-proof-empty":             "()",
	}
}

// outside are the rows that change no member: the header field, the spelling or the signature.
func outside(id string) bool {
	for _, word := range []string{"two-proofs", "same-proof-twice", "garbage", "-part", "signature", "signed"} {
		if strings.Contains(id, word) {
			return true
		}
	}
	return false
}

// invalid are the rows with members and a jwk whose signature is the defect, or follows from it.
func invalid(id string) bool {
	return outside(id) && !strings.HasPrefix(id, "dpop-two-proofs") && id != "dpop-same-proof-twice" ||
		slices.Contains([]string{"dpop-alg-none", "dpop-alg-none-capitalised", "dpop-alg-none-mixed-case", "dpop-alg-confusion",
			"dpop-alg-missing", "dpop-alg-unregistered", "dpop-alg-of-other-kind", "dpop-jwk-off-curve", "dpop-rsa-exponent-one"}, id)
}

func TestEachRowChangesWhatItIsAbout(t *testing.T) {
	p := newProver(t, "ES256")
	for _, row := range attacks.Proofs() {
		for _, place := range places() {
			if !row.RunsAt(place) {
				continue
			}
			t.Run(row.ID+"@"+string(place), func(t *testing.T) {
				control := p.Trace(context.Background(), row.ID)
				if o := p.send[place](control, nil); o.State != harness.Granted {
					t.Fatalf("the honest proof: %s", o)
				}
				before := p.server.take()
				honest := decode(t, before.Header.Get("DPoP"))
				tr := p.Trace(context.Background(), row.ID)
				tr.Attack(func() { p.send[place](tr, row.Change) })
				after := p.server.take()
				if before == after {
					t.Fatal("nothing was sent")
				}
				fields := after.Header.Values("DPoP")
				wantSameRequest(t, before, after, beside(row.ID)...)
				x := tr.Exchanges()
				if len(x) != 1 || x[0].Role != harness.AttackExchange || len(x[0].Request.Changed) == 0 {
					t.Fatalf("recorded: %d exchanges, changed %v", len(x), x[0].Request.Changed)
				}
				for _, changed := range x[0].Request.Changed {
					if !strings.HasPrefix(changed, "DPoP ") {
						t.Errorf("changed beside the proof: %s", changed)
					}
				}
				if shape := shapes()[row.ID]; shape != "" {
					if !regexp.MustCompile("^" + shape + "$").MatchString(strings.Join(fields, "\n")) {
						t.Errorf("sent: %q", fields)
					}
					return
				}
				wantFields(t, row.ID, fields)
				sent := decode(t, strings.TrimSpace(strings.Split(fields[0], ",")[0]))
				marks := marked(x[0].Request.Decoded)
				members := differing(honest, sent, marks)
				if want := about(row.ID); !slices.Equal(members, want) || !slices.Equal(marks, want) {
					t.Errorf("differs in %v, recorded as %v; the row is about %v", members, marks, want)
				}
				wantSignature(t, row.ID, sent)
			})
		}
	}
}

// wantSameRequest fails when anything but the proof differs. What is random in an authorization request is left out.
// beside are the header fields that a row sends with its proof, as a client might to be taken for a proxy.
func beside(id string) []string {
	return map[string][]string{
		"dpop-htu-forwarded-host":    {"X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Server", "X-Original-Host", "X-Host"},
		"dpop-htu-forwarded":         {"Forwarded"},
		"dpop-htu-forwarded-proto":   {"X-Forwarded-Proto", "X-Forwarded-Ssl", "Forwarded"},
		"dpop-htm-override-resource": {"X-Http-Method-Override", "X-Method-Override", "X-Http-Method"},
		"dpop-htm-override":          {"X-Http-Method-Override", "X-Method-Override", "X-Http-Method"},
	}[id]
}

func wantSameRequest(t *testing.T, honest, sent *http.Request, beside ...string) {
	t.Helper()
	if honest.Method != sent.Method || honest.RequestURI != sent.RequestURI || honest.Host != sent.Host {
		t.Errorf("%s %s %s instead of %s %s %s", sent.Method, sent.Host, sent.RequestURI, honest.Method, honest.Host, honest.RequestURI)
	}
	a, b := honest.Header.Clone(), sent.Header.Clone()
	a.Del("DPoP")
	b.Del("DPoP")
	for _, name := range beside {
		if b.Get(name) == "" {
			t.Errorf("%s was not sent", name)
		}
		b.Del(name)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("header fields %v instead of %v", b, a)
	}
	if honest.ContentLength != sent.ContentLength {
		t.Errorf("a body of %d bytes instead of %d", sent.ContentLength, honest.ContentLength)
	}
}

func wantFields(t *testing.T, id string, fields []string) {
	t.Helper()
	count, joined, parts := 1, 1, 3
	switch id {
	case "dpop-two-proofs", "dpop-same-proof-twice":
		count = 2
	case "dpop-two-proofs-joined":
		joined = 2
	case "dpop-no-signature-part":
		parts = 2
	case "dpop-four-parts":
		parts = 4
	}
	if len(fields) != count {
		t.Fatalf("%d header fields", len(fields))
	}
	var all []string
	for _, f := range fields {
		proofs := strings.Split(f, ",")
		if len(proofs) != joined {
			t.Fatalf("%d proofs in one field", len(proofs))
		}
		for _, one := range proofs {
			all = append(all, strings.TrimSpace(one))
		}
	}
	for _, one := range all {
		if n := len(strings.Split(one, ".")); n != parts {
			t.Fatalf("%d parts", n)
		}
		if len(all) > 1 && !decode(t, one).verifies(t) {
			t.Error("one of the proofs does not verify")
		}
	}
	if len(all) > 1 && (all[0] == all[1]) != (id == "dpop-same-proof-twice") {
		t.Error("the two proofs are the same, or should be")
	}
}

// marked are the members that the record calls changed.
func marked(decoded []harness.Decoded) []string {
	var out []string
	for _, d := range decoded {
		for _, m := range append(slices.Clone(d.Header), d.Claims...) {
			if m.Change != "" {
				out = append(out, m.Name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// differing are the members in which two proofs differ. jti and iat differ between honest proofs too: they count when they are marked, gone, or far off.
func differing(honest, sent raw, marks []string) []string {
	var out []string
	for _, pair := range [][2]map[string]any{{honest.header, sent.header}, {honest.claims, sent.claims}} {
		names := maps.Clone(pair[0])
		maps.Copy(names, pair[1])
		for name := range names {
			was, had := pair[0][name]
			is, has := pair[1][name]
			if had && has && !slices.Contains(marks, name) {
				if name == "jti" {
					continue
				}
				a, isNumber := was.(float64)
				if b, too := is.(float64); name == "iat" && isNumber && too && math.Abs(a-b) < 600 {
					continue
				}
			}
			if had != has || !reflect.DeepEqual(was, is) {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return out
}

func wantSignature(t *testing.T, id string, sent raw) {
	t.Helper()
	signature := sent.compact[strings.LastIndex(sent.compact, ".")+1:]
	members, hasKey := sent.header["jwk"].(map[string]any)
	switch {
	case id == "dpop-alg-none":
		if !hasKey || signature != "" {
			t.Errorf("alg none: jwk %v, signature %q", members, signature)
		}
		return
	case id == "dpop-alg-symmetric":
		secret, err := base64.RawURLEncoding.DecodeString(members["k"].(string))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jws.Verify([]byte(sent.compact), jws.WithKey(jwa.HS256, secret)); err != nil {
			t.Error(err)
		}
		return
	case !hasKey:
		return
	case id == "dpop-four-parts", id == "dpop-no-signature-part":
		return // no JWS at all
	}
	if sent.verifies(t) == invalid(id) {
		t.Errorf("the signature verifies: %v", !invalid(id))
	}
	key, _ := sent.jwkOf(t)
	private, err := jwk.IsPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if private != strings.HasPrefix(id, "dpop-jwk-private") {
		t.Errorf("the jwk is private: %v", private)
	}
}

func TestRowsAboutKeys(t *testing.T) {
	p := newProver(t, "ES256")
	sent := func(id string, place attacks.Place) raw {
		t.Helper()
		i := slices.IndexFunc(attacks.Proofs(), func(a attacks.ProofAttack) bool { return a.ID == id })
		if i < 0 {
			t.Fatalf("there is no row %s", id)
		}
		p.send[place](p.Trace(context.Background(), id), attacks.Proofs()[i].Change)
		return decode(t, p.server.take().Header.Get("DPoP"))
	}
	own := p.who.Key.Thumbprint()
	private := sent("dpop-jwk-private", attacks.AtToken)
	key, thumbprint := private.jwkOf(t)
	public, err := key.PublicKey()
	if err != nil || thumbprint != own {
		t.Errorf("the private jwk is of another key: %v", err)
	}
	if _, err := jws.Verify([]byte(private.compact), jws.WithKey(jwa.ES256, public)); err != nil {
		t.Error(err)
	}
	if signed, err := jws.Sign([]byte("x"), jws.WithKey(jwa.ES256, key)); err != nil {
		t.Error(err)
	} else if _, err := jws.Verify(signed, jws.WithKey(jwa.ES256, public)); err != nil {
		t.Errorf("d does not belong to the key: %v", err)
	}
	if _, thumbprint := sent("dpop-key-of-attacker", attacks.AtResource).jwkOf(t); thumbprint == own || thumbprint != p.ProofKey("attacker").Thumbprint() {
		t.Errorf("the attacker's key has the thumbprint %s", thumbprint)
	}
	for _, id := range []string{"dpop-signed-by-other-key", "dpop-signature-bit", "dpop-alg-none", "dpop-alg-confusion"} {
		if _, thumbprint := sent(id, attacks.AtToken).jwkOf(t); thumbprint != own {
			t.Errorf("%s carries another key", id)
		}
	}
	if kid := sent("dpop-kid-instead-of-jwk", attacks.AtToken).header["kid"]; kid != own {
		t.Errorf("kid is %v", kid)
	}
	small, _ := sent("dpop-rsa-1024", attacks.AtToken).jwkOf(t)
	n, _ := small.(jwk.RSAPublicKey)
	if n == nil || len(n.N()) != 128 {
		t.Errorf("the key is %v", small)
	}
}

func TestNoSecretOfAProofIsInTheEvidence(t *testing.T) {
	p := newProver(t, "ES256")
	p.Redactor.Register("access_token", token) // as when it comes from a server
	for _, row := range attacks.Proofs() {
		for _, place := range places() {
			if !row.RunsAt(place) {
				continue
			}
			tr := p.Trace(context.Background(), row.ID)
			tr.Attack(func() { p.send[place](tr, row.Change) })
			evidence, err := json.Marshal(tr.Exchanges())
			if err != nil {
				t.Fatal(err)
			}
			for _, field := range p.server.take().Header.Values("DPoP") {
				for _, proof := range strings.Split(field, ",") {
					proof = strings.TrimSpace(proof)
					if len(proof) > 20 && strings.Contains(string(evidence), proof) {
						t.Errorf("%s@%s: the proof itself is in the evidence", row.ID, place)
					}
				}
			}
			if strings.Contains(string(evidence), token) {
				t.Errorf("%s@%s: the token is in the evidence", row.ID, place)
			}
			members := p.who.Key.PrivateJWK()
			if d, _ := members.Get("d").(string); d == "" || strings.Contains(string(evidence), d) {
				t.Errorf("%s@%s: the private key is in the evidence", row.ID, place)
			}
		}
	}
}
