package discoro

import (
	"context"
	"errors"
	"log/slog"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/wire"
)

// notices sends messages to one coroutine that has not asked for each of them: statuses, and changes
// of peers. To a coroutine of this runtime they go into its mailbox, even a full one. To one of another
// runtime they are delivered, which waits for room in the mailbox, because nobody would learn that one
// was refused. One goroutine at a time uses it.
type notices struct {
	to   *Coro      // immutable
	link *link.Link // immutable: to its runtime; nil: whichever link there is
	last *call.Call // the last notice under way; nil: none is
	size int        // bytes of the notices under way
}

// noticeWindow is how many bytes of notices may be under way. A larger notice goes alone. Each counts
// publishCost in addition.
const noticeWindow = 64 << 10

// send sends msg. To a coroutine of another runtime it waits for earlier notices, and for room in the
// link's queue, until ctx ends. An error may be that of an earlier notice.
func (n *notices) send(ctx context.Context, msg any) error {
	c := n.to
	if c.local != nil {
		return c.local.put(msg)
	}
	if exit, ok := msg.(Exit); ok { // it needs no room, so it would overtake the notices under way
		err := n.await(ctx)
		c.rt.sendExit(c, exit.Coro, exit.out)
		return err
	}
	body, err := c.rt.encodeMessage(msg)
	if err != nil {
		return err
	}
	size := len(body) + publishCost
	if n.size+size > noticeWindow {
		if err := n.await(ctx); err != nil {
			return err
		}
	}
	return n.deliver(ctx, body, size)
}

// deliver queues an encoded notice, which counts size, behind those under way.
func (n *notices) deliver(ctx context.Context, body []byte, size int) error {
	l := n.link
	if l == nil {
		l = n.to.rt.linkOf(n.to)
	}
	build := func(call uint64) wire.Frame { return &wire.Deliver{Call: call, To: n.to.key, Body: body} }
	if err := l.WaitRoom(ctx, build(0)); err != nil {
		return err
	}
	before, k := n.last, call.New(waitDeliver, n.to)
	n.last, n.size = k, n.size+size
	_, err := l.Ask(call.Func(func(out call.Outcome) { finishBehind(before, k, out.Err) }), build)
	if err != nil {
		n.last, n.size = nil, 0
	}
	return err
}

// finishBehind finishes k with err or, when that is nil, with the error of the notice before it: that one
// has its answer by now, or never gets one.
func finishBehind(before, k *call.Call, err error) {
	if before != nil && err == nil {
		first, _ := before.Result()
		err = first.Err
	}
	k.Finish(call.Outcome{Err: err})
}

// await waits until the notices under way are in the mailbox.
func (n *notices) await(ctx context.Context) error {
	if n.last == nil {
		return nil
	}
	out, err := n.to.rt.wait(ctx, n.last)
	n.last, n.size = nil, 0
	if err == nil {
		err = out.Err
	}
	return err
}

// noticeLevel returns how much it matters that a coroutine does not receive a notice, because of err.
// When the coroutine or its runtime has ended it does not.
func noticeLevel(err error) slog.Level {
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDisconnected) || errors.Is(err, context.Canceled) {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}
