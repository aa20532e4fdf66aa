package discoro

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/turn"
	"github.com/discoro/discoro/wire"
)

// Exit is what a watcher receives when a coroutine that it monitors has ended; see [Coro.Monitor].
// In asyncoro: MonitorException.
type Exit struct {
	// Coro is the coroutine that has ended.
	Coro *Coro
	// Err is nil when the coroutine's function returned without an error, and otherwise how it
	// ended: the function's error (a [RemoteError] from another runtime), a [PanicError],
	// ErrTerminated, a [ServerLostError], ErrDisconnected when the link to the coroutine broke, or
	// ErrNotFound when the coroutine had ended before and its runtime no longer remembers how.
	Err error

	out call.Outcome // immutable
}

// ExitResult returns what the coroutine returned, or e.Err. ErrType: the result is not an R.
func ExitResult[R any](e Exit) (R, error) {
	if e.Err != nil || e.Coro == nil {
		var zero R
		return zero, e.Err
	}
	return resultAs[R](e.Coro.rt, e.out, e.Coro.name)
}

// Ask sends msg to the coroutine and returns its reply. The coroutine receives msg in a [Request].
// Ask blocks until the request is replied to, or until ctx ends. It may be called inside a
// coroutine, which gives up the turn meanwhile, and outside.
//
// ErrNotFound: the coroutine has ended without a reply. ErrDisconnected: the link to it broke.
// ErrType: the reply is not an R. ErrRejected: the mailbox is full and too much waits for room in
// it, or a coroutine asked itself. An error that the coroutine replied with arrives as such.
func Ask[R any](ctx context.Context, to *Coro, msg any) (R, error) {
	var zero R
	out, err := to.ask(ctx, msg)
	if err == nil {
		err = out.Err
	}
	if err != nil {
		return zero, fault.Because(err, "ask %v", to)
	}
	return resultAs[R](to.rt, out, to.name)
}

func (c *Coro) ask(ctx context.Context, msg any) (call.Outcome, error) {
	if c.local != nil {
		if c.local.g.Load() == turn.GoroutineID() {
			return call.Outcome{}, fmt.Errorf("a coroutine cannot reply while it asks itself: %w", ErrRejected)
		}
		k := call.New(waitAsk, c)
		r := &Request{Msg: msg, from: c.local}
		r.answer = k.Finish
		if err := c.local.sendUntil(ctx, r, waitAsk); err != nil {
			return call.Outcome{}, err
		}
		c.rt.countSent()
		stop := c.local.onEnd(func() { r.fail(errEnded(c)) })
		defer stop()
		return c.rt.wait(ctx, k)
	}
	body, err := c.rt.encodeMessage(msg)
	if err != nil {
		return call.Outcome{}, err
	}
	out, err := c.rt.linkOf(c).Request(ctx, waitAsk, c, func(call uint64) wire.Frame {
		return &wire.Ask{Call: call, To: c.key, Body: body}
	})
	if err == nil {
		c.rt.countSent()
	}
	return out, err
}

// Request is a message that [Ask] sent. The coroutine that receives it, or another one of the same
// runtime, replies to it. When the coroutine that received it ends before, Ask fails. Its methods
// are safe for concurrent use.
type Request struct {
	// Msg is what was asked.
	Msg      any
	remote   bool               // immutable: it came over a link
	body     []byte             // owned by the receiver: Msg as it came, until Receive decodes it
	from     *localCoro         // immutable: the coroutine that received it
	answer   func(call.Outcome) // immutable: never blocks
	answered atomic.Bool
}

// Reply answers the request with v. When v is an error, Ask returns it as its error. Reply does not
// block, and does nothing when Ask no longer waits.
//
// ErrExists: the request was answered before, or the coroutine that received it has ended.
// ErrTypeNotRegistered, ErrTooLarge: v cannot travel to the runtime that asked. The request stays
// open then.
func (r *Request) Reply(v any) error {
	out := call.Outcome{Value: v}
	if err, ok := v.(error); ok {
		out = call.Outcome{Err: err}
	}
	if r.remote {
		// Encode v before r counts as answered: when v cannot travel, the caller may reply
		// otherwise.
		o, err := encodeOutcome(r.from.rt, out)
		if err != nil {
			return fault.Because(err, "reply")
		}
		out = call.Outcome{Remote: o}
	}
	if !r.answered.CompareAndSwap(false, true) {
		return fmt.Errorf("discoro: reply: the request was answered already, or its receiver has ended: %w", ErrExists)
	}
	r.answer(out)
	return nil
}

// fail answers with err, unless the request was answered before.
func (r *Request) fail(err error) {
	if r.answered.CompareAndSwap(false, true) {
		r.answer(call.Outcome{Err: err})
	}
}

// putAsk puts a question from another runtime into a mailbox, now or when there is room.
func (rt *Runtime) putAsk(l *link.Link, f *wire.Ask) error {
	c := rt.coroutine(f.To)
	if c == nil {
		l.Reply(f.Call, rt.noCoro(l, f, f.To))
		return nil
	}
	r := &Request{remote: true, body: f.Body, from: c}
	r.answer = func(out call.Outcome) {
		if stop := l.Unserve(f.Call); stop != nil {
			stop()
			l.Reply(f.Call, out)
		}
	}
	var w stopper
	if err := l.Serve(f.Call, w.stop); err != nil {
		return l.Refuse(f.Call, err)
	}
	ended := c.onEnd(func() { r.fail(errEnded(&c.Coro)) })
	m := &roomWait{msg: r, size: len(f.Body)}
	m.to = call.Func(func(out call.Outcome) {
		if out.Err != nil {
			r.fail(out.Err)
		}
	})
	w.set(func() { ended(); c.withdraw(m) })
	if waits, err := c.putOrWait(m); !waits && err != nil {
		r.fail(err)
	}
	return nil
}

// serveWait replies when the coroutine has ended.
func (rt *Runtime) serveWait(l *link.Link, f *wire.Wait) error {
	c := rt.coroutine(f.Of)
	if c == nil {
		rt.stray(l, f, f.Of)
		l.Reply(f.Call, rt.endOf(l, f.Of))
		return nil
	}
	var w stopper
	if err := l.Serve(f.Call, w.stop); err != nil {
		return l.Refuse(f.Call, err)
	}
	w.set(c.onEnd(func() {
		if l.Unserve(f.Call) != nil {
			l.Reply(f.Call, c.outcomeNow())
		}
	}))
	return nil
}

// sendExit notifies watcher that c has ended.
func (rt *Runtime) sendExit(watcher, c *Coro, out call.Outcome) {
	if watcher.local != nil {
		_ = watcher.local.put(Exit{Coro: c, Err: out.Err, out: out}) // the watcher may have ended
		return
	}
	o, err := encodeOutcome(rt, out)
	if err != nil {
		o = failed(err)
	}
	rt.linkOf(watcher).Tell(&wire.Exit{To: watcher.key, Coro: rt.handleValue(c), Outcome: *o})
}

// putExit puts an Exit from another runtime into the watcher's mailbox.
func (rt *Runtime) putExit(l *link.Link, f *wire.Exit) {
	watcher := rt.coroutine(f.To)
	if watcher == nil {
		rt.stray(l, f, f.To)
		return
	}
	c := rt.liveHandle(f.Coro)
	out := rt.outcomeOf(&f.Outcome, c)
	_ = watcher.put(Exit{Coro: c, Err: out.Err, out: out})
}

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
