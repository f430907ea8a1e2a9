package harness

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// Registration is how clients are registered at the target (RFC 7591). Where the endpoint is, the metadata says.
type Registration struct {
	Line               int    // of the target file
	InitialAccessToken string // "": none is needed
	Certificate        *KeyPair
	Statement          *SoftwareStatement // nil: clients are registered without
}

// SoftwareStatement is what a trusted issuer says of the software (RFC 7591 §2.3): one that was given to the tester, or an issuer whose
// key the tester holds.
type SoftwareStatement struct {
	Line       int    // of the target file
	Given      string // as its issuer made it; "" where it is signed anew for each registration
	Issuer     string
	PrivateKey []byte // PEM or JWK
	KeyID      string
	Claims     map[string]any // in place of what the client is registered with, and beside it
}

// secrets are the values of the registration that no report may show.
func (r *Registration) secrets(add func(kind string, values ...string)) {
	if r == nil {
		return
	}
	add("initial_access_token", r.InitialAccessToken)
	if r.Certificate != nil {
		add("private_key", keyForms(r.Certificate.Key)...)
	}
	if s := r.Statement; s != nil {
		add("software_statement", s.Given)
		add("private_key", keyForms(s.PrivateKey)...)
	}
}

// registration reads how clients are registered.
func (l *targetLoader) registration(at yamlPlace) *Registration {
	table, ok := l.table(at, []string{"initial_access_token", "certificate", "software_statement"})
	if !ok {
		return nil
	}
	r := &Registration{Line: at.node.Line, InitialAccessToken: l.secretOf(table, "initial_access_token")}
	if at, ok := table.values["certificate"]; ok {
		r.Certificate, _ = l.keyPair(at)
	}
	if at, ok := table.values["software_statement"]; ok {
		r.Statement = l.softwareStatement(at)
	}
	return r
}

// softwareStatement reads an issuer with its key, or a statement that was made by one: a secret, with three parts.
func (l *targetLoader) softwareStatement(at yamlPlace) *SoftwareStatement {
	s := &SoftwareStatement{Line: at.node.Line}
	if at.node.Kind != yaml.MappingNode || l.refers(at) {
		s.Given, _ = l.secret(at)
		if s.Given != "" {
			if _, _, err := DecodeJWT(s.Given); err != nil {
				l.problem(at, "is no software statement", "write a signed JWT (RFC 7591 §2.3), or issuer: and private_key: of its issuer")
			}
		}
		return s
	}
	table, ok := l.table(at, []string{"issuer", "private_key", "key_id", "claims"})
	if !ok {
		return nil
	}
	l.needs(table, "issuer", "write what the server knows as iss, as in issuer: https://directory.example.com")
	l.needs(table, "private_key", "write private_key: {file: path}, PEM or JWK")
	s.Issuer, s.PrivateKey, s.KeyID = l.textOf(table, "issuer"), l.privateKey(table), l.textOf(table, "key_id")
	if at, ok := table.values["claims"]; ok {
		s.Claims = l.members(at, nil)
	}
	return s
}

// refers reports whether a mapping is {env: NAME} or {file: path}.
func (l *targetLoader) refers(at yamlPlace) bool {
	return len(at.node.Content) == 2 && (at.node.Content[0].Value == "env" || at.node.Content[0].Value == "file")
}

// clientName reads how keys of results call a client. Keys have to be the same in every run, and a client_id that the server invents is not.
func (l *targetLoader) clientName(table yamlTable, id string) string {
	name := l.matching(table, "name", `^[A-Za-z0-9._-]+$`, "use letters, digits, dots, hyphens and underscores")
	return valueOr(name, id)
}

// registered reads register: true, or the further members that a client is registered with (RFC 7591 §2).
func (l *targetLoader) registered(table yamlTable, c *Client) {
	at, ok := table.values["register"]
	if !ok {
		l.needs(table, "client_id", "write the client_id as it is registered, or register: true")
		return
	}
	switch {
	case at.node.Kind == yaml.MappingNode:
		c.Register, c.Metadata = true, l.members(at, nil)
	default:
		before := len(l.problems)
		if c.Register = l.boolean(at); len(l.problems) > before {
			return
		}
	}
	if !c.Register {
		l.needs(table, "client_id", "write the client_id as it is registered, or register: true")
		return
	}
	l.needs(table, "name", "write how reports call it, as in name: app: the server chooses its client_id")
	for _, key := range []string{"client_id", "client_secret"} {
		if table.has(key) {
			l.problem(table.values[key], "is chosen by the server, which registers this client", "remove it, or remove register")
		}
	}
}

// registrationOf is what the file says of registration, with its defaults: a client that is to be registered needs nothing more.
func (l *targetLoader) registrationOf(root yamlTable) *Registration {
	if at, ok := root.values["registration"]; ok {
		return l.registration(at)
	}
	for _, c := range l.target.Clients {
		if c.Register {
			return &Registration{Line: c.Line}
		}
	}
	return nil
}

// nameTwice reports whether a name or client_id is that of another client too.
func (l *targetLoader) nameTwice(all []Client, c Client, table yamlTable) {
	for _, other := range all {
		switch {
		case c.ClientID != "" && other.ClientID == c.ClientID:
			l.problem(table.values["client_id"], fmt.Sprintf("%q is the client_id of another client too", clip(c.ClientID)), "list each client once")
			return
		case c.Name != "" && other.Name == c.Name:
			l.problem(table.yamlPlace, fmt.Sprintf("%q is the name of another client too", clip(c.Name)), "give each its own name")
			return
		}
	}
}
