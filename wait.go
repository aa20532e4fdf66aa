package discoro

import (
	"context"
	"sync"

	"github.com/discoro/discoro/internal/call"
)

// wait waits until k is finished or ctx ends. A coroutine of rt gives up the turn meanwhile. The
// error is ctx's, or ErrTerminated when the waiting coroutine was terminated. An error that is the
// answer itself is in the outcome.
func (rt *Runtime) wait(ctx context.Context, k *call.Call) (call.Outcome, error) {
	if out, ok := k.Result(); ok {
		return out, nil
	}
	if c := rt.coroutineOf(ctx); c != nil {
		return c.await(ctx, k)
	}
	select {
	case <-k.Done():
	case <-ctx.Done():
		// A result that is ready beats a context that has ended.
		if out, ok := k.Result(); ok {
			return out, nil
		}
		return call.Outcome{}, ctx.Err()
	}
	out, _ := k.Result()
	return out, nil
}

// waitFuture is wait until f is set. why and of are as in call.New.
func (rt *Runtime) waitFuture(ctx context.Context, f *call.Future, why string, of any) (call.Outcome, error) {
	k := call.New(why, of)
	stop := f.OnDone(k.Finish)
	out, err := rt.wait(ctx, k)
	if err != nil {
		stop()
	}
	return out, err
}

// coroutineOf returns the coroutine that the calling goroutine runs and that has the turn, nil if
// there is none. A goroutine that a coroutine started is not that coroutine, even when it has the
// coroutine's context.
func (rt *Runtime) coroutineOf(ctx context.Context) *localCoro {
	if c, ok := ctx.Value(coroKey{}).(*localCoro); ok && c.isCaller() {
		return c
	}
	if c := rt.withTurn(); c != nil && c.isCaller() {
		return c
	}
	return nil
}

// await is Runtime.wait for a coroutine.
func (l *localCoro) await(ctx context.Context, k *call.Call) (call.Outcome, error) {
	// Only another context can end before the coroutine is terminated.
	other := ctx != context.Context(&l.Coro) && ctx.Done() != nil
	if other && ctx.Err() != nil && !l.term.Load() {
		return call.Outcome{}, ctx.Err()
	}
	l.mu.Lock()
	if l.term.Load() {
		l.mu.Unlock()
		return call.Outcome{}, ErrTerminated
	}
	waitNo := l.parkLocked(inCall)
	l.call = k
	l.mu.Unlock()
	if !k.Attach(l, waitNo) {
		l.Wake(waitNo) // k has just been finished; going through the turn's queue as usual is simplest
	}
	if other {
		stop := context.AfterFunc(ctx, func() { l.Wake(waitNo) })
		defer stop()
	}
	l.yieldTurn()
	if out, ok := k.Result(); ok {
		return out, nil
	}
	if l.term.Load() {
		return call.Outcome{}, ErrTerminated
	}
	return call.Outcome{}, ctx.Err()
}

// group is a set of goroutines of a runtime that their starter waits for.
type group struct {
	rt   *Runtime       // immutable
	room chan struct{}  // immutable: its capacity is how many of them run at a time
	wg   sync.WaitGroup // counts them
}

// group returns a group of goroutines, of which at most limit run at a time.
func (rt *Runtime) group(limit int) *group {
	return &group{rt: rt, room: make(chan struct{}, limit)}
}

// start runs f in a goroutine. f does not run when ctx ends before there is room for it, nor when the
// runtime has closed.
func (g *group) start(ctx context.Context, f func()) {
	g.wg.Add(1)
	if !g.rt.start(func() {
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

// wait blocks until all goroutines of the group have ended.
func (g *group) wait() { g.wg.Wait() }
