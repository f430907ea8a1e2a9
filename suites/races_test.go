package suites_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/popcheck/popcheck/harness"
)

const racesAll = "code-race,refresh-race,refresh-race-protected,dpop-replay-race"

// TestRaces: a server that looks up and marks in two steps is found in every run, at each place, and the sound one in none. Here that is
// one run of each; twenty, with the figures, are
//
//	POPCHECK_RACES=20 go test ./suites -run '^TestRaces$' -v -timeout 60m
func TestRaces(t *testing.T) {
	runs := 1
	if text := os.Getenv("POPCHECK_RACES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("POPCHECK_RACES is %q; want a number of runs", text)
		}
		runs = n
	}
	want := expected(t, "kill/*.txt")
	faults := []string{"", "code-use-not-atomic", "refresh-use-not-atomic", "dpop-as-jti-store-not-atomic", "dpop-rs-jti-store-not-atomic", "dpop-nonce-single-use-not-atomic"}
	for _, fault := range faults {
		t.Run(fault, func(t *testing.T) {
			var selection []string
			for _, pattern := range want[fault][harness.Fail] {
				id, _, _ := strings.Cut(pattern, "@")
				selection = append(selection, id)
			}
			if fault == "" {
				selection = []string{racesAll}
			}
			found, places := 0, 0
			for range runs {
				said, err := judgeFault(t, fault, strings.Join(selection, ","))
				if err != nil {
					t.Fatal(err)
				}
				places = 0
				for key, verdict := range said.Verdicts {
					should := harness.Pass
					for _, pattern := range want[fault][harness.Fail] {
						if glob(pattern, key) {
							should, places = harness.Fail, places+1
						}
					}
					switch {
					case verdict != should:
						t.Errorf("%s is %s, not %s: %s", key, verdict, should, said.Reasons[key])
					case verdict == harness.Fail:
						found++
					}
				}
			}
			if fault == "" {
				t.Logf("%d runs of the sound target: nothing found", runs)
				return
			}
			t.Logf("%d runs, %d places each: found %d of %d", runs, places, found, runs*places)
			if places == 0 {
				t.Error("no place of a race")
			}
		})
	}
}
