package harness

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A server sees no request whole before it has the most of all of them.
func TestARaceIsReleasedTogether(t *testing.T) {
	const n = 10
	var heads, whole atomic.Int64
	s := listenRaw(t, "127.0.0.1:0", func(conn net.Conn, in *bufio.Reader) {
		for { // the last line of the head but the empty one
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if strings.HasPrefix(line, "Content-Length") {
				break
			}
		}
		heads.Add(1)
		if _, err := io.ReadFull(in, make([]byte, len("\r\na=b"))); err != nil {
			return
		}
		for whole.Add(1); whole.Load() < n; { // nobody is answered before everybody has arrived
			time.Sleep(time.Millisecond)
		}
		io.WriteString(conn, okAnswer)
	})
	tr := newTrace(t, testTarget("http://"+s.address))
	var lanes atomic.Int64
	r := tr.AtOnce(n, func(lane *Trace) Outcome {
		if lanes.Add(1) == n { // the last one is late
			for heads.Load() < n-1 {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(20 * time.Millisecond)
			if got := whole.Load(); got != 0 {
				t.Errorf("%d requests were whole before the last was on its way", got)
			}
		}
		return settle(lane.Do(Request{Step: "request", Method: "POST", URL: "http://" + s.address + "/", Body: "a=b"}), "here")
	})
	if r.Overlapped != n || len(r.Decided()) != n {
		t.Errorf("%d overlapped, %d decided", r.Overlapped, len(r.Decided()))
	}
	if got := len(tr.Exchanges()); got != n || s.conns.Load() != n || tr.Sent() != n {
		t.Errorf("%d exchanges, %d connections, %d sent", got, s.conns.Load(), tr.Sent())
	}
}

// Who drops out does not keep the others waiting, and a lane's further requests are not held.
func TestARaceGoesOnWithoutThoseThatDropOut(t *testing.T) {
	var second atomic.Int64
	s := listenRaw(t, "127.0.0.1:0", func(conn net.Conn, in *bufio.Reader) {
		head, _, err := readRaw(in)
		if err != nil {
			return
		}
		if strings.Contains(head, "/second") {
			second.Add(1)
		}
		io.WriteString(conn, okAnswer)
	})
	tr := newTrace(t, testTarget("http://"+s.address))
	var lanes atomic.Int64
	r := tr.AtOnce(4, func(lane *Trace) Outcome {
		address := "http://" + s.address
		switch lanes.Add(1) {
		case 1:
			return Outcome{Why: "nothing is sent"}
		case 2:
			address = "http://127.0.0.1:1" // nobody listens, and the target file does not name it
		}
		if o := settle(lane.Do(get(address+"/first")), "here"); o.State == Unknown {
			return o
		}
		return settle(lane.Do(get(address+"/second")), "here")
	})
	if len(r.Decided()) != 2 || r.Overlapped > 2 || second.Load() != 2 {
		t.Errorf("%d decided, %d overlapped, %d second requests: %+v", len(r.Decided()), r.Overlapped, second.Load(), r.Outcomes)
	}
}

// A server with fewer workers than there are requests makes no handshake with the last before it has answered the first.
func TestARaceDoesNotWaitForThoseThatCannotCome(t *testing.T) {
	answered := make(chan struct{}, 3)
	s := listenRaw(t, "127.0.0.1:0", func(conn net.Conn, in *bufio.Reader) {
		if _, _, err := readRaw(in); err == nil {
			io.WriteString(conn, okAnswer)
			answered <- struct{}{}
		}
	})
	tr := newTrace(t, testTarget("http://"+s.address, func(target *Target) { target.Limits.Timeout = 2 * time.Second }))
	var lanes atomic.Int64
	r := tr.AtOnce(3, func(lane *Trace) Outcome {
		if lanes.Add(1) == 3 {
			<-answered
		}
		return settle(lane.Do(get("http://"+s.address+"/")), "here")
	})
	if len(r.Decided()) != 3 || r.Together != 2 || r.Overlapped > 2 {
		t.Errorf("%d decided, %d together, %d overlapped: %+v", len(r.Decided()), r.Together, r.Overlapped, r.Outcomes)
	}
}

// The declared rate holds for a race: as many requests as may go out in one second.
func TestARaceKeepsTheRate(t *testing.T) {
	for rps, want := range map[float64]int{0: 10, 1: 1, 2.5: 2, 20: 10} {
		tester := newTester(t, testTarget("http://127.0.0.1:1", func(target *Target) { target.Limits.RequestsPerSecond = rps }))
		if got := tester.RaceSize(10); got != want {
			t.Errorf("%g requests a second: a race of %d, want %d", rps, got, want)
		}
	}
	s := listenRaw(t, "127.0.0.1:0", func(conn net.Conn, in *bufio.Reader) {
		if _, _, err := readRaw(in); err == nil {
			io.WriteString(conn, okAnswer)
		}
	})
	tr := newTrace(t, testTarget("http://"+s.address, func(target *Target) { target.Limits.RequestsPerSecond = 20 }))
	begun := time.Now()
	for range 2 {
		tr.AtOnce(10, func(lane *Trace) Outcome { return settle(lane.Do(get("http://"+s.address+"/")), "here") })
	}
	if took := time.Since(begun); took < 600*time.Millisecond { // 20 requests, of which 5 may go out at once
		t.Errorf("two races of 10 at 20 requests a second took %s", took)
	}
}

// A target that stumbles over a race is not one that asks for rest.
func TestARaceDoesNotStopTheRun(t *testing.T) {
	s := listenRaw(t, "127.0.0.1:0", func(conn net.Conn, in *bufio.Reader) {
		if _, _, err := readRaw(in); err == nil {
			io.WriteString(conn, "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
		}
	})
	tr := newTrace(t, testTarget("http://"+s.address))
	for range 3 {
		tr.AtOnce(10, func(lane *Trace) Outcome { return settle(lane.Do(get("http://"+s.address+"/")), "here") })
	}
	if why := tr.Stopped(); why != "" {
		t.Error(why)
	}
}
