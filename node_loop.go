package discoro

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/discoro/discoro/internal/hours"
	"github.com/discoro/discoro/internal/loop"
	"github.com/discoro/discoro/wire"
)

// nodeLoop is a node's loop and what it owns. Its fields belong to the goroutine of run; others go through do.
type nodeLoop struct {
	rt     *Runtime                     // immutable
	cfg    settledNode                  // immutable
	folder string                       // immutable: the node's own; a server's is in it
	box    *loop.Inbox[linkEvent]       // frames and links
	asks   *loop.Inbox[func(*nodeLoop)] // what others want done
	ended  chan struct{}                // closed by run when it ends
	hosted hosted                       // servers in this process
	after  sync.Mutex                   // guards following, once run has ended; leaf

	slots      []*serverSlot
	schedulers map[wire.ID]*link  // links to runtimes that are schedulers
	serving    *service           // nil: free
	avail      wire.Avail         // the latest reading
	paces      chan time.Duration // capacity 1: how often to read it
	draining   bool               // it takes nothing new, and never will
	closing    bool               // its servers are told to end
	phase      hours.Phase        // by the hours of service
	alarm      *time.Timer        // when to look at the clock; nil: there are no hours
	served     int                // computations
	over       chan struct{}      // closed by leave when all that it was to serve is served
	nearby     []nearCall         // schedulers that wait for what is near
	free       []func()           // to be called when nothing is served
	gone       func()             // to be called when every server has ended
}

// serverSlot is the place of one server; servers in it come and go.
type serverSlot struct {
	index  int             // immutable
	port   int             // immutable: of TCPPorts; 0: any
	nonce  wire.Token      // of the server that is expected or up
	host   serverHost      // nil: none
	link   *link           // when it is up
	info   wire.ServerInfo // when it is up
	guest  bool            // the node did not start it, and does not end it
	ending bool            // it was told to end
	doomed string          // why it is being killed
	setUp  bool            // it was given the computation
	closed bool            // it has ended the computation
	born   time.Time
	fails  int // starts in a row that came to nothing
}

func (s *serverSlot) isUp() bool { return s.link != nil }

// isUsable reports whether the server can be given a computation.
func (s *serverSlot) isUsable() bool { return s.isUp() && !s.ending }

// stop and kill end the node's own server.
func (s *serverSlot) stop() {
	if s.host != nil {
		s.ending = true
		s.host.stop()
	}
}

func (s *serverSlot) kill(why string) {
	if s.host != nil {
		s.doomed = why
		s.host.kill()
	}
}

// serverHost is a server as its node holds it: a process, or a runtime in this one.
type serverHost interface {
	stop() // ends it in order, and at once when it does not; never blocks
	kill() // ends it at once; never blocks
}

func newNodeLoop(rt *Runtime, cfg settledNode, folder string) *nodeLoop {
	l := &nodeLoop{
		rt: rt, cfg: cfg, folder: folder, box: loop.NewInbox[linkEvent](), asks: loop.NewInbox[func(*nodeLoop)](), ended: make(chan struct{}),
		schedulers: map[wire.ID]*link{}, avail: readAvail(folder), paces: make(chan time.Duration, 1), over: make(chan struct{}),
	}
	for i := range cfg.count {
		l.slots = append(l.slots, &serverSlot{index: i, port: cfg.ports[i]})
	}
	return l
}

// run is the loop. It ends with the runtime.
func (l *nodeLoop) run() {
	defer close(l.ended)
	l.lookAtClock()
	for _, s := range l.slots {
		l.startServer(s)
	}
	var events []linkEvent
	var asks []func(*nodeLoop)
	for {
		select {
		case <-l.box.More():
			events = l.box.Take(events)
			for _, e := range events {
				l.step(e)
			}
		case <-l.asks.More():
			asks = l.asks.Take(asks)
			for _, ask := range asks {
				ask(l)
			}
		case <-l.rt.ctx.Done():
			l.stopClock()
			l.box.Close()
			for _, ask := range l.asks.Close() {
				ask(l)
			}
			l.closing = true
			l.callFree() // nothing is served any more
			return
		}
	}
}

// do runs f in the loop and waits for it; after the loop has ended it runs f in its place.
func (l *nodeLoop) do(f func(*nodeLoop)) {
	done := make(chan struct{})
	if !l.asks.Put(func(l *nodeLoop) { f(l); close(done) }) {
		<-l.ended
		l.after.Lock()
		defer l.after.Unlock()
		f(l)
		return
	}
	<-done
}

// put implements roleLoop.
func (l *nodeLoop) put(e linkEvent) bool { return l.box.Put(e) }

func (l *nodeLoop) step(e linkEvent) {
	switch f := e.frame.(type) {
	case nil:
		l.linkChanged(e)
	case *wire.Reserve:
		if !ghost(e) {
			l.reserve(e.link, f)
		}
	case *wire.Release:
		if l.serving != nil && l.serving.scheduler == e.link && l.serving.reserve.Token == f.Token {
			l.release("", f.Over)
		}
	case *wire.ServerUp:
		if !ghost(e) {
			l.serverUp(e.link, f)
		}
	case *wire.Near:
		l.near(e.link, f)
	case *wire.ServerDone:
		l.serverDone(e.link, f)
	}
}

// ghost reports whether the link that e came on has ended. The node may have been told before, as a link's reader may be behind what
// has ended it, and would never be told again; if not, it is told in a moment.
func ghost(e linkEvent) bool { return e.link.cause() != nil }

// linkChanged meets schedulers, and notices what is gone.
func (l *nodeLoop) linkChanged(e linkEvent) {
	if e.isUp() {
		if peer, up := e.link.isUp(); up && peer.Roles&roleScheduler != 0 {
			l.schedulers[e.link.id] = e.link
			l.offerTo(e.link)
		}
		return
	}
	if l.schedulers[e.link.id] == e.link {
		delete(l.schedulers, e.link.id)
	}
	if l.serving != nil && l.serving.scheduler == e.link {
		l.release("the scheduler is gone", true)
	}
	if i := slices.IndexFunc(l.slots, func(s *serverSlot) bool { return s.link == e.link }); i >= 0 {
		l.serverGone(l.slots[i], e.down.Error())
	}
}

// startServer starts a server in s; it says ServerUp when it is up.
func (l *nodeLoop) startServer(s *serverSlot) {
	if l.closing || l.draining {
		return
	}
	rand.Read(s.nonce[:])
	s.born, s.ending, s.doomed = time.Now(), false, ""
	host, err := l.hostServer(s)
	if err != nil {
		l.rt.log.Error("cannot start a server", slog.Int("server", s.index+1), slog.Any("err", err))
		l.tellTrouble(fmt.Sprintf("server %d does not start: %v", s.index+1, err))
		l.restartLater(s)
		return
	}
	s.host = host
}

// tellTrouble tells the scheduler why servers do not come.
func (l *nodeLoop) tellTrouble(why string) {
	if v := l.serving; v != nil && !v.releasing {
		v.scheduler.tell(&wire.Servers{Token: v.reserve.Token, Reason: why})
	}
}

// A server that ends unasked is replaced at once, then ever later as long as none lives for a while.
const (
	aWhile       = 10 * time.Second
	firstRestart = 100 * time.Millisecond
	lastRestart  = 30 * time.Second
)

// restartLater starts a server in s after a pause that grows with failures in a row.
func (l *nodeLoop) restartLater(s *serverSlot) {
	time.AfterFunc(restartPause(s.fails), func() { l.asks.Put(func(l *nodeLoop) { l.startServer(s) }) })
	s.fails++
}

func restartPause(fails int) time.Duration {
	if fails == 0 {
		return 0
	}
	return min(firstRestart<<min(fails-1, 20), lastRestart)
}

// serverUp takes a server's word that it is there.
func (l *nodeLoop) serverUp(from *link, f *wire.ServerUp) {
	i := slices.IndexFunc(l.slots, func(s *serverSlot) bool { return s.link == from })
	switch {
	case i >= 0:
		return // it has said so
	case f.Index < 0 && !l.closing:
		i = len(l.slots)
		l.slots = append(l.slots, &serverSlot{index: i, guest: true})
	case f.Index < 0 || f.Index >= len(l.slots) || l.slots[f.Index].nonce != f.Nonce || l.slots[f.Index].host == nil:
		l.rt.log.Warn("a runtime says that it is a server of this node, and is not", slog.String("peer", from.location().String()))
		return
	default:
		i = f.Index
	}
	s := l.slots[i]
	s.link, s.info = from, f.Info
	if l.serving != nil && !l.serving.releasing && s.isUsable() {
		l.setUp(s)
	}
}

// serverGone notices that the link to a server broke: it ended, was killed, or is stuck.
func (l *nodeLoop) serverGone(s *serverSlot, reason string) {
	info := s.info
	if s.setUp && !s.closed && !l.closing {
		reason = cmp.Or(s.doomed, reason)
		l.rt.log.Warn("a server is lost", slog.String("server", peerLocation(info.Peer).String()), slog.String("why", reason))
		l.serving.scheduler.tell(&wire.Servers{Token: l.serving.reserve.Token, Gone: []wire.ServerInfo{info}, Reason: reason})
	}
	s.link, s.setUp, s.closed = nil, false, false
	if s.guest {
		l.slots = slices.DeleteFunc(l.slots, func(o *serverSlot) bool { return o == s })
	}
	if !s.ending {
		s.kill(reason)
	}
	l.releasedIfClosed()
}

// hostEnded is told when a server's process or runtime is no more, and how it ended.
func (l *nodeLoop) hostEnded(s *serverSlot, nonce wire.Token, how string) {
	if s.nonce != nonce {
		return
	}
	lost := s.link != nil
	switch {
	case lost:
		s.link.fail(errors.New("the server " + how))
		l.serverGone(s, "it "+how)
	case s.doomed != "" && !l.closing: // its link was the first to end, and does not tell how the server did
		l.rt.log.Warn("a lost server has ended", slog.Int("server", s.index+1), slog.String("how", how))
	}
	s.host = nil
	switch {
	case l.closing:
		l.goneIfAll()
		return
	case s.ending || time.Since(s.born) > aWhile:
		s.fails = 0
	case !lost && s.doomed == "":
		why := fmt.Sprintf("server %d %s before it was up", s.index+1, how)
		l.rt.log.Warn("a server did not come up", slog.Int("server", s.index+1), slog.String("why", how))
		l.tellTrouble(why)
	}
	l.restartLater(s)
}

// shutdown ends every server; done is called when all have.
func (l *nodeLoop) shutdown(done func()) {
	l.closing, l.gone = true, done
	for _, s := range l.slots {
		s.stop()
	}
	l.goneIfAll()
}

func (l *nodeLoop) goneIfAll() {
	for _, s := range l.slots {
		if s.host != nil {
			return
		}
	}
	if l.gone != nil {
		l.gone()
	}
}
