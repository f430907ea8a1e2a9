package harness

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hurriedClock lets nobody wait, and remembers for how long it should have.
type hurriedClock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *hurriedClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *hurriedClock) Sleep(_ context.Context, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

func (c *hurriedClock) waited() time.Duration { return time.Until(c.Now()) }

// busy answers the first n requests with a status and Retry-After.
func busy(t *testing.T, n int64, status int, retryAfter string) (tr *Trace, clock *hurriedClock, address string, arrived *atomic.Int64) {
	arrived = &atomic.Int64{}
	s := plainServer(t, func(w http.ResponseWriter, _ *http.Request) {
		if arrived.Add(1) <= n {
			if retryAfter != "" {
				w.Header().Set("Retry-After", retryAfter)
			}
			w.WriteHeader(status)
		}
	})
	tr, clock = newTrace(t, testTarget(s.URL)), &hurriedClock{}
	tr.Clock = clock
	return tr, clock, s.URL, arrived
}

// An honest call that the target had no time for is sent again when the time has passed that it named; all of it is recorded.
func TestAnHonestCallWaitsAsItIsTold(t *testing.T) {
	now := time.Now().UTC()
	for name, c := range map[string]struct {
		status     int
		retryAfter string
		low, high  time.Duration
	}{
		"seconds":              {429, "7", 7 * time.Second, 8 * time.Second},
		"a date":               {429, now.Add(30 * time.Second).Format(http.TimeFormat), 20 * time.Second, 31 * time.Second},
		"a date that is past":  {503, now.Add(-time.Hour).Format(http.TimeFormat), time.Second, 2 * time.Second},
		"not said":             {429, "", time.Second, 2 * time.Second},
		"not said, by 503":     {503, "", time.Second, 2 * time.Second},
		"of a gateway":         {502, "", time.Second, 2 * time.Second},
		"of a patient gateway": {504, "", time.Second, 2 * time.Second},
		"not to be understood": {429, "soon", time.Second, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			tr, clock, address, arrived := busy(t, 1, c.status, c.retryAfter)
			a := tr.Do(get(address))
			if !a.OK() || a.Status != 200 || arrived.Load() != 2 || len(tr.Exchanges()) != 2 || tr.Unheard() != 0 {
				t.Errorf("%d after %d requests, %d of them recorded; %d unheard", a.Status, arrived.Load(), len(tr.Exchanges()), tr.Unheard())
			}
			if waited := clock.waited(); waited < c.low-time.Second || waited > c.high {
				t.Errorf("waited %s", waited)
			}
			if r := tr.Rests(); r == nil || r.Asked != 1 || (r.PerSecond == 0) != (c.status == 502 || c.status == 504) {
				t.Errorf("rests: %+v", r)
			}
		})
	}
}

// A gateway that has lost its server is asked again for as long as a server takes to start, and no slower.
func TestAGatewayWithoutServerIsBelievedSoon(t *testing.T) {
	tr, clock, address, arrived := busy(t, 100, http.StatusBadGateway, "")
	if a := tr.Do(Request{Step: "honest call", Method: "GET", URL: address}); a.Status != http.StatusBadGateway {
		t.Errorf("%d", a.Status)
	}
	if n, waited := arrived.Load(), clock.waited(); n != gatewayTries || waited > 8*time.Second {
		t.Errorf("%d requests, waited %s", n, waited)
	}
}

// An attack is never sent again; what comes next waits.
func TestAnAttackIsNotSentAgainAfterARest(t *testing.T) {
	tr, clock, address, arrived := busy(t, 1, 429, "5")
	if o := settle(attack(tr, get(address)), "here"); o.State != Unknown {
		t.Errorf("429 is a decision: %s", o)
	}
	if arrived.Load() != 1 || tr.Unheard() != 1 {
		t.Errorf("%d requests, %d unheard", arrived.Load(), tr.Unheard())
	}
	if r := tr.Rests(); r.PerSecond != 0 {
		t.Errorf("an attack was answered 429, which may be about it, and popcheck slowed down to %g", r.PerSecond)
	}
	tr.Do(get(address))
	if waited := clock.waited(); waited < 4*time.Second {
		t.Errorf("the next request waited %s", waited)
	}
}

// Each rest that an honest call is told to take makes the run slower, down to a limit; and there is an end to patience.
func TestRestsMakeTheRunSlower(t *testing.T) {
	tr, _, address, _ := busy(t, 3, 429, "1")
	tr.Do(get(address))
	first := tr.Rests().PerSecond
	if tr.Do(get(address)); tr.Rests().PerSecond > first || first > 1 {
		t.Errorf("%g, then %g requests per second", first, tr.Rests().PerSecond)
	}
	if n := tr.RaceSize(10); n > 1 {
		t.Errorf("%d requests at the same moment", n)
	}
	tr, _, address, arrived := busy(t, 100, 429, "3600")
	tr.Do(get(address))
	if arrived.Load() != 1 {
		t.Errorf("%d requests", arrived.Load())
	}
	wantText(t, tr.Stopped(), "a rest of 1h0m0s", "2m0s at most")
}
