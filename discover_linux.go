package discoro

import "syscall"

// socketFD is what the system calls take.
type socketFD = int

const (
	// shareOption lets several sockets have one port, and all hear a broadcast. Those of other users too, which
	// SO_REUSEPORT would not.
	shareOption = syscall.SO_REUSEADDR
	// loopbackHears says that loopback has a broadcast address, which a socket can be bound to: then it hears nothing else.
	loopbackHears = true
)
