package harness

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// yamlPlace is a value of the file: its node, never an alias, and its key path.
type yamlPlace struct {
	node *yaml.Node
	path string
}

// yamlTable is a mapping: its values by key, in the order of the file.
type yamlTable struct {
	yamlPlace
	names  []string
	values map[string]yamlPlace
	meant  []string // known keys that an unknown one is near to: not reported as missing too
}

// has reports whether the key is there, be its value right or wrong: a wrong value is reported once,
// not again as a missing one.
func (t yamlTable) has(key string) bool {
	_, ok := t.values[key]
	return ok
}

// lacks reports whether the key is neither there nor misspelt.
func (t yamlTable) lacks(key string) bool { return !t.has(key) && !slices.Contains(t.meant, key) }

func (l *targetLoader) at(node *yaml.Node, path string) yamlPlace {
	node = followAlias(node)
	if _, seen := l.lines[path]; !seen {
		l.lines[path] = node.Line
	}
	return yamlPlace{node, path}
}

func (l *targetLoader) problem(at yamlPlace, wrong, right string) {
	l.problemOnLine(at.node.Line, at.path, wrong, right)
}

func (l *targetLoader) problemOnLine(line int, key, wrong, right string) {
	l.problems = append(l.problems, TargetProblem{l.name, line, key, wrong, right})
}

// --- the document ---

// document parses the text and returns its root, a mapping within the bounds, or nil and a problem.
func (l *targetLoader) document(data []byte) *yaml.Node {
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // editors on Windows write it
	if !l.readable(data) {
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var first, second yaml.Node
	if err := decoder.Decode(&first); err != nil {
		l.syntax(data, err)
		return nil
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		l.problemOnLine(second.Line, "", "a second document starts here", "keep one document in a file, without a further ---")
		return nil
	case !errors.Is(err, io.EOF):
		l.syntax(data, err)
		return nil
	}
	if len(first.Content) != 1 {
		l.empty()
		return nil
	}
	return l.root(first.Content[0])
}

func (l *targetLoader) root(root *yaml.Node) *yaml.Node {
	budget := maxTargetNodes
	if !l.bounded(root, 1, &budget) {
		return nil
	}
	if l.drafted(root) {
		return nil
	}
	root = followAlias(root)
	switch {
	case root.ShortTag() == "!!null":
		l.empty()
		return nil
	case root.Kind != yaml.MappingNode:
		l.problemOnLine(root.Line, "", describeNode(root), "write keys and values, starting with issuer: https://…")
		return nil
	}
	return root
}

func (l *targetLoader) empty() {
	l.problemOnLine(0, "", "is empty", "it needs at least issuer and clients")
}

// readable checks what the parser would report without a line, or not at all.
func (l *targetLoader) readable(data []byte) bool {
	if len(data) > maxTargetBytes {
		l.problemOnLine(0, "", "is larger than 1 MiB", "keep keys and certificates in files of their own")
		return false
	}
	if bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) {
		l.problemOnLine(1, "", "is UTF-16", "save it as UTF-8")
		return false
	}
	line := 1
	for rest := data; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		switch {
		case r == utf8.RuneError && size == 1:
			l.problemOnLine(line, "", "is not UTF-8", "save it as UTF-8")
			return false
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r == 0x7f:
			l.problemOnLine(line, "", fmt.Sprintf("holds the control character U+%04X", r), `write it as an escape in double quotes, or remove it`)
			return false
		case r == '\n':
			line++
		}
		rest = rest[size:]
	}
	return true
}

// syntax reports what the YAML parser refuses. Its words for an unknown alias quote the text, which
// may be a password that starts with an asterisk.
func (l *targetLoader) syntax(data []byte, err error) {
	if errors.Is(err, io.EOF) {
		l.empty()
		return
	}
	text, line := strings.TrimPrefix(err.Error(), "yaml: "), 1 // the parser does not say "line 1"
	if match := regexp.MustCompile(`(?s)^(?:.*?)line (\d+): (.*)$`).FindStringSubmatch(text); match != nil {
		line, _ = strconv.Atoi(match[1])
		text = match[2]
	}
	right := "mend the YAML; most often the indentation, a missing space after a colon, or missing quotes"
	anchor := regexp.MustCompile(`^unknown anchor '(.*)' referenced$`).FindStringSubmatch(text)
	switch tab := tabLine(data); {
	case anchor != nil:
		before, _, _ := bytes.Cut(data, []byte("*"+anchor[1]))
		line, text, right = 1+bytes.Count(before, []byte("\n")), "an alias has no anchor", "put a value that starts with * into quotes"
	case tab > 0:
		line, text, right = tab, "is indented with a tab", "YAML is indented with spaces"
	}
	l.problemOnLine(line, "", "is not YAML: "+text, right)
}

// tabLine returns the first line that has a tab in its indentation, or 0.
func tabLine(data []byte) int {
	number := 0
	for line := range bytes.Lines(data) {
		number++
		indent := line[:len(line)-len(bytes.TrimLeft(line, " \t"))]
		if bytes.ContainsRune(indent, '\t') && len(bytes.TrimSpace(line)) > 0 {
			return number
		}
	}
	return 0
}

// bounded walks the tree with every alias expanded, so that all later steps may recurse without a
// thought: not too many nodes, not too deep (an alias inside its own anchor is endless), no own tags.
func (l *targetLoader) bounded(node *yaml.Node, depth int, budget *int) bool {
	if *budget--; *budget < 0 {
		l.problemOnLine(node.Line, "", fmt.Sprintf("holds more than %d values, with aliases expanded", maxTargetNodes), "use fewer aliases")
		return false
	}
	if depth > maxTargetDepth {
		l.problemOnLine(node.Line, "", fmt.Sprintf("is nested deeper than %d levels, or an alias contains itself", maxTargetDepth), "write it flatter")
		return false
	}
	if node.Kind == yaml.AliasNode {
		return l.bounded(node.Alias, depth+1, budget)
	}
	if node.Style&yaml.TaggedStyle != 0 {
		l.problemOnLine(node.Line, "", "a value has a YAML tag (!…)", "remove the tag; put a text that starts with ! into quotes")
		return false
	}
	for _, child := range node.Content {
		if !l.bounded(child, depth+1, budget) {
			return false
		}
	}
	return true
}

// drafted reports what a draft left to fill in, all of it: every other problem would follow from that.
func (l *targetLoader) drafted(node *yaml.Node) bool {
	if what, found := strings.CutPrefix(node.Value, placeholder); found && node.Kind == yaml.ScalarNode {
		l.problemOnLine(node.Line, "", "is not filled in", "replace the placeholder by "+what)
	}
	for _, child := range node.Content {
		l.drafted(child)
	}
	return len(l.problems) > 0
}

func followAlias(node *yaml.Node) *yaml.Node {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return node
}

// --- mappings and lists ---

// table reads a mapping that takes only the keys of the list.
func (l *targetLoader) table(at yamlPlace, known []string) (yamlTable, bool) {
	table, ok := l.openTable(at)
	if !ok {
		return table, false
	}
	for _, name := range table.names {
		if !slices.Contains(known, name) {
			l.problemOnLine(l.lines[keyPath(at.path, name)], keyPath(at.path, name), "unknown key", suggestKey(name, known))
			table.meant = append(table.meant, nearestKey(name, known))
			delete(table.values, name)
		}
	}
	return table, true
}

// openTable reads a mapping with free keys. Merge keys (<<) are honoured: they come with anchors.
func (l *targetLoader) openTable(at yamlPlace) (yamlTable, bool) {
	table := yamlTable{yamlPlace: at, values: map[string]yamlPlace{}}
	if at.node.Kind != yaml.MappingNode {
		l.problem(at, describeNode(at.node), "write keys and values")
		return table, false
	}
	first := map[string]int{}
	var merged []*yaml.Node
	for i := 0; i+1 < len(at.node.Content); i += 2 {
		key, value := followAlias(at.node.Content[i]), at.node.Content[i+1]
		switch path := keyPath(at.path, key.Value); {
		case key.ShortTag() == "!!merge":
			merged = append(merged, followAlias(value))
		case key.Kind != yaml.ScalarNode:
			l.problemOnLine(key.Line, at.path, "a key is a list or a mapping", "a key is a word")
		case first[key.Value] > 0:
			l.problemOnLine(key.Line, path, fmt.Sprintf("is a duplicate: line %d has this key too", first[key.Value]), "keep one of them")
		default:
			first[key.Value] = key.Line
			if _, seen := l.lines[path]; !seen { // a merged mapping comes after the keys that override it
				l.lines[path] = key.Line
			}
			table.names = append(table.names, key.Value)
			table.values[key.Value] = l.at(value, path)
		}
	}
	for _, node := range merged {
		l.merge(&table, node)
	}
	return table, true
}

// merge adds the keys of a merged mapping, or list of mappings, that are not there already.
func (l *targetLoader) merge(table *yamlTable, node *yaml.Node) {
	if node.Kind == yaml.SequenceNode {
		for _, item := range node.Content {
			l.merge(table, followAlias(item))
		}
		return
	}
	from, ok := l.openTable(yamlPlace{node, table.path})
	if !ok {
		return
	}
	for _, name := range from.names {
		if !table.has(name) {
			table.names = append(table.names, name)
			table.values[name] = from.values[name]
		}
	}
}

// list reads a sequence.
func (l *targetLoader) list(at yamlPlace) []yamlPlace {
	if at.node.Kind != yaml.SequenceNode {
		l.problem(at, describeNode(at.node), "write a list: [a, b], or one item a line after a dash")
		return nil
	}
	items := make([]yamlPlace, len(at.node.Content))
	for i, node := range at.node.Content {
		items[i] = l.at(node, fmt.Sprintf("%s[%d]", at.path, i))
	}
	return items
}

// filled reads a sequence that has to have items.
func (l *targetLoader) filled(at yamlPlace, right string) []yamlPlace {
	items := l.list(at)
	if at.node.Kind == yaml.SequenceNode && len(items) == 0 {
		l.problem(at, "is an empty list", right)
	}
	return items
}

// keyPath joins a path and a key; a key that is no plain word is quoted, so that a path stays one line.
func keyPath(path, key string) string {
	switch {
	case !regexp.MustCompile(`^[A-Za-z0-9_-]+$`).MatchString(key):
		return path + "[" + strconv.Quote(key) + "]"
	case path == "":
		return key
	}
	return path + "." + key
}

// suggestKey names the nearest known key or, if none is near, all of them.
func suggestKey(name string, known []string) string {
	if near := nearestKey(name, known); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	return "known here: " + strings.Join(known, ", ")
}

// nearestKey returns the known key that differs by the fewest letters, or a longer one that
// contains it, or "" if all are far. Case, hyphens and underscores do not count: clientId is client_id.
func nearestKey(name string, known []string) string {
	plain := strings.NewReplacer("_", "", "-", "").Replace
	wanted := plain(strings.ToLower(name))
	if len(wanted) > 64 {
		return "" // longer than any key, and the distance is quadratic
	}
	best, distance := "", max(2, len(wanted)/3)+1
	for _, key := range known {
		if d := editDistance(wanted, plain(strings.ToLower(key))); d < distance && d < len(wanted) {
			best, distance = key, d
		}
	}
	if best != "" || len(wanted) < 4 {
		return best
	}
	for _, key := range known { // "secret" for client_secret, "user" for username
		if strings.Contains(plain(strings.ToLower(key)), wanted) {
			return key
		}
	}
	return ""
}

// editDistance is the Levenshtein distance in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// describeNode says what a value is, without the value: it may be a secret.
func describeNode(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "is a mapping"
	case yaml.SequenceNode:
		return "is a list"
	}
	switch node.ShortTag() {
	case "!!null":
		return "has no value"
	case "!!bool":
		return "is true or false"
	case "!!int", "!!float":
		return "is a number"
	}
	return "is a text"
}

// --- scalars ---

// anyText reads a text, which may be empty. A date counts as text: YAML 1.1 alone thinks otherwise.
func (l *targetLoader) anyText(at yamlPlace) (string, bool) {
	switch at.node.ShortTag() {
	case "!!str", "!!timestamp":
		return at.node.Value, true
	case "!!bool", "!!int", "!!float":
		l.problem(at, describeNode(at.node), "a text is wanted: put it in quotes")
	case "!!null":
		l.problem(at, describeNode(at.node), "write a text, or remove the key")
	default:
		l.problem(at, describeNode(at.node), "write a text")
	}
	return "", false
}

// text reads a text that is not empty.
func (l *targetLoader) text(at yamlPlace) (string, bool) {
	text, ok := l.anyText(at)
	if ok && strings.TrimSpace(text) == "" {
		l.problem(at, "is empty", "write a text, or remove the key")
		return "", false
	}
	return text, ok
}

// textOf reads the text under a key; "" if there is none.
func (l *targetLoader) textOf(table yamlTable, key string) string {
	if at, ok := table.values[key]; ok {
		text, _ := l.text(at)
		return text
	}
	return ""
}

// matching reads a text under a key that must match the pattern; right describes what matches.
func (l *targetLoader) matching(table yamlTable, key, pattern, right string) string {
	text := l.textOf(table, key)
	if text != "" && !regexp.MustCompile(pattern).MatchString(text) {
		l.problem(table.values[key], fmt.Sprintf("%q is not allowed", clip(text)), right)
		return ""
	}
	return text
}

// clip shortens a value for a message.
func clip(text string) string {
	if runes := []rune(text); len(runes) > 80 {
		return string(runes[:80]) + "…"
	}
	return text
}

// oneOf reads a text from a closed list.
func (l *targetLoader) oneOf(at yamlPlace, allowed []string) string {
	text, ok := l.text(at)
	if !ok || slices.Contains(allowed, text) {
		return text
	}
	right := "write one of " + strings.Join(allowed, ", ")
	if near := nearestKey(text, allowed); near != "" {
		right = fmt.Sprintf("did you mean %s? %s", near, right)
	}
	l.problem(at, fmt.Sprintf("%q is unknown", clip(text)), right)
	return ""
}

// choice is oneOf under a key, with a default.
func (l *targetLoader) choice(table yamlTable, key string, allowed []string, fallback string) string {
	if at, ok := table.values[key]; ok {
		return l.oneOf(at, allowed)
	}
	return fallback
}

// flag reads true or false under a key; false if there is none.
func (l *targetLoader) flag(table yamlTable, key string) bool {
	at, ok := table.values[key]
	return ok && l.boolean(at)
}

func (l *targetLoader) boolean(at yamlPlace) bool {
	var value bool
	if at.node.ShortTag() != "!!bool" || at.node.Decode(&value) != nil {
		l.problem(at, describeNode(at.node), "write true or false, without quotes")
	}
	return value
}

// number reads a finite number.
func (l *targetLoader) number(at yamlPlace, right string) (float64, bool) {
	var value float64
	tag := at.node.ShortTag()
	if tag != "!!int" && tag != "!!float" {
		l.problem(at, describeNode(at.node), right)
		return 0, false
	}
	if at.node.Decode(&value) != nil || math.IsNaN(value) || math.IsInf(value, 0) {
		l.problem(at, "is no finite number", right)
		return 0, false
	}
	return value, true
}

// count reads a whole number within bounds under a key.
func (l *targetLoader) count(table yamlTable, key string, low, high, fallback int) int {
	at, ok := table.values[key]
	if !ok {
		return fallback
	}
	right := fmt.Sprintf("write a whole number from %d to %d", low, high)
	value, ok := l.number(at, right)
	if !ok {
		return fallback
	}
	if value != math.Trunc(value) || value < float64(low) || value > float64(high) {
		l.problem(at, at.node.Value+" is not allowed", right)
		return fallback
	}
	return int(value)
}

// texts reads a list of texts without repetition.
func (l *targetLoader) texts(at yamlPlace, read func(yamlPlace) (string, bool)) []string {
	var all []string
	for _, item := range l.list(at) {
		text, ok := read(item)
		switch {
		case !ok:
		case slices.Contains(all, text):
			l.problem(item, "is in the list twice", "remove one of them")
		default:
			all = append(all, text)
		}
	}
	return all
}

// textMap reads a mapping of free names to texts.
func (l *targetLoader) textMap(at yamlPlace, read func(name string, value yamlPlace) (string, bool)) map[string]string {
	table, ok := l.openTable(at)
	if !ok {
		return nil
	}
	all := map[string]string{}
	for _, name := range table.names {
		value := table.values[name]
		if strings.TrimSpace(name) == "" {
			l.problem(value, "has an empty name", "write a name before the colon")
			continue
		}
		if text, ok := read(name, value); ok {
			all[name] = text
		}
	}
	return all
}

// --- values of any kind ---

// membersOf reads the members of a JWT under a key.
func (l *targetLoader) membersOf(table yamlTable, key string, reserved []string) map[string]any {
	if at, ok := table.values[key]; ok {
		return l.members(at, reserved)
	}
	return nil
}

// members reads an object of any JSON, but for members that popcheck sets itself.
func (l *targetLoader) members(at yamlPlace, reserved []string) map[string]any {
	members, ok := l.openTable(at)
	if !ok {
		return nil
	}
	out := map[string]any{}
	for _, name := range members.names {
		value := members.values[name]
		if slices.Contains(reserved, name) {
			l.problem(value, "popcheck sets it itself", "remove it")
			continue
		}
		if member, ok := l.json(value); ok {
			out[name] = member
		}
	}
	return out
}

// json reads any value as encoding/json would: numbers are float64.
func (l *targetLoader) json(at yamlPlace) (any, bool) {
	switch at.node.Kind {
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range l.list(at) {
			if value, ok := l.json(item); ok {
				list = append(list, value)
			}
		}
		return list, true
	case yaml.MappingNode:
		return l.members(at, nil), true
	}
	switch at.node.ShortTag() {
	case "!!int", "!!float":
		return l.number(at, "write a number that JSON can hold")
	case "!!bool":
		return l.boolean(at), true
	case "!!null":
		return nil, true
	}
	return l.anyText(at)
}
