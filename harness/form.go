package harness

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
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

func (d formDriver) authorize(tr *Trace, b *browserSession, address string, c *Client, user *User, changed []string) (*FrontChannel, error) {
	front := &FrontChannel{}
	next := Request{Step: "authorization request", Method: "GET", URL: address, Changed: changed}
	after, asked, redirects := "authorization request", false, 0
	for pages := 0; pages <= pageLimit; {
		answer := tr.browse(b, next)
		front.Hops = append(front.Hops, Hop{after, answer})
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
		if answer.Status >= 400 {
			front.Page = answer
			return front, nil
		}
		page := readPage(answer)
		if form := page.formPost(c); form != nil {
			front.Redirect, front.Params = form.action.String(), form.values()
			return front, nil
		}
		form := page.choose()
		if form == nil {
			front.Page = answer
			return front, nil
		}
		pages++
		for _, f := range form.inputs {
			if f.kind == "hidden" && len(f.value) >= 12 {
				tr.Redactor.Register("form value", f.value)
			}
		}
		kind := "consent form"
		if form.asksPassword() || form.asksUser(d.fields) {
			kind = "login form"
			if form.asksPassword() && asked {
				if tr.sessions.countFailure() {
					tr.Stop(fmt.Sprintf("%d logins failed (limits.failed_logins): popcheck stopped so as not to lock an account", tr.sessions.allowed))
				}
				return nil, fmt.Errorf("%w of user %s was refused: after the password the page %q of %s asks for it again; check users and login.fields (fields seen: %s)",
					ErrLogin, user.Username, page.title, answer.URL.Host, form.names())
			}
			if user.Username == "" {
				return nil, fmt.Errorf("%w: the page %q asks for a user, and the target file names none under users", ErrLogin, page.title)
			}
			if why := tr.sessions.exhausted(); why != "" {
				return nil, fmt.Errorf("%w: %s", ErrLogin, why)
			}
			asked = asked || form.asksPassword()
		}
		next, after = form.fill(d.fields, user), kind
		next.Step = kind
	}
	return nil, fmt.Errorf("%w: more than %d forms between the authorization request and the redirect", ErrLogin, pageLimit)
}

// StrayRedirect is a redirect to a host that the target file does not name; nothing was sent there.
type StrayRedirect struct {
	Target *url.URL
	Front  *FrontChannel
}

func (s *StrayRedirect) Error() string {
	return fmt.Sprintf("the login went on to %s://%s, a host that the target file does not name; if it is yours to test, add it to hosts", s.Target.Scheme, s.Target.Host)
}

// countFailure counts a wrong login and reports whether the budget is used up.
func (s *sessions) countFailure() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed++
	return s.failed >= s.allowed
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
	var cookies []string
	for _, c := range b.cookies.Cookies(target) {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	r.Header = append([]Field{{"Accept", "text/html,application/xhtml+xml"}}, r.Header...)
	if len(cookies) > 0 {
		r.Header = append(r.Header, Field{"Cookie", strings.Join(cookies, "; ")})
	}
	r.browser = true
	answer := tr.Do(r)
	if answer.OK() {
		b.cookies.SetCookies(target, (&http.Response{Header: answer.Header}).Cookies())
	}
	return answer
}

var refreshTarget = regexp.MustCompile(`(?i)^\s*\d*\s*[;,]\s*url\s*=\s*['"]?([^'"]+)`)

// redirectTarget is where an answer sends the browser: by Location, or by a refresh without script.
func redirectTarget(a *Answer) *url.URL {
	location := ""
	if a.Status >= 300 && a.Status < 400 {
		location = a.Header.Get("Location")
	} else if a.Status == http.StatusOK {
		if m := refreshTarget.FindStringSubmatch(a.Header.Get("Refresh")); m != nil {
			location = m[1]
		} else if m := refreshTarget.FindStringSubmatch(readPage(a).refresh); m != nil {
			location = m[1]
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
}

type form struct {
	action *url.URL
	origin string // of the page
	method string
	inputs []input
	text   string
}

type input struct {
	name, value, kind, label string
	checked                  bool
}

// readPage finds what a browser without script could use.
func readPage(a *Answer) *page {
	p := &page{}
	if !strings.Contains(strings.ToLower(a.Header.Get("Content-Type")), "html") && !bytes.Contains(a.Body[:min(len(a.Body), 512)], []byte("<")) {
		return p
	}
	root, err := html.Parse(bytes.NewReader(a.Body))
	if err != nil {
		return p
	}
	base := a.URL
	for n := range root.Descendants() {
		switch n.DataAtom {
		case atom.Base:
			if u, err := a.URL.Parse(attribute(n, "href")); err == nil && attribute(n, "href") != "" {
				base = u
			}
		case atom.Title:
			p.title = strings.TrimSpace(textOf(n))
		case atom.Meta:
			if strings.EqualFold(attribute(n, "http-equiv"), "refresh") {
				p.refresh = attribute(n, "content")
			}
		case atom.Form:
			if f := readForm(n, base); f != nil {
				f.origin = a.URL.Scheme + "://" + a.URL.Host
				p.forms = append(p.forms, f)
			}
		}
	}
	return p
}

func readForm(n *html.Node, base *url.URL) *form {
	action, err := base.Parse(strings.TrimSpace(attribute(n, "action")))
	if err != nil {
		return nil
	}
	f := &form{action: action, method: strings.ToUpper(attribute(n, "method")), text: textOf(n)}
	if f.method != "POST" {
		f.method = "GET"
	}
	for c := range n.Descendants() {
		if _, disabled := lookup(c, "disabled"); disabled {
			continue
		}
		in := input{name: attribute(c, "name"), value: attribute(c, "value"), kind: strings.ToLower(attribute(c, "type"))}
		_, in.checked = lookup(c, "checked")
		in.label = strings.ToLower(strings.Join([]string{in.name, attribute(c, "id"), attribute(c, "autocomplete"), attribute(c, "placeholder"), attribute(c, "aria-label")}, " "))
		switch c.DataAtom {
		case atom.Input:
			if in.kind == "" {
				in.kind = "text"
			}
			if in.kind == "image" {
				in.kind = "submit"
			}
			if in.kind == "submit" {
				in.label += " " + strings.ToLower(in.value)
			}
		case atom.Button:
			if in.kind == "" {
				in.kind = "submit"
			}
			in.label += " " + strings.ToLower(in.value+" "+textOf(c))
		case atom.Textarea:
			in.kind, in.value = "text", textOf(c)
		case atom.Select:
			in.kind = "select"
			for o := range c.Descendants() {
				if _, selected := lookup(o, "selected"); o.DataAtom == atom.Option && (selected || in.value == "") {
					in.value = attribute(o, "value")
				}
			}
		default:
			continue
		}
		f.inputs = append(f.inputs, in)
	}
	return f
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
		if in.name != "" && in.kind != "submit" {
			v.Add(in.name, in.value)
		}
	}
	return v
}

var (
	yes = regexp.MustCompile(`(?i)\b(allow|accept|approve|authori[sz]e|agree|yes|consent|grant|confirm|continue|permit|ok|submit|next|log ?in|sign ?in)`)
	no  = regexp.MustCompile(`(?i)\b(deny|cancel|reject|refuse|decline|no|abort|back|log ?out|sign ?out|abandon|register|forgot|reset|locale|language)\b`)
)

// choose picks the form that leads on: one that asks for a password, then one for a user, then one with an approving button.
func (p *page) choose() *form {
	for _, wanted := range []func(*form) bool{
		(*form).asksPassword,
		func(f *form) bool { return f.method == "POST" && f.asksUser(nil) },
		func(f *form) bool { b := f.button(); return f.method == "POST" && b != nil && yes.MatchString(b.label) },
		func(f *form) bool { b := f.button(); return f.method == "POST" && b != nil && !no.MatchString(b.label) },
	} {
		if i := slices.IndexFunc(p.forms, wanted); i >= 0 {
			return p.forms[i]
		}
	}
	return nil
}

func (f *form) asksPassword() bool {
	return slices.ContainsFunc(f.inputs, func(in input) bool { return in.kind == "password" })
}

func (f *form) asksUser(fields map[string]string) bool {
	return slices.ContainsFunc(f.inputs, func(in input) bool { return in.isUser(fields) })
}

var userLike = regexp.MustCompile(`(?i)user|e-?mail|login|account|identifier`)

func (in input) isUser(fields map[string]string) bool {
	if name := fields["username"]; name != "" {
		return in.name == name
	}
	return (in.kind == "text" || in.kind == "email" || in.kind == "tel") && userLike.MatchString(in.label)
}

// button is the approving submit button, or the first that does not refuse.
func (f *form) button() *input {
	var fallback *input
	for i := range f.inputs {
		in := &f.inputs[i]
		if in.kind != "submit" {
			continue
		}
		if no.MatchString(in.label) {
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
		if in.kind != "hidden" && in.kind != "submit" {
			out = append(out, in.name)
		}
	}
	return strings.Join(out, ", ")
}

// fill is the request that a browser sends when the user fills the form and presses the approving button.
func (f *form) fill(fields map[string]string, user *User) Request {
	var params Params
	first := true // the first text field of a form with a password is the user, whatever its name
	named := f.asksUser(fields)
	for _, in := range f.inputs {
		switch {
		case in.name == "" || in.kind == "submit" || in.kind == "reset" || in.kind == "button" || in.kind == "file":
			continue
		case in.kind == "password" && (fields["password"] == "" || fields["password"] == in.name):
			params.Add(in.name, user.Password)
		case in.isUser(fields), !named && f.asksPassword() && first && (in.kind == "text" || in.kind == "email"):
			params.Add(in.name, user.Username)
			first = false
		case in.kind == "checkbox":
			// On a consent page each box is a scope; without them less than what was asked for is granted.
			if in.checked || !f.asksPassword() {
				params.Add(in.name, valueOr(in.value, "on"))
			}
		case in.kind == "radio":
			if in.checked {
				params.Add(in.name, in.value)
			}
		default:
			params.Add(in.name, in.value)
		}
	}
	if b := f.button(); b != nil && b.name != "" {
		params.Add(b.name, b.value)
	}
	r := Request{Method: f.method, URL: f.action.String()}
	if f.method == "POST" {
		r.Body, r.Header = params.Encode(), []Field{
			{"Content-Type", "application/x-www-form-urlencoded"}, {"Origin", f.origin}}
		return r
	}
	u := *f.action
	u.RawQuery = params.Encode()
	r.URL = u.String()
	return r
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
