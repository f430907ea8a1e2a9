package reports

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"

	"github.com/popcheck/popcheck/harness"
)

func renderers() map[string]func(io.Writer, *harness.Run) error {
	return map[string]func(io.Writer, *harness.Run) error{"json": JSON, "junit": JUnit, "html": HTML, "markdown": Markdown}
}

func render(t *testing.T, f func(io.Writer, *harness.Run) error, run *harness.Run) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := f(&b, run); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// hostile is what a target could put anywhere.
const hostile = "</script></style></title></textarea><script>alert(1)</script><img src=x onerror=alert(1)>\"'><a href=\"javascript:alert(1)\">x</a>" +
	"<!--<svg/onload=alert(1)>]]><![CDATA[&lt;\x00\x01\x1b[31m\xff\xfe\u202egnp.exe\u200b\ufeff\u2028\ufffe" +
	"\n::error::forged%0a::error::forged\n##[error]forged\r\n# heading\r| cell | `code` **bold** [text](javascript:alert(1)) ![i](https://evil.example/x.png) https://evil.example www.evil.example @everyone {{.}} ${x} @import url(//evil.example)"

// poison puts the text into every string of the value that has no closed list of words.
func poison(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		if v.Type() == reflect.TypeFor[string]() {
			v.SetString(text + v.String())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				poison(v.Field(i), text)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			poison(v.Index(i), text)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			poison(v.Elem(), text)
		}
	}
}

// hostileRun has the hostile text in every string, keys and ids included.
func hostileRun() *harness.Run {
	run := sampleRun()
	poison(reflect.ValueOf(run).Elem(), hostile)
	run.Schema = harness.RunSchema
	run.BadWaivers = []string{hostile}
	run.Capabilities[hostile] = harness.Capability{Value: hostile, How: hostile}
	for i := range run.Results {
		for j := range run.Results[i].Exchanges {
			for k := range run.Results[i].Exchanges[j].Request.Decoded {
				for _, list := range [][]harness.Member{run.Results[i].Exchanges[j].Request.Decoded[k].Header, run.Results[i].Exchanges[j].Request.Decoded[k].Claims} {
					for m := range list {
						list[m].Change = "changed"
					}
				}
			}
			for k := range run.Results[i].Exchanges[j].Response.Decoded {
				for _, list := range [][]harness.Member{run.Results[i].Exchanges[j].Response.Decoded[k].Header, run.Results[i].Exchanges[j].Response.Decoded[k].Claims} {
					for m := range list {
						list[m].Change = ""
					}
				}
			}
		}
	}
	return run
}

// elements of the template and nothing else; the attributes that each may have.
func allowed() map[string]string {
	return map[string]string{
		"html": "lang dir", "head": "", "meta": "charset http-equiv content name", "title": "", "style": "", "body": "", "header": "class", "main": "id", "footer": "",
		"nav": "aria-label", "section": "class id aria-label aria-labelledby", "article": "class", "h1": "", "h2": "id", "h3": "", "h4": "", "h5": "", "p": "class aria-hidden", "a": "class href rel",
		"ul": "class", "ol": "", "li": "id", "dl": "class", "div": "class", "dt": "", "dd": "class", "span": "class aria-hidden", "strong": "", "b": "", "code": "", "pre": "", "mark": "",
		"details": "class open", "summary": "", "table": "class", "thead": "", "tbody": "", "tr": "id class", "th": "scope colspan", "td": "class colspan",
		"svg": "viewBox preserveAspectRatio aria-hidden", "rect": "class x y width height",
	}
}

func parsed(t *testing.T, page []byte) []*html.Node {
	t.Helper()
	doc, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var nodes []*html.Node
	for n := range doc.Descendants() {
		nodes = append(nodes, n)
	}
	return nodes
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func TestHostileTextIsInertInHTML(t *testing.T) {
	t.Parallel()
	page := render(t, HTML, hostileRun())
	kinds := allowed()
	inside := regexp.MustCompile(`^https://datatracker\.ietf\.org/doc/html/(rfc\d+|draft-ietf-oauth-v2-1-\d+)(#(section|appendix)-[0-9A-Z.]+)?$`)
	for _, n := range parsed(t, page) {
		switch n.Type {
		case html.CommentNode:
			t.Errorf("a comment: %.80q", n.Data)
		case html.ElementNode:
			attributes, known := kinds[n.Data]
			if !known {
				t.Errorf("an element <%s>", n.Data)
			}
			for _, a := range n.Attr {
				if !slices.Contains(strings.Fields(attributes), a.Key) {
					t.Errorf("<%s> has an attribute %q", n.Data, a.Key)
				}
				if a.Key == "href" && !strings.HasPrefix(a.Val, "#") && !inside.MatchString(a.Val) {
					t.Errorf("an address %.80q", a.Val)
				}
				if a.Key == "class" && strings.ContainsAny(a.Val, "<>\"'") {
					t.Errorf("a class %.80q", a.Val)
				}
			}
			if n.Data == "style" && n.FirstChild.Data != reportCSS {
				t.Error("the style is not the style sheet")
			}
		}
	}
	if !bytes.Contains(page, []byte("&lt;script&gt;alert(1)")) {
		t.Error("the hostile text is not shown at all")
	}
	assertVisible(t, page)
}

// assertVisible fails on bytes that are no UTF-8 and on characters that act on a display.
func assertVisible(t *testing.T, page []byte) {
	t.Helper()
	if !utf8.Valid(page) {
		t.Error("not UTF-8")
	}
	for i, r := range string(page) {
		if r != '\n' && r != '\t' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			t.Fatalf("the character %U at byte %d", r, i)
		}
	}
}

func TestAddressesAreOfClausesOnly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		clause harness.Clause
		want   string
	}{
		{harness.Clause{Spec: "RFC 9449", Section: "4.3", Item: "9"}, "https://datatracker.ietf.org/doc/html/rfc9449#section-4.3"},
		{harness.Clause{Spec: "RFC 7636", Section: "App. A"}, "https://datatracker.ietf.org/doc/html/rfc7636#appendix-A"},
		{harness.Clause{Spec: "RFC 7636", Section: "Appendix B.1"}, "https://datatracker.ietf.org/doc/html/rfc7636#appendix-B.1"},
		{harness.Clause{Spec: "RFC 7636"}, "https://datatracker.ietf.org/doc/html/rfc7636"},
		{harness.Clause{Spec: "OAuth 2.1 draft-16", Section: "7.5.3"}, "https://datatracker.ietf.org/doc/html/draft-ietf-oauth-v2-1-16#section-7.5.3"},
		{harness.Clause{Spec: "FAPI 2.0 SP", Section: "5.3.4"}, ""},
		{harness.Clause{Spec: "javascript:alert(1)//RFC 9449", Section: "1"}, ""},
		{harness.Clause{Spec: "RFC 9449", Section: "1\"><script>"}, "https://datatracker.ietf.org/doc/html/rfc9449"},
		{harness.Clause{Spec: "RFC 9449\n", Section: "1"}, ""},
	} {
		if got := clauseURL(c.clause); got != c.want {
			t.Errorf("%v: %q, want %q", c.clause, got, c.want)
		}
	}
}

func TestHostileTextIsInertInJUnit(t *testing.T) {
	t.Parallel()
	page := render(t, JUnit, hostileRun())
	assertVisible(t, page)
	dec := xml.NewDecoder(bytes.NewReader(page))
	known := strings.Fields("testsuites testsuite testcase properties property failure error skipped system-out")
	for {
		token, err := dec.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			if !slices.Contains(known, e.Name.Local) {
				t.Errorf("an element <%s>", e.Name.Local)
			}
		case xml.Comment, xml.Directive:
			t.Errorf("%T", e)
		}
	}
}

func TestHostileTextIsInertInMarkdown(t *testing.T) {
	t.Parallel()
	page := render(t, Markdown, hostileRun())
	assertVisible(t, page)
	outside := regexp.MustCompile("`[^`\n]*`")
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(strings.TrimSpace(line), "::") || strings.HasPrefix(strings.TrimSpace(line), "##[") {
			t.Errorf("a command: %.80q", line)
		}
		text := outside.ReplaceAllString(line, "")
		for _, address := range regexp.MustCompile(`(?i)\w+://\S+|www\.|javascript:`).FindAllString(text, -1) {
			u, err := url.Parse(strings.TrimRight(address, ")|"))
			if err != nil || u.Host != "datatracker.ietf.org" {
				t.Errorf("an address %.80q", address)
			}
		}
		if strings.Contains(text, "<") {
			t.Errorf("markup: %.80q", text)
		}
		for _, sign := range regexp.MustCompile(`(^|[^\\])(!\[|\$\{|@)`).FindAllString(text, -1) {
			t.Errorf("%q in %.200q", sign, text)
		}
	}
}

func TestLongBodiesAreCutAndThatIsSaid(t *testing.T) {
	t.Parallel()
	run := sampleRun()
	const long = 10 << 20
	for i := range run.Results {
		if r := &run.Results[i]; len(r.Exchanges) > 0 && (r.Key == "dpop-htu-host@resource/spa" || r.Key == "dpop-signature@resource/spa") {
			r.Exchanges[1].Response.Body = strings.Repeat("<é>", long/4)
			r.Reason = strings.Repeat("x", 1<<20)
		}
	}
	page := render(t, HTML, run)
	if len(page) > 2<<20 {
		t.Errorf("the page has %d bytes", len(page))
	}
	if bytes.Count(page, []byte("Cut: 10.0 MiB more in run.json")) != 2 {
		t.Error("the cut is not said")
	}
	for _, f := range []func(io.Writer, *harness.Run) error{JUnit, Markdown} {
		if n := len(render(t, f, run)); n > 1<<20 {
			t.Errorf("%d bytes", n)
		}
	}
}

// manyRun has n results with eight exchanges of some kilobytes each.
func manyRun(n int) *harness.Run {
	run := cleanRun()
	one := run.Results[0]
	for len(one.Exchanges) < 8 {
		one.Exchanges = append(one.Exchanges, one.Exchanges[0])
	}
	one.Exchanges = slices.Clone(one.Exchanges[:8])
	for i := range one.Exchanges {
		one.Exchanges[i].Response.Body = strings.Repeat("a line of the body\n", 110)
	}
	run.Results = nil
	for i := range n {
		r := one
		r.Key = one.Key + "/" + strings.Repeat("v", i%7) + string(rune('a'+i%26)) + strings.Repeat("w", i/26)
		r.Verdict = harness.Verdicts()[i%5]
		run.Results = append(run.Results, r)
	}
	summarise(run)
	return run
}

func TestManyResultsStayReadable(t *testing.T) {
	t.Parallel()
	for _, n := range []int{300, 1500} {
		if size := len(render(t, HTML, manyRun(n))); size > 14<<20 || n == 300 && size > 10<<20 {
			t.Errorf("%d results: %d bytes", n, size)
		}
	}
	if !bytes.Contains(render(t, HTML, manyRun(1500)), []byte("Left out to keep this page readable")) {
		t.Error("evidence was left out, and that is not said")
	}
	summary := render(t, Markdown, manyRun(8000))
	if len(summary) >= 1<<20 || !bytes.Contains(summary, []byte("Cut here:")) {
		t.Errorf("the summary has %d bytes, or does not say that it is cut", len(summary))
	}
}

func TestMarkdownShowsTextAsItIs(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a sentence: plain, with (some) signs.": "a sentence: plain, with (some) signs.",
		"a|b\\|c":                               "a\\|b\\\\\\|c",
		"<b>&amp;":                              "&lt;b&gt;&amp;amp;",
		"https://x www.x @x ::error::":          "https\\://x www\\.x \\@x \\:\\:error\\::",
		"two\n# lines":                          "two \\# lines",
	} {
		if got := prose(in); got != want {
			t.Errorf("prose(%q) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{"a@b/c": "`a@b/c`", "": "", "a`b": "a\\`b", "a|b": "a\\|b", "a\\": "a\\\\"} {
		if got := code(in); got != want {
			t.Errorf("code(%q) = %q, want %q", in, got, want)
		}
	}
}
