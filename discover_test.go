package discoro

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/lan"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/wire"
)

// knows reports whether a has a link to b.
func knows(a, b *Runtime) bool {
	l := a.net.If(b.id)
	return l != nil && l.IsUp()
}

// TestDiscover finds every runtime of this machine that is protected in the same way, and nobody else.
func TestDiscover(t *testing.T) {
	t.Parallel()
	const secret, other = "the secret of this cluster", "the secret of another one"
	for name, cfg := range map[string]Config{
		"plain": {}, "secret": {Secret: secret, Addr: "127.0.0.1"}, "network": {Secret: secret}, "plain network": {Insecure: true},
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
			if err := deaf.Discover(testkit.Context(t)); !errors.Is(err, ErrRejected) || !strings.Contains(err.Error(), "UDPPort") {
				t.Errorf("Discover where it is off: %v", err)
			}
		})
	}
}

// TestDiscoverPeers lets a node find the scheduler, from nothing but options.
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

// TestLocateOnTheNetwork finds a name at a runtime that nobody is connected to, and connects to no other.
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
	if _, err := c.Locate(testkit.Context(t), "no such name"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "local network") {
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

// TestUDPPortThatIsTaken fails only where the port was asked for.
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
		if err == nil || !strings.Contains(err.Error(), "Config.UDPPort") || !strings.Contains(err.Error(), "choose another") {
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

// testQuestions is a socket at loopback and what sends a datagram from there to whoever listens on port.
func testQuestions(t *testing.T, port int) (conn *net.UDPConn, send func([]byte)) {
	t.Helper()
	a, err := lan.NewAsker(true, port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a.Conns()[0], func(b []byte) {
		if err := a.Send(b); err != nil {
			t.Error(err)
		}
	}
}

// answered reads answers until one to the question comes, and returns how many came before it.
func answered(t *testing.T, conn *net.UDPConn, p *wire.Protection, question wire.ID) (before int) {
	t.Helper()
	buf := make([]byte, wire.MaxDatagram)
	_ = conn.SetReadDeadline(time.Now().Add(testkit.Patience))
	for ; ; before++ {
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		g, err := p.DecodeDatagram(buf[:n])
		if err != nil {
			t.Fatal(err)
		}
		if g.Question == question {
			return before
		}
	}
}

// TestBadDatagramsAreIgnored sends what no runtime of ours does, and a question that is repeated; a good one is answered
// after it all, and only that.
func TestBadDatagramsAreIgnored(t *testing.T) {
	t.Parallel()
	log := &testkit.Log{}
	rt := testRuntime(t, Config{UDPPort: testkit.UDPPort(t), Logger: log.Logger(), Secret: "the secret of this cluster", Addr: "127.0.0.1"})
	p := rt.cfg.protect
	if err := p.Ready(testkit.Context(t)); err != nil {
		t.Fatal(err)
	}
	conn, send := testQuestions(t, rt.cfg.UDPPort)
	encode := func(p *wire.Protection, kind wire.DatagramKind, age time.Duration, name string) (wire.ID, []byte) {
		g := &wire.Datagram{Kind: kind, Question: wire.NewID(), Time: time.Now().Add(-age), From: wire.NewID(), Port: 1, Name: name}
		b, err := p.EncodeDatagram(g)
		if err != nil {
			t.Fatal(err)
		}
		return g.Question, b
	}
	first, good := encode(p, wire.DatagramQuestion, 0, "")
	send(good)
	if n := answered(t, conn, p, first); n != 0 {
		t.Errorf("%d answers too many", n)
	}
	send(good) // somebody has heard it
	for _, age := range []time.Duration{2 * datagramAge, -2 * datagramAge} {
		_, b := encode(p, wire.DatagramQuestion, age, "")
		send(b)
	}
	_, plain := encode(nil, wire.DatagramQuestion, 0, "")
	_, answer := encode(p, wire.DatagramAnswer, 0, "")
	_, named := encode(p, wire.DatagramQuestion, 0, "a name that nobody has")
	for _, b := range [][]byte{nil, {0}, plain, answer, named, good[:len(good)-1], make([]byte, 10_000), []byte(strings.Repeat("x", 60_000))} {
		send(b)
	}
	last, b := encode(p, wire.DatagramQuestion, 0, "")
	send(b)
	if n := answered(t, conn, p, last); n != 0 {
		t.Errorf("%d of the bad ones were answered", n)
	}
	if n := log.Count("ignored a datagram"); n != 1 {
		t.Errorf("%d lines in the log:\n%s", n, log)
	}
}

// TestForgedAnswers answers a question from elsewhere, and for somewhere else.
func TestForgedAnswers(t *testing.T) {
	t.Parallel()
	at := netip.MustParseAddr
	for _, tt := range []struct{ says, from, want string }{
		{"", "10.0.0.7", "10.0.0.7:9"},
		{"127.0.0.1", "10.0.0.7", "10.0.0.7:9"}, // never the asker's own machine for another's word
		{"127.0.0.2", "127.0.0.1", "127.0.0.2:9"},
		{"::1", "127.0.0.1", "[::1]:9"},
		{"", "fe80::1%eth0", "[fe80::1%eth0]:9"},
	} {
		g := &wire.Datagram{Port: 9}
		if tt.says != "" {
			g.Addr = at(tt.says)
		}
		if got := whereIs(g, at(tt.from)).String(); got != tt.want {
			t.Errorf("%s from %s is dialled at %s, want %s", tt.says, tt.from, got, tt.want)
		}
	}
}

// TestAnswersAreLimited counts, in a time of its own.
func TestAnswersAreLimited(t *testing.T) {
	t.Parallel()
	var q questions
	now := time.Unix(1_800_000_000, 0)
	ask := func(from string, n int) (yes int) {
		for range n {
			if q.add(wire.NewID(), netip.MustParseAddr(from), now) {
				yes++
			}
		}
		return yes
	}
	if n := ask("10.0.0.1", 1000); n != maxAnswersTo {
		t.Errorf("%d to one address", n)
	}
	total := maxAnswersTo
	for i := range 250 {
		total += ask("10.0.1."+strconv.Itoa(i), 1)
	}
	if total != maxAnswers1s {
		t.Errorf("%d in one second", total)
	}
	now = now.Add(time.Second)
	if n := ask("10.0.0.1", 1); n != 1 {
		t.Error("none in the next second")
	}
	id := wire.NewID()
	for i := range 3 {
		now = now.Add(datagramAge / 2)
		if yes := q.add(id, netip.MustParseAddr("10.0.0.1"), now); yes != (i == 0) {
			t.Errorf("repeat %d is answered: %v", i, yes)
		}
	}
	now = now.Add(4 * datagramAge)
	ask("10.0.0.1", 1)
	if len(q.seen) != 1 || len(q.from) != 1 {
		t.Errorf("%d questions and %d addresses are remembered", len(q.seen), len(q.from))
	}
}
