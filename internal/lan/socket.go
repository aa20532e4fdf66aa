//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly || windows

package lan

import (
	"errors"
	"net"
	"syscall"
)

// shareSocket lets other sockets be bound to the same port, so that every runtime of a host
// receives what is sent to all.
func shareSocket(_, _ string, raw syscall.RawConn) error {
	return control(raw, func(fd socketFD) error {
		return syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, shareOption, 1)
	})
}

// joinGroup4 makes a socket receive what is sent to the group over the interface with an address.
func joinGroup4(conn *net.UDPConn, at [4]byte) error {
	return controlConn(conn, func(fd socketFD) error {
		return syscall.SetsockoptIPMreq(fd, syscall.IPPROTO_IP, syscall.IP_ADD_MEMBERSHIP,
			&syscall.IPMreq{Multiaddr: group4.As4(), Interface: at})
	})
}

// joinGroup6 makes a socket receive what is sent to the group over an interface.
func joinGroup6(conn *net.UDPConn, index int) error {
	return controlConn(conn, func(fd socketFD) error {
		return syscall.SetsockoptIPv6Mreq(fd, syscall.IPPROTO_IPV6, syscall.IPV6_JOIN_GROUP,
			&syscall.IPv6Mreq{Multiaddr: group6.As16(), Interface: uint32(index)}) //nolint:gosec // from the system
	})
}

// sendFrom4 makes what a socket sends to the group go out over the interface with an address.
func sendFrom4(conn *net.UDPConn, at [4]byte) error {
	return controlConn(conn, func(fd socketFD) error {
		return syscall.SetsockoptInet4Addr(fd, syscall.IPPROTO_IP, syscall.IP_MULTICAST_IF, at)
	})
}

func controlConn(conn *net.UDPConn, set func(fd socketFD) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	return control(raw, set)
}

func control(raw syscall.RawConn, set func(fd socketFD) error) error {
	var failed error
	err := raw.Control(func(fd uintptr) { failed = set(socketFD(fd)) })
	return errors.Join(err, failed)
}
