package discoro

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/discoro/discoro/wire"
)

// watchedConn is the connection below yamux. It notes when bytes come, ends the connection when the peer makes yamux
// do what it has no limits for, has what comes on the peer's streams of files and what goes out on this side's pass by yamux, and joins
// each header with its body: one packet and one system call in place of two. Who writes has the turn meanwhile.
type watchedConn struct {
	net.Conn

	raw      net.Conn              // immutable: the connection below TLS
	below    *wire.GatherConn      // immutable: the connection right below TLS; nil without TLS
	start    time.Time             // immutable
	lastRead atomic.Int64          // nanoseconds since start, by a clock that nobody sets; written by yamux's reader
	fault    atomic.Pointer[error] // what the peer did wrong; written by yamux's reader
	scan     yamuxScan             // owned by yamux's reader, but for mayOpen
	streams  peerStreams           // that the peer has opened; it has a lock of its own
	own      ownStreams            // that this side has opened; so has this
	head     [yamuxHeader]byte     // owned by yamux's writer: a header that waits for its body
	held     bool                  // owned by yamux's writer: there is one
	turn     chan struct{}         // capacity 1: to write; who waits gets it in order
	joined   []byte                // owned by who has the turn: a header and its body
	pair     [2][]byte             // owned by who has the turn: both, in two pieces
}

// newWatchedConn watches conn; the peer may open that many streams on it.
func newWatchedConn(conn net.Conn, streams int) *watchedConn {
	c := &watchedConn{Conn: conn, raw: conn, start: time.Now(), turn: make(chan struct{}, 1)}
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

// Close closes the connection below TLS: TLS would first send a goodbye, and wait for seconds where nobody reads.
func (c *watchedConn) Close() error {
	err := c.raw.Close()
	c.endStreams()
	return err
}

// endStreams ends the streams of files of either side: the connection is at its end.
func (c *watchedConn) endStreams() {
	c.streams.end()
	c.own.end()
}

// silentFor tells how long no byte has come from the peer.
func (c *watchedConn) silentFor(now time.Time) time.Duration {
	return now.Sub(c.start) - time.Duration(c.lastRead.Load())
}

// Read notes the time, and what the peer asks of yamux. It returns what is for yamux.
func (c *watchedConn) Read(p []byte) (int, error) {
	if fault := c.fault.Load(); fault != nil {
		return 0, *fault // yamux reads on where what it drops is cut off
	}
	for {
		n, to := 0, c.scan.room()
		past := to != nil
		if !past {
			n = c.scan.unread(p)
			to = p[n:]
		}
		more, err := c.Conn.Read(to)
		if more > 0 {
			c.lastRead.Store(int64(time.Since(c.start)))
		}
		if past {
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

// sift is yamuxScan.sift, after a read that gave err.
func (c *watchedConn) sift(p []byte, err error) (int, error) {
	n, fault := c.scan.sift(p)
	if fault != nil {
		c.fault.Store(&fault)
		return 0, fault
	}
	return n, err
}

// Write holds back the header of a data frame until its body comes. yamux writes from one goroutine, and never
// writes a data frame's header without its body.
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

// writeFrame writes a header and its body when its turn comes.
func (c *watchedConn) writeFrame(head, body []byte) (int, error) {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	return c.writeWhole(head, body)
}

// writePast is writeFrame for a frame that is not from yamux. When it fails nobody knows how much of the frame has gone out: the
// connection ends, as yamux ends it for its own.
func (c *watchedConn) writePast(head, body []byte) error {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	_, err := c.writeWhole(head, body)
	if err != nil {
		_ = c.Close() // before another has the turn
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

// copyJoined is the largest body that is copied behind its header; a larger one costs less in two pieces.
const copyJoined = 4 << 10

// The header of a yamux frame: version, type, flags (2 bytes), stream (4), length (4).
const (
	yamuxHeader     = 12
	yamuxTypeData   = 0
	yamuxTypeWindow = 1
	yamuxTypePing   = 2
	yamuxFlagOpen   = 1
	yamuxFlagReset  = 8
	yamuxFlagsEnd   = 4 | yamuxFlagReset // of one side, or of the stream
)

// opensStream reports whether a header opens a stream.
func opensStream(h []byte) bool { return binary.BigEndian.Uint16(h[2:])&yamuxFlagOpen != 0 }

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

// What is not known to be whose: yamux would put one stream in the place of another.
var (
	errOpenedOurs = errors.New("the peer has opened a stream of yamux under a number of this side's")
	errResetEarly = errors.New("the peer has reset a stream of yamux before it was opened")
)

// errOpenedTwice: yamux would take it for another stream where the first has been reset, and it is not known then which is which.
var errOpenedTwice = errors.New("the peer has opened a stream of yamux twice")

// yamuxScan follows the frames of yamux in the bytes that come.
type yamuxScan struct {
	streams    *peerStreams      // immutable
	own        *ownStreams       // immutable
	mayOpen    atomic.Int32      // streams that the peer may open yet
	framesNext bool              // the next stream that the peer opens is that of frames
	even       bool              // the peer's streams have even numbers, not odd ones
	head       [yamuxHeader]byte // a header of which not all has come
	have       int               // bytes of head
	body       uint32            // bytes of a body yet to come
	past       *inStream         // where they go; nil: to yamux
	last       bool              // nothing comes on that stream behind them
}

// room returns memory for what comes next; nil: it is not known to be for a peer's stream that has some.
func (s *yamuxScan) room() []byte {
	if s.past == nil || s.body == 0 {
		return nil
	}
	return s.past.room(s.body)
}

// read says how much was read into what room returned.
func (s *yamuxScan) read(n int) {
	s.past.read(n)
	s.bodyCame(n)
}

// bodyCame counts bytes of a body.
func (s *yamuxScan) bodyCame(n int) {
	s.body -= uint32(n)
	if s.body == 0 && s.past != nil && s.last {
		s.streams.ended(s.past)
	}
}

// unread puts what has come of a header into p, for the next sift, and tells how much that is.
func (s *yamuxScan) unread(p []byte) int {
	n := copy(p, s.head[:s.have])
	s.have = 0
	return n
}

// sift looks at the next bytes, takes those out that are not for yamux, and those of a header that has not come as a whole, and tells how
// many are left, at the front of p.
func (s *yamuxScan) sift(p []byte) (int, error) {
	left := 0
	for at := 0; at < len(p); {
		next := p[at:]
		if s.body > 0 {
			n := int(min(int64(s.body), int64(len(next))))
			if s.past != nil {
				s.past.take(next[:n])
			} else {
				left += move(p[left:], next[:n])
			}
			s.bodyCame(n)
			at += n
			continue
		}
		if len(next) < yamuxHeader {
			s.have = copy(s.head[:], next)
			break
		}
		if err := s.header(next[:yamuxHeader]); err != nil {
			return 0, err
		}
		left += move(p[left:], next[:yamuxHeader])
		at += yamuxHeader
	}
	return left, nil
}

// move is copy, which most often has nothing to do.
func move(to, from []byte) int {
	if &to[0] == &from[0] {
		return len(from)
	}
	return copy(to, from)
}

// header looks at a whole header, and changes it to one without a body when that goes past yamux.
func (s *yamuxScan) header(h []byte) error {
	kind, flags, id := h[1], binary.BigEndian.Uint16(h[2:]), binary.BigEndian.Uint32(h[4:])
	s.past = nil
	switch kind {
	case yamuxTypePing:
		return errPinged
	case yamuxTypeData:
		s.body = binary.BigEndian.Uint32(h[8:])
	case yamuxTypeWindow:
		s.own.mayMore(id, binary.BigEndian.Uint32(h[8:]))
	default:
		return nil // about no stream: yamux does not look at its flags
	}
	if flags&yamuxFlagOpen != 0 {
		if err := s.opened(id); err != nil {
			return err
		}
	}
	if flags&yamuxFlagReset != 0 {
		s.own.reset(id)
	}
	if last := flags&yamuxFlagsEnd != 0; s.body > 0 || last {
		if in := s.streams.find(id); in != nil {
			return s.pass(h, in, last)
		}
	}
	return nil
}

// opened says that the peer opens a stream.
func (s *yamuxScan) opened(id uint32) error {
	if s.even != (id%2 == 0) {
		return errOpenedOurs
	}
	if s.mayOpen.Add(-1) < 0 {
		return errOpened
	}
	if s.framesNext {
		s.framesNext = false
		return nil
	}
	return s.streams.opened(id)
}

// pass has a frame's body go to a stream of the peer's, behind which nothing comes there when it is the last.
func (s *yamuxScan) pass(h []byte, in *inStream, last bool) error {
	if s.body == 0 {
		s.streams.ended(in)
		return nil
	}
	s.past, s.last = in, last
	clear(h[8:])
	return in.expect(s.body)
}

// peerStreams are the streams that the peer has opened.
type peerStreams struct {
	conn *watchedConn // immutable: where the peer is told what it may send

	mu    sync.Mutex           // guards following; leaf
	open  map[uint32]*inStream // until all has come that the peer sends
	fresh map[uint32]*inStream // until they are accepted
	over  bool                 // nothing comes any more
}

// opened adds a stream.
func (p *peerStreams) opened(id uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[id] != nil || p.fresh[id] != nil {
		return errOpenedTwice
	}
	in := newInStream(p.conn, id)
	in.over = p.over
	p.open[id], p.fresh[id] = in, in
	return nil
}

// find returns a stream; nil: it is none of these.
func (p *peerStreams) find(id uint32) *inStream {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open[id]
}

// ended says that all has come that the peer sends on a stream.
func (p *peerStreams) ended(in *inStream) {
	p.mu.Lock()
	delete(p.open, in.id)
	p.mu.Unlock()
	in.end()
}

// accept returns a stream that yamux has accepted.
func (p *peerStreams) accept(id uint32) *inStream {
	p.mu.Lock()
	defer p.mu.Unlock()
	in := p.fresh[id]
	delete(p.fresh, id)
	return in
}

// end says that the connection is at its end.
func (p *peerStreams) end() {
	p.mu.Lock()
	p.over = true
	all := slices.Collect(maps.Values(p.open))
	p.mu.Unlock()
	for _, in := range all {
		in.end()
	}
}
