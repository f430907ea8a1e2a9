package reports

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/popcheck/popcheck/harness"
)

// room says how much of an exchange is shown. A report is read; run.json keeps everything.
type room struct {
	body, value, exchanges, fields int
}

// A pass is one of hundreds and its evidence is seldom opened; what needs a reader gets more room.
func wideRoom() room   { return room{body: 16 << 10, value: 4 << 10, exchanges: 60, fields: 80} }
func narrowRoom() room { return room{body: 2 << 10, value: 1 << 10, exchanges: 24, fields: 40} }

// pageBudget bounds the evidence in one page, in bytes of text with an allowance for markup: beyond some ten
// megabytes a browser is slow and mail refuses the file.
const pageBudget = 9 << 20

// ledger hands the budget out, in the order in which a reader meets the evidence.
type ledger struct{ left int }

func (l *ledger) take(n int) bool {
	if n > l.left {
		return false
	}
	l.left -= n
	return true
}

// evidence is what a result rests on, as panes side by side: control, attack, control.
type evidence struct {
	Summary string // what the closed details say
	Panes   []pane
	Wide    int    // how many panes stand in a row on a wide screen
	Note    string // what was left out, and where it is
}

type pane struct {
	Title  string
	Attack bool
	Calls  []call
}

// call is an exchange as it is shown.
type call struct {
	Number     int
	Step       string
	Method     string
	Address    []piece
	Answer     string
	Open       bool
	Changed    []string
	Timing     string
	Sent, Came message
	TLS        []header
}

// message is a request or a response without its first line.
type message struct {
	Headers []header
	Body    []piece
	Cut     string
	Error   string
	Tokens  []token
	Empty   bool
}

type header struct {
	Name, Value string
	Changed     bool
}

// piece is a part of a body or an address; parameters that were changed are marked.
type piece struct {
	Text    string
	Changed bool
}

// token is a JWT by member.
type token struct {
	Name  string
	Parts []tokenPart
}

type tokenPart struct {
	Name    string
	Members []member
}

type member struct {
	Name, Value, Change, Was string
}

type fact struct{ Name, Value string }

// show makes the evidence of a result. Exchanges beyond the room or the budget are counted, not shown.
func show(r harness.Result, space room, budget *ledger) *evidence {
	if len(r.Exchanges) == 0 {
		return nil
	}
	e := &evidence{Summary: evidenceSummary(r)}
	kept := r.Exchanges[:min(len(r.Exchanges), space.exchanges)]
	cost := 0
	for _, x := range kept {
		cost += weight(x, space)
	}
	if !budget.take(cost) {
		e.Note = "Left out to keep this page readable; run.json has it under the key of this result."
		return e
	}
	if left := len(r.Exchanges) - len(kept); left > 0 {
		e.Note = count(left, "further exchange is", "further exchanges are") + " in run.json."
	}
	e.Panes = panes(kept, space)
	e.Wide = min(len(e.Panes), 3)
	return e
}

func evidenceSummary(r harness.Result) string {
	attacks := 0
	for _, x := range r.Exchanges {
		if x.Role == harness.AttackExchange {
			attacks++
		}
	}
	all := "Evidence: " + count(len(r.Exchanges), "exchange", "exchanges")
	if attacks == 0 {
		return all
	}
	return fmt.Sprintf("%s, %d in the attack", all, attacks)
}

// weight estimates the bytes that the exchange takes in the page.
func weight(x harness.Exchange, space room) int {
	const markup = 1800
	n := markup + min(len(x.Request.Body), space.body) + min(len(x.Response.Body), space.body) + len(x.Request.URL)
	for _, f := range slices.Concat(x.Request.Headers, x.Response.Headers) {
		n += len(f.Name) + min(len(f.Value), space.value) + 60
	}
	for _, d := range slices.Concat(x.Request.Decoded, x.Response.Decoded) {
		for _, m := range slices.Concat(d.Header, d.Claims) {
			n += len(m.Name) + min(len(m.Value), space.value) + min(len(m.Was), space.value) + 60
		}
	}
	return n
}

// panes groups consecutive exchanges of one role.
func panes(exchanges []harness.Exchange, space room) []pane {
	var out []pane
	opened := opens(exchanges)
	for i, x := range exchanges {
		if i == 0 || x.Role != exchanges[i-1].Role {
			out = append(out, paneAfter(out, x.Role))
		}
		c := callOf(x, space)
		c.Number, c.Open = i+1, opened[i]
		last := &out[len(out)-1]
		last.Calls = append(last.Calls, c)
	}
	if len(out) == 1 && !out[0].Attack {
		out[0].Title = "Honest calls" // a behaviour that was only looked for stands before nothing
	}
	return out
}

// paneAfter begins the pane that follows the earlier ones.
func paneAfter(earlier []pane, role harness.ExchangeRole) pane {
	switch {
	case role == harness.AttackExchange:
		return pane{Title: "Attack", Attack: true}
	case len(earlier) == 0:
		return pane{Title: "Control before"}
	}
	return pane{Title: "Control after"}
}

// opens says which exchanges stand open: those that were changed, the same step of the controls
// beside them, and the last of each pane, which is where the outcome is seen.
func opens(exchanges []harness.Exchange) []bool {
	steps := map[string]bool{}
	for _, x := range exchanges {
		if len(x.Request.Changed) > 0 {
			steps[x.Step] = true
		}
	}
	out := make([]bool, len(exchanges))
	for i, x := range exchanges {
		out[i] = steps[x.Step] || i == len(exchanges)-1 || exchanges[i+1].Role != x.Role
	}
	return out
}

func callOf(x harness.Exchange, space room) call {
	changed := changedNames(x.Request.Changed)
	c := call{
		Step: short(x.Step), Method: short(x.Request.Method), Answer: answer(x.Response),
		Address: address(brief(x.Request.URL, space.value), changed),
		Timing:  timing(x),
		Sent:    sent(x.Request, changed, space), Came: came(x.Response, space), TLS: tlsFacts(x.TLS, changed),
	}
	for _, name := range x.Request.Changed[:min(len(x.Request.Changed), space.fields)] {
		c.Changed = append(c.Changed, short(name))
	}
	return c
}

// changedNames are the names in which something was changed, in lower case: "DPoP.htu" is a change of the header DPoP too.
func changedNames(changed []string) map[string]bool {
	out := map[string]bool{}
	for _, name := range changed {
		name = strings.ToLower(name)
		out[name] = true
		whole, _, _ := strings.Cut(name, ".")
		out[whole] = true
	}
	return out
}

func sent(r harness.ExchangeRequest, changed map[string]bool, space room) message {
	kept, left := clip(r.Body, space.body)
	m := message{Headers: headers(r.Headers, changed, space), Cut: cutNote(left), Tokens: tokens(r.Decoded, space)}
	if form(r) {
		m.Body = parameters(kept, "\n&", changed)
	} else if kept != "" {
		m.Body = []piece{{Text: pretty(kept, left), Changed: changed["body"]}}
	}
	m.Empty = len(m.Headers) == 0 && len(m.Body) == 0 && len(m.Tokens) == 0
	return m
}

func came(r harness.ExchangeResponse, space room) message {
	kept, left := clip(r.Body, space.body)
	m := message{Headers: headers(r.Headers, nil, space), Cut: cutNote(left), Tokens: tokens(r.Decoded, space), Error: short(r.Error)}
	if r.Truncated {
		m.Cut = strings.TrimSpace(m.Cut + " The target sent more than is recorded.")
	}
	if kept != "" {
		m.Body = []piece{{Text: pretty(kept, left)}}
	}
	m.Empty = len(m.Headers) == 0 && len(m.Body) == 0 && len(m.Tokens) == 0 && m.Error == ""
	return m
}

func cutNote(left int) string {
	if left == 0 {
		return ""
	}
	return "Cut: " + size(left) + " more in run.json."
}

// form reports whether the body holds parameters, going by what the request says of itself.
func form(r harness.ExchangeRequest) bool {
	return slices.ContainsFunc(r.Headers, func(f harness.Field) bool {
		return strings.EqualFold(f.Name, "Content-Type") && strings.HasPrefix(strings.ToLower(strings.TrimSpace(f.Value)), "application/x-www-form-urlencoded")
	})
}

// address splits an address at its query, so that changed parameters can be marked.
func address(url string, changed map[string]bool) []piece {
	path, query, found := strings.Cut(url, "?")
	if !found {
		return []piece{{Text: url, Changed: changed["url"] || changed["path"]}}
	}
	out := []piece{{Text: path + "?", Changed: changed["url"] || changed["path"]}}
	return append(out, parameters(query, "&", changed)...)
}

// parameters splits a form or a query into its parameters, so that those that were changed can be marked.
// Joint is how the separator is shown: in a body each parameter has its line.
func parameters(text, joint string, changed map[string]bool) []piece {
	var out []piece
	for i, pair := range strings.Split(text, "&") {
		if i > 0 {
			out = append(out, piece{Text: joint})
		}
		name, _, _ := strings.Cut(pair, "=")
		out = append(out, piece{Text: pair, Changed: changed[strings.ToLower(name)]})
	}
	return out
}

// pretty indents a JSON body that is whole; anything else is shown as it came.
func pretty(body string, left int) string {
	trimmed := strings.TrimSpace(body)
	if left > 0 || !strings.HasPrefix(trimmed, "{") && !strings.HasPrefix(trimmed, "[") {
		return body
	}
	var b bytes.Buffer
	if json.Indent(&b, []byte(trimmed), "", "  ") != nil {
		return body
	}
	return b.String()
}

func headers(fields []harness.Field, changed map[string]bool, space room) []header {
	var out []header
	for i, f := range fields {
		if i == space.fields {
			return append(out, header{Name: "…", Value: count(len(fields)-i, "more field", "more fields") + " in run.json"})
		}
		out = append(out, header{Name: short(f.Name), Value: brief(f.Value, space.value), Changed: changed[strings.ToLower(f.Name)]})
	}
	return out
}

func tokens(decoded []harness.Decoded, space room) []token {
	var out []token
	for _, d := range decoded[:min(len(decoded), space.fields)] {
		t := token{Name: short(d.Name)}
		for _, part := range []tokenPart{{"Header", members(d.Header, space)}, {"Claims", members(d.Claims, space)}} {
			if len(part.Members) > 0 {
				t.Parts = append(t.Parts, part)
			}
		}
		out = append(out, t)
	}
	return out
}

func members(list []harness.Member, space room) []member {
	var out []member
	for _, m := range list[:min(len(list), space.fields)] {
		out = append(out, member{Name: short(m.Name), Value: brief(m.Value, space.value), Change: short(m.Change), Was: brief(m.Was, space.value)})
	}
	return out
}

// tlsFacts tells the handshake. An attack may differ from its control in the certificate alone.
func tlsFacts(t *harness.ExchangeTLS, changed map[string]bool) []header {
	if t == nil {
		return nil
	}
	facts := []header{{Name: "Version", Value: orNone(short(t.Version), "not known")}, {Name: "Certificate", Value: certificate(t), Changed: changed["certificate"]}}
	if t.Thumbprint != "" {
		facts = append(facts, header{Name: "Thumbprint", Value: short(t.Thumbprint), Changed: changed["certificate"]})
	}
	connection := "kept from an earlier exchange"
	if t.FreshConnection {
		connection = "made for this exchange"
	}
	if t.Resumed {
		connection += ", session resumed"
	}
	return append(facts, header{Name: "Connection", Value: connection})
}

func certificate(t *harness.ExchangeTLS) string {
	asked := "not asked for"
	if t.CertificateRequested {
		asked = "asked for"
	}
	if t.CertificatePresented == "" {
		return asked + ", none presented"
	}
	return asked + ", presented: " + short(t.CertificatePresented)
}

func orNone(s, none string) string {
	if s == "" {
		return none
	}
	return s
}

// short bounds text that ought to be short.
func short(s string) string { return brief(s, 2<<10) }

func timing(x harness.Exchange) string {
	if x.Shared {
		return fmt.Sprintf("%d ms, as the control after the check before: nothing was sent in between", x.TookMS)
	}
	return fmt.Sprintf("%d ms, begun at %d ms", x.TookMS, x.OffsetMS)
}
