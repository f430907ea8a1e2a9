package harness

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pageFile is how much larger than limits.body a script or a stylesheet of a page may be: those of whole applications come in one file.
const pageFile = 32

// Request is one HTTP/1.1 request as it goes on the wire: net/http would re-send it on a dead
// connection, re-spell its headers and follow its redirects, and each of these spoils an attack.
type Request struct {
	Step     string // what it is, for a reader: "token request"
	Method   string
	URL      string
	Header   []Field // sent in this order and spelling, after Host
	Body     string
	As       *Certificate // the client certificate of its connection; nil presents none
	Session  *TLSSession  // kept or resumed on purpose; nil for a session of its own
	Over     *Connection  // shared with other requests on purpose; nil for the usual choice
	MaxTLS   uint16       // the newest version of TLS that is offered; 0 for any
	Changed  []string     // how it differs from the honest request
	Decoded  []Decoded    // JWTs in it, by member
	browser  bool         // part of a login: its connections are kept
	rendered bool         // a browser that renders pages made it: its cookies are in it
	aside    bool         // a file that a page needs: its content is no evidence
	stranger string       // the origin of the other site whose page makes the browser send it; "" for the server\'s own pages
	outside  bool         // from another address of this machine than that at which servers expect their proxy
	parting  bool         // sent also when the run has ended: it removes what popcheck left
	held     *held        // one of several that go out at the same moment; nil for all others
}

// Answer is what came back: a response, or a Failure.
type Answer struct {
	Status  int
	Header  http.Header
	Body    []byte
	Failure *Failure
	TLS     *ExchangeTLS
	URL     *url.URL
	begun   time.Time // when the request began to be written
	came    time.Time // when the header was read
}

// Skew is how far the server's clock was ahead of ours, by the Date of the answer (RFC 9110 §6.6.1), and how far that may be off: a Date
// has whole seconds, and the answer was made at some time between request and arrival. ok is false where there is no Date.
func (a *Answer) Skew() (ahead, off time.Duration, ok bool) {
	if a == nil || a.came.IsZero() {
		return 0, 0, false
	}
	date, err := http.ParseTime(a.Header.Get("Date"))
	if err != nil {
		return 0, 0, false
	}
	took := a.came.Sub(a.begun)
	return date.Add(time.Second / 2).Sub(a.begun.Add(took / 2)), time.Second/2 + took/2, true
}

// OK reports whether an HTTP response came back.
func (a *Answer) OK() bool { return a.Failure == nil }

// FailureKind says at what point an exchange ended without an HTTP response.
type FailureKind string

// The kinds of failure. Only RefusedCertificate and Dropped can be a target's decision.
const (
	NotNamed           FailureKind = "host not named"      // the target file does not name the host; nothing was sent
	NotConnected       FailureKind = "no connection"       // nobody listens, or no route
	UntrustedServer    FailureKind = "untrusted server"    // the server's certificate does not verify
	RefusedCertificate FailureKind = "refused certificate" // ended by the server after it asked for a certificate
	Dropped            FailureKind = "dropped"             // ended by the server without an answer
	TimedOut           FailureKind = "timed out"           // the deadline of the exchange passed
	TooLarge           FailureKind = "too large"           // the answer is larger than limits.body
	NotHTTP            FailureKind = "not HTTP"            // the answer cannot be read as HTTP
	RefusedVersion     FailureKind = "refused version"     // the server does not agree to so old a version of TLS
	NonceLoop          FailureKind = "nonce loop"          // use_dpop_nonce twice in a row
	Stopped            FailureKind = "stopped"             // popcheck stopped sending: interrupted, or the target asked for rest
)

// Failure is an exchange that ended without an HTTP response.
type Failure struct {
	Kind   FailureKind
	Detail string
}

func (f *Failure) Error() string { return string(f.Kind) + ": " + f.Detail }

// headerLimit bounds the head of an answer, in bytes; net/http's own default for servers.
const headerLimit = 1 << 20

// interimLimit bounds the 1xx answers before the real one.
const interimLimit = 5

// connection is one TCP or TLS connection of one identity to one server.
type connection struct {
	net.Conn
	reader *bufio.Reader
	meter  *meter
	facts  ExchangeTLS
	uses   int
}

// meter ends a reading when a limit of bytes is reached, so that a hostile answer cannot fill memory.
type meter struct {
	source io.Reader
	left   int64
	taken  int64
}

var errTooLarge = errors.New("the answer is larger than the limit")

func (m *meter) Read(p []byte) (int, error) {
	if m.left <= 0 {
		return 0, errTooLarge
	}
	if int64(len(p)) > m.left {
		p = p[:m.left]
	}
	n, err := m.source.Read(p)
	m.left -= int64(n)
	m.taken += int64(n)
	return n, err
}

// dial opens a fresh connection that presents cert, whatever the server's CA hints say: Go would
// silently withhold a certificate that does not match them, and the attack would not take place.
func (t *Tester) dial(ctx context.Context, target *url.URL, r *Request) (*connection, *Failure) {
	// In the spelling that was allowed: what resolves names would look 127.0.0.1 with a final dot up, and get any answer.
	host, port := CanonicalHost(target.Hostname()), target.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[target.Scheme]
	}
	address := net.JoinHostPort(host, port)
	if fixed, ok := t.Target.Request.Resolve[host]; ok {
		address = fixed
		if _, _, err := net.SplitHostPort(fixed); err != nil {
			address = net.JoinHostPort(fixed, port)
		}
	}
	dialer := t.dialer(host)
	if r.outside && dialer.Control != nil {
		// Servers believe what a proxy at 127.0.0.1 forwards, and from nowhere else (so do gunicorn and Uvicorn by default), and are right.
		dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}
	}
	raw, err := t.dialTCP(ctx, dialer, address, net.JoinHostPort(host, port))
	if err != nil && dialer.LocalAddr != nil { // not every system has all of 127.0.0.0/8, and ::1 has no neighbour
		dialer.LocalAddr = nil
		raw, err = t.dialTCP(ctx, dialer, address, net.JoinHostPort(host, port))
	}
	if err != nil {
		return nil, connectFailure(err)
	}
	c := &connection{Conn: raw, facts: ExchangeTLS{FreshConnection: true}}
	if target.Scheme == "https" {
		if failure := t.handshake(ctx, c, host, r); failure != nil {
			raw.Close()
			return c, failure
		}
	}
	c.meter = &meter{source: c.Conn}
	c.reader = bufio.NewReader(c.meter)
	return c, nil
}

// errElsewhere is that a name of this machine leads to another one.
var errElsewhere = errors.New("is not this machine")

// dialer connects to a host as the target file allows it. A name of this machine may be attacked without permission and without TLS, so
// it has to be this machine when the connection is made: whoever answers for the name may say something else by then (DNS rebinding).
// Other names are those that the file gives permission for; of their addresses TLS is the proof.
func (t *Tester) dialer(host string) *net.Dialer {
	d := &net.Dialer{}
	if t.Target.Request.Proxy == "" && t.Target.loopback(host) {
		d.Control = func(_, address string, _ syscall.RawConn) error {
			if !Loopback(address) {
				return fmt.Errorf("%s is %s, which %w", host, address, errElsewhere)
			}
			return nil
		}
	}
	return d
}

func (t *Tester) dialTCP(ctx context.Context, dialer *net.Dialer, address, through string) (net.Conn, error) {
	if t.Target.Request.Proxy == "" {
		return dialer.DialContext(ctx, "tcp", address)
	}
	proxy, err := url.Parse(t.Target.Request.Proxy)
	if err != nil {
		return nil, err
	}
	conn, err := dialer.DialContext(ctx, "tcp", proxy.Host)
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", proxy.Host, err)
	}
	release := context.AfterFunc(ctx, func() { conn.Close() })
	defer release()
	connect := "CONNECT " + through + " HTTP/1.1\r\nHost: " + through + "\r\n"
	if user := proxy.User; user != nil {
		password, _ := user.Password() // as meant, not as spelt in a URL
		connect += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)) + "\r\n"
	}
	refused := func(err error) (net.Conn, error) {
		conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("proxy %s opens no tunnel to %s: %w", proxy.Host, through, err)
	}
	if _, err := io.WriteString(conn, connect+"\r\n"); err != nil {
		return refused(err)
	}
	// One byte at a time: nothing of the tunnel may be swallowed.
	answer, err := http.ReadResponse(bufio.NewReaderSize(io.LimitReader(oneByte{conn}, headerLimit), 16), &http.Request{Method: "CONNECT"})
	if err != nil {
		return refused(err)
	}
	if answer.StatusCode/100 != 2 {
		return refused(fmt.Errorf("HTTP %d", answer.StatusCode))
	}
	return conn, nil
}

type oneByte struct{ io.Reader }

func (r oneByte) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(1, len(p))]) }

func (t *Tester) handshake(ctx context.Context, c *connection, host string, r *Request) *Failure {
	cert, session := r.As, r.Session
	config := &tls.Config{
		RootCAs:    t.roots,
		ServerName: host,
		NextProtos: []string{"http/1.1"},
		MinVersion: tls.VersionTLS12,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			c.facts.CertificateRequested = true
			if cert == nil {
				return &tls.Certificate{}, nil
			}
			c.facts.CertificatePresented, c.facts.Thumbprint = cert.Name, cert.Thumbprint()
			return &cert.pair, nil
		},
	}
	if session != nil {
		session.resumeWith(config)
	}
	if r.MaxTLS != 0 {
		offerOldest(config, r.MaxTLS)
	}
	secure := tls.Client(c.Conn, config)
	c.Conn = secure
	if err := secure.HandshakeContext(ctx); err != nil {
		if r.MaxTLS != 0 && refusesVersion(err) {
			return &Failure{RefusedVersion, "TLS handshake: " + err.Error()}
		}
		return handshakeFailure(err, c.facts)
	}
	state := secure.ConnectionState()
	c.facts.Version, c.facts.Resumed = tls.VersionName(state.Version), state.DidResume
	if session != nil {
		session.Resumed = state.DidResume
	}
	return nil
}

// offerOldest offers old versions of TLS only, with every cipher suite that they have: what a server refuses is to be the version.
func offerOldest(config *tls.Config, newest uint16) {
	config.MinVersion, config.MaxVersion = tls.VersionTLS10, newest
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		config.CipherSuites = append(config.CipherSuites, suite.ID)
	}
}

// refusesVersion reports whether a handshake ended because the server did not agree to an old version: by an alert, by ending the
// connection, or by choosing a newer version than was offered.
func refusesVersion(err error) bool {
	return isAbrupt(err) || strings.Contains(err.Error(), "unsupported protocol version")
}

// alive reports whether an idle connection can still be used: a server that closed it has sent EOF by now.
func (c *connection) alive() bool {
	c.SetReadDeadline(time.Now().Add(50 * time.Microsecond))
	c.meter.left = 1
	_, err := c.reader.Peek(1)
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// roundTrip writes one request and reads its answer; reusable says whether the connection may serve again.
func (c *connection) roundTrip(r *Request, target *url.URL, limits Limits) (answer *Answer, reusable bool) {
	c.uses++
	c.SetDeadline(time.Now().Add(limits.Timeout))
	if r.aside {
		limits.Body = min(pageFile*limits.Body, maxBodyLimit)
	}
	c.meter.left, c.meter.taken = headerLimit+limits.Body, 0
	answer = &Answer{URL: target, begun: time.Now()}
	if err := c.send(r, target, limits); err != nil {
		// A server may answer and close before it has read all: its answer still counts.
		if _, peek := c.reader.Peek(1); peek != nil {
			answer.Failure = exchangeFailure(err, c)
			return answer, false
		}
	}
	if r.held != nil {
		c.reader.Peek(1) // what it tells is the time; an error comes again below
		r.held.answered = time.Now()
	}
	for range interimLimit {
		response, err := http.ReadResponse(c.reader, &http.Request{Method: r.Method})
		if err != nil {
			answer.Failure = exchangeFailure(err, c)
			return answer, false
		}
		if response.StatusCode < 200 && response.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		answer.came = time.Now()
		body, err := readBody(response, limits.Body)
		answer.Status, answer.Header, answer.Body = response.StatusCode, response.Header, body
		if err != nil {
			answer.Failure = exchangeFailure(err, c)
			return answer, false
		}
		return answer, !response.Close && c.reader.Buffered() == 0
	}
	answer.Failure = &Failure{NotHTTP, "only interim answers (1xx) came"}
	return answer, false
}

// send writes the request; one that was held back begins its time-out when it is let go.
func (c *connection) send(r *Request, target *url.URL, limits Limits) error {
	if r.held == nil {
		_, err := c.Write(serialise(r, target))
		return err
	}
	err := r.held.write(c, serialise(r, target))
	c.SetDeadline(time.Now().Add(limits.Timeout))
	return err
}

func readBody(response *http.Response, limit int64) ([]byte, error) {
	defer response.Body.Close()
	var source io.Reader = response.Body
	if response.Body != http.NoBody && strings.EqualFold(response.Header.Get("Content-Encoding"), "gzip") {
		unzipped, err := gzip.NewReader(source)
		if err != nil {
			return nil, err
		}
		source = unzipped
	}
	body, err := io.ReadAll(io.LimitReader(source, limit+1))
	if int64(len(body)) > limit {
		return body[:limit], errTooLarge
	}
	return body, err
}

// serialise spells the request. Values come from popcheck or the target; a line break in one would be a
// second header, so it is taken out: an attack with raw line breaks would be a row of its own.
func serialise(r *Request, target *url.URL) []byte {
	var b bytes.Buffer
	line := strings.NewReplacer("\r", "", "\n", "")
	path := target.EscapedPath()
	if path == "" {
		path = "/"
	}
	if target.RawQuery != "" {
		path += "?" + target.RawQuery
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", r.Method, line.Replace(path))
	host := target.Host
	for _, f := range r.Header {
		if strings.EqualFold(f.Name, "Host") {
			host = f.Value
		}
	}
	fmt.Fprintf(&b, "Host: %s\r\n", line.Replace(host))
	for _, f := range r.Header {
		if !strings.EqualFold(f.Name, "Host") {
			fmt.Fprintf(&b, "%s: %s\r\n", line.Replace(f.Name), line.Replace(f.Value))
		}
	}
	if r.Body != "" || r.Method == http.MethodPost || r.Method == http.MethodPut {
		fmt.Fprintf(&b, "Content-Length: %s\r\n", strconv.Itoa(len(r.Body)))
	}
	b.WriteString("\r\n")
	b.WriteString(r.Body)
	return b.Bytes()
}

func connectFailure(err error) *Failure {
	if errors.Is(err, errElsewhere) {
		return &Failure{NotNamed, err.Error()}
	}
	if errors.Is(err, context.Canceled) {
		return &Failure{Stopped, "interrupted"}
	}
	if isTimeout(err) {
		return &Failure{TimedOut, "no connection in time: " + err.Error()}
	}
	return &Failure{NotConnected, err.Error()}
}

func handshakeFailure(err error, facts ExchangeTLS) *Failure {
	var verification *tls.CertificateVerificationError
	switch {
	case errors.As(err, &verification):
		return &Failure{UntrustedServer, verification.Err.Error() + "; name its CA under tls.ca"}
	case errors.Is(err, context.Canceled):
		return &Failure{Stopped, "interrupted"}
	case isTimeout(err):
		return &Failure{TimedOut, "TLS handshake: " + err.Error()}
	case strings.Contains(err.Error(), "no application protocol"): // an alert that crypto/tls gives no type
		return &Failure{NotHTTP, "the server does not speak HTTP/1.1 here, perhaps HTTP/2 only; popcheck writes its attacks byte by byte, in HTTP/1.1"}
	case facts.CertificateRequested && isAbrupt(err):
		return &Failure{RefusedCertificate, "the server ended the handshake after it asked for a certificate: " + err.Error()}
	}
	var header tls.RecordHeaderError
	if errors.As(err, &header) {
		return &Failure{NotHTTP, "the port does not speak TLS: " + err.Error()}
	}
	return &Failure{NotConnected, "TLS handshake: " + err.Error()}
}

// exchangeFailure tells a refused certificate from a dropped connection. With TLS 1.3 the refusal of a
// certificate comes after the handshake, as an alert, a reset or a broken pipe, by chance; on the first
// use of a connection on which the server asked for a certificate these are one thing (design §3).
func exchangeFailure(err error, c *connection) *Failure {
	switch {
	case errors.Is(err, errTooLarge):
		return &Failure{TooLarge, "the answer is larger than limits.body"}
	case isTimeout(err):
		return &Failure{TimedOut, "no whole answer within limits.timeout"}
	case isAbrupt(err) && c.meter.taken > 0:
		// Half an answer is none: it may have been the token.
		return &Failure{NotHTTP, "the connection ended in the middle of the answer: " + err.Error()}
	case isAbrupt(err) && c.uses == 1 && c.facts.CertificateRequested:
		return &Failure{RefusedCertificate, "the server ended the connection after it asked for a certificate: " + err.Error()}
	case isAbrupt(err):
		return &Failure{Dropped, "the server ended the connection without an answer: " + err.Error()}
	}
	return &Failure{NotHTTP, err.Error()}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// isAbrupt reports whether the other side ended the connection. What popcheck's own TLS could not do (sign for this
// server, read its record) is a "local error", and no decision of the server.
func isAbrupt(err error) bool {
	var network *net.OpError
	if errors.As(err, &network) {
		return network.Op != "local error"
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}
