package discoro

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/stopwatch"
	"github.com/discoro/discoro/internal/testkit"
)

// TestSimultaneousDials has two runtimes dial each other at the same moment, in all ways there are.
// Afterwards there is exactly one link, the same on both sides, and nothing that was sent on it is lost.
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
		if near, far := la.Conn().Frames.LocalAddr().String(), lb.Conn().Frames.RemoteAddr().String(); near != far {
			t.Fatalf("round %d: a is connected from %s and b to %s", round, near, far)
		}
		if err := a.Disconnect(b.loc); err != nil {
			t.Fatal(err)
		}
		_ = waitEnded(t, lb)
		testkit.Eventually(t, "the links are forgotten", func() bool {
			return len(a.net.All()) == 0 && len(b.net.All()) == 0
		})
	}
	for _, rt := range []*Runtime{a, b} {
		if n := len(got[rt]); n != 0 {
			t.Errorf("%v received %d messages more", rt, n)
		}
	}
}

// reconnectIsANewIncarnation has a peer dial again before this side has noticed the end of the old link.
// The old link ends, and the new one is another.
func reconnectIsANewIncarnation(t *testing.T) {
	t.Parallel()
	b := testRuntime(t, Config{Name: "b"})
	a := testRuntime(t, Config{Name: "a"})
	p := newProxy(t, b.Location())
	connect(t, a, p.location())
	old := upLink(t, b, a)
	p.Freeze() // b sees nothing from now on
	upLink(t, a, b).Fail(errors.New("a test says so"))
	connect(t, a, b.Location())
	if err := waitEnded(t, old); !errors.Is(err, ErrDisconnected) {
		t.Errorf("the old link ended with %v", err)
	}
	testkit.Eventually(t, "the new link is up", func() bool {
		l := b.net.If(a.id)
		return l != nil && l != old && l.IsUp()
	})
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
		for _, l := range append(a.net.All(), b.net.All()...) {
			if !l.IsUp() {
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
		waitFor(t.Context(), time.Duration(i)*100*time.Microsecond)
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
		if links := append(a.net.All(), b.net.All()...); len(links) != 0 {
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

// closeSendsWhatIsQueued checks that Close loses nothing that was sent before.
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
	if err := testkit.CheckLedger(seen, n); err != nil {
		t.Error(err)
	}
}

// loopFunc is a function as the loop of a role.
type loopFunc func(e linkEvent)

func (f loopFunc) put(e linkEvent) bool { f(e); return true }

// rolesHearInOrder checks that a role is notified of the beginning of each link before its end, and of its
// end before the beginning of the next link to the same runtime.
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
		if l := b.net.If(a.id); l != nil {
			go func() { l.Fail(errors.New("one end")) }()
		}
		if l := a.net.If(b.id); l != nil {
			l.Fail(errors.New("the other"))
		}
	}
	testkit.Eventually(t, "all links have ended", func() bool { return len(a.net.All()) == 0 && len(b.net.All()) == 0 })
	mu.Lock()
	defer mu.Unlock()
	begun := map[*link.Link]bool{}
	for _, e := range heard {
		begun[e.link] = begun[e.link] || e.isUp()
	}
	var up *link.Link
	for i, e := range heard {
		switch {
		case e.isUp() && up != nil:
			t.Fatalf("event %d: up, and the one before has not ended", i)
		case e.isUp():
			up = e.link
		case up == e.link:
			up = nil
		case begun[e.link]:
			t.Fatalf("event %d: the end of a link that had not begun", i)
		}
	}
	if up != nil {
		t.Error("the end of the last link is missing")
	}
}
