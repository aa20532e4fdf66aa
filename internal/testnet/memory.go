package testnet

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/discoro/discoro/internal/transport"
)

// memWindow is how many bytes a stream in memory holds before its writer waits.
const memWindow = 256 << 10

// memWire is a connection in memory: two ends, and streams between them. Goroutines that wait here
// wait on a channel, which the fake time of testing/synctest needs, and hold the lock for a few
// lines.
type memWire struct {
	net   *Network   // immutable
	hosts [2]*Host   // immutable
	ends  [2]*memEnd // immutable

	mu     sync.Mutex // guards following, and the fields of ends and streams that are marked so; leaf
	broken bool
}

// memEnd is one side's end of a connection. It implements [transport.Memory].
type memEnd struct {
	wire     *memWire     // immutable
	other    *memEnd      // immutable
	addr     memAddr      // immutable
	start    time.Time    // immutable
	lastRead atomic.Int64 // nanoseconds since start

	streams map[*memConn]bool // guarded by wire.mu: those that are open here
	opened  []*memConn        // guarded by wire.mu: streams of the other side that are not accepted yet
	closed  bool              // guarded by wire.mu
	changed memSignal         // guarded by wire.mu: wakes Accept
}

// memConn is one end of a stream. It implements [net.Conn]. The first stream of a connection stands
// for the connection: closing it closes the connection.
type memConn struct {
	end                   *memEnd  // immutable
	other                 *memConn // immutable
	first                 bool     // immutable
	readLimit, writeLimit memLimit

	in       bytes.Buffer // guarded by wire.mu: what the other side has written
	ended    bool         // guarded by wire.mu: this side sends no more
	readable memSignal    // guarded by wire.mu
	writable memSignal    // guarded by wire.mu
}

// memSignal wakes goroutines that wait for a change. The lock of its owner guards it.
type memSignal struct{ ch chan struct{} }

func (s *memSignal) wait() <-chan struct{} {
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *memSignal) fire() {
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}

// memAddr is the address of an end, or of a listener.
type memAddr struct {
	addr string
	ip   netip.Addr // the host's
}

// Network implements [net.Addr].
func (memAddr) Network() string { return "memory" }

// IP returns an address for limits that count addresses: one for each host.
func (a memAddr) IP() netip.Addr { return a.ip }

// String implements [net.Addr].
func (a memAddr) String() string { return a.addr }

// connectMemory connects two hosts. near is the side of the one that dialled.
func connectMemory(a, b *Host, from, to string) (near, far *memConn) {
	w := &memWire{net: a.net, hosts: [2]*Host{a, b}}
	now := time.Now()
	for i, addr := range []memAddr{{from, a.ip}, {to, b.ip}} {
		w.ends[i] = &memEnd{wire: w, addr: addr, start: now, streams: map[*memConn]bool{}}
	}
	w.ends[0].other, w.ends[1].other = w.ends[1], w.ends[0]
	near = w.ends[0].streamLocked(true) // nobody else knows the connection yet
	w.net.add(w)
	return near, near.other
}

// streamLocked makes a stream.
func (e *memEnd) streamLocked(first bool) *memConn {
	near, far := &memConn{end: e, first: first}, &memConn{end: e.other, first: first}
	near.other, far.other = far, near
	e.streams[near], e.other.streams[far] = true, true
	return near
}

// between implements conn.
func (w *memWire) between() (a, b *Host) { return w.hosts[0], w.hosts[1] }

// refresh implements conn: all that wait look again.
func (w *memWire) refresh() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fireLocked()
}

// reset implements conn.
func (w *memWire) reset() {
	w.mu.Lock()
	w.broken = true
	w.fireLocked()
	w.mu.Unlock()
	w.net.remove(w)
}

func (w *memWire) fireLocked() {
	for _, e := range w.ends {
		e.changed.fire()
		for c := range e.streams {
			c.readable.fire()
			c.writable.fire()
		}
	}
}

// parted reports whether the two sides are cut off from each other.
func (w *memWire) parted() bool { return parted(w.hosts[0], w.hosts[1]) }

// Open opens a stream, which the other side accepts.
func (e *memEnd) Open() (net.Conn, error) {
	e.wire.mu.Lock()
	defer e.wire.mu.Unlock()
	if err := e.brokenLocked(); err != nil {
		return nil, err
	}
	near := e.streamLocked(false)
	e.other.opened = append(e.other.opened, near.other)
	e.other.changed.fire()
	return near, nil
}

// Accept waits for the next stream that the other side opens.
func (e *memEnd) Accept() (net.Conn, error) {
	for {
		c, changed, err := e.takeStream()
		if c != nil || err != nil {
			return c, err
		}
		<-changed
	}
}

// takeStream is one step of Accept: a stream, an error, or what to wait for.
func (e *memEnd) takeStream() (c net.Conn, changed <-chan struct{}, err error) {
	e.wire.mu.Lock()
	defer e.wire.mu.Unlock()
	switch err := e.brokenLocked(); {
	case err != nil:
		return nil, nil, err
	case e.wire.parted():
	case len(e.opened) > 0:
		c := e.opened[0]
		e.opened = e.opened[1:]
		return c, nil, nil
	case e.other.closed:
		return nil, nil, io.EOF
	}
	return nil, e.changed.wait(), nil
}

// brokenLocked returns why the connection can no longer be used, nil while it can.
func (e *memEnd) brokenLocked() error {
	switch {
	case e.closed:
		return net.ErrClosed
	case e.wire.broken:
		return syscall.ECONNRESET
	}
	return nil
}

// Close closes the connection. The other side reads what is on its way, and then the end.
func (e *memEnd) Close() error {
	e.wire.mu.Lock()
	e.closed = true
	e.wire.fireLocked()
	both := e.other.closed
	e.wire.mu.Unlock()
	if both {
		e.wire.net.remove(e.wire)
	}
	return nil
}

// SilentFor implements transport.Memory.
func (e *memEnd) SilentFor(now time.Time) time.Duration {
	return now.Sub(e.start) - time.Duration(e.lastRead.Load())
}

// Memory makes package transport use the connection itself in place of yamux.
func (c *memConn) Memory() transport.Memory { return c.end }

// Read implements [net.Conn].
func (c *memConn) Read(b []byte) (int, error) {
	return c.try(&c.readLimit, func() (n int, wait *memSignal, err error) {
		switch {
		case c.end.wire.parted():
		case c.in.Len() > 0:
			n, _ = c.in.Read(b)
			c.other.writable.fire()
			c.end.lastRead.Store(int64(time.Since(c.end.start)))
			return n, nil, nil
		case c.other.ended || c.end.other.closed:
			return 0, nil, io.EOF
		}
		return 0, &c.readable, nil
	})
}

// Write implements [net.Conn].
func (c *memConn) Write(b []byte) (written int, err error) {
	for {
		n, err := c.try(&c.writeLimit, func() (n int, wait *memSignal, err error) {
			room := memWindow - c.other.in.Len()
			switch {
			case c.ended:
				return 0, nil, net.ErrClosed
			case c.end.other.closed && !c.end.wire.parted():
				return 0, nil, syscall.EPIPE
			case room <= 0:
				return 0, &c.writable, nil
			}
			n, _ = c.other.in.Write(b[:min(room, len(b))])
			c.other.readable.fire()
			return n, nil, nil
		})
		b = b[n:]
		if written += n; err != nil || len(b) == 0 {
			return written, err
		}
	}
}

// try calls step, with the lock held, until step need not wait.
func (c *memConn) try(limit *memLimit, step func() (n int, wait *memSignal, err error)) (int, error) {
	for {
		over := limit.over()
		select {
		case <-over:
			return 0, os.ErrDeadlineExceeded
		default:
		}
		n, changed, err := c.once(step)
		if changed == nil {
			return n, err
		}
		select {
		case <-changed:
		case <-over:
		}
	}
}

// once calls step once. changed is what to wait for before the next time.
func (c *memConn) once(step func() (int, *memSignal, error)) (n int, changed <-chan struct{}, err error) {
	c.end.wire.mu.Lock()
	defer c.end.wire.mu.Unlock()
	if err := c.end.brokenLocked(); err != nil {
		return 0, nil, err
	}
	n, wait, err := step()
	if wait != nil {
		changed = wait.wait()
	}
	return n, changed, err
}

// Close implements [net.Conn]. It closes the connection if the stream is the first. Otherwise it
// ends what this side sends, as yamux does.
func (c *memConn) Close() error {
	if c.first {
		return c.end.Close()
	}
	c.end.wire.mu.Lock()
	defer c.end.wire.mu.Unlock()
	c.ended = true
	c.writable.fire()
	c.other.readable.fire()
	if c.other.ended {
		delete(c.end.streams, c)
		delete(c.other.end.streams, c.other)
	}
	return nil
}

// LocalAddr implements [net.Conn].
func (c *memConn) LocalAddr() net.Addr { return c.end.addr }

// RemoteAddr implements [net.Conn].
func (c *memConn) RemoteAddr() net.Addr { return c.end.other.addr }

// SetDeadline implements [net.Conn].
func (c *memConn) SetDeadline(t time.Time) error {
	c.readLimit.set(t)
	c.writeLimit.set(t)
	return nil
}

// SetReadDeadline implements [net.Conn].
func (c *memConn) SetReadDeadline(t time.Time) error { c.readLimit.set(t); return nil }

// SetWriteDeadline implements [net.Conn].
func (c *memConn) SetWriteDeadline(t time.Time) error { c.writeLimit.set(t); return nil }

// memLimit is a deadline that can be moved.
type memLimit struct {
	mu     sync.Mutex // guards following; leaf
	timer  *time.Timer
	count  int           // of moves; distinguishes the current timer from earlier ones
	passed chan struct{} // closed when the deadline has passed
}

// over returns a channel that is closed when the deadline has passed. It stays the right channel
// when the deadline is moved before that.
func (l *memLimit) over() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.channelLocked()
}

func (l *memLimit) channelLocked() chan struct{} {
	if l.passed == nil {
		l.passed = make(chan struct{})
	}
	return l.passed
}

// set moves the deadline; the zero time is never.
func (l *memLimit) set(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	l.count++
	select {
	case <-l.channelLocked():
		l.passed = nil // the next wait needs a new channel
	default:
	}
	left := time.Until(t)
	switch count := l.count; {
	case t.IsZero():
	case left <= 0:
		close(l.channelLocked())
	default:
		l.timer = time.AfterFunc(left, func() { l.pass(count) })
	}
}

// pass is called when a timer fires. The deadline may have been moved since.
func (l *memLimit) pass(count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count == count {
		close(l.channelLocked())
	}
}

// memListener accepts the connections that are dialled in memory.
type memListener struct {
	addr memAddr // immutable

	mu      sync.Mutex // guards following; leaf
	waiting []*memConn
	closed  bool
	changed memSignal
}

// put hands over a connection. It reports false when the listener is closed.
func (l *memListener) put(c *memConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.waiting = append(l.waiting, c)
		l.changed.fire()
	}
	return !l.closed
}

// Accept implements [net.Listener].
func (l *memListener) Accept() (net.Conn, error) {
	for {
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			return nil, net.ErrClosed
		}
		if len(l.waiting) > 0 {
			c := l.waiting[0]
			l.waiting = l.waiting[1:]
			l.mu.Unlock()
			return c, nil
		}
		changed := l.changed.wait()
		l.mu.Unlock()
		<-changed
	}
}

// Close implements [net.Listener].
func (l *memListener) Close() error {
	l.mu.Lock()
	waiting := l.waiting
	l.waiting, l.closed = nil, true
	l.changed.fire()
	l.mu.Unlock()
	for _, c := range waiting {
		c.end.wire.reset()
	}
	return nil
}

// Addr implements [net.Listener].
func (l *memListener) Addr() net.Addr { return l.addr }
