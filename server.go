package discoro

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/files"
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/loop"
	"github.com/discoro/discoro/wire"
)

// ServerConfig configures a [Server].
type ServerConfig struct {
	Config
	// Node is the location of the server's node, "host:port".
	Node string

	index int        // of the node's slot; -1: the node makes one
	nonce wire.Token // proves that the node started it
}

// Server runs the coroutines of computations. Nodes start their servers themselves; a program needs
// NewServer only to add itself to a node as one more server. Its methods are safe for concurrent
// use. In asyncoro: one server process of discoronode.
type Server struct {
	rt    *Runtime      // immutable
	loop  *serverLoop   // immutable
	ended chan struct{} // closed by Close when everything has ended
	once  sync.Once     // of Close
}

// NewServer returns a server of the node at ServerConfig.Node, in addition to those that the node
// starts. It blocks until the link to the node is up, at most for Config.MsgTimeout. When that link
// ends, the server is of no use; see [Server.Wait]. Errors are as with [NewRuntime] and
// [Runtime.Connect].
func NewServer(cfg ...ServerConfig) (*Server, error) {
	c, err := one(cfg)
	if err != nil {
		return nil, err
	}
	c.index = -1
	return newServer(c)
}

func newServer(c ServerConfig) (*Server, error) {
	node, err := parseLocation(c.Node)
	if err != nil {
		return nil, fault.Because(err, "ServerConfig.Node")
	}
	c.deaf, c.DiscoverPeers = true, false // it is found through its node
	rt, err := newRuntime(c.Config, roleServer)
	if err != nil {
		return nil, err
	}
	rt.cfg.awaitKey() // which may take longer than the dial may
	ctx, cancel := context.WithTimeout(context.Background(), rt.cfg.MsgTimeout)
	defer cancel()
	l, err := rt.linkAt(ctx, node)
	if err != nil {
		return nil, errors.Join(fault.Because(err, "server of node %v", node), rt.Close())
	}
	s := &Server{rt: rt, ended: make(chan struct{})}
	s.loop = &serverLoop{rt: rt, node: l, owned: c.index >= 0, left: make(chan struct{})}
	s.loop.box.Handle = s.loop.step
	stuck := func(fn string) { s.loop.box.Put(serverEvent{own: functionStuck(fn)}) }
	rt.stuckTo.Store(&stuck)
	rt.addRole(roleServer, s.loop)
	l.Tell(&wire.ServerUp{
		Index: c.index, Nonce: c.nonce,
		Info: rt.serverInfo(), Functions: registry.names(),
	})
	return s, nil
}

// Location returns where the server can be reached.
func (s *Server) Location() Location { return s.rt.Location() }

// Close ends the server. What it runs is terminated, and has the grace period to end; then the
// server's folder is removed. Close blocks until that is done. For their client, the runs end with
// a [ServerLostError]. A coroutine of the server cannot call it: ErrRejected.
func (s *Server) Close() error {
	err := s.rt.mayClose("the server")
	if err != nil {
		return err
	}
	s.once.Do(func() {
		defer close(s.ended)
		err = s.rt.Close()
		if s.loop.owned {
			err = errors.Join(err, files.RemoveAll(s.rt.DestPath()))
		} else if dir := s.loop.dir.Load(); dir != nil {
			err = errors.Join(err, files.RemoveAll(*dir))
		}
	})
	<-s.ended
	return err
}

// Wait blocks until the server is closed, or the link to its node has ended: then Wait closes the
// server. For its error see [Server.Close].
func (s *Server) Wait() error {
	select {
	case <-s.loop.left:
	case <-s.ended:
	}
	return s.Close()
}

// serverLoop is a server's loop and what it owns.
type serverLoop struct {
	rt    *Runtime                // immutable
	node  *link.Link              // immutable
	owned bool                    // immutable: the node started it, and will start another
	left  chan struct{}           // closed when the server is of no use any more
	dir   atomic.Pointer[string]  // the last computation's folder; written by the loop, read by Close
	box   loop.Actor[serverEvent] // its handler owns what follows

	comp    *servedComp // nil: none
	hasLeft bool        // left is closed
}

// leave asks the starter of the server to close it.
func (l *serverLoop) leave() {
	if !l.hasLeft {
		l.hasLeft = true
		close(l.left)
	}
}

// servedComp is the computation that the server serves.
type servedComp struct {
	token     wire.Token
	name      string // for logs
	client    *link.Link
	scheduler *link.Link
	dir       string
	pulse     time.Duration // between signs of life; 0: the usual one
	fetching  bool          // the client was asked for the computation's files
	closing   bool
	running   map[wire.JobID]*localCoro
	lanes     map[uint64][]*wire.Start // by lane in which a job runs: those that wait for its end

	awaiting bool        // it closes when the client is done
	done     atomic.Bool // the client knows everything, or never will

	freed  atomic.Uint64 // jobs that have ended, and that the scheduler knows to have ended
	asking atomic.Bool   // a goroutine asks, or is about to ask, whether the client knows of them
	heard  uint64        // those that the client knows of; owned by the one who has set asking
}

// serverEvent is an event of a server's loop: the event of a link or, if own is set, one of the
// server itself.
type serverEvent struct {
	linkEvent
	own serverOwn
}

// serverOwn is an event of the server itself. handle runs in the loop.
type serverOwn interface{ handle(l *serverLoop) }

// put implements roleLoop.
func (l *serverLoop) put(e linkEvent) bool { return l.box.Put(serverEvent{linkEvent: e}) }

// step handles an event.
func (l *serverLoop) step(e serverEvent) {
	if e.own != nil {
		e.own.handle(l)
		return
	}
	switch f := e.frame.(type) {
	case nil:
		l.linkChanged(e.linkEvent)
	case *wire.Setup:
		l.setUp(e.link, f)
	case *wire.CloseServer:
		if e.link == l.node && l.comp != nil && l.comp.token == f.Token {
			l.closeComp(f.Over)
		}
	case *wire.Start:
		l.startJob(f)
	case *wire.Unstart:
		l.takeBack(f)
	case *wire.Tally:
		e.link.Reply(f.Call, call.Outcome{Value: l.rt.countCoros()})
	}
}

// setUp makes the server serve a computation. It can be used when it has links to the client and to
// the scheduler, and the computation's files.
func (l *serverLoop) setUp(from *link.Link, f *wire.Setup) {
	if from != l.node || l.comp != nil {
		return
	}
	c := &servedComp{
		token: f.Token, name: fmt.Sprintf("%x", f.Token[:4]),
		running: map[wire.JobID]*localCoro{}, lanes: map[uint64][]*wire.Start{},
		client:    l.rt.linkTo(f.Client.ID, peerLocation(f.Client)),
		scheduler: l.rt.linkTo(f.Scheduler.ID, peerLocation(f.Scheduler)),
		dir:       filepath.Join(l.rt.DestPath(), fmt.Sprintf("%x", f.Token[4:12])),
		pulse:     link.SanePulse(f.Pulse),
	}
	l.comp = c
	l.rt.net.SetPulse(0, c.pulse)
	l.dir.Store(&c.dir)
	l.rt.resetVars()
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		l.sendReady(fmt.Errorf("no folder for the computation's files: %w", err))
		return
	}
	l.rt.files.Serve(c.token, c.dir, func() { c.scheduler.Tell(&wire.Heard{Token: c.token}) })
	for _, link := range []*link.Link{c.client, c.scheduler} {
		if _, up := link.Peer(); !up {
			l.rt.start(func() {
				<-link.Ready()
				l.put(linkEvent{link: link})
			})
		}
	}
	l.readyIfLinked()
}

// readyIfLinked asks the client for the computation's files when both links are up. The event
// filesFetched follows.
func (l *serverLoop) readyIfLinked() {
	c := l.comp
	if c.fetching || c.closing || !c.linked() {
		return
	}
	c.fetching = true
	l.rt.start(func() {
		err := l.rt.fetchFiles(c.client, c.token)
		l.box.Put(serverEvent{own: filesFetched{c, err}})
	})
}

// linked reports whether the links to the client and to the scheduler are up.
func (c *servedComp) linked() bool {
	_, client := c.client.Peer()
	_, scheduler := c.scheduler.Peer()
	return client && scheduler
}

// filesFetched is the event that a computation's files have come, or why they have not.
type filesFetched struct {
	comp *servedComp
	err  error
}

// handle notifies the scheduler that the server can be used, or why it cannot.
func (e filesFetched) handle(l *serverLoop) {
	if c := l.comp; c == e.comp && !c.closing && c.linked() { // linkChanged has handled the loss of a link
		l.sendReady(e.err)
	}
}

// sendReady notifies the scheduler that the server can be used or, with err, why it cannot.
func (l *serverLoop) sendReady(err error) {
	f := &wire.Ready{Token: l.comp.token, Node: l.node.ID, Info: l.rt.serverInfo()}
	if err != nil {
		f.Err = encodeError(err)
	}
	l.comp.scheduler.Tell(f)
}

// serverInfo returns the description of this server for frames.
func (rt *Runtime) serverInfo() wire.ServerInfo {
	return wire.ServerInfo{Peer: rt.peer(), Name: rt.cfg.Name, PID: os.Getpid()}
}

// strandedFor is how long a server without a link to its client or scheduler waits for the order to
// close the computation, before it makes room for another server.
const strandedFor = time.Second

// linkChanged handles a link that has come up or has ended.
func (l *serverLoop) linkChanged(e linkEvent) {
	c := l.comp
	if e.link == l.node && e.down != nil {
		l.leave()
	}
	if c == nil || c.closing || e.link != c.client && e.link != c.scheduler {
		return
	}
	if e.isUp() {
		l.readyIfLinked()
		return
	}
	// Without both links the ends of jobs cannot be reported: nothing can run here for this
	// computation.
	l.rt.log.Debug("the link to the client or the scheduler has ended: ending what runs here", slog.Any("err", e.down))
	l.endJobs()
	if e.link == c.client {
		l.sendReady(fmt.Errorf("no link to the client: %w", e.down))
	}
	if l.owned {
		time.AfterFunc(strandedFor, func() { l.box.Put(serverEvent{own: strandedLong{c}}) })
	}
}

// strandedLong is the event that the link to a computation's client or scheduler ended strandedFor
// ago.
type strandedLong struct{ comp *servedComp }

// handle makes the server leave, unless the computation is closing by now.
func (e strandedLong) handle(l *serverLoop) {
	if e.comp == l.comp && !l.comp.closing {
		l.leave()
	}
}

// isClosing reports whether the runtime is closing or closed.
func (rt *Runtime) isClosing() bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return rt.closing
}

// closedIfIdle completes the close of the computation when its jobs have ended and its client is
// done.
func (l *serverLoop) closedIfIdle() {
	c := l.comp
	if c == nil || !c.closing || len(c.running) > 0 {
		return
	}
	if !c.done.Load() {
		l.awaitClient(c)
		return
	}
	l.comp = nil
	l.rt.net.SetPulse(c.pulse, 0)
	l.rt.resetVars()
	l.rt.start(func() {
		l.rt.files.AwaitIdle()
		if err := files.RemoveAll(c.dir); err != nil {
			l.rt.log.Warn("cannot remove a computation's folder", slog.Any("err", err))
		}
		l.node.Tell(&wire.ServerDone{Token: c.token})
	})
}
