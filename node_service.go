package discoro

import (
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/hours"
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/wire"
)

// service is the computation that the node serves.
type service struct {
	reserve   wire.Reserve
	scheduler *link.Link
	pulse     time.Duration // between signs of life, and between NodeAvails; 0: the usual one
	releasing bool          // the servers are closing the computation
	over      bool          // they do it without waiting for the client
	reason    string        // why, where the scheduler has not asked for it
}

// offer sends an offer to every scheduler.
func (l *nodeLoop) offer() {
	for _, link := range l.schedulers {
		l.offerTo(link)
	}
}

// offerTo sends a scheduler a description of the node, and whether the node is free.
func (l *nodeLoop) offerTo(link *link.Link) {
	o := &wire.Offer{
		Node: l.rt.peer(), Name: l.rt.cfg.Name, Platform: runtime.GOOS + "/" + runtime.GOARCH, CPUs: len(l.slots),
		Free: true, Functions: registry.names(), Build: l.rt.build,
		Memory: l.avail.Memory, Disk: l.avail.Disk,
		MinPulse: int64(l.cfg.MinPulseInterval), MaxPulse: int64(l.cfg.MaxPulseInterval), Zombie: int64(l.cfg.ZombiePeriod),
	}
	away := l.away()
	switch {
	case away != "":
		o.Free, o.Leaving, o.Reason = false, true, away
	case l.serving != nil && l.serving.releasing:
		o.Free, o.Reason = false, "it is ending another computation"
	case l.serving != nil:
		o.Free, o.Reason = false, "it serves another computation"
	}
	link.Tell(o)
}

// reserve makes the node serve a computation, or refuses that.
func (l *nodeLoop) reserve(from *link.Link, f *wire.Reserve) {
	reason := l.away()
	if l.serving != nil {
		reason = "it serves another computation"
	}
	if reason != "" {
		from.Tell(&wire.Released{Token: f.Token, Reason: reason})
		return
	}
	l.serving = &service{reserve: *f, scheduler: from}
	if p := link.SanePulse(f.Pulse); p > 0 { // the scheduler knows the bounds, but may not keep to them
		l.serving.pulse = min(max(p, l.cfg.MinPulseInterval), l.cfg.MaxPulseInterval)
	}
	l.rt.net.SetPulse(0, l.serving.pulse)
	l.readAvailEvery(l.serving.pulse)
	l.rt.log.Debug("serving a computation", slog.String("client", peerLocation(f.Client).String()))
	l.offerOthers(from)
	l.sendAvail()
	for _, s := range l.slots {
		if s.isUsable() {
			l.setUp(s)
		}
	}
}

// offerOthers sends an offer to every scheduler except one.
func (l *nodeLoop) offerOthers(except *link.Link) {
	for _, link := range l.schedulers {
		if link != except {
			l.offerTo(link)
		}
	}
}

// setUp gives the computation to a server.
func (l *nodeLoop) setUp(s *serverSlot) {
	r := &l.serving.reserve
	s.setUp = true
	l.serving.scheduler.Tell(&wire.Servers{Token: r.Token, Up: []wire.ServerInfo{s.info}})
	s.link.Tell(&wire.Setup{
		Token: r.Token, Node: l.rt.peer(), Client: r.Client, Scheduler: r.Scheduler, Pulse: int64(l.serving.pulse),
	})
}

// release ends the service. Each server that has the computation closes it; with over, it does not
// wait for the client.
func (l *nodeLoop) release(reason string, over bool) {
	v := l.serving
	if v == nil || v.releasing && (v.over || !over) {
		return
	}
	if !v.releasing {
		v.releasing, v.reason = true, reason
	}
	v.over = over
	for _, s := range l.slots {
		if s.setUp && s.isUp() {
			s.link.Tell(&wire.CloseServer{Token: v.reserve.Token, Over: over})
		}
	}
	l.releasedIfClosed()
}

// serverDone handles a server's report that the computation has closed there, or that a function
// there does not end.
func (l *nodeLoop) serverDone(from *link.Link, f *wire.ServerDone) {
	i := slices.IndexFunc(l.slots, func(s *serverSlot) bool { return s.link == from })
	if i < 0 || l.serving == nil || f.Token != l.serving.reserve.Token {
		return
	}
	s := l.slots[i]
	switch {
	case len(f.Stuck) == 0 && l.serving.releasing:
		s.closed = true
		s.stop() // a fresh server takes its place: nothing of one computation is left for the next one
		l.releasedIfClosed()
	case len(f.Stuck) > 0 && !l.serving.releasing:
		l.replaceStuck(s, f.Stuck)
	}
}

// replaceStuck replaces a server with functions that do not end, where the server is a process.
func (l *nodeLoop) replaceStuck(s *serverSlot, functions []string) {
	log := l.rt.log.With(slog.String("server", peerLocation(s.info.Peer).String()), slog.Any("functions", functions))
	if !l.cfg.Processes || s.guest {
		log.Warn("a function neither yields nor returns after its termination")
		return
	}
	log.Warn("a function neither yields nor returns after its termination; its server is replaced")
	s.kill(fmt.Sprintf("it is replaced, because %q neither yields nor returns after its termination", functions))
}

// releasedIfClosed makes the node free again when all its servers have closed the computation.
func (l *nodeLoop) releasedIfClosed() {
	v := l.serving
	if v == nil || !v.releasing {
		return
	}
	for _, s := range l.slots {
		if s.setUp && !s.closed {
			return
		}
	}
	for _, s := range l.slots {
		s.setUp, s.closed = false, false
	}
	l.serving = nil
	l.rt.net.SetPulse(v.pulse, 0)
	l.readAvailEvery(0)
	v.scheduler.Tell(&wire.Released{Token: v.reserve.Token, Reason: v.reason})
	l.rt.log.Debug("free again")
	l.countServed()
	l.offer()
	l.callFree()
}

// callFree calls the functions that onFree has kept.
func (l *nodeLoop) callFree() {
	free := l.free
	l.free = nil
	for _, f := range free {
		f()
	}
}

// onFree calls f when the node serves no computation: at once if it serves none now.
func (l *nodeLoop) onFree(f func()) {
	if l.serving == nil || l.closing {
		f()
		return
	}
	l.free = append(l.free, f)
}

// away returns why the node takes nothing new: it drains, it has served NodeConfig.Serve
// computations, or it is outside its hours of service. It returns an empty string when the node
// takes computations.
func (l *nodeLoop) away() string {
	switch {
	case l.draining || l.closing:
		return "it is leaving"
	case l.phase != hours.Open:
		return "it is outside its hours of service, " + l.cfg.hours.String()
	}
	return ""
}

// leave makes the node drain. The schedulers receive an offer with Leaving set, and release the
// node when it runs no job: only they know whether a job is on its way to the node. left is closed
// when the node is free.
func (l *nodeLoop) leave() {
	if l.draining {
		return
	}
	l.draining = true
	l.offer()
	l.onFree(func() { close(l.left) })
}

// countServed counts a computation, and makes the node drain after NodeConfig.Serve of them.
func (l *nodeLoop) countServed() {
	l.served++
	if l.cfg.Serve > 0 && l.served >= l.cfg.Serve && !l.draining {
		l.rt.log.Info("the node has served NodeConfig.Serve computations: leaving", slog.Int("computations", l.served))
		l.leave()
	}
}

// clockLook is the longest time between two runs of lookAtClock, as the machine's clock may be set.
const clockLook = time.Minute

// lookAtClock opens or closes the node as the hours of service say, and sets the alarm for its next
// call.
func (l *nodeLoop) lookAtClock() {
	if !l.cfg.hours.Limited() || l.closing {
		return
	}
	l.stopClock()
	p, left := l.cfg.hours.At(l.cfg.now())
	l.alarm = time.AfterFunc(min(left, clockLook), func() { l.asks.Put((*nodeLoop).lookAtClock) })
	if p == l.phase {
		return
	}
	l.phase = p
	l.rt.log.Info("hours of service", slog.Bool("open", p == hours.Open), slog.Bool("ended", p == hours.Closed))
	if p == hours.Closed {
		l.release("its hours of service have ended", false)
	}
	l.offer()
}

// stopClock stops the alarm.
func (l *nodeLoop) stopClock() {
	if l.alarm != nil {
		l.alarm.Stop()
	}
}

// maxNear is how many schedulers may wait for one search.
const maxNear = 64

// nearCall is a scheduler that waits for the nodes near this one.
type nearCall struct {
	from *link.Link
	call uint64
}

// near looks for the nodes of the local network, for a scheduler of another network. Schedulers
// that ask while a search is under way get its answer.
func (l *nodeLoop) near(from *link.Link, f *wire.Near) {
	var err error
	switch {
	case l.schedulers[from.ID] != from:
		err = fmt.Errorf("discoro: the runtime at %v is no scheduler: %w", from.Location(), ErrRejected)
	case l.rt.discovery == nil:
		err = fmt.Errorf("discoro: discovery is off at the node %v: %w", l.rt.loc, ErrRejected)
	case len(l.nearby) >= maxNear:
		err = fmt.Errorf("discoro: %d schedulers ask the node %v at once: %w", maxNear, l.rt.loc, ErrRejected)
	}
	if err != nil {
		from.Reply(f.Call, call.Outcome{Err: err})
		return
	}
	l.nearby = append(l.nearby, nearCall{from, f.Call})
	if len(l.nearby) > 1 {
		return
	}
	l.rt.start(func() {
		err := l.rt.discover(l.rt.ctx)
		l.asks.Put(func(l *nodeLoop) { l.answerNear(err) })
	})
}

// answerNear answers the schedulers that wait, when a search has ended with err.
func (l *nodeLoop) answerNear(err error) {
	nodes := []string{}
	for _, link := range l.rt.net.All() {
		if peer, up := link.Peer(); up && peer.Roles&roleNode != 0 {
			nodes = append(nodes, link.Location().String())
		}
	}
	for _, c := range l.nearby {
		if err != nil {
			c.from.Reply(c.call, call.Outcome{Err: fault.Because(err, "discover")})
			continue
		}
		c.from.Reply(c.call, call.Outcome{Value: nodes})
	}
	l.nearby = nil
}
