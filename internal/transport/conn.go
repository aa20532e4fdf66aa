package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/discoro/discoro/wire"
)

// Conn is a connection to a peer after the greeting. It carries a stream of frames, and streams of
// files. Its methods are safe for concurrent use, except Write, which one goroutine calls.
type Conn struct {
	// Frames is the stream of frames: the caller reads it, and Write writes to it.
	Frames net.Conn // immutable

	session Session      // immutable
	signs   signsOfLife  // immutable
	watched *watchedConn // immutable; nil in memory
}

// Session carries streams: yamux, or a connection in memory, which has streams of its own.
type Session interface {
	Open() (net.Conn, error)
	Accept() (net.Conn, error)
	Close() error
}

// Memory is a connection in memory. [New] uses it in place of yamux when its connection, or the one
// below TLS, has a method Memory() Memory. That connection is the stream of frames then.
type Memory interface {
	Session
	// SilentFor returns how long no byte has come from the peer.
	SilentFor(now time.Time) time.Duration
}

// signsOfLife knows when the peer was last heard.
type signsOfLife interface {
	SilentFor(now time.Time) time.Duration
}

// MaxStreams is how many streams a peer may have open beside the stream of frames. A peer that
// opens one more breaks the protocol.
const MaxStreams = 16

// openTimeout bounds the time from the end of the greeting until the stream of frames is open.
const openTimeout = 5 * time.Second

// maxWrite is how much is written at once: larger batches gain nothing, and yamux keeps a copy of
// the largest. A part of a large frame fits.
const maxWrite = wire.PartSize + 64

// yamuxConfig returns settings that were found by measuring. The keepalive is off because it kills
// slow links that are healthy; the link judges by bytes read. The write timeout must never fire: it
// would leave the stream out of step.
func yamuxConfig() *yamux.Config {
	cfg := yamux.DefaultConfig()
	cfg.EnableKeepAlive = false
	cfg.ConnectionWriteTimeout = time.Hour
	cfg.StreamOpenTimeout = 0
	cfg.StreamCloseTimeout = 0 // a side that has closed waits for the peer, or for the link's end
	cfg.AcceptBacklog = 64
	cfg.MaxStreamWindowSize = 1 << 20
	cfg.LogOutput = nil
	cfg.Logger = log.New(io.Discard, "", 0) // what matters comes back as errors
	return cfg
}

// New starts yamux on conn, which it owns from now on, also when it fails. The side that dialled
// opens the stream of frames. The other side waits for it, at most 5 s or until ctx ends.
func New(ctx context.Context, conn net.Conn, dialled bool) (*Conn, error) {
	if mem := memoryBelow(conn); mem != nil {
		return &Conn{Frames: conn, session: mem, signs: mem}, nil
	}
	streams := MaxStreams // that the peer may open
	start := yamux.Client
	if !dialled {
		streams, start = MaxStreams+1, yamux.Server
	}
	watched := newWatchedConn(conn, streams)
	watched.scan.framesNext, watched.scan.even = !dialled, dialled
	limitUnsent(watched.raw)
	mux, err := start(watched, yamuxConfig())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start yamux: %w", err), watched.Close())
	}
	c := &Conn{session: mux, signs: watched, watched: watched}
	if c.Frames, err = openFrames(ctx, mux, dialled); err != nil {
		c.Close()
		return nil, fmt.Errorf("open the stream of frames: %w", c.Explain(err))
	}
	if s, ok := c.Frames.(*yamux.Stream); ok && dialled {
		watched.own.closed(s.StreamID()) // yamux alone writes to it
	}
	return c, nil
}

// memoryBelow returns conn, or the connection below its TLS, if that is in memory, and otherwise
// nil.
func memoryBelow(conn net.Conn) Memory {
	for {
		if c, ok := conn.(interface{ Memory() Memory }); ok {
			return c.Memory()
		}
		above, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		conn = above.NetConn()
	}
}

func openFrames(ctx context.Context, mux *yamux.Session, dialled bool) (net.Conn, error) {
	if dialled {
		return mux.OpenStream() // writes a dozen bytes, for which a new connection always has room
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	return mux.AcceptStreamWithContext(ctx)
}

// Open opens a stream to the peer. The caller keeps at most MaxStreams of them open.
//
// Close ends only what this side sends. The stream can be read until the peer has closed its side,
// too, and then gives io.EOF. After that nothing is left of it. A deadline ends a Read or Write
// that waits for the peer. A Write whose bytes are going out ends with the connection at the
// latest.
func (c *Conn) Open() (net.Conn, error) {
	s, err := c.session.Open()
	if err != nil {
		return nil, c.Explain(err)
	}
	if s, ok := s.(*yamux.Stream); ok {
		if own := c.watched.own.stream(s.StreamID(), s); own != nil {
			return own, nil
		}
		return nil, errResetEarly
	}
	return s, nil
}

// Accept waits for the next stream that the peer opens; see Open. A caller that has read its end
// calls Release, and then closes it.
func (c *Conn) Accept() (PeerStream, error) {
	s, err := c.session.Accept()
	if err != nil {
		return nil, c.Explain(err)
	}
	if out, ok := s.(*yamux.Stream); ok {
		return yamuxPeerStream{c.watched.streams.accept(out.StreamID()), out}, nil
	}
	return &memPeerStream{Conn: s}, nil
}

// Release lets the peer open another stream, in place of one that it has closed.
func (c *Conn) Release() {
	if c.watched != nil { // in memory there is no limit: both sides are one program
		c.watched.scan.mayOpen.Add(1)
	}
}

// Write writes frames. After an error it is unknown how much has arrived: the link is dead.
func (c *Conn) Write(b []byte) error {
	for len(b) > 0 {
		n, err := c.Frames.Write(b[:min(len(b), maxWrite)])
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// Explain returns why the connection ended, if that is known, and otherwise err, an error of one of
// its streams. yamux itself returns io.EOF for every reason.
func (c *Conn) Explain(err error) error {
	if c.watched != nil {
		if breach := c.watched.breach.Load(); breach != nil {
			return *breach
		}
	}
	if errors.Is(err, io.EOF) {
		return errors.New("the connection ended")
	}
	return err
}

// SilentFor returns how long no byte has come from the peer.
func (c *Conn) SilentFor(now time.Time) time.Duration { return c.signs.SilentFor(now) }

// Close ends the connection at once. Reads and writes return. It does not wait for the peer.
func (c *Conn) Close() { _ = c.session.Close() }

// longAgo as a deadline ends reads and writes at once.
var longAgo = time.Unix(1, 0)

// DeadlineOn ends reads and writes on conn that wait when ctx ends. The caller calls stop when it
// no longer waits: conn has no deadline then.
func DeadlineOn(ctx context.Context, conn net.Conn) (stop func()) {
	done := make(chan struct{})
	unset := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = conn.SetDeadline(longAgo)
	})
	return func() {
		if !unset() {
			<-done
		}
		_ = conn.SetDeadline(time.Time{})
	}
}
