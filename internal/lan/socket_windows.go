package lan

import "syscall"

// socketFD is the type of a socket in system calls.
type socketFD = syscall.Handle

const (
	// shareOption lets several sockets share a port. Each of them receives every broadcast and
	// multicast.
	shareOption = syscall.SO_REUSEADDR
	// loopbackBroadcasts is false: loopback has no broadcast address here. Multicast works instead.
	loopbackBroadcasts = false
)
