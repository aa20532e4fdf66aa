package link

import (
	"slices"
	"sync"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/wire"
)

// linkQueue is what waits for a link's writer, encoded. Small frames leave in the order in which they came. A large one has a
// lane, in which what must not overtake it waits behind it. With each batch of small frames one lane may send something: lanes
// take turns. Frames of more than wire.PartSize leave in parts, wire.MaxParted of them at a time. It is guarded by the link's
// lock.
type queue struct {
	small  []chunk
	bytes  int     // in small
	lanes  []*lane // in the order in which they came
	turn   int     // whose turn it is
	number uint64  // of the last frame in parts
	parted int     // how many are on their way
	bulk   int     // bytes in lanes
	last   []byte  // frames that leave after everything else
}

// chunk is what is written at once.
type chunk struct {
	b      []byte
	pooled *[]byte // b, when it goes back to a pool: that of its size, or else frameBuffers
	frame  bool    // frameBuffers
}

const (
	// chunkSize is how many bytes are written at once; a part fits.
	chunkSize = wire.PartSize + 64
	// smallChunk is how many bytes a chunk has room for at first.
	smallChunk = 1 << 10
	// LargeFrame is from how many bytes on a frame is a large one.
	LargeFrame = 8 << 10
)

// chunks are not in use; those of smallChunk bytes are for links over which little goes: a runtime may have thousands.
var (
	chunks      = sync.Pool{New: func() any { b := make([]byte, 0, chunkSize); return &b }}
	smallChunks = sync.Pool{New: func() any { b := make([]byte, 0, smallChunk); return &b }}
)

// newChunk returns a chunk with room for size bytes, which is at most chunkSize.
func newChunk(size int) chunk {
	pool := &chunks
	if size <= smallChunk {
		pool = &smallChunks
	}
	p := pool.Get().(*[]byte)
	return chunk{b: (*p)[:0], pooled: p}
}

// grow makes a small chunk a large one.
func (c *chunk) grow() {
	large := newChunk(chunkSize)
	large.b = append(large.b, c.b...)
	c.free()
	*c = large
}

// free gives a chunk back.
func (c *chunk) free() {
	switch {
	case c.pooled == nil:
	case c.frame:
		PutBuffer(c.pooled)
	case cap(*c.pooled) <= smallChunk:
		smallChunks.Put(c.pooled)
	default:
		chunks.Put(c.pooled)
	}
}

// addSmall takes in small frames; they are copied.
func (q *queue) addSmall(head, body []byte) {
	size := len(head) + len(body)
	q.bytes += size
	end := len(q.small) - 1
	switch {
	case end < 0 || chunkSize-len(q.small[end].b) < size:
		q.small = append(q.small, newChunk(size))
		end++
	case cap(q.small[end].b)-len(q.small[end].b) < size:
		q.small[end].grow()
	}
	q.small[end].b = append(append(q.small[end].b, head...), body...)
}

// lane is a large frame and what waits behind it.
type lane struct {
	key    laneKey
	frames []laneFrame // the first is on its way, or the next
	number uint64      // of the first, when it leaves in parts
	sent   int         // bytes of the first that have left
}

// laneFrame is one large frame, or small ones.
type laneFrame struct {
	head  []byte
	body  []byte // shared with whoever encoded it: nobody writes to it
	large bool
	own   *[]byte // one of frameBuffers, which body is; nil: another's
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
	laneRoles   laneKind = iota // what the roles tell each other, but for what concerns one job
	laneJob                     // one job
	laneCoro                    // one coroutine of the peer
	laneChannel                 // one channel of the peer
	laneCall                    // the answer to one call
	lanePulse                   // never waits
	laneLast                    // goes after everything else
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
	case *wire.Unstart:
		return jobKey(f.Job)
	case *wire.Started:
		return jobKey(f.Job)
	case *wire.Done:
		return jobKey(f.Job)
	case *wire.Freed:
		return jobKey(f.Job)
	case *wire.Unheard:
		return jobKey(f.Job)
	case *wire.Subscribe:
		return laneKey{kind: laneChannel, num: f.Channel}
	case *wire.Unsubscribe:
		return laneKey{kind: laneChannel, num: f.Channel}
	case *wire.Publish:
		return laneKey{kind: laneChannel, num: f.Channel}
	case *wire.PublishDeliver:
		return laneKey{kind: laneChannel, num: f.Channel}
	case *wire.CloseChannel:
		return laneKey{kind: laneChannel, num: f.Channel}
	case *wire.Enroll:
		return laneKey{kind: laneCoro, num: f.Coro}
	case *wire.Dropped:
		return laneKey{kind: laneCoro, num: f.Coro}
	case *wire.Pulse:
		return laneKey{kind: lanePulse}
	case *wire.Bye:
		return laneKey{kind: laneLast}
	}
	return laneKey{kind: laneRoles}
}

func jobKey(j wire.JobID) laneKey { return laneKey{kind: laneJob, num: j.Seq, id: j.Client} }

// size returns how many bytes wait.
func (q *queue) size() int { return q.bytes + q.bulk + len(q.last) }

// lane returns the lane that a frame with that key waits in, nil when it need not.
func (q *queue) lane(key laneKey) *lane {
	for _, l := range q.lanes {
		if l.key == key || l.key.kind == laneRoles && key.kind == laneJob {
			return l
		}
	}
	return nil
}

// held returns how many bytes wait in lanes, or else among the small frames.
func (q *queue) held(inLane bool) int {
	if inLane {
		return q.bulk
	}
	return q.bytes
}

func (q *queue) goesInLane(key laneKey, size int) bool {
	return size >= LargeFrame || len(q.lanes) > 0 && q.lane(key) != nil
}

// add takes in an encoded frame. Of one of at least largeFrame bytes, body, its end, is kept, and own, the one of frameBuffers
// which that is, if it is; everything else is copied.
func (q *queue) add(key laneKey, head, body []byte, own *[]byte) {
	size := len(head) + len(body)
	switch {
	case len(q.lanes) > 0 && key.kind == laneLast:
		q.last = append(append(q.last, head...), body...)
		return
	case !q.goesInLane(key, size):
		q.addSmall(head, body)
		return
	}
	q.bulk += size
	l := q.lane(key)
	if l == nil {
		l = &lane{key: key}
		q.lanes = append(q.lanes, l)
	}
	if size >= LargeFrame {
		l.frames = append(l.frames, laneFrame{head: append([]byte(nil), head...), body: body, large: true, own: own})
		return
	}
	end := len(l.frames) - 1
	if l.frames[end].large {
		l.frames = append(l.frames, laneFrame{})
		end++
	}
	l.frames[end].head = append(append(l.frames[end].head, head...), body...)
}

// piece is what one lane sends at a time: a frame, or a part of one, in two pieces where its head and its body meet.
type piece struct {
	number uint64 // of the frame that it is a part of; 0: it is all of it
	bytes  [2][]byte
	own    *[]byte // the frame's, when this is the end of it
}

func (p *piece) size() int { return len(p.bytes[0]) + len(p.bytes[1]) }

// chunk returns what is to be written for a piece.
func (p *piece) chunk() chunk {
	if p.number == 0 && len(p.bytes[0]) == 0 {
		return chunk{b: p.bytes[1], pooled: p.own, frame: true}
	}
	c := newChunk(chunkSize)
	if p.number != 0 {
		c.b = wire.AppendPart(c.b, p.number, p.size())
	}
	c.b = append(append(c.b, p.bytes[0]...), p.bytes[1]...)
	if p.own != nil {
		PutBuffer(p.own)
	}
	return c
}

// take returns what is to be written next: small frames, and behind them a piece, which is empty when there is none.
// spare is where the queue goes on.
func (q *queue) take(spare []chunk) (small []chunk, p piece) {
	small, q.small, q.bytes = q.small, spare, 0
	if len(q.lanes) == 0 {
		return small, piece{}
	}
	at := q.nextLane()
	q.turn = at + 1
	l := q.lanes[at]
	p = q.cut(l)
	q.bulk -= p.size()
	if l.sent < l.frames[0].size() {
		return small, p
	}
	if p.number != 0 {
		q.parted--
	}
	p.own = l.frames[0].own
	l.frames, l.sent, l.number = l.frames[1:], 0, 0
	if len(l.frames) > 0 && !l.frames[0].large { // they have waited for this piece only
		q.bulk -= len(l.frames[0].head)
		q.addSmall(l.frames[0].head, nil)
		l.frames = l.frames[1:]
	}
	if len(l.frames) > 0 {
		return small, p
	}
	q.lanes = append(q.lanes[:at], q.lanes[at+1:]...)
	q.turn = at
	if len(q.lanes) == 0 {
		q.lanes = nil
		if len(q.last) > 0 {
			q.addSmall(q.last, nil)
			q.last = nil
		}
	}
	return small, p
}

// nextLane returns which lane sends next: one whose frame is on its way, or may be.
func (q *queue) nextLane() int {
	for i := range q.lanes {
		at := (q.turn + i) % len(q.lanes)
		if l := q.lanes[at]; l.number != 0 || l.frames[0].size() <= wire.PartSize || q.parted < wire.MaxParted {
			return at
		}
	}
	return 0 // not reached: where so many are on their way, one of them was found
}

// cut takes the next piece off the lane's first frame.
func (q *queue) cut(l *lane) piece {
	f := &l.frames[0]
	if f.size() <= wire.PartSize {
		l.sent = f.size()
		return piece{bytes: [2][]byte{f.head, f.body}}
	}
	if l.number == 0 {
		q.number++
		q.parted++
		l.number = q.number
	}
	p := piece{number: l.number}
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

// roomCalls are senders that wait for room: among the small frames, and in lanes. They go on in the order in which they came,
// and newcomers wait behind them: a sender that always has more cannot keep the others out.
type roomCalls struct {
	small, lanes roomLine
}

// roomLine is one line of senders. When a sender's turn has come, the frame that it left goes into the queue; for one that left
// none, room is kept until it has used its turn, or given it up.
type roomLine struct {
	waits []roomWaiter
	told  map[*call.Call]int // those whose turn has come and who left no frame, and the room that they have
	kept  int                // bytes, the sum of told
}

// roomWaiter is one sender that waits.
type roomWaiter struct {
	k     *call.Call
	key   laneKey
	size  int     // of what it sends
	frame []byte  // that, in one piece; nil: it comes back with it
	own   *[]byte // as in linkQueue.add
}

// admit reports whether what w is about may go to q now; turn is what its sender waited for, if it did. Where not, it
// returns what is finished when the sender's turn comes.
func (r *roomCalls) admit(q *queue, w roomWaiter, turn *call.Call) (wait *call.Call) {
	if r.small.giveUp(turn) || r.lanes.giveUp(turn) {
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

// drop takes back a wait, or a turn that has come; it reports false when there is none: what the sender left is in the queue.
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

// next returns those whose turn comes now; what they left is in q, sent is how many frames and bytes that is.
func (r *roomCalls) next(q *queue) (turns []*call.Call, sent sentFrames) {
	turns = r.lanes.next(q, true, r.small.next(q, false, nil, &sent), &sent)
	return turns, sent
}

// sentFrames counts what went into a queue.
type sentFrames struct{ frames, bytes int }

func (l *roomLine) next(q *queue, inLane bool, turns []*call.Call, sent *sentFrames) []*call.Call {
	for len(l.waits) > 0 && q.held(inLane)+l.kept < MaxQueue {
		w := l.waits[0]
		l.waits[0] = roomWaiter{}
		l.waits = l.waits[1:]
		turns = append(turns, w.k)
		if w.frame != nil {
			q.add(w.key, nil, w.frame, w.own)
			sent.frames++
			sent.bytes += w.size
			continue
		}
		if l.told == nil {
			l.told = map[*call.Call]int{}
		}
		l.told[w.k] = w.size
		l.kept += w.size
	}
	return turns
}

// giveUp ends a turn that has come; it reports whether it had.
func (l *roomLine) giveUp(k *call.Call) bool {
	size, ok := l.told[k]
	if ok {
		delete(l.told, k)
		l.kept -= size
	}
	return ok
}

// end returns all that wait.
func (r *roomCalls) end() (all []*call.Call) {
	for _, line := range []*roomLine{&r.small, &r.lanes} {
		for _, w := range line.waits {
			all = append(all, w.k)
		}
		*line = roomLine{}
	}
	return all
}

// waiting returns how many senders wait, and how many have not used their turn yet.
func (r *roomCalls) waiting() int {
	n := 0
	for _, line := range []*roomLine{&r.small, &r.lanes} {
		n += len(line.waits) + len(line.told)
	}
	return n
}
