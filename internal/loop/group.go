package loop

import (
	"context"
	"sync"
)

// A Group is a set of goroutines for which the goroutine that starts them waits.
type Group struct {
	begin func(f func()) bool // immutable: starts a goroutine; false: there are no more
	room  chan struct{}       // immutable: its capacity is how many of them run at a time
	wg    sync.WaitGroup      // counts them
}

// NewGroup returns a group that starts goroutines by begin. At most limit of them run at a time.
func NewGroup(begin func(f func()) bool, limit int) *Group {
	return &Group{begin: begin, room: make(chan struct{}, limit)}
}

// Start runs f in a goroutine. f does not run if ctx ends before there is room for it, nor if begin
// refuses to start it.
func (g *Group) Start(ctx context.Context, f func()) {
	g.wg.Add(1)
	if !g.begin(func() {
		defer g.wg.Done()
		select {
		case g.room <- struct{}{}:
			defer func() { <-g.room }()
			f()
		case <-ctx.Done():
		}
	}) {
		g.wg.Done()
	}
}

// Wait blocks until all goroutines of the group have ended.
func (g *Group) Wait() { g.wg.Wait() }
