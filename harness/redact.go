package harness

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"slices"
	"sort"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// The bounds of the search. They are what makes the work linear in the text: every level of encoding
// costs at most four times its input (base64 at four offsets gives 4 × 3/4, hex at two gives 2 × 1/2).
const (
	indexedBytes = 4    // shorter secrets are replaced only where they stand alone
	minEncoded   = 6    // base64 of four bytes has six characters
	minHex       = 8    // hex of four bytes
	minIsland    = 6    // readable bytes inside decoded ones that are looked at as text
	minText      = 16   // readable bytes that are looked at as text of its own
	minReadable  = 8    // readable bytes that may be an encoding beyond the last level
	wrapColumn   = 40   // a base64 line at least this long may go on in the next line
	minPart      = 16   // parts of a token that are secrets themselves
	minLine      = 32   // lines of a PEM body that are secrets themselves
	minCut       = 16   // secrets of which a fragment is looked for at the ends of a text
	minFragment  = 8    // the shortest such fragment
	maxDepth     = 3    // base64 and hex inside each other
	maxRounds    = 8    // percent, HTML and JSON escapes inside each other
	maxOrder     = 3    // escapes of one kind inside those of another
	maxPasses    = 8    // until a text stays as it is
	maxNamed     = 4    // names in one marker
	maxPattern   = 4096 // longer secrets are looked for in chunks
	chunkSize    = 1024
	maxKind      = 40
	maxEntity    = 34 // "&CounterClockwiseContourIntegral;" is the longest
	workPerByte  = 64 // bytes decoded for each byte of a text, over all levels
	workAlways   = 1 << 16

	filterBits = 20

	nameOpen        = "⟨"
	nameClose       = "⟩"
	encodedOpen     = "⟨encoded: contains "
	partOpen        = "⟨part of "
	furtherNames    = ", …"
	unreadableLabel = "⟨unreadable: too deeply encoded⟩"
)

// Redactor replaces every secret that was registered by a stable name, in every form it may appear in:
// raw, percent-, form-, HTML- and JSON-escaped, in base64 or hex, and these inside each other. It works
// by value and knows no format, because a target puts a secret where no format expects it.
// It is safe for concurrent use.
type Redactor struct {
	key  []byte
	from int // where the counters of what is born in this run begin

	mu         sync.RWMutex
	values     map[string]*secret // secrets and the parts of them that are secrets
	names      map[string]bool
	counts     map[string]int
	forward    secretIndex
	backward   secretIndex // the same texts reversed, for fragments at the start of a text
	short      map[string]*secret
	shortFirst [256]bool
}

// secret is what one call of Register made.
type secret struct {
	name  string
	order int
}

// NewRedactor returns a Redactor with a random key, so that names cannot be compared between runs and
// a guessed password cannot be confirmed from its name.
func NewRedactor() *Redactor {
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails: crypto/rand ends the program instead
	return newRedactor(key)
}

// newRedactor is for a run that several processes share: under one key the secrets of its target file have one name in all of them.
func newRedactor(key []byte) *Redactor {
	return &Redactor{
		key:      key,
		values:   map[string]*secret{},
		names:    map[string]bool{},
		counts:   map[string]int{},
		forward:  newSecretIndex(),
		backward: newSecretIndex(),
		short:    map[string]*secret{},
	}
}

// Format keeps the secrets out of %v, %+v and %#v of anything that holds a Redactor.
func (r *Redactor) Format(f fmt.State, _ rune) { io.WriteString(f, r.GomegaString()) }

// GomegaString does the same for the dumps of Gomega, which read unexported fields by reflection.
func (r *Redactor) GomegaString() string { return "Redactor" }

// Register makes value a secret and returns the name that takes its place: the kind ("access_token"),
// a counter of that kind and eight hex digits of its HMAC. The same value has the same name, under the
// kind it was registered with first; so has a part of a token or key that was registered. The name of
// an empty value is "".
func (r *Redactor) Register(kind, value string) string {
	if value == "" {
		return ""
	}
	if name := r.Name(value); name != "" {
		return name
	}
	mac := hmac.New(sha256.New, r.key)
	io.WriteString(mac, value)
	sum := hex.EncodeToString(mac.Sum(nil)[:4])
	forms := secretForms(value)
	kind = cleanKind(kind)

	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.values[value]; s != nil { // another goroutine was first
		return s.name
	}
	r.counts[kind]++
	s := &secret{name: fmt.Sprintf("%s%s#%d hmac:%s%s", nameOpen, kind, r.from+r.counts[kind], sum, nameClose), order: len(r.names)}
	r.names[s.name] = true
	for _, f := range forms {
		if r.values[f.text] == nil {
			r.values[f.text] = s
		}
		if len(f.text) < indexedBytes {
			if r.short[f.text] == nil {
				r.short[f.text] = s
				r.shortFirst[f.text[0]] = true
			}
			continue
		}
		text := foldPlus(f.text)
		if len(text) <= maxPattern {
			r.index(pattern{text: text, owner: s}, f.publicHead, f.publicTail)
			continue
		}
		// A target that hands out a token of half a megabyte of one letter must not make every
		// comparison that long.
		for at := 0; at < len(text); at += chunkSize {
			start := min(at, len(text)-chunkSize)
			head, tail := max(0, f.publicHead-start), max(0, f.publicTail-(len(text)-start-chunkSize))
			if head+minFragment <= chunkSize && tail+minFragment <= chunkSize {
				r.index(pattern{text: text[start : start+chunkSize], owner: s, chunk: true}, head, tail)
			}
		}
	}
	return s.name
}

// index adds a pattern for both directions.
func (r *Redactor) index(p pattern, publicHead, publicTail int) {
	back := p
	p.public = publicHead
	r.forward.add(&p)
	if len(p.text) >= minCut {
		back.text, back.public = reverseBytes(p.text), publicTail
		r.backward.add(&back)
	}
}

// Name returns the name of a registered secret, or "" if value is none.
func (r *Redactor) Name(value string) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if s := r.values[value]; s != nil {
		return s.name
	}
	return ""
}

// Text returns s with every secret replaced by its name, fit for a report or a console: valid UTF-8
// without control characters (but tab and newline) and without characters that reorder a line.
//
// A run of base64 or hex that holds a secret becomes "⟨encoded: contains NAME⟩" as a whole. What stands
// at an end of s and is the beginning (or end) of a secret, cut off, becomes "⟨part of NAME⟩", and so
// does the rest of a secret that overlaps another one. What is encoded too deeply to be searched becomes
// "⟨unreadable: too deeply encoded⟩". Text(Text(s)) is Text(s).
func (r *Redactor) Text(s string) string {
	if s == "" {
		return ""
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	// Taking control characters away may bring a secret about ("a\r\nb" for "a\nb"), so a text is
	// finished only when a pass leaves it as it is. Every pass turns more of it into names.
	for range maxPasses {
		next := r.pass(s)
		if next == s {
			return s
		}
		s = next
	}
	return unreadableLabel
}

// Contains returns the names of the secrets that s holds in any form, in the order of registration. Names
// that Text made are not searched. What is encoded too deeply to tell is reported as the marker that
// Text would put in its place. Unlike Text it does not look for fragments at the ends of s.
func (r *Redactor) Contains(s string) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var found findings
	f := &finder{r: r, all: true, work: workAlways + workPerByte*len(s)}
	f.layers(s, place{}, found.add)
	names := found.names()
	if found.unreadable {
		names = append(names, unreadableLabel)
	}
	return names
}

// pass replaces what one search finds and makes the rest printable.
func (r *Redactor) pass(s string) string {
	var hits []hit
	f := &finder{r: r, work: workAlways + workPerByte*len(s)}
	f.layers(s, place{openStart: true, openEnd: true}, func(h hit) { hits = append(hits, h) })
	hits = outermost(hits)

	var out strings.Builder
	out.Grow(len(s))
	done := 0
	for i := 0; i < len(hits); {
		h := hits[i]
		printable(&out, s[done:h.start])
		out.WriteString(h.label())
		done = h.end
		// Starts and ends both rise. Those that begin inside h are overlapped by it; what they leave
		// uncovered up to the next whole one must not stay.
		first := i + 1
		for i++; i < len(hits) && hits[i].start < h.end; i++ {
		}
		if i > first {
			end := hits[i-1].end
			if i < len(hits) {
				end = min(end, hits[i].start)
			}
			if end > done {
				rest := hits[first]
				if rest.how == whole {
					rest.how = part
				}
				out.WriteString(rest.label())
				done = end
			}
		}
	}
	printable(&out, s[done:])
	return out.String()
}

// printable appends s as valid UTF-8 that cannot steer a terminal or reorder a line. C0 controls become
// their pictures (U+241B for escape), which show what was there and, unlike an escape such as \x1b,
// cannot be taken for text that the target sent; all else becomes U+FFFD.
func printable(out *strings.Builder, s string) {
	clean := true
	for i := 0; i < len(s) && clean; i++ {
		clean = s[i] >= 0x20 && s[i] < 0x7f || s[i] == '\n' || s[i] == '\t'
	}
	if clean {
		out.WriteString(s)
		return
	}
	for i, c := range s {
		switch {
		case c == '\n' || c == '\t':
			out.WriteRune(c)
		case c == '\r' && i+1 < len(s) && s[i+1] == '\n':
		case c < 0x20:
			out.WriteRune(0x2400 + c)
		case c == 0x7f:
			out.WriteRune(0x2421)
		case c > 0x7f && (unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) || c == 0x2028 || c == 0x2029):
			out.WriteRune(utf8.RuneError)
		default:
			out.WriteRune(c) // RuneError for an invalid byte
		}
	}
}

// How a secret was found.
type found uint8

const (
	whole found = iota
	encoded
	part
	unreadable
)

// hit is a stretch of a text that must not stay.
type hit struct {
	start, end int
	how        found
	owner      *secret
	chunk      bool   // a piece of a long secret: joined with the next one
	marker     string // for encoded
}

func (h hit) label() string {
	switch h.how {
	case whole:
		return h.owner.name
	case part:
		return partOpen + h.owner.name + nameClose
	case encoded:
		return h.marker
	default:
		return unreadableLabel
	}
}

// outermost sorts hits and drops those inside another one, so that both starts and ends rise.
func outermost(hits []hit) []hit {
	slices.SortFunc(hits, func(a, b hit) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(b.end, a.end), cmp.Compare(a.how, b.how))
	})
	kept, end := hits[:0], -1
	for _, h := range hits {
		if h.end <= end || h.end == h.start {
			continue
		}
		end = h.end
		if n := len(kept) - 1; n >= 0 && h.chunk && kept[n].chunk && kept[n].owner == h.owner && h.start <= kept[n].end {
			kept[n].end = h.end
			continue
		}
		kept = append(kept, h)
	}
	return kept
}

// findings gathers whose secrets were found, where the place does not matter.
type findings struct {
	owners     map[*secret]bool
	unreadable bool
}

func (f *findings) add(h hit) {
	if h.how == unreadable {
		f.unreadable = true
		return
	}
	if h.owner == nil {
		return
	}
	if f.owners == nil {
		f.owners = map[*secret]bool{}
	}
	f.owners[h.owner] = true
}

func (f *findings) names() []string {
	var owners []*secret
	for s := range f.owners {
		owners = append(owners, s)
	}
	slices.SortFunc(owners, func(a, b *secret) int { return cmp.Compare(a.order, b.order) })
	var names []string
	for _, s := range owners {
		names = append(names, s.name)
	}
	return names
}

// finder is one search. The lock of r is held for reading.
type finder struct {
	r    *Redactor
	all  bool // every secret, also inside another one
	work int  // bytes that may still be decoded
}

// place is where a searched text comes from.
type place struct {
	depth              int  // encodings around it
	openStart, openEnd bool // it is cut off here, or may be
	binary             bool // a short readable stretch among bytes: too little to look for secrets of one letter
}

// layers searches readable text and everything that taking off escapes brings to light.
//
// Percent, HTML and JSON escapes are taken off together, round by round, and every round is searched; a
// secret that looks escaped itself is found because its unescaped forms are registered too. This ends
// after as many rounds as the deepest escape has layers. But a stray character of one kind can swallow a
// letter of what another kind escaped ("C:\n&amp;1", or a quote after a secret that ends in a backslash),
// so the kinds are taken off one by one as well, in every order.
func (f *finder) layers(s string, at place, emit func(hit)) {
	f.layer(s, nil, at, emit)
	seen := map[string]bool{}
	cur, from := s, []int(nil) // from is where each byte of cur came from; nil: cur is s
	for round := 0; ; round++ {
		next, nextFrom := unescape(cur, from, anyEscape)
		if nextFrom == nil {
			break
		}
		if f.work -= len(cur); f.work < 0 || round == maxRounds {
			unreadableTokens(cur, from, emit)
			break
		}
		cur, from = next, nextFrom
		seen[cur] = false
		f.layer(cur, from, at, emit)
	}
	if len(seen) > 0 {
		f.orders(s, nil, maxOrder, seen, at, emit)
	}
}

// orders takes off one layer of one kind and then the next. The value in seen tells whether a text was
// only searched or also unescaped further.
func (f *finder) orders(s string, from []int, more int, seen map[string]bool, at place, emit func(hit)) {
	for kind := percentEscape; kind < anyEscape; kind <<= 1 {
		next, nextFrom := unescape(s, from, kind)
		if nextFrom == nil {
			continue
		}
		done, searched := seen[next]
		if done {
			continue
		}
		seen[next] = true
		if f.work -= len(s); f.work < 0 {
			unreadableTokens(s, from, emit)
			return
		}
		if !searched {
			f.layer(next, nextFrom, at, emit)
		}
		if more > 1 {
			f.orders(next, nextFrom, more-1, seen, at, emit)
		}
	}
}

// layer searches s, whose bytes came from there (nil: from themselves).
func (f *finder) layer(s string, from []int, at place, emit func(hit)) {
	mapped := emit
	if from != nil {
		mapped = func(h hit) {
			h.start, h.end = sourceSpan(from, h.start, h.end)
			emit(h)
		}
	}
	names := f.r.ownNames(s)
	f.scan(s, names, at, mapped)
	f.runs(s, from, names, at, mapped)
}

// sourceSpan maps a stretch of unescaped text to the text it came from, where an escape counts as a whole.
func sourceSpan(from []int, start, end int) (int, int) {
	first := from[start]
	for end < len(from)-1 && end > start && from[end] == from[end-1] {
		end++
	}
	return first, from[end]
}

// scan finds secrets in s as it stands. names are the stretches that are names already.
func (f *finder) scan(s string, names [][2]int, at place, emit func(hit)) {
	folded := foldPlus(s)
	from := 0
	for i := 0; i <= len(names); i++ {
		to := len(s)
		if i < len(names) {
			to = names[i][0]
		}
		f.indexed(folded[from:to], from, emit)
		if !at.binary && len(f.r.short) > 0 {
			f.standalone(s[from:to], from, emit)
		}
		if at.openStart && from == 0 {
			if n, owner := f.r.backward.fragment(reverseBytes(folded[:min(to, f.r.backward.longest)])); n > 0 {
				emit(hit{start: 0, end: n, how: part, owner: owner})
			}
		}
		if at.openEnd && to == len(s) {
			tail := folded[max(from, to-f.r.forward.longest-maxEntity):to]
			ends := []int{len(tail), len(tail) - len(cutEscape(tail))}
			for _, end := range ends {
				if n, owner := f.r.forward.fragment(tail[:end]); n > 0 {
					emit(hit{start: to - len(tail) + end - n, end: to, how: part, owner: owner})
					break
				}
			}
		}
		if i < len(names) {
			from = names[i][1]
		}
	}
}

// indexed finds the secrets of four bytes and more in folded text.
func (f *finder) indexed(s string, base int, emit func(hit)) {
	x := &f.r.forward
	covered := 0
	for i := 0; i+indexedBytes <= len(s); i++ {
		key := prefixKey(s[i:])
		if !x.mayHold(key) {
			continue
		}
		p := x.match(key, s[i:])
		if p == nil {
			continue
		}
		if f.all {
			for ; p != nil; p = p.shorter {
				emit(hit{start: base + i, end: base + i + len(p.text), owner: p.owner, chunk: p.chunk})
			}
		} else if end := i + len(p.text); end > covered {
			covered = end
			emit(hit{start: base + i, end: base + end, owner: p.owner, chunk: p.chunk})
		}
	}
}

// standalone finds the secrets of one to three bytes, where no letter or digit is beside them.
func (f *finder) standalone(s string, base int, emit func(hit)) {
	for i := 0; i < len(s); i++ {
		if !f.r.shortFirst[s[i]] {
			continue
		}
		if c, _ := utf8.DecodeLastRuneInString(s[:i]); i > 0 && (unicode.IsLetter(c) || unicode.IsDigit(c)) {
			continue
		}
		for n := min(indexedBytes-1, len(s)-i); n > 0; n-- {
			owner := f.r.short[s[i:i+n]]
			if owner == nil {
				continue
			}
			if c, _ := utf8.DecodeRuneInString(s[i+n:]); i+n < len(s) && (unicode.IsLetter(c) || unicode.IsDigit(c)) {
				continue
			}
			emit(hit{start: base + i, end: base + i + n, owner: owner})
			if !f.all {
				break
			}
		}
	}
}

// runs decodes what may be base64 or hex in s.
func (f *finder) runs(s string, from []int, names [][2]int, at place, emit func(hit)) {
	end := len(s)
	if at.openEnd {
		end -= len(cutEscape(s))
	}
	for i := 0; i < len(s); {
		if len(names) > 0 && i >= names[0][0] {
			i, names = max(i, names[0][1]), names[1:]
			continue
		}
		if base64Value[s[i]] == notBase64 {
			i++
			continue
		}
		start, line, wrapped := i, i, false
		for i < len(s) {
			if base64Value[s[i]] != notBase64 {
				i++
				continue
			}
			n := newline(s[i:])
			if n == 0 || i-line < wrapColumn || i+n >= len(s) || base64Value[s[i+n]] == notBase64 {
				break
			}
			i += n
			line, wrapped = i, true
		}
		if i-start < minEncoded {
			continue
		}
		if from != nil && from[i]-from[start] == i-start {
			continue // nothing in it was escaped: it was decoded before
		}
		run := s[start:i]
		if wrapped {
			run = strings.NewReplacer("\r", "", "\n", "").Replace(run)
		}
		stop := i
		for stop < len(s) && stop < i+2 && s[stop] == '=' {
			stop++
		}
		var inside findings
		within := at
		within.openStart, within.openEnd = at.openStart && start == 0, at.openEnd && stop >= end
		f.decode(run, within, inside.add)
		if len(inside.owners) > 0 {
			h := hit{start: start, end: stop, how: encoded}
			if f.all || at.depth > 0 {
				for owner := range inside.owners {
					h.owner = owner
					emit(h)
				}
			} else {
				names := inside.names()
				further := ""
				if len(names) > maxNamed {
					names, further = names[:maxNamed], furtherNames
				}
				h.marker = encodedOpen + strings.Join(names, ", ") + further + nameClose
				emit(h)
			}
		}
		if inside.unreadable && (f.all || len(inside.owners) == 0) {
			emit(hit{start: start, end: stop, how: unreadable})
		}
	}
}

// decode searches what a run of base64 characters may stand for. The run may begin with characters that
// do not belong to the encoding ("/path/aGVs…"), so it is decoded from each of its first four.
func (f *finder) decode(run string, at place, emit func(hit)) {
	try := func(data string) bool {
		f.work -= len(data)
		if f.work < 0 {
			emit(hit{how: unreadable})
			return false
		}
		if at.depth < maxDepth {
			f.bytes(data, at, emit)
			return true
		}
		// The last level is searched as it stands. Only what is readable can go on; keys and digests do not.
		is := islands(data, minReadable)
		readable := len(is) == 1 && is[0] == [2]int{0, len(data)}
		at.binary = !readable
		f.scan(data, f.r.ownNames(data), at, emit)
		if readable {
			emit(hit{how: unreadable})
		}
		return true
	}
	for off := 0; off < 4 && len(run)-off >= minEncoded; off++ {
		if !try(decodeBase64(run[off:])) {
			return
		}
	}
	for i := 0; i < len(run); i++ {
		start := i
		for i < len(run) && hexValue(run[i]) >= 0 {
			i++
		}
		for off := 0; off < 2 && i-start-off >= minHex; off++ {
			if !try(decodeHex(run[start+off : i])) {
				return
			}
		}
	}
}

// bytes searches decoded bytes: as they are, and what is readable in them also for escapes and further
// encodings. Random bytes hold nearly nothing readable, so keys and digests cost one scan.
func (f *finder) bytes(data string, at place, emit func(hit)) {
	at.depth++
	at.binary = true
	f.scan(data, f.r.ownNames(data), at, emit)
	for _, is := range islands(data, minIsland) {
		within := at
		within.openStart, within.openEnd = at.openStart && is[0] == 0, at.openEnd && is[1] == len(data)
		within.binary = is[1]-is[0] < min(minText, len(data))
		f.layers(data[is[0]:is[1]], within, emit)
	}
}

// islands are the longest stretches of valid UTF-8 without control characters.
func islands(data string, least int) [][2]int {
	var list [][2]int
	start := 0
	for i := 0; i <= len(data); {
		size := 0
		if i < len(data) {
			if c := data[i]; c < utf8.RuneSelf {
				if c >= 0x20 && c != 0x7f || c == '\n' || c == '\r' || c == '\t' {
					size = 1
				}
			} else if c, n := utf8.DecodeRuneInString(data[i:]); n > 1 && !unicode.IsControl(c) {
				size = n
			}
		}
		if size > 0 {
			i += size
			continue
		}
		if i-start >= least {
			list = append(list, [2]int{start, i})
		}
		i++
		start = i
	}
	return list
}

// ownNames finds the names and markers that this Redactor wrote. Only names that exist count: a target
// that writes its own ⟨…⟩ around a secret gains nothing.
func (r *Redactor) ownNames(s string) [][2]int {
	var list [][2]int
	for i := 0; i < len(s); {
		j := strings.Index(s[i:], nameOpen)
		if j < 0 {
			break
		}
		i += j
		if n := r.ownName(s[i:]); n > 0 {
			list = append(list, [2]int{i, i + n})
			i += n
		} else {
			i += len(nameOpen)
		}
	}
	return list
}

// ownName is the length of the name or marker that s begins with.
func (r *Redactor) ownName(s string) int {
	if strings.HasPrefix(s, unreadableLabel) {
		return len(unreadableLabel)
	}
	rest, ok := strings.CutPrefix(s, encodedOpen)
	if !ok {
		rest, ok = strings.CutPrefix(s, partOpen)
	}
	if !ok {
		return r.plainName(s)
	}
	for count := 0; count < maxNamed; count++ {
		n := r.plainName(rest)
		if n == 0 {
			return 0
		}
		rest = rest[n:]
		if strings.HasPrefix(rest, furtherNames+nameClose) {
			return len(s) - len(rest) + len(furtherNames+nameClose)
		}
		if strings.HasPrefix(rest, nameClose) {
			return len(s) - len(rest) + len(nameClose)
		}
		if rest, ok = strings.CutPrefix(rest, ", "); !ok {
			return 0
		}
	}
	return 0
}

func (r *Redactor) plainName(s string) int {
	if !strings.HasPrefix(s, nameOpen) {
		return 0
	}
	n := strings.Index(s[:min(len(s), maxKind+64)], nameClose)
	if n < 0 || !r.names[s[:n+len(nameClose)]] {
		return 0
	}
	return n + len(nameClose)
}

// pattern is one text to be found.
type pattern struct {
	text    string
	owner   *secret
	public  int      // leading bytes that tell nothing: the header of a JWT, the first line of a PEM file
	chunk   bool     // a piece of a long secret
	shorter *pattern // the longest other pattern that text begins with
}

// secretIndex finds patterns by their first four bytes. Those with the same four bytes are sorted and
// searched by bisection, since all JWTs begin alike.
type secretIndex struct {
	buckets map[uint32][]*pattern
	filter  []uint64 // a bit for the hash of each key: spares most look-ups in the map
	longest int
}

func newSecretIndex() secretIndex {
	return secretIndex{buckets: map[uint32][]*pattern{}, filter: make([]uint64, 1<<filterBits/64)}
}

func prefixKey(s string) uint32 {
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

func filterBit(key uint32) uint32 { return key * 2654435761 >> (32 - filterBits) }

func (x *secretIndex) mayHold(key uint32) bool {
	b := filterBit(key)
	return x.filter[b/64]&(1<<(b%64)) != 0
}

// add keeps the first of two patterns with the same text.
func (x *secretIndex) add(p *pattern) {
	key := prefixKey(p.text)
	list := x.buckets[key]
	i := sort.Search(len(list), func(i int) bool { return list[i].text >= p.text })
	if i < len(list) && list[i].text == p.text {
		return
	}
	p.shorter = x.match(key, p.text)
	list = slices.Insert(list, i, p)
	for _, q := range list[i+1:] {
		if !strings.HasPrefix(q.text, p.text) {
			break
		}
		if q.shorter == nil || len(q.shorter.text) < len(p.text) {
			q.shorter = p
		}
	}
	x.buckets[key] = list
	b := filterBit(key)
	x.filter[b/64] |= 1 << (b % 64)
	x.longest = max(x.longest, len(p.text))
}

// match returns the longest pattern that s begins with. Every pattern that s begins with sorts before
// the greatest one that is not after s, and that one begins with it too.
func (x *secretIndex) match(key uint32, s string) *pattern {
	list := x.buckets[key]
	i := sort.Search(len(list), func(i int) bool { return list[i].text > s })
	if i == 0 {
		return nil
	}
	p := list[i-1]
	for p != nil && !strings.HasPrefix(s, p.text) {
		p = p.shorter
	}
	return p
}

// fragment returns the length of the longest end of s with which a long pattern begins.
func (x *secretIndex) fragment(s string) (int, *secret) {
	for i := max(0, len(s)-x.longest); i+minFragment <= len(s); i++ {
		key := prefixKey(s[i:])
		if !x.mayHold(key) {
			continue
		}
		list := x.buckets[key]
		end := s[i:]
		for k := sort.Search(len(list), func(k int) bool { return list[k].text >= end }); k < len(list); k++ {
			p := list[k]
			if !strings.HasPrefix(p.text, end) {
				break
			}
			if len(p.text) >= minCut && len(end) >= p.public+minFragment {
				return len(end), p.owner
			}
		}
	}
	return 0, nil
}

// secretForm is a text that gives a secret away, with how much of its ends is known to everyone.
type secretForm struct {
	text                   string
	publicHead, publicTail int
}

// secretForms lists the value and what of it is as good as the value.
func secretForms(value string) []secretForm {
	head := publicHead(value)
	forms := []secretForm{{text: value, publicHead: head}}
	add := func(f secretForm, least int) {
		if len(f.text) >= least {
			forms = append(forms, f)
		}
	}
	// A secret from a file ends in a newline that is not sent.
	add(secretForm{text: strings.TrimSpace(value), publicHead: head}, indexedBytes)

	switch parts := strings.Split(value, "."); {
	case len(parts) == 3 && base64URL(parts[0]) && base64URL(parts[1]) && (parts[2] == "" || base64URL(parts[2])):
		// The header alone is no secret: it is the same for all honest proofs of a client.
		head = len(parts[0]) + 1
		forms[0].publicHead = head
		add(secretForm{text: parts[0] + "." + parts[1], publicHead: head}, minPart)
		add(secretForm{text: parts[1]}, minPart)
		add(secretForm{text: parts[2]}, minPart)
	case len(parts) == 5 && base64URL(parts[0]):
		head = len(parts[0]) + 1
		forms[0].publicHead = head
		for _, p := range parts[1:] {
			add(secretForm{text: p}, minPart)
		}
	}
	if strings.Contains(value, "-----BEGIN ") {
		pemForms(value, forms, add)
	}
	if strings.HasPrefix(strings.TrimSpace(value), "{") {
		jwkForms(value, add)
	}

	// The form that is left when all escapes are taken off, for a secret that looks as if it had some;
	// and the form in which encoders write bytes that are no UTF-8.
	for _, f := range slices.Clone(forms) {
		text := f.text
		for range maxRounds {
			next, at := unescape(text, nil, anyEscape)
			if at == nil {
				break
			}
			text = next
			add(secretForm{text: text}, indexedBytes)
		}
		if !utf8.ValidString(f.text) && len(strings.ToValidUTF8(f.text, "")) >= minFragment {
			var valid strings.Builder
			for _, c := range f.text {
				valid.WriteRune(c)
			}
			add(secretForm{text: valid.String()}, indexedBytes)
		}
	}
	return forms
}

// publicHead is the part of a URL or URN before the part that differs: a text that ends in
// "urn:ietf:params:oauth:request_uri:" is not cut off in the middle of a secret.
func publicHead(value string) int {
	for _, scheme := range []string{"https://", "http://", "urn:"} {
		if strings.HasPrefix(value, scheme) {
			return strings.LastIndexAny(value, ":/?=") + 1
		}
	}
	return 0
}

// pemForms adds the private parts of a PEM file: the body on one line, its lines, and the bytes, by which
// a body with lines of another length is found.
func pemForms(value string, forms []secretForm, add func(secretForm, int)) {
	lines := strings.Split(strings.ReplaceAll(value, "\r\n", "\n"), "\n")
	begin := strings.Index(value, "-----BEGIN ")
	if n := strings.IndexByte(value[begin:], '\n'); n >= 0 {
		forms[0].publicHead = begin + n + 1
	}
	if end := strings.LastIndex(value, "-----END "); end >= 0 {
		forms[0].publicTail = len(value) - end
	}
	forms[1].publicHead, forms[1].publicTail = forms[0].publicHead, forms[0].publicTail
	var body []string
	private := false
	for _, line := range lines {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "-----BEGIN "):
			body = nil
			// A file may hold a certificate beside the key; reports show certificates.
			private = !strings.Contains(line, "CERTIFICATE") && !strings.Contains(line, "PUBLIC")
		case strings.HasPrefix(line, "-----END ") && private:
			joined := strings.Join(body, "")
			add(secretForm{text: joined}, minPart)
			add(secretForm{text: strings.Join(body, " ")}, minPart) // a proxy's header
			if der := decodeBase64(strings.TrimRight(joined, "=")); len(der) >= minLine {
				add(secretForm{text: der, publicHead: minLine}, minLine) // the algorithm comes first
			}
			private = false
		case private && !strings.Contains(line, ":"):
			body = append(body, line)
			add(secretForm{text: line}, minLine)
		}
	}
}

// jwkForms adds the private members of a JWK or a set of them, which other software writes in another order.
func jwkForms(value string, add func(secretForm, int)) {
	type jwk struct {
		Kty string `json:"kty"`
		D   string `json:"d"`
		P   string `json:"p"`
		Q   string `json:"q"`
		DP  string `json:"dp"`
		DQ  string `json:"dq"`
		QI  string `json:"qi"`
		K   string `json:"k"`
	}
	var set struct {
		jwk
		Keys []jwk `json:"keys"`
	}
	if json.Unmarshal([]byte(value), &set) != nil {
		return
	}
	for _, key := range append(set.Keys, set.jwk) {
		if key.Kty == "" {
			continue
		}
		for _, member := range []string{key.D, key.P, key.Q, key.DP, key.DQ, key.QI, key.K} {
			add(secretForm{text: member}, minPart)
		}
	}
}

// cleanKind keeps a name within its grammar, whatever the kind is.
func cleanKind(kind string) string {
	kind = strings.Map(func(c rune) rune {
		if c == '_' || c == '-' || c == '.' || c < utf8.RuneSelf && (unicode.IsLetter(c) || unicode.IsDigit(c)) {
			return c
		}
		return '_'
	}, kind)
	if kind == "" {
		return "secret"
	}
	return kind[:min(len(kind), maxKind)]
}

// foldPlus makes a plus sign a space, since form encoding makes them one.
func foldPlus(s string) string { return strings.ReplaceAll(s, "+", " ") }

func reverseBytes(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

// newline is the length of the line end that s begins with.
func newline(s string) int {
	switch {
	case strings.HasPrefix(s, "\n"):
		return 1
	case strings.HasPrefix(s, "\r\n"):
		return 2
	}
	return 0
}

// escapes is a set of kinds of escapes. A line end of two bytes counts as one of every kind.
type escapes uint8

const (
	percentEscape escapes = 1 << iota
	htmlEscape
	jsonEscape
	anyEscape = percentEscape | htmlEscape | jsonEscape
)

// unescape takes one layer of escapes off s, whose bytes came from at (nil: from themselves). The second
// result, with one more element for the end, is nil if there was nothing to take off.
func unescape(s string, at []int, kinds escapes) (string, []int) {
	i := nextEscape(s, 0, kinds)
	if i < 0 {
		return s, nil
	}
	from := func(i int) int {
		if at == nil {
			return i
		}
		return at[i]
	}
	var out []byte // nil until something changes
	var outAt []int
	done := 0
	keep := func(to int) {
		out = append(out, s[done:to]...)
		for ; done < to; done++ {
			outAt = append(outAt, from(done))
		}
	}
	var buf [16]byte
	for i >= 0 {
		n, text := escapeAt(s, i, buf[:0])
		if n == 0 {
			i = nextEscape(s, i+1, kinds)
			continue
		}
		if out == nil {
			out, outAt = make([]byte, 0, len(s)), make([]int, 0, len(s)+1)
		}
		keep(i)
		out = append(out, text...)
		for range text {
			outAt = append(outAt, from(i))
		}
		done = i + n
		i = nextEscape(s, done, kinds)
	}
	if out == nil {
		return s, nil
	}
	keep(len(s))
	return string(out), append(outAt, from(len(s)))
}

// nextEscape is the next place where an escape of these kinds may begin.
func nextEscape(s string, i int, kinds escapes) int {
	for ; i < len(s); i++ {
		switch s[i] {
		case '%':
			if kinds&percentEscape != 0 {
				return i
			}
		case '&':
			if kinds&htmlEscape != 0 {
				return i
			}
		case '\\':
			if kinds&jsonEscape != 0 {
				return i
			}
		case '\r':
			return i
		}
	}
	return -1
}

// escapeAt appends what the escape at s[i] stands for and returns its length, 0 if there is none.
func escapeAt(s string, i int, out []byte) (int, []byte) {
	rest := s[i:]
	switch rest[0] {
	case '%':
		if len(rest) > 2 && hexValue(rest[1]) >= 0 && hexValue(rest[2]) >= 0 {
			return 3, append(out, byte(hexValue(rest[1])<<4|hexValue(rest[2])))
		}
	case '\r':
		if newline(rest) == 2 {
			return 2, append(out, '\n')
		}
	case '&':
		for j := 1; j < len(rest) && j < maxEntity; j++ {
			c := rest[j]
			if c == ';' {
				if text := html.UnescapeString(rest[:j+1]); text != rest[:j+1] {
					return j + 1, append(out, text...)
				}
				break
			}
			if c != '#' && (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') {
				break
			}
		}
	case '\\':
		if len(rest) < 2 {
			return 0, out
		}
		switch rest[1] {
		case '"', '\'', '\\', '/':
			return 2, append(out, rest[1])
		case 'b':
			return 2, append(out, '\b')
		case 'f':
			return 2, append(out, '\f')
		case 'n':
			return 2, append(out, '\n')
		case 'r':
			return 2, append(out, '\r')
		case 't':
			return 2, append(out, '\t')
		case 'x': // not JSON, but JavaScript and every log
			if len(rest) > 3 && hexValue(rest[2]) >= 0 && hexValue(rest[3]) >= 0 {
				return 4, append(out, byte(hexValue(rest[2])<<4|hexValue(rest[3])))
			}
		case 'u':
			c := unicodeEscape(rest)
			if c < 0 {
				return 0, out
			}
			if c < 0xd800 || c > 0xdfff {
				return 6, utf8.AppendRune(out, c)
			}
			if low := unicodeEscape(rest[6:]); c < 0xdc00 && low >= 0xdc00 && low <= 0xdfff {
				return 12, utf8.AppendRune(out, (c-0xd800)<<10+(low-0xdc00)+0x10000)
			}
		}
	}
	return 0, out
}

// unicodeEscape is the value of the escape (\u and four hex digits) that s begins with, or -1.
func unicodeEscape(s string) rune {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return -1
	}
	c := rune(0)
	for _, x := range []byte(s[2:6]) {
		v := hexValue(x)
		if v < 0 {
			return -1
		}
		c = c<<4 | rune(v)
	}
	return c
}

// cutEscape is the beginning of an escape that s ends with: "%4", "\u00", "&am".
func cutEscape(s string) string {
	i := strings.LastIndexAny(s[max(0, len(s)-maxEntity):], "%\\&")
	if i < 0 {
		return ""
	}
	tail := s[max(0, len(s)-maxEntity)+i:]
	limit := map[byte]int{'%': 2, '\\': 5, '&': maxEntity}[tail[0]]
	if len(tail) > limit {
		return ""
	}
	if n, _ := escapeAt(tail, 0, nil); n > 0 {
		return ""
	}
	for _, c := range []byte(tail[1:]) {
		if c != '#' && (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') {
			return ""
		}
	}
	return tail
}

// unreadableTokens gives up what holds an escape in s, up to the white space around it.
func unreadableTokens(s string, from []int, emit func(hit)) {
	const space = " \t\r\n"
	for i := nextEscape(s, 0, anyEscape); i >= 0; i = nextEscape(s, i, anyEscape) {
		if n, _ := escapeAt(s, i, nil); n == 0 || s[i] == '\r' {
			i++
			continue
		}
		h := hit{start: strings.LastIndexAny(s[:i], space) + 1, end: len(s), how: unreadable}
		if n := strings.IndexAny(s[i:], space); n >= 0 {
			h.end = i + n
		}
		i = h.end
		if from != nil {
			h.start, h.end = sourceSpan(from, h.start, h.end)
		}
		emit(h)
	}
}

const notBase64 = 0xff

// base64Value is the value of each character of both alphabets. Mixing them costs nothing and finds what
// was translated half.
var base64Value = func() (t [256]byte) {
	t = [256]byte(bytes.Repeat([]byte{notBase64}, 256))
	for v, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		t[c] = byte(v)
	}
	t['-'], t['_'] = t['+'], t['/']
	return t
}()

// decodeBase64 decodes base64 characters of any number, dropping the bits that fill no byte.
func decodeBase64(s string) string {
	out := make([]byte, 0, base64.RawStdEncoding.DecodedLen(len(s)))
	bits, have := uint32(0), 0
	for i := 0; i < len(s); i++ {
		bits = bits<<6 | uint32(base64Value[s[i]]&63)
		if have += 6; have >= 8 {
			have -= 8
			out = append(out, byte(bits>>have))
		}
	}
	return string(out)
}

// base64URL reports whether s is a part of a compact JOSE object.
func base64URL(s string) bool {
	for i := 0; i < len(s); i++ {
		if base64Value[s[i]] == notBase64 || s[i] == '+' || s[i] == '/' {
			return false
		}
	}
	return s != ""
}

// decodeHex decodes hex digits of any number, dropping the last of an odd one.
func decodeHex(s string) string {
	out := make([]byte, 0, len(s)/2)
	for i := 0; i+1 < len(s); i += 2 {
		out = append(out, byte(hexValue(s[i])<<4|hexValue(s[i+1])))
	}
	return string(out)
}

func hexValue(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
