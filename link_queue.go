package discoro

import (
	"slices"

	"github.com/discoro/discoro/wire"
)

// linkQueue is what waits for a link's writer, encoded. Small frames leave in the order in which they came. A larger one
// leaves in parts between them, and what must not overtake it waits behind it, in its lane; at most wire.MaxParted lanes
// take turns. It is guarded by the link's lock.
type linkQueue struct {
	small  []byte
	lanes  []*lane // in the order in which they came; the first few take turns
	turn   int     // whose turn it is
	number uint64  // of the last frame in parts
	bulk   int     // bytes in lanes
	last   []byte  // frames that leave after everything else
}

// lane is a large frame and what waits behind it.
type lane struct {
	key    laneKey
	number uint64      // of the frame that is on its way
	frames []laneFrame // the first is on its way
	sent   int         // bytes of it that have left
}

// laneFrame is one large frame, or small ones.
type laneFrame struct {
	head  []byte
	body  []byte // shared with whoever encoded it: nobody writes to it
	large bool
}

func (f *laneFrame) size() int { return len(f.head) + len(f.body) }

// laneKey says what keeps its order: frames with the same key. Those of the roles stay behind laneRoles as well.
type laneKey struct {
	kind laneKind
	num  uint64
	id   wire.ID
}

type laneKind uint8

const (
	laneRoles laneKind = iota // what the roles tell each other, but for what concerns one job
	laneJob                   // one job
	laneCoro                  // one coroutine of the peer
	laneCall                  // the answer to one call
	lanePulse                 // never waits
	laneLast                  // goes after everything else
)

// keyOf returns what f must stay in order with.
func keyOf(f wire.Frame) laneKey {
	switch f := f.(type) {
	case *wire.Message:
		return laneKey{kind: laneCoro, num: f.To}
	case *wire.Deliver:
		return laneKey{kind: laneCoro, num: f.To}
	case *wire.Ask:
		return laneKey{kind: laneCoro, num: f.To}
	case *wire.Exit:
		return laneKey{kind: laneCoro, num: f.To}
	case *wire.Wait:
		return laneKey{kind: laneCoro, num: f.Of}
	case *wire.Terminate:
		return laneKey{kind: laneCoro, num: f.Of}
	case *wire.Reply:
		return laneKey{kind: laneCall, num: f.Call}
	case *wire.Run:
		return jobKey(f.Job)
	case *wire.Unrun:
		return jobKey(f.Job)
	case *wire.Start:
		return jobKey(f.Job)
	case *wire.Started:
		return jobKey(f.Job)
	case *wire.Done:
		return jobKey(f.Job)
	case *wire.Freed:
		return jobKey(f.Job)
	case *wire.Pulse:
		return laneKey{kind: lanePulse}
	case *wire.Bye:
		return laneKey{kind: laneLast}
	}
	return laneKey{kind: laneRoles}
}

func jobKey(j wire.JobID) laneKey { return laneKey{kind: laneJob, num: j.Seq, id: j.Client} }

// size returns how many bytes wait.
func (q *linkQueue) size() int { return len(q.small) + q.bulk + len(q.last) }

// lane returns the lane that a frame with that key waits in, nil when it need not.
func (q *linkQueue) lane(key laneKey) *lane {
	for _, l := range q.lanes {
		if l.key == key || l.key.kind == laneRoles && key.kind == laneJob {
			return l
		}
	}
	return nil
}

// full reports whether a sender that can wait has to, for a frame of that size.
func (q *linkQueue) full(key laneKey, size int) bool {
	if q.goesInLane(key, size) {
		return q.bulk >= maxQueue
	}
	return len(q.small) >= maxQueue
}

func (q *linkQueue) goesInLane(key laneKey, size int) bool {
	return size > wire.PartSize || len(q.lanes) > 0 && q.lane(key) != nil
}

// add takes in an encoded frame; body, its end, may be kept, head is copied.
func (q *linkQueue) add(key laneKey, head, body []byte) {
	size := len(head) + len(body)
	switch {
	case len(q.lanes) > 0 && key.kind == laneLast:
		q.last = append(append(q.last, head...), body...)
		return
	case !q.goesInLane(key, size):
		q.small = append(append(q.small, head...), body...)
		return
	}
	q.bulk += size
	l := q.lane(key)
	if l == nil {
		l = &lane{key: key}
		q.lanes = append(q.lanes, l)
	}
	if size > wire.PartSize {
		l.frames = append(l.frames, laneFrame{head: append([]byte(nil), head...), body: body, large: true})
		if len(l.frames) == 1 {
			q.begin(l)
		}
		return
	}
	end := len(l.frames) - 1
	if l.frames[end].large {
		l.frames = append(l.frames, laneFrame{})
		end++
	}
	l.frames[end].head = append(append(l.frames[end].head, head...), body...)
}

// begin numbers the large frame that is first in the lane.
func (q *linkQueue) begin(l *lane) {
	q.number++
	l.number, l.sent = q.number, 0
}

// part is a piece of a large frame, in two where its head and its body meet.
type part struct {
	number uint64
	bytes  [2][]byte
}

// appendTo appends what is to be written for a part.
func (p *part) appendTo(dst []byte) []byte {
	if p.number == 0 {
		return dst
	}
	dst = wire.AppendPart(dst, p.number, len(p.bytes[0])+len(p.bytes[1]))
	return append(append(dst, p.bytes[0]...), p.bytes[1]...)
}

// take returns what is to be written next: small frames and behind them a part, which has number 0 when there is none.
// spare is where the linkQueue goes on.
func (q *linkQueue) take(spare []byte) (small []byte, p part) {
	small, q.small = q.small, spare
	if len(q.lanes) == 0 {
		return small, part{}
	}
	at := q.turn % min(len(q.lanes), wire.MaxParted)
	q.turn = at + 1
	l := q.lanes[at]
	p = l.next()
	q.bulk -= len(p.bytes[0]) + len(p.bytes[1])
	if l.sent < l.frames[0].size() {
		return small, p
	}
	l.frames = l.frames[1:]
	if len(l.frames) > 0 && !l.frames[0].large { // they have waited for this part only
		q.small = append(q.small, l.frames[0].head...)
		q.bulk -= len(l.frames[0].head)
		l.frames = l.frames[1:]
	}
	if len(l.frames) > 0 {
		q.begin(l)
		return small, p
	}
	q.lanes = append(q.lanes[:at], q.lanes[at+1:]...)
	q.turn = at
	if len(q.lanes) == 0 {
		q.small, q.last = append(q.small, q.last...), nil
		q.lanes = nil
	}
	return small, p
}

// next cuts the next part off the frame that is on its way.
func (l *lane) next() part {
	f := &l.frames[0]
	p := part{number: l.number}
	room := wire.PartSize
	if l.sent < len(f.head) {
		p.bytes[0] = f.head[l.sent:min(len(f.head), l.sent+room)]
		l.sent += len(p.bytes[0])
		room -= len(p.bytes[0])
	}
	if at := l.sent - len(f.head); at >= 0 && room > 0 {
		p.bytes[1] = f.body[at:min(len(f.body), at+room)]
		l.sent += len(p.bytes[1])
	}
	return p
}

// roomCalls are finished when there may be room: among the small frames, and in lanes.
type roomCalls struct{ small, lanes []*call }

// wait returns a call that is finished when there may be room.
func (r *roomCalls) wait(inLane bool) *call {
	k := &call{}
	if inLane {
		r.lanes = append(r.lanes, k)
	} else {
		r.small = append(r.small, k)
	}
	return k
}

// drop takes back a wait.
func (r *roomCalls) drop(k *call) {
	is := func(other *call) bool { return other == k }
	r.small, r.lanes = slices.DeleteFunc(r.small, is), slices.DeleteFunc(r.lanes, is)
}

// take removes and returns those that may go on now that the writer has taken some of q.
func (r *roomCalls) take(q *linkQueue) []*call {
	may := r.small
	r.small = nil
	if q.bulk < maxQueue {
		may = append(may, r.lanes...)
		r.lanes = nil
	}
	return may
}
