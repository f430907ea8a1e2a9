package harness

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// formDriver finds and fills HTML login and consent forms over HTTP.
type formDriver struct {
	fields map[string]string // names of the form's fields for username and password, where the page does not tell
}

// pageLimit bounds the forms of one login: username, password, second factor, consent and one more of each.
const pageLimit = 8

func (d formDriver) authorize(tr *Trace, b *browserSession, e errand) (front *FrontChannel, err error) {
	a := &attempt{tr: tr, b: b, e: e, fields: d.fields}
	if front, err = d.walk(a); err == nil {
		a.ended(front)
	}
	return front, err
}

func (d formDriver) walk(a *attempt) (*FrontChannel, error) {
	tr, b, e := a.tr, a.b, a.e
	c, front := e.client, &FrontChannel{}
	next := Request{Step: "authorization request", Method: "GET", URL: e.address, Changed: e.changed}
	if e.reload {
		tr.browse(b, next)
	}
	after, redirects := "authorization request", 0
	last, lastPage := &Answer{}, &page{}
	for pages := 0; pages <= pageLimit; {
		answer := tr.browse(b, next)
		front.Hops = append(front.Hops, Hop{After: after, Answer: answer})
		if f := answer.Failure; f != nil {
			if f.Kind == Dropped || f.Kind == RefusedCertificate {
				front.Page = answer
				return front, nil
			}
			return nil, fmt.Errorf("%w: %s: %s", ErrLogin, after, f.Error())
		}
		if target := redirectTarget(answer); target != nil {
			if belongs(c, target) {
				front.Redirect, front.Params = target.String(), responseParameters(target)
				return front, nil
			}
			if redirects++; redirects > tr.Target.Limits.Redirects {
				return nil, fmt.Errorf("%w: more than %d redirects (limits.redirects)", ErrLogin, tr.Target.Limits.Redirects)
			}
			if !tr.Target.HostAllowed(target.Host) {
				front.Page, front.Redirect = answer, target.String()
				front.Params = responseParameters(target)
				return front, &StrayRedirect{target, front}
			}
			again := Request{Step: "redirect", Method: "GET", URL: target.String()}
			if answer.Status == http.StatusTemporaryRedirect || answer.Status == http.StatusPermanentRedirect {
				again.Method, again.Body, again.Header = next.Method, next.Body, next.Header // as a browser does: RFC 9700 §4.12 tells why that is bad
			}
			next, after = again, "redirect"
			continue
		}
		page := readPage(answer)
		form := page.choose(d.fields)
		// Some servers show their login page with an error status: 401 at first, 400, 401 or 422 after a wrong password.
		loginPage := form != nil && (form.asksPassword(d.fields) && (a.typed || answer.Status == http.StatusUnauthorized) || form.asksCode(d.fields) && a.codes > 0)
		if answer.Status >= 400 && !loginPage {
			if (a.typed || a.codes > 0) && after == LoginForm && rejected(answer) {
				return nil, a.refused(answer, page, "the login form was answered with HTTP %d; check users", answer.Status)
			}
			front.Page = answer
			return front, nil
		}
		if form := page.formPost(c); form != nil {
			front.Redirect, front.Params = form.action.String(), form.values()
			return front, nil
		}
		if form == nil {
			front.Page = answer
			return front, nil
		}
		pages++
		last, lastPage = answer, page
		kind, who, err := a.meets(answer, page, form)
		if err != nil {
			return nil, err
		}
		next, after = form.fill(d.fields, who), kind
		next.Step = a.step(kind)
		if kind == ConsentForm && e.atConsent != nil {
			shown := newConsentPage(tr, b, c, next)
			if no := form.refusal(); no != nil {
				denial := form.press(no, d.fields, who)
				shown.denial = &denial
			}
			e.atConsent(shown)
		}
	}
	return nil, a.stuck(last, lastPage, "more than %d forms between the authorization request and the redirect", pageLimit)
}

// StrayRedirect is a redirect to a host that the target file does not name; nothing was sent there.
type StrayRedirect struct {
	Target *url.URL
	Front  *FrontChannel
}

func (s *StrayRedirect) Error() string {
	return fmt.Sprintf("the login went on to %s://%s, a host that the target file does not name; if it is yours to test, add it to hosts", s.Target.Scheme, s.Target.Host)
}

// countFailedLogin ends the run when the budget of wrong logins is used up.
func (tr *Trace) countFailedLogin() {
	if tr.sessions.countFailure() {
		tr.Stop(fmt.Sprintf("%d logins failed (limits.failed_logins): popcheck stopped so as not to lock an account", tr.sessions.allowed))
	}
}

// countFailure counts a wrong login and reports whether the budget is used up.
func (s *sessions) countFailure() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed++
	return s.failed >= s.allowed
}

func (s *sessions) countLogin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logins++
}

// Logins is the number of passwords that were typed into pages so far.
func (t *Tester) Logins() int {
	t.sessions.mu.Lock()
	defer t.sessions.mu.Unlock()
	return t.sessions.logins
}

func (s *sessions) exhausted() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed > 0 && s.failed >= s.allowed {
		return fmt.Sprintf("%d logins failed (limits.failed_logins); no more are tried", s.failed)
	}
	return ""
}

// browse sends a request of the browser with its cookies and keeps those of the answer.
func (tr *Trace) browse(b *browserSession, r Request) *Answer {
	target, err := url.Parse(r.URL)
	if err != nil {
		return &Answer{URL: &url.URL{}, Failure: &Failure{NotNamed, err.Error()}}
	}
	// Plain HTTP is spoken on loopback only, where browsers send Secure cookies as well.
	jar := *target
	jar.Scheme = "https"
	var cookies []string
	for _, c := range b.cookies.Cookies(&jar) {
		if r.rendered || r.stranger != "" && !b.followsFrom(r.Method, c) {
			continue
		}
		value := c.Value
		if c.Quoted {
			value = `"` + value + `"`
		}
		cookies = append(cookies, c.Name+"="+value)
	}
	if r.rendered {
		b.keepSent(&jar, r.Header)
	} else {
		r.Header = append([]Field{{"Accept", "text/html,application/xhtml+xml"}}, r.Header...)
	}
	if len(cookies) > 0 {
		r.Header = append(r.Header, Field{"Cookie", strings.Join(cookies, "; ")})
	}
	r.browser = true
	answer := tr.Do(r)
	if answer.OK() {
		given := (&http.Response{Header: answer.Header}).Cookies()
		b.cookies.SetCookies(&jar, given)
		for _, c := range given {
			b.sameSite[c.Name+"="+c.Value] = c.SameSite
		}
		tr.registerHidden(readPage(answer))
	}
	return answer
}

// keepSent keeps the cookies that scripts made: what a browser sends it has.
func (b *browserSession) keepSent(address *url.URL, fields []Field) {
	for _, f := range fields {
		if f.Name != "Cookie" {
			continue
		}
		sent, _ := http.ParseCookie(f.Value)
		for _, c := range sent {
			if !slices.ContainsFunc(b.cookies.Cookies(address), func(have *http.Cookie) bool { return have.Name == c.Name && have.Value == c.Value }) {
				b.cookies.SetCookies(address, []*http.Cookie{{Name: c.Name, Value: c.Value, Path: "/", Secure: true}})
			}
		}
	}
}

// registerHidden makes known what a page hides in its forms, whether a form is used or not: it may be what guards it against other sites.
// What the client wrote into the address for everyone to see, and a form_post answer besides its code, are no secrets.
func (tr *Trace) registerHidden(p *page) {
	for _, form := range p.forms {
		for _, f := range form.inputs {
			if f.kind == "hidden" && len(f.value) >= 12 && !spoken(f.name) {
				tr.Redactor.Register("form value", f.value)
			}
		}
	}
}

// spoken reports that a parameter of the authorization request or its answer is public.
func spoken(parameter string) bool {
	return slices.Contains([]string{"client_id", "code_challenge", "code_challenge_method", "error", "error_description", "error_uri", "iss", "redirect_uri", "resource", "response_mode", "response_type", "scope", "state"}, parameter)
}

var refreshTarget = regexp.MustCompile(`(?i)^\s*(\d*)(?:\.\d*)?\s*[;,]\s*(?:url\s*=\s*)?['"]?([^'"]+)`)

// patience is the longest delay of a refresh, in seconds, that is a redirect; a longer one ends the session of a reader who went away.
const patience = 10

// refreshed is where a refresh leads, or "".
func refreshed(content string) string {
	m := refreshTarget.FindStringSubmatch(content)
	if m == nil {
		return ""
	}
	if seconds, err := strconv.Atoi(m[1]); m[1] != "" && (err != nil || seconds > patience) {
		return ""
	}
	return m[2]
}

// redirectTarget is where an answer sends the browser: by Location, or by a refresh without script.
func redirectTarget(a *Answer) *url.URL {
	location := ""
	if a.Status >= 300 && a.Status < 400 {
		location = a.Header.Get("Location")
	} else if a.Status == http.StatusOK {
		if location = refreshed(a.Header.Get("Refresh")); location == "" {
			location = refreshed(readPage(a).refresh)
		}
	}
	if location == "" {
		return nil
	}
	target, err := a.URL.Parse(strings.TrimSpace(location))
	if err != nil {
		return nil
	}
	return target
}

type page struct {
	title   string
	refresh string
	forms   []*form
	source  []byte // as it was rendered; nil where it is what the server sent
}

type form struct {
	action  *url.URL
	page    *url.URL
	method  string
	inputs  []input
	removed bool // the page spells it without a usable action
}

type input struct {
	name, value, kind, label string
	checked                  bool
	action                   *url.URL // of a button, instead of the form's
	method                   string   // of a button, instead of the form's
	element                  int      // its number in a rendered page
}

// readPage finds what a browser without script could use.
func readPage(a *Answer) *page {
	p := &page{}
	if !strings.Contains(strings.ToLower(a.Header.Get("Content-Type")), "html") && !bytes.Contains(a.Body[:min(len(a.Body), 512)], []byte("<")) {
		return p
	}
	root, err := html.ParseWithOptions(bytes.NewReader(a.Body), html.ParseOptionEnableScripting(false))
	if err != nil {
		return p
	}
	base, based := a.URL, false
	labels := map[string]string{} // by the id of the control
	for n := range root.Descendants() {
		switch n.DataAtom {
		case atom.Base:
			if u, err := a.URL.Parse(strings.TrimSpace(attribute(n, "href"))); err == nil && attribute(n, "href") != "" && !based {
				base, based = u, true
			}
		case atom.Title:
			if p.title == "" {
				p.title = textOf(n)
			}
		case atom.Meta:
			if strings.EqualFold(attribute(n, "http-equiv"), "refresh") {
				p.refresh = attribute(n, "content")
			}
		case atom.Label:
			if id := attribute(n, "for"); id != "" {
				labels[id] = textOf(n)
			}
		}
	}
	forms, byID := map[*html.Node]*form{}, map[string]*form{}
	var open *form // an empty form: in a table the parser leaves its controls outside
	for n := range root.Descendants() {
		if n.DataAtom == atom.Form {
			f := readForm(n, a.URL, base)
			forms[n], open = f, nil
			if id := attribute(n, "id"); id != "" && byID[id] == nil {
				byID[id] = f
			}
			if n.FirstChild == nil {
				open = f
			}
			p.forms = append(p.forms, f)
			continue
		}
		in, ok := readControl(n, base, labels)
		if !ok {
			continue
		}
		owner := open
		for up := n.Parent; up != nil; up = up.Parent {
			if forms[up] != nil {
				owner = forms[up]
				break
			}
		}
		if id, elsewhere := lookup(n, "form"); elsewhere {
			owner = byID[id]
			if owner == nil {
				continue
			}
		}
		if owner != nil {
			owner.inputs = append(owner.inputs, in)
		}
	}
	p.forms = slices.DeleteFunc(p.forms, func(f *form) bool { return f.removed })
	return p
}

func readForm(n *html.Node, address, base *url.URL) *form {
	f := &form{action: address, page: address, method: formMethodOf(attribute(n, "method"))}
	if action := strings.TrimSpace(attribute(n, "action")); action != "" {
		u, err := base.Parse(action)
		if err != nil {
			f.removed = true
			return f
		}
		f.action = u
	}
	return f
}

func formMethodOf(spelt string) string {
	if strings.EqualFold(spelt, "post") {
		return "POST"
	}
	return "GET"
}

// readControl reads an element that a form may submit; ok is false for all others, and for disabled ones.
func readControl(n *html.Node, base *url.URL, labels map[string]string) (in input, ok bool) {
	switch n.DataAtom {
	case atom.Input, atom.Button, atom.Textarea, atom.Select:
	default:
		return in, false
	}
	around := ""
	for up := n; up != nil; up = up.Parent {
		if _, disabled := lookup(up, "disabled"); disabled && (up == n || up.DataAtom == atom.Fieldset) {
			return in, false
		}
		if up.DataAtom == atom.Label {
			around = textOf(up)
		}
	}
	in = input{name: attribute(n, "name"), value: attribute(n, "value"), kind: strings.ToLower(attribute(n, "type"))}
	_, in.checked = lookup(n, "checked")
	words := []string{in.name, attribute(n, "id"), attribute(n, "autocomplete"), attribute(n, "placeholder"), attribute(n, "aria-label"), attribute(n, "title"), around}
	if id := attribute(n, "id"); id != "" {
		words = append(words, labels[id])
	}
	switch n.DataAtom {
	case atom.Input:
		if in.kind == "" {
			in.kind = "text"
		}
		if in.kind == "submit" || in.kind == "image" || in.kind == "radio" {
			words = append(words, in.value, attribute(n, "alt"))
		}
	case atom.Button:
		if in.kind != "button" && in.kind != "reset" {
			in.kind = "submit"
		}
		words = append(words, in.value, textOf(n))
	case atom.Textarea:
		in.kind, in.value = "textarea", textOf(n)
	case atom.Select:
		in.kind, in.value = "select", selected(n)
	}
	if in.kind == "submit" || in.kind == "image" {
		if action := strings.TrimSpace(attribute(n, "formaction")); action != "" {
			if u, err := base.Parse(action); err == nil {
				in.action = u
			}
		}
		if method, ok := lookup(n, "formmethod"); ok {
			in.method = formMethodOf(method)
		}
	}
	in.label = strings.ToLower(strings.Join(words, " "))
	return in, true
}

// selected is the value of the selected option, else of the first that can be.
func selected(n *html.Node) string {
	first, value := true, ""
	for o := range n.Descendants() {
		if _, disabled := lookup(o, "disabled"); o.DataAtom != atom.Option || disabled {
			continue
		}
		_, chosen := lookup(o, "selected")
		if !chosen && !first {
			continue
		}
		own, given := lookup(o, "value")
		if !given {
			own = textOf(o)
		}
		first, value = false, own
	}
	return value
}

// formPost is the form by which a server posts the authorization response to the client (form_post).
func (p *page) formPost(c *Client) *form {
	for _, f := range p.forms {
		if belongs(c, f.action) {
			return f
		}
	}
	return nil
}

func (f *form) values() url.Values {
	v := url.Values{}
	for _, in := range f.inputs {
		if in.name != "" && !in.submits() {
			v.Add(in.name, in.value)
		}
	}
	return v
}

var (
	yes = regexp.MustCompile(`(?i)\b(allow|accept|approve|authori[sz]e|agree|yes|consent|grant|confirm|continue|permit|ok\b|submit|next|log ?[io]n\b|sign ?[io]n\b)`)
	no  = regexp.MustCompile(`(?i)\b(deny|cancel|reject|refuse|decline|disagree|no|not|don['’]?t|abort|back|log ?out|sign ?out|abandon|register|sign ?up|create|forgot|reset|resend|locale|language|` +
		`google|facebook|apple|github|microsoft|linkedin|twitter|passkey|webauthn|qr)\b`)
)

// choose picks the form that leads on: one that asks for a password, then one for a user, then one with an approving button.
func (p *page) choose(fields map[string]string) *form {
	approves := func(f *form) bool { b := f.button(); return b != nil && yes.MatchString(b.label) }
	for _, wanted := range []func(*form) bool{
		func(f *form) bool { return f.asksPassword(fields) },
		func(f *form) bool { return f.asksCode(fields) },
		func(f *form) bool { return f.method == "POST" && f.asksUser(fields) },
		func(f *form) bool { return f.method == "POST" && approves(f) },
		func(f *form) bool { b := f.button(); return f.method == "POST" && b != nil && !no.MatchString(b.label) },
		func(f *form) bool { return approves(f) },
		// A page whose script submits its only form.
		func(f *form) bool { return f.method == "POST" && len(p.forms) == 1 && f.onlyHidden() },
	} {
		if i := slices.IndexFunc(p.forms, wanted); i >= 0 {
			return p.forms[i]
		}
	}
	return nil
}

func (f *form) asksPassword(fields map[string]string) bool {
	return slices.ContainsFunc(f.inputs, func(in input) bool { return in.isPassword(fields) })
}

func (f *form) asksUser(fields map[string]string) bool {
	return slices.ContainsFunc(f.inputs, func(in input) bool { return in.isUser(fields) })
}

func (f *form) asksCode(fields map[string]string) bool {
	return slices.ContainsFunc(f.inputs, func(in input) bool { return in.isCode(fields) })
}

func (f *form) onlyHidden() bool {
	return len(f.inputs) > 0 && !slices.ContainsFunc(f.inputs, func(in input) bool { return in.kind != "hidden" })
}

var (
	userLike = regexp.MustCompile(`(?i)user|e-?mail|login|account|identifier`)
	codeLike = regexp.MustCompile(`(?i)one-time-code|\b(t?otp|mfa|2fa|tan|pin)\b|(t?otp|mfa|2fa)[_-]|[_-](t?otp|mfa|2fa)\b|one.?time|authenticat(or|ion).?(app|code)|(verification|security|passcode|token)[ _-]?code|code[_-]?(verif|otp)`)
)

func (in input) submits() bool { return in.kind == "submit" || in.kind == "image" }

func (in input) isUser(fields map[string]string) bool {
	if name := fields["username"]; name != "" {
		return in.name == name && in.kind != "hidden"
	}
	return (in.kind == "text" || in.kind == "email" || in.kind == "tel") && userLike.MatchString(in.label) && !in.isCode(fields)
}

// isCode reports whether a field takes a one-time code. It is looked at before the user: a label may name both.
func (in input) isCode(fields map[string]string) bool {
	if name := fields["totp"]; name != "" {
		return in.name == name && in.kind != "hidden"
	}
	switch in.kind {
	case "text", "tel", "number":
		return (in.name == "code" || codeLike.MatchString(in.label)) && in.name != fields["username"]
	}
	return false
}

func (in input) isPassword(fields map[string]string) bool {
	if name := fields["password"]; name != "" {
		return in.name == name && in.kind != "hidden"
	}
	return in.kind == "password"
}

// button is the approving submit button, or the first that does not refuse.
func (f *form) button() *input {
	var fallback *input
	for i := range f.inputs {
		in := &f.inputs[i]
		if !in.submits() || no.MatchString(in.label) {
			continue
		}
		if yes.MatchString(in.label) {
			return in
		}
		if fallback == nil {
			fallback = in
		}
	}
	return fallback
}

func (f *form) names() string {
	var out []string
	for _, in := range f.inputs {
		if in.kind != "hidden" && !in.submits() {
			out = append(out, valueOr(in.name, strings.TrimSpace(clip(in.label))))
		}
	}
	return strings.Join(out, ", ")
}

// picks reports whether a radio button is the one of its group that the user takes: the one that is checked, else the one that approves.
func (f *form) picks(in input) bool {
	group := func(is func(input) bool) bool {
		return slices.ContainsFunc(f.inputs, func(other input) bool { return other.kind == "radio" && other.name == in.name && is(other) })
	}
	if group(func(other input) bool { return other.checked }) {
		return in.checked
	}
	return yes.MatchString(in.label) && !no.MatchString(in.label)
}

// fill is the request that a browser sends when the user fills the form and presses the approving button.
func (f *form) fill(fields map[string]string, who credentials) Request {
	return f.press(f.button(), fields, who)
}

// refusal is the button by which the user says no, or nil.
func (f *form) refusal() *input {
	i := slices.IndexFunc(f.inputs, func(in input) bool { return in.submits() && no.MatchString(in.label) })
	if i < 0 {
		return nil
	}
	return &f.inputs[i]
}

// press fills the form and presses a button; nil presses none.
func (f *form) press(b *input, fields map[string]string, who credentials) Request {
	var params Params
	first := true // the first text field of a form with a password is the user, whatever its name
	named, login := f.asksUser(fields), f.asksPassword(fields)
	for _, in := range f.inputs {
		switch {
		case in.name == "" || in.submits() || in.kind == "reset" || in.kind == "button" || in.kind == "file":
			continue
		case in.isPassword(fields):
			params.Add(in.name, who.password)
		case in.isCode(fields):
			params.Add(in.name, who.code)
		case in.isUser(fields), !named && login && first && (in.kind == "text" || in.kind == "email" || in.kind == "tel"):
			params.Add(in.name, who.username)
			first = false
		case in.kind == "checkbox":
			// On a consent page each box is a scope; without them less than what was asked for is granted.
			if in.checked || !login {
				params.Add(in.name, valueOr(in.value, "on"))
			}
		case in.kind == "radio":
			if f.picks(in) {
				params.Add(in.name, valueOr(in.value, "on"))
			}
		default:
			params.Add(in.name, in.value)
		}
	}
	action, method := f.action, f.method
	if b != nil {
		switch {
		case b.kind == "image":
			prefix := b.name
			if prefix != "" {
				prefix += "."
			}
			params.Add(prefix+"x", "1")
			params.Add(prefix+"y", "1")
		case b.name != "":
			params.Add(b.name, b.value)
		}
		if b.action != nil {
			action = b.action
		}
		method = valueOr(b.method, method)
	}
	address := *action
	address.Fragment, address.RawFragment = "", ""
	r := Request{Method: method, Header: []Field{{"Referer", refererOf(f.page, action)}}}
	if method == "POST" {
		r.URL, r.Body = address.String(), params.Encode()
		r.Header = append(r.Header, Field{"Content-Type", "application/x-www-form-urlencoded"}, Field{"Origin", f.page.Scheme + "://" + f.page.Host})
		return r
	}
	address.RawQuery = params.Encode()
	r.URL = address.String()
	return r
}

// refererOf is what browsers send by default (strict-origin-when-cross-origin); some servers want one as a defence against CSRF.
func refererOf(from, to *url.URL) string {
	if from.Scheme != to.Scheme || from.Host != to.Host {
		return from.Scheme + "://" + from.Host + "/"
	}
	u := *from
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	return u.String()
}

func valueOr(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

func attribute(n *html.Node, name string) string { v, _ := lookup(n, name); return v }

func lookup(n *html.Node, name string) (string, bool) {
	for _, a := range n.Attr {
		if strings.EqualFold(a.Key, name) {
			return a.Val, true
		}
	}
	return "", false
}

func textOf(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data)
			b.WriteByte(' ')
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
