package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
)

type listCommand struct {
	JSON bool `help:"As JSON."`
}

type listed struct {
	ID       string           `json:"id"`
	Title    string           `json:"title"`
	Suite    string           `json:"suite"`
	Clause   harness.Clause   `json:"clause"`
	Level    harness.Level    `json:"level"`
	Severity harness.Severity `json:"severity"`
	Threat   harness.Threat   `json:"threat"`
	Covers   []string         `json:"covers"`
	Harm     string           `json:"harm,omitempty"`
	// Levels are there where the profiles do not all say the same: by profile, "not asked for" where one leaves the check out.
	Levels map[string]string `json:"levels,omitempty"`
}

func (l *listCommand) Run(w streams) error {
	if !l.JSON {
		for _, e := range attacks.Catalogue() {
			fmt.Fprintf(w.out, "%-42s %-5s %-9s %-8s %-24s %s\n", e.ID, e.Suite, e.Level, e.Severity, e.Clause, e.Title)
		}
		return nil
	}
	out := []listed{}
	for _, e := range attacks.Catalogue() {
		out = append(out, listed{e.ID, e.Title, string(e.Suite), e.Clause, e.Level, e.Severity, e.Threat, e.Covered(), string(e.Harm), levels(e.Check)})
	}
	encoder := json.NewEncoder(w.out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(out)
}

type explainCommand struct {
	ID string `arg:"" help:"Id of a check, or key of a result."`
}

func (x *explainCommand) Run(w streams) error {
	id, _, _ := strings.Cut(x.ID, "@")
	for _, e := range attacks.Catalogue() {
		if e.ID != id {
			continue
		}
		fmt.Fprintf(w.out, "%s: %s\n\n", e.ID, e.Title)
		row := func(name, text string) {
			if text != "" {
				fmt.Fprintf(w.out, "%-12s %s\n", name, text)
			}
		}
		row("clause", e.Clause.String())
		row("suite", string(e.Suite))
		row("level", string(e.Level))
		if e.Differs() {
			for _, p := range attacks.Profiles() {
				standing := e.Standing(p.Name)
				row("  "+p.Name, fmt.Sprintf("%s: %s", standing, standing.Why))
			}
		}
		row("severity", string(e.Severity))
		row("threat", e.Threat.Title())
		row("if it fails", e.Why)
		row("refusal", e.Refusal.String())
		row("to mend", e.Fix)
		row("needs", e.Needs)
		row("harm", string(e.Harm))
		for _, id := range e.Covered() {
			row("covers", id+": "+attacks.MutationText(id))
		}
		row("row", fmt.Sprintf("%s:%d", e.Source.File, e.Source.Line))
		return nil
	}
	return fmt.Errorf("there is no check %q; popcheck list names them", id)
}

// levels are those of a check by profile, where they differ.
func levels(c attacks.Check) map[string]string {
	if !c.Differs() {
		return nil
	}
	out := map[string]string{}
	for _, p := range attacks.Profiles() {
		out[p.Name] = c.Standing(p.Name).String()
	}
	return out
}
