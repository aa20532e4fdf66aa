//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package discoro

import "syscall"

// socketFD is what the system calls take.
type socketFD = int

const (
	// shareOption lets several sockets have one port, and all hear a broadcast or multicast.
	shareOption = syscall.SO_REUSEPORT
	// loopbackHears says that loopback has a broadcast address. It has none here: there is multicast.
	loopbackHears = false
)
