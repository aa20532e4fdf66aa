package link

import (
	"context"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/discoro/discoro/internal/transport"
	"github.com/discoro/discoro/wire"
)

// ownStreams are the streams of a link that this side has opened.
type ownStreams struct {
	// Immutable. open holds a token for each open stream, transport.MaxStreams at most. Callers
	// that wait for a stream get one in the order in which they asked.
	open    chan struct{}
	sending atomic.Int32 // how many streams send a file at the moment
}

func newOwnStreams() ownStreams {
	return ownStreams{open: make(chan struct{}, transport.MaxStreams)}
}

// What the streams of a link write at once, all together, while others use the link, and each of them
// at least.
const (
	streamPiece    = 64 << 10
	minStreamPiece = 4 << 10
	// frameShare is how many streams the frames that wait count for.
	frameShare = 3
	// maxStreamPiece is the most that a stream writes at once when it has the link to itself.
	maxStreamPiece = wire.FileBlock + wire.FileSum
	// pieceTime bounds how large the pieces of such a stream get: they grow while one takes less.
	pieceTime = 4 * time.Millisecond
)

// Stream is a stream that this side has opened. One goroutine reads it, and one writes it.
type Stream struct {
	net.Conn // immutable

	l      *Link       // immutable
	unbind func()      // immutable: takes back what ends reads and writes with the context
	halted atomic.Bool // Write fails
	piece  int         // how much is written at once while nothing else uses the link; owned by the writer
}

// OpenStream opens a stream. It waits while transport.MaxStreams of them are open. The end of ctx ends
// the wait, and reads and writes until Halt.
func (l *Link) OpenStream(ctx context.Context) (*Stream, error) {
	select {
	case l.streams.open <- struct{}{}:
	case <-l.ended:
		return nil, l.Cause()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	conn, err := l.conn.Open()
	if err != nil {
		<-l.streams.open
		l.broken(err)
		return nil, l.Cause()
	}
	return &Stream{Conn: conn, l: l, unbind: transport.DeadlineOn(ctx, conn), piece: streamPiece}, nil
}

// Write implements [io.Writer]. It writes smaller pieces while frames wait or other streams send, so
// that frames wait behind streamPiece bytes at most.
func (s *Stream) Write(b []byte) (int, error) {
	written := 0
	for written < len(b) {
		if s.halted.Load() {
			return written, os.ErrDeadlineExceeded
		}
		share := int(s.l.streams.sending.Load())
		if s.l.hasFrames() {
			share += frameShare
		}
		size := s.piece
		if share > 1 {
			size = max(streamPiece/share, minStreamPiece)
		}
		start := time.Now()
		n, err := s.Conn.Write(b[written:min(written+size, len(b))])
		written += n
		if err != nil {
			return written, err
		}
		switch took := time.Since(start); {
		case took > pieceTime:
			s.piece = streamPiece
		case n == s.piece:
			s.piece = min(2*n, maxStreamPiece)
		}
	}
	return written, nil
}

// hasFrames reports whether frames wait for the link's writer.
func (l *Link) hasFrames() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queue.size() > 0
}

// Share counts the stream among those that send a file, until done is called.
func (s *Stream) Share() (done func()) {
	s.l.streams.sending.Add(1)
	return func() { s.l.streams.sending.Add(-1) }
}

// longAgo as a deadline ends reads and writes at once.
var longAgo = time.Unix(1, 0)

// Halt ends writes at once, for good. From now on the stream does not depend on the context.
func (s *Stream) Halt() {
	s.unbind()
	s.halted.Store(true)
	_ = s.SetWriteDeadline(longAgo)
}

// End closes the stream, after Halt. It waits until the peer has closed it, too, or the link has ended;
// the peer discards what was on its way. Then another stream may be opened in its place.
func (s *Stream) End() {
	_ = s.Close()
	_, _ = io.Copy(io.Discard, s.Conn)
	<-s.l.streams.open
}

// Lost returns why the stream has ended, given the error of a Read or a Write. If neither the link
// nor ctx has ended, the peer has broken the protocol, since peers answer everything: then Lost
// ends the link.
func (s *Stream) Lost(ctx context.Context, err error) error {
	if cause := s.l.Cause(); cause != nil {
		return cause
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.l.broken(err)
	return s.l.Cause()
}

// acceptStreams takes the streams that the peer opens. It ends with the link.
func (l *Link) acceptStreams() {
	for {
		s, err := l.conn.Accept()
		if err != nil || !l.net.host.Start(func() { l.serveStream(s) }) {
			return // read reports why
		}
	}
}

// serveStream owns a stream that the peer has opened. It ends when the peer has closed the stream, or
// with the link.
func (l *Link) serveStream(s transport.PeerStream) {
	defer func() {
		_, _ = io.Copy(io.Discard, s) // what was on its way when the answer was sent
		l.conn.Release()
		_ = s.Close() // last: the peer opens another stream when it sees this
	}()
	if err := l.net.host.Stream(l, s); err != nil {
		l.broken(err)
	}
}
