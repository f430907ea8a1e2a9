package reports

import (
	"encoding/xml"
	"strings"
	"testing"

	"github.com/popcheck/popcheck/harness"
)

func readJUnit(t *testing.T, run *harness.Run) junitSuites {
	t.Helper()
	var doc junitSuites
	if err := xml.Unmarshal(render(t, JUnit, run), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestJUnitMapping(t *testing.T) {
	t.Parallel()
	measured := result(harness.Pass, harness.Must)
	measured.Measured = "60 s"
	for name, c := range map[string]struct {
		result harness.Result
		want   string // failure, error, skipped or passed
		output string
	}{
		"pass":         {result(harness.Pass, harness.Must), "passed", ""},
		"measured":     {measured, "passed", "measured: 60 s"},
		"warn":         {result(harness.Warn, harness.Must), "passed", "warn ("},
		"fail":         {result(harness.Fail, harness.Must), "failure", ""},
		"lesser fail":  {result(harness.Fail, harness.Should), "passed", "fail at level should, which does not count under fail-on must"},
		"waived":       {waived(result(harness.Fail, harness.Must)), "passed", "fail, waived until 2027-01-01: known"},
		"inconclusive": {result(harness.Inconclusive, harness.Hardening), "error", ""},
		"skip":         {result(harness.Skip, harness.Must), "skipped", ""},
		"unknown":      {result("fine", harness.Must), "error", ""},
	} {
		doc := readJUnit(t, runOf(c.result))
		if len(doc.Suites) != 1 || len(doc.Suites[0].Cases) != 1 {
			t.Fatalf("%s: %+v", name, doc)
		}
		suite, tc := doc.Suites[0], doc.Suites[0].Cases[0]
		got, message := "passed", ""
		switch {
		case tc.Failure != nil:
			got, message = "failure", tc.Failure.Message
		case tc.Error != nil:
			got, message = "error", tc.Error.Message
		case tc.Skipped != nil:
			got, message = "skipped", tc.Skipped.Message
		}
		if got != c.want || got != "passed" && message != "seen" {
			t.Errorf("%s: %s (%q), want %s", name, got, message, c.want)
		}
		if !strings.HasPrefix(tc.Output, c.output) || c.output == "" && tc.Output != "" {
			t.Errorf("%s: output %q, want %q", name, tc.Output, c.output)
		}
		if suite.Name != "popcheck.dpop" || tc.Class != "popcheck.dpop" || tc.Name != "a@token an attack" {
			t.Errorf("%s: names %q %q %q", name, suite.Name, tc.Class, tc.Name)
		}
		want := junitCounts{Tests: 1}
		switch c.want {
		case "failure":
			want.Failures = 1
		case "error":
			want.Errors = 1
		case "skipped":
			want.Skipped = 1
		}
		if suite.junitCounts != want || doc.junitCounts != want {
			t.Errorf("%s: counts %+v, %+v", name, suite.junitCounts, doc.junitCounts)
		}
	}
}

func TestJUnitTellsTheEvidence(t *testing.T) {
	t.Parallel()
	for _, suite := range readJUnit(t, sampleRun()).Suites {
		for _, c := range suite.Cases {
			if !strings.HasPrefix(c.Name, "dpop-htu-host@resource/spa ") {
				continue
			}
			for _, want := range []string{"RFC 9449 §4.3 item 9", "Expected:", "Seen:", "Fix:", "control  resource: GET https://api.example.com/accounts → 200", "attack   resource: GET https://api.example.com/accounts → 200, changed: DPoP.htu"} {
				if !strings.Contains(c.Failure.Body, want) {
					t.Errorf("no %q in:\n%s", want, c.Failure.Body)
				}
			}
			if c.File != "attacks/dpop.go" || c.Line == 0 || c.Time == "" || suite.Timestamp != "2026-11-22T09:41:07" {
				t.Errorf("%+v", c)
			}
			return
		}
	}
	t.Error("no such case")
}

// A build server that reads only the file must not see success where the exit code says otherwise.
func TestJUnitAndTheExitCodeAgree(t *testing.T) {
	t.Parallel()
	incomplete, bad := runOf(result(harness.Pass, harness.Must)), runOf(result(harness.Pass, harness.Must))
	incomplete.Complete, incomplete.Incomplete = false, "interrupted"
	bad.BadWaivers = []string{"a: expired"}
	for name, run := range map[string]*harness.Run{"sample": sampleRun(), "clean": cleanRun(), "incomplete": incomplete, "bad waiver": bad, "empty": runOf(), "hostile": hostileRun(),
		"waived": runOf(waived(result(harness.Fail, harness.Must))), "inconclusive": runOf(result(harness.Inconclusive, harness.Must))} {
		doc := readJUnit(t, run)
		code := 0
		switch {
		case doc.Failures > 0:
			code = 1
		case doc.Errors > 0:
			code = 3
		}
		if code != ExitCode(run) {
			t.Errorf("%s: JUnit says %d, the exit code is %d", name, code, ExitCode(run))
		}
	}
}
