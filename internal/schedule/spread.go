package schedule

import "time"

// Runs that wait for the first server would all go to it, when others are ready a moment later. So for a while each server gets
// its share of what there is, as if the others were ready, and the rest waits for them.

// spreadFor is how long after the first server the others are waited for.
const spreadFor = 500 * time.Millisecond

// spread begins that while, when the first server is ready.
func (s *State) spread() {
	if c := s.active; len(c.nodes) == 0 {
		c.spreads = s.now.Add(spreadFor)
		s.wakeAt(c.spreads)
	}
}

// setShare works out how many jobs a server may have of what runs and waits now; 0: any number.
func (s *State) setShare(more int) {
	c := s.active
	c.share = 0
	if !s.now.Before(c.spreads) {
		return
	}
	if !c.fresh || s.now.Sub(c.counted) >= countEvery {
		s.countServers()
	}
	if c.usable < c.expected {
		c.share = max(1, (len(s.jobs)+c.waiting.len()+more+c.expected-1)/c.expected)
	}
}

// countEvery is how long the numbers of servers are good for while none comes or goes: with many nodes a run costs less than to
// count them.
const countEvery = 10 * time.Millisecond

// countServers counts the servers that can be used, and all that are expected.
func (s *State) countServers() {
	c := s.active
	c.fresh, c.counted, c.usable, c.expected = true, s.now, 0, 0
	for _, n := range s.known {
		if n.takesJobs() {
			c.usable += n.usable
			c.expected += max(n.offer.CPUs, len(n.servers))
		}
	}
}

// holds reports whether a server, the least loaded, has its share.
func (s *State) holds(sv *server) bool {
	share := s.active.share
	return share > 0 && sv.load >= share
}

// spreadOver has what is held back looked at when the while is over; until then, when a server has nothing to do.
func (s *State) spreadOver() {
	c := s.active
	switch {
	case c.spreads.IsZero():
	case s.now.Before(c.spreads):
		s.wakeAt(c.spreads)
	default:
		c.spreads, s.moved = time.Time{}, true
	}
}
