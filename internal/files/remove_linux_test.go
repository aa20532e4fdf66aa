package files

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"unsafe"
)

// TestRemoveAll removes what a function may have left in its folder: folders that cannot be written,
// searched or read, as in a cache of Go modules. The folder itself is like that, too. Nothing that a link
// leads to is removed.
func TestRemoveAll(t *testing.T) {
	t.Parallel()
	asOwner(t, removeLocked)
}

// TestRemoveAllLink has a link in place of the folder, in a folder that cannot be written: what the link
// leads to stays as it is.
func TestRemoveAllLink(t *testing.T) {
	t.Parallel()
	asOwner(t, removeLink)
}

// asOwner runs a test with a folder of its own, and with no more rights there than its owner has.
func asOwner(t *testing.T, test func(t *testing.T, base string) error) {
	t.Helper()
	base := t.TempDir()
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with this goroutine
		if os.Geteuid() == 0 { // root may do anything
			if err := dropFileRights(); err != nil {
				failed <- err
				return
			}
		}
		failed <- test(t, base)
	}()
	if err := <-failed; err != nil {
		t.Error(err)
	}
}

// dropFileRights takes from the thread the capabilities by which root reads, writes and searches what the
// modes of files do not allow; see capabilities(7).
func dropFileRights() error {
	const version3, dacOverride, dacReadSearch = 0x20080522, 1 << 1, 1 << 2
	header := struct {
		version uint32
		pid     int32
	}{version: version3}
	var sets [2]struct{ effective, permitted, inheritable uint32 }
	call := func(trap uintptr) error {
		_, _, errno := syscall.RawSyscall(trap, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets)), 0)
		if errno != 0 {
			return errno
		}
		return nil
	}
	if err := call(syscall.SYS_CAPGET); err != nil {
		return err
	}
	sets[0].effective &^= dacOverride | dacReadSearch
	return call(syscall.SYS_CAPSET)
}

func removeLocked(t *testing.T, base string) error {
	t.Helper()
	outside := filepath.Join(base, "outside")
	folder := filepath.Join(base, "folder")
	deep := filepath.Join(folder, "a", "b")
	if err := errors.Join(
		os.MkdirAll(deep, 0o700),
		os.WriteFile(filepath.Join(deep, "file"), nil, 0o400),
		os.Mkdir(outside, 0o500),
		os.Symlink(outside, filepath.Join(deep, "link")),
		os.Chmod(deep, 0o500), os.Chmod(filepath.Dir(deep), 0), os.Chmod(folder, 0o500),
	); err != nil {
		return err
	}
	if err := os.RemoveAll(folder); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("the folder is no hard one: %v", err)
	}
	if err := RemoveAll(folder); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is there: %v", err)
	}
	if info, err := os.Stat(outside); err != nil || info.Mode().Perm() != 0o500 {
		t.Errorf("the folder outside: %v, %v", info, err)
	}
	return RemoveAll(folder) // a folder that does not exist is no error
}

func removeLink(t *testing.T, base string) error {
	t.Helper()
	outside, above := filepath.Join(base, "outside"), filepath.Join(base, "above")
	link := filepath.Join(above, "folder")
	defer func() { _ = os.Chmod(above, 0o700) }() // so that t.TempDir can remove it
	if err := errors.Join(
		os.Mkdir(outside, 0o500), os.Mkdir(above, 0o700), os.Symlink(outside, link), os.Chmod(above, 0o500),
	); err != nil {
		return err
	}
	if err := RemoveAll(link); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a link that cannot be removed: %v", err)
	}
	if info, err := os.Stat(outside); err != nil || info.Mode().Perm() != 0o500 {
		t.Errorf("the folder outside: %v, %v", info, err)
	}
	return nil
}
