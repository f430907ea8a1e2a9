package harness

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestRevoke(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.PostFormValue("client_id")+" "+r.PostFormValue("token"))
		if r.PostFormValue("token") == "foreign" {
			w.WriteHeader(http.StatusBadRequest)
			w.Write([]byte(`{"error":"invalid_grant"}`))
		}
	}))
	defer server.Close()
	target, err := ParseTarget("target.yaml", t.TempDir(), []byte(`
issuer: `+server.URL+`
clients: [{client_id: spa, token_endpoint_auth_method: none, grant_types: [client_credentials]}]
`))
	if err != nil {
		t.Fatal(err)
	}
	tester, err := NewTester(target, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer tester.Close()
	tester.Metadata = &Metadata{Members: map[string]any{"revocation_endpoint": server.URL + "/revoke"}}
	tr, who := tester.Trace(t.Context(), "test"), Identity{Client: &target.Clients[0]}
	if o := tr.Revoke("own", who); o.State != Granted {
		t.Errorf("own token: %s", o)
	}
	if o := tr.Revoke("foreign", who); o.State != Refused || o.Error != "invalid_grant" {
		t.Errorf("foreign token: %s", o)
	}
	if len(asked) != 2 || asked[0] != "spa own" {
		t.Errorf("%q", asked)
	}
}
