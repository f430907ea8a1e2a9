package harness

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// consentSite logs everybody in by the name in the form, and asks for consent once, or never; prompt=consent asks again where it is known.
func consentSite(t *testing.T, asks, knowsPrompt string) *Target {
	t.Helper()
	var mu sync.Mutex
	consented := map[string]bool{}
	s := plainServer(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		r.ParseForm()
		who := r.Form.Get("username")
		if c, err := r.Cookie("who"); err == nil && who == "" {
			who = c.Value
		}
		w.Header().Set("Content-Type", "text/html")
		prompted := r.Form.Get("prompt") == "consent" && knowsPrompt != ""
		switch {
		case who == "":
			w.Write([]byte(`<form method="post"><input type="text" name="username"><input type="password" name="password"><button>Log in</button></form>`))
			return
		case r.Form.Get("decision") == "allow":
			consented[who] = true
		case asks != "" && !consented[who], prompted:
			http.SetCookie(w, &http.Cookie{Name: "who", Value: who})
			w.Write([]byte(`<form method="post"><button name="decision" value="deny">Deny</button><button name="decision" value="allow">Allow</button></form>`))
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "who", Value: who})
		http.Redirect(w, r, "https://client.example/cb?code=Code1234", http.StatusSeeOther)
	})
	return testTarget(s.URL, func(target *Target) {
		target.Clients = []Client{{ClientID: "spa", TokenEndpointAuthMethod: "none", RedirectURIs: []string{"https://client.example/cb"}}}
		for _, name := range []string{"alice", "bob", "carol"} {
			target.Users = append(target.Users, User{Username: name, Password: "password of " + name})
		}
	})
}

func TestFirstConsentsAreSpent(t *testing.T) {
	for name, test := range map[string]struct {
		asks, prompt string
		want         []string // parts of How, or of Why, of one Consenting after the other
	}{
		"asked once":            {"yes", "yes", []string{"first consent of user carol", "first consent of user bob", "repeated consent of user alice", "name more users"}},
		"asked once, no prompt": {"yes", "", []string{"first consent of user carol", "first consent of user bob", "prompt=consent shows no consent page either", "consented in this run: bob, carol"}},
		"never asked":           {"", "", []string{"no consent page was shown to: bob, carol", "no user is left"}},
	} {
		t.Run(name, func(t *testing.T) {
			target := consentSite(t, test.asks, test.prompt)
			tr := newTrace(t, target)
			tr.Metadata.Members["authorization_endpoint"] = target.Issuer + "/authorize"
			q := AuthorizationRequest{Who: Identity{Client: &target.Clients[0]}}
			if o := tr.Authorize(q); o.State != Granted {
				t.Fatal(o)
			}
			for i, want := range test.want {
				c := tr.Consenting(q)
				if c.State != Granted || !strings.Contains(c.How+c.Why, want) || (c.How == "") == (c.Why == "") {
					t.Errorf("%d: how %q, why %q, want %q: %s", i, c.How, c.Why, want, c.Outcome)
				}
			}
		})
	}
}

// A user whose password is wrong costs one login, not one for each check.
func TestAUserWhoCannotLogInIsNotTriedAgain(t *testing.T) {
	c, users := &Client{ClientID: "spa"}, []User{{Username: "alice"}, {Username: "bob"}, {Username: "carol"}}
	s := newConsents()
	var spent []string
	for user := s.spend(c, users); user != nil; user = s.spend(&Client{ClientID: c.ClientID + "x"}, users) {
		if user.Username == "carol" {
			s.exclude(user, "wrong password")
		}
		spent = append(spent, user.Username)
	}
	if !slices.Equal(spent, []string{"carol", "bob"}) {
		t.Errorf("spent: %v", spent)
	}
	wantText(t, s.ranOut(c, users), "could not log in: carol", "users in the target file: 3")
}
