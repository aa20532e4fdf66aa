package discoro

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/wire"
)

// registerName is Coro.Register.
func (rt *Runtime) registerName(l *localCoro, name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("discoro: register %v: a name has 1 to %d bytes, not %d: %w",
			&l.Coro, maxName, len(name), ErrRejected)
	}
	l.mu.Lock()
	ending := l.ending
	if !ending && !slices.Contains(l.names, name) {
		l.names = append(l.names, name)
	}
	l.mu.Unlock()
	if ending {
		return errEnded(&l.Coro)
	}
	rt.mu.Lock()
	other := rt.names[name]
	if other == nil {
		rt.names[name] = l
	}
	rt.mu.Unlock()
	if other != nil && other != l {
		return fmt.Errorf("discoro: register %v: %q is %v: %w", &l.Coro, name, &other.Coro, ErrExists)
	}
	l.mu.Lock()
	ending = l.ending
	l.mu.Unlock()
	if ending { // it ended meanwhile, and may have freed its names before this one was among them
		_ = rt.unregisterName(l, name)
		return errEnded(&l.Coro)
	}
	return nil
}

// unregisterName is Coro.Unregister.
func (rt *Runtime) unregisterName(l *localCoro, name string) error {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.names[name] != l {
		return fmt.Errorf("discoro: unregister %q: that is no name of %v: %w", name, &l.Coro, ErrNotFound)
	}
	delete(rt.names, name)
	return nil
}

// freeNames unregisters all names of l.
func (rt *Runtime) freeNames(l *localCoro) {
	l.mu.Lock()
	names := l.names
	l.mu.Unlock()
	for _, name := range names {
		_ = rt.unregisterName(l, name) // it may have been unregistered before
	}
}

// Locate finds a coroutine by a name that it was registered with (see [Coro.Register]). It asks at
// the given locations. Without any it asks here, then all peers at once, and then the local
// network, unless that is turned off: it connects to runtimes there that have the name. In
// asyncoro: Coro.locate.
//
// Locate blocks until one runtime has answered that it has the name, until all have answered that
// they do not, or until ctx ends. On the local network it waits for answers for 0.4 s.
//
// ErrNotFound: none of the runtimes that were reached has the name. The errors of those that were
// not reached, such as ErrDisconnected, are joined to it.
func (rt *Runtime) Locate(ctx context.Context, name string, at ...Location) (*Coro, error) {
	if len(at) == 0 {
		if c := rt.named(name); c != nil {
			return c, nil
		}
	}
	c, err := locateName(ctx, rt, name, at, rt.locateAt)
	if err != nil {
		return nil, fault.Because(err, "locate %q", name)
	}
	return c, nil
}

// locateOne asks one runtime for the coroutine or channel with a name.
type locateOne[T any] func(ctx context.Context, name string, loc Location) (T, error)

// locateName asks at the given locations or, without any, all the peers and then the local network.
func locateName[T any](
	ctx context.Context, rt *Runtime, name string, at []Location, ask locateOne[T],
) (found T, err error) {
	if len(at) > 0 {
		return locateAmong(ctx, rt, name, at, ask)
	}
	if rt.ctx.Err() != nil {
		return found, errRuntimeClosed
	}
	failed := fmt.Errorf("not here, and there are no peers: %w", ErrNotFound)
	if at := rt.Peers(); len(at) > 0 {
		if found, failed = locateAmong(ctx, rt, name, at, ask); failed == nil {
			return found, nil
		}
	}
	if rt.discovery != nil && 0 < len(name) && len(name) <= maxName {
		found, err := locateNear(ctx, rt, name, ask)
		if err == nil {
			return found, nil
		}
		if !errors.Is(err, ErrNotFound) { // ctx ended: what the peers answered does not matter
			failed = nil
		}
		failed = errors.Join(failed, err)
	}
	return found, failed
}

// locateAmong asks at all the locations, and returns the first find.
func locateAmong[T any](
	ctx context.Context, rt *Runtime, name string, at []Location, ask locateOne[T],
) (first T, err error) {
	actx, stop := context.WithCancel(rt.ctx)
	defer stop()
	found := call.New(waitLocate, nil)
	failed := gather{left: len(at)}
	for _, loc := range at {
		if !rt.start(func() {
			if one, err := ask(actx, name, loc); err == nil {
				found.Finish(call.Outcome{Value: one})
			} else if all := failed.add(err); all != nil {
				found.Finish(call.Outcome{Err: all})
			}
		}) {
			return first, errRuntimeClosed
		}
	}
	out, err := rt.wait(ctx, found)
	if err != nil {
		return first, err
	}
	first, _ = out.Value.(T)
	return first, out.Err
}

// gather collects errors until all are there.
type gather struct {
	mu   sync.Mutex // guards following; leaf
	left int
	errs []error
}

// add adds an error. With the last one it returns them all, and before that nil.
func (g *gather) add(err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.errs = append(g.errs, err)
	if g.left--; g.left > 0 {
		return nil
	}
	return errors.Join(g.errs...)
}

// named returns the coroutine of this runtime that is registered under name, nil when there is
// none.
func (rt *Runtime) named(name string) *Coro {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if l := rt.names[name]; l != nil {
		return &l.Coro
	}
	return nil
}

// locateAt asks one runtime for a coroutine.
func (rt *Runtime) locateAt(ctx context.Context, name string, loc Location) (*Coro, error) {
	l, err := rt.linkAt(ctx, loc)
	if err != nil {
		return nil, err
	}
	if l.IsSelf() {
		if c := rt.named(name); c != nil {
			return c, nil
		}
		return nil, fmt.Errorf("no coroutine of that name at %v: %w", loc, ErrNotFound)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, rt.cfg.MsgTimeout, ErrTimeout)
	defer cancel()
	out, err := l.Request(ctx, waitLocate, nil, func(call uint64) wire.Frame { return &wire.Locate{Call: call, Name: name} })
	if err != nil {
		return nil, err
	}
	return resultAs[*Coro](rt, out, name)
}

// serveLocate answers with the coroutine that has a name.
func (rt *Runtime) serveLocate(l *link.Link, f *wire.Locate) {
	out := call.Outcome{Err: fmt.Errorf("no coroutine of that name at %v: %w", rt.loc, ErrNotFound)}
	if c := rt.named(f.Name); c != nil {
		out = call.Outcome{Value: c}
	}
	l.Reply(f.Call, out)
}
