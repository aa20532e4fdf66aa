package loop

import "sync"

// An Inbox is the queue of a loop with a goroutine of its own. The loop waits on More and then
// takes everything that is queued. An Inbox is safe for concurrent use.
type Inbox[T any] struct {
	more chan struct{} // immutable; capacity 1: there may be items

	mu     sync.Mutex // guards following; leaf
	items  []T
	closed bool
}

// NewInbox returns an empty Inbox.
func NewInbox[T any]() *Inbox[T] {
	return &Inbox[T]{more: make(chan struct{}, 1)}
}

// Put adds v. It never blocks, and returns false when the Inbox is closed.
func (b *Inbox[T]) Put(v T) bool {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return false
	}
	b.items = append(b.items, v)
	b.mu.Unlock()
	select {
	case b.more <- struct{}{}:
	default:
	}
	return true
}

// More returns the channel that the loop waits on: it has an element when there may be items to
// take.
func (b *Inbox[T]) More() <-chan struct{} { return b.more }

// Take returns the queued items, and keeps spare's memory for those that come next. A loop passes
// the slice that it took before.
func (b *Inbox[T]) Take(spare []T) []T {
	clear(spare)
	b.mu.Lock()
	defer b.mu.Unlock()
	items := b.items
	b.items = spare[:0]
	return items
}

// Close makes Put return false from now on. It returns the items that nobody will take.
func (b *Inbox[T]) Close() []T {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	items := b.items
	b.items = nil
	return items
}
