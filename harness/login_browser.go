package harness

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chromedp/cdproto/fetch"
	cdpinput "github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browserDriver logs in with headless Chromium, for pages that scripts build. Where the target file names no selectors, it fills what the
// rendered page shows, as formDriver does.
type browserDriver struct{ login Login }

// What is waited for. A page without script is as it will be once it is loaded.
const (
	steady  = 120 * time.Millisecond // without a request, before a page is looked at
	scripts = 1500 * time.Millisecond
	glance  = 25 * time.Millisecond
)

func (d browserDriver) authorize(tr *Trace, b *browserSession, e errand) (*FrontChannel, error) {
	if target, failure := tr.permit(e.address); failure != nil && failure.Kind != Stopped {
		_ = target
		return nil, fmt.Errorf("%w: authorization request: %s", ErrLogin, failure.Error())
	}
	browser, err := tr.chromium.start(d.login.Browser)
	if err != nil {
		return nil, err
	}
	if b.tab == nil {
		if b.tab, err = newTab(browser); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(b.tab.ctx, 6*tr.Target.Limits.Timeout)
	defer cancel()
	defer context.AfterFunc(tr.ctx, cancel)()
	w := &renderedWalk{
		attempt: attempt{tr: tr, b: b, e: e, fields: d.login.Fields}, d: d, t: b.tab, ctx: ctx,
		front: &FrontChannel{}, after: "authorization request", ended: make(chan struct{}),
	}
	b.tab.set(w)
	defer w.leave()
	w.navigate()
	if e.reload && !w.over() {
		w.waitFor(func() bool { return w.t.quiet() > steady })
		w.again()
	}
	err = w.drive()
	b.tab.acting.Lock()
	defer b.tab.acting.Unlock()
	if w.err != nil || !w.over() {
		if err = valueErr(w.err, err); err != nil {
			return w.strayed(), err
		}
	}
	w.attempt.ended(w.front)
	return w.front, nil
}

func valueErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// renderedWalk is one authorization in a tab. Its fields are used by one goroutine at a time: whoever holds tab.acting.
type renderedWalk struct {
	attempt
	d     browserDriver
	t     *tab
	ctx   context.Context
	ended chan struct{}
	err   error

	front     *FrontChannel
	last      *Answer // the document that the tab shows
	after     string  // what was done before the next document
	did       string  // the form that was pressed and that nothing has been sent for yet; "" for none
	redirects int
	began     bool // the first request has been sent
	pages     int
	sent      int      // requests since the last form
	denial    *Request // what the refusing button of the last consent form sends
	pressed   string   // the outline of the page when its button was pressed
	missing   []string // what its scripts are made of or asked for, and did not come; of the document that is shown
	blocked   bool     // something of it was left, for its host
	steps     int      // of login.steps that are done
	consents  int      // of login.consent that are done
}

func (w *renderedWalk) over() bool {
	select {
	case <-w.ended:
		return true
	default:
		return false
	}
}

func (w *renderedWalk) end(err error) {
	if !w.over() {
		w.err = err
		close(w.ended)
	}
}

// brought is the end: the browser was sent back to the client.
func (w *renderedWalk) brought(target *url.URL, params url.Values) {
	if w.did != "" {
		w.front.filled = append(w.front.filled, w.did)
	}
	if len(w.front.Hops) == 0 {
		w.front.Hops = []Hop{{After: w.after, Answer: &Answer{Header: http.Header{}, URL: target}}}
	}
	w.tr.registerURL(target.String())
	w.front.Redirect, w.front.Params = target.String(), params
	w.end(nil)
}

func (w *renderedWalk) strayed() *FrontChannel {
	if _, ok := w.err.(*StrayRedirect); ok {
		return w.front
	}
	return nil
}

// leave makes the tab forget the page: no script of it may go on.
func (w *renderedWalk) leave() {
	w.t.set(nil)
	ctx, cancel := context.WithTimeout(w.t.ctx, w.tr.Target.Limits.Timeout)
	defer cancel()
	if _, err := chromedp.Call(ctx, cdppage.Navigate, cdppage.NavigateParams{URL: "about:blank"}); err != nil {
		w.b.close() // the next authorization begins with an empty browser
	}
}

func (w *renderedWalk) navigate() {
	go chromedp.Call(w.ctx, cdppage.Navigate, cdppage.NavigateParams{URL: w.e.address})
	w.waitFor(func() bool { return w.t.documents() > 0 && w.t.quiet() > 0 })
}

// again loads the address once more.
func (w *renderedWalk) again() {
	w.t.acting.Lock()
	w.after, w.began, w.front.Hops = "authorization request", false, nil
	w.t.acting.Unlock()
	w.navigate()
}

// waitFor waits for something, or for the end, or for an answer to come within limits.timeout.
func (w *renderedWalk) waitFor(seen func() bool) bool {
	tick := time.NewTicker(glance)
	defer tick.Stop()
	late := time.NewTimer(2 * w.tr.Target.Limits.Timeout)
	defer late.Stop()
	for {
		select {
		case <-w.ended:
			return false
		case <-w.ctx.Done():
			return false
		case <-late.C:
			return false
		case <-tick.C:
			if seen() {
				return true
			}
		}
	}
}

// document sends a request for the page itself. What belongs to the client is read, and what the target file does not name is left.
func (w *renderedWalk) document(event *fetch.EventRequestPaused, target *url.URL) {
	tr, t := w.tr, w.t
	if belongs(w.e.client, target) {
		params := responseParameters(target)
		if event.Request.Method == http.MethodPost {
			posted, _ := url.ParseQuery(requestOf(t, event, target).Body)
			for name, values := range posted {
				params[name] = append(params[name], values...)
			}
		}
		w.brought(target, params)
		t.fail(event, network.ErrorReasonAborted)
		return
	}
	if event.RedirectedRequestID != "" {
		w.redirects++
	}
	if w.strays(target) {
		t.fail(event, network.ErrorReasonBlockedByClient)
		return
	}
	r := requestOf(t, event, target)
	w.tr.registerPosted(r.Body)
	r.Step = "page"
	if event.RedirectedRequestID != "" || w.began {
		r.Step = "redirect"
	}
	if !w.began {
		r.Step, r.Changed = "authorization request", w.e.changed
	}
	after := w.after
	if w.did != "" {
		after, r.Step = w.did, w.step(w.did)
		w.consenting(&r)
	}
	w.began, w.did, w.after = true, "", "redirect"
	w.sent++
	answer := tr.browse(w.b, r)
	w.front.Hops = append(w.front.Hops, Hop{After: after, Answer: answer})
	if f := answer.Failure; f != nil {
		t.fail(event, network.ErrorReasonConnectionFailed)
		if f.Kind == Dropped || f.Kind == RefusedCertificate {
			w.front.Page = answer
			w.end(nil)
			return
		}
		w.end(fmt.Errorf("%w: %s: %s", ErrLogin, after, f.Error()))
		return
	}
	if location := redirectTarget(answer); location != nil && answer.Status/100 == 3 {
		switch {
		case belongs(w.e.client, location):
			t.keepCookies(event, answer)
			w.brought(location, responseParameters(location))
			return
		case w.strays(location):
			t.keepCookies(event, answer)
			return
		}
	} else {
		t.state.Lock()
		t.opened++
		t.state.Unlock()
		w.last, w.missing, w.blocked = answer, nil, false
	}
	t.fulfil(event, answer)
}

// registerPosted makes known what scripts send to the login: they may have it from anywhere in a page.
func (tr *Trace) registerPosted(body string) {
	values, _ := url.ParseQuery(body)
	var members map[string]any
	if strings.HasPrefix(strings.TrimSpace(body), "{") && json.Unmarshal([]byte(body), &members) == nil {
		values = url.Values{}
		for name, value := range members {
			if text, ok := value.(string); ok {
				values.Add(name, text)
			}
		}
	}
	for name, all := range values {
		for _, value := range all {
			if len(value) >= 12 && !spoken(name) && name != "username" && !strings.Contains(value, "://") && !strings.ContainsAny(value, " ") {
				tr.Redactor.Register("form value", value)
			}
		}
	}
}

// strays ends the authorization where the browser is to go to a host that the target file does not name, or in circles.
func (w *renderedWalk) strays(target *url.URL) bool {
	if w.redirects > w.tr.Target.Limits.Redirects {
		w.end(fmt.Errorf("%w: more than %d redirects (limits.redirects)", ErrLogin, w.tr.Target.Limits.Redirects))
		return true
	}
	if w.tr.Target.HostAllowed(target.Host) {
		return false
	}
	if len(w.front.Hops) > 0 {
		w.front.Page = w.front.Hops[len(w.front.Hops)-1].Answer
	}
	w.front.Redirect, w.front.Params = target.String(), responseParameters(target)
	w.end(&StrayRedirect{target, w.front})
	return true
}

// part sends a request for a part of the page, or of one of its scripts.
func (w *renderedWalk) part(event *fetch.EventRequestPaused, target *url.URL) {
	tr, t := w.tr, w.t
	file := event.ResourceType == network.ResourceTypeScript || event.ResourceType == network.ResourceTypeStylesheet
	switch event.ResourceType {
	case network.ResourceTypeImage, network.ResourceTypeFont, network.ResourceTypeMedia, network.ResourceTypePing, network.ResourceTypePrefetch,
		network.ResourceTypeCSPViolationReport, network.ResourceTypeTextTrack, network.ResourceTypeManifest:
		t.fail(event, network.ErrorReasonBlockedByClient) // nothing of it is needed to log in
		return
	case network.ResourceTypeOther:
		if strings.HasSuffix(target.Path, "favicon.ico") {
			t.fail(event, network.ErrorReasonBlockedByClient)
			return
		}
	}
	if belongs(w.e.client, target) || !tr.Target.HostAllowed(target.Host) {
		w.blocked = true
		if !t.blocked[target.Host] && !belongs(w.e.client, target) {
			t.blocked[target.Host] = true
			tr.browse(w.b, Request{Step: "part of a page, not sent", Method: event.Request.Method, URL: target.Scheme + "://" + target.Host + target.EscapedPath(), rendered: true})
		}
		t.fail(event, network.ErrorReasonBlockedByClient)
		return
	}
	if kept := t.files[target.String()]; file && kept != nil {
		t.fulfil(event, kept)
		return
	}
	r := requestOf(t, event, target)
	w.tr.registerPosted(r.Body)
	r.Step, r.aside = "request of a script", file
	if file {
		r.Step = "file of a page"
	}
	decides := w.did != "" && r.Method != http.MethodGet && r.Method != http.MethodOptions && r.Method != http.MethodHead
	after := w.did
	if decides {
		r.Step = w.step(w.did) + ", by script"
		w.consenting(&r)
		w.did, w.after = "", "redirect"
	}
	w.sent++
	answer := tr.browse(w.b, r)
	if decides {
		w.front.Hops = append(w.front.Hops, Hop{After: after, Answer: answer, Script: true})
	}
	if !answer.OK() {
		w.missing = append(w.missing, target.EscapedPath()+": "+answer.Failure.Error())
		t.fail(event, network.ErrorReasonConnectionFailed)
		return
	}
	if file && (answer.Status >= 500 || answer.Status == http.StatusTooManyRequests) {
		w.missing = append(w.missing, fmt.Sprintf("%s: HTTP %d", target.EscapedPath(), answer.Status))
	}
	if file && answer.Status == http.StatusOK && !strings.Contains(strings.ToLower(answer.Header.Get("Cache-Control")), "no-store") {
		t.files[target.String()] = answer
	}
	t.fulfil(event, answer)
}

// consenting shows the consent to whoever asked for it, before it is sent; what is no form, nobody could forge from its fields.
func (w *renderedWalk) consenting(r *Request) {
	form := r.Method == http.MethodGet || slices.ContainsFunc(r.Header, func(f Field) bool {
		return strings.EqualFold(f.Name, "Content-Type") && strings.HasPrefix(strings.ToLower(f.Value), "application/x-www-form-urlencoded")
	})
	if w.did != ConsentForm || w.e.atConsent == nil || !form {
		return
	}
	shown := newConsentPage(w.tr, w.b, w.e.client, *r)
	shown.denial = w.denial
	w.e.atConsent(shown)
}

//go:embed login_browser.js
var pageScript string

// renderedPage is what login_browser.js sees.
type renderedPage struct {
	Address string         `json:"address"`
	Title   string         `json:"title"`
	Loaded  bool           `json:"loaded"`
	Scripts bool           `json:"scripts"`
	Forms   []renderedForm `json:"forms"`
	Steps   []bool         `json:"steps"` // of the selectors that were asked for: whether their element can be used
	Source  string         `json:"source"`
}

type renderedForm struct {
	Method   string            `json:"method"`
	Action   string            `json:"action"`
	Controls []renderedControl `json:"controls"`
}

type renderedControl struct {
	ID      int    `json:"id"`
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Value   string `json:"value"`
	Label   string `json:"label"`
	Checked bool   `json:"checked"`
}

// look reads the page; nil where there is none to be read just now.
func (w *renderedWalk) look(selectors []string) *renderedPage {
	asked, _ := json.Marshal(selectors)
	var seen renderedPage
	if err := w.play("look("+string(asked)+")", &seen); err != nil {
		return nil
	}
	return &seen
}

// play calls a function of login_browser.js, in a world of its own: scripts of the page see and change nothing of it.
func (w *renderedWalk) play(call string, result any) error {
	ctx, cancel := context.WithTimeout(w.ctx, w.tr.Target.Limits.Timeout)
	defer cancel()
	world, err := chromedp.Call(ctx, cdppage.CreateIsolatedWorld, cdppage.CreateIsolatedWorldParams{FrameID: w.t.main, WorldName: "popcheck"})
	if err != nil {
		return err
	}
	yes := true
	got, err := chromedp.Call(ctx, runtime.Evaluate, runtime.EvaluateParams{
		Expression: "globalThis.popcheck ||= " + pageScript + "\nJSON.stringify(popcheck." + call + ")", ContextID: world.ExecutionContextID, ReturnByValue: &yes, UserGesture: &yes})
	switch {
	case err != nil:
		return err
	case got.ExceptionDetails != nil:
		return fmt.Errorf("the page cannot be read: %s", got.ExceptionDetails.Text)
	}
	var text string
	if err := json.Unmarshal([]byte(got.Result.Value), &text); err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), result)
}

// read makes of a rendered page what formDriver makes of a page.
func (p *renderedPage) read() *page {
	out := &page{title: clip(p.Title), source: []byte(p.Source)}
	at, err := url.Parse(p.Address)
	if err != nil {
		at = &url.URL{}
	}
	for _, f := range p.Forms {
		action, err := at.Parse(f.Action)
		if err != nil {
			continue
		}
		read := &form{action: action, page: at, method: f.Method}
		for _, c := range f.Controls {
			read.inputs = append(read.inputs, input{name: c.Name, kind: c.Kind, value: c.Value, label: strings.ToLower(c.Label), checked: c.Checked, element: c.ID})
		}
		out.forms = append(out.forms, read)
	}
	return out
}

// drive does what a user does, until the browser is sent back or there is nothing to be done.
func (w *renderedWalk) drive() error {
	acted, stood, opened := false, "", 0
	for {
		var seen *renderedPage
		selectors, login := w.nextSteps()
		done := w.waitFor(func() bool {
			if w.t.quiet() < steady {
				return false
			}
			if seen = w.look(selectors); seen == nil || !seen.Loaded {
				return false
			}
			now := seen.outline()
			if seen.Scripts && now != stood { // it is being built
				stood = now
				return false
			}
			if !acted || w.t.documents() != opened || now != w.pressed || w.amidst() && len(seen.Steps) > 0 && seen.Steps[0] {
				return true
			}
			// The form that was pressed stands there still: its answer may be on its way, or be shown for a while.
			return w.sent > 0 && w.t.quiet() > scripts
		})
		if w.over() {
			return nil
		}
		if !done {
			return w.waited(seen)
		}
		w.t.acting.Lock()
		press, err := w.decide(seen, selectors, login)
		w.t.acting.Unlock()
		if err != nil || w.over() {
			return err
		}
		if press == nil {
			if seen.Scripts && w.t.quiet() < scripts {
				continue
			}
			w.t.acting.Lock()
			defer w.t.acting.Unlock()
			if err := w.incomplete(seen); err != nil {
				return err
			}
			w.front.Page = w.last
			w.end(nil)
			return nil
		}
		opened, w.pressed, acted = w.t.documents(), seen.outline(), true
		if err := press(); err != nil {
			return err
		}
	}
}

// incomplete is a page on which nothing can be done, perhaps because its scripts could not build it: that is no refusal. What always
// is left out, for its host, is so for the honest request, too; where that comes through, nothing of it was needed.
func (w *renderedWalk) incomplete(seen *renderedPage) error {
	switch {
	case w.lastSeen().Status >= 400:
		return nil
	case len(w.missing) > 0:
		return w.stuck(w.lastSeen(), seen.read(), "a part of the page did not come: %s", w.missing[0])
	case w.blocked && w.e.asIs:
		return w.stuck(w.lastSeen(), seen.read(), "nothing can be pressed or filled in")
	}
	return nil
}

// amidst reports whether login.steps have begun and are not all done.
func (w *renderedWalk) amidst() bool { return w.steps > 0 && w.steps < len(w.d.login.Steps) }

// waited says what was waited for in vain.
func (w *renderedWalk) waited(seen *renderedPage) error {
	w.t.acting.Lock()
	defer w.t.acting.Unlock()
	switch {
	case w.tr.ctx.Err() != nil || w.tr.Stopped() != "":
		return fmt.Errorf("%w: interrupted", ErrLogin)
	case seen == nil && w.last == nil:
		return fmt.Errorf("%w: no page came to be shown", ErrLogin)
	case seen == nil:
		return w.stuck(w.last, readPage(w.last), "the page did not come to rest in time (limits.timeout)")
	}
	if w.amidst() {
		return w.stuck(w.lastSeen(), seen.read(), "no element fits %s of login.steps", w.d.login.Steps[w.steps].Selector())
	}
	return w.stuck(w.lastSeen(), seen.read(), "nothing followed the %s in time (limits.timeout)", valueOr(w.after, "page"))
}

func (w *renderedWalk) lastSeen() *Answer {
	if w.last == nil {
		return &Answer{}
	}
	return w.last
}

// outline tells one state of a page from the next: where it is and what can be done on it.
func (p *renderedPage) outline() string {
	var b strings.Builder
	b.WriteString(p.Address)
	for _, f := range p.Forms {
		b.WriteString("|")
		for _, c := range f.Controls {
			if c.Kind != "hidden" {
				b.WriteString(strconv.Itoa(c.ID) + c.Name + c.Kind + ",")
			}
		}
	}
	return b.String()
}

// nextSteps are the selectors of the steps that may come now, those of the login first.
func (w *renderedWalk) nextSteps() (selectors []string, login int) {
	if rest := w.d.login.Steps; w.steps < len(rest) {
		selectors = append(selectors, rest[w.steps].Selector())
	}
	if w.steps > 0 && len(w.d.login.Steps) > 0 {
		selectors = append(selectors, w.d.login.Steps[0].Selector())
	}
	login = len(selectors)
	if rest := w.d.login.Consent; len(rest) > 0 {
		selectors = append(selectors, rest[w.consents%len(rest)].Selector())
	}
	return selectors, login
}

// decide says what to press on a page, nil for nothing.
func (w *renderedWalk) decide(seen *renderedPage, selectors []string, login int) (func() error, error) {
	p, answer := seen.read(), w.lastSeen()
	w.tr.registerHidden(p)
	if answered := p.formPost(w.e.client); answered != nil { // a page that only a script would send on
		w.brought(answered.action, answered.values())
		return nil, nil
	}
	for i, usable := range seen.Steps {
		if usable {
			return w.perform(p, answer, i, login)
		}
	}
	f := p.choose(w.fields)
	asks := f != nil && (f.asksPassword(w.fields) || f.asksCode(w.fields) || f.asksUser(w.fields))
	if answer.Status >= 400 && !asks {
		return nil, nil
	}
	switch {
	case len(w.d.login.Steps) > 0 && asks && w.t.quiet() > w.tr.Target.Limits.Timeout/2:
		return nil, w.stuck(answer, p, "no element fits %s of login.steps", w.d.login.Steps[min(w.steps, len(w.d.login.Steps)-1)].Selector())
	case len(w.d.login.Steps) > 0 && asks || f == nil || len(w.d.login.Consent) > 0 && !asks:
		return nil, nil
	}
	if w.pages++; w.pages > pageLimit {
		return nil, w.stuck(answer, p, "more than %d forms between the authorization request and the redirect", pageLimit)
	}
	kind, who, err := w.meets(answer, p, f)
	if err != nil {
		return nil, err
	}
	w.denial = nil
	if no := f.refusal(); no != nil && kind == ConsentForm {
		denial := f.press(no, w.fields, who)
		w.denial = &denial
	}
	w.did, w.sent = kind, 0
	return func() error { return w.fillForm(f, who) }, nil
}

// fillForm types and presses as a user does.
func (w *renderedWalk) fillForm(f *form, who credentials) error {
	login := f.asksPassword(w.fields) || f.asksCode(w.fields) || f.asksUser(w.fields)
	named, first, last := f.asksUser(w.fields), true, -1
	for _, in := range f.inputs {
		text := (*string)(nil)
		switch {
		case in.isPassword(w.fields):
			text = &who.password
		case in.isCode(w.fields):
			text = &who.code
		case in.isUser(w.fields), !named && f.asksPassword(w.fields) && first && (in.kind == "text" || in.kind == "email" || in.kind == "tel"):
			text, first = &who.username, false
		case in.kind == "checkbox" && !login && !in.checked, in.kind == "radio" && !in.checked && f.picks(in):
			if err := w.click(in.element); err != nil {
				return err
			}
		}
		if text != nil {
			if err := w.typeInto(in.element, *text); err != nil {
				return err
			}
			last = in.element
		}
	}
	w.remember()
	if b := f.button(); b != nil {
		return w.click(b.element)
	}
	if last < 0 && len(f.inputs) > 0 {
		return w.play(fmt.Sprintf("submit(%d)", f.inputs[0].element), new(bool))
	}
	for _, kind := range []cdpinput.DispatchKeyEventType{cdpinput.DispatchKeyEventTypeKeyDown, cdpinput.DispatchKeyEventTypeKeyUp} {
		enter := cdpinput.DispatchKeyEventParams{Type: kind, Key: "Enter", Code: "Enter", WindowsVirtualKeyCode: 13, NativeVirtualKeyCode: 13, Text: "\r", UnmodifiedText: "\r"}
		if _, err := chromedp.Call(w.ctx, cdpinput.DispatchKeyEvent, enter); err != nil {
			return w.lostPage(err)
		}
	}
	return nil
}

// remember looks at the page as it is filled in, before the button is pressed: what differs later has followed.
func (w *renderedWalk) remember() {
	if seen := w.look(nil); seen != nil {
		w.pressed = seen.outline()
	}
}

func (w *renderedWalk) typeInto(element int, text string) error {
	if err := w.play(fmt.Sprintf("focus(%d)", element), new(bool)); err != nil {
		return w.lostPage(err)
	}
	if _, err := chromedp.Call(w.ctx, cdpinput.InsertText, cdpinput.InsertTextParams{Text: text}); err != nil {
		return w.lostPage(err)
	}
	return nil
}

// click waits for a button that a page lets nobody press before all is filled in.
func (w *renderedWalk) click(element int) error {
	pressed, failed := false, error(nil)
	w.waitFor(func() bool {
		failed = w.play(fmt.Sprintf("click(%d)", element), &pressed)
		return pressed || failed != nil
	})
	if failed != nil && w.t.quiet() > 0 && !w.over() {
		return w.lostPage(failed)
	}
	return nil
}

// lostPage is an error of the browser itself; a page that has just gone on is none.
func (w *renderedWalk) lostPage(err error) error {
	if w.over() {
		return nil
	}
	return fmt.Errorf("%w driver browser: %w", ErrLogin, err)
}

// perform does a step of the target file: the next one of the login, the first again where the login is asked for anew, or one of the
// consent.
func (w *renderedWalk) perform(p *page, seen *Answer, i, login int) (func() error, error) {
	steps := w.d.login.Steps
	if i >= login {
		consent := w.d.login.Consent
		step := consent[w.consents%len(consent)]
		if w.consents++; w.consents > pageLimit*len(consent) {
			return nil, w.stuck(seen, p, "more than %d consents", pageLimit)
		}
		w.passed, w.did, w.sent, w.denial = w.typed, ConsentForm, 0, nil
		return func() error { return w.do(step, "") }, nil
	}
	if i == 1 || w.steps == len(steps) { // the first step once more
		w.steps = 0
	}
	step := steps[w.steps]
	w.steps++
	if w.pages++; w.pages > pageLimit+len(steps) {
		return nil, w.stuck(seen, p, "login.steps began anew again and again")
	}
	text := step.Text
	if step.With != "" {
		// What is filled in decides what the page is for.
		kind := map[string]string{"username": "text", "password": "password", "totp": "text"}[step.With]
		asked := &form{inputs: []input{{name: "it", kind: kind, label: map[string]string{"username": "username", "totp": "one-time-code"}[step.With]}}}
		fields := w.fields
		w.fields = nil
		_, who, err := w.meets(seen, p, asked)
		w.fields = fields
		if err != nil {
			return nil, err
		}
		text = map[string]string{"username": who.username, "password": who.password, "totp": who.code}[step.With]
	}
	w.did, w.sent = LoginForm, 0
	return func() error { return w.do(step, text) }, nil
}

func (w *renderedWalk) do(step LoginStep, text string) error {
	var element int
	selector, _ := json.Marshal(step.Selector())
	if err := w.play("find("+string(selector)+")", &element); err != nil || element < 0 {
		return w.lostPage(err)
	}
	w.remember()
	if step.Click != "" {
		return w.click(element)
	}
	return w.typeInto(element, text)
}
