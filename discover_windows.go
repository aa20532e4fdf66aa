package discoro

import "syscall"

// socketFD is what the system calls take.
type socketFD = syscall.Handle

const (
	// shareOption lets several sockets have one port, and all hear a broadcast or multicast.
	shareOption = syscall.SO_REUSEADDR
	// loopbackHears says that loopback has a broadcast address. It has none here: there is multicast.
	loopbackHears = false
)
