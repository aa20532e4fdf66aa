package discoro

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
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
	rt.stuckTo.Store(&s.loop.box)
	rt.addRole(&s.loop.box, func(r *roleInboxes, box roleBox) { r.server = box })
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
	rt    *Runtime               // immutable
	node  *link                  // immutable
	owned bool                   // immutable: the node started it, and will start another
	over  chan struct{}          // closed by leave
	dir   atomic.Pointer[string] // the last computation's folder; written by the loop, read by Close
	box   loop.Actor[roleEvent]  // has what follows to itself

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

// serverJob is what a coroutine runs for a computation.
type serverJob struct {
	fn   string // immutable
	comp string // immutable: for logs
	turn uint64 // immutable: nothing else of this turn starts meanwhile; 0: whatever does
}

func (l *serverLoop) step(e roleEvent) {
	switch f := e.frame.(type) {
	case nil:
		switch {
		case e.done != nil:
			l.ended(*e.done)
		case e.stuck != "":
			l.stuck(e.stuck)
		case e.fetched != nil:
			l.haveFiles(*e.fetched)
		case e.settled != nil:
			e.settled.settled.Store(true)
			l.closedIfIdle()
		case e.stranded != nil:
			if e.stranded == l.comp && !l.comp.closing {
				l.leave()
			}
		default:
			l.linkChanged(e)
		}
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
	l.rt.beat.change(0, c.pulse)
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
				l.box.Put(roleEvent{link: link, up: true})
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
		l.box.Put(roleEvent{fetched: &fetched{c, err}})
	})
}

// linked reports whether the links to client and scheduler are up.
func (c *servedComp) linked() bool {
	_, client := c.client.isUp()
	_, scheduler := c.scheduler.isUp()
	return client && scheduler
}

// fetched says that a computation's files are there, or why they are not.
type fetched struct {
	comp *servedComp
	err  error
}

// haveFiles tells the scheduler that the server can be used, or that it cannot.
func (l *serverLoop) haveFiles(e fetched) {
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

func (l *serverLoop) linkChanged(e roleEvent) {
	c := l.comp
	if e.link == l.node && e.down != nil {
		l.leave()
	}
	if c == nil || c.closing || e.link != c.client && e.link != c.scheduler {
		return
	}
	if e.up {
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
		time.AfterFunc(strandedFor, func() { l.box.Put(roleEvent{stranded: c}) })
	}
}

// startJob starts a coroutine for a run, when it is its turn.
func (l *serverLoop) startJob(f *wire.Start) {
	c := l.comp
	if c == nil || c.token != f.Token {
		l.rt.log.Debug("a job came for another computation", slog.String("func", f.Call.Func))
		return
	}
	if held, ok := c.turns[f.Lane]; ok && !c.closing {
		c.turns[f.Lane] = append(held, f)
		return
	}
	l.launch(c, f)
}

// launch starts a coroutine for a run; it reports false when it cannot be run.
func (l *serverLoop) launch(c *servedComp, f *wire.Start) bool {
	fn, err := registry.find(f.Call.Func, l.rt.build)
	if err == nil && c.closing {
		err = errRunClosing(f)
	}
	if err != nil {
		l.tellDone(c, f.Job, failed(err))
		return false
	}
	call := &f.Call
	body := func(co *Coro) (any, error) {
		growStack(1)
		return fn.run(co, call)
	}
	if _, ok := c.turns[f.Lane]; !ok && f.Lane != 0 {
		c.turns[f.Lane] = nil // nothing waits yet
	}
	l.rt.spawn(fn.name, body, func(co *localCoro) {
		co.serves, co.pc = &serverJob{fn: fn.name, comp: c.name, turn: f.Lane}, 0
		co.dir = c.dir
		c.running[f.Job] = co
		c.client.tell(&wire.Started{Token: c.token, Job: f.Job, Coro: l.rt.handleValue(&co.Coro), Server: l.rt.peer(), At: time.Now().UnixNano()})
		co.onEnd(func() { l.jobEnded(c, f.Job, co) })
	})
	return true
}

func errRunClosing(f *wire.Start) error {
	return fmt.Errorf("discoro: run %s: the computation is closing: %w", f.Call.Func, ErrClosed)
}

// nextInTurn starts what waited for the end of a job.
func (l *serverLoop) nextInTurn(turn uint64) {
	c := l.comp
	for held := c.turns[turn]; len(held) > 0; held = c.turns[turn] {
		f := held[0]
		held[0], c.turns[turn] = nil, held[1:]
		if l.launch(c, f) {
			return
		}
	}
	delete(c.turns, turn)
}

// takeBack drops a job that waits for its turn.
func (l *serverLoop) takeBack(f *wire.Unstart) {
	c := l.comp
	if c == nil || c.token != f.Token {
		return
	}
	for turn, held := range c.turns {
		i := slices.IndexFunc(held, func(s *wire.Start) bool { return s.Job == f.Job })
		if i < 0 {
			continue
		}
		fn := held[i].Call.Func
		c.turns[turn] = slices.Delete(held, i, i+1)
		l.tellDone(c, f.Job, failed(fmt.Errorf("discoro: run %s: taken back before it started: %w", fn, ErrNoServer)))
		return
	}
}

// jobEnded tells how a job ended. It runs where the coroutine ended.
func (l *serverLoop) jobEnded(c *servedComp, id wire.JobID, co *localCoro) {
	out := co.outcomeNow()
	failure := out.Err != nil && !errors.Is(out.Err, ErrTerminated)
	lost := (errors.Is(out.Err, ErrTerminated) || errors.Is(out.Err, ErrClosed)) && l.rt.isClosing()
	if lost {
		// The server ended it, or did not start it any more; its client may want to run it elsewhere.
		failure = false
		out.Err = &ServerLostError{Server: l.rt.loc, Func: co.serves.fn, Cause: fmt.Errorf("the server is closing: %w", ErrClosed)}
	}
	o, err := encodeOutcome(l.rt, out)
	if err != nil {
		o = failed(fault.New(fault.Because(err, "result of %s at %v", co.serves.fn, l.rt.loc).Error(), err))
		out.Err, failure = err, true
	}
	if !lost {
		nameRun(o.Err, out.Err, co.serves.fn, l.rt.loc)
	}
	if failure {
		co.logger().Info("a function failed", slog.Any("err", out.Err))
	}
	l.rt.ends.keep(l.rt.exported(co), o)
	l.tellDone(c, id, o)
	l.box.Put(roleEvent{done: &id})
}

func (rt *Runtime) isClosing() bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return rt.closing
}

// tellDone tells the client how a job ended, and the scheduler that it did; once when they are one runtime.
func (l *serverLoop) tellDone(c *servedComp, id wire.JobID, o *wire.Outcome) {
	c.client.tell(&wire.Done{Token: c.token, Job: id, Outcome: *o})
	if c.client == c.scheduler {
		return
	}
	c.scheduler.tell(&wire.Freed{Token: c.token, Job: id})
	c.freed.Add(1)
	if c.asking.CompareAndSwap(false, true) {
		time.AfterFunc(heardAfter, c.askHeard)
	}
}

func (l *serverLoop) ended(id wire.JobID) {
	c := l.comp
	if c == nil {
		return
	}
	if co := c.running[id]; co != nil && co.serves.turn != 0 {
		l.nextInTurn(co.serves.turn)
	}
	delete(c.running, id)
	l.closedIfIdle()
}

// stuck tells the node that a function will not end, so that the server is replaced. The node may kill it at once, so the
// client has word of the end before: it answers a question that went out behind that, or is gone.
func (l *serverLoop) stuck(fn string) {
	c := l.comp
	if c == nil || c.closing {
		return
	}
	heard := call.Func(func(call.Outcome) { l.node.tell(&wire.ServerDone{Token: c.token, Stuck: []string{fn}}) })
	if _, err := c.client.ask(heard, func(call uint64) wire.Frame { return &wire.Locate{Call: call} }); err != nil {
		heard(call.Outcome{})
	}
}

// endJobs terminates every coroutine but those that have ended: the computation's, and those that they spawned. What waits for its
// turn does not start any more.
func (l *serverLoop) endJobs() {
	c := l.comp
	for turn, held := range c.turns {
		for _, f := range held {
			l.tellDone(c, f.Job, failed(errRunClosing(f)))
		}
		c.turns[turn] = nil
	}
	for _, co := range l.rt.allCoros() {
		co.terminate()
	}
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
	l.rt.beat.change(c.pulse, 0)
	l.rt.resetVars()
	l.rt.start(func() {
		l.rt.files.AwaitIdle()
		if err := files.RemoveAll(c.dir); err != nil {
			l.rt.log.Warn("cannot remove a computation's folder", slog.Any("err", err))
		}
		l.node.tell(&wire.ServerDone{Token: c.token})
	})
}

// growStack makes the goroutine's stack as large as decoding an argument and encoding a result take, at once: it would grow in
// several steps, each of which copies what is there by then.
//
//go:noinline
func growStack(i int) byte {
	var room [5 << 10]byte
	room[i] = 1
	return room[i+1]
}
