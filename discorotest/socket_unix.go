//go:build unix

package discorotest

import (
	"fmt"
	"net/netip"
	"strconv"
	"syscall"
)

// socketName returns the addresses of the socket with that file descriptor, if it has any.
func socketName(fd string) string {
	n, err := strconv.Atoi(fd)
	if err != nil {
		return ""
	}
	local, err := syscall.Getsockname(n)
	if err != nil {
		return ""
	}
	text := " at " + addressOf(local)
	if peer, err := syscall.Getpeername(n); err == nil {
		text += ", connected to " + addressOf(peer)
	}
	return text
}

func addressOf(a syscall.Sockaddr) string {
	switch a := a.(type) {
	case *syscall.SockaddrInet4:
		return fmt.Sprintf("%v:%d", netip.AddrFrom4(a.Addr), a.Port)
	case *syscall.SockaddrInet6:
		return fmt.Sprintf("[%v]:%d", netip.AddrFrom16(a.Addr), a.Port)
	case *syscall.SockaddrUnix:
		return a.Name
	}
	return "an unknown address"
}
