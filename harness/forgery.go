package harness

import (
	"net/http"
	"net/url"
	"strings"
)

// ConsentPage is the consent of a user on its way to the server, in the browser that shows the page.
type ConsentPage struct {
	Method string
	URL    string // without what a form adds to it by GET
	Fields Params

	tr      *Trace
	browser *browserSession
	client  *Client
	denial  *Request // what the browser sends when the user says no; nil where the page has no button for that
}

func newConsentPage(tr *Trace, b *browserSession, c *Client, r Request) *ConsentPage {
	f := &ConsentPage{Method: r.Method, URL: r.URL, tr: tr, browser: b, client: c}
	encoded := r.Body
	if r.Method == "GET" {
		f.URL, encoded, _ = strings.Cut(r.URL, "?")
	}
	for _, pair := range strings.Split(encoded, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(name); err == nil && name != "" {
			value, _ := url.QueryUnescape(value)
			f.Fields.Add(name, value)
		}
	}
	return f
}

// Deny says no, in the user's own browser; ok is false where the page offers no such button.
func (f *ConsentPage) Deny() (a *Answer, ok bool) {
	if f.denial == nil {
		return nil, false
	}
	r := *f.denial
	r.Step = "consent form, denied"
	return f.tr.browse(f.browser, r), true
}

// Secret are the fields and the parameters of the address that differ from those of another session's form for the same request:
// whoever forges the form cannot know them.
func (f *ConsentPage) Secret(other *ConsentPage) []string {
	secret := f.Fields.differences(other.Fields)
	return append(secret, queryOf(f.URL).differences(queryOf(other.URL))...)
}

// Without is the form without some of its fields and parameters.
func (f *ConsentPage) Without(names ...string) *ConsentPage {
	forged := *f
	address, query := f.URL, queryOf(f.URL)
	forged.Fields = append(Params{}, f.Fields...)
	for _, name := range names {
		forged.Fields.Drop(name)
		query.Drop(name)
	}
	if address, _, _ = strings.Cut(address, "?"); len(query) > 0 {
		address += "?" + query.Encode()
	}
	forged.URL = address
	return &forged
}

// By is the form sent with another method.
func (f *ConsentPage) By(method string) *ConsentPage {
	forged := *f
	forged.Method = method
	return &forged
}

func queryOf(address string) Params {
	var out Params
	if u, err := url.Parse(address); err == nil {
		for name, values := range u.Query() {
			for _, value := range values {
				out.Add(name, value)
			}
		}
	}
	return out
}

// strangerOrigin is the site of whoever forges a form.
const strangerOrigin = "https://attacker.example"

// ForgedIn lets a page of another site send the form in the browser in which a user sees the page of victim, with what a browser
// adds of its own accord: only cookies without SameSite=Lax or Strict, and an Origin that is not the server's (RFC 6265bis §5.2, Fetch
// Metadata). Granted means that an authorization code came back.
func (f *ConsentPage) ForgedIn(victim *ConsentPage, how string) Outcome {
	return f.forged(victim.browser, how)
}

// ForgedInEmptyBrowser is ForgedIn for a browser without any cookie: what comes of it is no consent of a user who is logged in there.
func (f *ConsentPage) ForgedInEmptyBrowser(how string) Outcome {
	return f.forged(newBrowserSession(), how+", in a browser where nobody is logged in")
}

func (f *ConsentPage) forged(b *browserSession, how string) Outcome {
	const at = "the consent page"
	r := Request{Step: "forged consent: " + how, Method: f.Method, URL: f.URL, stranger: strangerOrigin, Changed: []string{"form of another site: " + how}}
	if f.Method == "GET" {
		r.URL = withQuery(f.URL, f.Fields)
	} else {
		r.Body = f.Fields.Encode()
		r.Header = []Field{{"Content-Type", "application/x-www-form-urlencoded"}, {"Origin", strangerOrigin}}
	}
	metadata := []Field{{"Referer", strangerOrigin + "/"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Mode", "navigate"}, {"Sec-Fetch-Dest", "document"}}
	r.Header = append(r.Header, metadata...)
	front := &FrontChannel{}
	for range f.tr.Target.Limits.Redirects + 1 {
		answer := f.tr.browse(b, r)
		front.Hops = append(front.Hops, Hop{After: "forged consent", Answer: answer})
		front.Page = answer
		if !answer.OK() {
			break
		}
		if form := readPage(answer).formPost(f.client); form != nil {
			front.Redirect, front.Params = form.action.String(), form.values()
			break
		}
		target := redirectTarget(answer)
		if target == nil {
			break
		}
		if belongs(f.client, target) {
			front.Redirect, front.Params = target.String(), responseParameters(target)
			break
		}
		if !f.tr.Target.HostAllowed(target.Host) || answer.Status == http.StatusTemporaryRedirect || answer.Status == http.StatusPermanentRedirect {
			break
		}
		r = Request{Step: "redirect", Method: "GET", URL: target.String(), Header: metadata, stranger: strangerOrigin}
	}
	return front.outcome(at)
}

// followsFrom reports whether a cookie goes with a navigation that a page of another site began. Browsers disagree about cookies
// that say nothing of SameSite; some send them always.
func (b *browserSession) followsFrom(method string, c *http.Cookie) bool {
	switch b.sameSite[c.Name+"="+c.Value] {
	case http.SameSiteStrictMode:
		return false
	case http.SameSiteLaxMode:
		return method == "GET"
	}
	return true
}
