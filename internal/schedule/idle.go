package schedule

import (
	"cmp"
	"fmt"
	"time"

	"github.com/discoro/discoro/wire"
)

// A node where nothing has run for its zombie period leaves the computation, and a computation that
// has run nothing for its own period closes: others may need the servers.
//
// The scheduler decides both, because only it knows which jobs run where. What it sees counts as
// work: jobs, submissions, servers that are being set up, and files that arrive, as their server
// reports. A coroutine that a job has left behind at a server is no job, and does not count.

// Periods are the zombie periods that a scheduler gives to computations; 0: none.
type Periods struct {
	Own    time.Duration // for clients in the scheduler's own runtime
	Others time.Duration // for clients in other runtimes
}

// PeriodsOf returns the periods that a scheduler's configuration asks for. Less than 0 means none; 0
// means the usual one, except for clients in the scheduler's own runtime, which then have none.
func PeriodsOf(configured, usual time.Duration) Periods {
	others := cmp.Or(configured, usual)
	return Periods{Own: max(configured, 0), Others: max(others, 0)}
}

// zombiePeriod returns the period of a client's computation: the shorter one of the scheduler's and
// the client's.
func (s *State) zombiePeriod(client wire.ID, asked time.Duration) time.Duration {
	period := s.cfg.Zombies.Others
	if client == s.cfg.Self {
		period = s.cfg.Zombies.Own
	}
	if asked > 0 && (period <= 0 || asked < period) {
		return asked
	}
	return period
}

// noteWork records that the active computation is not idle now, and neither is n; nil: no node.
func (s *State) noteWork(n *node) {
	s.active.lastWork = s.now
	if n != nil {
		n.lastWork = s.now
	}
}

// wakeIn makes Wake ask for a Tick after a zombie period.
func (s *State) wakeIn(period time.Duration) {
	if period > 0 {
		s.wakeAt(s.now.Add(period))
	}
}

// checkIdle closes the active computation if that has been idle for too long. Otherwise it releases
// the nodes that have been idle for too long.
func (s *State) checkIdle() {
	c := s.active
	jobs := len(s.jobs)
	for _, n := range s.known {
		jobs += n.settingUp()
	}
	if s.wasIdle(jobs, c.lastWork, c.zombie) {
		s.closeActive(fmt.Sprintf("nothing ran, and nothing was submitted, for %v: its zombie period", c.zombie))
		return
	}
	for _, n := range s.known {
		period := time.Duration(n.offer.Zombie)
		if n.state == nodeReserved && s.wasIdle(n.load+n.settingUp(), n.lastWork, period) {
			n.idleReason = fmt.Sprintf("nothing ran there for %v: the node's zombie period", period)
			s.releaseIdle(n)
		}
	}
}

// wasIdle reports whether nothing has happened since lastWork, for a whole period. While jobs run,
// nothing is idle. A server that is being set up counts as a job: the files that it receives may
// take longer than any period. If wasIdle returns false, it makes Wake ask for a Tick at the
// earliest time when it could return true.
func (s *State) wasIdle(jobs int, lastWork time.Time, period time.Duration) bool {
	if period <= 0 {
		return false
	}
	until := lastWork.Add(period)
	if jobs > 0 {
		until = s.now.Add(period)
	}
	if until.After(s.now) {
		s.wakeAt(until)
		return false
	}
	return true
}

// releaseIdle releases a node while the computation goes on.
func (s *State) releaseIdle(n *node) {
	for _, sv := range n.servers {
		s.active.nodes.remove(sv)
	}
	n.left, s.retry = s.active, true
	s.release(n)
}

// closeIfUnused closes the active computation if no node serves it, after the last one has left for
// that reason.
func (s *State) closeIfUnused(reason string) {
	for _, n := range s.known {
		if n.state != nodeUnused {
			return
		}
	}
	s.closeActive("its last node has left: " + reason)
}
