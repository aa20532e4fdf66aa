//go:build unix

package files

import "syscall"

// openNonblock makes the open of a pipe without a writer return at once.
const openNonblock = syscall.O_NONBLOCK
