package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/transport"
	"github.com/discoro/discoro/wire"
)

// Link is the link to one other runtime. It begins with the first frame for that runtime, before
// there is a connection, and ends with its connection; the next connection belongs to a new Link.
// Frames are encoded and queued from the start, while the dial is under way. The link of a runtime to
// itself has no connection: it hands frames over without encoding them.
type Link struct {
	ID wire.ID // immutable: the other runtime

	net      *Net            // immutable
	prev     *Link           // immutable: the link to the same runtime before this one, if that has only just ended
	more     chan struct{}   // capacity 1: there is something to write
	ready    chan struct{}   // closed by up, or by failWhen when the link ends before that
	ended    chan struct{}   // closed by failWhen
	notified chan struct{}   // closed by Net.wentDown when the host has been notified of the end
	streams  ownStreams      // that this side has opened
	conn     *transport.Conn // immutable once up
	bodies   []Body          // owned by the reader: spare boxes for NewBody

	mu        sync.Mutex // guards following; leaf
	state     state
	claim     *claim     // the connection that is being greeted; nil except in stateGreeting
	dials     int        // dials under way that may bring the link up
	newer     uint64     // the epoch of a later greeting of the peer that came while the link is up
	came      bool       // the host has been notified that the link is up
	loc       Location   // that the other runtime announces; before that is known, where to dial
	dialled   Location   // where this side has reached it, if it has dialled
	peer      wire.Hello // the other runtime's greeting
	queue     queue      // frames for the writer
	spare     []chunk    // empty, for queue
	room      roomCalls  // senders that wait for room in queue
	calls     map[uint64]call.Answerer
	nextCall  uint64
	served    map[uint64]func() // calls of the other side that wait here, and how to stop waiting
	lastSent  time.Time
	announced time.Duration // the interval of this side's pulses that the peer knows
	suspect   bool          // at the last look the peer had been silent for too long
	heard     time.Time     // when the peer was last heard, plus the time that this process has stood still since
	err       error         // why the link has ended
}

// Bounds of what a link holds.
const (
	// MaxQueue is how many bytes of small frames may wait for the writer before senders wait, and how many
	// bytes of large frames together with the frames behind them.
	MaxQueue = 4 << 20
	// MaxAnswers is how many of the largest messages may wait beyond MaxQueue as answers and other
	// frames that never wait for room. If more waits, the peer sends questions and does not read
	// the answers: its link ends.
	MaxAnswers = 4
	// MaxServed is how many calls of the other side may wait for their answers. More are refused.
	MaxServed = 1 << 17
	// oversizedGrace is how long a peer that has sent too large a message has to read why its link ends.
	oversizedGrace = 2 * time.Second
	// minFrame is the least limit of a frame's size, however small Config.MaxMessage is: names and errors
	// with their stacks must fit.
	minFrame = 1 << 20
)

func (n *Net) newLink(id wire.ID, loc Location, state state) *Link {
	return &Link{
		net: n, ID: id, loc: loc, state: state,
		more: make(chan struct{}, 1), ready: make(chan struct{}), ended: make(chan struct{}), notified: make(chan struct{}),
		calls: map[uint64]call.Answerer{}, served: map[uint64]func(){}, streams: newOwnStreams(),
	}
}

// IsSelf reports whether l is the runtime's link to itself.
func (l *Link) IsSelf() bool { return l.ID == l.net.cfg.ID }

// Ready returns a channel that is closed when the link is up, or has ended before that.
func (l *Link) Ready() <-chan struct{} { return l.ready }

// Ended returns a channel that is closed when the link has ended.
func (l *Link) Ended() <-chan struct{} { return l.ended }

// Cause returns why the link has ended, nil while it has not.
func (l *Link) Cause() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// IsUp reports whether the link is connected.
func (l *Link) IsUp() bool { return l.stateNow() == stateUp }

// Peer returns the other runtime's greeting, and whether the link is connected.
func (l *Link) Peer() (wire.Hello, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peer, l.state == stateUp
}

// Location returns where the other runtime is: where it announces to be, or before that is known
// where it is dialled.
func (l *Link) Location() Location {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.loc
}

// leadsTo reports whether the link is up and reaches the runtime at loc.
func (l *Link) leadsTo(loc Location) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state == stateUp && (l.loc == loc || l.dialled == loc)
}

// Conn returns the connection. The link must be up, or have been.
func (l *Link) Conn() *transport.Conn { return l.conn }

// Load counts what a link holds.
type Load struct {
	Queued  int // bytes of frames that wait to be written
	Chunks  int // buffers for them, in use or kept
	Waiting int // senders that wait for room in the queue
	Calls   int // calls of this side that are not answered yet
	Served  int // calls of the other side that are not answered yet
	Streams int // streams that this side has opened
	Sending int // how many of these send a file at the moment
}

// Load returns what the link holds.
func (l *Link) Load() Load {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Load{
		Queued: l.queue.size(), Chunks: len(l.queue.small) + len(l.spare), Waiting: l.room.waiting(),
		Calls: len(l.calls), Served: len(l.served),
		Streams: len(l.streams.open), Sending: int(l.streams.sending.Load()),
	}
}

// Bye closes the link in order: what is queued is written, then the peer reads all of it and closes
// its side. Bye waits for that until ctx ends, and then ends the link anyway.
func (l *Link) Bye(ctx context.Context, reason string) {
	if l.IsUp() && l.Post(&wire.Bye{Reason: reason}) == nil {
		select {
		case <-l.ended:
		case <-ctx.Done():
		}
	}
	l.Fail(errors.New(reason))
}

// write owns the write half of the connection. It ends with the link.
func (l *Link) write() {
	for {
		select {
		case <-l.more:
		case <-l.ended:
			return
		}
		for l.writeSome() {
		}
	}
}

// writeSome writes the small frames that wait, and a piece of a large one. It reports whether more
// waits.
func (l *Link) writeSome() bool {
	l.mu.Lock()
	out, p := l.queue.take(l.spare)
	l.spare = nil
	next, sent := l.room.next(&l.queue)
	l.lastSent = time.Now()
	more := l.queue.size() > 0
	l.mu.Unlock()
	l.wakeSenders(next, sent)
	if p.size() > 0 {
		out = append(out, p.chunk())
	}
	for i := range out {
		if err := l.conn.Write(out[i].b); err != nil {
			l.Fail(fmt.Errorf("write: %w", l.conn.Explain(err)))
			return false
		}
		out[i].free()
		l.net.traffic.wrote()
	}
	clear(out)
	l.mu.Lock()
	if l.state == stateUp {
		l.spare = out[:0]
	}
	l.mu.Unlock()
	return more
}

// read owns the read half of the connection. It hands each frame to the host, which does not wait, and
// ends with the link.
func (l *Link) read() {
	r := wire.NewReader(l.conn.Frames, l.net.MaxFrame())
	for {
		f, size, err := r.Next()
		if err == nil {
			l.net.traffic.received(size)
			if bye, ok := f.(*wire.Bye); ok {
				l.Fail(fmt.Errorf("the peer closed it: %s", printable(bye.Reason)))
				return
			}
			err = l.net.host.Frame(l, f)
		}
		if err != nil {
			l.explainOversized(err)
			l.broken(err)
			return
		}
	}
}

// explainOversized sends the peer the reason why the link is about to end, if that is a message of
// more than Config.MaxMessage bytes: the one breach of the protocol that a correct peer commits,
// when its limit is larger. What the peer still sends is discarded until it has read the reason and
// closed the connection. Unread bytes would reset the connection, and the reason would be lost.
func (l *Link) explainOversized(err error) {
	var e *wire.OversizedError
	if !errors.As(err, &e) {
		return
	}
	reason := fmt.Sprintf("a message, argument or result has %d bytes, and its Config.MaxMessage is %d",
		e.Size, l.net.cfg.MaxMessage)
	if l.Post(&wire.Bye{Reason: reason}) != nil {
		return
	}
	_ = l.conn.Frames.SetReadDeadline(time.Now().Add(oversizedGrace))
	_, _ = io.Copy(io.Discard, l.conn.Frames)
}

// broken ends the link after an error of its connection or a breach of the protocol. A breach is
// logged.
func (l *Link) broken(err error) {
	err = l.conn.Explain(err)
	if isBreach(err) {
		at := l.Location()
		l.net.cfg.Warnings.Warn(l.net.cfg.Log, at.Addr, "a peer broke the protocol; the link is closed",
			slog.String("peer", at.String()), slog.Any("err", err))
	}
	l.Fail(err)
}

// isBreach reports whether err is something that a correct peer never causes.
func isBreach(err error) bool {
	return errors.Is(err, wire.ErrMalformed) || errors.Is(err, ErrCallTwice) || transport.IsBreach(err)
}

// printable makes a peer's text fit for a line of a log.
func printable(s string) string {
	const most = 256
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}
