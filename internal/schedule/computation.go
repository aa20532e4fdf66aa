package schedule

import (
	"fmt"
	"slices"
	"time"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// computation is a computation.
type computation struct {
	number   uint64 // among those that became active; 0: it waits
	submit   wire.Submit
	filters  []filter
	client   wire.Peer
	zombie   time.Duration // it closes when idle for that long; 0: never
	stirred  time.Time     // when something last ran, ended or was submitted
	place    int           // in the queue, as the client was told
	gone     bool          // the client is
	closing  bool
	reason   string    // it is closed because of that; empty when the client asked for it
	closers  []closer  // who asked for it
	waiting  runQueue  // runs that wait for a server
	spreads  time.Time // until then servers that are not ready count, too; zero: none do
	share    int       // of jobs, that a server may have until then; 0: any number
	fresh    bool      // usable and expected are counted, and no server has come or gone since
	counted  time.Time // when they were
	usable   int       // servers that take jobs
	expected int       // those, and the ones that are about to be ready
	nodes    nodeHeap  // with at least one usable server, least loaded first
}

type closer struct {
	peer wire.Peer
	call uint64
}

// Computations at a scheduler: they queue, one is active, and it closes when all its nodes have.

// submitted queues a computation.
func (s *State) submitted(from wire.Peer, f *wire.Submit) {
	known := func(c *computation) bool { return c.submit.Token == f.Token }
	if s.active != nil && known(s.active) || slices.ContainsFunc(s.queue, known) {
		s.reply(from, f.Call, Answer{Err: fmt.Errorf("the computation is there already: %w", fault.Exists)})
		return
	}
	filters, err := compileFilters(f.Filters)
	if err == nil {
		err = s.checkSubmit(f)
	}
	if err != nil {
		s.reply(from, f.Call, Answer{Err: err})
		return
	}
	s.queue = append(s.queue, &computation{submit: *f, filters: filters, client: from, zombie: s.zombiePeriod(from.ID, f.Zombie)})
	s.next()
	s.tellPlaces()
}

// maxQueued bounds how many computations wait.
const maxQueued = 10_000

// checkSubmit says what is wrong with what a client asks for.
func (s *State) checkSubmit(f *wire.Submit) error {
	switch {
	case s.leaving:
		return fmt.Errorf("the scheduler is leaving, and takes no new computations: %w", fault.Rejected)
	case len(s.queue) >= maxQueued:
		return fmt.Errorf("%d computations wait already: %w", maxQueued, fault.Rejected)
	case f.Pulse != 0 && (time.Duration(f.Pulse) < wire.LeastPulse || time.Duration(f.Pulse) > wire.MaxPulse):
		return fmt.Errorf("a PulseInterval of %v is not between %v and %v: %w", time.Duration(f.Pulse), wire.LeastPulse, wire.MaxPulse, fault.Rejected)
	case f.Zombie < 0:
		return fmt.Errorf("a ZombiePeriod of %v is negative: %w", time.Duration(f.Zombie), fault.Rejected)
	case f.Ping != 0 && time.Duration(f.Ping) < s.cfg.LeastPing:
		return fmt.Errorf("a PingInterval of %v is less than %v: %w", time.Duration(f.Ping), s.cfg.LeastPing, fault.Rejected)
	}
	return nil
}

// tellPlaces tells the clients of the computations that wait where they are in the queue, when that has changed.
func (s *State) tellPlaces() {
	for i, c := range s.queue {
		if c.place != i+1 {
			c.place = i + 1
			s.tell(c, &wire.Queued{Token: c.submit.Token, Position: c.place})
		}
	}
}

// next makes the first of the queue active when nothing is.
func (s *State) next() {
	if s.active != nil || len(s.queue) == 0 {
		return
	}
	c := s.queue[0]
	s.queue = slices.Delete(s.queue, 0, 1)
	s.active = c
	s.numbers++
	c.number = s.numbers
	c.stirred = s.now
	s.watchIdle(c.zombie)
	s.status(wire.StatusComputationScheduled, nil, nil, "")
	s.reply(c.client, c.submit.Call, Answer{})
	for _, n := range s.known {
		s.reserve(n)
	}
	s.tellPlaces()
}

// closeAsked closes a computation for its client.
func (s *State) closeAsked(from wire.Peer, f *wire.CloseComputation) {
	for i, c := range s.queue {
		if c.submit.Token == f.Token {
			s.queue = slices.Delete(s.queue, i, i+1)
			s.tell(c, &wire.Status{Token: f.Token, What: wire.StatusComputationClosed})
			s.reply(c.client, c.submit.Call, Answer{Err: fmt.Errorf("closed while it was queued: %w", fault.Closed)})
			s.reply(from, f.Call, Answer{})
			s.tellPlaces()
			return
		}
	}
	c := s.active
	if c == nil || c.submit.Token != f.Token {
		s.reply(from, f.Call, Answer{})
		return
	}
	if f.Call != 0 {
		c.closers = append(c.closers, closer{from, f.Call})
	}
	s.closeActive("")
}

// closeActive tells every node to end the active computation.
func (s *State) closeActive(reason string) {
	c := s.active
	if c.closing {
		return
	}
	c.closing, c.reason = true, reason
	for f := range c.waiting.all() {
		s.refuse(f, fmt.Errorf("the computation is closed: %w", fault.Closed))
	}
	c.waiting = runQueue{}
	for _, n := range s.known {
		switch n.state {
		case nodeIdle:
		case nodeReserved:
			s.release(n)
		case nodeReleased: // its servers need not wait for the client any longer
			s.send(n.offer.Node, &wire.Release{Token: c.submit.Token, Over: true})
		}
	}
	s.closedIfReleased()
}

// closedIfReleased ends the active computation once every node has released it, and goes on with the next.
func (s *State) closedIfReleased() {
	c := s.active
	if c == nil || !c.closing || s.closing > 0 {
		return
	}
	s.status(wire.StatusComputationClosed, nil, nil, c.reason)
	for _, by := range c.closers {
		s.reply(by.peer, by.call, Answer{})
	}
	s.active = nil
	s.next()
}

// loseClient ends the computations of a client that is gone.
func (s *State) loseClient(id wire.ID, reason string) {
	s.queue = slices.DeleteFunc(s.queue, func(c *computation) bool { return c.client.ID == id })
	s.tellPlaces()
	c := s.active
	if c == nil {
		return
	}
	c.closers = slices.DeleteFunc(c.closers, func(by closer) bool { return by.peer.ID == id })
	if c.client.ID == id {
		c.gone = true
		s.closeActive("the client is gone: " + reason)
	}
}

// Intervals returns what the active computation asks for: how often all that take part in it give
// signs of life, and how often nodes are looked for; 0: nothing.
func (s *State) Intervals() (pulse, ping time.Duration) {
	if s.active == nil {
		return 0, 0
	}
	return time.Duration(s.active.submit.Pulse), time.Duration(s.active.submit.Ping)
}
