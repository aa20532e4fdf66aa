package files

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// badNames are names that no file may have.
var badNames = []string{
	"", ".", "..", "a/b", "/", "/etc/passwd", `a\b`, `..\x`, `C:x`, "c:", "file:stream",
	"a\x00b", "a\nb", "\x7f", "a\u0085b", "\xff", "\xc0\xae\xc0\xae",
	"dot.", "dots...", "space ", strings.Repeat("x", 256),
	"CON", "con", "Con.txt", "nul", "NUL.tar.gz", "aux .txt", "COM1", "com9.log", "lpt1", "LPT²", "conin$", "PRN",
	"PROGRA~1", "a~12.TXT",
	".discoro-1", "discoro-123", "DISCORO-7", ".DisCoro-99", "dis\u200dcoro-5", "di\u017fcoro-5",
}

// goodNames are names that look like bad ones and are good.
var goodNames = []string{
	"a", "a.b", ".hidden", "..a", "a..b", "x y", "naïve.txt", "数据.csv", "file~", "~", "backup.txt~",
	"discoro-results.txt", "discoro-", "discoro", "console", "com", "com10", "COMX", "nulls", "aux1", "long-name~1",
	"$x", "-rf", "%2e%2e", "a;b&c|d", "👩‍🔬.png", strings.Repeat("x", 255),
}

func TestCheckNames(t *testing.T) {
	t.Parallel()
	for _, name := range badNames {
		if err := CheckNames("", name); !errors.Is(err, fault.Rejected) {
			t.Errorf("%.40q is taken: %v", name, err)
		}
		if err := CheckNames("some/"+name, "file"); !errors.Is(err, fault.Rejected) && name != "a/b" {
			t.Errorf("the folder %.40q is taken: %v", name, err)
		}
	}
	for _, name := range goodNames {
		if err := CheckNames("", name); err != nil {
			t.Errorf("%.40q is refused: %v", name, err)
		}
		if err := CheckNames("some/"+name, "file"); err != nil {
			t.Errorf("the folder %.40q is refused: %v", name, err)
		}
	}
	for _, dir := range []string{
		"/", "/a", "a/", "a//b", "./a", "a/./b", "a/../b", "..",
		strings.Repeat("a/", 32) + "a", strings.Repeat("abc/", 256) + "a",
	} {
		if err := CheckNames(dir, "file"); !errors.Is(err, fault.Rejected) {
			t.Errorf("the folder %.40q is taken: %v", dir, err)
		}
	}
	for p, want := range map[string][2]string{
		"a": {"", "a"}, "a/b": {"a", "b"}, "a/b/c": {"a/b", "c"},
		"/a": {"/", "a"}, "//a": {"/", "a"}, "a/": {"a", ""}, "": {"", ""},
	} {
		if dir, name := SplitPath(p); dir != want[0] || name != want[1] {
			t.Errorf("%q is cut into %q and %q", p, dir, name)
		}
	}
}

// FuzzCheckNames checks that a good name stays below the folder.
func FuzzCheckNames(f *testing.F) {
	for _, name := range badNames {
		f.Add("dir", name)
		f.Add(name, "file")
	}
	f.Fuzz(func(t *testing.T, dir, name string) {
		if CheckNames(dir, name) != nil {
			return
		}
		p := localPath(dir, name)
		if !filepath.IsLocal(p) || filepath.Base(p) != name || len(p) > wire.MaxDir+1+wire.MaxFile {
			t.Errorf("%q and %q make %q", dir, name, p)
		}
	})
}
