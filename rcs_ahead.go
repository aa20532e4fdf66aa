package discoro

import (
	"slices"
	"time"

	"github.com/discoro/discoro/wire"
)

// Sending ahead. A server that is told of its next item only when the client has heard of the end of the last idles for a round
// trip between the two. So where items are short, more of them are sent to a server than the one that it runs: they wait there for
// their turn, a few, and are taken back when the one before them turns out to be long. When the server is lost nobody knows
// which of them had begun; therefore none is sent ahead unless RCSConfig.Retries lets items run again.

const (
	// maxAhead is how many items wait at a server at most.
	maxAhead = 15
	// shortItem is how long an item of those runs at most behind which others are sent.
	shortItem = time.Millisecond
	// longItem is for how long an item runs until what waits behind it is taken back.
	longItem = 5 * time.Millisecond
)

// mapLine is what one server has of a mapping: the first item runs, or is about to, the others wait behind it.
type mapLine[R any] struct {
	items  []*item[R]
	ahead  int        // how many may wait
	listed bool       // in the mapping's room
	last   *item[R]   // was the first when the server was lost: the only one that is known to have run then
	behind []*item[R] // waited behind that one
}

// enter books that an item is sent to a server.
func (m *mapping[A, R]) enter(sv *rcsServer, it *item[R]) {
	l := m.lines[sv]
	if l == nil {
		l = &mapLine[R]{}
		m.lines[sv] = l
	}
	if len(l.items) == 0 {
		m.busy++
	}
	l.items = append(l.items, it)
	it.at, it.line, it.back, it.took = sv, l, false, longItem
	m.sent[it.index] = it
}

// exit books that an item has ended at its server, or is lost with it; it reports false when it had not begun there.
func (m *mapping[A, R]) exit(it *item[R], lost bool) (begun bool) {
	delete(m.sent, it.index)
	l := it.line
	if lost && l.last == nil {
		l.last, l.behind = l.items[0], slices.Clone(l.items[1:])
	}
	first := l.items[0] == it
	l.items = slices.DeleteFunc(l.items, func(o *item[R]) bool { return o == it })
	if len(l.items) == 0 {
		m.busy--
	}
	if !lost { // it has ended, or was taken back
		l.behind = slices.DeleteFunc(l.behind, func(o *item[R]) bool { return o == it })
	}
	switch {
	case lost:
		delete(m.lines, it.at)
		return l.last == it
	case l.last == it: // word of its end came behind that of the loss: so the next one may have run
		m.nextLost(l)
	case first && it.took < shortItem && m.s.cfg.Retries > 0:
		l.ahead = min(2*l.ahead+1, maxAhead)
		m.list(it.at, l)
	case first:
		l.ahead = 0
	}
	return true
}

// nextLost has the item behind the one that ran last at a server that is lost be that one, as that has ended before.
func (m *mapping[A, R]) nextLost(l *mapLine[R]) {
	l.last = nil
	if len(l.behind) == 0 {
		return
	}
	l.last, l.behind = l.behind[0], l.behind[1:]
	if !slices.Contains(l.items, l.last) { // it is booked as lost, and as not begun
		l.last.attempts++
	}
}

// list notes that a line may have room.
func (m *mapping[A, R]) list(sv *rcsServer, l *mapLine[R]) {
	if !l.listed {
		l.listed = true
		m.room = append(m.room, sv)
	}
}

// ahead returns a server of this mapping where one more item may wait; nil when there is none.
func (m *mapping[A, R]) ahead() *rcsServer {
	own := m.claim.waits()
	for n := len(m.room); n > 0; n = len(m.room) {
		sv := m.room[n-1]
		l := m.lines[sv]
		if l != nil && len(l.items) > 0 && len(l.items) <= l.ahead && !l.items[0].alone && m.s.pool.extend(sv, own) {
			return sv
		}
		m.room = m.room[:n-1]
		if l != nil {
			l.listed = false
		}
	}
	return nil
}

// watchLong has a tick come while items wait behind others.
func (m *mapping[A, R]) watchLong() {
	if m.timer == nil && len(m.sent) > m.busy {
		m.timer = time.AfterFunc(longItem, func() { m.events.put(mapEvent[R]{tick: true}) })
	}
}

// takeLongBack takes back what waits behind an item that runs for long.
func (m *mapping[A, R]) takeLongBack() {
	m.timer = nil
	now := time.Now()
	for _, l := range m.lines {
		if len(l.items) < 2 {
			continue
		}
		if begun := l.items[0].job.begunAt(); begun.IsZero() || now.Sub(begun) < longItem {
			continue
		}
		l.ahead = 0
		for _, it := range l.items[1:] {
			m.takeBack(it)
		}
	}
}

// takeBack asks for an item that waits at a server, which ends, then, unless it has just begun.
func (m *mapping[A, R]) takeBack(it *item[R]) {
	if !it.back && it.job != nil {
		it.back = true
		m.s.comp.scheduler().tell(&wire.Unrun{Token: m.s.comp.token, Job: it.job.id})
	}
}
