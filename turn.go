package discoro

import (
	"context"
	"iter"
	"runtime/pprof"
	"sync"
	"sync/atomic"
)

// turn lets at most one coroutine of a runtime run between yield points.
//
// Coroutines are resumed by a runner, a goroutine that holds the turn while it chooses and while the coroutine that
// it resumed runs; a yield switches straight back to it (iter.Pull), which costs less than waking a goroutine. There
// is one runner with the turn at most. A coroutine that goes on without the turn (Blocking) keeps its runner
// underneath it, and another runner takes over; when it has the turn again, so has its runner.
type turn struct {
	live    sync.WaitGroup            // the runners, but for those lost to abandoned coroutines
	current atomic.Pointer[localCoro] // the coroutine that has the turn; written by the runner

	mu     sync.Mutex // guards following; leaf
	ready  ring       // coroutines that can run, in order
	active *runner    // the runner with the turn; nil: the turn is free and nothing is ready
	spare  []*runner  // runners without work, parked
	closed bool
	clock  coarseClock
}

// runner is a goroutine that resumes coroutines.
type runner struct {
	wake chan struct{} // capacity 1: it has got the turn, or is to end
	coro *localCoro    // guarded by turn.mu: what it has resumed, until it chooses again
	lost bool          // guarded by turn.mu: its coroutine was abandoned, nobody waits for it
}

// maxSpare is how many runners are kept parked; more exist only while as many coroutines are in Blocking.
const maxSpare = 4

// put makes c run when its turn comes. c must be parked, or about to be.
func (t *turn) put(c *localCoro) {
	t.mu.Lock()
	t.ready.push(c)
	r, started := t.promoteLocked()
	t.mu.Unlock()
	t.kick(r, started)
}

// promoteLocked gives a free turn to a runner when something is ready. The caller kicks that runner after unlocking.
func (t *turn) promoteLocked() (r *runner, parked bool) {
	if t.active != nil || t.ready.count == 0 {
		return nil, false
	}
	if n := len(t.spare); n > 0 {
		r, parked = t.spare[n-1], true
		t.spare[n-1] = nil
		t.spare = t.spare[:n-1]
	} else {
		r = &runner{wake: make(chan struct{}, 1)}
	}
	t.active = r
	t.startClockLocked()
	return r, parked
}

func (t *turn) kick(r *runner, parked bool) {
	switch {
	case r == nil:
	case parked:
		r.wake <- struct{}{}
	default:
		t.live.Add(1)
		go t.run(r)
	}
}

// run is a runner's goroutine. It ends when the runtime has closed, when enough others are parked, or when its
// coroutine was abandoned.
func (t *turn) run(r *runner) {
	pprof.SetGoroutineLabels(context.Background()) // not those of whoever started it
	ended := false
	defer func() {
		if !ended { // a coroutine's function called runtime.Goexit, which ends this goroutine too
			go t.run(r)
			return
		}
		t.mu.Lock()
		lost := r.lost
		t.mu.Unlock()
		if !lost {
			t.live.Done()
		}
	}()
	for {
		c, ok := t.choose(r)
		if !ok {
			ended = true
			return
		}
		if c != nil {
			c.resume()
		}
	}
}

// choose waits until r has the turn and a coroutine to resume. It returns nil when r is to look again, and false
// when r is to end.
func (t *turn) choose(r *runner) (*localCoro, bool) {
	t.mu.Lock()
	r.coro = nil
	if t.active != r { // abandoned: somebody else has the turn
		t.mu.Unlock()
		return nil, false
	}
	if t.ready.count == 0 {
		t.active = nil
		t.current.Store(nil)
		return nil, t.parkUnlock(r)
	}
	c := t.ready.pop()
	t.current.Store(c)
	if c.detached {
		t.active = c.run
		c.detached = false
		back := c.back
		ok := t.parkUnlockThen(r, func() { back <- struct{}{} })
		return nil, ok
	}
	c.run, r.coro = r, c
	t.mu.Unlock()
	return c, true
}

// parkUnlock parks r until it gets the turn; it reports false when r is to end.
func (t *turn) parkUnlock(r *runner) bool { return t.parkUnlockThen(r, func() {}) }

func (t *turn) parkUnlockThen(r *runner, then func()) bool {
	keep := !t.closed && len(t.spare) < maxSpare
	if keep {
		t.spare = append(t.spare, r)
	}
	t.mu.Unlock()
	then()
	if !keep {
		return false
	}
	<-r.wake
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.active == r
}

// abandon takes the turn from c, if c has it, and counts its runner no more: it never comes back, or late. When c's
// function has just ended all the same, its runner goes on as ever.
func (t *turn) abandon(c *localCoro) {
	t.mu.Lock()
	r := c.run
	if r == nil || r.coro != c {
		t.mu.Unlock()
		return
	}
	r.lost = true
	next, parked := t.dropLocked(r)
	t.mu.Unlock()
	t.live.Done()
	t.kick(next, parked)
}

// release takes the turn from c, which has it and goes on without it on its own goroutine.
func (t *turn) release(c *localCoro) {
	t.mu.Lock()
	next, parked := t.dropLocked(c.run)
	t.mu.Unlock()
	t.kick(next, parked)
}

// dropLocked takes the turn from r, if r has it, and gives it to another runner when something is ready. The caller
// kicks that one after unlocking.
func (t *turn) dropLocked(r *runner) (next *runner, parked bool) {
	if t.active != r {
		return nil, false
	}
	t.active = nil
	t.current.Store(nil)
	return t.promoteLocked()
}

// enter takes the turn back for c after release; it waits until c's turn comes.
func (t *turn) enter(c *localCoro) {
	t.mu.Lock()
	if t.active == nil {
		t.active = c.run
		t.startClockLocked()
		t.current.Store(c)
		t.mu.Unlock()
		return
	}
	if c.back == nil {
		c.back = make(chan struct{}, 1)
	}
	c.detached = true
	t.ready.push(c)
	t.mu.Unlock()
	<-c.back
}

// idle reports whether no other coroutine waits for the turn.
func (t *turn) idle() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ready.count == 0
}

// close ends the parked runners; those that still have coroutines to end follow when they are done.
func (t *turn) close() {
	t.mu.Lock()
	t.closed = true
	t.stopClockLocked()
	spare := t.spare
	t.spare = nil
	t.mu.Unlock()
	for _, r := range spare {
		r.wake <- struct{}{}
	}
}

// resume runs c until it yields or ends. Called by the runner with the turn.
func (c *localCoro) resume() {
	if c.next == nil {
		c.next, _ = iter.Pull(c.body)
	}
	c.next()
}

// ring is a queue of coroutines.
type ring struct {
	items []*localCoro // its length is a power of two; count items from head on
	head  int
	count int
}

func (q *ring) push(c *localCoro) {
	if q.count == len(q.items) {
		items := make([]*localCoro, max(16, 2*len(q.items)))
		n := copy(items, q.items[q.head:])
		copy(items[n:], q.items[:q.head])
		q.items, q.head = items, 0
	}
	q.items[(q.head+q.count)&(len(q.items)-1)] = c
	q.count++
}

func (q *ring) pop() *localCoro {
	c := q.items[q.head]
	q.items[q.head] = nil
	q.head = (q.head + 1) & (len(q.items) - 1)
	q.count--
	return c
}
