package discoro

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/internal/testnet"
)

// onBothNetworks runs a test on hosts in memory, in fake time, and on hosts on loopback.
func onBothNetworks(t *testing.T, test func(t *testing.T, n *testnet.Network)) {
	t.Helper()
	t.Parallel()
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) { test(t, testnet.NewInMemory()) })
	})
	t.Run("loopback", func(t *testing.T) {
		t.Parallel()
		test(t, testnet.New())
	})
}

// hostedPair returns two runtimes, a and b, at hosts of the same names, with a link that a has
// dialled. got has what c, a coroutine of b, receives.
func hostedPair(t *testing.T, n *testnet.Network, cfg Config) (a, b *Runtime, c *Coro, got <-chan any) {
	t.Helper()
	cfg.Name, cfg.host = "b", n.Host("b")
	b = testRuntime(t, cfg)
	got = collect(t, b, "got")
	cfg.Name, cfg.host, cfg.Peers = "a", n.Host("a"), []string{b.Location().String()}
	a = testRuntime(t, cfg)
	t.Cleanup(n.Heal) // before they close
	testkit.Eventually(t, "a has dialled", func() bool { l := a.net.If(b.id); return l != nil && l.IsUp() })
	return a, b, locate(t, a, b, "got"), got
}

// hostOf returns the host where rt is.
func hostOf(rt *Runtime) *testnet.Host { return rt.cfg.tuning.host.(*testnet.Host) }

// nothing fails the test if something comes within d.
func nothing[T any](t *testing.T, ch <-chan T, d time.Duration) {
	t.Helper()
	select {
	case v := <-ch:
		t.Fatalf("%v came", v)
	case <-time.After(d):
	}
}

func TestCutHoldsWhatIsSent(t *testing.T) {
	onBothNetworks(t, func(t *testing.T, n *testnet.Network) {
		t.Helper()
		a, b, c, got := hostedPair(t, n, Config{})
		n.Host("c").Cut() // another host
		send := func(i int) {
			t.Helper()
			if err := c.Send(i); err != nil {
				t.Fatal(err)
			}
		}
		send(0)
		if v := testkit.Next(t, got); v != 0 {
			t.Fatalf("%v came", v)
		}
		la, lb := upLink(t, a, b), upLink(t, b, a)
		n.Host("b").Cut()
		n.Host("b").Cut() // is cut off already
		for i := 1; i < 10; i++ {
			send(i)
		}
		nothing(t, got, 100*time.Millisecond)
		n.Host("b").Heal()
		for i := 1; i < 10; i++ {
			if v := testkit.Next(t, got); v != i {
				t.Fatalf("%v came, want %d", v, i)
			}
		}
		if la.Cause() != nil || lb.Cause() != nil {
			t.Errorf("the cut broke the link: %v, %v", la.Cause(), lb.Cause())
		}
	})
}

func TestBreakShowsAtOnce(t *testing.T) {
	onBothNetworks(t, func(t *testing.T, n *testnet.Network) {
		t.Helper()
		a, b, c, got := hostedPair(t, n, Config{})
		la, lb := upLink(t, a, b), upLink(t, b, a)
		n.Host("a").Cut()
		n.Host("a").Break() // also what is cut off
		n.Host("a").Heal()
		for _, l := range []*link.Link{la, lb} {
			if err := waitEnded(t, l); !errors.Is(err, ErrDisconnected) || strings.Contains(err.Error(), "no sign of life") {
				t.Errorf("ended with %v", err)
			}
		}
		testkit.Eventually(t, "a has dialled anew", func() bool { l := a.net.If(b.id); return l != nil && l != la && l.IsUp() })
		if err := c.Send("again"); err != nil {
			t.Fatal(err)
		}
		if v := testkit.Next(t, got); v != "again" {
			t.Errorf("%v came", v)
		}
	})
}

// TestClosedWhileCut closes one side while the hosts are cut off. The other side notices when they
// are healed.
func TestClosedWhileCut(t *testing.T) {
	onBothNetworks(t, func(t *testing.T, n *testnet.Network) {
		t.Helper()
		a, b, _, _ := hostedPair(t, n, Config{MsgTimeout: 100 * time.Millisecond})
		lb := upLink(t, b, a)
		n.Host("a").Cut()
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		nothing(t, lb.Ended(), 100*time.Millisecond)
		n.Host("a").Heal()
		if err := waitEnded(t, lb); !errors.Is(err, ErrDisconnected) {
			t.Errorf("ended with %v", err)
		}
		testkit.Eventually(t, "the network has forgotten the connection", func() bool { return n.Conns() == 0 })
	})
}

// TestDialWhileCut dials a host that is cut off, and an address where nobody listens.
func TestDialWhileCut(t *testing.T) {
	onBothNetworks(t, func(t *testing.T, n *testnet.Network) {
		t.Helper()
		a := testRuntime(t, Config{tuning: tuning{host: n.Host("a")}})
		b := testRuntime(t, Config{tuning: tuning{host: n.Host("b")}})
		n.Host("b").Cut()
		ctx, cancel := context.WithTimeout(testkit.Context(t), 50*time.Millisecond)
		defer cancel()
		if _, err := a.Connect(ctx, b.Location().String()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("connected to a host that is cut off: %v", err)
		}
		connected := make(chan error, 1)
		a.start(func() {
			_, err := a.Connect(testkit.Context(t), b.Location().String())
			connected <- err
		})
		nothing(t, connected, 50*time.Millisecond)
		n.Host("b").Heal()
		if err := testkit.Next(t, connected); err != nil {
			t.Error(err)
		}
		at, la := b.Location(), upLink(t, a, b)
		upLink(t, b, a)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		_ = waitEnded(t, la)
		if _, err := a.Connect(testkit.Context(t), at.String()); !errors.Is(err, syscall.ECONNREFUSED) || !errors.Is(err, ErrDisconnected) {
			t.Errorf("connected to nobody: %v", err)
		}
	})
}

func TestPlacesInMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := testnet.NewInMemory()
		a := testRuntime(t, Config{tuning: tuning{host: n.Host("a")}})
		b := testRuntime(t, Config{tuning: tuning{host: n.Host("a")}})
		c := testRuntime(t, Config{tuning: tuning{host: n.Host("c")}, Addr: "c.example", ExtAddr: "outside", TCPPort: 7})
		if a.Location().Addr != "a" || b.Location().Addr != "a" || a.Location().Port == b.Location().Port {
			t.Errorf("two runtimes of host a are at %v and %v", a.Location(), b.Location())
		}
		if c.Location() != (Location{"outside", 7}) {
			t.Errorf("the third is at %v", c.Location())
		}
		for _, addr := range []string{"c.example:7", "outside:7"} {
			if loc, err := a.Connect(testkit.Context(t), addr); err != nil || loc != c.Location() {
				t.Errorf("connect to %s: %v, %v", addr, loc, err)
			}
		}
		if _, err := NewRuntime(Config{tuning: tuning{host: n.Host("c")}, Addr: "c.example", TCPPort: 7}); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("a port that is taken: %v", err)
		}
		if _, err := NewNode(NodeConfig{Config: Config{tuning: tuning{host: n.Host("a")}}, Processes: true}); err == nil || !strings.Contains(err.Error(), "Processes") {
			t.Errorf("server processes in memory: %v", err)
		}
	})
}

func TestDiscoverInMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := testnet.NewInMemory()
		runtimes := map[string]*Runtime{}
		for name, cfg := range map[string]Config{"a": {}, "b": {}, "far": {}, "other": {UDPPort: 7}, "deaf": {UDPPort: -1}, "safe": {Secret: "sixteen characters and more"}} {
			cfg.Name, cfg.host, cfg.Logger = name, n.Host(name), discard
			rt, err := NewRuntime(cfg)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = rt.Close() })
			runtimes[name] = rt
		}
		n.Host("far").Cut()
		a := runtimes["a"]
		if err := a.Discover(testkit.Context(t)); err != nil {
			t.Fatal(err)
		}
		if got := a.Peers(); !slices.Equal(got, []Location{runtimes["b"].Location()}) {
			t.Errorf("a has discovered %v", got)
		}
		n.Heal()
		_ = collect(t, runtimes["far"], "service")
		c, err := a.Locate(testkit.Context(t), "service")
		if err != nil || c.Location() != runtimes["far"].Location() {
			t.Errorf("located %v, %v", c, err)
		}
		if err := runtimes["deaf"].Discover(testkit.Context(t)); !errors.Is(err, ErrRejected) {
			t.Errorf("discovery that is off: %v", err)
		}
	})
}
