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
	"github.com/discoro/discoro/wire"
)

// When a node takes nothing new: it drains, has served what it was to serve, or is outside its hours of service.

// away says why nothing new is taken; empty when it is.
func (l *nodeLoop) away() string {
	switch {
	case l.draining || l.closing:
		return "it is leaving"
	case l.phase != hours.Open:
		return "it is outside its hours of service, " + l.cfg.hours.String()
	}
	return ""
}

// leave makes the node drain: schedulers are told, and release it when it runs no job. over is closed when it is free.
func (l *nodeLoop) leave() {
	if l.draining {
		return
	}
	l.draining = true
	l.offer()
	l.onFree(func() { close(l.over) })
}

// countServed leaves when the computation that has ended was the last that was to be served.
func (l *nodeLoop) countServed() {
	l.served++
	if l.cfg.Serve > 0 && l.served >= l.cfg.Serve && !l.draining {
		l.rt.log.Info("all that was to be served is served: leaving", slog.Int("computations", l.served))
		l.leave()
	}
}

// clockLook is how often the clock is looked at, at least: somebody may set it.
const clockLook = time.Minute

// lookAtClock does what the hours of service say, and has itself called again.
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

// stopClock ends lookAtClock.
func (l *nodeLoop) stopClock() {
	if l.alarm != nil {
		l.alarm.Stop()
	}
}

// service is the computation that the node serves.
type service struct {
	reserve   wire.Reserve
	scheduler *link
	pulse     time.Duration // between signs of life, and NodeAvails; 0: as usual
	releasing bool          // its servers are closing
	over      bool          // and do not wait for the client
	reason    string        // why, when not because the scheduler said so
}

// offer tells every scheduler what the node is.
func (l *nodeLoop) offer() {
	for _, link := range l.schedulers {
		l.offerTo(link)
	}
}

func (l *nodeLoop) offerTo(link *link) {
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
	link.tell(o)
}

// reserve makes the node serve a computation, or refuses.
func (l *nodeLoop) reserve(from *link, f *wire.Reserve) {
	reason := l.away()
	if l.serving != nil {
		reason = "it serves another computation"
	}
	if reason != "" {
		from.tell(&wire.Released{Token: f.Token, Reason: reason})
		return
	}
	l.serving = &service{reserve: *f, scheduler: from}
	if p := sanePulse(f.Pulse); p > 0 { // the scheduler knows what this node takes: this is for one that does not care
		l.serving.pulse = min(max(p, l.cfg.MinPulseInterval), l.cfg.MaxPulseInterval)
	}
	l.rt.net.beat.change(0, l.serving.pulse)
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

// offerOthers tells the other schedulers that the node is taken.
func (l *nodeLoop) offerOthers(but *link) {
	for _, link := range l.schedulers {
		if link != but {
			l.offerTo(link)
		}
	}
}

// setUp gives the computation to a server.
func (l *nodeLoop) setUp(s *serverSlot) {
	r := &l.serving.reserve
	s.setUp = true
	l.serving.scheduler.tell(&wire.Servers{Token: r.Token, Up: []wire.ServerInfo{s.info}})
	s.link.tell(&wire.Setup{Token: r.Token, Node: l.rt.peer(), Client: r.Client, Scheduler: r.Scheduler, Pulse: int64(l.serving.pulse)})
}

// release ends the service: each server that has the computation ends it; with over it does not wait for the client.
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
			s.link.tell(&wire.CloseServer{Token: v.reserve.Token, Over: over})
		}
	}
	l.releasedIfClosed()
}

// serverDone takes a server's word that the computation has ended there, or that it has a function that will not end.
func (l *nodeLoop) serverDone(from *link, f *wire.ServerDone) {
	i := slices.IndexFunc(l.slots, func(s *serverSlot) bool { return s.link == from })
	if i < 0 || l.serving == nil || f.Token != l.serving.reserve.Token {
		return
	}
	s := l.slots[i]
	switch {
	case len(f.Stuck) == 0 && l.serving.releasing:
		s.closed = true
		s.stop() // a fresh one takes its place
		l.releasedIfClosed()
	case len(f.Stuck) > 0 && !l.serving.releasing:
		l.replaceStuck(s, f.Stuck)
	}
}

// replaceStuck replaces a server with a function that will not end, when it is a process.
func (l *nodeLoop) replaceStuck(s *serverSlot, functions []string) {
	log := l.rt.log.With(slog.String("server", peerLocation(s.info.Peer).String()), slog.Any("functions", functions))
	if !l.cfg.Processes || s.guest {
		log.Warn("a function neither yields nor returns after its termination")
		return
	}
	log.Warn("a function neither yields nor returns after its termination; its server is replaced")
	s.kill(fmt.Sprintf("it is replaced, because %q neither yields nor returns after its termination", functions))
}

// releasedIfClosed makes the node free again when all its servers have ended the computation.
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
	l.rt.net.beat.change(v.pulse, 0)
	l.readAvailEvery(0)
	v.scheduler.tell(&wire.Released{Token: v.reserve.Token, Reason: v.reason})
	l.rt.log.Debug("free again")
	l.countServed()
	l.offer()
	l.callFree()
}

// callFree tells those who wait that nothing is served.
func (l *nodeLoop) callFree() {
	free := l.free
	l.free = nil
	for _, f := range free {
		f()
	}
}

// onFree has f called when nothing is served, at once if nothing is.
func (l *nodeLoop) onFree(f func()) {
	if l.serving == nil || l.closing {
		f()
		return
	}
	l.free = append(l.free, f)
}

// maxNear bounds how many schedulers wait for one search.
const maxNear = 64

// nearCall is a scheduler that waits for the nodes near this one.
type nearCall struct {
	from *link
	call uint64
}

// near looks for the nodes of the local network, for a scheduler elsewhere. All who ask meanwhile get the same answer.
func (l *nodeLoop) near(from *link, f *wire.Near) {
	switch {
	case l.schedulers[from.id] != from:
		from.reply(f.Call, call.Outcome{Err: fmt.Errorf("discoro: it is no scheduler that asks: %w", ErrRejected)})
		return
	case l.rt.discovery == nil:
		from.reply(f.Call, call.Outcome{Err: fmt.Errorf("discoro: discovery is off at the node %v: %w", l.rt.loc, ErrRejected)})
		return
	case len(l.nearby) >= maxNear:
		from.reply(f.Call, call.Outcome{Err: fmt.Errorf("discoro: %d schedulers ask the node %v at once: %w", maxNear, l.rt.loc, ErrRejected)})
		return
	}
	l.nearby = append(l.nearby, nearCall{from, f.Call})
	if len(l.nearby) > 1 {
		return
	}
	l.rt.start(func() {
		err := l.rt.discovery.discover(l.rt.ctx)
		l.asks.Put(func(l *nodeLoop) { l.answerNear(err) })
	})
}

// answerNear answers those who wait, when a search has ended.
func (l *nodeLoop) answerNear(err error) {
	nodes := []string{}
	for _, link := range l.rt.net.all() {
		if peer, up := link.isUp(); up && peer.Roles&roleNode != 0 {
			nodes = append(nodes, link.location().String())
		}
	}
	for _, c := range l.nearby {
		if err != nil {
			c.from.reply(c.call, call.Outcome{Err: fault.Because(err, "discover")})
			continue
		}
		c.from.reply(c.call, call.Outcome{Value: nodes})
	}
	l.nearby = nil
}
