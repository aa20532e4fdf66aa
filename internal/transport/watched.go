package transport

import (
	"encoding/binary"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/discoro/discoro/wire"
)

// watchedConn is the connection below yamux. It has four duties: it notes when bytes come; it ends
// the connection when the peer abuses requests that yamux does not limit; it lets the bytes of
// files bypass yamux; and it joins each header with its body, which makes one packet and one system
// call of two.
type watchedConn struct {
	net.Conn

	raw      net.Conn              // immutable: the connection below TLS
	below    *wire.GatherConn      // immutable: the connection right below TLS; nil without TLS
	start    time.Time             // immutable
	lastRead atomic.Int64          // nanoseconds since start, by the monotonic clock; written by yamux's reader
	breach   atomic.Pointer[error] // what the peer did wrong; written by yamux's reader
	scan     yamuxScan             // owned by yamux's reader, except mayOpen
	streams  peerStreams           // streams that the peer has opened; it has a lock of its own
	own      ownStreams            // streams that this side has opened; so has this
	head     [yamuxHeader]byte     // owned by yamux's writer: a header that waits for its body
	held     bool                  // owned by yamux's writer: head is in use
	lock     chan struct{}         // capacity 1: full while somebody writes; waiters get it in order
	joined   []byte                // owned by the holder of lock: a header and its body
	pair     [2][]byte             // owned by the holder of lock: both, in two pieces
}

// newWatchedConn watches conn. The peer may open that many streams on it.
func newWatchedConn(conn net.Conn, streams int) *watchedConn {
	c := &watchedConn{Conn: conn, raw: conn, start: time.Now(), lock: make(chan struct{}, 1)}
	c.own = ownStreams{conn: c, open: map[uint32]*outStream{}}
	c.streams = peerStreams{conn: c, open: map[uint32]*inStream{}, fresh: map[uint32]*inStream{}}
	c.scan.streams, c.scan.own = &c.streams, &c.own
	c.scan.mayOpen.Store(int32(streams))
	for {
		if below, ok := c.raw.(*wire.GatherConn); ok {
			c.below = below
		}
		above, ok := c.raw.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c.raw = above.NetConn()
	}
}

// Close closes the connection below TLS: TLS would first send a goodbye, which takes seconds if the
// peer does not read.
func (c *watchedConn) Close() error {
	err := c.raw.Close()
	c.endStreams()
	return err
}

// endStreams ends the streams of files of both sides, because the connection has ended.
func (c *watchedConn) endStreams() {
	c.streams.end()
	c.own.end()
}

// SilentFor returns how long no byte has come from the peer.
func (c *watchedConn) SilentFor(now time.Time) time.Duration {
	return now.Sub(c.start) - time.Duration(c.lastRead.Load())
}

// Read reads from the connection, notes the time, and checks what the peer asks of yamux. It
// returns the bytes that are for yamux.
func (c *watchedConn) Read(p []byte) (int, error) {
	if breach := c.breach.Load(); breach != nil {
		return 0, *breach // yamux ignores errors while it discards data, and reads again
	}
	for {
		n, to := 0, c.scan.room()
		bypass := to != nil
		if !bypass {
			n = c.scan.unread(p)
			to = p[n:]
		}
		more, err := c.Conn.Read(to)
		if more > 0 {
			c.lastRead.Store(int64(time.Since(c.start)))
		}
		if bypass {
			c.scan.read(more)
		} else {
			n, err = c.sift(p[:n+more], err)
		}
		if err != nil {
			c.endStreams()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// sift is yamuxScan.sift, after a read that returned err.
func (c *watchedConn) sift(p []byte, err error) (int, error) {
	n, breach := c.scan.sift(p)
	if breach != nil {
		c.breach.Store(&breach)
		return 0, breach
	}
	return n, err
}

// Write holds back the header of a data frame until its body comes. yamux writes from one
// goroutine, and writes a data frame's body right behind its header.
func (c *watchedConn) Write(p []byte) (int, error) {
	switch {
	case c.held:
		c.held = false
		n, err := c.writeFrame(c.head[:], p)
		return max(0, n-yamuxHeader), err
	case isDataHeader(p):
		c.head, c.held = [yamuxHeader]byte(p), true
		return len(p), nil
	case opensStream(p):
		c.own.opened(binary.BigEndian.Uint32(p[4:]))
	}
	return c.writeFrame(p, nil)
}

// writeFrame takes the lock and writes a header and its body.
func (c *watchedConn) writeFrame(head, body []byte) (int, error) {
	c.lock <- struct{}{}
	defer func() { <-c.lock }()
	return c.writeWhole(head, body)
}

// writeBypass is writeFrame for a frame that is not from yamux. When it fails nobody knows how much
// of the frame has gone out, so it ends the connection, as yamux does after an error of its own
// frames.
func (c *watchedConn) writeBypass(head, body []byte) error {
	c.lock <- struct{}{}
	defer func() { <-c.lock }()
	_, err := c.writeWhole(head, body)
	if err != nil {
		_ = c.Close() // before another writer gets the lock
	}
	return err
}

func (c *watchedConn) writeWhole(head, body []byte) (int, error) {
	n, err := c.writeBoth(head, body)
	if err == nil && n < len(head)+len(body) {
		err = io.ErrShortWrite
	}
	return n, err
}

// writeBoth writes a header and its body in as few system calls and records of TLS as possible.
// Over TLS the header shares the first record with the start of the body; all records but the first
// are full, and GatherConn joins them.
func (c *watchedConn) writeBoth(head, body []byte) (int, error) {
	c.joined = append(c.joined[:0], head...)
	if tcp, plain := c.Conn.(*net.TCPConn); plain && len(body) > copyJoined {
		c.pair = [2][]byte{c.joined, body}
		both := net.Buffers(c.pair[:])
		n, err := both.WriteTo(tcp)
		return int(n), err
	}
	if c.below == nil || len(head)+len(body) <= tlsRecord {
		c.joined = append(c.joined, body...)
		return c.Conn.Write(c.joined)
	}
	first := tlsRecord - len(head)
	c.joined = append(c.joined, body[:first]...)
	c.below.Hold()
	n, err := c.Conn.Write(c.joined)
	if err == nil {
		var more int
		more, err = c.Conn.Write(body[first:])
		n += more
	}
	if flushErr := c.below.Flush(); err == nil {
		err = flushErr
	}
	return n, err
}

// tlsRecord is the most that a record of TLS holds.
const tlsRecord = 16 << 10

// copyJoined is the largest body that is copied behind its header; a larger one costs less in two
// pieces.
const copyJoined = 4 << 10
