package harness

import (
	"io"
	"sync"
	"time"
)

// Race is what came of requests that a server got at the same moment.
type Race struct {
	Outcomes   []Outcome
	Overlapped int // requests that were complete before the first answer began
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
	g := &gate{expected: n, open: make(chan struct{})}
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
		if at := lane.held.released; !at.IsZero() && !at.After(first) {
			race.Overlapped++
		}
	}
	return race
}

// gate holds the last bytes back until every request that is still under way has come to it.
type gate struct {
	mu       sync.Mutex
	expected int
	waiting  []*held
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
	h.come(func(g *gate) { g.waiting = append(g.waiting, h) })
	<-h.gate.open
	return h.err
}

// leave is for a sender that ends without having come to the gate: the others do not wait for it.
func (h *held) leave() {
	if !h.arrived {
		h.come(func(g *gate) { g.expected-- })
	}
}

func (h *held) come(count func(*gate)) {
	g := h.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	h.arrived = true
	if count(g); len(g.waiting) < g.expected {
		return
	}
	// One loop writes faster than as many goroutines wake up.
	for _, w := range g.waiting {
		if _, w.err = w.to.Write(w.last); w.err == nil {
			w.released = time.Now()
		}
	}
	close(g.open)
}
