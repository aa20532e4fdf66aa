package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// frameBuffers hold frames between encoding and queueing.
var frameBuffers = sync.Pool{New: func() any { return new([]byte) }}

// GetBuffer returns a buffer to encode into, which goes back with PutBuffer. Its bytes have no
// meaning.
func GetBuffer() *[]byte { return frameBuffers.Get().(*[]byte) }

// PutBuffer takes back a buffer that is no longer in use.
func PutBuffer(b *[]byte) {
	if cap(*b) <= 1<<20 {
		frameBuffers.Put(b)
	}
}

// Post sends a frame that never waits for room in the queue. It never blocks. On the link of the
// runtime to itself the host gets the frame before Post returns.
func (l *Link) Post(f wire.Frame) error { return l.postAs(keyOf(f), f) }

// postAs is Post for a frame that stays in order with those of key.
func (l *Link) postAs(key laneKey, f wire.Frame) error {
	if l.IsSelf() {
		return l.net.host.Frame(l, f)
	}
	buf := GetBuffer()
	defer PutBuffer(buf)
	head, body, err := wire.AppendHead((*buf)[:0], f)
	*buf = head
	if err != nil {
		return err
	}
	return l.enqueue(key, head, body)
}

// Tell is Post for frames that are lost only if the link ends, which the caller notices anyway.
func (l *Link) Tell(f wire.Frame) {
	if err := l.Post(f); err != nil && !errors.Is(err, fault.Disconnected) {
		l.net.cfg.Log.Error("cannot encode a frame", slog.Any("err", err))
	}
}

// enqueue adds an encoded frame to the queue. If too much waits for the peer, the link ends. The
// queue may keep body, and copies head.
func (l *Link) enqueue(key laneKey, head, body []byte) error {
	limit := MaxQueue + MaxAnswers*l.net.MaxFrame()
	l.mu.Lock()
	if l.state == stateDown {
		err := l.err
		l.mu.Unlock()
		return err
	}
	over := l.queue.size()+len(head)+len(body) > limit
	if !over {
		l.queue.add(key, head, body, nil)
	}
	l.mu.Unlock()
	if over {
		l.Fail(fmt.Errorf("more than %d bytes wait for it to read", limit))
		return l.Cause()
	}
	l.queued(len(head) + len(body))
	return nil
}

// queued counts a frame that the queue has taken, and wakes the writer.
func (l *Link) queued(bytes int) {
	l.net.traffic.sent(1, bytes)
	l.wake()
}

// wake wakes the writer.
func (l *Link) wake() {
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// Send encodes a message for the peer's coroutine with that key, and queues it. It waits for room in
// the queue, at most Config.MsgTimeout. encode appends the message to dst.
func (l *Link) Send(to uint64, encode func(dst []byte) ([]byte, error)) error {
	buf := GetBuffer()
	b, err := wire.AppendMessage((*buf)[:0], to, encode)
	*buf = b
	if err != nil {
		PutBuffer(buf)
		return err
	}
	large := len(b) >= LargeFrame
	wait, err := l.give(laneKey{kind: laneCoro, num: to}, b, buf)
	if err == nil && wait != nil {
		err = l.awaitGiven(wait)
	}
	if err != nil || !large { // the queue keeps nothing of the buffer
		PutBuffer(buf)
	}
	return err
}

// give queues a frame, in one piece, if there is room. Otherwise it leaves the frame in the line,
// and returns a call that is finished when the queue has taken the frame. own is as in queue.add.
func (l *Link) give(key laneKey, frame []byte, own *[]byte) (wait *call.Call, err error) {
	w := roomWaiter{key: key, size: len(frame), frame: frame, own: own}
	l.mu.Lock()
	if l.state == stateDown {
		err = l.err
	} else if wait = l.room.admit(&l.queue, w, nil); wait == nil {
		l.queue.add(key, nil, frame, own)
	}
	l.mu.Unlock()
	if wait == nil && err == nil {
		l.queued(w.size)
	}
	return wait, err
}

// awaitGiven waits until the queue has taken a frame that a sender has left, for at most
// Config.MsgTimeout. If awaitGiven returns an error, the queue has not taken the frame and never
// will.
func (l *Link) awaitGiven(wait *call.Call) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), l.net.cfg.MsgTimeout, fault.Timeout)
	defer cancel()
	out, err := l.net.host.Wait(ctx, wait)
	switch {
	case err == nil:
		return out.Err
	case !l.DropRoom(wait):
		if out, ok := wait.Result(); ok {
			return out.Err
		}
		return nil // the queue has just taken it
	}
	return l.errFull(ctx, err)
}

// errFull is the error of a wait for room that ctx has ended with err.
func (l *Link) errFull(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, fault.Timeout) {
		return fmt.Errorf("the link's queue has been full for %v: %w", l.net.cfg.MsgTimeout, cause)
	}
	return err
}

// Offer queues a frame that can wait for room. If there is no room, or others wait for it already,
// Offer returns a call that is finished when the frame may be offered again; the caller then passes
// the call as place, and a caller that does not offer again passes it to DropRoom. place is nil the
// first time.
func (l *Link) Offer(f wire.Frame, place *call.Call) (wait *call.Call, err error) {
	buf := GetBuffer()
	defer PutBuffer(buf)
	head, body, err := wire.AppendHead((*buf)[:0], f)
	*buf = head
	if err != nil {
		return nil, err
	}
	w := roomWaiter{key: keyOf(f), size: len(head) + len(body)}
	l.mu.Lock()
	if l.state == stateDown {
		err = l.err
	} else if wait = l.room.admit(&l.queue, w, place); wait == nil {
		l.queue.add(w.key, head, body, nil)
	}
	l.mu.Unlock()
	if wait == nil && err == nil {
		l.queued(w.size)
	}
	return wait, err
}

// WaitRoom waits until there is room for f in the queue and nobody waits in front, or until ctx ends.
func (l *Link) WaitRoom(ctx context.Context, f wire.Frame) error {
	w := roomWaiter{key: keyOf(f), size: wire.BodySize(f)}
	var place *call.Call
	for {
		l.mu.Lock()
		if l.state == stateDown {
			defer l.mu.Unlock()
			return l.err
		}
		place = l.room.admit(&l.queue, w, place)
		l.mu.Unlock()
		if place == nil {
			l.admitNext() // the caller may not send anything
			return nil
		}
		if _, err := l.net.host.Wait(ctx, place); err != nil {
			l.DropRoom(place)
			return l.errFull(ctx, err)
		}
	}
}

// DropRoom gives up k's place in the line for room, or the room that was kept for it, and lets the
// senders behind it go on. It returns false when k has neither: then the queue has taken k's frame,
// or the link has ended.
func (l *Link) DropRoom(k *call.Call) bool {
	l.mu.Lock()
	dropped := l.room.drop(k)
	l.mu.Unlock()
	l.admitNext()
	return dropped
}

// admitNext lets the next senders go on, as far as there is room.
func (l *Link) admitNext() {
	l.mu.Lock()
	next, sent := l.room.next(&l.queue)
	l.mu.Unlock()
	l.wakeSenders(next, sent)
}

// wakeSenders finishes the waits of senders for which there is room, and counts the frames that the
// queue has taken from them.
func (l *Link) wakeSenders(next []*call.Call, sent sentFrames) {
	for _, k := range next {
		k.Finish(call.Outcome{})
	}
	if sent.frames > 0 {
		l.net.traffic.sent(sent.frames, sent.bytes)
		l.wake()
	}
}
