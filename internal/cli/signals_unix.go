//go:build unix

package cli

import (
	"os/signal"
	"syscall"
)

// ignoreBackground makes a process of a terminal's background fail to read from it. Otherwise the
// read would stop the process.
func ignoreBackground() { signal.Ignore(syscall.SIGTTIN) }
