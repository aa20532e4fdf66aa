package discoro

import (
	"slices"
	"time"
)

// What the operator of a scheduler can do: see its state, close a computation, have the scheduler leave.

// schedCloser is a request of the operator that waits for the end of a computation.
type schedCloser struct {
	number uint64 // of the computation, in the state
	closed func() // called when it has closed; never blocks
}

// do calls f in the loop, and returns when f has returned.
func (l *schedLoop) do(f func(*schedLoop)) {
	done := make(chan struct{})
	l.box.Put(roleEvent{do: func(l *schedLoop) { f(l); close(done) }})
	<-done
}

// closeActive closes the active computation. It has closed called when that has closed; at once when
// no computation is active.
func (l *schedLoop) closeActive(closed func()) {
	number := l.state.CloseActive(time.Now())
	if number == 0 {
		closed()
		return
	}
	l.closers = append(l.closers, schedCloser{number, closed})
}

// tellOperator notifies the operator when a computation has closed, and when the scheduler is over.
func (l *schedLoop) tellOperator() {
	l.closers = slices.DeleteFunc(l.closers, func(c schedCloser) bool {
		over := l.state.IsClosed(c.number)
		if over {
			c.closed()
		}
		return over
	})
	if l.state.IsOver() && !l.isOver {
		l.isOver = true
		close(l.over)
	}
}
