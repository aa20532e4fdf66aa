package testnet

import (
	"net"
	"os"
	"sync"
	"time"
)

// cutConn is the dialling side of a connection on loopback between two hosts. While the hosts are
// cut off from each other it neither writes nor hands over what it has read, and the end of either
// side waits.
type cutConn struct {
	net.Conn

	hosts                 [2]*Host // immutable
	readLimit, writeLimit memLimit

	mu      sync.Mutex // guards following; leaf
	closed  bool
	changed memSignal
}

// newCutConn takes over raw, which a has dialled and b accepts.
func newCutConn(raw net.Conn, a, b *Host) *cutConn {
	c := &cutConn{Conn: raw, hosts: [2]*Host{a, b}}
	a.net.add(c)
	return c
}

// between implements conn.
func (c *cutConn) between() (a, b *Host) { return c.hosts[0], c.hosts[1] }

// refresh implements conn.
func (c *cutConn) refresh() {
	c.mu.Lock()
	over := c.closed && !c.parted()
	c.changed.fire()
	c.mu.Unlock()
	if over {
		c.end()
	}
}

// reset implements conn.
func (c *cutConn) reset() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // makes closing a reset
	}
	c.mu.Lock()
	c.closed = true
	c.changed.fire()
	c.mu.Unlock()
	c.end()
}

// end closes the socket.
func (c *cutConn) end() {
	_ = c.Conn.Close()
	c.hosts[0].net.remove(c)
}

func (c *cutConn) parted() bool { return parted(c.hosts[0], c.hosts[1]) }

// pass waits until the hosts are not cut off from each other.
func (c *cutConn) pass(limit *memLimit) error {
	for {
		c.mu.Lock()
		closed, cut, changed := c.closed, c.parted(), c.changed.wait()
		c.mu.Unlock()
		switch {
		case closed:
			return net.ErrClosed
		case !cut:
			return nil
		}
		select {
		case <-changed:
		case <-limit.over():
			return os.ErrDeadlineExceeded
		}
	}
}

// Read implements [net.Conn]. Bytes that it has read when its deadline passes are lost, because the
// connection is not used after that.
func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if passed := c.pass(&c.readLimit); passed != nil {
		return 0, passed
	}
	return n, err
}

// Write implements [net.Conn].
func (c *cutConn) Write(b []byte) (int, error) {
	if err := c.pass(&c.writeLimit); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// Close implements [net.Conn]. The other side sees the end once the hosts are no longer cut off.
func (c *cutConn) Close() error {
	_ = c.Conn.SetDeadline(time.Unix(1, 0)) // reads and writes return
	c.mu.Lock()
	c.closed = true
	cut := c.parted()
	c.changed.fire()
	c.mu.Unlock()
	if !cut {
		c.end()
	}
	return nil
}

// SetDeadline implements [net.Conn].
func (c *cutConn) SetDeadline(t time.Time) error {
	c.readLimit.set(t)
	c.writeLimit.set(t)
	return c.Conn.SetDeadline(t)
}

// SetReadDeadline implements [net.Conn].
func (c *cutConn) SetReadDeadline(t time.Time) error {
	c.readLimit.set(t)
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline implements [net.Conn].
func (c *cutConn) SetWriteDeadline(t time.Time) error {
	c.writeLimit.set(t)
	return c.Conn.SetWriteDeadline(t)
}
