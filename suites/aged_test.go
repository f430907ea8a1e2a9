package suites_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/popcheck/popcheck/fixtures"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
	"github.com/popcheck/popcheck/suites"
)

// agingClock lets nobody wait: the reference target grows old instead.
type agingClock struct {
	target *fixtures.Reference
	ahead  time.Duration
}

func (c *agingClock) Now() time.Time { return time.Now().Add(c.ahead) }

func (c *agingClock) Sleep(_ context.Context, d time.Duration) {
	c.ahead += d
	c.target.Age(d)
}

// agedChecks are those that wait.
var agedChecks = suites.Selection{"code-old", "token-expired", "dpop-nonce-old", "par-request-uri-old",
	"code-lifetime", "par-request-uri-lifetime", "dpop-nonce-lifetime", "dpop-replay-later"}

// TestWithoutSlowNothingWaits: what would have to wait is skipped, and says how it can be had.
func TestWithoutSlowNothingWaits(t *testing.T) {
	_, target := startReference(t, fixtures.Options{Named: true})
	run, err := suites.Run(t.Context(), suites.Options{Target: target, Version: "test", Profile: "bcp", FailOn: harness.Must, Select: agedChecks, Evidence: expect.VerdictsOnly})
	if err != nil {
		t.Fatal(err)
	}
	if len(run.Results) < 5 {
		t.Errorf("%d results", len(run.Results))
	}
	for _, r := range run.Results {
		if r.Verdict != harness.Skip || !strings.HasPrefix(r.Reason, "needs --slow") {
			t.Errorf("%s %s: %s", r.Verdict, r.Key, r.Reason)
		}
	}
}

// TestTheAgedComeLastAndWaitOnce: together the checks wait no longer than the longest of them has to.
func TestTheAgedComeLastAndWaitOnce(t *testing.T) {
	reference, target := startReference(t, fixtures.Options{Named: true})
	clock := &agingClock{target: reference}
	var order []string
	_, err := suites.Run(t.Context(), suites.Options{Target: target, Version: "test", Profile: "bcp", FailOn: harness.Must, Evidence: expect.VerdictsOnly,
		Select: append(suites.Selection{"dpop-nonce-random", "mtls-cnf", "pkce-s256"}, agedChecks...), Slow: true, Clock: clock,
		Progress: func(r *harness.Result, _, _ int) { order = append(order, r.ID) }})
	if err != nil {
		t.Fatal(err)
	}
	aged := false
	for _, id := range order {
		if agedChecks.Matches(&harness.Result{ID: id}) {
			aged = true
		} else if aged {
			t.Errorf("%s ran after a check that waits", id)
		}
	}
	if clock.ahead > 12*time.Minute || clock.ahead < 10*time.Minute {
		t.Errorf("the checks waited %s", clock.ahead)
	}
}

// sleeper waits by the time of day, and says that it began.
type sleeper struct {
	harness.WallClock
	began chan<- struct{}
}

func (s sleeper) Sleep(ctx context.Context, d time.Duration) {
	close(s.began)
	s.WallClock.Sleep(ctx, d)
}

// TestAnInterruptEndsAWait: what waited is inconclusive, at once.
func TestAnInterruptEndsAWait(t *testing.T) {
	_, target := startReference(t, fixtures.Options{Named: true})
	ctx, interrupt := context.WithCancel(t.Context())
	began := make(chan struct{})
	go func() { <-began; interrupt() }()
	start := time.Now()
	run, err := suites.Run(ctx, suites.Options{Target: target, Version: "test", Profile: "bcp", FailOn: harness.Must, Evidence: expect.VerdictsOnly,
		Select: suites.Selection{"code-old", "dpop-nonce-old"}, Slow: true, Clock: sleeper{began: began}})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > time.Minute || run.Complete {
		t.Errorf("the run took %s; complete %v", took, run.Complete)
	}
	for _, r := range run.Results {
		if r.Verdict != harness.Inconclusive {
			t.Errorf("%s %s: %s", r.Verdict, r.Key, r.Reason)
		}
	}
}
