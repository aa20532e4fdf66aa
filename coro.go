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
	"github.com/discoro/discoro/internal/turn"
	"github.com/discoro/discoro/wire"
)

// Coro is a handle of a coroutine, here or at another runtime. In asyncoro: Coro. It can be passed in any
// message, argument or result and arrives as a live handle; within a runtime there is one handle a coroutine, so
// handles can be compared and be map keys.
//
// A Coro is a [context.Context]: that of the coroutine, done when the coroutine is terminated or has ended. Inside the
// coroutine, pass it wherever a context is wanted; what discoro then waits for, it waits for without the turn. As a
// context, the handle of a coroutine elsewhere is never done.
//
// Handles are safe for concurrent use. Receive, ReceiveTimeout, Sleep, Yield, Blocking, Spawn and Dir belong inside: only
// the coroutine's own goroutine may call them; elsewhere they panic. A goroutine that the coroutine started may use its
// context, and then waits like any other goroutine: it can never give up the turn of the coroutine.
//
// A function that locks its goroutine to its thread ([runtime.LockOSThread]) must unlock it before it yields or returns, or
// lock it inside Blocking: Go ends the whole program when a locked coroutine is to be exchanged for another.
type Coro struct {
	rt    *Runtime   // immutable: the runtime that this handle belongs to
	home  wire.ID    // immutable: the runtime that the coroutine runs in
	loc   Location   // immutable: that runtime's location
	seq   uint64     // immutable: the coroutine's number there, for people
	key   uint64     // immutable: what frames to there name it by; 0 when it runs in rt
	name  string     // immutable
	local *localCoro // immutable: the coroutine itself, when it runs in rt
	job   *job       // immutable: set when the coroutine runs a job of this client

	link atomic.Pointer[link] // of rt, the one that was used last
}

// Name returns the name that the coroutine was spawned with, or that of the function it runs.
func (c *Coro) Name() string { return c.name }

// Location returns where the coroutine runs.
func (c *Coro) Location() Location { return c.loc }

// Runtime returns the runtime that this handle belongs to: inside a coroutine, the one that it runs in.
func (c *Coro) Runtime() *Runtime { return c.rt }

// String gives "name/number@host:port".
func (c *Coro) String() string {
	return c.name + "/" + strconv.FormatUint(c.seq, 10) + "@" + c.loc.String()
}

// Send puts msg into the coroutine's mailbox and does not wait for it to get there. Messages from one sender arrive in
// the order sent. A message to a coroutine of the same runtime is shared, not copied. One to another runtime is encoded
// here: one that cannot travel is an error here (ErrTypeNotRegistered, ErrTooLarge). Send waits only while the link's
// queue is full, or the mailbox of a coroutine of the same runtime (Config.MaxMailbox), at most Config.MsgTimeout; then the
// error is ErrTimeout and the message was not sent. ErrRejected: a coroutine sends to itself and its mailbox is full.
// ErrNotFound: a coroutine of the same runtime has ended; to one elsewhere that has, a message is lost without a word, as is what
// is on a link that breaks. Where that matters use Deliver, Ask or Monitor. ErrDisconnected: the link broke while Send waited.
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

// Deliver is Send that returns when msg is in the mailbox, waiting for room in a full one. It blocks until then or until ctx
// ends. ErrNotFound: the coroutine has ended; ErrRejected: its mailbox is full, and too much waits for room there, or it is
// the sender itself; ErrDisconnected: the link broke, and msg may or may not have arrived.
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
	out, err := c.rt.linkOf(c).requestOf(ctx, waitDeliver, c, func(call uint64) wire.Frame {
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

// Monitor makes watcher receive exactly one [Exit] when the coroutine has ended, however it ends; at once when it has
// already, with ErrNotFound if nothing is known of it any more. When the link to it breaks, the Exit's Err is
// ErrDisconnected. Monitor itself waits only for room in the link's queue, at most until ctx ends; then watcher
// receives nothing and the error is ctx's. The watcher may be a coroutine of any runtime.
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
	err := l.waitRoom(ctx, wait(0))
	if err == nil {
		_, err = l.ask(call.Func(func(out call.Outcome) { c.rt.sendExit(watcher, c, out) }), wait)
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

// Terminate ends the coroutine: from now on each of its yield points returns ErrTerminated at once, and so does whatever
// else of discoro it waits for, with whichever context. It does not wait; see Wait. A function that has neither yielded nor
// returned after the grace period of five seconds is abandoned. Terminating a coroutine that has ended does nothing.
// ErrDisconnected: it runs elsewhere and the link broke; a link that breaks later is no error here.
func (c *Coro) Terminate() error {
	if c.local != nil {
		c.local.terminate()
		return nil
	}
	if err := c.rt.linkOf(c).post(&wire.Terminate{Of: c.key}); err != nil {
		return fault.Because(err, "terminate %v", c)
	}
	return nil
}

// Wait blocks until the coroutine has ended, or ctx ends, and returns the coroutine's error. It does not end the
// coroutine when ctx ends. The errors are those of [Exit], and ctx's. ErrNotFound: it had ended before, and its end is no longer
// known. ErrDisconnected: the link to it broke; it may still run.
func (c *Coro) Wait(ctx context.Context) error {
	out, err := c.outcome(ctx)
	if err != nil {
		return err
	}
	return out.Err
}

// Result blocks until the coroutine has ended, or ctx ends, and returns the coroutine's result, or its error; see [Coro.Wait] for
// the errors. ErrType: the result is not an R.
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
		out, err = c.rt.linkOf(c).requestOf(ctx, waitEnd, c, func(call uint64) wire.Frame { return &wire.Wait{Call: call, Of: c.key} })
		if errors.Is(out.Err, ErrDisconnected) && !errors.As(out.Err, new(*RemoteError)) { // the link's error, not its own
			err = out.Err
		}
	}
	if err != nil {
		return call.Outcome{}, fault.Because(err, "wait for %v", c)
	}
	return out, nil
}

// Register makes Locate find the coroutine under name, until it ends or Unregister. It may have several names. ErrExists: the
// name is another coroutine's in this runtime. ErrNotFound: it has ended, or runs at another runtime. ErrRejected: the name is
// empty, or longer than 256 bytes.
func (c *Coro) Register(name string) error {
	if c.local == nil {
		return fmt.Errorf("discoro: register %v as %q: it runs at another runtime: %w", c, name, ErrNotFound)
	}
	return c.rt.registerName(c.local, name)
}

// Unregister takes back Register. ErrNotFound: name is not the coroutine's.
func (c *Coro) Unregister(name string) error {
	if c.local == nil {
		return fmt.Errorf("discoro: unregister %q of %v: it runs at another runtime: %w", name, c, ErrNotFound)
	}
	return c.rt.unregisterName(c.local, name)
}

// Receive waits for the next message and removes it from the mailbox. It gives up the turn while it waits.
// ErrTerminated: the coroutine was terminated. An error of another kind tells of a message that could not be decoded,
// because this program has not registered its type, and which is lost.
func (c *Coro) Receive() (any, error) {
	l := c.inside("Receive")
	v, err := l.receive(-1)
	if err != nil {
		return nil, err
	}
	return c.rt.open(v)
}

// ReceiveTimeout is Receive that waits at most d, and then returns ErrTimeout. It does not wait when d is not positive.
func (c *Coro) ReceiveTimeout(d time.Duration) (any, error) {
	l := c.inside("ReceiveTimeout")
	v, err := l.receive(max(d, 0))
	if err != nil {
		return nil, err
	}
	return c.rt.open(v)
}

// ReceiveAs is Receive of a message that must be a T. When the next one is of another type the error is ErrType and the
// message stays the next one.
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
		return zero, fmt.Errorf("discoro: receive: the next message is of type %T, not %v: %w", msg, reflect.TypeFor[T](), ErrType)
	}
	return t, nil
}

// Sleep gives up the turn for at least d. ErrTerminated: the coroutine was terminated, and did not sleep for so long.
func (c *Coro) Sleep(d time.Duration) error { return c.inside("Sleep").sleep(d) }

// Yield lets the other coroutines that can run have the turn first. ErrTerminated: the coroutine was terminated.
func (c *Coro) Yield() error { return c.inside("Yield").yieldOnce() }

// Blocking runs f without the turn: f may block, on files and the network as well, and other coroutines run meanwhile.
// f must not touch what coroutines share. Blocking returns f's error once the coroutine has the turn again, and
// ErrTerminated if the coroutine was terminated and f returned none; when it was before, f is not run.
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

// Spawn starts a coroutine in the same runtime; see [Runtime.Spawn]. It has the same Dir and belongs to the same
// computation: it ends with that.
func (c *Coro) Spawn(name string, body func(c *Coro) (any, error)) *Coro {
	l := c.inside("Spawn")
	return l.rt.spawn(name, body, func(child *localCoro) { child.serves = l.serves })
}

// Dir returns the server's folder for the files of the computation that the coroutine belongs to. Elsewhere than at a
// server it is the runtime's DestPath. It may be called inside Blocking, where files are read and written.
func (c *Coro) Dir() string {
	l := c.own("Dir")
	if l.serves == nil {
		return l.rt.DestPath()
	}
	return l.serves.dir
}

// Logger returns the runtime's logger with the attributes coro, func, server and computation.
func (c *Coro) Logger() *slog.Logger {
	if c.local != nil {
		return c.local.logger()
	}
	return c.rt.log.With(slog.String("coro", c.String()))
}

// inside returns the coroutine when its own goroutine calls, with the turn; otherwise it panics: that is a mistake in
// the program, and going on would let two coroutines run at once.
func (c *Coro) inside(method string) *localCoro {
	l := c.own(method)
	if l.blocking {
		panic("discoro: " + method + " called on " + c.String() + " inside Blocking, where it has given up the turn") //nolint:forbidigo // misuse
	}
	return l
}

// own returns the coroutine when its own goroutine calls, with or without the turn; otherwise it panics.
func (c *Coro) own(method string) *localCoro {
	if c.local == nil {
		panic("discoro: " + method + " called on " + c.String() + ", which runs at another runtime: it belongs inside the coroutine") //nolint:forbidigo // misuse
	}
	if c.local.g.Load() != turn.GoroutineID() {
		panic("discoro: " + method + " called on " + c.String() + " from outside: only the coroutine's own goroutine may") //nolint:forbidigo // misuse
	}
	return c.local
}

// coroKey is the key under which a coroutine's context holds the coroutine.
type coroKey struct{}

// Deadline of the context: a coroutine has none.
func (c *Coro) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done is closed when the coroutine is terminated or has ended; nil for a coroutine that runs elsewhere.
func (c *Coro) Done() <-chan struct{} {
	if c.local == nil {
		return nil
	}
	return c.local.context().Done()
}

// Err is ErrTerminated once Done is closed.
func (c *Coro) Err() error {
	if c.local == nil || !c.local.over() {
		return nil
	}
	return ErrTerminated
}

// Value of the context: there are none but discoro's own, and what package context needs to cancel the contexts that
// are derived from this one.
func (c *Coro) Value(key any) any {
	if c.local == nil {
		return nil
	}
	if _, ok := key.(coroKey); ok {
		return c.local
	}
	return c.local.context().Value(key)
}

// Var is a server's global variable: one value a server for the current computation, gone when that closes. Declare it
// at package level; its zero value is ready. Coroutines of one server share its value without locks, under the turn.
type Var[T any] struct {
	_ [1]byte // so that each has an address of its own
}

// Set sets the value for the server that c runs in.
func (v *Var[T]) Set(c *Coro, value T) {
	rt := c.inside("Var.Set").rt
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.vars == nil {
		rt.vars = map[any]any{}
	}
	rt.vars[v] = held[T]{value}
}

// Get returns the value of the server that c runs in, and whether it was set.
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
