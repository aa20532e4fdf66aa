package discoro

import (
	"runtime"
	"weak"

	"github.com/discoro/discoro/wire"
)

// handleKey names a coroutine for ever.
type handleKey struct {
	home wire.ID
	seq  uint64
}

// handle returns the runtime's one handle of a coroutine.
func (rt *Runtime) handle(home wire.ID, loc Location, seq uint64, name string) *Coro {
	key := handleKey{home, seq}
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if home == rt.id {
		if l := rt.coros[seq]; l != nil {
			return &l.Coro
		}
	}
	if c := rt.handles[key].Value(); c != nil {
		return c
	}
	c := &Coro{rt: rt, home: home, loc: loc, seq: seq, name: name}
	rt.keepHandleLocked(key, c)
	return c
}

// keepHandleLocked makes c the handle for key as long as somebody holds it.
func (rt *Runtime) keepHandleLocked(key handleKey, c *Coro) {
	rt.handles[key] = weak.Make(c)
	runtime.AddCleanup(c, rt.dropHandle, key)
}

func (rt *Runtime) dropHandle(key handleKey) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.handles[key].Value() == nil {
		delete(rt.handles, key)
	}
}

// exported notes that a handle of a local coroutine leaves the runtime, so that it is the same when it comes back after
// the coroutine has ended.
func (rt *Runtime) exported(c *Coro) {
	key := handleKey{c.home, c.seq}
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if _, ok := rt.handles[key]; !ok {
		rt.keepHandleLocked(key, c)
	}
}
