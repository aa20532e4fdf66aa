package schedule

import (
	"cmp"
	"fmt"
	"time"

	"github.com/discoro/discoro/wire"
)

// Who runs nothing for too long makes room: a node leaves the computation, or the computation closes. The time comes with
// the events: now is set before each of them, and tick is to be called at wake.

// Periods are those that a scheduler gives to computations; 0: none.
type Periods struct {
	Own    time.Duration // for clients of the scheduler's own runtime
	Others time.Duration // for clients in other runtimes
}

// PeriodsOf returns the periods for what a scheduler's configuration says: a period; 0 for the usual
// one, which clients of its own runtime do not have; or less than 0 for none.
func PeriodsOf(configured, usual time.Duration) Periods {
	others := cmp.Or(configured, usual)
	return Periods{Own: max(configured, 0), Others: max(others, 0)}
}

// zombiePeriod is what holds for a computation of a client that asks for a period itself: the less of the two.
func (s *State) zombiePeriod(client wire.ID, asked int64) time.Duration {
	period := s.cfg.Zombies.Others
	if client == s.cfg.Self {
		period = s.cfg.Zombies.Own
	}
	if d := time.Duration(asked); d > 0 && (period <= 0 || d < period) {
		return d
	}
	return period
}

// stir books that something runs, has ended or was submitted; n is nil where no node has a part in it.
func (s *State) stir(n *node) {
	s.active.stirred = s.now
	if n != nil {
		n.stirred = s.now
	}
}

// watchIdle sees to it that tick looks when something could have been idle for period.
func (s *State) watchIdle(period time.Duration) {
	if period > 0 {
		s.wakeAt(s.now.Add(period))
	}
}

func (s *State) wakeAt(at time.Time) {
	if s.wake.IsZero() || at.Before(s.wake) {
		s.wake = at
	}
}

// Tick is the event that time has passed. It is to be called at [State.Wake].
func (s *State) Tick(now time.Time) {
	s.now = now
	s.wake = time.Time{}
	c := s.active
	if c == nil || c.closing {
		return
	}
	s.spreadOver()
	jobs := len(s.jobs)
	for _, n := range s.known {
		jobs += n.settingUp()
	}
	if s.wasIdle(jobs, c.stirred, c.zombie) {
		s.closeActive(fmt.Sprintf("nothing ran, and nothing was submitted, for %v: its zombie period", c.zombie))
		return
	}
	for _, n := range s.known {
		period := time.Duration(n.offer.Zombie)
		if n.state == nodeReserved && s.wasIdle(n.load+n.settingUp(), n.stirred, period) {
			n.idled = fmt.Sprintf("nothing ran there for %v: the node's zombie period", period)
			s.releaseIdle(n)
		}
	}
	s.placeWaiting()
}

// settingUp counts servers that are not ready yet: what they fetch may take them longer than any zombie period.
func (n *node) settingUp() int {
	count := 0
	for _, sv := range n.servers {
		if sv.state == serverSettingUp {
			count++
		}
	}
	return count
}

// releaseIdle lets a node go, while the computation goes on.
func (s *State) releaseIdle(n *node) {
	for _, sv := range n.servers {
		s.active.nodes.remove(sv)
	}
	n.left, s.moved = s.active, true
	s.release(n)
}

// wasIdle reports whether nothing has stirred for period, with jobs under way now; if not, tick will look again.
func (s *State) wasIdle(jobs int, stirred time.Time, period time.Duration) bool {
	if period <= 0 {
		return false
	}
	until := stirred.Add(period)
	if jobs > 0 {
		until = s.now.Add(period)
	}
	if until.After(s.now) {
		s.wakeAt(until)
		return false
	}
	return true
}

// discardIdle closes the active computation when the last of its nodes has left because nothing ran there.
func (s *State) discardIdle(reason string) {
	for _, n := range s.known {
		if n.state != nodeIdle {
			return
		}
	}
	s.closeActive("its last node has left: " + reason)
}
