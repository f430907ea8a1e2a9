package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Person is whoever logs in by hand. The zero value is nobody.
type Person struct {
	Tell func(text string)                         // shows a text at once: it may hold secrets and goes into no report; nil: nobody looks
	Read func(ctx context.Context) (string, error) // the next line that is typed; nil: there is no terminal
}

// manualDriver leaves the login to a person, who opens the authorization URL in a browser. The answer comes to a listener where a
// redirect URI of the client is on this machine, else the person pastes it. The session is kept by the person's browser.
type manualDriver struct{}

func (d manualDriver) authorize(tr *Trace, _ *browserSession, e errand) (*FrontChannel, error) {
	target, err := tr.mayGo(e.address)
	if err != nil {
		return nil, err
	}
	if tr.Person.Tell == nil {
		return nil, fmt.Errorf("%w driver manual: nobody is there to open the authorization URL", ErrLogin)
	}
	ctx, cancel := context.WithTimeout(tr.ctx, tr.Target.Limits.Login)
	defer cancel()
	defer context.AfterFunc(tr.ended, cancel)()
	came := make(chan broughtURL, 4)
	places, closeAll, err := listenBack(e.client, came)
	if err != nil && tr.Person.Read == nil {
		return nil, fmt.Errorf("%w driver manual: the redirect cannot come back: %w, and standard input is no terminal to paste it into", ErrLogin, err)
	}
	defer closeAll()
	tr.ask(e, places)
	if len(places) == 0 || tr.Person.Read != nil {
		go func() {
			line, err := tr.Person.Read(ctx)
			if ctx.Err() == nil {
				came <- broughtURL{line, err}
			}
		}()
	}
	for {
		select {
		case <-ctx.Done():
			if tr.ctx.Err() != nil || tr.Stopped() != "" {
				return nil, fmt.Errorf("%w: interrupted", ErrLogin)
			}
			return nil, fmt.Errorf("%w: nobody brought the redirect within %s (limits.login)", ErrLogin, tr.Target.Limits.Login)
		case got := <-came:
			if got.err != nil {
				return nil, fmt.Errorf("%w: no redirect URI can be read from the terminal: %w", ErrLogin, got.err)
			}
			front := &FrontChannel{Unseen: "the login driver manual shows no pages: a person sees them"}
			r := &Request{Step: "authorization request, by a person", Method: "GET", URL: e.address, Changed: e.changed}
			if strings.EqualFold(strings.TrimSpace(got.line), "page") {
				return nil, fmt.Errorf("%w: the person saw a page and was sent nowhere", ErrLogin)
			}
			back, err := tr.backAt(e.client, got.line, "the person brought")
			if err != nil {
				tr.Person.Tell(err.Error())
				if len(places) == 0 {
					return nil, err
				}
				continue
			}
			tr.broughtBack(front, r, back, target)
			return front, nil
		}
	}
}

// ask tells the person what to do. An address with a pushed request or a state is worth something: it goes to the person alone.
func (tr *Trace) ask(e errand, places []string) {
	in := "in a browser"
	if e.fresh {
		in = "in a NEW private window, where nobody is logged in"
	}
	as := cmp.Or(e.user.Username, "a user of the server")
	text := fmt.Sprintf("Please open this address %s and go on as %s (%s):\n  %s\n", in, as, tr.check, e.address)
	if e.reload {
		text += "  load it twice before the login\n"
	}
	if len(places) > 0 {
		text += "popcheck waits for the redirect at " + strings.Join(places, ", ")
		if tr.Person.Read != nil {
			text += ", or paste it here"
		}
	} else {
		text += "and paste the address to which the browser is sent in the end (or write: page, where it is sent nowhere)"
	}
	tr.Person.Tell(text)
}

type broughtURL struct {
	line string
	err  error
}

// listenBack listens where redirect URIs of the client are on this machine, without TLS. The error says why it does nowhere.
func listenBack(c *Client, came chan<- broughtURL) (places []string, closeAll func(), err error) {
	var servers []*http.Server
	closeAll = func() {
		for _, s := range servers {
			s.Close()
		}
	}
	var failed error
	var bound []string
	for _, raw := range c.RedirectURIs {
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "http" || !Loopback(u.Host) || slices.Contains(bound, u.Host) {
			continue
		}
		bound = append(bound, u.Host)
		listener, err := net.Listen("tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "80")))
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		s := &http.Server{Handler: backHandler(u, c, came), ReadHeaderTimeout: 10 * time.Second}
		servers, places = append(servers, s), append(places, raw)
		go s.Serve(listener)
	}
	if len(places) == 0 {
		return nil, closeAll, cmp.Or(failed, fmt.Errorf("no redirect URI of client %s is http on this machine", c.ClientID))
	}
	return places, closeAll, nil
}

// backHandler takes the redirect: a query, a posted form, or a fragment, which only a script can hand over.
func backHandler(base *url.URL, c *Client, came chan<- broughtURL) http.Handler {
	var once sync.Once
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := *r.URL
		u.Scheme, u.Host = base.Scheme, base.Host
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if !belongs(c, &u) {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		const handed = "popcheck-fragment"
		switch body, _ := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10)); {
		case r.Method == http.MethodPost:
			u.RawQuery = strings.TrimPrefix(u.RawQuery+"&"+string(body), "&")
		case r.URL.Query().Has(handed):
			u.Fragment, u.RawQuery = "", ""
			once.Do(func() { came <- broughtURL{line: u.String() + "#" + r.URL.Query().Get(handed)} })
			io.WriteString(w, "<!DOCTYPE html><title>popcheck</title><p>Thank you. This window can be closed.")
			return
		case !r.URL.Query().Has("code") && !r.URL.Query().Has("error"):
			io.WriteString(w, `<!DOCTYPE html><title>popcheck</title><p>One moment.<script>
if (location.hash.length > 1) location.replace(location.pathname + "?`+handed+`=" + encodeURIComponent(location.hash.slice(1)))</script>`)
			return
		}
		once.Do(func() { came <- broughtURL{line: u.String()} })
		io.WriteString(w, "<!DOCTYPE html><title>popcheck</title><p>Thank you. This window can be closed.")
	})
}

// HonestLogins is about how many authorizations the honest tries before the first check take: each client of the code flow as it is and
// with proofs.
func HonestLogins(t *Target) int {
	n := 1 // a code for nobody
	for i := range t.Clients {
		if t.Clients[i].HasGrant(CodeGrant) {
			n += 2
		}
	}
	return n
}
