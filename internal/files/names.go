package files

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// maxDepth is how many folders deep a file may be.
const maxDepth = 32

// OwnPrefix begins the names of folders that discoro makes for itself; digits follow. The name of a
// file that is not complete yet begins with a dot and OwnPrefix.
const OwnPrefix = "discoro-"

// CheckNames returns why a received file cannot have these names: dir is empty, or a path of
// slash-separated names below the folder, and name is one name. Every error is [fault.Rejected].
//
// Both sides check: the sender so that its user gets the error at once, the receiver because it
// trusts no sender. The rules are the same on every system, so a name that one machine takes is
// good on all others.
func CheckNames(dir, name string) error {
	if err := checkName(name); err != nil {
		return fmt.Errorf("the file's name %w: %w", err, fault.Rejected)
	}
	if dir == "" {
		return nil
	}
	if len(dir) > wire.MaxDir {
		return fmt.Errorf("the folder's path has more than %d bytes: %w", wire.MaxDir, fault.Rejected)
	}
	names := strings.Split(dir, "/")
	if len(names) > maxDepth {
		return fmt.Errorf("the folder's path has more than %d names: %w", maxDepth, fault.Rejected)
	}
	for _, name := range names {
		if err := checkName(name); err != nil {
			return fmt.Errorf("the folder %.300q must be a path below the other side's folder, with slashes between names: "+
				"one of them %w: %w", dir, err, fault.Rejected)
		}
	}
	return nil
}

// checkName returns what is wrong with one name of a path. A name that passes has no special
// meaning on any system.
func checkName(name string) error {
	wrong := ""
	switch {
	case name == "" || name == "." || name == "..":
		wrong = "names no file"
	case len(name) > wire.MaxFile:
		wrong = fmt.Sprintf("has more than %d bytes", wire.MaxFile)
	case !utf8.ValidString(name):
		wrong = "is not UTF-8"
	case strings.ContainsAny(name, `/\:`):
		wrong = `has one of / \ : in it`
	case strings.IndexFunc(name, unicode.IsControl) >= 0:
		wrong = "has a control character in it"
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		wrong = "ends with a dot or a space, which Windows drops"
	case isDeviceName(name):
		wrong = "is that of a device on Windows"
	case isShortName(name):
		wrong = "may be another file's short name on Windows"
	case isOwnName(name):
		wrong = "is of the kind that discoro gives to its own folders"
	}
	if wrong == "" {
		return nil
	}
	return fmt.Errorf("%.300q %s", name, wrong)
}

// isDeviceName reports whether Windows takes name for a device, in any case and with any extension.
func isDeviceName(name string) bool {
	base, _, _ := strings.Cut(strings.ToUpper(name), ".")
	base = strings.TrimRight(base, " ")
	switch base {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$":
		return true
	}
	port, ok := strings.CutPrefix(base, "COM")
	if !ok {
		port, ok = strings.CutPrefix(base, "LPT")
	}
	return ok && utf8.RuneCountInString(port) == 1 && strings.ContainsAny(port, "0123456789¹²³")
}

// isShortName reports whether name has the form of the second, short name that Windows gives to a
// file: LONGNA~1.TXT.
func isShortName(name string) bool {
	base, ext, _ := strings.Cut(name, ".")
	stem, digits, found := strings.Cut(base, "~")
	return found && len(base) <= 8 && len(ext) <= 3 && stem != "" && isDigits(digits)
}

func isDigits(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }) < 0
}

// isOwnName reports whether name is one of discoro's own, or is the same to a file system that
// ignores case and characters without width.
func isOwnName(name string) bool {
	name = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, name)
	own, rest, ok := strings.Cut(strings.TrimPrefix(name, "."), "-")
	return ok && strings.EqualFold(own+"-", OwnPrefix) && isDigits(rest)
}

// SplitPath splits a slash-separated path into the folder and the name of a file.
func SplitPath(p string) (dir, name string) {
	dir, name = path.Split(p)
	if dir == "/" {
		return dir, name // CheckNames refuses it
	}
	return strings.TrimSuffix(dir, "/"), name
}

// localPath returns the path of a file below a folder, with this system's separators.
func localPath(dir, name string) string { return filepath.FromSlash(path.Join(dir, name)) }
