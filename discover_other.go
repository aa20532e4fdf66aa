//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly || windows)

package discoro

import (
	"errors"
	"net"
	"syscall"
)

// Where these system calls are not known, one runtime a host answers, and only broadcasts reach it.
const loopbackHears = false

var errNoMulticast = errors.New("no multicast on this system")

func shareSocket(string, string, syscall.RawConn) error { return nil }
func joinGroup4(*net.UDPConn, [4]byte) error            { return errNoMulticast }
func joinGroup6(*net.UDPConn, int) error                { return errNoMulticast }
func sendFrom4(*net.UDPConn, [4]byte) error             { return errNoMulticast }
