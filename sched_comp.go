package discoro

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/discoro/discoro/wire"
)

// Computations at a scheduler: they queue, one is active, and it closes when all its nodes have.

// submitted queues a computation.
func (s *schedState) submitted(from wire.Peer, f *wire.Submit) {
	known := func(c *schedComp) bool { return c.submit.Token == f.Token }
	if s.active != nil && known(s.active) || slices.ContainsFunc(s.queue, known) {
		s.reply(from, f.Call, outcome{err: fmt.Errorf("the computation is there already: %w", ErrExists)})
		return
	}
	filters, err := filtersFromWire(f.Filters)
	if err == nil {
		err = s.checkSubmit(f)
	}
	if err != nil {
		s.reply(from, f.Call, outcome{err: err})
		return
	}
	s.queue = append(s.queue, &schedComp{submit: *f, filters: filters, client: from, zombie: s.zombiePeriod(from.ID, f.Zombie)})
	s.next()
	s.tellPlaces()
}

// maxQueued bounds how many computations wait.
const maxQueued = 10_000

// checkSubmit says what is wrong with what a client asks for.
func (s *schedState) checkSubmit(f *wire.Submit) error {
	switch {
	case s.leaving:
		return fmt.Errorf("the scheduler is leaving, and takes no new computations: %w", ErrRejected)
	case len(s.queue) >= maxQueued:
		return fmt.Errorf("%d computations wait already: %w", maxQueued, ErrRejected)
	case f.Pulse != 0 && sanePulse(f.Pulse) != time.Duration(f.Pulse):
		return fmt.Errorf("a PulseInterval of %v is not between %v and %v: %w", time.Duration(f.Pulse), leastPulse, maxPulse, ErrRejected)
	case f.Zombie < 0:
		return fmt.Errorf("a ZombiePeriod of %v is negative: %w", time.Duration(f.Zombie), ErrRejected)
	case f.Ping != 0 && time.Duration(f.Ping) < s.leastPing:
		return fmt.Errorf("a PingInterval of %v is less than %v: %w", time.Duration(f.Ping), s.leastPing, ErrRejected)
	}
	return nil
}

// tellPlaces tells the clients of the computations that wait where they are in the queue, when that has changed.
func (s *schedState) tellPlaces() {
	for i, c := range s.queue {
		if c.place != i+1 {
			c.place = i + 1
			s.tell(c, &wire.Queued{Token: c.submit.Token, Position: c.place})
		}
	}
}

// next makes the first of the queue active when nothing is.
func (s *schedState) next() {
	if s.active != nil || len(s.queue) == 0 {
		return
	}
	c := s.queue[0]
	s.queue = slices.Delete(s.queue, 0, 1)
	s.active = c
	c.stirred = s.now
	s.watchIdle(c.zombie)
	s.status(ComputationScheduled, nil, nil, "")
	s.reply(c.client, c.submit.Call, outcome{})
	for _, n := range s.known {
		s.reserve(n)
	}
	s.tellPlaces()
}

// closeAsked closes a computation for its client.
func (s *schedState) closeAsked(from wire.Peer, f *wire.CloseJob) {
	for i, c := range s.queue {
		if c.submit.Token == f.Token {
			s.queue = slices.Delete(s.queue, i, i+1)
			s.tell(c, &wire.Status{Token: f.Token, What: uint8(ComputationClosed)})
			s.reply(c.client, c.submit.Call, outcome{err: fmt.Errorf("closed while it was queued: %w", ErrClosed)})
			s.reply(from, f.Call, outcome{})
			s.tellPlaces()
			return
		}
	}
	c := s.active
	if c == nil || c.submit.Token != f.Token {
		s.reply(from, f.Call, outcome{})
		return
	}
	if f.Call != 0 {
		c.closers = append(c.closers, closer{from, f.Call})
	}
	s.closeActive("")
}

// closeActive tells every node to end the active computation.
func (s *schedState) closeActive(reason string) {
	c := s.active
	if c.closing {
		return
	}
	c.closing, c.reason = true, reason
	for f := range c.waiting.all() {
		s.refuse(f, fmt.Errorf("the computation is closed: %w", ErrClosed))
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
func (s *schedState) closedIfReleased() {
	c := s.active
	if c == nil || !c.closing || s.closing > 0 {
		return
	}
	s.status(ComputationClosed, nil, nil, c.reason)
	for _, by := range c.closers {
		s.reply(by.peer, by.call, outcome{})
	}
	s.active = nil
	s.next()
}

// loseClient ends the computations of a client that is gone.
func (s *schedState) loseClient(id wire.ID, reason string) {
	s.queue = slices.DeleteFunc(s.queue, func(c *schedComp) bool { return c.client.ID == id })
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

// intervals are those that the active computation asks for; 0: none.
func (s *schedState) intervals() (pulse, ping time.Duration) {
	if s.active == nil {
		return 0, 0
	}
	return time.Duration(s.active.submit.Pulse), time.Duration(s.active.submit.Ping)
}

// report says in words what a computation waits for: its turn, or servers; or what one of its runs does, unless job is zero.
func (s *schedState) report(token wire.Token, job wire.JobID) string {
	c := s.active
	if c == nil || c.submit.Token != token {
		i := slices.IndexFunc(s.queue, func(c *schedComp) bool { return c.submit.Token == token })
		if i < 0 {
			return "the scheduler does not know the computation"
		}
		return fmt.Sprintf("it is number %d in the scheduler's queue, behind a computation of %s", i+1, c.name())
	}
	if j := s.jobs[job]; j != nil {
		return fmt.Sprintf("it was sent to server %v, which has not said yet that it has started", peerLocation(j.server.info.Peer))
	}
	if job != (wire.JobID{}) && !c.waiting.has(job) {
		return fmt.Sprintf("it has not come to the scheduler at %v yet", s.at)
	}
	if len(s.known) == 0 {
		return fmt.Sprintf("no node is known to the scheduler at %v: start one with that among its Peers", s.at)
	}
	if len(s.known) <= mostNamed {
		var parts []string
		for _, n := range s.known {
			parts = append(parts, "node "+n.addr+": "+n.describe())
		}
		return strings.Join(parts, "; ")
	}
	return s.summary()
}

// mostNamed is how many nodes, and ways in which more of them are, a report tells of.
const mostNamed = 20

// summary is report where there are too many nodes to name each: those of which the same is to be said are counted, and one is named.
func (s *schedState) summary() string {
	var said []string // in order
	alike := map[string][]*schedNode{}
	for _, n := range s.known {
		text := n.describe()
		if alike[text] == nil {
			said = append(said, text)
		}
		alike[text] = append(alike[text], n)
	}
	slices.SortStableFunc(said, func(a, b string) int { return cmp.Compare(len(alike[b]), len(alike[a])) })
	var parts []string
	rest := len(s.known)
	for _, text := range said[:min(len(said), mostNamed)] {
		nodes := alike[text]
		rest -= len(nodes)
		who := "node " + nodes[0].addr
		if len(nodes) > 1 {
			who = fmt.Sprintf("%d nodes, %s among them", len(nodes), nodes[0].addr)
		}
		parts = append(parts, who+": "+text)
	}
	if rest > 0 {
		parts = append(parts, fmt.Sprintf("and %d other nodes", rest))
	}
	return strings.Join(parts, "; ")
}

// name says whose computation c is.
func (c *schedComp) name() string {
	name := peerLocation(c.client).String()
	if c.submit.Name != "" {
		name = c.submit.Name + "@" + name
	}
	if c.closing {
		name += " that is closing"
	}
	return name
}

func (n *schedNode) describe() string {
	trouble := ""
	if n.trouble != "" {
		trouble = " (" + n.trouble + ")"
	}
	switch n.state {
	case nodeReserved:
		if len(n.servers) == 0 {
			return "reserved, its servers are starting" + trouble
		}
		text, setUp := fmt.Sprintf("%d of %d servers ready", n.usable, len(n.servers)), 0
		for _, sv := range n.servers {
			if sv.state == serverSettingUp {
				setUp++
			}
		}
		if setUp > 0 { // the computation's files may take long
			text += fmt.Sprintf(", %d being set up", setUp)
		}
		return text + trouble
	case nodeReleased:
		return "closing"
	case nodeIdle:
	}
	switch {
	case n.why != "":
		return "not used: " + n.why
	case n.offer.Reason != "":
		return "not used: " + n.offer.Reason
	}
	return "not used yet"
}
