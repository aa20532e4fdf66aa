package files

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// discard is a log that nobody reads.
var discard = slog.New(slog.DiscardHandler)

// filesBelow lists the files and folders in dir; the names of folders end with a slash.
func filesBelow(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if d.IsDir() {
			name += "/"
		}
		names = append(names, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// put writes a file below dir, with its folders.
func put(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSweep sweeps a folder where receivers were killed in the middle of files: what they have left
// is removed once it is old, and nothing else is.
func TestSweep(t *testing.T) {
	t.Parallel()
	dest, outside := t.TempDir(), t.TempDir()
	left := []string{".discoro-123", "deep/er/.discoro-4567"}
	kept := []string{"file", ".hidden", ".discoro-", ".discoro-12x", "discoro-12", "discoro-99/.discoro-1", "deep/file"}
	for _, name := range append(kept, left...) {
		put(t, dest, name, "x")
	}
	theirs := put(t, outside, ".discoro-5", "x")
	if err := os.Symlink(outside, filepath.Join(dest, "elsewhere")); err != nil {
		t.Skip("no symbolic links here: ", err)
	}
	synctest.Test(t, func(t *testing.T) {
		age := func(names ...string) { // by the bubble's clock
			t.Helper()
			for _, name := range names {
				path := filepath.Join(dest, filepath.FromSlash(name))
				if err := os.Chtimes(path, time.Time{}, time.Now().Add(-sweepAge+time.Minute)); err != nil {
					t.Fatal(err)
				}
			}
		}
		age(append(kept, left...)...)
		all := filesBelow(t, dest)
		swept := make(chan struct{})
		go func() {
			Sweep(t.Context(), dest, discard)
			close(swept)
		}()
		synctest.Wait()
		if got := filesBelow(t, dest); !slices.Equal(got, all) { // one may still be written
			t.Errorf("at first there are %q, want %q", got, all)
		}
		start := time.Now()
		<-swept
		if took := time.Since(start); took != sweepAge {
			t.Errorf("it was over after %v", took)
		}
		want := slices.DeleteFunc(all, func(name string) bool { return slices.Contains(left, name) })
		if got := filesBelow(t, dest); !slices.Equal(got, want) {
			t.Errorf("in the end there are %q, want %q", got, want)
		}
	})
	if _, err := os.Stat(theirs); err != nil {
		t.Error(err)
	}
}

// TestSweepEnds ends a sweep that waits, and sweeps a folder that does not exist.
func TestSweepEnds(t *testing.T) {
	t.Parallel()
	dest := t.TempDir()
	young := put(t, dest, ".discoro-1", "x")
	synctest.Test(t, func(t *testing.T) {
		if err := os.Chtimes(young, time.Time{}, time.Now()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(sweepAge/2, cancel)
		start := time.Now()
		Sweep(ctx, dest, discard)
		if took := time.Since(start); took != sweepAge/2 {
			t.Errorf("it was over after %v", took)
		}
		Sweep(t.Context(), filepath.Join(dest, "nothing"), discard)
	})
	if _, err := os.Stat(young); err != nil {
		t.Error(err)
	}
}
