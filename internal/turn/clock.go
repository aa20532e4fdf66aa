package turn

import (
	"sync/atomic"
	"time"
)

// clock gives the time, exact to the clockTick. Reading a real clock at each wait would cost as
// much as the wait. The clock goes only while a task has the turn: no wait begins or ends
// otherwise, and an idle runtime is never woken.
type clock struct {
	base  time.Time    // immutable after Init
	time  atomic.Int64 // nanoseconds since base
	goes  bool         // guarded by Turn.mu
	from  int64        // guarded by Turn.mu: when it last began to go
	timer *time.Timer  // guarded by Turn.mu
}

// clockTick is how often the clock moves on.
const clockTick = 10 * time.Millisecond

// Now returns the coarse time in nanoseconds. It is exact to about 10 ms while a task has the turn,
// and stands still otherwise. [Turn.Time] makes a time.Time of it.
func (t *Turn) Now() int64 { return t.clock.time.Load() }

// Time returns the time that Now gave as at.
func (t *Turn) Time(at int64) time.Time { return t.clock.base.Add(time.Duration(at)) }

// WaitsSince returns the earliest time at which a task that waits for the turn can have begun to
// wait. A task that was woken while the clock stood still has an earlier time from Now.
func (t *Turn) WaitsSince() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.clock.from
}

// startClockLocked makes the clock go, because a runner gets the turn.
func (t *Turn) startClockLocked() {
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

// tick is one step of the clock. It is the last one when no runner has the turn.
func (t *Turn) tick() {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := &t.clock
	k.time.Store(int64(time.Since(k.base)))
	if k.goes = t.active != nil && !t.closed; k.goes {
		k.timer.Reset(clockTick)
	}
}

func (t *Turn) stopClockLocked() {
	if t.clock.timer != nil {
		t.clock.timer.Stop()
	}
}
