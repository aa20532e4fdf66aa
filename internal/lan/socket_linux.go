package lan

import "syscall"

// socketFD is the type of a socket in system calls.
type socketFD = int

const (
	// shareOption lets several sockets share a port. Each of them receives every broadcast.
	// SO_REUSEPORT would not let sockets of other users share it.
	shareOption = syscall.SO_REUSEADDR
	// loopbackBroadcasts is true: loopback has a broadcast address. A socket that is bound to it
	// receives nothing else.
	loopbackBroadcasts = true
)
