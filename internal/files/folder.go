package files

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path"
	"sync"
	"time"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// Config is what a Folder gets from its runtime.
type Config struct {
	// ID is the runtime's: peers prove to it, and to no other runtime, that they know a token.
	ID wire.ID
	// Path returns the runtime's folder. It is nil at a server, which only has the folder that it
	// serves.
	Path func() string
	// Make makes Path's folder if it is missing.
	Make bool
	// MaxSize is the largest file in bytes; 0: there is no limit.
	MaxSize int64
	// Encode encodes an error for the peer.
	Encode func(error) *wire.Failure
	// Log receives errors that no caller gets.
	Log *slog.Logger
}

// Folder is the folder for the files that a runtime receives: at a server that of the computation
// it serves, elsewhere the runtime's own. Its methods are safe for concurrent use.
type Folder struct {
	cfg  Config          // immutable
	life context.Context //nolint:containedctx // immutable: the runtime's; its cause is why the runtime closes

	mu      sync.Mutex // guards following; leaf
	token   wire.Token // of the computation that is served
	served  string     // its folder; empty: none is served
	uses    map[*use]struct{}
	stir    func()        // notifies the scheduler that files are coming; never blocks
	stirred time.Time     // when stir was last called
	idle    chan struct{} // made by AwaitIdle; closed when uses is empty
}

// New returns the folder of a runtime. The runtime lives until life is done.
func New(life context.Context, cfg Config) *Folder {
	return &Folder{cfg: cfg, life: life, uses: map[*use]struct{}{}}
}

// Serve opens a computation's folder to peers that know its token. While files come, Folder calls
// stir, at most once a second. stir must not block.
func (f *Folder) Serve(token wire.Token, folder string, stir func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.token, f.served, f.stir = token, folder, stir
}

// Close ends the operations in the computation's folder and lets no others begin. It does not wait
// for their end: AwaitIdle does.
func (f *Folder) Close() {
	f.mu.Lock()
	f.token, f.served, f.stir = wire.Token{}, "", nil
	var stops []context.CancelCauseFunc
	for u := range f.uses {
		stops = append(stops, u.stop)
	}
	f.mu.Unlock()
	for _, stop := range stops {
		stop(fmt.Errorf("the computation is closing: %w", fault.Closed))
	}
}

// AwaitIdle waits until no operation is under way.
func (f *Folder) AwaitIdle() {
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

// Token returns the token of the computation that is served, zero where none is.
func (f *Folder) Token() wire.Token {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.token
}

// stirPause is the least time between two calls of stir.
const stirPause = time.Second

// noteStir calls stir because something has come into the folder or is asked for there, unless it was
// called only a moment ago.
func (f *Folder) noteStir() {
	now := time.Now()
	f.mu.Lock()
	stir := f.stir
	if stir != nil && now.Sub(f.stirred) < stirPause {
		stir = nil
	}
	if stir != nil {
		f.stirred = now
	}
	f.mu.Unlock()
	if stir != nil {
		stir()
	}
}

// checkSize refuses a file that is too large for this runtime.
func (f *Folder) checkSize(size int64) error {
	if limit := f.cfg.MaxSize; limit > 0 && size > limit {
		return fmt.Errorf("it has %d bytes, and Config.MaxFileSize is %d there: %w", size, limit, fault.TooLarge)
	}
	return nil
}

// use is one operation in a folder.
type use struct {
	of   *Folder                 // immutable
	root *os.Root                // immutable; nothing that is done through it reaches beyond the folder
	ctx  context.Context         //nolint:containedctx // immutable: done when the folder or the runtime closes
	stop context.CancelCauseFunc // immutable: ends ctx
}

// open begins an operation in the folder. At a server it takes a head that proves the token of the
// computation. The caller ends the use.
func (f *Folder) open(h *wire.FileHead) (*use, error) {
	u := &use{of: f}
	u.ctx, u.stop = context.WithCancelCause(f.life)
	folder := ""
	if f.cfg.Path != nil {
		folder = f.cfg.Path()
	}
	f.mu.Lock()
	if f.cfg.Path == nil && f.served != "" && f.token.Proves(h, f.cfg.ID) {
		folder = f.served
	}
	if folder != "" {
		f.uses[u] = struct{}{}
	}
	f.mu.Unlock()
	if folder == "" {
		u.stop(nil)
		return nil, fmt.Errorf("the server serves another computation, or none: %w", fault.Rejected)
	}
	f.noteStir()
	var err error
	if f.cfg.Make {
		err = os.MkdirAll(folder, 0o700)
	}
	if err == nil {
		u.root, err = os.OpenRoot(folder)
	}
	if err != nil {
		u.end()
		return nil, describe("open the folder for files", err)
	}
	return u, nil
}

// over returns why the operation must end; nil: it may go on.
func (u *use) over() error {
	if u.of.life.Err() != nil { // u.ctx ends a moment later
		return context.Cause(u.of.life)
	}
	return context.Cause(u.ctx)
}

// end ends the operation.
func (u *use) end() {
	u.stop(nil)
	if u.root != nil {
		_ = u.root.Close() // nothing is written through it
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

// remove deletes a file.
func (u *use) remove(dir, name string) error {
	if err := CheckNames(dir, name); err != nil {
		return err
	}
	file := localPath(dir, name)
	info, err := u.root.Lstat(file)
	if err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no file: %w", path.Join(dir, name), fault.Rejected)
	}
	if err == nil {
		err = u.root.Remove(file)
	}
	if err != nil {
		return describe("delete "+path.Join(dir, name), err)
	}
	return nil
}
