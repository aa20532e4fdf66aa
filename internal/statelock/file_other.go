//go:build !linux && !darwin && !freebsd && !netbsd && !openbsd && !dragonfly && !windows

package statelock

import (
	"errors"
	"os"
)

// LockFile only opens a file: on this system no kind of lock has been tried. Two nodes of a name
// may run.
func LockFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}

// signalHolder returns an error, as there are no locks.
func signalHolder(string, func(*os.Process) error) error {
	return errors.New("there are no locks on this system")
}

// isPrivate relies on the system to keep users' folders apart.
func isPrivate(string) bool { return true }

// askToEnd is never called here.
func askToEnd(p *os.Process) error { return p.Kill() }
