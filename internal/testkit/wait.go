package testkit

import (
	"context"
	"net"
	"testing"
	"time"
)

// Patience bounds what a test waits for when something is broken.
const Patience = 2 * time.Minute

// Context returns a context that ends with the test's patience.
func Context(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), Patience)
	tb.Cleanup(cancel)
	return ctx
}

// Eventually waits until cond holds. It is for conditions that have no channel to wait on.
func Eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(Patience); time.Now().Before(end); <-tick.C {
		if cond() {
			return
		}
	}
	tb.Fatalf("still not: %s", what)
}

// Next returns the next value of a channel.
func Next[T any](tb testing.TB, ch <-chan T) T {
	tb.Helper()
	late := time.NewTimer(Patience)
	defer late.Stop()
	select {
	case v := <-ch:
		return v
	case <-late.C:
		tb.Fatal("nothing came")
		panic("not reached") //nolint:forbidigo // Fatal does not return
	}
}

// TCPPair returns both ends of a connection over loopback. They are closed when the test ends.
func TCPPair(tb testing.TB) (a, b net.Conn) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	a, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	b, err = l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = a.Close(); _ = b.Close() })
	return a, b
}

// UDPPort returns a port for discovery that no other test uses.
func UDPPort(tb testing.TB) int {
	tb.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{})
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	addr, _ := conn.LocalAddr().(*net.UDPAddr)
	return addr.Port
}
