package attacks

import (
	"slices"
	"strings"
	"testing"

	"github.com/popcheck/popcheck/harness"
)

// The table is data: each line has to be about checks that there are, to say something, and to say by which clause.
func TestDifferencesAreWellFormed(t *testing.T) {
	levels := map[string]harness.Level{}
	severities := map[string]harness.Severity{}
	for _, e := range catalogue() {
		levels[e.ID], severities[e.ID] = e.Level, e.Severity
		if e.Only != "" && !slices.ContainsFunc(Profiles(), func(p Profile) bool { return p.Name == e.Only }) {
			t.Errorf("%s: only for the profile %q, which there is not", e.ID, e.Only)
		}
	}
	seen := map[string]bool{}
	for _, d := range differences() {
		if !strings.Contains(d.bcp, "§") || len(d.under) == 0 {
			t.Errorf("%s: no clause for bcp, or nothing differs", d.checks)
		}
		for _, id := range strings.Fields(d.checks) {
			level, there := levels[id]
			switch {
			case !there:
				t.Errorf("there is no check %s", id)
			case seen[id]:
				t.Errorf("%s has two lines", id)
			}
			seen[id] = true
			for profile, says := range d.under {
				switch {
				case profile == BCP || !slices.ContainsFunc(Profiles(), func(p Profile) bool { return p.Name == profile }):
					t.Errorf("%s: the profile %q", id, profile)
				case says.level == level:
					t.Errorf("%s: the level under %s is that of the row", id, profile)
				case !strings.Contains(says.why, "§"):
					t.Errorf("%s: no clause for %s", id, profile)
				case severities[id] == harness.Critical && level == harness.Must:
					t.Errorf("%s: what it protects is lost under %s too", id, profile)
				}
			}
		}
	}
}

func TestStandings(t *testing.T) {
	known := map[string]Check{}
	var ids []string
	for _, e := range catalogue() {
		known[e.ID] = e.Check
		ids = append(ids, e.ID)
	}
	for _, want := range []struct{ id, rfc, bcp, oauth21, fapi2 string }{
		{"pkce-verifier-wrong", "must", "must", "must", "must"},
		{"pkce-challenge-missing", "hardening", "should", "must", "must"},
		{"pkce-challenge-missing-confidential", "hardening", "hardening", "should", "must"},
		{"implicit-token", "hardening", "should", "must", "must"},
		{"dpop-replay", "hardening", "should", "should", "should"},
		{"refresh-token-again", "should", "must", "must", "not asked for"},
		{"redirect-uri-omitted", "should", "should", "not asked for", "should"},
		{"dpop-rsa-1024", "should", "should", "should", "must"},
	} {
		for profile, level := range map[string]string{RFC: want.rfc, BCP: want.bcp, OAuth21: want.oauth21, FAPI2: want.fapi2} {
			if got := known[want.id].Standing(profile).String(); got != level {
				t.Errorf("%s under %s: %s, want %s", want.id, profile, got, level)
			}
		}
	}
	for _, p := range Standings(ids) {
		if _, there := p.Checks["pkce-verifier-wrong"]; there {
			t.Errorf("%s: a check that stands alike everywhere is named", p.Name)
		}
		for id, standing := range p.Checks {
			if standing.Why == "" || standing.Level == "" {
				t.Errorf("%s: %s: %+v", p.Name, id, standing)
			}
		}
	}
}
