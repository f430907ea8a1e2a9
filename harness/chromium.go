package harness

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// ErrNoBrowser means that the driver browser finds no Chromium on this machine.
var ErrNoBrowser = errors.New("no Chromium was found")

// FindChromium is the program of the driver browser: the one that is named, else CHROME, else what PATH has under the usual names.
func FindChromium(named string) (string, error) {
	for _, wanted := range []struct{ program, by string }{{named, "login.browser"}, {os.Getenv("CHROME"), "CHROME"}} {
		if wanted.program == "" {
			continue
		}
		path, err := exec.LookPath(wanted.program)
		if err != nil {
			return "", fmt.Errorf("%w: %s names %q: %w", ErrNoBrowser, wanted.by, wanted.program, err)
		}
		return path, nil
	}
	names := []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "headless_shell", "chrome-headless-shell"}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: PATH has none of %s; install the package chromium, or name the program in login.browser", ErrNoBrowser, strings.Join(names, ", "))
}

// chromium is the one browser process of a run. It has no network: whatever its pages ask for is paused, and sent by popcheck itself or not
// at all, so that the scope guard, the CA, the proxy, the User-Agent and the record are those of every other request. A session of a
// user is a browser context of its own: cookies and storage are shared with no other.
type chromium struct {
	once sync.Once
	ctx  context.Context
	end  context.CancelFunc
	err  error
}

// start runs the browser, once.
func (c *chromium) start(named string) (context.Context, error) {
	c.once.Do(func() {
		program, err := FindChromium(named)
		if err != nil {
			c.err = fmt.Errorf("%w driver browser: %w", ErrLogin, err)
			return
		}
		// Where something is asked for past the pause (a WebSocket, a worker, the browser itself), no name resolves and no proxy answers.
		options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(program),
			chromedp.Flag("proxy-server", "socks5://127.0.0.1:9"), chromedp.Flag("proxy-bypass-list", "<-loopback>"),
			chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND"), chromedp.Flag("dns-prefetch-disable", true),
			chromedp.Flag("force-webrtc-ip-handling-policy", "disable_non_proxied_udp"), chromedp.Flag("disable-component-update", true),
			// One process and one target for all frames of a page, so that no frame's requests come from elsewhere.
			chromedp.Flag("disable-site-isolation-trials", true),
			chromedp.Flag("disable-features", "IsolateOrigins,site-per-process,Translate,BlinkGenPropertyTrees,HttpsUpgrades,OptimizationHints,MediaRouter"))
		allocated, endProcess := chromedp.NewExecAllocator(context.Background(), options...)
		quiet := func(string, ...any) {}
		ctx, endTab := chromedp.NewContext(allocated, chromedp.WithLogf(quiet), chromedp.WithErrorf(quiet))
		c.ctx, c.end = ctx, func() { endTab(); endProcess() }
		if err := chromedp.Do(ctx); err != nil {
			c.err = fmt.Errorf("%w driver browser: %s does not start: %w", ErrLogin, program, err)
			c.end()
		}
	})
	return c.ctx, c.err
}

// close kills the browser; it cannot be started again.
func (c *chromium) close() {
	c.once.Do(func() { c.err = fmt.Errorf("%w: interrupted", ErrLogin) })
	if c.end != nil {
		c.end()
	}
}

// tab is the browser of one session.
type tab struct {
	ctx     context.Context
	end     context.CancelFunc
	main    cdp.FrameID
	blocked map[string]bool // hosts that pages wanted to load from and that the target file does not name
	files   map[string]*Answer

	acting sync.Mutex // of whoever uses the record: one request at a time, or the driver itself
	state  sync.Mutex
	walk   *renderedWalk // the authorization that is under way; nil for none
	busy   int           // requests that are not answered yet
	moved  time.Time     // when the page last asked for something or got it
	opened int           // documents that were handed to the browser
	shown  int           // of these, those that it shows or showed
}

func newTab(browser context.Context) (*tab, error) {
	ctx, end := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t := &tab{ctx: ctx, end: end, blocked: map[string]bool{}, files: map[string]*Answer{}, moved: time.Now()}
	err := chromedp.Do(ctx)
	if err == nil {
		t.main = cdp.FrameID(chromedp.FromContext(ctx).Target.TargetID)
		err = chromedp.Listen(ctx, t.heard)
	}
	if err == nil {
		_, err = chromedp.Call(ctx, fetch.Enable, fetch.EnableParams{Patterns: []*fetch.RequestPattern{{URLPattern: "*"}}})
	}
	if err == nil {
		_, err = chromedp.Call(ctx, network.SetBypassServiceWorker, network.SetBypassServiceWorkerParams{Bypass: true})
	}
	if err == nil {
		_, err = chromedp.Call(ctx, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	}
	if err != nil {
		end()
		return nil, fmt.Errorf("%w driver browser: no page can be opened: %w", ErrLogin, err)
	}
	return t, nil
}

func (t *tab) close() { t.end() }

// heard must not wait: what takes time goes on beside.
func (t *tab) heard(event any) {
	switch event := event.(type) {
	case *fetch.EventRequestPaused:
		t.count(1)
		go func() {
			defer t.count(-1)
			t.paused(event)
		}()
	case *cdppage.EventFrameNavigated:
		if event.Frame.ParentID == "" {
			t.state.Lock()
			t.shown, t.moved = t.opened, time.Now()
			t.state.Unlock()
		}
	case *cdppage.EventFrameRequestedNavigation:
		if event.FrameID == t.main {
			go t.wanted(event.URL)
		}
	case *cdppage.EventJavascriptDialogOpening:
		go chromedp.Call(t.ctx, cdppage.HandleJavaScriptDialog, cdppage.HandleJavaScriptDialogParams{Accept: true})
	}
}

func (t *tab) count(n int) {
	t.state.Lock()
	defer t.state.Unlock()
	t.busy += n
	t.moved = time.Now()
}

// quiet is for how long the page has asked for nothing; 0 while it waits for an answer, or for a document to be shown.
func (t *tab) quiet() time.Duration {
	t.state.Lock()
	defer t.state.Unlock()
	if t.busy > 0 || t.shown < t.opened && time.Since(t.moved) < unshown {
		return 0
	}
	return time.Since(t.moved)
}

// unshown is how long a document may take to be shown; one that is a file to keep never is.
const unshown = 2 * time.Second

func (t *tab) documents() int {
	t.state.Lock()
	defer t.state.Unlock()
	return t.opened
}

// under is the authorization that is under way.
func (t *tab) under() *renderedWalk {
	t.state.Lock()
	defer t.state.Unlock()
	return t.walk
}

func (t *tab) set(w *renderedWalk) {
	t.state.Lock()
	defer t.state.Unlock()
	t.walk, t.moved = w, time.Now()
}

// wanted is told where the page goes by itself: an address of another scheme is nowhere asked for over HTTP.
func (t *tab) wanted(address string) {
	t.acting.Lock()
	defer t.acting.Unlock()
	w := t.under()
	if target, err := url.Parse(address); w != nil && !w.over() && err == nil && target.Scheme != "http" && target.Scheme != "https" && belongs(w.e.client, target) {
		w.brought(target, responseParameters(target))
	}
}

// paused answers one request of a page.
func (t *tab) paused(event *fetch.EventRequestPaused) {
	t.acting.Lock()
	defer t.acting.Unlock()
	w := t.under()
	target, err := url.Parse(event.Request.URL + event.Request.URLFragment)
	switch {
	case err != nil || w == nil || w.over():
		t.fail(event, network.ErrorReasonAborted)
	case target.Scheme != "http" && target.Scheme != "https" && !(event.ResourceType == network.ResourceTypeDocument && belongs(w.e.client, target)):
		chromedp.Call(t.ctx, fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: event.RequestID}) // data: and blob: stay inside
	case event.ResourceType == network.ResourceTypeDocument && event.FrameID == t.main:
		w.document(event, target)
	default:
		w.part(event, target)
	}
}

func (t *tab) fail(event *fetch.EventRequestPaused, why network.ErrorReason) {
	chromedp.Call(t.ctx, fetch.FailRequest, fetch.FailRequestParams{RequestID: event.RequestID, ErrorReason: why})
}

// fulfil hands an answer to the browser, which keeps the cookies, follows the redirect and obeys the policies in it as if it had asked
// itself.
func (t *tab) fulfil(event *fetch.EventRequestPaused, a *Answer) {
	var fields []*fetch.HeaderEntry
	for _, name := range sortedKeys(a.Header) {
		switch name {
		case "Content-Encoding", "Content-Length", "Transfer-Encoding", "Connection", "Alt-Svc", "Strict-Transport-Security":
			continue
		}
		for _, value := range a.Header[name] {
			fields = append(fields, &fetch.HeaderEntry{Name: name, Value: value})
		}
	}
	body := a.Body
	if body == nil {
		body = []byte{}
	}
	_, err := chromedp.Call(t.ctx, fetch.FulfillRequest, fetch.FulfillRequestParams{RequestID: event.RequestID, ResponseCode: int64(a.Status), ResponseHeaders: fields, Body: body})
	if err != nil {
		t.fail(event, network.ErrorReasonFailed)
	}
}

// keepCookies gives the browser the cookies of an answer that leads it nowhere.
func (t *tab) keepCookies(event *fetch.EventRequestPaused, a *Answer) {
	t.fulfil(event, &Answer{Status: http.StatusNoContent, Header: http.Header{"Set-Cookie": a.Header["Set-Cookie"]}})
}

// requestOf is a request of a page as it is sent: with the fields that its scripts and the browser gave it, cookies included.
func requestOf(t *tab, event *fetch.EventRequestPaused, target *url.URL) Request {
	address := *target
	address.Fragment, address.RawFragment = "", ""
	r := Request{Method: event.Request.Method, URL: address.String(), rendered: true}
	for _, name := range sortedKeys(event.Request.Headers) {
		switch lower := strings.ToLower(name); {
		case lower == "host" || lower == "user-agent" || lower == "accept-encoding" || lower == "connection" || lower == "content-length" || strings.HasPrefix(lower, "sec-ch-"):
		default:
			r.Header = append(r.Header, Field{http.CanonicalHeaderKey(name), fmt.Sprint(event.Request.Headers[name])})
		}
	}
	for _, entry := range event.Request.PostDataEntries {
		r.Body += string(entry.Bytes)
	}
	if event.Request.HasPostData && r.Body == "" {
		if data, err := chromedp.Call(t.ctx, network.GetRequestPostData, network.GetRequestPostDataParams{RequestID: event.NetworkID}); err == nil {
			r.Body = string(data.PostData)
		}
	}
	return r
}
