package reports

import (
	"encoding/json"
	"io"
	"path/filepath"

	"github.com/popcheck/popcheck/harness"
)

// SARIF writes the fails of the run for code scanning (SARIF 2.1.0): a rule for each check, a result for each place where it failed.
// Waived ones are suppressed, not left out. They point at the target file, which is what a repository has of its server.
func SARIF(w io.Writer, run *harness.Run) error {
	run = readable(run)
	driver := sarifDriver{Name: "popcheck", Version: run.Popcheck, InformationURI: "https://github.com/popcheck/popcheck"}
	results := []sarifResult{}
	rules := map[string]int{}
	for _, r := range sorted(run.Results) {
		if verdictOf(r) != harness.Fail {
			continue
		}
		index, known := rules[r.ID]
		if !known {
			index = len(driver.Rules)
			rules[r.ID] = index
			driver.Rules = append(driver.Rules, sarifRuleOf(r))
		}
		results = append(results, sarifResultOf(run, r, index))
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(sarifLog{
		Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0",
		Runs: []sarifRun{{Tool: sarifTool{driver}, Results: results,
			Invocations: []sarifInvocation{{Successful: run.Complete, StartTime: sarifTime(run), EndTime: run.Finished.UTC().Format("2006-01-02T15:04:05Z")}}}},
	})
}

func sarifTime(run *harness.Run) string { return run.Started.UTC().Format("2006-01-02T15:04:05Z") }

func sarifRuleOf(r harness.Result) sarifRule {
	return sarifRule{
		ID: r.ID, Short: sarifText{short(r.Title)}, Full: sarifText{short(orNone(r.Why, r.Title))}, Help: sarifText{short(orNone(r.Fix, r.Title))}, HelpURI: clauseLink(r.Clause).URL,
		Properties: sarifProperties{Severity: sarifSeverity(r.Severity), Tags: []string{"security", string(r.Mechanism), string(r.Threat)}},
	}
}

// sarifSeverity is a score as GitHub reads it: over 9 critical, over 7 high, over 4 medium, else low.
func sarifSeverity(s harness.Severity) string {
	switch s {
	case harness.Critical:
		return "9.5"
	case harness.High:
		return "8.0"
	case harness.Medium:
		return "5.5"
	case harness.Low:
		return "3.0"
	}
	return "1.0"
}

func sarifResultOf(run *harness.Run, r harness.Result, rule int) sarifResult {
	level := "note"
	switch {
	case counts(r, run.FailOn):
		level = "error"
	case reaches(r.Level, harness.Should):
		level = "warning"
	}
	file := run.Target.File
	if file == "" || file == embeddedFile {
		file = "target.yaml"
	}
	out := sarifResult{
		RuleID: r.ID, RuleIndex: rule, Level: level,
		Message:      sarifText{short(r.Key + ": " + r.Reason + " (" + r.Clause.String() + ", " + string(r.Level) + ")")},
		Locations:    []sarifLocation{{sarifPhysical{sarifArtifact{filepath.ToSlash(file)}, sarifRegion{1}}}},
		Fingerprints: map[string]string{"popcheck/key": r.Key},
	}
	if r.Waiver != nil {
		out.Suppressions = []sarifSuppression{{"external", short(r.Waiver.Reason + " (until " + r.Waiver.Until + ")")}}
	}
	return out
}

// The part of SARIF 2.1.0 that is needed.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool         `json:"tool"`
		Invocations []sarifInvocation `json:"invocations"`
		Results     []sarifResult     `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version,omitempty"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules,omitempty"`
	}
	sarifRule struct {
		ID         string          `json:"id"`
		Short      sarifText       `json:"shortDescription"`
		Full       sarifText       `json:"fullDescription"`
		Help       sarifText       `json:"help"`
		HelpURI    string          `json:"helpUri,omitempty"`
		Properties sarifProperties `json:"properties"`
	}
	sarifProperties struct {
		Severity string   `json:"security-severity"`
		Tags     []string `json:"tags"`
	}
	sarifInvocation struct {
		Successful bool   `json:"executionSuccessful"`
		StartTime  string `json:"startTimeUtc"`
		EndTime    string `json:"endTimeUtc"`
	}
	sarifResult struct {
		RuleID       string             `json:"ruleId"`
		RuleIndex    int                `json:"ruleIndex"`
		Level        string             `json:"level"`
		Message      sarifText          `json:"message"`
		Locations    []sarifLocation    `json:"locations"`
		Fingerprints map[string]string  `json:"partialFingerprints"`
		Suppressions []sarifSuppression `json:"suppressions,omitempty"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
	sarifSuppression struct {
		Kind          string `json:"kind"`
		Justification string `json:"justification"`
	}
)
