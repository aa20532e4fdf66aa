// Package stopwatch bounds real time in tests.
package stopwatch

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

const (
	tick    = 5 * time.Millisecond
	precise = time.Millisecond // a tick no later than this is in time
)

// Stopwatch tells how long something takes, and for how long of that the machine did nothing for this process: by so much as a
// short tick comes late. A bound is longer by exactly that, so it is as it is written where the machine is not busy.
//
// It is for one goroutine.
type Stopwatch struct {
	tb    testing.TB
	began time.Time
	over  chan struct{} // closed by stop
	ended chan struct{} // closed when the two below are final
	late  time.Duration
	end   time.Time
	once  sync.Once
}

// Start starts a stopwatch, which ends with the test if not before.
func Start(tb testing.TB) *Stopwatch {
	tb.Helper()
	s := &Stopwatch{tb: tb, began: time.Now(), over: make(chan struct{}), ended: make(chan struct{})}
	go s.watch()
	tb.Cleanup(s.stop)
	return s
}

// watch adds up by how much each tick comes late, and the last one's part.
func (s *Stopwatch) watch() {
	defer close(s.ended)
	timer := time.NewTimer(tick)
	defer timer.Stop()
	for s.end = s.began; ; timer.Reset(tick) {
		stopped := false
		select {
		case <-timer.C:
		case <-s.over:
			stopped = true
		}
		runtime.Gosched() // behind those that wait for a processor
		now := time.Now()
		if late := now.Sub(s.end) - tick; late > precise {
			s.late += late
		}
		if s.end = now; stopped {
			return
		}
	}
}

func (s *Stopwatch) stop() {
	s.once.Do(func() { close(s.over) })
	<-s.ended
}

// Stop stops it. It returns the time since Start, and how much of that the machine did nothing for this process.
func (s *Stopwatch) Stop() (took, late time.Duration) {
	s.stop()
	return s.end.Sub(s.began), s.late
}

// Within stops it, and fails the test when what it was for took longer than most. It returns the time since Start.
func (s *Stopwatch) Within(what string, most time.Duration) time.Duration {
	s.tb.Helper()
	took, late := s.Stop()
	if took > most+late {
		s.tb.Errorf("%s took %v, more than %v and the %v that the machine was busy otherwise", what, took, most, late)
	}
	return took
}
