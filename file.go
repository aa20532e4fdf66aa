package discoro

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/files"
	"github.com/discoro/discoro/wire"
)

// FileOptions say how a file is sent. In asyncoro: the arguments of send_file.
type FileOptions struct {
	// Dir is where the file goes below the other side's folder: a path with slashes between its names. Folders that are
	// missing are made. Empty: the folder itself.
	Dir string
	// Overwrite replaces a file of that name. Without it that is [ErrExists], whatever is in the file.
	Overwrite bool
	// Progress is told now and then how many bytes of how many have been handed to the link, and at the end that all have. Calls
	// come one at a time, from another goroutine than SendFile's; none begins after SendFile has returned. The transfer waits
	// while a call lasts, and SendFile waits for one that is under way, also when its context has ended, unless its coroutine was
	// terminated. A panic in one ends the transfer with a [*PanicError], and runtime.Goexit with an error that says so; after that
	// of the last call the whole file may be there.
	Progress func(sent, total int64)
}

// SendFile sends the file at path to another runtime. To a server it goes into the folder of the computation that the server
// serves, see [Coro.Dir], which is open to the computation's client and its servers only; to any other runtime it goes below
// that one's [Runtime.DestPath]. It has the last name of path there, and the executable bits that it has here.
//
// SendFile blocks until the other side has the whole file under its name, or ctx ends; a coroutine gives up the turn
// meanwhile. The other side checks every part that arrives, and gives the file its name when it is whole. On an error it has
// nothing of the file, or has not as soon as it notices, unless it was the answer that got lost: after [ErrDisconnected], or when
// ctx has ended, the whole file may be there. What is appended to the file meanwhile is not sent, what is changed in it may be, and
// when it becomes shorter that is an error. Sixteen files at a time go to one runtime; more wait for their turn. Memory that a
// transfer takes does not depend on the file's size.
//
// [ErrTooLarge]: it is larger than the other side's Config.MaxFileSize. [ErrExists]: a file of that name is there.
// [ErrRejected]: a name that may not be used, no regular file, one that does not say how large it is, as those in /proc, or a
// server of another computation. [ErrDisconnected]: the link broke. Errors of the other side's file system, such as a full disk,
// come back in its words; those that are known everywhere, such as fs.ErrPermission, can be tested for.
func (rt *Runtime) SendFile(ctx context.Context, to Location, path string, opt ...FileOptions) error {
	o, err := one(opt)
	if err != nil {
		return err
	}
	if path == "" {
		return fmt.Errorf("discoro: send file to %v: the path is empty: %w", to, ErrRejected)
	}
	op := &fileOp{rt: rt, to: to, path: path, tell: o.Progress, why: waitSendFile, head: wire.FileHead{
		Op: wire.FileSend, Dir: o.Dir, Name: filepath.Base(path), Overwrite: o.Overwrite,
	}}
	if err := op.do(ctx); err != nil {
		return fault.Because(err, "send file %s to %v", path, to)
	}
	return nil
}

// DeleteFile deletes a file below another runtime's folder for files; see [Runtime.SendFile] for which that is, and who may. name
// may be a path with slashes between its names. Only regular files are deleted. It blocks until that is done or ctx ends; a
// coroutine gives up the turn meanwhile. When sixteen files are on their way to that runtime it waits for one of them.
//
// [ErrNotFound]: there is none of that name. [ErrRejected]: a name that may not be used, no regular file, or a server of another
// computation. [ErrDisconnected]: the link broke; the file may have been deleted.
func (rt *Runtime) DeleteFile(ctx context.Context, at Location, name string) error {
	if name == "" {
		return fmt.Errorf("discoro: delete file at %v: the name is empty: %w", at, ErrRejected)
	}
	op := &fileOp{rt: rt, to: at, why: waitDelFile, head: wire.FileHead{Op: wire.FileDelete}}
	op.head.Dir, op.head.Name = files.SplitPath(name)
	if err := op.do(ctx); err != nil {
		return fault.Because(err, "delete file %s at %v", name, at)
	}
	return nil
}

// fileOp is one operation on a file at another runtime, as the side has it that asks for it.
type fileOp struct {
	rt    *Runtime
	to    Location
	path  string // of the file here
	why   string
	tell  func(sent, total int64) // nil: nobody is told
	head  wire.FileHead           // completed by prepare and doAt
	token wire.Token              // of the computation that the file belongs to; zero: none
	f     *os.File                // opened by prepare

	mu      sync.Mutex // guards following; leaf
	over    bool       // tell is not called any more
	telling *call.Call // finished when the call of tell under way has returned
}

// do does it, and waits.
func (op *fileOp) do(ctx context.Context) error {
	if err := files.CheckNames(op.head.Dir, op.head.Name); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil { // or the file could be on its way before anybody looks
		return err
	}
	work, stop := context.WithCancelCause(op.rt.ctx)
	defer stop(nil)
	k := call.New(op.why, nil)
	if !op.rt.start(func() { op.work(work, k) }) {
		return errRuntimeClosed
	}
	out, err := op.rt.wait(ctx, k)
	op.stopTelling()
	return cmp.Or(err, out.Err)
}

// work finds the link and does the operation; k gets how it went. It owns the file.
func (op *fileOp) work(ctx context.Context, k *call.Call) {
	defer k.Finish(call.Outcome{Err: errProgressExit}) // where nothing else was
	var l *link
	err := op.prepare()
	if err == nil {
		l, err = op.rt.linkAt(ctx, op.to)
	}
	if err != nil {
		op.closeFile()
		k.Finish(call.Outcome{Err: err})
		return
	}
	op.token = op.rt.tokenFor(l, op.to)
	op.doAt(ctx, l, k)
}

// doAt does the operation over a link that is up; k gets how it went.
func (op *fileOp) doAt(ctx context.Context, l *link, k *call.Call) {
	defer op.closeFile()
	op.head.Proof = op.token.Prove(l.id, op.head.Key)
	if l.isSelf() {
		k.Finish(call.Outcome{Err: op.here(ctx)})
		return
	}
	l.fileOp(ctx, op, k)
}

// prepare opens the file and completes the head.
func (op *fileOp) prepare() error {
	op.head.Key = wire.NewID()
	if op.head.Op != wire.FileSend {
		return nil
	}
	info, err := os.Stat(op.path) // before it is opened, which does something to some devices
	if err == nil && info.Mode().IsRegular() {
		if op.f, err = openSource(op.path); err == nil {
			info, err = op.f.Stat()
		}
	}
	if err == nil && !info.Mode().IsRegular() {
		err = errNoFile(info)
	}
	if err != nil {
		return err
	}
	op.head.Size, op.head.Mode = info.Size(), uint32(info.Mode().Perm())
	return op.checkEmpty()
}

func errNoFile(info fs.FileInfo) error {
	text := "it is no regular file"
	if info.IsDir() {
		text = "it is a folder, no regular file: send what is in it, with FileOptions.Dir"
	}
	return fault.New(text, ErrRejected)
}

// checkEmpty refuses a file that claims to be empty and is not, as those in /proc: it would arrive without its content.
func (op *fileOp) checkEmpty() error {
	if op.head.Size > 0 {
		return nil
	}
	n, err := op.f.ReadAt(make([]byte, 1), 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	info, err := op.f.Stat()
	if err == nil && n > 0 && info.Size() == 0 { // else it has grown, or is empty
		err = fault.New("it does not say how large it is: copy it first", ErrRejected)
	}
	return err
}

// openSource opens a file to be sent. It never waits, though there may be a pipe by now where a file was.
func openSource(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDONLY|openNonblock, 0) }

// errProgressExit is how a transfer ends whose Progress called runtime.Goexit.
var errProgressExit = fmt.Errorf("FileOptions.Progress: %w", errGoexit)

func (op *fileOp) closeFile() {
	if op.f != nil {
		_ = op.f.Close() // it was only read
		op.f = nil
	}
}

// tokenFor returns what opens the folder at the other end of l: the token of a computation that the server there and this runtime
// both belong to, zero for others than servers.
func (rt *Runtime) tokenFor(l *link, to Location) wire.Token {
	if own := rt.files.tokenOf(); own != (wire.Token{}) || l.isSelf() {
		if peer, _ := l.isUp(); l.isSelf() || peer.Roles&roleServer != 0 {
			return own
		}
		return wire.Token{}
	}
	if peer, _ := l.isUp(); peer.Roles&roleServer == 0 {
		return wire.Token{}
	}
	rt.mu.Lock()
	comps := make([]*Computation, 0, len(rt.comps))
	for _, p := range rt.comps {
		comps = append(comps, p)
	}
	rt.mu.Unlock()
	var token wire.Token
	for _, at := range []Location{to, l.location()} {
		for _, p := range comps {
			known, now := p.knows(at)
			if now {
				return p.token
			}
			if known {
				token = p.token
			}
		}
	}
	return token
}

// knows reports whether a server is, or was, one of the computation's, and whether it is now.
func (p *Computation) knows(server Location) (known, now bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, known = p.known[server]
	_, now = p.servers[server]
	return known, now
}

// here does the operation in this runtime's own folder.
func (op *fileOp) here(ctx context.Context) error {
	u, err := op.rt.openFolder(&op.head)
	if err != nil {
		return err
	}
	defer u.end()
	if op.head.Op == wire.FileDelete {
		return u.remove(op.head.Dir, op.head.Name)
	}
	if err := op.rt.checkSize(op.head.Size); err != nil {
		return err
	}
	to, err := u.land(&op.head)
	if err != nil {
		return err
	}
	defer to.abandon()
	buf := fileBuffers.Get().(*fileBuffer)
	defer fileBuffers.Put(buf)
	for at := int64(0); ; {
		if u.ctx.Err() != nil {
			return u.over()
		}
		if ctx.Err() != nil || op.rt.ctx.Err() != nil { // ctx ends a moment after the runtime's
			return op.rt.errOver(ctx)
		}
		block, _ := buf.block(op.head.Size - at)
		err := op.next(block, at)
		if err == nil {
			err = to.write(block)
		}
		at += int64(len(block))
		if err == nil {
			err = op.progress(at)
		}
		if err != nil {
			return err
		}
		if at == op.head.Size {
			return to.commit()
		}
	}
}

// checkSize refuses a file that is too large for this runtime.
func (rt *Runtime) checkSize(size int64) error {
	if limit := rt.cfg.MaxFileSize; limit > 0 && size > limit {
		return fmt.Errorf("it has %d bytes, and Config.MaxFileSize is %d there: %w", size, limit, ErrTooLarge)
	}
	return nil
}

// fileBuffer holds a block with its sum: what is read, sent, received and written at once.
type fileBuffer [wire.FileBlock + wire.FileSum]byte

var fileBuffers = sync.Pool{New: func() any { return new(fileBuffer) }}

// block returns room in b for the next block of a file of which that many bytes are left, and for the block with its sum.
func (b *fileBuffer) block(left int64) (block, whole []byte) {
	n := min(left, wire.FileBlock)
	return b[:n], b[:n+wire.FileSum]
}

// next reads the block at an offset of the file.
func (op *fileOp) next(block []byte, at int64) error {
	for n := 0; n < len(block); {
		more, err := op.f.Read(block[n:])
		if n += more; err != nil && n < len(block) {
			return op.readError(err, at+int64(n))
		}
	}
	return nil
}

func (op *fileOp) readError(err error, at int64) error {
	if info, e := op.f.Stat(); e == nil && info.Size() <= at {
		return fmt.Errorf("the file has changed while it was sent: it had %d bytes, and has %d", op.head.Size, info.Size())
	}
	return err
}

// progress tells how many bytes have been sent.
func (op *fileOp) progress(sent int64) (err error) {
	if op.tell == nil {
		return nil
	}
	k := call.New(op.why, nil)
	op.mu.Lock()
	over := op.over
	if !over {
		op.telling = k
	}
	op.mu.Unlock()
	if over {
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Stack: trimStack(debug.Stack())}
		}
		op.mu.Lock()
		op.telling = nil
		op.mu.Unlock()
		k.Finish(call.Outcome{})
	}()
	op.tell(sent, op.head.Size)
	return nil
}

// stopTelling makes an end of the calls of tell. A coroutine that was terminated does not wait for one that is under way.
func (op *fileOp) stopTelling() {
	op.mu.Lock()
	op.over = true
	k := op.telling
	op.mu.Unlock()
	if k != nil {
		_, _ = op.rt.wait(context.Background(), k)
	}
}
