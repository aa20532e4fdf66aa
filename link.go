package discoro

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

// link is what a runtime has to do with one other runtime, from the first frame that is to go there until the
// connection ends; a new connection is a new link. Frames are queued, encoded, from the start; the dial goes on
// meanwhile. The link to oneself hands frames over without encoding them.
type link struct {
	net      *linkNet        // immutable
	id       wire.ID         // immutable: the other runtime
	prev     *link           // immutable: the link to the same runtime before this one, if that has only just ended
	more     chan struct{}   // capacity 1: there is something to write
	ready    chan struct{}   // closed by up, or by fail before that
	ended    chan struct{}   // closed by fail
	told     chan struct{}   // closed by linkNet.wentDown when the host knows of the end
	streams  linkStreams     // that this side has opened
	t        *transport.Conn // immutable once up
	messages []soleMessage   // owned by the reader: to be used

	mu        sync.Mutex // guards following; leaf
	state     linkState
	claim     *claim     // the connection that is being greeted; nil except in linkGreeting
	dials     int        // dials under way that may make it come up
	newer     uint64     // a later greeting of the peer, seen while the link is up
	came      bool       // the host knows that it is up
	loc       Location   // of the other runtime, as announced; where to dial before that is known
	dialled   Location   // where this side reached it, when it did
	peer      wire.Hello // what the other runtime said of itself
	queue     linkQueue  // frames to be written
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
	// maxQueue is how many bytes of small frames, and as many of large ones and what is behind them, wait for a link's
	// writer before senders wait.
	maxQueue = 4 << 20
	// maxAnswers is how many of the largest messages wait beyond that, as answers and as frames of discoro's own, which
	// cannot wait: with more the peer asks and does not read, and the link ends.
	maxAnswers = 4
	// maxServed is how many calls of the other side may wait for their answers; more are refused.
	maxServed = 1 << 17
	// oversizedGrace is how long a peer that has sent a message of too many bytes has to read that.
	oversizedGrace = 2 * time.Second
	// minFrame is what a frame may have at least, however small Config.MaxMessage is: names, errors with their stacks.
	minFrame = 1 << 20
)

// isSelf reports whether l is the runtime's link to itself.
func (l *link) isSelf() bool { return l.id == l.net.cfg.id }

// post sends a frame of discoro's own. It never blocks.
func (l *link) post(f wire.Frame) error { return l.postAs(keyOf(f), f) }

// postAs is post of a frame that keeps its order with those of key.
func (l *link) postAs(key laneKey, f wire.Frame) error {
	if l.isSelf() {
		return l.net.host.frame(l, f)
	}
	buf := frameBuffers.Get().(*[]byte)
	defer putBuffer(buf)
	head, body, err := wire.AppendHead((*buf)[:0], f)
	*buf = head
	if err != nil {
		return err
	}
	return l.enqueue(key, head, body)
}

// tell is post for frames whose loss shows in the link's end.
func (l *link) tell(f wire.Frame) {
	if err := l.post(f); err != nil && !errors.Is(err, ErrDisconnected) {
		l.net.cfg.log.Error("cannot encode a frame", slog.Any("err", err))
	}
}

// enqueue adds an encoded frame to what the writer will write. A peer that lets too much pile up loses the link. body may
// be kept, head is copied.
func (l *link) enqueue(key laneKey, head, body []byte) error {
	limit := maxQueue + maxAnswers*l.net.maxFrame()
	l.mu.Lock()
	if l.state == linkDown {
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
		l.fail(fmt.Errorf("more than %d bytes wait for it to read", limit))
		return l.cause()
	}
	l.queued(len(head) + len(body))
	return nil
}

// queued counts a frame and wakes the writer.
func (l *link) queued(bytes int) {
	l.net.traffic.sent(1, bytes)
	l.wake()
}

// wake wakes the writer.
func (l *link) wake() {
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// offer is enqueue for what can wait. When there is no room, or others wait, it returns a call that is finished when the
// frame's turn comes: turn, the next time.
func (l *link) offer(key laneKey, head, body []byte, turn *call.Call) (wait *call.Call, err error) {
	w := roomWaiter{key: key, size: len(head) + len(body)}
	l.mu.Lock()
	if l.state == linkDown {
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

// offerFrame is post for what can wait; see offer.
func (l *link) offerFrame(f wire.Frame, turn *call.Call) (wait *call.Call, err error) {
	buf := frameBuffers.Get().(*[]byte)
	defer putBuffer(buf)
	head, body, err := wire.AppendHead((*buf)[:0], f)
	*buf = head
	if err != nil {
		return nil, err
	}
	return l.offer(keyOf(f), head, body, turn)
}

// give is offer of a frame in one piece, which the queue takes now, or when its turn comes: then the call is finished that is
// returned. Of a large frame the queue takes own, too; see linkQueue.add.
func (l *link) give(key laneKey, frame []byte, own *[]byte) (wait *call.Call, err error) {
	w := roomWaiter{key: key, size: len(frame), frame: frame, own: own}
	l.mu.Lock()
	if l.state == linkDown {
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

func putBuffer(b *[]byte) {
	if cap(*b) <= 1<<20 {
		frameBuffers.Put(b)
	}
}

// send encodes a message for the peer's coroutine with that key and queues it, waiting for room when there is none.
// encode appends the message to what it gets.
func (l *link) send(to uint64, encode func(dst []byte) ([]byte, error)) error {
	buf := frameBuffers.Get().(*[]byte)
	b, err := wire.AppendMessage((*buf)[:0], to, encode)
	*buf = b
	if err != nil {
		putBuffer(buf)
		return err
	}
	key, large := laneKey{kind: laneCoro, num: to}, len(b) >= largeFrame
	wait, err := l.give(key, b, buf)
	if err == nil && wait != nil {
		err = l.awaitGiven(wait)
	}
	if err != nil || !large { // the queue has none of it
		putBuffer(buf)
	}
	return err
}

// awaitGiven waits until the queue has taken what was given, at most MsgTimeout. With an error it has not, and will not.
func (l *link) awaitGiven(wait *call.Call) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), l.net.cfg.msgTimeout, ErrTimeout)
	defer cancel()
	out, err := l.net.host.wait(ctx, wait)
	switch {
	case err == nil:
		return out.Err
	case !l.dropRoom(wait):
		if out, ok := wait.Result(); ok {
			return out.Err
		}
		return nil // it has just been taken
	}
	return l.errFull(ctx, err)
}

// errFull is the error of a wait for room that ctx has ended with err.
func (l *link) errFull(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, ErrTimeout) {
		return fmt.Errorf("the link's queue has been full for %v: %w", l.net.cfg.msgTimeout, cause)
	}
	return err
}

// waitRoom waits while there is no room for f, or others wait, until ctx ends.
func (l *link) waitRoom(ctx context.Context, f wire.Frame) error {
	w := roomWaiter{key: keyOf(f), size: wire.BodySize(f)}
	var turn *call.Call
	for {
		l.mu.Lock()
		if l.state == linkDown {
			defer l.mu.Unlock()
			return l.err
		}
		turn = l.room.admit(&l.queue, w, turn)
		l.mu.Unlock()
		if turn == nil {
			l.takeTurns() // whether the caller uses its turn is not known
			return nil
		}
		if _, err := l.net.host.wait(ctx, turn); err != nil {
			l.dropRoom(turn)
			return l.errFull(ctx, err)
		}
	}
}

// dropRoom takes back the wait for room, or the turn when it has come; it reports false when there is neither. Those behind may
// go on.
func (l *link) dropRoom(k *call.Call) bool {
	l.mu.Lock()
	dropped := l.room.drop(k)
	l.mu.Unlock()
	l.takeTurns()
	return dropped
}

// takeTurns lets those go on for whom there is room.
func (l *link) takeTurns() {
	l.mu.Lock()
	turns, sent := l.room.next(&l.queue)
	l.mu.Unlock()
	l.tellTurns(turns, sent)
}

// tellTurns tells senders that their turn has come.
func (l *link) tellTurns(turns []*call.Call, sent sentFrames) {
	for _, k := range turns {
		k.Finish(call.Outcome{})
	}
	if sent.frames > 0 {
		l.net.traffic.sent(sent.frames, sent.bytes)
		l.wake()
	}
}

// location returns where the other runtime is.
func (l *link) location() Location {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.loc
}

// leadsTo reports whether the link is up and reaches what is at loc.
func (l *link) leadsTo(loc Location) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state == linkUp && (l.loc == loc || l.dialled == loc)
}

// cause returns why the link ended, nil while it has not.
func (l *link) cause() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// isUp reports whether the link is connected, and what the other side said of itself.
func (l *link) isUp() (wire.Hello, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peer, l.state == linkUp
}

// write owns the write half. It ends with the link.
func (l *link) write() {
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
func (l *link) writeSome() bool {
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
			l.fail(fmt.Errorf("write: %w", l.t.Explain(err)))
			return false
		}
		out[i].free()
		l.net.traffic.wrote()
	}
	clear(out)
	l.mu.Lock()
	if l.state == linkUp {
		l.spare = out[:0]
	}
	l.mu.Unlock()
	return more
}

// read owns the read half: it finds the owner of each frame, hands it over, and never waits. It ends with the link.
func (l *link) read() {
	r := wire.NewReader(l.t.Frames, l.net.maxFrame())
	for {
		f, size, err := r.Next()
		if err == nil {
			l.net.traffic.received(size)
			if bye, ok := f.(*wire.Bye); ok {
				l.fail(fmt.Errorf("the peer closed it: %s", printable(bye.Reason)))
				return
			}
			err = l.net.host.frame(l, f)
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
func (l *link) sayOversized(err error) {
	var e *wire.OversizedError
	if !errors.As(err, &e) {
		return
	}
	reason := fmt.Sprintf("a message, argument or result has %d bytes, and its Config.MaxMessage is %d", e.Size, l.net.cfg.maxMessage)
	if l.post(&wire.Bye{Reason: reason}) != nil {
		return
	}
	_ = l.t.Frames.SetReadDeadline(time.Now().Add(oversizedGrace))
	_, _ = io.Copy(io.Discard, l.t.Frames)
}

// broken ends the link after an error of its connection, or a breach of the protocol.
func (l *link) broken(err error) {
	err = l.t.Explain(err)
	if isBreach(err) {
		l.net.cfg.warnings.Warn(l.net.cfg.log, l.location().Addr, "a peer broke the protocol; the link is closed",
			slog.String("peer", l.location().String()), slog.Any("err", err))
	}
	l.fail(err)
}

// isBreach reports whether err is what a peer did that no peer of ours does.
func isBreach(err error) bool {
	return errors.Is(err, wire.ErrMalformed) || errors.Is(err, errCallTwice) || transport.IsBreach(err)
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

// bye closes the link in order: what is queued is written, the peer reads it all and closes its side. It waits for that
// at most until ctx ends.
func (l *link) bye(ctx context.Context, reason string) {
	_, up := l.isUp()
	if up && l.post(&wire.Bye{Reason: reason}) == nil {
		select {
		case <-l.ended:
		case <-ctx.Done():
		}
	}
	l.fail(errors.New(reason))
}
