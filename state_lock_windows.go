package discoro

import (
	"errors"
	"os"
	"syscall"
)

// errSharing is ERROR_SHARING_VIOLATION.
const errSharing = syscall.Errno(32)

// lockFile opens a file so that no other process can open it to write.
func lockFile(path string) (*os.File, error) {
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

// signalHolder says that it cannot: Windows does not tell who has a file open.
func signalHolder(string, func(*os.Process) error) error {
	return errors.New("which process that is cannot be told on Windows: end it yourself")
}

// isPrivate trusts the system's folders.
func isPrivate(string) bool { return true }

// askToEnd is not called.
func askToEnd(p *os.Process) error { return p.Kill() }
