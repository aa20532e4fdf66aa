package discoro

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/discoro/discoro/wire"
)

// watchedConn is the connection below yamux. It notes when bytes come, ends the connection when the peer makes yamux
// do what it has no limits for, and joins each yamux header with the body that is written right behind it: one packet
// and one system call in place of two.
type watchedConn struct {
	net.Conn

	raw      net.Conn              // immutable: the connection below TLS
	below    *wire.GatherConn      // immutable: the connection right below TLS; nil without TLS
	start    time.Time             // immutable
	lastRead atomic.Int64          // nanoseconds since start, by a clock that nobody sets; written by yamux's reader
	fault    atomic.Pointer[error] // what the peer did wrong; written by yamux's reader
	scan     yamuxScan             // owned by yamux's reader, but for mayOpen
	joined   []byte                // owned by yamux's writer: a header that waits for its body, and then both
	held     bool                  // owned by yamux's writer: joined is such a header
	pair     net.Buffers           // owned by yamux's writer: both, in two pieces
}

// newWatchedConn watches conn; the peer may open that many streams on it.
func newWatchedConn(conn net.Conn, streams int) *watchedConn {
	c := &watchedConn{Conn: conn, raw: conn, start: time.Now()}
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

// Close closes the connection below TLS: TLS would first send a goodbye, and wait for seconds where nobody reads.
func (c *watchedConn) Close() error { return c.raw.Close() }

// silentFor tells how long no byte has come from the peer.
func (c *watchedConn) silentFor(now time.Time) time.Duration {
	return now.Sub(c.start) - time.Duration(c.lastRead.Load())
}

// Read notes the time, and what the peer asks of yamux.
func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n == 0 {
		return n, err
	}
	c.lastRead.Store(int64(time.Since(c.start)))
	if fault := c.scan.see(p[:n]); fault != nil {
		c.fault.Store(&fault)
		return 0, fault
	}
	return n, err
}

// Write holds back the header of a data frame until its body comes. yamux writes from one goroutine, and never
// writes a data frame's header without its body.
func (c *watchedConn) Write(p []byte) (int, error) {
	switch {
	case !c.held && isDataHeader(p):
		c.joined, c.held = append(c.joined[:0], p...), true
		return len(p), nil
	case !c.held:
		return c.Conn.Write(p)
	}
	c.held = false
	want := int64(len(c.joined) + len(p))
	var n int64
	var err error
	if tcp, ok := c.Conn.(*net.TCPConn); ok && len(p) > copyJoined {
		c.pair = append(c.pair[:0], c.joined, p)
		both := c.pair
		n, err = both.WriteTo(tcp)
	} else {
		c.joined = append(c.joined, p...)
		n, err = c.writeJoined()
	}
	if err == nil && n < want {
		err = io.ErrShortWrite
	}
	return int(max(0, n-yamuxHeader)), err
}

// writeJoined writes a header with its body, and several records of TLS at once.
func (c *watchedConn) writeJoined() (int64, error) {
	if c.below == nil || len(c.joined) <= tlsRecord {
		n, err := c.Conn.Write(c.joined)
		return int64(n), err
	}
	c.below.Hold()
	n, err := c.Conn.Write(c.joined)
	if flushErr := c.below.Flush(); err == nil {
		err = flushErr
	}
	return int64(n), err
}

// tlsRecord is the most that a record of TLS holds.
const tlsRecord = 16 << 10

// copyJoined is the largest body that is copied behind its header; a larger one costs less in two pieces.
const copyJoined = 4 << 10

// The header of a yamux frame: version, type, flags (2 bytes), stream (4), length (4).
const (
	yamuxHeader   = 12
	yamuxTypeData = 0
	yamuxTypePing = 2
	yamuxFlagOpen = 1
)

// isDataHeader reports whether a body follows p.
func isDataHeader(p []byte) bool {
	return len(p) == yamuxHeader && p[1] == yamuxTypeData && binary.BigEndian.Uint32(p[8:]) != 0
}

// What peers of ours never do, and what costs memory without limit: yamux answers each ping in a goroutine of its own, and
// each stream that is opened may hold a window of unread bytes.
var (
	errPinged = errors.New("the peer sent a ping of yamux, which is no part of the protocol")
	errOpened = fmt.Errorf("the peer has more than %d files on their way at once", maxStreams)
)

// yamuxScan follows the frames of yamux in the bytes that come.
type yamuxScan struct {
	mayOpen atomic.Int32      // streams that the peer may open yet
	head    [yamuxHeader]byte // the header as far as it has come
	have    int               // bytes of head
	body    uint32            // bytes of a body yet to come
}

// see looks at the next bytes.
func (s *yamuxScan) see(p []byte) error {
	for len(p) > 0 {
		if s.body > 0 {
			n := min(int64(s.body), int64(len(p)))
			s.body -= uint32(n)
			p = p[n:]
			continue
		}
		n := copy(s.head[s.have:], p)
		p = p[n:]
		if s.have += n; s.have < yamuxHeader {
			return nil
		}
		s.have = 0
		if err := s.header(); err != nil {
			return err
		}
	}
	return nil
}

// header looks at a whole header.
func (s *yamuxScan) header() error {
	kind, flags := s.head[1], binary.BigEndian.Uint16(s.head[2:])
	if kind == yamuxTypePing {
		return errPinged
	}
	if flags&yamuxFlagOpen != 0 && s.mayOpen.Add(-1) < 0 {
		return errOpened
	}
	if kind == yamuxTypeData {
		s.body = binary.BigEndian.Uint32(s.head[8:])
	}
	return nil
}
