package harness

import (
	"fmt"
	"math"
	"strings"
)

// Room says how much of values that a server made one after the other can be random, in bits. That is an upper bound: what differs
// between them may still be a time, or structured, or encrypted. What they have in common does not count.
func Room(values []string) (bits int, what string) {
	if len(values) < 2 {
		return 0, "there is one value only"
	}
	middles := append([]string{}, values...)
	cut(middles, func(s string) (byte, string) { return s[0], s[1:] })
	cut(middles, func(s string) (byte, string) { return s[len(s)-1], s[:len(s)-1] })
	length, even := len(middles[0]), true
	for _, s := range middles {
		even = even && len(s) == length
		length = min(length, len(s))
	}
	differing := 0
	for i := range length {
		same := even
		for _, s := range middles[1:] {
			same = same && s[i] == middles[0][i]
		}
		if !same {
			differing++
		}
	}
	size, kind := alphabetOf(strings.Join(middles, ""))
	return int(float64(differing) * math.Log2(float64(size))), fmt.Sprintf("%d characters differ, %s", differing, kind)
}

// cut takes off what all values have in common at one end.
func cut(values []string, next func(string) (byte, string)) {
	for {
		rest := make([]string, len(values))
		var first byte
		for i, s := range values {
			if s == "" {
				return
			}
			c, left := next(s)
			if i > 0 && c != first {
				return
			}
			first, rest[i] = c, left
		}
		copy(values, rest)
	}
}

// alphabetOf is the smallest usual alphabet of a text.
func alphabetOf(text string) (size int, kind string) {
	const digits, lower = "0123456789", "abcdefghijklmnopqrstuvwxyz"
	upper := strings.ToUpper(lower)
	for _, a := range []struct {
		characters string
		size       int
		kind       string
	}{
		{digits, 10, "decimal digits"},
		{digits + "abcdef-", 16, "hexadecimal digits"},
		{digits + "ABCDEF-", 16, "hexadecimal digits"},
		{upper + "234567=", 32, "base32"},
		{digits + lower, 36, "digits and small letters"},
		{digits + upper, 36, "digits and capital letters"},
		{digits + lower + upper, 62, "digits and letters"},
		{digits + lower + upper + "-_+/=.~:", 64, "base64"},
	} {
		if strings.Trim(text, a.characters) == "" {
			return a.size, a.kind
		}
	}
	return 94, "printable characters"
}
