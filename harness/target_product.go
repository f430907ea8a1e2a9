package harness

import "strings"

// TargetProduct says which server runs behind the issuer, for those who read the report: metadata seldom tells.
type TargetProduct struct {
	Name, Version string
	Recipe        string // how it was started and set up, in one line
}

func productKeys() []string { return []string{"product", "version", "recipe"} }

func (l *targetLoader) product(root yamlTable) TargetProduct {
	line := func(key string) string {
		return l.matching(root, key, `^[^\x00-\x1f\x7f]{1,200}$`, "write one line of at most 200 characters")
	}
	return TargetProduct{Name: line("product"), Version: line("version"), Recipe: line("recipe")}
}

// Product is what the target file calls the server or, where it is silent, what the server says of itself in the Server header, if anything.
func (t *Tester) Product() TargetProduct {
	said := t.Target.Product
	if said.Name == "" && said.Version == "" {
		said.Name, said.Version = serverSoftware(t.serverHeader)
	}
	return TargetProduct{Name: t.Redactor.Text(said.Name), Version: t.Redactor.Text(said.Version), Recipe: t.Redactor.Text(said.Recipe)}
}

// serverSoftware is the first product of a Server field, "name/version (comment) …" (RFC 9110 §10.2.4).
func serverSoftware(header string) (name, version string) {
	name, version, _ = strings.Cut(header, "/")
	version, _, _ = strings.Cut(version, " ")
	return name, version
}
