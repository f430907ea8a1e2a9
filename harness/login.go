package harness

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"sync"
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
	fresh     bool               // nobody is logged in: a session of its own
	reload    bool               // the user loads the address twice before the login
	asIs      bool               // no change of the request can be why a login is asked for
}

// browserSession is a user's browser: its cookies. It is used for one authorization at a time.
type browserSession struct {
	mu       sync.Mutex
	cookies  *cookiejar.Jar
	sameSite map[string]http.SameSite // by name=value
	tab      *tab                     // of the driver browser; nil before its first page
	dir      string                   // of the driver exec: where the program keeps its session; "" before its first call

	known   bool // an authorization went through without a login
	served  int  // such authorizations since the last login
	renewed bool // the last login renewed a session that was lost
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
		b.known, b.served, b.renewed = false, 0, false
		b.close()
	}
}

// close ends what a driver opened for the session; the cookies stay readable.
func (b *browserSession) close() {
	if b.tab != nil {
		b.tab.close()
		b.tab = nil
	}
	if b.dir != "" {
		os.RemoveAll(b.dir)
		b.dir = ""
	}
}

// ErrLogin is what a login driver could not do; it never counts against the target.
var ErrLogin = errors.New("login")

// driver is the one that the target file names.
func (t *Tester) driver() (loginDriver, error) {
	switch login := t.Target.Login; login.Driver {
	case "", "form":
		return formDriver{fields: login.Fields}, nil
	case "exec":
		return execDriver{login.Command}, nil
	case "browser":
		return browserDriver{login}, nil
	case "manual":
		return manualDriver{}, nil
	default:
		return nil, fmt.Errorf("%w driver %q is not known", ErrLogin, login.Driver)
	}
}

func (tr *Trace) login(address string, q AuthorizationRequest, user *User, changed []string) (*FrontChannel, error) {
	driver, err := tr.driver()
	if err != nil {
		return nil, err
	}
	session := newBrowserSession()
	if q.Session == KeptSession {
		session = tr.sessions.of(user)
	} else {
		defer session.close()
	}
	session.mu.Lock()
	defer session.mu.Unlock()
	front, err := driver.authorize(tr, session, errand{
		address: address, client: q.Who.Client, user: user, changed: changed, atConsent: q.AtConsent,
		fresh: q.Session != KeptSession, reload: q.Session == ReloadedSession, asIs: q.Change == nil && q.Beside == nil,
	})
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
