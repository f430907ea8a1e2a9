package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/reports"
)

// recorded is a run of today's catalogue, made under bcp, in which the named checks failed; one of a later catalogue is among them.
func recorded(t *testing.T, failed ...string) string {
	t.Helper()
	run := &harness.Run{Schema: harness.RunSchema, Popcheck: "test", Catalogue: "2031.01", Profile: attacks.BCP, FailOn: harness.Must, Complete: true,
		Target: harness.RunTarget{Name: "staging", Issuer: "https://as.example.com"}}
	add := func(check attacks.Check, suite harness.Mechanism, verdict harness.Verdict, reason string) {
		run.Results = append(run.Results, harness.Result{Key: check.ID + "@token", ID: check.ID, Title: check.Title, Suite: string(suite), Mechanism: suite, Endpoint: "token",
			Role: harness.AuthorizationServer, Verdict: verdict, Level: check.Level, Severity: check.Severity, Threat: check.Threat, Clause: check.Clause, Reason: reason})
	}
	for _, e := range attacks.Catalogue() {
		switch standing := e.Standing(attacks.BCP); {
		case standing.Unasked:
			add(e.Check, e.Suite, harness.Skip, standing.Why)
		case strings.Contains(" "+strings.Join(failed, " ")+" ", " "+e.ID+" "):
			add(e.Check, e.Suite, harness.Fail, "the attack worked")
		default:
			add(e.Check, e.Suite, harness.Pass, "refused between two accepted honest calls")
		}
	}
	add(attacks.Check{ID: "check-of-tomorrow", Title: "refuses what is not known yet", Level: harness.Should, Severity: harness.High, Threat: harness.Leakage}, harness.PKCE, harness.Fail, "the attack worked")
	path := filepath.Join(t.TempDir(), reports.JSONFile)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := reports.JSON(f, run); err != nil {
		t.Fatal(err)
	}
	return path
}

// One run under each profile: what it comes to, and which results stand otherwise there.
func TestOneRunUnderEachProfile(t *testing.T) {
	t.Parallel()
	record := recorded(t, "implicit-token", "dpop-replay", "refresh-token-again", "pkce-challenge-missing", "pkce-verifier-wrong")
	for profile, want := range map[string]struct {
		counted int
		results map[string]string
		said    []string
	}{
		"bcp": {2, map[string]string{
			"implicit-token": "fail should", "dpop-replay": "fail should", "refresh-token-again": "fail must", "pkce-challenge-missing": "fail should", "check-of-tomorrow": "fail should",
		}, []string{"OAuth 2.1 §10.1: the implicit grant is gone", "RFC 9700"}},
		"rfc": {1, map[string]string{
			"implicit-token": "fail hardening", "dpop-replay": "fail hardening", "refresh-token-again": "fail should", "pkce-challenge-missing": "fail hardening", "check-of-tomorrow": "fail should",
		}, []string{"the run itself was made under bcp"}},
		"oauth21": {4, map[string]string{
			"implicit-token": "fail must", "dpop-replay": "fail should", "refresh-token-again": "fail must", "pkce-challenge-missing": "fail must", "redirect-uri-omitted": "skip should",
		}, []string{"OAuth 2.1, draft 16"}},
		"fapi2": {3, map[string]string{
			"implicit-token": "fail must", "dpop-replay": "fail should", "refresh-token-again": "skip must", "pkce-challenge-missing": "fail must", "pkce-verifier-wrong": "fail must",
		}, []string{"FAPI 2.0 Security Profile", "FAPI 2.0 §5.3.2.1 item 10 wants no rotation"}},
	} {
		out := t.TempDir()
		var stdout, stderr bytes.Buffer
		if code := command(context.Background(), []string{"report", record, "--profile", profile, "--out", out}, &stdout, &stderr); code != 0 {
			t.Fatalf("%s: exit %d: %s", profile, code, stderr.String())
		}
		run, err := reports.Read(filepath.Join(out, reports.JSONFile))
		if err != nil {
			t.Fatal(err)
		}
		if got := len(reports.Findings(run)); got != want.counted {
			t.Errorf("%s: %d findings count, want %d", profile, got, want.counted)
		}
		sum := map[harness.Verdict]int{}
		for _, r := range run.Results {
			sum[r.Verdict]++
			if is, wanted := fmt.Sprint(r.Verdict, " ", r.Level), want.results[r.ID]; wanted != "" && is != wanted {
				t.Errorf("%s: %s is %s, want %s", profile, r.ID, is, wanted)
			}
		}
		if fmt.Sprint(sum) != fmt.Sprint(run.Summary) {
			t.Errorf("%s: the summary says %v, the results %v", profile, run.Summary, sum)
		}
		page := read(t, filepath.Join(out, reports.HTMLFile))
		for _, text := range append(want.said, "Under other profiles", "does not know check-of-tomorrow: the level is that of the run") {
			if !strings.Contains(page, text) {
				t.Errorf("%s: the page does not say %q", profile, text)
			}
		}
		for _, name := range []string{reports.JUnitFile, reports.MarkdownFile} {
			if text := run.ProfileText[:7]; !strings.Contains(read(t, filepath.Join(out, name)), text) {
				t.Errorf("%s: %s does not name the text %q", profile, name, text)
			}
		}
		if !strings.Contains(stdout.String(), run.ProfileText) || !strings.Contains(stdout.String(), "note: ") {
			t.Errorf("%s: the console says %q", profile, stdout.String())
		}
		// What another profile made of it can be taken back.
		back := t.TempDir()
		if code := command(context.Background(), []string{"report", filepath.Join(out, reports.JSONFile), "--profile", "bcp", "--out", back}, &stdout, &stderr); code != 0 {
			t.Fatalf("%s: back: exit %d: %s", profile, code, stderr.String())
		}
		first, err := reports.Read(record)
		if err != nil {
			t.Fatal(err)
		}
		again, err := reports.Read(filepath.Join(back, reports.JSONFile))
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range first.Results {
			if a := again.Results[i]; a.Verdict != r.Verdict || a.Level != r.Level || a.Reason != r.Reason {
				t.Errorf("%s and back: %s is %s at %s, was %s at %s", profile, r.ID, a.Verdict, a.Level, r.Verdict, r.Level)
			}
		}
	}
}

// What the run left out because its own profile does not ask for it is not known under the one that does.
func TestWhatWasNotAskedForIsNotKnown(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	var stdout, stderr bytes.Buffer
	if code := command(context.Background(), []string{"report", recorded(t), "--profile", "fapi2", "--out", out}, &stdout, &stderr); code != 0 {
		t.Fatalf("exit %d: %s", code, stderr.String())
	}
	run, err := reports.Read(filepath.Join(out, reports.JSONFile))
	if err != nil {
		t.Fatal(err)
	}
	only := map[string]bool{}
	for _, e := range attacks.Catalogue() {
		only[e.ID] = e.Only == attacks.FAPI2
	}
	for _, r := range run.Results {
		if only[r.ID] && (r.Verdict != harness.Inconclusive || !strings.Contains(r.Reason, "run again with --profile fapi2")) {
			t.Errorf("%s is %s: %s", r.ID, r.Verdict, r.Reason)
		}
	}
	for _, args := range [][]string{{"report", recorded(t), "--profile", "fapi"}, {"report", recorded(t), "--profile", ""}} {
		if code := command(context.Background(), append(args, "--out", t.TempDir()), &stdout, &stderr); code != exitWrongUse {
			t.Errorf("%q: exit %d", args, code)
		}
	}
}

func TestTheListAndTheExplanationSayWhereProfilesDiffer(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	if code := command(context.Background(), []string{"list", "--json"}, &stdout, &stderr); code != 0 {
		t.Fatal(stderr.String())
	}
	var list []listed
	if err := json.Unmarshal(stdout.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	for _, l := range list {
		switch {
		case l.ID == "implicit-token" && (l.Level != harness.Should || l.Levels["rfc"] != "hardening" || l.Levels["fapi2"] != "must"):
			t.Errorf("%+v", l)
		case l.ID == "pkce-verifier-wrong" && l.Levels != nil:
			t.Errorf("%+v", l)
		}
	}
	stdout.Reset()
	if code := command(context.Background(), []string{"explain", "implicit-token"}, &stdout, &stderr); code != 0 {
		t.Fatal(stderr.String())
	}
	for _, line := range []string{"rfc        hardening: RFC 6749 §4.2 defines the implicit grant", "oauth21    must: OAuth 2.1 §10.1"} {
		if !strings.Contains(stdout.String(), line) {
			t.Errorf("the explanation lacks %q:\n%s", line, stdout.String())
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
