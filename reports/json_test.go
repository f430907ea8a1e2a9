package reports

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/popcheck/popcheck/harness"
)

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("run.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("run.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func validate(t *testing.T, schema *jsonschema.Schema, data []byte) error {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(doc)
}

func TestJSONIsValidAgainstItsSchema(t *testing.T) {
	t.Parallel()
	schema := compiled(t)
	bare := &harness.Run{Schema: harness.RunSchema, FailOn: harness.Must, Results: []harness.Result{}}
	// Lists that are nil in Go must not become null.
	nils := cleanRun()
	nils.Capabilities, nils.Summary = nil, nil
	nils.Results[0].Exchanges[0].Request.Decoded = []harness.Decoded{{Name: "proof"}}
	for name, run := range map[string]*harness.Run{
		"sample": sampleRun(), "clean": cleanRun(), "embedded": embeddedRun(), "hostile": hostileRun(), "bare": bare, "nils": nils,
	} {
		if err := validate(t, schema, render(t, JSON, run)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSchemaRefusesWhatIsNotInIt(t *testing.T) {
	t.Parallel()
	schema := compiled(t)
	good := string(render(t, JSON, sampleRun()))
	for name, change := range map[string][2]string{
		"unknown member": {`"profile":`, `"profil":`},
		"verdict":        {`"verdict": "pass"`, `"verdict": "passed"`},
		"schema":         {`popcheck.run/1`, `popcheck.run/2`},
		"level":          {`"level": "must"`, `"level": "never"`},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if bad == good {
			t.Fatalf("%s: nothing was changed", name)
		}
		if validate(t, schema, []byte(bad)) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// The schema is written by hand; this holds it to the types.
func TestSchemaNamesEveryMember(t *testing.T) {
	t.Parallel()
	var schema struct {
		object
		Defs map[string]object `json:"$defs"`
	}
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	defs := map[string]reflect.Type{}
	for name, v := range map[string]any{
		"target": harness.RunTarget{}, "capability": harness.Capability{}, "result": harness.Result{}, "clause": harness.Clause{}, "waiver": harness.RunWaiver{}, "value": harness.Value{},
		"source": harness.Source{}, "exchange": harness.Exchange{}, "request": harness.ExchangeRequest{}, "response": harness.ExchangeResponse{},
		"field": harness.Field{}, "decoded": harness.Decoded{}, "member": harness.Member{}, "tls": harness.ExchangeTLS{},
		"profile": harness.RunProfile{}, "standing": harness.Standing{}, "observed": harness.Observed{},
	} {
		defs[name] = reflect.TypeOf(v)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(defs)), slices.Sorted(maps.Keys(schema.Defs))); diff != "" {
		t.Errorf("definitions (-types +schema):\n%s", diff)
	}
	schema.holds(t, "run", reflect.TypeOf(harness.Run{}))
	for name, typ := range defs {
		schema.Defs[name].holds(t, name, typ)
	}
}

type object struct {
	Properties           map[string]any `json:"properties"`
	Required             []string       `json:"required"`
	AdditionalProperties any            `json:"additionalProperties"`
}

func (o object) holds(t *testing.T, name string, typ reflect.Type) {
	t.Helper()
	var all, required []string
	for f := range typ.Fields() {
		member, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		all = append(all, member)
		if options == "" {
			required = append(required, member)
		}
	}
	slices.Sort(all)
	slices.Sort(required)
	if diff := cmp.Diff(all, slices.Sorted(maps.Keys(o.Properties))); diff != "" {
		t.Errorf("%s: members (-type +schema):\n%s", name, diff)
	}
	if diff := cmp.Diff(required, slices.Sorted(slices.Values(o.Required))); diff != "" {
		t.Errorf("%s: required (-type +schema):\n%s", name, diff)
	}
	if o.AdditionalProperties != false {
		t.Errorf("%s: further members are allowed", name)
	}
}

func TestReadGivesBackWhatWriteLeft(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "out")
	want := sampleRun()
	if err := Write(dir, want); err != nil {
		t.Fatal(err)
	}
	got, err := Read(filepath.Join(dir, JSONFile))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o644 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{JUnitFile, HTMLFile, SARIFFile, JSONFile, MarkdownFile}, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestWriteKeepsTheOthersWhenOneFileCannotBeWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, HTMLFile), 0o755); err != nil {
		t.Fatal(err)
	}
	err := Write(dir, cleanRun())
	if err == nil || !strings.Contains(err.Error(), HTMLFile) {
		t.Errorf("error %v does not name the file", err)
	}
	for _, name := range []string{JSONFile, JUnitFile, MarkdownFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestReadSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	good := string(render(t, JSON, cleanRun()))
	for name, c := range map[string]struct{ content, want string }{
		"text":            {"hello", "line 1"},
		"cut":             {good[:len(good)/2], "line "},
		"trailing":        {good + "{}", "not a run.json"},
		"no schema":       {`{"results":[]}`, `no member "schema"`},
		"later schema":    {strings.Replace(good, "popcheck.run/1", "popcheck.run/2", 1), `"popcheck.run/2"`},
		"wrong type":      {strings.Replace(good, `"seed": 7405913`, `"seed": "x"`, 1), "seed"},
		"unknown verdict": {strings.Replace(good, `"verdict": "pass"`, `"verdict": "fine"`, 1), `"fine" is not a verdict`},
		"unknown level":   {strings.Replace(good, `"level": "must"`, `"level": "never"`, 1), `"never" is not a level`},
		"unknown fail_on": {strings.Replace(good, `"fail_on": "must"`, `"fail_on": "x"`, 1), "fail_on"},
	} {
		path := filepath.Join(t.TempDir(), "run.json")
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Read(path)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v; want the path and %q", name, err, c.want)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none.json")); err == nil || !strings.Contains(err.Error(), "none.json") {
		t.Errorf("missing file: %v", err)
	}
}

func TestReadTakesMembersOfALaterVersion(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "run.json")
	content := strings.Replace(string(render(t, JSON, cleanRun())), `"profile":`, `"later": true, "profile":`, 1)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err != nil {
		t.Error(err)
	}
}

func TestSameBytesWhenRenderedTwice(t *testing.T) {
	t.Parallel()
	for name, render1 := range renderers() {
		first := render(t, render1, sampleRun())
		for range 2 {
			if !bytes.Equal(first, render(t, render1, sampleRun())) {
				t.Errorf("%s differs", name)
			}
		}
		read, err := parse(render(t, JSON, sampleRun()))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, render(t, render1, read)) {
			t.Errorf("%s differs when rendered from run.json", name)
		}
	}
}

func TestRenderingLeavesTheRunAlone(t *testing.T) {
	t.Parallel()
	run := hostileRun()
	for name, render1 := range renderers() {
		render(t, render1, run)
		if diff := cmp.Diff(hostileRun(), run); diff != "" {
			t.Errorf("%s changed the run:\n%s", name, diff[:min(len(diff), 2000)])
		}
	}
}

func TestTimesAreInOneZone(t *testing.T) {
	t.Parallel()
	here, there := cleanRun(), cleanRun()
	there.Started = there.Started.In(time.FixedZone("far", 9*3600))
	there.Finished = there.Finished.In(time.FixedZone("far", 9*3600))
	for name, render1 := range renderers() {
		if name != "json" && !bytes.Equal(render(t, render1, here), render(t, render1, there)) {
			t.Errorf("%s depends on the zone", name)
		}
	}
}
