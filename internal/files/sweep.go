package files

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// sweepAge is how long nothing has been written to an incomplete file before Sweep removes it.
// Another runtime may receive files in the same folder: by then a silent link has ended, and the
// sender whose file is removed for standing still gets an error.
const sweepAge = time.Hour

// Sweep removes incomplete files from folder, which lasts longer than runtimes: receivers that were
// killed have left them there. It returns when none are left, or when ctx ends.
func Sweep(ctx context.Context, folder string, log *slog.Logger) {
	for sweepOnce(ctx, folder, log) {
		timer := time.NewTimer(sweepAge)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// sweepOnce removes incomplete files that are old enough, and reports whether there are others.
func sweepOnce(ctx context.Context, folder string, log *slog.Logger) (more bool) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return false // the folder does not exist yet, most often
	}
	defer root.Close()
	_ = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return fs.SkipAll
		case err != nil:
			return nil //nolint:nilerr // what cannot be read is left alone
		case d.IsDir() && isOwnName(d.Name()):
			return fs.SkipDir // a node's, which removes it
		case !d.Type().IsRegular() || !strings.HasPrefix(d.Name(), ".") || !isOwnName(d.Name()):
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil //nolint:nilerr // somebody has removed it
		}
		if time.Since(info.ModTime()) < sweepAge {
			more = true
		} else if root.Remove(name) == nil {
			log.Info("removed an incomplete file",
				slog.String("file", filepath.Join(folder, name)), slog.Int64("bytes", info.Size()))
		}
		return nil
	})
	return more
}

// RemoveAll removes a folder with everything in it, as os.RemoveAll does, and also folders there that
// their owner cannot write or read, such as those of a cache of Go modules.
func RemoveAll(folder string) error {
	err := os.RemoveAll(folder)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if info, e := os.Lstat(folder); e != nil || !info.IsDir() {
		return err // never change what a link leads to
	}
	_ = os.Chmod(folder, 0o700) // what fails here fails below, too
	if root, e := os.OpenRoot(folder); e == nil {
		_ = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				_ = root.Chmod(name, 0o700) // before WalkDir reads it
			}
			return nil
		})
		_ = root.Close()
	}
	return os.RemoveAll(folder)
}
