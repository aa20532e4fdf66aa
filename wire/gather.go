package wire

import (
	"net"
	"sync"
)

// GatherConn is the connection below TLS. TLS writes each of its records, of 16 KiB, on its own.
// Between Hold and Flush a GatherConn gathers them, and writes many at once. It is safe for
// concurrent use, as the connections above and below it are.
type GatherConn struct {
	net.Conn

	mu   sync.Mutex // guards following; held during writes of buf
	held bool
	buf  []byte
}

// NetConn returns the connection below.
func (c *GatherConn) NetConn() net.Conn { return c.Conn }

// gatherMost is about how many bytes are gathered before they are written.
const gatherMost = 128 << 10

// Write writes p. After Hold it keeps p instead, until Flush or until enough is gathered.
func (c *GatherConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.held {
		return c.Conn.Write(p)
	}
	c.buf = append(c.buf, p...)
	if len(c.buf) < gatherMost {
		return len(p), nil
	}
	return len(p), c.writeLocked()
}

func (c *GatherConn) writeLocked() error {
	_, err := c.Conn.Write(c.buf)
	c.buf = c.buf[:0]
	return err
}

// Hold makes Write gather what it is given.
func (c *GatherConn) Hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = true
}

// Flush writes what was gathered since Hold, and ends the gathering. After an error it is unknown
// which bytes have arrived.
func (c *GatherConn) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = false
	if len(c.buf) == 0 {
		return nil
	}
	return c.writeLocked()
}
