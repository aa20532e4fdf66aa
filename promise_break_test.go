package discoro

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/stopwatch"
	"github.com/discoro/discoro/internal/testkit"
)

// TestPromise03BrokenLink: a broken link ends everything that was on it; a new link is a new incarnation.
func TestPromise03BrokenLink(t *testing.T) {
	t.Parallel()
	t.Run("cut", brokenLinkEndsEverything)
	t.Run("silence", silenceEndsEverything)
	t.Run("new link", reconnectIsANewIncarnation)
	t.Run("told once", rolesHearInOrder)
	t.Run("a short cut is none", frozenPeerIsNoticed)
}

// silenceEndsEverything has every call wait for a peer from which nothing comes any more: each fails in time, and nothing is
// sent again on the next link.
func silenceEndsEverything(t *testing.T) {
	t.Parallel()
	const pulse = 400 * time.Millisecond
	sched, err := NewScheduler(SchedulerConfig{Config: Config{Name: "b", Logger: discard, tuning: tuning{pulse: pulse}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sched.Close() })
	b := sched.Runtime
	a := testRuntime(t, Config{Name: "a", tuning: tuning{pulse: pulse}})
	p := newProxy(t, b.Location())
	ctx := testkit.Context(t)
	comp, err := NewComputation(a, ComputationConfig{PulseInterval: pulse})
	if err == nil {
		err = comp.Schedule(ctx, p.location())
	}
	if err != nil {
		t.Fatal(err)
	}
	la, lb := upLink(t, a, b), upLink(t, b, a)
	got := collect(t, b, "collect")
	c := locate(t, a, b, "collect")
	exits := collect(t, a, "exits")
	peers := collect(t, a, "peers")
	a.WatchPeers(a.named("peers"))
	if st, ok := testkit.Next(t, peers).(PeerStatus); !ok || !st.Online || st.Location != b.loc {
		t.Errorf("the link that is there is told as %v", st)
	}
	type end struct {
		verb string
		err  error
	}
	ends := make(chan end, 10)
	calls := map[string]func() error{
		"Run":     func() error { _, err := comp.Run(ctx, forgedWait.With(None{})); return err },
		"Deliver": func() error { return c.Deliver(ctx, "lost") },
		"Ask":     func() error { _, err := Ask[int](ctx, c, "lost"); return err },
		"Wait":    func() error { return c.Wait(ctx) },
		"Locate":  func() error { _, err := a.Locate(ctx, "collect", b.loc); return err },
		"Monitor": func() error {
			err := c.Monitor(ctx, a.named("exits"))
			if err == nil {
				err = testkit.Next(t, exits).(Exit).Err
			}
			return err
		},
	}
	watch := stopwatch.Start(t)
	p.Freeze()
	for verb, do := range calls {
		go func() { ends <- end{verb, do()} }()
	}
	for range 10 {
		if err := c.Send("lost"); err != nil {
			t.Error(err)
		}
	}
	for range calls {
		if e := testkit.Next(t, ends); !errors.Is(e.err, ErrDisconnected) {
			t.Errorf("%s: %v, want ErrDisconnected", e.verb, e.err)
		}
	}
	watch.Within("failing", link.MissedPulses*pulse+time.Second)
	_, _ = waitEnded(t, la), waitEnded(t, lb)
	p.Thaw()
	p.Cut()
	connect(t, a, p.location())
	if err := c.Deliver(ctx, "fresh"); err != nil {
		t.Fatal(err)
	}
	if msg := testkit.Next(t, got); msg != "fresh" {
		t.Errorf("%v came over the next link", msg)
	}
	for _, online := range []bool{false, true} { // offline once, and then the next link
		if st, ok := testkit.Next(t, peers).(PeerStatus); !ok || st.Online != online || st.Location != b.loc || online == errors.Is(st.Err, ErrDisconnected) {
			t.Errorf("%v was told, want online=%v", st, online)
		}
	}
	select {
	case e := <-exits:
		t.Errorf("one more monitor fired: %v", e)
	default:
	}
}

// TestPromise04Send: Send queues up to a limit, then waits, then says that it has not sent; Deliver's nil means that the
// message is in the mailbox.
func TestPromise04Send(t *testing.T) {
	t.Parallel()
	t.Run("full queue", fullQueue)
	t.Run("a waiting sender gives up the turn", func(t *testing.T) {
		t.Parallel()
		b := testRuntime(t, Config{Name: "b"})
		a := testRuntime(t, Config{Name: "a", MsgTimeout: time.Minute})
		p := newProxy(t, b.Location())
		connect(t, a, p.location())
		got := collect(t, b, "collect")
		c := locate(t, a, b, "collect")
		p.Freeze()
		l := upLink(t, a, b)
		const n = 20
		body := strings.Repeat("x", 1<<20)
		sender := a.Spawn("sender", func(*Coro) (any, error) {
			for i := range n {
				if err := c.Send([]any{i, body}); err != nil {
					return nil, err
				}
			}
			return nil, nil
		})
		waits := func() bool {
			return l.Load().Waiting > 0
		}
		testkit.Eventually(t, "the sender waits", waits)
		other := a.Spawn("other", func(c *Coro) (any, error) { return nil, c.Yield() })
		if err := other.Wait(testkit.Context(t)); err != nil || !waits() {
			t.Errorf("%v, and the sender waits: %v", err, waits())
		}
		p.Thaw()
		if err := sender.Wait(testkit.Context(t)); err != nil {
			t.Error(err)
		}
		for i := range n {
			if msg := testkit.Next(t, got).([]any); msg[0] != i || msg[1] != body {
				t.Fatalf("message %v came where %d was due", msg[0], i)
			}
		}
	})
	t.Run("delivered", func(t *testing.T) {
		t.Parallel()
		home := testRuntime(t, Config{Name: "home"})
		there := testRuntime(t, Config{Name: "there"})
		connect(t, there, home.loc)
		for _, rt := range []*Runtime{home, there} {
			const n = 100
			look := make(chan struct{})
			c := home.Spawn("delivered", func(c *Coro) (any, error) {
				if err := c.Blocking(func() error { <-look; return nil }); err != nil {
					return nil, err
				}
				for i := range n {
					if msg, err := c.ReceiveTimeout(0); msg != i || err != nil {
						return nil, fmt.Errorf("message %d is %v: %w", i, msg, err)
					}
				}
				return nil, nil
			})
			for i := range n {
				if err := coroAt(rt, c).Deliver(testkit.Context(t), i); err != nil {
					t.Error(err)
				}
			}
			close(look)
			if err := c.Wait(testkit.Context(t)); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestPromise05Detection: a dead, frozen or cut-off peer is noticed within T+1 s, and a slow link that moves is never called
// dead. It is not parallel: it is about time.
func TestPromise05Detection(t *testing.T) { //nolint:tparallel // so that its parts have the machine to themselves
	const pulse = 400 * time.Millisecond
	for name, harm := range map[string]func(peer *peerProcess, p *proxy){
		"killed":  func(peer *peerProcess, _ *proxy) { peer.Signal(os.Kill) },
		"frozen":  func(peer *peerProcess, _ *proxy) { peer.Signal(testkit.SigStop) },
		"cut off": func(_ *peerProcess, p *proxy) { p.Freeze() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			peer := startPeer(t, pulse)
			p := newProxy(t, peer.Loc)
			a := testRuntime(t, Config{Name: "a", tuning: tuning{pulse: pulse}})
			connect(t, a, p.location())
			c, err := a.Locate(testkit.Context(t), "echo", peer.Loc)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := Ask[int](testkit.Context(t), c, 7); n != 7 || err != nil {
				t.Fatalf("asked while it lives: %d, %v", n, err)
			}
			ended := make(chan error, 1)
			go func() { ended <- c.Wait(testkit.Context(t)) }()
			watch := stopwatch.Start(t)
			harm(peer, p)
			if err := testkit.Next(t, ended); !errors.Is(err, ErrDisconnected) {
				t.Errorf("a wait ended with %v, want ErrDisconnected", err)
			}
			t.Logf("noticed after %v", watch.Within("noticing it", link.MissedPulses*pulse+time.Second))
		})
	}
	t.Run("slow", func(t *testing.T) {
		t.Parallel()
		slowIsNotDead(t, 3*pulse)
	})
}

// slowIsNotDead has eight large messages under way on a link of 256 kbit/s, in both directions, for twice as long as
// a silent link would last. The proxy is of this process, which stands still for seconds on a busy machine.
func slowIsNotDead(t *testing.T, pulse time.Duration) {
	t.Helper()
	b := testRuntime(t, Config{Name: "b", tuning: tuning{pulse: pulse}})
	a := testRuntime(t, Config{Name: "a", tuning: tuning{pulse: pulse}})
	connect(t, a, slowProxy(t, b.Location(), 256_000/8))
	body := make([]byte, 1<<20)
	var wg sync.WaitGroup
	for i := range 8 {
		from, to := a, b
		if i%2 == 1 {
			from, to = b, a
		}
		sink := to.Spawn("sink", func(c *Coro) (any, error) { return c.Receive() })
		h := coroAt(from, sink)
		wg.Go(func() {
			if err := h.Send(body); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	la, lb := upLink(t, a, b), upLink(t, b, a)
	waiting := func(l *link.Link) int {
		return l.Load().Queued
	}
	before := map[*link.Link]int{la: waiting(la), lb: waiting(lb)}
	select {
	case <-la.Ended():
		t.Errorf("a lost the link: %v", la.Cause())
	case <-lb.Ended():
		t.Errorf("b lost the link: %v", lb.Cause())
	case <-time.After(2 * link.MissedPulses * pulse):
	}
	for l, before := range before {
		if now := waiting(l); now == 0 || now >= before {
			t.Errorf("%d bytes wait, of %d: the transfers were not under way all the time", now, before)
		}
		l.Fail(errors.New("the test is over"))
	}
}
