package harness

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func TestAnAttackIsSentOnce(t *testing.T) {
	for _, ending := range []string{"closed", "reset"} {
		t.Run(ending, func(t *testing.T) {
			var arrived atomic.Int64
			s := listenRaw(t, "127.0.0.1:0", func(conn net.Conn, in *bufio.Reader) {
				for {
					head, _, err := readRaw(in)
					if err != nil {
						return
					}
					if strings.Contains(head, "/attack") {
						arrived.Add(1)
						if ending == "reset" {
							conn.(*net.TCPConn).SetLinger(0)
						}
						return
					}
					io.WriteString(conn, okAnswer)
				}
			})
			tr := newTrace(t, testTarget("http://"+s.address))
			for range 3 {
				wantKind(t, tr.Do(get("http://"+s.address+"/honest")), "")
			}
			a := attack(tr, get("http://"+s.address+"/attack"))
			wantKind(t, a, Dropped)
			if !a.TLS.FreshConnection {
				t.Error("the attack took a kept connection")
			}
			if n := arrived.Load(); n != 1 {
				t.Errorf("the attack arrived %d times", n)
			}
			if n := s.conns.Load(); n != 2 {
				t.Errorf("%d connections, want one for the honest calls and one for the attack", n)
			}
			if n := len(tr.Exchanges()); n != 4 {
				t.Errorf("%d exchanges are recorded, want 4", n)
			}
		})
	}
}

func TestAnAttackInALoginIsSentOnce(t *testing.T) {
	var arrived atomic.Int64
	s := listenRaw(t, "127.0.0.1:0", func(conn net.Conn, in *bufio.Reader) {
		for {
			head, _, err := readRaw(in)
			if err != nil {
				return
			}
			if !strings.Contains(head, "/honest") {
				arrived.Add(1)
				return
			}
			io.WriteString(conn, okAnswer)
		}
	})
	for name, test := range map[string]struct {
		changed []string
		state   State
	}{
		"the changed request has a connection of its own, whose end is a refusal":  {[]string{"code_challenge"}, Refused},
		"what follows it uses a kept connection, whose end may have another cause": {nil, Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			arrived.Store(0)
			tr := newTrace(t, testTarget("http://"+s.address))
			browser := newBrowserSession()
			tr.browse(browser, get("http://"+s.address+"/honest"))
			var a *Answer
			tr.Attack(func() {
				r := get("http://" + s.address + "/authorize")
				r.Changed = test.changed
				a = tr.browse(browser, r)
			})
			wantKind(t, a, Dropped)
			if o := settle(a, "here"); o.State != test.state {
				t.Errorf("settled as %v: %s", o.State, o)
			}
			if n := arrived.Load(); n != 1 {
				t.Errorf("arrived %d times", n)
			}
		})
	}
}

func TestAnHonestCallOnADeadConnectionIsSentOnceMore(t *testing.T) {
	t.Run("closed when the request comes", func(t *testing.T) {
		var number, arrived atomic.Int64
		s := listenRaw(t, "127.0.0.1:0", func(conn net.Conn, in *bufio.Reader) {
			mine := number.Add(1)
			for i := 0; ; i++ {
				if _, _, err := readRaw(in); err != nil {
					return
				}
				arrived.Add(1)
				if mine == 1 && i == 1 {
					return
				}
				io.WriteString(conn, okAnswer)
			}
		})
		tr := newTrace(t, testTarget("http://"+s.address))
		wantKind(t, tr.Do(get("http://"+s.address+"/first")), "")
		a := tr.Do(get("http://" + s.address + "/second"))
		wantKind(t, a, "")
		if arrived.Load() != 3 || !a.TLS.FreshConnection {
			t.Errorf("%d arrivals, the last on a fresh connection: %v", arrived.Load(), a.TLS.FreshConnection)
		}
		x := tr.Exchanges()
		if len(x) != 3 {
			t.Fatalf("%d exchanges are recorded, want both tries", len(x))
		}
		wantText(t, x[1].Response.Error, string(Dropped))
		wantText(t, x[2].Step, "again")
	})
	t.Run("twice dead stays dead", func(t *testing.T) {
		var arrived atomic.Int64
		s := listenRaw(t, "127.0.0.1:0", func(conn net.Conn, in *bufio.Reader) {
			for {
				head, _, err := readRaw(in)
				if err != nil || strings.Contains(head, "/second") {
					arrived.Add(1)
					return
				}
				io.WriteString(conn, okAnswer)
			}
		})
		tr := newTrace(t, testTarget("http://"+s.address))
		tr.Do(get("http://" + s.address + "/first"))
		wantKind(t, tr.Do(get("http://"+s.address+"/second")), Dropped)
		if n := arrived.Load(); n != 2 {
			t.Errorf("%d arrivals, want 2", n)
		}
	})
	t.Run("closed after the answer before", func(t *testing.T) {
		var arrived atomic.Int64
		s := listenRaw(t, "127.0.0.1:0", func(conn net.Conn, in *bufio.Reader) {
			if _, _, err := readRaw(in); err == nil {
				arrived.Add(1)
				io.WriteString(conn, okAnswer)
			}
		})
		tr := newTrace(t, testTarget("http://"+s.address))
		for range 20 {
			wantKind(t, tr.Do(get("http://"+s.address+"/")), "")
		}
		if n := arrived.Load(); n != 20 {
			t.Errorf("%d arrivals for 20 requests", n)
		}
	})
	t.Run("half an answer is none to try again for", func(t *testing.T) {
		var arrived atomic.Int64
		s := listenRaw(t, "127.0.0.1:0", func(conn net.Conn, in *bufio.Reader) {
			for {
				head, _, err := readRaw(in)
				if err != nil {
					return
				}
				if strings.Contains(head, "/second") {
					arrived.Add(1)
					io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Le")
					return
				}
				io.WriteString(conn, okAnswer)
			}
		})
		tr := newTrace(t, testTarget("http://"+s.address))
		tr.Do(get("http://" + s.address + "/first"))
		wantKind(t, tr.Do(get("http://"+s.address+"/second")), NotHTTP)
		if n := arrived.Load(); n != 1 {
			t.Errorf("%d arrivals, want 1", n)
		}
	})
}

func TestARedirectIsNotFollowed(t *testing.T) {
	var elsewhere atomic.Int64
	s := plainServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/here" {
			elsewhere.Add(1)
		}
		http.Redirect(w, r, "/there", http.StatusFound)
	})
	tr := newTrace(t, testTarget(s.URL))
	for _, send := range []func(Request) *Answer{tr.Do, func(r Request) *Answer { return attack(tr, r) }} {
		a := send(get(s.URL + "/here"))
		wantKind(t, a, "")
		if a.Status != http.StatusFound || elsewhere.Load() != 0 {
			t.Errorf("HTTP %d, %d requests elsewhere", a.Status, elsewhere.Load())
		}
	}
}

func TestTheEnvironmentsProxyIsIgnored(t *testing.T) {
	proxy := canary(t, "127.0.0.1:0")
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		t.Setenv(name, "http://"+proxy.address)
	}
	p := newPKI(t, "CA")
	ok := func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }
	secure, plain := p.secureServer(t, &tls.Config{}, http.HandlerFunc(ok)), plainServer(t, ok)
	tr := newTrace(t, testTarget(secure.URL, trusting(p)))
	wantKind(t, tr.Do(get(secure.URL)), "")
	wantKind(t, tr.Do(get(plain.URL)), "")
	if n := proxy.conns.Load(); n != 0 {
		t.Errorf("the proxy was called %d times", n)
	}
}

func TestARequestArrivesAsWritten(t *testing.T) {
	type arrival struct{ head, body string }
	arrived := make(chan arrival, 1)
	s := listenRaw(t, "127.0.0.1:0", func(conn net.Conn, in *bufio.Reader) {
		for {
			head, body, err := readRaw(in)
			if err != nil {
				return
			}
			arrived <- arrival{head, body}
			io.WriteString(conn, okAnswer)
		}
	})
	target := testTarget("http://"+s.address, func(t *Target) {
		t.Request.Headers = map[string]string{"X-b": "2", "X-a": "1", "X-c": "3"}
	})
	tr := newTrace(t, target)
	agent := "User-Agent: popcheck/test (check; run " + tr.RunID + ")\r\n"
	const gate = "X-a: 1\r\nX-b: 2\r\nX-c: 3\r\n"
	for name, test := range map[string]struct {
		request    Request
		head, body string
	}{
		"order, spelling, duplicates": {
			Request{Method: "GET", URL: "/a%2Fb/?x=%20y&x=1", Header: []Field{{"dPoP", "two"}, {"DPoP", "one"}, {"accept", "*/*"}, {"X-Empty", ""}}},
			"GET /a%2Fb/?x=%20y&x=1 HTTP/1.1\r\nHost: " + s.address + "\r\n" + agent + "dPoP: two\r\nDPoP: one\r\naccept: */*\r\nX-Empty: \r\n" + gate + "\r\n", ""},
		"host": {
			Request{Method: "GET", URL: "", Header: []Field{{"X-Before", "1"}, {"host", "other.example"}}},
			"GET / HTTP/1.1\r\nHost: other.example\r\n" + agent + "X-Before: 1\r\n" + gate + "\r\n", ""},
		"body": {
			Request{Method: "POST", URL: "/token", Body: "a=b&c=%0D%0A"},
			"POST /token HTTP/1.1\r\nHost: " + s.address + "\r\n" + agent + gate + "Content-Length: 12\r\n\r\n", "a=b&c=%0D%0A"},
		"empty body": {
			Request{Method: "POST", URL: "/token"},
			"POST /token HTTP/1.1\r\nHost: " + s.address + "\r\n" + agent + gate + "Content-Length: 0\r\n\r\n", ""},
		"line breaks make no header": {
			Request{Method: "GET", URL: "/", Header: []Field{{"X-One", "1\r\nX-Two: 2"}, {"X-Th\nree", "3"}}},
			"GET / HTTP/1.1\r\nHost: " + s.address + "\r\n" + agent + "X-One: 1X-Two: 2\r\nX-Three: 3\r\n" + gate + "\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := test.request
			r.URL = "http://" + s.address + r.URL
			for _, send := range []func(Request) *Answer{tr.Do, func(r Request) *Answer { return attack(tr, r) }} {
				wantKind(t, send(r), "")
				if got := <-arrived; got.head != test.head || got.body != test.body {
					t.Errorf("arrived:\n%q\nwant:\n%q", got.head+got.body, test.head+test.body)
				}
			}
		})
	}
}

func TestHostileAnswers(t *testing.T) {
	// forever writes until the client has had enough, and returns how much it took.
	forever := func(conn net.Conn, chunk string) int64 {
		var n int64
		for {
			k, err := io.WriteString(conn, chunk)
			if n += int64(k); err != nil {
				return n
			}
		}
	}
	kilobyte := strings.Repeat("x", 1024)
	bomb := func() string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		for range 4 << 10 {
			io.WriteString(z, kilobyte)
		}
		z.Close()
		return b.String()
	}()
	gzipped := func(body string) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	write := func(s string) func(net.Conn) int64 {
		return func(conn net.Conn) int64 { io.WriteString(conn, s); return 0 }
	}
	for name, test := range map[string]struct {
		answer func(net.Conn) int64
		want   FailureKind
	}{
		"flood of 1xx":             {func(c net.Conn) int64 { return forever(c, "HTTP/1.1 102 Processing\r\n\r\n") }, NotHTTP},
		"some 1xx before the real": {write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + okAnswer), ""},
		"endless headers": {func(c net.Conn) int64 {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			return forever(c, "X-Header: "+kilobyte+"\r\n")
		}, TooLarge},
		"endless header line": {func(c net.Conn) int64 { io.WriteString(c, "HTTP/1.1 200 OK\r\nX: "); return forever(c, kilobyte) }, TooLarge},
		"endless status line": {func(c net.Conn) int64 { return forever(c, kilobyte) }, TooLarge},
		"large body by length": {func(c net.Conn) int64 {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
			return forever(c, kilobyte)
		}, TooLarge},
		"large body to the end": {func(c net.Conn) int64 { io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"); return forever(c, kilobyte) }, TooLarge},
		"endless chunks": {func(c net.Conn) int64 {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			return forever(c, "400\r\n"+kilobyte+"\r\n")
		}, TooLarge},
		"endless chunk extension": {func(c net.Conn) int64 {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=")
			return forever(c, kilobyte)
		}, NotHTTP}, // the line is too long for a chunk's size
		"endless trailer": {func(c net.Conn) int64 {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
			return forever(c, "X-Header: "+kilobyte+"\r\n")
		}, NotHTTP}, // a trailer that does not fit a buffer
		"gzip bomb":     {write(gzipped(bomb)), TooLarge},
		"broken gzip":   {write(gzipped("not gzip at all")), NotHTTP},
		"body at limit": {write(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", 8<<10, strings.Repeat(kilobyte, 8))), ""},
		"body over limit": {write(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s!", 8<<10+1, strings.Repeat(kilobyte, 8))),
			TooLarge},
		"garbage":             {write("\x00\x01\x02\xff\r\n\r\n"), NotHTTP},
		"HTTP/0.9":            {write("<html>hello</html>\n"), NotHTTP},
		"another protocol":    {write("SSH-2.0-OpenSSH_9.6\r\n"), NotHTTP},
		"two lengths":         {write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!"), NotHTTP},
		"end before anything": {write(""), Dropped},
		"end in status line":  {write("HTTP/1.1 20"), NotHTTP},
		"end in header":       {write("HTTP/1.1 200 OK\r\nContent-Le"), NotHTTP},
		"end in body":         {write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"access_token\":"), NotHTTP},
		"end in chunk":        {write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\nabc"), NotHTTP},
		"reset before anything": {func(c net.Conn) int64 {
			c.(*net.TCPConn).SetLinger(0)
			return 0
		}, Dropped},
		"only 1xx": {write("HTTP/1.1 100 Continue\r\n\r\n"), NotHTTP},
	} {
		t.Run(name, func(t *testing.T) {
			taken := make(chan int64, 1)
			s := listenRaw(t, "127.0.0.1:0", func(conn net.Conn, in *bufio.Reader) {
				if _, _, err := readRaw(in); err == nil {
					taken <- test.answer(conn)
				}
			})
			target := testTarget("http://"+s.address, func(t *Target) { t.Limits.Body = 8 << 10 })
			tr := newTrace(t, target)
			a := attack(tr, get("http://"+s.address+"/"))
			wantKind(t, a, test.want)
			if n := int64(len(a.Body)); n > target.Limits.Body {
				t.Errorf("%d bytes of body are kept", n)
			}
			const sockets = 16 << 20 // what the buffers of both sides may hold
			if n := <-taken; n > headerLimit+target.Limits.Body+sockets {
				t.Errorf("the server could write %d bytes", n)
			}
			if x := tr.Exchanges(); len(x) != 1 || (x[0].Response.Error == "") != (test.want == "") {
				t.Errorf("recorded: %+v", x)
			}
		})
	}
}

func TestASlowAnswerEndsWithTheDeadline(t *testing.T) {
	drip := func(before, each string) func(net.Conn) {
		return func(conn net.Conn) {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			io.WriteString(conn, before)
			for range tick.C {
				if _, err := io.WriteString(conn, each); err != nil {
					return
				}
			}
		}
	}
	for name, answer := range map[string]func(net.Conn){
		"silence":       func(conn net.Conn) { io.Copy(io.Discard, conn) },
		"slow headers":  drip("HTTP/1.1 200 OK\r\n", "X: y\r\n"),
		"slow body":     drip("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", "x"),
		"slow 1xx line": drip("HTTP/1.1 100 ", "x"),
	} {
		t.Run(name, func(t *testing.T) {
			s := listenRaw(t, "127.0.0.1:0", func(conn net.Conn, in *bufio.Reader) {
				if _, _, err := readRaw(in); err == nil {
					answer(conn)
				}
			})
			tr := newTrace(t, testTarget("http://"+s.address, func(t *Target) { t.Limits.Timeout = 100 * time.Millisecond }))
			a := attack(tr, get("http://"+s.address+"/"))
			wantKind(t, a, TimedOut)
			wantText(t, a.Failure.Detail, "limits.timeout")
		})
	}
	t.Run("handshake", func(t *testing.T) {
		s := listenRaw(t, "127.0.0.1:0", func(conn net.Conn, _ *bufio.Reader) { io.Copy(io.Discard, conn) })
		tr := newTrace(t, testTarget("https://"+s.address, func(t *Target) { t.Limits.Timeout = 100 * time.Millisecond }))
		wantKind(t, attack(tr, get("https://"+s.address+"/")), TimedOut)
	})
}

func TestConnectionsThatCannotBeMade(t *testing.T) {
	p, stranger := newPKI(t, "CA"), newPKI(t, "CA")
	plain := plainServer(t, func(w http.ResponseWriter, _ *http.Request) {})
	strange := stranger.secureServer(t, &tls.Config{}, http.NotFoundHandler())
	secure := p.secureServer(t, &tls.Config{}, http.NotFoundHandler())
	old := p.secureServer(t, &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}, http.NotFoundHandler())
	modern := p.secureServer(t, &tls.Config{NextProtos: []string{"h3"}, ClientAuth: tls.RequestClientCert}, http.NotFoundHandler())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	hangup := canary(t, "127.0.0.1:0")
	for name, test := range map[string]struct {
		address string
		want    FailureKind
		says    string
	}{
		"plain HTTP where TLS is expected":       {"https://" + plain.Listener.Addr().String(), NotHTTP, "does not speak TLS"},
		"certificate of another CA, of one name": {strange.URL, UntrustedServer, "tls.ca"},
		"certificate of another host":            {"https://as.other:" + secure.URL[strings.LastIndex(secure.URL, ":")+1:], UntrustedServer, "as.other"},
		"old TLS":                                {old.URL, NotConnected, "TLS"},
		"no HTTP/1.1":                            {modern.URL, NotHTTP, "HTTP/1.1"},
		"closed port":                            {"https://" + closed, NotConnected, "refused"},
		"end in the handshake":                   {"https://" + hangup.address, NotConnected, "handshake"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t, testTarget(test.address, trusting(p), func(t *Target) { t.Request.Resolve = map[string]string{"as.other": "127.0.0.1"} }))
			a := attack(tr, get(test.address+"/"))
			wantKind(t, a, test.want)
			wantText(t, a.Failure.Detail, test.says)
			if o := settle(a, "here"); o.State != Unknown {
				t.Errorf("settled as a decision of the target: %+v", o)
			}
		})
	}
}

// seenCertificate answers with the thumbprint of the certificate that the server sees.
func seenCertificate(w http.ResponseWriter, r *http.Request) {
	if len(r.TLS.PeerCertificates) == 0 {
		io.WriteString(w, "none")
		return
	}
	io.WriteString(w, (&Certificate{pair: tls.Certificate{Certificate: [][]byte{r.TLS.PeerCertificates[0].Raw}}}).Thumbprint())
}

func TestARefusedCertificateIsAlwaysOne(t *testing.T) {
	p, stranger := newPKI(t, "CA"), newPKI(t, "CA")
	for version, number := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		s := p.secureServer(t, &tls.Config{MinVersion: number, MaxVersion: number, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: p.pool()}, http.HandlerFunc(seenCertificate))
		good := p.client(t, "good")
		for name, cert := range map[string]*Certificate{"none": nil, "a stranger's": stranger.client(t, "stranger")} {
			t.Run(version+" "+name, func(t *testing.T) {
				tr := newTrace(t, testTarget(s.URL, trusting(p)))
				for range 50 {
					for _, method := range []string{"GET", "POST"} {
						a := attack(tr, Request{Method: method, URL: s.URL + "/", As: cert, Body: strings.Repeat("x", 20)})
						wantKind(t, a, RefusedCertificate)
						if !a.TLS.CertificateRequested || (a.TLS.CertificatePresented != "") != (cert != nil) {
							t.Fatalf("recorded: %+v", a.TLS)
						}
						if o := settle(a, "here"); o.State != Refused || o.Where != InTLS {
							t.Fatalf("settled as %+v", o)
						}
					}
				}
				a := tr.Do(Request{Method: "GET", URL: s.URL + "/", As: good})
				wantKind(t, a, "")
				if a.TLS.Version != version || string(a.Body) != good.Thumbprint() {
					t.Errorf("%s, %s", a.TLS.Version, a.Body)
				}
			})
		}
	}
}

func TestWhatAServerSaysAfterTheHandshakeIsNoRefusedCertificate(t *testing.T) {
	p := newPKI(t, "CA")
	for name, test := range map[string]struct {
		answer string
		want   FailureKind
	}{
		"half an answer": {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"access_token\":", NotHTTP},
		"nothing":        {"", RefusedCertificate},
	} {
		t.Run(name, func(t *testing.T) {
			config := &tls.Config{Certificates: []tls.Certificate{p.server(t)}, ClientAuth: tls.RequestClientCert}
			s := listenRaw(t, "127.0.0.1:0", func(conn net.Conn, _ *bufio.Reader) {
				secure := tls.Server(conn, config)
				defer secure.Close()
				if _, _, err := readRaw(bufio.NewReader(secure)); err == nil {
					io.WriteString(secure, test.answer)
				}
			})
			tr := newTrace(t, testTarget("https://"+s.address, trusting(p)))
			wantKind(t, attack(tr, get("https://"+s.address+"/")), test.want)
		})
	}
}

func TestACertificateThatPopcheckCannotPresentIsNoRefusal(t *testing.T) {
	p := newPKI(t, "CA")
	// A server that asks for RSA signatures only cannot be shown an Ed25519 certificate: popcheck itself ends the handshake.
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	like := p.client(t, "like")
	cert, err := p.Issue(Issue{Name: "Ed25519", Like: like.Leaf, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	cert.pair.SupportedSignatureAlgorithms = []tls.SignatureScheme{tls.PKCS1WithSHA1}
	s := p.secureServer(t, &tls.Config{ClientAuth: tls.RequestClientCert}, http.HandlerFunc(seenCertificate))
	tr := newTrace(t, testTarget(s.URL, trusting(p)))
	a := attack(tr, Request{Method: "GET", URL: s.URL + "/", As: cert})
	if o := settle(a, "here"); o.State != Unknown {
		t.Errorf("settled as %+v (%v)", o, a.Failure)
	}
}

func TestACertificateThatTheServerDoesNotHintAtIsPresented(t *testing.T) {
	p, other := newPKI(t, "CA"), newPKI(t, "another CA")
	for version, number := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(version, func(t *testing.T) {
			s := p.secureServer(t, &tls.Config{MaxVersion: number, ClientAuth: tls.RequireAnyClientCert, ClientCAs: other.pool()}, http.HandlerFunc(seenCertificate))
			tr := newTrace(t, testTarget(s.URL, trusting(p)))
			cert := p.client(t, "unhinted")
			a := attack(tr, Request{Method: "GET", URL: s.URL + "/", As: cert})
			wantKind(t, a, "")
			if string(a.Body) != cert.Thumbprint() {
				t.Errorf("the server saw %s", a.Body)
			}
			x := tr.Exchanges()[0].TLS
			if x.CertificatePresented != "unhinted" || x.Thumbprint != cert.Thumbprint() || !x.CertificateRequested || x.Version != version {
				t.Errorf("recorded: %+v", x)
			}
		})
	}
}

func TestConnectionsOfIdentitiesAreNotShared(t *testing.T) {
	p := newPKI(t, "CA")
	var mu sync.Mutex
	conns := map[string]map[string]bool{}
	s := p.secureServer(t, &tls.Config{ClientAuth: tls.RequestClientCert}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seenCertificate(w, r)
		mu.Lock()
		defer mu.Unlock()
		if conns[r.RemoteAddr] == nil {
			conns[r.RemoteAddr] = map[string]bool{}
		}
		name := ""
		if len(r.TLS.PeerCertificates) > 0 {
			name = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		conns[r.RemoteAddr][name] = true
	}))
	tr := newTrace(t, testTarget(s.URL, trusting(p)))
	a, b := p.client(t, "a"), p.client(t, "b")
	b2, err := p.Issue(Issue{Name: "b", Like: b.Leaf}) // of the same name
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		for _, cert := range []*Certificate{a, nil, b, a, b2, nil, b} {
			answer := tr.Do(Request{Method: "GET", URL: s.URL + "/", As: cert})
			wantKind(t, answer, "")
			want := "none"
			if cert != nil {
				want = cert.Thumbprint()
			}
			if string(answer.Body) != want {
				t.Errorf("the server saw %s, want %s", answer.Body, want)
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(conns) != 4 {
		t.Errorf("%d connections for four identities", len(conns))
	}
}

func TestAnInterruptionStopsAnExchange(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s := listenRaw(t, "127.0.0.1:0", func(conn net.Conn, in *bufio.Reader) {
		readRaw(in)
		cancel()
		io.Copy(io.Discard, conn)
	})
	tr := newTester(t, testTarget("http://"+s.address)).Trace(ctx, "check")
	a := tr.Do(get("http://" + s.address + "/"))
	wantKind(t, a, Stopped)
	if o := settle(a, "here"); o.State != Unknown {
		t.Errorf("settled as %+v", o)
	}
	wantKind(t, tr.Do(get("http://"+s.address+"/")), Stopped)
	if n := s.conns.Load(); n > 1 {
		t.Errorf("%d connections, want none after the interruption", n)
	}
}

// tunnel is a proxy that opens tunnels to one address for who knows the password.
func tunnel(t *testing.T, to, credentials string, heads chan<- string) *rawServer {
	return listenRaw(t, "127.0.0.1:0", func(conn net.Conn, in *bufio.Reader) {
		head, _, err := readRaw(in)
		if err != nil {
			return
		}
		heads <- head
		if !strings.Contains(head, "\r\nProxy-Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte(credentials))+"\r\n") {
			io.WriteString(conn, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
			return
		}
		server, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		defer server.Close()
		io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
		go io.Copy(server, in)
		io.Copy(conn, server)
	})
}

func TestEverythingGoesThroughTheProxy(t *testing.T) {
	p := newPKI(t, "CA")
	s := p.secureServer(t, &tls.Config{ClientAuth: tls.RequestClientCert}, http.HandlerFunc(seenCertificate))
	heads := make(chan string, 20)
	proxy := tunnel(t, s.Listener.Addr().String(), "us er:p@ss:w%rd", heads)
	tr := newTrace(t, testTarget("https://as.example", trusting(p), func(t *Target) {
		t.Request.Proxy = "http://us%20er:p%40ss%3Aw%25rd@" + proxy.address
	}))
	cert := p.client(t, "a")
	// The name does not resolve, so nothing can go past the proxy.
	for range 2 {
		a := tr.Do(Request{Method: "GET", URL: "https://as.example/", As: cert})
		wantKind(t, a, "")
		if string(a.Body) != cert.Thumbprint() {
			t.Errorf("the server saw %s", a.Body)
		}
	}
	wantKind(t, attack(tr, get("https://as.example/")), "")
	if n := proxy.conns.Load(); n != 2 {
		t.Errorf("%d tunnels, want one kept and one for the attack", n)
	}
	if head := <-heads; !strings.HasPrefix(head, "CONNECT as.example:443 HTTP/1.1\r\nHost: as.example:443\r\n") {
		t.Errorf("the proxy got %q", head)
	}
}

func TestAProxyThatDoesNotServe(t *testing.T) {
	proxied := func(t *testing.T, userinfo string, proxy *rawServer) *Trace {
		return newTrace(t, testTarget("https://as.example", func(t *Target) { t.Request.Proxy = "http://" + userinfo + proxy.address }))
	}
	t.Run("wrong password", func(t *testing.T) {
		direct := canary(t, "127.0.0.1:0")
		proxy := tunnel(t, direct.address, "user:right", make(chan string, 1))
		a := proxied(t, "user:wrong@", proxy).Do(get("https://as.example/"))
		wantKind(t, a, NotConnected)
		wantText(t, a.Failure.Detail, "407", proxy.address, "as.example:443")
		if strings.Contains(a.Failure.Detail, "wrong") || direct.conns.Load() != 0 {
			t.Errorf("%s; %d direct connections", a.Failure.Detail, direct.conns.Load())
		}
	})
	t.Run("ends", func(t *testing.T) {
		wantKind(t, proxied(t, "", canary(t, "127.0.0.1:0")).Do(get("https://as.example/")), NotConnected)
	})
	t.Run("silent, and the run is interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		proxy := listenRaw(t, "127.0.0.1:0", func(conn net.Conn, in *bufio.Reader) {
			readRaw(in)
			cancel()
			io.Copy(io.Discard, conn)
		})
		tr := proxied(t, "", proxy)
		tr.ctx = ctx
		wantKind(t, tr.Do(get("https://as.example/")), Stopped)
	})
	t.Run("silent", func(t *testing.T) {
		tr := proxied(t, "", listenRaw(t, "127.0.0.1:0", func(conn net.Conn, _ *bufio.Reader) { io.Copy(io.Discard, conn) }))
		tr.Target.Limits.Timeout = 100 * time.Millisecond
		wantKind(t, tr.Do(get("https://as.example/")), TimedOut)
	})
}

func TestResolveFixesAnAddress(t *testing.T) {
	p := newPKI(t, "CA")
	s := p.secureServer(t, &tls.Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.TLS.ServerName+" "+r.Host) }))
	plain := plainServer(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host) })
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	for name, test := range map[string]struct{ address, fixed, want string }{
		"host and port": {"https://as.example/", s.Listener.Addr().String(), "as.example as.example"},
		"host alone":    {"https://as.example:" + port + "/", "127.0.0.1", "as.example as.example:" + port},
		"letter case":   {"https://AS.Example/", s.Listener.Addr().String(), "AS.Example AS.Example"},
		"final dot":     {"https://as.example./", s.Listener.Addr().String(), "as.example as.example."},
		"plain":         {"http://as.example/", plain.Listener.Addr().String(), "as.example"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t, testTarget("https://as.example", trusting(p), func(t *Target) {
				t.Request.Resolve = map[string]string{"as.example": test.fixed}
			}))
			a := tr.Do(get(test.address))
			wantKind(t, a, "")
			if got := string(a.Body); !strings.EqualFold(got, test.want) {
				t.Errorf("the server saw %q, want %q", got, test.want)
			}
		})
	}
}

func TestAKeptConnectionIsUsedAgain(t *testing.T) {
	addresses := make(chan string, 10)
	s := plainServer(t, func(w http.ResponseWriter, r *http.Request) {
		addresses <- r.RemoteAddr
		if r.URL.Path == "/close" {
			w.Header().Set("Connection", "close")
		}
		fmt.Fprint(w, r.Method)
	})
	tr := newTrace(t, testTarget(s.URL))
	var seen []string
	for _, r := range []Request{get(s.URL + "/"), {Method: "HEAD", URL: s.URL + "/"}, {Method: "POST", URL: s.URL + "/", Body: "x"}, get(s.URL + "/close"), get(s.URL + "/")} {
		a := tr.Do(r)
		wantKind(t, a, "")
		seen = append(seen, <-addresses)
	}
	if seen[0] != seen[1] || seen[1] != seen[2] || seen[2] != seen[3] || seen[3] == seen[4] {
		t.Errorf("connections: %v", seen)
	}
}
