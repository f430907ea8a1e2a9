package suites_test

import (
	"os"
	"testing"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/extensions/globals"

	"github.com/popcheck/popcheck/fixtures"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
	"github.com/popcheck/popcheck/suites"
)

// TestSpecs runs the specs as Ginkgo's own: under go test and ginkgo ./suites, against the reference target or the target file that
// POPCHECK_TARGET names.
func TestSpecs(t *testing.T) {
	path := os.Getenv("POPCHECK_TARGET")
	if path == "" {
		reference, err := fixtures.Start(fixtures.Options{Dir: t.TempDir(), Named: true})
		if err != nil {
			t.Fatal(err)
		}
		defer reference.Close()
		path = reference.TargetFile()
	}
	target, err := harness.LoadTarget(path)
	if err != nil {
		t.Fatal(err)
	}
	tester, err := harness.NewTester(target, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer tester.Close()
	tester.Learn(t.Context())
	globals.Reset()
	suites.Declare(expect.Suite{Tester: tester, Profile: target.Profile, Book: expect.NewBook(nil), Evidence: expect.VerdictsOnly})
	ginkgo.RunSpecs(t, "popcheck")
}

func TestSelectionOfKeys(t *testing.T) {
	result := &harness.Result{ID: "dpop-htu-host", Key: "dpop-htu-host@token/refresh_token/spa", Mechanism: harness.DPoP}
	for expr, want := range map[string]bool{
		"dpop-htu-host": true, "dpop-*": true, "dpop": true, "pkce": false,
		"dpop-htu-host@token": true, "dpop-htu-*@token": true, "dpop-htu-*@token/*/spa": true, "dpop-htu-host@token/refresh_token": true,
		"dpop-htu-host@token/refresh_token/spa": true, "dpop-htu-host@token/refresh_token/web": false, "dpop-htu-*@par": false, "dpop-htu-host@tok": false,
	} {
		selection, err := suites.ParseSelection(expr)
		if err != nil {
			t.Fatal(err)
		}
		if got := selection.Matches(result); got != want {
			t.Errorf("%s: %t", expr, got)
		}
	}
}
