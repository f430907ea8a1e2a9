package harness

import (
	"bufio"
	"context"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary stand for the user's program of the exec driver: what it does is in its first argument.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "play-login" {
		playLogin(os.Args[2], os.Args[3:])
		return
	}
	os.Exit(m.Run())
}

func playLogin(what string, rest []string) {
	address := rest[len(rest)-1]
	switch what {
	case "good":
		os.Stdout.WriteString(callback + "?code=the-Code-1&args=" + strings.Join(rest[:len(rest)-1], ".") + "&user=" + os.Getenv("POPCHECK_USERNAME") + "\nmore\n")
	case "tell": // what it was given, into a file beside the target file
		os.WriteFile("told", []byte(strings.Join([]string{os.Getenv("POPCHECK_USERNAME"), os.Getenv("POPCHECK_PASSWORD"), address}, "\n")), 0o600)
		os.Stdout.WriteString("\n  " + callback + "#code=the-Code-1  \n")
	case "session": // counts its calls in its session directory
		dir := os.Getenv("POPCHECK_SESSION_DIR")
		calls, _ := os.ReadDir(dir)
		os.WriteFile(filepath.Join(dir, strconv.Itoa(len(calls))), nil, 0o600)
		os.Stdout.WriteString(callback + "?code=the-Code-1&calls=" + strconv.Itoa(len(calls)) + "&dir=" + url.QueryEscape(dir) + "\n")
	case "page":
		os.Stdout.WriteString("page 400\n")
	case "denied":
		os.Stdout.WriteString(callback + "?error=access_denied\n")
	case "fail":
		os.Stderr.WriteString("the browser did not start\n")
		os.Exit(3)
	case "words":
		os.Stdout.WriteString("Login done\n")
	case "foreign":
		os.Stdout.WriteString("https://evil.example/cb?code=the-Code-1\n")
	case "silent":
	case "flood":
		for range 1 << 10 {
			os.Stdout.WriteString(strings.Repeat("x", 1<<10))
		}
	case "hang":
		os.Stderr.WriteString("waiting for a person\n")
		conn, err := net.Dial("tcp", rest[0])
		if err == nil {
			bufio.NewReader(conn).ReadByte() // until the test ends
		}
	}
}

// execTarget leaves the login to this test binary.
func execTarget(t *testing.T, what string, arguments ...string) *Target {
	t.Helper()
	t.Setenv("GORACE", "atexit_sleep_ms=0") // a program under the race detector else lingers for a second
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return testTarget("https://as.example", func(target *Target) {
		target.Dir = t.TempDir()
		target.Clients = []Client{{ClientID: "spa", TokenEndpointAuthMethod: "none", RedirectURIs: []string{callback}, GrantTypes: []string{CodeGrant}}}
		target.Users = []User{{Username: "alice", Password: "secret-password"}}
		target.Login = Login{Driver: "exec", Command: append([]string{program, "play-login", what}, arguments...)}
	})
}

func TestTheExecDriverGetsACode(t *testing.T) {
	tr, o := authorize(t, execTarget(t, "good", "one", "two"))
	wantCode(t, o)
	if o.Code.Response.Get("args") != "one.two" || o.Code.Response.Get("user") != "alice" {
		t.Errorf("the program was called with %v", o.Code.Response)
	}
	if x := tr.Exchanges(); len(x) != 1 || !strings.Contains(x[0].Step, "by ") || strings.Contains(x[0].Response.Headers[0].Value, "the-Code-1") {
		t.Errorf("recorded: %+v", x)
	}

	target := execTarget(t, "tell")
	_, o = authorize(t, target)
	wantCode(t, o)
	told, err := os.ReadFile(filepath.Join(target.Dir, "told"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(told), "\n")
	if lines[0] != "alice" || lines[1] != "secret-password" || !strings.HasPrefix(lines[2], "https://as.example/authorize?response_type=code&client_id=spa&") {
		t.Errorf("the program was told %q", lines)
	}
}

func TestTheExecDriverSaysWhatWentWrong(t *testing.T) {
	for name, test := range map[string]struct {
		what  string
		state State
		says  []string
	}{
		"denied":            {"denied", Refused, []string{"access_denied"}},
		"failing program":   {"fail", Unknown, []string{"exit status 3", "the browser did not start"}},
		"words":             {"words", Unknown, []string{"printed no redirect URI"}},
		"no output":         {"silent", Unknown, []string{"printed no redirect URI"}},
		"much output":       {"flood", Unknown, []string{"printed no redirect URI"}},
		"a foreign address": {"foreign", Unknown, []string{"none of the client's redirect_uris", "https://evil.example/cb"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, o := authorize(t, execTarget(t, test.what))
			if o.State != test.state {
				t.Errorf("settled as %+v", o)
			}
			wantText(t, o.String(), test.says...)
			if strings.Contains(o.String(), "the-Code-1") || strings.Contains(o.String(), "secret-password") {
				t.Errorf("a secret is in the reason: %s", o)
			}
		})
	}
	t.Run("no such program", func(t *testing.T) {
		target := execTarget(t, "good")
		target.Login.Command = []string{filepath.Join(target.Dir, "missing")}
		_, o := authorize(t, target)
		wantText(t, o.Why, "missing", "no such file")
	})
	t.Run("a host that the file does not name", func(t *testing.T) {
		target := execTarget(t, "tell")
		tr := newTrace(t, target)
		tr.Metadata.Members["authorization_endpoint"] = "https://elsewhere.example/authorize"
		o := tr.Authorize(AuthorizationRequest{Who: Identity{Client: &target.Clients[0]}})
		wantText(t, o.Why, "elsewhere.example", "does not name")
		if _, err := os.Stat(filepath.Join(target.Dir, "told")); err == nil {
			t.Error("the program was called all the same")
		}
	})
}

func TestAHangingLoginProgramEnds(t *testing.T) {
	arrived := make(chan bool, 1)
	s := listenRaw(t, "127.0.0.1:0", func(conn net.Conn, in *bufio.Reader) {
		arrived <- true
		in.ReadByte() // until the program is killed
	})
	t.Run("by its time", func(t *testing.T) {
		target := execTarget(t, "hang", s.address)
		target.Limits.Timeout = 200 * time.Millisecond
		_, o := authorize(t, target)
		wantText(t, o.Why, "no redirect URI within 1.2s", "limits.timeout")
	})
	t.Run("by an interruption", func(t *testing.T) {
		for len(arrived) > 0 {
			<-arrived
		}
		target := execTarget(t, "hang", s.address)
		ctx, cancel := context.WithCancel(context.Background())
		go func() { <-arrived; cancel() }()
		tr := newTester(t, target).Trace(ctx, "check")
		tr.Metadata.Members["authorization_endpoint"] = "https://as.example/authorize"
		o := tr.Authorize(AuthorizationRequest{Who: Identity{Client: &target.Clients[0]}})
		wantText(t, o.Why, "interrupted")
	})
}

func TestTheCommandOfTheTargetFileIsNotWrittenTo(t *testing.T) {
	target := execTarget(t, "good", "one")
	spare := append(make([]string, 0, 10), target.Login.Command...)
	target.Login.Command = spare
	authorize(t, target)
	if got := spare[:len(spare)+1][len(spare)]; got != "" {
		t.Errorf("the command was extended by %q", got)
	}
}

func TestBelongs(t *testing.T) {
	c := &Client{RedirectURIs: []string{"https://client.example/cb?tenant=1", "com.example.app:/cb", "http://127.0.0.1:8400/cb"}}
	for address, want := range map[string]bool{
		"https://client.example/cb?code=1":          true,
		"https://CLIENT.example/cb":                 true,
		"https://client.example/cb/":                false,
		"https://client.example/CB":                 false,
		"https://client.example.evil.example/cb":    false,
		"https://client.example:8443/cb":            false,
		"http://client.example/cb":                  false,
		"https://client.example@evil.example/cb":    false,
		"com.example.app:/cb?code=1":                true,
		"com.example.app:/other":                    false,
		"http://127.0.0.1:8400/cb#access_token=1":   true,
		"http://127.0.0.1:8401/cb":                  false,
		"https://client.example/other/../cb?code=1": false,
	} {
		if belongs(c, mustURL(t, address)) != want {
			t.Errorf("%s belongs: %v, want %v", address, !want, want)
		}
	}
}
