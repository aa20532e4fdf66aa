package discoro

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/wire"
)

// badFileNames are some of the names that no file may have; package internal/files tests more.
var badFileNames = []string{
	"", ".", "..", "a/b", "/", "/etc/passwd", `a\b`, `..\x`, "C:x", "file:stream", "a\x00b", "dot.",
	"space ", "CON", "nul.txt", "PROGRA~1", ".discoro-1", "discoro-123", strings.Repeat("x", 255) + ".",
}

// TestFileNamesOfPeers has a peer use names that our senders refuse to use: the receiver refuses them, too,
// and the link goes on.
func TestFileNamesOfPeers(t *testing.T) {
	t.Parallel()
	outer := t.TempDir()
	dest := filepath.Join(outer, "dest")
	rt := testRuntime(t, Config{DestPath: dest})
	outside := filepath.Join(outer, "outside")
	if err := os.WriteFile(outside, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHostile(t, rt, false)
	try := func(op wire.FileOp, dir, name string) {
		t.Helper()
		if !wireable(dir, name) {
			return
		}
		a := h.fileAnswer(&wire.FileHead{Op: op, Dir: dir, Name: name, Size: 1, Overwrite: true, Key: wire.NewID()})
		if err := values.Error(a.Err); a.Go || !errors.Is(err, ErrRejected) {
			t.Errorf("operation %d on %q in %q: %v, %v", op, name, dir, a.Go, err)
		}
	}
	for _, op := range []wire.FileOp{wire.FileSend, wire.FileDelete} {
		for _, name := range badFileNames {
			try(op, "", name)
			try(op, name, "file")
		}
		try(op, "..", "outside")
		try(op, "", "../outside")
		try(op, outer, "outside")
	}
	wantFiles(t, dest)
	wantContent(t, outside, []byte("mine"))
	if err := h.link(rt).Cause(); err != nil {
		t.Error(err)
	}
}

// wireable reports whether a head can have the names, and whether they are bad together.
func wireable(dir, name string) bool {
	_, err := wire.AppendFileHead(nil, &wire.FileHead{Op: wire.FileSend, Dir: dir, Name: name})
	return err == nil && dir+name != "a/bfile" && dir+name != "file"
}

// TestFileSymlinks has symbolic links in the folder that lead out of it: nothing goes there.
func TestFileSymlinks(t *testing.T) {
	t.Parallel()
	a := testRuntime(t, Config{Name: "a"})
	b := testRuntime(t, Config{Name: "b"})
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	dest := b.DestPath()
	for link, target := range map[string]string{
		"dir": outside, "up": "..", "secret": secret, "new": filepath.Join(outside, "new"),
	} {
		if err := os.Symlink(target, filepath.Join(dest, link)); err != nil {
			t.Skip("no symbolic links here: ", err)
		}
	}
	ctx, path := testkit.Context(t), filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, opt := range []FileOptions{
		{Dir: "dir"}, {Dir: "dir", Overwrite: true}, {Dir: "up", Overwrite: true}, {Overwrite: true}, {}, {Dir: "dir/more"},
	} {
		if err := a.SendFile(ctx, b.Location(), path, opt); err == nil {
			t.Errorf("%+v went through", opt)
		}
	}
	for _, name := range []string{"dir/secret", "secret", "dir", "up/secret"} {
		if err := a.DeleteFile(ctx, b.Location(), name); err == nil {
			t.Errorf("%s was deleted", name)
		}
	}
	wantContent(t, secret, []byte("mine"))
	wantFiles(t, outside, "secret")
	wantFiles(t, dest, "dir", "new", "secret", "up")
}
