package suites_test

import (
	"path/filepath"
	"testing"

	"github.com/popcheck/popcheck/fixtures"
	"github.com/popcheck/popcheck/harness"
)

// startReference starts the reference target, which ends with the test, and loads its target file.
func startReference(t *testing.T, options fixtures.Options) (*fixtures.Reference, *harness.Target) {
	t.Helper()
	options.Dir = filepath.Join(t.TempDir(), "target")
	reference, err := fixtures.Start(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reference.Close() })
	target, err := harness.LoadTarget(reference.TargetFile())
	if err != nil {
		t.Fatal(err)
	}
	return reference, target
}
