package discoro

import (
	"fmt"
	"sync"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/wire"
)

// ends are the outcomes of coroutines that have ended, for other runtimes that have a handle and ask a little late. The last
// ones are kept, encoded.
type ends struct {
	mu    sync.Mutex               // guards following; leaf
	of    map[uint64]*wire.Outcome // by the coroutine's key
	order []uint64                 // oldest first
	bytes int
}

// Bounds of ends.
const (
	maxEnds     = 1024    // outcomes
	maxEndBytes = 1 << 20 // bytes of their results and texts
	endOverhead = 128     // bytes that an outcome counts with besides
)

// keepEnd keeps how l has ended, when a handle of it has left the runtime. That of a job is kept where it is encoded.
func (rt *Runtime) keepEnd(l *localCoro, out call.Outcome) {
	if l.isJob() {
		return
	}
	rt.mu.Lock()
	key := l.public
	rt.mu.Unlock()
	if key == 0 {
		return
	}
	o, err := encodeOutcome(rt, out)
	if err != nil {
		o = failed(err)
	}
	rt.ends.keep(key, o)
}

// endSize is what an outcome counts with.
func endSize(o *wire.Outcome) int {
	size := endOverhead + len(o.Type) + len(o.Body)
	if f := o.Err; f != nil {
		size += len(f.Msg) + len(f.Func) + len(f.Host) + len(f.Value) + len(f.Stack)
		for _, name := range f.Codes {
			size += len(name)
		}
	}
	return size
}

// keep keeps an outcome, and forgets the oldest beyond the bounds. One that is larger than all of them is not kept.
func (e *ends) keep(key uint64, o *wire.Outcome) {
	size := endSize(o)
	if size > maxEndBytes {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.of == nil {
		e.of = map[uint64]*wire.Outcome{}
	}
	if e.of[key] != nil {
		return
	}
	e.of[key] = o
	e.order = append(e.order, key)
	e.bytes += size
	for len(e.order) > maxEnds || e.bytes > maxEndBytes {
		old := e.order[0]
		e.order = e.order[1:]
		e.bytes -= endSize(e.of[old])
		delete(e.of, old)
	}
}

// endOf is the answer to who asks over l for the end of a coroutine that is not there.
func (rt *Runtime) endOf(l *link, key uint64) call.Outcome {
	rt.ends.mu.Lock()
	o := rt.ends.of[key]
	rt.ends.mu.Unlock()
	switch {
	case o == nil:
		return call.Outcome{Err: fmt.Errorf("discoro: the coroutine at %v has ended some time ago, or there never was one, and how it ended "+
			"is no longer known there: monitor it, or wait for it, before it ends: %w", rt.loc, ErrNotFound)}
	case l.isSelf():
		return rt.outcomeOf(o, nil)
	}
	return call.Outcome{Remote: o}
}
