package discoro

import "sync"

// actor is a loop without a goroutine of its own: who puts an event while nobody is at it handles that event, and what
// others put meanwhile. Events are handled one at a time, in the order in which they were put; put never blocks. It spares
// the two switches between goroutines that a loop's own costs for each event, which is much of what a run costs.
type actor[E any] struct {
	handle func(e E) // immutable: has the actor's state to itself; must not block, nor run users' code

	mu    sync.Mutex // guards following; leaf
	queue []E        // waits from head on
	head  int
	busy  bool // somebody is at it
}

// put has e handled, now or by who is at it.
func (a *actor[E]) put(e E) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue = append(a.queue, e)
	if a.busy {
		return true
	}
	a.busy = true
	var zero E
	for a.head < len(a.queue) {
		e := a.queue[a.head]
		a.queue[a.head] = zero
		a.head++
		a.mu.Unlock()
		a.handle(e)
		a.mu.Lock()
	}
	a.queue, a.head, a.busy = a.queue[:0], 0, false
	return true
}
