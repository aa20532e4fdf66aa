package discoro

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/discoro/discoro/internal/testnet"
)

// TestFileSweep starts a runtime in a folder where others were killed in the middle of files: what they
// have left is removed once it is old, and nothing else is.
func TestFileSweep(t *testing.T) {
	const age = time.Hour // of what is swept
	dest, outside := t.TempDir(), t.TempDir()
	left := []string{".discoro-123", "deep/er/.discoro-4567"}
	kept := []string{"file", ".hidden", ".discoro-", ".discoro-12x", "discoro-12", "discoro-99/.discoro-1", "deep/file"}
	for _, name := range append(kept, left...) {
		path := filepath.Join(dest, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	theirs := filepath.Join(outside, ".discoro-5")
	if err := os.WriteFile(theirs, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dest, "elsewhere")); err != nil {
		t.Skip("no symbolic links here: ", err)
	}
	synctest.Test(t, func(t *testing.T) {
		for _, name := range append(kept, left...) { // by the bubble's clock
			path := filepath.Join(dest, filepath.FromSlash(name))
			if err := os.Chtimes(path, time.Time{}, time.Now().Add(-age+time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
		rt, err := NewRuntime(Config{DestPath: dest, tuning: tuning{host: testnet.NewInMemory().Host("h")}, Logger: discard})
		if err != nil {
			t.Fatal(err)
		}
		defer rt.Close()
		all := filesBelow(t, dest)
		synctest.Wait()
		wantFiles(t, dest, all...) // one may still be received
		<-time.After(2 * age)
		synctest.Wait()
		wantFiles(t, dest, slices.DeleteFunc(all, func(name string) bool { return slices.Contains(left, name) })...)
	})
	wantContent(t, theirs, nil)
}
