package link

import (
	"slices"

	"github.com/discoro/discoro/internal/call"
)

// roomCalls are the senders that wait for room in a queue, among the small frames or in lanes. They go
// on in the order in which they came, and newcomers wait behind them, so a sender that always has more
// cannot keep the others out. The link's lock guards it.
type roomCalls struct {
	small, lanes roomLine
}

// roomLine is one line of senders that wait for room. A sender may leave its frame here. When there
// is room for the first sender, the queue takes that frame. If the sender has left none, the room
// is kept until the sender uses it or gives it up.
type roomLine struct {
	waits   []roomWaiter
	granted map[*call.Call]int // senders that have room and have left no frame, and how much
	kept    int                // bytes, the sum of granted
}

// roomWaiter is one sender that waits.
type roomWaiter struct {
	k     *call.Call
	key   laneKey
	size  int     // of its frame
	frame []byte  // in one piece, for the queue to take; nil: the sender keeps it
	own   *[]byte // as in queue.add
}

// admit decides whether w's frame may go into q now. place is what the sender has waited for, if it has.
// If the sender has to wait, admit returns a call that is finished when there is room for it.
func (r *roomCalls) admit(q *queue, w roomWaiter, place *call.Call) (wait *call.Call) {
	if r.small.giveUp(place) || r.lanes.giveUp(place) {
		return nil
	}
	inLane := q.goesInLane(w.key, w.size)
	line := &r.small
	if inLane {
		line = &r.lanes
	}
	if len(line.waits) == 0 && q.held(inLane)+line.kept < MaxQueue {
		return nil
	}
	w.k = call.New(whySend, nil)
	line.waits = append(line.waits, w)
	return w.k
}

// drop removes a sender from its line, or gives up the room that was kept for it. It returns false
// if the sender is in no line and has no room: then the queue has taken its frame.
func (r *roomCalls) drop(k *call.Call) bool {
	for _, line := range []*roomLine{&r.small, &r.lanes} {
		if line.giveUp(k) {
			return true
		}
		if i := slices.IndexFunc(line.waits, func(w roomWaiter) bool { return w.k == k }); i >= 0 {
			line.waits = slices.Delete(line.waits, i, i+1)
			return true
		}
	}
	return false
}

// next returns the waits of the senders that get room now. The frames that they left are in q, and are
// counted in sent.
func (r *roomCalls) next(q *queue) (next []*call.Call, sent sentFrames) {
	next = r.lanes.next(q, true, r.small.next(q, false, nil, &sent), &sent)
	return next, sent
}

// sentFrames counts frames that a queue has taken.
type sentFrames struct{ frames, bytes int }

func (l *roomLine) next(q *queue, inLane bool, next []*call.Call, sent *sentFrames) []*call.Call {
	for len(l.waits) > 0 && q.held(inLane)+l.kept < MaxQueue {
		w := l.waits[0]
		l.waits[0] = roomWaiter{}
		l.waits = l.waits[1:]
		next = append(next, w.k)
		if w.frame != nil {
			q.add(w.key, nil, w.frame, w.own)
			sent.frames++
			sent.bytes += w.size
			continue
		}
		if l.granted == nil {
			l.granted = map[*call.Call]int{}
		}
		l.granted[w.k] = w.size
		l.kept += w.size
	}
	return next
}

// giveUp gives up the room that k has got, and reports whether it had any.
func (l *roomLine) giveUp(k *call.Call) bool {
	size, ok := l.granted[k]
	if ok {
		delete(l.granted, k)
		l.kept -= size
	}
	return ok
}

// end empties both lines and returns the waits of the senders in them.
func (r *roomCalls) end() (all []*call.Call) {
	for _, line := range []*roomLine{&r.small, &r.lanes} {
		for _, w := range line.waits {
			all = append(all, w.k)
		}
		*line = roomLine{}
	}
	return all
}

// waiting returns how many senders wait for room or have not used theirs yet.
func (r *roomCalls) waiting() int {
	n := 0
	for _, line := range []*roomLine{&r.small, &r.lanes} {
		n += len(line.waits) + len(line.granted)
	}
	return n
}
