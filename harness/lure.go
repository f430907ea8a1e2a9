package harness

import (
	"net"
	"net/url"
	"sync/atomic"
)

// Lure is an address of popcheck's own on this machine that nobody knows: whoever connects to it was made to.
type Lure struct {
	URL      string // https: what comes is a connection, which nobody answers
	listener net.Listener
	met      atomic.Int32
}

// Lure listens on the loopback interface, for a target that runs there too; nil for any other target, which could not reach it.
func (t *Tester) Lure() *Lure {
	issuer, err := url.Parse(t.Target.Issuer)
	if err != nil || !t.Target.loopback(issuer.Hostname()) {
		return nil
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil
	}
	l := &Lure{URL: "https://" + listener.Addr().String() + "/request", listener: listener}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			l.met.Add(1)
			conn.Close()
		}
	}()
	return l
}

// Connections is how many have come.
func (l *Lure) Connections() int { return int(l.met.Load()) }

// Close ends the listening.
func (l *Lure) Close() error { return l.listener.Close() }
