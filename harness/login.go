package harness

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// loginDriver plays the browser from an authorization URL to the redirect back to the client.
type loginDriver interface {
	authorize(tr *Trace, b *browserSession, e errand) (*FrontChannel, error)
}

// errand is what a browser is sent for.
type errand struct {
	address   string // the authorization URL
	client    *Client
	user      *User
	changed   []string
	atConsent func(*ConsentPage) // nil for nothing
}

// browserSession is a user's browser: its cookies. It is used for one authorization at a time.
type browserSession struct {
	mu       sync.Mutex
	cookies  *cookiejar.Jar
	sameSite map[string]http.SameSite // by name=value
}

func newBrowserSession() *browserSession {
	jar, _ := cookiejar.New(nil) // cannot fail without options
	return &browserSession{cookies: jar, sameSite: map[string]http.SameSite{}}
}

// cookiesKept is what every browser keeps of one server (RFC 6265 §6.1). A server may set a cookie for each authorization and rely on nobody going through
// hundreds of them; their sum would be a header that it refuses (HTTP 431).
const cookiesKept = 50

// tidy begins with an empty jar where an address gets too many cookies: the next authorization logs in again.
func (b *browserSession) tidy(address string) {
	if u, err := url.Parse(address); err == nil && len(b.cookies.Cookies(&url.URL{Scheme: "https", Host: u.Host, Path: u.Path})) > cookiesKept {
		b.cookies = newBrowserSession().cookies
	}
}

// ErrLogin is what a login driver could not do; it never counts against the target.
var ErrLogin = errors.New("login")

func (tr *Trace) login(address string, q AuthorizationRequest, user *User, changed []string) (*FrontChannel, error) {
	session := newBrowserSession()
	if q.Session == KeptSession {
		session = tr.sessions.of(user)
	}
	session.mu.Lock()
	defer session.mu.Unlock()
	if q.Session == ReloadedSession {
		tr.browse(session, Request{Step: "authorization request", Method: "GET", URL: address, Changed: changed})
	}
	var driver loginDriver
	switch tr.Target.Login.Driver {
	case "", "form":
		driver = formDriver{fields: tr.Target.Login.Fields}
	case "exec":
		driver = execDriver{tr.Target.Login.Command}
	default:
		return nil, fmt.Errorf("%w driver %q is not available in this version; use form or exec", ErrLogin, tr.Target.Login.Driver)
	}
	front, err := driver.authorize(tr, session, errand{address, q.Who.Client, user, changed, q.AtConsent})
	session.tidy(address)
	tr.consents.note(q.Who.Client, user, front)
	return front, err
}

// belongs reports whether a redirect goes back to the client: such an address is read, never requested. An address that
// shares origin and path with a registered one counts as well, so that a mutated query cannot make popcheck call the client.
func belongs(c *Client, target *url.URL) bool {
	for _, raw := range c.RedirectURIs {
		u, err := url.Parse(raw)
		if err == nil && strings.EqualFold(u.Scheme, target.Scheme) && strings.EqualFold(u.Host, target.Host) && u.Path == target.Path {
			return true
		}
	}
	return false
}

func responseParameters(u *url.URL) url.Values {
	params := u.Query()
	if fragment, err := url.ParseQuery(u.EscapedFragment()); err == nil && u.Fragment != "" {
		for name, values := range fragment {
			params[name] = append(params[name], values...)
		}
	}
	return params
}

// execDriver leaves the login to a program of the user: it gets the authorization URL as its last argument and the user in
// POPCHECK_USERNAME and POPCHECK_PASSWORD, and prints the final redirect URI on its first line.
type execDriver struct{ command []string }

func (d execDriver) authorize(tr *Trace, _ *browserSession, e errand) (*FrontChannel, error) {
	address, c, user := e.address, e.client, e.user
	target, failure := tr.permit(address)
	if failure == nil {
		failure = tr.pace(tr.ctx)
	}
	if failure != nil {
		return nil, fmt.Errorf("%w: %s", ErrLogin, failure.Error())
	}
	ctx, cancel := context.WithTimeout(tr.ctx, 6*tr.Target.Limits.Timeout)
	defer cancel()
	program := exec.CommandContext(ctx, d.command[0], slices.Concat(d.command[1:], []string{address})...)
	program.WaitDelay = time.Second // a child that it leaves behind may hold its output open
	program.Dir = tr.Target.Dir
	program.Env = append(os.Environ(), "POPCHECK_USERNAME="+user.Username, "POPCHECK_PASSWORD="+user.Password)
	var complaints, out strings.Builder
	program.Stderr, program.Stdout = &limitedWriter{&complaints, 4 << 10}, &limitedWriter{&out, 64 << 10}
	err := program.Run()
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("%w: %s printed no redirect URI within %s (six times limits.timeout): %s", ErrLogin, d.command[0], 6*tr.Target.Limits.Timeout, strings.TrimSpace(complaints.String()))
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%w: interrupted", ErrLogin)
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return nil, fmt.Errorf("%w: %s: %w: %s", ErrLogin, d.command[0], err, strings.TrimSpace(complaints.String()))
	}
	line, _, _ := strings.Cut(strings.TrimSpace(out.String()), "\n")
	back, err := url.Parse(strings.TrimSpace(line))
	if err != nil || back.Scheme == "" {
		return nil, fmt.Errorf("%w: %s printed no redirect URI", ErrLogin, d.command[0])
	}
	if !belongs(c, back) {
		return nil, fmt.Errorf("%w: %s printed an address that is none of the client's redirect_uris: %s://%s%s", ErrLogin, d.command[0], back.Scheme, back.Host, back.Path)
	}
	answer := &Answer{Status: http.StatusFound, Header: http.Header{"Location": {back.String()}}, URL: target}
	tr.registerInvented(answer)
	r := &Request{Step: "authorization request, by " + d.command[0], Method: "GET", URL: address, Changed: e.changed}
	tr.record(r, answer, tr.started)
	return &FrontChannel{Redirect: back.String(), Params: responseParameters(back), Hops: []Hop{{"authorization request", answer}}}, nil
}

type limitedWriter struct {
	to   *strings.Builder
	left int
}

func (w *limitedWriter) Write(p []byte) (int, error) {
	keep := min(len(p), w.left)
	w.to.Write(p[:keep])
	w.left -= keep
	return len(p), nil
}
