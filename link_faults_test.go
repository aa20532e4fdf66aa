package discoro

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/wire"
)

// brokenLinkEndsEverything checks that every pending call fails with ErrDisconnected, and that every
// monitor fires once, however many there are and whenever they were made.
func brokenLinkEndsEverything(t *testing.T) {
	t.Parallel()
	b := testRuntime(t, Config{Name: "b"})
	a := testRuntime(t, Config{Name: "a"})
	p := newProxy(t, b.Location())
	connect(t, a, p.location())
	l := upLink(t, a, b)
	b.Spawn("silent", func(c *Coro) (any, error) {
		if err := c.Register("silent"); err != nil {
			return nil, err
		}
		<-c.Done()
		return nil, c.Err()
	})
	quiet := b.Spawn("quiet", func(c *Coro) (any, error) { return nil, c.Sleep(time.Hour) })
	if err := quiet.Register("quiet"); err != nil {
		t.Fatal(err)
	}
	c := locate(t, a, b, "quiet")
	ctx := testkit.Context(t)
	exits := collect(t, a, "exits")
	const monitors = 100
	for range monitors {
		if err := c.Monitor(ctx, a.named("exits")); err != nil {
			t.Fatal(err)
		}
	}
	pending := map[string]func() error{
		"Wait": func() error { return c.Wait(ctx) },
		"Ask":  func() error { _, err := Ask[int](ctx, c, 1); return err },
	}
	failed := make(chan error, len(pending))
	for verb, do := range pending {
		go func() {
			if err := do(); !errors.Is(err, ErrDisconnected) {
				failed <- fmt.Errorf("%s: %w, want ErrDisconnected", verb, err)
				return
			}
			failed <- nil
		}()
	}
	served := upLink(t, b, a)
	testkit.Eventually(t, "all are served", func() bool {
		return served.Load().Served == monitors+len(pending)
	})
	p.Cut()
	for range pending {
		if err := testkit.Next(t, failed); err != nil {
			t.Error(err)
		}
	}
	for range monitors {
		if e, ok := testkit.Next(t, exits).(Exit); !ok || e.Coro != c || !errors.Is(e.Err, ErrDisconnected) {
			t.Errorf("a monitor fired with %+v", e)
		}
	}
	for _, l := range []*link.Link{l, served} {
		if err := waitEnded(t, l); !errors.Is(err, ErrDisconnected) {
			t.Errorf("a link ended with %v", err)
		}
	}
	testkit.Eventually(t, "nobody waits at the coroutine any more", func() bool {
		quiet.local.mu.Lock()
		defer quiet.local.mu.Unlock()
		return len(quiet.local.watches) == 0
	})
	// A new link is a new incarnation: the coroutine is reached again, and no monitor fires twice.
	if err := c.Deliver(ctx, "again"); err != nil {
		t.Errorf("over a new link: %v", err)
	}
	if upLink(t, a, b) == l {
		t.Error("the link came back to life")
	}
	select {
	case e := <-exits:
		t.Errorf("one more monitor fired: %+v", e)
	default:
	}
}

// fullQueue checks what senders see of a peer that does not read: they wait, and then get an error.
// When the peer reads again, everything that was sent arrives in order, and nothing else does.
func fullQueue(t *testing.T) {
	t.Parallel()
	b := testRuntime(t, Config{Name: "b"})
	// The timeout is too short to dial on a busy machine.
	a := testRuntime(t, Config{Name: "a", MsgTimeout: 300 * time.Millisecond})
	p := newProxy(t, a.Location())
	connect(t, b, p.location())
	got := collect(t, b, "collect")
	l := upLink(t, a, b)
	c := coroAt(a, b.named("collect"))
	p.Freeze()
	body := strings.Repeat("x", 256<<10)
	sent := 0
	var err error
	for ; sent < 1000; sent++ {
		if err = c.Send([]any{sent, body}); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "not sent") || errors.Is(err, ErrDisconnected) {
		t.Fatalf("after %d messages: %v, want ErrTimeout", sent, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Deliver(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Deliver: %v, want the context's error", err)
	}
	waiting, queued := l.Load().Waiting, l.Load().Queued
	if waiting != 0 || queued > link.MaxQueue+len(body)+100 {
		t.Errorf("%d senders are remembered and %d bytes held", waiting, queued)
	}
	p.Thaw()
	seen := make([]int, 0, sent)
	for range sent {
		seen = append(seen, testkit.Next(t, got).([]any)[0].(int))
	}
	if err := testkit.CheckLedger(seen, sent); err != nil {
		t.Error(err)
	}
	if err := c.Deliver(testkit.Context(t), "y"); err != nil {
		t.Error(err)
	}
	if msg := testkit.Next(t, got); msg != "y" {
		t.Errorf("%.50v came, which was not sent", msg)
	}
}

// manySendersShareAQueue checks that each sender's messages stay in order when all senders wait for room.
func manySendersShareAQueue(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{})
	got := collect(t, b, "collect")
	c := locate(t, a, b, "collect")
	const senders, each = 16, 40
	body := strings.Repeat("x", 64<<10)
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				if err := c.Send([]any{s, i, body}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	seen := make([][]int, senders)
	for range senders * each {
		msg := testkit.Next(t, got).([]any)
		s := msg[0].(int)
		seen[s] = append(seen[s], msg[1].(int))
	}
	wg.Wait()
	for s := range seen {
		if err := testkit.CheckLedger(seen[s], each); err != nil {
			t.Errorf("sender %d: %v", s, err)
		}
	}
}

// madeUpHandle checks that a forged handle leads nowhere, and that this is known soon.
func madeUpHandle(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{})
	for _, c := range []*Coro{
		{rt: a, loc: b.Location(), key: 1, name: "zero identity"},
		{rt: a, home: b.id, loc: Location{Addr: "no such host.", Port: -1}, key: 1 << 60, name: "no such number"},
	} {
		if err := c.Deliver(testkit.Context(t), 1); !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrDisconnected) {
			t.Errorf("%s: %v", c.name, err)
		}
		exits := collect(t, a, "exits of "+c.name)
		if err := c.Monitor(testkit.Context(t), a.named("exits of "+c.name)); err != nil {
			t.Error(err)
		}
		if e, ok := testkit.Next(t, exits).(Exit); !ok || e.Err == nil {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
}

// TestAskOfOneThatEnds asks coroutines that end at that moment. Every question gets an answer, and nothing
// panics.
func TestAskOfOneThatEnds(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{})
	ctx := testkit.Context(t)
	for i := range 300 {
		name := fmt.Sprintf("ends-%d", i)
		c := b.Spawn(name, func(c *Coro) (any, error) { _, err := c.Receive(); return nil, err })
		if err := c.Register(name); err != nil {
			t.Fatal(err)
		}
		there := locate(t, a, b, name)
		done := make(chan error, 2)
		go func() { done <- c.Terminate() }()
		go func() {
			_, err := Ask[int](ctx, there, 1)
			if errors.Is(err, ErrNotFound) || errors.Is(err, ErrTerminated) {
				err = nil
			}
			done <- err
		}()
		for range 2 {
			if err := testkit.Next(t, done); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestAskInTheMomentOfAnEnd asks a coroutine that has ended and is still in the tables, where it stays for a
// moment.
func TestAskInTheMomentOfAnEnd(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{})
	c := rt.Spawn("ended", func(*Coro) (any, error) { return 1, nil })
	if err := c.Wait(testkit.Context(t)); err != nil {
		t.Fatal(err)
	}
	key := publicKey(c)
	rt.mu.Lock()
	rt.coros[c.seq], rt.public[key] = c.local, c.local
	rt.mu.Unlock()
	h := newHostile(t, rt, false)
	h.send(&wire.Ask{Call: 1, To: key}, &wire.Wait{Call: 2, Of: key}, &wire.Deliver{Call: 3, To: key})
	r := wire.NewReader(h.frames, 1<<20)
	for call := range uint64(3) {
		f, _, err := r.Next()
		if reply, ok := f.(*wire.Reply); err != nil || !ok || reply.Call != call+1 ||
			(reply.Outcome.Err == nil) != (call == 1) {
			t.Errorf("%+v, %v", f, err)
		}
	}
	rt.forget(c.local, nil)
}
