package harness

import (
	"io"
	"sync"
	"time"
)

// Race is what came of requests that a server got at the same moment.
type Race struct {
	Outcomes   []Outcome
	Together   int // requests whose last bytes went out at the same moment
	Overlapped int // of them, those that were complete before the first answer began
}

// Decided are the outcomes that are a decision of the target.
func (r Race) Decided() []Outcome {
	var out []Outcome
	for _, o := range r.Outcomes {
		if o.State != Unknown {
			out = append(out, o)
		}
	}
	return out
}

// RaceSize is how many requests may go out at the same moment: wanted, unless limits.requests_per_second, or what the target was
// seen to take, allows fewer in one second.
func (t *Tester) RaceSize(wanted int) int {
	if rps := t.pacer.perSecond(); rps > 0 {
		return min(wanted, int(rps))
	}
	return wanted
}

// AtOnce sends n requests of which the server gets the last bytes at the same moment: each on a connection of its own, with the
// handshake made and everything but one byte written before. send sends one request, on the trace that it is given; whatever makes
// a request its sender's (a proof, an assertion, a certificate) is made for each. Pacing comes first, so that it does not part them.
func (tr *Trace) AtOnce(n int, send func(*Trace) Outcome) Race {
	for range n {
		if failure := tr.pace(tr.ctx); failure != nil {
			return Race{Outcomes: []Outcome{{Why: "nothing was sent: " + failure.Error()}}}
		}
	}
	g := &gate{expected: n, patience: tr.Target.Limits.Timeout / 4, open: make(chan struct{})}
	lanes := make([]*Trace, n)
	race := Race{Outcomes: make([]Outcome, n)}
	var all sync.WaitGroup
	for i := range n {
		lane := &Trace{Tester: tr.Tester, ctx: tr.ctx, check: tr.check, role: tr.role, started: tr.started, held: &held{gate: g}}
		lanes[i] = lane
		all.Go(func() {
			defer lane.held.leave()
			race.Outcomes[i] = send(lane)
		})
	}
	all.Wait()
	var first time.Time
	for _, lane := range lanes {
		tr.exchanges = append(tr.exchanges, lane.exchanges...)
		if at := lane.held.answered; !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	for _, lane := range lanes {
		at := lane.held.released
		if at.IsZero() {
			continue
		}
		race.Together++
		if !at.After(first) {
			race.Overlapped++
		}
	}
	return race
}

// gate holds the last bytes back until every request that is still under way has come to it. A server with fewer workers than there
// are requests makes no handshake with the others before it has answered some: where nobody came for a while it opens for those that
// are there, and who comes later is not held.
type gate struct {
	mu       sync.Mutex
	expected int
	waiting  []*held
	patience time.Duration
	tired    *time.Timer
	opened   bool
	open     chan struct{}
}

// held is one request at a gate.
type held struct {
	gate     *gate
	arrived  bool
	to       io.Writer
	last     []byte
	err      error
	released time.Time // when its last byte was written; zero if it never was
	answered time.Time // when its answer began
}

// write sends a message up to its last byte, and that when the gate opens. A second message of the same sender is not held.
func (h *held) write(to io.Writer, message []byte) error {
	if h.arrived {
		_, err := to.Write(message)
		return err
	}
	end := len(message) - 1
	if _, err := to.Write(message[:end]); err != nil {
		return err
	}
	h.to, h.last = to, message[end:]
	if !h.come(func(g *gate) { g.waiting = append(g.waiting, h) }) {
		_, err := to.Write(h.last)
		return err
	}
	<-h.gate.open
	return h.err
}

// leave is for a sender that ends without having come to the gate: the others do not wait for it.
func (h *held) leave() {
	if !h.arrived {
		h.come(func(g *gate) { g.expected-- })
	}
}

// come counts a sender at the gate, and reports whether the gate was still closed.
func (h *held) come(count func(*gate)) bool {
	g := h.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	h.arrived = true
	if g.opened {
		return false
	}
	count(g)
	switch {
	case len(g.waiting) >= g.expected:
		g.release()
	case g.tired == nil:
		g.tired = time.AfterFunc(g.patience, g.giveUp)
	default:
		g.tired.Reset(g.patience)
	}
	return true
}

// giveUp opens the gate for those that are there, if any is; else the next to come is waited for.
func (g *gate) giveUp() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.opened && len(g.waiting) > 0 {
		g.release()
	}
}

func (g *gate) release() {
	if g.tired != nil {
		g.tired.Stop()
	}
	// One loop writes faster than as many goroutines wake up.
	for _, w := range g.waiting {
		if _, w.err = w.to.Write(w.last); w.err == nil {
			w.released = time.Now()
		}
	}
	g.opened = true
	close(g.open)
}
