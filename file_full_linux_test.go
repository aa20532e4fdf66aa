package discoro

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/discoro/discoro/wire"
)

// TestFileDiskFull has the receiver's disk become full half way: the sender hears of it at once, and nothing is left.
func TestFileDiskFull(t *testing.T) {
	t.Parallel()
	dest := t.TempDir()
	if err := syscall.Mount("tmpfs", dest, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("no disk to fill without the right to mount one: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dest, 0); err != nil {
			t.Error(err)
		}
	})
	a := testRuntime(t, Config{Name: "a"})
	b := testRuntime(t, Config{Name: "b", DestPath: dest})
	path, _ := someFile(t, "large", 64<<20)
	sent := int64(0)
	err := a.SendFile(testContext(t), b.Location(), path, FileOptions{Dir: "some/where", Progress: func(n, _ int64) { sent = n }})
	if err == nil || !strings.Contains(err.Error(), "no space left") || errors.Is(err, ErrDisconnected) {
		t.Errorf("SendFile returned %v", err)
	}
	if sent == 64<<20 {
		t.Error("all of it was sent")
	}
	wantFiles(t, dest)
	small, content := someFile(t, "small", 1000)
	if err := a.SendFile(testContext(t), b.Location(), small); err != nil {
		t.Error(err)
	}
	wantContent(t, filepath.Join(dest, "small"), content)
	if err := syscall.Mount("tmpfs", dest, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if err := a.SendFile(testContext(t), b.Location(), path); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("to a disk that cannot be written: %v", err)
	}
	if err := a.DeleteFile(testContext(t), b.Location(), "small"); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("from a disk that cannot be written: %v", err)
	}
}

// TestFileDevFull is the same without any rights: what is written goes to a device that is always full.
func TestFileDevFull(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{})
	u, err := rt.openFolder(&wire.FileHead{})
	if err != nil {
		t.Fatal(err)
	}
	defer u.end()
	l, err := u.land(&wire.FileHead{Name: "file", Dir: "dir"})
	if err != nil {
		t.Fatal(err)
	}
	l.f.Close()
	if l.f, err = os.OpenFile("/dev/full", os.O_WRONLY, 0); err != nil {
		t.Skip(err)
	}
	if err := l.write([]byte("x")); !errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), rt.DestPath()) || !strings.Contains(err.Error(), "dir/file") {
		t.Errorf("a full disk: %v", err)
	}
	l.abandon()
	wantFiles(t, rt.DestPath())
}

// TestFilePermission shows that the sender hears in words of what the receiver may not do.
func TestFilePermission(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("root may do anything; TestFileDiskFull has a disk that cannot be written")
	}
	dest := t.TempDir()
	a := testRuntime(t, Config{Name: "a"})
	b := testRuntime(t, Config{Name: "b", DestPath: dest})
	path, _ := someFile(t, "file", 10)
	if err := os.Chmod(dest, 0o500); err != nil {
		t.Fatal(err)
	}
	if err := a.SendFile(testContext(t), b.Location(), path); !errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), dest) {
		t.Errorf("SendFile returned %v", err)
	}
}

// TestRemoveFolder removes what a function may have left in its folder: folders that cannot be written, searched or read, as a cache
// of Go modules has them, and the folder itself likewise; and nothing of what a link leads to.
func TestRemoveFolder(t *testing.T) {
	t.Parallel()
	asOwner(t, removeLocked)
}

// TestRemoveFolderLink has a link where the folder was, in a folder that may not be written: what it leads to stays as it is.
func TestRemoveFolderLink(t *testing.T) {
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
	if err := removeFolder(folder); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is there: %v", err)
	}
	if info, err := os.Stat(outside); err != nil || info.Mode().Perm() != 0o500 {
		t.Errorf("the folder outside: %v, %v", info, err)
	}
	return removeFolder(folder) // that it is gone is no error
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
	if err := removeFolder(link); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a link that cannot be removed: %v", err)
	}
	if info, err := os.Stat(outside); err != nil || info.Mode().Perm() != 0o500 {
		t.Errorf("the folder outside: %v, %v", info, err)
	}
	return nil
}
