package discoro

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/discoro/discoro/wire"
)

// maxDirDepth is how many folders below a folder files go at most.
const maxDirDepth = 32

// checkFileNames says what keeps a received file from being called so: dir is empty or a slash-separated path below the folder,
// name is one name. Both sides check, the sender so that its user hears of it at once. The rules are the same on every
// system, so that what one machine takes another does, too.
func checkFileNames(dir, name string) error {
	if err := checkFileName(name); err != nil {
		return fmt.Errorf("the file's name %w: %w", err, ErrRejected)
	}
	if dir == "" {
		return nil
	}
	if len(dir) > wire.MaxDir {
		return fmt.Errorf("the folder's path has more than %d bytes: %w", wire.MaxDir, ErrRejected)
	}
	names := strings.Split(dir, "/")
	if len(names) > maxDirDepth {
		return fmt.Errorf("the folder's path has more than %d names: %w", maxDirDepth, ErrRejected)
	}
	for _, name := range names {
		if err := checkFileName(name); err != nil {
			return fmt.Errorf("the folder %.300q must be a path below the other side's folder, with slashes between names: one of them %w: %w", dir, err, ErrRejected)
		}
	}
	return nil
}

// checkFileName says what is wrong with one name of a path. No name that is good here means anything but itself on any system.
func checkFileName(name string) error {
	fault := ""
	switch {
	case name == "" || name == "." || name == "..":
		fault = "names no file"
	case len(name) > wire.MaxFile:
		fault = fmt.Sprintf("has more than %d bytes", wire.MaxFile)
	case !utf8.ValidString(name):
		fault = "is not UTF-8"
	case strings.ContainsAny(name, `/\:`):
		fault = `has one of / \ : in it`
	case strings.IndexFunc(name, unicode.IsControl) >= 0:
		fault = "has a control character in it"
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		fault = "ends with a dot or a space, which Windows drops"
	case isDeviceName(name):
		fault = "is that of a device on Windows"
	case isShortName(name):
		fault = "may be another file's short name on Windows"
	case isOwnName(name):
		fault = "is of the kind that discoro gives to its own folders"
	}
	if fault == "" {
		return nil
	}
	return fmt.Errorf("%.300q %s", name, fault)
}

// isDeviceName reports whether Windows takes name for a device, whatever its case and its extension.
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

// isShortName reports whether name has the form that Windows gives to a second, short name of a file: LONGNA~1.TXT.
func isShortName(name string) bool {
	base, ext, _ := strings.Cut(name, ".")
	stem, digits, found := strings.Cut(base, "~")
	return found && len(base) <= 8 && len(ext) <= 3 && stem != "" && isDigits(digits)
}

func isDigits(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }) < 0
}

// ownPrefix is how the names of folders begin that discoro makes for itself, and of files that are not whole yet, with a dot
// before it. Digits follow.
const ownPrefix = "discoro-"

// isOwnName reports whether name is one of discoro's own, or may be taken for one by a file system that does not tell case and
// characters without width.
func isOwnName(name string) bool {
	name = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, name)
	own, rest, ok := strings.Cut(strings.TrimPrefix(name, "."), "-")
	return ok && strings.EqualFold(own+"-", ownPrefix) && isDigits(rest)
}

// splitFilePath cuts a slash-separated path into folder and name.
func splitFilePath(p string) (dir, name string) {
	dir, name = path.Split(p)
	if dir == "/" {
		return dir, name // which is refused
	}
	return strings.TrimSuffix(dir, "/"), name
}

// localPath is the path of a file below a folder, for this system.
func localPath(dir, name string) string { return filepath.FromSlash(path.Join(dir, name)) }
