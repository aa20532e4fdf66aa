package discover

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/lan"
	"github.com/discoro/discoro/internal/ratelog"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/wire"
)

// newDiscovery returns a discovery on loopback, which the test's end closes. Nothing has a name.
func newDiscovery(t *testing.T, cfg Config) *Discovery {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	cfg.ID, cfg.Listen, cfg.TCPPort = wire.NewID(), netip.MustParseAddr("127.0.0.1"), 1
	cfg.UDPPort = cmp.Or(cfg.UDPPort, testkit.UDPPort(t))
	cfg.Timeout, cfg.Warnings = testkit.Patience, &ratelog.Log{}
	if cfg.Has == nil {
		cfg.Has = func(string) bool { return false }
	}
	cfg.Start = func(f func()) bool {
		wg.Go(f)
		return true
	}
	d, err := Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	d.Begin()
	t.Cleanup(func() {
		stop()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
	return d
}

// where returns where a runtime was found, for people.
func where(f Found) string { return net.JoinHostPort(f.Host, strconv.Itoa(f.Port)) }

// TestSearch finds the others at the same port, or those that have a name, and not itself.
func TestSearch(t *testing.T) {
	t.Parallel()
	a := newDiscovery(t, Config{Log: testkit.Quiet()})
	port := a.cfg.UDPPort
	b := newDiscovery(t, Config{Log: testkit.Quiet(), UDPPort: port})
	c := newDiscovery(t, Config{Log: testkit.Quiet(), UDPPort: port, Has: func(name string) bool { return name == "x" }})
	newDiscovery(t, Config{Log: testkit.Quiet(), UDPPort: port, Deaf: true})
	for name, want := range map[string][]*Discovery{"": {b, c}, "x": {c}, "y": nil} {
		var mu sync.Mutex
		found := map[wire.ID]bool{}
		for range 3 { // a datagram may get lost
			pauses := []time.Duration{100 * time.Millisecond, 200 * time.Millisecond}
			err := a.Search(testkit.Context(t), name, pauses, func(_ context.Context, f Found) {
				mu.Lock()
				defer mu.Unlock()
				found[f.ID] = true
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, d := range want {
			if !found[d.cfg.ID] {
				t.Errorf("%q: one was not found", name)
			}
		}
		if len(found) != len(want) {
			t.Errorf("%q: found %d, want %d", name, len(found), len(want))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := a.Search(ctx, "", []time.Duration{time.Hour}, func(context.Context, Found) {})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
}

// testQuestions returns a socket at loopback, and a function that sends a datagram from there to all that
// listen at port.
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

// answered reads answers until one to the question comes. It returns how many came before that.
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

// TestBadDatagramsAreIgnored sends what no runtime of ours sends, and a question twice. Only the good
// question after them is answered.
func TestBadDatagramsAreIgnored(t *testing.T) {
	t.Parallel()
	log := &testkit.Log{}
	p, err := wire.NewProtection("the secret of this cluster", nil)
	if err != nil {
		t.Fatal(err)
	}
	d := newDiscovery(t, Config{Protect: p, Log: log.Logger()})
	if err := p.Ready(testkit.Context(t)); err != nil {
		t.Fatal(err)
	}
	conn, send := testQuestions(t, d.cfg.UDPPort)
	encode := func(p *wire.Protection, kind wire.DatagramKind, age time.Duration, name string) (wire.ID, []byte) {
		g := &wire.Datagram{
			Kind: kind, Question: wire.NewID(), Time: time.Now().Add(-age), From: wire.NewID(), Port: 1, Name: name,
		}
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
	for _, b := range [][]byte{
		nil, {0}, plain, answer, named, good[:len(good)-1], make([]byte, 10_000), []byte(strings.Repeat("x", 60_000)),
	} {
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

// TestForgedAnswers checks where a runtime is dialled whose answer names another address than it comes
// from.
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
		if got := where(whereIs(g, at(tt.from))); got != tt.want {
			t.Errorf("%s from %s is dialled at %s, want %s", tt.says, tt.from, got, tt.want)
		}
	}
}

// TestAnswersAreLimited counts how many questions are answered.
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
