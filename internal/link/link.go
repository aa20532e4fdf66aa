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
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/transport"
	"github.com/discoro/discoro/wire"
)

// Link is what a runtime has to do with one other runtime, from the first frame that is to go there until the
// connection ends; a new connection is a new link. Frames are queued, encoded, from the start; the dial goes on
// meanwhile. The link to oneself hands frames over without encoding them.
type Link struct {
	net     *Net            // immutable
	ID      wire.ID         // immutable: the other runtime
	prev    *Link           // immutable: the link to the same runtime before this one, if that has only just ended
	more    chan struct{}   // capacity 1: there is something to write
	ready   chan struct{}   // closed by up, or by fail before that
	ended   chan struct{}   // closed by fail
	told    chan struct{}   // closed by linkNet.wentDown when the host knows of the end
	streams ownStreams      // that this side has opened
	t       *transport.Conn // immutable once up
	bodies  []Body          // owned by the reader: for newBody

	mu        sync.Mutex // guards following; leaf
	state     state
	claim     *claim     // the connection that is being greeted; nil except in linkGreeting
	dials     int        // dials under way that may make it come up
	newer     uint64     // a later greeting of the peer, seen while the link is up
	came      bool       // the host knows that it is up
	loc       Location   // of the other runtime, as announced; where to dial before that is known
	dialled   Location   // where this side reached it, when it did
	peer      wire.Hello // what the other runtime said of itself
	queue     queue      // frames to be written
	spare     []chunk    // empty, for queue
	room      roomCalls  // senders that wait for room in queue
	calls     map[uint64]call.Answerer
	nextCall  uint64
	served    map[uint64]func() // calls of the other side that wait here, and how to stop waiting
	lastSent  time.Time
	announced time.Duration // how often the peer was told that this side pulses
	suspect   bool          // it has been silent for too long, at the last look
	heard     time.Time     // when it was heard last, or later by as long as this process has stood still since
	err       error         // why it ended
}

// Bounds of what a link holds.
const (
	// MaxQueue is how many bytes of small frames, and as many of large ones and what is behind them, wait for a link's
	// writer before senders wait.
	MaxQueue = 4 << 20
	// MaxAnswers is how many of the largest messages wait beyond that, as answers and as frames of discoro's own, which
	// cannot wait: with more the peer asks and does not read, and the link ends.
	MaxAnswers = 4
	// MaxServed is how many calls of the other side may wait for their answers; more are refused.
	MaxServed = 1 << 17
	// oversizedGrace is how long a peer that has sent a message of too many bytes has to read that.
	oversizedGrace = 2 * time.Second
	// minFrame is what a frame may have at least, however small Config.MaxMessage is: names, errors with their stacks.
	minFrame = 1 << 20
)

// Ready returns a channel that is closed when the link is up, or has ended before that.
func (l *Link) Ready() <-chan struct{} { return l.ready }

// Ended returns a channel that is closed when the link has ended.
func (l *Link) Ended() <-chan struct{} { return l.ended }

// Conn returns the connection, once the link is up.
func (l *Link) Conn() *transport.Conn { return l.t }

// IsSelf reports whether l is the runtime's link to itself.
func (l *Link) IsSelf() bool { return l.ID == l.net.cfg.ID }

// Post sends a frame of discoro's own. It never blocks.
func (l *Link) Post(f wire.Frame) error { return l.postAs(keyOf(f), f) }

// postAs is post of a frame that keeps its order with those of key.
func (l *Link) postAs(key laneKey, f wire.Frame) error {
	if l.IsSelf() {
		return l.net.host.Frame(l, f)
	}
	buf := frameBuffers.Get().(*[]byte)
	defer PutBuffer(buf)
	head, body, err := wire.AppendHead((*buf)[:0], f)
	*buf = head
	if err != nil {
		return err
	}
	return l.enqueue(key, head, body)
}

// Tell is post for frames whose loss shows in the link's end.
func (l *Link) Tell(f wire.Frame) {
	if err := l.Post(f); err != nil && !errors.Is(err, fault.Disconnected) {
		l.net.cfg.Log.Error("cannot encode a frame", slog.Any("err", err))
	}
}

// enqueue adds an encoded frame to what the writer will write. A peer that lets too much pile up loses the link. body may
// be kept, head is copied.
func (l *Link) enqueue(key laneKey, head, body []byte) error {
	limit := MaxQueue + MaxAnswers*l.net.MaxFrame()
	l.mu.Lock()
	if l.state == stateDown {
		err := l.err
		l.mu.Unlock()
		return err
	}
	over := l.queue.size()+len(head)+len(body) > limit
	if !over {
		l.queue.add(key, head, body, nil)
	}
	l.mu.Unlock()
	if over {
		l.Fail(fmt.Errorf("more than %d bytes wait for it to read", limit))
		return l.Cause()
	}
	l.queued(len(head) + len(body))
	return nil
}

// queued counts a frame and wakes the writer.
func (l *Link) queued(bytes int) {
	l.net.traffic.sent(1, bytes)
	l.wake()
}

// wake wakes the writer.
func (l *Link) wake() {
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// offer is enqueue for what can wait. When there is no room, or others wait, it returns a call that is finished when the
// frame's turn comes: turn, the next time.
func (l *Link) offer(key laneKey, head, body []byte, turn *call.Call) (wait *call.Call, err error) {
	w := roomWaiter{key: key, size: len(head) + len(body)}
	l.mu.Lock()
	if l.state == stateDown {
		err = l.err
	} else if wait = l.room.admit(&l.queue, w, turn); wait == nil {
		l.queue.add(key, head, body, nil)
	}
	l.mu.Unlock()
	if wait == nil && err == nil {
		l.queued(w.size)
	}
	return wait, err
}

// Offer is post for what can wait; see offer.
func (l *Link) Offer(f wire.Frame, turn *call.Call) (wait *call.Call, err error) {
	buf := frameBuffers.Get().(*[]byte)
	defer PutBuffer(buf)
	head, body, err := wire.AppendHead((*buf)[:0], f)
	*buf = head
	if err != nil {
		return nil, err
	}
	return l.offer(keyOf(f), head, body, turn)
}

// give is offer of a frame in one piece, which the queue takes now, or when its turn comes: then the call is finished that is
// returned. Of a large frame the queue takes own, too; see linkQueue.add.
func (l *Link) give(key laneKey, frame []byte, own *[]byte) (wait *call.Call, err error) {
	w := roomWaiter{key: key, size: len(frame), frame: frame, own: own}
	l.mu.Lock()
	if l.state == stateDown {
		err = l.err
	} else if wait = l.room.admit(&l.queue, w, nil); wait == nil {
		l.queue.add(key, nil, frame, own)
	}
	l.mu.Unlock()
	if wait == nil && err == nil {
		l.queued(w.size)
	}
	return wait, err
}

// frameBuffers hold frames between encoding and queueing.
var frameBuffers = sync.Pool{New: func() any { return new([]byte) }}

// GetBuffer returns an empty buffer for encoding, which goes back with PutBuffer.
func GetBuffer() *[]byte { return frameBuffers.Get().(*[]byte) }

// PutBuffer takes back a buffer that nobody uses any more.
func PutBuffer(b *[]byte) {
	if cap(*b) <= 1<<20 {
		frameBuffers.Put(b)
	}
}

// Send encodes a message for the peer's coroutine with that key and queues it, waiting for room when there is none.
// encode appends the message to what it gets.
func (l *Link) Send(to uint64, encode func(dst []byte) ([]byte, error)) error {
	buf := frameBuffers.Get().(*[]byte)
	b, err := wire.AppendMessage((*buf)[:0], to, encode)
	*buf = b
	if err != nil {
		PutBuffer(buf)
		return err
	}
	key, large := laneKey{kind: laneCoro, num: to}, len(b) >= LargeFrame
	wait, err := l.give(key, b, buf)
	if err == nil && wait != nil {
		err = l.awaitGiven(wait)
	}
	if err != nil || !large { // the queue has none of it
		PutBuffer(buf)
	}
	return err
}

// awaitGiven waits until the queue has taken what was given, at most MsgTimeout. With an error it has not, and will not.
func (l *Link) awaitGiven(wait *call.Call) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), l.net.cfg.MsgTimeout, fault.Timeout)
	defer cancel()
	out, err := l.net.host.Wait(ctx, wait)
	switch {
	case err == nil:
		return out.Err
	case !l.DropRoom(wait):
		if out, ok := wait.Result(); ok {
			return out.Err
		}
		return nil // it has just been taken
	}
	return l.errFull(ctx, err)
}

// errFull is the error of a wait for room that ctx has ended with err.
func (l *Link) errFull(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, fault.Timeout) {
		return fmt.Errorf("the link's queue has been full for %v: %w", l.net.cfg.MsgTimeout, cause)
	}
	return err
}

// WaitRoom waits while there is no room for f, or others wait, until ctx ends.
func (l *Link) WaitRoom(ctx context.Context, f wire.Frame) error {
	w := roomWaiter{key: keyOf(f), size: wire.BodySize(f)}
	var turn *call.Call
	for {
		l.mu.Lock()
		if l.state == stateDown {
			defer l.mu.Unlock()
			return l.err
		}
		turn = l.room.admit(&l.queue, w, turn)
		l.mu.Unlock()
		if turn == nil {
			l.takeTurns() // whether the caller uses its turn is not known
			return nil
		}
		if _, err := l.net.host.Wait(ctx, turn); err != nil {
			l.DropRoom(turn)
			return l.errFull(ctx, err)
		}
	}
}

// DropRoom takes back the wait for room, or the turn when it has come; it reports false when there is neither. Those behind may
// go on.
func (l *Link) DropRoom(k *call.Call) bool {
	l.mu.Lock()
	dropped := l.room.drop(k)
	l.mu.Unlock()
	l.takeTurns()
	return dropped
}

// takeTurns lets those go on for whom there is room.
func (l *Link) takeTurns() {
	l.mu.Lock()
	turns, sent := l.room.next(&l.queue)
	l.mu.Unlock()
	l.tellTurns(turns, sent)
}

// tellTurns tells senders that their turn has come.
func (l *Link) tellTurns(turns []*call.Call, sent sentFrames) {
	for _, k := range turns {
		k.Finish(call.Outcome{})
	}
	if sent.frames > 0 {
		l.net.traffic.sent(sent.frames, sent.bytes)
		l.wake()
	}
}

// Location returns where the other runtime is.
func (l *Link) Location() Location {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.loc
}

// leadsTo reports whether the link is up and reaches what is at loc.
func (l *Link) leadsTo(loc Location) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state == stateUp && (l.loc == loc || l.dialled == loc)
}

// Cause returns why the link ended, nil while it has not.
func (l *Link) Cause() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Peer reports whether the link is connected, and what the other side said of itself.
func (l *Link) Peer() (wire.Hello, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peer, l.state == stateUp
}

// Load is what a link holds.
type Load struct {
	Queued  int // bytes of frames that wait to be written
	Chunks  int // buffers for them, in use or kept
	Waiting int // senders that wait for room in the queue
	Calls   int // calls of this side that are not answered yet
	Served  int // calls of the other side that are not answered yet
	Streams int // streams that this side has opened
	Sending int // of these, how many send a file at the moment
}

// Load returns what the link holds.
func (l *Link) Load() Load {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Load{
		Queued: l.queue.size(), Chunks: len(l.queue.small) + len(l.spare), Waiting: l.room.waiting(),
		Calls: len(l.calls), Served: len(l.served), Streams: len(l.streams.open), Sending: int(l.streams.sending.Load()),
	}
}

// IsUp reports whether the link is connected.
func (l *Link) IsUp() bool { return l.stateNow() == stateUp }

// write owns the write half. It ends with the link.
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

// writeSome writes what waits, of large frames one part; it reports whether there is more.
func (l *Link) writeSome() bool {
	l.mu.Lock()
	out, p := l.queue.take(l.spare)
	l.spare = nil
	turns, sent := l.room.next(&l.queue)
	l.lastSent = time.Now()
	more := l.queue.size() > 0
	l.mu.Unlock()
	l.tellTurns(turns, sent)
	if p.size() > 0 {
		out = append(out, p.chunk())
	}
	for i := range out {
		if err := l.t.Write(out[i].b); err != nil {
			l.Fail(fmt.Errorf("write: %w", l.t.Explain(err)))
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

// read owns the read half: it finds the owner of each frame, hands it over, and never waits. It ends with the link.
func (l *Link) read() {
	r := wire.NewReader(l.t.Frames, l.net.MaxFrame())
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
			l.sayOversized(err)
			l.broken(err)
			return
		}
	}
}

// sayOversized tells the peer why the link is about to end where err is the one breach that our own peers make, when Config.MaxMessage
// differs. What the peer still sends is dropped until it has read that, and has closed the connection: what nobody reads would have the
// connection reset, and the word lost.
func (l *Link) sayOversized(err error) {
	var e *wire.OversizedError
	if !errors.As(err, &e) {
		return
	}
	reason := fmt.Sprintf("a message, argument or result has %d bytes, and its Config.MaxMessage is %d", e.Size, l.net.cfg.MaxMessage)
	if l.Post(&wire.Bye{Reason: reason}) != nil {
		return
	}
	_ = l.t.Frames.SetReadDeadline(time.Now().Add(oversizedGrace))
	_, _ = io.Copy(io.Discard, l.t.Frames)
}

// broken ends the link after an error of its connection, or a breach of the protocol.
func (l *Link) broken(err error) {
	err = l.t.Explain(err)
	if isBreach(err) {
		l.net.cfg.Warnings.Warn(l.net.cfg.Log, l.Location().Addr, "a peer broke the protocol; the link is closed",
			slog.String("peer", l.Location().String()), slog.Any("err", err))
	}
	l.Fail(err)
}

// isBreach reports whether err is what a peer did that no peer of ours does.
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

// Bye closes the link in order: what is queued is written, the peer reads it all and closes its side. It waits for that
// at most until ctx ends.
func (l *Link) Bye(ctx context.Context, reason string) {
	_, up := l.Peer()
	if up && l.Post(&wire.Bye{Reason: reason}) == nil {
		select {
		case <-l.ended:
		case <-ctx.Done():
		}
	}
	l.Fail(errors.New(reason))
}
