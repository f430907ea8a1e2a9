package reports

import (
	"encoding/csv"
	"slices"
	"strings"
	"testing"

	"github.com/popcheck/popcheck/harness"
)

// compared makes a run of one server from "key verdict" lines.
func compared(issuer string, lines ...string) *harness.Run {
	run := &harness.Run{Schema: harness.RunSchema, FailOn: harness.Must, Complete: true, Target: harness.RunTarget{Name: "server " + issuer, Issuer: issuer}}
	for _, l := range lines {
		key, verdict, _ := strings.Cut(l, " ")
		id, _, _ := strings.Cut(key, "@")
		run.Results = append(run.Results, harness.Result{Key: key, ID: id, Title: "refuses " + id, Mechanism: harness.PKCE, Verdict: harness.Verdict(verdict),
			Level: harness.Must, Severity: harness.High, Threat: harness.TokenReplay, Reason: "because " + verdict})
	}
	return run
}

func TestCompareTellsWhatEachServerSays(t *testing.T) {
	c, err := Compare([]*harness.Run{
		compared("https://a.example", "one@token pass", "one@par fail", "two@token skip", "two@par pass", "three@token skip"),
		compared("https://b.example", "one@token pass", "two@token inconclusive", "two@par warn", "four@token pass"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Changes != nil {
		t.Errorf("two servers have no changes: %v", c.Changes)
	}
	got := map[string]string{}
	for _, check := range c.Checks {
		got[check.ID] = check.Cells[0].Text() + " | " + check.Cells[1].Text()
	}
	for id, want := range map[string]string{
		"one":   "fail 1 of 2 | pass 1", // one place where the attack worked decides
		"two":   "pass 1 of 2 | inconclusive 1 of 2",
		"three": "skip 1 | not in this run", // not applicable is not the same as not there
		"four":  "not in this run | pass 1",
	} {
		if got[id] != want {
			t.Errorf("%s: %q, want %q", id, got[id], want)
		}
	}
	for _, check := range c.Checks {
		if want := check.ID == "one" || check.ID == "two"; check.Differs() != want {
			t.Errorf("%s differs: %v", check.ID, !want)
		}
	}
}

func TestCompareTellsWhatChanged(t *testing.T) {
	c, err := Compare([]*harness.Run{
		compared("https://a.example", "same@x pass", "broke@x pass", "fixed@x fail", "lost@x fail", "hidden@x fail", "form@x warn", "gone@x pass"),
		compared("https://a.example", "same@x pass", "broke@x fail", "fixed@x warn", "lost@x inconclusive", "hidden@x skip", "form@x pass", "new@x fail"),
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, change := range c.Changes {
		got = append(got, string(change.Kind)+" "+change.Result.Key)
	}
	want := []string{"broke broke@x", "fixed fixed@x", "unsure hidden@x", "unsure lost@x", "altered form@x", "new new@x", "gone gone@x"}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	if said := ChangeSentence(c); said != "Between the two runs: 1 broke, 1 fixed, 2 unsure, 1 altered, 1 new, 1 gone" {
		t.Error(said)
	}
	same, err := Compare([]*harness.Run{compared("https://a.example", "a@x pass"), compared("https://a.example", "a@x pass")})
	if err != nil || ChangeSentence(same) != "Nothing changed between the two runs" {
		t.Errorf("%v %q", err, ChangeSentence(same))
	}
	if _, err := Compare([]*harness.Run{compared("https://a.example")}); err == nil {
		t.Error("one run is no comparison")
	}
}

// TestCompareOfHostileRuns: what a target calls itself is neither markup nor a formula.
func TestCompareOfHostileRuns(t *testing.T) {
	a, b := compared("https://a.example", "one@token pass"), compared("https://b.example", "one@token fail")
	a.Target.Name, b.Target.Name = `<script>alert(1)</script>`, "=HYPERLINK(\"https://evil.example\")\x1b[31m"
	b.Results[0].Title, b.Results[0].Reason = `@SUM(1)`, `"><img src=x onerror=alert(1)>`
	a.Results[0].Title = "+cmd"
	c, err := Compare([]*harness.Run{a, b})
	if err != nil {
		t.Fatal(err)
	}
	var page, table, text strings.Builder
	if err := CompareHTML(&page, c); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<script", "<img", "\x1b"} {
		if strings.Contains(page.String(), bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	if !strings.Contains(page.String(), "default-src &#39;none&#39;") {
		t.Error("the page has no policy")
	}
	if err := CompareCSV(&table, c); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(table.String())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		for _, cell := range row {
			if cell != "" && strings.ContainsAny(cell[:1], "=+-@") {
				t.Errorf("a spreadsheet would run %q", cell)
			}
		}
	}
	if err := CompareText(&text, c); err != nil || strings.Contains(text.String(), "\x1b") {
		t.Errorf("%v %q", err, text.String())
	}
}

func TestCompareNamesVersions(t *testing.T) {
	for want, target := range map[string]harness.RunTarget{
		"keycloak 26.7.3":               {Name: "keycloak 26.7.3", Product: "Keycloak", Version: "26.7.3"},
		"staging (ExampleAuth 26.4)":    {Name: "staging", Product: "ExampleAuth", Version: "26.4"},
		"staging":                       {Name: "staging", Product: "nginx"},
		"https://as.example.com (1.25)": {Version: "1.25"},
	} {
		if got := versioned(&harness.Run{Target: target}, "https://as.example.com"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
