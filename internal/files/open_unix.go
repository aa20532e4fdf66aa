//go:build unix

package files

import "syscall"

// openNonblock has the opening of a pipe without a writer return at once.
const openNonblock = syscall.O_NONBLOCK
