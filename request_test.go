package discoro_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/internal/testkit/live"
)

// answerer spawns a coroutine that answers each request in the way that the request asks for.
func answerer(rt *discoro.Runtime) *discoro.Coro {
	return rt.Spawn("answerer", func(c *discoro.Coro) (any, error) {
		for {
			r, err := discoro.ReceiveAs[*discoro.Request](c)
			if err != nil {
				return nil, err
			}
			switch r.Msg {
			case "twice":
				err = r.Reply(1)
				if again := r.Reply(2); !errors.Is(again, discoro.ErrExists) {
					err = fmt.Errorf("a second reply: %w", again)
				}
			case "fail":
				err = r.Reply(errBoom)
			case "nil":
				err = r.Reply(nil)
			case "hand over":
				c.Spawn("other", func(*discoro.Coro) (any, error) { return nil, r.Reply("the other") })
			case "end":
				return r, nil
			default:
				err = r.Reply(r.Msg)
			}
			if err != nil {
				return nil, err
			}
		}
	})
}

// TestAsk asks in every way: in the same runtime and from another one, inside a coroutine and
// outside.
func TestAsk(t *testing.T) {
	t.Parallel()
	for _, remote := range []bool{false, true} {
		for _, coro := range []bool{false, true} {
			t.Run(fmt.Sprintf("remote=%v/inside=%v", remote, coro), func(t *testing.T) {
				t.Parallel()
				home := live.Runtime(t)
				here := home
				if remote {
					here = live.Runtime(t)
				}
				local := answerer(home)
				to := live.HandleAt(t, here, local)
				if !coro {
					checkAsk(t, testkit.Context(t), to, local)
					return
				}
				c := here.Spawn("asks", func(c *discoro.Coro) (any, error) { checkAsk(t, c, to, local); return nil, nil })
				if err := c.Wait(testkit.Context(t)); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func checkAsk(t *testing.T, ctx context.Context, to, local *discoro.Coro) { //nolint:revive // t comes first in helpers
	t.Helper()
	if n, err := discoro.Ask[int](ctx, to, 42); n != 42 || err != nil {
		t.Errorf("%v, %v", n, err)
	}
	if n, err := discoro.Ask[int](ctx, to, "twice"); n != 1 || err != nil {
		t.Errorf("answered twice: %v, %v", n, err)
	}
	if _, err := discoro.Ask[int](ctx, to, "fail"); !errors.Is(err, errBoom) {
		t.Errorf("answered with an error: %v", err)
	}
	if v, err := discoro.Ask[any](ctx, to, "nil"); v != nil || err != nil {
		t.Errorf("answered with nil: %v, %v", v, err)
	}
	if _, err := discoro.Ask[int](ctx, to, "text"); !errors.Is(err, discoro.ErrType) {
		t.Errorf("a string as an int: %v", err)
	}
	if s, err := discoro.Ask[string](ctx, to, "hand over"); s != "the other" || err != nil {
		t.Errorf("handed over: %q, %v", s, err)
	}
	if n := discoro.Watches(local); n != 0 && to == local {
		t.Errorf("%d requests are left behind", n)
	}
	if _, err := discoro.Ask[int](ctx, to, "end"); !errors.Is(err, discoro.ErrNotFound) {
		t.Errorf("the receiver ends without a reply: %v", err)
	}
	if _, err := discoro.Ask[int](ctx, to, 1); !errors.Is(err, discoro.ErrNotFound) {
		t.Errorf("one that has ended: %v", err)
	}
	r, err := discoro.Result[*discoro.Request](ctx, local)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Reply(1); !errors.Is(err, discoro.ErrExists) {
		t.Errorf("a reply after the receiver has ended: %v", err)
	}
}

// TestAskNeverReceived ends a coroutine while a request is still in its mailbox. The request fails.
func TestAskNeverReceived(t *testing.T) {
	rt := live.Runtime(t)
	to := rt.Spawn("never receives", func(c *discoro.Coro) (any, error) {
		<-c.Done()
		return nil, nil
	})
	asked := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := discoro.Ask[int](context.Background(), to, 1)
			asked <- err
		}()
	}
	watched(t, to, 2)
	live.Terminate(t, to)
	for range 2 {
		if err := testkit.Next(t, asked); !errors.Is(err, discoro.ErrNotFound) {
			t.Errorf("%v", err)
		}
	}
}

// TestAskGivenUp ends the wait of Ask. Nothing is left of the request, and the late reply goes
// nowhere.
func TestAskGivenUp(t *testing.T) {
	rt := live.Runtime(t)
	late := make(chan error, 1)
	to := rt.Spawn("late", func(c *discoro.Coro) (any, error) {
		r, err := discoro.ReceiveAs[*discoro.Request](c)
		if err == nil {
			_, err = c.Receive()
		}
		if err == nil {
			late <- r.Reply(1)
		}
		return nil, err
	})
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan error, 1)
	go func() {
		_, err := discoro.Ask[int](ctx, to, 1)
		asked <- err
	}()
	watched(t, to, 1)
	cancel()
	if err := testkit.Next(t, asked); !errors.Is(err, context.Canceled) {
		t.Errorf("Ask: %v", err)
	}
	watched(t, to, 0)
	live.Send(t, to, "now")
	if err := testkit.Next(t, late); err != nil {
		t.Errorf("Reply: %v", err)
	}
	if err := to.Wait(testkit.Context(t)); err != nil {
		t.Error(err)
	}
}

// TestReplyTooLate replies when Ask no longer waits. That is no error for the replier, here and in
// another runtime.
func TestReplyTooLate(t *testing.T) {
	t.Parallel()
	for _, remote := range []bool{false, true} {
		t.Run(fmt.Sprintf("remote=%v", remote), func(t *testing.T) {
			t.Parallel()
			home := live.Runtime(t)
			here := home
			if remote {
				here = live.Runtime(t)
			}
			received := make(chan struct{})
			late := home.Spawn("late", func(c *discoro.Coro) (any, error) {
				r, err := discoro.ReceiveAs[*discoro.Request](c)
				if err != nil {
					return nil, err
				}
				close(received)
				if _, err := c.Receive(); err != nil {
					return nil, err
				}
				return nil, r.Reply(1)
			})
			to := live.HandleAt(t, here, late)
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-received
				cancel()
			}()
			if _, err := discoro.Ask[int](ctx, to, "?"); !errors.Is(err, context.Canceled) {
				t.Errorf("ask: %v", err)
			}
			if err := to.Send("go on"); err != nil { // behind the news that nobody waits
				t.Fatal(err)
			}
			if err := late.Wait(testkit.Context(t)); err != nil {
				t.Errorf("reply: %v", err)
			}
		})
	}
}
