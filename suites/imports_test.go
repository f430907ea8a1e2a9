package suites_test

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/popcheck/popcheck"

// listed is a package as go list prints it.
type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func list(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Deps"}, args...)...)
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
			t.Fatalf("go list: %s", ended.Stderr)
		}
		t.Fatal(err)
	}
	var packages []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// Imports run one way, so that the parts can be read, tested and trusted one by one: what speaks to a target knows no test
// framework, what renders a run can only read it, and the reference target shares no bug with the code that judges it.
func TestImportsRunOneWay(t *testing.T) {
	// What each package may import of this module.
	may := map[string][]string{
		".":                {"attacks", "fixtures", "harness", "reports", "suites"},
		"suites":           {"attacks", "harness", "harness/expect", "suites/dpop", "suites/mtls", "suites/pkce"},
		"suites/dpop":      {"attacks", "harness", "harness/expect"},
		"suites/mtls":      {"attacks", "harness", "harness/expect"},
		"suites/pkce":      {"attacks", "harness", "harness/expect"},
		"harness/expect":   {"attacks", "harness"},
		"attacks":          {"harness"},
		"reports":          {"harness"},
		"harness":          {},
		"fixtures":         {},
		"fixtures/targets": {},
		// Containers are for whoever has Docker, and for tests.
		"fixtures/containers":       {},
		"fixtures/containers/run":   {"fixtures/containers"},
		"fixtures/targets/authelia": {"fixtures/targets/recipe"},
		"fixtures/targets/hydra":    {"fixtures/targets/recipe"},
		"fixtures/targets/recipe":   {},
		"fixtures/vendors":          {"fixtures/targets", "harness", "reports"},
	}
	seen := map[string]bool{}
	for _, p := range list(t, "./...") {
		name := within(p.ImportPath)
		seen[name] = true
		allowed, known := may[name]
		if !known {
			t.Errorf("%s has no place in the directions of imports; give it one here", name)
			continue
		}
		for _, imported := range p.Imports {
			if strings.HasPrefix(imported, module) && !slices.Contains(allowed, within(imported)) {
				t.Errorf("%s imports %s", name, within(imported))
			}
		}
		for _, dep := range p.Deps {
			if slices.Contains([]string{"harness", "fixtures", "reports", "attacks"}, name) && strings.HasPrefix(dep, "github.com/onsi/") {
				t.Errorf("%s links %s: it must know no test framework", name, dep)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(may)) {
		if !seen[name] {
			t.Errorf("there is no package %s", name)
		}
	}
}

// within is the path of a package inside the module; "." is the command.
func within(path string) string {
	if path == module {
		return "."
	}
	return strings.TrimPrefix(path, module+"/")
}

// Everything that only tests need stays out of the command: containers above all, which bring hundreds of packages along.
func TestCommandLinksNoTestTools(t *testing.T) {
	for _, p := range list(t, "-deps", ".") {
		for _, unwanted := range []string{"github.com/testcontainers/", "github.com/rogpeppe/go-internal/", "github.com/docker/", "github.com/moby/"} {
			if strings.HasPrefix(p.ImportPath, unwanted) {
				t.Errorf("the command links %s", p.ImportPath)
			}
		}
	}
}
