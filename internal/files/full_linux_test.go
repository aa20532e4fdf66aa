package files

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/discoro/discoro/wire"
)

// TestDiskFull writes to a device that is always full: the sender gets the reason, without a path of
// this machine, and nothing is left.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dest := t.TempDir()
	u, err := folderAt(t, dest).open(&wire.FileHead{})
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
	err = l.write([]byte("x"))
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full disk: %v", err)
	}
	if text := err.Error(); strings.Contains(text, dest) || !strings.Contains(text, "dir/file") {
		t.Errorf("the text is %s", text)
	}
	l.abandon()
	wantFiles(t, dest)
}
