package discoro

import "sync"

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
