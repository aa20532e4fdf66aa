package discoro_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/internal/testkit/live"
)

// TestTurnUnderLoad has thousands of coroutines share a variable without a lock, and wait in every
// way there is. The race detector and the count show when two of them ran at once. A wait that
// nobody ends shows as a timeout.
func TestTurnUnderLoad(t *testing.T) {
	const workers, rounds = 2000, 12
	rt := live.Runtime(t)
	count := 0 // shared, under the turn alone
	server := rt.Spawn("server", func(c *discoro.Coro) (any, error) {
		for {
			r, err := discoro.ReceiveAs[*discoro.Request](c)
			if err != nil {
				return nil, err
			}
			count++
			if err := r.Reply(r.Msg); err != nil {
				return nil, err
			}
		}
	})
	work := func(c *discoro.Coro, next func() *discoro.Coro, i int) error {
		switch i % 8 {
		case 0:
			return c.Yield()
		case 1:
			return c.Sleep(time.Duration(i%97) * time.Microsecond)
		case 2:
			return c.Blocking(func() error { runtime.Gosched(); return nil })
		case 3:
			n, err := discoro.Ask[int](c, server, i)
			if err == nil && n != i {
				err = fmt.Errorf("asked %d, answered %d", i, n)
			}
			return err
		case 4: // the neighbour sends one too, so that as many come as are received
			if err := next().Send(i); err != nil {
				return err
			}
			_, err := c.Receive()
			return err
		case 5: // with a context of its own, which ends before, with, or after what is waited for
			ctx, cancel := context.WithTimeout(c, time.Duration(i%53)*time.Microsecond)
			defer cancel()
			child := c.Spawn("child", func(c *discoro.Coro) (any, error) {
				count++
				return nil, c.Sleep(time.Duration(i%31) * time.Microsecond)
			})
			if err := child.Wait(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
			return child.Wait(c)
		case 6: // a context that has nothing to do with the coroutine
			child := c.Spawn("child", func(*discoro.Coro) (any, error) { count++; return nil, nil })
			return child.Wait(context.Background())
		default: // a helper waits with the coroutine's context, while that holds the turn
			helped := make(chan error)
			child := c.Spawn("child", func(*discoro.Coro) (any, error) { count++; return nil, nil })
			go func() { helped <- child.Wait(c) }()
			count++
			return c.Blocking(func() error { return <-helped })
		}
	}
	coros := make([]*discoro.Coro, workers)
	start := make(chan struct{})
	for w := range coros {
		coros[w] = rt.Spawn("worker", func(c *discoro.Coro) (any, error) {
			if err := c.Blocking(func() error { <-start; return nil }); err != nil {
				return nil, err
			}
			next := func() *discoro.Coro { return coros[(w+8)%workers] } // its i is 4 as often as ours
			for r := range rounds {
				count++
				if err := work(c, next, w+r); err != nil {
					return nil, fmt.Errorf("round %d: %w", r, err)
				}
				count++
			}
			return nil, nil
		})
	}
	close(start)
	want := 0
	for w, c := range coros {
		if err := c.Wait(testkit.Context(t)); err != nil {
			t.Fatalf("worker %d: %v", w, err)
		}
		for r := range rounds {
			want += 2
			if k := (w + r) % 8; k == 3 || k == 5 || k == 6 {
				want++
			} else if k == 7 {
				want += 2
			}
		}
	}
	live.Terminate(t, server)
	_ = server.Wait(testkit.Context(t))
	if count != want {
		t.Errorf("counted %d, want %d: two coroutines ran at once", count, want)
	}
}

// TestHelperCannotGiveUpTheTurn has a goroutine that a coroutine started wait with that coroutine's
// context, and with contexts derived from it, while the coroutine has the turn. No other coroutine
// may run until the coroutine yields.
func TestHelperCannotGiveUpTheTurn(t *testing.T) {
	inside(t, func(c *discoro.Coro) error {
		derived, cancel := context.WithCancel(c)
		defer cancel()
		ran := false
		other := c.Spawn("other", func(*discoro.Coro) (any, error) { ran = true; return nil, nil })
		for _, ctx := range []context.Context{c, derived, context.WithoutCancel(c)} {
			waiting := make(chan error, 1)
			bound, stop := context.WithTimeout(ctx, 5*time.Millisecond)
			defer stop()
			go func() { waiting <- other.Wait(bound) }()
			if err := <-waiting; !errors.Is(err, context.DeadlineExceeded) { // with the turn
				t.Errorf("a helper's wait: %v", err)
			}
			if ran {
				t.Error("another coroutine ran")
			}
		}
		return other.Wait(c)
	})
}

// TestWaitGivesUpTheTurn has a coroutine wait for one that has to run first, with each kind of
// context.
func TestWaitGivesUpTheTurn(t *testing.T) {
	inside(t, func(c *discoro.Coro) error {
		derived, cancel := context.WithCancel(context.WithValue(c, t, t))
		defer cancel()
		for _, ctx := range []context.Context{c, derived, context.WithoutCancel(c), context.Background()} {
			other := c.Spawn("other", func(*discoro.Coro) (any, error) { return nil, nil })
			if err := other.Wait(ctx); err != nil {
				t.Errorf("%T: %v", ctx, err)
			}
		}
		return nil
	})
}

// TestYieldTakesTurns has coroutines yield. They run in the order in which they were spawned, again
// and again.
func TestYieldTakesTurns(t *testing.T) {
	inside(t, func(c *discoro.Coro) error {
		var order []int
		var coros []*discoro.Coro
		for i := range 3 {
			coros = append(coros, c.Spawn("turns", func(c *discoro.Coro) (any, error) {
				for range 3 {
					order = append(order, i)
					if err := c.Yield(); err != nil {
						return nil, err
					}
				}
				return nil, nil
			}))
		}
		for _, other := range coros {
			if err := other.Wait(c); err != nil {
				return err
			}
		}
		if !slices.Equal(order, []int{0, 1, 2, 0, 1, 2, 0, 1, 2}) {
			t.Errorf("order %v", order)
		}
		return nil
	})
}

// TestBlockingLetsOthersRun has many coroutines in Blocking at once, while others run and end.
func TestBlockingLetsOthersRun(t *testing.T) {
	const blocked = 20
	rt := live.Runtime(t)
	release := make(chan struct{})
	entered := make(chan struct{}, blocked)
	shared := 0
	var coros []*discoro.Coro
	for range blocked {
		coros = append(coros, rt.Spawn("blocks", func(c *discoro.Coro) (any, error) {
			err := c.Blocking(func() error {
				entered <- struct{}{}
				<-release
				return errBoom
			})
			shared++
			return nil, err
		}))
	}
	for range blocked {
		testkit.Next(t, entered)
	}
	free := rt.Spawn("free", func(c *discoro.Coro) (any, error) { shared++; return nil, c.Yield() })
	if err := free.Wait(testkit.Context(t)); err != nil {
		t.Error(err)
	}
	close(release)
	for _, c := range coros {
		if err := c.Wait(testkit.Context(t)); !errors.Is(err, errBoom) {
			t.Errorf("Blocking: %v", err)
		}
	}
	if shared != blocked+1 {
		t.Errorf("%d", shared)
	}
}

// waits are the states in which a coroutine can be when it is terminated. Each reports what its
// wait returned.
var waits = []struct {
	name string
	wait func(c, peer *discoro.Coro) error
	want error
	once bool // cannot be tried again after the end has begun
}{
	{"Receive", func(c, _ *discoro.Coro) error { _, err := c.Receive(); return err }, discoro.ErrTerminated, false},
	{"ReceiveTimeout", func(c, _ *discoro.Coro) error { _, err := c.ReceiveTimeout(time.Hour); return err }, discoro.ErrTerminated, false},
	{"ReceiveAs", func(c, _ *discoro.Coro) error { _, err := discoro.ReceiveAs[int](c); return err }, discoro.ErrTerminated, false},
	{"Sleep", func(c, _ *discoro.Coro) error { return c.Sleep(time.Hour) }, discoro.ErrTerminated, false},
	{"Wait", func(c, peer *discoro.Coro) error { return peer.Wait(c) }, discoro.ErrTerminated, false},
	{"Wait with a derived context", func(c, peer *discoro.Coro) error {
		ctx, cancel := context.WithTimeout(c, time.Hour)
		defer cancel()
		return peer.Wait(ctx)
	}, discoro.ErrTerminated, false},
	{"Wait with another context", func(c, _ *discoro.Coro) error {
		child := c.Spawn("child", func(c *discoro.Coro) (any, error) { return c.Receive() })
		return child.Wait(context.Background())
	}, discoro.ErrTerminated, true},
	{"Ask", func(c, peer *discoro.Coro) error { _, err := discoro.Ask[int](c, peer, 1); return err }, discoro.ErrTerminated, false},
	{"Blocking", func(c, _ *discoro.Coro) error { return c.Blocking(func() error { <-c.Done(); return nil }) }, discoro.ErrTerminated, false},
	{"Blocking that fails", func(c, _ *discoro.Coro) error { return c.Blocking(func() error { <-c.Done(); return errBoom }) }, errBoom, true},
	{"Yield", func(c, _ *discoro.Coro) error {
		for {
			if err := c.Yield(); err != nil {
				return err
			}
		}
	}, discoro.ErrTerminated, false},
}

// TestTerminateInEveryState ends each wait by Terminate, and by closing the runtime. From then on
// every yield point returns at once, and deferred functions run.
func TestTerminateInEveryState(t *testing.T) {
	t.Parallel()
	for _, w := range waits {
		for _, closes := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/close=%v", w.name, closes), func(t *testing.T) {
				t.Parallel()
				rt, elsewhere := live.Runtime(t), live.Runtime(t)
				peer := elsewhere.Spawn("peer", func(c *discoro.Coro) (any, error) {
					for {
						if err := c.Sleep(time.Hour); err != nil {
							return nil, err
						}
					}
				})
				waiting := make(chan struct{})
				deferred, after := false, map[string]error{}
				c := rt.Spawn("waits", func(c *discoro.Coro) (any, error) {
					defer func() {
						deferred = true
						for _, w := range waits {
							if !w.once {
								after[w.name] = w.wait(c, peer)
							}
						}
					}()
					if err := c.Send(1); err != nil { // something to receive, and nothing that changes the end
						return nil, err
					}
					if _, err := c.Receive(); err != nil {
						return nil, err
					}
					close(waiting)
					return nil, w.wait(c, peer)
				})
				testkit.Next(t, waiting)
				if w.name != "Yield" {
					live.UntilWaiting(t, rt, c)
				}
				if closes {
					if err := rt.Close(); err != nil {
						t.Error(err)
					}
				} else {
					live.Terminate(t, c)
				}
				if err := c.Wait(testkit.Context(t)); !errors.Is(err, w.want) {
					t.Errorf("%v, want %v", err, w.want)
				}
				if !deferred {
					t.Error("its deferred functions have not run")
				}
				for name, err := range after {
					if !errors.Is(err, discoro.ErrTerminated) {
						t.Errorf("%s afterwards: %v", name, err)
					}
				}
			})
		}
	}
}

// TestCloseNeverRuns closes a runtime whose coroutines have not run yet. They end without running.
func TestCloseNeverRuns(t *testing.T) {
	rt := live.Runtime(t)
	holding, release := make(chan struct{}), make(chan struct{})
	rt.Spawn("holds the turn", func(*discoro.Coro) (any, error) {
		close(holding)
		<-release
		return nil, nil
	})
	testkit.Next(t, holding)
	var coros []*discoro.Coro
	for range 10 {
		coros = append(coros, rt.Spawn("never", func(*discoro.Coro) (any, error) {
			t.Error("it ran")
			return nil, nil
		}))
	}
	closed := make(chan error)
	go func() { closed <- rt.Close() }()
	for _, c := range coros {
		<-c.Done() // terminated
	}
	close(release)
	if err := testkit.Next(t, closed); err != nil {
		t.Error(err)
	}
	for _, c := range coros {
		if err := c.Wait(testkit.Context(t)); !errors.Is(err, discoro.ErrTerminated) {
			t.Errorf("Wait: %v", err)
		}
	}
}

// TestAbandonedFreesTheTurn abandons coroutines that keep the turn for ever, one of them right
// after another one. The others go on, those that only waited for the turn get it, and Close does
// not wait for the abandoned ones.
func TestAbandonedFreesTheTurn(t *testing.T) {
	rt := live.Runtime(t)
	discoro.SetGrace(rt, 30*time.Millisecond)
	release := make(chan struct{})
	lateEnds := make(chan error, 3)
	started := make(chan struct{}, 3)
	stuck := func(c *discoro.Coro) (any, error) {
		started <- struct{}{}
		<-release
		_, err := c.Receive()
		lateEnds <- errors.Join(err, c.Yield(), c.Blocking(func() error { return errBoom }))
		return 1, nil
	}
	holders := []*discoro.Coro{rt.Spawn("first", stuck), rt.Spawn("second", stuck), rt.Spawn("third", stuck)}
	polite := rt.Spawn("polite", func(*discoro.Coro) (any, error) {
		t.Error("it ran though it was terminated before")
		return nil, nil
	})
	free := rt.Spawn("free", func(c *discoro.Coro) (any, error) { return 5, c.Yield() })
	testkit.Next(t, started) // the first
	live.Terminate(t, polite)
	for i, c := range holders {
		if i == 1 { // it is terminated with the turn: the third has it then
			continue
		}
		live.Terminate(t, c)
	}
	if err := holders[0].Wait(testkit.Context(t)); !errors.Is(err, discoro.ErrTerminated) {
		t.Errorf("the first: %v", err)
	}
	testkit.Next(t, started) // the second
	live.Terminate(t, holders[1])
	for _, c := range append(holders[1:], polite) {
		if err := c.Wait(testkit.Context(t)); !errors.Is(err, discoro.ErrTerminated) {
			t.Errorf("%v: %v", c, err)
		}
	}
	if n, err := discoro.Result[int](testkit.Context(t), free); n != 5 || err != nil {
		t.Errorf("the free one: %v, %v", n, err)
	}
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
	close(release)
	late := testkit.Next(t, lateEnds)
	if !errors.Is(late, discoro.ErrTerminated) || errors.Is(late, errBoom) {
		t.Errorf("yield points of one that was abandoned: %v", late)
	}
	if n, err := discoro.Result[int](testkit.Context(t), holders[0]); n != 0 || !errors.Is(err, discoro.ErrTerminated) {
		t.Errorf("its late end counts: %v, %v", n, err)
	}
}

// TestCloseTwice has a second Close wait for the first.
func TestCloseTwice(t *testing.T) {
	rt := live.Runtime(t)
	rt.Spawn("slow", func(c *discoro.Coro) (any, error) {
		<-c.Done()
		return nil, c.Blocking(func() error { return nil })
	})
	closed := make(chan error)
	for range 2 {
		go func() { closed <- rt.Close() }()
	}
	for range 2 {
		if err := testkit.Next(t, closed); err != nil {
			t.Error(err)
		}
	}
}
