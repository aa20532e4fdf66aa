package transport

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"

	"github.com/discoro/discoro/wire"
)

// PeerStream is a stream that the peer has opened. One goroutine reads it.
type PeerStream interface {
	io.ReadWriteCloser
	// Post gives memory for the next bytes to come, behind what was posted before. The caller must
	// not use that memory until all of it has been filled. If the transfer ends earlier, the memory
	// must never be used again.
	Post(b []byte)
	// Came waits until the memory that was posted first is full, and removes it from what is
	// posted. When the stream or ctx ends before that, it returns an error and how many bytes have
	// come.
	Came(ctx context.Context) (int, error)
	// Drop forgets what was posted: the next bytes to come go to Read.
	Drop()
}

// inStream is the receiving half of a stream that the peer has opened. It bypasses yamux, which
// would read the bytes into a buffer of its own, keep that locked while it waits for the rest of a
// frame, and copy them twice; that took more time than all the rest of a transfer. Here the bodies
// of frames are read from the connection directly into the posted memory. Everything else stays
// with yamux, and the bytes on the connection follow its protocol. As yamux sees frames without
// bodies, inStream grants the peer its window: as much as was posted.
type inStream struct {
	conn    *watchedConn  // immutable: window updates go there
	id      uint32        // immutable
	changed chan struct{} // capacity 1: something has come, or the stream has ended

	mu     sync.Mutex // guards following; leaf
	window int        // bytes whose frames the peer may still begin
	coming int        // bytes of a frame's body that have not come
	early  []byte     // bytes that came when there was no room for them
	posted [][]byte   // memory for what comes
	full   int        // how many of posted are filled
	got    int        // bytes in the next of them
	over   bool       // nothing more comes
}

const (
	// streamWindow is how much the peer may send on a stream before it is read. It may send more
	// where more was posted.
	streamWindow = 1 << 20
	// leastGrant is the smallest window update where nothing is posted.
	leastGrant = streamWindow / 4
)

func newInStream(conn *watchedConn, id uint32) *inStream {
	return &inStream{conn: conn, id: id, window: streamWindow, changed: make(chan struct{}, 1)}
}

// expect records that a frame's body of n bytes comes next.
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

// room returns memory for the next bytes, at most n; nil if there is none. The caller calls read
// when it has read into it.
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
	if s.full < len(s.posted) { // else it was dropped meanwhile
		s.readLocked(n)
	}
}

func (s *inStream) readLocked(n int) {
	if s.got += n; s.got == len(s.posted[s.full]) {
		s.full, s.got = s.full+1, 0
		s.wake()
	}
}

// take takes the next bytes, which were read elsewhere.
func (s *inStream) take(p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.coming -= len(p)
	if p = s.fillLocked(p); len(p) > 0 {
		s.early = append(s.early, p...)
		s.wake()
	}
}

// fillLocked copies p to the posted memory, and returns what did not fit.
func (s *inStream) fillLocked(p []byte) []byte {
	for len(p) > 0 && s.full < len(s.posted) {
		n := copy(s.posted[s.full][s.got:], p)
		p = p[n:]
		s.readLocked(n)
	}
	return p
}

// end records that nothing more comes.
func (s *inStream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.wake()
}

// wake makes the goroutine that waits look again.
func (s *inStream) wake() {
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

// regrantLocked is grantLocked where nothing is posted. It grants nothing rather than a little.
func (s *inStream) regrantLocked() int {
	room := streamWindow - len(s.early)
	if room-s.window-s.coming < leastGrant {
		return 0
	}
	return s.grantLocked(room)
}

// Post implements PeerStream.
func (s *inStream) Post(b []byte) {
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

// left returns b. If b is empty it returns nil, which keeps no memory.
func left(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// grantLocked returns how much more the peer may send when there is room for that many bytes.
func (s *inStream) grantLocked(room int) int {
	more := max(0, room-s.window-s.coming)
	s.window += more
	return more
}

// grant sends the peer a window update: it may send n bytes more.
func (s *inStream) grant(n int) {
	if n == 0 {
		return
	}
	update := [yamuxHeader]byte{1: yamuxTypeWindow}
	binary.BigEndian.PutUint32(update[4:], s.id)
	binary.BigEndian.PutUint32(update[8:], uint32(n))
	_ = s.conn.writeBypass(update[:], nil) // when it fails the connection ends
}

// Came implements PeerStream.
func (s *inStream) Came(ctx context.Context) (int, error) {
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

// first returns how many bytes of what was posted first have come, whether that is all of it, and
// whether the stream has ended.
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

// Drop implements PeerStream. Bytes that the connection's reader is reading into posted memory are
// lost.
func (s *inStream) Drop() {
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

	posted [][]byte // owned by the goroutine that reads the stream
}

// Post implements PeerStream.
func (s *memPeerStream) Post(b []byte) { s.posted = append(s.posted, b) }

// Came implements PeerStream.
func (s *memPeerStream) Came(ctx context.Context) (int, error) {
	defer DeadlineOn(ctx, s.Conn)()
	b := s.posted[0]
	s.posted = s.posted[1:]
	return io.ReadFull(s.Conn, b)
}

// Drop implements PeerStream.
func (s *memPeerStream) Drop() { s.posted = nil }

// peerStreams are the streams of files that the peer has opened.
type peerStreams struct {
	conn *watchedConn // immutable: window updates go there

	mu    sync.Mutex           // guards following; leaf
	open  map[uint32]*inStream // until the peer has sent everything
	fresh map[uint32]*inStream // until they are accepted
	over  bool                 // the connection has ended
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

// find returns the stream of that number, nil if there is none.
func (p *peerStreams) find(id uint32) *inStream {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open[id]
}

// ended records that the peer has sent everything on a stream.
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

// end ends all streams, because the connection has ended.
func (p *peerStreams) end() {
	p.mu.Lock()
	p.over = true
	all := slices.Collect(maps.Values(p.open))
	p.mu.Unlock()
	for _, in := range all {
		in.end()
	}
}
