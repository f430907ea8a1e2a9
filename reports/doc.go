// Package reports renders a run for its readers: run.json for programs, JUnit
// for build servers, HTML for auditors, Markdown for the summary of a build.
//
// Every report is a pure function of [harness.Run]: the same run gives the same
// bytes, whenever and wherever it is rendered. The text of a run is redacted
// already, but it is not trusted: names, headers and bodies come from the target,
// so each format has its own way to keep them text.
package reports
