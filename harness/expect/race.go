package expect

import (
	"fmt"

	"github.com/popcheck/popcheck/harness"
)

// Race is something that works once, used by several requests at the same moment.
type Race struct {
	What     string // "code"
	Requests int
	Rounds   int // at most
	// Start makes a new one and says how to use it; send is nil when it could not be made.
	Start func() (send func(*harness.Trace) harness.Outcome, failed harness.Outcome)
	// Aside reports that a request was refused before the server came to what is raced; nil: that cannot be. Where it happens to all but
	// one, Excuse says why the race does not apply; "" where nothing explains it.
	Aside  func(harness.Outcome) bool
	Excuse string
	// Prizes weighs what came out where several requests were granted: Granted, and Got says what, when it is more than one may win;
	// Refused when it is one thing, or none that works.
	Prizes func(won []harness.Outcome) harness.Outcome
	// Void reports that a round in which all were refused was decided too: the server may end what it sees used twice.
	Void func(harness.Outcome) bool
}

// Race plays the rounds until one is lost, and says what was seen. Refused means that no round was, and that in one at least the
// thing raced for was decided upon.
func (c *Case) Race(r Race) (answer harness.Outcome, seen string) {
	rounds, sent, together, overlapped, served, single, idle := 0, 0, 0, 0, 0, 0, 0
	for rounds < r.Rounds && (together > 1 || rounds < 2) {
		send, failed := r.Start()
		if send == nil {
			return failed, ""
		}
		out := c.AtOnce(r.Requests, send)
		var runners, won []harness.Outcome
		decided, refused := out.Decided(), 0
		for _, o := range decided {
			if r.Aside != nil && r.Aside(o) {
				continue
			}
			runners = append(runners, o)
			switch {
			case o.State == harness.Granted:
				won = append(won, o)
			case r.Void != nil && r.Void(o):
				refused++
				fallthrough
			default:
				answer = o
			}
		}
		if len(runners) == 1 && len(decided) > 1 && r.Excuse != "" {
			c.NotApplicable("observed: %s, so that %d of %d requests at the same moment were refused for theirs", r.Excuse, len(decided)-1, r.Requests)
		}
		// The nonce that all of them had from before was too old: the answers brought a new one.
		if len(runners) == 0 && len(decided) > 0 && idle == 0 {
			idle++
			continue
		}
		if len(runners) < 2 {
			return harness.Outcome{At: out.Outcomes[0].At, Why: fmt.Sprintf("%d of %d requests at the same moment were decided, so nobody raced; the first came to: %s", len(runners), r.Requests, out.Outcomes[0])}, ""
		}
		rounds, sent, overlapped, idle = rounds+1, sent+out.Together, overlapped+out.Overlapped, 0
		together = max(together, out.Together)
		c.Measured("%d requests at the same moment, rounds: %d; %d of %d were complete before the first answer of their round", together, rounds, overlapped, sent)
		if len(won) > 0 || refused == len(runners) {
			served++
		}
		if len(won) < 2 {
			continue
		}
		switch prizes := r.Prizes(won); prizes.State {
		case harness.Unknown:
			return prizes, ""
		case harness.Granted:
			prizes.Got = fmt.Sprintf("in round %d of one %s: %s", rounds, r.What, prizes.Got)
			return prizes, ""
		}
		single++
	}
	if served == 0 {
		return harness.Outcome{At: answer.At, Why: "none of the requests at the same moment was served, not even one: " + answer.String()}, ""
	}
	if together < 2 {
		c.NotApplicable("observed: the server serves one connection after another: while a request is under way, no other connection comes about")
	}
	seen = fmt.Sprintf("not one of %d %ss, each used %d times at the same moment, worked twice", rounds, r.What, together)
	if single > 0 {
		seen += fmt.Sprintf("; of %d several answers brought something, and at most one thing worked afterwards", single)
	}
	answer.State = harness.Refused
	return answer, seen
}
