package discoro

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/stopwatch"
	"github.com/discoro/discoro/internal/testkit"
)

// testRuntime starts a runtime that closes when the test ends, which must not take long. Its log
// appears if the test fails, unless cfg has a logger.
func testRuntime(t *testing.T, cfg Config) *Runtime {
	t.Helper()
	if cfg.UDPPort == 0 {
		cfg.UDPPort = -1 // tests of discovery have a port of their own
	}
	if cfg.Logger == nil {
		log := &testkit.Log{}
		cfg.Logger = log.Logger()
		t.Cleanup(func() {
			if t.Failed() {
				t.Log(cfg.Name + ":\n" + log.String())
			}
		})
	}
	rt, err := NewRuntime(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		watch := stopwatch.Start(t)
		if err := rt.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if took, late := watch.Stop(); took > time.Minute+late { // deriving a key takes seconds under -race
			t.Errorf("Close took %v", took)
		}
	})
	return rt
}

// publicKey returns the key by which other runtimes name a coroutine of this process.
func publicKey(c *Coro) uint64 { return c.rt.exported(c.local) }

// coroThrough returns rt's handle of a coroutine, as if the coroutine were at loc.
func coroThrough(rt *Runtime, c *Coro, loc Location) *Coro {
	hv := c.rt.handleValue(c)
	hv.Host, hv.Port = loc.Addr, loc.Port
	return rt.liveHandle(hv)
}

// twoRuntimes starts two runtimes with a link that a has dialled.
func twoRuntimes(t *testing.T, cfg Config) (a, b *Runtime) {
	t.Helper()
	cfg.Name = "b"
	b = testRuntime(t, cfg)
	cfg.Name = "a"
	a = testRuntime(t, cfg)
	connect(t, a, b.Location())
	return a, b
}

func connect(t *testing.T, from *Runtime, to Location) {
	t.Helper()
	if _, err := from.Connect(testkit.Context(t), to.String()); err != nil {
		t.Fatal(err)
	}
}

// upLink returns the link from one runtime to another once it is up. The side that was dialled is
// up a little later.
func upLink(t *testing.T, from, to *Runtime) *link.Link {
	t.Helper()
	var l *link.Link
	testkit.Eventually(t, fmt.Sprintf("the link from %v to %v is up", from, to), func() bool {
		l = from.net.If(to.id)
		return l != nil && l.IsUp()
	})
	return l
}

// waitEnded waits until a link has ended, and returns why.
func waitEnded(t *testing.T, l *link.Link) error {
	t.Helper()
	select {
	case <-l.Ended():
		return l.Cause()
	case <-time.After(testkit.Patience):
		t.Fatal("the link has not ended")
		return nil
	}
}

// collect spawns a coroutine of that name, which passes what it receives to a channel.
func collect(t *testing.T, rt *Runtime, name string) <-chan any {
	t.Helper()
	got := make(chan any, 1024)
	c := rt.Spawn(name, func(c *Coro) (any, error) {
		for {
			msg, err := c.Receive()
			if err != nil {
				return nil, err
			}
			if err := c.Blocking(func() error {
				select {
				case got <- msg:
				case <-c.Done():
				}
				return nil
			}); err != nil {
				return nil, err
			}
		}
	})
	if err := c.Register(name); err != nil {
		t.Fatal(err)
	}
	return got
}

// locate returns a handle of the coroutine of that name at another runtime.
func locate(t *testing.T, from, at *Runtime, name string) *Coro {
	t.Helper()
	c, err := from.Locate(testkit.Context(t), name, at.Location())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// proxy is a testkit.Proxy for a runtime.
type proxy struct{ *testkit.Proxy }

// newProxy starts a proxy, which ends with the test.
func newProxy(t *testing.T, target Location) *proxy {
	t.Helper()
	return &proxy{testkit.NewProxy(t, target.String())}
}

// proxyAt is newProxy at a listener, which it owns.
func proxyAt(t *testing.T, ln net.Listener, target Location) *proxy {
	t.Helper()
	return &proxy{testkit.ProxyAt(t, ln, target.String())}
}

func (p *proxy) location() Location {
	loc, err := ParseLocation(p.Addr())
	if err != nil {
		panic(err)
	}
	return loc
}

// waitFor blocks for d, or until ctx ends.
func waitFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
