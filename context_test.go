package discoro_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/internal/testkit/live"
)

// TestCoroIsContext follows a coroutine's context, and one derived from it, from the start of the
// coroutine to its end.
func TestCoroIsContext(t *testing.T) {
	ends := map[string]func(t *testing.T, c *discoro.Coro){
		"returns":       func(t *testing.T, c *discoro.Coro) { t.Helper(); live.Send(t, c, nil) },
		"is terminated": func(t *testing.T, c *discoro.Coro) { t.Helper(); live.Terminate(t, c) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			c := live.Runtime(t).Spawn("context", func(c *discoro.Coro) (any, error) { return c.Receive() })
			key := new(int)
			derived, cancel := context.WithCancel(context.WithValue(c, key, 1))
			defer cancel()
			after, never := make(chan struct{}), make(chan struct{})
			context.AfterFunc(c, func() {
				close(after)
				<-never // whoever ends the coroutine does not wait for it
			})
			defer close(never)
			stop := context.AfterFunc(derived, func() { t.Error("it was stopped") })
			if !stop() {
				t.Error("stop: it has run")
			}
			if c.Err() != nil || derived.Err() != nil || derived.Value(key) != 1 || c.Value(key) != nil {
				t.Errorf("before: %v, %v", c.Err(), derived.Err())
			}
			if _, ok := c.Deadline(); ok {
				t.Error("it has a deadline")
			}
			end(t, c)
			testkit.Next(t, c.Done())
			testkit.Next(t, after)
			testkit.Next(t, derived.Done()) // package context cancels what is derived after it has closed Done
			if err := derived.Err(); !errors.Is(err, context.Canceled) {
				t.Errorf("derived: %v", err)
			}
			for what, err := range map[string]error{
				"Err": c.Err(), "its cause": context.Cause(c), "the cause of the derived": context.Cause(derived),
			} {
				if !errors.Is(err, discoro.ErrTerminated) || !errors.Is(err, context.Canceled) {
					t.Errorf("%s: %v", what, err)
				}
			}
			late, cancel := context.WithCancel(c)
			defer cancel()
			if late.Err() == nil {
				t.Error("a context derived afterwards is not done")
			}
			_ = c.Wait(testkit.Context(t))
		})
	}
}

// TestContextMadeAfterTheEnd asks for Done for the first time when the coroutine has ended.
func TestContextMadeAfterTheEnd(t *testing.T) {
	c := live.Runtime(t).Spawn("ended", func(*discoro.Coro) (any, error) { return nil, nil })
	if err := c.Wait(testkit.Context(t)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.Done():
	default:
		t.Error("Done is open")
	}
	if !errors.Is(c.Err(), discoro.ErrTerminated) || !errors.Is(context.Cause(c), discoro.ErrTerminated) {
		t.Errorf("%v, %v", c.Err(), context.Cause(c))
	}
}

// TestRemoteHandleAsContext checks that the handle of a coroutine in another runtime is never done.
func TestRemoteHandleAsContext(t *testing.T) {
	h := handleAtEnded(t, live.Runtime(t))
	if h.Done() != nil || h.Err() != nil || h.Value(1) != nil {
		t.Errorf("%v, %v, %v", h.Done(), h.Err(), h.Value(1))
	}
}

// TestDerivedContextWakesWaits ends a context that is derived from a coroutine. That ends the waits
// with this context, and no others.
func TestDerivedContextWakesWaits(t *testing.T) {
	inside(t, func(c *discoro.Coro) error {
		mute := c.Spawn("mute", func(m *discoro.Coro) (any, error) { return nil, m.Sleep(time.Hour) })
		waits := map[string]func(ctx context.Context) error{
			"Wait": func(ctx context.Context) error { return mute.Wait(ctx) },
			"Ask":  func(ctx context.Context) error { _, err := discoro.Ask[int](ctx, mute, 1); return err },
		}
		for name, wait := range waits {
			timed, cancel := context.WithTimeout(c, time.Millisecond)
			if err := wait(timed); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s with a timeout: %v", name, err)
			}
			cancel()
			ctx, cancel := context.WithCancel(c)
			canceller := c.Spawn("cancels", func(*discoro.Coro) (any, error) { cancel(); return nil, nil })
			if err := wait(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, discoro.ErrTerminated) {
				t.Errorf("%s, cancelled while it waits: %v", name, err)
			}
			if err := wait(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("%s, cancelled before: %v", name, err)
			}
			if err := canceller.Wait(ctx); err != nil {
				t.Errorf("what has ended, with a context that has: %v", err)
			}
		}
		if n := discoro.Watches(mute); n != 0 {
			t.Errorf("%d waits are left behind", n)
		}
		return mute.Terminate()
	})
}

// TestCancelledByTermination has a terminated function return that its context was done. The
// coroutine ends with ErrTerminated.
func TestCancelledByTermination(t *testing.T) {
	rt := live.Runtime(t)
	running := make(chan struct{})
	c := rt.Spawn("derives", func(c *discoro.Coro) (any, error) {
		ctx, cancel := context.WithTimeout(c, time.Hour)
		defer cancel()
		return nil, c.Blocking(func() error {
			close(running)
			<-ctx.Done()
			return fmt.Errorf("fetch: %w", ctx.Err())
		})
	})
	testkit.Next(t, running)
	live.Terminate(t, c)
	if err := c.Wait(testkit.Context(t)); !errors.Is(err, discoro.ErrTerminated) {
		t.Errorf("%v", err)
	}
	own := rt.Spawn("its own", func(*discoro.Coro) (any, error) { return nil, context.Canceled })
	if err := own.Wait(testkit.Context(t)); !errors.Is(err, context.Canceled) || errors.Is(err, discoro.ErrTerminated) {
		t.Errorf("one that was not terminated: %v", err)
	}
}
