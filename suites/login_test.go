package suites_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/popcheck/popcheck/fixtures"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/suites"
)

// TestLogins lets each driver log in at the reference target, on each kind of page that it can read, and attack a few checks from there.
// The verdicts are those of the driver form; what needs a page that nobody sees is a skip.
func TestLogins(t *testing.T) {
	want := map[string]string{} // by client
	for _, test := range []struct{ driver, way, client string }{
		{"form", fixtures.LoginByForm, "spa"},
		{"form", fixtures.LoginByForm, "mobile"},
		{"form", fixtures.LoginByCode, "spa"},
		{"exec", fixtures.LoginByForm, "spa"},
		{"manual", fixtures.LoginByForm, "mobile"}, // its redirect goes to a port of this machine
		{"browser", fixtures.LoginByForm, "spa"},
		{"browser", fixtures.LoginByCode, "spa"},
		{"browser", fixtures.LoginByScript, "spa"},
	} {
		t.Run(strings.TrimSpace(test.driver+" "+test.client+" "+test.way), func(t *testing.T) {
			if _, err := harness.FindChromium(""); test.driver == "browser" && errors.Is(err, harness.ErrNoBrowser) {
				if os.Getenv("CI") != "" {
					t.Fatal(err)
				}
				t.Skip(err)
			}
			run := loggedIn(t, test.driver, test.way, test.client)
			if len(run.Problems) > 0 || run.Summary[harness.Inconclusive] > 0 || run.Summary[harness.Pass] == 0 {
				t.Errorf("%v, problems %q", run.Summary, run.Problems)
			}
			var verdicts []string
			for _, r := range run.Results {
				if r.Verdict == harness.Inconclusive {
					t.Errorf("%s: %s", r.Key, r.Reason)
				}
				if strings.HasSuffix(r.Key, "/consent") && (test.driver == "exec" || test.driver == "manual") {
					if r.Verdict != harness.Skip {
						t.Errorf("%s %s: nobody sees whether a consent is asked for", r.Verdict, r.Key)
					}
					r.Verdict = harness.Pass
				}
				verdicts = append(verdicts, r.Key+" "+string(r.Verdict))
			}
			slices.Sort(verdicts)
			got := strings.Join(verdicts, "\n")
			if want[test.client] == "" {
				want[test.client] = got
			}
			if got != want[test.client] {
				t.Errorf("it found:\n%s\nand form:\n%s", got, want[test.client])
			}
		})
	}
}

func loggedIn(t *testing.T, driver, way, client string) *harness.Run {
	t.Helper()
	_, target := startReference(t, fixtures.Options{Login: way})
	target.Login.Driver, target.IntrospectionClient, target.Registration = driver, "", nil
	target.Clients = slices.DeleteFunc(target.Clients, func(c harness.Client) bool { return c.ClientID != client })
	at := "@token/authorization_code/" + client // one login of each user: a second one-time code would take half a minute
	selection, err := suites.ParseSelection("pkce-verifier-longer" + at + ",pkce-verifier-wrong" + at + "/consent")
	if err != nil {
		t.Fatal(err)
	}
	options := suites.Options{Target: target, Version: "test", Profile: "bcp", FailOn: harness.Must, Select: selection}
	switch driver {
	case "exec":
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		target.Login.Command = []string{self, "-test.run=^TestALoginProgram$"}
	case "manual":
		target.Clients[0].RedirectURIs = []string{freeRedirect(t)}
		options.Person = somebody(t, target)
	}
	run, err := suites.Run(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func freeRedirect(t *testing.T) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	return "http://" + free.Addr().String() + "/cb"
}

// somebody has a browser in which nobody is logged in, opens what popcheck shows, and logs in as is asked for.
func somebody(t *testing.T, target *harness.Target) harness.Person {
	shown := regexp.MustCompile(`go on as (\S+)[\s\S]*?\n  (https?://\S+)\n`)
	return harness.Person{Tell: func(text string) {
		found := shown.FindStringSubmatch(text)
		if found == nil { // it tells how many logins there will be
			return
		}
		i := slices.IndexFunc(target.Users, func(u harness.User) bool { return u.Username == found[1] })
		if i < 0 {
			t.Errorf("popcheck asks for user %s", found[1])
			return
		}
		go func() {
			back, err := logIn(target.TLS.CA, found[2], target.Users[i].Username, target.Users[i].Password)
			if err == nil {
				_, err = http.Get(back)
			}
			if err != nil && t.Context().Err() == nil {
				t.Error(err)
			}
		}()
	}}
}

// TestALoginProgram is the program of the driver exec, in a process of its own.
func TestALoginProgram(t *testing.T) {
	address := os.Args[len(os.Args)-1]
	if os.Getenv("POPCHECK_SESSION_DIR") == "" || !strings.HasPrefix(address, "http") {
		t.Skip("it is run by TestLogins")
	}
	ca, err := os.ReadFile("ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	back, err := logIn(ca, address, os.Getenv("POPCHECK_USERNAME"), os.Getenv("POPCHECK_PASSWORD"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(back)
}

// logIn does at the pages of the reference target what a user does, and returns the redirect URI to which the browser is sent.
func logIn(ca []byte, address, username, password string) (string, error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	browser := &http.Client{
		Jar: jar, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	action, hidden := regexp.MustCompile(`<form method="post" action="([^"]+)"`), regexp.MustCompile(`type="hidden" name="([^"]+)" value="([^"]*)"`)
	answer, err := browser.Get(address)
	for range 10 {
		if err != nil {
			return "", err
		}
		page, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			return "", err
		}
		if next, err := answer.Location(); err == nil {
			if next.Host != answer.Request.URL.Host {
				return next.String(), nil
			}
			answer, err = browser.Get(next.String())
			if err != nil {
				return "", err
			}
			continue
		}
		form := action.FindSubmatch(page)
		if form == nil {
			return "", fmt.Errorf("a page without a form, HTTP %d", answer.StatusCode)
		}
		fields := url.Values{"username": {username}, "password": {password}, "decision": {"approve"}}
		for _, f := range hidden.FindAllSubmatch(page, -1) {
			fields.Set(string(f[1]), string(f[2]))
		}
		to, err := answer.Request.URL.Parse(string(form[1]))
		if err != nil {
			return "", err
		}
		if answer, err = browser.PostForm(to.String(), fields); err != nil {
			return "", err
		}
	}
	return "", errors.New("more than ten pages")
}
