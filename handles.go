package discoro

import (
	"crypto/rand"
	mathrand "math/rand/v2"
	"runtime"
	"weak"

	"github.com/discoro/discoro/wire"
)

// handleKey names a coroutine, or a channel, for ever. The key is random: who was not given a handle cannot guess it.
type handleKey struct {
	home wire.ID
	key  uint64
}

// newKeys returns a source of numbers that nobody can predict: ChaCha8, begun with the system's random bytes.
func newKeys() mathrand.Source {
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // it never fails
	return mathrand.NewChaCha8(seed)
}

// drawKey returns a number of 63 bits from a source that is not 0, and not taken.
func drawKey(from mathrand.Source, taken func(key uint64) bool) uint64 {
	for {
		if key := from.Uint64() >> 1; key != 0 && !taken(key) {
			return key
		}
	}
}

// handle returns the runtime's one handle of a coroutine.
func (rt *Runtime) handle(hv wire.HandleValue) *Coro {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if hv.ID == rt.id {
		if l := rt.public[hv.Key]; l != nil {
			return &l.Coro
		}
	}
	if c := rt.handles[handleKey{hv.ID, hv.Key}].Value(); c != nil {
		return c
	}
	return rt.newHandleLocked(hv)
}

func (rt *Runtime) newHandleLocked(hv wire.HandleValue) *Coro {
	c := &Coro{rt: rt, home: hv.ID, loc: Location{Addr: hv.Host, Port: hv.Port}, seq: hv.Seq, key: hv.Key, name: hv.Name}
	rt.keepHandleLocked(handleKey{hv.ID, hv.Key}, c)
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

// exported returns the key of a coroutine of this runtime, whose handle leaves it. The first time it draws the key: from then on
// others can name the coroutine, and its handle is the same when it comes back, also after the coroutine has ended.
func (rt *Runtime) exported(l *localCoro) uint64 {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if l.public == 0 {
		l.public = drawKey(rt.keys, func(key uint64) bool { _, taken := rt.handles[handleKey{rt.id, key}]; return taken })
		rt.keepHandleLocked(handleKey{rt.id, l.public}, &l.Coro)
		if !l.gone {
			rt.public[l.public] = l
		}
	}
	return l.public
}

// nameOf returns what logs call a coroutine at the end of home that a frame names: a key alone says nothing to people. Where there is no
// handle of it here, its name is not known here.
func (rt *Runtime) nameOf(home *link, key uint64) string {
	rt.mu.Lock()
	c := rt.handles[handleKey{home.id, key}].Value()
	rt.mu.Unlock()
	if c == nil {
		return "unknown@" + home.location().String()
	}
	return c.String()
}
