package harness

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func htmlAnswer(t testing.TB, address, body string) *Answer {
	return &Answer{Status: 200, Header: http.Header{"Content-Type": {"text/html"}}, Body: []byte(body), URL: mustURL(t, address)}
}

func TestWhatAUserSubmits(t *testing.T) {
	const at = "https://as.example/auth/login?session=1"
	const submit = `<button>Sign in</button>`
	for name, test := range map[string]struct {
		page   string
		fields map[string]string
		want   string // method, address, and the form of a POST; "" is no form at all
	}{
		"Keycloak": {`<html><head><title>Sign in</title></head><body>
			<form id="kc-form-login" onsubmit="login.disabled = true; return true;" action="https://as.example/realms/x/login-actions/authenticate?session_code=a&amp;execution=b" method="post">
			<label for="username">Username or email</label><input tabindex="2" id="username" name="username" value="" type="text" autofocus autocomplete="username"/>
			<label for="password">Password</label><input id="password" name="password" type="password" autocomplete="current-password"/>
			<button type="button" aria-label="Show password" data-password-toggle>show</button>
			<input id="rememberMe" name="rememberMe" type="checkbox"> Remember me
			<input type="hidden" id="id-hidden-input" name="credentialId"/>
			<input name="login" id="kc-login" type="submit" value="Sign In"/></form></body>`, nil,
			"POST https://as.example/realms/x/login-actions/authenticate?session_code=a&execution=b username=alice&password=secret&credentialId=&login=Sign+In"},
		"Keycloak, consent": {`<form class="form-actions" action="/realms/x/login-actions/consent?client_id=spa" method="POST">
			<input type="hidden" name="code" value="abc"><div><input class="btn" name="accept" id="kc-login" type="submit" value="Yes"/>
			<input name="cancel" id="kc-cancel" type="submit" value="No"/></div></form>`, nil,
			"POST https://as.example/realms/x/login-actions/consent?client_id=spa code=abc&accept=Yes"},
		"Django": {`<form method="post" action="."><input type="hidden" name="csrfmiddlewaretoken" value="0123456789abcdef">
			<p><label for="id_username">Username:</label> <input type="text" name="username" id="id_username" maxlength="150" required></p>
			<p><label for="id_password">Password:</label> <input type="password" name="password" id="id_password" required></p>
			<button type="submit">Log in</button><input type="hidden" name="next" value="/o/authorize/?a=b&amp;c=d"></form>`, nil,
			"POST https://as.example/auth/ csrfmiddlewaretoken=0123456789abcdef&username=alice&password=secret&next=%2Fo%2Fauthorize%2F%3Fa%3Db%26c%3Dd"},
		"Django, consent": {`<form id="authorizationForm" method="post"><input type="hidden" name="csrfmiddlewaretoken" value="x">
			<input type="hidden" name="redirect_uri" value="https://c/cb"><ul><li>Read</li></ul>
			<input type="submit" class="btn" value="Cancel"/><input type="submit" class="btn btn-primary" name="allow" value="Authorize"/></form>`, nil,
			"POST https://as.example/auth/login?session=1 csrfmiddlewaretoken=x&redirect_uri=https%3A%2F%2Fc%2Fcb&allow=Authorize"},
		"ASP.NET": {`<form method="post" action="./Login"><input type="hidden" name="__VIEWSTATE" id="__VIEWSTATE" value="/wEP+=" />
			<input name="ctl00$Main$txtUserName" type="text" id="txtUserName" /><input name="ctl00$Main$txtPassword" type="password" />
			<input type="checkbox" name="Input.RememberLogin" value="true" /><input type="submit" name="ctl00$Main$btn" value="Submit" />
			<input type="hidden" name="Input.RememberLogin" value="false" /></form>`, nil,
			"POST https://as.example/auth/Login __VIEWSTATE=%2FwEP%2B%3D&ctl00%24Main%24txtUserName=alice&ctl00%24Main%24txtPassword=secret&Input.RememberLogin=false&ctl00%24Main%24btn=Submit"},
		"IdentityServer, buttons": {`<form><input type=hidden name=ReturnUrl value="/x"><input name=Input.Username><input type=password name=Input.Password>
			<button class="btn" name="Input.Button" value="login">Login</button><button name="Input.Button" value="cancel">Cancel</button></form>`, nil,
			"GET https://as.example/auth/login?ReturnUrl=%2Fx&Input.Username=alice&Input.Password=secret&Input.Button=login"},
		"username alone": {`<form method=post><input type=email name=identifier><button>Next</button></form>`, nil,
			"POST https://as.example/auth/login?session=1 identifier=alice"},
		"username alone, told by its label": {`<form method=post><label for=f1>User name</label><input id=f1 name=f1><button>Weiter</button></form>`, nil,
			"POST https://as.example/auth/login?session=1 f1=alice"},
		"username alone, in its label": {`<form method=post><label>E-mail <input name=f1></label><button>Weiter</button></form>`, nil,
			"POST https://as.example/auth/login?session=1 f1=alice"},
		"password alone": {`<form method=post><input type=hidden name=username value=alice><input type=password name=p><button>Log in</button></form>`, nil,
			"POST https://as.example/auth/login?session=1 username=alice&p=secret"},
		"nameless first field beside a password": {`<form method=post><input name=j_x><input name=j_y type=password>` + submit + `</form>`, nil,
			"POST https://as.example/auth/login?session=1 j_x=alice&j_y=secret"},
		"fields named by the target file": {`<form method=post><input name=domain value=corp><input name=a><input name=b>` + submit + `</form>`, map[string]string{"username": "a", "password": "b"},
			"POST https://as.example/auth/login?session=1 domain=corp&a=alice&b=secret"},
		"one field named by the target file": {`<form method=post><input name=domain value=corp><input name=a><input type=password name=b><input type=password name=c>` + submit + `</form>`,
			map[string]string{"username": "a", "password": "c"}, "POST https://as.example/auth/login?session=1 domain=corp&a=alice&b=&c=secret"},
		"a named user field alone": {`<form action=/search><input name=q><button>Search</button></form><form method=post><input name=f7><input type=submit value=Weiter></form>`,
			map[string]string{"username": "f7"}, "POST https://as.example/auth/login?session=1 f7=alice"},
		"search, language and logout beside": {`<form action=/search method=get><input name=q type=search><button>Search</button></form>
			<form action=/locale method=post><select name=locale><option>de</select><button>Change language</button></form>
			<form action=/logout method=post><button>Log out</button></form>
			<form action=/login method=post><input name=user><input type=password name=pw>` + submit + `</form>
			<form action=/register method=post><input name=email type=email><button>Register</button></form>`, nil,
			"POST https://as.example/login user=alice&pw=secret"},
		"logout beside consent": {`<form action=/logout method=post><button>Sign out</button></form><form action=/consent method=post><button name=ok value=1>Allow</button></form>`, nil,
			"POST https://as.example/consent ok=1"},
		"only logout":      {`<form action=/logout method=post><button>Sign out</button></form>`, nil, ""},
		"only search":      {`<form action=/search><input name=q><button>Search</button></form>`, nil, ""},
		"no form":          {`<p>Something went wrong</p>`, nil, ""},
		"deny before":      {`<form method=post><button name=d value=no>Deny</button><button name=d value=yes>Allow</button></form>`, nil, "POST https://as.example/auth/login?session=1 d=yes"},
		"deny after":       {`<form method=post><button name=d value=yes>Allow</button><button name=d value=no>Deny</button></form>`, nil, "POST https://as.example/auth/login?session=1 d=yes"},
		"don't allow":      {`<form method=post><button name=d value=0>Don’t allow</button><button name=d value=1>Allow</button></form>`, nil, "POST https://as.example/auth/login?session=1 d=1"},
		"do not authorize": {`<form method=post><button name=d value=0>Do not authorize</button><button name=d value=1>Authorise</button></form>`, nil, "POST https://as.example/auth/login?session=1 d=1"},
		"two forms": {`<form action=/deny method=post><input type=submit value=Deny></form><form action=/allow method=post><input type=submit value=Allow></form>`, nil,
			"POST https://as.example/allow "},
		"log in with another account, first": {`<form method=post><button name=idp value=g>Sign in with Google</button><input name=user><input type=password name=pw><button name=idp value=own>Sign in</button></form>`, nil,
			"POST https://as.example/auth/login?session=1 user=alice&pw=secret&idp=own"},
		"scopes as checkboxes": {`<form method=post><input type=checkbox name=scope value=openid checked disabled><input type=checkbox name=scope value=read><input type=checkbox name=scope value=write checked>
			<input type=checkbox name=remember><button name=a value=ok>Accept</button></form>`, nil, "POST https://as.example/auth/login?session=1 scope=read&scope=write&remember=on&a=ok"},
		"decision as radio buttons": {`<form method=post><label><input type=radio name=d value=deny> Deny</label><label><input type=radio name=d value=allow> Allow</label><button>Submit</button></form>`, nil,
			"POST https://as.example/auth/login?session=1 d=allow"},
		"checked radio button": {`<form method=post><input type=radio name=d value=1 checked> Always <input type=radio name=d value=2> Accept once<button>Submit</button></form>`, nil,
			"POST https://as.example/auth/login?session=1 d=1"},
		"formaction": {`<form method=post action=/x><button formaction=/deny>Deny</button><button formaction="allow?y=1" name=b>Allow</button></form>`, nil,
			"POST https://as.example/auth/allow?y=1 b="},
		"formmethod":           {`<form action=/x><input type=hidden name=a value=b><button formmethod=POST>Allow</button></form>`, nil, "POST https://as.example/x a=b"},
		"image button":         {`<form method=post><input name=user><input type=password name=pw><input type=image name=go src=go.png alt="Sign in"></form>`, nil, "POST https://as.example/auth/login?session=1 user=alice&pw=secret&go.x=1&go.y=1"},
		"nameless image":       {`<form method=post><input name=user><input type=password name=pw><input type=image src=go.png></form>`, nil, "POST https://as.example/auth/login?session=1 user=alice&pw=secret&x=1&y=1"},
		"relative action":      {`<form method=post action=do><input name=user><input type=password name=pw></form>`, nil, "POST https://as.example/auth/do user=alice&pw=secret"},
		"parent action":        {`<form method=post action="../do#part"><input name=user><input type=password name=pw></form>`, nil, "POST https://as.example/do user=alice&pw=secret"},
		"action of a query":    {`<form method=post action="?step=2"><input name=user><input type=password name=pw></form>`, nil, "POST https://as.example/auth/login?step=2 user=alice&pw=secret"},
		"action without host":  {`<form method=post action="//sso.example/do"><input name=user><input type=password name=pw></form>`, nil, "POST https://sso.example/do user=alice&pw=secret"},
		"unusable action":      {`<form method=post action="http://[::1"><input name=user><input type=password name=pw></form>`, nil, ""},
		"base":                 {`<base href="https://other.example/deep/"><base href=/no/><form method=post action=do><input name=user><input type=password name=pw></form>`, nil, "POST https://other.example/deep/do user=alice&pw=secret"},
		"base without action":  {`<base href="/deep/"><form method=post><input name=user><input type=password name=pw></form>`, nil, "POST https://as.example/auth/login?session=1 user=alice&pw=secret"},
		"GET replaces a query": {`<form action="/do?old=1"><input name=user><input type=password name=pw></form>`, nil, "GET https://as.example/do?user=alice&pw=secret"},
		"GET consent":          {`<form action="/do"><input type=hidden name=t value=1><button>Continue</button></form>`, nil, "GET https://as.example/do?t=1"},
		"upper case":           {`<FORM METHOD="POST" ACTION="/do"><INPUT TYPE="TEXT" NAME="User"><INPUT TYPE="PASSWORD" NAME="Pw"><INPUT TYPE="SUBMIT" NAME="Go" VALUE="LOGIN"></FORM>`, nil, "POST https://as.example/do User=alice&Pw=secret&Go=LOGIN"},
		"broken HTML":          {`<form method=post action=/do<input><p><input name=user value="a"b"><div><input type=password name=pw><button name=go>Log in`, nil, "POST https://as.example/do%3Cinput user=alice&pw=secret&go="},
		"form inside a table": {`<table><form method=post action=/do><tr><td><input name=user></td></tr><tr><td><input type=password name=pw></td></tr><tr><td><input type=submit value=Login></td></tr></form></table>`, nil,
			"POST https://as.example/do user=alice&pw=secret"},
		"controls outside": {`<form id=f method=post action=/do></form><p>text</p><input form=f name=user><input form=f type=password name=pw><input form=other name=x>`, nil, "POST https://as.example/do user=alice&pw=secret"},
		"disabled":         {`<form method=post><input name=a disabled value=1><fieldset disabled><input name=b value=2></fieldset><input name=user><input type=password name=pw><button disabled name=x value=y>Log in</button></form>`, nil, "POST https://as.example/auth/login?session=1 user=alice&pw=secret"},
		"select": {`<form method=post><input name=user><input type=password name=pw>
			<select name=one><option>first<option value=2>second</select>
			<select name=two><option value=1>a<option value=2 selected>b<option value=3>c</select>
			<select name=three><option value="">none<option value=1>a</select>
			<select name=four><option disabled value=0>choose<option value=1>a</select></form>`, nil,
			"POST https://as.example/auth/login?session=1 user=alice&pw=secret&one=first&two=2&three=&four=1"},
		"textarea and others": {`<form method=post><textarea name=note>some text</textarea><input name=user><input type=password name=pw><input type=file name=f><input type=reset name=r><input type=button name=b value=x><input value=nameless></form>`, nil,
			"POST https://as.example/auth/login?session=1 note=some+text&user=alice&pw=secret"},
		"submitted by script": {`<body onload="document.forms[0].submit()"><form method=post action=/next><input type=hidden name=SAMLRequest value=x></form></body>`, nil, "POST https://as.example/next SAMLRequest=x"},
		"button for those without script": {`<body onload="document.forms[0].submit()"><form method=post action=/next><input type=hidden name=a value=b><noscript><input type=submit name=c value=Continue></noscript></form>`, nil,
			"POST https://as.example/next a=b&c=Continue"},
	} {
		t.Run(name, func(t *testing.T) {
			f := readPage(htmlAnswer(t, at, test.page)).choose(test.fields)
			got := ""
			if f != nil {
				r := f.fill(test.fields, credentials{username: "alice", password: "secret"})
				got = r.Method + " " + r.URL
				if r.Method == "POST" {
					got += " " + r.Body
				}
			}
			if got != test.want {
				t.Errorf("submitted:\n%s\nwant:\n%s", got, test.want)
			}
		})
	}
}

func TestWhereAnAnswerSendsTheBrowser(t *testing.T) {
	const at = "https://as.example/auth/login?session=1"
	refresh := func(content string) string {
		return `<html><head><meta http-equiv="Refresh" content="` + content + `">`
	}
	for name, test := range map[string]struct {
		status        int
		header, value string
		page, want    string
	}{
		"absolute":          {302, "Location", "https://c.example/cb?code=1", "", "https://c.example/cb?code=1"},
		"relative":          {303, "Location", "../next", "", "https://as.example/next"},
		"without scheme":    {307, "Location", "//b.example/x", "", "https://b.example/x"},
		"app":               {302, "Location", "com.example.app:/cb?code=1#f", "", "com.example.app:/cb?code=1#f"},
		"no location":       {302, "X", "", "", ""},
		"location with 200": {200, "Location", "https://c.example/", "", ""},
		"refresh header":    {200, "Refresh", "0; url=/next", "", "https://as.example/next"},
		"refresh":           {200, "X", "", refresh("0;URL='/next'"), "https://as.example/next"},
		"refresh, no url=":  {200, "X", "", refresh("1.5, /next"), "https://as.example/next"},
		"refresh, spaced":   {200, "X", "", refresh(" 2 ;  url = https://b.example/x "), "https://b.example/x"},
		"reload":            {200, "X", "", refresh("5"), ""},
		"end of a session":  {200, "X", "", refresh("300; url=/timeout"), ""},
		"in noscript":       {200, "X", "", "<html><head><noscript>" + refresh("0; url=/plain")[12:] + "</noscript>", "https://as.example/plain"},
	} {
		t.Run(name, func(t *testing.T) {
			a := htmlAnswer(t, at, test.page)
			a.Status = test.status
			a.Header.Set(test.header, test.value)
			got := ""
			if u := redirectTarget(a); u != nil {
				got = u.String()
			}
			if got != test.want {
				t.Errorf("sent to %q, want %q", got, test.want)
			}
		})
	}
}

// loginSite is a small authorization server: what its pages are is up to the test.
type loginSite struct {
	*httptest.Server
	mux    *http.ServeMux
	mu     sync.Mutex
	logins int // passwords that came
}

func newLoginSite(t *testing.T) *loginSite {
	s := &loginSite{mux: http.NewServeMux()}
	s.Server = plainServer(t, s.mux.ServeHTTP)
	return s
}

func (s *loginSite) page(path, body string) {
	s.mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, "<title>A page</title>"+body)
	})
}

func (s *loginSite) counted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins
}

const callback = "https://client.example/cb"

func loginTarget(s *loginSite, edit ...func(*Target)) *Target {
	return testTarget(s.URL, append([]func(*Target){func(t *Target) {
		t.Clients = []Client{{ClientID: "spa", TokenEndpointAuthMethod: "none", RedirectURIs: []string{callback}, GrantTypes: []string{CodeGrant}}}
		t.Users = []User{{Username: "alice", Password: "secret-password"}}
	}}, edit...)...)
}

func authorize(t *testing.T, target *Target) (*Trace, Outcome) {
	t.Helper()
	tr := newTrace(t, target)
	tr.Clock = &hurriedClock{}
	tr.Metadata.Members["authorization_endpoint"] = target.Issuer + "/authorize"
	return tr, tr.Authorize(AuthorizationRequest{Who: Identity{Client: &target.Clients[0]}, Session: NewSession})
}

func wantCode(t *testing.T, o Outcome) {
	t.Helper()
	if o.State != Granted || o.Code == nil || o.Code.Code != "the-Code-1" {
		t.Fatalf("no code: %s (%+v)", o, o)
	}
}

const loginForm = `<form method=post action=/login><input name=username><input type=password name=password><button>Log in</button></form>`

func back(w http.ResponseWriter, r *http.Request, status int) {
	http.Redirect(w, r, callback+"?code=the-Code-1&state=s", status)
}

// checkPassword is a handler that sends who knows the password on, and shows again to everybody else.
func (s *loginSite) checkPassword(onward, again http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.logins++
		s.mu.Unlock()
		if r.Method == "POST" && r.FormValue("username") == "alice" && r.FormValue("password") == "secret-password" {
			onward(w, r)
			return
		}
		again(w, r)
	}
}

func TestLoginsOfManyKinds(t *testing.T) {
	answer := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, body)
		}
	}
	refuse := func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "wrong", http.StatusForbidden) }
	for name, build := range map[string]func(*loginSite){
		"one page": func(s *loginSite) {
			s.page("/authorize", loginForm)
			s.mux.HandleFunc("/login", s.checkPassword(func(w http.ResponseWriter, r *http.Request) { back(w, r, 303) }, refuse))
		},
		"login page with status 401": func(s *loginSite) {
			s.mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				w.WriteHeader(http.StatusUnauthorized)
				io.WriteString(w, loginForm)
			})
			s.mux.HandleFunc("/login", s.checkPassword(func(w http.ResponseWriter, r *http.Request) { back(w, r, 302) }, refuse))
		},
		"user, then password, then consent": func(s *loginSite) {
			s.page("/authorize", `<form method=post action=/user><input name=login_hint type=email><button>Next</button></form>`)
			s.page("POST /user", `<form method=post action=/login><input type=hidden name=username value=alice><input type=password name=password><button>Log in</button></form>`)
			s.mux.HandleFunc("/login", s.checkPassword(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/consent", 302) }, refuse))
			s.page("GET /consent", `<form method=post action=/consent><button name=d value=deny>Deny</button><button name=d value=allow>Allow</button></form>`)
			s.mux.HandleFunc("POST /consent", func(w http.ResponseWriter, r *http.Request) {
				if r.PostFormValue("d") == "allow" {
					back(w, r, 302)
				}
			})
		},
		"CSRF by hidden field, cookie, Origin and Referer": func(s *loginSite) {
			s.mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
				http.SetCookie(w, &http.Cookie{Name: "csrf", Value: "token 1", Quoted: true, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
				http.SetCookie(w, &http.Cookie{Name: "elsewhere", Value: "x", Path: "/other"})
				http.SetCookie(w, &http.Cookie{Name: "gone", Value: "x", Path: "/", MaxAge: -1})
				answer(`<form method=post action=/login><input type=hidden name=token value="token 1"><input name=username><input type=password name=password></form>`)(w, r)
			})
			s.mux.HandleFunc("/login", s.checkPassword(func(w http.ResponseWriter, r *http.Request) {
				cookie := r.Header.Get("Cookie")
				if cookie == `csrf="token 1"` && r.FormValue("token") == "token 1" && r.Header.Get("Origin") == s.URL && strings.HasPrefix(r.Referer(), s.URL+"/authorize?") {
					back(w, r, 302)
				}
			}, refuse))
		},
		"307 keeps method and form": func(s *loginSite) {
			s.page("/authorize", loginForm)
			s.mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login2", 307) })
			s.mux.HandleFunc("/login2", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login3", 308) })
			s.mux.HandleFunc("/login3", s.checkPassword(func(w http.ResponseWriter, r *http.Request) { back(w, r, 303) }, refuse))
		},
		"303 changes to GET": func(s *loginSite) {
			s.page("/authorize", loginForm)
			s.mux.HandleFunc("POST /login", s.checkPassword(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/resume", 303) }, refuse))
			s.mux.HandleFunc("GET /resume", func(w http.ResponseWriter, r *http.Request) {
				if r.ContentLength == 0 && r.Header.Get("Content-Type") == "" {
					back(w, r, 302)
				}
			})
		},
		"GET form": func(s *loginSite) {
			s.page("/authorize", strings.Replace(loginForm, "method=post", "", 1))
			s.mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
				if r.FormValue("password") == "secret-password" {
					back(w, r, 302)
				}
			})
		},
		"meta refresh": func(s *loginSite) {
			s.page("/authorize", `<meta http-equiv=refresh content="0; url=/start">`)
			s.page("/start", loginForm)
			s.mux.HandleFunc("/login", s.checkPassword(answer(`<meta http-equiv=refresh content="0; url=`+callback+`?code=the-Code-1">`), refuse))
		},
		"page that ends a session some day": func(s *loginSite) {
			s.page("/authorize", `<meta http-equiv=refresh content="600; url=/timeout">`+loginForm)
			s.mux.HandleFunc("/login", s.checkPassword(func(w http.ResponseWriter, r *http.Request) { back(w, r, 302) }, refuse))
		},
		"form_post": func(s *loginSite) {
			s.page("/authorize", `<body onload="document.forms[0].submit()"><form method=post action="`+callback+`"><input type=hidden name=code value=the-Code-1><input type=hidden name=state value=s></form>`)
		},
		"fragment": func(s *loginSite) {
			s.mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", callback+"#code=the-Code-1&state=s")
				w.WriteHeader(302)
			})
		},
		"script between two forms": func(s *loginSite) {
			s.page("/authorize", `<form method=post action=/idp><input type=hidden name=request value=x></form>`)
			s.page("/idp", loginForm)
			s.mux.HandleFunc("/login", s.checkPassword(func(w http.ResponseWriter, r *http.Request) { back(w, r, 302) }, refuse))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newLoginSite(t)
			build(s)
			_, o := authorize(t, loginTarget(s))
			wantCode(t, o)
		})
	}
}

func TestAWrongPasswordIsSaidAndCounted(t *testing.T) {
	for name, status := range map[string]int{"again": 200, "again, 400": 400, "again, 401": 401, "again, 422": 422, "redirect to the login page": 302} {
		t.Run(name, func(t *testing.T) {
			s := newLoginSite(t)
			s.page("GET /authorize", "<h1>Log in</h1>"+loginForm)
			s.mux.HandleFunc("/login", s.checkPassword(nil, func(w http.ResponseWriter, r *http.Request) {
				if status == 302 {
					http.Redirect(w, r, "/authorize?error", 302)
					return
				}
				w.Header().Set("Content-Type", "text/html")
				w.WriteHeader(status)
				io.WriteString(w, "<title>Wrong</title>"+loginForm)
			}))
			target := loginTarget(s, func(t *Target) { t.Users[0].Password, t.Limits.FailedLogins = "another", 2 })
			tr := newTrace(t, target)
			tr.Metadata.Members["authorization_endpoint"] = s.URL + "/authorize"
			try := func() Outcome {
				return tr.Authorize(AuthorizationRequest{Who: Identity{Client: &target.Clients[0]}, Session: NewSession})
			}
			o := try()
			if o.State != Unknown {
				t.Fatalf("a login that failed is no decision about the request: %+v", o)
			}
			wantText(t, o.Why, "alice", "was refused", "login.fields", "username, password", mustURL(t, s.URL).Host)
			if strings.Contains(o.Why, "another") {
				t.Error("the password is in the reason")
			}
			if tr.Stopped() != "" {
				t.Errorf("stopped after one of two: %s", tr.Stopped())
			}
			try()
			wantText(t, tr.Stopped(), "2 logins failed", "limits.failed_logins")
			sent := tr.Sent()
			for range 3 {
				if o := try(); o.State != Unknown {
					t.Errorf("settled as %+v", o)
				}
			}
			if s.counted() != 2 || tr.Sent() != sent {
				t.Errorf("%d passwords were sent, and %d requests after the end", s.counted(), tr.Sent()-sent)
			}
		})
	}
}

func TestLoginsThatCannotGoOn(t *testing.T) {
	redirects := func(s *loginSite) {
		s.mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/authorize", 302) })
	}
	for name, test := range map[string]struct {
		build func(*loginSite)
		edit  func(*Target)
		state State
		where Where
		says  string
	}{
		"page without a form":    {func(s *loginSite) { s.page("/authorize", "<p>Sorry") }, nil, Refused, OnPage, "HTTP 200"},
		"error page":             {func(s *loginSite) { s.mux.HandleFunc("/authorize", http.NotFound) }, nil, Refused, OnPage, "HTTP 404"},
		"error page with a form": {func(s *loginSite) { s.mux.HandleFunc("/authorize", status(400, loginForm)) }, nil, Refused, OnPage, "HTTP 400"},
		"error in the redirect": {func(s *loginSite) {
			s.mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, callback+"?error=invalid_scope&state=s", 302)
			})
		}, nil, Refused, InRedirect, "invalid_scope"},
		"too many requests":   {func(s *loginSite) { s.mux.HandleFunc("/authorize", status(429, "")) }, nil, Unknown, "", "429"},
		"endless redirects":   {redirects, nil, Unknown, "", "limits.redirects"},
		"endless consent":     {func(s *loginSite) { s.page("/", `<form method=post><button>Allow</button></form>`) }, nil, Unknown, "", "forms between"},
		"no user in the file": {func(s *loginSite) { s.page("/authorize", loginForm) }, func(t *Target) { t.Users = nil }, Unknown, "", "names none under users"},
		"no such driver":      {redirects, func(t *Target) { t.Login.Driver = "telepathy" }, Unknown, "", `"telepathy" is not known`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newLoginSite(t)
			test.build(s)
			var edits []func(*Target)
			if test.edit != nil {
				edits = append(edits, test.edit)
			}
			_, o := authorize(t, loginTarget(s, edits...))
			if o.State != test.state || o.Where != test.where {
				t.Errorf("settled as %+v", o)
			}
			wantText(t, o.String(), test.says)
		})
	}
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(code)
		io.WriteString(w, body)
	}
}

func TestASessionIsKeptForItsUser(t *testing.T) {
	s := newLoginSite(t)
	s.mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie("session"); err == nil && c.Value == "of-alice-0001" {
			back(w, r, 302)
			return
		}
		status(200, loginForm)(w, r)
	})
	s.mux.HandleFunc("/login", s.checkPassword(func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "of-alice-0001", Path: "/"})
		back(w, r, 302)
	}, http.NotFound))
	target := loginTarget(s)
	tester := newTester(t, target)
	tester.Metadata.Members["authorization_endpoint"] = s.URL + "/authorize"
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			tr := tester.Trace(context.Background(), "check")
			wantGranted(t, tr.Authorize(AuthorizationRequest{Who: Identity{Client: &target.Clients[0]}}))
		})
	}
	wait.Wait()
	if n := s.counted(); n != 1 {
		t.Errorf("%d logins for one session", n)
	}
	tr := tester.Trace(context.Background(), "check")
	wantGranted(t, tr.Authorize(AuthorizationRequest{Who: Identity{Client: &target.Clients[0]}, Session: NewSession}))
	if n := s.counted(); n != 2 {
		t.Errorf("%d logins, want one more for the new session", n)
	}
	for _, x := range tr.Exchanges() {
		text := fmt.Sprint(x)
		for _, secret := range []string{"secret-password", "the-Code-1", "of-alice-0001"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s is in the evidence of the %s", secret, x.Step)
			}
		}
	}
}

func wantGranted(t *testing.T, o Outcome) {
	t.Helper()
	if o.State != Granted {
		t.Errorf("not granted: %s (%+v)", o, o)
	}
}

// --- nothing is sent to a host that the target file does not name ---

// A server may set a cookie for each authorization; nobody but popcheck goes through hundreds of them in one session.
func TestCookiesDoNotPileUp(t *testing.T) {
	s := newLoginSite(t)
	s.page("/login-page", loginForm)
	onward := func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "of-alice"})
		back(w, r, http.StatusFound)
	}
	begun, most := 0, 0
	s.mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
		most = max(most, len(r.Cookies()))
		begun++
		http.SetCookie(w, &http.Cookie{Name: fmt.Sprint("transaction-", begun), Value: "x"})
		if _, err := r.Cookie("session"); err == nil {
			back(w, r, http.StatusFound)
			return
		}
		http.Redirect(w, r, "/login-page", http.StatusFound)
	})
	s.mux.HandleFunc("/login", s.checkPassword(onward, http.NotFound))
	target := loginTarget(s)
	tr := newTrace(t, target)
	tr.Metadata.Members["authorization_endpoint"] = target.Issuer + "/authorize"
	for range 2 * cookiesKept {
		wantGranted(t, tr.Authorize(AuthorizationRequest{Who: Identity{Client: &target.Clients[0]}}))
	}
	if most > cookiesKept || s.counted() != 2 {
		t.Errorf("%d cookies at once, %d logins for %d authorizations", most, s.counted(), begun)
	}
}

func TestNothingGoesToOtherHosts(t *testing.T) {
	other := canary(t, "127.0.0.2:0")
	elsewhere := "http://" + other.address
	redirect := func(code int) func(*loginSite) {
		return func(s *loginSite) {
			s.mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
				if r.Method == "GET" && code != 302 {
					status(200, `<form method=post><input name=username><input type=password name=password></form>`)(w, r)
					return
				}
				http.Redirect(w, r, elsewhere+"/x?code=stolen-Code-1", code)
			})
		}
	}
	for name, build := range map[string]func(*loginSite){
		"redirect":         redirect(302),
		"303 after a form": redirect(303),
		"307 after a form": redirect(307),
		"308 after a form": redirect(308),
		"meta refresh":     func(s *loginSite) { s.page("/authorize", `<meta http-equiv=refresh content="0;url=`+elsewhere+`">`) },
		"form action":      func(s *loginSite) { s.page("/authorize", strings.Replace(loginForm, "/login", elsewhere+"/login", 1)) },
		"base":             func(s *loginSite) { s.page("/authorize", `<base href="`+elsewhere+`">`+loginForm) },
		"formaction": func(s *loginSite) {
			s.page("/authorize", strings.Replace(loginForm, "<button", `<button formaction="`+elsewhere+`"`, 1))
		},
		"script": func(s *loginSite) {
			s.page("/authorize", `<form method=post action="`+elsewhere+`"><input type=hidden name=a value=b></form>`)
		},
		"form_post": func(s *loginSite) {
			s.page("/authorize", `<form method=post action="`+elsewhere+`"><input type=hidden name=code value=the-Code-1><button>Continue</button></form>`)
		},
		"userinfo": func(s *loginSite) {
			s.page("/authorize", `<meta http-equiv=refresh content="0;url=http://127.0.0.1@`+other.address+`">`)
		},
		"refresh as header": func(s *loginSite) {
			s.mux.HandleFunc("/authorize", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Refresh", "0;url="+elsewhere) })
		},
	} {
		t.Run("login: "+name, func(t *testing.T) {
			s := newLoginSite(t)
			build(s)
			tr, o := authorize(t, loginTarget(s))
			if o.State != Unknown {
				t.Errorf("settled as %+v", o)
			}
			wantText(t, o.Why, "the target file does not name", "add it to hosts")
			for _, send := range []func() Outcome{
				func() Outcome {
					return tr.ToRedirect(AuthorizationRequest{Who: Identity{Client: &tr.Target.Clients[0]}, Change: func(m *Message, _ Facts) { m.Params.Set("redirect_uri", elsewhere+"/x") }}, elsewhere+"/x")
				},
				func() Outcome {
					return tr.FirstPage(Identity{Client: &tr.Target.Clients[0]}, "GET", Field{"Origin", "https://evil.example"})
				},
			} {
				send()
			}
			if n := other.conns.Load(); n != 0 {
				t.Fatalf("%d connections went to a host that the file does not name", n)
			}
		})
	}
	t.Run("metadata", func(t *testing.T) {
		s := newLoginSite(t)
		members := []string{"authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "introspection_endpoint", "revocation_endpoint",
			"pushed_authorization_request_endpoint", "registration_endpoint"}
		s.mux.HandleFunc("/.well-known/", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"issuer": %q, "dpop_signing_alg_values_supported": ["ES256"], "mtls_endpoint_aliases": {"token_endpoint": %q}`, s.URL, elsewhere+"/mtls")
			for _, m := range members {
				fmt.Fprintf(w, ", %q: %q", m, elsewhere+"/"+m)
			}
			io.WriteString(w, "}")
		})
		target := loginTarget(s, func(t *Target) {
			t.Clients[0].Scope, t.IntrospectionClient = "openid", "spa"
			t.Clients[0].GrantTypes = []string{CodeGrant, RefreshGrant, ClientCredentialsGrant}
		})
		tester := newTester(t, target)
		tester.Learn(context.Background())
		if tester.Metadata.String("token_endpoint") != elsewhere+"/token_endpoint" {
			t.Fatalf("the metadata was not read: %+v", tester.Metadata)
		}
		tr := tester.Trace(context.Background(), "check")
		who := Identity{Client: &target.Clients[0], Key: tester.ProofKey("spa")}
		tr.Push(AuthorizationRequest{Who: who})
		tr.Introspect("token")
		tr.signedByServer(compactFor(t, tester.ProofKey("spa")))
		if o := tr.Obtain(who, CodeGrant); o.State != Unknown {
			t.Errorf("settled as %+v", o)
		}
		if n := other.conns.Load(); n != 0 {
			t.Errorf("%d connections went to a host that only the metadata names", n)
		}
	})
	t.Run("redirected metadata and resource", func(t *testing.T) {
		s := newLoginSite(t)
		s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere, 302) })
		target := loginTarget(s, func(t *Target) {
			t.Resources = []Resource{{Name: "own", URL: s.URL + "/r", Method: "GET", Status: 200}}
		})
		tester := newTester(t, target)
		tester.Learn(context.Background())
		tester.Trace(context.Background(), "check").Call(ResourceCall{Who: Identity{Client: &target.Clients[0]}, Token: "t", Resource: &target.Resources[0]})
		// A resource that is not the file's own, as a change of an attack might make it.
		o := tester.Trace(context.Background(), "check").Call(ResourceCall{Who: Identity{Client: &target.Clients[0]}, Token: "t", Resource: &target.Resources[0],
			Change: func(m *Message, _ Facts) { m.URL = elsewhere }})
		if o.State != Unknown || other.conns.Load() != 0 {
			t.Errorf("settled as %+v; %d connections", o, other.conns.Load())
		}
	})
}

func compactFor(t *testing.T, key *Key) string {
	t.Helper()
	compact, err := (&signedJWT{Header: Object{{"alg", key.Alg}}, Claims: Object{{"sub", "x"}}, Key: key}).compact()
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// A server may have its page for errors at a host that the target file does not name: that is no open redirector.
func TestOnlyTheWantedHostIsAGain(t *testing.T) {
	const wanted = "https://client.example@attacker.example/cb"
	for name, test := range map[string]struct {
		location string
		want     State
	}{
		"the wanted address":      {wanted + "?error=invalid_scope", Granted},
		"the wanted host":         {"https://attacker.example/?error=invalid_scope", Granted},
		"a code, anywhere":        {"https://third.example/cb?code=the-Code-1", Granted},
		"the server's error page": {"https://errors.example/oops", Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			s := newLoginSite(t)
			s.mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, test.location, http.StatusFound) })
			target := loginTarget(s)
			tr := newTrace(t, target)
			tr.Metadata.Members["authorization_endpoint"] = target.Issuer + "/authorize"
			o := tr.ToRedirect(AuthorizationRequest{Who: Identity{Client: &target.Clients[0]}, Change: func(m *Message, _ Facts) { m.Params.Set("redirect_uri", wanted) }}, wanted)
			if o.State != test.want {
				t.Errorf("%+v", o)
			}
		})
	}
}

func TestARedirectURIIsReadAndNeverRequested(t *testing.T) {
	client := canary(t, "127.0.0.1:0") // on a host that the file names: only that it is a redirect URI protects it
	uri := "http://" + client.address + "/cb"
	for name, answer := range map[string]http.HandlerFunc{
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, uri+"?code=the-Code-1", 302) },
		"307":      func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, uri+"?code=the-Code-1", 307) },
		"fragment": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", uri+"#code=the-Code-1")
			w.WriteHeader(302)
		},
		"refresh":   status(200, `<meta http-equiv=refresh content="0;url=`+uri+`?code=the-Code-1">`),
		"form_post": status(200, `<form method=post action="`+uri+`"><input type=hidden name=code value=the-Code-1><button>Continue</button></form>`),
		"registered query changed": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, uri+"?x=y&code=the-Code-1", 302)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newLoginSite(t)
			s.mux.HandleFunc("/authorize", answer)
			tr, o := authorize(t, loginTarget(s, func(t *Target) { t.Clients[0].RedirectURIs = []string{uri} }))
			wantCode(t, o)
			tr.ToRedirect(AuthorizationRequest{Who: Identity{Client: &tr.Target.Clients[0]}, Change: func(*Message, Facts) {}}, uri)
			if n := client.conns.Load(); n != 0 {
				t.Errorf("the client was called %d times", n)
			}
		})
	}
}

// --- a target that asks for rest ---

func TestATargetInTroubleIsLeftAlone(t *testing.T) {
	for _, code := range []int{429, 500, 503} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			var arrived atomic.Int64
			healthy := atomic.Bool{}
			s := plainServer(t, func(w http.ResponseWriter, _ *http.Request) {
				arrived.Add(1)
				if !healthy.Load() {
					w.WriteHeader(code)
				}
			})
			tr := newTrace(t, testTarget(s.URL))
			tr.Clock = &hurriedClock{}
			for range restLimit - 1 {
				attack(tr, get(s.URL))
			}
			healthy.Store(true)
			tr.Do(get(s.URL)) // one good answer ends the row
			healthy.Store(false)
			for range restLimit - 1 {
				attack(tr, get(s.URL))
			}
			if why := tr.Stopped(); why != "" {
				t.Fatalf("stopped too early: %s", why)
			}
			attack(tr, get(s.URL))
			wantText(t, tr.Stopped(), "10 answers in a row", fmt.Sprint(code), "stopped sending")
			before := arrived.Load()
			a := tr.Do(get(s.URL))
			wantKind(t, a, Stopped)
			wantText(t, settle(a, "here").Why, "10 answers in a row")
			if arrived.Load() != before {
				t.Error("a request went out after the end")
			}
		})
	}
}

func TestResponseParameters(t *testing.T) {
	for address, want := range map[string]url.Values{
		"https://c/cb?code=a%20b&state=1":  {"code": {"a b"}, "state": {"1"}},
		"https://c/cb#code=a%26b&state=1":  {"code": {"a&b"}, "state": {"1"}},
		"https://c/cb?x=1#x=2":             {"x": {"1", "2"}},
		"com.example.app:/cb?code=1":       {"code": {"1"}},
		"https://c/cb":                     {},
		"https://c/cb?error=access_denied": {"error": {"access_denied"}},
	} {
		if got := responseParameters(mustURL(t, address)); got.Encode() != want.Encode() {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
}

// What a page hides in its forms may guard it, but not what every reader of the address has seen: a finding that names it is to be read.
func TestWhatTheAddressSaysIsNoSecretOfItsForm(t *testing.T) {
	tr := newTrace(t, testTarget("https://as.example"))
	const uri, guard = "https://client.example/cb", "0123456789abcdef"
	tr.registerHidden(&page{forms: []*form{{inputs: []input{{kind: "hidden", name: "redirect_uri", value: uri}, {kind: "hidden", name: "csrfmiddlewaretoken", value: guard}}}}})
	if got := tr.Redactor.Text(uri); got != uri {
		t.Errorf("the redirect URI became %q", got)
	}
	if got := tr.Redactor.Text(guard); got == guard {
		t.Error("the guard of the form is told")
	}
}
