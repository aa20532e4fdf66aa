package discoro

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/turn"
	"github.com/discoro/discoro/wire"
)

// Coro is a handle of a coroutine, which runs in this runtime or in another one. In asyncoro: Coro,
// and Task. A handle can be passed in any message, argument or result, and arrives as a live
// handle. A runtime has one handle for each coroutine, so handles can be compared and be map keys.
//
// A Coro is also the [context.Context] of the coroutine, which is done when the coroutine is
// terminated or has ended. Inside the coroutine, pass it wherever a context is wanted: every wait
// in this package then gives up the turn. As a context, the handle of a coroutine in another
// runtime is never done.
//
// Handles are safe for concurrent use. Receive, ReceiveTimeout, Sleep, Yield, Blocking, Spawn and
// Dir belong inside the coroutine: they panic unless the coroutine's own goroutine calls them. A
// goroutine that the coroutine started may use its context, but waits like any other goroutine: it
// never gives up the coroutine's turn.
//
// A function that locks its goroutine to its thread ([runtime.LockOSThread]) must unlock it before
// it yields or returns, or lock it inside Blocking. Otherwise Go ends the program when the turn
// goes from that coroutine to another one.
type Coro struct {
	rt    *Runtime   // immutable: the runtime that this handle belongs to
	home  wire.ID    // immutable: the runtime that the coroutine runs in
	loc   Location   // immutable: that runtime's location
	seq   uint64     // immutable: the coroutine's number there, for people
	key   uint64     // immutable: what frames to there name it by; 0 when it runs in rt
	name  string     // immutable
	local *localCoro // immutable: the coroutine itself, when it runs in rt
	job   *job       // immutable: set when the coroutine runs a job of this client

	link atomic.Pointer[link.Link] // the link of rt that was used last
}

// Name returns the name that the coroutine was spawned with, or that of the function it runs.
func (c *Coro) Name() string { return c.name }

// Location returns where the coroutine runs.
func (c *Coro) Location() Location { return c.loc }

// Runtime returns the runtime that this handle belongs to. Inside a coroutine that is the runtime
// in which the coroutine runs.
func (c *Coro) Runtime() *Runtime { return c.rt }

// String returns "name/number@host:port".
func (c *Coro) String() string {
	return c.name + "/" + strconv.FormatUint(c.seq, 10) + "@" + c.loc.String()
}

// Send puts msg into the coroutine's mailbox. It does not wait until msg is there. The messages of
// one sender arrive in the order sent. A message to a coroutine of the same runtime is shared, not
// copied. A message to another runtime is encoded before Send returns.
//
// Send blocks only while there is no room in the link's queue, or in the mailbox of a coroutine of
// the same runtime (see Config.MaxMailbox), and for at most Config.MsgTimeout.
//
// The errors are:
//
//   - ErrTypeNotRegistered, ErrTooLarge: msg cannot travel.
//   - ErrTimeout: there was no room for Config.MsgTimeout. msg was not sent.
//   - ErrRejected: a coroutine sent to itself, and its mailbox is full.
//   - ErrNotFound: the coroutine, of the same runtime, has ended.
//   - ErrDisconnected: the link broke while Send waited.
//
// A message is lost silently when the coroutine, of another runtime, has ended, or when the link
// breaks after Send. Where that matters, use Deliver, [Ask] or Monitor.
func (c *Coro) Send(msg any) error {
	var err error
	switch {
	case c.local == nil:
		err = c.rt.sendAway(c, msg)
	case c.rt.cfg.MaxMailbox == 0:
		err = c.local.put(msg)
	default:
		err = c.local.send(msg)
	}
	if err == nil {
		c.rt.countSent()
	}
	return err
}

// Deliver is Send, but returns when msg is in the mailbox. It blocks until then, which includes
// waiting for room in a full mailbox, or until ctx ends.
//
// The errors are those of encoding, as with Send, and:
//
//   - ErrNotFound: the coroutine has ended.
//   - ErrRejected: the mailbox is full, and too much waits for room in it; or a coroutine whose
//     mailbox is full sent to itself.
//   - ErrDisconnected: the link broke. msg may or may not have arrived.
func (c *Coro) Deliver(ctx context.Context, msg any) error {
	if c.local != nil {
		err := c.local.sendUntil(ctx, msg, waitDeliver)
		if err == nil {
			c.rt.countSent()
		}
		return err
	}
	body, err := c.rt.encodeMessage(msg)
	if err != nil {
		return fault.Because(err, "deliver to %v", c)
	}
	out, err := c.rt.linkOf(c).Request(ctx, waitDeliver, c, func(call uint64) wire.Frame {
		return &wire.Deliver{Call: call, To: c.key, Body: body}
	})
	if err == nil {
		err = out.Err
	}
	if err != nil {
		return fault.Because(err, "deliver to %v", c)
	}
	c.rt.countSent()
	return nil
}

// Monitor makes watcher receive exactly one [Exit] when the coroutine has ended, however it ends.
// In asyncoro: monitor. When the coroutine has ended before, watcher receives the Exit at once; its
// Err is ErrNotFound when the runtime no longer remembers how the coroutine ended. When the link to
// the coroutine breaks, Err is ErrDisconnected. watcher may be a coroutine of any runtime.
//
// Monitor blocks only while there is no room in the link's queue, until ctx ends. Then watcher
// receives nothing, and the error wraps ctx's. ErrRejected: watcher is nil.
func (c *Coro) Monitor(ctx context.Context, watcher *Coro) error {
	switch {
	case watcher == nil:
		return fmt.Errorf("discoro: monitor %v: there is no watcher: %w", c, ErrRejected)
	case c.local != nil:
		c.local.onEnd(func() { c.rt.sendExit(watcher, c, c.local.outcomeNow()) })
		return nil
	case c.job != nil:
		c.job.done.OnDone(func(out call.Outcome) { c.rt.sendExit(watcher, c, out) })
		return nil
	}
	l := c.rt.linkOf(c)
	wait := func(call uint64) wire.Frame { return &wire.Wait{Call: call, Of: c.key} }
	err := l.WaitRoom(ctx, wait(0))
	if err == nil {
		_, err = l.Ask(call.Func(func(out call.Outcome) { c.rt.sendExit(watcher, c, out) }), wait)
	}
	if errors.Is(err, ErrDisconnected) {
		c.rt.sendExit(watcher, c, call.Outcome{Err: fault.Because(err, "monitor %v", c)})
		return nil
	}
	if err != nil {
		return fault.Because(err, "monitor %v", c)
	}
	return nil
}

// Terminate ends the coroutine. From now on each of its yield points returns ErrTerminated at once,
// and so does every other wait in this package, with whichever context. Terminate does not block;
// use Wait to wait for the end. A function that has neither yielded nor returned after a grace
// period of 5 s is abandoned: the coroutine counts as ended, and its goroutine is left alone.
// Terminating a coroutine that has ended does nothing.
//
// ErrDisconnected: the coroutine runs in another runtime, and the link is broken. A link that
// breaks later is no error here.
func (c *Coro) Terminate() error {
	if c.local != nil {
		c.local.terminate()
		return nil
	}
	if err := c.rt.linkOf(c).Post(&wire.Terminate{Of: c.key}); err != nil {
		return fault.Because(err, "terminate %v", c)
	}
	return nil
}

// Wait blocks until the coroutine has ended, or until ctx ends, and returns the coroutine's error.
// The end of ctx does not end the coroutine.
//
// The errors are those of [Exit], and ctx's. ErrNotFound: the coroutine ended before, and its end
// is no longer known. ErrDisconnected: the link to it broke; the coroutine may still run.
// ErrRejected: the coroutine waits for itself.
func (c *Coro) Wait(ctx context.Context) error {
	out, err := c.outcome(ctx)
	if err != nil {
		return err
	}
	return out.Err
}

// Result blocks until the coroutine has ended, or until ctx ends, and returns the coroutine's
// result. The errors are those of [Coro.Wait], and ErrType: the result is not an R.
func Result[R any](ctx context.Context, c *Coro) (R, error) {
	out, err := c.outcome(ctx)
	if err != nil {
		var zero R
		return zero, err
	}
	return resultAs[R](c.rt, out, c.name)
}

// outcome waits for the coroutine's end.
func (c *Coro) outcome(ctx context.Context) (out call.Outcome, err error) {
	switch {
	case c.local != nil:
		return c.local.wait(ctx)
	case c.job != nil:
		out, err = c.rt.waitFuture(ctx, &c.job.done, waitEnd, c)
	default:
		out, err = c.rt.linkOf(c).Request(ctx, waitEnd, c, func(call uint64) wire.Frame {
			return &wire.Wait{Call: call, Of: c.key}
		})
		if errors.Is(out.Err, ErrDisconnected) && !errors.As(out.Err, new(*RemoteError)) { // the link's error, not its own
			err = out.Err
		}
	}
	if err != nil {
		return call.Outcome{}, fault.Because(err, "wait for %v", c)
	}
	return out, nil
}

// Register makes [Runtime.Locate] find the coroutine under name, until the coroutine ends or
// Unregister. A coroutine may have several names. Register does not block.
//
// ErrExists: another coroutine of this runtime has the name. ErrNotFound: the coroutine has ended,
// or runs in another runtime. ErrRejected: the name is empty, or longer than 256 bytes.
func (c *Coro) Register(name string) error {
	if c.local == nil {
		return fmt.Errorf("discoro: register %v as %q: the coroutine runs at another runtime: %w", c, name, ErrNotFound)
	}
	return c.rt.registerName(c.local, name)
}

// Unregister undoes Register. ErrNotFound: the coroutine does not have the name.
func (c *Coro) Unregister(name string) error {
	if c.local == nil {
		return fmt.Errorf("discoro: unregister %q of %v: the coroutine runs at another runtime: %w", name, c, ErrNotFound)
	}
	return c.rt.unregisterName(c.local, name)
}

// Receive removes the next message from the mailbox and returns it. It gives up the turn and blocks
// while there is none. It belongs inside the coroutine.
//
// ErrTerminated: the coroutine was terminated. Any other error stands for a message that this
// program could not decode, for example because it has not registered the message's type. That
// message is lost; Receive may be called again.
func (c *Coro) Receive() (any, error) {
	l := c.inside("Receive")
	v, err := l.receive(-1)
	if err != nil {
		return nil, err
	}
	return c.rt.open(v)
}

// ReceiveTimeout is Receive, but waits for at most d and then returns ErrTimeout. It does not wait
// when d is not positive.
func (c *Coro) ReceiveTimeout(d time.Duration) (any, error) {
	l := c.inside("ReceiveTimeout")
	v, err := l.receive(max(d, 0))
	if err != nil {
		return nil, err
	}
	return c.rt.open(v)
}

// ReceiveAs is Receive of a message that must be a T. When the next message has another type, the
// error is ErrType, and that message stays the next one.
func ReceiveAs[T any](c *Coro) (T, error) {
	var zero T
	l := c.inside("ReceiveAs")
	v, err := l.receive(-1)
	if err != nil {
		return zero, err
	}
	msg, err := c.rt.open(v)
	if err != nil {
		return zero, err
	}
	t, ok := msg.(T)
	if !ok {
		l.box.untake(msg)
		return zero, fmt.Errorf("discoro: receive: the next message is of type %T, not %v: %w",
			msg, reflect.TypeFor[T](), ErrType)
	}
	return t, nil
}

// Sleep gives up the turn for at least d. ErrTerminated: the coroutine was terminated, and may have
// slept for less.
func (c *Coro) Sleep(d time.Duration) error { return c.inside("Sleep").sleep(d) }

// Yield gives the turn to the other coroutines that can run, and returns when it is this
// coroutine's turn again. ErrTerminated: the coroutine was terminated.
func (c *Coro) Yield() error { return c.inside("Yield").yieldOnce() }

// Blocking runs f without the turn. f may block, on files and the network for example, while other
// coroutines run. f must not touch what coroutines share, because it runs at the same time as they
// do.
//
// Blocking returns f's error once the coroutine has the turn again. It returns ErrTerminated when
// the coroutine was terminated and f returned nil. When the coroutine was terminated before, f does
// not run.
func (c *Coro) Blocking(f func() error) error {
	l := c.inside("Blocking")
	if err := l.termErr(); err != nil {
		return err
	}
	l.leave()
	defer l.reenter()
	if err := f(); err != nil {
		return err
	}
	return l.termErr()
}

// Spawn starts a coroutine in the same runtime; see [Runtime.Spawn]. The new coroutine has the same
// Dir and belongs to the same computation: it ends when that closes.
func (c *Coro) Spawn(name string, body func(c *Coro) (any, error)) *Coro {
	l := c.inside("Spawn")
	return l.rt.spawn(name, body, func(child *localCoro) { child.serves = l.serves })
}

// Dir returns the folder that the server has for the files of the coroutine's computation. For a
// coroutine that does not run for a computation, it returns the runtime's DestPath. Dir may be
// called inside Blocking, where files are read and written.
func (c *Coro) Dir() string {
	l := c.caller("Dir")
	if l.serves == nil {
		return l.rt.DestPath()
	}
	return l.serves.dir
}

// Logger returns the runtime's logger with the attribute coro and, for a coroutine that runs for a
// computation, the attributes func, server and computation.
func (c *Coro) Logger() *slog.Logger {
	if c.local != nil {
		return c.local.logger()
	}
	return c.rt.log.With(slog.String("coro", c.String()))
}

// inside returns the coroutine when its own goroutine calls, with the turn. Otherwise it panics:
// that is a mistake in the program, and going on would let two coroutines run at once.
func (c *Coro) inside(method string) *localCoro {
	l := c.caller(method)
	if l.blocking {
		c.misused(method, " inside Blocking, where it has given up the turn")
	}
	return l
}

// caller returns the coroutine when its own goroutine calls, with or without the turn. Otherwise it
// panics.
func (c *Coro) caller(method string) *localCoro {
	if c.local == nil {
		c.misused(method, ", which runs at another runtime: it belongs inside the coroutine")
	}
	if c.local.g.Load() != turn.GoroutineID() {
		c.misused(method, " from outside: only the coroutine's own goroutine may")
	}
	return c.local
}

// misused panics, because method was called where it does not belong.
func (c *Coro) misused(method, where string) {
	panic("discoro: " + method + " called on " + c.String() + where) //nolint:forbidigo // misuse
}

// coroKey is the key under which a coroutine's context holds the coroutine.
type coroKey struct{}

// Deadline implements [context.Context]. A coroutine has no deadline.
func (c *Coro) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements [context.Context]. The channel is closed when the coroutine is terminated or has
// ended. It is nil for a coroutine that runs in another runtime.
func (c *Coro) Done() <-chan struct{} {
	if c.local == nil {
		return nil
	}
	return c.local.context().Done()
}

// Err implements [context.Context]. It returns ErrTerminated once Done is closed, and nil before.
func (c *Coro) Err() error {
	if c.local == nil || !c.local.isDone() {
		return nil
	}
	return ErrTerminated
}

// Value implements [context.Context]. A coroutine's context holds only what this package and
// package context put there, the latter to cancel contexts that are derived from it.
func (c *Coro) Value(key any) any {
	if c.local == nil {
		return nil
	}
	if _, ok := key.(coroKey); ok {
		return c.local
	}
	return c.local.context().Value(key)
}

// Var is a server's global variable: a value that the coroutines of one computation share at one
// server. It is gone when the computation closes. Declare a Var at package level; its zero value is
// ready for use. Coroutines need no lock for its value, because only one of them at a time has the
// turn.
type Var[T any] struct {
	_ [1]byte // so that every Var has its own address
}

// Set sets the value at the server in which c runs. It belongs inside c.
func (v *Var[T]) Set(c *Coro, value T) {
	rt := c.inside("Var.Set").rt
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.vars == nil {
		rt.vars = map[any]any{}
	}
	rt.vars[v] = held[T]{value}
}

// Get returns the value at the server in which c runs, and whether it was set. It belongs inside c.
func (v *Var[T]) Get(c *Coro) (T, bool) {
	rt := c.inside("Var.Get").rt
	rt.mu.Lock()
	defer rt.mu.Unlock()
	h, ok := rt.vars[v].(held[T])
	return h.value, ok
}

// held wraps a value, so that a nil interface counts as set.
type held[T any] struct{ value T }

// resetVars forgets the values of every Var.
func (rt *Runtime) resetVars() {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.vars = nil
}
