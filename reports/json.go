package reports

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/popcheck/popcheck/harness"
)

//go:embed run.schema.json
var runSchema []byte

// Schema returns the JSON Schema (2020-12) of run.json.
func Schema() []byte { return slices.Clone(runSchema) }

// JSON writes run.json. What is a list or a map in the schema is never null.
func JSON(w io.Writer, run *harness.Run) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(complete(run))
}

// Read returns the run in the file at path. Members that it does not know are
// left alone, so that a run of a later popcheck can be rendered; words of
// closed lists must be known, lest a result with an unknown one counts as harmless or is left out.
func Read(path string) (*harness.Run, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read a run: %w", err)
	}
	run, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("read a run: %s: %w", path, err)
	}
	return run, nil
}

func parse(data []byte) (*harness.Run, error) {
	var head struct {
		Schema *string `json:"schema"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("not a run.json: %w", located(err, data))
	}
	switch {
	case head.Schema == nil:
		return nil, errors.New(`not a run.json: it has no member "schema"`)
	case *head.Schema != harness.RunSchema:
		return nil, fmt.Errorf("its schema is %q; this popcheck reads %q", *head.Schema, harness.RunSchema)
	}
	var run harness.Run
	if err := json.Unmarshal(data, &run); err != nil {
		return nil, fmt.Errorf("not a valid run.json: %w", located(err, data))
	}
	if err := known(&run); err != nil {
		return nil, fmt.Errorf("not a valid run.json: %w", err)
	}
	return &run, nil
}

// located adds the line to an error of encoding/json, which knows bytes only.
func located(err error, data []byte) error {
	var offset int64
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &kind):
		offset = kind.Offset
	default:
		return err
	}
	line := 1
	for _, c := range data[:min(int(offset), len(data))] {
		if c == '\n' {
			line++
		}
	}
	return fmt.Errorf("line %d: %w", line, err)
}

// known refuses words outside the closed lists that decide whether and where a result counts.
func known(run *harness.Run) error {
	if _, err := harness.ParseLevel(string(run.FailOn)); err != nil {
		return fmt.Errorf("fail_on: %w", err)
	}
	for _, p := range run.Profiles {
		for id, standing := range p.Checks {
			if !slices.Contains(levels(), standing.Level) {
				return fmt.Errorf("profile %s: %s: %q is not a level of a check", p.Name, id, standing.Level)
			}
		}
	}
	for i, r := range run.Results {
		switch {
		case r.Observed != nil && !slices.Contains(harness.Verdicts(), r.Observed.Verdict):
			return fmt.Errorf("%s: %q is not a verdict", r.Key, r.Observed.Verdict)
		case r.Key == "":
			return fmt.Errorf("result %d has no key", i+1)
		case !slices.Contains(harness.Verdicts(), r.Verdict):
			return fmt.Errorf("%s: %q is not a verdict", r.Key, r.Verdict)
		case !slices.Contains(levels(), r.Level):
			return fmt.Errorf("%s: %q is not a level of a check", r.Key, r.Level)
		case !slices.Contains(harness.Severities(), r.Severity):
			return fmt.Errorf("%s: %q is not a severity", r.Key, r.Severity)
		case !slices.Contains(harness.Threats(), r.Threat):
			return fmt.Errorf("%s: %q is not a threat", r.Key, r.Threat)
		case !slices.Contains([]harness.Mechanism{harness.PKCE, harness.DPoP, harness.MTLS}, r.Mechanism):
			return fmt.Errorf("%s: %q is not a mechanism", r.Key, r.Mechanism)
		}
	}
	return nil
}
