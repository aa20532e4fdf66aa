//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly || windows)

package lan

import (
	"errors"
	"net"
	"syscall"
)

// loopbackBroadcasts is false. On systems whose system calls are not used here, one runtime of a
// host answers, and only broadcasts reach it.
const loopbackBroadcasts = false

var errNoMulticast = errors.New("no multicast on this system")

func shareSocket(string, string, syscall.RawConn) error { return nil }
func joinGroup4(*net.UDPConn, [4]byte) error            { return errNoMulticast }
func joinGroup6(*net.UDPConn, int) error                { return errNoMulticast }
func sendFrom4(*net.UDPConn, [4]byte) error             { return errNoMulticast }
