package discoro

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/loop"
	"github.com/discoro/discoro/internal/schedule"
	"github.com/discoro/discoro/wire"
)

// SchedulerConfig configures a [Scheduler].
type SchedulerConfig struct {
	Config
	// Nodes, "host:port", are kept connected as Peers are: nodes that do not have this scheduler among their own Peers. In
	// another network one is enough where discovery works there: each is asked for the other nodes of its local network,
	// when it is reached and at every PingInterval, and those are connected to as well.
	Nodes []string `json:"node"`
	// ZombiePeriod is how long a computation may be idle, with nothing running at its servers, none of them being set up, no file on its way to one and
	// nothing submitted by its client: then it is closed, with that reason, and the next of the queue has its turn. 0: [DefaultZombiePeriod] for
	// computations of clients in other runtimes, and for those of this runtime, a private scheduler's, none. Less than 0: none.
	// A client may ask for less with ComputationConfig.ZombiePeriod.
	ZombiePeriod time.Duration `json:"zombie_period"`
	// PingInterval is how often nodes are looked for on the local network, from the start on, as [Runtime.Discover] does. At
	// least MinPulseInterval; 0: not, but for what DiscoverPeers and a computation's PingInterval say.
	PingInterval time.Duration `json:"ping_interval"`
}

// Scheduler hands servers to computations: one computation at a time has all of them, the others wait in the order in
// which they came. It is private when the program that starts it is its only client. In asyncoro: Scheduler.
//
// Its Runtime is the client's too: NewComputation(sched.Runtime).
type Scheduler struct {
	*Runtime

	loop *schedLoop // immutable; its fields belong to the loop
}

// NewScheduler returns a running scheduler in this process. Nodes come to it that have its Location among their Peers; it
// goes to those of SchedulerConfig.Nodes, and to those that it discovers. Close ends it, and with it what it runs; nodes are
// then free for others. The errors are those of [NewRuntime], for the fields of SchedulerConfig as well.
func NewScheduler(cfg ...SchedulerConfig) (*Scheduler, error) {
	c, err := one(cfg)
	if err != nil {
		return nil, err
	}
	nodes, err := c.settle()
	if err != nil {
		return nil, err
	}
	rt, err := newRuntime(c.Config, roleScheduler)
	if err != nil {
		return nil, err
	}
	loop := newSchedLoop(rt, &c)
	rt.addRole(&loop.box, func(r *roleInboxes, box roleBox) { r.scheduler = box })
	rt.start(func() { rt.endComputations(loop) })
	loop.look.begin(nodes, c.PingInterval)
	return &Scheduler{Runtime: rt, loop: loop}, nil
}

// settle checks what is the scheduler's own, fills in defaults, and returns where Nodes are.
func (cfg *SchedulerConfig) settle() (nodes []Location, err error) {
	cfg.leastPing = cmp.Or(cfg.leastPing, MinPulseInterval)
	switch {
	case cfg.PingInterval != 0 && cfg.PingInterval < cfg.leastPing:
		return nil, badScheduler("PingInterval", "%v is less than MinPulseInterval, %v", cfg.PingInterval, cfg.leastPing)
	case cfg.PingInterval != 0 && cfg.UDPPort < 0:
		return nil, badScheduler("PingInterval", "UDPPort is %d, which turns discovery off: leave one of them out", cfg.UDPPort)
	}
	for _, n := range cfg.Nodes {
		loc, err := parseLocation(n)
		if err != nil {
			return nil, badScheduler("Nodes", "%w", err)
		}
		nodes = append(nodes, loc)
	}
	return nodes, nil
}

// badScheduler is the error of one field.
func badScheduler(field, format string, args ...any) error {
	return &fieldError{"SchedulerConfig", field, fmt.Errorf(format, args...)}
}

// endComputations ends the computations that are scheduled at their own runtime when that closes: no link breaks for
// them. It ends with the runtime.
func (rt *Runtime) endComputations(l *schedLoop) {
	<-rt.ctx.Done()
	l.timer.Stop()
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

	fetched  *fetched    // a server's: the computation's files are there, or are not
	stranded *servedComp // a server's: its client or scheduler has been gone for a while
	settled  *servedComp // a server's: its client has heard everything, or cannot
	tick     bool        // a scheduler's: it is time to look for what is idle

	do func(*schedLoop) // a scheduler's: its operator wants something
}

// roleBox takes events for a role's loop: an inbox, or an actor. Put never blocks.
type roleBox interface{ Put(e roleEvent) bool }

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
			box.Put(e)
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
			box.Put(e)
		}
	}
}

// dispatchRole hands a frame of the roles and their clients to its owner.
func (rt *Runtime) dispatchRole(l *link, f wire.Frame) {
	switch f := f.(type) {
	case *wire.Started:
		rt.jobStarted(l, f)
	case *wire.Done:
		// A private scheduler's server says it once to both. First the load, then who waited for the end and may run more.
		if rt.roles&roleScheduler != 0 && !l.isSelf() {
			rt.putRole(l, f)
		}
		rt.jobDone(f)
	case *wire.Unheard:
		rt.jobUnheard(f)
	case *wire.Status:
		rt.mu.Lock()
		p := rt.comps[f.Token]
		rt.mu.Unlock()
		if p != nil && p.scheduler() == l {
			p.hear(f)
		}
	case *wire.Queued:
		rt.mu.Lock()
		p := rt.comps[f.Token]
		rt.mu.Unlock()
		if p != nil && p.scheduler() == l {
			p.hearPlace(f.Position)
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
	case *wire.Reserve, *wire.Release, *wire.ServerUp, *wire.ServerDone, *wire.Near:
		box = r.node
	case *wire.Setup, *wire.CloseServer, *wire.Start, *wire.Unstart, *wire.Tally:
		box = r.server
	}
	if box == nil || rt.ctx.Err() != nil || !box.Put(e) {
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
		l.reply(f.Call, call.Outcome{Err: err})
	case *wire.CloseComputation:
		if f.Call != 0 {
			l.reply(f.Call, call.Outcome{Err: err})
		}
	case *wire.Report:
		l.reply(f.Call, call.Outcome{Err: err})
	case *wire.Tally:
		l.reply(f.Call, call.Outcome{Err: fmt.Errorf("discoro: the runtime at %v is no server: %w", rt.loc, ErrNotFound)})
	case *wire.Near:
		l.reply(f.Call, call.Outcome{Err: fmt.Errorf("discoro: the runtime at %v is no node: %w", rt.loc, ErrNotFound)})
	case *wire.Run:
		l.tell(&wire.Done{Token: f.Token, Job: f.Job, Outcome: *failed(fault.Because(err, "run %s", f.Call.Func))})
	default:
		rt.log.Debug("a frame came for a role that this runtime has not", slog.Int("kind", int(f.Kind())),
			slog.String("peer", l.location().String()))
	}
}

// schedLoop is a scheduler's loop and what it owns.
type schedLoop struct {
	rt    *Runtime              // immutable
	look  *lookout              // immutable
	timer *time.Timer           // puts a tick
	box   loop.Actor[roleEvent] // has what follows to itself

	state *schedule.State
	links map[wire.ID]*link // over which the state knows its peers: what it decides for a peer goes there, or nowhere
	wake  time.Time         // what timer is set to
	pulse time.Duration     // what the active computation asks for; 0: there is none
	ping  time.Duration     // likewise

	closers []schedCloser // who waits for the end of a computation
	over    chan struct{} // closed when the scheduler is leaving and has nothing to do
	isOver  bool          // over is closed
}

func newSchedLoop(rt *Runtime, cfg *SchedulerConfig) *schedLoop {
	state := schedule.New(schedule.Config{
		Self: rt.id, At: rt.loc.String(), Zombies: schedule.PeriodsOf(cfg.ZombiePeriod, DefaultZombiePeriod), LeastPing: cfg.leastPing,
		Failure: encodeError, Lost: func(server wire.Peer, fn string, cause error) error {
			return &ServerLostError{Server: peerLocation(server), Func: fn, Cause: cause}
		},
	})
	l := &schedLoop{rt: rt, look: newLookout(rt), state: state, links: map[wire.ID]*link{rt.id: rt.self}, over: make(chan struct{})}
	l.box.Handle = l.step
	l.timer = time.AfterFunc(time.Hour, func() { l.box.Put(roleEvent{tick: true}) })
	l.timer.Stop()
	return l
}

// step turns an event of the loop into one of the state, and does what that decides.
func (l *schedLoop) step(e roleEvent) {
	now := time.Now()
	switch {
	case e.do != nil:
		e.do(l)
	case e.tick:
		l.wake = time.Time{}
		l.state.Tick(now)
	case !l.feed(now, e):
		return
	}
	for _, e := range l.state.Take() {
		l.perform(e)
	}
	l.keepTime()
	l.tellOperator()
}

// keepTime sets the timer and the intervals as the state wants them.
func (l *schedLoop) keepTime() {
	if at := l.state.Wake(); !at.Equal(l.wake) {
		l.wake = at
		l.timer.Stop()
		if !at.IsZero() && l.rt.ctx.Err() == nil {
			l.timer.Reset(time.Until(at))
		}
	}
	pulse, ping := l.state.Intervals()
	if pulse != l.pulse {
		l.rt.beat.change(l.pulse, pulse)
		l.pulse = pulse
	}
	if ping != l.ping {
		l.look.pace(ping)
		l.ping = ping
	}
}

// feed gives an event to the state; it reports false when there was nothing to give.
func (l *schedLoop) feed(now time.Time, e roleEvent) bool {
	id := e.link.id
	old := l.links[id]
	switch {
	case e.down != nil:
		if old == e.link {
			delete(l.links, id)
			l.state.Down(now, id, e.down.Error())
		}
	case old != e.link:
		if _, up := e.link.isUp(); !up {
			return false // it ended before this event came
		}
		if old != nil {
			l.state.Down(now, id, "it has connected anew")
		}
		l.links[id] = e.link
	}
	if e.frame != nil {
		loc := e.link.location()
		l.state.Frame(now, wire.Peer{ID: id, Host: loc.Addr, Port: loc.Port}, e.frame)
	}
	return true
}

// perform does what the state decided.
func (l *schedLoop) perform(e schedule.Effect) {
	link := l.links[e.To.ID]
	if link == nil {
		return // its end is on the way here, or was
	}
	if e.Frame == nil {
		link.reply(e.Call, call.Outcome{Value: e.Answer.Value, Err: e.Answer.Err})
		return
	}
	if f, ok := e.Frame.(*wire.Reserve); ok {
		f.Scheduler = l.rt.peer()
	}
	link.tell(e.Frame)
}
