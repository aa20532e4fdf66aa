package schedule

import (
	"net"
	"strconv"
	"time"

	"github.com/discoro/discoro/wire"
)

// Config describes the scheduler that a [State] decides for.
type Config struct {
	Self      wire.ID       // the scheduler's runtime
	At        string        // the location where nodes find the scheduler, for texts
	Zombies   Periods       // how long computations may be idle
	LeastPing time.Duration // the least PingInterval that a computation may ask for

	// Failure encodes an error for a client.
	Failure func(error) *wire.Failure
	// Lost returns the error of a run of function fn whose server is lost.
	Lost func(server wire.Peer, fn string, cause error) error
}

// State holds everything that a scheduler knows. Its methods are the events that happen to the
// scheduler: each changes the State and appends effects, which [State.Take] returns. A State is not
// safe for concurrent use.
type State struct {
	cfg     Config // immutable
	leaving bool   // no new computation is accepted

	now  time.Time // the time of the current event
	wake time.Time // when the caller must call Tick; zero: not at all

	nodes      map[wire.ID]*node
	known      []*node // the nodes, in the order in which they were met
	servers    map[wire.ID]*server
	byLocation map[location]*server // the servers again: clients name them by location

	queue   []*computation // waiting to become active, in order
	active  *computation   // nil: none
	numbers uint64         // how many computations have become active

	jobs      map[wire.JobID]*job
	releasing int      // how many nodes are in state nodeReleasing
	retry     bool     // place waiting runs at the end of this event: servers have changed
	out       []Effect // of the events since the last Take
}

// Effect is one thing for the caller to do: send Frame, or answer Call.
type Effect struct {
	To     wire.Peer
	Frame  wire.Frame // nil: answer Call
	Call   uint64
	Answer Answer
}

// Answer is the answer to a call: a value, or an error.
type Answer struct {
	Value any
	Err   error
}

// New returns the State of a scheduler that knows no node and no computation.
func New(cfg Config) *State {
	return &State{
		cfg:        cfg,
		nodes:      map[wire.ID]*node{},
		servers:    map[wire.ID]*server{},
		byLocation: map[location]*server{},
		jobs:       map[wire.JobID]*job{},
	}
}

// Frame is the event that a frame has arrived from a peer. It ignores frames that are not for a
// scheduler. from is the sender; a sender named inside the frame does not count.
func (s *State) Frame(now time.Time, from wire.Peer, f wire.Frame) {
	s.now = now
	switch f := f.(type) {
	case *wire.Offer:
		s.offered(from, f)
	case *wire.Servers:
		s.serversChanged(from, f)
	case *wire.Ready:
		s.serverReady(from, f)
	case *wire.Released:
		s.released(from, f)
	case *wire.Submit:
		s.submitted(from, f)
	case *wire.CloseComputation:
		s.closeRequested(from, f)
	case *wire.Run:
		s.run(from, f)
	case *wire.Unrun:
		s.unrun(from, f)
	case *wire.Report:
		s.reply(from, f.Call, Answer{Value: s.report(f.Token, f.Job)})
	case *wire.Avail:
		s.availed(from, f)
	case *wire.Freed:
		s.freed(from.ID, f.Job, false)
	case *wire.Done:
		s.freed(from.ID, f.Job, true)
	case *wire.Heard:
		s.heard(from.ID, f)
	}
	s.placeWaiting()
}

// Down is the event that the link to a peer has ended.
func (s *State) Down(now time.Time, id wire.ID, reason string) {
	s.now = now
	if sv := s.servers[id]; sv != nil {
		s.loseServer(sv, reason)
	}
	if n := s.nodes[id]; n != nil {
		s.loseNode(id, n, reason)
	}
	s.loseClient(id, reason)
	s.placeWaiting()
}

// Tick is the event that time has passed. The caller calls it at the time that [State.Wake]
// returns.
func (s *State) Tick(now time.Time) {
	s.now, s.wake = now, time.Time{}
	if s.active == nil || s.active.closing {
		return
	}
	s.checkSpread()
	s.checkIdle()
	s.placeWaiting()
}

// CloseActive is the event that the scheduler's operator closes the active computation. It returns
// the number of that computation, for [State.IsClosed]; 0 when none is active.
func (s *State) CloseActive(now time.Time) (number uint64) {
	s.now = now
	if s.active == nil {
		return 0
	}
	number = s.active.number
	s.closeActive("closed at the scheduler")
	return number
}

// Leave is the event that the operator wants the scheduler to end. From now on the scheduler
// accepts no new computation; the computations that it has go on.
func (s *State) Leave() { s.leaving = true }

// Take returns the effects of the events since the last Take, in order.
func (s *State) Take() []Effect {
	out := s.out
	s.out = nil
	return out
}

// Wake returns when the caller must call [State.Tick] next; zero: not at all.
func (s *State) Wake() time.Time { return s.wake }

// Intervals returns the intervals of the active computation: pulse is that of all participants'
// signs of life, and ping that of the scheduler's search for nodes; 0: the computation does not ask
// for one.
func (s *State) Intervals() (pulse, ping time.Duration) {
	if s.active == nil {
		return 0, 0
	}
	return time.Duration(s.active.submit.Pulse), time.Duration(s.active.submit.Ping)
}

// IsClosed reports whether the computation with that number has closed.
func (s *State) IsClosed(number uint64) bool { return s.active == nil || s.active.number != number }

// IsOver reports whether the scheduler is leaving and has nothing left to do.
func (s *State) IsOver() bool { return s.leaving && s.active == nil && len(s.queue) == 0 }

func (s *State) send(to wire.Peer, f wire.Frame) {
	s.out = append(s.out, Effect{To: to, Frame: f})
}

// reply answers a call; call 0 wants no answer.
func (s *State) reply(to wire.Peer, call uint64, answer Answer) {
	if call != 0 {
		s.out = append(s.out, Effect{To: to, Call: call, Answer: answer})
	}
}

// notify sends a frame to the client of c, unless the client is gone.
func (s *State) notify(c *computation, f wire.Frame) {
	if !c.clientGone {
		s.send(c.client, f)
	}
}

// status sends a Status to the client of the active computation. The kinds are those of wire; n and
// sv are nil where the kind is about no node or no server.
func (s *State) status(kind uint8, n *node, sv *server, reason string) {
	c := s.active
	f := &wire.Status{Token: c.submit.Token, What: kind, Reason: reason}
	if n != nil {
		f.Node = n.addr
	}
	if sv != nil {
		f.Server = sv.info.Peer
	}
	s.notify(c, f)
}

// failed returns the outcome of a run that ended with err.
func (s *State) failed(err error) *wire.Outcome { return &wire.Outcome{Err: s.cfg.Failure(err)} }

// wakeAt makes Wake ask for a Tick at that time, or earlier.
func (s *State) wakeAt(at time.Time) {
	if s.wake.IsZero() || at.Before(s.wake) {
		s.wake = at
	}
}

// location is a peer's location as a key of maps.
type location struct {
	host string
	port int
}

func locationOf(p wire.Peer) location { return location{p.Host, p.Port} }

// String returns "host:port".
func (l location) String() string { return net.JoinHostPort(l.host, strconv.Itoa(l.port)) }
