package discoro

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/testkit"
)

// gated spawns a coroutine that receives one message for each value on a channel, and passes it on.
func gated(t *testing.T, rt *Runtime, name string) (c *Coro, let chan<- struct{}, got <-chan any) {
	t.Helper()
	gate, out := make(chan struct{}), make(chan any, 1024)
	c = rt.Spawn(name, func(c *Coro) (any, error) {
		for {
			if err := c.Blocking(func() error {
				select {
				case <-gate:
				case <-c.Done():
				}
				return nil
			}); err != nil {
				return nil, err
			}
			msg, err := c.Receive()
			if err != nil {
				return nil, err
			}
			out <- msg
		}
	})
	if err := c.Register(name); err != nil {
		t.Fatal(err)
	}
	return c, gate, out
}

func fill(t *testing.T, c *Coro, n int) {
	t.Helper()
	for i := range n {
		if err := c.Send(i); err != nil {
			t.Fatal(err)
		}
	}
}

// waiting returns how many messages wait for room at c.
func waiting(c *Coro) int {
	c.local.mu.Lock()
	defer c.local.mu.Unlock()
	if c.local.room == nil {
		return 0
	}
	return len(c.local.room.waits)
}

// TestMailboxFullHere has senders of the same runtime, goroutines and coroutines, wait at a full
// mailbox in Send, Deliver and Ask.
func TestMailboxFullHere(t *testing.T) {
	t.Parallel()
	ctx := testkit.Context(t)
	rt := testRuntime(t, Config{MaxMailbox: 3})
	c, let, got := gated(t, rt, "gated")
	fill(t, c, 3)
	errs := make(chan error, 4)
	send := func(n int, f func() error) {
		go func() { errs <- f() }()
		testkit.Eventually(t, "it waits", func() bool { return waiting(c) == n })
	}
	send(1, func() error { return c.Send(3) })
	sender := rt.Spawn("sender", func(*Coro) (any, error) { return nil, c.Send(4) })
	if s := inState(t, sender, "Send"); s.On != c {
		t.Errorf("%+v", s)
	}
	send(3, func() error { return c.Deliver(ctx, 5) })
	send(4, func() error { _, err := Ask[int](ctx, c, 6); return err })
	if n, high := c.Mailbox(); n != 3 || high != 3 {
		t.Errorf("%d, %d", n, high)
	}
	for want := range 7 {
		let <- struct{}{}
		msg := testkit.Next(t, got)
		if r, ok := msg.(*Request); ok {
			msg = r.Msg
			if err := r.Reply(1); err != nil {
				t.Error(err)
			}
		}
		if msg != want {
			t.Errorf("%v came, not %d", msg, want)
		}
	}
	for range 3 {
		if err := testkit.Next(t, errs); err != nil {
			t.Error(err)
		}
	}
	if err := sender.Wait(ctx); err != nil {
		t.Error(err)
	}
	if n, high := c.Mailbox(); n != 0 || high != 3 {
		t.Errorf("%d, %d", n, high)
	}
}

// TestMailboxFullTooLong has senders give up. What they did not send does not arrive.
func TestMailboxFullTooLong(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{MaxMailbox: 1, MsgTimeout: 50 * time.Millisecond})
	c, let, got := gated(t, rt, "gated")
	fill(t, c, 1)
	check := func(what string, err error, want error) {
		t.Helper()
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "MaxMailbox is 1") || !strings.Contains(err.Error(), "gated/") {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	check("Send", c.Send("late"), ErrTimeout)
	short, cancel := context.WithTimeout(testkit.Context(t), time.Millisecond)
	defer cancel()
	check("Deliver", c.Deliver(short, "late"), context.DeadlineExceeded)
	_, err := Ask[int](short, c, "late")
	check("Ask", err, context.DeadlineExceeded)
	self := rt.Spawn("gated", func(c *Coro) (any, error) {
		if err := c.Send(1); err != nil {
			return nil, err
		}
		errs := []error{c.Send(2), c.Deliver(c, 2), c.Blocking(func() error { return c.Send(2) })}
		return errs, nil
	})
	errs, err := Result[[]error](testkit.Context(t), self)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range errs {
		check("to itself", err, ErrRejected)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Deliver(testkit.Context(t), "never") }()
	testkit.Eventually(t, "it waits", func() bool { return waiting(c) == 1 })
	_ = c.Terminate()
	if err := testkit.Next(t, ended); !errors.Is(err, ErrNotFound) {
		t.Errorf("when the receiver ends: %v", err)
	}
	select {
	case let <- struct{}{}:
	case <-c.Done():
	}
	select {
	case msg := <-got:
		if msg != 0 {
			t.Errorf("%v came", msg)
		}
	default:
	}
}

// TestMailboxFullElsewhere sends over a link to a full mailbox. Deliver and Ask wait, Send is
// refused and counted, and the link goes on.
func TestMailboxFullElsewhere(t *testing.T) {
	t.Parallel()
	ctx := testkit.Context(t)
	log := &testkit.Log{}
	near := testRuntime(t, Config{})
	home := testRuntime(t, Config{MaxMailbox: 2, Logger: log.Logger()})
	c, let, got := gated(t, home, "gated")
	other := collect(t, home, "other")
	far := locate(t, near, home, "gated")
	fill(t, far, 5)
	if err := locate(t, near, home, "other").Deliver(ctx, "through"); err != nil {
		t.Error(err)
	}
	if msg := testkit.Next(t, other); msg != "through" {
		t.Errorf("%v", msg)
	}
	if s := stateOf(t, c); s.Mailbox != 2 || s.HighWater != 2 || s.Refused != 3 || s.In != 2 {
		t.Errorf("%+v", s)
	}
	if n := log.Count("mailbox is full"); n != 1 {
		t.Errorf("%d lines are logged:\n%s", n, log)
	}
	errs := make(chan error, 2)
	go func() { errs <- far.Deliver(ctx, 2) }()
	testkit.Eventually(t, "Deliver waits", func() bool { return waiting(c) == 1 })
	go func() {
		n, err := Ask[int](ctx, far, 3)
		if err == nil && n != 33 {
			err = fmt.Errorf("%d", n)
		}
		errs <- err
	}()
	testkit.Eventually(t, "Ask waits", func() bool { return waiting(c) == 2 })
	short, cancel := context.WithCancel(ctx)
	gaveUp := make(chan error, 2)
	go func() { gaveUp <- far.Deliver(short, "not") }()
	go func() { _, err := Ask[int](short, far, "not"); gaveUp <- err }()
	testkit.Eventually(t, "four wait", func() bool { return waiting(c) == 4 })
	cancel()
	for range 2 {
		if err := testkit.Next(t, gaveUp); !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
	}
	testkit.Eventually(t, "two wait", func() bool { return waiting(c) == 2 })
	exit := home.Spawn("ends", func(*Coro) (any, error) { return nil, nil })
	if err := exit.Monitor(ctx, far); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "an Exit is taken", func() bool { n, _ := c.Mailbox(); return n == 3 })
	for _, want := range []any{0, 1, Exit{}, 2, 3} {
		let <- struct{}{}
		switch msg := testkit.Next(t, got).(type) {
		case Exit:
			if _, ok := want.(Exit); !ok {
				t.Errorf("an Exit came, not %v", want)
			}
		case *Request:
			if msg.Msg != want {
				t.Errorf("%v came, not %v", msg.Msg, want)
			}
			if err := msg.Reply(33); err != nil {
				t.Error(err)
			}
		default:
			if msg != want {
				t.Errorf("%v came, not %v", msg, want)
			}
		}
	}
	for range 2 {
		if err := testkit.Next(t, errs); err != nil {
			t.Error(err)
		}
	}
}

// TestMailboxWaitsBounded checks the bound on the bytes that wait for room.
func TestMailboxWaitsBounded(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(testkit.Context(t))
	near := testRuntime(t, Config{})
	home := testRuntime(t, Config{MaxMailbox: 1})
	c, _, _ := gated(t, home, "gated")
	far := locate(t, near, home, "gated")
	fill(t, far, 1)
	large := make([]byte, maxWaitBytes)
	first := make(chan error, 1)
	go func() { first <- far.Deliver(ctx, large) }()
	testkit.Eventually(t, "it waits", func() bool { return waiting(c) == 1 })
	if err := far.Deliver(ctx, large); !errors.Is(err, ErrRejected) {
		t.Errorf("beyond the bound: %v", err)
	}
	if _, err := Ask[int](ctx, far, large); !errors.Is(err, ErrRejected) {
		t.Errorf("beyond the bound: %v", err)
	}
	near.net.If(home.id).Fail(errors.New("cut"))
	if err := testkit.Next(t, first); !errors.Is(err, ErrDisconnected) {
		t.Error(err)
	}
	testkit.Eventually(t, "nothing waits", func() bool { return waiting(c) == 0 })
	c.local.mu.Lock()
	if n := c.local.room.bytes; n != 0 {
		t.Errorf("%d bytes wait", n)
	}
	c.local.mu.Unlock()
	cancel()
}

// TestMailboxLimitChecked has Config refuse limits that make no sense.
func TestMailboxLimitChecked(t *testing.T) {
	t.Parallel()
	for _, n := range []int{-1, maxMailbox + 1} {
		if _, err := NewRuntime(Config{MaxMailbox: n}); err == nil || !strings.Contains(err.Error(), "Config.MaxMailbox") {
			t.Errorf("%d: %v", n, err)
		}
	}
}
