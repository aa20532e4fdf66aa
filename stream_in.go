package discoro

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/discoro/discoro/wire"
)

// peerStream is a stream that the peer has opened. One goroutine reads it.
type peerStream interface {
	io.ReadWriteCloser
	// post gives memory for what comes next, behind what was posted before. Nobody else may use that until all of it has come,
	// or ever again when it does not.
	post(b []byte)
	// came waits until all has come of what was posted first; the next is the first then. When the stream or ctx ends before
	// that it returns an error, and how many bytes have come.
	came(ctx context.Context) (int, error)
	// drop forgets what was posted: what comes next is read.
	drop()
}

// inStream is what comes on such a stream. It goes past yamux, which would read it into a buffer of its own, let nobody have
// anything from that while it waits for the rest of a frame, and copy it twice: bodies of frames are read from the
// connection into the memory that is for them. All else stays with yamux, and what goes over the connection is its protocol; but what
// it has of the peer's frames has no bodies, so it is here that the peer is told what it may send.
type inStream struct {
	conn    *watchedConn  // immutable: where the peer is told what it may send
	id      uint32        // immutable
	changed chan struct{} // capacity 1: something has come, or nothing more does

	mu     sync.Mutex // guards following; leaf
	window int        // bytes that the peer may begin to send yet
	coming int        // bytes of a frame's body that have not come yet
	early  []byte     // what came when there was no room for it
	posted [][]byte   // where it is wanted
	full   int        // how many of these are
	got    int        // bytes of the next that have come
	over   bool       // nothing more comes
}

const (
	// streamWindow is how much the peer may send on a stream before it is read; more where more was posted.
	streamWindow = 1 << 20
	// leastGrant is how much it is told at least that it may send where nothing is posted.
	leastGrant = streamWindow / 4
)

func newInStream(conn *watchedConn, id uint32) *inStream {
	return &inStream{conn: conn, id: id, window: streamWindow, changed: make(chan struct{}, 1)}
}

// expect says that a frame's body of n bytes comes.
func (s *inStream) expect(n uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int64(n) > int64(s.window) {
		return fmt.Errorf("%w: the peer has sent %d bytes where it may send %d", wire.ErrMalformed, n, s.window)
	}
	s.window -= int(n)
	s.coming += int(n)
	return nil
}

// room returns memory for what comes next, at most n bytes; nil: there is none. What was read into it is told by read.
func (s *inStream) room(n uint32) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full == len(s.posted) {
		return nil
	}
	b := s.posted[s.full][s.got:]
	return b[:min(uint64(len(b)), uint64(n))]
}

func (s *inStream) read(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.coming -= n
	if s.full < len(s.posted) { // else nobody wants it any more
		s.readLocked(n)
	}
}

func (s *inStream) readLocked(n int) {
	if s.got += n; s.got == len(s.posted[s.full]) {
		s.full, s.got = s.full+1, 0
		s.tell()
	}
}

// take takes what has come next.
func (s *inStream) take(p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.coming -= len(p)
	if p = s.fillLocked(p); len(p) > 0 {
		s.early = append(s.early, p...)
		s.tell()
	}
}

// fillLocked copies what has come to where it was wanted, and returns what nobody wants yet.
func (s *inStream) fillLocked(p []byte) []byte {
	for len(p) > 0 && s.full < len(s.posted) {
		n := copy(s.posted[s.full][s.got:], p)
		p = p[n:]
		s.readLocked(n)
	}
	return p
}

// end says that nothing more comes.
func (s *inStream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.tell()
}

// tell has who waits look again.
func (s *inStream) tell() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Read implements [io.Reader].
func (s *inStream) Read(p []byte) (int, error) {
	for {
		n, grant, over := s.readEarly(p)
		if n > 0 {
			s.grant(grant)
			return n, nil
		}
		if over {
			return 0, io.EOF
		}
		<-s.changed
	}
}

func (s *inStream) readEarly(p []byte) (n, grant int, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.early) == 0 {
		return 0, 0, s.over
	}
	n = copy(p, s.early)
	s.early = left(s.early[n:])
	return n, s.regrantLocked(), s.over
}

// regrantLocked is grantLocked where nothing is posted, and for more than a little.
func (s *inStream) regrantLocked() int {
	room := streamWindow - len(s.early)
	if room-s.window-s.coming < leastGrant {
		return 0
	}
	return s.grantLocked(room)
}

// post implements peerStream.
func (s *inStream) post(b []byte) {
	s.mu.Lock()
	s.posted = append(s.posted, b)
	s.early = left(s.fillLocked(s.early))
	room := -s.got
	for _, b := range s.posted[s.full:] {
		room += len(b)
	}
	grant := s.grantLocked(room)
	s.mu.Unlock()
	s.grant(grant)
}

// left returns b, or nothing that keeps memory when it is empty.
func left(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// grantLocked returns how much more the peer may send when there is that much room.
func (s *inStream) grantLocked(room int) int {
	more := max(0, room-s.window-s.coming)
	s.window += more
	return more
}

// grant tells the peer how much more it may send.
func (s *inStream) grant(n int) {
	if n == 0 {
		return
	}
	update := [yamuxHeader]byte{1: yamuxTypeWindow}
	binary.BigEndian.PutUint32(update[4:], s.id)
	binary.BigEndian.PutUint32(update[8:], uint32(n))
	_ = s.conn.writePast(update[:], nil) // when it fails the connection ends
}

// came implements peerStream.
func (s *inStream) came(ctx context.Context) (int, error) {
	for {
		n, all, over := s.first()
		switch {
		case all:
			return n, nil
		case over:
			return n, io.ErrUnexpectedEOF
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
			return n, context.Cause(ctx)
		}
	}
}

// first returns how much of what was posted first has come, whether that is all of it, and whether nothing more does.
func (s *inStream) first() (n int, all, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full == 0 {
		return s.got, false, s.over
	}
	n = len(s.posted[0])
	s.posted, s.full = s.posted[1:], s.full-1
	return n, true, false
}

// drop implements peerStream. What the reader of the connection has begun to read into what was posted is lost.
func (s *inStream) drop() {
	s.mu.Lock()
	s.posted, s.full, s.got = nil, 0, 0
	grant := s.regrantLocked()
	s.mu.Unlock()
	s.grant(grant)
}

// yamuxPeerStream is a stream of yamux that the peer has opened.
type yamuxPeerStream struct {
	*inStream

	out net.Conn // immutable: yamux's stream, for what goes to the peer
}

// Write implements [io.Writer].
func (s yamuxPeerStream) Write(p []byte) (int, error) { return s.out.Write(p) }

// Close implements [io.Closer].
func (s yamuxPeerStream) Close() error { return s.out.Close() }

// memPeerStream is a stream in memory that the peer has opened.
type memPeerStream struct {
	net.Conn

	posted [][]byte // owned by who reads the stream
}

// post implements peerStream.
func (s *memPeerStream) post(b []byte) { s.posted = append(s.posted, b) }

// came implements peerStream.
func (s *memPeerStream) came(ctx context.Context) (int, error) {
	defer deadlineOn(ctx, s.Conn)()
	b := s.posted[0]
	s.posted = s.posted[1:]
	return io.ReadFull(s.Conn, b)
}

// drop implements peerStream.
func (s *memPeerStream) drop() { s.posted = nil }
