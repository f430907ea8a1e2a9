package harness

import (
	"cmp"
	"encoding/base32"
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

	introspector string // what introspection_client says, before the clients are read
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
	if at, ok := root.values["introspection_client"]; ok {
		l.introspector = at.node.Value
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
	return l.json(at)
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
