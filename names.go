package discoro

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/discoro/discoro/wire"
)

func (rt *Runtime) registerName(l *localCoro, name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("discoro: register %v: a name has 1 to %d bytes, not %d: %w", &l.Coro, maxName, len(name), ErrRejected)
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
	if ending { // meanwhile: its end may have freed its names before this one was there
		_ = rt.unregisterName(l, name)
		return errEnded(&l.Coro)
	}
	return nil
}

func (rt *Runtime) unregisterName(l *localCoro, name string) error {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.names[name] != l {
		return fmt.Errorf("discoro: unregister %q: it is not %v: %w", name, &l.Coro, ErrNotFound)
	}
	delete(rt.names, name)
	return nil
}

// Locate finds a coroutine by the name that it was registered with: at the given locations, or, without any, here and
// then at all the peers, which are asked at once. It blocks until the first has answered that it has it, all have
// answered, or ctx ends. ErrNotFound: none has it.
func (rt *Runtime) Locate(ctx context.Context, name string, at ...Location) (*Coro, error) {
	if len(at) == 0 {
		if c := rt.named(name); c != nil {
			return c, nil
		}
		at = rt.Peers()
	}
	if len(at) == 0 {
		return nil, fmt.Errorf("discoro: locate %q: not here, and there are no peers: %w", name, ErrNotFound)
	}
	c, err := rt.locateFirst(ctx, name, at)
	if err != nil {
		return nil, fmt.Errorf("discoro: locate %q: %w", name, err)
	}
	return c, nil
}

// locateFirst asks at all the locations and returns the first coroutine that is found.
func (rt *Runtime) locateFirst(ctx context.Context, name string, at []Location) (*Coro, error) {
	actx, stop := context.WithCancel(rt.ctx)
	defer stop()
	found := &call{}
	failed := gather{left: len(at)}
	for _, loc := range at {
		if !rt.start(func() {
			if c, err := rt.locateAt(actx, name, loc); err == nil {
				found.finish(outcome{val: c})
			} else if all := failed.add(err); all != nil {
				found.finish(outcome{err: all})
			}
		}) {
			return nil, fmt.Errorf("the runtime is closed: %w", ErrClosed)
		}
	}
	out, err := rt.wait(ctx, found)
	if err != nil {
		return nil, err
	}
	c, _ := out.val.(*Coro)
	return c, out.err
}

// gather collects errors until all are there.
type gather struct {
	mu   sync.Mutex // guards following; leaf
	left int
	errs []error
}

// add adds an error; with the last it returns them all, else nil.
func (g *gather) add(err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.errs = append(g.errs, err)
	if g.left--; g.left > 0 {
		return nil
	}
	return errors.Join(g.errs...)
}

func (rt *Runtime) named(name string) *Coro {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if l := rt.names[name]; l != nil {
		return &l.Coro
	}
	return nil
}

func (rt *Runtime) locateAt(ctx context.Context, name string, loc Location) (*Coro, error) {
	l, err := rt.linkAt(ctx, loc)
	if err != nil {
		return nil, err
	}
	if l.isSelf() {
		if c := rt.named(name); c != nil {
			return c, nil
		}
		return nil, fmt.Errorf("no coroutine of that name at %v: %w", loc, ErrNotFound)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, rt.cfg.MsgTimeout, ErrTimeout)
	defer cancel()
	out, err := l.request(ctx, func(call uint64) wire.Frame { return &wire.Locate{Call: call, Name: name} })
	if err != nil {
		return nil, err
	}
	return resultAs[*Coro](rt, out, name)
}
