package suites

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
)

// Assignment is what a worker is told on its standard input: Options as data.
type Assignment struct {
	File    string // the target file to read
	Path    string // how reports call it
	Fault   string
	Version string
	Profile string
	FailOn  harness.Level
	Select  string
	Manners Manners
	Slow    bool
	Seed    uint64
	Worker  harness.Worker
}

// message is what a worker says, one JSON value a line: a result as it ends, without its evidence, and at last its whole part.
type message struct {
	Result *harness.Result `json:",omitempty"`
	Total  int             `json:",omitempty"` // results of this worker
	Run    *harness.Run    `json:",omitempty"`
	Failed string          `json:",omitempty"`
}

// takes says whether a result is selected, and this worker's. The results of one place have their controls in common, and first
// consents their users: they stay together.
func (o Options) takes(r *harness.Result) bool {
	if !o.Select.Matches(r) {
		return false
	}
	if o.Worker == nil || o.Worker.Of < 2 {
		return true
	}
	if strings.Contains(r.Variant, "consent") {
		return o.Worker.Index == 0
	}
	h := fnv.New32a()
	h.Write([]byte(strings.TrimPrefix(r.Key, r.ID) + string(r.Mechanism)))
	return int(h.Sum32()%uint32(o.Worker.Of)) == o.Worker.Index
}

// Work does the part of a run that comes on in, and tells on out. It ends when nobody listens any more.
func Work(ctx context.Context, in io.Reader, out io.Writer) error {
	var a Assignment
	if err := json.NewDecoder(in).Decode(&a); err != nil {
		return fmt.Errorf("no assignment: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	to := json.NewEncoder(out)
	tell := func(m message) {
		if to.Encode(m) != nil {
			cancel()
		}
	}
	run, err := a.work(ctx, func(r *harness.Result, _, total int) {
		bare := *r
		bare.Exchanges = nil
		tell(message{Result: &bare, Total: total})
	})
	if err != nil {
		tell(message{Failed: err.Error()})
		return err
	}
	tell(message{Run: run})
	return nil
}

func (a Assignment) work(ctx context.Context, progress func(*harness.Result, int, int)) (*harness.Run, error) {
	target, err := harness.LoadTarget(a.File)
	if err != nil {
		return nil, err
	}
	target.Path, target.Waivers = a.Path, nil // waivers are weighed when all results are there
	selection, err := ParseSelection(a.Select)
	if err != nil {
		return nil, err
	}
	return Run(ctx, Options{Target: target, Fault: a.Fault, Version: a.Version, Profile: a.Profile, FailOn: a.FailOn, Select: selection, Manners: a.Manners,
		Slow: a.Slow, Seed: a.Seed, Worker: &a.Worker, Progress: progress})
}

// RunParallel is Run in n processes, each with its own part of the results and its own browser sessions (design §8). file is the
// target file that the workers read, and worker makes the command of one, which calls Work. What the workers left open because they
// were in each other's way is run once more alone, so that the verdicts are those of Run.
func RunParallel(ctx context.Context, o Options, n int, file string, worker func(context.Context) *exec.Cmd) (*harness.Run, error) {
	key := make([]byte, 32)
	rand.Read(key)
	share := harness.Worker{Of: n, RunID: harness.NewRunID(), Key: key}
	closeIssuer, err := publish(o, &share)
	if err != nil {
		return nil, err
	}
	started := time.Now().UTC()
	parts := make([]*harness.Run, n)
	errs := make([]error, n)
	progress := merged{tell: o.Progress, totals: make([]int, n)}
	var all sync.WaitGroup
	for i := range n {
		own := share
		own.Index = i
		a := Assignment{File: file, Path: o.Target.Path, Fault: o.Fault, Version: o.Version, Profile: o.Profile, FailOn: o.FailOn, Select: o.Select.String(),
			Manners: o.Manners, Slow: o.Slow, Seed: o.Seed, Worker: own}
		cmd := worker(ctx)
		all.Go(func() { parts[i], errs[i] = delegate(cmd, a, func(m message) { progress.note(i, m) }) })
	}
	all.Wait()
	closeIssuer()
	run := merge(parts)
	if run == nil {
		return nil, errors.Join(errs...)
	}
	for _, err := range errs {
		if err != nil && run.Complete {
			run.Complete, run.Incomplete = false, "a part of the run was lost: "+err.Error()
		}
	}
	if open := undecided(run); ctx.Err() == nil && run.Complete && len(open) > 0 {
		share.Index, share.Of = n, 1
		o.Select, o.Worker, o.Progress, o.Learned = open, &share, nil, nil
		again, err := Run(ctx, o)
		if err != nil {
			return nil, err
		}
		run.replace(again)
	}
	out := run.Run
	out.Started, out.Finished = started, time.Now().UTC()
	sumUp(out, o.Target.Waivers)
	return out, nil
}

// publish serves the keys of the token issuer for all workers, which share one.
func publish(o Options, share *harness.Worker) (close func(), err error) {
	if share.IssuerKey, err = harness.NewIssuerKey(o.Target); err != nil {
		return nil, err
	}
	t, err := harness.NewWorker(o.Target, o.Version, *share)
	if err != nil {
		return nil, err
	}
	return t.Publish()
}

// delegate has one worker do its part.
func delegate(cmd *exec.Cmd, a Assignment, note func(message)) (*harness.Run, error) {
	in, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	cmd.Stdin = strings.NewReader(string(in))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it still tells what it has
	cmd.WaitDelay = time.Minute
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var run *harness.Run
	failed := ""
	lines := json.NewDecoder(bufio.NewReader(out))
	for {
		var m message
		if err := lines.Decode(&m); err != nil {
			break // its end, however it came
		}
		if m.Run != nil {
			run = m.Run
		}
		failed = cmp.Or(m.Failed, failed)
		note(m)
	}
	err = cmd.Wait()
	switch {
	case run != nil:
		return run, nil
	case failed != "":
		return nil, errors.New(failed)
	}
	return nil, fmt.Errorf("a worker ended without a result: %w", cmp.Or(err, io.ErrUnexpectedEOF))
}

// merged counts the results of all workers together.
type merged struct {
	mu     sync.Mutex
	done   int
	totals []int
	tell   func(r *harness.Result, done, total int)
}

func (p *merged) note(worker int, m message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.Result == nil {
		return
	}
	p.done++
	p.totals[worker] = m.Total
	total := 0
	for _, n := range p.totals {
		total += n
	}
	if p.tell != nil {
		p.tell(m.Result, p.done, total)
	}
}

// wholeRun is a run made of parts.
type wholeRun struct{ *harness.Run }

// merge puts the parts together in the order of the catalogue; nil when there is none.
func merge(parts []*harness.Run) *wholeRun {
	var out *harness.Run
	for _, part := range parts {
		if part == nil {
			continue
		}
		if out == nil {
			first := *part
			out = &first
			continue
		}
		out.Requests, out.Logins = out.Requests+part.Requests, out.Logins+part.Logins
		if r := part.Rests; r != nil {
			all := *cmp.Or(out.Rests, &harness.RunRests{})
			all.Asked, all.WaitedMS, all.PerSecond = all.Asked+r.Asked, all.WaitedMS+r.WaitedMS, all.PerSecond+r.PerSecond
			out.Rests = &all
		}
		out.Results = append(out.Results, part.Results...)
		out.Left = append(out.Left, part.Left...)
		for _, p := range part.Problems {
			if !slices.Contains(out.Problems, p) {
				out.Problems = append(out.Problems, p)
			}
		}
		if out.Complete && !part.Complete {
			out.Complete, out.Incomplete = false, part.Incomplete
		}
	}
	if out == nil {
		return nil
	}
	place := map[string]int{}
	for i, e := range attacks.Catalogue() {
		place[e.ID] = i
	}
	slices.SortStableFunc(out.Results, func(a, b harness.Result) int {
		return cmp.Or(cmp.Compare(place[a.ID], place[b.ID]), cmp.Compare(a.Key, b.Key))
	})
	return &wholeRun{out}
}

// fewOpen is the part of the results, one in so many, that are run again: where more are open, the target is in trouble.
const fewOpen = 5

// undecided are the keys of the results that are worth another try.
func undecided(run *wholeRun) Selection {
	var open Selection
	for _, r := range run.Results {
		if r.Verdict == harness.Inconclusive {
			open = append(open, r.Key)
		}
	}
	if len(open)*fewOpen > len(run.Results) {
		return nil
	}
	return open
}

// replace takes over what another run says of the same results.
func (run *wholeRun) replace(again *harness.Run) {
	run.Requests, run.Logins = run.Requests+again.Requests, run.Logins+again.Logins
	run.Left = append(run.Left, again.Left...)
	for _, r := range again.Results {
		if i := slices.IndexFunc(run.Results, func(old harness.Result) bool { return old.Key == r.Key }); i >= 0 {
			r.Reason += " (tried again alone, because the parallel part left it open)"
			run.Results[i] = r
		}
	}
}
