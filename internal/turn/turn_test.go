package turn

import (
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// job is a task with a function.
type job struct {
	task Task
	f    func(c *job)
	stop func(struct{}) bool // gives up the turn
	done chan struct{}       // closed at the end of f
}

func (j *job) Run(yield func(struct{}) bool) {
	defer close(j.done)
	j.stop = yield
	j.f(j)
}

// newTurn returns a turn; end closes it and waits for its runners.
func newTurn() (t *Turn, end func()) {
	t = &Turn{}
	t.Init()
	return t, func() {
		t.Close()
		t.Wait()
	}
}

// spawn puts a task that runs f into t.
func spawn(t *Turn, f func(c *job)) *job {
	j := &job{f: f, done: make(chan struct{})}
	j.task.Owner = j
	t.Put(&j.task)
	return j
}

// yield has c, which has the turn, wait for its next one.
func yield(t *Turn, c *job) {
	t.Put(&c.task)
	c.stop(struct{}{})
}

// TestOneAtATime has tasks yield, and release the turn, and counts without a lock meanwhile.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	u, end := newTurn()
	const tasks, rounds = 50, 200
	count := 0
	var jobs []*job
	for range tasks {
		jobs = append(jobs, spawn(u, func(c *job) {
			for i := range rounds {
				if u.Current() != &c.task {
					t.Error("another task has the turn")
				}
				count++
				if i%3 != 0 {
					yield(u, c)
					continue
				}
				u.Release(&c.task)
				runtime.Gosched()
				u.Enter(&c.task)
			}
		}))
	}
	for _, j := range jobs {
		<-j.done
	}
	end()
	if count != tasks*rounds {
		t.Errorf("counted %d, want %d", count, tasks*rounds)
	}
	if u.Current() != nil || !u.Idle() {
		t.Error("the turn is not free at the end")
	}
}

// TestOrder has tasks run in the order in which they were put.
func TestOrder(t *testing.T) {
	t.Parallel()
	u, end := newTurn()
	defer end()
	var order, want []int
	first := make(chan struct{})
	jobs := []*job{spawn(u, func(*job) { <-first })}
	for i := range 40 { // the queue grows
		jobs = append(jobs, spawn(u, func(c *job) {
			order = append(order, i)
			yield(u, c)
			order = append(order, i)
		}))
	}
	close(first)
	for _, j := range jobs {
		<-j.done
	}
	for i := range 80 {
		want = append(want, i%40)
	}
	if !slices.Equal(order, want) {
		t.Errorf("order %v", order)
	}
}

// TestPutBeforeYield wakes a task before it has switched back to its runner.
func TestPutBeforeYield(t *testing.T) {
	t.Parallel()
	u, end := newTurn()
	defer end()
	other := spawn(u, func(*job) {})
	j := spawn(u, func(c *job) {
		for range 1000 {
			u.Put(&c.task)
			runtime.Gosched()
			c.stop(struct{}{})
		}
	})
	<-j.done
	<-other.done
}

// TestGoexit ends a runner by runtime.Goexit in its task. The others go on, and Wait counts right.
func TestGoexit(t *testing.T) {
	t.Parallel()
	u, end := newTurn()
	for range 10 {
		j := spawn(u, func(c *job) {
			yield(u, c)
			runtime.Goexit()
		})
		<-j.done
	}
	<-spawn(u, func(*job) {}).done
	end()
}

// TestAbandon takes the turn from tasks that do not yield, with the turn and without it.
func TestAbandon(t *testing.T) {
	t.Parallel()
	u, end := newTurn()
	release := make(chan struct{})
	entered := make(chan struct{})
	holds := spawn(u, func(*job) { close(entered); <-release })
	<-entered
	released := make(chan struct{})
	outside := spawn(u, func(c *job) {
		u.Release(&c.task)
		close(released)
		<-release
	})
	free := spawn(u, func(*job) {})
	u.Abandon(&holds.task)
	<-free.done
	<-released
	u.Abandon(&outside.task)
	end() // waits for neither
	close(release)
	<-holds.done
	<-outside.done
}

// TestAbandonAfterTheEnd abandons tasks whose function has just ended. Their runner goes on, and
// Wait still waits for it.
func TestAbandonAfterTheEnd(t *testing.T) {
	t.Parallel()
	u, end := newTurn()
	for range 3 {
		j := spawn(u, func(*job) {})
		<-j.done
		state := func() (busy, lost bool) {
			u.mu.Lock()
			defer u.mu.Unlock()
			return j.task.runner.task != nil, j.task.runner.lost
		}
		for busy, _ := state(); busy; busy, _ = state() { // its runner has not chosen again
			runtime.Gosched()
		}
		u.Abandon(&j.task)
		if _, lost := state(); lost {
			t.Fatal("Wait does not wait for a runner that is at work")
		}
	}
	end()
}

// TestClock has the clock go while a task has the turn, and stand still otherwise.
func TestClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		u, end := newTurn()
		start := time.Now()
		<-time.After(time.Hour)
		if u.Now() != 0 {
			t.Errorf("the clock of an idle turn goes: %d", u.Now())
		}
		j := spawn(u, func(*job) {
			began := u.Now()
			if at := u.Time(began).Sub(start); at != time.Hour || u.WaitsSince() != began {
				t.Errorf("a task begins at %v", at)
			}
			<-time.After(1005 * time.Millisecond) // with the turn
			if d := time.Duration(u.Now() - began); d != time.Second {
				t.Errorf("the clock tells %v", d)
			}
		})
		<-j.done
		<-time.After(2 * clockTick)
		stands := u.Now()
		<-time.After(time.Hour)
		if u.Now() != stands {
			t.Error("the clock goes on without a task")
		}
		<-spawn(u, func(*job) {
			if at := u.Time(u.WaitsSince()).Sub(start); at < 2*time.Hour {
				t.Errorf("the clock goes on from %v", at)
			}
		}).done
		end()
	})
}

// TestGoroutineID tells goroutines apart, and keeps a goroutine's ID while its stack grows.
func TestGoroutineID(t *testing.T) {
	t.Parallel()
	const n = 100
	ids := make(chan uintptr, n)
	var wg sync.WaitGroup
	over := make(chan struct{})
	for range n {
		wg.Go(func() {
			id := GoroutineID()
			if grow(1000); GoroutineID() != id {
				t.Error("a goroutine's ID changes")
			}
			ids <- id
			<-over
		})
	}
	seen := map[uintptr]bool{GoroutineID(): true}
	for range n {
		seen[<-ids] = true
	}
	close(over)
	wg.Wait()
	if len(seen) != n+1 || seen[0] {
		t.Errorf("%d IDs of %d goroutines", len(seen), n+1)
	}
}

//go:noinline
func grow(n int) int {
	var room [64]byte
	if n == 0 {
		return int(room[0])
	}
	return grow(n-1) + int(room[n%64])
}
