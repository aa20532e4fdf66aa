package discoro

import (
	"sync"

	"github.com/discoro/discoro/internal/call"
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
