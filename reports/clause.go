package reports

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"

	"github.com/popcheck/popcheck/harness"
)

// The forms of names that addresses are built of; nothing else of a clause enters one.
var (
	rfcName      = regexp.MustCompile(`^RFC ?(\d{1,5})$`)
	oauth21Name  = regexp.MustCompile(`^OAuth 2\.1 draft-(\d{2})$`)
	sectionName  = regexp.MustCompile(`^\d{1,3}(\.\d{1,3}){0,5}$`)
	appendixName = regexp.MustCompile(`^(?:[Aa]pp(?:endix|\.) ?)?([A-Z](?:\.\d{1,3}){0,5})$`)
	runs         = regexp.MustCompile(`\d+|\D+`)
)

// clauseURL is the address of the clause at the datatracker, or "" for a text that is not there.
// Only digits and letters of the clause enter the address: the host and the path are ours.
func clauseURL(c harness.Clause) string {
	document := ""
	if m := rfcName.FindStringSubmatch(c.Spec); m != nil {
		document = "rfc" + m[1]
	} else if m := oauth21Name.FindStringSubmatch(c.Spec); m != nil {
		document = "draft-ietf-oauth-v2-1-" + m[1]
	} else {
		return ""
	}
	return "https://datatracker.ietf.org/doc/html/" + document + fragment(c.Section)
}

func fragment(section string) string {
	if sectionName.MatchString(section) {
		return "#section-" + section
	}
	if m := appendixName.FindStringSubmatch(section); m != nil {
		return "#appendix-" + m[1]
	}
	return ""
}

// compareClauses orders clauses as a reader looks for them: section 4.10 after section 4.9.
func compareClauses(a, b harness.Clause) int {
	return cmp.Or(natural(a.Spec, b.Spec), natural(a.Section, b.Section), natural(a.Item, b.Item))
}

// natural compares texts with the numbers in them by value.
func natural(a, b string) int {
	x, y := runs.FindAllString(a, -1), runs.FindAllString(b, -1)
	for i := range min(len(x), len(y)) {
		m, err1 := strconv.Atoi(x[i])
		n, err2 := strconv.Atoi(y[i])
		order := strings.Compare(x[i], y[i])
		if err1 == nil && err2 == nil {
			order = cmp.Or(cmp.Compare(m, n), order)
		}
		if order != 0 {
			return order
		}
	}
	return cmp.Compare(len(x), len(y))
}
