package harness

import (
	"bytes"
	"net/url"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// LastUser is the user that first consents and further sessions are spent on: the last of the target file.
func (t *Tester) LastUser() *User {
	if n := len(t.Target.Users); n > 0 {
		return &t.Target.Users[n-1]
	}
	return &User{}
}

// ToRedirect sends a changed authorization request without any login and tells where the browser is sent first. Granted is a
// redirect to wanted, by Location, refresh or form: that address is read, never requested.
func (tr *Trace) ToRedirect(who Identity, wanted string, change Change) Outcome {
	const at = "the authorization endpoint"
	q := AuthorizationRequest{Who: who, PKCE: tr.NewPKCE()}
	m := tr.authorizationMessage(&q)
	honest := append(Params{}, m.Params...)
	change(m, Facts{Tester: tr.Tester, PKCE: q.PKCE})
	next := Request{Step: "authorization request", Method: "GET", URL: withQuery(m.URL, m.Params), Changed: honest.differences(m.Params)}
	session := newBrowserSession()
	for range tr.Target.Limits.Redirects {
		answer := tr.browse(session, next)
		o := settle(answer, at)
		if o.State != Refused || !answer.OK() {
			return o
		}
		o.Where, o.Error = OnPage, ""
		target := redirectTarget(answer)
		switch {
		case target == nil && answer.Status < 400 && len(readPage(answer).forms) > 0:
			// A login page: the server went on with the request, and would send the code to the address after it.
			return Outcome{State: Granted, At: at, Got: "a login page came up for that redirect_uri", Status: answer.Status, Answer: answer}
		case target == nil:
			return o
		case sameAddress(target.String(), wanted):
			return Outcome{State: Granted, At: at, Got: "the browser was redirected to " + wanted, Status: answer.Status, Answer: answer}
		case belongs(who.Client, target):
			o.Where, o.Error = InRedirect, target.Query().Get("error")
			if target.Query().Get("code") != "" {
				return Outcome{State: Granted, At: at, Got: "an authorization code was issued", Status: answer.Status, Answer: answer}
			}
			return o
		case !tr.Target.HostAllowed(target.Host):
			return Outcome{State: Granted, At: at, Got: "the browser was redirected to " + target.Scheme + "://" + target.Host, Status: answer.Status, Answer: answer}
		}
		next = Request{Step: "redirect", Method: "GET", URL: target.String()}
	}
	return Outcome{At: at, Why: "the redirects did not end"}
}

// FirstPage asks the authorization endpoint for its first answer, with a header field of the browser.
func (tr *Trace) FirstPage(who Identity, field Field) Outcome {
	const at = "the authorization endpoint"
	q := AuthorizationRequest{Who: who, PKCE: tr.NewPKCE()}
	m := tr.authorizationMessage(&q)
	answer := tr.browse(newBrowserSession(), Request{Step: "authorization request", Method: "GET", URL: withQuery(m.URL, m.Params), Header: []Field{field}, Changed: []string{field.Name}})
	return settle(answer, at)
}

func withQuery(address string, params Params) string {
	separator := "?"
	if strings.Contains(address, "?") {
		separator = "&"
	}
	return address + separator + params.Encode()
}

// sameAddress compares scheme, host and path as a browser would take them; the parameters of the response are left out.
func sameAddress(a, b string) bool {
	x, err := url.Parse(a)
	if err != nil {
		return false
	}
	y, err := url.Parse(b)
	if err != nil {
		return false
	}
	return strings.EqualFold(x.Scheme, y.Scheme) && strings.EqualFold(x.Host, y.Host) && x.JoinPath().Path == y.JoinPath().Path
}

// LeaksReferrer says how a page tells its address, with the request's parameters, to a third party, or "". Browsers send only
// the origin to other sites unless a policy says more, so a missing policy leaks through unsafe values only.
func LeaksReferrer(a *Answer) string {
	policy := a.Header.Get("Referrer-Policy")
	root, err := html.Parse(bytes.NewReader(a.Body))
	if err != nil {
		return ""
	}
	external := ""
	for n := range root.Descendants() {
		switch n.DataAtom {
		case atom.Meta:
			if strings.EqualFold(attribute(n, "name"), "referrer") {
				policy = attribute(n, "content")
			}
		case atom.Script, atom.Img, atom.Iframe, atom.Link:
			address := attribute(n, "src") + attribute(n, "href")
			if u, err := a.URL.Parse(address); err == nil && address != "" && u.Host != a.URL.Host && strings.HasPrefix(u.Scheme, "http") {
				external = u.Host
			}
		}
	}
	last := policy[strings.LastIndex(policy, ",")+1:]
	switch strings.ToLower(strings.TrimSpace(last)) {
	case "unsafe-url", "no-referrer-when-downgrade":
		return "has Referrer-Policy " + strings.TrimSpace(last) + ", which sends the whole address to third parties"
	case "":
		if external != "" {
			return "loads a resource of " + external + " and has no Referrer-Policy; older browsers send the whole address there"
		}
	}
	return ""
}
