package reports

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/popcheck/popcheck/harness"
)

func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func TestPolicyAllowsTheStyleAndNothingElse(t *testing.T) {
	t.Parallel()
	var policy, style string
	for _, n := range parsed(t, render(t, HTML, sampleRun())) {
		switch {
		case n.Data == "meta" && attribute(n, "http-equiv") == "Content-Security-Policy":
			policy = attribute(n, "content")
		case n.Type == html.ElementNode && n.Data == "style":
			style = n.FirstChild.Data
		}
	}
	sum := sha256.Sum256([]byte(style))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
	if policy != want {
		t.Errorf("policy %q, want %q", policy, want)
	}
	if strings.Contains(style, "url(") || strings.Contains(style, "@import") {
		t.Error("the style fetches something")
	}
}

func TestEveryKeyHasOnePlaceAndEveryLinkAnEnd(t *testing.T) {
	t.Parallel()
	for _, run := range []*harness.Run{sampleRun(), cleanRun(), hostileRun(), {Schema: harness.RunSchema}} {
		ids := map[string]int{}
		nodes := parsed(t, render(t, HTML, run))
		for _, n := range nodes {
			if id := attribute(n, "id"); id != "" {
				ids[id]++
			}
		}
		for id, n := range ids {
			if n != 1 {
				t.Errorf("%d elements have the id %.80q", n, id)
			}
		}
		for _, n := range nodes {
			if href := attribute(n, "href"); strings.HasPrefix(href, "#") {
				name, err := url.PathUnescape(href[1:])
				if err != nil || ids[name] == 0 {
					t.Errorf("nothing at %.80q (%v)", href, err)
				}
			}
		}
	}
	page := parsed(t, render(t, HTML, sampleRun()))
	for _, r := range sampleRun().Results {
		if !slices.ContainsFunc(page, func(n *html.Node) bool { return attribute(n, "id") == r.Key }) {
			t.Errorf("%s has no place", r.Key)
		}
	}
}

func TestHeadingsAndTablesAreAccessible(t *testing.T) {
	t.Parallel()
	for _, run := range []*harness.Run{sampleRun(), cleanRun(), {Schema: harness.RunSchema}} {
		before := 0
		for _, n := range parsed(t, render(t, HTML, run)) {
			if n.Type != html.ElementNode {
				continue
			}
			if m := regexp.MustCompile(`^h([1-6])$`).FindStringSubmatch(n.Data); m != nil {
				level, _ := strconv.Atoi(m[1])
				if level > before+1 {
					t.Errorf("<h%d> %q follows <h%d>", level, text(n), before)
				}
				before = level
			}
			if n.Data == "th" && attribute(n, "scope") == "" {
				t.Errorf("a header without scope: %q", text(n))
			}
			if n.Data == "html" && attribute(n, "lang") != "en" {
				t.Error("no language")
			}
		}
	}
}

func TestEvidenceStandsBetweenItsControls(t *testing.T) {
	t.Parallel()
	for _, n := range parsed(t, render(t, HTML, sampleRun())) {
		if attribute(n, "id") != "dpop-htu-host@resource/spa" {
			continue
		}
		var sides []string
		for d := range n.Descendants() {
			if attribute(d, "class") == "side" {
				sides = append(sides, text(d))
			}
		}
		if !slices.Equal(sides, []string{"Control before", "Attack", "Control after"}) {
			t.Errorf("panes %v", sides)
		}
		for _, want := range []string{`"https://evil.example/token" changed, was "https://api.example.com/accounts"`, "Changed: DPoP.htu", "TLS VersionTLS 1.3"} {
			if !strings.Contains(text(n), want) {
				t.Errorf("no %q", want)
			}
		}
		return
	}
	t.Error("the result is not in the page")
}

func TestEvidenceWithoutAnAttack(t *testing.T) {
	t.Parallel()
	r := harness.Result{Exchanges: []harness.Exchange{{Role: harness.ControlExchange}, {Role: harness.ControlExchange}}}
	e := show(r, wideRoom(), &ledger{left: pageBudget})
	if len(e.Panes) != 1 || e.Panes[0].Title != "Honest calls" || e.Summary != "Evidence: 2 exchanges" {
		t.Errorf("%+v", e)
	}
	if show(harness.Result{}, wideRoom(), &ledger{}) != nil {
		t.Error("evidence of nothing")
	}
}

func TestChangedParametersAreMarked(t *testing.T) {
	t.Parallel()
	x := harness.Exchange{Role: harness.AttackExchange, Request: harness.ExchangeRequest{Method: "POST", URL: "https://as.example.com/par?a=1&code=2",
		Headers: []harness.Field{{Name: "content-type", Value: "application/x-www-form-urlencoded;charset=UTF-8"}, {Name: "dpop", Value: "x"}},
		Body:    "code=1&code_verifier=2", Changed: []string{"code_verifier", "DPoP.htu", "code"}}}
	c := callOf(x, wideRoom())
	var marked []string
	for _, p := range slices.Concat(c.Address, c.Sent.Body) {
		if p.Changed {
			marked = append(marked, p.Text)
		}
	}
	if want := []string{"code=2", "code=1", "code_verifier=2"}; !slices.Equal(marked, want) {
		t.Errorf("marked %q, want %q", marked, want)
	}
	if c.Sent.Headers[0].Changed || !c.Sent.Headers[1].Changed {
		t.Errorf("headers %+v", c.Sent.Headers)
	}
}

// Every pair of ink and ground in the style sheet must be readable: WCAG 2 AA, in both schemes and in print.
func TestContrast(t *testing.T) {
	t.Parallel()
	for i, scheme := range regexp.MustCompile(`(?s):root \{(.*?)\n\s*\}`).FindAllStringSubmatch(reportCSS, -1) {
		colour := map[string]string{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6})`).FindAllStringSubmatch(scheme[1], -1) {
			colour[m[1]] = m[2]
		}
		pairs := [][2]string{{"ink", "paper"}, {"ink", "sheet"}, {"quiet", "paper"}, {"quiet", "sheet"}, {"link", "paper"}, {"link", "sheet"}, {"fail-ink", "sheet"}, {"mark-ink", "mark-bg"}, {"mark-ink", "sheet"}, {"mark-ink", "paper"}}
		for _, v := range harness.Verdicts() {
			pairs = append(pairs, [2]string{string(v) + "-ink", string(v) + "-bg"})
		}
		for _, p := range pairs {
			if ratio := contrast(t, colour[p[0]], colour[p[1]]); ratio < 4.5 {
				t.Errorf("scheme %d: %s on %s is %.2f", i, p[0], p[1], ratio)
			}
		}
	}
}

func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	luminance := func(colour string) float64 {
		n, err := strconv.ParseUint(strings.TrimPrefix(colour, "#"), 16, 32)
		if err != nil {
			t.Fatalf("no colour %q", colour)
		}
		part := func(c uint64) float64 {
			f := float64(c&0xff) / 255
			if f <= 0.04045 {
				return f / 12.92
			}
			return math.Pow((f+0.055)/1.055, 2.4)
		}
		return 0.2126*part(n>>16) + 0.7152*part(n>>8) + 0.0722*part(n)
	}
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func TestTheReferenceTargetAndItsFaultAreSaid(t *testing.T) {
	t.Parallel()
	for name, f := range renderers() {
		if name == "json" {
			continue // its members file and fault say it
		}
		page := render(t, f, embeddedRun())
		for _, want := range []string{"own reference target", "dpop-htu-host-ignored"} {
			if !bytes.Contains(page, []byte(want)) {
				t.Errorf("%s: no %q", name, want)
			}
		}
		if bytes.Contains(render(t, f, sampleRun()), []byte("own reference target")) {
			t.Errorf("%s: another target is called the reference target", name)
		}
	}
}
