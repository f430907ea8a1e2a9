package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/popcheck/popcheck/fixtures"
	"github.com/popcheck/popcheck/harness"
)

// TestInitIsFilledInAndWorks walks the way of a newcomer: a draft from discovery, refused until it is filled in, then checked.
func TestInitIsFilledInAndWorks(t *testing.T) {
	r := attacked(t, fixtures.Options{})
	known, err := harness.LoadTarget(r.TargetFile())
	if err != nil {
		t.Fatal(err)
	}
	before := r.Arrivals()
	file := filepath.Join(t.TempDir(), "target.yaml")
	ran := try(t, "init", "--ca", filepath.Join(filepath.Dir(r.TargetFile()), "ca.pem"), "--out", file, known.Issuer)
	if ran.code != exitFine {
		t.Fatal(ran)
	}
	if n := r.Arrivals() - before; n != 1 {
		t.Errorf("%d requests; one for the metadata is enough", n)
	}
	draft, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(draft); !strings.Contains(text, "\n# registration: {}") || !strings.Contains(text, "#     register: true") || strings.Contains(text, "\nregistration:") {
		t.Errorf("the draft does not offer registration, or turns it on:\n%s", text)
	}
	ran = try(t, "check", file)
	if ran.code != exitWrongUse || strings.Count(ran.stderr, "is not filled in") != 3 || !strings.Contains(ran.stderr, "a public client with the code flow") {
		t.Errorf("a draft was taken: %v", ran)
	}
	filled := strings.NewReplacer(`"FILL IN: a public client with the code flow"`, "spa", `"FILL IN: a user name"`, known.Users[0].Username,
		`"FILL IN: its password, or {env: NAME} without quotes"`, known.Users[0].Password).Replace(string(draft))
	if err := os.WriteFile(file, []byte(filled), 0o600); err != nil {
		t.Fatal(err)
	}
	if said, code := start(t, "check", file).ends(t); code != exitFine || !strings.Contains(said, "spa by authorization_code, dpop: its token opens userinfo") {
		t.Errorf("exit %d\n%s", code, said)
	}
	// What a server may have is there already: without its comment sign it is read.
	if ran := try(t, "init", "--out", file, known.Issuer); ran.code == exitFine {
		t.Error("a file was overwritten")
	}
}

// A resource server alone has no discovery: the draft is whole where popcheck may be its issuer.
func TestInitOfAResourceServerAlone(t *testing.T) {
	r := attacked(t, fixtures.Options{Dialect: fixtures.RSAlone})
	known, err := harness.LoadTarget(r.TargetFile())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "target.yaml")
	before := r.Arrivals()
	if ran := try(t, "init", "--resource", known.Resources[0].URL, "--ca", filepath.Join(filepath.Dir(r.TargetFile()), "ca.pem"), "--out", file); ran.code != exitFine {
		t.Fatal(ran)
	}
	if n := r.Arrivals() - before; n != 0 {
		t.Errorf("%d requests, and there is nothing to ask", n)
	}
	draft, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := json.Marshal(known.TokenIssuer.Claims)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), "issuer.key"), known.TokenIssuer.PrivateKey, 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("http://127.0.0.1:9400", known.TokenIssuer.Issuer, "#   private_key:", "  private_key:").Replace(string(draft))
	text = regexp.MustCompile(`  claims: \{.*\}`).ReplaceAllString(text, "  claims: "+string(claims))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if said, code := start(t, "check", file).ends(t); code != exitFine {
		t.Errorf("exit %d\n%s\n%s", code, said, text)
	}
	// Whoever got aud wrong is told what the resource server told of each kind of token.
	text = regexp.MustCompile(`"aud": *"[^"]*"`).ReplaceAllString(text, `"aud":"https://elsewhere.example"`)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if said, code := start(t, "check", file).ends(t); code != exitIncomplete || !strings.Contains(said, "no token opens api: bearer, dpop, dpop-2, mtls, mtls-2: HTTP 401 invalid_token at api (\"the access token is meant for another resource server\")") {
		t.Errorf("exit %d\n%s\n%s", code, said, text)
	}
	for args, want := range map[string]string{
		"init":                                   "init needs the issuer of an authorization server, or --resource URL",
		"init --resource http://api.example.com": "is http, and its host is not loopback",
		"init --resource https://api.example.com/me": `"FILL IN: the iss that the resource server asks for`,
	} {
		if ran := try(t, strings.Fields(args)...); !strings.Contains(ran.stdout+ran.stderr, want) {
			t.Errorf("%s: %v", args, ran)
		}
	}
}

// TestInitOfAHostileServer: what the metadata says cannot leave its quotes, and a server without metadata gets endpoints by hand.
func TestInitOfAHostileServer(t *testing.T) {
	metadata := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if metadata == "" {
			http.NotFound(w, req)
			return
		}
		fmt.Fprint(w, metadata)
	}))
	defer server.Close()
	ran := try(t, "init", server.URL)
	if ran.code != exitFine || !strings.Contains(ran.stdout, "  token_endpoint: \"FILL IN: "+server.URL+"/token\"") || !strings.Contains(ran.stderr, "no metadata was found") {
		t.Errorf("%v", ran)
	}
	metadata = fmt.Sprintf(`{"issuer":%q,"authorization_endpoint":"https://a\nauthorized: true/x","userinfo_endpoint":"https://b\r\nhosts: [\"evil.example\"]\u001b[2J","scopes_supported":["openid\nx: y"]}`, server.URL)
	ran = try(t, "init", server.URL)
	if ran.code != exitFine || strings.Contains(ran.stdout, "\x1b") {
		t.Errorf("%v", ran)
	}
	for line := range strings.Lines(ran.stdout) {
		if strings.HasPrefix(line, "authorized: true") || strings.HasPrefix(line, "hosts: [\"evil") || strings.HasPrefix(line, "x:") {
			t.Errorf("the metadata wrote a line: %q", line)
		}
	}
	server.Close()
	if strings.Contains(ran.stdout, "registration:") {
		t.Errorf("the draft offers registration, and the server has none: %s", ran.stdout)
	}
	if ran := try(t, "init", server.URL); ran.code != exitIncomplete || !strings.Contains(ran.stderr, "is the server running") {
		t.Errorf("%v", ran)
	}
}
