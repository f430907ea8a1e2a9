package harness

import (
	"net"
	"net/http"
	"testing"
	"time"
)

// TestAServerThatIsStartedAgainIsWaitedFor: nothing was sent, so that to wait is no other request. One that never listened is not waited for.
func TestAServerThatIsStartedAgainIsWaitedFor(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	answers := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("here")) })
	first := &http.Server{Handler: answers}
	go first.Serve(listener)
	tr := newTrace(t, testTarget("http://"+address, func(t *Target) { t.Limits.Timeout = 5 * time.Second }))
	get := Request{Method: "GET", URL: "http://" + address + "/"}
	if a := attack(tr, get); !a.OK() {
		t.Fatal(a.Failure)
	}
	first.Close()
	again := &http.Server{Handler: answers}
	defer again.Close()
	time.AfterFunc(300*time.Millisecond, func() {
		if l, err := net.Listen("tcp", address); err == nil {
			again.Serve(l)
		}
	})
	if a := attack(tr, get); !a.OK() {
		t.Error(a.Failure)
	}
	again.Close()
	began := time.Now()
	tr = newTrace(t, testTarget("http://"+address))
	if a := attack(tr, get); a.OK() || a.Failure.Kind != NotConnected || time.Since(began) > 2*time.Second {
		t.Errorf("%+v after %s", a.Failure, time.Since(began))
	}
}
