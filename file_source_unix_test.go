//go:build unix

package discoro

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/discoro/discoro/internal/testkit"
)

// TestProgressExits has Progress end its goroutine, as FailNow of package testing does: the transfer ends
// with that error, and does not go on until its context ends.
func TestProgressExits(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{})
	path, _ := someFile(t, "file", 1<<20)
	for _, to := range []*Runtime{a, b} {
		err := a.SendFile(testkit.Context(t), to.Location(), path, FileOptions{Progress: func(int64, int64) { runtime.Goexit() }})
		if !errors.Is(err, errGoexit) {
			t.Errorf("SendFile returned %v", err)
		}
		testkit.Eventually(t, "nothing of it is left", func() bool { return len(filesBelow(t, to.DestPath())) == 0 })
	}
}

// TestFileSources checks what may be sent: files that have the size that they claim, also through a
// symbolic link, and nothing that could block or arrive without its content.
func TestFileSources(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{})
	path, content := someFile(t, "file", 1000)
	dir := filepath.Dir(path)
	link, pipe := filepath.Join(dir, "link"), filepath.Join(dir, "pipe")
	if err := errors.Join(os.Symlink(path, link), syscall.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	sources := map[string]string{dir: "no regular file", pipe: "no regular file", os.DevNull: "no regular file"}
	if info, err := os.Stat("/proc/self/status"); err == nil && info.Size() == 0 {
		sources["/proc/self/status"] = "does not say how large it is" // it is not empty
	}
	for _, to := range []*Runtime{a, b} {
		for source, says := range sources {
			err := a.SendFile(testkit.Context(t), to.Location(), source)
			if !errors.Is(err, ErrRejected) || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v", source, err)
			}
		}
		wantFiles(t, to.DestPath())
		if err := a.SendFile(testkit.Context(t), to.Location(), link); err != nil {
			t.Error(err)
		}
		wantContent(t, filepath.Join(to.DestPath(), "link"), content)
	}
}

// TestUnreadableSource sends a file that claims to be empty and cannot be read.
func TestUnreadableSource(t *testing.T) {
	t.Parallel()
	const source = "/proc/self/mem" // there is nothing at address zero
	if info, err := os.Stat(source); err != nil || info.Size() != 0 {
		t.Skip("there is no such file here")
	}
	a, b := twoRuntimes(t, Config{})
	for _, to := range []*Runtime{a, b} {
		if err := a.SendFile(testkit.Context(t), to.Location(), source); !errors.Is(err, syscall.EIO) {
			t.Errorf("it was sent, with %v", err)
		}
		wantFiles(t, to.DestPath())
	}
}
