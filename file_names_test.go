package discoro

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/discoro/discoro/wire"
)

// badNames are names of files that must not be used.
var badNames = []string{
	"", ".", "..", "a/b", "/", "/etc/passwd", `a\b`, `..\x`, `C:x`, "c:", "file:stream", "a\x00b", "a\nb", "\x7f", "a\u0085b", "\xff", "\xc0\xae\xc0\xae",
	"dot.", "dots...", "space ", "CON", "con", "Con.txt", "nul", "NUL.tar.gz", "aux .txt", "COM1", "com9.log", "lpt1", "LPT²", "conin$", "PRN",
	"PROGRA~1", "a~12.TXT", ".discoro-1", "discoro-123", "DISCORO-7", ".DisCoro-99", "dis\u200dcoro-5", "di\u017fcoro-5", strings.Repeat("x", 256),
}

// goodNames are not to be taken for one of those.
var goodNames = []string{
	"a", "a.b", ".hidden", "..a", "a..b", "x y", "naïve.txt", "数据.csv", "file~", "~", "backup.txt~", "discoro-results.txt", "discoro-", "discoro", "console",
	"com", "com10", "COMX", "nulls", "aux1", "long-name~1", "$x", "-rf", "%2e%2e", "a;b&c|d", "👩‍🔬.png", strings.Repeat("x", 255),
}

func TestFileNames(t *testing.T) {
	t.Parallel()
	for _, name := range badNames {
		if err := checkFileNames("", name); !errors.Is(err, ErrRejected) {
			t.Errorf("%.40q is taken: %v", name, err)
		}
		if err := checkFileNames("some/"+name, "file"); !errors.Is(err, ErrRejected) && name != "a/b" {
			t.Errorf("the folder %.40q is taken: %v", name, err)
		}
	}
	for _, name := range goodNames {
		if err := checkFileNames("", name); err != nil {
			t.Errorf("%.40q is refused: %v", name, err)
		}
		if err := checkFileNames("some/"+name, "file"); err != nil {
			t.Errorf("the folder %.40q is refused: %v", name, err)
		}
	}
	for _, dir := range []string{"/", "/a", "a/", "a//b", "./a", "a/./b", "a/../b", "..", strings.Repeat("a/", 32) + "a", strings.Repeat("abc/", 256) + "a"} {
		if err := checkFileNames(dir, "file"); !errors.Is(err, ErrRejected) {
			t.Errorf("the folder %.40q is taken: %v", dir, err)
		}
	}
	for p, want := range map[string][2]string{
		"a": {"", "a"}, "a/b": {"a", "b"}, "a/b/c": {"a/b", "c"}, "/a": {"/", "a"}, "//a": {"/", "a"}, "a/": {"a", ""}, "": {"", ""},
	} {
		if dir, name := splitFilePath(p); dir != want[0] || name != want[1] {
			t.Errorf("%q is cut into %q and %q", p, dir, name)
		}
	}
}

// FuzzFileNames shows that what is taken stays below the folder, whatever it is.
func FuzzFileNames(f *testing.F) {
	for _, name := range badNames {
		f.Add("dir", name)
		f.Add(name, "file")
	}
	f.Fuzz(func(t *testing.T, dir, name string) {
		if checkFileNames(dir, name) != nil {
			return
		}
		p := localPath(dir, name)
		if !filepath.IsLocal(p) || filepath.Base(p) != name || len(p) > wire.MaxDir+1+wire.MaxFile {
			t.Errorf("%q and %q make %q", dir, name, p)
		}
	})
}

// TestFileNamesOfPeers has a peer send what our senders refuse to: the receiver refuses it, too, and the link goes on.
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
		for _, name := range badNames {
			try(op, "", name)
			try(op, name, "file")
		}
		try(op, "..", "outside")
		try(op, "", "../outside")
		try(op, outer, "outside")
	}
	wantFiles(t, dest)
	wantContent(t, outside, []byte("mine"))
	if err := h.link(rt).cause(); err != nil {
		t.Error(err)
	}
}

// wireable reports whether a head can hold the names at all.
func wireable(dir, name string) bool {
	_, err := wire.AppendFileHead(nil, &wire.FileHead{Op: wire.FileSend, Dir: dir, Name: name})
	return err == nil && dir+name != "a/bfile" && dir+name != "file"
}

// TestFileSymlinks has links lie in the folder that lead out of it: nothing goes there.
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
	for link, target := range map[string]string{"dir": outside, "up": "..", "secret": secret, "new": filepath.Join(outside, "new")} {
		if err := os.Symlink(target, filepath.Join(dest, link)); err != nil {
			t.Skip("no symbolic links here: ", err)
		}
	}
	ctx, path := testContext(t), filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, opt := range []FileOptions{{Dir: "dir"}, {Dir: "dir", Overwrite: true}, {Dir: "up", Overwrite: true}, {Overwrite: true}, {}, {Dir: "dir/more"}} {
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
