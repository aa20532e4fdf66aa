package transport

import (
	"net"
	"syscall"
)

// tcpNotSentLowat is TCP_NOTSENT_LOWAT, which package syscall does not name.
const tcpNotSentLowat = 25

// maxUnsent is how many bytes the kernel accepts before it can send them. On a slow link everything
// that is written later, such as a small message between the parts of a large one, waits behind
// these bytes: 4 s at 256 kbit/s. Without the limit it would be minutes.
const maxUnsent = 128 << 10

// limitUnsent bounds how many unsent bytes of a connection the kernel holds. It ignores errors: the
// link works without it.
func limitUnsent(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, maxUnsent)
	})
}
