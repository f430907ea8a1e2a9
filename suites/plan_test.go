package suites_test

import (
	"strings"
	"testing"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/fixtures"
	"github.com/popcheck/popcheck/suites"
)

// A plan is made without one request. A gentle one has none of the checks that declare harm, and says so of each.
func TestAGentlePlanHarmsNothing(t *testing.T) {
	reference, target := startReference(t, fixtures.Options{Named: true})
	planned := func(m suites.Manners) *suites.Preflight {
		p, err := suites.Plan(t.Context(), suites.Options{Target: target, Version: "test", Profile: "bcp", Slow: true, Manners: m})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	harm := map[string]attacks.Harm{}
	for _, e := range attacks.Catalogue() {
		if e.Harm != attacks.NoHarm {
			harm[e.ID] = e.Harm
		}
	}
	thorough, gentle := planned(suites.Thorough), planned(suites.Gentle)
	for _, r := range gentle.Apply {
		if harm[r.ID] != attacks.NoHarm {
			t.Errorf("%s would run: it %s", r.Key, harm[r.ID])
		}
	}
	said := map[string]bool{}
	for _, r := range gentle.Skipped {
		said[r.Key] = strings.HasPrefix(r.Reason, "left out by --gentle: it "+string(harm[r.ID]))
	}
	harmful := 0
	for _, r := range thorough.Apply {
		if harm[r.ID] == attacks.NoHarm {
			continue
		}
		if harmful++; !said[r.Key] {
			t.Errorf("%s is left out without a word", r.Key)
		}
	}
	if harmful == 0 || len(thorough.Apply)-harmful != len(gentle.Apply) {
		t.Errorf("%d checks, %d of them harmful; %d when gentle", len(thorough.Apply), harmful, len(gentle.Apply))
	}
	if n := reference.Arrivals() + thorough.Requests + gentle.Requests; n != 0 {
		t.Errorf("%d requests", n)
	}
}
