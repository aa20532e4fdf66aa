package discoro

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/wire"
)

// dispatch hands a frame to its owner. This switch names every kind of frame: conventions_test.go
// compares it with package wire. dispatch runs on the link's reader or, for the link to the runtime
// itself, on the sender, and never blocks. An error is a breach of the protocol.
func (rt *Runtime) dispatch(l *link.Link, f wire.Frame) error {
	switch f := f.(type) {
	// The link itself.
	case *wire.Pulse:
		l.HeardPulse(time.Duration(f.Every))
	case *wire.Reply:
		rt.putReply(l, f)
	case *wire.Cancel:
		rt.putCancel(l, f)
	case *wire.Bye: // the reader has handled it
	// Coroutines of this runtime.
	case *wire.Message:
		rt.putMessage(l, f)
	case *wire.Deliver:
		return rt.putDeliver(l, f)
	case *wire.Ask:
		return rt.putAsk(l, f)
	case *wire.Wait:
		return rt.serveWait(l, f)
	case *wire.Exit:
		rt.putExit(l, f)
	case *wire.Terminate:
		rt.putTerminate(l, f)
	case *wire.Locate:
		rt.serveLocate(l, f)
	// Channels of this runtime, except for Enroll and Dropped, which come to their subscribers.
	case *wire.Subscribe:
		rt.serveSubscribe(l, f)
	case *wire.Unsubscribe:
		rt.serveUnsubscribe(l, f)
	case *wire.Publish:
		rt.servePublish(l, f)
	case *wire.PublishDeliver:
		return rt.servePublishDeliver(l, f)
	case *wire.CloseChannel:
		rt.serveCloseChannel(l, f)
	case *wire.LocateChannel:
		rt.serveLocateChannel(l, f)
	case *wire.Enroll:
		rt.serveEnroll(l, f)
	case *wire.Dropped:
		rt.putDropped(l, f)
	// The client: its computations and jobs.
	case *wire.Started:
		rt.jobStarted(l, f)
	case *wire.Done: // also for the scheduler, where that is in the client's runtime
		rt.putDone(l, f)
	case *wire.Unheard:
		rt.jobUnheard(f)
	case *wire.Status:
		rt.putStatus(l, f)
	case *wire.Queued:
		rt.putQueued(l, f)
	case *wire.Avail: // a node sends it to the scheduler, which sends it to the client
		rt.putAvail(l, f)
	// The roles.
	case *wire.Offer, *wire.Servers, *wire.Released, *wire.Ready, *wire.Freed, *wire.Heard,
		*wire.Submit, *wire.CloseComputation, *wire.Run, *wire.Unrun, *wire.Report:
		rt.putRole(roleScheduler, l, f)
	case *wire.Reserve, *wire.Release, *wire.ServerUp, *wire.ServerDone, *wire.Near:
		rt.putRole(roleNode, l, f)
	case *wire.Setup, *wire.CloseServer, *wire.Start, *wire.Unstart, *wire.Tally:
		rt.putRole(roleServer, l, f)
	}
	return nil
}

func (rt *Runtime) putReply(l *link.Link, f *wire.Reply) {
	if k := l.TakeCall(f.Call); k != nil {
		k.Finish(rt.outcomeOf(&f.Outcome, nil))
	}
}

func (rt *Runtime) putCancel(l *link.Link, f *wire.Cancel) {
	if stop := l.Unserve(f.Call); stop != nil {
		stop()
	}
}

func (rt *Runtime) putTerminate(l *link.Link, f *wire.Terminate) {
	if c := rt.coroutine(f.Of); c != nil {
		c.terminate()
	} else {
		rt.stray(l, f, f.Of)
	}
}

// noCoro logs a call for a coroutine that does not exist, and returns the answer.
func (rt *Runtime) noCoro(l *link.Link, f wire.Frame, key uint64) call.Outcome {
	rt.stray(l, f, key)
	err := fmt.Errorf("discoro: the coroutine at %v has ended, or there never was one: %w", rt.loc, ErrNotFound)
	return call.Outcome{Err: err}
}

// stray logs a frame for a coroutine that does not exist. A peer may send any number of them: it
// logs one line for each peer and 10 seconds.
func (rt *Runtime) stray(l *link.Link, f wire.Frame, key uint64) {
	if !rt.log.Enabled(rt.ctx, slog.LevelDebug) {
		return
	}
	if more, due := rt.strayFrames.Due(string(l.ID[:]), time.Now()); due {
		rt.log.Debug("a frame came for a coroutine that has ended, or never was", slog.Int("kind", int(f.Kind())),
			slog.String("coro", rt.nameOf(rt.net.Self, key)), slog.String("peer", l.Location().String()), slog.Int("more", more))
	}
}

// stopper is a stop function that may be called before it is set.
type stopper struct {
	mu      sync.Mutex // guards following; leaf
	stopped bool
	f       func()
}

// set sets the function, and calls it when stop was called before.
func (s *stopper) set(f func()) {
	s.mu.Lock()
	stopped := s.stopped
	s.f = f
	s.mu.Unlock()
	if stopped {
		f()
	}
}

// stop calls the function, now or when it is set.
func (s *stopper) stop() {
	s.mu.Lock()
	f := s.f
	s.stopped = true
	s.mu.Unlock()
	if f != nil {
		f()
	}
}

// putDone hands on the end of a job. A server of a private scheduler sends it once, to the runtime
// that is both scheduler and client. The scheduler gets it first. So the server counts as free
// before the caller that waits for the job learns of its end and runs the next one.
func (rt *Runtime) putDone(l *link.Link, f *wire.Done) {
	if rt.roles&roleScheduler != 0 && !l.IsSelf() {
		rt.putRole(roleScheduler, l, f)
	}
	rt.jobDone(f)
}

// putAvail hands on a node's Avail: to the client, where l leads to the scheduler of the
// computation, or else to the scheduler.
func (rt *Runtime) putAvail(l *link.Link, f *wire.Avail) {
	if p := rt.computationAt(l, f.Token); p != nil {
		p.applyAvail(f)
		return
	}
	rt.putRole(roleScheduler, l, f)
}

// linkEvent is an event of a link, for the loops of roles: a frame for the role has come, the link
// has come up, or it has ended.
type linkEvent struct {
	link  *link.Link
	frame wire.Frame // nil: the link itself has changed
	down  error      // why it has ended; nil without a frame: it is up
}

// isUp reports whether the event is that the link has come up.
func (e *linkEvent) isUp() bool { return e.frame == nil && e.down == nil }

// roleLoop is the loop of a role. put hands it an event and never blocks; it reports false when the
// loop has ended.
type roleLoop interface{ put(e linkEvent) bool }

// roleLoops are the loops of the roles that a runtime has. Runtime.mu guards them.
type roleLoops struct {
	scheduler, node, server roleLoop // nil: the runtime does not have that role

	ready bool        // the role that the runtime announces has its loop
	early []linkEvent // what came before that
}

// of returns the loop of a role, nil when there is none.
func (r *roleLoops) of(role uint32) roleLoop {
	switch role {
	case roleScheduler:
		return r.scheduler
	case roleNode:
		return r.node
	case roleServer:
		return r.server
	}
	return nil
}

// set makes loop the one of a role.
func (r *roleLoops) set(role uint32, loop roleLoop) {
	switch role {
	case roleScheduler:
		r.scheduler = loop
	case roleNode:
		r.node = loop
	case roleServer:
		r.server = loop
	}
	r.ready = true
}

// addRole sets the loop of the role that the runtime announces, and hands it the events that have
// come until now: a runtime has links before its role has a loop.
func (rt *Runtime) addRole(role uint32, loop roleLoop) {
	for {
		rt.mu.Lock()
		early := rt.loops.early
		rt.loops.early = nil
		if len(early) == 0 {
			rt.loops.set(role, loop)
		}
		rt.mu.Unlock()
		if len(early) == 0 {
			return
		}
		for _, e := range early {
			loop.put(e)
		}
	}
}

// roleLoops returns the loops of the roles. If the role that the runtime announces has no loop yet,
// e is kept for it.
func (rt *Runtime) roleLoops(e linkEvent) (loops roleLoops, kept bool) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if kept = rt.roles != 0 && !rt.loops.ready; kept {
		rt.loops.early = append(rt.loops.early, e)
	}
	return rt.loops, kept
}

// putRole hands a frame to the loop of a role.
func (rt *Runtime) putRole(role uint32, l *link.Link, f wire.Frame) {
	e := linkEvent{link: l, frame: f}
	loops, kept := rt.roleLoops(e)
	if kept {
		return
	}
	loop := loops.of(role)
	if loop == nil || rt.ctx.Err() != nil || !loop.put(e) {
		rt.refuseRole(role, l, f)
	}
}

// refuseRole answers a frame for a role that the runtime does not have, or no longer has, so that
// the sender does not wait for ever.
func (rt *Runtime) refuseRole(role uint32, l *link.Link, f wire.Frame) {
	err := fmt.Errorf("discoro: the runtime at %v is no %s: %w", rt.loc, roleNames[role], ErrNotFound)
	if role == roleScheduler && rt.roles&roleScheduler != 0 {
		err = fmt.Errorf("discoro: the scheduler at %v has closed: %w", rt.loc, ErrClosed)
	}
	switch f := f.(type) {
	case *wire.Submit:
		l.Reply(f.Call, call.Outcome{Err: err})
	case *wire.CloseComputation:
		if f.Call != 0 {
			l.Reply(f.Call, call.Outcome{Err: err})
		}
	case *wire.Report:
		l.Reply(f.Call, call.Outcome{Err: err})
	case *wire.Tally:
		l.Reply(f.Call, call.Outcome{Err: err})
	case *wire.Near:
		l.Reply(f.Call, call.Outcome{Err: err})
	case *wire.Run:
		l.Tell(&wire.Done{Token: f.Token, Job: f.Job, Outcome: *failed(fault.Because(err, "run %s", f.Call.Func))})
	default:
		rt.log.Debug("a frame came for a role that this runtime does not have", slog.Int("kind", int(f.Kind())),
			slog.String("peer", l.Location().String()))
	}
}

// linkCameUp notifies everything in the runtime that follows links. Nothing else of the link is
// handed on before it returns.
func (rt *Runtime) linkCameUp(l *link.Link) {
	rt.notifyRoles(linkEvent{link: l})
	rt.watches.notify(l, nil)
}

// linkEnded notifies everything in the runtime that follows links that l has ended because of
// cause. The roles come first: a caller that learns of a lost job may start the next run at once,
// and the scheduler must know of the end by then. A link that was never up is new to watches.
func (rt *Runtime) linkEnded(l *link.Link, wasUp bool, cause error) {
	rt.notifyRoles(linkEvent{link: l, down: cause})
	rt.loseJobsAt(l.ID, cause)
	if wasUp {
		rt.watches.notify(l, cause)
	}
	rt.channels.linkDown(l, cause)
}

// notifyRoles hands an event to the loop of every role.
func (rt *Runtime) notifyRoles(e linkEvent) {
	loops, kept := rt.roleLoops(e)
	if kept {
		return
	}
	for _, loop := range []roleLoop{loops.scheduler, loops.node, loops.server} {
		if loop != nil {
			loop.put(e)
		}
	}
}
