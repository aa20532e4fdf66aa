package discoro

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/stopwatch"
	"github.com/discoro/discoro/internal/testkit"
)

// testRuntime returns a runtime that is closed, in good time, when the test ends. What it logs is shown when the test
// fails.
func testRuntime(t *testing.T, cfg Config) *Runtime {
	t.Helper()
	if cfg.UDPPort == 0 {
		cfg.UDPPort = -1 // tests that want to be discovered have a port of their own
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

// publicKey is what others name a coroutine of its runtime by.
func publicKey(c *Coro) uint64 { return c.rt.exported(c.local) }

// coroThrough is rt's handle of a coroutine, as if that were at loc.
func coroThrough(rt *Runtime, c *Coro, loc Location) *Coro {
	hv := c.rt.handleValue(c)
	hv.Host, hv.Port = loc.Addr, loc.Port
	return rt.liveHandle(hv)
}

// twoRuntimes returns two runtimes with a link that a has dialled.
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

// upLink returns the link from one runtime to another once it is up: the side that was dialled is so a little later.
func upLink(t *testing.T, from, to *Runtime) *link.Link {
	t.Helper()
	var l *link.Link
	testkit.Eventually(t, fmt.Sprintf("the link from %v to %v is up", from, to), func() bool {
		l = from.net.If(to.id)
		return l != nil && l.IsUp()
	})
	return l
}

// waitEnded waits until a link has ended, and returns how.
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

// collect spawns a coroutine at rt under name that hands what it receives to a channel.
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

// locate finds a name at another runtime.
func locate(t *testing.T, from, at *Runtime, name string) *Coro {
	t.Helper()
	c, err := from.Locate(testkit.Context(t), name, at.Location())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// proxy forwards connections to a runtime, until it is told to do otherwise.
type proxy struct {
	ln     net.Listener
	target string
	wg     sync.WaitGroup

	mu     sync.Mutex
	conns  []net.Conn
	frozen chan struct{} // nil: it forwards; closed by Thaw
	closed bool
}

// newProxy starts a proxy, which ends with the test.
func newProxy(t *testing.T, target Location) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return proxyAt(t, ln, target)
}

// proxyAt is newProxy at a listener, which it owns.
func proxyAt(t *testing.T, ln net.Listener, target Location) *proxy {
	t.Helper()
	p := &proxy{ln: ln, target: target.String()}
	p.wg.Go(p.accept)
	t.Cleanup(p.Close)
	return p
}

func (p *proxy) location() Location {
	loc, err := ParseLocation(p.ln.Addr().String())
	if err != nil {
		panic(err)
	}
	return loc
}

func (p *proxy) accept() {
	for {
		in, err := p.ln.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.target)
		if err != nil {
			in.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, in, out)
		closed := p.closed
		p.mu.Unlock()
		if closed {
			in.Close()
			out.Close()
		}
		p.wg.Go(func() { p.forward(in, out) })
		p.wg.Go(func() { p.forward(out, in) })
	}
}

func (p *proxy) forward(from, to net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		frozen := p.frozen
		p.mu.Unlock()
		if frozen != nil {
			<-frozen
		}
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			from.Close()
			to.Close()
			return
		}
	}
}

// Cut closes every connection; new ones are forwarded.
func (p *proxy) Cut() {
	p.mu.Lock()
	conns := p.conns
	p.conns = nil
	p.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// Freeze stops forwarding; connections stay open.
func (p *proxy) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen == nil {
		p.frozen = make(chan struct{})
	}
}

// Thaw goes on.
func (p *proxy) Thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen != nil {
		close(p.frozen)
		p.frozen = nil
	}
}

// Close ends the proxy.
func (p *proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.ln.Close()
	p.Thaw()
	p.Cut()
	p.wg.Wait()
}

// checkLedger tells where what arrived is not what was sent, 0, 1, 2 and so on up to n.
func checkLedger(got []int, n int) error {
	seen := map[int]int{}
	for i, v := range got {
		if at, ok := seen[v]; ok {
			return fmt.Errorf("repeat: %d came at %d and again at %d", v, at, i)
		}
		seen[v] = i
		if v < i {
			return fmt.Errorf("swap: %d came at %d, late", v, i)
		}
	}
	for i, v := range got {
		if v != i {
			if _, ok := seen[i]; ok {
				return fmt.Errorf("swap: %d came before %d", v, i)
			}
			return fmt.Errorf("gap: %d is missing", i)
		}
	}
	if len(got) != n {
		return fmt.Errorf("end: %d came of %d", len(got), n)
	}
	return nil
}

func TestLedgerFindsFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		got  []int
		want string // nothing: no fault
	}{
		{"whole", []int{0, 1, 2, 3}, ""},
		{"gap", []int{0, 2, 3}, "gap"},
		{"gap at the start", []int{1, 2, 3}, "gap"},
		{"repeat", []int{0, 1, 1, 2, 3}, "repeat"},
		{"repeat, later", []int{0, 1, 2, 3, 1}, "repeat"},
		{"swap", []int{0, 2, 1, 3}, "swap"},
		{"late", []int{1, 2, 3, 0}, "swap"},
		{"end", []int{0, 1, 2}, "end"},
	}
	for _, tt := range tests {
		err := checkLedger(tt.got, 4)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestProxy shows that the tests' tool does what it says.
func TestProxy(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	target, err := ParseLocation(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p := newProxy(t, target)
	near, err := net.Dial("tcp", p.location().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	exchange := func(text string) error {
		if _, err := near.Write([]byte(text)); err != nil {
			return err
		}
		_, err := io.ReadFull(far, make([]byte, len(text)))
		return err
	}
	if err := exchange("hello"); err != nil {
		t.Fatal(err)
	}
	p.Freeze()
	_ = far.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if err := exchange("frozen"); err == nil {
		t.Error("a frozen proxy forwards")
	}
	_ = far.SetReadDeadline(time.Now().Add(testkit.Patience))
	p.Thaw()
	if _, err := io.ReadFull(far, make([]byte, len("frozen"))); err != nil {
		t.Error(err)
	}
	p.Cut()
	if err := exchange("cut"); err == nil {
		t.Error("a cut proxy forwards")
	}
}
