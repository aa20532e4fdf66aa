package link

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

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/wire"
)

// TestClaims walks through who gets a link, without any connection.
func TestClaims(t *testing.T) {
	t.Parallel()
	h := newHost(t, Config{})
	smaller, larger := wire.ID{}, wire.ID{255}
	smaller[len(smaller)-1] = 1
	for i := range larger {
		larger[i] = 255
	}
	hello := func(id wire.ID, epoch uint64) wire.Hello { return wire.Hello{ID: id, Epoch: epoch} }
	fresh := func(id wire.ID) *Link {
		l := h.net.newLink(id, Location{"127.0.0.1", 1}, stateDialing)
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
			if kept := l.stateNow() == stateGreeting; kept != wins {
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
		if l.stateNow() != stateDialing {
			t.Errorf("the link is in state %d", l.stateNow())
		}
		l.endDial(errors.New("nobody there"))
		if err := l.Cause(); err == nil || !strings.Contains(err.Error(), "nobody there") {
			t.Errorf("ended with %v", err)
		}
	})
	t.Run("a dial that ends leaves the link to the accept", func(t *testing.T) {
		t.Parallel()
		l := fresh(smaller)
		c, _, _ := l.claimAccepted(hello(smaller, 1))
		l.endDial(errors.New("nobody there"))
		if l.stateNow() != stateGreeting {
			t.Errorf("the link is in state %d", l.stateNow())
		}
		l.release(c, errors.New("cut"))
		if err := l.Cause(); err == nil || !strings.Contains(err.Error(), "cut") {
			t.Errorf("ended with %v", err)
		}
	})
	t.Run("a peer that dials twice has lost its link", func(t *testing.T) {
		t.Parallel()
		l := fresh(smaller)
		l.state, l.peer, l.came = stateUp, hello(smaller, 5), true
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
		l.Fail(errors.New("first"))
		l.Fail(errors.New("second"))
		l.endDial(errors.New("third"))
		if err := l.Cause(); !strings.Contains(err.Error(), "first") || !errors.Is(err, fault.Disconnected) {
			t.Errorf("ended with %v", err)
		}
		if l.addDial() {
			t.Error("a dial joins a link that is down")
		}
	})
}

// TestConnectThatIsRefusedLeavesNoLink checks that a link ends with the last dial for it. Otherwise it
// would take messages for ever.
func TestConnectThatIsRefusedLeavesNoLink(t *testing.T) {
	t.Parallel()
	a := newHost(t, Config{MsgTimeout: 200 * time.Millisecond})
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
	at := Location{Addr: "127.0.0.1", Port: ln.Addr().(*net.TCPAddr).Port}
	if _, err := a.net.At(testkit.Context(t), at); !errors.Is(err, fault.Disconnected) {
		t.Errorf("At: %v, want Disconnected", err)
	}
	if links := a.net.All(); len(links) != 0 {
		t.Errorf("%d links are left, in state %d", len(links), links[0].stateNow())
	}
}

// TestLinkGoesWhileItIsLookedFor removes a link that has ended from the table just when somebody has found
// it there. A new one is made, and nobody believes that the runtime is closing.
func TestLinkGoesWhileItIsLookedFor(t *testing.T) {
	t.Parallel()
	h := newHost(t, Config{})
	id := wire.NewID()
	old, _ := h.net.linkFor(id, Location{})
	old.mu.Lock() // so that the other goroutine waits for its state
	found := make(chan *Link, 1)
	go func() {
		l, _ := h.net.linkFor(id, Location{})
		found <- l
	}()
	testkit.Eventually(t, "it is found", func() bool {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		return bytes.Contains(stacks, []byte("TestLinkGoesWhileItIsLookedFor.func1")) &&
			bytes.Contains(stacks, []byte("(*Link).Cause"))
	})
	h.net.mu.Lock()
	delete(h.net.links, id)
	h.net.mu.Unlock()
	old.state, old.err = stateDown, fault.Disconnected
	close(old.ended)
	close(old.notified)
	old.mu.Unlock()
	l := testkit.Next(t, found)
	if l == nil || l == old || l.prev != old {
		t.Fatalf("found %p, want a new link", l)
	}
	l.endDial(fault.Closed)
}

// TestNoLinkAfterRefuse looks for links while the host begins to close. A link is in the table before
// Refuse returns, so that whoever closes all links sees it, or it is never made.
func TestNoLinkAfterRefuse(t *testing.T) {
	t.Parallel()
	for range 50 {
		h := newHost(t, Config{Dial: func(ctx context.Context, _ Location) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		var wg sync.WaitGroup
		links := make(chan *Link, 8)
		for range cap(links) {
			wg.Go(func() { links <- h.net.To(wire.NewID(), Location{"127.0.0.1", 1}) })
		}
		h.net.Refuse()
		known := map[*Link]bool{}
		for _, l := range h.net.All() {
			known[l] = true
		}
		wg.Wait()
		close(links)
		for l := range links {
			if err := l.Cause(); err == nil && !known[l] {
				t.Fatal("a link was made after Refuse")
			} else if err != nil && !errors.Is(err, fault.Closed) {
				t.Fatalf("refused because of %v", err)
			}
		}
		h.close(t)
	}
}

// TestLinkOrder ends links on both sides while they are made. Each host is notified in order.
func TestLinkOrder(t *testing.T) {
	t.Parallel()
	a, b := newHost(t, Config{}), newHost(t, Config{})
	for round := range 50 {
		l, err := b.net.At(testkit.Context(t), a.net.cfg.Location) // which may be the link of the round before, about to end
		if err != nil {
			continue
		}
		l.Tell(&wire.Locate{Call: uint64(round + 1)})
		var wg sync.WaitGroup
		wg.Go(func() { l.Fail(errors.New("one end")) })
		if l := a.net.If(b.net.cfg.ID); l != nil {
			l.Fail(errors.New("the other"))
		}
		wg.Wait()
	}
	testkit.Eventually(t, "all links have ended", func() bool { return len(a.net.All()) == 0 && len(b.net.All()) == 0 })
	for _, h := range []*testHost{a, b} {
		if err := checkOrder(h.noted()); err != nil {
			t.Error(err)
		}
	}
}

// TestLinkToItself has a host ask itself. The answer comes in the goroutine that asks.
func TestLinkToItself(t *testing.T) {
	t.Parallel()
	h := newHost(t, Config{})
	l := h.net.To(h.net.cfg.ID, Location{})
	if l != h.net.Self || !l.IsSelf() || h.net.If(h.net.cfg.ID) != l || !l.IsUp() {
		t.Fatal("the link to itself is another, or not up")
	}
	out, err := l.Request(testkit.Context(t), "Locate", nil, func(call uint64) wire.Frame {
		return &wire.Locate{Call: call, Name: "x"}
	})
	if err != nil || out.Value != "x" {
		t.Errorf("asked itself: %v, %v", out, err)
	}
	if n := len(h.net.All()); n != 0 {
		t.Errorf("%d links to others", n)
	}
}

// TestServeIsBounded has more calls of a peer wait than are allowed.
func TestServeIsBounded(t *testing.T) {
	t.Parallel()
	full := newHost(t, Config{}).net.newLink(wire.NewID(), Location{}, stateUp)
	for i := range MaxServed {
		if err := full.Serve(uint64(i), func() {}); err != nil {
			t.Fatal(err)
		}
	}
	if err := full.Serve(7, func() {}); !errors.Is(err, ErrCallTwice) || full.Refuse(7, err) == nil {
		t.Errorf("the number of a call that waits: %v, want ErrCallTwice, a breach", err)
	}
	if err := full.Serve(MaxServed, func() {}); !errors.Is(err, fault.Rejected) {
		t.Errorf("one call too many: %v, want Rejected", err)
	}
	full.Unserve(7)
	if err := full.Serve(MaxServed, func() {}); err != nil {
		t.Errorf("one call fewer: %v", err)
	}
}

// TestLinkRequest asks the peer, gives up a question, and asks after the end of the link.
func TestLinkRequest(t *testing.T) {
	t.Parallel()
	_, b, la, lb := twoHosts(t, Config{})
	ask := func(ctx context.Context, name string) (call.Outcome, error) {
		return la.Request(ctx, "Locate", nil, func(call uint64) wire.Frame { return &wire.Locate{Call: call, Name: name} })
	}
	if out, err := ask(testkit.Context(t), "x"); err != nil || string(out.Remote.Body) != "x" {
		t.Errorf("%v, %v", out, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		testkit.Eventually(t, "the call waits", func() bool { return lb.Load().Served == 1 })
		cancel()
	}()
	if _, err := ask(ctx, "later"); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v, want the context's error", err)
	}
	testkit.Eventually(t, "the call is cancelled", func() bool { return lb.Load().Served == 0 && la.Load().Calls == 0 })
	b.close(t)
	if err := waitEnded(t, la); !errors.Is(err, fault.Disconnected) {
		t.Errorf("ended with %v", err)
	}
	if _, err := ask(testkit.Context(t), "x"); !errors.Is(err, fault.Disconnected) {
		t.Errorf("asked after the end: %v, want Disconnected", err)
	}
}
