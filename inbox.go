package discoro

import "sync"

// inbox feeds a loop. put never blocks; the loop waits on more and takes what there is.
type inbox[T any] struct {
	more chan struct{} // capacity 1: there may be items

	mu     sync.Mutex // guards following; leaf
	items  []T
	closed bool
}

func newInbox[T any]() *inbox[T] {
	return &inbox[T]{more: make(chan struct{}, 1)}
}

// put adds v; it reports false when the loop has ended.
func (b *inbox[T]) put(v T) bool {
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

// take exchanges what there is for the empty slice spare.
func (b *inbox[T]) take(spare []T) []T {
	clear(spare)
	b.mu.Lock()
	defer b.mu.Unlock()
	items := b.items
	b.items = spare[:0]
	return items
}

// close makes put fail from now on, and returns what nobody will take.
func (b *inbox[T]) close() []T {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	items := b.items
	b.items = nil
	return items
}
