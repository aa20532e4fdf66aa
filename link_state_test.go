package discoro

import (
	"bytes"
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/stopwatch"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/wire"
)

// TestSimultaneousDials has two runtimes dial each other at the same moment, in all ways there are, again and again: there
// is exactly one link afterwards, the same on both sides, and nothing that was sent on it is lost.
func TestSimultaneousDials(t *testing.T) {
	t.Parallel()
	a := testRuntime(t, Config{Name: "a"})
	b := testRuntime(t, Config{Name: "b"})
	got := map[*Runtime]<-chan any{a: collect(t, a, "collect"), b: collect(t, b, "collect")}
	handle := func(at, of *Runtime) *Coro {
		return coroAt(at, of.named("collect"))
	}
	ctx := testkit.Context(t)
	for round := range 100 {
		start := make(chan struct{})
		errs := make(chan error, 8)
		var wg sync.WaitGroup
		dial := func(f func() error) { wg.Go(func() { <-start; errs <- f() }) }
		dial(func() error { _, err := a.Connect(ctx, b.loc.String()); return err })
		dial(func() error { _, err := b.Connect(ctx, a.loc.String()); return err })
		dial(func() error { return handle(a, b).Send(round) })
		dial(func() error { return handle(b, a).Send(round) })
		if round%2 == 1 {
			dial(func() error { _, err := a.Connect(ctx, b.loc.String()); return err })
			dial(func() error { return handle(b, a).Deliver(ctx, round) })
		}
		close(start)
		wg.Wait()
		close(errs)
		for err := range errs {
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		for rt, n := range map[*Runtime]int{a: 1 + round%2, b: 1} {
			for range n {
				if msg := testkit.Next(t, got[rt]); msg != round {
					t.Fatalf("round %d: %v received %v", round, rt, msg)
				}
			}
		}
		testkit.Eventually(t, "one link on either side", func() bool { return len(a.Peers()) == 1 && len(b.Peers()) == 1 })
		la, lb := upLink(t, a, b), upLink(t, b, a)
		if near, far := la.t.Frames.LocalAddr().String(), lb.t.Frames.RemoteAddr().String(); near != far {
			t.Fatalf("round %d: a is connected from %s and b to %s", round, near, far)
		}
		if err := a.Disconnect(b.loc); err != nil {
			t.Fatal(err)
		}
		_ = waitEnded(t, lb)
		testkit.Eventually(t, "the links are forgotten", func() bool { return len(a.net.all()) == 0 && len(b.net.all()) == 0 })
	}
	for _, rt := range []*Runtime{a, b} {
		if n := len(got[rt]); n != 0 {
			t.Errorf("%v received %d messages more", rt, n)
		}
	}
}

// TestClaims walks through who gets a link, without any connection.
func TestClaims(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{})
	smaller, larger := wire.ID{1}, wire.ID{255}
	for i := range rt.id {
		larger[i] = 255
	}
	hello := func(id wire.ID, epoch uint64) wire.Hello { return wire.Hello{ID: id, Epoch: epoch} }
	fresh := func(id wire.ID) *link {
		l := rt.net.newLink(id, Location{"127.0.0.1", 1}, linkDialing)
		l.dials = 1
		return l
	}
	t.Run("a peer that dials wins over a dial that has not got far", func(t *testing.T) {
		t.Parallel()
		for _, id := range []wire.ID{smaller, larger} {
			l := fresh(id)
			c, refusal, _ := l.claimAccepted(hello(id, 1))
			if c == nil || refusal != nil {
				t.Errorf("refused: %v", refusal)
			}
			if _, refusal := l.claimDialled(Location{}); refusal == nil {
				t.Error("both have the claim")
			}
		}
	})
	t.Run("of two that have got far, the smaller identity's", func(t *testing.T) {
		t.Parallel()
		for id, wins := range map[wire.ID]bool{smaller: true, larger: false} {
			l := fresh(id)
			own, _ := l.claimDialled(Location{})
			c, refusal, _ := l.claimAccepted(hello(id, 1))
			if (c != nil) != wins || (refusal == nil) != wins {
				t.Errorf("the peer %v has %v, %v", id, c, refusal)
			}
			l.release(own, errors.New("refused"))
			if kept := l.stateNow() == linkGreeting; kept != wins {
				t.Errorf("after the loser's release the link is in state %d", l.stateNow())
			}
		}
	})
	t.Run("two that the peer has dialled", func(t *testing.T) {
		t.Parallel()
		l := fresh(smaller)
		if c, _, _ := l.claimAccepted(hello(smaller, 1)); c == nil {
			t.Error("the first is refused")
		}
		if c, refusal, _ := l.claimAccepted(hello(smaller, 2)); c != nil || refusal == nil {
			t.Error("both have the claim")
		}
	})
	t.Run("an accept that comes to nothing leaves the link to the dial", func(t *testing.T) {
		t.Parallel()
		l := fresh(smaller)
		c, _, _ := l.claimAccepted(hello(smaller, 1))
		l.release(c, errors.New("cut"))
		if l.stateNow() != linkDialing {
			t.Errorf("the link is in state %d", l.stateNow())
		}
		l.endDial(errors.New("nobody there"))
		if err := l.cause(); err == nil || !strings.Contains(err.Error(), "nobody there") {
			t.Errorf("ended with %v", err)
		}
	})
	t.Run("a dial that ends leaves the link to the accept", func(t *testing.T) {
		t.Parallel()
		l := fresh(smaller)
		c, _, _ := l.claimAccepted(hello(smaller, 1))
		l.endDial(errors.New("nobody there"))
		if l.stateNow() != linkGreeting {
			t.Errorf("the link is in state %d", l.stateNow())
		}
		l.release(c, errors.New("cut"))
		if err := l.cause(); err == nil || !strings.Contains(err.Error(), "cut") {
			t.Errorf("ended with %v", err)
		}
	})
	t.Run("a peer that dials twice has lost its link", func(t *testing.T) {
		t.Parallel()
		l := fresh(smaller)
		l.state, l.peer, l.came = linkUp, hello(smaller, 5), true
		for _, step := range []struct {
			epoch uint64
			lost  bool
		}{{4, false}, {5, false}, {7, false}, {7, false}, {6, false}, {8, true}} {
			c, refusal, lost := l.claimAccepted(hello(smaller, step.epoch))
			if c != nil || refusal == nil || lost != step.lost {
				t.Errorf("greeting %d: %v, %v, lost %v", step.epoch, c, refusal, lost)
			}
		}
	})
	t.Run("an end that nobody saw begin", func(t *testing.T) {
		t.Parallel()
		l := fresh(smaller)
		l.fail(errors.New("first"))
		l.fail(errors.New("second"))
		l.endDial(errors.New("third"))
		if err := l.cause(); !strings.Contains(err.Error(), "first") || !errors.Is(err, ErrDisconnected) {
			t.Errorf("ended with %v", err)
		}
		if l.addDial() {
			t.Error("a dial joins a link that is down")
		}
	})
}

// reconnectIsANewIncarnation shows it from the side that has not noticed the end of the old link.
func reconnectIsANewIncarnation(t *testing.T) {
	t.Parallel()
	b := testRuntime(t, Config{Name: "b"})
	a := testRuntime(t, Config{Name: "a"})
	p := newProxy(t, b.Location())
	connect(t, a, p.location())
	old := upLink(t, b, a)
	p.Freeze() // b sees nothing from now on
	upLink(t, a, b).fail(errors.New("a test says so"))
	connect(t, a, b.Location())
	if err := waitEnded(t, old); !errors.Is(err, ErrDisconnected) {
		t.Errorf("the old link ended with %v", err)
	}
	testkit.Eventually(t, "the new link is up", func() bool { l := b.net.linkIf(a.id); return l != nil && l != old && l.stateNow() == linkUp })
}

// TestConnectThatIsRefusedLeavesNoLink: a link that no dial is for would take messages for ever.
func TestConnectThatIsRefusedLeavesNoLink(t *testing.T) {
	t.Parallel()
	a := testRuntime(t, Config{Name: "a", MsgTimeout: 200 * time.Millisecond})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	id := wire.NewID()
	hello := wire.Hello{ID: id, Name: "refuses", Host: "127.0.0.1", Port: 1, Pulse: time.Second}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			_, _, _ = wire.Accept(t.Context(), raw, nil, func() wire.Hello { return hello },
				func(wire.Hello) *wire.Refusal { return duplicate() })
		}
	})
	defer wg.Wait()
	defer func() { _ = ln.Close() }()
	if _, err := a.Connect(testkit.Context(t), ln.Addr().String()); !errors.Is(err, ErrDisconnected) {
		t.Errorf("Connect: %v, want ErrDisconnected", err)
	}
	if links := a.net.all(); len(links) != 0 {
		t.Errorf("%d links are left, in state %d", len(links), links[0].stateNow())
	}
}

// TestAbandonedConnect ends its context at every stage of a dial.
func TestAbandonedConnect(t *testing.T) {
	t.Parallel()
	a := testRuntime(t, Config{Name: "a"})
	b := testRuntime(t, Config{Name: "b"})
	for i := range 60 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*50*time.Microsecond)
		_, err := a.Connect(ctx, b.loc.String())
		cancel()
		if err == nil {
			if err := a.Disconnect(b.loc); err != nil && !errors.Is(err, ErrNotFound) {
				t.Fatal(err)
			}
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("abandoned after %d us: %v", i*50, err)
		}
	}
	testkit.Eventually(t, "no link is left dialling", func() bool {
		for _, l := range append(a.net.all(), b.net.all()...) {
			if l.stateNow() != linkUp {
				return false
			}
		}
		return true
	})
	connect(t, a, b.loc)
}

// closeDuringGreeting closes runtimes at every stage of greetings, on both sides.
func closeDuringGreeting(t *testing.T) {
	t.Parallel()
	for i := range 40 {
		a := testRuntime(t, Config{Name: "a"})
		b := testRuntime(t, Config{Name: "b"})
		dialled := make(chan error, 1)
		go func() {
			_, err := a.Connect(t.Context(), b.loc.String())
			dialled <- err
		}()
		first, second := a, b
		if i%2 == 0 {
			first, second = b, a
		}
		waitFor(t.Context(), time.Duration(i)*100*time.Microsecond, nil)
		watch := stopwatch.Start(t)
		if err := first.Close(); err != nil {
			t.Error(err)
		}
		watch.Within("Close", 3*time.Second)
		if err := testkit.Next(t, dialled); err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrDisconnected) {
			t.Error(err)
		}
		if err := second.Close(); err != nil {
			t.Error(err)
		}
		if links := append(a.net.all(), b.net.all()...); len(links) != 0 {
			t.Errorf("%d links are left", len(links))
		}
	}
}

func TestUseAfterClose(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{})
	collect(t, b, "collect")
	c := locate(t, a, b, "collect")
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	ctx := testkit.Context(t)
	for verb, do := range map[string]func() error{
		"Send":    func() error { return c.Send(1) },
		"Deliver": func() error { return c.Deliver(ctx, 1) },
		"Wait":    func() error { return c.Wait(ctx) },
		"Connect": func() error { _, err := a.Connect(ctx, b.loc.String()); return err },
		"Locate":  func() error { _, err := a.Locate(ctx, "collect", b.loc); return err },
	} {
		watch := stopwatch.Start(t)
		if err := do(); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", verb, err)
		}
		watch.Within(verb, time.Second)
	}
}

// closeSendsWhatIsQueued shows that Close loses nothing that was sent before.
func closeSendsWhatIsQueued(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{})
	got := collect(t, b, "collect")
	c := locate(t, a, b, "collect")
	const n = 3000
	body := strings.Repeat("x", 1000)
	for i := range n {
		if err := c.Send([]any{i, body}); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	seen := make([]int, 0, n)
	for range n {
		seen = append(seen, testkit.Next(t, got).([]any)[0].(int))
	}
	if err := checkLedger(seen, n); err != nil {
		t.Error(err)
	}
}

// loopFunc is a function as the loop of a role.
type loopFunc func(e linkEvent)

func (f loopFunc) put(e linkEvent) bool { f(e); return true }

// rolesHearInOrder shows that a role hears the end of each link before the beginning of the next with the same runtime,
// and the beginning of each before its end.
func rolesHearInOrder(t *testing.T) {
	t.Parallel()
	a := testRuntime(t, Config{Name: "a"})
	b := testRuntime(t, Config{Name: "b"})
	var mu sync.Mutex
	var heard []linkEvent
	loop := loopFunc(func(e linkEvent) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, e)
	})
	a.mu.Lock()
	a.loops.scheduler = loop
	a.mu.Unlock()
	for range 50 {
		connect(t, b, a.loc) // which may find the link of the round before, about to end
		if l := b.net.linkIf(a.id); l != nil {
			go func() { l.fail(errors.New("one end")) }()
		}
		if l := a.net.linkIf(b.id); l != nil {
			l.fail(errors.New("the other"))
		}
	}
	testkit.Eventually(t, "all links have ended", func() bool { return len(a.net.all()) == 0 && len(b.net.all()) == 0 })
	mu.Lock()
	defer mu.Unlock()
	var up *link
	for i, e := range heard {
		switch {
		case e.isUp() && up != nil:
			t.Fatalf("event %d: up, and the one before has not ended", i)
		case e.isUp():
			up = e.link
		case up == e.link:
			up = nil
		case e.link.came:
			t.Fatalf("event %d: the end of a link that had not begun", i)
		}
	}
	if up != nil {
		t.Error("the end of the last link is missing")
	}
}

// TestLinkGoesWhileItIsLookedFor takes a link that is down out of the table just when somebody has found it there: a new one
// is made, and nobody is told that the runtime closes.
func TestLinkGoesWhileItIsLookedFor(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{})
	id := wire.NewID()
	old, _ := rt.net.linkFor(id, Location{})
	old.mu.Lock() // so that who looks for it waits to hear whether it is down
	found := make(chan *link, 1)
	go func() {
		l, _ := rt.net.linkFor(id, Location{})
		found <- l
	}()
	testkit.Eventually(t, "it is found", func() bool {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		return bytes.Contains(stacks, []byte("TestLinkGoesWhileItIsLookedFor.func1")) && bytes.Contains(stacks, []byte("(*link).cause"))
	})
	rt.mu.Lock()
	delete(rt.net.links, id)
	rt.mu.Unlock()
	old.state, old.err = linkDown, ErrDisconnected
	close(old.ended)
	close(old.told)
	old.mu.Unlock()
	l := testkit.Next(t, found)
	if l == nil || l == old || l.prev != old {
		t.Fatalf("found %p, want a new link", l)
	}
	l.endDial(ErrClosed)
}
