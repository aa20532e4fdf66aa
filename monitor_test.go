package discoro_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/internal/testkit/live"
)

// TestMonitorWhereOthersGiveUp notifies every watcher once, whichever waiters gave up before.
func TestMonitorWhereOthersGiveUp(t *testing.T) {
	const n = 6
	rt := live.Runtime(t)
	c := rt.Spawn("watched", func(c *discoro.Coro) (any, error) { return c.Receive() })
	var cancels []context.CancelFunc
	var between []*discoro.Coro
	gaveUp := make(chan error, n)
	watcher := live.Collector(rt)
	for i := range n {
		ctx, cancel := context.WithCancel(t.Context())
		cancels = append(cancels, cancel)
		go func() { gaveUp <- c.Wait(ctx) }()
		watched(t, c, 2*i+1)
		b := rt.Spawn("between", func(b *discoro.Coro) (any, error) {
			_, err := b.Receive() // the Exit
			return nil, errors.Join(err, watcher.Send(i))
		})
		between = append(between, b)
		if err := c.Monitor(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	for i, k := range []int{3, 0, 5, 1, 4, 2} { // from the middle, the start and the end
		cancels[k]()
		if err := testkit.Next(t, gaveUp); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		watched(t, c, 2*n-1-i)
	}
	live.Send(t, c, nil)
	if err := c.Wait(testkit.Context(t)); err != nil {
		t.Fatal(err)
	}
	for _, b := range between {
		if err := b.Wait(testkit.Context(t)); err != nil {
			t.Fatal(err)
		}
	}
	live.Send(t, watcher, "enough")
	got, err := discoro.Result[[]any](testkit.Context(t), watcher)
	if err != nil || len(got) != n {
		t.Fatalf("%v, %v", got, err)
	}
	for i := range n {
		if !slices.Contains(got, any(i)) {
			t.Errorf("watcher %d was told nothing: %v", i, got)
		}
	}
}

// TestMonitorWithoutWatcher returns an error, and does not crash when the coroutine ends.
func TestMonitorWithoutWatcher(t *testing.T) {
	rt := live.Runtime(t)
	c := rt.Spawn("watched", func(c *discoro.Coro) (any, error) { return c.Receive() })
	if err := c.Monitor(t.Context(), nil); !errors.Is(err, discoro.ErrRejected) {
		t.Errorf("%v", err)
	}
	live.Send(t, c, nil)
	if err := c.Wait(testkit.Context(t)); err != nil {
		t.Error(err)
	}
}

// TestMonitorAcrossBrokenLink brings ErrDisconnected, once, when the runtime of the coroutine is
// lost, and the outcome of coroutines that had ended before. A Monitor that comes too late does the
// same.
func TestMonitorAcrossBrokenLink(t *testing.T) {
	home, here := live.Runtime(t), live.Runtime(t)
	ended := home.Spawn("ended", func(c *discoro.Coro) (any, error) { _, err := c.Receive(); return 1, err })
	stays := home.Spawn("stays", func(c *discoro.Coro) (any, error) { return c.Receive() })
	watcher := here.Spawn("watcher", func(c *discoro.Coro) (any, error) {
		var exits []discoro.Exit
		for range 2 {
			e, err := discoro.ReceiveAs[discoro.Exit](c)
			if err != nil {
				return exits, err
			}
			exits = append(exits, e)
			if len(exits) == 1 {
				if err := stays.Register("first came"); err != nil {
					return exits, err
				}
			}
		}
		return exits, nil
	})
	for _, c := range []*discoro.Coro{ended, stays} {
		h := live.HandleAt(t, here, c)
		if err := c.Unregister("it"); err != nil {
			t.Fatal(err)
		}
		if err := h.Monitor(testkit.Context(t), watcher); err != nil {
			t.Fatal(err)
		}
		watched(t, c, 1)
	}
	live.Send(t, ended, nil)
	for ctx := testkit.Context(t); ; {
		if _, err := home.Locate(ctx, "first came"); err == nil {
			break
		} else if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	if err := here.Disconnect(home.Location()); err != nil {
		t.Fatal(err)
	}
	exits, err := discoro.Result[[]discoro.Exit](testkit.Context(t), watcher)
	if err != nil || len(exits) != 2 {
		t.Fatalf("%v, %v", exits, err)
	}
	if n, err := discoro.ExitResult[int](exits[0]); n != 1 || err != nil {
		t.Errorf("the one that had ended: %v, %v", n, err)
	}
	if !errors.Is(exits[1].Err, discoro.ErrDisconnected) {
		t.Errorf("the one that stays: %v", exits[1].Err)
	}
	live.Send(t, stays, nil)
}

// TestMonitorOfManyByOne notifies one watcher of the ends of many coroutines, of each once.
func TestMonitorOfManyByOne(t *testing.T) {
	const n = 500
	rt := live.Runtime(t)
	left := map[*discoro.Coro]bool{}
	watcher := rt.Spawn("watcher", func(c *discoro.Coro) (any, error) {
		for i := range n {
			child := c.Spawn("child", func(c *discoro.Coro) (any, error) { return nil, c.Yield() })
			left[child] = true
			if i%2 == 0 { // half of them have ended before
				if err := child.Wait(c); err != nil {
					return nil, err
				}
			}
			if err := child.Monitor(c, c); err != nil {
				return nil, err
			}
		}
		for range n {
			e, err := discoro.ReceiveAs[discoro.Exit](c)
			if err != nil || e.Err != nil || !left[e.Coro] {
				t.Errorf("%v, %v", e, err)
			}
			delete(left, e.Coro)
		}
		if msg, err := c.ReceiveTimeout(0); err == nil {
			t.Errorf("one more: %v", msg)
		}
		return nil, nil
	})
	if err := watcher.Wait(testkit.Context(t)); err != nil || len(left) != 0 {
		t.Errorf("%d are left, %v", len(left), err)
	}
}

// TestMonitorOfNobody monitors a coroutine that never existed, several times. Each monitor brings
// exactly one Exit.
func TestMonitorOfNobody(t *testing.T) {
	t.Parallel()
	const monitors = 3
	rt, home := live.Runtime(t), live.Runtime(t)
	if _, err := rt.Connect(testkit.Context(t), home.Location().String()); err != nil {
		t.Fatal(err)
	}
	exits := make(chan discoro.Exit, 2*monitors)
	watcher := rt.Spawn("watcher", func(c *discoro.Coro) (any, error) {
		for {
			e, err := discoro.ReceiveAs[discoro.Exit](c)
			if err != nil {
				return nil, err
			}
			exits <- e
		}
	})
	nobody := discoro.Nobody(rt, home)
	for range monitors {
		if err := nobody.Monitor(testkit.Context(t), watcher); err != nil {
			t.Error(err)
		}
	}
	for range monitors {
		if e := testkit.Next(t, exits); e.Coro != nobody || !errors.Is(e.Err, discoro.ErrNotFound) {
			t.Errorf("an exit of %v with %v", e.Coro, e.Err)
		}
	}
	if _, err := rt.Locate(testkit.Context(t), "unknown", home.Location()); !errors.Is(err, discoro.ErrNotFound) { // one more would have come
		t.Error(err)
	}
	if n := len(exits); n > 0 {
		t.Errorf("%d exits too many", n)
	}
}
