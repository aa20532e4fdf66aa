package discoro

import (
	"errors"
	"testing"
	"time"
)

// TestAbandonAtTheEnd lets grace periods pass while functions end by themselves, in every order.
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
