package harness

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzRedact looks for a text that is not finished after one call, and for a form of a secret that stays.
func FuzzRedact(f *testing.F) {
	f.Add("Zq8x-Lw0pT3_vB7n", "openid", "before Zq8x-Lw0pT3_vB7n after", uint8(0))
	f.Add(`p&s "w+rd<%41>\`, "a", "C:\\n&amp; ⟨part of a⟩ %2541 \\u0041\r\n\xff\x1b", uint8(7))
	f.Add("\xff\xfe\x00binary-bytes", "\r\n\r\n", "\xe2\x9f", uint8(22))
	f.Add("⟨code#1 hmac:00000000⟩", "⟩⟨", "⟨⟩⟨encoded: contains ⟨code#1", uint8(30))
	f.Fuzz(func(t *testing.T, one, two, text string, form uint8) {
		if len(one)+len(two)+len(text) > 1<<12 {
			t.Skip()
		}
		r := NewRedactor()
		r.Register("code", one)
		r.Register("password", two)
		encode := redactForms[int(form)%len(redactForms)]
		in := text + " " + one + "\n" + encode.encode(one) + "\n" + text + two
		out := r.Text(in)
		if again := r.Text(out); again != out {
			t.Fatalf("not idempotent:\n in   %q\n out  %q\n then %q", in, out, again)
		}
		if names := r.Contains(out); len(names) > 0 {
			t.Fatalf("%v is left: %q became %q", names, in, out)
		}
		if !utf8.ValidString(out) || strings.ContainsAny(out, "\x1b\r\u202e\u2066") {
			t.Fatalf("not printable: %q", out)
		}
		// Encoders replace invalid bytes, and HTML has no references for control characters: what is left
		// may be too little to be known again.
		if len(one) >= indexedBytes && utf8.ValidString(one) && strings.IndexFunc(one, unicode.IsControl) < 0 && len(r.Contains("("+encode.encode(one)+")")) == 0 {
			t.Fatalf("%s: %q is not found in %q", encode.name, one, encode.encode(one))
		}
	})
}
