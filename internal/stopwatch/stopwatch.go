package stopwatch

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

const (
	tick    = 5 * time.Millisecond
	precise = time.Millisecond // a tick that is at most this late is on time
)

// Stopwatch measures how long something takes, and for how long of that the machine was too busy to
// run this process. It knows the latter because it ticks every 5 ms and adds up by how much ticks
// are late. A bound is extended by exactly that time, so on an idle machine the bound is what the
// test says.
//
// A Stopwatch is for one goroutine.
type Stopwatch struct {
	tb    testing.TB    // immutable
	began time.Time     // immutable
	once  sync.Once     // closes over
	over  chan struct{} // closed by stop
	ended chan struct{} // closed by watch when late and end are final
	late  time.Duration // written by watch, read after ended
	end   time.Time     // written by watch, read after ended
}

// Start starts a stopwatch. It stops when the test ends, or earlier by Stop or Within.
func Start(tb testing.TB) *Stopwatch {
	tb.Helper()
	s := &Stopwatch{tb: tb, began: time.Now(), over: make(chan struct{}), ended: make(chan struct{})}
	go s.watch()
	tb.Cleanup(s.stop)
	return s
}

// watch adds up by how much the ticks are late. It ends when the stopwatch is stopped.
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
		runtime.Gosched() // goroutines that wait for a processor go first
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

// Stop stops the stopwatch. It returns the time since Start, and how much of that the machine was
// too busy to run this process.
func (s *Stopwatch) Stop() (took, late time.Duration) {
	s.stop()
	return s.end.Sub(s.began), s.late
}

// Within stops the stopwatch and returns the time since Start. It fails the test if that is more
// than most, extended by the time that the machine was busy.
func (s *Stopwatch) Within(what string, most time.Duration) time.Duration {
	s.tb.Helper()
	took, late := s.Stop()
	if took > most+late {
		s.tb.Errorf("%s took %v, more than %v and the %v that the machine was busy with other work", what, took, most, late)
	}
	return took
}
