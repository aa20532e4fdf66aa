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

// TestRemoveAll removes what a function may have left in its folder: folders that cannot be written, searched or read, as a cache
// of Go modules has them, and the folder itself likewise; and nothing of what a link leads to.
func TestRemoveAll(t *testing.T) {
	t.Parallel()
	asOwner(t, removeLocked)
}

// TestRemoveAllLink has a link where the folder was, in a folder that may not be written: what it leads to stays as it is.
func TestRemoveAllLink(t *testing.T) {
	t.Parallel()
	asOwner(t, removeLink)
}

// asOwner runs a test with a folder of its own, and with no more rights there than those of its owner.
func asOwner(t *testing.T, test func(t *testing.T, base string) error) {
	t.Helper()
	base := t.TempDir()
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // which ends with this goroutine
		if os.Geteuid() == 0 { // who may do anything
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

// dropFileRights takes from the thread what lets root read, write and search what the modes of files do not allow (capabilities(7)).
func dropFileRights() error {
	const version3, dacOverride, dacReadSearch = 0x20080522, 1 << 1, 1 << 2
	header := struct {
		version uint32
		pid     int32
	}{version: version3}
	var sets [2]struct{ effective, permitted, inheritable uint32 }
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CAPGET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets)), 0); errno != 0 {
		return errno
	}
	sets[0].effective &^= dacOverride | dacReadSearch
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets)), 0); errno != 0 {
		return errno
	}
	return nil
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
	return RemoveAll(folder) // that it is gone is no error
}

func removeLink(t *testing.T, base string) error {
	t.Helper()
	outside, above := filepath.Join(base, "outside"), filepath.Join(base, "above")
	link := filepath.Join(above, "folder")
	defer func() { _ = os.Chmod(above, 0o700) }() // for t.TempDir
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
