package suites_test

import (
	"bufio"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/fixtures"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
	"github.com/popcheck/popcheck/reports"
	"github.com/popcheck/popcheck/suites"
)

// judged is what a run says of a target.
type judged struct {
	Target     string // the fault, or how it was started
	Verdicts   map[string]harness.Verdict
	Reasons    map[string]string // of what is no pass
	Controlled map[string]bool   // the passes that had a control, where evidence was kept
	Exit       int
	Problems   []string
	Error      string
}

// judge runs a selection against the target of the options, under its profile.
func judge(o suites.Options, selection string) (judged, error) {
	chosen, err := suites.ParseSelection(selection)
	if err != nil {
		return judged{}, err
	}
	o.Version, o.Profile, o.FailOn, o.Select = "test", o.Target.Profile, harness.Must, chosen
	run, err := suites.Run(context.Background(), o)
	if err != nil {
		return judged{}, err
	}
	out := judged{Verdicts: map[string]harness.Verdict{}, Reasons: map[string]string{}, Controlled: map[string]bool{}, Exit: reports.ExitCode(run), Problems: run.Problems}
	for _, r := range run.Results {
		out.Verdicts[r.Key] = r.Verdict
		if r.Verdict != harness.Pass {
			out.Reasons[r.Key] = r.Reason
		} else if slices.ContainsFunc(r.Exchanges, func(x harness.Exchange) bool { return x.Role == harness.ControlExchange }) {
			out.Controlled[r.Key] = true
		}
	}
	return out, nil
}

// judgeFault runs a selection against the reference target with a fault; that of a dialect alone is its sound server.
func judgeFault(t *testing.T, fault, selection string) (judged, error) {
	if dialect, ok := strings.CutPrefix(fault, inDialect); ok {
		return judgeReference(t, fixtures.Options{Dialect: dialect}, selection)
	}
	return judgeReference(t, fixtures.Options{Fault: fault}, selection)
}

func judgeReference(t *testing.T, options fixtures.Options, selection string) (judged, error) {
	options.Dir, options.Named = filepath.Join(t.TempDir(), "target"), true
	reference, err := fixtures.Start(options)
	if err != nil {
		return judged{}, err
	}
	defer reference.Close()
	target, err := harness.LoadTarget(reference.TargetFile())
	if err != nil {
		return judged{}, err
	}
	return judge(suites.Options{Target: target, Slow: true, Patience: 2 * time.Second, Clock: &agingClock{target: reference}, Evidence: expect.VerdictsOnly}, selection)
}

// inDialect is before the id of a dialect, where a fault could stand.
const inDialect = "@"

// TestKillWorker runs a part of the matrix in a process of its own: Ginkgo's tree is global to a process.
func TestKillWorker(t *testing.T) { work(t, judgeFault) }

// work runs the faults that killAll gave to this process.
func work(t *testing.T, run func(t *testing.T, fault, selection string) (judged, error)) {
	name := os.Getenv("POPCHECK_KILL_FAULTS") // a file: what is run against which may be longer than an environment
	if name == "" {
		t.Skip("only for the tests that start it")
	}
	list, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(os.Getenv("POPCHECK_KILL_OUT"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	for one := range strings.SplitSeq(string(list), "\n") {
		id, selection, _ := strings.Cut(one, "=")
		t.Run(id, func(t *testing.T) {
			k, err := run(t, id, selection)
			if k.Target = id; err != nil {
				k.Error = err.Error()
			}
			if err := json.NewEncoder(out).Encode(k); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// killAll has a target attacked with each fault by the test named worker, in two processes for each processor; "" is the sound
// target, and selections say what is run against which.
func killAll(t *testing.T, worker string, faults []string, selections map[string]string) map[string]judged {
	t.Helper()
	// Popcheck and target wait for each other half of the time. No workers at all: nothing to run again.
	workers := min(2*runtime.GOMAXPROCS(0), len(faults))
	type process struct {
		cmd  *exec.Cmd
		file string
		log  strings.Builder
	}
	var all []*process
	for i := range workers {
		var part []string
		for j := i; j < len(faults); j += workers {
			part = append(part, faults[j]+"="+selections[faults[j]])
		}
		w := &process{file: filepath.Join(t.TempDir(), fmt.Sprint(i))}
		w.cmd = exec.Command(os.Args[0], "-test.run=^"+worker+"$", "-test.timeout=60m")
		if err := os.WriteFile(w.file+".faults", []byte(strings.Join(part, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
		w.cmd.Env = append(os.Environ(), "POPCHECK_KILL_FAULTS="+w.file+".faults", "POPCHECK_KILL_OUT="+w.file)
		w.cmd.Stdout, w.cmd.Stderr = &w.log, &w.log
		if err := w.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, w)
	}
	out := map[string]judged{}
	for _, w := range all {
		if err := w.cmd.Wait(); err != nil {
			t.Errorf("a worker of the matrix failed: %v\n%s", err, w.log.String())
		}
		f, err := os.Open(w.file)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<24)
		for lines.Scan() {
			var k judged
			if err := json.Unmarshal(lines.Bytes(), &k); err != nil {
				t.Fatal(err)
			}
			if k.Error != "" {
				t.Errorf("%s: %s", k.Target, k.Error)
			}
			out[k.Target] = k
		}
		f.Close()
	}
	return out
}

// flips are the results that differ from the sound target, as "verdict key".
func flips(sound, faulty map[string]harness.Verdict) []string {
	var out []string
	keys := map[string]bool{}
	for k := range sound {
		keys[k] = true
	}
	for k := range faulty {
		keys[k] = true
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if sound[key] != faulty[key] {
			v := faulty[key]
			if v == "" {
				v = "absent"
			}
			out = append(out, string(v)+" "+key)
		}
	}
	return out
}

//go:embed testdata/kill/*.txt testdata/broken.txt testdata/dialects.txt
var expectations embed.FS

// expected reads files of testdata: a line "fault: verdict pattern pattern …; verdict pattern …" for each fault.
func expected(t *testing.T, names string) map[string]map[harness.Verdict][]string {
	t.Helper()
	out := map[string]map[harness.Verdict][]string{}
	files, err := fs.Glob(expectations, "testdata/"+names)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := expectations.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			line, _, _ = strings.Cut(line, "#")
			if strings.TrimSpace(line) == "" {
				continue
			}
			fault, rest, ok := strings.Cut(line, ":")
			if _, twice := out[fault]; !ok || twice {
				t.Fatalf("%s:%d: want one line \"fault: verdict patterns; …\" a fault", file, i+1)
			}
			out[fault] = map[harness.Verdict][]string{}
			if strings.TrimSpace(rest) == "" {
				continue // nothing changes
			}
			for _, group := range strings.Split(rest, ";") {
				words := strings.Fields(group)
				if len(words) < 2 {
					t.Fatalf("%s:%d: a verdict without patterns", file, i+1)
				}
				out[fault][harness.Verdict(words[0])] = words[1:]
			}
		}
	}
	return out
}

// absent is what a result is that exists only with, or only without, a fault: the fault changed which client can show a check.
const absent harness.Verdict = "absent"

// surprises say where the flips are not exactly those of the patterns, and which pattern matches nothing.
func surprises(sound, faulty map[string]harness.Verdict, want map[harness.Verdict][]string) []string {
	var out []string
	used := map[string]bool{}
	for _, flip := range flips(sound, faulty) {
		verdict, key, _ := strings.Cut(flip, " ")
		known := false
		for _, pattern := range want[harness.Verdict(verdict)] {
			if glob(pattern, key) {
				known = true
				used[verdict+" "+pattern] = true
			}
		}
		if !known {
			out = append(out, fmt.Sprintf("%s became %s, which is not listed", key, verdict))
		}
	}
	for verdict, patterns := range want {
		for _, pattern := range patterns {
			if !used[string(verdict)+" "+pattern] {
				out = append(out, fmt.Sprintf("nothing that matches %s became %s", pattern, verdict))
			}
			for key, v := range sound {
				now, there := faulty[key]
				if !there {
					now = absent
				}
				if v == harness.Pass && glob(pattern, key) && now != verdict && now == v {
					out = append(out, fmt.Sprintf("%s stayed %s; %s is listed", key, v, verdict))
				}
			}
		}
	}
	return out
}

// topicOf is the topic of each check, the file of its row; the catalogue is built anew at each call, and this is asked for every result.
var topicOf = sync.OnceValue(func() map[string]string {
	out := map[string]string{}
	for _, e := range attacks.Catalogue() {
		out[e.ID] = e.Source.File
	}
	return out
})

// neighboursOf are the checks that the line of a fault speaks of, with one in twelve of the others of their topics, as a selection: for each
// fault others, so that all faults together look everywhere. With POPCHECK_KILL=topics it is all of these topics, with POPCHECK_KILL=whole
// (make kill) everything, which shows as well that nothing else is touched.
func neighboursOf(fault string, want map[harness.Verdict][]string) string {
	var topics []string
	for check := range spokenOf(want) {
		topics = append(topics, topicOf()[check])
	}
	return selected(want, func(check string) bool {
		return slices.Contains(topics, topicOf()[check]) && (os.Getenv("POPCHECK_KILL") == "topics" || drawn(fault, check, 12))
	})
}

// selected are the checks that a line speaks of, and others, as a selection; with POPCHECK_KILL=whole it is everything.
func selected(want map[harness.Verdict][]string, other func(check string) bool) string {
	if os.Getenv("POPCHECK_KILL") == "whole" {
		return ""
	}
	named := spokenOf(want)
	var out []string
	for check := range topicOf() {
		if named[check] || other(check) {
			out = append(out, check)
		}
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

// spokenOf are the checks that the patterns of a line match.
func spokenOf(want map[harness.Verdict][]string) map[string]bool {
	out := map[string]bool{}
	for _, patterns := range want {
		for _, pattern := range patterns {
			id, _, _ := strings.Cut(pattern, "@")
			for check := range topicOf() {
				out[check] = out[check] || glob(id, check)
			}
		}
	}
	maps.DeleteFunc(out, func(_ string, spoken bool) bool { return !spoken })
	return out
}

// drawn takes one check in n, for each target others, and always the same.
func drawn(target, check string, n uint32) bool {
	h := fnv.New32a()
	h.Write([]byte(target + " " + check))
	return h.Sum32()%n == 0
}

// part is what a selection leaves of the sound target's results.
func part(sound map[string]harness.Verdict, selection string) map[string]harness.Verdict {
	if selection == "" {
		return sound
	}
	chosen := strings.Split(selection, ",")
	out := map[string]harness.Verdict{}
	for key, v := range sound {
		id, _, _ := strings.Cut(key, "@")
		if slices.Contains(chosen, id) {
			out[key] = v
		}
	}
	return out
}

// onlyMeasured are checks that cannot fail, because both answers are right: they record a value.
var onlyMeasured = []string{"dpop-typ-case", "dpop-typ-application", "dpop-header-empty", "dpop-iat-fraction", "dpop-nonce-reuse", "mtls-subject-string-type", "mtls-subject-letter-case", "mtls-san-dns-letter-case",
	"mtls-refresh-same-key", "mtls-unbound-token", "dpop-algorithms", "dpop-nonces", "clock-skew", "refresh-rotation", "token-lifetime", "code-lifetime", "dpop-nonce-lifetime", "par-request-uri-lifetime", "statement-again",
	"dpop-jti-of-other-client"}

// TestKillMatrix demands that every fault flips exactly the results that testdata/kill lists for it, that every fault is caught, and that
// every check catches one. Under the race detector it takes a sample.
func TestKillMatrix(t *testing.T) {
	var faults []string
	weak, base := map[string]bool{}, map[string]string{}
	for _, f := range fixtures.Faults() {
		faults = append(faults, f.ID)
		weak[f.ID] = f.Weak
		if f.Dialect != "" {
			base[f.ID] = inDialect + f.Dialect
		}
	}
	want := expected(t, "kill/*.txt")
	for _, fault := range faults {
		if want[fault] == nil {
			t.Errorf("testdata/kill has no line for the fault %s", fault)
		}
	}
	for fault := range want {
		if !slices.Contains(faults, fault) {
			t.Errorf("testdata/kill has a line for %s, which is no fault", fault)
		}
	}
	faults = sample(faults, 40)
	selections, bases := map[string]string{}, []string{""}
	for _, fault := range faults {
		selections[fault] = neighboursOf(fault, want[fault])
		if !slices.Contains(bases, base[fault]) {
			bases = append(bases, base[fault])
		}
	}
	got := killAll(t, "TestKillWorker", append(bases, faults...), selections)
	sound := func(fault string) map[string]harness.Verdict {
		return part(got[base[fault]].Verdicts, selections[fault])
	}
	again := killAll(t, "TestKillWorker", slices.DeleteFunc(slices.Clone(faults), func(fault string) bool {
		return os.Getenv("POPCHECK_KILL_DUMP") != "" || len(surprises(sound(fault), got[fault].Verdicts, want[fault])) == 0
	}), selections)
	for fault, judged := range again {
		t.Logf("%s was run again: %q", fault, surprises(sound(fault), got[fault].Verdicts, want[fault]))
		got[fault] = judged
	}
	dump(t, "", got)
	for _, base := range bases {
		for key, v := range got[base].Verdicts {
			// A dialect need not have everything; the reference has all but what its profile does not ask for.
			if id, _, _ := strings.Cut(key, "@"); v != harness.Pass && (v != harness.Skip || base == "" && asked(id)) {
				t.Errorf("sound target %s: %s is %s: %s", base, key, v, got[base].Reasons[key])
			}
		}
	}
	caught := map[string][]string{}
	for _, fault := range faults {
		for _, surprise := range surprises(sound(fault), got[fault].Verdicts, want[fault]) {
			t.Errorf("%s: %s", fault, surprise)
		}
		failed := 0
		for _, flip := range flips(sound(fault), got[fault].Verdicts) {
			if verdict, key, _ := strings.Cut(flip, " "); verdict == string(harness.Fail) || verdict == string(harness.Warn) && weak[fault] {
				failed++
				id, _, _ := strings.Cut(key, "@")
				if !slices.Contains(caught[id], fault) {
					caught[id] = append(caught[id], fault)
				}
			}
		}
		if failed == 0 {
			t.Errorf("%s: no check catches it", fault)
		}
	}
	total := 0
	for _, e := range attacks.Catalogue() {
		total++
		t.Logf("%-44s %s", e.ID, strings.Join(caught[e.ID], " "))
		if len(caught[e.ID]) == 0 && !slices.Contains(onlyMeasured, e.ID) && len(faults) == len(want) {
			t.Errorf("%s: no fault makes it fail", e.ID)
		}
	}
	t.Logf("%d faults, %d checks, %d results each", len(faults), total, len(got[""].Verdicts))
}

// asked reports whether the default profile asks for a check, and of a target that has an authorization server.
func asked(id string) bool {
	return slices.ContainsFunc(attacks.Catalogue(), func(e attacks.Entry) bool {
		return e.ID == id && !e.Standing(attacks.BCP).Unasked && !strings.Contains(e.Needs, "token-issuer")
	})
}

// sample is what POPCHECK_KILL_ONLY (patterns with commas between them) leaves of the faults; without it, under the race detector and
// with -short, every nth.
func sample(faults []string, n int) []string {
	if only := os.Getenv("POPCHECK_KILL_ONLY"); only != "" {
		return slices.DeleteFunc(slices.Clone(faults), func(fault string) bool {
			return !slices.ContainsFunc(strings.Split(only, ","), func(pattern string) bool { return glob(pattern, fault) })
		})
	}
	if raceEnabled || testing.Short() {
		return everyNth(faults, n)
	}
	return faults
}

// dump writes the verdicts by fault to the file that POPCHECK_KILL_DUMP names, with a suffix; "" is the sound target.
func dump(t *testing.T, suffix string, got map[string]judged) {
	t.Helper()
	name := os.Getenv("POPCHECK_KILL_DUMP")
	if name == "" {
		return
	}
	verdicts := map[string]map[string]harness.Verdict{}
	for target, of := range got {
		verdicts[target] = of.Verdicts
	}
	data, err := json.MarshalIndent(verdicts, "", " ")
	if err == nil {
		err = os.WriteFile(name+suffix, data, 0o644)
	}
	if err != nil {
		t.Error(err)
	}
}

func everyNth(in []string, n int) []string {
	var out []string
	for i := 0; i < len(in); i += n {
		out = append(out, in[i])
	}
	return out
}
