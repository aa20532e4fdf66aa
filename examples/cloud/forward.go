package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"

	"github.com/discoro/discoro"
)

// forwarder plays ssh -R, or the router of a cloud: it connects everything to another address.
type forwarder struct {
	ln net.Listener
	to string

	running sync.WaitGroup

	mu    sync.Mutex // guards following; leaf
	count int        // connections so far
	open  []net.Conn // both ends of each
}

// forward starts a forwarder at a host of this machine, and calls start with its port, which is free
// at 127.0.0.1 too. The forwarder connects there.
func forward(host string, start func(port int) error) (*forwarder, error) {
	for attempt := 1; ; attempt++ {
		ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return nil, fmt.Errorf("cannot play a network on loopback; on macOS, ifconfig lo0 alias %s helps: %w", host, err)
		}
		at, err := discoro.ParseLocation(ln.Addr().String())
		if err != nil {
			return nil, errors.Join(err, ln.Close())
		}
		f := &forwarder{ln: ln, to: net.JoinHostPort("127.0.0.1", strconv.Itoa(at.Port))}
		f.running.Go(f.accept)
		err = start(at.Port)
		if err == nil {
			return f, nil
		}
		if err = errors.Join(err, f.close()); attempt == 10 || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, err
		} // else another program has that port at 127.0.0.1
	}
}

// accept connects what dials, until the listener is closed.
func (f *forwarder) accept() {
	for {
		in, err := f.ln.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", f.to)
		if err != nil {
			_ = in.Close() // the dialler tries again
			continue
		}
		f.mu.Lock()
		f.count++
		f.open = append(f.open, in, out)
		f.mu.Unlock()
		f.running.Go(func() { pass(out, in) })
		f.running.Go(func() { pass(in, out) })
	}
}

// pass copies one direction of a connection; the end of either is the end of both.
func pass(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_, _ = to.Close(), from.Close()
}

// connections returns the number of connections so far.
func (f *forwarder) connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

func (f *forwarder) close() error {
	err := f.ln.Close()
	f.mu.Lock()
	for _, conn := range f.open {
		_ = conn.Close() // most are closed already
	}
	f.mu.Unlock()
	f.running.Wait()
	return err
}
