package harness

import (
	"bytes"
	"errors"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// LastUser is the last of the target file: the one whom the fewest attacks need.
func (t *Tester) LastUser() *User {
	if n := len(t.Target.Users); n > 0 {
		return &t.Target.Users[n-1]
	}
	return &User{}
}

// ToRedirect plays a changed authorization request, with the login where one is asked for, and tells where the browser is sent.
// Granted is a redirect to wanted, with a code or an error: that address is read, never requested. A code for the registered
// address is no gain for whoever changed the request.
func (tr *Trace) ToRedirect(q AuthorizationRequest, wanted string) Outcome {
	q.PKCE = tr.NewPKCE()
	m := tr.authorizationMessage(&q)
	honest := append(Params{}, m.Params...)
	q.Change(m, Facts{Tester: tr.Tester, PKCE: q.PKCE})
	return tr.redirected(q, m, honest.differences(m.Params), wanted)
}

// PushedToRedirect is ToRedirect for a changed request that is pushed first; where the push is refused, nothing is won.
func (tr *Trace) PushedToRedirect(q AuthorizationRequest, wanted string) Outcome {
	q.PKCE = tr.NewPKCE()
	pushed := tr.Push(q)
	if pushed.State != Granted {
		return pushed
	}
	m := tr.byReference(tr.authorizationMessage(&q), pushed.RequestURI)
	if q.Beside != nil {
		q.Beside(m, Facts{Tester: tr.Tester, PKCE: q.PKCE})
	}
	return tr.redirected(q, m, nil, wanted)
}

// redirected tells whether the browser ends at the wanted address.
func (tr *Trace) redirected(q AuthorizationRequest, m *Message, changed []string, wanted string) Outcome {
	const at = "the authorization endpoint"
	client := *q.Who.Client // the login ends at the wanted address as well
	client.RedirectURIs = append([]string{wanted}, client.RedirectURIs...)
	q.Who.Client = &client
	front, err := tr.login(withQuery(m.URL, m.Params), q, tr.firstUser(), changed)
	var stray *StrayRedirect
	switch {
	case errors.As(err, &stray):
		front = stray.Front
	case err != nil:
		return Outcome{At: at, Why: err.Error()}
	}
	o := front.outcome(at)
	if front.Redirect == "" {
		// Browsers follow what Go cannot parse: to them a backslash is a slash (WHATWG URL).
		if a := front.Page; a.OK() && a.Status/100 == 3 && strings.HasPrefix(a.Header.Get("Location"), wanted) {
			o.State, o.Got = Granted, "the browser was redirected to "+wanted
		}
		return o
	}
	switch {
	case registeredAddress(front.Redirect, wanted, q.Who.Client.RedirectURIs[1:]):
		if o.State == Granted {
			o.State, o.Where, o.Error = Refused, InRedirect, "(none: a code was sent to the registered address)"
		}
	case sameAddress(front.Redirect, wanted):
		with := "with an error"
		if front.Params.Get("code") != "" {
			with = "with a code"
		}
		o.State, o.Got = Granted, "the browser was redirected to "+wanted+" "+with
	case stray != nil && (strings.Contains(wanted, stray.Target.Hostname()) || front.Params.Get("code") != ""):
		o.State, o.Got = Granted, "the browser was redirected to "+stray.Target.Scheme+"://"+stray.Target.Host
	case stray != nil: // the server's own place for errors, perhaps
		return Outcome{At: at, Why: stray.Error()}
	case o.State == Granted:
		o.State, o.Where, o.Error = Refused, InRedirect, "(none: a code was sent to the registered address)"
	}
	return o
}

// FirstPage asks the authorization endpoint for its first answer, with header fields of the browser.
func (tr *Trace) FirstPage(who Identity, method string, fields ...Field) Outcome {
	const at = "the authorization endpoint"
	q := AuthorizationRequest{Who: who, PKCE: tr.NewPKCE()}
	m := tr.authorizationMessage(&q)
	changed := []string{}
	for _, f := range fields {
		changed = append(changed, f.Name)
	}
	answer := tr.browse(newBrowserSession(), Request{Step: "authorization request", Method: method, URL: withQuery(m.URL, m.Params), Header: fields, Changed: changed})
	return settle(answer, at)
}

func withQuery(address string, params Params) string {
	separator := "?"
	if strings.Contains(address, "?") {
		separator = "&"
	}
	return address + separator + params.Encode()
}

// sameAddress reports whether a redirect goes to an address: scheme, host and path as a browser would take them, and every query
// parameter and the fragment of the address; what the response adds comes beside.
func sameAddress(redirect, address string) bool {
	x, err := url.Parse(redirect)
	if err != nil {
		return false
	}
	y, err := url.Parse(address)
	if err != nil {
		return false
	}
	for name := range y.Query() {
		if x.Query().Get(name) != y.Query().Get(name) {
			return false
		}
	}
	return strings.EqualFold(x.Scheme, y.Scheme) && strings.EqualFold(x.Host, y.Host) && x.JoinPath().Path == y.JoinPath().Path && strings.Contains(x.Fragment, y.Fragment)
}

// registeredAddress reports whether a redirect goes to a registered address as that is spelt, though another spelling was wanted: a
// server that finds both equal may still use its own.
func registeredAddress(redirect, wanted string, registered []string) bool {
	plain, err := url.PathUnescape(wanted)
	return err == nil && slices.ContainsFunc(registered, func(r string) bool {
		rest, ok := strings.CutPrefix(redirect, r)
		return ok && r != wanted && strings.EqualFold(plain, r) && (rest == "" || strings.ContainsAny(rest[:1], "?#&"))
	})
}

// LeaksReferrer says how a page tells its address, with the request's parameters, to a third party, or "". Browsers send only
// the origin to other sites unless a policy says more, so a missing policy leaks through unsafe values only.
func LeaksReferrer(a *Answer) string {
	policy := a.Header.Get("Referrer-Policy")
	if root, err := html.Parse(bytes.NewReader(a.Body)); err == nil {
		for n := range root.Descendants() {
			if n.DataAtom == atom.Meta && strings.EqualFold(attribute(n, "name"), "referrer") {
				policy = attribute(n, "content")
			}
		}
	}
	external := ""
	if loads, _ := ThirdParties(a); len(loads) > 0 {
		external = loads[0]
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
