package discoro

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/testkit"
)

// spawnEcho starts a coroutine under that name which answers a Request with its message, and ignores all else.
func spawnEcho(rt *Runtime, name string) error {
	return rt.Spawn(name, func(c *Coro) (any, error) {
		for {
			msg, err := c.Receive()
			if err != nil {
				return nil, err
			}
			if r, ok := msg.(*Request); ok {
				if err := r.Reply(r.Msg); err != nil {
					return nil, err
				}
			}
		}
	}).Register(name)
}

// Peer is a runtime in a process of its own: a live.PeerLife.
type Peer struct {
	*testkit.Process
	Loc Location
}

// StartPeer starts a process that ends with the test, or before.
func StartPeer(t *testing.T, pulse time.Duration) *Peer {
	t.Helper()
	p := testkit.StartProcess(t, testkit.PeerEnv, pulse.String())
	at, err := ParseLocation(p.Line)
	if err != nil {
		t.Fatal(err)
	}
	return &Peer{Process: p, Loc: at}
}

// slowProxy forwards connections to a runtime at so many bytes a second in each direction. It ends with the test.
func slowProxy(t *testing.T, target Location, perSecond int) Location {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	loc, err := ParseLocation(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	slowProxyAt(t, ln, target, perSecond)
	return loc
}

// slowProxyAt is slowProxy at a listener, which it owns.
func slowProxyAt(t *testing.T, ln net.Listener, target Location, perSecond int) {
	t.Helper()
	var wg sync.WaitGroup
	over := make(chan struct{})
	forward := func(from, to net.Conn) {
		defer from.Close()
		defer to.Close()
		_ = from.(*net.TCPConn).SetReadBuffer(64 << 10) // what waits, waits at the sender
		buf := make([]byte, min(perSecond/20, 64<<10))
		next := time.Now()
		for {
			n, err := from.Read(buf)
			if now := time.Now(); next.Before(now) {
				next = now
			}
			next = next.Add(time.Duration(n) * time.Second / time.Duration(perSecond))
			if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
				return
			}
			select {
			case <-time.After(time.Until(next)):
			case <-over:
				return
			}
		}
	}
	wg.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target.String())
			if err != nil {
				in.Close()
				continue
			}
			wg.Go(func() { forward(in, out) })
			wg.Go(func() { forward(out, in) })
			wg.Go(func() {
				<-over
				in.Close()
				out.Close()
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		close(over)
		wg.Wait()
	})
}
