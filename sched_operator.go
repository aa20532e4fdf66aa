package discoro

import (
	"slices"
	"time"
)

// What the operator of a scheduler wants: to see its state, to close a computation, to have it leave.

// schedCloser waits for the end of a computation.
type schedCloser struct {
	of   uint64 // the number of the computation
	told func() // never blocks
}

// do has f called in the loop, and waits for that.
func (l *schedLoop) do(f func(*schedLoop)) {
	done := make(chan struct{})
	l.box.Put(roleEvent{do: func(l *schedLoop) { f(l); close(done) }})
	<-done
}

// closeActive closes the active computation; told is called when it has closed, at once when there is none.
func (l *schedLoop) closeActive(told func()) {
	n := l.state.CloseActive(time.Now())
	if n == 0 {
		told()
		return
	}
	l.closers = append(l.closers, schedCloser{n, told})
}

// tellOperator tells who waits for the end of a computation, or of all.
func (l *schedLoop) tellOperator() {
	l.closers = slices.DeleteFunc(l.closers, func(c schedCloser) bool {
		over := l.state.IsClosed(c.of)
		if over {
			c.told()
		}
		return over
	})
	if l.state.IsOver() && !l.isOver {
		l.isOver = true
		close(l.over)
	}
}
