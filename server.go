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
	"github.com/discoro/discoro/internal/loop"
	"github.com/discoro/discoro/wire"
)

// ServerConfig configures a [Server].
type ServerConfig struct {
	Config
	// Node is the location of the node whose server it is to be, "host:port".
	Node string

	index int        // of the node's slot; -1: the node makes one
	nonce wire.Token // proves that the node started it
}

// Server runs the coroutines of computations. In asyncoro: one server process of discoronode. Nodes start
// their servers themselves: a program needs NewServer only to add itself to a node as one more. Its methods are safe for
// concurrent use.
type Server struct {
	rt    *Runtime      // immutable
	loop  *serverLoop   // immutable; its fields belong to the loop
	ended chan struct{} // closed by Close
	once  sync.Once
}

// NewServer returns a server of the node at cfg.Node, beside those that the node starts. It blocks until the link to the
// node is up, at most Config.MsgTimeout. When that link breaks the server is of no use any more: see Wait.
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
	rt.cfg.awaitKey() // may take longer than a dial
	ctx, cancel := context.WithTimeout(context.Background(), rt.cfg.MsgTimeout)
	defer cancel()
	l, err := rt.linkAt(ctx, node)
	if err != nil {
		return nil, errors.Join(fault.Because(err, "server of node %v", node), rt.Close())
	}
	s := &Server{rt: rt, ended: make(chan struct{})}
	s.loop = &serverLoop{rt: rt, node: l, owned: c.index >= 0, over: make(chan struct{})}
	s.loop.box.Handle = s.loop.step
	stuck := func(fn string) { s.loop.box.Put(serverEvent{own: functionStuck(fn)}) }
	rt.stuckTo.Store(&stuck)
	rt.addRole(roleServer, s.loop)
	l.tell(&wire.ServerUp{
		Index: c.index, Nonce: c.nonce,
		Info: rt.serverInfo(), Functions: registry.names(),
	})
	return s, nil
}

// Location returns where the server can be reached.
func (s *Server) Location() Location { return s.rt.Location() }

// Close ends the server: what it runs is terminated, given the grace period to end, and its folder removed. It blocks until
// that is done. To their client the jobs that it ran are lost. Called by one of its own coroutines it is ErrRejected.
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

// Wait blocks until the server is closed, or is of no use any more because its node is gone; then it closes the server.
func (s *Server) Wait() error {
	select {
	case <-s.loop.over:
	case <-s.ended:
	}
	return s.Close()
}

// serverLoop is a server's loop and what it owns.
type serverLoop struct {
	rt    *Runtime                // immutable
	node  *link                   // immutable
	owned bool                    // immutable: the node started it, and will start another
	over  chan struct{}           // closed by leave
	dir   atomic.Pointer[string]  // the last computation's folder; written by the loop, read by Close
	box   loop.Actor[serverEvent] // has what follows to itself

	comp    *servedComp // nil: none
	leaving bool        // over is closed
}

// leave says that the server is to be closed.
func (l *serverLoop) leave() {
	if !l.leaving {
		l.leaving = true
		close(l.over)
	}
}

// servedComp is the computation that the server serves.
type servedComp struct {
	token     wire.Token
	name      string // for logs
	client    *link
	scheduler *link
	dir       string
	pulse     time.Duration // between signs of life; 0: as usual
	fetching  bool          // has asked the client for the computation's files
	closing   bool
	running   map[wire.JobID]*localCoro
	turns     map[uint64][]*wire.Start // what waits for the end of a job that runs, by its turn

	settling bool        // it closes as soon as it is settled
	settled  atomic.Bool // the client need not hear any more

	freed  atomic.Uint64 // jobs of which the scheduler knows that they have ended
	asking atomic.Bool   // the client is asked whether it knows of them, or will be
	heard  uint64        // those of which it does; owned by who asks
}

// serverEvent is what a server's loop handles: what happens on a link or, where own is set, an event
// of the server's own.
type serverEvent struct {
	linkEvent
	own serverOwn
}

// serverOwn is an event of a server's own. handle runs in the loop.
type serverOwn interface{ handle(l *serverLoop) }

// put implements roleLoop.
func (l *serverLoop) put(e linkEvent) bool { return l.box.Put(serverEvent{linkEvent: e}) }

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
		e.link.reply(f.Call, call.Outcome{Value: l.rt.countCoros()})
	}
}

// setUp makes the server serve a computation, once it has links to the client and the scheduler.
func (l *serverLoop) setUp(from *link, f *wire.Setup) {
	if from != l.node || l.comp != nil {
		return
	}
	c := &servedComp{
		token: f.Token, name: fmt.Sprintf("%x", f.Token[:4]), running: map[wire.JobID]*localCoro{}, turns: map[uint64][]*wire.Start{},
		client:    l.rt.linkTo(f.Client.ID, peerLocation(f.Client)),
		scheduler: l.rt.linkTo(f.Scheduler.ID, peerLocation(f.Scheduler)),
		dir:       filepath.Join(l.rt.DestPath(), fmt.Sprintf("%x", f.Token[4:12])),
		pulse:     sanePulse(f.Pulse),
	}
	l.comp = c
	l.rt.net.beat.change(0, c.pulse)
	l.dir.Store(&c.dir)
	l.rt.resetVars()
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		l.tellReady(fmt.Errorf("no folder for the computation's files: %w", err))
		return
	}
	l.rt.files.Serve(c.token, c.dir, func() { c.scheduler.tell(&wire.Heard{Token: c.token}) })
	for _, link := range []*link{c.client, c.scheduler} {
		if _, up := link.isUp(); !up {
			l.rt.start(func() {
				<-link.ready
				l.put(linkEvent{link: link})
			})
		}
	}
	l.readyIfLinked()
}

// readyIfLinked has the client send the computation's files, once, and the scheduler told when they are there.
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

// linked reports whether the links to client and scheduler are up.
func (c *servedComp) linked() bool {
	_, client := c.client.isUp()
	_, scheduler := c.scheduler.isUp()
	return client && scheduler
}

// filesFetched is the event that a computation's files have come, or why they have not.
type filesFetched struct {
	comp *servedComp
	err  error
}

// handle sends the scheduler that the server can be used, or why it cannot.
func (e filesFetched) handle(l *serverLoop) {
	if c := l.comp; c == e.comp && !c.closing && c.linked() { // without its links it has said so
		l.tellReady(e.err)
	}
}

// tellReady tells the scheduler that the server can be used, or why it cannot.
func (l *serverLoop) tellReady(err error) {
	f := &wire.Ready{Token: l.comp.token, Node: l.node.id, Info: l.rt.serverInfo()}
	if err != nil {
		f.Err = encodeError(err)
	}
	l.comp.scheduler.tell(f)
}

func (rt *Runtime) serverInfo() wire.ServerInfo {
	return wire.ServerInfo{Peer: rt.peer(), Name: rt.cfg.Name, PID: os.Getpid()}
}

// strandedFor is how long a server whose client or scheduler is gone waits to be told to close, before it makes room for
// another.
const strandedFor = time.Second

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
	// Jobs cannot tell of their end any more: nothing can run here for this computation.
	l.rt.log.Debug("the client or the scheduler is gone; what runs here is ended", slog.Any("err", e.down))
	l.endJobs()
	if e.link == c.client {
		l.tellReady(fmt.Errorf("no link to the client: %w", e.down))
	}
	if l.owned {
		time.AfterFunc(strandedFor, func() { l.box.Put(serverEvent{own: strandedLong{c}}) })
	}
}

// strandedLong is the event that a computation's client or scheduler has been gone for strandedFor.
type strandedLong struct{ comp *servedComp }

// handle ends the server, unless it has been told meanwhile to close the computation.
func (e strandedLong) handle(l *serverLoop) {
	if e.comp == l.comp && !l.comp.closing {
		l.leave()
	}
}

func (rt *Runtime) isClosing() bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return rt.closing
}

func (l *serverLoop) closedIfIdle() {
	c := l.comp
	if c == nil || !c.closing || len(c.running) > 0 {
		return
	}
	if !c.settled.Load() {
		l.settle(c)
		return
	}
	l.comp = nil
	l.rt.net.beat.change(c.pulse, 0)
	l.rt.resetVars()
	l.rt.start(func() {
		l.rt.files.AwaitIdle()
		if err := files.RemoveAll(c.dir); err != nil {
			l.rt.log.Warn("cannot remove a computation's folder", slog.Any("err", err))
		}
		l.node.tell(&wire.ServerDone{Token: c.token})
	})
}
