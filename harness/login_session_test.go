package harness

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
)

// sessionSite asks for a login where nobody is logged in; forget drops every session.
func sessionSite(t *testing.T) (s *loginSite, forget *atomic.Int32) {
	s, forget = newLoginSite(t), &atomic.Int32{}
	current := func() string { return "session-" + strings.Repeat("x", int(forget.Load())+1) }
	s.mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie("session"); err == nil && c.Value == current() {
			back(w, r, http.StatusFound)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<title>Log in</title>"+loginForm)
	})
	s.mux.HandleFunc("/login", s.checkPassword(func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: current(), Path: "/"})
		back(w, r, http.StatusFound)
	}, nil))
	return s, forget
}

func TestALostSessionIsRenewedOnce(t *testing.T) {
	s, forget := sessionSite(t)
	target := loginTarget(s)
	tr := newTrace(t, target)
	tr.Metadata.Members["authorization_endpoint"] = target.Issuer + "/authorize"
	again := func() Outcome { return tr.Authorize(AuthorizationRequest{Who: Identity{Client: &target.Clients[0]}}) }
	steps := func() (all string) {
		for _, x := range tr.Exchanges() {
			all += x.Step + "\n"
		}
		return all
	}
	wantCode(t, again())
	wantCode(t, again())
	if n := s.counted(); n != 1 || strings.Contains(steps(), "lost") {
		t.Fatalf("%d logins: %s", n, steps())
	}
	forget.Add(1)
	o := again()
	wantCode(t, o)
	if !o.Code.Front.Renewed || s.counted() != 2 {
		t.Errorf("renewed: %v, logins: %d", o.Code.Front.Renewed, s.counted())
	}
	wantText(t, steps(), "login form (the session of user alice was lost; its login is renewed)")
	forget.Add(1)
	o = again()
	wantCode(t, o)
	if o.Code.Front.Renewed || s.counted() != 3 {
		t.Errorf("a session that is lost at each authorization was none; renewed: %v, logins: %d", o.Code.Front.Renewed, s.counted())
	}
	wantCode(t, again())
}

// A server without sessions loses none.
func TestAServerWithoutSessionsLosesNone(t *testing.T) {
	s, forget := sessionSite(t)
	s.mux.HandleFunc("/unknown", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, callback+"?error=login_required&state=s", http.StatusFound)
	})
	target := loginTarget(s)
	tr := newTrace(t, target)
	tr.Metadata.Members["authorization_endpoint"] = target.Issuer + "/authorize"
	for range 3 {
		o := tr.Authorize(AuthorizationRequest{Who: Identity{Client: &target.Clients[0]}})
		wantCode(t, o)
		if o.Code.Front.Renewed {
			t.Error("a session that never was is said to be lost")
		}
		forget.Add(1)
		tr.Metadata.Members["authorization_endpoint"] = target.Issuer + "/unknown" // an error needs no login, and shows no session
		tr.Authorize(AuthorizationRequest{Who: Identity{Client: &target.Clients[0]}})
		tr.Metadata.Members["authorization_endpoint"] = target.Issuer + "/authorize"
	}
}

// steppingClock passes at once.
type steppingClock struct {
	now   time.Time
	slept time.Duration
}

func (c *steppingClock) Now() time.Time { return c.now }
func (c *steppingClock) Sleep(_ context.Context, d time.Duration) {
	c.now, c.slept = c.now.Add(d), c.slept+d
}

func TestOneTimeCodesAreSentOnce(t *testing.T) {
	const seed = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
	clock := &steppingClock{now: time.Unix(1_900_000_010, 0)}
	s := newLoginSite(t)
	s.page("/authorize", loginForm)
	var seen []string
	form := `<title>Second factor</title><form method=post action=/code><label for=c>Code of your authenticator app</label><input id=c name=c7><button>Verify</button></form>`
	refuse := false
	s.mux.HandleFunc("/login", s.checkPassword(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, form)
	}, nil))
	s.mux.HandleFunc("/code", func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.FormValue("c7"))
		if want, _ := totp.GenerateCode(seed, clock.now); refuse || r.FormValue("c7") != want {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, form)
			return
		}
		back(w, r, http.StatusFound)
	})
	target := loginTarget(s, func(t *Target) { t.Users[0].TOTPSeed = seed })
	tr := newTrace(t, target)
	tr.Tester.Clock = clock
	tr.Metadata.Members["authorization_endpoint"] = target.Issuer + "/authorize"
	q := AuthorizationRequest{Who: Identity{Client: &target.Clients[0]}, Session: NewSession}
	wantCode(t, tr.Authorize(q))
	wantCode(t, tr.Authorize(q))
	if len(seen) != 2 || seen[0] == seen[1] || clock.slept != 10*time.Second {
		t.Errorf("codes %q, waited %s", seen, clock.slept)
	}
	refuse = true
	o := tr.Authorize(q)
	wantText(t, o.Why, "two one-time codes were not taken", "totp_seed", `"Second factor"`)
	if n := len(seen); n != 4 || seen[2] == seen[3] {
		t.Errorf("codes %q", seen)
	}
	target.Users[0].TOTPSeed = ""
	wantText(t, tr.Authorize(q).Why, "user alice has no totp_seed")
	for _, x := range tr.Exchanges() {
		for _, code := range seen {
			if strings.Contains(x.Request.Body, code) {
				t.Error("a code is in the record")
			}
		}
	}
}

func TestTheExecDriverKeepsASession(t *testing.T) {
	target := execTarget(t, "session")
	tr := newTrace(t, target)
	tr.Metadata.Members["authorization_endpoint"] = "https://as.example/authorize"
	q := AuthorizationRequest{Who: Identity{Client: &target.Clients[0]}}
	dirs := map[string]bool{}
	for i, want := range []string{"0", "1", "2"} {
		o := tr.Authorize(q)
		wantCode(t, o)
		if got := o.Code.Response.Get("calls"); got != want {
			t.Errorf("call %d found %q in its session directory, want %q", i, got, want)
		}
		dirs[o.Code.Response.Get("dir")] = true
	}
	q.Session = NewSession
	o := tr.Authorize(q)
	wantCode(t, o)
	if got := o.Code.Response.Get("calls"); got != "0" {
		t.Errorf("a new session began with %q", got)
	}
	tr.Tester.Close()
	dirs[o.Code.Response.Get("dir")] = true
	for dir := range dirs {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is left behind", dir)
		}
	}
}

func TestTheExecDriverTellsOfAPage(t *testing.T) {
	_, o := authorize(t, execTarget(t, "page"))
	if o.State != Refused || o.Where != OnPage || o.Status != 400 {
		t.Errorf("settled as %+v", o)
	}
}

func TestFailingProgramsCount(t *testing.T) {
	target := execTarget(t, "fail")
	tr := newTrace(t, target)
	tr.Metadata.Members["authorization_endpoint"] = "https://as.example/authorize"
	for range target.Limits.FailedLogins {
		tr.Authorize(AuthorizationRequest{Who: Identity{Client: &target.Clients[0]}})
	}
	wantText(t, tr.Stopped(), "3 logins failed (limits.failed_logins)")
}
