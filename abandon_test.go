package discoro

import (
	"errors"
	"runtime"
	"testing"
	"time"
)

// TestAbandonAfterTheEnd has the turn told that a coroutine was abandoned whose function has just ended all the same. Its
// runner goes on as ever, and Close still waits for it.
func TestAbandonAfterTheEnd(t *testing.T) {
	rt, err := NewRuntime()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c := rt.Spawn("ended", func(*Coro) (any, error) { return nil, nil })
		if err := c.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		state := func() (busy, lost bool) {
			rt.turn.mu.Lock()
			defer rt.turn.mu.Unlock()
			return c.local.run.coro != nil, c.local.run.lost
		}
		for busy, _ := state(); busy; busy, _ = state() { // its runner tells those who wait, and then goes on
			runtime.Gosched()
		}
		rt.turn.abandon(c.local)
		_, lost := state()
		if lost {
			t.Fatal("Close does not wait for a runner that is at work")
		}
	}
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
}

// TestAbandonAtTheEnd lets grace periods run out while functions end by themselves, in every order.
func TestAbandonAtTheEnd(t *testing.T) {
	rt, err := NewRuntime(Config{Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	rt.grace = 200 * time.Microsecond
	for i := range 300 {
		d := time.Duration(100+i) * time.Microsecond
		entered := make(chan struct{})
		spin := func(*Coro) (any, error) {
			close(entered)
			for end := time.Now().Add(d); time.Now().Before(end); { //nolint:revive // it computes, and does not yield
			}
			return 1, nil
		}
		if i%2 == 1 {
			own := spin
			spin = func(c *Coro) (any, error) {
				return 1, c.Blocking(func() error { _, err := own(c); return err })
			}
		}
		c := rt.Spawn("ends", spin)
		<-entered
		if err := c.Terminate(); err != nil {
			t.Fatal(err)
		}
		n, err := Result[int](t.Context(), c)
		if err != nil && !errors.Is(err, ErrTerminated) || err == nil && n != 1 {
			t.Fatalf("%d, %v", n, err)
		}
		after := rt.Spawn("after", func(c *Coro) (any, error) { return nil, c.Yield() })
		if err := after.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
}
