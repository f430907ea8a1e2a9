package harness

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// foreigners listen where nothing may arrive: on another address of this machine, on IPv6, and on another port of the target's own
// address, where localhost leads too.
type foreigners struct {
	other, six, port *rawServer
}

func newForeigners(t *testing.T) foreigners {
	t.Helper()
	f := foreigners{other: canary(t, "127.0.0.2:0"), port: canary(t, "127.0.0.1:0")}
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		l.Close()
		f.six = canary(t, "[::1]:0")
	}
	return f
}

func (f foreigners) arrived() (n int64) {
	for _, s := range []*rawServer{f.other, f.six, f.port} {
		if s != nil {
			n += s.conns.Load()
		}
	}
	return n
}

// spellings are addresses of the foreigners, as a server may write them; own is the host and port that the target file names.
func (f foreigners) spellings(own string) map[string]string {
	at := func(s *rawServer) string { _, port, _ := net.SplitHostPort(s.address); return ":" + port }
	there, here := at(f.other), at(f.port)
	all := map[string]string{
		"an address":                    "http://127.0.0.2" + there,
		"with TLS":                      "https://127.0.0.2" + there,
		"another port":                  "http://127.0.0.1" + here,
		"another port, a final dot":     "http://127.0.0.1." + here,
		"a name of the same address":    "http://localhost" + here,
		"a name in capitals":            "HTTP://LocalHost." + here,
		"a user before it":              "http://" + own + "@127.0.0.2" + there,
		"a user with a password":        "http://127.0.0.1:" + strings.TrimPrefix(here, ":") + "@127.0.0.2" + there + "/@" + own,
		"an encoded @":                  "http://127.0.0.2" + there + "%40" + own,
		"a backslash":                   `http://127.0.0.2` + there + `\@` + own,
		"two slashes more":              "http:////127.0.0.2" + there,
		"an address in one number":      "http://2130706434" + there,
		"an address in hexadecimal":     "http://0x7f000002" + there,
		"an address in octal":           "http://0177.0.0.2" + there,
		"an address in two parts":       "http://127.2" + there,
		"an address of IPv4 in IPv6":    "http://[::ffff:127.0.0.2]" + there,
		"the same in hexadecimal":       "http://[::ffff:7f00:2]" + there,
		"any address":                   "http://0.0.0.0" + here,
		"any address of IPv6":           "http://[::]" + here,
		"own address of IPv4 in IPv6":   "http://[::ffff:127.0.0.1]" + here,
		"a space before the host":       "http:// 127.0.0.2" + there,
		"full-width digits":             "http://１２７.0.0.2" + there,
		"an ideographic full stop":      "http://127。0。0。2" + there,
		"a port with zeros":             "http://127.0.0.1:0" + strings.TrimPrefix(here, ":"),
		"another scheme":                "ftp://127.0.0.2" + there,
		"the own name as a part of one": "http://127.0.0.1.localhost" + there,
	}
	if f.six != nil {
		all["IPv6"], all["IPv6, spelt out"], all["IPv6 with a zone"] = "http://[::1]"+at(f.six), "http://[0:0:0:0:0:0:0:1]"+at(f.six), "http://[::1%25lo]"+at(f.six)
	}
	return all
}

// However a server spells the address of another host, and wherever it writes it, nothing goes there, and the outcome says why.
func TestNoSpellingReachesAnotherHost(t *testing.T) {
	f := newForeigners(t)
	s := newLoginSite(t)
	own := mustURL(t, s.URL).Host
	var place, address string
	page := func(w http.ResponseWriter, body string) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, body)
	}
	s.mux.HandleFunc("/authorize", func(w http.ResponseWriter, _ *http.Request) {
		switch place {
		case "Location":
			w.Header().Set("Location", address)
			w.WriteHeader(http.StatusFound)
		case "Refresh":
			w.Header().Set("Refresh", "0; url="+address)
		case "meta":
			page(w, `<meta http-equiv=refresh content="0;url=`+address+`">`)
		case "form":
			page(w, strings.Replace(loginForm, "/login", address, 1))
		case "formaction":
			page(w, strings.Replace(loginForm, "<button", `<button formaction="`+address+`"`, 1))
		case "base":
			page(w, `<base href="`+address+`/">`+strings.Replace(loginForm, "/login", "login", 1))
		}
	})
	s.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no such page", http.StatusNotFound) })
	limited := func(t *Target) { t.Hosts = []string{own} }
	spellings := f.spellings(own)
	for name, foreign := range spellings {
		t.Run(name, func(t *testing.T) {
			answer := attack(newTrace(t, loginTarget(s, limited)), get(foreign+"/x"))
			wantKind(t, answer, NotNamed)
			for _, place = range []string{"Location", "Refresh", "meta", "form", "formaction", "base"} {
				address = foreign
				if _, o := authorize(t, loginTarget(s, limited)); o.State == Granted {
					t.Errorf("%s: %+v", place, o)
				}
			}
			for _, endpoint := range []string{"token_endpoint", "pushed_authorization_request_endpoint", "introspection_endpoint", "jwks_uri"} {
				target := loginTarget(s, limited)
				target.IntrospectionClient = "spa"
				tr := newTrace(t, target)
				tr.Metadata.Members[endpoint], tr.Metadata.Members["mtls_endpoint_aliases"] = foreign, map[string]any{endpoint: foreign}
				who := Identity{Client: &target.Clients[0], Key: tr.ProofKey("spa")}
				tr.ClientCredentials(TokenRequest{Who: who})
				tr.Push(AuthorizationRequest{Who: who})
				tr.Introspect("token")
				tr.signedByServer(compactFor(t, tr.ProofKey("spa")))
			}
			if n := f.arrived(); n != 0 {
				t.Fatalf("%d connections arrived", n)
			}
		})
	}
}

// A name of this machine that leads elsewhere when the connection is made is not called: no packet leaves.
func TestALoopbackNameStaysOnThisMachine(t *testing.T) {
	tester := newTester(t, testTarget("http://localhost:1"))
	conn, err := tester.dialer("localhost").DialContext(t.Context(), "tcp", "192.0.2.1:80") // what a resolver could say
	if err == nil {
		conn.Close()
	}
	if !errors.Is(err, errElsewhere) {
		t.Fatalf("%v", err)
	}
	if f := connectFailure(err); f.Kind != NotNamed {
		t.Errorf("%+v", f)
	}
	if tester.dialer("as.example.com").Control != nil {
		t.Error("a host that the file names may have any address")
	}
	fixed := newTester(t, testTarget("https://as.example", func(t *Target) { t.Request.Resolve = map[string]string{"as.example": "127.0.0.1"} }))
	if fixed.dialer("as.example").Control == nil {
		t.Error("a host that is fixed to this machine needs no permission, so it must stay there")
	}
}

// There is one place from which requests leave, so that there is one guard. The login drivers that leave the browser to another program
// are the exceptions, with guards of their own.
func TestRequestsLeaveAtOnePlace(t *testing.T) {
	dials := map[string]bool{"wire.go": true}
	opens := map[string]bool{"net.Dialer": true, "http.Client": true, "http.Transport": true}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := filepath.Base(path)
		if d.IsDir() && (base == "fixtures" || base == "node_modules" || base == "vendors" || strings.HasPrefix(base, ".") && base != "..") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(base, ".go") || strings.HasSuffix(base, "_test.go") {
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for n := range ast.Preorder(file) {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				continue
			}
			of, ok := selector.X.(*ast.Ident)
			if !ok {
				continue
			}
			name := of.Name + "." + selector.Sel.Name
			bare := opens[name] || strings.HasPrefix(name, "net.Dial") || strings.HasPrefix(name, "tls.Dial") || strings.HasPrefix(name, "net.Lookup") ||
				name == "http.Get" || name == "http.Post" || name == "http.PostForm" || name == "http.Head" || name == "http.DefaultClient" || name == "http.DefaultTransport"
			if bare && !dials[base] {
				t.Errorf("%s uses %s: what it sends is not held to the hosts that the target file names", path, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
