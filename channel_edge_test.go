package discoro

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/testkit"
)

// TestChannelCloseWhileLeaving closes channels while their subscribers leave.
func TestChannelCloseWhileLeaving(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{})
	var cs []*Coro
	for range 64 {
		cs = append(cs, rt.Spawn("stays", func(c *Coro) (any, error) { return c.Receive() }))
	}
	for range 50 {
		ch := newChannel(t, rt)
		for _, c := range cs {
			wantError(t, "Subscribe", ch.Subscribe(testkit.Context(t), c), nil)
		}
		var wg sync.WaitGroup
		for _, c := range cs {
			wg.Go(func() { _ = ch.Unsubscribe(testkit.Context(t), c) })
		}
		wg.Go(func() { _ = ch.Close() })
		wg.Wait()
		if n := ch.hub.count(); n != 0 {
			t.Fatalf("%d are left", n)
		}
	}
}

// TestChannelHandlesOfOthers uses, in one process, a channel's handle of one runtime with a
// coroutine's handle of another one. Their numbers are equal, which must not matter.
func TestChannelHandlesOfOthers(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{})
	third := testRuntime(t, Config{Name: "third"})
	own := newChannel(t, a)
	gots := map[string]<-chan any{}
	for _, rt := range []*Runtime{a, b, third} {
		gots[rt.Name()] = collect(t, rt, rt.Name())
	}
	for _, ch := range []*Channel{own, channelAt(b, own)} {
		for _, rt := range []*Runtime{a, b, third} {
			wantError(t, "Subscribe of "+rt.Name(), ch.Subscribe(testkit.Context(t), rt.named(rt.Name())), nil)
		}
		n, err := own.Deliver(testkit.Context(t), "all", 3)
		if wantError(t, "Deliver", err, nil); n != 3 {
			t.Errorf("%d have it", n)
		}
		for name, got := range gots {
			if msg := testkit.Next(t, got); msg != "all" {
				t.Errorf("%s: %v came", name, msg)
			}
		}
		for _, rt := range []*Runtime{a, b, third} {
			wantError(t, "Unsubscribe of "+rt.Name(), ch.Unsubscribe(testkit.Context(t), rt.named(rt.Name())), nil)
		}
		if n := own.hub.count(); n != 0 {
			t.Errorf("%d are left", n)
		}
	}
}

// TestChannelZeroHandles uses handles that nobody made.
func TestChannelZeroHandles(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{})
	own := newChannel(t, rt)
	wantError(t, "Subscribe", own.Subscribe(testkit.Context(t), nil), ErrRejected)
	wantError(t, "Subscribe", own.Subscribe(testkit.Context(t), &Coro{}), ErrRejected)
	wantError(t, "Unsubscribe", own.Unsubscribe(testkit.Context(t), &Coro{}), ErrRejected)
}

// TestChannelFullMailboxElsewhere sends more to a subscriber in another runtime than its mailbox
// may hold.
func TestChannelFullMailboxElsewhere(t *testing.T) {
	t.Parallel()
	a := testRuntime(t, Config{Name: "a"})
	b := testRuntime(t, Config{Name: "b", MaxMailbox: 1})
	connect(t, b, a.Location())
	own := newChannel(t, a)
	c, let, got := gated(t, b, "gated")
	wantError(t, "Subscribe", channelAt(b, own).Subscribe(testkit.Context(t), c), nil)
	const n = 20
	for i := range n {
		wantError(t, "Send", own.Send(fmt.Sprint(i)), nil)
	}
	testkit.Eventually(t, "all are there", func() bool { return stateOf(t, c).In+stateOf(t, c).Refused == n })
	if s := stateOf(t, c); s.Refused != 0 {
		t.Errorf("%d were refused", s.Refused)
	}
	for i := range n {
		select {
		case let <- struct{}{}:
		case <-time.After(testkit.Patience):
			t.Fatal("it does not receive")
		}
		select {
		case msg := <-got:
			if msg != fmt.Sprint(i) {
				t.Fatalf("%v came, not %d", msg, i)
			}
		case <-time.After(testkit.Patience):
			t.Fatalf("message %d never came", i)
		}
	}
}

// TestChannelManySlowSubscribers unsubscribes many coroutines of one peer at once. The sender gets
// one error for them.
func TestChannelManySlowSubscribers(t *testing.T) {
	t.Parallel()
	log := &testkit.Log{}
	a := testRuntime(t, Config{Name: "a", MsgTimeout: 200 * time.Millisecond, Logger: log.Logger()})
	b := testRuntime(t, Config{Name: "b"})
	p := newProxy(t, a.Location())
	connect(t, b, p.location())
	own := newChannel(t, a)
	c := b.Spawn("slow", func(c *Coro) (any, error) { return c.Receive() })
	wantError(t, "Subscribe", channelAt(b, own).Subscribe(testkit.Context(t), c), nil)
	l := upLink(t, a, b)
	for i := range uint64(500) { // of coroutines that there are not, which makes no difference here
		if err := own.hub.subscribe(nil, l, 1<<32+i); err != nil {
			t.Fatal(err)
		}
	}
	p.Freeze()
	body := make([]byte, 1<<10)
	var err error
	for range 10000 {
		if err = own.Send(body); err != nil {
			break
		}
	}
	wantError(t, "Send", err, ErrTimeout)
	if text := fmt.Sprint(err); len(text) > 1000 || !strings.Contains(text, "other subscribers") {
		t.Errorf("%d bytes: %.300s", len(text), text)
	}
	if n := log.Count("a channel's subscriber was dropped"); n != 1 {
		t.Errorf("%d lines of the log tell of it", n)
	}
	p.Thaw()
}
