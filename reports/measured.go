package reports

import (
	"slices"
	"strings"

	"github.com/popcheck/popcheck/harness"
)

// Reading is a measured value with every result in which it is the same.
type Reading struct {
	harness.Value
	Results []harness.Result
}

// Readings are the measured values of a run: each name in the order in which it comes first, and the places of one value together.
func Readings(run *harness.Run) []Reading {
	var names []string
	var out []Reading
	for _, r := range run.Results {
		for _, v := range r.Values {
			if !slices.Contains(names, v.Name) {
				names = append(names, v.Name)
			}
			i := slices.IndexFunc(out, func(o Reading) bool { return o.Value == v })
			if i < 0 {
				i, out = len(out), append(out, Reading{Value: v})
			}
			out[i].Results = append(out[i].Results, r)
		}
	}
	slices.SortStableFunc(out, func(a, b Reading) int { return slices.Index(names, a.Name) - slices.Index(names, b.Name) })
	return out
}

// Measured says each measured value in a line, for a console: "iat accepted, ahead: 60 s (token, accounts); 300 s (userinfo)".
func Measured(run *harness.Run) []string {
	var out []string
	for i, v := range Readings(run) {
		text := v.Value.Value + " (" + strings.Join(v.endpoints(), ", ") + ")"
		if i > 0 && strings.HasPrefix(out[len(out)-1], v.Name+": ") {
			out[len(out)-1] += "; " + text
			continue
		}
		out = append(out, v.Name+": "+text)
	}
	return out
}

// endpoints are those of the results, each once.
func (v Reading) endpoints() []string {
	var out []string
	for _, r := range v.Results {
		if !slices.Contains(out, r.Endpoint) {
			out = append(out, r.Endpoint)
		}
	}
	return out
}

// where names the place of a value: "token (AS), client spa, dpop". At a resource it is the server that was measured, not the client.
func where(r harness.Result) string {
	out := r.Endpoint + " (" + string(r.Role) + ")"
	if r.Role == harness.AuthorizationServer && r.Client != "" {
		out += ", client " + r.Client
	}
	if r.Variant != "" {
		out += ", " + r.Variant
	}
	return out
}
