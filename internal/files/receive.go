package files

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// PeerStream is a stream that a peer has opened, as transport.PeerStream has it.
type PeerStream interface {
	io.ReadWriter
	// Post provides memory for the bytes that come next, behind what was posted before.
	Post(b []byte)
	// Came waits until the memory that was posted first is full. When the stream or ctx ends before
	// that, it returns an error and how many bytes have come.
	Came(ctx context.Context) (int, error)
	// Drop forgets the memory that is posted. The bytes that follow come by Read again.
	Drop()
}

// Answer does what a peer asks for on a stream that it has opened, and answers. fetch sends the files
// of a computation to the peer. It returns an error when the peer breaks the protocol; the caller ends
// the link then. The caller closes s.
func (f *Folder) Answer(s PeerStream, fetch func(*wire.FileHead) error) error {
	h, err := wire.ReadFileHead(s)
	if errors.Is(err, wire.ErrMalformed) {
		return err
	}
	if err != nil {
		return nil //nolint:nilerr // the peer has closed the stream, or the link has ended
	}
	switch h.Op {
	case wire.FileSend:
		err = f.receive(h, s)
	case wire.FileDelete:
		err = f.remove(h)
	case wire.FileFetch:
		err = fetch(h)
	}
	if err != nil {
		err = fault.New(err.Error(), err)
	}
	f.answer(s, &wire.FileAnswer{Err: f.cfg.Encode(err)})
	return nil
}

// answer writes an answer. If that fails, the link has ended, or is about to end.
func (f *Folder) answer(s io.Writer, a *wire.FileAnswer) {
	b, err := wire.AppendFileAnswer(nil, a)
	if err == nil {
		_, err = s.Write(b)
	}
	if err != nil {
		f.cfg.Log.Debug("no answer about a file", slog.Any("err", err))
	}
}

// remove deletes a file for the peer.
func (f *Folder) remove(h *wire.FileHead) error {
	u, err := f.open(h)
	if err != nil {
		return err
	}
	defer u.end()
	return u.remove(h.Dir, h.Name)
}

// receive takes a file from the peer. When it returns, the complete file has its name, or nothing of
// the file is left.
func (f *Folder) receive(h *wire.FileHead, s PeerStream) error {
	if err := f.checkSize(h.Size); err != nil {
		return err
	}
	u, err := f.open(h)
	if err != nil {
		return err
	}
	defer u.end()
	l, err := u.land(h)
	if err != nil {
		return err
	}
	defer l.abandon()
	f.answer(s, &wire.FileAnswer{Go: true})
	if err := l.receive(s, h); err != nil {
		return cmp.Or(u.over(), err)
	}
	return l.commit()
}

// landing is a file that is being received. It has a private name until it is complete.
type landing struct {
	u         *use     // immutable
	target    string   // immutable: its name in the folder
	overwrite bool     // immutable
	temp      string   // its private name in the folder; empty: it has none any more
	f         *os.File // nil: it is closed
	made      []string // folders that were made for it, outer ones first
}

// land begins to receive a file. The caller abandons the landing in the end.
func (u *use) land(h *wire.FileHead) (*landing, error) {
	if err := CheckNames(h.Dir, h.Name); err != nil {
		return nil, err
	}
	l := &landing{u: u, target: localPath(h.Dir, h.Name), overwrite: h.Overwrite}
	if err := l.checkTarget(); err != nil {
		return nil, err
	}
	mode := fs.FileMode(h.Mode)&0o777 | 0o600
	var err error
	for range 3 { // another transfer that fails may remove a folder that was there
		if err = l.makeFolders(h.Dir); err == nil {
			err = l.create(h.Dir, mode)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		l.abandon()
		return nil, describe("create "+path.Join(h.Dir, h.Name), err)
	}
	return l, nil
}

// checkTarget returns why the file cannot have its name.
func (l *landing) checkTarget() error {
	info, err := l.u.root.Lstat(l.target)
	name := filepath.ToSlash(l.target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return describe("look for "+name, err)
	case !info.Mode().IsRegular():
		return fault.New(name+" is there, and is no file", fault.Exists, fault.Rejected)
	case !l.overwrite:
		return errTaken(name)
	}
	return nil
}

func errTaken(name string) error {
	return fault.New(name+" exists already: set FileOptions.Overwrite to replace it", fault.Exists)
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

// create creates the file under a private name that nothing else has.
func (l *landing) create(dir string, mode fs.FileMode) error {
	for range 10 {
		var random [8]byte
		rand.Read(random[:])
		name := "." + OwnPrefix + strconv.FormatUint(binary.BigEndian.Uint64(random[:]), 10)
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

// receiveBuffers is how many buffers a file is received into. While one is written to the disk, the
// others are filled.
const receiveBuffers = 3

// receive writes the blocks that come over the stream. Memory that was posted and is not full when
// the transfer ends is never used again: the reader of the connection may still write to it.
func (l *landing) receive(s PeerStream, h *wire.FileHead) error {
	defer s.Drop()
	var posted []*buffer
	asked := int64(0)
	post := func(buf *buffer) {
		block, whole := buf.block(h.Size - asked)
		asked += int64(len(block))
		posted = append(posted, buf)
		s.Post(whole)
	}
	for len(posted) < receiveBuffers && asked < h.Size {
		post(buffers.Get().(*buffer))
	}
	sums := wire.NewFileSums(h.Key).Skip()
	for at := int64(0); at < h.Size; {
		buf := posted[0]
		posted = posted[1:]
		block, whole := buf.block(h.Size - at)
		if n, err := s.Came(l.u.ctx); err != nil {
			at += int64(min(n, len(block)))
			return fmt.Errorf("the transfer ended after %d of %d bytes: %w", at, h.Size, fault.Disconnected)
		}
		if !sums.Check(block, whole[len(block):]) {
			return fmt.Errorf("the bytes from %d on came damaged: send it again", at)
		}
		if err := l.write(block); err != nil {
			return err
		}
		at += int64(len(block))
		if asked < h.Size {
			post(buf)
		} else {
			buffers.Put(buf)
		}
	}
	return nil
}

// write writes the next bytes.
func (l *landing) write(b []byte) error {
	if _, err := l.f.Write(b); err != nil {
		return describe("write "+filepath.ToSlash(l.target), err)
	}
	l.u.of.noteStir()
	return nil
}

// commit gives the complete file its name.
func (l *landing) commit() error {
	err := l.f.Close()
	l.f = nil
	if err == nil {
		if over := l.u.over(); over != nil {
			return over
		}
		err = l.rename()
	}
	if errors.Is(err, fault.Exists) {
		return err
	}
	if err != nil {
		return describe("name "+filepath.ToSlash(l.target), err)
	}
	l.made = nil
	return nil
}

// rename gives the file its name. If nothing may be overwritten, it makes a link: that fails if the
// name is taken, and is one step.
func (l *landing) rename() error {
	root := l.u.root
	if !l.overwrite {
		err := root.Link(l.temp, l.target)
		if err == nil {
			return nil // abandon removes the private name
		}
		if errors.Is(err, fs.ErrExist) {
			return errTaken(filepath.ToSlash(l.target))
		}
		// This file system may have no links. Then of two files that take a name at the same time the
		// later may replace the other.
	}
	if err := l.checkTarget(); err != nil {
		return err
	}
	err := root.Rename(l.temp, l.target)
	if err == nil {
		l.temp = ""
	}
	return err
}

// abandon removes everything except a complete file under its name.
func (l *landing) abandon() {
	if l.f != nil {
		_ = l.f.Close() // it is removed
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

// describe turns an error of the operating system into one for the other side: it leaves out paths
// of this machine, and adds discoro's own sentinel if one fits.
func describe(what string, err error) error {
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
		is = append(is, fault.Exists)
	case errors.Is(err, fs.ErrNotExist):
		is = append(is, fault.NotFound)
	}
	return fault.New(what+": "+err.Error(), is...)
}
