package discoro

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/stopwatch"
	"github.com/discoro/discoro/internal/testkit"
)

// stateOf returns what c does.
func stateOf(t *testing.T, c *Coro) CoroState {
	t.Helper()
	for _, s := range c.rt.Coros() {
		if s.Coro == c {
			return s
		}
	}
	t.Fatalf("%v is not listed", c)
	return CoroState{}
}

// inState waits until c is in a state, and returns it.
func inState(t *testing.T, c *Coro, state string) CoroState {
	t.Helper()
	var s CoroState
	testkit.Eventually(t, c.Name()+" is in "+state, func() bool {
		s = stateOf(t, c)
		return s.State == state
	})
	return s
}

// TestCorosStates brings coroutines into every state, and lists them there.
func TestCorosStates(t *testing.T) {
	t.Parallel()
	ctx := testkit.Context(t)
	rt, far := twoRuntimes(t, Config{})
	deaf := far.Spawn("deaf", func(c *Coro) (any, error) { return nil, c.Sleep(time.Hour) })
	if err := deaf.Register("deaf"); err != nil {
		t.Fatal(err)
	}
	elsewhere := locate(t, rt, far, "deaf")
	over := make(chan struct{})
	idle := rt.Spawn("idle", func(c *Coro) (any, error) { return c.Receive() })
	for _, tt := range []struct {
		state string
		on    *Coro
		body  func(c *Coro) error
	}{
		{"Receive", nil, func(c *Coro) error { _, err := c.Receive(); return err }},
		{"Receive", nil, func(c *Coro) error { _, err := c.ReceiveTimeout(time.Hour); return err }},
		{"Sleep", nil, func(c *Coro) error { return c.Sleep(time.Hour) }},
		{"Blocking", nil, func(c *Coro) error { return c.Blocking(func() error { <-over; return nil }) }},
		{"Wait", idle, func(c *Coro) error { return idle.Wait(c) }},
		{"Wait", elsewhere, func(c *Coro) error { return elsewhere.Wait(c) }},
		{"Ask", idle, func(c *Coro) error { _, err := Ask[int](c, idle, 1); return err }},
		{"Ask", elsewhere, func(c *Coro) error { _, err := Ask[int](c, elsewhere, 1); return err }},
	} {
		if tt.state == "Ask" && tt.on == idle { // one that does not end when it is asked
			idle = rt.Spawn("asked", func(c *Coro) (any, error) { return nil, c.Sleep(time.Hour) })
			tt.on = idle
		}
		before := time.Now()
		c := rt.Spawn("waits", func(c *Coro) (any, error) { return nil, tt.body(c) })
		s := inState(t, c, tt.state)
		if s.On != tt.on || s.Name != "waits" || s.Coro != c {
			t.Errorf("%s: %+v", tt.state, s)
		}
		if !strings.HasPrefix(s.Func, packagePath+".TestCorosStates.func") {
			t.Errorf("%s: the function is %q", tt.state, s.Func)
		}
		if s.Since.Before(before.Add(-time.Second)) || s.Since.After(time.Now()) {
			t.Errorf("%s: since %v, spawned at %v", tt.state, s.Since, before)
		}
		again := stateOf(t, c)
		if !again.Since.Equal(s.Since) {
			t.Errorf("%s: since %v, and then since %v", tt.state, s.Since, again.Since)
		}
	}
	// One keeps the turn, and another one waits for it.
	entered := make(chan struct{})
	hog := rt.Spawn("hog", func(*Coro) (any, error) { close(entered); <-over; return nil, nil })
	testkit.Next(t, entered)
	ready := rt.Spawn("ready", func(*Coro) (any, error) { return nil, nil })
	if s := stateOf(t, hog); s.State != "running" || s.Terminated {
		t.Errorf("%+v", s)
	}
	if s := stateOf(t, ready); s.State != "ready" || time.Since(s.Since) > testkit.Patience {
		t.Errorf("%+v", s)
	}
	_ = ready.Terminate()
	if s := stateOf(t, ready); !s.Terminated {
		t.Errorf("%+v", s)
	}
	all := rt.Coros()
	for i := 1; i < len(all); i++ {
		if all[i].Coro.seq <= all[i-1].Coro.seq {
			t.Errorf("%v is listed behind %v", all[i].Coro, all[i-1].Coro)
		}
	}
	close(over)
	if err := hog.Wait(ctx); err != nil {
		t.Error(err)
	}
}

// TestCorosSince has a coroutine run for long and then wait. It waits since then, and not since the
// clock last stood still.
func TestCorosSince(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{})
	for range 3 {
		testkit.Eventually(t, "the clock stands", func() bool {
			before := rt.turn.Now()
			<-time.After(50 * time.Millisecond) // several ticks
			return rt.turn.Now() == before
		})
		var parked time.Time
		c := rt.Spawn("long", func(c *Coro) (any, error) {
			<-time.After(800 * time.Millisecond) // keeps the turn
			parked = time.Now()
			return c.Receive()
		})
		watch := stopwatch.Start(t)
		s := inState(t, c, "Receive")
		_, late := watch.Stop()
		if d := parked.Sub(s.Since).Abs(); d > 600*time.Millisecond+late {
			t.Errorf("it waits since %v; it says %v", parked, d)
		}
		if err := c.Send(1); err != nil {
			t.Error(err)
		}
		if err := c.Wait(testkit.Context(t)); err != nil {
			t.Error(err)
		}
	}
}

// TestCorosCounts counts messages.
func TestCorosCounts(t *testing.T) {
	t.Parallel()
	ctx := testkit.Context(t)
	rt := testRuntime(t, Config{})
	sink := rt.Spawn("sink", func(c *Coro) (any, error) {
		for {
			n, err := ReceiveAs[int](c)
			if err != nil {
				return nil, err
			}
			for range n {
				if _, err := c.Receive(); err != nil {
					return nil, err
				}
			}
			if length, _ := c.Mailbox(); length != 300-1-n {
				return nil, fmt.Errorf("%d messages are left", length)
			}
			if err := c.Sleep(time.Hour); err != nil {
				return nil, err
			}
		}
	})
	source := rt.Spawn("source", func(c *Coro) (any, error) {
		for range 300 {
			if err := sink.Send(200); err != nil {
				return nil, err
			}
		}
		return c.Receive()
	})
	inState(t, sink, "Sleep")
	if s := stateOf(t, sink); s.In != 300 || s.Mailbox != 99 || s.HighWater != 300 || s.Out != 0 || s.Refused != 0 {
		t.Errorf("%+v", s)
	}
	if length, high := sink.Mailbox(); length != 99 || high != 300 {
		t.Errorf("%d, %d", length, high)
	}
	inState(t, source, "Receive")
	if s := stateOf(t, source); s.Out != 300 || s.In != 0 {
		t.Errorf("%+v", s)
	}
	_ = sink.Terminate()
	if err := sink.Wait(ctx); !errors.Is(err, ErrTerminated) {
		t.Error(err)
	}
	if length, high := sink.Mailbox(); length != 0 || high != 300 {
		t.Errorf("of one that has ended: %d, %d", length, high)
	}
	if length, high := Nobody(rt, testRuntime(t, Config{})).Mailbox(); length != 0 || high != 0 {
		t.Errorf("of one elsewhere: %d, %d", length, high)
	}
}

//go:noinline
func standHere(c *Coro) error { _, err := c.Receive(); return err }

//go:noinline
func computeHere(entered, over chan struct{}) {
	close(entered)
	for {
		select {
		case <-over:
			return
		default:
			runtime.Gosched()
		}
	}
}

// TestStack finds, among many others, the stacks of coroutines that wait, run, block, and call
// Stack themselves.
func TestStack(t *testing.T) {
	t.Parallel()
	rt, far := twoRuntimes(t, Config{})
	for range 200 {
		rt.Spawn("other", func(c *Coro) (any, error) { return c.Receive() })
	}
	before, entered, blocked, over := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})
	waits := rt.Spawn("waits", func(c *Coro) (any, error) { return nil, standHere(c) })
	blocks := rt.Spawn("blocks", func(c *Coro) (any, error) {
		return nil, c.Blocking(func() error { computeHere(blocked, over); return nil })
	})
	testkit.Next(t, blocked)
	own := make(chan string, 1)
	asks := rt.Spawn("asks", func(c *Coro) (any, error) {
		stack, err := rt.Stack(c)
		own <- stack
		return nil, err
	})
	if stack := testkit.Next(t, own); !strings.Contains(stack, "TestStack.func") {
		t.Errorf("of who calls: %s", stack)
	}
	runs := rt.Spawn("runs", func(*Coro) (any, error) { close(before); computeHere(entered, over); return nil, nil })
	testkit.Next(t, before)
	testkit.Next(t, entered)
	late := rt.Spawn("late", func(*Coro) (any, error) { return nil, nil })
	for c, want := range map[*Coro]string{waits: "standHere", runs: "computeHere", blocks: "computeHere"} {
		stack, err := rt.Stack(c)
		if err != nil || strings.Count(stack, "."+want+"(") != 1 || strings.Contains(stack, "iter.Pull[...].func1()") {
			t.Errorf("%v: %v\n%s", c, err, stack)
		}
	}
	far.Spawn("there", func(*Coro) (any, error) { return nil, nil })
	for what, tt := range map[string]struct {
		c    *Coro
		want error
	}{
		"not started": {late, ErrNotFound}, "ended": {asks, ErrNotFound}, "elsewhere": {Nobody(rt, far), ErrRejected}, "nobody": {nil, ErrRejected},
	} {
		if stack, err := rt.Stack(tt.c); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v %s", what, err, stack)
		}
	}
	close(over)
}

// TestProfileLabels finds coroutines by their labels in the profile of goroutines, and no labels
// where none belong.
func TestProfileLabels(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{Name: "labels"})
	var hidden string
	c := rt.Spawn("labelled", func(c *Coro) (any, error) {
		pprof.Do(c, pprof.Labels("mine", "x"), func(context.Context) {})
		rt.start(func() { <-c.Done(); hidden = "ran" })
		return nil, standHere(c)
	})
	inState(t, c, "Receive")
	for i := range maxLabels {
		rt.Spawn(fmt.Sprint("many", i), func(*Coro) (any, error) { return nil, nil })
	}
	extra := rt.Spawn("extra", func(c *Coro) (any, error) { return nil, standHere(c) })
	inState(t, extra, "Receive")
	var buf bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&buf, 1); err != nil {
		t.Fatal(err)
	}
	name := stateOf(t, c).Func
	want := fmt.Sprintf(`{"coro":"labelled", "func":"%s", "runtime":"labels"}`, name)
	others := fmt.Sprintf(`{"coro":"(others)", "func":"%s", "runtime":"labels"}`, stateOf(t, extra).Func)
	found := map[string]int{}
	for record := range strings.SplitSeq(buf.String(), "\n\n") {
		for _, labels := range []string{want, others} {
			if strings.Contains(record, "# labels: "+labels) {
				if !strings.Contains(record, "standHere") {
					t.Errorf("another goroutine has the labels %s:\n%s", labels, record)
				}
				found[labels]++
			}
		}
	}
	if found[want] != 1 || found[others] != 1 {
		t.Errorf("%v; want %s and %s in\n%s", found, want, others, buf.String())
	}
	_ = c.Terminate()
	_ = c.Wait(testkit.Context(t))
	_ = rt.Close()
	if hidden == "" {
		t.Error("the helper did not run")
	}
}

// TestCloseFromWithin has coroutines close what runs them. That is refused at once, and the
// coroutines go on.
func TestCloseFromWithin(t *testing.T) {
	t.Parallel()
	ctx := testkit.Context(t)
	quiet := Config{Logger: discard}
	rt := testRuntime(t, quiet)
	sched, err := NewScheduler(SchedulerConfig{Config: quiet})
	if err != nil {
		t.Fatal(err)
	}
	node, err := NewNode(NodeConfig{Config: quiet, Servers: 1})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		rt    *Runtime
		close func() error
	}{
		"runtime":   {rt, rt.Close},
		"scheduler": {sched.Runtime, sched.Close},
		"node":      {node.rt, node.Close},
		"drain":     {node.rt, func() error { return node.Drain(ctx) }},
	} {
		c := tt.rt.Spawn("closer", func(c *Coro) (any, error) {
			within := c.Blocking(tt.close)
			return []error{tt.close(), within}, c.Yield()
		})
		errs, err := Result[[]error](ctx, c)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, err := range errs {
			if !errors.Is(err, ErrRejected) || !strings.Contains(err.Error(), "closer/") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for _, closeIt := range []func() error{node.Close, sched.Close} {
		if err := closeIt(); err != nil {
			t.Error(err)
		}
	}
	closed := make(chan error, 1)
	rt.Spawn("leaves", func(*Coro) (any, error) { go func() { closed <- rt.Close() }(); return nil, nil })
	if err := testkit.Next(t, closed); err != nil {
		t.Error(err)
	}
}

// TestLateWait asks a runtime for the ends of coroutines that it has forgotten, within what it
// keeps and beyond.
func TestLateWait(t *testing.T) {
	t.Parallel()
	ctx := testkit.Context(t)
	rt, far := twoRuntimes(t, Config{})
	spawn := func(val any) *Coro {
		c := far.Spawn("ends", func(c *Coro) (any, error) { _, err := c.Receive(); return val, err })
		h := rt.liveHandle(far.handleValue(c))
		if err := c.Send("go"); err != nil {
			t.Fatal(err)
		}
		if err := c.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "it is forgotten", func() bool { return !Known(c) })
		return h
	}
	first := spawn(7)
	if n, err := Result[int](ctx, first); err != nil || n != 7 {
		t.Errorf("%d, %v", n, err)
	}
	big := spawn(make([]byte, maxEndBytes/2))
	if b, err := Result[[]byte](ctx, big); err != nil || len(b) != maxEndBytes/2 {
		t.Errorf("%d, %v", len(b), err)
	}
	never := far.Spawn("private", func(*Coro) (any, error) { return 1, nil })
	if err := never.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "it is forgotten", func() bool { return !Known(never) })
	far.ends.mu.Lock()
	if n := len(far.ends.of); n != 2 {
		t.Errorf("%d ends are kept", n)
	}
	far.ends.mu.Unlock()
	if err := spawn(make([]byte, maxEndBytes)).Wait(ctx); !errors.Is(err, ErrNotFound) {
		t.Errorf("of one whose result is too large to keep: %v", err)
	}
	spawn(make([]byte, maxEndBytes/2))
	for _, h := range []*Coro{first, big} {
		err := h.Wait(ctx)
		if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "no longer known") {
			t.Errorf("beyond what is kept: %v", err)
		}
	}
	var last *Coro
	for range maxEnds + 5 {
		last = spawn(nil)
	}
	far.ends.mu.Lock()
	defer far.ends.mu.Unlock()
	sum := 0
	for _, o := range far.ends.of {
		sum += endSize(o)
	}
	if len(far.ends.of) != maxEnds || len(far.ends.order) != maxEnds || far.ends.bytes != sum || far.ends.of[last.key] == nil {
		t.Errorf("%d ends are kept, in order %d, %d bytes, %d counted", len(far.ends.of), len(far.ends.order), sum, far.ends.bytes)
	}
}

// TestStuckComesLast abandons a coroutine. A waiter learns of its end before the server's loop
// does, which may end the process.
func TestStuckComesLast(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{Logger: discard})
	rt.grace = time.Millisecond
	over := make(chan struct{})
	entered := make(chan struct{})
	c := rt.Spawn("stuck", func(*Coro) (any, error) { close(entered); <-over; return nil, nil })
	told := make(chan bool, 1)
	report := func(string) { told <- c.local.isDone() && errors.Is(c.local.outcomeNow().Err, ErrTerminated) }
	rt.stuckTo.Store(&report)
	testkit.Next(t, entered)
	_ = c.Terminate()
	if !testkit.Next(t, told) {
		t.Error("the server hears of a stuck function before its end can be seen")
	}
	close(over)
}
