package harness

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// ShownPage is a page that the browser got, and what the user did on it: one of the forms, or "" where nothing was to be done.
type ShownPage struct {
	Form string
	*Answer
}

// Pages are those that a login showed, in order.
func (f *FrontChannel) Pages() []ShownPage {
	if f == nil {
		return nil
	}
	var out []ShownPage
	for i, hop := range f.Hops {
		if hop.Script || !hop.Answer.OK() || hop.Answer.Status/100 == 3 || len(hop.Answer.Body) == 0 {
			continue
		}
		shown := ShownPage{Answer: hop.Answer}
		for _, next := range f.Hops[i+1:] { // a script shows several forms on one page
			if next.After == LoginForm || next.After == ConsentForm || next.After == HiddenForm {
				if shown.Form = next.After; next.Script {
					out = append(out, shown)
				}
			}
			if !next.Script {
				break
			}
		}
		if n := len(out); n == 0 || out[n-1].Answer != hop.Answer || out[n-1].Form != shown.Form {
			out = append(out, shown)
		}
	}
	return out
}

// PagesOf are the pages that came with an outcome of the authorization endpoint, also where no code came.
func (o Outcome) PagesOf() []ShownPage {
	if o.Code != nil {
		return o.Code.Front.Pages()
	}
	if o.Answer == nil || !o.Answer.OK() || o.Answer.Status/100 == 3 {
		return nil
	}
	return []ShownPage{{Answer: o.Answer}}
}

// FrameGuard says what keeps a page out of the frames of other sites, "" for nothing. Where a policy names frame-ancestors, browsers
// do not look at X-Frame-Options (CSP Level 2 §7.7.1); ALLOW-FROM is not looked at either (HTML §7.7).
func FrameGuard(a *Answer) string {
	named, guard := false, ""
	for _, policy := range strings.Split(strings.Join(a.Header.Values("Content-Security-Policy"), ","), ",") {
		for _, directive := range strings.Split(policy, ";") {
			words := strings.Fields(strings.ToLower(directive))
			if len(words) == 0 || words[0] != "frame-ancestors" {
				continue
			}
			if named = true; !slices.ContainsFunc(words[1:], anySite) {
				guard = "Content-Security-Policy: " + strings.Join(words, " ")
			}
		}
	}
	if named {
		return guard
	}
	said := strings.ToLower(strings.Join(a.Header.Values("X-Frame-Options"), ","))
	for _, option := range strings.Split(said, ",") {
		if option = strings.TrimSpace(option); option == "deny" || option == "sameorigin" {
			return "X-Frame-Options: " + option
		}
	}
	return ""
}

// anySite reports whether a source of a policy allows sites of anybody.
func anySite(source string) bool {
	_, host, ok := strings.Cut(source, "://")
	return source == "*" || strings.HasSuffix(source, ":") || ok && strings.HasPrefix(host, "*") && !strings.HasPrefix(host, "*.")
}

// ThirdParties are the hosts from which a page loads something, and those to which it links, beside its own.
func ThirdParties(a *Answer) (loads, links []string) {
	root, err := html.Parse(bytes.NewReader(a.Body))
	if err != nil {
		return nil, nil
	}
	for n := range root.Descendants() {
		to := &loads
		switch n.DataAtom {
		case atom.A, atom.Area, atom.Form:
			to = &links
		case atom.Script, atom.Img, atom.Iframe, atom.Link:
		default:
			continue
		}
		address := attribute(n, "src") + attribute(n, "href") + attribute(n, "action")
		if u, err := a.URL.Parse(address); err == nil && address != "" && u.Host != a.URL.Host && strings.HasPrefix(u.Scheme, "http") && !slices.Contains(*to, u.Host) {
			*to = append(*to, u.Host)
		}
	}
	return loads, links
}

// ScriptMark is a value of a request that becomes a script where a page writes it as it is.
type ScriptMark struct{ comment string }

// NewScriptMark makes one that can be told from all others.
func NewScriptMark() ScriptMark { return ScriptMark{"/*popcheck-" + Random(6) + "*/"} }

// Value is what is sent.
func (m ScriptMark) Value() string { return `"'><script>` + m.comment + `</script>` }

// RunsIn reports whether the script stands in a page as one: an element of its own, or the end of an element that it broke out of.
func (m ScriptMark) RunsIn(a *Answer) bool {
	if media := strings.ToLower(a.Header.Get("Content-Type")); media != "" && !strings.Contains(media, "html") {
		return false
	}
	root, err := html.Parse(bytes.NewReader(a.Body))
	if err != nil {
		return false
	}
	for n := range root.Descendants() {
		if n.DataAtom != atom.Script || n.FirstChild == nil {
			continue
		}
		if text := n.FirstChild.Data; text == m.comment || strings.HasSuffix(text, "<script>"+m.comment) {
			return true
		}
	}
	return false
}

// KeptByCaches says why a cache may keep a redirect and answer others with it, or "". Without a word, none does (RFC 9111 §4.2.2).
func KeptByCaches(h http.Header) string {
	said := strings.ToLower(strings.Join(h.Values("Cache-Control"), ","))
	public := false
	for _, directive := range strings.Split(said, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch name {
		case "no-store", "private", "no-cache":
			return ""
		case "public":
			public = true
		case "max-age", "s-maxage":
			seconds, err := strconv.Atoi(strings.Trim(value, `"`))
			public = public || err == nil && seconds > 0
		}
	}
	if public {
		return fmt.Sprintf("Cache-Control is %q", said)
	}
	return ""
}
