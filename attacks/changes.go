package attacks

import (
	"strings"

	"github.com/popcheck/popcheck/harness"
)

// set gives a request parameter another value.
func set(name, value string) harness.Change {
	return func(m *harness.Message, _ harness.Facts) { m.Params.Set(name, value) }
}

// setTo gives a request parameter a value that depends on what the attacker knows.
func setTo(name string, value func(harness.Facts) string) harness.Change {
	return func(m *harness.Message, f harness.Facts) { m.Params.Set(name, value(f)) }
}

// addTo appends a request parameter, also one that is there already.
func addTo(name string, value func(harness.Facts) string) harness.Change {
	return func(m *harness.Message, f harness.Facts) { m.Params.Add(name, value(f)) }
}

// drop leaves request parameters out.
func drop(names ...string) harness.Change {
	return func(m *harness.Message, _ harness.Facts) {
		for _, name := range names {
			m.Params.Drop(name)
		}
	}
}

// all makes several changes that are one defect together.
func all(changes ...harness.Change) harness.Change {
	return func(m *harness.Message, f harness.Facts) {
		for _, c := range changes {
			c(m, f)
		}
	}
}

// wrongVerifier is a well-formed verifier that belongs to nothing.
func wrongVerifier(f harness.Facts) string { return f.Tester.NewPKCE().Verifier }

// otherLast replaces the last character of a value by another one of the same alphabet.
func otherLast(s string) string {
	if s == "" {
		return s
	}
	last := "A"
	if strings.EqualFold(s[len(s)-1:], "A") { // other case is client-secret-case
		last = "B"
	}
	return s[:len(s)-1] + last
}

// WrongVerifier redeems with a well-formed verifier that belongs to nothing.
func WrongVerifier(m *harness.Message, f harness.Facts) { setTo("code_verifier", wrongVerifier)(m, f) }
