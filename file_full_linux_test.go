package discoro

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/discoro/discoro/internal/testkit"
)

// TestFileDiskFull fills the receiver's disk in the middle of a file: the sender gets an error at once, and
// nothing of the file is left.
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
	opt := FileOptions{Dir: "some/where", Progress: func(n, _ int64) { sent = n }}
	err := a.SendFile(testkit.Context(t), b.Location(), path, opt)
	if err == nil || !strings.Contains(err.Error(), "no space left") || errors.Is(err, ErrDisconnected) {
		t.Errorf("SendFile returned %v", err)
	}
	if sent == 64<<20 {
		t.Error("all of it was sent")
	}
	wantFiles(t, dest)
	small, content := someFile(t, "small", 1000)
	if err := a.SendFile(testkit.Context(t), b.Location(), small); err != nil {
		t.Error(err)
	}
	wantContent(t, filepath.Join(dest, "small"), content)
	if err := syscall.Mount("tmpfs", dest, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if err := a.SendFile(testkit.Context(t), b.Location(), path); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("to a disk that cannot be written: %v", err)
	}
	err = a.DeleteFile(testkit.Context(t), b.Location(), "small")
	if err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("from a disk that cannot be written: %v", err)
	}
}

// TestFilePermission sends a file to a folder that the receiver may not write: the sender gets the reason.
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
	err := a.SendFile(testkit.Context(t), b.Location(), path)
	if !errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), dest) {
		t.Errorf("SendFile returned %v", err)
	}
}
