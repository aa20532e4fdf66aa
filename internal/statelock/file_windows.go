package statelock

import (
	"errors"
	"os"
	"syscall"
)

// errSharing is ERROR_SHARING_VIOLATION.
const errSharing = syscall.Errno(32)

// LockFile opens a file so that no other process can open it to write, until the file is closed or
// the process ends.
func LockFile(path string) (*os.File, error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, syscall.FILE_SHARE_READ, nil,
		syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, errSharing) {
		return nil, errHeld
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}

// signalHolder returns an error: Windows does not say which process has opened a file.
func signalHolder(string, func(*os.Process) error) error {
	return errors.New("Windows does not say which process that is: end it yourself")
}

// isPrivate relies on the system to keep users' folders apart.
func isPrivate(string) bool { return true }

// askToEnd is never called here.
func askToEnd(p *os.Process) error { return p.Kill() }
