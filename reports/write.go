package reports

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/popcheck/popcheck/harness"
)

// The names of the files that [Write] leaves in its directory.
const (
	JSONFile     = "run.json"
	JUnitFile    = "junit.xml"
	HTMLFile     = "report.html"
	MarkdownFile = "summary.md"
	SARIFFile    = "report.sarif"
)

// Write leaves every report of the run in dir, which is made when it does not exist.
// A file appears whole or not at all, and one that cannot be written does not keep
// the others from being written: a run that was long or cannot be repeated is not lost.
func Write(dir string, run *harness.Run) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the directory of the reports: %w", err)
	}
	var errs []error
	for _, report := range []struct {
		name   string
		render func(io.Writer, *harness.Run) error
	}{{JSONFile, JSON}, {JUnitFile, JUnit}, {HTMLFile, HTML}, {MarkdownFile, Markdown}, {SARIFFile, SARIF}} {
		err := WriteFile(filepath.Join(dir, report.name), func(w io.Writer) error { return report.render(w, run) })
		if err != nil {
			errs = append(errs, fmt.Errorf("write %s: %w", report.name, err))
		}
	}
	return errors.Join(errs...)
}

// WriteFile writes a file beside its final place and then renames it, so that a reader never sees half of it.
func WriteFile(path string, render func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // closed twice on some paths; the first error is the one that counts
			_ = os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriter(f)
	if err := render(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	// CreateTemp makes files that only their owner reads; a report is redacted and made to be shared.
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
