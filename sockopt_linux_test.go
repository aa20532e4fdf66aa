package discoro

import (
	"syscall"
	"testing"
)

// TestUnsentBytesAreLimited looks at the sockets of both sides of a link.
func TestUnsentBytesAreLimited(t *testing.T) {
	t.Parallel()
	a, b := testRuntime(t, Config{}), testRuntime(t, Config{})
	if _, err := a.Connect(testContext(t), b.loc.String()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both have the link", func() bool {
		l := b.linkIf(a.id)
		return l != nil && l.stateNow() == linkUp
	})
	for _, l := range []*link{a.linkIf(b.id), b.linkIf(a.id)} {
		raw, err := l.t.conn.raw.(syscall.Conn).SyscallConn()
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
