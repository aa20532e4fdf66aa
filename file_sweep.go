package discoro

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"strings"
	"time"
)

// sweepAge is how long nothing has been written to a file that is not whole before it is taken for left behind. Another runtime may
// receive files in the same folder: links that are silent for so long have ended, and a sender who stands still for so long gets an error.
const sweepAge = time.Hour

// sweep removes from a DestPath that lasts what receivers have left there that were killed in the middle of a file. It ends when
// there is nothing more of that, or with the runtime.
func (rt *Runtime) sweep() {
	for rt.sweepOnce() {
		if rt.pause(sweepAge) != nil {
			return
		}
	}
}

// sweepOnce removes what is old enough, and reports whether there is more.
func (rt *Runtime) sweepOnce() (more bool) {
	root, err := os.OpenRoot(rt.cfg.DestPath)
	if err != nil {
		return false // most often there is nothing yet
	}
	defer root.Close()
	_ = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case rt.ctx.Err() != nil:
			return fs.SkipAll
		case err != nil:
			return nil //nolint:nilerr // what cannot be read is left alone
		case d.IsDir() && isOwnName(d.Name()):
			return fs.SkipDir // a node's, who removes it
		case !d.Type().IsRegular() || !strings.HasPrefix(d.Name(), ".") || !isOwnName(d.Name()):
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil //nolint:nilerr // it has gone
		}
		if time.Since(info.ModTime()) < sweepAge {
			more = true
		} else if root.Remove(name) == nil {
			rt.log.Info("removed a file that was never whole", slog.String("file", path.Join(rt.cfg.DestPath, name)), slog.Int64("bytes", info.Size()))
		}
		return nil
	})
	return more
}

// removeFolder removes a folder with all that is in it. A function may have left folders there that cannot be written or read, as a
// cache of Go modules has them.
func removeFolder(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if info, e := os.Lstat(path); e != nil || !info.IsDir() {
		return err // what a link there leads to is nobody's to change
	}
	_ = os.Chmod(path, 0o700) // what fails here fails below, too
	if root, e := os.OpenRoot(path); e == nil {
		_ = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				_ = root.Chmod(name, 0o700) // before it is read
			}
			return nil
		})
		_ = root.Close()
	}
	return os.RemoveAll(path)
}
