package discoro

import (
	"context"
	"fmt"
	"strconv"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// Channel delivers each message to many coroutines: what is sent to it goes into the mailbox of
// every coroutine that is subscribed at that time. In asyncoro: Channel. The runtime that made it
// owns it, and all its messages go through that runtime.
//
// A Channel is a handle. It can be passed in any message, argument or result, and arrives as a live
// handle. A runtime has one handle for each channel, so handles can be compared and be map keys.
// All methods except Register and Unregister work from any runtime, and on coroutines of any
// runtime. Handles are safe for concurrent use.
//
// Each subscriber gets the messages of one sender in the order sent, without a gap. When a
// subscriber's link has no room for a message within Config.MsgTimeout of the owner, the subscriber
// is unsubscribed, with a warning in both runtimes' logs and [ErrTimeout] for the sender; it does
// not delay the others meanwhile. A coroutine that has ended, or whose link to the owner breaks, is
// unsubscribed as well. A new link does not subscribe it again.
//
// A message that is sent in the owner's runtime is shared, not copied, between the subscribers
// there, as with [Coro.Send]. For all other subscribers it is encoded once.
//
// A peer may have 65536 coroutines subscribed to a channel. Further subscriptions of that peer
// return ErrRejected. Its messages are refused with ErrRejected, too, while too many bytes of them
// wait for subscribers.
type Channel struct {
	rt   *Runtime // immutable: the runtime that this handle belongs to
	home wire.ID  // immutable: the owner
	loc  Location // immutable: the owner's location
	seq  uint64   // immutable: the channel's number there, for people
	key  uint64   // immutable: its name in frames
	name string   // immutable
	hub  *hub     // immutable: the channel itself, when rt owns it
	flow flow     // what is on its way from here to the owner
}

// NewChannel returns a channel that this runtime owns, until Close of either. The name is for
// people and need not be unique; see [Channel.Register]. NewChannel does not block. ErrRejected:
// the name is empty, or longer than 256 bytes. ErrClosed: the runtime is closed.
func (rt *Runtime) NewChannel(name string) (*Channel, error) {
	if name == "" || len(name) > maxName {
		return nil, fmt.Errorf("discoro: new channel: a name has 1 to %d bytes, not %d: %w", maxName, len(name), ErrRejected)
	}
	rt.mu.Lock()
	closing := rt.closing
	rt.mu.Unlock()
	ch := &Channel{rt: rt, home: rt.id, loc: rt.loc, name: name}
	if closing || !rt.channels.add(ch) {
		return nil, fmt.Errorf("discoro: new channel %s: %w", name, errRuntimeClosed)
	}
	return ch, nil
}

// Name returns the name that the channel was made with.
func (ch *Channel) Name() string { return ch.name }

// Location returns where the channel's owner is.
func (ch *Channel) Location() Location { return ch.loc }

// String returns "name/number@host:port".
func (ch *Channel) String() string {
	return ch.name + "/" + strconv.FormatUint(ch.seq, 10) + "@" + ch.loc.String()
}

// Subscribe makes c receive what is sent to the channel from now on. It blocks until the owner has
// subscribed c, or until ctx ends. In the latter case c may or may not be subscribed.
//
//   - ErrExists: c is subscribed already.
//   - ErrClosed: the channel is closed. When another runtime owns it, the error is ErrNotFound as
//     well.
//   - ErrNotFound alone: c has ended.
//   - ErrRejected: too many coroutines are subscribed, or c is nil.
//   - ErrDisconnected: a link between the runtimes of the caller, of c and of the channel broke, or
//     could not be made.
func (ch *Channel) Subscribe(ctx context.Context, c *Coro) error {
	return ch.enroll(ctx, c, "subscribe", false)
}

// Unsubscribe undoes Subscribe. It blocks until the owner has unsubscribed c, or until ctx ends.
// Messages that were sent before may still arrive. ErrNotFound: c is not subscribed, or has ended.
// The other errors are those of Subscribe.
func (ch *Channel) Unsubscribe(ctx context.Context, c *Coro) error {
	return ch.enroll(ctx, c, "unsubscribe", true)
}

// enroll subscribes c, or unsubscribes it when off is set.
func (ch *Channel) enroll(ctx context.Context, c *Coro, verb string, off bool) error {
	fail := func(err error) error { return fault.Because(err, "%s %v, channel %v", verb, c, ch) }
	if c == nil || c.rt == nil {
		return fmt.Errorf("discoro: %s, channel %v: there is no coroutine: %w", verb, ch, ErrRejected)
	}
	if c.rt != ch.rt { // a handle of another runtime in this process
		c = ch.rt.liveHandle(c.rt.handleValue(c))
	}
	why := waitSubscribe
	if off {
		why = waitUnsubscribe
	}
	if c.local != nil {
		k := call.New(why, nil)
		ch.enrollLocal(c.local, off, func(err error) { k.Finish(call.Outcome{Err: err}) })
		out, err := ch.rt.wait(ctx, k)
		if err == nil {
			err = out.Err
		}
		if err != nil {
			return fail(err)
		}
		return nil
	}
	out, err := ch.rt.linkOf(c).Request(ctx, why, nil, func(call uint64) wire.Frame {
		return &wire.Enroll{Call: call, Coro: c.key, Off: off, Channel: ch.handleValue()}
	})
	if err == nil {
		err = out.Err
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// Send sends msg to all subscribers. To have none is no error. In the owner's runtime Send returns
// when msg is in every mailbox of that runtime, and queued for all the others. In another runtime
// it returns when msg is queued for the owner. It blocks only while there is no room in links'
// queues, or on the way to the owner, and for at most Config.MsgTimeout. A coroutine gives up the
// turn meanwhile.
//
//   - ErrTypeNotRegistered, ErrTooLarge: msg cannot travel to where there are subscribers. Nobody
//     gets it.
//   - ErrClosed: the channel is closed.
//   - ErrTimeout: in the owner's runtime, subscribers without room were unsubscribed, and the
//     others have msg. In another runtime, msg was not sent.
//   - ErrDisconnected: the same, because links broke while msg waited.
//
// In a runtime that does not own the channel, Send may return the error of an earlier message. The
// error's text mentions the earlier message. msg was not sent then.
func (ch *Channel) Send(msg any) error {
	if ch.hub == nil {
		return ch.sendAway(msg)
	}
	k := call.New(waitSend, nil)
	p := ch.publication(msg, func(_ int, err error) { k.Finish(call.Outcome{Err: err}) })
	ch.hub.publish(p)
	out, err := ch.rt.wait(context.Background(), k) // each subscriber has at most Config.MsgTimeout
	if err == nil {
		err = out.Err
	}
	if err != nil {
		return fault.Because(err, "send to channel %v", ch)
	}
	return nil
}

// Deliver waits until there are n subscribers, sends msg to all of them, and returns when it is in
// their mailboxes. When n is 0 or less it does not wait for subscribers. It blocks until then, or
// until ctx ends.
//
// Deliver returns how many mailboxes msg reached. That may be fewer than n, when subscribers end
// meanwhile. When ctx ends, the error wraps ctx's and says what is missing, and the count is of the
// mailboxes reached until then; both are known only in the owner's runtime.
//
// ErrClosed: the channel is closed, or was closed meanwhile. ErrDisconnected: the link to the owner
// broke, and msg may have reached any subscriber. ErrTimeout: as with Send. ErrRejected: too much
// from this runtime waits for subscribers already.
func (ch *Channel) Deliver(ctx context.Context, msg any, n int) (int, error) {
	reached, err := ch.deliver(ctx, msg, max(n, 0))
	if err != nil {
		return reached, fault.Because(err, "deliver to channel %v", ch)
	}
	return reached, nil
}

// deliver is Deliver without the text that errors begin with.
func (ch *Channel) deliver(ctx context.Context, msg any, n int) (int, error) {
	if ch.hub == nil {
		return ch.deliverAway(ctx, msg, n)
	}
	k := call.New(waitDeliver, nil)
	p := ch.publication(msg, func(n int, err error) { k.Finish(call.Outcome{Value: n, Err: err}) })
	p.deliver, p.atLeast = true, n
	ch.hub.publish(p)
	out, err := ch.rt.wait(ctx, k)
	if err != nil {
		reached, missing := p.cancel()
		return reached, fmt.Errorf("%s: %w", missing, err)
	}
	reached, _ := out.Value.(int)
	return reached, out.Err
}

// publication returns a message of this runtime for its channel.
func (ch *Channel) publication(msg any, done func(int, error)) *publication {
	return &publication{hub: ch.hub, msg: msg, done: done}
}

// Close ends the channel. All subscribers are unsubscribed. A Deliver that waits for subscribers
// fails with ErrClosed, and so does every later call. In a runtime that does not own the channel,
// Close blocks until the owner has closed the channel, for at most Config.MsgTimeout; the error may
// be ErrTimeout or ErrDisconnected. A second Close does nothing.
func (ch *Channel) Close() error {
	if ch.hub != nil {
		ch.rt.channels.close(ch.hub)
		return nil
	}
	if err := ch.closeAway(); err != nil {
		return fault.Because(err, "close channel %v", ch)
	}
	return nil
}

// Register makes [Runtime.LocateChannel] find the channel under name, until the channel is closed
// or Unregister. Channels have names apart from those of coroutines. ErrExists: another channel of
// this runtime has the name. ErrNotFound: another runtime owns the channel. ErrRejected: the name
// is empty, or longer than 256 bytes. ErrClosed: the channel is closed.
func (ch *Channel) Register(name string) error {
	var err error
	switch {
	case name == "" || len(name) > maxName:
		err = fmt.Errorf("a name has 1 to %d bytes, not %d: %w", maxName, len(name), ErrRejected)
	case ch.hub == nil:
		err = fmt.Errorf("another runtime owns it: %w", ErrNotFound)
	default:
		err = ch.rt.channels.register(ch, name)
	}
	if err != nil {
		return fault.Because(err, "register channel %v as %q", ch, name)
	}
	return nil
}

// Unregister undoes Register. ErrNotFound: the channel does not have the name.
func (ch *Channel) Unregister(name string) error {
	if ch.hub == nil || !ch.rt.channels.unregister(ch, name) {
		return fmt.Errorf("discoro: unregister %q: that is no name of channel %v: %w", name, ch, ErrNotFound)
	}
	return nil
}

// LocateChannel finds a channel by a name that it was registered with. It asks at the given
// locations or, without any, here, then all peers, and then the local network. It blocks as
// [Runtime.Locate] does. ErrNotFound: none has the name.
func (rt *Runtime) LocateChannel(ctx context.Context, name string, at ...Location) (*Channel, error) {
	if len(at) == 0 {
		if ch := rt.channels.named(name); ch != nil {
			return ch, nil
		}
	}
	ch, err := locateName(ctx, rt, name, at, rt.locateChannelAt)
	if err != nil {
		return nil, fault.Because(err, "locate channel %q", name)
	}
	return ch, nil
}
