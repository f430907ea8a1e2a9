package harness

import (
	"net/http"
	"testing"
)

// A server that announces nothing may take proofs all the same; one that announces what it has, and no proofs, does not.
func TestAProofIsTriedWhereNoMetadataIsServed(t *testing.T) {
	for name, served := range map[string]bool{"served": true, "by hand": false} {
		t.Run(name, func(t *testing.T) {
			s := newLoginSite(t)
			if served {
				s.mux.HandleFunc("/.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
					w.Write([]byte(`{"issuer": "` + s.URL + `", "token_endpoint": "` + s.URL + `/token"}`))
				})
			}
			tr := newTrace(t, loginTarget(s, func(t *Target) { t.Metadata = map[string]any{"token_endpoint": s.URL + "/token"} }))
			tr.Tester.Metadata = tr.Discover()
			if got := tr.offersDPoP(); got == served {
				t.Errorf("a proof is tried: %v (metadata of %s)", got, tr.Tester.Metadata.From)
			}
		})
	}
}
