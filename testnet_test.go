package discoro

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// onBothNetworks runs a test on hosts in memory, in fake time, and on hosts on loopback.
func onBothNetworks(t *testing.T, test func(t *testing.T, n *TestNetwork)) {
	t.Helper()
	t.Parallel()
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) { test(t, NewMemNetwork()) })
	})
	t.Run("loopback", func(t *testing.T) {
		t.Parallel()
		test(t, NewTestNetwork())
	})
}

// hostedPair returns two runtimes at hosts of their own, a and b, with a link that a has dialled, and what b receives of a's
// messages to c, a coroutine of b.
func hostedPair(t *testing.T, n *TestNetwork, cfg Config) (a, b *Runtime, c *Coro, got <-chan any) {
	t.Helper()
	cfg.Name, cfg.TestHost = "b", n.Host("b")
	b = testRuntime(t, cfg)
	got = collect(t, b, "got")
	cfg.Name, cfg.TestHost, cfg.Peers = "a", n.Host("a"), []string{b.Location().String()}
	a = testRuntime(t, cfg)
	t.Cleanup(n.Heal) // before they close
	eventually(t, "a has dialled", func() bool { l := a.linkIf(b.id); return l != nil && l.stateNow() == linkUp })
	return a, b, locate(t, a, b, "got"), got
}

// nothing fails the test when something comes within d.
func nothing[T any](t *testing.T, ch <-chan T, d time.Duration) {
	t.Helper()
	select {
	case v := <-ch:
		t.Fatalf("%v came", v)
	case <-time.After(d):
	}
}

func TestCutHoldsWhatIsSent(t *testing.T) {
	onBothNetworks(t, func(t *testing.T, n *TestNetwork) {
		t.Helper()
		a, b, c, got := hostedPair(t, n, Config{})
		n.Host("c").Cut() // somebody else
		send := func(i int) {
			t.Helper()
			if err := c.Send(i); err != nil {
				t.Fatal(err)
			}
		}
		send(0)
		if v := next(t, got); v != 0 {
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
			if v := next(t, got); v != i {
				t.Fatalf("%v came, want %d", v, i)
			}
		}
		if la.cause() != nil || lb.cause() != nil {
			t.Errorf("the cut broke the link: %v, %v", la.cause(), lb.cause())
		}
	})
}

func TestBreakShowsAtOnce(t *testing.T) {
	onBothNetworks(t, func(t *testing.T, n *TestNetwork) {
		t.Helper()
		a, b, c, got := hostedPair(t, n, Config{})
		la, lb := upLink(t, a, b), upLink(t, b, a)
		n.Host("a").Cut()
		n.Host("a").Break() // also what is cut off
		n.Host("a").Heal()
		for _, l := range []*link{la, lb} {
			if err := waitEnded(t, l); !errors.Is(err, ErrDisconnected) || strings.Contains(err.Error(), "no sign of life") {
				t.Errorf("ended with %v", err)
			}
		}
		eventually(t, "a has dialled anew", func() bool { l := a.linkIf(b.id); return l != nil && l != la && l.stateNow() == linkUp })
		if err := c.Send("again"); err != nil {
			t.Fatal(err)
		}
		if v := next(t, got); v != "again" {
			t.Errorf("%v came", v)
		}
	})
}

// TestClosedWhileCut closes one side, which the other does not learn.
func TestClosedWhileCut(t *testing.T) {
	onBothNetworks(t, func(t *testing.T, n *TestNetwork) {
		t.Helper()
		a, b, _, _ := hostedPair(t, n, Config{MsgTimeout: 100 * time.Millisecond})
		lb := upLink(t, b, a)
		n.Host("a").Cut()
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		nothing(t, lb.ended, 100*time.Millisecond)
		n.Host("a").Heal()
		if err := waitEnded(t, lb); !errors.Is(err, ErrDisconnected) {
			t.Errorf("ended with %v", err)
		}
		eventually(t, "the network has forgotten the connection", func() bool {
			n.mu.Lock()
			defer n.mu.Unlock()
			return len(n.conns) == 0
		})
	})
}

// TestDialWhileCut dials what cannot be reached, and what is not there.
func TestDialWhileCut(t *testing.T) {
	onBothNetworks(t, func(t *testing.T, n *TestNetwork) {
		t.Helper()
		a := testRuntime(t, Config{TestHost: n.Host("a")})
		b := testRuntime(t, Config{TestHost: n.Host("b")})
		n.Host("b").Cut()
		ctx, cancel := context.WithTimeout(testContext(t), 50*time.Millisecond)
		defer cancel()
		if _, err := a.Connect(ctx, b.Location().String()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("connected to a host that is cut off: %v", err)
		}
		connected := make(chan error, 1)
		a.start(func() {
			_, err := a.Connect(testContext(t), b.Location().String())
			connected <- err
		})
		nothing(t, connected, 50*time.Millisecond)
		n.Host("b").Heal()
		if err := next(t, connected); err != nil {
			t.Error(err)
		}
		at, la := b.Location(), upLink(t, a, b)
		upLink(t, b, a)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		_ = waitEnded(t, la)
		if _, err := a.Connect(testContext(t), at.String()); !errors.Is(err, syscall.ECONNREFUSED) || !errors.Is(err, ErrDisconnected) {
			t.Errorf("connected to nobody: %v", err)
		}
	})
}

func TestPlacesInMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := NewMemNetwork()
		a := testRuntime(t, Config{TestHost: n.Host("a")})
		b := testRuntime(t, Config{TestHost: n.Host("a")})
		c := testRuntime(t, Config{TestHost: n.Host("c"), Addr: "c.example", ExtAddr: "outside", TCPPort: 7})
		if a.Location().Addr != "a" || b.Location().Addr != "a" || a.Location().Port == b.Location().Port {
			t.Errorf("two runtimes of host a are at %v and %v", a.Location(), b.Location())
		}
		if c.Location() != (Location{"outside", 7}) {
			t.Errorf("the third is at %v", c.Location())
		}
		for _, addr := range []string{"c.example:7", "outside:7"} {
			if loc, err := a.Connect(testContext(t), addr); err != nil || loc != c.Location() {
				t.Errorf("connect to %s: %v, %v", addr, loc, err)
			}
		}
		if _, err := NewRuntime(Config{TestHost: n.Host("c"), Addr: "c.example", TCPPort: 7}); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("a port that is taken: %v", err)
		}
		if _, err := NewNode(NodeConfig{Config: Config{TestHost: n.Host("a")}, Processes: true}); err == nil || !strings.Contains(err.Error(), "TestHost") {
			t.Errorf("server processes in memory: %v", err)
		}
	})
}

func TestDiscoverInMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := NewMemNetwork()
		runtimes := map[string]*Runtime{}
		for name, cfg := range map[string]Config{"a": {}, "b": {}, "far": {}, "other": {UDPPort: 7}, "deaf": {UDPPort: -1}, "safe": {Secret: "sixteen characters and more"}} {
			cfg.Name, cfg.TestHost, cfg.Logger = name, n.Host(name), discard
			rt, err := NewRuntime(cfg)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = rt.Close() })
			runtimes[name] = rt
		}
		n.Host("far").Cut()
		a := runtimes["a"]
		if err := a.Discover(testContext(t)); err != nil {
			t.Fatal(err)
		}
		if got := a.Peers(); !slices.Equal(got, []Location{runtimes["b"].Location()}) {
			t.Errorf("a has discovered %v", got)
		}
		n.Heal()
		_ = collect(t, runtimes["far"], "service")
		c, err := a.Locate(testContext(t), "service")
		if err != nil || c.Location() != runtimes["far"].Location() {
			t.Errorf("located %v, %v", c, err)
		}
		if err := runtimes["deaf"].Discover(testContext(t)); !errors.Is(err, ErrRejected) {
			t.Errorf("discovery that is off: %v", err)
		}
	})
}

// connsInMemory returns the two ends of a connection in memory.
func connsInMemory(n *TestNetwork) (near, far *memConn) {
	return connectMemory(n.Host("a"), n.Host("b"), Location{"a", 1}, Location{"b", 2})
}

func TestStreamsInMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := connsInMemory(NewMemNetwork())
		accepted := make(chan net.Conn)
		go func() {
			s, err := far.end.Accept()
			if err != nil {
				t.Error(err)
			}
			accepted <- s
		}()
		out, err := near.end.Open()
		if err != nil {
			t.Fatal(err)
		}
		in := <-accepted
		sent := bytes.Repeat([]byte("0123456789"), memWindow/5) // twice what waits
		wrote := make(chan error, 1)
		go func() {
			_, err := out.Write(sent)
			wrote <- errors.Join(err, out.Close())
		}()
		synctest.Wait()
		nothing(t, wrote, time.Second)
		got, err := io.ReadAll(in)
		if err := errors.Join(err, <-wrote); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes of %d came, %v", len(got), len(sent), err)
		}
		if _, err := in.Write([]byte("after")); err != nil { // only one direction has ended
			t.Error(err)
		}
		_ = in.Close()
		if got, err := io.ReadAll(out); string(got) != "after" || err != nil {
			t.Errorf("%q came, %v", got, err)
		}
		if _, err := out.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("wrote to a closed stream: %v", err)
		}
		if near, far := len(near.end.streams), len(far.end.streams); near != 1 || far != 1 {
			t.Errorf("%d and %d streams are left, want the first of each side", near, far)
		}
		_ = near.Close()
		if _, err := far.end.Accept(); !errors.Is(err, io.EOF) {
			t.Errorf("accepted from a closed end: %v", err)
		}
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("read from a closed end: %v", err)
		}
		if _, err := far.Write(make([]byte, 1)); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("wrote to a closed end: %v", err)
		}
		if _, err := near.end.Open(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("opened at a closed end: %v", err)
		}
	})
}

// TestDeadlines moves deadlines while somebody waits.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := connsInMemory(NewMemNetwork())
		defer near.Close()
		defer far.Close()
		start := time.Now()
		_ = near.SetReadDeadline(start.Add(time.Second))
		go func() { _ = near.SetReadDeadline(start.Add(3 * time.Second)) }()
		_, err := near.Read(make([]byte, 1))
		if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took != 3*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		_, err = near.Read(make([]byte, 1)) // it has passed
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		_ = near.SetDeadline(time.Time{})
		go func() {
			<-time.After(time.Hour)
			_ = near.SetDeadline(time.Unix(1, 0))
		}()
		_, err = near.Write(make([]byte, 2*memWindow))
		if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took != time.Hour+3*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		_ = near.SetDeadline(time.Time{})
		go func() {
			_, err := io.CopyN(io.Discard, far, 2*memWindow)
			if err != nil {
				t.Error(err)
			}
		}()
		if n, err := near.Write(make([]byte, memWindow)); err != nil || n != memWindow {
			t.Errorf("%d bytes written, %v", n, err)
		}
		synctest.Wait()
		if got := fmt.Sprint(near.LocalAddr(), far.LocalAddr(), near.RemoteAddr()); got != "a:1 b:2 b:2" {
			t.Errorf("addresses %s", got)
		}
	})
}
