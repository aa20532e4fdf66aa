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

// channelAt returns rt's handle of a channel.
func channelAt(rt *Runtime, ch *Channel) *Channel { return rt.liveChannel(ch.handleValue()) }

// coroAt returns rt's handle of a coroutine.
func coroAt(rt *Runtime, c *Coro) *Coro { return rt.liveHandle(c.rt.handleValue(c)) }

func newChannel(t *testing.T, rt *Runtime) *Channel {
	t.Helper()
	ch, err := rt.NewChannel("news")
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// subscribed returns a new coroutine of rt that is subscribed to ch, and what it receives.
func subscribed(t *testing.T, rt *Runtime, ch *Channel, name string) (*Coro, <-chan any) {
	t.Helper()
	got := collect(t, rt, name)
	c := rt.named(name)
	if err := channelAt(rt, ch).Subscribe(testkit.Context(t), c); err != nil {
		t.Fatal(err)
	}
	return c, got
}

// wantError checks a method's error.
func wantError(t *testing.T, verb string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || want == nil && err != nil {
		t.Errorf("%s: %v, want %v", verb, err, want)
	}
}

// TestChannel calls all methods with owner, subscriber and caller in one, two and three runtimes.
func TestChannel(t *testing.T) {
	t.Parallel()
	rts := []*Runtime{testRuntime(t, Config{Name: "0"}), testRuntime(t, Config{Name: "1"}), testRuntime(t, Config{Name: "2"})}
	for _, at := range [][3]int{{0, 0, 0}, {0, 0, 1}, {0, 1, 0}, {0, 1, 1}, {0, 1, 2}} {
		t.Run(fmt.Sprintf("owner %d, subscriber %d, caller %d", at[0], at[1], at[2]), func(t *testing.T) {
			t.Parallel()
			testChannel(t, rts[at[0]], rts[at[1]], rts[at[2]])
		})
	}
}

func testChannel(t *testing.T, owner, home, caller *Runtime) {
	t.Helper()
	ctx := testkit.Context(t)
	own := newChannel(t, owner)
	ch := channelAt(caller, own)
	name := t.Name()
	got := collect(t, home, name)
	c := coroAt(caller, home.named(name))
	deliver := func(n, want int) {
		t.Helper()
		if reached, err := ch.Deliver(ctx, "delivered", n); err != nil || reached != want {
			t.Errorf("Deliver to %d: %d, %v, want %d", n, reached, err, want)
		}
	}
	deliver(0, 0)
	wantError(t, "Send to nobody", ch.Send("lost"), nil)
	deliver(0, 0) // behind it: the owner has seen that nobody wants it
	wantError(t, "Unsubscribe at first", ch.Unsubscribe(ctx, c), ErrNotFound)
	wantError(t, "Subscribe", ch.Subscribe(ctx, c), nil)
	wantError(t, "Subscribe again", ch.Subscribe(ctx, c), ErrExists)
	wantError(t, "Subscribe nobody", ch.Subscribe(ctx, nil), ErrRejected)
	const n = 2000
	for i := range n {
		wantError(t, "Send", ch.Send(i), nil)
	}
	deliver(1, 1)
	deliver(-1, 1)
	var seen []int
	for range n {
		seen = append(seen, testkit.Next(t, got).(int))
	}
	wantError(t, "what came", testkit.CheckLedger(seen, n), nil)
	for range 2 {
		if msg := testkit.Next(t, got); msg != "delivered" {
			t.Errorf("%v came", msg)
		}
	}
	wantError(t, "Unsubscribe", ch.Unsubscribe(ctx, c), nil)
	wantError(t, "Unsubscribe again", ch.Unsubscribe(ctx, c), ErrNotFound)
	deliver(0, 0)
	wantError(t, "Subscribe anew", ch.Subscribe(ctx, c), nil)
	deliver(1, 1)
	wantError(t, "Close", ch.Close(), nil)
	wantError(t, "Close again", ch.Close(), nil)
	wantError(t, "Subscribe to closed", ch.Subscribe(ctx, c), ErrClosed)
	wantError(t, "Unsubscribe from closed", ch.Unsubscribe(ctx, c), ErrClosed)
	_, err := ch.Deliver(ctx, "x", 0)
	wantError(t, "Deliver to closed", err, ErrClosed)
	testkit.Eventually(t, "Send tells that the channel is closed", func() bool { return errors.Is(ch.Send("x"), ErrClosed) })
	num := c.key
	if c.local != nil {
		num = publicKey(c)
	}
	testkit.Eventually(t, "the subscriber's runtime has forgotten the subscription", func() bool {
		home.channels.mu.Lock()
		defer home.channels.mu.Unlock()
		for _, members := range home.channels.members {
			if members[memberKey{own.key, num}] != nil {
				return false
			}
		}
		return true
	})
	unknown := NoChannel(caller, owner)
	wantError(t, "Subscribe to unknown", unknown.Subscribe(ctx, c), ErrNotFound)
	gone := coroAt(caller, owner.Spawn("gone", func(*Coro) (any, error) { return nil, nil }))
	_ = gone.Wait(ctx)
	again := newChannel(t, owner)
	wantError(t, "Subscribe one that has ended", channelAt(caller, again).Subscribe(ctx, gone), ErrNotFound)
}

// TestChannelDropsTheDead ends subscribers in every way, in the owner's runtime and in another one.
func TestChannelDropsTheDead(t *testing.T) {
	t.Parallel()
	ends := map[string]func(c *Coro) (any, error){
		"return": func(c *Coro) (any, error) { return c.Receive() },
		"panic": func(c *Coro) (any, error) {
			_, _ = c.Receive()
			panic("over")
		},
	}
	a, b := twoRuntimes(t, Config{})
	for name, body := range ends {
		for _, home := range []*Runtime{a, b} {
			own := newChannel(t, a)
			c := home.Spawn(name, body)
			wantError(t, "Subscribe", channelAt(home, own).Subscribe(testkit.Context(t), c), nil)
			wantError(t, "Send", own.Send("end"), nil)
			testkit.Eventually(t, name+" unsubscribes", func() bool { return own.hub.count() == 0 })
		}
	}
	for _, home := range []*Runtime{a, b} {
		own := newChannel(t, a)
		c, _ := subscribed(t, home, own, "terminated")
		_, got := subscribed(t, home, own, "other")
		wantError(t, "Terminate", c.Terminate(), nil)
		testkit.Eventually(t, "Terminate unsubscribes", func() bool { return own.hub.count() == 1 })
		if n, err := own.Deliver(testkit.Context(t), "still", 0); n != 1 || err != nil {
			t.Errorf("Deliver: %d, %v", n, err)
		}
		testkit.Next(t, got)
		if len(own.hub.order) != 1 || len(own.hub.peers) > 1 {
			t.Error("what is dropped is not forgotten")
		}
	}
}

// TestChannelAndBrokenLink cuts the subscriber's link, and then the sender's.
func TestChannelAndBrokenLink(t *testing.T) {
	t.Parallel()
	a, b := testRuntime(t, Config{Name: "a"}), testRuntime(t, Config{Name: "b"})
	p := newProxy(t, a.Location())
	connect(t, b, p.location())
	own := newChannel(t, a)
	_, local := subscribed(t, a, own, "here")
	c, got := subscribed(t, b, own, "there")
	l := upLink(t, a, b)
	waiting := make(chan error, 1)
	at := channelAt(b, own)
	go func() {
		_, err := at.Deliver(context.Background(), "never", 3)
		waiting <- err
	}()
	testkit.Eventually(t, "Deliver waits", func() bool {
		own.hub.mu.Lock()
		defer own.hub.mu.Unlock()
		return len(own.hub.waits) == 1
	})
	p.Cut()
	_ = waitEnded(t, l)
	wantError(t, "Deliver that waited", testkit.Next(t, waiting), ErrDisconnected)
	testkit.Eventually(t, "the one behind the link is dropped, and what it waited for", func() bool {
		own.hub.mu.Lock()
		defer own.hub.mu.Unlock()
		return len(own.hub.order) == 1 && len(own.hub.waits) == 0 && len(own.hub.peers) == 0
	})
	if n, err := own.Deliver(testkit.Context(t), "x", 0); n != 1 || err != nil {
		t.Errorf("Deliver: %d, %v", n, err)
	}
	if msg := testkit.Next(t, local); msg != "x" {
		t.Errorf("%v came", msg)
	}
	wantError(t, "Subscribe by a new link", at.Subscribe(testkit.Context(t), c), nil)
	wantError(t, "Send", at.Send("y"), nil)
	if msg := testkit.Next(t, got); msg != "y" {
		t.Errorf("%v came", msg)
	}
}

// TestChannelDeliverWaits has Deliver wait for more subscribers than there are.
func TestChannelDeliverWaits(t *testing.T) {
	t.Parallel()
	for _, remote := range []bool{false, true} {
		t.Run(fmt.Sprintf("remote=%v", remote), func(t *testing.T) {
			t.Parallel()
			a, b := twoRuntimes(t, Config{})
			own := newChannel(t, a)
			ch := own
			if remote {
				ch = channelAt(b, own)
			}
			type result struct {
				n   int
				err error
			}
			results := make(chan result, 1)
			start := func(ctx context.Context, n int) {
				ch.rt.Spawn("waiter", func(*Coro) (any, error) {
					n, err := ch.Deliver(ctx, "all", n)
					results <- result{n, err}
					return nil, nil
				})
				testkit.Eventually(t, "Deliver waits", func() bool {
					own.hub.mu.Lock()
					defer own.hub.mu.Unlock()
					return len(own.hub.waits) == 1
				})
			}
			_, first := subscribed(t, a, own, "first")
			ctx, cancel := context.WithCancel(t.Context())
			start(ctx, 2)
			ch.rt.Spawn("turn", func(*Coro) (any, error) { // runs while the other waits
				cancel()
				return nil, nil
			})
			if r := testkit.Next(t, results); !errors.Is(r.err, context.Canceled) || r.n != 0 {
				t.Errorf("Deliver that was given up: %+v", r)
			}
			testkit.Eventually(t, "nothing waits", func() bool {
				own.hub.mu.Lock()
				defer own.hub.mu.Unlock()
				return len(own.hub.waits) == 0
			})
			start(t.Context(), 2)
			_, second := subscribed(t, b, own, "second")
			if r := testkit.Next(t, results); r.n != 2 || r.err != nil {
				t.Errorf("Deliver to two: %+v", r)
			}
			for _, got := range []<-chan any{first, second} {
				if msg := testkit.Next(t, got); msg != "all" {
					t.Errorf("%v came", msg)
				}
			}
			start(t.Context(), 3)
			wantError(t, "Close", own.Close(), nil)
			wantError(t, "Deliver when the channel closes", testkit.Next(t, results).err, ErrClosed)

			own = newChannel(t, a)
			ch = channelAt(ch.rt, own)
			start(t.Context(), 1)
			wantError(t, "Close", a.Close(), nil)
			want := ErrDisconnected
			if !remote {
				want = ErrTerminated
			}
			wantError(t, "Deliver when the owner goes", testkit.Next(t, results).err, want)
		})
	}
}

// TestChannelHandles sends a channel in a message to a third runtime.
func TestChannelHandles(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{})
	c := testRuntime(t, Config{Name: "c"})
	connect(t, b, c.Location())
	own := newChannel(t, a)
	_, gotA := subscribed(t, a, own, "at a")
	gotB, gotC := collect(t, b, "at b"), collect(t, c, "at c")
	msg := map[string]any{"one": own, "list": []*Channel{own, nil}}
	wantError(t, "Send", locate(t, a, b, "at b").Send(msg), nil)
	wantError(t, "Send on", locate(t, b, c, "at c").Send(testkit.Next(t, gotB)), nil)
	got := testkit.Next(t, gotC).(map[string]any)
	ch, ok := got["one"].(*Channel)
	list, _ := got["list"].([]*Channel)
	if !ok || len(list) != 2 || list[0] != ch || list[1] != nil || ch.Name() != "news" || ch.Location() != a.Location() ||
		ch.String() != own.String() || !map[*Channel]bool{ch: true}[list[0]] {
		t.Fatalf("%#v came", got)
	}
	wantError(t, "Subscribe at c", ch.Subscribe(testkit.Context(t), c.named("at c")), nil)
	if n, err := ch.Deliver(testkit.Context(t), ch, 2); n != 2 || err != nil {
		t.Errorf("Deliver: %d, %v", n, err)
	}
	if msg := testkit.Next(t, gotC); msg != any(ch) {
		t.Errorf("%v came", msg)
	}
	if msg := testkit.Next(t, gotA); msg != any(own) {
		t.Errorf("%v came home", msg)
	}
}

func TestChannelNames(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{MsgTimeout: 10 * time.Second})
	ctx := testkit.Context(t)
	ch, other := newChannel(t, a), newChannel(t, a)
	wantError(t, "Register", ch.Register("n"), nil)
	wantError(t, "Register again", ch.Register("n"), nil)
	wantError(t, "Register another", other.Register("n"), ErrExists)
	wantError(t, "Register without a name", ch.Register(""), ErrRejected)
	wantError(t, "Register elsewhere", channelAt(b, ch).Register("m"), ErrNotFound)
	_, err := a.NewChannel(strings.Repeat("x", maxName+1))
	wantError(t, "NewChannel with a long name", err, ErrRejected)
	for _, rt := range []*Runtime{a, b} {
		found, err := rt.LocateChannel(ctx, "n")
		if err != nil || found != channelAt(rt, ch) {
			t.Errorf("located %v, %v", found, err)
		}
		found, err = rt.LocateChannel(ctx, "n", a.Location())
		if err != nil || found != channelAt(rt, ch) {
			t.Errorf("located %v, %v", found, err)
		}
		_, err = rt.LocateChannel(ctx, "m")
		wantError(t, "LocateChannel", err, ErrNotFound)
	}
	wantError(t, "Unregister", ch.Unregister("n"), nil)
	wantError(t, "Unregister again", ch.Unregister("n"), ErrNotFound)
	wantError(t, "Register another", other.Register("n"), nil)
	wantError(t, "Close", other.Close(), nil)
	_, err = b.LocateChannel(ctx, "n")
	wantError(t, "LocateChannel of a closed one", err, ErrNotFound)
	wantError(t, "Register a closed one", other.Register("n"), ErrClosed)
	wantError(t, "Close", a.Close(), nil)
	_, err = a.NewChannel("late")
	wantError(t, "NewChannel of a closed runtime", err, ErrClosed)
	wantError(t, "Send", ch.Send(1), ErrClosed)
}
