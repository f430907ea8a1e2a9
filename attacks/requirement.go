package attacks

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Requirement is what a server must do, by clause, with the mutations of an honest request that show whether it does.
type Requirement struct {
	ID        string // DPOP-AS-04
	Spec      string
	Section   string
	Summary   string
	Partly    string // why a black box sees it in part only; "" where it sees all
	Mutations []Mutation
}

// Mutation is one way to try a requirement.
type Mutation struct {
	ID   string // DPOP-AS-04.1, as in Check.Covers
	Tier Tier
	What string
}

// Tier says how soon a mutation is wanted.
type Tier string

// The tiers of the requirement catalogue; info entries are only reported.
const (
	Core     Tier = "core"
	Extended Tier = "extended"
	Info     Tier = "info"
)

// Family is the part of an id before its number: DPOP-AS.
func (r Requirement) Family() string { return r.ID[:strings.LastIndex(r.ID, "-")] }

//go:embed requirements.txt
var requirements string

// Requirements returns the requirement catalogue, which checks refer to by the ids of its mutations. Nobody may change it.
var Requirements = sync.OnceValue(func() []Requirement {
	var out []Requirement
	for i, line := range strings.Split(requirements, "\n") {
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		if mutation, ok := strings.CutPrefix(line, "  "); ok && len(out) > 0 {
			r := &out[len(out)-1]
			words := strings.SplitN(mutation, " ", 3)
			if len(words) < 3 || !slices.Contains([]Tier{Core, Extended, Info}, Tier(words[1])) {
				panic(fmt.Sprintf("requirements.txt:%d: %q is no mutation", i+1, line))
			}
			r.Mutations = append(r.Mutations, Mutation{ID: r.ID + "." + words[0], Tier: Tier(words[1]), What: words[2]})
			continue
		}
		parts := strings.Split(line, " | ")
		if len(parts) < 4 {
			panic(fmt.Sprintf("requirements.txt:%d: %q is no requirement", i+1, line))
		}
		r := Requirement{ID: parts[0], Spec: parts[1], Section: parts[2], Summary: parts[3]}
		if len(parts) > 4 {
			r.Partly = strings.TrimPrefix(parts[4], "partly: ")
		}
		out = append(out, r)
	}
	return out
})

// MutationText says what a mutation sends, "" for an id that is none.
func MutationText(id string) string {
	for _, r := range Requirements() {
		for _, m := range r.Mutations {
			if m.ID == id {
				return m.What
			}
		}
	}
	return ""
}
