package discoro

import (
	"cmp"
	"fmt"
	"time"

	"github.com/discoro/discoro/wire"
)

// Who runs nothing for too long makes room: a node leaves the computation, or the computation closes. The time comes with
// the events: now is set before each of them, and tick is to be called at wake.

// zombiePeriods are those that a scheduler gives to computations; 0: none.
type zombiePeriods struct{ own, others time.Duration }

// zombiesOf reads SchedulerConfig.ZombiePeriod.
func zombiesOf(period time.Duration) zombiePeriods {
	others := cmp.Or(period, DefaultZombiePeriod)
	return zombiePeriods{own: max(period, 0), others: max(others, 0)}
}

// zombiePeriod is what holds for a computation of a client that asks for a period itself: the less of the two.
func (s *schedState) zombiePeriod(client wire.ID, asked int64) time.Duration {
	period := s.zombies.others
	if client == s.self {
		period = s.zombies.own
	}
	if d := time.Duration(asked); d > 0 && (period <= 0 || d < period) {
		return d
	}
	return period
}

// stir books that something runs, has ended or was submitted; n is nil where no node has a part in it.
func (s *schedState) stir(n *schedNode) {
	s.active.stirred = s.now
	if n != nil {
		n.stirred = s.now
	}
}

// watchIdle sees to it that tick looks when something could have been idle for period.
func (s *schedState) watchIdle(period time.Duration) {
	if period > 0 {
		s.wakeAt(s.now.Add(period))
	}
}

func (s *schedState) wakeAt(at time.Time) {
	if s.wake.IsZero() || at.Before(s.wake) {
		s.wake = at
	}
}

// tick is the step for time that has passed.
func (s *schedState) tick() {
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
func (n *schedNode) settingUp() int {
	count := 0
	for _, sv := range n.servers {
		if sv.state == serverSettingUp {
			count++
		}
	}
	return count
}

// releaseIdle lets a node go, while the computation goes on.
func (s *schedState) releaseIdle(n *schedNode) {
	for _, sv := range n.servers {
		s.active.nodes.remove(sv)
	}
	n.left, s.moved = s.active, true
	s.release(n)
}

// wasIdle reports whether nothing has stirred for period, with jobs under way now; if not, tick will look again.
func (s *schedState) wasIdle(jobs int, stirred time.Time, period time.Duration) bool {
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
func (s *schedState) discardIdle(reason string) {
	for _, n := range s.known {
		if n.state != nodeIdle {
			return
		}
	}
	s.closeActive("its last node has left: " + reason)
}
