package turn

import (
	"context"
	"iter"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"
)

// Turn lets at most one task run between yield points. Init must be called first. The methods are
// safe for concurrent use, except those whose comment names the task's own goroutine.
type Turn struct {
	live    sync.WaitGroup       // the runners, except those that abandoned tasks keep
	current atomic.Pointer[Task] // the task that has the turn; written under mu, read by anybody
	clock   clock

	mu     sync.Mutex // guards following; leaf
	ready  ring       // tasks that can run, in order
	active *runner    // the runner with the turn; nil: the turn is free and nothing is ready
	spare  []*runner  // runners without work, parked
	closed bool
}

// runner is a goroutine that resumes tasks.
type runner struct {
	wake chan struct{} // capacity 1: the runner, or the detached task above it, has the turn or is to end
	task *Task         // guarded by Turn.mu: what it has resumed, until it chooses again
	lost bool          // guarded by Turn.mu: its task was abandoned, and Wait does not wait for it
}

// maxSpare is how many runners stay parked. There are more only while as many tasks have released
// the turn.
const maxSpare = 4

// Init makes t ready for use.
func (t *Turn) Init() { t.clock.base = time.Now() }

// Put makes c run when its turn comes. c must be new, have yielded, or be about to yield.
func (t *Turn) Put(c *Task) {
	t.mu.Lock()
	t.ready.push(c)
	r, parked := t.promoteLocked()
	t.mu.Unlock()
	t.kick(r, parked)
}

// Release takes the turn from c, which has it and goes on without it. Only c's own goroutine may
// call it. Enter is the way back.
func (t *Turn) Release(c *Task) {
	t.mu.Lock()
	next, parked := t.dropLocked(c.runner)
	t.mu.Unlock()
	t.kick(next, parked)
}

// Enter gives the turn back to c after Release. It blocks until c's turn comes. Only c's own
// goroutine may call it.
func (t *Turn) Enter(c *Task) {
	t.mu.Lock()
	r := c.runner
	if t.active == nil {
		t.active = r
		t.startClockLocked()
		t.current.Store(c)
		t.mu.Unlock()
		return
	}
	c.detached = true
	t.ready.push(c)
	t.mu.Unlock()
	<-r.wake
}

// Abandon takes the turn from c, if c has it, and no longer counts c's runner: the runner comes
// back late or never. When c's function has just ended, Abandon does nothing, and the runner goes
// on.
func (t *Turn) Abandon(c *Task) {
	t.mu.Lock()
	r := c.runner
	if r == nil || r.task != c {
		t.mu.Unlock()
		return
	}
	r.lost = true
	next, parked := t.dropLocked(r)
	t.mu.Unlock()
	t.live.Done()
	t.kick(next, parked)
}

// Current returns the task that has the turn, nil when there is none. The answer may be out of date
// when it arrives, except for the task itself.
func (t *Turn) Current() *Task { return t.current.Load() }

// Idle reports whether no task waits for the turn.
func (t *Turn) Idle() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ready.count == 0
}

// Close ends the parked runners. A runner that still has tasks to resume ends when nothing is
// ready.
func (t *Turn) Close() {
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

// Wait blocks until every runner has ended, except those that abandoned tasks keep. Call Close
// first.
func (t *Turn) Wait() { t.live.Wait() }

// promoteLocked gives a free turn to a runner when a task is ready. The caller passes the runner to
// kick after unlocking.
func (t *Turn) promoteLocked() (r *runner, parked bool) {
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

// dropLocked takes the turn from r, if r has it, and gives it to another runner when a task is
// ready. The caller passes that runner to kick after unlocking.
func (t *Turn) dropLocked(r *runner) (next *runner, parked bool) {
	if t.active != r {
		return nil, false
	}
	t.active = nil
	t.current.Store(nil)
	return t.promoteLocked()
}

// kick makes r go: it wakes a parked runner and starts a new one. A nil r is none.
func (t *Turn) kick(r *runner, parked bool) {
	switch {
	case r == nil:
	case parked:
		r.wake <- struct{}{}
	default:
		t.live.Add(1)
		go t.run(r)
	}
}

// run is a runner's goroutine. It ends after Close, when enough others are parked, or when its task
// was abandoned.
func (t *Turn) run(r *runner) {
	pprof.SetGoroutineLabels(context.Background()) // not those of the goroutine that started it
	ended := false
	defer func() {
		if !ended { // a task's function called runtime.Goexit, which ends this goroutine too
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

// choose waits until r has the turn and a task to resume. It returns nil when r is to look again,
// and false when r is to end.
func (t *Turn) choose(r *runner) (*Task, bool) {
	t.mu.Lock()
	r.task = nil
	if t.active != r { // its task was abandoned, and another runner has the turn
		t.mu.Unlock()
		return nil, false
	}
	if t.ready.count == 0 {
		t.active = nil
		t.current.Store(nil)
		return nil, t.parkUnlock(r, nil)
	}
	c := t.ready.pop()
	t.current.Store(c)
	if c.detached { // it has a runner underneath it, which takes the turn over
		c.detached = false
		t.active = c.runner
		return nil, t.parkUnlock(r, c.runner)
	}
	c.runner, r.task = r, c
	t.mu.Unlock()
	return c, true
}

// parkUnlock wakes next, unless that is nil, and parks r until it gets the turn. It reports false
// when r is to end.
func (t *Turn) parkUnlock(r, next *runner) bool {
	keep := !t.closed && len(t.spare) < maxSpare
	if keep {
		t.spare = append(t.spare, r)
	}
	t.mu.Unlock()
	if next != nil {
		next.wake <- struct{}{}
	}
	if !keep {
		return false
	}
	<-r.wake
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.active == r
}

// Task is a coroutine as the turn sees it. Embed it in the owner's type, and set Owner before the
// first Put.
type Task struct {
	// Owner is the coroutine whose Run the task runs.
	Owner Owner

	next     func() (struct{}, bool) // owned by the runner with the turn
	runner   *runner                 // guarded by Turn.mu: the runner that resumed it last
	detached bool                    // guarded by Turn.mu: waits in Enter
}

// Owner is what a task runs.
type Owner interface {
	// Run is the task's function. It runs in a goroutine of its own, and begins with the turn.
	// yield gives the turn to the runner; it returns when the task was Put and its turn came. Run
	// must recover panics; [runtime.Goexit] may end it.
	Run(yield func(struct{}) bool)
}

// resume runs c until it yields or ends. The runner with the turn calls it.
func (c *Task) resume() {
	if c.next == nil {
		// Owner.Run itself, without a function around it: another frame would make the stacks of
		// short coroutines grow at their end, which costs as much as all the rest of a spawn.
		c.next, _ = iter.Pull(c.Owner.Run)
	}
	if _, more := c.next(); !more {
		c.next = nil // so that a handle that is kept does not keep the coroutine's state
	}
}

// ring is a queue of tasks.
type ring struct {
	items []*Task // its length is a power of two; count items from head on
	head  int
	count int
}

func (q *ring) push(c *Task) {
	if q.count == len(q.items) {
		items := make([]*Task, max(16, 2*len(q.items)))
		n := copy(items, q.items[q.head:])
		copy(items[n:], q.items[:q.head])
		q.items, q.head = items, 0
	}
	q.items[(q.head+q.count)&(len(q.items)-1)] = c
	q.count++
}

func (q *ring) pop() *Task {
	c := q.items[q.head]
	q.items[q.head] = nil
	q.head = (q.head + 1) & (len(q.items) - 1)
	q.count--
	return c
}
