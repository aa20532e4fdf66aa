package schedule

import "time"

// Runs that wait for the first server would all go to it, although other servers are ready a moment
// later. So for some time after the first server, each server gets at most its share, computed as
// if all expected servers were ready. The other runs wait for the servers that are still expected.

const (
	// spreadFor is how long runs wait for the other servers after the first one is ready.
	spreadFor = 500 * time.Millisecond
	// countEvery is how long the numbers of servers are valid while no server comes or goes. With
	// many nodes, counting them costs more than placing a run.
	countEvery = 10 * time.Millisecond
)

// spread is how a computation shares out its first runs.
type spread struct {
	until time.Time // when it ends; zero: it does not go on
	share int       // how many jobs a server may have until then; 0: any number

	countsValid bool      // no server has come or gone since they were counted
	countedAt   time.Time // when that was
	usable      int       // servers that take jobs
	expected    int       // those, and the ones that will be ready soon
}

// startSpread starts the spreading, if the first server of the active computation is ready now.
func (s *State) startSpread() {
	if c := s.active; len(c.nodes) == 0 {
		c.spread.until = s.now.Add(spreadFor)
		s.wakeAt(c.spread.until)
	}
}

// updateShare computes the share of a server in the runs that have been sent, those that wait, and
// more that come now.
func (s *State) updateShare(more int) {
	c := s.active
	sp := &c.spread
	sp.share = 0
	if !s.now.Before(sp.until) {
		return
	}
	if !sp.countsValid || s.now.Sub(sp.countedAt) >= countEvery {
		s.countServers()
	}
	if sp.usable < sp.expected {
		runs := len(s.jobs) + c.waiting.len() + more
		sp.share = max(1, (runs+sp.expected-1)/sp.expected)
	}
}

// countServers counts the servers that can be used, and those that are expected.
func (s *State) countServers() {
	sp := &s.active.spread
	sp.countsValid, sp.countedAt, sp.usable, sp.expected = true, s.now, 0, 0
	for _, n := range s.known {
		if n.takesJobs() {
			sp.usable += n.usable
			sp.expected += max(n.offer.CPUs, len(n.servers))
		}
	}
}

// atShare reports whether a server has its share already.
func (s *State) atShare(sv *server) bool {
	share := s.active.spread.share
	return share > 0 && sv.load >= share
}

// checkSpread ends the spreading when its time is over, and makes the runs that still wait be
// placed.
func (s *State) checkSpread() {
	sp := &s.active.spread
	switch {
	case sp.until.IsZero():
	case s.now.Before(sp.until):
		s.wakeAt(sp.until)
	default:
		sp.until, s.retry = time.Time{}, true
	}
}
