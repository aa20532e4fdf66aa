package discoro

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

// outStream is a stream that this side has opened for files. What goes out on it passes by yamux, which would copy it and hand it to another
// goroutine: the goroutine that sends a file writes it to the connection. All else stays with yamux, and what goes over the connection is
// its protocol; but what yamux knows of the stream is that nothing was sent on it, so it is here that the peer's window is kept.
// One goroutine writes.
type outStream struct {
	net.Conn // yamux's stream: what comes back, and the end; set by whoever opened it

	conn    *watchedConn  // immutable: where it is written
	id      uint32        // immutable
	changed chan struct{} // capacity 1: it may go on, or must not

	mu     sync.Mutex // guards following; leaf
	window int64      // bytes that may be sent yet
	late   bool       // a deadline has passed
	over   error      // why nothing more can be sent: the connection is at its end, or the peer has reset the stream
}

const (
	// firstWindow is what yamux lets either side send on a stream at first.
	firstWindow = 256 << 10
	// maxWindow is more than anybody needs: a peer that allows more gains nothing.
	maxWindow = 1 << 40
)

// Write implements [io.Writer]. It waits until the peer takes what it writes. [os.ErrDeadlineExceeded]: SetDeadline has ended it;
// errReset: the peer has; [io.ErrClosedPipe]: the connection is at its end.
func (s *outStream) Write(p []byte) (int, error) {
	head := [yamuxHeader]byte{1: yamuxTypeData}
	binary.BigEndian.PutUint32(head[4:], s.id)
	sent := 0
	for sent < len(p) {
		n, err := s.take(len(p) - sent)
		if err != nil {
			return sent, err
		}
		binary.BigEndian.PutUint32(head[8:], uint32(n))
		if err := s.conn.writePast(head[:], p[sent:sent+n]); err != nil {
			return sent, err
		}
		sent += n
	}
	return sent, nil
}

// take waits until something may be sent, and returns how much of n bytes.
func (s *outStream) take(n int) (int, error) {
	for {
		some, err := s.taken(n)
		if some > 0 || err != nil {
			return some, err
		}
		<-s.changed
	}
}

func (s *outStream) taken(n int) (int, error) {
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

// mayMore says that the peer takes n bytes more.
func (s *outStream) mayMore(n uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window = min(s.window+int64(n), maxWindow)
	s.tell()
}

// end says that nothing more can be sent, and why.
func (s *outStream) end(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = cmp.Or(s.over, why)
	s.tell()
}

// tell has Write look again.
func (s *outStream) tell() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// SetDeadline implements [net.Conn] as SetWriteDeadline does.
func (s *outStream) SetDeadline(t time.Time) error {
	_ = s.SetWriteDeadline(t)
	return s.Conn.SetReadDeadline(t)
}

// SetWriteDeadline implements [net.Conn] for what files need: a time that has passed ends Write, and no time has it go on.
func (s *outStream) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = !t.IsZero()
	s.tell()
	return nil
}

// Close implements [io.Closer]: nothing more is sent. No Write is under way.
func (s *outStream) Close() error {
	s.conn.own.closed(s.id)
	return s.Conn.Close()
}

// ownStreams are the streams of files that this side has opened, until it has closed them.
type ownStreams struct {
	conn *watchedConn // immutable

	mu   sync.Mutex // guards following; held while an outStream's is
	open map[uint32]*outStream
	over bool // the connection is at its end
}

// opened adds a stream before the peer hears of it.
func (o *ownStreams) opened(id uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open[id] = &outStream{conn: o.conn, id: id, window: firstWindow, changed: make(chan struct{}, 1)}
}

// stream returns a stream that yamux has opened; nil: the peer has reset it before it heard of it.
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

// mayMore says that the peer takes n bytes more on a stream, if that is one of these.
func (o *ownStreams) mayMore(id, n uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := o.open[id]; s != nil {
		s.mayMore(n)
	}
}

// errReset: no peer of ours resets streams; it says how an operation went.
var errReset = errors.New("the peer has reset a stream of yamux")

// reset says that the peer has reset a stream, if that is one of these.
func (o *ownStreams) reset(id uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := o.open[id]; s != nil {
		s.end(errReset)
	}
}

// closed says that this side has closed a stream.
func (o *ownStreams) closed(id uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.open, id)
}

// end says that the connection is at its end.
func (o *ownStreams) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
	for _, s := range o.open {
		s.end(io.ErrClosedPipe)
	}
}
