package discoro

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/turn"
	"github.com/discoro/discoro/wire"
)

// mailbox holds the messages that a coroutine has not received, in a list of segments. Senders fill
// the last segment under the coroutine's lock. The coroutine takes the first one for itself and
// empties it without the lock, so it locks once for many messages. An empty mailbox keeps at most
// two segments.
type mailbox struct {
	first   *segment // guarded by localCoro.mu
	last    *segment // guarded by localCoro.mu
	out     *segment // owned by the coroutine: what it took for itself
	taken   uint8    // owned by the coroutine: how many of out's items it has received
	counted uint8    // guarded by localCoro.mu: how many of these got counts
	high    uint32   // guarded by localCoro.mu: the largest number of messages so far
	in      uint64   // guarded by localCoro.mu: messages put in
	got     uint64   // guarded by localCoro.mu: messages received, as far as they are counted
}

// segment is a part of a mailbox. It grows to its full size, so a mailbox of few messages stays
// small.
type segment struct {
	items []any
	next  *segment
}

// segmentItems is the full size of a segment.
const segmentItems = 128

// segments holds empty segments of full size.
var segments = sync.Pool{New: func() any { return &segment{items: make([]any, 0, segmentItems)} }}

// putLocked appends a message.
func (m *mailbox) putLocked(v any) {
	s := m.last
	switch {
	case s == nil:
		s = &segment{}
		m.first, m.last = s, s
	case len(s.items) == segmentItems:
		s = segments.Get().(*segment)
		m.last.next, m.last = s, s
	}
	s.items = append(s.items, v)
	m.in++
	m.high = max(m.high, uint32(m.lengthLocked()))
}

// lengthLocked returns how many messages there are. A coroutine that runs may have received up to a
// segment of them.
func (m *mailbox) lengthLocked() int { return int(m.in - m.got) }

// countLocked counts what the coroutine has received. The coroutine itself calls it.
func (m *mailbox) countLocked() {
	m.got += uint64(m.taken) - uint64(m.counted) // a negative number after untake
	m.counted = m.taken
}

// take removes and returns the first message that the coroutine took for itself.
func (m *mailbox) take() (v any, ok bool) {
	if m.out == nil || int(m.taken) == len(m.out.items) {
		return nil, false
	}
	at := &m.out.items[m.taken]
	v, *at = *at, nil
	m.taken++
	return v, true
}

// untake puts back what take returned last.
func (m *mailbox) untake(v any) {
	m.taken--
	m.out.items[m.taken] = v
}

// refillLocked takes the first segment for the coroutine, which has emptied the one before. It
// reports whether there is a message.
func (m *mailbox) refillLocked() bool {
	m.countLocked()
	if m.first == nil || len(m.first.items) == 0 {
		return false
	}
	spare := m.out
	if spare != nil {
		spare.items = spare.items[:0]
	}
	m.out, m.taken, m.counted = m.first, 0, 0
	m.first, m.out.next = m.out.next, nil
	switch {
	case m.first == nil:
		m.first, m.last = spare, spare
	case spare != nil && cap(spare.items) == segmentItems:
		segments.Put(spare)
	}
	return true
}

// putMessage puts a message from another runtime into its mailbox. One that finds no room is
// refused.
func (rt *Runtime) putMessage(l *link.Link, f *wire.Message) {
	c := rt.coroutine(f.To)
	if c != nil && rt.cfg.MaxMailbox > 0 && c.refuse() {
		return
	}
	if c == nil || c.put(l.NewBody(f.Body)) != nil {
		rt.stray(l, f, f.To)
	}
}

// encodedMessage is a message from another runtime until Receive decodes it. Others may refer to
// its bytes.
type encodedMessage []byte

// putDeliver puts a message that another runtime delivers into its mailbox, and replies when it is
// there.
func (rt *Runtime) putDeliver(l *link.Link, f *wire.Deliver) error {
	c := rt.coroutine(f.To)
	switch {
	case c == nil:
		l.Reply(f.Call, rt.noCoro(l, f, f.To))
	case rt.cfg.MaxMailbox == 0:
		l.Reply(f.Call, call.Outcome{Err: c.put(l.NewBody(f.Body))})
	default:
		return rt.putWhenRoom(l, c, f)
	}
	return nil
}

// putWhenRoom puts a message into a bounded mailbox, now or when there is room, and then replies.
func (rt *Runtime) putWhenRoom(l *link.Link, c *localCoro, f *wire.Deliver) error {
	var s stopper
	if err := l.Serve(f.Call, s.stop); err != nil {
		return l.Refuse(f.Call, err)
	}
	w := &roomWait{msg: encodedMessage(f.Body), size: len(f.Body)}
	w.to = call.Func(func(out call.Outcome) {
		if l.Unserve(f.Call) != nil {
			l.Reply(f.Call, out)
		}
	})
	if waits, err := c.putOrWait(w); waits {
		s.set(func() { c.withdraw(w) })
	} else {
		w.to.Finish(call.Outcome{Err: err})
	}
	return nil
}

// open returns the message for an item of a mailbox, which may be encoded.
func (rt *Runtime) open(v any) (any, error) {
	switch v := v.(type) {
	case *link.Body:
		body := v.Bytes
		v.Bytes = nil // v is kept in memory as long as the others that were made with it
		return rt.decodeSole(body)
	case encodedMessage:
		return rt.decodeMessage(v)
	case *Request:
		if v.remote && v.body != nil {
			msg, err := rt.decodeSole(v.body)
			if err != nil {
				v.fail(err)
				return nil, err
			}
			v.Msg, v.body = msg, nil
		}
		return v, nil
	}
	return v, nil
}

// mailRoom holds the messages that wait for room in a mailbox that Config.MaxMailbox bounds, and
// the count of refused ones. All of it is guarded by localCoro.mu. While anything waits, the
// mailbox is full: the coroutine moves what waits into the mailbox whenever it makes room, in the
// order of arrival.
type mailRoom struct {
	waits   []*roomWait
	bytes   int    // of the waiting messages that came over a link
	refused uint64 // how many messages of other runtimes were refused
}

// roomWait is a message that waits for room.
type roomWait struct {
	msg  any           // immutable
	size int           // immutable: its bytes when it came over a link, else 0
	to   call.Answerer // immutable: finished without an error when msg is in the mailbox
	in   bool          // guarded by localCoro.mu: msg is in the mailbox
}

// maxWaitBytes bounds the bytes of the messages from other runtimes that wait for room in one
// mailbox. One message may exceed it when no other waits.
const maxWaitBytes = 4 << 20

// drain removes and returns all that waits.
func (r *mailRoom) drain() []*roomWait {
	if r == nil {
		return nil
	}
	waits := r.waits
	r.waits, r.bytes = nil, 0
	return waits
}

// fullLocked reports whether the mailbox has no room.
func (l *localCoro) fullLocked() bool { return l.box.lengthLocked() >= l.rt.cfg.MaxMailbox }

func (l *localCoro) roomLocked() *mailRoom {
	if l.room == nil {
		l.room = &mailRoom{}
	}
	return l.room
}

// errFull returns the error for a message that finds no room.
func (l *localCoro) errFull(why error) error {
	return fault.Because(why, "not sent to %v: its mailbox is full (Config.MaxMailbox is %d)",
		&l.Coro, l.rt.cfg.MaxMailbox)
}

// putOrWait puts w's message into the mailbox. When that is full, w waits until there is room or
// the coroutine ends, and w.to is finished then.
func (l *localCoro) putOrWait(w *roomWait) (waits bool, err error) {
	if l.rt.cfg.MaxMailbox == 0 {
		return false, l.put(w.msg)
	}
	l.mu.Lock()
	if l.ending || !l.fullLocked() {
		l.mu.Unlock()
		return false, l.put(w.msg)
	}
	room := l.roomLocked()
	over := w.size > 0 && room.bytes > 0 && room.bytes+w.size > maxWaitBytes
	if !over {
		room.waits = append(room.waits, w)
		room.bytes += w.size
	}
	l.mu.Unlock()
	if over {
		return false, l.errFull(fmt.Errorf("more than %d bytes wait for room already: %w", maxWaitBytes, ErrRejected))
	}
	return true, nil
}

// withdraw ends w's wait. It reports false when w.to is finished, or about to be.
func (l *localCoro) withdraw(w *roomWait) bool {
	if l.rt.cfg.MaxMailbox == 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.room == nil {
		return false
	}
	i := slices.Index(l.room.waits, w)
	if i < 0 {
		return false
	}
	l.room.waits = slices.Delete(l.room.waits, i, i+1)
	l.room.bytes -= w.size
	return true
}

// admit counts what the coroutine has received, and moves what waits into the mailbox as far as
// there is room.
func (l *localCoro) admit() {
	var in []*roomWait
	l.mu.Lock()
	l.box.countLocked()
	if room := l.room; room != nil {
		for len(room.waits) > 0 && !l.fullLocked() {
			w := room.waits[0]
			room.waits[0] = nil
			room.waits = room.waits[1:]
			room.bytes -= w.size
			l.box.putLocked(w.msg)
			w.in = true
			in = append(in, w)
		}
	}
	l.mu.Unlock()
	for _, w := range in {
		w.to.Finish(call.Outcome{})
	}
}

// refuse counts and logs a message of another runtime for which there is no room, and reports
// whether it did. No sender waits for such a message. A message that may come from a channel is
// never refused. Such a message looks like any other, so a coroutine that is subscribed to a
// channel of another runtime takes all messages.
func (l *localCoro) refuse() bool {
	l.mu.Lock()
	full := !l.ending && l.fullLocked()
	l.mu.Unlock()
	if !full || l.away.Load() && (l.joining.Load() > 0 || l.rt.channels.hasMember(l.rt.exported(l))) {
		return false
	}
	l.mu.Lock()
	full = !l.ending && l.fullLocked()
	var refused uint64
	if full {
		room := l.roomLocked()
		room.refused++
		refused = room.refused
	}
	l.mu.Unlock()
	if full {
		l.rt.warnings.Warn(l.rt.log, l.Coro.String(), "a mailbox is full; messages from another runtime are refused: "+
			"receive faster, use Deliver or Ask at the sender, or raise Config.MaxMailbox",
			slog.String("coro", l.Coro.String()), slog.Int("limit", l.rt.cfg.MaxMailbox), slog.Uint64("refused", refused))
	}
	return full
}

// send puts msg into the bounded mailbox. It waits for room for at most Config.MsgTimeout.
func (l *localCoro) send(msg any) error {
	w, k := l.newWait(msg, waitSend)
	waits, err := l.tryPut(w)
	if !waits {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), l.rt.cfg.MsgTimeout, ErrTimeout)
	defer cancel()
	return l.awaitRoom(ctx, w, k)
}

// sendUntil puts msg into the mailbox. It waits for room in a bounded one until ctx ends.
func (l *localCoro) sendUntil(ctx context.Context, msg any, why string) error {
	if l.rt.cfg.MaxMailbox == 0 {
		return l.put(msg)
	}
	w, k := l.newWait(msg, why)
	waits, err := l.tryPut(w)
	if !waits {
		return err
	}
	return l.awaitRoom(ctx, w, k)
}

// newWait returns a wait for room, and the call that it finishes.
func (l *localCoro) newWait(msg any, why string) (*roomWait, *call.Call) {
	k := call.New(why, &l.Coro)
	return &roomWait{msg: msg, to: k}, k
}

// tryPut is putOrWait for a sender of the same runtime. It must not be the coroutine itself, which
// would wait for ever.
func (l *localCoro) tryPut(w *roomWait) (waits bool, err error) {
	waits, err = l.putOrWait(w)
	if waits && l.g.Load() == turn.GoroutineID() && l.withdraw(w) {
		return false, l.errFull(fmt.Errorf("the coroutine sends to itself, and cannot receive meanwhile: %w", ErrRejected))
	}
	return waits, err
}

// awaitRoom waits until w.to is finished, or until ctx ends. In the latter case msg is not sent.
func (l *localCoro) awaitRoom(ctx context.Context, w *roomWait, k *call.Call) error {
	start := time.Now()
	out, err := l.rt.wait(ctx, k)
	if err == nil {
		return out.Err
	}
	if !l.withdraw(w) { // it was put in just now, or the coroutine ended
		l.mu.Lock()
		defer l.mu.Unlock()
		if w.in {
			return nil
		}
		return errEnded(&l.Coro)
	}
	if cause := context.Cause(ctx); errors.Is(cause, ErrTimeout) && errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("and has been for %v: %w", time.Since(start).Round(time.Millisecond), cause)
	}
	return l.errFull(err)
}
