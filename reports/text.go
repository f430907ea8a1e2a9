package reports

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/popcheck/popcheck/harness"
)

// readable returns a deep copy of the run in which every string can be shown to a
// person. It is applied to the whole run before HTML, JUnit and Markdown are
// written, so that no single place of a template can forget it.
func readable(run *harness.Run) *harness.Run {
	out := copyValue(reflect.ValueOf(*run), visible).Interface().(harness.Run)
	return &out
}

// complete returns a deep copy of the run in which lists and maps that are required
// are empty, not null.
func complete(run *harness.Run) *harness.Run {
	out := copyValue(reflect.ValueOf(*run), strings.Clone).Interface().(harness.Run)
	return &out
}

// copyValue copies v deeply, applies text to every string and makes nil slices and maps empty ones.
func copyValue(v reflect.Value, text func(string) string) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.String:
		out.SetString(text(v.String()))
	case reflect.Struct:
		if _, opaque := v.Interface().(time.Time); opaque {
			return v
		}
		for i := range v.NumField() {
			out.Field(i).Set(copyValue(v.Field(i), text))
		}
	case reflect.Slice:
		out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		for i := range v.Len() {
			out.Index(i).Set(copyValue(v.Index(i), text))
		}
	case reflect.Map:
		out.Set(reflect.MakeMapWithSize(v.Type(), v.Len()))
		for iter := v.MapRange(); iter.Next(); {
			out.SetMapIndex(copyValue(iter.Key(), text), copyValue(iter.Value(), text))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			out.Set(reflect.New(v.Type().Elem()))
			out.Elem().Set(copyValue(v.Elem(), text))
		}
	default:
		out.Set(v)
	}
	return out
}

// visible makes text safe to look at: what a display would act on (control characters, changes of
// writing direction, invisible marks) is spelled out, and broken UTF-8 becomes U+FFFD.
// Line ends and tabs stay. The result is always valid in XML 1.0.
func visible(s string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + len(s)/8)
	for _, r := range strings.ReplaceAll(s, "\r\n", "\n") {
		if ' ' <= r && r < 0x7F || r == '\n' || r == '\t' {
			b.WriteByte(byte(r))
		} else {
			b.WriteString(visibleRune(r))
		}
	}
	return b.String()
}

// plain reports whether s needs no change; nearly all text is such, and bodies can be long.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf || c == 0x7F || (c < ' ' && c != '\n' && c != '\t') {
			return false
		}
	}
	return true
}

// visibleRune spells out what cannot be shown as it is. Line ends and tabs do not come here.
func visibleRune(r rune) string {
	switch {
	case r&0xFFFE == 0xFFFE, r >= 0xFDD0 && r <= 0xFDEF:
		return "\uFFFD" // no characters at all
	case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co), slices.Contains(fillers(), r):
		return fmt.Sprintf("⟨U+%04X⟩", r) // direction marks, joiners, fillers: seen by no one, acted upon by displays
	}
	return string(r)
}

// fillers are letters that look like nothing.
func fillers() []rune { return []rune{0x115F, 0x1160, 0x3164, 0xFFA0} }

// line makes text fit for a place that has one line: a name, a table cell.
func line(s string) string { return strings.Join(strings.Fields(s), " ") }

// clip shortens text to at most limit bytes, at a character, and says how much was left out.
func clip(s string, limit int) (kept string, left int) {
	if len(s) <= limit {
		return s, 0
	}
	cut := limit
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut], len(s) - cut
}

// brief is clip for running text: the cut is said within it.
func brief(s string, limit int) string {
	kept, left := clip(s, limit)
	if left == 0 {
		return s
	}
	return fmt.Sprintf("%s … (%s more in run.json)", kept, size(left))
}

// size names a number of bytes.
func size(n int) string {
	switch {
	case n < 1<<10:
		return count(n, "byte", "bytes")
	case n < 1<<20:
		return fmt.Sprintf("%.0f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// count names a number of things.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// moment writes a time as a reader in any zone understands it.
func moment(t time.Time) string {
	if t.IsZero() {
		return "not recorded"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// Traffic says what the run cost the target: "4189 requests and 17 logins".
func Traffic(run *harness.Run) string {
	return count(run.Requests, "request", "requests") + " and " + count(run.Logins, "login", "logins")
}

// Pace says how the target slowed popcheck down, or "".
func Pace(run *harness.Run) string {
	r := run.Rests
	if r == nil {
		return ""
	}
	s := "the target asked for rest " + count(r.Asked, "time", "times") + fmt.Sprintf(", and popcheck waited %.1f s for it", float64(r.WaitedMS)/1000)
	if r.PerSecond > 0 {
		s += fmt.Sprintf("; at the end it sent at most %.3g requests per second", r.PerSecond)
	}
	return s
}

// lasted is the time that the run took.
func lasted(run *harness.Run) time.Duration {
	if run.Started.IsZero() || run.Finished.Before(run.Started) {
		return 0
	}
	return run.Finished.Sub(run.Started).Round(time.Millisecond)
}
