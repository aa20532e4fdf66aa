package discoro

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// peerEnv makes the test's program a runtime in a process of its own, with that long between its pulses.
const peerEnv = "DISCORO_TEST_PEER"

// ServePeer is what such a process does, when this is one: it prints where it is, answers every Request to its coroutine
// "echo" with the same message, and ends with its standard input.
func ServePeer() (isPeer bool, err error) {
	every := os.Getenv(peerEnv)
	if every == "" {
		return false, nil
	}
	pulse, err := time.ParseDuration(every)
	if err != nil {
		return true, err
	}
	rt, err := NewRuntime(Config{Name: "peer process", Logger: discard, tuning: tuning{pulse: pulse}})
	if err != nil {
		return true, err
	}
	defer rt.Close()
	if err := spawnEcho(rt, "echo"); err != nil {
		return true, err
	}
	fmt.Println(rt.Location())
	_, err = io.Copy(io.Discard, os.Stdin)
	return true, err
}

// spawnEcho starts a coroutine under that name which answers a Request with its message, and ignores all else.
func spawnEcho(rt *Runtime, name string) error {
	return rt.Spawn(name, func(c *Coro) (any, error) {
		for {
			msg, err := c.Receive()
			if err != nil {
				return nil, err
			}
			if r, ok := msg.(*Request); ok {
				if err := r.Reply(r.Msg); err != nil {
					return nil, err
				}
			}
		}
	}).Register(name)
}

// Peer is a runtime in a process of its own.
type Peer struct {
	t     *testing.T
	cmd   *exec.Cmd
	Loc   Location
	stdin io.Closer
	ended chan struct{}
}

// StartPeer starts a process that ends with the test, or before.
func StartPeer(t *testing.T, pulse time.Duration) *Peer {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &Peer{t: t, cmd: exec.Command(exe), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), peerEnv+"="+pulse.String(), "TMPDIR="+t.TempDir()) // killed, it leaves its folder for files
	p.cmd.Stderr = os.Stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(p.Kill)
	if err != nil {
		t.Fatal(err)
	}
	if p.Loc, err = ParseLocation(strings.TrimSpace(addr)); err != nil {
		t.Fatal(err)
	}
	return p
}

// Signal sends the process a signal.
func (p *Peer) Signal(s os.Signal) {
	p.t.Helper()
	Signal(p.t, p.cmd.Process, s)
}

// Kill ends the process at once, and waits for that.
func (p *Peer) Kill() {
	_ = p.cmd.Process.Kill()
	_ = p.stdin.Close()
	<-p.ended
}

// slowProxy forwards connections to a runtime at so many bytes a second in each direction. It ends with the test.
func slowProxy(t *testing.T, target Location, perSecond int) Location {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	loc, err := ParseLocation(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	slowProxyAt(t, ln, target, perSecond)
	return loc
}

// slowProxyAt is slowProxy at a listener, which it owns.
func slowProxyAt(t *testing.T, ln net.Listener, target Location, perSecond int) {
	t.Helper()
	var wg sync.WaitGroup
	over := make(chan struct{})
	forward := func(from, to net.Conn) {
		defer from.Close()
		defer to.Close()
		_ = from.(*net.TCPConn).SetReadBuffer(64 << 10) // what waits, waits at the sender
		buf := make([]byte, min(perSecond/20, 64<<10))
		next := time.Now()
		for {
			n, err := from.Read(buf)
			if now := time.Now(); next.Before(now) {
				next = now
			}
			next = next.Add(time.Duration(n) * time.Second / time.Duration(perSecond))
			if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
				return
			}
			select {
			case <-time.After(time.Until(next)):
			case <-over:
				return
			}
		}
	}
	wg.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target.String())
			if err != nil {
				in.Close()
				continue
			}
			wg.Go(func() { forward(in, out) })
			wg.Go(func() { forward(out, in) })
			wg.Go(func() {
				<-over
				in.Close()
				out.Close()
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		close(over)
		wg.Wait()
	})
}
