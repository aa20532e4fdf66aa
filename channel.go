package discoro

import (
	"context"
	"fmt"
	"strconv"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// Channel is one-to-many: what is sent to it goes into the mailbox of every coroutine that is subscribed at that time. In
// asyncoro: Channel. The runtime that made it owns it, and all messages go through that.
//
// A Channel is a handle. It can be passed in any message, argument or result and arrives as a live handle; within a runtime there
// is one handle a channel, so handles can be compared and be map keys. All verbs but Register and Unregister work from any
// runtime, and on coroutines of any runtime. Handles are safe for concurrent use.
//
// Each subscriber gets the messages of one sender in the order sent. Without a break: a subscriber whose link has no room for a
// message within Config.MsgTimeout of the owner is unsubscribed, with a warning in both runtimes' logs and [ErrTimeout] for the
// sender, and does not hold up the others meanwhile. A coroutine that has ended, or whose link to the owner breaks, is
// unsubscribed; it is not subscribed again by a new link.
//
// A message is shared, not copied, between subscribers of the owner's runtime when it is sent there, as with [Coro.Send]; it is
// encoded once for all the others.
//
// A peer may have 65536 coroutines subscribed to a channel; beyond that, and where too much that it sent waits for subscribers, it
// gets ErrRejected.
type Channel struct {
	rt   *Runtime // immutable: the runtime that this handle belongs to
	home wire.ID  // immutable: the owner
	loc  Location // immutable: the owner's location
	seq  uint64   // immutable: the channel's number there, for people
	key  uint64   // immutable: what frames name it by
	name string   // immutable
	hub  *hub     // immutable: the channel itself, when rt owns it
	flow flow     // of what is sent from here to the owner
}

// NewChannel returns a channel that this runtime owns, until Close of either. The name is for people and need not be unique; see
// [Channel.Register]. ErrRejected: the name is empty, or longer than 256 bytes; ErrClosed: the runtime is closed.
func (rt *Runtime) NewChannel(name string) (*Channel, error) {
	if name == "" || len(name) > maxName {
		return nil, fmt.Errorf("discoro: new channel: a name has 1 to %d bytes, not %d: %w", maxName, len(name), ErrRejected)
	}
	rt.mu.Lock()
	closing := rt.closing
	rt.mu.Unlock()
	ch := &Channel{rt: rt, home: rt.id, loc: rt.loc, name: name}
	if closing || !rt.channels.own(ch) {
		return nil, fmt.Errorf("discoro: new channel %s: %w", name, errRuntimeClosed)
	}
	return ch, nil
}

// Name returns the name that the channel was made with.
func (ch *Channel) Name() string { return ch.name }

// Location returns where the channel's owner is.
func (ch *Channel) Location() Location { return ch.loc }

// String gives "name/number@host:port".
func (ch *Channel) String() string {
	return ch.name + "/" + strconv.FormatUint(ch.seq, 10) + "@" + ch.loc.String()
}

// Subscribe makes c receive what is sent to the channel from now on. It blocks until the owner has c, or ctx ends, and then c may
// or may not be subscribed. ErrExists: it is subscribed already; ErrClosed: the channel is closed, which is ErrNotFound as well
// when another runtime owns it; ErrNotFound alone: c has ended; ErrRejected: too many are subscribed; ErrDisconnected: a link between the three
// runtimes broke, or could not be made.
func (ch *Channel) Subscribe(ctx context.Context, c *Coro) error {
	return ch.enroll(ctx, c, "subscribe", false)
}

// Unsubscribe takes Subscribe back. It blocks until the owner has done so, or ctx ends. What was sent before may still
// arrive. ErrNotFound: c is not subscribed, or has ended; others as Subscribe.
func (ch *Channel) Unsubscribe(ctx context.Context, c *Coro) error {
	return ch.enroll(ctx, c, "unsubscribe", true)
}

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
	out, err := ch.rt.linkOf(c).request(ctx, why, func(call uint64) wire.Frame {
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

// Send sends msg to all the subscribers there are; to none is no error. At the owner it returns when msg is in every mailbox of
// that runtime, and queued for all the others. Elsewhere it returns when msg is queued for the owner. It waits only for room in
// links' queues, at most Config.MsgTimeout, without the turn in a coroutine. A message that cannot travel to where there are
// subscribers is an error (ErrTypeNotRegistered, ErrTooLarge), and nobody gets it. ErrClosed: the channel is closed. ErrTimeout: at
// the owner, subscribers were dropped for whom there was no room, and the others have msg; elsewhere, msg was not sent.
// ErrDisconnected: likewise, as links broke while msg waited. Elsewhere an
// error may be that of an earlier message, and says so; msg was not sent then.
func (ch *Channel) Send(msg any) error {
	if ch.hub == nil {
		return ch.sendAway(msg)
	}
	k := call.New(waitSend, nil)
	p := ch.publication(msg, func(_ int, err error) { k.Finish(call.Outcome{Err: err}) })
	ch.hub.publish(p)
	out, err := ch.rt.wait(context.Background(), k) // each subscriber has Config.MsgTimeout at most
	if err == nil {
		err = out.Err
	}
	if err != nil {
		return fault.Because(err, "send to channel %v", ch)
	}
	return nil
}

// Deliver waits until there are n subscribers, sends msg to all of them, and waits until it is in their mailboxes. n <= 0: to those
// there are. It returns how many mailboxes it reached, which may be fewer than n when some end meanwhile. When ctx ends the
// error wraps its and says what is missing, and the count is of what had been reached by then; both are known at the owner only. ErrClosed: the channel is closed, or was
// closed meanwhile; ErrDisconnected: the link to the owner broke, and msg may have reached any; ErrTimeout as with Send; ErrRejected: too
// much from this runtime waits there already.
func (ch *Channel) Deliver(ctx context.Context, msg any, n int) (int, error) {
	reached, err := ch.deliver(ctx, msg, max(n, 0))
	if err != nil {
		return reached, fault.Because(err, "deliver to channel %v", ch)
	}
	return reached, nil
}

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

// publication makes a message of this runtime ready for its channel.
func (ch *Channel) publication(msg any, done func(int, error)) *publication {
	return &publication{hub: ch.hub, msg: msg, done: done}
}

// Close ends the channel: nobody is subscribed any more, a Deliver that waits for subscribers fails with ErrClosed, and so does
// whatever is used afterwards. At another runtime than the owner it waits for that, at most Config.MsgTimeout: ErrTimeout,
// ErrDisconnected. A second Close does nothing.
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

// Register makes LocateChannel find the channel under name, until it is closed or Unregister. Channels have names of their own,
// beside those of coroutines. ErrExists: the name is another channel's in this runtime. Only a channel that this runtime owns
// can be registered: else ErrNotFound.
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

// Unregister takes back Register. ErrNotFound: name is not the channel's.
func (ch *Channel) Unregister(name string) error {
	if ch.hub == nil || !ch.rt.channels.unregister(ch, name) {
		return fmt.Errorf("discoro: unregister %q: it is not channel %v: %w", name, ch, ErrNotFound)
	}
	return nil
}

// LocateChannel finds a channel by the name that it was registered with: at the given locations, or, without any, here and then
// at all the peers, and then on the local network. It blocks as [Runtime.Locate] does. ErrNotFound: none has it.
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
