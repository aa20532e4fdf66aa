package discoro

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/turn"
	"github.com/discoro/discoro/wire"
)

// Exit is what a watcher receives when a coroutine that it monitors has ended. In asyncoro:
// MonitorException.
type Exit struct {
	Coro *Coro
	// Err tells how it ended: nil when its function returned without an error; *PanicError, *RemoteError,
	// ErrTerminated, *ServerLostError, ErrDisconnected when the link to it broke, ErrNotFound when it had ended before
	// and nothing more is known.
	Err error

	out call.Outcome // immutable
}

// ExitResult returns what the coroutine returned, or Err. ErrType: the result is not an R.
func ExitResult[R any](e Exit) (R, error) {
	if e.Err != nil || e.Coro == nil {
		var zero R
		return zero, e.Err
	}
	return resultAs[R](e.Coro.rt, e.out, e.Coro.name)
}

// Ask sends msg to the coroutine, which receives it in a [Request], and blocks until that is replied to, or ctx ends.
// ErrNotFound: the coroutine has ended without a reply; ErrDisconnected: the link broke; ErrType: the reply is not an R.
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
	out, err := c.rt.linkOf(c).requestOf(ctx, waitAsk, c, func(call uint64) wire.Frame {
		return &wire.Ask{Call: call, To: c.key, Body: body}
	})
	if err == nil {
		c.rt.countSent()
	}
	return out, err
}

// Request is a message that was sent with [Ask] and is to be replied to, by the coroutine that received it or by another of the
// same runtime. When the coroutine that received it ends first, Ask fails.
type Request struct {
	Msg any

	remote   bool               // immutable: it came over a link
	body     []byte             // owned by the receiver: Msg as it came, until Receive decodes it
	from     *localCoro         // immutable: who received it
	answer   func(call.Outcome) // immutable: never blocks
	answered atomic.Bool
}

// Reply answers the request; an error value makes Ask return it as its error. It does not wait. Nothing comes of it when
// Ask no longer waits. ErrExists: it was answered already, or the coroutine that received it has ended;
// ErrTypeNotRegistered: v cannot travel to where the request came from, and the request is still open.
func (r *Request) Reply(v any) error {
	out := call.Outcome{Value: v}
	if err, ok := v.(error); ok {
		out = call.Outcome{Err: err}
	}
	if r.remote {
		// Encode before it counts as answered, so that a value that cannot travel is known here.
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

// fail answers with err, unless it was answered.
func (r *Request) fail(err error) {
	if r.answered.CompareAndSwap(false, true) {
		r.answer(call.Outcome{Err: err})
	}
}

func (rt *Runtime) putAsk(l *link, f *wire.Ask) error {
	c := rt.coroutine(f.To)
	if c == nil {
		l.reply(f.Call, rt.noCoro(l, f, f.To))
		return nil
	}
	r := &Request{remote: true, body: f.Body, from: c}
	r.answer = func(out call.Outcome) {
		if stop := l.unserve(f.Call); stop != nil {
			stop()
			l.reply(f.Call, out)
		}
	}
	var w stopper
	if err := l.serve(f.Call, w.stop); err != nil {
		return l.refuseCall(f.Call, err)
	}
	ended := c.onEnd(func() { r.fail(errEnded(&c.Coro)) })
	m := &roomWait{msg: r, size: len(f.Body)}
	m.to = call.Func(func(out call.Outcome) {
		if out.Err != nil {
			r.fail(out.Err)
		}
	})
	w.set(func() { ended(); c.takeBack(m) })
	if waits, err := c.putOrWait(m); !waits && err != nil {
		r.fail(err)
	}
	return nil
}

func (rt *Runtime) serveWait(l *link, f *wire.Wait) error {
	c := rt.coroutine(f.Of)
	if c == nil {
		rt.stray(l, f, f.Of)
		l.reply(f.Call, rt.endOf(l, f.Of))
		return nil
	}
	var w stopper
	if err := l.serve(f.Call, w.stop); err != nil {
		return l.refuseCall(f.Call, err)
	}
	w.set(c.onEnd(func() {
		if l.unserve(f.Call) != nil {
			l.reply(f.Call, c.outcomeNow())
		}
	}))
	return nil
}

// sendExit tells watcher that c has ended.
func (rt *Runtime) sendExit(watcher, c *Coro, out call.Outcome) {
	if watcher.local != nil {
		_ = watcher.local.put(Exit{Coro: c, Err: out.Err, out: out}) // a watcher that has ended does not care
		return
	}
	o, err := encodeOutcome(rt, out)
	if err != nil {
		o = failed(err)
	}
	rt.linkOf(watcher).tell(&wire.Exit{To: watcher.key, Coro: rt.handleValue(c), Outcome: *o})
}

func (rt *Runtime) putExit(l *link, f *wire.Exit) {
	watcher := rt.coroutine(f.To)
	if watcher == nil {
		rt.stray(l, f, f.To)
		return
	}
	c := rt.liveHandle(f.Coro)
	out := rt.outcomeOf(&f.Outcome, c)
	_ = watcher.put(Exit{Coro: c, Err: out.Err, out: out})
}
