package discoro

import (
	"fmt"
	"log/slog"

	"github.com/discoro/discoro/wire"
)

// SchedulerConfig configures a [Scheduler].
type SchedulerConfig struct {
	Config
}

// Scheduler hands servers to computations: one computation at a time has all of them, the others wait in the order in
// which they came. It is private when the program that starts it is its only client. In asyncoro: Scheduler.
//
// Its Runtime is the client's too: NewComputation(sched.Runtime).
type Scheduler struct {
	*Runtime
}

// NewScheduler returns a running scheduler in this process. Nodes come to it: they have its Location among their Peers.
// Close ends it, and with it what it runs; nodes are then free for others.
func NewScheduler(cfg ...SchedulerConfig) (*Scheduler, error) {
	c, err := one(cfg)
	if err != nil {
		return nil, err
	}
	rt, err := newRuntime(c.Config, roleScheduler)
	if err != nil {
		return nil, err
	}
	loop := &schedLoop{rt: rt, state: newSchedState(), links: map[wire.ID]*link{rt.id: rt.self}}
	rt.addRole(&actor[roleEvent]{handle: loop.step}, func(r *roleInboxes, box roleBox) { r.scheduler = box })
	rt.start(rt.endComputations)
	return &Scheduler{Runtime: rt}, nil
}

// endComputations ends the computations that are scheduled at their own runtime when that closes: no link breaks for
// them. It ends with the runtime.
func (rt *Runtime) endComputations() {
	<-rt.ctx.Done()
	rt.loseJobsAt(rt.id, fmt.Errorf("the scheduler has closed: %w", ErrClosed))
}

// roleEvent is what a role's loop hears: a frame, or that a link came up or went down; a server's, also that a job ended
// or will not end.
type roleEvent struct {
	link  *link
	frame wire.Frame
	up    bool
	down  error
	done  *wire.JobID
	stuck string

	stranded *servedComp // a server's: its client or scheduler has been gone for a while
}

// roleBox takes events for a role's loop: an inbox, or an actor. put never blocks.
type roleBox interface{ put(e roleEvent) bool }

// roleInboxes feed the loops of the roles that a runtime has.
type roleInboxes struct {
	scheduler, node, server roleBox // nil: it has not that role

	ready bool        // the runtime's role has its loop
	early []roleEvent // what came before that
}

// addRole gives the runtime the role that it announces, and the role's loop what came until now: a runtime has links
// before its role has a loop.
func (rt *Runtime) addRole(box roleBox, set func(*roleInboxes, roleBox)) {
	for {
		rt.mu.Lock()
		early := rt.inboxes.early
		rt.inboxes.early = nil
		if len(early) == 0 {
			set(&rt.inboxes, box)
			rt.inboxes.ready = true
		}
		rt.mu.Unlock()
		if len(early) == 0 {
			return
		}
		for _, e := range early {
			box.put(e)
		}
	}
}

// roleLoops returns the loops of the roles. When the one that the runtime announces is still to come, e is kept for it.
func (rt *Runtime) roleLoops(e roleEvent) (r roleInboxes, kept bool) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if kept = rt.roles != 0 && !rt.inboxes.ready; kept {
		rt.inboxes.early = append(rt.inboxes.early, e)
	}
	return rt.inboxes, kept
}

// tellRoles tells every loop.
func (rt *Runtime) tellRoles(e roleEvent) {
	r, kept := rt.roleLoops(e)
	if kept {
		return
	}
	for _, box := range []roleBox{r.scheduler, r.node, r.server} {
		if box != nil {
			box.put(e)
		}
	}
}

// dispatchRole hands a frame of the roles and their clients to its owner.
func (rt *Runtime) dispatchRole(l *link, f wire.Frame) {
	switch f := f.(type) {
	case *wire.Started:
		rt.jobStarted(f)
	case *wire.Done:
		// A private scheduler's server says it once to both. First the load, then who waited for the end and may run more.
		if rt.roles&roleScheduler != 0 && !l.isSelf() {
			rt.putRole(l, f)
		}
		rt.jobDone(f)
	case *wire.Status:
		rt.mu.Lock()
		p := rt.comps[f.Token]
		rt.mu.Unlock()
		if p != nil && p.scheduler() == l {
			p.hear(f)
		}
	case *wire.Avail:
		rt.mu.Lock()
		p := rt.comps[f.Token]
		rt.mu.Unlock()
		if p != nil && p.scheduler() == l {
			p.hearAvail(f)
			return
		}
		rt.putRole(l, f)
	default:
		rt.putRole(l, f)
	}
}

// putRole puts a frame into the inbox of the role that it is for.
func (rt *Runtime) putRole(l *link, f wire.Frame) {
	e := roleEvent{link: l, frame: f}
	r, kept := rt.roleLoops(e)
	if kept {
		return
	}
	box := r.scheduler
	switch f.(type) {
	case *wire.Reserve, *wire.Release, *wire.ServerUp, *wire.ServerDone:
		box = r.node
	case *wire.Setup, *wire.CloseServer, *wire.Start, *wire.Tally:
		box = r.server
	}
	if box == nil || rt.ctx.Err() != nil || !box.put(e) {
		rt.refuseRole(l, f)
	}
}

// refuseRole answers a frame for a role that the runtime has not, or no longer: nobody is to wait for ever.
func (rt *Runtime) refuseRole(l *link, f wire.Frame) {
	err := fmt.Errorf("discoro: the runtime at %v is no scheduler: %w", rt.loc, ErrNotFound)
	if rt.roles&roleScheduler != 0 {
		err = fmt.Errorf("discoro: the scheduler at %v has closed: %w", rt.loc, ErrClosed)
	}
	switch f := f.(type) {
	case *wire.Submit:
		l.reply(f.Call, outcome{err: err})
	case *wire.CloseJob:
		if f.Call != 0 {
			l.reply(f.Call, outcome{err: err})
		}
	case *wire.Report:
		l.reply(f.Call, outcome{err: err})
	case *wire.Tally:
		l.reply(f.Call, outcome{err: fmt.Errorf("discoro: the runtime at %v is no server: %w", rt.loc, ErrNotFound)})
	case *wire.Run:
		l.tell(refused(f, err))
	default:
		rt.log.Debug("a frame came for a role that this runtime has not", slog.Int("kind", int(f.Kind())),
			slog.String("peer", l.location().String()))
	}
}

// schedLoop is a scheduler's loop and what it owns.
type schedLoop struct {
	rt    *Runtime // immutable
	state *schedState
	links map[wire.ID]*link // over which the state knows its peers: what it decides for a peer goes there, or nowhere
}

// step turns an event of the loop into one of the state, and does what that decides.
func (l *schedLoop) step(e roleEvent) {
	id := e.link.id
	old := l.links[id]
	switch {
	case e.down != nil:
		if old == e.link {
			delete(l.links, id)
			l.state.down(id, e.down.Error())
		}
	case old != e.link:
		if _, up := e.link.isUp(); !up {
			return // it ended before this event came
		}
		if old != nil {
			l.state.down(id, "it has connected anew")
		}
		l.links[id] = e.link
	}
	if e.frame != nil {
		loc := e.link.location()
		l.state.frame(wire.Peer{ID: id, Host: loc.Addr, Port: loc.Port}, e.frame)
	}
	for _, e := range l.state.take() {
		l.perform(e)
	}
}

// perform does what the state decided.
func (l *schedLoop) perform(e effect) {
	link := l.links[e.to.ID]
	if link == nil {
		return // its end is on the way here, or was
	}
	if e.frame == nil {
		link.reply(e.call, e.answer)
		return
	}
	if f, ok := e.frame.(*wire.Reserve); ok {
		f.Scheduler = l.rt.peer()
	}
	link.tell(e.frame)
}
