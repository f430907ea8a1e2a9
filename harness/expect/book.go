// Package expect is what the suites are written in: it turns controls, attacks and observations into
// verdicts, and keeps one result for every check at every place, reached or not.
package expect

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
)

// Place is where a check runs: the part of a result's key after the @.
type Place struct {
	Endpoint string // token, par, authorize, introspect, or the name of a resource
	Grant    string
	Client   string
	Variant  string
	Role     harness.Role
}

// Key is the stable name of a result: id@endpoint[/grant][/client][/variant]. An extension grant goes by the last word of its URN.
func (p Place) Key(id string) string {
	key := id + "@" + p.Endpoint
	for _, part := range []string{harness.ShortGrant(p.Grant), p.Client, p.Variant} {
		if part != "" {
			key += "/" + part
		}
	}
	return key
}

// Book keeps the results of a run. A result that is declared and never reached is inconclusive.
type Book struct {
	mu       sync.Mutex
	results  []*harness.Result
	byKey    map[string]bool
	places   []string
	done     int
	progress func(r *harness.Result, done, total int)
	watches  []*watched // what is made once and tried at several ages, together
	seen     bool       // it was watched
}

// NewBook returns an empty book; progress is told each result as it ends, and may be nil.
func NewBook(progress func(r *harness.Result, done, total int)) *Book {
	return &Book{byKey: map[string]bool{}, progress: progress}
}

// declare returns the number of the result in the order in which the checks run: those of one place follow each other, in the order
// of their declaration, because they have their controls in common.
func (b *Book) declare(r *harness.Result, place string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.byKey[r.Key] {
		panic("two results with the key " + r.Key)
	}
	b.byKey[r.Key] = true
	b.results = append(b.results, r)
	if !slices.Contains(b.places, place) {
		b.places = append(b.places, place)
	}
	return fmt.Sprintf("%04d %05d", slices.Index(b.places, place), len(b.results))
}

func (b *Book) finish(r *harness.Result) {
	b.mu.Lock()
	b.done++
	done, total := b.done, len(b.results)
	b.mu.Unlock()
	if b.progress != nil {
		b.progress(r, done, total)
	}
}

// Results returns every declared result; why says what ended the run for those that were not reached.
func (b *Book) Results(why string) []harness.Result {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]harness.Result, 0, len(b.results))
	for _, r := range b.results {
		if r.Verdict == "" {
			r.Verdict, r.Reason = harness.Inconclusive, "not reached: "+why
		}
		out = append(out, *r)
	}
	return out
}

// Plan is what was declared, in the order of the catalogue: the results to come, and those that do not apply, which say why.
func (b *Book) Plan() (apply, skipped []harness.Result) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.results {
		if r.Reason == "" {
			apply = append(apply, *r)
		} else {
			skipped = append(skipped, *r)
		}
	}
	return apply, skipped
}

// Suite is what a suite declares its checks with.
type Suite struct {
	*harness.Tester
	Mechanism harness.Mechanism
	Profile   string
	Select    func(*harness.Result) bool // nil selects everything
	Book      *Book
	Evidence  Evidence
	Patience  time.Duration // how long a check waits for what ends by itself; 0 is DefaultPatience
	Manners   Manners

	control *control
}

// DefaultPatience is longer than the grace periods in which servers take a replaced refresh token once more, for clients that lost an answer.
const DefaultPatience = time.Minute

// Evidence says whether the exchanges of a result are kept; redacting them is a quarter of a run's work.
type Evidence int

// A run keeps its evidence; the kill matrix, which only compares verdicts, does not.
const (
	KeepEvidence Evidence = iota
	VerdictsOnly
)

// Manners say whether checks may leave something behind at the target (attacks.Harm).
type Manners int

// A run is Thorough unless it is told to be Gentle, and then says what it left out.
const (
	Thorough Manners = iota
	Gentle
)

// Missing says which capability a check lacks on this target and how that is known, or "". Unknown counts as there: the
// controls then say what is wrong.
func (s *Suite) Missing(c attacks.Check) string {
	for _, need := range strings.Fields(c.Needs) {
		if need == "slow" && s.Aged == nil {
			return "needs --slow: " + s.Learned.Capabilities[need].How
		}
		if s.Learned.Has(need) == harness.No {
			return "needs " + need + "; " + s.Learned.Capabilities[need].How
		}
	}
	return ""
}

// Pick returns the trial that a check should run with: the first that works, else the first of which nothing is known.
func (s *Suite) Pick(fits func(harness.Trial) bool) *harness.Trial {
	trials := s.Learned.Trials
	for _, want := range []harness.Known{harness.Yes, harness.NotKnown} {
		if i := slices.IndexFunc(trials, func(t harness.Trial) bool { return t.Works == want && fits(t) }); i >= 0 {
			return &trials[i]
		}
	}
	return nil
}

// Introspected is the trial of whose tokens introspection is asked: one of the client that asks, if there is one, since a server may tell a
// client of its own tokens only (RFC 7662 §2.2, §4). Of several kinds of trial the first that there is.
func (s *Suite) Introspected(kinds ...func(harness.Trial) bool) *harness.Trial {
	for _, own := range []bool{true, false} {
		for _, fits := range kinds {
			if t := s.Pick(func(t harness.Trial) bool {
				return fits(t) && (!own || t.Client.ClientID == s.Target.IntrospectionClient)
			}); t != nil {
				return t
			}
		}
	}
	return nil
}

// Pusher is a trial of a client that gets codes and may push its requests.
func (s *Suite) Pusher(fits func(harness.Trial) bool) *harness.Trial {
	return s.Pick(func(t harness.Trial) bool { return t.Grant == harness.CodeGrant && t.CannotPush == "" && fits(t) })
}

// All returns every trial that may be used, one per client and grant and binding.
func (s *Suite) All(fits func(harness.Trial) bool) []*harness.Trial {
	var out []*harness.Trial
	for i := range s.Learned.Trials {
		if t := &s.Learned.Trials[i]; t.Works != harness.No && fits(*t) {
			out = append(out, t)
		}
	}
	return out
}

// Resources are all that the clients of the target file may open, in its order.
func (s *Suite) Resources() []*harness.Resource {
	var out []*harness.Resource
	for i := range s.Target.Clients {
		for _, r := range s.ResourcesFor(&s.Target.Clients[i], harness.CodeGrant) {
			if !slices.ContainsFunc(out, func(o *harness.Resource) bool { return o.Name == r.Name }) {
				out = append(out, r)
			}
		}
	}
	return out
}

// Opener is the trial whose token opened a resource with a binding; where none did, one that should have.
func (s *Suite) Opener(r *harness.Resource, b harness.Binding) *harness.Trial {
	if t := s.Pick(func(t harness.Trial) bool { return t.Binding == b && t.Opened(r) }); t != nil {
		return t
	}
	return s.Pick(func(t harness.Trial) bool {
		return t.Binding == b && len(t.Opens) == 0 && slices.ContainsFunc(s.ResourcesFor(t.Client, t.Grant), func(own *harness.Resource) bool { return own.Name == r.Name })
	})
}

// Selected reports whether a check will run at a place: nothing has to be prepared for one that will not.
func (s *Suite) Selected(c attacks.Check, at Place) bool {
	return s.Missing(c) == "" && (s.Select == nil || s.Select(s.result(c, at)))
}

func (s *Suite) result(c attacks.Check, at Place) *harness.Result {
	role := at.Role
	if role == "" {
		role = harness.AuthorizationServer
	}
	expected := c.Refusal.String()
	return &harness.Result{
		Key: at.Key(c.ID), ID: c.ID, Title: c.Title, Suite: string(s.Mechanism), Mechanism: s.Mechanism,
		Endpoint: at.Endpoint, Grant: at.Grant, Client: at.Client, Variant: at.Variant, Role: role,
		Level: attacks.LevelUnder(c, s.Profile), Severity: c.Severity, Threat: c.Threat, Clause: c.Clause, Covers: c.Covered(),
		Why: c.Why, Fix: c.Fix, Expected: expected, Source: attacks.SourceOf(c.ID),
	}
}
