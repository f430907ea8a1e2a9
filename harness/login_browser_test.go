package harness

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// rendered makes a target whose logins take the browser. A machine without one skips the test; in CI that is a failure.
func rendered(t *testing.T, s *loginSite, edit ...func(*Target)) *Target {
	t.Helper()
	if _, err := FindChromium(""); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return loginTarget(s, append([]func(*Target){func(t *Target) { t.Login.Driver = "browser" }}, edit...)...)
}

func (s *loginSite) handle(path string, do http.HandlerFunc) {
	s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		do(w, r)
	})
}

func TestTheBrowserFillsAPlainForm(t *testing.T) {
	s := newLoginSite(t)
	s.handle("/authorize", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "one", Value: "first-cookie-1", HttpOnly: true, Path: "/"})
		http.SetCookie(w, &http.Cookie{Name: "two", Value: "second-cookie-2", SameSite: http.SameSiteStrictMode, Path: "/"})
		http.Redirect(w, r, "/login", http.StatusFound)
	})
	s.page("GET /login", loginForm)
	s.handle("POST /login", s.checkPassword(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"one", "two"} {
			if _, err := r.Cookie(name); err != nil {
				t.Errorf("the browser sent no cookie %s", name)
			}
		}
		back(w, r, http.StatusSeeOther)
	}, nil))
	tr, o := authorize(t, rendered(t, s))
	wantCode(t, o)
	if !o.Code.Front.Showed(LoginForm) || o.Code.Front.Showed(ConsentForm) {
		t.Errorf("hops: %+v", o.Code.Front.Hops)
	}
	text := ""
	for _, x := range tr.Exchanges() {
		text += x.Step + " " + x.Request.Method + " " + x.Request.Body + "\n"
		for _, f := range x.Request.Headers {
			text += f.Name + ": " + f.Value + "\n"
		}
	}
	wantText(t, text, "authorization request GET", "login form POST", "User-Agent: popcheck/test")
	for _, secret := range []string{"secret-password", "first-cookie-1", "second-cookie-2"} {
		if strings.Contains(text, secret) {
			t.Errorf("%s is in the record", secret)
		}
	}
}

func TestTheBrowserReadsEveryWayBack(t *testing.T) {
	for name, page := range map[string]string{
		"by script":            `<script>location = "` + callback + `?code=the-Code-1"</script>`,
		"in a fragment":        `<script>location = "` + callback + `#code=the-Code-1"</script>`,
		"later":                `<script>setTimeout(() => location.replace("` + callback + `?code=the-Code-1"), 200)</script>`,
		"refresh":              `<meta http-equiv=refresh content="0; url=` + callback + `?code=the-Code-1">`,
		"form_post":            `<body onload="document.forms[0].submit()"><form method=post action="` + callback + `"><input type=hidden name=code value=the-Code-1></form>`,
		"form_post, no script": `<form method=post action="` + callback + `"><input type=hidden name=code value=the-Code-1></form>`,
		"private-use scheme":   `<script>location = "com.example.app:/cb?code=the-Code-1"</script>`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newLoginSite(t)
			s.page("/authorize", page)
			_, o := authorize(t, rendered(t, s, func(t *Target) { t.Clients[0].RedirectURIs = append(t.Clients[0].RedirectURIs, "com.example.app:/cb") }))
			wantCode(t, o)
		})
	}
}

// TestTheBrowserContactsNoOtherHost counts what arrives at a server that the target file does not name.
func TestTheBrowserContactsNoOtherHost(t *testing.T) {
	stranger, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	var arrived atomic.Int32
	go func() {
		for {
			conn, err := stranger.Accept()
			if err != nil {
				return
			}
			arrived.Add(1)
			conn.Close()
		}
	}()
	elsewhere := stranger.Addr().String()
	s := newLoginSite(t)
	s.page("/authorize", `<link rel=preconnect href="http://HOST"><link rel=stylesheet href="http://HOST/a.css"><link rel=dns-prefetch href="http://HOST"><img src="http://HOST/a.png">
		<script src="http://HOST/a.js"></script><iframe src="http://HOST/frame"></iframe>
		<script>fetch("http://HOST/api", {method: "POST", body: "x", mode: "no-cors"}).catch(() => 0); new WebSocket("ws://HOST/socket"); navigator.sendBeacon("http://HOST/beacon", "x");
		new Worker(URL.createObjectURL(new Blob(['fetch("http://HOST/worker", {mode: "no-cors"}).catch(() => 0); new WebSocket("ws://HOST/worker")']))); window.open("http://HOST/window")</script>`+loginForm)
	s.handle("POST /login", s.checkPassword(func(w http.ResponseWriter, r *http.Request) { back(w, r, http.StatusFound) }, nil))
	handler := s.Config.Handler
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(replacing{w, strings.NewReplacer("HOST", elsewhere)}, r)
	})
	tr, o := authorize(t, rendered(t, s, func(t *Target) { t.Hosts = []string{strings.TrimPrefix(s.URL, "http://")} }))
	wantCode(t, o)
	if n := arrived.Load(); n != 0 {
		t.Errorf("%d connections came to a host that the target file does not name", n)
	}
	said := ""
	for _, x := range tr.Exchanges() {
		said += x.Step + ": " + x.Response.Error + "\n"
	}
	wantText(t, said, "part of a page, not sent: host not named: the target file does not name "+elsewhere)

	t.Run("where it is sent there", func(t *testing.T) {
		s := newLoginSite(t)
		s.page("/authorize", `<script>location = "http://`+elsewhere+`/login"</script>`)
		_, o := authorize(t, rendered(t, s, func(t *Target) { t.Hosts = []string{strings.TrimPrefix(s.URL, "http://")} }))
		wantText(t, o.Why, "went on to http://"+elsewhere, "does not name")
		if n := arrived.Load(); n != 0 {
			t.Errorf("%d connections came", n)
		}
	})
}

type replacing struct {
	http.ResponseWriter
	with *strings.Replacer
}

func (r replacing) Write(p []byte) (int, error) {
	_, err := r.ResponseWriter.Write([]byte(r.with.Replace(string(p))))
	return len(p), err
}

func TestTheBrowserFollowsSelectors(t *testing.T) {
	s := newLoginSite(t)
	s.page("/authorize", `<div id=app></div><script>
		const step = (...html) => document.getElementById("app").innerHTML = html.join("");
		step('<input id=f1><input id=f2><button id=go type=button>Weiter</button>');
		go.onclick = () => setTimeout(() => {
			const user = f1.value + "@" + f2.value;
			step('<input id=f3 type=text><span id=ok>Los</span>');
			ok.onclick = () => fetch("/login", {method: "POST", body: new URLSearchParams({username: user, password: f3.value})}).then(r => r.text()).then(to => location = to);
		}, 300)</script>`)
	s.handle("POST /login", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("username") != "alice@corp" || r.FormValue("password") != "secret-password" {
			t.Errorf("came: %v", r.Form)
		}
		w.Write([]byte(callback + "?code=the-Code-1"))
	})
	_, o := authorize(t, rendered(t, s, func(t *Target) {
		t.Login.Steps = []LoginStep{{Fill: "#f1", With: "username"}, {Fill: "#f2", Text: "corp"}, {Click: "#go"}, {Fill: "#f3", With: "password"}, {Click: "#ok"}}
	}))
	wantCode(t, o)
	if !o.Code.Front.Showed(LoginForm) {
		t.Errorf("hops: %+v", o.Code.Front.Hops)
	}
}

func TestTheBrowserSaysWhatWentWrong(t *testing.T) {
	s := newLoginSite(t)
	s.page("/authorize", `<title>Sign in</title><input name=user placeholder="User name"><input type=password name=pw><button>Log in</button><script>
		document.querySelector("button").onclick = () => fetch("/login", {method: "POST"}).then(() => document.body.append("Wrong, said the server to alice"))</script>`)
	s.handle("/login", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	target := rendered(t, s)
	tr := newTrace(t, target)
	tr.Tester.FailedLogins = t.TempDir() + "/login-failed.txt"
	tr.Metadata.Members["authorization_endpoint"] = target.Issuer + "/authorize"
	o := tr.Authorize(AuthorizationRequest{Who: Identity{Client: &target.Clients[0]}})
	wantText(t, o.Why, "user alice was refused", `"A page"`, s.URL+"/authorize", "user, pw", "kept in")
	kept, err := os.ReadFile(tr.Tester.FailedLogins)
	if err != nil {
		t.Fatal(err)
	}
	wantText(t, string(kept), "Wrong, said the server")
	if strings.Contains(string(kept), "secret-password") {
		t.Error("the password is in the page that was kept")
	}
	t.Run("no browser", func(t *testing.T) {
		target := rendered(t, s, func(t *Target) { t.Login.Browser = "/nowhere/chromium" })
		_, o := authorize(t, target)
		wantText(t, o.Why, "no Chromium was found", "login.browser", "/nowhere/chromium")
		if _, err := FindChromium("/nowhere/chromium"); !errors.Is(err, ErrNoBrowser) {
			t.Errorf("%v", err)
		}
	})
	t.Run("an error page", func(t *testing.T) {
		s := newLoginSite(t)
		s.handle("/authorize", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			w.Write([]byte("<title>No</title><p>The client is unknown.<button>Continue</button>"))
		})
		began := time.Now()
		_, o := authorize(t, rendered(t, s))
		if o.State != Refused || o.Where != OnPage || o.Status != 400 {
			t.Errorf("settled as %+v after %s", o, time.Since(began))
		}
	})
}

// TestTheBrowserMissesAPartOfAPage: what scripts could not build is no refusal.
func TestTheBrowserMissesAPartOfAPage(t *testing.T) {
	builds := `document.body.innerHTML = "<form action=/login method=post><input name=username><input type=password name=password><button>Go</button></form>"`
	site := func(t *testing.T, script http.HandlerFunc) *loginSite {
		s := newLoginSite(t)
		s.page("/authorize", `<body><script src="/app.js"></script>`)
		s.mux.HandleFunc("/app.js", script)
		s.handle("POST /login", s.checkPassword(func(w http.ResponseWriter, r *http.Request) { back(w, r, http.StatusFound) }, nil))
		return s
	}
	t.Run("of a large application", func(t *testing.T) {
		s := site(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/javascript")
			io.WriteString(w, builds+"\n//"+strings.Repeat("x", 400<<10))
		})
		tr, o := authorize(t, rendered(t, s))
		wantCode(t, o)
		for _, x := range tr.Exchanges() {
			if len(x.Response.Body) > evidenceLimit {
				t.Errorf("%s: %d bytes are kept", x.Request.URL, len(x.Response.Body))
			}
		}
	})
	for name, test := range map[string]struct {
		script http.HandlerFunc
		want   string
	}{
		"too large": {func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 40*64<<10)) }, "/app.js: too large"},
		"an error":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "/app.js: HTTP 502"},
	} {
		t.Run(name, func(t *testing.T) {
			_, o := authorize(t, rendered(t, site(t, test.script)))
			if o.State == Refused {
				t.Errorf("it counts as a refusal: %+v", o)
			}
			wantText(t, o.Why, "a part of the page did not come", test.want, `"A page"`)
		})
	}
	t.Run("a host that is not named", func(t *testing.T) {
		s := newLoginSite(t)
		s.page("/authorize", `<body><script src="http://cdn.example/app.js"></script>`)
		_, o := authorize(t, rendered(t, s))
		wantText(t, o.Why, "nothing can be pressed", "cdn.example", "hosts")
	})
}
