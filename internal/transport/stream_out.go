package transport

import (
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// outStream is a stream for files that this side has opened. What it sends bypasses yamux, which
// would copy it and hand it to another goroutine: here the goroutine that sends a file writes it to
// the connection, while the processor still has it in its cache. Everything else stays with yamux,
// and the bytes on the connection follow its protocol. As yamux believes that nothing was sent on
// the stream, outStream keeps the peer's window. One goroutine writes.
type outStream struct {
	net.Conn // yamux's stream, for what comes back and for the end; set by the goroutine that opened it

	conn    *watchedConn  // immutable: it is written there
	id      uint32        // immutable
	changed chan struct{} // capacity 1: Write can go on, or must end

	mu     sync.Mutex // guards following; leaf
	window int64      // bytes that may still be sent
	late   bool       // a deadline has passed
	over   error      // why nothing more can be sent: the connection has ended, or the peer has reset the stream
}

const (
	// firstWindow is how much yamux lets each side send on a stream at first.
	firstWindow = 256 << 10
	// maxWindow is more than any transfer needs: a peer that grants more gains nothing.
	maxWindow = 1 << 40
)

// Write implements [io.Writer]. It waits until the peer takes what it writes. It returns
// [os.ErrDeadlineExceeded] after SetDeadline, errReset when the peer has reset the stream, and
// [io.ErrClosedPipe] when the connection has ended.
func (s *outStream) Write(p []byte) (int, error) {
	head := [yamuxHeader]byte{1: yamuxTypeData}
	binary.BigEndian.PutUint32(head[4:], s.id)
	sent := 0
	for sent < len(p) {
		n, err := s.reserve(len(p) - sent)
		if err != nil {
			return sent, err
		}
		binary.BigEndian.PutUint32(head[8:], uint32(n))
		if err := s.conn.writeBypass(head[:], p[sent:sent+n]); err != nil {
			return sent, err
		}
		sent += n
	}
	return sent, nil
}

// reserve waits until at least one byte may be sent. It returns how many of n may, and takes them
// from the window.
func (s *outStream) reserve(n int) (int, error) {
	for {
		some, err := s.reserveNow(n)
		if some > 0 || err != nil {
			return some, err
		}
		<-s.changed
	}
}

func (s *outStream) reserveNow(n int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over != nil:
		return 0, s.over
	case s.late:
		return 0, os.ErrDeadlineExceeded
	}
	n = int(min(int64(n), s.window))
	s.window -= int64(n)
	return n, nil
}

// mayMore records that the peer takes n bytes more.
func (s *outStream) mayMore(n uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window = min(s.window+int64(n), maxWindow)
	s.wake()
}

// end records that nothing more can be sent, and why.
func (s *outStream) end(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = cmp.Or(s.over, why)
	s.wake()
}

// wake makes Write look again.
func (s *outStream) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// SetDeadline implements [net.Conn], within the limits of SetWriteDeadline.
func (s *outStream) SetDeadline(t time.Time) error {
	_ = s.SetWriteDeadline(t)
	return s.Conn.SetReadDeadline(t)
}

// SetWriteDeadline implements what files need of [net.Conn]: any time but zero ends Write at once,
// and the zero time lets it go on.
func (s *outStream) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = !t.IsZero()
	s.wake()
	return nil
}

// Close implements [io.Closer]: nothing more is sent. No Write is under way.
func (s *outStream) Close() error {
	s.conn.own.closed(s.id)
	return s.Conn.Close()
}

// ownStreams are the streams of files that this side has opened and not closed.
type ownStreams struct {
	conn *watchedConn // immutable

	mu   sync.Mutex // guards following; held while an outStream's is taken
	open map[uint32]*outStream
	over bool // the connection has ended
}

// opened adds a stream, before the peer receives its first frame.
func (o *ownStreams) opened(id uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open[id] = &outStream{conn: o.conn, id: id, window: firstWindow, changed: make(chan struct{}, 1)}
}

// stream returns a stream that yamux has opened. It returns nil if the peer has reset the stream
// before it received its first frame.
func (o *ownStreams) stream(id uint32, yamux net.Conn) *outStream {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.open[id]
	if s == nil {
		return nil
	}
	s.Conn = yamux
	if o.over {
		s.end(io.ErrClosedPipe)
	}
	return s
}

// mayMore records that the peer takes n bytes more on a stream, if that is one of these.
func (o *ownStreams) mayMore(id, n uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := o.open[id]; s != nil {
		s.mayMore(n)
	}
}

// errReset is a breach: a correct peer never resets a stream, because it reports the result of an
// operation by an answer.
var errReset = errors.New("the peer has reset a stream of yamux")

// reset records that the peer has reset a stream, if that is one of these.
func (o *ownStreams) reset(id uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := o.open[id]; s != nil {
		s.end(errReset)
	}
}

// closed removes a stream, which this side has closed.
func (o *ownStreams) closed(id uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.open, id)
}

// end ends all streams, because the connection has ended.
func (o *ownStreams) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
	for _, s := range o.open {
		s.end(io.ErrClosedPipe)
	}
}
