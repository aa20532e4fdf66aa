package discoro

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/internal/transport"
	"github.com/discoro/discoro/wire"
)

// someFile makes a file of that size, and returns its path and its content.
func someFile(t *testing.T, name string, size int) (path string, content []byte) {
	t.Helper()
	content = make([]byte, size)
	random := rand.NewChaCha8([32]byte{byte(size), byte(size >> 8), byte(len(name))})
	_, _ = random.Read(content)
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, content
}

// filesBelow lists the files and folders in dir, with slashes; the names of folders end with one.
func filesBelow(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != dir {
			return nil // it has just been removed
		}
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		name = filepath.ToSlash(name)
		if d.IsDir() {
			name += "/"
		}
		names = append(names, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// wantFiles fails the test when dir has other files than these.
func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := filesBelow(t, dir); !slices.Equal(got, want) {
		t.Errorf("in the folder are %q, want %q", got, want)
	}
}

func wantContent(t *testing.T, path string, want []byte) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s has %d bytes, %v; want the %d that were sent", path, len(got), err, len(want))
	}
}

// TestSendFile sends files of several sizes over links with and without a secret, in both directions, and
// to the runtime itself.
func TestSendFile(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"", "sixteen characters and more"} {
		a, b := twoRuntimes(t, Config{Addr: "127.0.0.1", Secret: secret})
		upLink(t, b, a)
		for _, to := range []struct{ from, to *Runtime }{{a, b}, {b, a}, {a, a}} {
			var names []string
			for _, size := range []int{0, 1, wire.FileBlock - 1, wire.FileBlock, wire.FileBlock + 1, 3<<20 + 17} {
				name := "size-" + strings.Repeat("I", len(names))
				path, content := someFile(t, name, size)
				var reported []int64
				err := to.from.SendFile(testkit.Context(t), to.to.Location(), path, FileOptions{Progress: func(sent, total int64) {
					if total != int64(size) {
						t.Errorf("%d bytes of %d, of %d", sent, total, size)
					}
					reported = append(reported, sent)
				}})
				if err != nil {
					t.Fatal(err)
				}
				if len(reported) == 0 || reported[len(reported)-1] != int64(size) || !slices.IsSorted(reported) {
					t.Errorf("the progress of %d bytes was %d", size, reported)
				}
				wantContent(t, filepath.Join(to.to.DestPath(), name), content)
				names = append(names, name)
			}
			wantFiles(t, to.to.DestPath(), names...)
			for _, name := range names {
				if err := to.from.DeleteFile(testkit.Context(t), to.to.Location(), name); err != nil {
					t.Error(err)
				}
			}
			wantFiles(t, to.to.DestPath())
		}
	}
}

// TestSendFileFolders makes folders, uses names that are taken, replaces files, and looks at modes.
func TestSendFileFolders(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{})
	for _, to := range []*Runtime{b, a} {
		dest, at, ctx := to.DestPath(), to.Location(), testkit.Context(t)
		path, content := someFile(t, "tool", 1000)
		if err := os.Chmod(path, 0o750); err != nil {
			t.Fatal(err)
		}
		if err := a.SendFile(ctx, at, path, FileOptions{Dir: "some/where"}); err != nil {
			t.Fatal(err)
		}
		landed := filepath.Join(dest, "some", "where", "tool")
		wantContent(t, landed, content)
		if info, err := os.Stat(landed); err != nil || info.Mode().Perm()&0o100 == 0 || info.Mode().Perm()&0o007 != 0 {
			t.Errorf("its mode is %v, %v", info.Mode(), err)
		}
		if err := os.WriteFile(path, []byte("newer"), 0o600); err != nil {
			t.Fatal(err)
		}
		err := a.SendFile(ctx, at, path, FileOptions{Dir: "some/where"})
		if !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "Overwrite") {
			t.Errorf("a file that is there: %v", err)
		}
		wantContent(t, landed, content)
		if err := a.SendFile(ctx, at, path, FileOptions{Dir: "some/where", Overwrite: true}); err != nil {
			t.Error(err)
		}
		wantContent(t, landed, []byte("newer"))
		// Folders are no files: they stay.
		if err := os.Mkdir(filepath.Join(dest, "tool"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := a.SendFile(ctx, at, path, FileOptions{Overwrite: true}); !errors.Is(err, ErrRejected) {
			t.Errorf("a folder in place of a file: %v", err)
		}
		if err := a.SendFile(ctx, at, path, FileOptions{Dir: "some/where/tool", Overwrite: true}); err == nil {
			t.Error("a file in place of a folder")
		}
		if err := a.DeleteFile(ctx, at, "tool"); !errors.Is(err, ErrRejected) {
			t.Errorf("a folder was deleted: %v", err)
		}
		if err := a.DeleteFile(ctx, at, "some/where/else"); !errors.Is(err, ErrNotFound) || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("nothing was deleted: %v", err)
		}
		if err := a.DeleteFile(ctx, at, "some/where/tool"); err != nil {
			t.Error(err)
		}
		wantFiles(t, dest, "some/", "some/where/", "tool/")
	}
}

// TestSendFileErrors checks the errors about everything that can be wrong with a file and with where it
// goes.
func TestSendFileErrors(t *testing.T) {
	t.Parallel()
	b := testRuntime(t, Config{Name: "b", MaxFileSize: 999})
	a := testRuntime(t, Config{Name: "a"})
	dir := t.TempDir()
	path, _ := someFile(t, "file", 1000)
	sent := false
	for name, tt := range map[string]struct {
		path string
		opt  []FileOptions
		want error
		says string
	}{
		"missing":     {path: filepath.Join(dir, "nothing"), want: fs.ErrNotExist},
		"folder":      {path: dir, want: ErrRejected, says: "no regular file"},
		"no name":     {path: "", want: ErrRejected},
		"the root":    {path: "/", want: ErrRejected},
		"dots":        {path: "..", want: ErrRejected},
		"up":          {path: path, opt: []FileOptions{{Dir: "../x"}}, want: ErrRejected, says: "../x"},
		"two options": {path: path, opt: make([]FileOptions, 2), says: "at most one"},
		"over the size": {
			path: path, opt: []FileOptions{{Progress: func(int64, int64) { sent = true }}}, want: ErrTooLarge, says: "999",
		},
	} {
		err := a.SendFile(testkit.Context(t), b.Location(), tt.path, tt.opt...)
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if sent {
		t.Error("bytes of a file were sent that is too large")
	}
	wantFiles(t, b.DestPath())
	if err := b.SendFile(testkit.Context(t), b.Location(), path); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large for the runtime itself: %v", err)
	}
	gone := Location{Addr: "127.0.0.1", Port: 1}
	if err := a.SendFile(testkit.Context(t), gone, path); !errors.Is(err, ErrDisconnected) {
		t.Errorf("nobody there: %v", err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // silent: an answer might come before SendFile looks at the context
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	nobody := Location{Addr: "127.0.0.1", Port: silent.Addr().(*net.TCPAddr).Port}
	if err := a.SendFile(ctx, nobody, path); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	for range 100 { // SendFile must not begin
		if err := a.SendFile(ctx, a.Location(), path); !errors.Is(err, context.Canceled) {
			t.Fatalf("a context that has ended, and the runtime itself: %v", err)
		}
	}
	wantFiles(t, a.DestPath())
	c := testRuntime(t, Config{Name: "c"})
	c.Close()
	if err := c.SendFile(testkit.Context(t), b.Location(), path); !errors.Is(err, ErrClosed) {
		t.Errorf("from a closed runtime: %v", err)
	}
}

// TestManyFiles sends more files at once than a link has streams, and deletes others meanwhile.
func TestManyFiles(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{})
	const files = 5 * transport.MaxStreams
	var wg sync.WaitGroup
	for i := range files {
		path, content := someFile(t, "file-"+strings.Repeat("x", i+1), 100_000+i)
		wg.Go(func() {
			if err := a.SendFile(testkit.Context(t), b.Location(), path); err != nil {
				t.Error(err)
				return
			}
			wantContent(t, filepath.Join(b.DestPath(), filepath.Base(path)), content)
			if err := a.DeleteFile(testkit.Context(t), b.Location(), filepath.Base(path)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	wantFiles(t, b.DestPath())
	if err := upLink(t, a, b).Cause(); err != nil {
		t.Error(err)
	}
}
