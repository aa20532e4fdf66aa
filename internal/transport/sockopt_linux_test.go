package transport

import (
	"syscall"
	"testing"
)

// TestUnsentBytesAreLimited looks at the sockets of both sides of a connection.
func TestUnsentBytesAreLimited(t *testing.T) {
	t.Parallel()
	a, b := transports(t)
	for _, c := range []*Conn{a, b} {
		raw, err := c.watched.raw.(syscall.Conn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var got int
		var errGet error
		if err := raw.Control(func(fd uintptr) {
			got, errGet = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat)
		}); err != nil || errGet != nil || got != maxUnsent {
			t.Errorf("the kernel holds %d unsent bytes, want %d (%v, %v)", got, maxUnsent, err, errGet)
		}
	}
}
