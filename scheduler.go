package discoro

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/loop"
	"github.com/discoro/discoro/internal/schedule"
	"github.com/discoro/discoro/wire"
)

// SchedulerConfig configures a [Scheduler].
type SchedulerConfig struct {
	Config
	// Nodes are locations of nodes, "host:port", that the scheduler keeps a link to, as it does to
	// Peers. They need not have the scheduler among their own Peers. When a node is reached, and at
	// every PingInterval, the scheduler asks it for the other nodes of its local network and
	// connects to those, too. So one node of another network is enough where discovery works there.
	Nodes []string `json:"node"`
	// ZombiePeriod is how long a computation may be idle, as ComputationConfig.ZombiePeriod
	// describes. Then the scheduler closes it, with that reason, and the next of the queue becomes
	// active. 0: [DefaultZombiePeriod] for computations of clients in other runtimes, and none for
	// those of this runtime. Less than 0: none. A client may ask for less.
	ZombiePeriod time.Duration `json:"zombie_period"`
	// PingInterval is how often the scheduler looks for nodes on the local network, as
	// [Runtime.Discover] does, from its start on. At least MinPulseInterval; 0: only as
	// DiscoverPeers and the PingInterval of a computation say.
	PingInterval time.Duration `json:"ping_interval"`
}

// Scheduler gives servers to computations. One computation at a time is active and has all servers;
// the others wait in a queue, in the order in which they came. A scheduler is private when the
// program that starts it is its only client. Its methods, which are those of its [Runtime], are
// safe for concurrent use. In asyncoro: Scheduler.
//
// The program can be a client with the same runtime: NewComputation(sched.Runtime).
type Scheduler struct {
	*Runtime

	loop *schedLoop // immutable
}

// NewScheduler returns a running scheduler in this process. Nodes that have its location among
// their Peers connect to it; it connects to SchedulerConfig.Nodes, and to nodes that it discovers.
// It does not wait for any of them. Close ends the scheduler and its computations; its nodes are
// then free for other schedulers. Errors are as with [NewRuntime], and may name a field of
// SchedulerConfig.
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
	rt.addRole(roleScheduler, loop)
	rt.start(func() { rt.endComputations(loop) })
	loop.look.begin(nodes, c.PingInterval)
	return &Scheduler{Runtime: rt, loop: loop}, nil
}

// settle checks the fields of the scheduler itself, fills in defaults, and returns the locations of
// Nodes.
func (cfg *SchedulerConfig) settle() (nodes []Location, err error) {
	cfg.leastPing = cmp.Or(cfg.leastPing, MinPulseInterval)
	switch {
	case cfg.PingInterval != 0 && cfg.PingInterval < cfg.leastPing:
		return nil, badScheduler("PingInterval", "%v is less than MinPulseInterval, %v", cfg.PingInterval, cfg.leastPing)
	case cfg.PingInterval != 0 && cfg.UDPPort < 0:
		return nil, badScheduler("PingInterval", "UDPPort is %d, which turns discovery off: leave one of them out",
			cfg.UDPPort)
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

// badScheduler returns the error of a field.
func badScheduler(field, format string, args ...any) error {
	return &fieldError{"SchedulerConfig", field, fmt.Errorf(format, args...)}
}

// endComputations ends the computations of this runtime when the runtime closes, since no link ends
// for them then. It runs in a goroutine of its own, which ends with the runtime.
func (rt *Runtime) endComputations(l *schedLoop) {
	<-rt.ctx.Done()
	l.timer.Stop()
	rt.loseJobsAt(rt.id, fmt.Errorf("the scheduler has closed: %w", ErrClosed))
}

// schedEvent is an event of a scheduler's loop: the event of a link or, if own is set, one of the
// scheduler itself.
type schedEvent struct {
	linkEvent
	own schedOwn
}

// schedOwn is an event of the scheduler itself. handle runs in the loop.
type schedOwn interface {
	handle(l *schedLoop, now time.Time)
}

// schedTick is the event that it is time for the state's Tick.
type schedTick struct{}

func (schedTick) handle(l *schedLoop, now time.Time) {
	l.wake = time.Time{}
	l.state.Tick(now)
}

// schedLoop is a scheduler's loop and what it owns.
type schedLoop struct {
	rt    *Runtime               // immutable
	look  *lookout               // immutable
	timer *time.Timer            // puts a tick
	box   loop.Actor[schedEvent] // its handler owns what follows

	state *schedule.State
	links map[wire.ID]*link.Link // the links of the state's peers: effects go only there
	wake  time.Time              // what timer is set to
	pulse time.Duration          // what the active computation asks for; 0: there is none
	ping  time.Duration          // the interval of the lookout that it asks for; 0: none

	closers []schedCloser // wait for the end of a computation
	left    chan struct{} // closed when the scheduler takes nothing new and has nothing left to do
	hasLeft bool          // left is closed
}

func newSchedLoop(rt *Runtime, cfg *SchedulerConfig) *schedLoop {
	state := schedule.New(schedule.Config{
		Self: rt.id, At: rt.loc.String(), LeastPing: cfg.leastPing,
		Zombies: schedule.PeriodsOf(cfg.ZombiePeriod, DefaultZombiePeriod),
		Failure: encodeError, Lost: func(server wire.Peer, fn string, cause error) error {
			return &ServerLostError{Server: peerLocation(server), Func: fn, Cause: cause}
		},
	})
	l := &schedLoop{
		rt: rt, look: newLookout(rt), state: state,
		links: map[wire.ID]*link.Link{rt.id: rt.net.Self}, left: make(chan struct{}),
	}
	l.box.Handle = l.step
	l.timer = time.AfterFunc(time.Hour, func() { l.box.Put(schedEvent{own: schedTick{}}) })
	l.timer.Stop()
	return l
}

// put implements roleLoop. It never reports false: after the runtime has closed, the loop still
// handles what comes.
func (l *schedLoop) put(e linkEvent) bool { return l.box.Put(schedEvent{linkEvent: e}) }

// step hands an event to the state, and performs the state's decisions.
func (l *schedLoop) step(e schedEvent) {
	now := time.Now()
	if e.own != nil {
		e.own.handle(l, now)
	} else if !l.feed(now, e.linkEvent) {
		return
	}
	for _, e := range l.state.Take() {
		l.perform(e)
	}
	l.keepTime()
	l.notifyOperator()
}

// keepTime sets the timer and the intervals to those of the state.
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
		l.rt.net.SetPulse(l.pulse, pulse)
		l.pulse = pulse
	}
	if ping != l.ping {
		l.look.pace(ping)
		l.ping = ping
	}
}

// feed hands an event of a link to the state. It reports false if the event has no meaning for the
// state.
func (l *schedLoop) feed(now time.Time, e linkEvent) bool {
	id := e.link.ID
	old := l.links[id]
	switch {
	case e.down != nil:
		if old == e.link {
			delete(l.links, id)
			l.state.Down(now, id, e.down.Error())
		}
	case old != e.link:
		if _, up := e.link.Peer(); !up {
			return false // the link ended before this event came
		}
		if old != nil {
			l.state.Down(now, id, "it has connected anew")
		}
		l.links[id] = e.link
	}
	if e.frame != nil {
		loc := e.link.Location()
		l.state.Frame(now, wire.Peer{ID: id, Host: loc.Addr, Port: loc.Port}, e.frame)
	}
	return true
}

// perform carries out a decision of the state.
func (l *schedLoop) perform(e schedule.Effect) {
	link := l.links[e.To.ID]
	if link == nil {
		return // the state knows, or is about to learn, that the link has ended
	}
	if e.Frame == nil {
		link.Reply(e.Call, call.Outcome{Value: e.Answer.Value, Err: e.Answer.Err})
		return
	}
	if f, ok := e.Frame.(*wire.Reserve); ok {
		f.Scheduler = l.rt.peer()
	}
	link.Tell(e.Frame)
}

// The operator of a scheduler sends events to its loop: to see its state, to close the active
// computation, to make the scheduler leave.

// schedDescribe is the event that the operator asks for the state, as text.
type schedDescribe struct{ text chan<- string } // has room

func (e schedDescribe) handle(l *schedLoop, _ time.Time) { e.text <- l.state.Describe() }

// schedLeave is the event that the scheduler must accept no new computation.
type schedLeave struct{}

func (schedLeave) handle(l *schedLoop, _ time.Time) { l.state.Leave() }

// schedClose is the event that the active computation must close. closed is called when it has
// closed, or at once when no computation is active; closed must not block.
type schedClose struct{ closed func() }

func (e schedClose) handle(l *schedLoop, now time.Time) {
	n := l.state.CloseActive(now)
	if n == 0 {
		e.closed()
		return
	}
	l.closers = append(l.closers, schedCloser{n, e.closed})
}

// schedCloser waits for the end of a computation.
type schedCloser struct {
	of     uint64 // the number of the computation
	closed func() // never blocks
}

// describe returns what the scheduler knows, as text.
func (l *schedLoop) describe() string {
	text := make(chan string, 1)
	l.box.Put(schedEvent{own: schedDescribe{text}})
	return <-text
}

// leave makes the scheduler take nothing new. left is closed when it has nothing left to do.
func (l *schedLoop) leave() { l.box.Put(schedEvent{own: schedLeave{}}) }

// closeActive closes the active computation; see schedClose.
func (l *schedLoop) closeActive(closed func()) { l.box.Put(schedEvent{own: schedClose{closed}}) }

// notifyOperator notifies the callers that wait for the end of a computation, or for the scheduler
// to have left.
func (l *schedLoop) notifyOperator() {
	l.closers = slices.DeleteFunc(l.closers, func(c schedCloser) bool {
		ended := l.state.IsClosed(c.of)
		if ended {
			c.closed()
		}
		return ended
	})
	if l.state.IsOver() && !l.hasLeft {
		l.hasLeft = true
		close(l.left)
	}
}
