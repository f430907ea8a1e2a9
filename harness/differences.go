package harness

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// markDifferences completes what each attack's request says of itself by what it really differed in from the control of the same
// step: a reader, and a test, see from the record alone that nothing else was changed.
func markDifferences(exchanges []Exchange) {
	for i := range exchanges {
		x := &exchanges[i]
		if x.Role != AttackExchange || slices.Contains(browserSteps(), x.Step) {
			continue
		}
		for _, d := range append(fromNearest(exchanges, x), usedBefore(exchanges[:i], x)...) {
			if !said(x.Request.Changed, d) {
				x.Request.Changed = append(slices.Clip(x.Request.Changed), d)
			}
		}
	}
}

// said reports whether a difference is among those that the attack named itself, perhaps in other words.
func said(changed []string, d string) bool {
	other := map[string]string{"Authorization": "client authentication"}[d]
	return slices.ContainsFunc(changed, func(c string) bool { return c == d || c == other || strings.HasPrefix(c, d+",") })
}

// fromNearest are the differences from the honest exchange of the same step that is most alike: an attack that takes part of two
// clients or resources has a control for each.
func fromNearest(exchanges []Exchange, of *Exchange) []string {
	var nearest []string
	found := false
	for i := range exchanges {
		if x := &exchanges[i]; x.Role == ControlExchange && x.Step == of.Step {
			if d := differences(x, of); !found || len(d) < len(nearest) {
				nearest, found = d, true
			}
		}
	}
	return nearest
}

// usedBefore names what honest clients send once and this request sends again.
func usedBefore(earlier []Exchange, of *Exchange) []string {
	var out []string
	for _, name := range []string{"code", "refresh_token", "request_uri", "client_assertion", "assertion"} {
		value := paramsOf(&of.Request).Get(name)
		if value != "" && slices.ContainsFunc(earlier, func(x Exchange) bool {
			return x.Role == AttackExchange && addressOf(x.Request.URL) == addressOf(of.Request.URL) && paramsOf(&x.Request).Get(name) == value
		}) {
			out = append(out, name+", used before")
		}
	}
	return out
}

// browserSteps are those of a page: what a browser sends on the way to a code differs with its session.
func browserSteps() []string { return []string{"redirect", LoginForm, ConsentForm, HiddenForm} }

// freshParameters are new in every request of an honest client.
func freshParameters() []string {
	return []string{"code", "code_verifier", "code_challenge", "state", "nonce", "refresh_token", "request_uri", "client_assertion", "assertion", "token", softwareStatement}
}

// freshMembers are new in every honest proof, or follow from the token that goes with it.
func freshMembers() []string { return []string{"jti", "iat", "exp", "nonce", "ath"} }

// differences names what one request has otherwise than another, beside what is new in every request.
func differences(control, attack *Exchange) []string {
	var out []string
	note := func(name string, same bool) {
		if !same && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	a, b := &control.Request, &attack.Request
	note("method", a.Method == b.Method)
	note("address", addressOf(a.URL) == addressOf(b.URL))
	note("client certificate", thumbprintOf(control) == thumbprintOf(attack))
	p, q := paramsOf(a), paramsOf(b)
	for _, name := range p.differences(q) {
		note(name, slices.Contains(freshParameters(), name) && p.count(name) == q.count(name) && sameShape(name, p.Get(name), q.Get(name)))
	}
	for _, name := range headerNames(a, b) {
		p, q := valuesOf(a, name), valuesOf(b, name)
		switch name {
		case "Content-Length", "Cookie":
		case "Dpop":
			note("DPoP header field", len(p) == len(q))
		case "Authorization":
			note("Authorization", len(p) == len(q) && slices.EqualFunc(p, q, sameAuthorization))
			note("access token", len(p) != len(q) || slices.EqualFunc(p, q, sameToken))
		default:
			note(name, slices.Equal(p, q))
		}
	}
	for i := range min(len(a.Decoded), len(b.Decoded)) {
		p, q := a.Decoded[i], b.Decoded[i]
		kind, _, _ := strings.Cut(p.Name, " ")
		if p.Name == mintedName {
			kind = p.Name
		}
		for _, part := range [][2][]Member{{p.Header, q.Header}, {p.Claims, q.Claims}} {
			for _, name := range memberNames(part[0], part[1]) {
				note(kind+" "+name, slices.Contains(freshMembers(), name) || memberOf(part[0], name) == memberOf(part[1], name))
			}
		}
	}
	return out
}

func addressOf(raw string) string {
	address, _, _ := strings.Cut(raw, "?")
	return address
}

func thumbprintOf(x *Exchange) string {
	if x.TLS == nil {
		return ""
	}
	return x.TLS.Thumbprint
}

// paramsOf are the parameters of the query and of a form, in order.
func paramsOf(r *ExchangeRequest) Params {
	_, query, _ := strings.Cut(r.URL, "?")
	var out Params
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(r.Body), &object) == nil {
		for _, name := range sortedKeys(object) {
			var text string
			if json.Unmarshal(object[name], &text) != nil {
				text = string(object[name]) // a list, or an object: the metadata of a client has them
			}
			out.Add(name, text)
		}
		return out
	}
	for _, encoded := range []string{query, r.Body} {
		for pair := range strings.SplitSeq(encoded, "&") {
			name, value, _ := strings.Cut(pair, "=")
			if name, err := url.QueryUnescape(name); err == nil && name != "" {
				value, _ = url.QueryUnescape(value)
				out.Add(name, value)
			}
		}
	}
	return out
}

func (p Params) count(name string) int {
	n := 0
	for _, x := range p {
		if x.Name == name {
			n++
		}
	}
	return n
}

func headerNames(requests ...*ExchangeRequest) []string {
	var out []string
	for _, r := range requests {
		for _, f := range r.Headers {
			if name := http.CanonicalHeaderKey(f.Name); !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

func valuesOf(r *ExchangeRequest, name string) []string {
	var out []string
	for _, f := range r.Headers {
		if http.CanonicalHeaderKey(f.Name) == name {
			out = append(out, f.Value)
		}
	}
	return out
}

// sameAuthorization compares schemes, and the credentials of a client.
func sameAuthorization(a, b string) bool {
	scheme, _, _ := strings.Cut(a, " ")
	other, _, _ := strings.Cut(b, " ")
	return scheme == other && (scheme != "Basic" || a == b)
}

// sameToken compares access tokens, under whatever scheme; Basic carries none.
func sameToken(a, b string) bool {
	scheme, token, _ := strings.Cut(a, " ")
	_, other, _ := strings.Cut(b, " ")
	return scheme == "Basic" || token == other
}

// sameShape tells a new value from a malformed one, where the honest value is popcheck's own and always of one kind.
func sameShape(name, a, b string) bool {
	if name != "code_verifier" && name != "code_challenge" {
		return a != "" && b != ""
	}
	return len(a) == len(b) && base64URL(b)
}

func memberNames(lists ...[]Member) []string {
	var out []string
	for _, list := range lists {
		for _, m := range list {
			if !slices.Contains(out, m.Name) {
				out = append(out, m.Name)
			}
		}
	}
	return out
}

func memberOf(list []Member, name string) string {
	for _, m := range list {
		if m.Name == name && m.Change != "removed" {
			return m.Value
		}
	}
	return ""
}
