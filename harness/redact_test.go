package harness

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"math/rand/v2"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// redactForm is one way in which a secret may be written.
type redactForm struct {
	name   string
	encode func(string) string
}

func everyByte(s, format string) string {
	var out strings.Builder
	for _, b := range []byte(s) {
		fmt.Fprintf(&out, format, b)
	}
	return out.String()
}

func jsonQuoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b[1 : len(b)-1])
}

var percentPair = regexp.MustCompile(`%[0-9A-F]{2}`)

// redactForms are those that keep their surroundings as they are; blobs hold more than the secret.
var redactForms = []redactForm{
	{"raw", func(s string) string { return s }},
	{"query", url.QueryEscape},
	{"path", url.PathEscape},
	{"query, lower hex", func(s string) string { return percentPair.ReplaceAllStringFunc(url.QueryEscape(s), strings.ToLower) }},
	{"query twice", func(s string) string { return url.QueryEscape(url.QueryEscape(s)) }},
	{"query four times", func(s string) string {
		return url.QueryEscape(url.QueryEscape(url.QueryEscape(url.QueryEscape(s))))
	}},
	{"every byte percent", func(s string) string { return everyByte(s, "%%%02X") }},
	{"every byte percent twice", func(s string) string { return everyByte(s, "%%25%02x") }},
	{"HTML", html.EscapeString},
	{"HTML twice", func(s string) string { return html.EscapeString(html.EscapeString(s)) }},
	{"HTML decimal", func(s string) string {
		var out strings.Builder
		for _, c := range s {
			fmt.Fprintf(&out, "&#%d;", c)
		}
		return out.String()
	}},
	{"HTML hex", func(s string) string {
		var out strings.Builder
		for _, c := range s {
			fmt.Fprintf(&out, "&#x%X;", c)
		}
		return out.String()
	}},
	{"HTML of query", func(s string) string { return html.EscapeString(url.QueryEscape(s)) }},
	{"JSON", jsonQuoted},
	{"JSON twice", func(s string) string { return jsonQuoted(jsonQuoted(s)) }},
	{"JSON with slashes", func(s string) string { return strings.ReplaceAll(jsonQuoted(s), "/", `\/`) }},
	{"JSON ASCII", func(s string) string { q := strconv.QuoteToASCII(s); return q[1 : len(q)-1] }},
	{"every byte \\x", func(s string) string { return everyByte(s, `\x%02x`) }},
	{"JSON of HTML of query", func(s string) string { return jsonQuoted(html.EscapeString(url.QueryEscape(s))) }},
	{"hex", func(s string) string { return hex.EncodeToString([]byte(s)) }},
	{"HEX", func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) }},
	{"base64", func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }},
	{"base64 raw", func(s string) string { return base64.RawStdEncoding.EncodeToString([]byte(s)) }},
	{"base64url", func(s string) string { return base64.URLEncoding.EncodeToString([]byte(s)) }},
	{"base64url raw", func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }},
	{"base64 at 1", func(s string) string { return base64.StdEncoding.EncodeToString([]byte("a" + s + "bc")) }},
	{"base64 at 2", func(s string) string { return base64.StdEncoding.EncodeToString([]byte("ab" + s + "c")) }},
	{"base64 of random bytes around", func(s string) string {
		return base64.StdEncoding.EncodeToString([]byte("\x00\xff\x80" + s + "\xfe\x01"))
	}},
	{"Basic", func(s string) string { return base64.StdEncoding.EncodeToString([]byte("web:" + url.QueryEscape(s))) }},
	{"query of base64", func(s string) string {
		return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte("x" + s)))
	}},
	{"base64 of JSON", func(s string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(`{"state":"` + jsonQuoted(s) + `"}`))
	}},
	{"base64 three times", func(s string) string {
		for range 3 {
			s = base64.RawURLEncoding.EncodeToString([]byte("x " + s))
		}
		return s
	}},
	{"hex of base64 of query", func(s string) string {
		return hex.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(s)))))
	}},
	{"base64 in lines", func(s string) string {
		blob := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("before ", 9) + s + strings.Repeat(" after", 9)))
		var lines []string
		for ; len(blob) > 64; blob = blob[64:] {
			lines = append(lines, blob[:64])
		}
		return strings.Join(append(lines, blob), "\n")
	}},
}

// redactPlaces put a form somewhere; what stands around it ends a run of base64.
var redactPlaces = []string{"%s", "before %s after", "?code=%s&state=1", `{"a":"%s","b":2}`, "<b>%s</b>", "line\n%s\nline", "a=%s; b", "(%s", "%s)"}

var redactSecrets = map[string]string{
	"plain":       "Zq8x-Lw0pT3_vB7nK5mYdR2s",
	"base64-like": "q/7+Zk3+aa/Lw0pT3vB7nK5mYdR2s==",
	"specials":    `p&s "w+rd<%41>\u0042 é/ü`,
	"escaped":     "%2541%42&amp;x&#65;yz",
	"four":        "x9Q#",
	"space":       "correct horse battery staple",
	"other":       "пароль-пароль",
}

// leaks looks for value in text without the code under test: it decodes what is there in every order
// that standard decoders offer, to a small depth.
func leaks(text, value string, depth int) bool {
	if strings.Contains(text, value) || strings.Contains(strings.ReplaceAll(text, "+", " "), strings.ReplaceAll(value, "+", " ")) {
		return true
	}
	if depth == 0 {
		return false
	}
	next := map[string]bool{html.UnescapeString(text): true}
	if s, err := url.QueryUnescape(text); err == nil {
		next[s] = true
	}
	if s, err := url.PathUnescape(text); err == nil {
		next[s] = true
	}
	var s string
	if json.Unmarshal([]byte(`"`+text+`"`), &s) == nil {
		next[s] = true
	}
	for _, run := range leakRun.FindAllString(text, -1) {
		if len(run) < 6 {
			continue
		}
		plain := strings.NewReplacer("-", "+", "_", "/").Replace(run)
		for off := range 4 {
			rest := plain[off:]
			for len(rest)%4 == 1 {
				rest = rest[:len(rest)-1]
			}
			if b, err := base64.RawStdEncoding.DecodeString(rest); err == nil {
				next[string(b)] = true
			}
		}
		if b, err := hex.DecodeString(run); err == nil {
			next[string(b)] = true
		}
	}
	for s := range next {
		if s != text && leaks(s, value, depth-1) {
			return true
		}
	}
	return false
}

var leakRun = regexp.MustCompile(`[A-Za-z0-9+/_-]+`)

func checkRedacted(t *testing.T, r *Redactor, in string, secrets ...string) string {
	t.Helper()
	out := r.Text(in)
	if again := r.Text(out); again != out {
		t.Errorf("not idempotent:\n in   %q\n out  %q\n then %q", in, out, again)
	}
	if names := r.Contains(out); len(names) > 0 {
		t.Errorf("Contains finds %v in the output\n in  %q\n out %q", names, in, out)
	}
	rest := out
	for _, s := range secrets {
		rest = strings.ReplaceAll(rest, r.Name(s), "⟨⟩")
	}
	for _, s := range secrets {
		if len(s) >= indexedBytes && leaks(rest, s, 3) {
			t.Errorf("%q leaks\n in  %q\n out %q", s, in, out)
		}
	}
	if !utf8.ValidString(out) {
		t.Errorf("not UTF-8: %q", out)
	}
	for _, c := range out {
		if unicode.IsControl(c) && c != '\n' && c != '\t' || unicode.Is(unicode.Bidi_Control, c) {
			t.Errorf("%U in %q", c, out)
		}
	}
	return out
}

func TestRedactEveryFormInEveryPlace(t *testing.T) {
	for label, secret := range redactSecrets {
		r := NewRedactor()
		name := r.Register("password", secret)
		for _, form := range redactForms {
			for _, place := range redactPlaces {
				in := fmt.Sprintf(strings.ReplaceAll(place, "%s", "%[1]s"), form.encode(secret))
				t.Run(label+"/"+form.name+"/"+place, func(t *testing.T) {
					out := checkRedacted(t, r, in, secret)
					if !strings.Contains(out, name) {
						t.Errorf("no name in %q\n in %q", out, in)
					}
					if got := r.Contains(in); len(got) != 1 || got[0] != name {
						t.Errorf("Contains(%q) = %q", in, got)
					}
				})
			}
		}
	}
}

func TestRedactKeepsWhatStandsAround(t *testing.T) {
	r := NewRedactor()
	secret := `p&s "w+rd<%41>/é`
	name := r.Register("password", secret)
	for _, form := range redactForms {
		code := form.encode(secret)
		in := "before=(" + code + ")&after=50%25&amp;"
		want := "before=(" + name + ")&after=50%25&amp;"
		enc := "before=(⟨encoded: contains " + name + "⟩)&after=50%25&amp;"
		if out := r.Text(in); out != want && out != enc {
			t.Errorf("%s: %q became %q", form.name, in, out)
		}
	}
}

func TestRedactNames(t *testing.T) {
	r := NewRedactor()
	a, b := r.Register("access_token", "value-one-1"), r.Register("access_token", "value-two-2")
	grammar := regexp.MustCompile(`^⟨access_token#([12]) hmac:[0-9a-f]{8}⟩$`)
	if !grammar.MatchString(a) || !grammar.MatchString(b) || a == b {
		t.Errorf("names %q and %q", a, b)
	}
	if got := r.Register("code", "value-one-1"); got != a {
		t.Errorf("registered again: %q", got)
	}
	if got := r.Register("code", ""); got != "" || r.Name("") != "" || r.Text("") != "" {
		t.Errorf("empty: %q", got)
	}
	if r.Name("value-two-2") != b || r.Name("value") != "" {
		t.Error("Name")
	}
	if odd := r.Register("a ⟩\x1bé", "another value"); !regexp.MustCompile(`^⟨[a-z_]+#1 hmac:[0-9a-f]{8}⟩$`).MatchString(odd) {
		t.Errorf("kind not cleaned: %q", odd)
	}
	other := NewRedactor().Register("access_token", "value-one-1")
	if other == a {
		t.Error("two runs give the same name")
	}
	type holder struct{ R *Redactor }
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		if dump := fmt.Sprintf(verb, holder{r}) + fmt.Sprintf(verb, r); strings.Contains(dump, "value-one") {
			t.Errorf("%s prints %s", verb, dump)
		}
	}
}

func testJWT(seed string) (token string, parts []string) {
	enc := base64.RawURLEncoding.EncodeToString
	parts = []string{
		enc([]byte(`{"alg":"ES256","typ":"dpop+jwt"}`)),
		enc([]byte(`{"htm":"POST","jti":"` + seed + `"}`)),
		enc(bytes.Repeat([]byte(seed), 8)[:64]),
	}
	return strings.Join(parts, "."), parts
}

func TestRedactTokenParts(t *testing.T) {
	r := NewRedactor()
	token, parts := testJWT("0123456789")
	name := r.Register("dpop_proof", token)
	for _, part := range []string{token, parts[0] + "." + parts[1], parts[1], parts[2], parts[1] + "." + parts[2]} {
		if out := checkRedacted(t, r, "a "+part+" z", token, parts[1], parts[2]); !strings.Contains(out, name) || strings.Contains(out, parts[2]) {
			t.Errorf("%q became %q", part, out)
		}
	}
	if out := r.Text("DPoP: " + token + "\n"); out != "DPoP: "+name+"\n" {
		t.Errorf("became %q", out)
	}
	for _, free := range []string{parts[0], "a " + parts[0] + " z", parts[0] + ".", parts[0][:20], "x " + parts[0]} {
		if out := r.Text(free); out != free {
			t.Errorf("the header alone: %q became %q", free, out)
		}
	}
	if r.Register("signature", parts[2]) != name {
		t.Error("a part has another name than its token")
	}
	jwe := "eyJhbGciOiJkaXIifQ..MTIzNDU2Nzg5MDEyMzQ1Ng.Y2lwaGVydGV4dC1jaXBoZXJ0ZXh0.dGFnLXRhZy10YWctdGFn"
	name = r.Register("id_token", jwe)
	for _, part := range strings.Split(jwe, ".")[2:] {
		if out := r.Text("a " + part + " z"); out != "a "+name+" z" {
			t.Errorf("JWE part %q became %q", part, out)
		}
	}
}

func TestRedactKeys(t *testing.T) {
	r := NewRedactor()
	der := make([]byte, 200)
	rand.NewChaCha8([32]byte{1}).Read(der)
	body := base64.StdEncoding.EncodeToString(der)
	file := "-----BEGIN PRIVATE KEY-----\n"
	var lines []string
	for rest := body; rest != ""; rest = rest[min(64, len(rest)):] {
		lines = append(lines, rest[:min(64, len(rest))])
	}
	file += strings.Join(lines, "\n") + "\n-----END PRIVATE KEY-----\n"
	cert := "MIIBcertificatecertificatecertificatecertificatecertificate"
	file += "-----BEGIN CERTIFICATE-----\n" + cert + "\n-----END CERTIFICATE-----\n"
	name := r.Register("private_key", file)
	wide := body[:76] + "\n" + body[76:152] + "\n" + body[152:]
	for _, form := range []string{file, strings.TrimSpace(file), strings.ReplaceAll(file, "\n", "\r\n"), body, lines[0], lines[1], wide,
		jsonQuoted(file), url.QueryEscape(file), hex.EncodeToString(der), strings.Join(lines, " "),
		base64.StdEncoding.EncodeToString([]byte(file))} {
		out := checkRedacted(t, r, "x: "+form+" .", file, body, lines[0], lines[1])
		if !strings.Contains(out, name) {
			t.Errorf("%q became %q", form, out)
		}
		for _, line := range lines[:3] {
			if strings.Contains(out, line) {
				t.Errorf("a line of the key is left in %q", out)
			}
		}
	}
	for _, free := range []string{"-----BEGIN PRIVATE KEY-----", cert, "-----END CERTIFICATE-----"} {
		if out := r.Text(free); out != free {
			t.Errorf("%q became %q", free, out)
		}
	}
	jwk := `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}`
	name = r.Register("private_key", jwk)
	if out := r.Text(`"d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI" "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"`); out != `"d": "`+name+`" "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"` {
		t.Errorf("became %q", out)
	}
}

func TestRedactShortAndCommonSecrets(t *testing.T) {
	r := NewRedactor()
	abc, a, code, openid := r.Register("password", "abc"), r.Register("pin", "7"), r.Register("password", "code"), r.Register("password", "openid")
	for in, want := range map[string]string{
		"abc":                        abc,
		"abcd xabc éabc abcé":        "abcd xabc éabc abcé",
		"p=abc&q=abc7":               "p=" + abc + "&q=abc7",
		"(7) 77 7":                   "(" + a + ") 77 " + a,
		`{"p":"\nabc"}`:              `{"p":"\n` + abc + `"}`,
		"code=decoded scope=openids": code + "=de" + code + "d scope=" + openid + "s",
		"d2ViOmFiYw==":               "⟨encoded: contains " + abc + "⟩", // web:abc
		code + openid:                code + openid,
		"⟨code#1 hmac:00000000⟩":     "⟨" + code + "#1 hmac:00000000⟩",
		"⟨part of code⟩":             "⟨part of " + code + "⟩",
	} {
		if out := checkRedacted(t, r, in, "openid"); out != want {
			t.Errorf("%q became %q, want %q", in, out, want)
		}
	}
	// Names hold the words that are secrets: "encoded", "contains", "hmac", the kinds.
	for _, word := range []string{"encoded", "contains", "hmac", "password", "unreadable", "part", "part of", "⟩", "⟨", "#1 h"} {
		r.Register("password", word)
	}
	in := "code openid abc " + base64.StdEncoding.EncodeToString([]byte("code and openid and abc"))
	out := checkRedacted(t, r, in)
	if want := code + " " + openid + " " + abc + " ⟨encoded: contains " + abc + ", " + code + ", " + openid + "⟩"; out != want {
		t.Errorf("became %q, want %q", out, want)
	}
}

func TestRedactOverlaps(t *testing.T) {
	r := NewRedactor()
	one, two, three := r.Register("a", "abcdefgh"), r.Register("b", "abcdefghijkl"), r.Register("c", "klmnopqr")
	inner := r.Register("d", "efgh")
	for in, want := range map[string]string{
		"-abcdefgh-":           "-" + one + "-",
		"-abcdefghijkl-":       "-" + two + "-",
		"-abcdefghijk-":        "-" + one + "ijk-",
		"-abcdefghijklmnopqr-": "-" + two + "⟨part of " + three + "⟩-",
		"-xefghx-":             "-x" + inner + "x-",
		"abcdefghabcdefgh":     one + one,
	} {
		if out := checkRedacted(t, r, in, "abcdefgh", "klmnopqr"); out != want {
			t.Errorf("%q became %q, want %q", in, out, want)
		}
	}
	if got := r.Contains("abcdefghijklmnopqr"); strings.Join(got, "") != one+two+three+inner {
		t.Errorf("Contains = %q", got)
	}
}

func TestRedactFragments(t *testing.T) {
	r := NewRedactor()
	secret := "Zq8x-Lw0pT3&vB7nK5mYdR2s"
	name := r.Register("access_token", secret)
	part := "⟨part of " + name + "⟩"
	for in, want := range map[string]string{
		"token=" + secret[:8]:                   "token=" + part,
		"token=" + secret[:23]:                  "token=" + part,
		"token=" + secret[:7]:                   "token=" + secret[:7],
		"token=" + secret[:12] + " more":        "token=" + secret[:12] + " more",
		secret[10:] + "&x":                      part + "&x",
		secret[18:] + "&x":                      secret[18:] + "&x",
		"token=" + url.QueryEscape(secret[:14]): "token=" + part,
		"token=" + secret[:11] + "%2":           "token=" + part,
		"token=" + secret[:11] + `\u00`:         "token=" + part,
		"token=" + secret[:11] + `&am`:          "token=" + part,
		"b=" + base64.StdEncoding.EncodeToString([]byte("web:" + secret))[:21]: "b=⟨encoded: contains " + name + "⟩",
	} {
		if out := checkRedacted(t, r, in, secret); out != want {
			t.Errorf("%q became %q, want %q", in, out, want)
		}
	}
	// Whatever the limit, no more than seven bytes of it stay.
	for _, form := range redactForms[:30] {
		full := "before: " + form.encode(secret)
		for cut := range full {
			out := r.Text(full[:cut])
			if leaks(strings.ReplaceAll(out, name, ""), secret[:minFragment+2], 2) {
				t.Fatalf("%s: %q became %q", form.name, full[:cut], out)
			}
		}
	}
	uri := r.Register("request_uri", "urn:ietf:params:oauth:request_uri:6esc_11ACC5bwc014ltc14eY22c")
	for in, want := range map[string]string{
		"expected urn:ietf:params:oauth:request_uri:": "expected urn:ietf:params:oauth:request_uri:",
		"urn:ietf:params:oauth:request_uri:6esc_11AC": "⟨part of " + uri + "⟩",
	} {
		if out := r.Text(in); out != want {
			t.Errorf("%q became %q", in, out)
		}
	}
}

func TestRedactLeavesInnocentTextAlone(t *testing.T) {
	r := NewRedactor()
	for i := range 300 {
		token, _ := testJWT(fmt.Sprintf("%010d", i))
		r.Register("proof", token)
		r.Register("code", fmt.Sprintf("code-%03d", i))
	}
	r.Register("password", "a1")
	source := rand.NewChaCha8([32]byte{7})
	key := make([]byte, 3000)
	for range 50 {
		source.Read(key)
		text := base64.StdEncoding.EncodeToString(key) + " " + base64.RawURLEncoding.EncodeToString(key[:33]) + ". " + hex.EncodeToString(key) + " end"
		if out := r.Text(text); out != text {
			t.Fatalf("%q became %q", text, out)
		}
	}
	for _, text := range []string{
		`{"jwks":[{"kty":"EC","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"}]}`,
		"https://as.example.com/authorize?scope=openid+profile&return_to=%2Fcb%3Fx%3D%252F1%25261",
		"é ✓ 漢字 &amp; &lt; \\u003c 100% \\ \t\n",
		base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte("some innocent text, encoded twice")))),
	} {
		if out := r.Text(text); out != text {
			t.Errorf("%q became %q", text, out)
		}
	}
}

func TestRedactTooDeep(t *testing.T) {
	r := NewRedactor()
	secret := "Zq8x-Lw0pT3_vB7nK5mYdR2s"
	r.Register("access_token", secret)
	four := secret
	for range 4 {
		four = base64.RawURLEncoding.EncodeToString([]byte(four))
	}
	nine := secret
	for range 12 {
		nine = url.QueryEscape("&" + nine)
	}
	deep := "%" + strings.Repeat("25", 20) + "5A" + secret[1:]
	for _, in := range []string{four, nine, deep} {
		out := checkRedacted(t, r, "a="+in+" b", secret)
		if !strings.HasSuffix(out, unreadableLabel+" b") && !strings.Contains(out, r.Name(secret)) {
			t.Errorf("%q became %q", in, out)
		}
		if got := r.Contains(in); len(got) == 0 {
			t.Errorf("Contains(%q) says nothing", in)
		}
	}
}

func TestRedactMakesTextPrintable(t *testing.T) {
	r := NewRedactor()
	name := r.Register("cookie", "line\nbreak")
	for in, want := range map[string]string{
		"\x1b[31mred\x07\x00\x7f":     "␛[31mred␇␀␡",
		"a\r\nb\rc\n\td":              "a\nb␍c\n\td",
		"\u009b31m \u0085":            "\ufffd31m \ufffd",
		"\xff\xfea\xe2\x9f":           "\ufffd\ufffda\ufffd\ufffd",
		"\u202eabc\u2066\u2069\u200f": "\ufffdabc\ufffd\ufffd\ufffd",
		"x line\r\nbreak":             "x " + name,
		"x line%0D%0Abreak":           "x " + name,
	} {
		if out := checkRedacted(t, r, in, "line\nbreak"); out != want {
			t.Errorf("%q became %q, want %q", in, out, want)
		}
	}
	raw := "\xff\x00secret bytes\xfe"
	name = r.Register("key", raw)
	quoted, _ := json.Marshal(raw)
	for _, in := range []string{raw, string(quoted), base64.StdEncoding.EncodeToString([]byte(raw))} {
		if out := checkRedacted(t, r, "x: "+in, raw); !strings.Contains(out, name) {
			t.Errorf("%q became %q", in, out)
		}
	}
}

// TestRedactProperty writes random secrets in random nestings of forms into random text.
func TestRedactProperty(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("REDACT_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("REDACT_SEED=%d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	alphabets := []string{
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
		"abcdefghijklmnopqrstuvwxyz0123456789 !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
		"0123456789abcdef", "ab", "éüß漢字абв&%+<>\\\"ux0;#",
	}
	pick := func() string {
		letters := []rune(alphabets[rnd.IntN(len(alphabets))])
		var out strings.Builder
		for range 8 + rnd.IntN(40) {
			out.WriteRune(letters[rnd.IntN(len(letters))])
		}
		return out.String()
	}
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	for range rounds {
		r := NewRedactor()
		var secrets []string
		for range 1 + rnd.IntN(4) {
			s := pick()
			if r.Name(s) == "" {
				secrets = append(secrets, s)
				r.Register("secret", s)
			}
		}
		var in strings.Builder
		for _, s := range secrets {
			text := s
			for range rnd.IntN(3) {
				text = redactForms[rnd.IntN(len(redactForms))].encode(text)
			}
			// A decoder sees the places of forms, not of text that looks like one by chance.
			in.WriteString([]string{"\n", " ", "<b>", ", ", "=("}[rnd.IntN(5)] + text)
			in.WriteString([]string{"\n", " ", "</b>", ", ", ")"}[rnd.IntN(5)])
		}
		checkRedacted(t, r, in.String(), secrets...)
		if names := r.Contains(in.String()); len(names) < len(secrets) && !strings.Contains(strings.Join(names, ""), unreadableLabel) {
			t.Errorf("%d secrets, found %q\n secrets %q\n in %q", len(secrets), names, secrets, in.String())
		}
		if t.Failed() {
			t.Fatalf("REDACT_SEED=%d", seed)
		}
	}
}

func TestRedactConcurrently(t *testing.T) {
	r := NewRedactor()
	var wg sync.WaitGroup
	names := make([]string, 8)
	for g := range names {
		wg.Go(func() {
			names[g] = r.Register("shared", "the shared value")
			for i := range 100 {
				s := fmt.Sprintf("secret-%d-%d", g, i)
				name := r.Register("token", s)
				if out := r.Text("a " + s + ", the shared value"); out != "a "+name+", "+names[g] {
					t.Errorf("became %q", out)
				}
				r.Contains(s)
				r.Name(s)
			}
		})
	}
	wg.Wait()
	for _, n := range names {
		if n != names[0] || n == "" {
			t.Errorf("one value has the names %q", names)
		}
	}
}

func TestRedactLongSecrets(t *testing.T) {
	r := NewRedactor()
	long := make([]byte, 7500)
	rand.NewChaCha8([32]byte{3}).Read(long)
	secret := base64.RawURLEncoding.EncodeToString(long)
	name := r.Register("access_token", secret)
	if out := checkRedacted(t, r, "a "+secret+" z", secret); out != "a "+name+" z" {
		t.Errorf("became %.200q", out)
	}
	if out := r.Text("a " + secret[:5000]); strings.Contains(out, secret[4990:5000]) {
		t.Errorf("a fragment is left: %.200q", out)
	}
	if out := r.Text("a " + everyByte(secret, "%%%02x") + " z"); out != "a "+name+" z" {
		t.Errorf("became %.200q", out)
	}
}

// TestRedactHostileWork gives what a target could send to keep the search busy.
func TestRedactHostileWork(t *testing.T) {
	const size = 1 << 18
	r := NewRedactor()
	r.Register("token", strings.Repeat("a", size/2)+"b")
	for i := range 1000 {
		token, _ := testJWT(fmt.Sprintf("%010d", i))
		r.Register("token", token)
	}
	for label, unit := range map[string]string{
		"letters": "a", "percent": "%25", "percents": "%2525252525", "entities": "&amp;", "backslashes": `\`, "names": "⟨",
		"markers": "⟨part of ", "headers": "eyJhbGciOiJFUzI1NiIsInR5cCI6ImRwb3Arand0In0.", "hex": "41", "base64": "QUFB", "mixed": `%5c&amp;\u0025`, "lines": "\r\n",
	} {
		out := r.Text(strings.Repeat(unit, size/len(unit)))
		if r.Text(out) != out {
			t.Errorf("%s: not idempotent", label)
		}
	}
}
