package reports

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/popcheck/popcheck/harness"
)

// TestSARIFHoldsTheFails: each fail once, under its rule; what does not count is no error, and what is waived is suppressed.
func TestSARIFHoldsTheFails(t *testing.T) {
	run := sampleRun()
	var out strings.Builder
	if err := SARIF(&out, run); err != nil {
		t.Fatal(err)
	}
	var log sarifLog
	if err := json.Unmarshal([]byte(out.String()), &log); err != nil {
		t.Fatal(err)
	}
	fails := map[string]harness.Result{}
	for _, r := range run.Results {
		if r.Verdict == harness.Fail {
			fails[r.Key] = r
		}
	}
	got := log.Runs[0]
	if len(fails) == 0 || len(got.Results) != len(fails) {
		t.Fatalf("%d results for %d fails", len(got.Results), len(fails))
	}
	for _, s := range got.Results {
		r, known := fails[s.Fingerprints["popcheck/key"]]
		if !known || got.Tool.Driver.Rules[s.RuleIndex].ID != r.ID || s.RuleID != r.ID || !strings.Contains(s.Message.Text, r.Key) {
			t.Errorf("%+v", s)
		}
		if want := counts(r, run.FailOn); (s.Level == "error") != want {
			t.Errorf("%s: level %s", r.Key, s.Level)
		}
		if (r.Waiver != nil) != (len(s.Suppressions) == 1) {
			t.Errorf("%s: waiver %v, suppressions %v", r.Key, r.Waiver, s.Suppressions)
		}
	}
	if got.Invocations[0].Successful != run.Complete {
		t.Error("an incomplete run looks complete, or the other way round")
	}
	out.Reset()
	if err := SARIF(&out, &harness.Run{Schema: harness.RunSchema}); err != nil || !strings.Contains(out.String(), `"results": []`) {
		t.Errorf("a run without results: %v %s", err, out.String())
	}
}
