package discoro

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRunNodeWithoutInit is not parallel: it takes back what TestMain's Init noted.
func TestRunNodeWithoutInit(t *testing.T) {
	initCalled.Store(false)
	defer initCalled.Store(true)
	if err := RunNode(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "discoro.Init") {
		t.Errorf("RunNode without Init: %v", err)
	}
}

// TestRunUntilContextEnds runs both programs in this process, with a context that ends.
func TestRunUntilContextEnds(t *testing.T) {
	quietStdout(t)
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	for name, run := range map[string]func(context.Context, []string) error{
		"node":      func(ctx context.Context, args []string) error { return RunNode(ctx, append(args, "-c", "1")) },
		"scheduler": RunScheduler,
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := run(ctx, []string{"--daemon", "-u", "-1"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if files, err := os.ReadDir(filepath.Join(dir, "discoro")); err != nil || len(files) != 1 {
		t.Errorf("files %v, %v; want the node's lock", files, err)
	}
}

// quietStdout keeps programs that run in this process from printing among the tests.
func quietStdout(t *testing.T) {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	old := os.Stdout
	os.Stdout = null
	t.Cleanup(func() {
		os.Stdout = old
		_ = null.Close()
	})
}

func TestStateFiles(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, name := range []string{"a", "b", "a/b", "a:b", "../a", "", "größe", strings.Repeat("x", 256), strings.Repeat("x", 255)} {
		file := stateFile(name)
		if names[file] || filepath.Base(file) != file || len(file) > 100 {
			t.Errorf("%q has the file %q", name, file)
		}
		names[file] = true
	}
}

// TestStateLock locks a file twice in one process, and again when it is free.
func TestStateLock(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	first, err := lockState(t.Context(), nil, "n", false, discard)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockState(t.Context(), nil, "n", false, discard); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "does not say yet") {
		t.Errorf("locked twice: %v", err)
	}
	if _, err := first.f.WriteAt([]byte(`{"pid":1,"location":"old:2"}`), 0); err != nil { // as one that is killed leaves it
		t.Fatal(err)
	}
	if err := first.f.Close(); err != nil {
		t.Fatal(err)
	}
	if first, err = lockState(t.Context(), nil, "n", false, discard); err != nil {
		t.Fatal(err)
	}
	if _, err := lockState(t.Context(), nil, "n", false, discard); err == nil || strings.Contains(err.Error(), "old:2") {
		t.Errorf("locked after one that was killed: %v", err)
	}
	first.note(Location{Addr: "h", Port: 1})
	if _, err := lockState(t.Context(), nil, "n", false, discard); err == nil || !strings.Contains(err.Error(), "at h:1: give this one another --name") {
		t.Errorf("locked twice: %v", err)
	}
	if _, err := lockState(t.Context(), nil, "n", true, discard); !errors.Is(err, errNobody) {
		t.Errorf("it would end itself: %v", err)
	}
	first.unlock()
	again, err := lockState(t.Context(), nil, "n", false, discard)
	if err != nil {
		t.Fatal(err)
	}
	again.unlock()
}

// TestStateFolder looks for a folder where the usual ones cannot be had.
func TestStateFolder(t *testing.T) {
	tmp := t.TempDir()
	for name, value := range map[string]string{"XDG_RUNTIME_DIR": "/dev/null", "XDG_CACHE_HOME": "/dev/null", "HOME": "/dev/null", "TMPDIR": tmp} {
		t.Setenv(name, value)
	}
	dir, err := stateFolder()
	if err != nil || filepath.Dir(dir) != tmp {
		t.Fatalf("%q, %v; want one in %s", dir, err, tmp)
	}
	if again, err := stateFolder(); again != dir || err != nil {
		t.Errorf("%q, %v; want the same", again, err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // it is to be refused
		t.Fatal(err)
	}
	if open, err := stateFolder(); err == nil {
		t.Errorf("%q, which others may read", open)
	}
	if err := errors.Join(os.Remove(dir), os.Symlink(t.TempDir(), dir)); err != nil {
		t.Fatal(err)
	}
	if link, err := stateFolder(); err == nil {
		t.Errorf("%q, which is a link", link)
	}
}
