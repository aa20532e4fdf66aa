//go:build unix

package discoro

import (
	"os/signal"
	"syscall"
)

// ignoreBackground makes reading a terminal fail in a process that runs in its background, which would stop it.
func ignoreBackground() { signal.Ignore(syscall.SIGTTIN) }
