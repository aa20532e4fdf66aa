//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package discoro

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// lockFile opens a file and locks it twice: flock keeps others out, also of this process; by the other lock, which belongs to the
// process, the system tells who has it. Neither goes on to child processes.
func lockFile(path string) (*os.File, error) {
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
		// Where flock is made of these locks, as on NFS, this one may be refused. It is for phoenix only, which then cannot tell who it is.
		_ = syscall.FcntlFlock(fd, syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart})
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// isPrivate reports whether a path is a folder of this user that nobody else can use.
func isPrivate(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || info.Mode().Perm()&0o077 != 0 {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// withDescriptor runs do with f's descriptor.
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

// signalHolder has end end the process that has locked the file. It is looked up again with the process in hand: so it is
// not another one that has its number by now.
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
		return errNobody // or it has ended
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

// lockHolder returns the id of the process that has locked f, 0 when none has.
func lockHolder(f *os.File) (int, error) {
	lock := syscall.Flock_t{Type: syscall.F_RDLCK, Whence: io.SeekStart}
	err := withDescriptor(f, func(fd uintptr) error { return syscall.FcntlFlock(fd, syscall.F_GETLK, &lock) })
	if err != nil || lock.Type == syscall.F_UNLCK {
		return 0, err
	}
	return int(lock.Pid), nil
}

// askToEnd sends a node what ends it at once, in order: two signals, which are different so that none is lost.
func askToEnd(p *os.Process) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.Signal(os.Interrupt)
}
