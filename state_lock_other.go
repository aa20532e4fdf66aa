//go:build !linux && !darwin && !freebsd && !netbsd && !openbsd && !dragonfly && !windows

package discoro

import (
	"errors"
	"os"
)

// lockFile locks nothing on systems whose locks nobody has tried: two nodes of a name are not told of each other.
func lockFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}

// signalHolder says that there are no locks.
func signalHolder(string, func(*os.Process) error) error {
	return errors.New("there are no locks on this system")
}

// isPrivate trusts the system's folders.
func isPrivate(string) bool { return true }

// askToEnd is not called.
func askToEnd(p *os.Process) error { return p.Kill() }
