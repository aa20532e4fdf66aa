package discoro

import (
	"bytes"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/wire"
)

// TestPromise12ClosedByDefault: a role without options can be reached from this machine only; without the secret a peer
// learns and changes nothing.
func TestPromise12ClosedByDefault(t *testing.T) {
	t.Parallel()
	t.Run("listeners", closedByDefault)
	t.Run("roles", rolesAreClosed)
	t.Run("without the secret", strangersChangeNothing)
}

// rolesAreClosed tries to reach every role without options at every address that this machine has.
func rolesAreClosed(t *testing.T) {
	t.Parallel()
	sched, err := NewScheduler()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sched.Close() })
	node, err := NewNode(NodeConfig{Servers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Close() })
	testkit.Eventually(t, "the server is up", func() bool { return len(node.Servers()) == 1 })
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	outside := 0
	for role, loc := range map[string]Location{
		"runtime": testRuntime(t, Config{}).Location(), "scheduler": sched.Location(), "node": node.Location(), "server": node.Servers()[0],
	} {
		if ip := net.ParseIP(loc.Addr); ip == nil || !ip.IsLoopback() {
			t.Errorf("a %s announces %v", role, loc)
		}
		if conn, err := net.Dial("tcp", loc.String()); err != nil {
			t.Errorf("a %s cannot be reached from this machine: %v", role, err)
		} else {
			conn.Close()
		}
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok || n.IP.IsLoopback() || n.IP.IsLinkLocalUnicast() {
				continue
			}
			outside++
			conn, err := net.DialTimeout("tcp", net.JoinHostPort(n.IP.String(), strconv.Itoa(loc.Port)), time.Second)
			if err == nil {
				conn.Close()
				t.Errorf("a %s can be reached at %v", role, n.IP)
			}
		}
	}
	if outside == 0 {
		t.Log("this machine has no address but loopback: announced addresses were looked at alone")
	}
}

// strangersChangeNothing has a runtime with another secret, and one with none, do what a peer can do.
func strangersChangeNothing(t *testing.T) {
	t.Parallel()
	home := testRuntime(t, Config{Name: "home", Addr: "127.0.0.1", Secret: "the secret of this home"})
	got := collect(t, home, "collect")
	c := home.named("collect")
	for name, cfg := range map[string]Config{
		"none": {}, "another": {Secret: "the secret of another home"}, "certificates": {TLS: testCerts(t)},
	} {
		cfg.Addr, cfg.Name = "127.0.0.1", name
		rt := testRuntime(t, cfg)
		h := coroAt(rt, c) // even one that knows what it should not
		ctx := testkit.Context(t)
		for verb, do := range map[string]func() error{
			"Connect": func() error { _, err := rt.Connect(ctx, home.loc.String()); return err },
			"Locate":  func() error { _, err := rt.Locate(ctx, "collect", home.loc); return err },
			"Deliver": func() error { return h.Deliver(ctx, "from a stranger") },
			"Ask":     func() error { _, err := Ask[int](ctx, h, "from a stranger"); return err },
			"Wait":    func() error { return h.Wait(ctx) },
		} {
			if err := do(); !errors.Is(err, ErrUnauthorized) && !errors.Is(err, ErrDisconnected) {
				t.Errorf("%s with secret %s: %v", verb, name, err)
			} else if strings.Contains(err.Error(), "secret of") {
				t.Errorf("%s: %v", verb, err)
			}
		}
		_ = h.Terminate()
		_ = h.Send("from a stranger")
		if len(rt.Peers()) != 0 {
			t.Errorf("%s has a link", name)
		}
	}
	if err := c.Deliver(testkit.Context(t), "from home"); err != nil {
		t.Errorf("the coroutine: %v", err)
	}
	if msg := testkit.Next(t, got); msg != "from home" {
		t.Errorf("received %v", msg)
	}
	if n := len(home.net.All()); n != 0 {
		t.Errorf("%d links", n)
	}
}

// TestPromise14EncodingErrors belong to the sender: a typed error at Send, and the link goes on.
func TestPromise14EncodingErrors(t *testing.T) {
	t.Parallel()
	t.Run("by every verb", encodingErrorsBelongToTheSender)
	t.Run("of arguments and results", func(t *testing.T) {
		t.Parallel()
		a, b := twoRuntimes(t, Config{})
		l := upLink(t, a, b)
		for name, value := range map[string]any{"a channel": make(chan int), "a function": func() {}, "not UTF-8": "\xff"} {
			c := b.Spawn("bad result", func(c *Coro) (any, error) { _, err := c.Receive(); return value, err })
			h := coroAt(a, c)
			exits := collect(t, a, "exits of "+name)
			if err := h.Monitor(testkit.Context(t), a.named("exits of "+name)); err != nil {
				t.Fatal(err)
			}
			if err := h.Deliver(testkit.Context(t), "go"); err != nil {
				t.Fatal(err)
			}
			if e := testkit.Next(t, exits).(Exit); e.Coro != h || e.Err == nil || errors.Is(e.Err, ErrDisconnected) {
				t.Errorf("a result that is %s: %+v", name, e)
			}
		}
		if upLink(t, a, b) != l || l.Cause() != nil {
			t.Errorf("the link ended: %v", l.Cause())
		}
	})
}

// TestPromise15Versions: two that do not fit refuse each other in words, on both sides, whichever is newer and dials.
func TestPromise15Versions(t *testing.T) {
	t.Parallel()
	const newer = wire.Protocol + 1
	readAll := func(conn net.Conn) (version byte, words string) {
		_ = conn.SetReadDeadline(time.Now().Add(testkit.Patience))
		var said bytes.Buffer
		_, _ = said.ReadFrom(conn)
		b := said.Bytes()
		if len(b) < 9 || !bytes.Equal(b[:4], preamble(0, 0, 0)[:4]) || b[5] != 255 || b[8] != byte(wire.RefuseProtocol) {
			t.Errorf("it said %q, which is no refusal of the protocol", b)
			return 0, ""
		}
		return b[4], string(b[9:])
	}
	inWords := func(text string) bool {
		return strings.Contains(text, "protocol 1") && strings.Contains(text, "protocol 2") && strings.Contains(text, "pdate")
	}
	t.Run("the dialer is newer", func(t *testing.T) {
		t.Parallel()
		log := &testkit.Log{}
		rt := testRuntime(t, Config{Logger: log.Logger()})
		conn, err := net.Dial("tcp", rt.loc.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(append(preamble(newer, 1, 4), "news"...)); err != nil {
			t.Fatal(err)
		}
		if version, words := readAll(conn); version != wire.Protocol || !inWords(words) {
			t.Errorf("version %d says %q", version, words)
		}
		conn.Close()
		testkit.Eventually(t, "it is in the log", func() bool { return log.Count("refused a connection") == 1 })
		if !inWords(log.String()) {
			t.Errorf("the log says\n%s", log)
		}
		stillServes(t, rt)
	})
	t.Run("the listener is newer", func(t *testing.T) {
		t.Parallel()
		const words = "this side speaks protocol 2 of discoro, the other protocol 1: update the other"
		for _, answers := range []string{"refuses", "goes on"} {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			heard := make(chan string, 1)
			go func() {
				conn, err := ln.Accept()
				if err != nil {
					heard <- err.Error()
					return
				}
				defer conn.Close()
				_, _ = conn.Read(make([]byte, wire.MaxHello))
				if answers == "refuses" {
					body := append([]byte{byte(wire.RefuseProtocol)}, words...)
					_, _ = conn.Write(append(preamble(newer, 255, len(body)), body...))
					heard <- words
					return
				}
				_, _ = conn.Write(append(preamble(newer, 2, 4), "news"...))
				_, said := readAll(conn)
				heard <- said
			}()
			rt := testRuntime(t, Config{})
			_, err = rt.Connect(testkit.Context(t), ln.Addr().String())
			if !errors.Is(err, ErrRejected) || !inWords(err.Error()) {
				t.Errorf("the listener %s: Connect: %v", answers, err)
			}
			if text := testkit.Next(t, heard); !inWords(text) {
				t.Errorf("the listener %s: it hears %q", answers, text)
			}
			ln.Close()
		}
	})
}
