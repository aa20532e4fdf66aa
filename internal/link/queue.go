package link

import (
	"sync"

	"github.com/discoro/discoro/wire"
)

// queue holds encoded frames for a link's writer. Small frames leave in the order in which they came. A
// large frame has a lane, in which the frames that must not overtake it wait behind it; all others do
// overtake it. With each batch of small frames one lane sends a piece, each lane after the other. Frames
// of more than wire.PartSize leave in parts, at most wire.MaxParted of them at the same time. The link's
// lock guards it.
type queue struct {
	small  []chunk
	bytes  int     // in small
	lanes  []*lane // in the order in which they came
	next   int     // the lane that sends next
	number uint64  // of the last frame that began to leave in parts
	parted int     // how many frames have left in part
	bulk   int     // bytes in lanes
	last   []byte  // frames that leave after everything else
}

// chunk is a buffer of frames that are written at once.
type chunk struct {
	b      []byte
	pooled *[]byte // b, if it goes back to a pool: that of its size, or frameBuffers
	frame  bool    // it goes back to frameBuffers
}

const (
	// chunkSize is how many bytes are written at once; a part fits.
	chunkSize = wire.PartSize + 64
	// smallChunk is how many bytes a chunk has room for at first.
	smallChunk = 1 << 10
	// LargeFrame is the least size of a large frame.
	LargeFrame = 8 << 10
)

// Pools of chunks. Small ones are for links with little traffic. A runtime may have thousands of
// those.
var (
	chunks      = sync.Pool{New: func() any { b := make([]byte, 0, chunkSize); return &b }}
	smallChunks = sync.Pool{New: func() any { b := make([]byte, 0, smallChunk); return &b }}
)

// newChunk returns a chunk with room for size bytes, at most chunkSize.
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

// free gives a chunk back to its pool.
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

// addSmall copies small frames into the queue.
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

// lane is a large frame and the frames that wait behind it.
type lane struct {
	key    laneKey
	frames []laneFrame // the first is on its way, or the next
	number uint64      // of the first, if it leaves in parts
	sent   int         // bytes of the first that have left
}

// laneFrame is one large frame, or several small ones in head.
type laneFrame struct {
	head  []byte
	body  []byte // shared with its encoder; never written to
	large bool
	own   *[]byte // the buffer of frameBuffers that body is in; nil: body is not from there
}

func (f *laneFrame) size() int { return len(f.head) + len(f.body) }

// size returns how many bytes wait.
func (q *queue) size() int { return q.bytes + q.bulk + len(q.last) }

// lane returns the lane in which a frame with that key has to wait, nil if there is none.
func (q *queue) lane(key laneKey) *lane {
	for _, l := range q.lanes {
		if l.key == key || l.key.kind == laneRoles && key.kind == laneJob {
			return l
		}
	}
	return nil
}

// held returns how many bytes wait in lanes, or otherwise among the small frames.
func (q *queue) held(inLane bool) int {
	if inLane {
		return q.bulk
	}
	return q.bytes
}

func (q *queue) goesInLane(key laneKey, size int) bool {
	return size >= LargeFrame || len(q.lanes) > 0 && q.lane(key) != nil
}

// add adds an encoded frame, which consists of head and body. It copies a small frame and every
// head. It keeps the body of a large frame until the frame has left, and own as well, if body is in
// that buffer.
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

// piece is what a lane sends at a time: a frame or a part of one. It has two slices, because the
// head and the body of a frame are apart.
type piece struct {
	number uint64 // of the frame that it is a part of; 0: it is the whole frame
	bytes  [2][]byte
	own    *[]byte // of the frame, if this is its last piece
}

func (p *piece) size() int { return len(p.bytes[0]) + len(p.bytes[1]) }

// chunk returns a piece ready to be written.
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

// take removes the frames to write next: all small ones, and behind them a piece, which is empty if
// no lane has one. The queue goes on in spare.
func (q *queue) take(spare []chunk) (small []chunk, p piece) {
	small, q.small, q.bytes = q.small, spare, 0
	if len(q.lanes) == 0 {
		return small, piece{}
	}
	at := q.nextLane()
	q.next = at + 1
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
	if len(l.frames) > 0 && !l.frames[0].large { // they have waited for this frame only
		q.bulk -= len(l.frames[0].head)
		q.addSmall(l.frames[0].head, nil)
		l.frames = l.frames[1:]
	}
	if len(l.frames) > 0 {
		return small, p
	}
	q.lanes = append(q.lanes[:at], q.lanes[at+1:]...)
	q.next = at
	if len(q.lanes) == 0 {
		q.lanes = nil
		if len(q.last) > 0 {
			q.addSmall(q.last, nil)
			q.last = nil
		}
	}
	return small, p
}

// nextLane returns the lane that sends next: one whose first frame has begun to leave, or may begin.
func (q *queue) nextLane() int {
	for i := range q.lanes {
		at := (q.next + i) % len(q.lanes)
		if l := q.lanes[at]; l.number != 0 || l.frames[0].size() <= wire.PartSize || q.parted < wire.MaxParted {
			return at
		}
	}
	return 0 // not reached: of wire.MaxParted frames that have begun to leave, one was found
}

// cut takes the next piece of the lane's first frame.
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
