package schedule

import (
	"fmt"
	"slices"
	"time"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// computation is what a client has submitted. It waits in the queue, becomes active, and closes.
type computation struct {
	number     uint64      // counts those that became active; 0: it waits
	submit     wire.Submit // as the client sent it
	filters    []filter    // submit.Filters
	client     wire.Peer
	clientGone bool // the link to the client has ended
	position   int  // in the queue, as the client was last notified; the first is 1

	// While it is active:
	zombie   time.Duration // it closes after being idle for that long; 0: never
	lastWork time.Time     // when a run last started, ended or was submitted, or a server changed
	nodes    nodeHeap      // its nodes with at least one usable server, the least loaded first
	waiting  runQueue      // its runs that wait for a server
	spread   spread        // how its first runs are shared out

	// While it is closing:
	closing bool
	reason  string   // why; empty when the client asked for it
	closers []closer // the peers that asked for it, and wait for the end
}

// closer is a peer that has asked for the end of a computation, and the call to answer then.
type closer struct {
	peer wire.Peer
	call uint64
}

// maxQueued bounds how many computations wait.
const maxQueued = 10_000

// submitted is a client's request to queue a computation.
func (s *State) submitted(from wire.Peer, f *wire.Submit) {
	same := func(c *computation) bool { return c.submit.Token == f.Token }
	if s.active != nil && same(s.active) || slices.ContainsFunc(s.queue, same) {
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
	s.queue = append(s.queue, &computation{
		submit: *f, filters: filters, client: from, zombie: s.zombiePeriod(from.ID, time.Duration(f.Zombie)),
	})
	s.next()
	s.notifyPositions()
}

// checkSubmit returns why a computation cannot be queued.
func (s *State) checkSubmit(f *wire.Submit) error {
	pulse, ping, zombie := time.Duration(f.Pulse), time.Duration(f.Ping), time.Duration(f.Zombie)
	switch {
	case s.leaving:
		return fmt.Errorf("the scheduler is leaving, and takes no new computations: %w", fault.Rejected)
	case len(s.queue) >= maxQueued:
		return fmt.Errorf("%d computations wait already: %w", maxQueued, fault.Rejected)
	case pulse != 0 && (pulse < wire.LeastPulse || pulse > wire.MaxPulse):
		return fmt.Errorf("a PulseInterval of %v is not between %v and %v: %w",
			pulse, wire.LeastPulse, wire.MaxPulse, fault.Rejected)
	case zombie < 0:
		return fmt.Errorf("a ZombiePeriod of %v is negative: %w", zombie, fault.Rejected)
	case ping != 0 && ping < s.cfg.LeastPing:
		return fmt.Errorf("a PingInterval of %v is less than %v: %w", ping, s.cfg.LeastPing, fault.Rejected)
	}
	return nil
}

// notifyPositions notifies the clients whose position in the queue has changed.
func (s *State) notifyPositions() {
	for i, c := range s.queue {
		if c.position != i+1 {
			c.position = i + 1
			s.notify(c, &wire.Queued{Token: c.submit.Token, Position: c.position})
		}
	}
}

// next makes the first computation of the queue active, if none is.
func (s *State) next() {
	if s.active != nil || len(s.queue) == 0 {
		return
	}
	c := s.queue[0]
	s.queue = slices.Delete(s.queue, 0, 1)
	s.active = c
	s.numbers++
	c.number = s.numbers
	c.lastWork = s.now
	s.wakeIn(c.zombie)
	s.status(wire.StatusComputationScheduled, nil, nil, "")
	s.reply(c.client, c.submit.Call, Answer{})
	for _, n := range s.known {
		s.reserve(n)
	}
	s.notifyPositions()
}

// closeRequested is a client's request to close a computation.
func (s *State) closeRequested(from wire.Peer, f *wire.CloseComputation) {
	for i, c := range s.queue {
		if c.submit.Token == f.Token {
			s.queue = slices.Delete(s.queue, i, i+1)
			s.notify(c, &wire.Status{Token: f.Token, What: wire.StatusComputationClosed})
			s.reply(c.client, c.submit.Call, Answer{Err: fmt.Errorf("closed while it was queued: %w", fault.Closed)})
			s.reply(from, f.Call, Answer{})
			s.notifyPositions()
			return
		}
	}
	c := s.active
	if c == nil || c.submit.Token != f.Token {
		s.reply(from, f.Call, Answer{}) // it has closed before
		return
	}
	if f.Call != 0 {
		c.closers = append(c.closers, closer{from, f.Call})
	}
	s.closeActive("")
}

// closeActive begins to close the active computation: runs that wait end, and all nodes are released.
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
		case nodeUnused:
		case nodeReserved:
			s.release(n)
		case nodeReleasing: // its servers need not wait for the client any longer
			s.send(n.offer.Node, &wire.Release{Token: c.submit.Token, Over: true})
		}
	}
	s.endIfReleased()
}

// endIfReleased ends the active computation, if it is closing and no node serves it any more, and
// makes the next one active.
func (s *State) endIfReleased() {
	c := s.active
	if c == nil || !c.closing || s.releasing > 0 {
		return
	}
	s.status(wire.StatusComputationClosed, nil, nil, c.reason)
	for _, by := range c.closers {
		s.reply(by.peer, by.call, Answer{})
	}
	s.active = nil
	s.next()
}

// loseClient closes the computations of a client whose link has ended.
func (s *State) loseClient(id wire.ID, reason string) {
	s.queue = slices.DeleteFunc(s.queue, func(c *computation) bool { return c.client.ID == id })
	s.notifyPositions()
	c := s.active
	if c == nil {
		return
	}
	c.closers = slices.DeleteFunc(c.closers, func(by closer) bool { return by.peer.ID == id })
	if c.client.ID == id {
		c.clientGone = true
		s.closeActive("the client is gone: " + reason)
	}
}
