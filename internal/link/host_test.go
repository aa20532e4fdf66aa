package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/ratelog"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/internal/testnet"
	"github.com/discoro/discoro/internal/transport"
	"github.com/discoro/discoro/wire"
)

// testHost is a runtime that has nothing except links.
type testHost struct {
	net *Net
	ctx context.Context // the goroutines' own
	end context.CancelFunc
	wg  sync.WaitGroup
	log testkit.Log

	mu     sync.Mutex // guards following; leaf
	closed bool
	events []hostEvent
}

// hostEvent is what a host was notified of.
type hostEvent struct {
	l     *Link
	frame wire.Frame // nil: the link itself has changed
	down  error      // nil: it has come up
	wasUp bool
}

// newHost returns a host with a listener of its own, which the test's end closes. Zero fields of cfg get
// values that suit tests.
func newHost(tb testing.TB, cfg Config) *testHost {
	tb.Helper()
	h := &testHost{}
	cfg.ID = wire.NewID()
	if cfg.Listener == nil {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		cfg.Listener = ln
		cfg.Location = Location{Addr: "127.0.0.1", Port: ln.Addr().(*net.TCPAddr).Port}
	}
	if cfg.Dial == nil {
		cfg.Dial = func(ctx context.Context, to Location) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", to.String())
		}
	}
	if cfg.Lookup == nil {
		cfg.Lookup = net.DefaultResolver.LookupHost
	}
	if cfg.Hello == nil {
		cfg.Hello = func() wire.Hello {
			return wire.Hello{ID: cfg.ID, Name: "test", Host: cfg.Location.Addr, Port: cfg.Location.Port}
		}
	}
	if cfg.MsgTimeout == 0 {
		cfg.MsgTimeout = 10 * time.Second
	}
	if cfg.Pulse == 0 {
		cfg.Pulse = time.Second
	}
	cfg.Log, cfg.Warnings = h.log.Logger(), &ratelog.Log{}
	h.ctx, h.end = context.WithCancel(context.Background())
	h.net = New(h.ctx, cfg, h)
	h.net.Begin()
	tb.Cleanup(func() {
		h.close(tb)
		if tb.Failed() {
			tb.Log(h.log.String())
		}
	})
	return h
}

// newMemoryHost is newHost in a network in memory, for bubbles of testing/synctest.
func newMemoryHost(tb testing.TB, at *testnet.Host, cfg Config) *testHost {
	tb.Helper()
	ln, port, err := at.Listen(at.Name(), at.Name(), 0)
	if err != nil {
		tb.Fatal(err)
	}
	cfg.Listener, cfg.Location = ln, Location{Addr: at.Name(), Port: port}
	cfg.Dial = func(ctx context.Context, to Location) (net.Conn, error) {
		return at.Dial(ctx, cfg.Location.String(), to.String())
	}
	cfg.Lookup = at.Lookup
	return newHost(tb, cfg)
}

// close ends the host as a runtime does, once.
func (h *testHost) close(tb testing.TB) {
	tb.Helper()
	h.mu.Lock()
	closed := h.closed
	h.closed = true
	h.mu.Unlock()
	if closed {
		return
	}
	h.net.Refuse()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	h.net.Bye(ctx, "the test ends")
	cancel()
	h.mu.Lock()
	h.end()
	h.mu.Unlock()
	if err := h.net.Close(); err != nil {
		tb.Errorf("Close: %v", err)
	}
	h.wg.Wait()
}

func (h *testHost) Start(f func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil {
		return false
	}
	h.wg.Go(f)
	return true
}

func (h *testHost) Wait(ctx context.Context, k *call.Call) (call.Outcome, error) {
	select {
	case <-k.Done():
	case <-ctx.Done():
		if out, ok := k.Result(); ok {
			return out, nil
		}
		return call.Outcome{}, ctx.Err()
	}
	out, _ := k.Result()
	return out, nil
}

func (h *testHost) note(e hostEvent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

// noted returns what the host was notified of so far.
func (h *testHost) noted() []hostEvent {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]hostEvent(nil), h.events...)
}

// Frame answers every Locate, except one of the name "later", which it serves until it is cancelled.
func (h *testHost) Frame(l *Link, f wire.Frame) error {
	h.note(hostEvent{l: l, frame: f})
	switch f := f.(type) {
	case *wire.Locate:
		if f.Name != "later" {
			l.Reply(f.Call, call.Outcome{Value: f.Name})
			return nil
		}
		if err := l.Serve(f.Call, func() {}); err != nil {
			return l.Refuse(f.Call, err)
		}
	case *wire.Reply:
		if k := l.TakeCall(f.Call); k != nil {
			k.Finish(call.Outcome{Remote: &f.Outcome})
		}
	case *wire.Cancel:
		l.Unserve(f.Call)
	case *wire.Pulse:
		l.HeardPulse(time.Duration(f.Every))
	}
	return nil
}

func (h *testHost) Up(l *Link) { h.note(hostEvent{l: l}) }

func (h *testHost) Down(l *Link, wasUp bool, err error) {
	h.note(hostEvent{l: l, down: err, wasUp: wasUp})
}

func (h *testHost) Stream(*Link, transport.PeerStream) error { return nil }

func (h *testHost) Encode(out call.Outcome) *wire.Outcome {
	return &wire.Outcome{Body: fmt.Append(nil, out.Value)}
}

// connect returns both ends of the link that one host dials to the other, when both are up.
func connect(tb testing.TB, from, to *testHost) (near, far *Link) {
	tb.Helper()
	near, err := from.net.At(testkit.Context(tb), to.net.cfg.Location)
	if err != nil {
		tb.Fatal(err)
	}
	testkit.Eventually(tb, "the dialled side is up", func() bool {
		far = to.net.If(from.net.cfg.ID)
		return far != nil && far.IsUp()
	})
	return near, far
}

// twoHosts returns two hosts with a link that a has dialled.
func twoHosts(tb testing.TB, cfg Config) (a, b *testHost, la, lb *Link) {
	tb.Helper()
	a, b = newHost(tb, cfg), newHost(tb, cfg)
	la, lb = connect(tb, a, b)
	return a, b, la, lb
}

// waitEnded waits until a link has ended, and returns why.
func waitEnded(tb testing.TB, l *Link) error {
	tb.Helper()
	select {
	case <-l.Ended():
		return l.Cause()
	case <-testkit.Context(tb).Done():
		tb.Fatal("the link has not ended")
		return nil
	}
}

// checkOrder returns the first thing of which a host was notified in the wrong order. The end of a link
// comes after its beginning and before the beginning of the next link to the same runtime, and frames
// come after the beginning.
func checkOrder(events []hostEvent) error {
	up := map[wire.ID]*Link{}
	over := map[*Link]bool{}
	for i, e := range events {
		was := up[e.l.ID]
		switch {
		case e.l.IsSelf():
		case over[e.l] && e.frame == nil:
			return fmt.Errorf("event %d: a link changes after its end", i)
		case e.frame != nil && was != e.l && !over[e.l]:
			return fmt.Errorf("event %d: a frame before its link is up", i)
		case e.frame != nil:
		case e.down == nil && was != nil:
			return fmt.Errorf("event %d: a link is up, and the one before has not ended", i)
		case e.down == nil:
			up[e.l.ID] = e.l
		case e.wasUp != (was == e.l):
			return fmt.Errorf("event %d: the end of a link, up before: %v", i, e.wasUp)
		case !errors.Is(e.down, fault.Disconnected):
			return fmt.Errorf("event %d: ended with %w", i, e.down)
		default:
			over[e.l] = true
			if was == e.l {
				delete(up, e.l.ID)
			}
		}
	}
	return nil
}
