package discoro

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/wire"
)

// subscriber is one coroutine that is subscribed to a channel of this runtime. Messages that cannot
// go onto its link at once wait here, in order. The messages of other subscribers do not wait for
// it.
type subscriber struct {
	hub   *hub       // immutable
	local *localCoro // immutable: nil when it runs in another runtime
	key   subKey     // immutable
	at    int        // guarded by hub.mu: its index in hub.order

	mu      sync.Mutex // guards following; leaf
	waiting []queued   // the messages that wait
	busy    bool       // a goroutine sends what waits
	ended   bool       // the subscription has ended
	endErr  error      // the error for the senders of what waits
	stop    func()     // undoes watch; nil: not watched
}

// queued is a message that waits for room on the subscriber's link.
type queued struct {
	p     *publication
	since time.Time
}

// watch ends the subscription of a coroutine of this runtime when the coroutine has ended.
func (s *subscriber) watch() {
	stop := s.local.onEnd(func() { s.drop(nil) })
	s.mu.Lock()
	ended := s.ended
	s.stop = stop
	s.mu.Unlock()
	if ended {
		stop()
	}
}

func (s *subscriber) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// send gives p to the subscriber, now or when there is room on its link. It never blocks.
func (s *subscriber) send(p *publication) {
	if s.local != nil {
		err := s.local.put(p.msg)
		if err != nil {
			s.drop(nil)
		}
		p.result(err == nil, nil)
		return
	}
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		p.result(false, nil) // it was unsubscribed just now
		return
	}
	s.waiting = append(s.waiting, queued{p, time.Now()})
	busy := s.busy
	s.busy = true
	s.mu.Unlock()
	if busy {
		return
	}
	full, first := s.flush(nil)
	if full != nil && !s.hub.rt.start(func() { s.flushAll(full, first) }) {
		s.drop(ErrClosed)
	}
}

// flush sends what waits. turn is the room that it waited for, nil the first time. When there is no
// room, flush returns a call that is finished when there is, and the message that waits for it.
func (s *subscriber) flush(turn *call.Call) (full *call.Call, first queued) {
	defer func() {
		if turn != nil {
			s.key.link.DropRoom(turn) // does nothing when it was used
		}
	}()
	for {
		s.mu.Lock()
		if len(s.waiting) == 0 {
			s.waiting, s.busy = nil, false
			s.mu.Unlock()
			return nil, queued{}
		}
		first, s.waiting[0] = s.waiting[0], queued{}
		s.waiting = s.waiting[1:]
		s.mu.Unlock()
		full, err := s.try(first.p, turn)
		switch {
		case err != nil:
			first.p.result(false, nil)
			s.drop(nil)
		case full == nil && !first.p.deliver:
			first.p.result(true, nil)
		case full != nil && s.putBack(first):
			return full, first
		}
	}
}

// putBack makes q the first message that waits. When the subscription has ended it gives q's sender
// the result and reports false.
func (s *subscriber) putBack(q queued) bool {
	s.mu.Lock()
	ended, err := s.ended, s.endErr
	if !ended {
		s.waiting = slices.Insert(s.waiting, 0, q)
	}
	s.mu.Unlock()
	if ended {
		q.p.result(false, err)
	}
	return !ended
}

// flushAll waits for room and sends what waits, until nothing does. A message that has waited for
// Config.MsgTimeout ends the subscription, because leaving it out would be a gap.
func (s *subscriber) flushAll(full *call.Call, first queued) {
	rt, l := s.hub.rt, s.key.link
	for full != nil {
		ctx, cancel := context.WithDeadline(rt.ctx, first.since.Add(rt.cfg.MsgTimeout))
		_, err := rt.wait(ctx, full)
		cancel()
		if err != nil {
			l.DropRoom(full)
			if rt.ctx.Err() != nil {
				s.drop(errRuntimeClosed)
				s.flush(nil)
				return
			}
			err = fmt.Errorf("the queue of the link to %v has been full for %v, and a coroutine there was unsubscribed: %w",
				l.Location(), rt.cfg.MsgTimeout, ErrTimeout)
			s.hub.logDropped(s, err)
			s.drop(err)
			s.flush(nil)
			return
		}
		full, first = s.flush(full)
	}
}

// try puts p onto the link. When there is no room, full is not nil.
func (s *subscriber) try(p *publication, turn *call.Call) (full *call.Call, err error) {
	l := s.key.link
	if !p.deliver {
		return l.Offer(&wire.Message{To: s.key.num, Body: p.body}, turn)
	}
	answer := call.Func(func(out call.Outcome) {
		if errors.Is(out.Err, ErrNotFound) {
			s.drop(nil)
		}
		p.result(out.Err == nil, nil)
	})
	id, err := l.Number(answer)
	if err != nil {
		return nil, err
	}
	full, err = l.Offer(&wire.Deliver{Call: id, To: s.key.num, Body: p.body}, turn)
	if (full != nil || err != nil) && l.TakeCall(id) == nil {
		return nil, nil // the link has ended, and answer has got its error
	}
	return full, err
}

// drop ends the subscription, unless it has ended. The senders of what waits get err. A nil err
// means that the coroutine has ended, which is no error.
func (s *subscriber) drop(err error) {
	if s.hub.remove(s.key) == nil {
		return
	}
	s.end(err)
	if s.local == nil && s.key.link.Cause() == nil {
		s.key.link.Tell(s.hub.noticeOf(s, err))
	}
}

// close is drop when the channel closes.
func (s *subscriber) close() {
	s.end(nil)
	if s.local == nil && s.key.link.Cause() == nil {
		s.key.link.Tell(s.hub.noticeOf(s, ErrClosed))
	}
}

// end gives the senders of what waits their results, and undoes watch.
func (s *subscriber) end(err error) {
	s.mu.Lock()
	s.ended, s.endErr = true, err
	waiting, stop := s.waiting, s.stop
	s.waiting = nil
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
	for _, q := range waiting {
		q.p.result(false, err)
	}
}
