package discoro

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/files"
	"github.com/discoro/discoro/wire"
)

// fileFolder is where received files land: at a server the folder of the computation that it serves, elsewhere the
// runtime's DestPath.
type fileFolder struct {
	mu     sync.Mutex // guards following; leaf
	token  wire.Token // of the computation that is served
	served string     // its folder; empty: none is
	uses   map[*folderUse]struct{}
	stir   func()        // tells the scheduler that files come; it never blocks
	told   time.Time     // when it was called last
	idle   chan struct{} // made by awaitIdle; closed when uses is empty
}

// folderUse is one operation in the folder.
type folderUse struct {
	of   *fileFolder
	root *os.Root                // nothing that is done through it reaches beyond the folder
	ctx  context.Context         //nolint:containedctx // the operation's own: done when the folder is to go
	stop context.CancelCauseFunc // of ctx
}

// serve opens a computation's folder to who has its token. stir is called now and then while files come.
func (f *fileFolder) serve(token wire.Token, folder string, stir func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.token, f.served, f.stir = token, folder, stir
}

// stirPause is how long nothing is said of files that come, when something was.
const stirPause = time.Second

// stirs notes that something has come into the folder, or is asked for there.
func (f *fileFolder) stirs() {
	now := time.Now()
	f.mu.Lock()
	stir := f.stir
	if stir != nil && now.Sub(f.told) < stirPause {
		stir = nil
	}
	if stir != nil {
		f.told = now
	}
	f.mu.Unlock()
	if stir != nil {
		stir()
	}
}

// close ends what is under way in the computation's folder, and lets nothing more begin.
func (f *fileFolder) close() {
	f.mu.Lock()
	f.token, f.served, f.stir = wire.Token{}, "", nil
	var stops []context.CancelCauseFunc
	for u := range f.uses {
		stops = append(stops, u.stop)
	}
	f.mu.Unlock()
	for _, stop := range stops {
		stop(fmt.Errorf("the computation is closing: %w", ErrClosed))
	}
}

// awaitIdle waits until nothing is under way.
func (f *fileFolder) awaitIdle() {
	f.mu.Lock()
	if len(f.uses) == 0 {
		f.mu.Unlock()
		return
	}
	if f.idle == nil {
		f.idle = make(chan struct{})
	}
	idle := f.idle
	f.mu.Unlock()
	<-idle
}

// tokenOf returns the token of the computation that is served, zero where none is.
func (f *fileFolder) tokenOf() wire.Token {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.token
}

// openFolder begins an operation in the folder, at a server only for who knows the computation's token.
func (rt *Runtime) openFolder(h *wire.FileHead) (*folderUse, error) {
	f := &rt.files
	u := &folderUse{of: f}
	u.ctx, u.stop = context.WithCancelCause(rt.ctx)
	folder, server := "", rt.roles&roleServer != 0
	if !server {
		folder = rt.DestPath()
	}
	f.mu.Lock()
	if server && f.served != "" && f.token.Proves(h, rt.id) {
		folder = f.served
	}
	if folder != "" {
		if f.uses == nil {
			f.uses = map[*folderUse]struct{}{}
		}
		f.uses[u] = struct{}{}
	}
	f.mu.Unlock()
	if folder == "" {
		u.stop(nil)
		return nil, fmt.Errorf("the server serves another computation, or none: %w", ErrRejected)
	}
	f.stirs()
	var err error
	if !server && rt.cfg.DestPath != "" { // others are there
		err = os.MkdirAll(folder, 0o700)
	}
	if err == nil {
		u.root, err = os.OpenRoot(folder)
	}
	if err != nil {
		u.end()
		return nil, inWords("open the folder for files", err)
	}
	return u, nil
}

// over returns why the operation is to end; nil: it is not.
func (u *folderUse) over() error {
	cause := context.Cause(u.ctx)
	if errors.Is(cause, context.Canceled) { // with the runtime's
		return fmt.Errorf("the runtime is closing: %w", ErrClosed)
	}
	return cause
}

// end ends the operation.
func (u *folderUse) end() {
	u.stop(nil)
	if u.root != nil {
		_ = u.root.Close() // nothing was written through it
	}
	f := u.of
	f.mu.Lock()
	delete(f.uses, u)
	var idle chan struct{}
	if len(f.uses) == 0 {
		idle, f.idle = f.idle, nil
	}
	f.mu.Unlock()
	if idle != nil {
		close(idle)
	}
}

// inWords makes an error of the operating system one for the other side: without paths of this machine, and with discoro's own
// sentinel where there is one.
func inWords(what string, err error) error {
	var pathErr *fs.PathError
	var linkErr *os.LinkError
	switch {
	case errors.As(err, &pathErr):
		err = pathErr.Err
	case errors.As(err, &linkErr):
		err = linkErr.Err
	}
	is := []error{err}
	switch {
	case errors.Is(err, fs.ErrExist):
		is = append(is, ErrExists)
	case errors.Is(err, fs.ErrNotExist):
		is = append(is, ErrNotFound)
	}
	return fault.New(what+": "+err.Error(), is...)
}

// landing is a file that is being received: under a private name until it is whole.
type landing struct {
	u         *folderUse
	target    string // in the folder
	temp      string // in the folder; empty: it is not there any more
	overwrite bool
	f         *os.File
	made      []string // folders that were made for it, outer ones first
}

// land begins to receive a file.
func (u *folderUse) land(h *wire.FileHead) (*landing, error) {
	if err := files.CheckNames(h.Dir, h.Name); err != nil {
		return nil, err
	}
	l := &landing{u: u, target: localPath(h.Dir, h.Name), overwrite: h.Overwrite}
	if err := l.mayTake(); err != nil {
		return nil, err
	}
	mode := fs.FileMode(h.Mode)&0o777 | 0o600
	var err error
	for range 3 { // a folder that was there may go with another transfer that failed
		if err = l.makeFolders(h.Dir); err == nil {
			err = l.create(h.Dir, mode)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		l.abandon()
		return nil, inWords("create "+path.Join(h.Dir, h.Name), err)
	}
	return l, nil
}

// mayTake says why the file cannot have its name.
func (l *landing) mayTake() error {
	info, err := l.u.root.Lstat(l.target)
	name := filepath.ToSlash(l.target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return inWords("look for "+name, err)
	case !info.Mode().IsRegular():
		return fault.New(name+" is there, and is no file", ErrExists, ErrRejected)
	case !l.overwrite:
		return errTaken(name)
	}
	return nil
}

func errTaken(name string) error {
	return fault.New(name+" exists already: set FileOptions.Overwrite to replace it", ErrExists)
}

func (l *landing) makeFolders(dir string) error {
	if dir == "" {
		return nil
	}
	names := strings.Split(dir, "/")
	for i := range names {
		folder := filepath.Join(names[:i+1]...)
		err := l.u.root.Mkdir(folder, 0o700)
		if err == nil {
			l.made = append(l.made, folder)
		} else if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

func (l *landing) create(dir string, mode fs.FileMode) error {
	for range 10 {
		var random [8]byte
		rand.Read(random[:])
		name := "." + files.OwnPrefix + strconv.FormatUint(binary.BigEndian.Uint64(random[:]), 10)
		temp := localPath(dir, name)
		f, err := l.u.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if err == nil {
			l.temp, l.f = temp, f
			return nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return fs.ErrExist
}

// write writes the next bytes.
func (l *landing) write(b []byte) error {
	if _, err := l.f.Write(b); err != nil {
		return inWords("write "+filepath.ToSlash(l.target), err)
	}
	l.u.of.stirs()
	return nil
}

// commit gives the file its name.
func (l *landing) commit() error {
	err := l.f.Close()
	l.f = nil
	if err == nil {
		if over := l.u.over(); over != nil {
			return over
		}
		err = l.rename()
	}
	if errors.Is(err, ErrExists) {
		return err
	}
	if err != nil {
		return inWords("name "+filepath.ToSlash(l.target), err)
	}
	l.made = nil
	return nil
}

func (l *landing) rename() error {
	root := l.u.root
	if !l.overwrite {
		err := root.Link(l.temp, l.target) // at once, and only if there is nothing
		if err == nil {
			return nil // abandon removes the other name
		}
		if errors.Is(err, fs.ErrExist) {
			return errTaken(filepath.ToSlash(l.target))
		}
		// There may be no second names on this file system. Then two at the same time may both find nothing there.
	}
	if err := l.mayTake(); err != nil {
		return err
	}
	err := root.Rename(l.temp, l.target)
	if err == nil {
		l.temp = ""
	}
	return err
}

// abandon removes what is not the whole file under its name.
func (l *landing) abandon() {
	if l.f != nil {
		_ = l.f.Close() // it goes
		l.f = nil
	}
	if l.temp != "" {
		if err := l.u.root.Remove(l.temp); err == nil || errors.Is(err, fs.ErrNotExist) {
			l.temp = ""
		}
	}
	for _, folder := range slices.Backward(l.made) {
		_ = l.u.root.Remove(folder) // fails where others have put files
	}
	l.made = nil
}

// remove deletes a file.
func (u *folderUse) remove(dir, name string) error {
	if err := files.CheckNames(dir, name); err != nil {
		return err
	}
	file := localPath(dir, name)
	info, err := u.root.Lstat(file)
	if err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no file: %w", path.Join(dir, name), ErrRejected)
	}
	if err == nil {
		err = u.root.Remove(file)
	}
	if err != nil {
		return inWords("delete "+path.Join(dir, name), err)
	}
	return nil
}

// localPath returns the path of a file below a folder, with this system's separators.
func localPath(dir, name string) string { return filepath.FromSlash(path.Join(dir, name)) }
