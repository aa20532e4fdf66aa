package discoro

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/wire"
)

// flow counts what this runtime has sent to a channel of another runtime and what may still wait
// there. So a sender that is faster than the channel's subscribers waits, although their links are
// not its own.
type flow struct {
	mu     sync.Mutex   // guards following; leaf
	out    int          // bytes under way
	since  int          // bytes since the last message that the owner must answer
	asked  int          // answers under way
	waits  []*call.Call // senders that wait for an answer
	failed error        // the error of an earlier message, for the next sender
}

const (
	flowWindow = 1 << 20   // bytes under way
	flowStep   = 256 << 10 // bytes between two messages that the owner must answer
)

// admit counts a message. When there is no room, wait is finished when there may be. Otherwise ask
// is the number of bytes for which the owner is to answer, 0 for no answer.
func (f *flow) admit(size int) (wait *call.Call, ask int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err, f.failed = f.failed, nil; err != nil {
		return nil, 0, fault.Because(err, "not sent, because an earlier message was not sent, or not to all subscribers")
	}
	if f.asked > 0 && f.out+size > flowWindow {
		wait = call.New(waitSend, nil)
		f.waits = append(f.waits, wait)
		return wait, 0, nil
	}
	f.out += size
	f.since += size
	if f.since >= flowStep {
		ask, f.since = f.since, 0
		f.asked++
	}
	return nil, ask, nil
}

// answered counts an answer of the owner.
func (f *flow) answered(bytes int, err error) {
	f.mu.Lock()
	f.asked--
	f.out -= bytes
	if err != nil {
		f.failed = err
	}
	waits := f.waits
	f.waits = nil
	f.mu.Unlock()
	for _, k := range waits {
		k.Finish(call.Outcome{})
	}
}

// fail makes err the error of the next sender.
func (f *flow) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = err
}

// sendAway is Send to a channel of another runtime.
func (ch *Channel) sendAway(msg any) error {
	body, err := ch.rt.encodeMessage(msg)
	if err != nil {
		return fault.Because(err, "send to channel %v", ch)
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), ch.rt.cfg.MsgTimeout, ErrTimeout)
	defer cancel()
	if err := ch.publishAway(ctx, body); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("not sent, the channel's subscribers have left no room for %v: %w",
				ch.rt.cfg.MsgTimeout, ErrTimeout)
		}
		return fault.Because(err, "send to channel %v", ch)
	}
	return nil
}

// publishAway queues an encoded message for the owner when there is room.
func (ch *Channel) publishAway(ctx context.Context, body []byte) error {
	l := ch.owner()
	if err := l.WaitRoom(ctx, &wire.Publish{Body: body, Channel: ch.key}); err != nil {
		return err
	}
	wait, ask, err := ch.flow.admit(len(body) + publishCost)
	for wait != nil {
		if _, err := ch.rt.wait(ctx, wait); err != nil {
			return err
		}
		wait, ask, err = ch.flow.admit(len(body) + publishCost)
	}
	switch {
	case err != nil:
		return err
	case ask == 0:
		return l.Post(&wire.Publish{Channel: ch.key, Body: body})
	}
	_, err = l.Ask(call.Func(func(out call.Outcome) { ch.flow.answered(ask, out.Err) }), func(call uint64) wire.Frame {
		return &wire.Publish{Call: call, Channel: ch.key, Body: body}
	})
	if err != nil {
		ch.flow.answered(ask, nil) // the link is down
	}
	return err
}

// owner returns the link to the runtime that owns the channel.
func (ch *Channel) owner() *link.Link { return ch.rt.linkTo(ch.home, ch.loc) }

// deliverAway is deliver to a channel of another runtime.
func (ch *Channel) deliverAway(ctx context.Context, msg any, n int) (int, error) {
	body, err := ch.rt.encodeMessage(msg)
	if err != nil {
		return 0, err
	}
	out, err := ch.owner().Request(ctx, waitDeliver, nil, func(call uint64) wire.Frame {
		return &wire.PublishDeliver{Call: call, Channel: ch.key, N: n, Body: body}
	})
	switch {
	case err != nil && ctx.Err() != nil && n > 0:
		return 0, fmt.Errorf("how many of %d subscribers there are, and have it, is known to the owner only: %w", n, err)
	case err != nil:
		return 0, err
	case out.Err != nil:
		return 0, out.Err
	}
	return resultAs[int](ch.rt, out, ch.name)
}

// closeAway is Close of a channel of another runtime.
func (ch *Channel) closeAway() error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), ch.rt.cfg.MsgTimeout, ErrTimeout)
	defer cancel()
	out, err := ch.owner().Request(ctx, waitClose, nil, func(call uint64) wire.Frame {
		return &wire.CloseChannel{Call: call, Channel: ch.key}
	})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer for %v: %w", ch.rt.cfg.MsgTimeout, ErrTimeout)
	case err == nil && !errors.Is(out.Err, ErrClosed):
		return out.Err
	}
	return err
}

// enrollLocal subscribes a coroutine of this runtime, or unsubscribes it when off is set. It does
// not block; done is called once.
func (ch *Channel) enrollLocal(c *localCoro, off bool, done func(error)) {
	switch {
	case ch.hub != nil && off:
		done(ch.hub.unsubscribe(subKey{nil, c.Coro.seq}))
		return
	case ch.hub != nil:
		done(ch.hub.subscribe(c, nil, c.Coro.seq))
		return
	}
	me := ch.rt.exported(c)
	switch {
	case off:
		l := ch.owner()
		ch.rt.channels.leave(l, memberKey{ch.key, me}, nil)
		ch.askOwner(l, done, func(call uint64) wire.Frame {
			return &wire.Unsubscribe{Call: call, Channel: ch.key, Coro: me}
		})
	default:
		l := ch.owner()
		if !ch.rt.channels.mayJoin(l) {
			done(fmt.Errorf("%d subscriptions to channels at %v, no more may be: %w", maxSubscribed, ch.loc, ErrRejected))
			return
		}
		c.joining.Add(1) // a message may come before the answer
		c.away.Store(true)
		ch.askOwner(l, func(err error) {
			if err == nil {
				ch.rt.channels.join(l, c, memberKey{ch.key, me})
			}
			c.joining.Add(-1)
			done(err)
		}, func(call uint64) wire.Frame { return &wire.Subscribe{Call: call, Channel: ch.key, Coro: me} })
	}
}

// hasMember reports whether the coroutine of this runtime with that key is subscribed to a channel
// of another runtime.
func (t *channelTable) hasMember(key uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, members := range t.members {
		for m := range members {
			if m.coro == key {
				return true
			}
		}
	}
	return false
}

// askOwner asks the channel's owner. done gets the answer.
func (ch *Channel) askOwner(l *link.Link, done func(error), build func(call uint64) wire.Frame) {
	if _, err := l.Ask(call.Func(func(out call.Outcome) { done(out.Err) }), build); err != nil {
		done(err)
	}
}

// serveSubscribe subscribes a coroutine of the peer.
func (rt *Runtime) serveSubscribe(l *link.Link, f *wire.Subscribe) {
	h, err := rt.channels.find(f.Channel)
	switch {
	case err == nil && l.IsSelf():
		err = fmt.Errorf("not by a frame: %w", ErrRejected)
	case err == nil:
		err = h.subscribe(nil, l, f.Coro)
	}
	l.Reply(f.Call, call.Outcome{Err: err})
}

// serveUnsubscribe unsubscribes a coroutine of the peer.
func (rt *Runtime) serveUnsubscribe(l *link.Link, f *wire.Unsubscribe) {
	h, err := rt.channels.find(f.Channel)
	if err == nil {
		err = h.unsubscribe(subKey{l, f.Coro})
	}
	if f.Call != 0 {
		l.Reply(f.Call, call.Outcome{Err: err})
	}
}

// serveCloseChannel closes a channel of this runtime for a peer.
func (rt *Runtime) serveCloseChannel(l *link.Link, f *wire.CloseChannel) {
	h, err := rt.channels.find(f.Channel)
	if err == nil {
		rt.channels.close(h)
	}
	l.Reply(f.Call, call.Outcome{Err: err})
}

// serveLocateChannel answers with the channel that has a name.
func (rt *Runtime) serveLocateChannel(l *link.Link, f *wire.LocateChannel) {
	out := call.Outcome{Err: fmt.Errorf("no channel of that name at %v: %w", rt.loc, ErrNotFound)}
	if ch := rt.channels.named(f.Name); ch != nil {
		out = call.Outcome{Value: ch}
	}
	l.Reply(f.Call, out)
}

// servePublish hands out what a peer sends to a channel of this runtime.
func (rt *Runtime) servePublish(l *link.Link, f *wire.Publish) {
	answer := func(_ int, err error) {
		switch {
		case f.Call != 0:
			l.Reply(f.Call, call.Outcome{Err: err})
		case err != nil:
			l.Tell(&wire.Dropped{Channel: f.Channel, Err: encodeError(err)})
		}
	}
	h, err := rt.channels.find(f.Channel)
	if err != nil {
		answer(0, err)
		return
	}
	h.publish(&publication{hub: h, msg: encodedMessage(f.Body), body: f.Body, from: l, done: answer})
}

// servePublishDeliver hands out what a peer delivers to a channel of this runtime.
func (rt *Runtime) servePublishDeliver(l *link.Link, f *wire.PublishDeliver) error {
	h, err := rt.channels.find(f.Channel)
	if err != nil {
		l.Reply(f.Call, call.Outcome{Err: err})
		return nil //nolint:nilerr // the answer has the error; the peer has done nothing wrong
	}
	p := &publication{hub: h, msg: encodedMessage(f.Body), body: f.Body, deliver: true, atLeast: f.N, from: l}
	p.done = func(n int, err error) {
		if l.Unserve(f.Call) != nil {
			l.Reply(f.Call, call.Outcome{Value: n, Err: err})
		}
	}
	if err := l.Serve(f.Call, func() { p.cancel() }); err != nil {
		return l.Refuse(f.Call, err)
	}
	h.publish(p)
	if l.Cause() != nil { // the link may have ended before h had p
		p.cancel()
	}
	return nil
}

// serveEnroll subscribes a coroutine of this runtime, for a peer, to a channel of any runtime. Only
// the subscriber's own runtime subscribes at the owner, so no peer can subscribe or unsubscribe the
// coroutines of another one there, and the owner need not dial.
func (rt *Runtime) serveEnroll(l *link.Link, f *wire.Enroll) {
	answer := func(err error) { l.Reply(f.Call, call.Outcome{Err: err}) }
	c := rt.coroutine(f.Coro)
	if c == nil {
		answer(rt.noCoro(l, f, f.Coro).Err)
		return
	}
	ch := rt.liveChannel(f.Channel)
	if to := rt.net.If(ch.home); to == nil || !to.IsUp() && !to.IsSelf() {
		done, ok := rt.channels.dial()
		if !ok {
			rt.log.Debug("too many subscriptions wait for links", slog.String("peer", l.Location().String()))
			answer(fmt.Errorf("%d subscriptions wait for links to their channels at %v, try again later: %w",
				maxDialling, rt.loc, ErrRejected))
			return
		}
		after := answer
		answer = func(err error) {
			done()
			after(err)
		}
	}
	ch.enrollLocal(c, f.Off, answer)
}

// locateChannelAt asks one runtime for a channel.
func (rt *Runtime) locateChannelAt(ctx context.Context, name string, loc Location) (*Channel, error) {
	l, err := rt.linkAt(ctx, loc)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, rt.cfg.MsgTimeout, ErrTimeout)
	defer cancel()
	out, err := l.Request(ctx, waitLocate, nil, func(call uint64) wire.Frame {
		return &wire.LocateChannel{Call: call, Name: name}
	})
	if err != nil {
		return nil, err
	}
	return resultAs[*Channel](rt, out, name)
}
