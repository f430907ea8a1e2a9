package harness

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// State is what came out of a call: the thing asked for, a refusal, or nothing that can be learned from.
type State int

// The states of an outcome.
const (
	Unknown State = iota // time-out, rate limit, no connection: no decision of the target was seen
	Granted
	Refused
)

// Where is the place in which a refusal was said.
type Where string

// The places of a refusal.
const (
	InBody            Where = "body"             // the JSON body of a token, PAR, introspection or revocation answer
	InRedirect        Where = "redirect"         // the error parameter of an authorization response
	InWWWAuthenticate Where = "www-authenticate" // the challenge of a resource
	OnPage            Where = "page"             // an error page
	InTLS             Where = "tls"              // the handshake or the connection on which a certificate was asked for
	Nowhere           Where = "dropped"          // the connection just ended
)

// Outcome is what one call came to. The oracle of every attack is State, which rests on what came out
// (a code, a token that opened something, the resource), never on the text of an error.
type Outcome struct {
	State  State
	At     string // "the token endpoint", "accounts"
	Got    string // what came out, as a sentence: "an access token was issued"
	Why    string // for Unknown: what happened instead
	Status int
	Error  string // OAuth error code
	Where  Where
	Answer *Answer
	Token  *Token
	Code   *Authorization
	// RequestURI is what a pushed authorization request brought (RFC 9126 §2.2).
	RequestURI string
	Registered *Registered
	// Unspent says that a token came, and that nothing of the target shows whether it works: no resource, no UserInfo, no introspection.
	Unspent bool
}

// String says the outcome in a sentence fragment, for reasons: "HTTP 400 invalid_grant at the token endpoint".
func (o Outcome) String() string {
	switch o.State {
	case Granted:
		return o.Got
	case Unknown:
		return o.Why
	}
	said := fmt.Sprintf("HTTP %d", o.Status)
	switch o.Where {
	case InTLS:
		said = "the TLS connection was ended"
	case Nowhere:
		said = "the connection was dropped without an answer"
	}
	if o.Error != "" {
		said += " " + o.Error
	}
	return said + " at " + o.At + unfollowed(o.Answer)
}

// said is what the server told about a refusal in its own words, for the person who has to mend it; "" where it told nothing. No verdict
// rests on it.
func (o Outcome) said() string {
	var body struct {
		Description any `json:"error_description"`
	}
	if o.State != Refused || o.Answer == nil {
		return ""
	}
	json.Unmarshal(o.Answer.Body, &body)
	said, _ := body.Description.(string)
	if said == "" {
		said = o.ChallengeParameter("error_description")
	}
	if said == "" {
		return ""
	}
	return fmt.Sprintf(" (%q)", said[:min(len(said), 200)])
}

// unfollowed says where a redirect to another host leads. Only a browser follows redirects, and only to hosts that the target file names.
func unfollowed(a *Answer) string {
	if a == nil || a.URL == nil || a.Status < 300 || a.Status > 399 {
		return ""
	}
	target := redirectTarget(a)
	if target == nil || target.Host == "" || strings.EqualFold(target.Host, a.URL.Host) {
		return ""
	}
	return fmt.Sprintf(", a redirect to %s://%s that popcheck does not follow", target.Scheme, target.Host)
}

// Refusal is the form in which a clause wants an attack to be refused.
type Refusal struct {
	Status []int
	Errors []string
	Where  []Where
	// Scheme is the challenge that WWW-Authenticate should name ("DPoP"); "" accepts any.
	Scheme string
}

// String says the wanted form: "HTTP 400 with invalid_grant in the body".
func (r Refusal) String() string {
	var status []string
	for _, s := range r.Status {
		status = append(status, fmt.Sprint(s))
	}
	var parts []string
	if len(status) > 0 {
		parts = append(parts, "HTTP "+strings.Join(status, " or "))
	}
	if len(r.Errors) > 0 {
		parts = append(parts, strings.Join(r.Errors, " or "))
	}
	if len(r.Where) > 0 {
		var where []string
		for _, w := range r.Where {
			where = append(where, map[Where]string{InBody: "in the body", InRedirect: "in the redirect", InWWWAuthenticate: "in WWW-Authenticate",
				OnPage: "on a page", InTLS: "or by ending the TLS connection", Nowhere: ""}[w])
		}
		parts = append(parts, strings.Join(where, ", "))
	}
	return strings.Join(parts, " ")
}

// Misfit says how a refusal differs from the form that the clause asks for, or "".
func (r Refusal) Misfit(o Outcome) string {
	if o.State != Refused {
		return ""
	}
	if o.Where == InTLS && slices.Contains(r.Where, InTLS) {
		return ""
	}
	var wrong []string
	if len(r.Where) > 0 && !slices.Contains(r.Where, o.Where) {
		said := map[Where]string{InBody: "in a body", InRedirect: "in a redirect", InWWWAuthenticate: "in WWW-Authenticate",
			OnPage: "on a page", InTLS: "by ending the TLS connection", Nowhere: "by dropping the connection"}[o.Where]
		if o.Where == OnPage && o.Answer != nil && len(o.Answer.Body) == 0 {
			said = "by the status alone"
		}
		wrong = append(wrong, "it was said "+said)
	} else if len(r.Errors) > 0 && !slices.Contains(r.Errors, o.Error) {
		if o.Error == "" {
			wrong = append(wrong, "no error code was given")
		} else {
			wrong = append(wrong, "the error code was "+o.Error)
		}
	}
	broken := o.Status >= 500 // never the form of a refusal, whatever the clause leaves open
	if o.Where == Nowhere && len(wrong) == 0 {
		wrong = append(wrong, "the connection was dropped")
	}
	// The browser may be sent back in any way (RFC 6749 §1.7): by a form that posts itself, or a page that refreshes, with 200. And
	// what a person is told has no status (RFC 6749 §4.1.2.1): some servers have an application of its own for that.
	toBrowser := o.Where == InRedirect || o.Where == OnPage && slices.Contains(r.Where, OnPage)
	free := o.Where == InTLS || o.Where == Nowhere || toBrowser && o.Status == http.StatusOK
	if !free && (len(r.Status) > 0 || broken) && !slices.Contains(r.Status, o.Status) {
		wrong = append(wrong, fmt.Sprintf("the status was %d", o.Status))
	}
	if r.Scheme != "" && o.Where == InWWWAuthenticate && o.Answer != nil && !challenges(o.Answer, r.Scheme) {
		wrong = append(wrong, "no "+r.Scheme+" challenge was given")
	}
	if len(wrong) == 0 {
		return ""
	}
	if want := r.String(); want != "" {
		return strings.Join(wrong, " and ") + "; expected: " + want
	}
	return strings.Join(wrong, " and ")
}

// settle turns an answer that is no success into a refusal, or into nothing learned.
func settle(a *Answer, at string) Outcome {
	o := Outcome{At: at, Answer: a, Status: a.Status}
	if f := a.Failure; f != nil {
		switch f.Kind {
		case RefusedCertificate, RefusedVersion:
			o.State, o.Where = Refused, InTLS
		case Dropped:
			if a.TLS != nil && !a.TLS.FreshConnection {
				o.Why = fmt.Sprintf("%s ended a kept connection, perhaps because it was idle", at)
				return o
			}
			o.State, o.Where = Refused, Nowhere
		default:
			o.Why = fmt.Sprintf("nothing came back from %s: %s", at, f.Error())
		}
		return o
	}
	switch a.Status {
	case http.StatusTooManyRequests:
		o.Why = fmt.Sprintf("%s answered HTTP 429: too many requests; lower limits.requests_per_second", at)
		return o
	case http.StatusServiceUnavailable, http.StatusGatewayTimeout: // of a gateway, most often; nobody knows what the server thought of it
		o.Why = fmt.Sprintf("%s answered HTTP %d, which decides nothing", at, a.Status)
		return o
	}
	o.State = Refused
	o.Error, o.Where = errorOf(a)
	return o
}

// errorOf finds the OAuth error code of an answer: in WWW-Authenticate at a resource, else in the JSON body.
func errorOf(a *Answer) (string, Where) {
	var body struct {
		Error any `json:"error"`
	}
	json.Unmarshal(a.Body, &body)
	inBody, _ := body.Error.(string)
	if inBody != "" {
		return inBody, InBody
	}
	if challenges := challengesOf(a); len(challenges) > 0 {
		return challengeError(challenges), InWWWAuthenticate
	}
	return "", OnPage
}

// resourceErrorOf prefers the challenge: at a resource that is where RFC 6750 §3 and RFC 9449 §7.1 put the code.
func resourceErrorOf(a *Answer) (string, Where) {
	if challenges := challengesOf(a); len(challenges) > 0 {
		return challengeError(challenges), InWWWAuthenticate
	}
	return errorOf(a)
}

// challenge is one challenge of WWW-Authenticate (RFC 9110 §11.6.1).
type challenge struct {
	scheme string
	params Params
}

// challengesOf parts the challenges of an answer: several may stand in one line or in several, and a quoted string may hold
// commas and what looks like a challenge.
func challengesOf(a *Answer) []challenge {
	var out []challenge
	for _, line := range a.Header.Values("WWW-Authenticate") {
		for _, m := range challengePart.FindAllStringSubmatch(line, -1) {
			name, value, scheme := m[1], m[2], m[3]
			if strings.HasPrefix(value, `"`) {
				value = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(value[1 : len(value)-1])
			}
			switch {
			case scheme != "":
				out = append(out, challenge{scheme: scheme})
			case len(out) > 0:
				out[len(out)-1].params.Add(strings.ToLower(name), value)
			}
		}
	}
	return out
}

// challengePart is a parameter (name = "quoted" or token), or else a scheme.
var challengePart = regexp.MustCompile(`([^\s,="]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,"]*)|([^\s,="]+)`)

// challengeError is the error code of the challenges. One that asks for a nonce wins, because it can be answered; then that of
// DPoP, because a server that takes both kinds of token says more of proofs there.
func challengeError(all []challenge) string {
	first, dpop := "", ""
	for _, c := range all {
		code := c.params.Get("error")
		if code == "use_dpop_nonce" {
			return code
		}
		if first == "" {
			first = code
		}
		if dpop == "" && strings.EqualFold(c.scheme, "DPoP") {
			dpop = code
		}
	}
	return valueOr(dpop, first)
}

// challenges reports whether WWW-Authenticate names the scheme, alone, in a line of its own or in a list.
func challenges(a *Answer, scheme string) bool {
	return slices.ContainsFunc(challengesOf(a), func(c challenge) bool { return strings.EqualFold(c.scheme, scheme) })
}

// Challenges reports whether the answer of an outcome names an authentication scheme in WWW-Authenticate.
func (o Outcome) Challenges(scheme string) bool {
	return o.Answer != nil && challenges(o.Answer, scheme)
}

// ChallengeParameter returns a parameter of the WWW-Authenticate challenge, "" when it is not there.
func (o Outcome) ChallengeParameter(name string) string {
	if o.Answer == nil {
		return ""
	}
	for _, c := range challengesOf(o.Answer) {
		if value := c.params.Get(strings.ToLower(name)); value != "" {
			return value
		}
	}
	return ""
}

// Param is one parameter of a form or query; order and repetition count.
type Param struct{ Name, Value string }

// Params is a form or query.
type Params []Param

// Set replaces the first parameter of that name, or appends one.
func (p *Params) Set(name, value string) {
	for i := range *p {
		if (*p)[i].Name == name {
			(*p)[i].Value = value
			return
		}
	}
	p.Add(name, value)
}

// Add appends a parameter, also one that is there already.
func (p *Params) Add(name, value string) { *p = append(*p, Param{name, value}) }

// Drop removes every parameter of that name.
func (p *Params) Drop(name string) {
	*p = slices.DeleteFunc(*p, func(x Param) bool { return x.Name == name })
}

// Get returns the first value of that name.
func (p Params) Get(name string) string {
	for _, x := range p {
		if x.Name == name {
			return x.Value
		}
	}
	return ""
}

// Encode spells the parameters as application/x-www-form-urlencoded, in order.
func (p Params) Encode() string {
	var parts []string
	for _, x := range p {
		parts = append(parts, url.QueryEscape(x.Name)+"="+url.QueryEscape(x.Value))
	}
	return strings.Join(parts, "&")
}

// json spells the parameters as a JSON object; of a repeated one the last counts.
func (p Params) json() string {
	object := map[string]string{}
	for _, x := range p {
		object[x.Name] = x.Value
	}
	text, _ := json.Marshal(object) // strings cannot fail
	return string(text)
}

// differences names the parameters in which sent differs from honest.
func (p Params) differences(sent Params) []string {
	var out []string
	note := func(name string) {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	values := func(in Params, name string) string {
		var all []string
		for _, x := range in {
			if x.Name == name {
				all = append(all, x.Value)
			}
		}
		return strings.Join(all, "\x00") + fmt.Sprint(len(all))
	}
	for _, x := range append(slices.Clone(p), sent...) {
		if values(p, x.Name) != values(sent, x.Name) {
			note(x.Name)
		}
	}
	return out
}
