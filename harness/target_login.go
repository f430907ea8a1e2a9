package harness

import (
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// loginKeys are those of login, and the drivers that each is for.
func loginKeys() map[string][]string {
	return map[string][]string{
		"fields":  {"form", "browser"},
		"command": {"exec"},
		"browser": {"browser"},
		"steps":   {"browser"},
		"consent": {"browser"},
	}
}

func (l *targetLoader) login(root yamlTable) Login {
	at, ok := root.values["login"]
	if !ok {
		return Login{Driver: defaultDriver}
	}
	keys := loginKeys()
	table, ok := l.table(at, append([]string{"driver"}, sortedKeys(keys)...))
	if !ok {
		return Login{}
	}
	login := Login{Line: l.lines["login"], Driver: l.choice(table, "driver", loginDrivers(), defaultDriver), Browser: l.textOf(table, "browser")}
	if strings.ContainsRune(login.Browser, filepath.Separator) {
		login.Browser = l.resolvePath(login.Browser)
	}
	if fields, ok := table.values["fields"]; ok {
		login.Fields = l.loginFields(fields)
	}
	if command, ok := table.values["command"]; ok {
		login.Command = l.command(command)
	}
	login.Steps, login.Consent = l.loginSteps(table, "steps"), l.loginSteps(table, "consent")
	for i, step := range login.Consent {
		if step.Fill != "" {
			l.problem(l.list(table.values["consent"])[i], "fills something in", "a consent is given by clicks: write {click: …}")
		}
	}
	if login.Driver == "exec" && table.lacks("command") {
		l.problem(at, "needs command", "write command: [program, argument]")
	}
	for _, key := range sortedKeys(keys) {
		if drivers := keys[key]; login.Driver != "" && table.has(key) && !slices.Contains(drivers, login.Driver) {
			whom, right := "drivers ", "remove it"
			if len(drivers) == 1 {
				whom, right = "driver ", "remove it, or write driver: "+drivers[0]
			}
			l.problem(table.values[key], "is for the "+whom+strings.Join(drivers, " and "), right)
		}
	}
	return login
}

// loginSteps reads what to do with the elements of a page, in order.
func (l *targetLoader) loginSteps(table yamlTable, key string) []LoginStep {
	at, ok := table.values[key]
	if !ok {
		return nil
	}
	var all []LoginStep
	for _, item := range l.list(at) {
		before := len(l.problems)
		table, ok := l.table(item, []string{"fill", "click", "with", "text"})
		if !ok || len(l.problems) > before {
			continue
		}
		step := LoginStep{Fill: l.textOf(table, "fill"), Click: l.textOf(table, "click"), Text: l.textOf(table, "text")}
		if with, ok := table.values["with"]; ok {
			step.With = l.oneOf(with, []string{"username", "password", "totp"})
		}
		switch {
		case table.has("fill") == table.has("click"):
			l.problem(item, "is no step", "write {fill: selector, with: username} or {click: selector}")
		case table.has("click") && (table.has("with") || table.has("text")):
			l.problem(item, "clicks, and has something to fill in", "remove with and text")
		case table.has("fill") && table.has("with") == table.has("text"):
			l.problem(item, "has to say what is filled in", "write with: username, password or totp; or text: …")
		}
		all = append(all, step)
	}
	return all
}

func (l *targetLoader) loginFields(at yamlPlace) map[string]string {
	table, ok := l.table(at, []string{"username", "password", "totp"})
	if !ok {
		return nil
	}
	fields := map[string]string{}
	for name := range table.values {
		fields[name] = l.textOf(table, name)
	}
	return fields
}

// command reads a list, or one text that is parted at spaces. A program that is given as a path is
// found from the target file, as every path is; a bare name is left to PATH.
func (l *targetLoader) command(at yamlPlace) []string {
	var command []string
	if at.node.Kind == yaml.SequenceNode {
		for _, item := range l.list(at) {
			text, _ := l.anyText(item)
			command = append(command, text)
		}
	} else {
		text, ok := l.text(at)
		if !ok {
			return nil
		}
		command = strings.Fields(text)
	}
	if len(command) == 0 || command[0] == "" {
		l.problem(at, "names no program", "write [program, argument]")
		return nil
	}
	if strings.ContainsRune(command[0], filepath.Separator) {
		if path, err := filepath.Abs(l.resolvePath(command[0])); err == nil {
			command[0] = path
		}
	}
	return command
}
