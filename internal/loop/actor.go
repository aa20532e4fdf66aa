package loop

import "sync"

// An Actor is a loop without a goroutine of its own. A goroutine that puts an event while no other
// one handles events handles that event itself, and then those that others have put meanwhile. This
// spares two switches between goroutines for each event, which are a large part of what a short run
// costs. An Actor is safe for concurrent use, and must not be copied.
type Actor[E any] struct {
	// Handle handles one event. It is set before the first Put and never changed. Calls of it never
	// overlap, so it may use the actor's state without a lock. It runs in whichever goroutine called
	// Put, such as a link's reader: it must not block and not run users' code.
	Handle func(e E)

	mu    sync.Mutex // guards following; leaf
	queue []E        // events wait from head on
	head  int
	busy  bool // a goroutine is handling events
}

// Put queues e, and handles it unless another goroutine is handling events, which then handles e as
// well. Events are handled in the order of Put. A Handle that calls Put on its own Actor is not
// called recursively. Put always returns true, so that an Actor can stand in for an [Inbox].
func (a *Actor[E]) Put(e E) bool {
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
		a.Handle(e)
		a.mu.Lock()
	}
	a.queue, a.head, a.busy = a.queue[:0], 0, false
	return true
}
