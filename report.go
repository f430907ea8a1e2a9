package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/reports"
)

type reportCommand struct {
	Run_    string  `arg:"" name:"run.json" help:"The record of a run."`
	Out     string  `default:"popcheck-out" placeholder:"DIR" help:"Directory of the reports (default ${default})."`
	Profile *string `placeholder:"P" help:"Weigh the results as bcp, rfc, oauth21 or fapi2 does; default: as the record does."`
}

func (r *reportCommand) Run(w streams) error {
	run, err := reports.Read(r.Run_)
	if err != nil {
		return err
	}
	if r.Profile != nil {
		if err := knownProfile(*r.Profile); err != nil {
			return err
		}
		if run, err = weighed(run, *r.Profile); err != nil {
			return err
		}
	}
	if err := reports.Write(r.Out, run); err != nil {
		return err
	}
	fmt.Fprintln(w.out, "reports:", filepath.Join(r.Out, reports.HTMLFile))
	if r.Profile != nil {
		for _, note := range run.Notes {
			fmt.Fprintln(w.out, "note:", oneLine(note))
		}
		fmt.Fprintf(w.out, "profile %s\n%s\n", oneLine(reports.Profile(run)), reports.Headline(run))
	}
	return nil
}

// weighed is a run under another profile, with the levels of this catalogue. The record may come from a catalogue with other checks:
// one that is not known here keeps its level, and that is said.
func weighed(run *harness.Run, profile string) (*harness.Run, error) {
	known := map[string]attacks.Entry{}
	for _, e := range attacks.Catalogue() {
		known[e.ID] = e
	}
	var strangers []string
	for _, id := range run.Checks() {
		if _, there := known[id]; !there {
			strangers = append(strangers, id)
		}
	}
	for i := range run.Results {
		if e, there := known[run.Results[i].ID]; there {
			run.Results[i].Level = e.Level
		}
	}
	run.Profiles, run.Notes = attacks.Standings(run.Checks()), nil
	if run.Catalogue != attacks.CatalogueVersion {
		run.Notes = append(run.Notes, fmt.Sprintf("the run was made with the catalogue %s; the levels are those of the catalogue %s", run.Catalogue, attacks.CatalogueVersion))
	}
	if len(strangers) > 0 {
		run.Notes = append(run.Notes, fmt.Sprintf("the catalogue %s does not know %s: the level is that of the run, under whatever profile", attacks.CatalogueVersion, strings.Join(strangers, ", ")))
	}
	return reports.Under(run, profile)
}

type compareCommand struct {
	Runs []string `arg:"" name:"run.json" help:"The records of two runs or more, in the order of the columns."`
	HTML string   `name:"html" placeholder:"FILE" help:"Write the matrix as a page."`
	CSV  string   `name:"csv" placeholder:"FILE" help:"Write the matrix as a table."`
}

func (c *compareCommand) Run(w streams) error {
	var runs []*harness.Run
	for _, name := range c.Runs {
		run, err := reports.Read(name)
		if err != nil {
			return err
		}
		runs = append(runs, run)
	}
	comparison, err := reports.Compare(runs)
	if err != nil {
		return err
	}
	if err := reports.CompareText(w.out, comparison); err != nil {
		return err
	}
	for _, file := range []struct {
		name   string
		render func(io.Writer, *reports.Comparison) error
	}{{c.HTML, reports.CompareHTML}, {c.CSV, reports.CompareCSV}} {
		if file.name == "" {
			continue
		}
		if err := reports.WriteFile(file.name, func(out io.Writer) error { return file.render(out, comparison) }); err != nil {
			return fmt.Errorf("write %s: %w", file.name, err)
		}
		fmt.Fprintln(w.out, "written:", file.name)
	}
	return nil
}
