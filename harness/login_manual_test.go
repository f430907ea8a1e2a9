package harness

import (
	"context"
	"errors"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

var addressTold = regexp.MustCompile(`https?://127\.0\.0\.1:\d+/authorize\S*`)

// byHand makes a target whose client waits for its redirect at a free port of this machine.
func byHand(t *testing.T, s *loginSite) (*Trace, *Target, string) {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	redirect := "http://" + free.Addr().String() + "/cb"
	free.Close()
	target := loginTarget(s, func(t *Target) {
		t.Login.Driver, t.Limits.Login = "manual", 20*time.Second
		t.Clients[0].RedirectURIs = []string{redirect}
	})
	tr := newTrace(t, target)
	tr.Metadata.Members["authorization_endpoint"] = target.Issuer + "/authorize"
	return tr, target, redirect
}

func TestAPersonLogsIn(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter, redirect string){
		"query": func(w http.ResponseWriter, redirect string) {
			w.Header().Set("Location", redirect+"?code=the-Code-1&state=s")
			w.WriteHeader(http.StatusFound)
		},
		"fragment": func(w http.ResponseWriter, redirect string) { // as the script of the listener's page hands it over
			w.Header().Set("Location", redirect+"?popcheck-fragment=code%3Dthe-Code-1%26state%3Ds")
			w.WriteHeader(http.StatusFound)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newLoginSite(t)
			tr, target, redirect := byHand(t, s)
			s.mux.HandleFunc("/authorize", func(w http.ResponseWriter, _ *http.Request) { answer(w, redirect) })
			told := ""
			tr.Tester.Person.Tell = func(text string) {
				told = text
				go http.Get(addressTold.FindString(text))
			}
			o := tr.Authorize(AuthorizationRequest{Who: Identity{Client: &target.Clients[0]}})
			wantCode(t, o)
			wantText(t, told, "as alice", "in a browser", redirect)
			if o.Code.Front.Unseen == "" {
				t.Error("the pages count as seen")
			}
			if x := tr.Exchanges(); len(x) != 1 || strings.Contains(x[0].Response.Headers[0].Value, "the-Code-1") {
				t.Errorf("recorded: %+v", x)
			}
		})
	}
	t.Run("form_post", func(t *testing.T) {
		s := newLoginSite(t)
		tr, target, redirect := byHand(t, s)
		tr.Tester.Person.Tell = func(string) { go http.PostForm(redirect, map[string][]string{"code": {"the-Code-1"}}) }
		wantCode(t, tr.Authorize(AuthorizationRequest{Who: Identity{Client: &target.Clients[0]}, Session: NewSession}))
	})
}

func TestAPersonPastes(t *testing.T) {
	s := newLoginSite(t)
	target := loginTarget(s, func(t *Target) { t.Login.Driver, t.Limits.Login = "manual", 2*time.Second })
	try := func(read func(context.Context) (string, error)) (string, Outcome) {
		tr, told := newTrace(t, target), ""
		tr.Metadata.Members["authorization_endpoint"] = target.Issuer + "/authorize"
		tr.Tester.Person = Person{Tell: func(text string) { told += text }, Read: read}
		return told, tr.Authorize(AuthorizationRequest{Who: Identity{Client: &target.Clients[0]}, Session: NewSession})
	}
	line := func(text string) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { return text, nil }
	}
	_, o := try(line(" " + callback + "?code=the-Code-1 \n"))
	wantCode(t, o)
	for name, test := range map[string]struct {
		read func(context.Context) (string, error)
		says []string
	}{
		"another address": {line("https://evil.example/cb?code=the-Code-1\n"), []string{"none of the client's redirect_uris"}},
		"a page":          {line("page\n"), []string{"was sent nowhere"}},
		"the end":         {func(context.Context) (string, error) { return "", errors.New("EOF") }, []string{"terminal"}},
		"nobody": {func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() },
			[]string{"within 2s", "limits.login"}},
		"no terminal": {nil, []string{"no redirect URI of client spa is http on this machine", "no terminal"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, o := try(test.read)
			if o.State != Unknown {
				t.Errorf("settled as %+v", o)
			}
			wantText(t, o.Why, test.says...)
		})
	}
}
