package discoro

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/hashicorp/yamux"
)

// transport is one connection to a peer after the greeting: a yamux session with one long-lived stream for frames, and one more
// for each file that is on its way.
type transport struct {
	session session      // immutable
	frames  net.Conn     // immutable: the stream of frames
	signs   signsOfLife  // immutable
	conn    *watchedConn // immutable; nil in memory
}

// session is what streams run over: yamux, or a connection in memory, which has streams of its own.
type session interface {
	Open() (net.Conn, error)
	Accept() (net.Conn, error)
	Close() error
}

// signsOfLife tell how long no byte has come from the peer.
type signsOfLife interface {
	silentFor(now time.Time) time.Duration
}

// openTimeout bounds the time from the end of the greeting until the stream of frames is there.
const openTimeout = 5 * time.Second

// yamuxConfig is set as measured; see ARCHITECTURE.md. Liveness is ours: any byte read counts.
func yamuxConfig() *yamux.Config {
	cfg := yamux.DefaultConfig()
	cfg.EnableKeepAlive = false
	cfg.ConnectionWriteTimeout = time.Hour // must never fire: the stream would be out of step
	cfg.StreamOpenTimeout = 0
	cfg.StreamCloseTimeout = 0 // who has closed its side waits for the peer, or for the link's end
	cfg.AcceptBacklog = 64
	cfg.MaxStreamWindowSize = 1 << 20
	cfg.LogOutput = nil
	cfg.Logger = log.New(io.Discard, "", 0) // what it has to say comes back as errors
	return cfg
}

// newTransport starts yamux on conn, which it owns from now on. The side that dialled opens the stream of frames; the
// other waits for it, at most openTimeout or until ctx ends.
func newTransport(ctx context.Context, conn net.Conn, dialled bool) (*transport, error) {
	if mem := memoryBelow(conn); mem != nil {
		return &transport{session: mem, frames: conn, signs: mem}, nil
	}
	streams := maxStreams // that the peer may open
	start := yamux.Client
	if !dialled {
		streams, start = maxStreams+1, yamux.Server
	}
	watched := newWatchedConn(conn, streams)
	watched.scan.framesNext, watched.scan.even = !dialled, dialled
	limitUnsent(watched.raw)
	mux, err := start(watched, yamuxConfig())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start yamux: %w", err), watched.Close())
	}
	t := &transport{session: mux, signs: watched, conn: watched}
	if t.frames, err = openFrames(ctx, mux, dialled); err != nil {
		t.close()
		return nil, fmt.Errorf("open the stream of frames: %w", t.explain(err))
	}
	if s, ok := t.frames.(*yamux.Stream); ok && dialled {
		watched.own.closed(s.StreamID()) // it is all yamux's
	}
	return t, nil
}

func openFrames(ctx context.Context, mux *yamux.Session, dialled bool) (net.Conn, error) {
	if dialled {
		return mux.OpenStream() // writes a dozen bytes, which a new connection always takes
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	return mux.AcceptStreamWithContext(ctx)
}

// maxStreams is how many streams a peer may have open beside that of frames; with one more it breaks the protocol.
const maxStreams = 16

// openStream opens a stream to the peer. The caller has at most maxStreams of them.
//
// Close of a stream ends what this side sends, and no more: it can be read until the peer has closed its side, too, which
// gives io.EOF. Then nothing is left of it. Deadlines end a Read or Write that waits for the peer; a Write that has begun to go
// out ends with the link at the latest.
func (t *transport) openStream() (net.Conn, error) {
	s, err := t.session.Open()
	if err != nil {
		return nil, t.explain(err)
	}
	if s, ok := s.(*yamux.Stream); ok {
		if own := t.conn.own.stream(s.StreamID(), s); own != nil {
			return own, nil
		}
		return nil, errResetEarly
	}
	return s, nil
}

// acceptStream waits for the next stream that the peer opens; see openStream. Who has read its end calls endStream, and closes
// it then.
func (t *transport) acceptStream() (peerStream, error) {
	s, err := t.session.Accept()
	if err != nil {
		return nil, t.explain(err)
	}
	if out, ok := s.(*yamux.Stream); ok {
		return yamuxPeerStream{t.conn.streams.accept(out.StreamID()), out}, nil
	}
	return &memPeerStream{Conn: s}, nil
}

// endStream lets the peer open another stream, in place of one that it has closed.
func (t *transport) endStream() {
	if t.conn != nil { // in memory nobody is bounded: both sides are of one program
		t.conn.scan.mayOpen.Add(1)
	}
}

// memoryBelow returns the end of a connection in memory that conn, which may be TLS on it, is; else nil.
func memoryBelow(conn net.Conn) *memEnd {
	for {
		if c, ok := conn.(*memConn); ok {
			return c.end
		}
		above, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		conn = above.NetConn()
	}
}

// writeChunk is how much is written at once: larger batches gain nothing, and yamux keeps a copy of the largest.
const writeChunk = chunkSize

// write writes frames. After an error nothing is known about what arrived: the link is dead.
func (t *transport) write(b []byte) error {
	for len(b) > 0 {
		n, err := t.frames.Write(b[:min(len(b), writeChunk)])
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// explain turns what yamux says into why the connection ended, where that is known: yamux says EOF whatever happened.
func (t *transport) explain(err error) error {
	if t.conn != nil {
		if fault := t.conn.fault.Load(); fault != nil {
			return *fault
		}
	}
	if errors.Is(err, io.EOF) {
		return errors.New("the connection ended")
	}
	return err
}

// close ends the connection at once; reads and writes return. It does not wait for the peer.
func (t *transport) close() { _ = t.session.Close() }

// silentFor tells how long no byte has come from the peer.
func (t *transport) silentFor(now time.Time) time.Duration {
	return t.signs.silentFor(now)
}
