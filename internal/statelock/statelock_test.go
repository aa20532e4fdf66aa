package statelock

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/discoro/discoro/internal/fault"
)

var discard = slog.New(slog.DiscardHandler)

func TestFileNames(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, name := range []string{"a", "b", "a/b", "a:b", "../a", "", "größe", strings.Repeat("x", 256), strings.Repeat("x", 255)} {
		file := fileName(name)
		if names[file] || filepath.Base(file) != file || len(file) > 100 {
			t.Errorf("%q has the file %q", name, file)
		}
		names[file] = true
	}
}

// TestLock locks a file twice in one process, and again when it is free.
func TestLock(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	first, err := Acquire(t.Context(), Config{Name: "n", Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Acquire(t.Context(), Config{Name: "n", Log: discard}); !errors.Is(err, fault.Exists) || !strings.Contains(err.Error(), "does not say yet") {
		t.Errorf("locked twice: %v", err)
	}
	if _, err := first.f.WriteAt([]byte(`{"pid":1,"location":"old:2"}`), 0); err != nil { // as one that is killed leaves it
		t.Fatal(err)
	}
	if err := first.f.Close(); err != nil {
		t.Fatal(err)
	}
	if first, err = Acquire(t.Context(), Config{Name: "n", Log: discard}); err != nil {
		t.Fatal(err)
	}
	if _, err := Acquire(t.Context(), Config{Name: "n", Log: discard}); err == nil || strings.Contains(err.Error(), "old:2") {
		t.Errorf("locked after one that was killed: %v", err)
	}
	first.Note("h:1")
	if _, err := Acquire(t.Context(), Config{Name: "n", Log: discard}); err == nil || !strings.Contains(err.Error(), "at h:1: give this one another --name") {
		t.Errorf("locked twice: %v", err)
	}
	if _, err := Acquire(t.Context(), Config{Name: "n", Phoenix: true, Log: discard}); !errors.Is(err, errNobody) {
		t.Errorf("it would end itself: %v", err)
	}
	first.Unlock()
	again, err := Acquire(t.Context(), Config{Name: "n", Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	again.Unlock()
}

// TestFolder looks for a folder where the usual ones cannot be had.
func TestFolder(t *testing.T) {
	tmp := t.TempDir()
	for name, value := range map[string]string{"XDG_RUNTIME_DIR": "/dev/null", "XDG_CACHE_HOME": "/dev/null", "HOME": "/dev/null", "TMPDIR": tmp} {
		t.Setenv(name, value)
	}
	dir, err := folder()
	if err != nil || filepath.Dir(dir) != tmp {
		t.Fatalf("%q, %v; want one in %s", dir, err, tmp)
	}
	if again, err := folder(); again != dir || err != nil {
		t.Errorf("%q, %v; want the same", again, err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // it is to be refused
		t.Fatal(err)
	}
	if open, err := folder(); err == nil {
		t.Errorf("%q, which others may read", open)
	}
	if err := errors.Join(os.Remove(dir), os.Symlink(t.TempDir(), dir)); err != nil {
		t.Fatal(err)
	}
	if link, err := folder(); err == nil {
		t.Errorf("%q, which is a link", link)
	}
}
