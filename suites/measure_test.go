package suites_test

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/popcheck/popcheck/fixtures"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
	"github.com/popcheck/popcheck/suites"
)

// TestMeasuredValues compares what is measured of the sound target with what it knows of itself.
func TestMeasuredValues(t *testing.T) {
	reference, target := startReference(t, fixtures.Options{Named: true})
	selection := suites.Selection{"dpop-iat-window", "dpop-algorithms", "dpop-nonces", "clock-skew", "refresh-rotation", "token-lifetime", "token-expired",
		"code-lifetime", "par-request-uri-lifetime", "dpop-nonce-lifetime", "dpop-replay-later"}
	run, err := suites.Run(t.Context(), suites.Options{Target: target, Version: "test", Profile: "bcp", FailOn: harness.Must, Select: selection, Evidence: expect.VerdictsOnly,
		Slow: true, Clock: &agingClock{target: reference}})
	if err != nil {
		t.Fatal(err)
	}
	n := reference.Numbers()
	exactly := func(d time.Duration) [2]time.Duration { return [2]time.Duration{d - time.Second, d + time.Second} }
	seconds := func(from, to int) [2]time.Duration {
		return [2]time.Duration{time.Duration(from) * time.Second, time.Duration(to) * time.Second}
	}
	numbers := map[string][2]time.Duration{ // what the one or two numbers of a value have to lie around, at both ends
		"iat accepted, back": exactly(n.IatBack), "iat accepted, ahead": exactly(n.IatAhead), "lifetime of an access token": exactly(n.Access),
		"clock, ahead of popcheck's": seconds(-1, 1),
	}
	around := map[string]time.Duration{ // what lies between the two numbers of a value
		"lifetime of a code": n.Code, "lifetime of a request_uri": n.Push, "lifetime of a nonce": n.Nonce,
	}
	words := map[string]string{
		"nonces": "required, one works again", "rotation of refresh tokens": "yes: the old token is refused at once",
		"replay of a proof": "refused for 300 s at least",
	}
	met := map[string]int{}
	for _, r := range run.Results {
		if r.Verdict != harness.Pass {
			t.Errorf("%s %s: %s", r.Verdict, r.Key, r.Reason)
		}
		if len(r.Values) == 0 {
			t.Errorf("%s has no value", r.Key)
		}
		for _, v := range r.Values {
			met[v.Name]++
			got := numbersIn(v.Value)
			switch limits, known := numbers[v.Name]; {
			case known && (len(got) != 1 || got[0] < limits[0] || got[0] > limits[1]):
				t.Errorf("%s: %s is %q, not within %v", r.Key, v.Name, v.Value, limits)
			case around[v.Name] > 0 && (len(got) != 2 || got[0] > around[v.Name] || got[1] < around[v.Name]):
				t.Errorf("%s: %s is %q; it is %s", r.Key, v.Name, v.Value, around[v.Name])
			case v.Name == "algorithms of proofs" && sorted(v.Value) != sorted(v.Stated):
				t.Errorf("%s: %s are accepted, and %s are listed", r.Key, v.Value, v.Stated)
			case words[v.Name] != "" && v.Value != words[v.Name]:
				t.Errorf("%s: %s is %q, not %q", r.Key, v.Name, v.Value, words[v.Name])
			}
			if v.How == "" {
				t.Errorf("%s: %s does not say how it was learned", r.Key, v.Name)
			}
		}
	}
	if met["algorithms of proofs"] == 0 {
		t.Error("no algorithms were tried")
	}
	for _, all := range []map[string]int{sizes(numbers), sizes(around), sizes(words)} {
		for name := range all {
			if met[name] == 0 {
				t.Errorf("%s was not measured", name)
			}
		}
	}
}

func sorted(list string) string {
	return strings.Join(slices.Sorted(strings.SplitSeq(list, ", ")), ", ")
}

func sizes[V any](in map[string]V) map[string]int {
	out := map[string]int{}
	for name := range in {
		out[name]++
	}
	return out
}

var number = regexp.MustCompile(`[+-]?\d+ s`)

// numbersIn are the seconds that a value names.
func numbersIn(value string) []time.Duration {
	var out []time.Duration
	for _, text := range number.FindAllString(value, -1) {
		n, _ := strconv.Atoi(text[:len(text)-2])
		out = append(out, time.Duration(n)*time.Second)
	}
	return out
}
