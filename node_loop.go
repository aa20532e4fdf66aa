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
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/loop"
	"github.com/discoro/discoro/wire"
)

// nodeLoop is a node's loop and what it owns. Other goroutines reach its fields with do.
type nodeLoop struct {
	rt     *Runtime                     // immutable
	cfg    settledNode                  // immutable
	folder string                       // immutable: the node's own; a server's is in it
	box    *loop.Inbox[linkEvent]       // what happens on links
	asks   *loop.Inbox[func(*nodeLoop)] // to be called in the loop
	ended  chan struct{}                // closed by run when it ends
	hosted hosted                       // servers in this process
	after  sync.Mutex                   // guards following, which run owns until it ends; see do

	slots      []*serverSlot
	schedulers map[wire.ID]*link.Link // links to runtimes that are schedulers
	serving    *service               // nil: free
	avail      wire.Avail             // the latest reading
	paces      chan time.Duration     // capacity 1: how often to read it
	draining   bool                   // it takes nothing new, and never will
	closing    bool                   // its servers are being stopped
	phase      hours.Phase            // by the hours of service
	alarm      *time.Timer            // calls lookAtClock; nil: there are no hours
	served     int                    // computations that it has served
	left       chan struct{}          // closed when the node is draining and serves nothing
	nearby     []nearCall             // schedulers that wait for the nodes near this one
	free       []func()               // to be called when nothing is served
	allEnded   func()                 // to be called when every server has ended
}

// serverSlot is the place of a server. When a server has ended, the node starts a fresh one in its
// slot.
type serverSlot struct {
	index     int             // immutable
	port      int             // immutable: of TCPPorts; 0: any
	nonce     wire.Token      // of the server that is starting or up
	host      serverHost      // nil: none has been started
	link      *link.Link      // to the server; nil: it is not up
	info      wire.ServerInfo // of the server that is up
	guest     bool            // it was not started by the node, which does not end it either
	stopping  bool            // stop was called
	killedFor string          // why kill was called
	setUp     bool            // it has the computation
	closed    bool            // it has closed the computation
	born      time.Time       // when it was started
	fails     int             // starts in a row without a server that lived for a while
}

func (s *serverSlot) isUp() bool { return s.link != nil }

// isUsable reports whether the server can be given a computation.
func (s *serverSlot) isUsable() bool { return s.isUp() && !s.stopping }

// stop ends a server that the node has started, in order.
func (s *serverSlot) stop() {
	if s.host != nil {
		s.stopping = true
		s.host.stop()
	}
}

// kill ends a server that the node has started at once.
func (s *serverSlot) kill(why string) {
	if s.host != nil {
		s.killedFor = why
		s.host.kill()
	}
}

// serverHost is a server that the node has started: a process, or a runtime in this process.
type serverHost interface {
	stop() // ends it in order, or kills it when that takes too long; never blocks
	kill() // ends it at once; never blocks
}

func newNodeLoop(rt *Runtime, cfg settledNode, folder string) *nodeLoop {
	l := &nodeLoop{
		rt: rt, cfg: cfg, folder: folder,
		box: loop.NewInbox[linkEvent](), asks: loop.NewInbox[func(*nodeLoop)](), ended: make(chan struct{}),
		schedulers: map[wire.ID]*link.Link{}, avail: readAvail(folder), paces: make(chan time.Duration, 1),
		left: make(chan struct{}),
	}
	for i := range cfg.count {
		l.slots = append(l.slots, &serverSlot{index: i, port: cfg.ports[i]})
	}
	return l
}

// run is the loop, in a goroutine of its own. It ends with the runtime.
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

// do runs f in the loop, and returns when f has returned. After the loop has ended, do runs f
// itself and holds the lock after: unlike other locks, it is held as long as f takes.
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

// step handles an event.
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

// ghost reports whether the link of e has ended. The link's reader may lag behind that end. So the
// loop may have handled the end before this event, and no second end will come.
func ghost(e linkEvent) bool { return e.link.Cause() != nil }

// linkChanged makes an offer to a scheduler whose link has come up, and handles the end of a link.
func (l *nodeLoop) linkChanged(e linkEvent) {
	if e.isUp() {
		if peer, up := e.link.Peer(); up && peer.Roles&roleScheduler != 0 {
			l.schedulers[e.link.ID] = e.link
			l.offerTo(e.link)
		}
		return
	}
	if l.schedulers[e.link.ID] == e.link {
		delete(l.schedulers, e.link.ID)
	}
	if l.serving != nil && l.serving.scheduler == e.link {
		l.release("the scheduler is gone", true)
	}
	if i := slices.IndexFunc(l.slots, func(s *serverSlot) bool { return s.link == e.link }); i >= 0 {
		l.serverLost(l.slots[i], e.down.Error())
	}
}

// startServer starts a server in s. It sends ServerUp when it is up.
func (l *nodeLoop) startServer(s *serverSlot) {
	if l.closing || l.draining {
		return
	}
	rand.Read(s.nonce[:])
	s.born, s.stopping, s.killedFor = time.Now(), false, ""
	host, err := l.hostServer(s)
	if err != nil {
		l.rt.log.Error("cannot start a server", slog.Int("server", s.index+1), slog.Any("err", err))
		l.sendTrouble(fmt.Sprintf("server %d does not start: %v", s.index+1, err))
		l.restartLater(s)
		return
	}
	s.host = host
}

// sendTrouble sends the reason why no server comes up to the scheduler of the computation that is
// served.
func (l *nodeLoop) sendTrouble(why string) {
	if v := l.serving; v != nil && !v.releasing {
		v.scheduler.Tell(&wire.Servers{Token: v.reserve.Token, Reason: why})
	}
}

// A server that has ended is replaced at once. While none lives for a while, the pause before the
// next one grows.
const (
	aWhile       = 10 * time.Second
	firstRestart = 100 * time.Millisecond // the second pause; each one after that is twice as long
	lastRestart  = 30 * time.Second       // the longest pause
)

// restartLater starts a server in s after a pause.
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

// serverUp puts a server that has come up into its slot.
func (l *nodeLoop) serverUp(from *link.Link, f *wire.ServerUp) {
	i := slices.IndexFunc(l.slots, func(s *serverSlot) bool { return s.link == from })
	switch {
	case i >= 0:
		return // it is in its slot already
	case f.Index < 0 && !l.closing:
		i = len(l.slots)
		l.slots = append(l.slots, &serverSlot{index: i, guest: true})
	case f.Index < 0 || f.Index >= len(l.slots) || l.slots[f.Index].nonce != f.Nonce || l.slots[f.Index].host == nil:
		l.rt.log.Warn("refused a runtime that poses as a server of this node",
			slog.String("peer", from.Location().String()))
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

// serverLost handles the end of the link to a server: it has ended, was killed, or does not answer.
func (l *nodeLoop) serverLost(s *serverSlot, reason string) {
	info := s.info
	if s.setUp && !s.closed && !l.closing {
		reason = cmp.Or(s.killedFor, reason)
		l.rt.log.Warn("a server is lost", slog.String("server", peerLocation(info.Peer).String()), slog.String("why", reason))
		l.serving.scheduler.Tell(&wire.Servers{Token: l.serving.reserve.Token, Gone: []wire.ServerInfo{info}, Reason: reason})
	}
	s.link, s.setUp, s.closed = nil, false, false
	if s.guest {
		l.slots = slices.DeleteFunc(l.slots, func(o *serverSlot) bool { return o == s })
	}
	if !s.stopping {
		s.kill(reason)
	}
	l.releasedIfClosed()
}

// hostEnded handles the end of a server's process or runtime. how says how it has ended.
func (l *nodeLoop) hostEnded(s *serverSlot, nonce wire.Token, how string) {
	if s.nonce != nonce {
		return
	}
	lost := s.link != nil
	switch {
	case lost:
		s.link.Fail(errors.New("the server " + how))
		l.serverLost(s, "it "+how)
	case s.killedFor != "" && !l.closing: // its link had ended before, without the reason
		l.rt.log.Warn("a lost server has ended", slog.Int("server", s.index+1), slog.String("how", how))
	}
	s.host = nil
	switch {
	case l.closing:
		l.notifyIfAllEnded()
		return
	case s.stopping || time.Since(s.born) > aWhile:
		s.fails = 0
	case !lost && s.killedFor == "":
		why := fmt.Sprintf("server %d %s before it was up", s.index+1, how)
		l.rt.log.Warn("a server did not come up", slog.Int("server", s.index+1), slog.String("why", how))
		l.sendTrouble(why)
	}
	l.restartLater(s)
}

// shutdown stops every server. It calls done when all have ended.
func (l *nodeLoop) shutdown(done func()) {
	l.closing, l.allEnded = true, done
	for _, s := range l.slots {
		s.stop()
	}
	l.notifyIfAllEnded()
}

// notifyIfAllEnded calls allEnded when every server that the node has started has ended.
func (l *nodeLoop) notifyIfAllEnded() {
	for _, s := range l.slots {
		if s.host != nil {
			return
		}
	}
	if l.allEnded != nil {
		l.allEnded()
	}
}
