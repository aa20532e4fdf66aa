package discoro

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/discover"
	"github.com/discoro/discoro/internal/files"
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/loop"
	"github.com/discoro/discoro/internal/ratelog"
	"github.com/discoro/discoro/internal/turn"
	"github.com/discoro/discoro/wire"
)

// Runtime is one participant: it has a location, runs coroutines, and has links to other runtimes. Its
// methods are safe for concurrent use. In asyncoro: AsynCoro.
type Runtime struct {
	cfg   settled       // immutable
	id    wire.ID       // immutable: of this start
	loc   Location      // immutable: announced
	log   *slog.Logger  // immutable
	turn  turn.Turn     // which coroutine runs
	net   *link.Net     // immutable: links to other runtimes, and to itself
	roles uint32        // immutable: what it announces itself as
	grace time.Duration // immutable: for terminated coroutines
	build string        // immutable

	stop    context.CancelCauseFunc // immutable: ends ctx
	ctx     context.Context         // immutable: done when Close begins to end goroutines
	startMu sync.Mutex              // guards following; leaf
	ended   bool                    // no goroutine is started any more
	wg      sync.WaitGroup          // its goroutines, except runners; Wait only when ended

	lastSeq atomic.Uint64                   // the last coroutine's number
	lastJob atomic.Uint64                   // the last job's number
	stuckTo atomic.Pointer[func(fn string)] // set by a server: receives each function that does not end

	profiles    profiles            // labels of coroutines' goroutines
	ends        ends                // of ended coroutines, for runtimes that ask late
	warnings    ratelog.Log         // about peers and strangers: one line each and 10 s
	strayFrames ratelog.Log         // about frames for coroutines that do not exist, by peer
	watches     peerWatches         // who receives news of other runtimes
	channels    channelTable        // of its own, and handles
	files       *files.Folder       // immutable: where received files go
	discovery   *discover.Discovery // immutable; nil: it is off

	mu      sync.Mutex            // guards following; leaf
	closing bool                  // nothing new is started
	coros   map[uint64]*localCoro // by their numbers
	public  map[uint64]*localCoro // by their keys, those that have left the runtime: see exported
	keys    rand.Source           // of keys
	empty   chan struct{}         // made by Close; closed when coros is empty
	names   map[string]*localCoro
	handles handleTable[Coro]
	jobs    map[uint64]*job
	comps   map[wire.Token]*Computation // of this client
	loops   roleLoops
	vars    map[any]any // values of Vars, by the address of the Var
	dest    string      // DestPath, once it exists
	ownDest bool        // dest is ours to remove
	closed  chan struct{}
}

// Roles that a runtime announces in its hello.
const (
	roleScheduler uint32 = 1 << iota
	roleNode
	roleServer
)

// roleNames name them for people.
var roleNames = map[uint32]string{roleScheduler: "scheduler", roleNode: "node", roleServer: "server"}

// NewRuntime returns a running runtime with a listener of its own. Close ends it. NewRuntime does not
// wait for Config.Peers. An error names the field of Config that is wrong, or says why the runtime
// cannot listen.
func NewRuntime(cfg ...Config) (*Runtime, error) {
	c, err := one(cfg)
	if err != nil {
		return nil, err
	}
	return newRuntime(c, 0)
}

func newRuntime(c Config, roles uint32) (*Runtime, error) {
	s, err := c.settle()
	if err != nil {
		return nil, err
	}
	ln, port, err := s.open()
	if err != nil {
		s.awaitKey()
		return nil, err
	}
	rt := &Runtime{
		cfg: s, id: wire.NewID(), loc: Location{Addr: s.announced, Port: port}, log: s.Logger, roles: roles,
		grace: defaultGrace, build: buildInfo(),
		coros: map[uint64]*localCoro{}, public: map[uint64]*localCoro{}, keys: newKeys(),
		names: map[string]*localCoro{},
		jobs:  map[uint64]*job{}, comps: map[wire.Token]*Computation{},
		closed: make(chan struct{}),
	}
	if 0 < len(s.Secret) && len(s.Secret) < goodSecret && roles != roleServer { // a node warns for its servers
		rt.log.Warn("the secret is short and can be guessed: make it longer", slog.Int("characters", len(s.Secret)), slog.Int("advised", goodSecret))
	}
	rt.ctx, rt.stop = context.WithCancelCause(context.Background())
	rt.net = link.New(rt.ctx, rt.linkConfig(ln), (*linkHost)(rt))
	if rt.discovery, err = rt.openDiscovery(); err != nil {
		rt.stop(err)
		s.awaitKey()
		return nil, errors.Join(err, rt.net.Close())
	}
	rt.turn.Init()
	rt.files = rt.newFolder()
	rt.net.Begin()
	rt.beginDiscovery()
	if s.DestPath != "" && roles&roleServer == 0 { // a server's folder is new
		rt.start(func() { files.Sweep(rt.ctx, s.DestPath, rt.log) })
	}
	for _, p := range s.peers {
		rt.start(func() { rt.net.Keep(link.Location(p), nil) })
	}
	return rt, nil
}

// start starts a goroutine of the runtime, which Close waits for. Once Close waits, start does
// nothing and returns false. These goroutines are started here, beside those of internal/link and
// internal/discover:
//
//	goroutine                                 owns                    ends when
//	Net.Keep, per peer of the configuration   the dials to that peer  the runtime closes
//	files.Sweep, where DestPath is set        nothing                 no incomplete file is left
//	Runtime.discover                          nothing                 all that it found were tried
//	locateAmong, per location                 nothing                 one has the name
//	lookForScheduler, and per peer            nothing                 one is linked; all tried
//	lookout.run, of a scheduler               when to look for nodes  the runtime closes
//	lookout.askNear, and per node it dials    nothing                 tried; twice MsgTimeout
//	endComputations, of a scheduler           nothing                 the runtime closes
//	nodeLoop.run                              the node's state        the runtime closes
//	nodeLoop.watchAvail                       reading the machine     the runtime closes
//	nodeLoop.near                             nothing                 its search has ended
//	runtimeHost.run, per server               the server              the server has closed
//	startProcess, per server                  waiting for it          the process has exited
//	serverLoop.setUp, per link                nothing                 it is up, or has ended
//	readyIfLinked, at a server                fetching files          the client has answered
//	closedIfIdle, at a server                 removing a folder       it is removed
//	workOnFile, per SendFile or DeleteFile    the file, its stream    the peer has closed the stream
//	filePeer.Start, per file sent             see internal/files      all is sent
//	flushAll, per subscriber without room     sending what waits      nothing waits; MsgTimeout
//	sendOutbox, peerWatch.send                sending what waits      nothing waits
//
// A goroutine that waits for a peer also ends when the link to it ends. All that wait end when the
// runtime closes. Further goroutines do one short step each, for peerWatch.awaitEnd, logWait,
// Disconnect and NewRemoteCoroScheduler. Runners, which resume coroutines, are started by
// internal/turn. For other starters see conventions_test.go. A function of time.AfterFunc owns
// nothing and never blocks.
func (rt *Runtime) start(f func()) bool {
	rt.startMu.Lock()
	defer rt.startMu.Unlock()
	if !rt.ended {
		rt.wg.Go(func() {
			pprof.SetGoroutineLabels(context.Background()) // a coroutine may have started it
			f()
		})
	}
	return !rt.ended
}

// group returns a group of goroutines of the runtime, of which at most limit run at a time.
func (rt *Runtime) group(limit int) *loop.Group { return loop.NewGroup(rt.start, limit) }

// Name returns the runtime's name.
func (rt *Runtime) Name() string { return rt.cfg.Name }

// Location returns where the runtime can be reached: what it announces to others.
func (rt *Runtime) Location() Location { return rt.loc }

// String gives the name and the location.
func (rt *Runtime) String() string { return rt.cfg.Name + "@" + rt.loc.String() }

// DestPath returns the folder that holds received files and the folders of servers. Without
// Config.DestPath it is a private folder, which the first call makes and Close removes.
func (rt *Runtime) DestPath() string {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.dest != "" {
		return rt.dest
	}
	if rt.cfg.DestPath != "" {
		rt.dest = rt.cfg.DestPath
		if abs, err := filepath.Abs(rt.dest); err == nil {
			rt.dest = abs
		}
		return rt.dest
	}
	dir, err := os.MkdirTemp("", "discoro-")
	if err != nil { // its user gets the reason; never a folder of others, because Close removes this one
		return filepath.Join(os.TempDir(), fmt.Sprintf("discoro-%x", rt.id[:]))
	}
	rt.dest, rt.ownDest = dir, true
	return dir
}

// Spawn starts a coroutine that runs body, and returns at once. body receives the coroutine, which
// is also its context. The value that body returns is the coroutine's result. When the runtime is
// closed, the returned coroutine has already ended, with ErrClosed.
func (rt *Runtime) Spawn(name string, body func(c *Coro) (any, error)) *Coro {
	return rt.spawn(name, body, nil)
}

// spawn is Spawn; init completes the coroutine before it can run.
func (rt *Runtime) spawn(name string, body func(c *Coro) (any, error), init func(*localCoro)) *Coro {
	l := rt.newLocal(name, body, rt.lastSeq.Add(1))
	if init != nil {
		init(l)
	}
	rt.mu.Lock()
	closing := rt.closing
	if !closing {
		rt.coros[l.Coro.seq] = l
	}
	rt.mu.Unlock()
	if closing {
		l.finish(call.Outcome{Err: fmt.Errorf("discoro: spawn %s: %w", name, errRuntimeClosed)})
		return &l.Coro
	}
	rt.turn.Put(&l.task)
	return &l.Coro
}

// forget removes an ended coroutine from the tables.
func (rt *Runtime) forget(l *localCoro, names []string) {
	rt.mu.Lock()
	delete(rt.coros, l.Coro.seq)
	if l.forgotten = true; l.public != 0 {
		delete(rt.public, l.public)
	}
	for _, name := range names {
		if rt.names[name] == l {
			delete(rt.names, name)
		}
	}
	empty := rt.empty
	if len(rt.coros) > 0 {
		empty = nil
	} else {
		rt.empty = nil
	}
	rt.mu.Unlock()
	if empty != nil {
		close(empty)
	}
}

// coroutine returns the live coroutine with this key, nil if there is none that has left the runtime.
func (rt *Runtime) coroutine(key uint64) *localCoro {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return rt.public[key]
}

// Close ends the runtime. It terminates the coroutines, which end within the grace period; it sends what
// is queued on links, for at most 2 s; then it closes the links and the listener. Close returns when
// that is done and every goroutine has ended, except coroutines that ignore their termination. A second
// Close waits for the first. Close returns [ErrRejected] when a coroutine of the runtime calls it,
// because it would wait for that coroutine. A coroutine may call it in a goroutine that it does not wait
// for.
func (rt *Runtime) Close() error {
	if err := rt.mayClose("the runtime"); err != nil {
		return err
	}
	return rt.close()
}

// mayClose returns an error when the caller is a coroutine of the runtime, because Close waits for those.
func (rt *Runtime) mayClose(what string) error {
	me := turn.GoroutineID()
	for _, l := range rt.allCoros() {
		if l.g.Load() == me {
			return fmt.Errorf("discoro: close %s at %v: called by its coroutine %v, which it would wait for: "+
				"close it in a goroutine that the coroutine does not wait for, or from outside: %w", what, rt.loc, &l.Coro, ErrRejected)
		}
	}
	return nil
}

func (rt *Runtime) close() error {
	rt.mu.Lock()
	if rt.closing {
		rt.mu.Unlock()
		<-rt.closed
		return nil
	}
	rt.closing = true
	empty := make(chan struct{})
	if len(rt.coros) == 0 {
		close(empty)
	} else {
		rt.empty = empty
	}
	rt.mu.Unlock()
	rt.net.Refuse()
	defer close(rt.closed)

	for _, l := range rt.allCoros() {
		l.terminate()
	}
	<-empty // abandoned ones count as ended, so this is bounded
	ctx, cancel := context.WithTimeout(context.Background(), min(2*time.Second, rt.cfg.MsgTimeout))
	rt.net.Bye(ctx, rt.String()+" closes")
	cancel()
	rt.channels.closeAll()
	rt.stop(fmt.Errorf("the runtime is closing: %w", ErrClosed))
	err := rt.net.Close()
	if rt.discovery != nil {
		err = errors.Join(err, rt.discovery.Close())
	}
	rt.turn.Close()
	rt.startMu.Lock()
	rt.ended = true
	rt.startMu.Unlock()
	rt.wg.Wait()
	rt.turn.Wait()
	rt.cfg.awaitKey()
	return errors.Join(err, rt.removeDest())
}

func (rt *Runtime) removeDest() error {
	rt.mu.Lock()
	dest, own := rt.dest, rt.ownDest
	rt.mu.Unlock()
	if !own {
		return nil
	}
	return files.RemoveAll(dest)
}

// allCoros returns the live coroutines.
func (rt *Runtime) allCoros() []*localCoro {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	coros := make([]*localCoro, 0, len(rt.coros))
	for _, l := range rt.coros {
		coros = append(coros, l)
	}
	return coros
}

func (rt *Runtime) countCoros() int {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return len(rt.coros)
}

// stuck reports an abandoned coroutine to the server's loop, if there is one.
func (rt *Runtime) stuck(l *localCoro) {
	if report := rt.stuckTo.Load(); report != nil {
		(*report)(l.name)
	}
}
