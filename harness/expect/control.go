package expect

import (
	"maps"

	"github.com/popcheck/popcheck/harness"
)

// control is the last honest call at a place.
type control struct {
	place     string
	sent      int // requests of the run when it was made
	outcome   harness.Outcome
	kept      map[string]*harness.Token
	exchanges []harness.Exchange
}

// Proven is the honest call of a place. The one after an attack is also the one before the next attack at that place, where nothing
// was sent in between: it is then made once, and the records of both checks show it.
func (c *Case) Proven(place string, honest func() harness.Outcome) func() harness.Outcome {
	last := c.suite.control
	return func() harness.Outcome {
		if last.place == place && last.sent == c.Sent() && last.outcome.State == harness.Granted {
			c.Share(last.exchanges)
			c.kept = maps.Clone(last.kept)
			return last.outcome
		}
		before := c.Recorded()
		outcome := honest()
		*last = control{place: place, sent: c.Sent(), outcome: outcome, kept: maps.Clone(c.kept), exchanges: c.Since(before)}
		return outcome
	}
}
