package discoro

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/files"
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/transport"
	"github.com/discoro/discoro/wire"
)

// FileOptions says how a file is sent. In asyncoro: the arguments of send_file.
type FileOptions struct {
	// Dir is the folder that the file goes to, below the other side's folder: a path with slashes between
	// its names. Missing folders are made. Empty: the other side's folder itself.
	Dir string
	// Overwrite replaces a file of the same name. Without it SendFile returns [ErrExists] where there is
	// one, whatever it contains.
	Overwrite bool
	// Progress is called now and then with how many bytes of the file's total have been handed to the
	// link, and at the end with all of them. The calls come one at a time, from another goroutine than
	// SendFile's, and none begins after SendFile has returned. The transfer waits while a call lasts.
	// SendFile waits for a call that is under way, even when its context has ended, unless its
	// coroutine was terminated. A panic in a call ends the transfer with a [*PanicError], and
	// runtime.Goexit ends it with an error, too; when that happens in the last call, the other side may
	// have the whole file.
	Progress func(sent, total int64)
}

// SendFile sends the file at path to another runtime, or to the runtime itself. A server puts it into the
// folder of the computation that it serves (see [Coro.Dir]), and takes files only from the client and
// the servers of that computation. Every other runtime puts it below its [Runtime.DestPath]. There the
// file has the last name of path, and it is executable if it is so here.
//
// SendFile blocks until the other side has the complete file under its name, or ctx ends. A coroutine
// gives up the turn meanwhile. Sixteen files at a time go to one runtime; more wait until one of these has ended.
// How much memory a transfer takes does not depend on the size of the file.
//
// The other side checks every block that arrives, and gives the file its name when the file is
// complete. After an error nothing of the file is left there, or soon nothing will be. The exceptions are
// [ErrDisconnected] and the end of ctx: the answer may have been lost, and the whole file may be there.
// Bytes that are appended to the file meanwhile are not sent, bytes that change in it may be, and when
// the file becomes shorter SendFile returns an error.
//
// [ErrTooLarge]: the file is larger than the other side's Config.MaxFileSize. [ErrExists]: the other side
// has a file of that name. [ErrRejected]: the name may not be used, path is no regular file, the file does
// not say how large it is (as those in /proc), or the server serves another computation.
// fs.ErrNotExist: there is no file at path. [ErrDisconnected]: the link broke, or there is no runtime at
// that location. [ErrClosed]: this runtime, or the server's computation, is closing. Errors of the other
// side's file system, such as a full disk, come back as text; errors.Is finds those that every system
// has, such as fs.ErrPermission.
func (rt *Runtime) SendFile(ctx context.Context, to Location, path string, opt ...FileOptions) error {
	o, err := one(opt)
	if err != nil {
		return err
	}
	if path == "" {
		return fmt.Errorf("discoro: send file to %v: the path is empty: %w", to, ErrRejected)
	}
	op, err := files.Send(path, o.Dir, o.Overwrite)
	if err == nil {
		progress := &fileProgress{rt: rt, f: o.Progress}
		if o.Progress != nil {
			op.Progress = progress.report
		}
		err = rt.doFile(ctx, to, op, waitSendFile)
		progress.stop()
	}
	if err != nil {
		return fault.Because(err, "send file %s to %v", path, to)
	}
	return nil
}

// DeleteFile deletes a file below another runtime's folder for files; see [Runtime.SendFile] for which
// folder that is, and who may use it. name is a path with slashes between its names. Only regular files
// are deleted. DeleteFile blocks until that is done or ctx ends; a coroutine gives up the turn
// meanwhile. While sixteen files are on their way to that runtime it waits for one of them.
//
// [ErrNotFound]: there is no such file. [ErrRejected]: the name may not be used, it is no regular file, or
// the server serves another computation. [ErrDisconnected]: the link broke, and the file may have been
// deleted; or there is no runtime at that location. [ErrClosed]: this runtime is closing.
func (rt *Runtime) DeleteFile(ctx context.Context, at Location, name string) error {
	if name == "" {
		return fmt.Errorf("discoro: delete file at %v: the name is empty: %w", at, ErrRejected)
	}
	op, err := files.Delete(name)
	if err == nil {
		err = rt.doFile(ctx, at, op, waitDelFile)
	}
	if err != nil {
		return fault.Because(err, "delete file %s at %v", name, at)
	}
	return nil
}

// doFile does an operation in a goroutine of its own, and waits for the result.
func (rt *Runtime) doFile(ctx context.Context, at Location, op *files.Op, why string) error {
	if err := ctx.Err(); err != nil { // else the file could be sent before anybody looks at ctx
		return err
	}
	work, stop := context.WithCancelCause(rt.ctx)
	defer stop(nil)
	k := call.New(why, nil)
	if !rt.start(func() { rt.workOnFile(work, at, op, k) }) {
		return errRuntimeClosed
	}
	out, err := rt.wait(ctx, k)
	return cmp.Or(err, out.Err)
}

// workOnFile opens the file, finds the link and does the operation. k gets the result. It owns op.
func (rt *Runtime) workOnFile(ctx context.Context, at Location, op *files.Op, k *call.Call) {
	defer k.Finish(call.Outcome{Err: files.ErrExited}) // where nothing else has finished it
	defer op.Close()
	var l *link.Link
	err := op.Open()
	if err == nil {
		l, err = rt.linkAt(ctx, at)
	}
	if err != nil {
		k.Finish(call.Outcome{Err: err})
		return
	}
	rt.doFileOver(ctx, l, op, rt.tokenFor(l, at), func(err error) { k.Finish(call.Outcome{Err: err}) })
}

// doFileOver does an operation over a link that is up. done receives the result before doFileOver
// returns, which it does when nothing of the operation is left.
func (rt *Runtime) doFileOver(ctx context.Context, l *link.Link, op *files.Op, token wire.Token, done func(error)) {
	op.Prove(token, l.ID)
	if l.IsSelf() {
		done(rt.files.Do(ctx, op))
		return
	}
	op.At(ctx, filePeer{rt, l}, done)
}

// filePeer is the other end of a link, as package files needs it.
type filePeer struct {
	rt *Runtime
	l  *link.Link
}

func (p filePeer) OpenStream(ctx context.Context) (files.Stream, error) {
	s, err := p.l.OpenStream(ctx)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (p filePeer) Start(f func()) bool          { return p.rt.start(f) }
func (p filePeer) Decode(f *wire.Failure) error { return values.Error(f) }

// newFolder returns where received files go. A server has no folder for them but its computation's.
func (rt *Runtime) newFolder() *files.Folder {
	cfg := files.Config{ID: rt.id, MaxSize: rt.cfg.MaxFileSize, Encode: encodeError, Log: rt.log}
	if rt.roles&roleServer == 0 {
		cfg.Path, cfg.Make = rt.DestPath, rt.cfg.DestPath != ""
	}
	return files.New(rt.ctx, cfg)
}

// answerFile does what the peer asks for on a stream that it has opened. An error is a breach of the
// protocol.
func (rt *Runtime) answerFile(l *link.Link, s transport.PeerStream) error {
	return rt.files.Answer(s, func(h *wire.FileHead) error { return rt.sendFilesOf(l, h) })
}

// fileProgress calls FileOptions.Progress, until SendFile is about to return.
type fileProgress struct {
	rt *Runtime                // immutable
	f  func(sent, total int64) // immutable

	mu      sync.Mutex // guards following; leaf
	over    bool       // f is not called any more
	calling *call.Call // finished when the call of f that is under way has returned
}

// report calls the function, and returns an error when that panics.
func (p *fileProgress) report(sent, total int64) (err error) {
	k := call.New(waitSendFile, nil)
	p.mu.Lock()
	over := p.over
	if !over {
		p.calling = k
	}
	p.mu.Unlock()
	if over {
		return nil
	}
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: trimStack(debug.Stack())}
		}
		p.mu.Lock()
		p.calling = nil
		p.mu.Unlock()
		k.Finish(call.Outcome{})
	}()
	p.f(sent, total)
	return nil
}

// stop lets no more calls begin, and waits for one that is under way. A coroutine that was terminated
// does not wait.
func (p *fileProgress) stop() {
	p.mu.Lock()
	p.over = true
	k := p.calling
	p.mu.Unlock()
	if k != nil {
		_, _ = p.rt.wait(context.Background(), k)
	}
}

// tokenFor returns what opens the folder at the other end of l: the token of a computation that both the
// server there and this runtime belong to. It is zero where the other end is no such server.
func (rt *Runtime) tokenFor(l *link.Link, at Location) wire.Token {
	if l.IsSelf() {
		return rt.files.Token()
	}
	if peer, _ := l.Peer(); peer.Roles&roleServer == 0 {
		return wire.Token{}
	}
	if own := rt.files.Token(); own != (wire.Token{}) {
		return own
	}
	rt.mu.Lock()
	comps := slices.Collect(maps.Values(rt.comps))
	rt.mu.Unlock()
	var token wire.Token
	for _, at := range []Location{at, Location(l.Location())} {
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

// knows reports whether a server is, or was, one of the computation's, and whether it is one now.
func (p *Computation) knows(server Location) (known, now bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, known = p.known[server]
	_, now = p.servers[server]
	return known, now
}

// settleFiles checks that the files of ComputationConfig.Files can be sent, and returns their absolute
// paths: they are sent later.
func settleFiles(paths []string) ([]string, error) {
	taken := map[string]string{}
	var settled []string
	for _, path := range paths {
		op, err := files.Send(path, "", true)
		if err != nil {
			return nil, err
		}
		folded := strings.ToLower(filepath.Base(path)) // some file systems ignore case
		if other, ok := taken[folded]; ok {
			return nil, fmt.Errorf("%s and %s would have the same name at the servers: %w", other, path, ErrExists)
		}
		taken[folded] = path
		err = op.Open()
		op.Close()
		if err != nil {
			return nil, fmt.Errorf("%s cannot be sent: %w", path, err)
		}
		if path, err = filepath.Abs(path); err != nil {
			return nil, err
		}
		settled = append(settled, path)
	}
	return settled, nil
}

// fetchFiles asks the client, at the other end of l, for the files of a computation. It returns when
// all of them are here.
func (rt *Runtime) fetchFiles(l *link.Link, token wire.Token) error {
	return rt.doFileNow(l, files.Fetch(), token)
}

// sendFilesOf sends the files of a computation of this client to the server at the other end of l, which
// has asked for them.
func (rt *Runtime) sendFilesOf(l *link.Link, h *wire.FileHead) error {
	var p *Computation
	rt.mu.Lock()
	for token, comp := range rt.comps {
		if token.Proves(h, rt.id) {
			p = comp
		}
	}
	rt.mu.Unlock()
	if p == nil {
		return fmt.Errorf("the client has no such computation any more: %w", ErrNotFound)
	}
	for _, path := range p.cfg.Files {
		op, err := files.Send(path, "", true)
		if err == nil {
			err = rt.doFileNow(l, op, p.token)
		}
		if err != nil {
			return fmt.Errorf("the computation's file %s was not sent: %w", path, err)
		}
	}
	return nil
}

// doFileNow does an operation over a link that is up, in the caller's goroutine, which is the runtime's.
func (rt *Runtime) doFileNow(l *link.Link, op *files.Op, token wire.Token) error {
	defer op.Close()
	if err := op.Open(); err != nil {
		return err
	}
	var result error
	rt.doFileOver(rt.ctx, l, op, token, func(err error) { result = err })
	return result
}
