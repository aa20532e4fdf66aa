package discoro

import (
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"runtime"
	"sync"
	"weak"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/wire"
)

// handleKey names a coroutine or a channel in frames, for ever. key is random, so a peer can reach
// only coroutines and channels of which it has received a handle.
type handleKey struct {
	home wire.ID
	key  uint64
}

// newKeys returns a source of numbers that cannot be predicted: ChaCha8, seeded by the system.
func newKeys() mathrand.Source {
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // it never fails
	return mathrand.NewChaCha8(seed)
}

// drawKey returns a number of 63 bits that is not 0 and not taken.
func drawKey(from mathrand.Source, taken func(key uint64) bool) uint64 {
	for {
		if key := from.Uint64() >> 1; key != 0 && !taken(key) {
			return key
		}
	}
}

// handleTable holds the handles of coroutines, or of channels, that are in use in this runtime.
// There is one handle for each, so that == works. The table refers to the handles weakly. The
// owner's lock guards it.
type handleTable[T any] struct {
	of map[handleKey]weak.Pointer[T]
}

// getLocked returns the handle for key, nil when nobody holds one.
func (t *handleTable[T]) getLocked(key handleKey) *T { return t.of[key].Value() }

// takenLocked reports whether key is or was that of a handle here.
func (t *handleTable[T]) takenLocked(key handleKey) bool {
	_, taken := t.of[key]
	return taken
}

// keepLocked makes h the handle for key as long as the program holds h. mu is the lock that guards
// t.
func (t *handleTable[T]) keepLocked(mu *sync.Mutex, key handleKey, h *T) {
	if t.of == nil {
		t.of = map[handleKey]weak.Pointer[T]{}
	}
	t.of[key] = weak.Make(h)
	runtime.AddCleanup(h, func(key handleKey) {
		mu.Lock()
		defer mu.Unlock()
		if t.of[key].Value() == nil { // otherwise it has another handle by now
			delete(t.of, key)
		}
	}, key)
}

// handleValue returns what travels of a coroutine's handle.
func (rt *Runtime) handleValue(c *Coro) wire.HandleValue {
	key := c.key
	if c.local != nil {
		key = c.rt.exported(c.local)
	}
	return wire.HandleValue{ID: c.home, Host: c.loc.Addr, Port: c.loc.Port, Key: key, Seq: c.seq, Name: c.name}
}

// liveHandle returns the runtime's one handle of the coroutine that hv names.
func (rt *Runtime) liveHandle(hv wire.HandleValue) *Coro {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if hv.ID == rt.id {
		if l := rt.public[hv.Key]; l != nil {
			return &l.Coro
		}
	}
	if c := rt.handles.getLocked(handleKey{hv.ID, hv.Key}); c != nil {
		return c
	}
	return rt.newHandleLocked(hv)
}

func (rt *Runtime) newHandleLocked(hv wire.HandleValue) *Coro {
	c := &Coro{
		rt: rt, home: hv.ID, loc: Location{Addr: hv.Host, Port: hv.Port}, seq: hv.Seq, key: hv.Key, name: hv.Name,
	}
	rt.handles.keepLocked(&rt.mu, handleKey{hv.ID, hv.Key}, c)
	return c
}

// exported returns the key of a coroutine of this runtime, because its handle leaves the runtime.
// The first call draws the key, so a spawn draws nothing. From then on other runtimes can name the
// coroutine, and its handle is the same when it comes back, even after the coroutine has ended.
func (rt *Runtime) exported(l *localCoro) uint64 {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if l.public == 0 {
		l.public = drawKey(rt.keys, func(key uint64) bool { return rt.handles.takenLocked(handleKey{rt.id, key}) })
		rt.handles.keepLocked(&rt.mu, handleKey{rt.id, l.public}, &l.Coro)
		if !l.forgotten {
			rt.public[l.public] = l
		}
	}
	return l.public
}

// nameOf returns what logs call the coroutine with that key in the runtime at the other end of
// home. A key says nothing to people. Without a handle here, the coroutine's name is not known
// here.
func (rt *Runtime) nameOf(home *link.Link, key uint64) string {
	rt.mu.Lock()
	c := rt.handles.getLocked(handleKey{home.ID, key})
	rt.mu.Unlock()
	if c == nil {
		return "unknown@" + home.Location().String()
	}
	return c.String()
}

// ends holds the outcomes of coroutines that have ended, for other runtimes that have a handle and
// ask a little late. It keeps the latest ones, encoded.
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
	endOverhead = 128     // bytes that each outcome counts in addition
)

// keepEnd keeps the outcome of l if a handle of l has left the runtime. The end of a job is kept
// where it is encoded.
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

// endSize returns how many bytes an outcome counts.
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

// keep keeps an outcome, and forgets the oldest ones beyond the bounds. An outcome that exceeds the
// bounds by itself is not kept.
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

// endOf returns the answer to a question that came over l, about the end of a coroutine that has
// ended or never existed.
func (rt *Runtime) endOf(l *link.Link, key uint64) call.Outcome {
	rt.ends.mu.Lock()
	o := rt.ends.of[key]
	rt.ends.mu.Unlock()
	switch {
	case o == nil:
		return call.Outcome{Err: fmt.Errorf("discoro: the coroutine at %v has ended some time ago, or there never was one, "+
			"and how it ended is no longer known there: monitor it, or wait for it, before it ends: %w", rt.loc, ErrNotFound)}
	case l.IsSelf():
		return rt.outcomeOf(o, nil)
	}
	return call.Outcome{Remote: o}
}
