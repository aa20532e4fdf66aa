package discoro

import (
	"slices"
	"time"

	"github.com/discoro/discoro/wire"
)

// Sending ahead. A server that receives its next item only when the client knows the end of the
// last one is idle for a round trip between the two, which is three quarters of the time of a map
// with trivial items. So when items are short, the client sends a server more items than the one
// that runs. They wait there, and are taken back when the one before them turns out to be long.
//
// When the server is lost, the client cannot know which of them had begun, because the server's
// last frames may be lost, too. Therefore items are sent ahead only where RCSConfig.Retries lets
// them run again. The oldest one then counts the attempt, and all of them run again. Nothing is
// ever sent behind one of these: an item that ends its server a second time is alone there.

const (
	// maxAhead is how many items may wait at a server.
	maxAhead = 15
	// shortItem is how long an item may run for others to be sent behind the next one.
	shortItem = time.Millisecond
	// longItem is how long an item runs before the items that wait behind it are taken back.
	longItem = 5 * time.Millisecond
)

// mapLine holds the items of a mapping at one server. The first item runs, or is about to run; the
// others wait behind it.
type mapLine[R any] struct {
	items  []*item[R]
	ahead  int        // how many may wait
	listed bool       // it is in the mapping's room
	last   *item[R]   // the first when the server was lost: the only one that is known to have run then
	behind []*item[R] // those that waited behind last
}

// enter records that an item is sent to a server.
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

// exit records that an item has ended at its server, or is lost with it. It reports false when the
// item had not begun there.
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
	case l.last == it: // its end came behind the loss of the server: so the next one may have run
		m.nextLost(l)
	case first && it.took < shortItem && m.s.cfg.Retries > 0:
		l.ahead = min(2*l.ahead+1, maxAhead)
		m.list(it.at, l)
	case first:
		l.ahead = 0
	}
	return true
}

// nextLost is called when the item that ran last at a lost server has ended after all. Then the
// next item in the line takes its place.
func (m *mapping[A, R]) nextLost(l *mapLine[R]) {
	l.last = nil
	if len(l.behind) == 0 {
		return
	}
	l.last, l.behind = l.behind[0], l.behind[1:]
	if !slices.Contains(l.items, l.last) { // exit has recorded it as lost, and as not begun
		l.last.attempts++
	}
}

// list records that a line may have room.
func (m *mapping[A, R]) list(sv *rcsServer, l *mapLine[R]) {
	if !l.listed {
		l.listed = true
		m.room = append(m.room, sv)
	}
}

// ahead returns a server of this mapping where one more item may wait, nil when there is none. The
// pool counts that item.
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

// watchLong starts the timer of the next tick while items wait behind others.
func (m *mapping[A, R]) watchLong() {
	if m.timer == nil && len(m.sent) > m.busy {
		m.timer = time.AfterFunc(longItem, func() { m.events.put(mapEvent[R]{tick: true}) })
	}
}

// takeLongBack takes back the items that wait behind an item that runs for long.
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

// takeBack asks the server to give up an item that waits there. The item then ends without having
// started, unless it has just begun.
func (m *mapping[A, R]) takeBack(it *item[R]) {
	if !it.back && it.job != nil {
		it.back = true
		m.s.comp.scheduler().Tell(&wire.Unrun{Token: m.s.comp.token, Job: it.job.id})
	}
}
