package expect

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
)

// Try is a use of something at an age.
type Try struct {
	Age time.Duration
	Use func(*Case) harness.Outcome
}

// Sample is what came of a use.
type Sample struct {
	Age     time.Duration // of the thing when it was used
	Outcome harness.Outcome
}

// Life is what was seen of something while it grew old.
type Life struct{ Samples []Sample }

// watched is something that is made once and tried at several ages.
type watched struct {
	suite *Suite
	check attacks.Check
	make  func(*Case) []Try
	until harness.State // ends the watch
	own   *Case         // in which it is made and used; its verdict, if it came to one, is that of the check
	made  time.Time
	told  bool // its exchanges are in the record of the check
	Life
}

// Watch declares a check of something that is made when the first check has to wait, and tried at several ages, until a try comes to a
// state; judge sees what came. What all checks watch is made together, so that they wait together. A try has to be of an age that
// was seen once already to be judged: where something is used up by its use, make makes one for each age.
func (s *Suite) Watch(check attacks.Check, at Place, until harness.State, make func(*Case) []Try, judge func(*Case, Life)) {
	w := &watched{suite: s, check: check, make: make, until: until}
	if s.Selected(check, at) {
		s.Book.watches = append(s.Book.watches, w)
	}
	s.It(check, at, func(c *Case) {
		s.Book.watch(c)
		if !w.told {
			c.Adopt(w.own.Trace)
			w.told = true // also where the check is begun again
		}
		if end := w.own.result; end.Verdict != "" {
			c.end(end.Verdict, end.Reason)
		}
		judge(c, w.Life)
	})
}

// watch makes everything that is watched, and tries it at its ages; called again it does nothing.
func (b *Book) watch(c *Case) {
	if b.seen {
		return
	}
	b.seen = true
	type due struct {
		of *watched
		Try
	}
	var all []due
	for _, w := range b.watches {
		w.own = &Case{Trace: c.Trace.Trace(c.Context(), w.check.ID), Check: w.check, suite: w.suite, result: &harness.Result{}}
		w.within(func() {
			tries := w.make(w.own)
			w.made = c.Clock.Now()
			for _, t := range tries {
				if t.Age == 0 { // at once: the others are not made yet
					w.try(t)
				} else {
					all = append(all, due{w, t})
				}
			}
		})
	}
	slices.SortStableFunc(all, func(a, b due) int { return int(a.of.made.Add(a.Age).Sub(b.of.made.Add(b.Age))) })
	for _, d := range all {
		d.of.within(func() { d.of.try(d.Try) })
	}
	for _, w := range b.watches {
		if len(w.Samples) == 0 && w.own.result.Verdict == "" {
			w.own.result.Verdict, w.own.result.Reason = harness.Inconclusive, "nothing was tried"
		}
	}
}

// try makes one try, when it is time, unless the watch has ended.
func (w *watched) try(t Try) {
	if n := len(w.Samples); w.own.result.Verdict != "" || n > 0 && w.Samples[n-1].Outcome.State == w.until {
		return
	}
	if err := w.own.WaitUntil(w.made.Add(t.Age)); err != nil {
		w.own.Unlearned("%v", err)
	}
	age := w.own.Clock.Now().Sub(w.made)
	o := t.Use(w.own)
	if o.State == harness.Unknown {
		w.own.Unlearned("at the age of %s: %s", age.Round(time.Second), o)
	}
	w.Samples = append(w.Samples, Sample{age, o})
}

// within keeps a verdict that is reached early for the check itself.
func (w *watched) within(do func()) {
	defer func() {
		if thrown := recover(); thrown != nil {
			if _, ours := thrown.(verdictReached); !ours {
				w.own.result.Verdict, w.own.result.Reason = harness.Inconclusive, fmt.Sprintf("popcheck itself failed here, please report it: %v", thrown)
			}
		}
	}()
	do()
}

// First is what came of the first try.
func (l Life) First() harness.Outcome { return l.Samples[0].Outcome }

// Last is what came of the last try.
func (l Life) Last() harness.Outcome { return l.Samples[len(l.Samples)-1].Outcome }

// Span says how long something worked: until between the last try that did and the first that did not.
func (l Life) Span() string {
	return l.until(harness.Granted, "less than %s", "more than %s", "between %s and %s")
}

// Refused says how long something was refused.
func (l Life) Refused() string {
	return l.until(harness.Refused, "accepted after %s", "refused for %s at least", "refused for %s, accepted after %s")
}

// until says how long samples were of a state: not at all, all the time, or from one age to another.
func (l Life) until(state harness.State, never, ever, between string) string {
	age := func(s Sample) string { return fmt.Sprintf("%.0f s", s.Age.Seconds()) }
	i := slices.IndexFunc(l.Samples, func(s Sample) bool { return s.Outcome.State != state })
	switch {
	case i == 0:
		return fmt.Sprintf(never, age(l.Samples[0]))
	case i < 0:
		return fmt.Sprintf(ever, age(l.Samples[len(l.Samples)-1]))
	}
	return strings.TrimSpace(fmt.Sprintf(between, age(l.Samples[i-1]), age(l.Samples[i])))
}
