package testkit

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy forwards connections to an address until it is cut, frozen or closed. It closes when the test
// ends. Its methods are safe for concurrent use.
type Proxy struct {
	ln     net.Listener   // immutable
	target string         // immutable
	wg     sync.WaitGroup // counts its goroutines, for Close to wait for

	mu     sync.Mutex // guards following; leaf
	conns  []net.Conn
	frozen chan struct{} // nil: it forwards; closed by Thaw
	closed bool
}

// NewProxy starts a proxy on loopback.
func NewProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	return ProxyAt(tb, listen(tb), target)
}

// ProxyAt is NewProxy at a listener, which it owns.
func ProxyAt(tb testing.TB, ln net.Listener, target string) *Proxy {
	tb.Helper()
	p := &Proxy{ln: ln, target: target}
	p.wg.Go(p.accept)
	tb.Cleanup(p.Close)
	return p
}

func listen(tb testing.TB) net.Listener {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return ln
}

// Addr returns where the proxy listens.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

func (p *Proxy) accept() {
	for {
		in, err := p.ln.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = in.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, in, out)
		closed := p.closed
		p.mu.Unlock()
		if closed {
			_ = in.Close()
			_ = out.Close()
		}
		p.wg.Go(func() { p.forward(in, out) })
		p.wg.Go(func() { p.forward(out, in) })
	}
}

func (p *Proxy) forward(from, to net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		frozen := p.frozen
		p.mu.Unlock()
		if frozen != nil {
			<-frozen
		}
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			_ = from.Close()
			_ = to.Close()
			return
		}
	}
}

// Cut closes every connection. It forwards new ones.
func (p *Proxy) Cut() {
	p.mu.Lock()
	conns := p.conns
	p.conns = nil
	p.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
}

// Freeze stops forwarding. Connections stay open.
func (p *Proxy) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen == nil {
		p.frozen = make(chan struct{})
	}
}

// Thaw undoes Freeze, and forwards the bytes that have waited.
func (p *Proxy) Thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen != nil {
		close(p.frozen)
		p.frozen = nil
	}
}

// Close ends the proxy and its connections.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.ln.Close()
	p.Thaw()
	p.Cut()
	p.wg.Wait()
}

// SlowProxy starts a proxy that forwards that many bytes a second in each direction, and returns where
// it listens. It ends with the test.
func SlowProxy(tb testing.TB, target string, perSecond int) string {
	tb.Helper()
	ln := listen(tb)
	SlowProxyAt(tb, ln, target, perSecond)
	return ln.Addr().String()
}

// SlowProxyAt is SlowProxy at a listener, which it owns.
func SlowProxyAt(tb testing.TB, ln net.Listener, target string, perSecond int) {
	tb.Helper()
	var wg sync.WaitGroup
	over := make(chan struct{})
	forward := func(from, to net.Conn) {
		defer from.Close()
		defer to.Close()
		_ = from.(*net.TCPConn).SetReadBuffer(64 << 10) // what waits, waits at the sender
		buf := make([]byte, min(perSecond/20, 64<<10))
		next := time.Now()
		timer := time.NewTimer(0)
		defer timer.Stop()
		for {
			n, err := from.Read(buf)
			if now := time.Now(); next.Before(now) {
				next = now
			}
			next = next.Add(time.Duration(n) * time.Second / time.Duration(perSecond))
			if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
				return
			}
			timer.Reset(time.Until(next))
			select {
			case <-timer.C:
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
			out, err := net.Dial("tcp", target)
			if err != nil {
				_ = in.Close()
				continue
			}
			wg.Go(func() { forward(in, out) })
			wg.Go(func() { forward(out, in) })
			wg.Go(func() {
				<-over
				_ = in.Close()
				_ = out.Close()
			})
		}
	})
	tb.Cleanup(func() {
		_ = ln.Close()
		close(over)
		wg.Wait()
	})
}
