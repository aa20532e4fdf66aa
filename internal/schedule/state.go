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
	At        string        // the location where nodes find it, for texts
	Zombies   Periods       // how long computations may be idle
	LeastPing time.Duration // the least PingInterval that a computation may ask for

	Failure func(error) *wire.Failure                            // encodes an error for a client
	Lost    func(server wire.Peer, fn string, cause error) error // the error of a run whose server is lost
}

// State is what a scheduler knows and decides. Its methods are the events: each changes the State
// and adds effects, which [State.Take] returns in order. It is not safe for concurrent use.
type State struct {
	cfg     Config // immutable
	leaving bool   // nothing new is taken

	now  time.Time // of the current event
	wake time.Time // when Tick is to be called; zero: not at all

	nodes   map[wire.ID]*node
	servers map[wire.ID]*server // by the identity of their runtime
	places  map[place]*server   // the same, by location
	known   []*node             // in the order in which they were met
	queue   []*computation      // waiting to become active
	active  *computation
	numbers uint64 // how many computations have become active
	jobs    map[wire.JobID]*job
	closing int      // nodes that were sent a Release and have not answered with Released
	moved   bool     // servers came or went in the current step: look again at the runs that wait
	out     []Effect // of the current step
}

// Effect is one thing for the caller to do: send Frame, or answer Call.
type Effect struct {
	To     wire.Peer
	Frame  wire.Frame // nil: answer Call
	Call   uint64
	Answer Answer
}

// Answer is what a call is answered with: a value, or an error.
type Answer struct {
	Value any
	Err   error
}

// place is a server's location, as clients name it in a wire.Where.
type place struct {
	host string
	port int
}

// New returns a State that knows nobody.
func New(cfg Config) *State {
	return &State{
		cfg: cfg, nodes: map[wire.ID]*node{}, servers: map[wire.ID]*server{}, places: map[place]*server{},
		jobs: map[wire.JobID]*job{},
	}
}

// Take returns the effects of the events since the last Take.
func (s *State) Take() []Effect {
	out := s.out
	s.out = nil
	return out
}

func (s *State) send(to wire.Peer, f wire.Frame) {
	s.out = append(s.out, Effect{To: to, Frame: f})
}

func (s *State) reply(to wire.Peer, call uint64, out Answer) {
	if call != 0 {
		s.out = append(s.out, Effect{To: to, Call: call, Answer: out})
	}
}

// tell sends to a computation's client, unless that is gone.
func (s *State) tell(c *computation, f wire.Frame) {
	if !c.gone {
		s.send(c.client, f)
	}
}

// status tells the client of the active computation.
func (s *State) status(kind uint8, n *node, sv *server, reason string) {
	c := s.active
	f := &wire.Status{Token: c.submit.Token, What: kind, Reason: reason}
	if n != nil {
		f.Node = n.addr
	}
	if sv != nil {
		f.Server = sv.info.Peer
	}
	s.tell(c, f)
}

// Frame is the event of a frame from a peer. Frames that are not for a scheduler change nothing.
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
		s.closeAsked(from, f)
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

// Down is the event of the end of the link to a peer.
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

// Wake returns when [State.Tick] is to be called; zero: not at all.
func (s *State) Wake() time.Time { return s.wake }

// Leave is the event that the scheduler is leaving: it takes no new computations.
func (s *State) Leave() { s.leaving = true }

// IsOver reports whether the scheduler is leaving and has nothing to do.
func (s *State) IsOver() bool { return s.leaving && s.active == nil && len(s.queue) == 0 }

// CloseActive is the event that the scheduler's operator closes the active computation. It returns
// that computation's number, for [State.IsClosed]; 0: none is active.
func (s *State) CloseActive(now time.Time) uint64 {
	s.now = now
	if s.active == nil {
		return 0
	}
	number := s.active.number
	s.closeActive("closed at the scheduler")
	return number
}

// IsClosed reports whether the computation with that number is no longer active.
func (s *State) IsClosed(number uint64) bool { return s.active == nil || s.active.number != number }

// failed returns how a run ends with an error.
func (s *State) failed(err error) *wire.Outcome { return &wire.Outcome{Err: s.cfg.Failure(err)} }

// at returns a peer's location, for texts.
func at(p wire.Peer) string { return hostPort(p.Host, p.Port) }

func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// placeOf returns a peer's location, to compare.
func placeOf(p wire.Peer) place { return place{p.Host, p.Port} }
