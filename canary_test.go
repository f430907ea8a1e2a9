//go:build !race

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/popcheck/popcheck/fixtures"
)

// witness stands in the target and notes every secret that arrives or leaves, by what the protocols say and not by what
// popcheck thinks of it.
type witness struct {
	mu      sync.Mutex
	secrets map[string]string // value → what it is
	open    map[string]bool   // what everyone may see
}

func (w *witness) note(kind, value string) {
	if len(value) < 8 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.secrets[value] == "" {
		w.secrets[value] = kind
	}
}

// public notes challenges: a request shows them to everyone, so that one sent as a verifier is no secret. With plain they are verifiers.
func (w *witness) public(challenges ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range challenges {
		w.open[c] = true
	}
}

func (w *witness) members(kind string, members map[string]any, names ...string) {
	for _, name := range names {
		if s, ok := members[name].(string); ok {
			w.note(kind+" "+name, s)
		}
	}
}

func (w *witness) values(kind string, values url.Values) {
	for _, name := range []string{"code", "code_verifier", "access_token", "refresh_token", "token", "client_secret", "client_assertion", "request_uri", "password", "csrf", "id_token"} {
		for _, v := range values[name] {
			w.note(kind+" "+name, v)
		}
	}
}

func (w *witness) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		r.Body = io.NopCloser(bytes.NewReader(body))
		form, _ := url.ParseQuery(string(body))
		w.values("sent", form)
		w.values("sent", r.URL.Query())
		w.public(form.Get("code_challenge"), r.URL.Query().Get("code_challenge"))
		for _, uri := range []string{form.Get("request_uri"), r.URL.Query().Get("request_uri")} {
			if strings.HasPrefix(uri, "https://") { // an attack's own address: this server issues urn:
				w.public(uri)
			}
		}
		for _, proof := range r.Header["Dpop"] {
			for _, one := range strings.Split(proof, ",") {
				w.proof(strings.TrimSpace(one))
			}
		}
		for _, a := range r.Header["Authorization"] {
			if _, v, ok := strings.Cut(a, " "); ok {
				w.note("Authorization", v)
			}
		}
		for _, c := range r.Cookies() {
			w.note("cookie", c.Value)
		}
		var asked map[string]any
		if json.Unmarshal(body, &asked) == nil { // client registration
			w.members("sent", asked, "client_secret", "software_statement")
		}
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		for _, c := range answer.Result().Cookies() {
			w.note("cookie", c.Value)
		}
		if u, err := url.Parse(answer.Header().Get("Location")); err == nil {
			w.values("redirect", u.Query())
		}
		var members map[string]any
		if json.Unmarshal(answer.Body.Bytes(), &members) == nil {
			w.members("answered", members, "access_token", "refresh_token", "id_token", "request_uri", "client_secret", "registration_access_token", "software_statement")
		}
		for _, m := range regexp.MustCompile(`type="hidden" name="([^"]*)" value="([^"]+)"`).FindAllStringSubmatch(answer.Body.String(), -1) {
			if m[1] == "iss" || m[1] == "state" { // of a form_post answer: neither is a secret in any other response mode
				w.public(m[2])
			}
			w.note("hidden field", m[2])
		}
		for name, values := range answer.Header() {
			rw.Header()[name] = values
		}
		rw.WriteHeader(answer.Code)
		rw.Write(answer.Body.Bytes())
	})
}

// proof notes a proof, its signature, and a private key that it carries.
func (w *witness) proof(compact string) {
	w.note("proof", compact)
	parts := strings.Split(compact, ".")
	if len(parts) == 3 && strings.Trim(parts[2], "A") != "" { // nobody needs a key for a signature of zeros
		w.note("signature of a proof", parts[2])
	}
	if header, err := base64.RawURLEncoding.DecodeString(parts[0]); err == nil {
		var h struct {
			JWK map[string]any `json:"jwk"`
		}
		if json.Unmarshal(header, &h) == nil {
			for _, name := range []string{"d", "k"} {
				if s, ok := h.JWK[name].(string); ok {
					w.note("private key in a proof", s)
				}
			}
		}
	}
}

// file notes the secrets of the target file.
func (w *witness) file(t *testing.T, path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Clients []struct {
			Secret      string `yaml:"client_secret"`
			PrivateKey  string `yaml:"private_key"`
			Certificate struct{ Key string }
		}
		Users        []struct{ Password string }
		ClientCA     struct{ Key string } `yaml:"client_ca"`
		Registration struct {
			Token     string `yaml:"initial_access_token"`
			Statement struct {
				PrivateKey string `yaml:"private_key"`
			} `yaml:"software_statement"`
		}
	}
	if err := yaml.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	pem := func(kind, text string) {
		for _, line := range strings.Split(text, "\n") {
			if !strings.HasPrefix(line, "-----") {
				w.note(kind, strings.TrimSpace(line))
			}
		}
	}
	for _, c := range f.Clients {
		w.note("client_secret", c.Secret)
		pem("private_key", c.PrivateKey)
		pem("key of a certificate", c.Certificate.Key)
	}
	for _, u := range f.Users {
		w.note("password", u.Password)
	}
	pem("key of client_ca", f.ClientCA.Key)
	w.note("initial_access_token", f.Registration.Token)
	pem("key of software statements", f.Registration.Statement.PrivateKey)
}

const window = 8 // secrets are found by their first bytes

// leaks searches a text for the secrets, and what it holds in base64, hex and percent-encoding, three levels deep.
func (w *witness) leaks(text []byte, depth int, found func(kind, value string)) {
	index := map[string][]string{}
	for s := range w.secrets {
		if w.open[s] {
			continue
		}
		index[s[:window]] = append(index[s[:window]], s)
	}
	w.search(index, text, depth, found)
}

var (
	base64Run = regexp.MustCompile(`[A-Za-z0-9+/_-]{16,}`)
	hexRun    = regexp.MustCompile(`(?:[0-9a-fA-F]{2}){8,}`)
)

func (w *witness) search(index map[string][]string, text []byte, depth int, found func(kind, value string)) {
	for i := 0; i+window <= len(text); i++ {
		for _, s := range index[string(text[i:i+window])] {
			if bytes.HasPrefix(text[i:], []byte(s)) {
				found(w.secrets[s], s)
			}
		}
	}
	if depth == 0 {
		return
	}
	if bytes.Contains(text, []byte("%")) {
		if s, err := url.QueryUnescape(string(text)); err == nil {
			w.search(index, []byte(s), depth-1, found)
		}
	}
	for _, run := range base64Run.FindAll(text, -1) {
		std := strings.NewReplacer("-", "+", "_", "/").Replace(string(run))
		for offset := range 4 {
			if len(std)-offset < 12 {
				continue
			}
			part := std[offset:]
			if data, err := base64.RawStdEncoding.DecodeString(part[:len(part)/4*4]); err == nil {
				w.search(index, data, depth-1, found)
			}
		}
	}
	for _, run := range hexRun.FindAll(text, -1) {
		if data, err := hex.DecodeString(string(run)); err == nil {
			w.search(index, data, depth-1, found)
		}
	}
}

// No secret of the target file and nothing secret that went over the wire is in an output file or on the console, in plain, encoded
// or decoded form.
func TestNoSecretLeaves(t *testing.T) {
	for _, run := range []struct{ fault, choice string }{{"", "*"}, {"pkce-verifier-never-compared", "pkce-verifier-*"}, {"dpop-as-signature-unverified", "dpop-sign*"}} {
		fault := run.fault
		t.Run("fault="+fault, func(t *testing.T) {
			w := &witness{secrets: map[string]string{}, open: map[string]bool{"guessed-by-chance": true, "urn:example:popcheck": true}} // made up by the rows
			reference, err := fixtures.Start(fixtures.Options{Fault: fault, Dir: t.TempDir(), Named: true, Wrap: w.wrap})
			if err != nil {
				t.Fatal(err)
			}
			defer reference.Close()
			w.file(t, reference.TargetFile())
			out := t.TempDir()
			var stdout, stderr bytes.Buffer
			command(context.Background(), []string{"run", "--out", out, "--select", run.choice, reference.TargetFile()}, &stdout, &stderr)
			if len(w.secrets) < 300 {
				t.Fatalf("only %d secrets were seen: the witness is blind", len(w.secrets))
			}
			texts := map[string][]byte{"stdout": stdout.Bytes(), "stderr": stderr.Bytes()}
			files, err := filepath.Glob(filepath.Join(out, "*"))
			if err != nil || len(files) < 4 {
				t.Fatalf("%v %v", files, err)
			}
			for _, f := range files {
				if texts[filepath.Base(f)], err = os.ReadFile(f); err != nil {
					t.Fatal(err)
				}
			}
			leaked := 0
			for name, text := range texts {
				w.leaks(text, 2, func(kind, value string) {
					if leaked++; leaked <= 20 {
						t.Errorf("%s holds a %s: %.24s…", name, kind, value)
					}
				})
			}
			t.Logf("%d secrets, %d leaks", len(w.secrets), leaked)
		})
	}
}
