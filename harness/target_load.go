package harness

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Bounds of a target file. A file is written by hand: what is larger is a mistake or an alias bomb.
const (
	maxTargetBytes = 1 << 20 // also of each file that it names
	maxTargetNodes = 20_000  // with every alias expanded
	maxTargetDepth = 32
	maxBodyLimit   = 1 << 30 // bytes of limits.body: answers are held in memory
	minRSABits     = 2048    // RFC 7518 §3.3
)

// TargetProblem is one thing that is wrong with a target file.
type TargetProblem struct {
	File  string
	Line  int    // from 1; 0 if it is no matter of one line
	Key   string // clients[1].private_key.file; "" for the file as a whole
	Wrong string // what is wrong
	Right string // what would be right
}

// String returns "file:line: key: what is wrong; what would be right".
func (p TargetProblem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Key != "" {
		b.WriteString(": " + p.Key)
	}
	b.WriteString(": " + p.Wrong)
	if p.Right != "" {
		b.WriteString("; " + p.Right)
	}
	return b.String()
}

// TargetError holds all problems of a target file, by line. Its text never holds a secret of the file.
type TargetError struct {
	Problems []TargetProblem
}

// Error returns the problems, one a line.
func (e *TargetError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// LoadTarget reads a target file, resolves the secrets and keys that it names and checks it as a
// whole. An error is a *TargetError with every problem found. Nothing is sent anywhere.
func LoadTarget(path string) (*Target, error) {
	data, err := readBounded(path)
	if err != nil {
		problem := TargetProblem{File: path, Wrong: err.Error(), Right: "name a target file in YAML"}
		return nil, &TargetError{[]TargetProblem{problem}}
	}
	return ParseTarget(path, filepath.Dir(path), data)
}

// readBounded reads one byte more than allowed at most: the parser reports what is too large. It also
// takes a pipe, because a shell's <(…) is one.
func readBounded(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, plainFileError(err)
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.IsDir() {
		return nil, errors.New("is a directory")
	}
	data, err := io.ReadAll(io.LimitReader(file, maxTargetBytes+1))
	if err != nil {
		return nil, plainFileError(err)
	}
	return data, nil
}

// plainFileError drops the operation and the path, which the problem names already.
func plainFileError(err error) error {
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		return fmt.Errorf("cannot be read: %w", pathError.Err)
	}
	return fmt.Errorf("cannot be read: %w", err)
}

// ParseTarget is LoadTarget for data that was read already. Problems call the file name; relative
// paths in it start at dir.
func ParseTarget(name, dir string, data []byte) (*Target, error) {
	l := &targetLoader{name: name, dir: dir, lines: map[string]int{}}
	target := &Target{Path: name, Dir: dir}
	if root := l.document(data); root != nil {
		l.fill(target, l.at(root, ""))
	}
	if len(l.problems) > 0 {
		slices.SortStableFunc(l.problems, func(a, b TargetProblem) int { return cmp.Compare(a.Line, b.Line) })
		return nil, &TargetError{l.problems}
	}
	return target, nil
}

// targetLoader turns nodes into a Target and collects the problems on the way.
type targetLoader struct {
	name, dir string
	problems  []TargetProblem
	lines     map[string]int // of every key path that was visited
	target    *Target
}

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

// --- secrets and files ---

// secret reads {env: NAME}, {file: path} or a literal. One newline at the end of a file is its
// editor's, not the secret's.
func (l *targetLoader) secret(at yamlPlace) (string, bool) {
	if at.node.Kind != yaml.MappingNode {
		return l.text(at)
	}
	data, from, ok := l.reference(at)
	if !ok {
		return "", false
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case strings.TrimSpace(text) == "":
		l.problem(from, fmt.Sprintf("%q is empty", clip(from.node.Value)), "put the secret there")
		return "", false
	case !utf8.ValidString(text):
		l.problem(from, fmt.Sprintf("%q is not UTF-8", clip(from.node.Value)), "put the secret there as text")
		return "", false
	}
	return text, true
}

func (l *targetLoader) secretOf(table yamlTable, key string) string {
	if at, ok := table.values[key]; ok {
		text, _ := l.secret(at)
		return text
	}
	return ""
}

// reference reads what {env: NAME} or {file: path} names, and returns the place of the name. An
// unknown key that is near no known one is not repeated: it may be the secret itself.
func (l *targetLoader) reference(at yamlPlace) (data []byte, from yamlPlace, ok bool) {
	const right = "write {env: NAME} or {file: path}, one of the two"
	table, ok := l.openTable(at)
	if !ok {
		return nil, at, false
	}
	known := []string{"env", "file"}
	for _, name := range table.names {
		if slices.Contains(known, name) {
			continue
		}
		if near := nearestKey(name, known); near != "" {
			l.problemOnLine(l.lines[keyPath(at.path, name)], keyPath(at.path, name), "unknown key", fmt.Sprintf("did you mean %s?", near))
		} else {
			l.problem(at, "holds an unknown key", right)
		}
		return nil, at, false
	}
	if len(table.names) != 1 {
		l.problem(at, "names no source, or two", right)
		return nil, at, false
	}
	from = table.values[table.names[0]]
	if table.names[0] == "env" {
		data, ok = l.environment(from)
	} else {
		data, ok = l.fileAt(from)
	}
	return data, from, ok
}

func (l *targetLoader) environment(at yamlPlace) ([]byte, bool) {
	name, ok := l.text(at)
	if !ok {
		return nil, false
	}
	if !regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`).MatchString(name) {
		l.problem(at, "is no name of an environment variable", "write its name alone: letters, digits and _, without $")
		return nil, false
	}
	value, set := os.LookupEnv(name)
	switch {
	case !set:
		l.problem(at, fmt.Sprintf("the environment variable %s is not set", name), "export it before the run")
	case value == "":
		l.problem(at, fmt.Sprintf("the environment variable %s is empty", name), "give it a value before the run")
	}
	return []byte(value), value != ""
}

func (l *targetLoader) fileAt(at yamlPlace) ([]byte, bool) {
	path, ok := l.text(at)
	if !ok {
		return nil, false
	}
	data, err := readRegular(l.resolvePath(path))
	if err == nil && len(data) == 0 {
		err = errors.New("is empty")
	}
	if err != nil {
		l.problem(at, fmt.Sprintf("%q %v", clip(path), err), "name a file that can be read; relative paths start at the target file")
		return nil, false
	}
	return data, true
}

func (l *targetLoader) resolvePath(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(l.dir, path)
}

// readRegular refuses pipes and devices: reading one may wait for ever.
func readRegular(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, plainFileError(err)
	case info.IsDir():
		return nil, errors.New("is a directory")
	case !info.Mode().IsRegular():
		return nil, errors.New("is no regular file")
	case info.Size() > maxTargetBytes:
		return nil, errors.New("is larger than 1 MiB")
	}
	return readBounded(path)
}

// --- keys and certificates ---

// keyProblem is what is wrong with key material.
type keyProblem struct{ wrong, right string }

// material reads PEM from a path, {file}, {env}, or a literal that is PEM itself, so that a generated
// target file can stand alone.
func (l *targetLoader) material(at yamlPlace) (data []byte, from yamlPlace, ok bool) {
	if at.node.Kind == yaml.MappingNode {
		return l.reference(at)
	}
	text, ok := l.text(at)
	if !ok {
		return nil, at, false
	}
	if strings.HasPrefix(strings.TrimSpace(text), "-----BEGIN ") {
		return []byte(text), at, true
	}
	data, ok = l.fileAt(at)
	return data, at, ok
}

// privateKey reads the PEM or JWK of private_key.
func (l *targetLoader) privateKey(table yamlTable) []byte {
	at, ok := table.values["private_key"]
	if !ok {
		return nil
	}
	text, ok := l.secret(at)
	if !ok {
		return nil
	}
	if problem := checkClientKey([]byte(text)); problem != nil {
		if at.node.Kind == yaml.ScalarNode && !strings.Contains(text, "\n") && len(text) < 256 {
			problem.right += "; if this is a path, write {file: path}"
		}
		l.problem(at, problem.wrong, problem.right)
		return nil
	}
	return []byte(text)
}

// checkClientKey takes the keys that a JWS algorithm exists for (RFC 7518 §3.1, RFC 8037 §3.1).
func checkClientKey(data []byte) *keyProblem {
	if trimmed := bytes.TrimSpace(data); bytes.HasPrefix(trimmed, []byte("{")) {
		return checkJWK(trimmed)
	}
	key, problem := parsePEMKey(data)
	if problem != nil {
		return problem
	}
	const right = "use EC P-256, P-384 or P-521, RSA of at least 2048 bits, or Ed25519"
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if key.N.BitLen() < minRSABits {
			return &keyProblem{fmt.Sprintf("is an RSA key of %d bits", key.N.BitLen()), right}
		}
	case *ecdsa.PrivateKey:
		if name := key.Curve.Params().Name; !slices.Contains(jwkCurves("EC"), name) {
			return &keyProblem{"is an EC key on " + name, right}
		}
	case ed25519.PrivateKey:
	default:
		return &keyProblem{"is a key of a kind that cannot sign assertions", right}
	}
	return nil
}

// parsePEMKey reads the first private key of a PEM: PKCS #8, PKCS #1 or SEC 1.
func parsePEMKey(data []byte) (crypto.Signer, *keyProblem) {
	const right = "use an unencrypted key as PEM (PKCS #8, PKCS #1 or SEC 1)"
	var block *pem.Block
	for block, data = pem.Decode(data); block != nil; block, data = pem.Decode(data) {
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			break
		}
	}
	if block == nil {
		return nil, &keyProblem{"holds no private key", right}
	}
	if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
		return nil, &keyProblem{"is encrypted, and popcheck asks for no passphrase", "decrypt it: openssl pkey -in old.key -out new.key"}
	}
	var key any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	default:
		return nil, &keyProblem{fmt.Sprintf("holds a %q", clip(block.Type)), right}
	}
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, &keyProblem{"holds a private key that cannot be read", right} // err may quote bytes of the key
	}
	return signer, nil
}

// checkJWK checks the form of a private JWK (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
func checkJWK(data []byte) *keyProblem {
	const right = "use one private JWK with kty EC, RSA or OKP and its member d"
	var jwk map[string]any
	if json.Unmarshal(data, &jwk) != nil {
		return &keyProblem{"is not JSON", right}
	}
	kty, _ := jwk["kty"].(string)
	crv, _ := jwk["crv"].(string)
	private, _ := jwk["d"].(string)
	switch {
	case jwk["keys"] != nil:
		return &keyProblem{"is a JWK Set", right}
	case kty == "":
		return &keyProblem{"has no kty", right}
	case kty == "oct":
		return &keyProblem{"is a symmetric key", "use client_secret with client_secret_jwt, or an EC, RSA or OKP key"}
	case jwkCurves(kty) == nil && kty != "RSA":
		return &keyProblem{fmt.Sprintf("has the unknown kty %q", clip(kty)), right}
	case private == "":
		return &keyProblem{"is a public key: it has no member d", right}
	case kty != "RSA" && !slices.Contains(jwkCurves(kty), crv):
		return &keyProblem{fmt.Sprintf("has the crv %q", clip(crv)), "use " + strings.Join(jwkCurves(kty), ", ")}
	case kty == "RSA" && jwkBits(jwk["n"]) < minRSABits:
		return &keyProblem{"is an RSA key of fewer than 2048 bits", "use at least 2048 bits"}
	}
	return nil
}

// jwkCurves returns the curves of a kty that a JWS algorithm exists for; nil if it has none.
func jwkCurves(kty string) []string {
	switch kty {
	case "EC":
		return []string{"P-256", "P-384", "P-521"}
	case "OKP":
		return []string{"Ed25519"}
	}
	return nil
}

// jwkBits returns the size of an RSA modulus in bits, rounded up to bytes; 0 if it is none.
func jwkBits(modulus any) int {
	text, _ := modulus.(string)
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return 0
	}
	return len(bytes.TrimLeft(raw, "\x00")) * 8
}

// parseChain reads every certificate of a PEM, the leaf first.
func parseChain(data []byte) ([]*x509.Certificate, *keyProblem) {
	const right = "use PEM: -----BEGIN CERTIFICATE----- …, the leaf first"
	var chain []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, &keyProblem{fmt.Sprintf("certificate %d cannot be read: %v", len(chain)+1, err), right}
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, &keyProblem{"holds no certificate", right}
	}
	return chain, nil
}

// chain reads the certificates at a place.
func (l *targetLoader) chain(at yamlPlace) ([]byte, []*x509.Certificate) {
	data, from, ok := l.material(at)
	if !ok {
		return nil, nil
	}
	chain, problem := parseChain(data)
	if problem != nil {
		l.problem(from, problem.wrong, problem.right)
		return nil, nil
	}
	return data, chain
}

// keyPair reads {cert, key} and checks that they belong together. The chain is nil after a problem.
func (l *targetLoader) keyPair(at yamlPlace) (*KeyPair, []*x509.Certificate) {
	table, ok := l.table(at, []string{"cert", "key"})
	if !ok {
		return nil, nil
	}
	l.needs(table, "cert", "write cert: path of the certificate chain, PEM")
	l.needs(table, "key", "write key: path of the private key, PEM")
	pair := &KeyPair{}
	var chain []*x509.Certificate
	if cert, ok := table.values["cert"]; ok {
		pair.Cert, chain = l.chain(cert)
	}
	key, ok := table.values["key"]
	if !ok {
		return nil, nil
	}
	data, from, ok := l.material(key)
	if !ok {
		return nil, nil
	}
	pair.Key = data
	signer, problem := parsePEMKey(data)
	if problem == nil && chain != nil {
		problem = matchKey(signer, chain)
	}
	if problem != nil {
		l.problem(from, problem.wrong, problem.right)
		return nil, nil
	}
	return pair, chain
}

// matchKey checks that the key is that of the leaf, the first of the chain.
func matchKey(key crypto.Signer, chain []*x509.Certificate) *keyProblem {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	for i, cert := range chain {
		switch {
		case !ok || !public.Equal(cert.PublicKey):
		case i == 0:
			return nil
		default:
			return &keyProblem{fmt.Sprintf("belongs to certificate %d of the chain, not to the first", i+1), "put the certificate of the key first"}
		}
	}
	return &keyProblem{"does not match the certificate", "use the key that the first certificate was issued for"}
}

// authority reads client_ca or second_client_ca: a key pair that may sign certificates (RFC 5280 §4.2.1.3, §4.2.1.9).
func (l *targetLoader) authority(at yamlPlace) *KeyPair {
	pair, chain := l.keyPair(at)
	if chain == nil {
		return nil
	}
	ca := chain[0]
	switch {
	case !ca.BasicConstraintsValid || !ca.IsCA:
		l.problem(at, "its certificate is not that of a CA", "use one with basic constraints CA:TRUE")
	case ca.KeyUsage != 0 && ca.KeyUsage&x509.KeyUsageCertSign == 0:
		l.problem(at, "its certificate may not sign certificates", "use one with key usage keyCertSign, or without key usage")
	}
	return pair
}

// --- URLs and hosts ---

// absoluteURL reads an https URL without user and fragment. Plain http is for loopback alone: tokens
// travel there.
func (l *targetLoader) absoluteURL(at yamlPlace) (*url.URL, bool) {
	text, ok := l.text(at)
	if !ok {
		return nil, false
	}
	u, err := url.Parse(text)
	const right = "write an absolute URL: https://host/path"
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		l.problem(at, "is no absolute URL", right)
	case u.User != nil:
		l.problem(at, "holds user information", "remove what stands before the @")
	case !validHost(u.Hostname()) || !validPort(u.Port()) || strings.HasSuffix(u.Host, ":"):
		l.problem(at, fmt.Sprintf("%q is no host", clip(u.Host)), right)
	case strings.Contains(text, "#"):
		l.problem(at, "has a fragment", "remove # and what follows: it is never sent")
	case strings.ContainsFunc(text, unicode.IsSpace):
		l.problem(at, "holds a space", "write it as %20, or remove it")
	case !strings.HasPrefix(text, u.Scheme):
		l.problem(at, "has a scheme in capitals", "write "+strings.ToLower(u.Scheme))
	case u.Scheme == "http" && !l.target.loopback(u.Hostname()):
		l.problem(at, "is http, and its host is not loopback", "use https, or 127.0.0.1, ::1 or localhost")
	case u.Scheme != "https" && u.Scheme != "http":
		l.problem(at, fmt.Sprintf("has the scheme %q", clip(u.Scheme)), "use https")
	default:
		return u, true
	}
	return nil, false
}

// validHost takes an IP address, or a name that could be one of DNS (underscores are in use).
func validHost(host string) bool {
	name := CanonicalHost(host)
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return len(name) <= 253 && regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`).MatchString(name)
}

// hostEntry reads an entry of hosts: host or host:port.
func (l *targetLoader) hostEntry(at yamlPlace) (string, bool) {
	text, ok := l.text(at)
	if !ok {
		return "", false
	}
	host, port := splitHost(text)
	right := "write a host or host:port, as in api.example.com or \"[::1]:8443\""
	switch u, err := url.Parse(text); {
	case strings.Contains(text, "://") && err == nil && u.Host != "":
		l.problem(at, "is a URL", "write its host alone: "+u.Host)
	case strings.Contains(host, "*"):
		l.problem(at, "holds a wildcard", "name each host: nothing else may be contacted")
	case !validHost(host) || !validPort(port) || strings.HasSuffix(text, ":") && !strings.Contains(text, "::"):
		l.problem(at, fmt.Sprintf("%q is no host", clip(text)), right)
	default:
		return text, true
	}
	return "", false
}

// redirectURI reads a URI that popcheck reads from redirects (RFC 6749 §3.1.2, RFC 8252 §7).
func (l *targetLoader) redirectURI(at yamlPlace) (string, bool) {
	text, ok := l.text(at)
	if !ok {
		return "", false
	}
	u, err := url.Parse(text)
	scripts := []string{"javascript", "data", "vbscript", "file", "blob", "about", "ws", "wss", "ftp"}
	switch {
	case err != nil || u.Scheme == "" || u.Host+u.Path+u.Opaque == "":
		l.problem(at, "is no absolute URI", "write one with a scheme: https://client.example/cb")
	case strings.Contains(text, "#"):
		l.problem(at, "has a fragment", "remove # and what follows (RFC 6749 §3.1.2)")
	case strings.ContainsFunc(text, unicode.IsSpace):
		l.problem(at, "holds a space", "write it as %20, or remove it")
	case u.Scheme == "http" && !Loopback(u.Hostname()):
		l.problem(at, "is http, and its host is not loopback", "use https, http on 127.0.0.1, [::1] or localhost, or a private-use scheme")
	case (u.Scheme == "https" || u.Scheme == "http") && (!validHost(u.Hostname()) || !validPort(u.Port())):
		l.problem(at, "names no host", "write one as in https://client.example/cb")
	case slices.Contains(scripts, u.Scheme):
		l.problem(at, fmt.Sprintf("has the scheme %q", u.Scheme), "use https, http on loopback, or a private-use scheme")
	default:
		return text, true
	}
	return "", false
}

// --- the sections ---

// needs reports a missing key on the line of its mapping.
func (l *targetLoader) needs(table yamlTable, key, right string) {
	if table.lacks(key) {
		l.problem(table.yamlPlace, "needs "+key, right)
	}
}

// fill reads the sections. request comes first: its resolve decides what is loopback. Then what other
// sections are held against: issuer and login.
func (l *targetLoader) fill(t *Target, at yamlPlace) {
	l.target = t
	root, ok := l.table(at, targetKeys())
	if !ok {
		return
	}
	sections := map[string]func(yamlPlace){
		"metadata":         func(at yamlPlace) { t.Metadata = l.metadata(at) },
		"hosts":            func(at yamlPlace) { t.Hosts = l.texts(at, l.hostEntry) },
		"tls":              func(at yamlPlace) { t.TLS = l.tls(at) },
		"clients":          func(at yamlPlace) { t.Clients = l.clients(at) },
		"users":            func(at yamlPlace) { t.Users = l.users(at) },
		"client_ca":        func(at yamlPlace) { t.ClientCA = l.authority(at) },
		"second_client_ca": func(at yamlPlace) { t.SecondClientCA = l.authority(at) },
		"assertion_issuer": func(at yamlPlace) { t.AssertionIssuer = l.assertionIssuer(at) },
		"resources":        func(at yamlPlace) { t.Resources = l.resources(at) },
		"waivers":          func(at yamlPlace) { t.Waivers = l.waivers(at) },
		"capabilities":     func(at yamlPlace) { t.Capabilities = l.capabilities(at) },
	}
	if request, ok := root.values["request"]; ok {
		t.Request = l.request(request)
	}
	if issuer, ok := root.values["issuer"]; ok {
		t.Issuer = l.issuer(issuer)
	}
	t.Login = l.login(root)
	for _, key := range slices.Sorted(maps.Keys(sections)) {
		if at, ok := root.values[key]; ok {
			sections[key](at)
		}
	}
	l.alone(root)
	t.Authorized = l.flag(root, "authorized")
	t.Profile = l.choice(root, "profile", profiles(), defaultProfile)
	t.Name = l.targetName(root)
	t.Product = l.product(root)
	t.Limits = l.limits(root)
	t.IntrospectionClient = l.introspectionClient(root)
	t.Registration = l.registrationOf(root)
	t.CertificateHeader = l.matching(root, "certificate_header", fieldName, "write the name of a header field: letters, digits and hyphens")
	l.checkUsers(root)
	l.checkAuthorized(root)
}

func (l *targetLoader) targetName(root yamlTable) string {
	if root.has("name") {
		return l.matching(root, "name", `^[^\x00-\x1f\x7f]{1,200}$`, "write one line of at most 200 characters")
	}
	known := l.target.Issuer
	if l.target.Alone() && len(l.target.Resources) > 0 {
		known = l.target.Resources[0].URL
	}
	if u, err := url.Parse(known); err == nil {
		return u.Host
	}
	return ""
}

// issuer reads the issuer identifier (RFC 8414 §2). It is kept letter by letter: comparisons are exact.
func (l *targetLoader) issuer(at yamlPlace) string {
	u, ok := l.absoluteURL(at)
	if !ok {
		return ""
	}
	if u.RawQuery != "" || u.ForceQuery {
		l.problem(at, "has a query", "remove ? and what follows (RFC 8414 §2)")
		return ""
	}
	return at.node.Value
}

// metadata reads members of the server's metadata. Unknown members are taken as they are.
func (l *targetLoader) metadata(at yamlPlace) map[string]any {
	table, ok := l.openTable(at)
	if !ok {
		return nil
	}
	all := map[string]any{}
	for _, name := range table.names {
		member := table.values[name]
		if value, ok := l.metadataMember(name, member); ok {
			all[name] = value
		}
	}
	return all
}

func (l *targetLoader) metadataMember(name string, at yamlPlace) (any, bool) {
	switch metadataKind(name) {
	case metadataText:
		return l.metadataText(name, at)
	case metadataURL:
		_, ok := l.absoluteURL(at)
		return at.node.Value, ok
	case metadataPage:
		return l.page(at)
	case metadataFlag:
		return l.boolean(at), true
	case metadataList:
		all := []any{}
		for _, text := range l.texts(at, l.text) {
			all = append(all, text)
		}
		return all, true
	case metadataAliases:
		return l.aliases(at)
	}
	return l.anything(at)
}

// metadataText reads issuer and signed_metadata. RFC 8414 §3.3: the issuer of the metadata is the one
// that was asked, so another one here can only be a slip.
func (l *targetLoader) metadataText(name string, at yamlPlace) (any, bool) {
	text, ok := l.text(at)
	if ok && name == "issuer" && l.target.Issuer != "" && text != l.target.Issuer {
		l.problem(at, "differs from the issuer of this file", "remove it: the issuer is said once, at the top")
	}
	return text, ok
}

func (l *targetLoader) page(at yamlPlace) (any, bool) {
	text, ok := l.text(at)
	if !ok {
		return nil, false
	}
	if u, err := url.Parse(text); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		l.problem(at, "is no absolute URL", "write one as in https://as.example.com/docs")
		return nil, false
	}
	return text, true
}

// aliases reads mtls_endpoint_aliases (RFC 8705 §5): endpoints by name.
func (l *targetLoader) aliases(at yamlPlace) (any, bool) {
	table, ok := l.openTable(at)
	if !ok {
		return nil, false
	}
	all := map[string]any{}
	for _, name := range table.names {
		if _, ok := l.absoluteURL(table.values[name]); ok {
			all[name] = table.values[name].node.Value
		}
	}
	return all, true
}

// anything reads a value as encoding/json would: numbers are float64.
func (l *targetLoader) anything(at yamlPlace) (any, bool) {
	switch at.node.Kind {
	case yaml.SequenceNode:
		all := []any{}
		for _, item := range l.list(at) {
			if value, ok := l.anything(item); ok {
				all = append(all, value)
			}
		}
		return all, true
	case yaml.MappingNode:
		table, ok := l.openTable(at)
		all := map[string]any{}
		for _, name := range table.names {
			if value, ok := l.anything(table.values[name]); ok {
				all[name] = value
			}
		}
		return all, ok
	}
	switch at.node.ShortTag() {
	case "!!null":
		return nil, true
	case "!!bool":
		return l.boolean(at), true
	case "!!int", "!!float":
		return l.number(at, "write a number that JSON can hold")
	}
	return l.anyText(at)
}

func (l *targetLoader) tls(at yamlPlace) TargetTLS {
	table, ok := l.table(at, []string{"ca"})
	if !ok || !table.has("ca") {
		return TargetTLS{}
	}
	data, _ := l.chain(table.values["ca"])
	return TargetTLS{CA: data}
}

func (l *targetLoader) request(at yamlPlace) TargetRequest {
	table, ok := l.table(at, []string{"headers", "proxy", "resolve"})
	if !ok {
		return TargetRequest{}
	}
	var r TargetRequest
	if headers, ok := table.values["headers"]; ok {
		r.Headers = l.headers(headers)
	}
	if resolve, ok := table.values["resolve"]; ok {
		r.Resolve = l.resolve(resolve)
	}
	if proxy, ok := table.values["proxy"]; ok {
		r.Proxy = l.proxy(proxy)
	}
	return r
}

// fieldName is the grammar of a header field's name (RFC 9110 §5.1).
const fieldName = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"

// headers reads names and values; a value may be a secret: a staging gate's token.
func (l *targetLoader) headers(at yamlPlace) map[string]string {
	seen := map[string]bool{}
	return l.textMap(at, func(name string, value yamlPlace) (string, bool) {
		lower := strings.ToLower(name)
		reason := refusedHeader(lower)
		switch {
		case !regexp.MustCompile(fieldName).MatchString(name):
			l.problem(value, "is no name of a header", "use letters, digits and hyphens")
		case reason != "":
			l.problem(value, "cannot be set for every request: "+reason, "remove it")
		case seen[lower]:
			l.problem(value, "is there in another spelling too", "keep one of them")
		default:
			seen[lower] = true
			return l.headerValue(value)
		}
		return "", false
	})
}

func (l *targetLoader) headerValue(at yamlPlace) (string, bool) {
	text, ok := l.secret(at)
	if ok && (strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) || strings.TrimSpace(text) != text) {
		l.problem(at, "holds a line break, another control character, or a space at an end", "write one line")
		return "", false
	}
	return text, ok
}

// resolve reads host → ip or ip:port, and keeps hosts in their canonical form.
func (l *targetLoader) resolve(at yamlPlace) map[string]string {
	all := map[string]string{}
	for name, address := range l.textMap(at, l.address) {
		all[CanonicalHost(name)] = address
	}
	return all
}

func (l *targetLoader) address(name string, at yamlPlace) (string, bool) {
	if !validHost(name) {
		l.problem(at, "is no host", "write a host without a port before the colon")
		return "", false
	}
	text, ok := l.text(at)
	if !ok {
		return "", false
	}
	if ip, err := netip.ParseAddr(text); err == nil {
		return ip.String(), true
	}
	if pair, err := netip.ParseAddrPort(text); err == nil && pair.Port() > 0 {
		return pair.String(), true
	}
	l.problem(at, fmt.Sprintf("%q is no IP address", clip(text)), `write an address, or address:port, as in 127.0.0.1:8443 or "[::1]:8443"`)
	return "", false
}

// proxy reads http://[user:password@]host:port. Messages do not repeat it: it may hold a password.
func (l *targetLoader) proxy(at yamlPlace) string {
	text, ok := l.secret(at)
	if !ok {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || !validHost(u.Hostname()) || !validPort(u.Port()) ||
		u.Path != "" && u.Path != "/" || strings.ContainsAny(text, "?#") {
		l.problem(at, "is no URL of an HTTP proxy", "write http://host:port or http://user:password@host:port")
		return ""
	}
	return text
}

func (l *targetLoader) users(at yamlPlace) []User {
	var all []User
	for _, item := range l.list(at) {
		table, ok := l.table(item, []string{"username", "password", "totp_seed"})
		if !ok {
			continue
		}
		l.needs(table, "username", "write username: …")
		if l.fillsPages() {
			l.needs(table, "password", "write password: {env: NAME}: the login driver fills it in")
		}
		user := User{
			Line:     item.node.Line,
			Username: l.textOf(table, "username"),
			Password: l.secretOf(table, "password"),
			TOTPSeed: l.totpSeed(table),
		}
		if user.Username != "" && slices.ContainsFunc(all, func(u User) bool { return u.Username == user.Username }) {
			l.problem(table.values["username"], "is a user of the list already", "name another user, or remove it")
		}
		all = append(all, user)
	}
	return all
}

// totpSeed reads a base32 seed (RFC 4648 §6) as apps show it: in groups, in any case, without padding.
func (l *targetLoader) totpSeed(table yamlTable) string {
	seed := strings.ToUpper(strings.NewReplacer(" ", "", "-", "", "=", "").Replace(l.secretOf(table, "totp_seed")))
	if _, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(seed); err != nil {
		l.problem(table.values["totp_seed"], "is not base32", "write the seed as the server shows it: letters A to Z and digits 2 to 7")
		return ""
	}
	return seed
}

func (l *targetLoader) resources(at yamlPlace) []Resource {
	var all []Resource
	for _, item := range l.list(at) {
		table, ok := l.table(item, []string{"name", "url", "method", "scope", "resource", "grants"})
		if !ok {
			continue
		}
		l.needs(table, "name", "write name: accounts")
		l.needs(table, "url", "write url: https://api.example.com/accounts")
		resource := Resource{
			Line:   item.node.Line,
			Name:   l.matching(table, "name", `^[a-z0-9_-]+$`, "use a to z, 0 to 9, - and _"),
			Method: defaultMethod,
			Scope:  l.scope(table),
			Status: l.grantStatus(table),

			// RFC 8707 §2: an absolute URI without a fragment.
			Indicator: l.matching(table, "resource", `^[A-Za-z][A-Za-z0-9+.-]*:[^#\s]+$`, "write the absolute URI that tokens for it are asked for with"),
		}
		if at, ok := table.values["url"]; ok {
			if _, ok := l.absoluteURL(at); ok {
				resource.URL = at.node.Value
			}
		}
		if table.has("method") {
			resource.Method = l.matching(table, "method", `^[A-Z]+(-[A-Z]+)*$`, "methods are written in capitals, as in GET")
		}
		if resource.Name != "" && slices.ContainsFunc(all, func(r Resource) bool { return r.Name == resource.Name }) {
			l.problem(table.values["name"], "is the name of another resource too", "give each its own name")
		}
		all = append(all, resource)
	}
	return all
}

// grantStatus reads grants: {status: …}. 401 and 403 are refusals (RFC 6750 §3.1): they prove nothing.
func (l *targetLoader) grantStatus(table yamlTable) int {
	at, ok := table.values["grants"]
	if !ok {
		return defaultStatus
	}
	grants, ok := l.table(at, []string{"status"})
	if !ok {
		return defaultStatus
	}
	status := l.count(grants, "status", 200, 599, defaultStatus)
	if status == 401 || status == 403 {
		l.problem(grants.values["status"], fmt.Sprintf("%d is how a resource refuses", status), "write the status that a good token gets")
	}
	return status
}

// scope reads a scope (RFC 6749 §3.3).
func (l *targetLoader) scope(table yamlTable) string {
	return l.matching(table, "scope", `^[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*$`, "write scope values, one space between them")
}

func (l *targetLoader) limits(root yamlTable) Limits {
	limits := Limits{Timeout: 10 * time.Second, Body: 1 << 20, Redirects: 10, FailedLogins: 3, Login: 5 * time.Minute}
	if !l.allLoopback() {
		limits.RequestsPerSecond = 20
	}
	at, ok := root.values["limits"]
	if !ok {
		return limits
	}
	table, ok := l.table(at, []string{"requests_per_second", "timeout", "body", "redirects", "failed_logins", "login"})
	if !ok {
		return limits
	}
	limits.Redirects = l.count(table, "redirects", 0, math.MaxInt32, limits.Redirects)
	limits.FailedLogins = l.count(table, "failed_logins", 0, math.MaxInt32, limits.FailedLogins)
	if at, ok := table.values["requests_per_second"]; ok {
		limits.RequestsPerSecond = l.rate(at)
	}
	if at, ok := table.values["timeout"]; ok {
		limits.Timeout = l.duration(at)
	}
	if at, ok := table.values["login"]; ok {
		limits.Login = l.duration(at)
	}
	if at, ok := table.values["body"]; ok {
		limits.Body = l.size(at)
	}
	return limits
}

func (l *targetLoader) rate(at yamlPlace) float64 {
	const right = "write a number above 0, as in 20 or 0.5"
	rate, ok := l.number(at, right)
	if ok && rate <= 0 {
		l.problem(at, at.node.Value+" is not allowed", right)
	}
	return rate
}

func (l *targetLoader) duration(at yamlPlace) time.Duration {
	const right = "write a duration above 0 with a unit, as in 10s, 1m30s or 500ms"
	if at.node.Kind != yaml.ScalarNode || !slices.Contains([]string{"!!str", "!!int", "!!float"}, at.node.ShortTag()) {
		l.problem(at, describeNode(at.node), right)
		return 0
	}
	value := at.node.Value
	duration, err := time.ParseDuration(value)
	if err != nil || duration <= 0 || at.node.ShortTag() != "!!str" || strings.HasPrefix(value, "+") {
		l.problem(at, fmt.Sprintf("%q is no such duration", clip(value)), right)
		return 0
	}
	return duration
}

// size reads a number of bytes: 1048576, 512KiB or 1MiB.
func (l *targetLoader) size(at yamlPlace) int64 {
	const right = "write bytes from 1 to 1GiB: 1048576, 512KiB or 1MiB"
	match := regexp.MustCompile(`^([1-9][0-9]{0,9})(B|KiB|MiB|GiB)?$`).FindStringSubmatch(at.node.Value)
	if tag := at.node.ShortTag(); match == nil || tag != "!!str" && tag != "!!int" {
		l.problem(at, "is no size", right)
		return 0
	}
	number, _ := strconv.ParseInt(match[1], 10, 64) // ten digits always fit
	shift := map[string]int{"": 0, "B": 0, "KiB": 10, "MiB": 20, "GiB": 30}[match[2]]
	if number > maxBodyLimit>>shift {
		l.problem(at, at.node.Value+" is not allowed", right)
		return 0
	}
	return number << shift
}

func (l *targetLoader) waivers(at yamlPlace) []Waiver {
	var all []Waiver
	for _, item := range l.list(at) {
		table, ok := l.table(item, []string{"id", "key", "reason", "until"})
		if !ok {
			continue
		}
		l.needs(table, "reason", "say why the finding is accepted")
		l.needs(table, "until", "write the last day, as in until: 2031-12-31")
		waiver := Waiver{Line: item.node.Line, Check: l.waived(table), Reason: l.textOf(table, "reason")}
		if until, ok := table.values["until"]; ok {
			waiver.Until = l.date(until)
		}
		if waiver.Check != "" && slices.ContainsFunc(all, func(w Waiver) bool { return w.Check == waiver.Check }) {
			l.problem(item, "waives what another waiver does", "keep one of them")
		}
		all = append(all, waiver)
	}
	return all
}

// waived reads what is waived: the id of a check, or the key of one result, id@endpoint….
func (l *targetLoader) waived(table yamlTable) string {
	if table.has("id") == table.has("key") {
		l.problem(table.yamlPlace, "needs id or key, one of the two", "write id: a check's id, or key: a result's key as a report shows it")
	}
	id := l.matching(table, "id", `^[^@\s]+$`, "an id has no @ and no space; for one place write key: instead")
	key := l.matching(table, "key", `^[^@\s]+@\S+$`, "a key is id@endpoint…, as a report shows it; for every place write id: instead")
	return cmp.Or(id, key)
}

func (l *targetLoader) date(at yamlPlace) time.Time {
	text, ok := l.text(at)
	if !ok {
		return time.Time{}
	}
	date, err := time.Parse(time.DateOnly, text)
	if err != nil {
		l.problem(at, fmt.Sprintf("%q is no date", clip(text)), "write YYYY-MM-DD")
	}
	return date
}

func (l *targetLoader) capabilities(at yamlPlace) map[string]bool {
	table, ok := l.table(at, KnownCapabilities())
	if !ok {
		return nil
	}
	all := map[string]bool{}
	for name, value := range table.values {
		all[name] = l.boolean(value)
	}
	return all
}

// assertionIssuer reads the issuer of the JWT bearer grant. It is a name: nothing is sent there.
func (l *targetLoader) assertionIssuer(at yamlPlace) *AssertionIssuer {
	table, ok := l.table(at, []string{"issuer", "private_key", "subject", "audience"})
	if !ok {
		return nil
	}
	l.needs(table, "issuer", "write what the server knows as iss, as in issuer: https://idp.example.com")
	l.needs(table, "private_key", "write private_key: {file: path}, PEM or JWK")
	l.needs(table, "subject", "write for whom a token is asked, as in subject: alice")
	return &AssertionIssuer{
		Line: at.node.Line, Issuer: l.textOf(table, "issuer"), PrivateKey: l.privateKey(table),
		Subject: l.textOf(table, "subject"), Audience: l.textOf(table, "audience"),
	}
}

// --- clients ---

func (l *targetLoader) clients(at yamlPlace) []Client {
	items := l.list(at)
	if at.node.Kind == yaml.SequenceNode && len(items) == 0 {
		l.problem(at, "is an empty list", "list at least one client")
	}
	var all []Client
	for _, item := range items {
		table, ok := l.table(item, clientKeys())
		if !ok {
			continue
		}
		client := l.client(table)
		l.nameTwice(all, client, table)
		all = append(all, client)
	}
	return all
}

// client reads one client. What is left out has the default of RFC 7591 §2.
func (l *targetLoader) client(table yamlTable) Client {
	c := Client{
		Line:                                  table.node.Line,
		ClientID:                              l.matching(table, "client_id", `^[\x20-\x7e]+$`, "use printable ASCII (RFC 6749 appendix A.1)"),
		TokenEndpointAuthMethod:               l.choice(table, "token_endpoint_auth_method", authMethods(), methodBasic),
		ClientSecret:                          l.secretOf(table, "client_secret"),
		PrivateKey:                            l.privateKey(table),
		GrantTypes:                            l.grants(table),
		Scope:                                 l.scope(table),
		AuthorizationParameters:               l.parameters(table, "authorization_parameters", reservedAuthorization()),
		TokenParameters:                       l.parameters(table, "token_parameters", reservedToken()),
		DPoPBoundAccessTokens:                 l.flag(table, "dpop_bound_access_tokens"),
		TLSClientCertificateBoundAccessTokens: l.flag(table, "tls_client_certificate_bound_access_tokens"),
		RequirePushedAuthorizationRequests:    l.flag(table, "require_pushed_authorization_requests"),
		TLSClientAuthSubjectDN:                l.textOf(table, "tls_client_auth_subject_dn"),
		TLSClientAuthSANDNS:                   l.textOf(table, "tls_client_auth_san_dns"),
		TLSClientAuthSANURI:                   l.textOf(table, "tls_client_auth_san_uri"),
		TLSClientAuthSANIP:                    l.sanIP(table),
		TLSClientAuthSANEmail:                 l.textOf(table, "tls_client_auth_san_email"),
	}
	c.Name = l.clientName(table, c.ClientID)
	l.registered(table, &c)
	if at, ok := table.values["certificate"]; ok {
		c.Certificate, _ = l.keyPair(at)
	}
	if at, ok := table.values["redirect_uris"]; ok {
		c.RedirectURIs = l.texts(at, l.redirectURI)
	}
	l.checkCredentials(table, c)
	l.checkSubject(table, c)
	return c
}

func (l *targetLoader) grants(table yamlTable) []string {
	at, ok := table.values["grant_types"]
	if !ok {
		return []string{grantCode}
	}
	all := l.texts(at, func(at yamlPlace) (string, bool) {
		grant := l.oneOf(at, grantTypes())
		return grant, grant != ""
	})
	if at.node.Kind == yaml.SequenceNode && len(at.node.Content) == 0 {
		l.problem(at, "is an empty list", "list the grants that the client may use")
	}
	return all
}

func (l *targetLoader) parameters(table yamlTable, key string, reserved []string) map[string]string {
	at, ok := table.values[key]
	if !ok {
		return nil
	}
	return l.textMap(at, func(name string, value yamlPlace) (string, bool) {
		if slices.Contains(reserved, name) {
			l.problem(value, "is a parameter that popcheck sets itself", "remove it: checks change it one at a time")
			return "", false
		}
		return l.anyText(value)
	})
}

func (l *targetLoader) sanIP(table yamlTable) string {
	text := l.textOf(table, "tls_client_auth_san_ip")
	if _, err := netip.ParseAddr(text); text != "" && err != nil {
		l.problem(table.values["tls_client_auth_san_ip"], fmt.Sprintf("%q is no IP address", clip(text)), "write an address as in 192.0.2.7 or 2001:db8::7")
		return ""
	}
	return text
}

// checkCredentials holds the method and the grants of a client against what it has.
func (l *targetLoader) checkCredentials(table yamlTable, c Client) {
	credential := map[string]string{
		methodBasic: "client_secret", methodPost: "client_secret", methodSecretJWT: "client_secret",
		methodPrivateKey: "private_key", methodTLS: "certificate", methodSelfSigned: "certificate",
	}[c.TokenEndpointAuthMethod]
	if c.Register && credential != "certificate" || !c.Register && table.lacks("client_id") { // the server makes the secret, and popcheck a key; or it is no client yet
		credential = ""
	}
	switch {
	case credential != "" && table.lacks(credential) && table.lacks("token_endpoint_auth_method"):
		l.problem(table.yamlPlace, fmt.Sprintf("needs %s: without token_endpoint_auth_method the method is %s (RFC 7591 §2)", credential, methodBasic),
			"add it, or write token_endpoint_auth_method: none for a public client")
	case credential != "" && table.lacks(credential) && table.has("token_endpoint_auth_method"):
		l.problem(table.values["token_endpoint_auth_method"], fmt.Sprintf("%s needs %s", c.TokenEndpointAuthMethod, credential), "add it to this client, or correct the method")
	case c.TokenEndpointAuthMethod == methodNone && table.has("client_secret"):
		l.problem(table.values["client_secret"], "a client with the method none has no secret", "remove it, or write token_endpoint_auth_method: client_secret_basic")
	}
	if c.TLSClientCertificateBoundAccessTokens && table.lacks("certificate") {
		l.problem(table.values["tls_client_certificate_bound_access_tokens"], "needs certificate", "add certificate: {cert: path, key: path}: tokens are bound to it")
	}
	if at, given := table.values["redirect_uris"]; c.HasGrant(grantCode) && (table.lacks("redirect_uris") || given && at.node.Kind == yaml.SequenceNode && len(at.node.Content) == 0) {
		l.problem(table.yamlPlace, "needs redirect_uris: it may use authorization_code", "list the registered redirect URIs, or write grant_types without authorization_code")
	}
}

// checkSubject holds RFC 8705 §2.1.2: exactly one name of the subject, for tls_client_auth.
func (l *targetLoader) checkSubject(table yamlTable, c Client) {
	var given []string
	for _, key := range subjectKeys() {
		if table.has(key) {
			given = append(given, key)
		}
	}
	switch {
	case len(given) > 1:
		l.problem(table.values[given[1]], "is a second name of the subject beside "+given[0], "keep one of them (RFC 8705 §2.1.2)")
	case len(given) == 1 && c.TokenEndpointAuthMethod != methodTLS && c.TokenEndpointAuthMethod != "":
		l.problem(table.values[given[0]], "is for clients with the method tls_client_auth", "remove it, or correct the method")
	}
}

// --- what lies between sections ---

func (l *targetLoader) introspectionClient(root yamlTable) string {
	id := l.textOf(root, "introspection_client")
	if id == "" || l.target.Client(id) != nil {
		return id
	}
	var known []string
	for _, c := range l.target.Clients {
		known = append(known, c.Name)
	}
	l.problem(root.values["introspection_client"], fmt.Sprintf("no client has the client_id %q", clip(id)), suggestKey(id, known))
	return ""
}

// checkUsers: a code flow needs someone to log in, unless the driver brings its own.
func (l *targetLoader) checkUsers(root yamlTable) {
	if !l.fillsPages() {
		return
	}
	if at, given := root.values["users"]; !root.lacks("users") && (!given || at.node.Kind != yaml.SequenceNode || len(at.node.Content) > 0) {
		return
	}
	for i, c := range l.target.Clients {
		if c.HasGrant(grantCode) {
			l.problemOnLine(c.Line, fmt.Sprintf("clients[%d]", i), "may use authorization_code, but users lists nobody who could log in",
				"add users: [{username: …, password: …}], or a login driver exec or manual")
			return
		}
	}
}

// fillsPages reports whether the login driver needs users: the others ask a person or a program.
func (l *targetLoader) fillsPages() bool {
	return l.target.Login.Driver == "form" || l.target.Login.Driver == "browser"
}

// attacked lists the hosts that requests go to: those of HostAllowed, and the proxy, because what is
// loopback to a proxy is another machine.
func (l *targetLoader) attacked() []namedHost {
	all := l.target.namedHosts()
	if u, err := url.Parse(l.target.Request.Proxy); err == nil && u.Hostname() != "" {
		all = append(all, namedHost{key: "request.proxy", host: CanonicalHost(u.Hostname())})
	}
	return all
}

func (l *targetLoader) allLoopback() bool {
	return !slices.ContainsFunc(l.attacked(), func(n namedHost) bool { return !l.target.loopback(n.host) })
}

// checkAuthorized demands the permission to attack for every host but loopback, each named once.
func (l *targetLoader) checkAuthorized(root yamlTable) {
	if at, given := root.values["authorized"]; !root.lacks("authorized") && (!given || l.target.Authorized || at.node.ShortTag() != "!!bool") {
		return
	}
	var told []string
	for _, n := range l.attacked() {
		if l.target.loopback(n.host) || slices.Contains(told, n.host) {
			continue
		}
		told = append(told, n.host)
		l.problemOnLine(l.lines[n.key], n.key, fmt.Sprintf("names %s, which is not loopback", n.host),
			"if you have the permission to attack it, write authorized: true at the top")
	}
}

// sortedKeys makes loops over maps repeatable.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
