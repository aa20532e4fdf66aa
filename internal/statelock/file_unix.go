//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package statelock

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// LockFile opens a file and locks it until the file is closed or the process ends. The error is "it
// is locked by another process" when it is locked already, also by this process.
//
// There are two locks. flock keeps others out. A POSIX lock beside it lets the system say which
// process has locked the file. Child processes inherit neither.
func LockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = withDescriptor(f, func(fd uintptr) error {
		err := syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return errHeld
		}
		if err != nil {
			return err
		}
		// The system may refuse this lock where flock is made of such locks, as on NFS. Only signalHolder
		// needs it, and then finds nobody.
		_ = syscall.FcntlFlock(fd, syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart})
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// isPrivate reports whether a path is a folder of this user that no other user can use.
func isPrivate(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || info.Mode().Perm()&0o077 != 0 {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// withDescriptor calls do with f's descriptor.
func withDescriptor(f *os.File, do func(fd uintptr) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var done error
	if err := raw.Control(func(fd uintptr) { done = do(fd) }); err != nil {
		return err
	}
	return done
}

// signalHolder calls end with the process that has locked a file. The error is errNobody when there
// is none. When there is a handle of the process, its number is looked up again. So end never gets
// another process that has got the same number since.
func signalHolder(path string, end func(*os.Process) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	pid, err := lockHolder(f)
	if err != nil {
		return err
	}
	if pid == 0 {
		return errNobody
	}
	if pid < 0 || pid == os.Getpid() {
		return fmt.Errorf("process %d is not another one of this machine", pid)
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	defer func() { _ = p.Release() }() // only memory
	if again, err := lockHolder(f); err != nil || again != pid {
		return err
	}
	if err := end(p); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// lockHolder returns the number of the process that has locked f, 0 when none has.
func lockHolder(f *os.File) (int, error) {
	lock := syscall.Flock_t{Type: syscall.F_RDLCK, Whence: io.SeekStart}
	err := withDescriptor(f, func(fd uintptr) error { return syscall.FcntlFlock(fd, syscall.F_GETLK, &lock) })
	if err != nil || lock.Type == syscall.F_UNLCK {
		return 0, err
	}
	return int(lock.Pid), nil
}

// askToEnd ends a node at once but in order, which takes two signals. They differ because a signal
// that is sent twice may arrive once.
func askToEnd(p *os.Process) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.Signal(os.Interrupt)
}
