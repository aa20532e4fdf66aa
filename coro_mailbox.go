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
	"github.com/discoro/discoro/internal/turn"
	"github.com/discoro/discoro/wire"
)

// mailbox holds the messages that a coroutine has not received, in a list of segments. Senders fill the last one, under
// the coroutine's lock; the coroutine takes the first one for its own and empties that without: one lock for many
// messages. An empty mailbox keeps two segments at most.
type mailbox struct {
	first *segment // guarded by the coroutine's mu
	last  *segment // guarded by the coroutine's mu
	out   *segment // owned by the coroutine
	taken uint8    // owned by the coroutine: so many of out's items
	told  uint8    // guarded by the coroutine's mu: so many of these count in got
	high  uint32   // guarded by the coroutine's mu: the most that it held
	in    uint64   // guarded by the coroutine's mu: messages put in
	got   uint64   // guarded by the coroutine's mu: messages taken out, as far as the coroutine has said
}

// segment is a part of a mailbox. It grows to full size, so that what gets few messages stays small.
type segment struct {
	items []any
	next  *segment
}

// segmentItems is the full size of a segment.
const segmentItems = 128

// segments hold empty ones of full size.
var segments = sync.Pool{New: func() any { return &segment{items: make([]any, 0, segmentItems)} }}

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

// lengthLocked returns how many messages there are. While the coroutine runs it may have taken a segment more.
func (m *mailbox) lengthLocked() int { return int(m.in - m.got) }

// tellLocked counts what the coroutine has taken; the coroutine calls it.
func (m *mailbox) tellLocked() {
	m.got += uint64(m.taken) - uint64(m.told) // less than 0 when one was put back
	m.told = m.taken
}

// take removes the first message that the coroutine has to itself.
func (m *mailbox) take() (v any, ok bool) {
	if m.out == nil || int(m.taken) == len(m.out.items) {
		return nil, false
	}
	at := &m.out.items[m.taken]
	v, *at = *at, nil
	m.taken++
	return v, true
}

// untake puts back what take removed last.
func (m *mailbox) untake(v any) {
	m.taken--
	m.out.items[m.taken] = v
}

// refillLocked gives the coroutine, which has taken all that it had, what senders have put first. It reports whether
// there is something.
func (m *mailbox) refillLocked() bool {
	m.tellLocked()
	if m.first == nil || len(m.first.items) == 0 {
		return false
	}
	spare := m.out
	if spare != nil {
		spare.items = spare.items[:0]
	}
	m.out, m.taken, m.told = m.first, 0, 0
	m.first, m.out.next = m.out.next, nil
	switch {
	case m.first == nil:
		m.first, m.last = spare, spare
	case spare != nil && cap(spare.items) == segmentItems:
		segments.Put(spare)
	}
	return true
}

func (rt *Runtime) putMessage(l *link, f *wire.Message) {
	c := rt.coroutine(f.To)
	if c != nil && rt.cfg.MaxMailbox > 0 && c.refuse() {
		return
	}
	if c == nil || c.put(l.ownMessage(f.Body)) != nil {
		rt.stray(l, f, f.To)
	}
}

// encodedMessage is a message from another runtime, until Receive decodes it.
type encodedMessage []byte

// ownMessage is an encodedMessage that nobody else has: what is decoded may refer to it.
type ownMessage struct{ body []byte }

// ownMessages are made so many at a time.
const ownMessages = 32

// ownMessage makes a message for a mailbox. The link's reader calls it.
func (l *link) ownMessage(body []byte) *ownMessage {
	if len(l.messages) == 0 {
		l.messages = make([]ownMessage, ownMessages)
	}
	m := &l.messages[0]
	l.messages = l.messages[1:]
	m.body = body
	return m
}

func (rt *Runtime) putDeliver(l *link, f *wire.Deliver) error {
	c := rt.coroutine(f.To)
	switch {
	case c == nil:
		l.reply(f.Call, rt.noCoro(l, f, f.To))
	case rt.cfg.MaxMailbox == 0:
		l.reply(f.Call, call.Outcome{Err: c.put(l.ownMessage(f.Body))})
	default:
		return rt.putWhenRoom(l, c, f)
	}
	return nil
}

// putWhenRoom puts what is to be delivered into a bounded mailbox, now or when there is room, and then replies.
func (rt *Runtime) putWhenRoom(l *link, c *localCoro, f *wire.Deliver) error {
	var s stopper
	if err := l.serve(f.Call, s.stop); err != nil {
		return l.refuseCall(f.Call, err)
	}
	w := &roomWait{msg: encodedMessage(f.Body), size: len(f.Body)}
	w.to = call.Func(func(out call.Outcome) {
		if l.unserve(f.Call) != nil {
			l.reply(f.Call, out)
		}
	})
	if waits, err := c.putOrWait(w); waits {
		s.set(func() { c.takeBack(w) })
	} else {
		w.to.Finish(call.Outcome{Err: err})
	}
	return nil
}

// open turns what lay in a mailbox into the message.
func (rt *Runtime) open(v any) (any, error) {
	switch v := v.(type) {
	case *ownMessage:
		body := v.body
		v.body = nil // its neighbours may stay for long
		return rt.decodeOwn(body)
	case encodedMessage:
		return rt.decodeMessage(v)
	case *Request:
		if v.remote && v.body != nil {
			msg, err := rt.decodeOwn(v.body)
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

// mailRoom is what waits for room in a mailbox that Config.MaxMailbox bounds, and what was refused. It is guarded by the
// coroutine's mu. Whenever something waits, the mailbox is full: the coroutine moves what waits into the mailbox as it makes
// room, in the order in which it came.
type mailRoom struct {
	waits   []*roomWait
	bytes   int    // of messages from elsewhere that wait
	refused uint64 // messages of other runtimes
}

// roomWait is a message that waits for room.
type roomWait struct {
	msg  any           // immutable
	size int           // immutable: its bytes when it came over a link, else 0
	to   call.Answerer // immutable: told, without an error, when it is in the mailbox
	in   bool          // guarded by the coroutine's mu: it is
}

// maxWaitBytes is how many bytes of messages from elsewhere wait for room in one mailbox, besides the first.
const maxWaitBytes = 4 << 20

// takeAll removes and returns what waits.
func (r *mailRoom) takeAll() []*roomWait {
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

// errFull is the error of what finds no room.
func (l *localCoro) errFull(why error) error {
	return fault.Because(why, "not sent to %v: its mailbox is full (Config.MaxMailbox is %d)", &l.Coro, l.rt.cfg.MaxMailbox)
}

// putOrWait puts w's message into the mailbox. When that is full, w waits until there is room or the coroutine ends, and
// is then told.
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

// takeBack ends w's wait; it reports false when w is told, or about to be.
func (l *localCoro) takeBack(w *roomWait) bool {
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

// admit counts what the coroutine has received, and moves into the mailbox what there is room for.
func (l *localCoro) admit() {
	var in []*roomWait
	l.mu.Lock()
	l.box.tellLocked()
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

// refuse counts and logs a message of another runtime when there is no room for it. Nobody waits for such a message.
func (l *localCoro) refuse() bool {
	l.mu.Lock()
	full := !l.ending && l.fullLocked()
	l.mu.Unlock()
	if !full || l.away.Load() && (l.joining.Load() > 0 || l.rt.channels.bring(l.rt.exported(l))) {
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

// send puts msg into the bounded mailbox, waiting for room at most Config.MsgTimeout.
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

// sendUntil puts msg into the mailbox, waiting for room until ctx ends when it is bounded.
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

// newWait returns a wait for room, and the call that it answers.
func (l *localCoro) newWait(msg any, why string) (*roomWait, *call.Call) {
	k := call.New(why, &l.Coro)
	return &roomWait{msg: msg, to: k}, k
}

// tryPut is putOrWait for a sender of the same runtime, which must not be the coroutine itself: it would wait for ever.
func (l *localCoro) tryPut(w *roomWait) (waits bool, err error) {
	waits, err = l.putOrWait(w)
	if waits && l.g.Load() == turn.GoroutineID() && l.takeBack(w) {
		return false, l.errFull(fmt.Errorf("it sends to itself, and cannot receive meanwhile: %w", ErrRejected))
	}
	return waits, err
}

// awaitRoom waits until w is told, or ctx ends; then it is not sent.
func (l *localCoro) awaitRoom(ctx context.Context, w *roomWait, k *call.Call) error {
	start := time.Now()
	out, err := l.rt.wait(ctx, k)
	if err == nil {
		return out.Err
	}
	if !l.takeBack(w) { // in this moment it was put in, or the coroutine ended
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
