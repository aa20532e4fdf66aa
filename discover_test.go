package discoro

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/discoro/discoro/internal/testkit"
)

// knows reports whether a has a link to b.
func knows(a, b *Runtime) bool {
	l := a.net.If(b.id)
	return l != nil && l.IsUp()
}

// TestDiscover finds every runtime of this machine that has the same protection, and no other.
func TestDiscover(t *testing.T) {
	t.Parallel()
	const secret, other = "the secret of this cluster", "the secret of another one"
	for name, cfg := range map[string]Config{
		"plain": {}, "secret": {Secret: secret, Addr: "127.0.0.1"}, "network": {Secret: secret},
		"plain network":    {Insecure: true},
		"another loopback": {Addr: "127.0.0.2"}, "IPv6 loopback": {Addr: "::1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg.UDPPort = testkit.UDPPort(t)
			stranger := Config{Name: "stranger", UDPPort: cfg.UDPPort, Addr: "127.0.0.1"}
			if cfg.Secret == "" {
				stranger.Secret = other
			}
			strange := testRuntime(t, stranger)
			stranger.Secret = other
			strange2 := testRuntime(t, stranger)
			deaf := testRuntime(t, Config{Name: "deaf", Secret: cfg.Secret, Addr: cfg.Addr, UDPPort: -1})
			cfg.Name = "asker"
			asker := testRuntime(t, cfg)
			var others []*Runtime
			for i := range 3 {
				cfg.Name = fmt.Sprint("other ", i)
				others = append(others, testRuntime(t, cfg))
			}
			for range 3 { // a datagram may be lost, above all where much else is tested
				if err := asker.Discover(testkit.Context(t)); err != nil {
					t.Fatal(err)
				}
			}
			for _, o := range others {
				if !knows(asker, o) {
					t.Errorf("%v was not found; there are %v", o, asker.Peers())
				}
			}
			if knows(asker, strange) || knows(asker, strange2) || knows(asker, deaf) || len(asker.Peers()) != len(others) {
				t.Errorf("found %v", asker.Peers())
			}
			if err := deaf.Discover(testkit.Context(t)); !errors.Is(err, ErrRejected) ||
				!strings.Contains(err.Error(), "UDPPort") {
				t.Errorf("Discover where it is off: %v", err)
			}
		})
	}
}

// TestDiscoverPeers has a node find the scheduler by options only.
func TestDiscoverPeers(t *testing.T) {
	t.Parallel()
	port := testkit.UDPPort(t)
	quiet := slog.New(slog.DiscardHandler)
	sched, err := NewScheduler(SchedulerConfig{Config: Config{UDPPort: port, Logger: quiet}})
	if err != nil {
		t.Fatal(err)
	}
	defer sched.Close()
	node, err := NewNode(NodeConfig{Config: Config{UDPPort: port, DiscoverPeers: true, Logger: quiet}, Servers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	comp, err := NewComputation(sched.Runtime)
	if err != nil {
		t.Fatal(err)
	}
	ctx := testkit.Context(t)
	if err := comp.Schedule(ctx); err != nil {
		t.Fatal(err)
	}
	if err := comp.WaitServers(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if err := comp.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestLocateOnTheNetwork finds a name at a runtime that has no links, and connects to no other.
func TestLocateOnTheNetwork(t *testing.T) {
	t.Parallel()
	cfg := Config{UDPPort: testkit.UDPPort(t), Secret: "the secret of this cluster", Addr: "127.0.0.1"}
	a, b, c := testRuntime(t, cfg), testRuntime(t, cfg), testRuntime(t, cfg)
	connect(t, a, c.Location())
	got := collect(t, b, "the name")
	here := a.Spawn("asks", func(co *Coro) (any, error) {
		var err error
		for range 5 { // a datagram may be lost
			var found *Coro
			if found, err = a.Locate(co, "the name"); err == nil {
				return nil, found.Send("hello")
			}
		}
		return nil, err
	})
	if err := here.Wait(testkit.Context(t)); err != nil {
		t.Fatal(err)
	}
	if msg := testkit.Next(t, got); msg != "hello" {
		t.Errorf("%v came", msg)
	}
	if !knows(a, b) || knows(c, b) {
		t.Error("the wrong ones are connected")
	}
	own := newChannel(t, b)
	wantError(t, "Register", own.Register("the channel"), nil)
	asks := testRuntime(t, cfg)
	testkit.Eventually(t, "the channel is found", func() bool {
		ch, err := asks.LocateChannel(testkit.Context(t), "the channel")
		return err == nil && ch == channelAt(asks, own)
	})
	if _, err := c.Locate(testkit.Context(t), "no such name"); !errors.Is(err, ErrNotFound) ||
		!strings.Contains(err.Error(), "local network") {
		t.Errorf("a name that nobody has: %v", err)
	}
	if knows(c, b) {
		t.Error("a runtime without the name was connected to")
	}
	ctx, cancel := contextDone()
	defer cancel()
	for what, rt := range map[string]*Runtime{"with peers": b, "with none": testRuntime(t, Config{UDPPort: cfg.UDPPort})} {
		if _, err := rt.Locate(ctx, "no such name"); !errors.Is(err, context.Canceled) || errors.Is(err, ErrNotFound) {
			t.Errorf("no time to ask, %s: %v", what, err)
		}
	}
}

func TestDiscoverEnds(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{UDPPort: testkit.UDPPort(t)})
	ctx, cancel := contextDone()
	defer cancel()
	if err := rt.Discover(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	asks := make(chan error, 1)
	go func() { asks <- rt.Discover(context.Background()) }()
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	if err := testkit.Next(t, asks); err != nil && !errors.Is(err, ErrClosed) { // none when it was done before
		t.Errorf("closed meanwhile: %v", err)
	}
	_, err := rt.Locate(testkit.Context(t), "x")
	wantError(t, "Locate", err, ErrClosed)
	_, err = rt.LocateChannel(testkit.Context(t), "x")
	wantError(t, "LocateChannel", err, ErrClosed)
	if err := rt.Discover(testkit.Context(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed runtime: %v", err)
	}
}

// TestUDPPortThatIsTaken checks that a port that is taken is an error only if Config names it.
func TestUDPPortThatIsTaken(t *testing.T) {
	t.Parallel()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{}) // shares with nobody
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	addr, _ := conn.LocalAddr().(*net.UDPAddr)
	for _, cfg := range []Config{{UDPPort: addr.Port}, {UDPPort: addr.Port, Secret: "the secret of this cluster"}} {
		rt, err := NewRuntime(cfg)
		if cfg.Secret != "" && err == nil { // IPv6 is enough
			err = errors.Join(rt.Close(), badField("UDPPort", "choose another"))
		}
		if err == nil || !strings.Contains(err.Error(), "Config.UDPPort") ||
			!strings.Contains(err.Error(), "choose another") {
			t.Errorf("%v", err)
		}
	}
	for want, cfg := range map[string]Config{
		"Config.UDPPort: 65536": {UDPPort: 65536}, "Config.DiscoverPeers: UDPPort is -1": {UDPPort: -1, DiscoverPeers: true},
	} {
		if _, err := NewRuntime(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
