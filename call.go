package discoro

import (
	"context"
	"slices"
	"sync"

	"github.com/discoro/discoro/wire"
)

// outcome is how a coroutine ended, or what a call was answered.
type outcome struct {
	val    any           // what a coroutine of this runtime returned
	remote *wire.Outcome // the value as it came from another runtime, encoded
	err    error
}

// call is one wait for one answer. Whoever has the answer finishes it, once; one goroutine or coroutine waits.
type call struct {
	mu   sync.Mutex // guards following; leaf
	done bool
	out  outcome
	why  string        // immutable: what is waited for, as in CoroState.State
	of   *Coro         // immutable: and of which coroutine; nil: of none
	coro *localCoro    // waits, parked
	seq  uint64        // of coro's wait
	ch   chan struct{} // made by a goroutine that waits, closed by finish
}

// finish answers k; only the first answer counts. It never blocks.
func (k *call) finish(out outcome) {
	k.mu.Lock()
	if k.done {
		k.mu.Unlock()
		return
	}
	k.done, k.out = true, out
	coro, seq, ch := k.coro, k.seq, k.ch
	k.mu.Unlock()
	if ch != nil {
		close(ch)
	}
	if coro != nil {
		coro.wake(seq)
	}
}

// result returns the answer, when there is one.
func (k *call) result() (outcome, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.out, k.done
}

// attach makes finish wake coro's wait number seq; it reports false when k is finished already.
func (k *call) attach(coro *localCoro, seq uint64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.coro, k.seq = coro, seq
	return !k.done
}

// wait waits until k is finished or ctx ends. A coroutine of rt gives up the turn meanwhile. The error is ctx's, or
// ErrTerminated when the coroutine that waits was terminated; the call's own outcome is in out.
func (rt *Runtime) wait(ctx context.Context, k *call) (out outcome, err error) {
	if out, ok := k.result(); ok {
		return out, nil
	}
	if c := rt.coroutineOf(ctx); c != nil {
		return c.await(ctx, k)
	}
	k.mu.Lock()
	if k.done {
		k.mu.Unlock()
		return k.out, nil
	}
	if k.ch == nil {
		k.ch = make(chan struct{})
	}
	ch := k.ch
	k.mu.Unlock()
	select {
	case <-ch:
	case <-ctx.Done():
		// A result that is there beats a context that has ended.
		if out, ok := k.result(); ok {
			return out, nil
		}
		return outcome{}, ctx.Err()
	}
	out, _ = k.result()
	return out, nil
}

// coroutineOf returns the coroutine that the calling goroutine runs and that has the turn, nil if there is none. A
// goroutine that a coroutine started is not that coroutine, whatever context it was given.
func (rt *Runtime) coroutineOf(ctx context.Context) *localCoro {
	if c, ok := ctx.Value(coroKey{}).(*localCoro); ok && c.isCaller() {
		return c
	}
	if c := rt.turn.current.Load(); c != nil && c.isCaller() {
		return c
	}
	return nil
}

// await is wait for a coroutine.
func (l *localCoro) await(ctx context.Context, k *call) (outcome, error) {
	other := ctx != context.Context(&l.Coro) && ctx.Done() != nil // one that can end before the coroutine is terminated
	if other && ctx.Err() != nil && !l.term.Load() {
		return outcome{}, ctx.Err()
	}
	l.mu.Lock()
	if l.term.Load() {
		l.mu.Unlock()
		return outcome{}, ErrTerminated
	}
	seq := l.parkLocked(inCall)
	l.call = k
	l.mu.Unlock()
	if !k.attach(l, seq) {
		l.wake(seq) // finished meanwhile; one way through the queue is simplest
	}
	if other {
		stop := context.AfterFunc(ctx, func() { l.wake(seq) })
		defer stop()
	}
	l.yieldTurn()
	if out, ok := k.result(); ok {
		return out, nil
	}
	if l.term.Load() {
		return outcome{}, ErrTerminated
	}
	return outcome{}, ctx.Err()
}

// future is an answer that any number of callers may wait for.
type future struct {
	mu    sync.Mutex // guards following; leaf
	done  bool
	out   outcome
	thens []*then
}

// then is one call to be made when a future is set.
type then struct {
	call func(outcome)
}

// set answers f; only the first answer counts.
func (f *future) set(out outcome) {
	f.mu.Lock()
	if f.done {
		f.mu.Unlock()
		return
	}
	f.done, f.out = true, out
	thens := f.thens
	f.thens = nil
	f.mu.Unlock()
	for _, t := range thens {
		t.call(out)
	}
}

// onDone has call called once f is set, at once if it is. call must not block. stop takes that back.
func (f *future) onDone(call func(outcome)) (stop func()) {
	t := &then{call: call}
	f.mu.Lock()
	done, out := f.done, f.out
	if !done {
		f.thens = append(f.thens, t)
	}
	f.mu.Unlock()
	if done {
		call(out)
		return func() {}
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if i := slices.Index(f.thens, t); i >= 0 {
			f.thens = slices.Delete(f.thens, i, i+1)
		}
	}
}

// isDone reports whether f is set.
func (f *future) isDone() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.done
}

// wait waits until f is set or ctx ends; see Runtime.wait. why says what is waited for.
func (f *future) wait(ctx context.Context, rt *Runtime, why string, of *Coro) (outcome, error) {
	k := &call{why: why, of: of}
	stop := f.onDone(k.finish)
	out, err := rt.wait(ctx, k)
	if err != nil {
		stop()
	}
	return out, err
}
