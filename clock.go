package discoro

import (
	"sync/atomic"
	"time"
)

// coarseClock tells the turn the time, to the clockTick: reading a real clock at each wait would cost as much as the wait. It
// goes only while somebody has the turn, as nothing begins or ends otherwise, and so an idle runtime is never woken.
type coarseClock struct {
	base  time.Time    // immutable: when the runtime was made
	time  atomic.Int64 // nanoseconds since base
	goes  bool         // guarded by turn.mu
	from  int64        // guarded by turn.mu: when it began to go
	timer *time.Timer  // guarded by turn.mu
}

// clockTick is how often the clock goes on.
const clockTick = 10 * time.Millisecond

// now returns the time, in nanoseconds since the clock's base.
func (t *turn) now() int64 { return t.clock.time.Load() }

// startClockLocked makes the clock go; somebody gets the turn.
func (t *turn) startClockLocked() {
	k := &t.clock
	if k.goes {
		return
	}
	k.goes = true
	k.from = int64(time.Since(k.base))
	k.time.Store(k.from)
	if k.timer == nil {
		k.timer = time.AfterFunc(clockTick, t.tick)
	} else {
		k.timer.Reset(clockTick)
	}
}

// tick is one step of the clock; it is the last when nobody has the turn.
func (t *turn) tick() {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := &t.clock
	k.time.Store(int64(time.Since(k.base)))
	if k.goes = t.active != nil && !t.closed; k.goes {
		k.timer.Reset(clockTick)
	}
}

func (t *turn) stopClockLocked() {
	if t.clock.timer != nil {
		t.clock.timer.Stop()
	}
}

// waitsSince returns the earliest that a coroutine that waits for the turn can have begun to, for one that was woken while
// the clock stood.
func (t *turn) waitsSince() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.clock.from
}
