//go:build unix

package discoro

import "syscall"

// openNonblock has the opening of a pipe that nobody writes return at once.
const openNonblock = syscall.O_NONBLOCK
