package discoro

import (
	"context"
	"errors"
	"log/slog"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/wire"
)

// notices is what one coroutine is told without having asked each time: statuses, and changes of peers. Here it goes into the
// mailbox, full or not. Elsewhere it waits for room in the mailbox, as nobody would hear of what is refused there; a few at a
// time are under way.
type notices struct {
	to   *Coro      // immutable
	link *link      // immutable: to its runtime; nil: whichever there is then
	last *call.Call // of those under way; nil: none are
	size int        // of those under way
}

// noticeWindow is how many bytes of notices are under way, or one notice; each counts with publishCost as well.
const noticeWindow = 64 << 10

// send tells msg. Where that is elsewhere it waits for those before, and for room in the link's queue, until ctx ends. An error may
// be that of an earlier notice.
func (n *notices) send(ctx context.Context, msg any) error {
	c := n.to
	if c.local != nil {
		return c.local.put(msg)
	}
	if exit, ok := msg.(Exit); ok { // it overtakes what waits for room
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
	l := n.link
	if l == nil {
		l = c.rt.linkOf(c)
	}
	build := func(call uint64) wire.Frame { return &wire.Deliver{Call: call, To: c.key, Body: body} }
	if err := l.waitRoom(ctx, build(0)); err != nil {
		return err
	}
	before, k := n.last, call.New(waitDeliver, c)
	n.last, n.size = k, n.size+size
	_, err = l.ask(call.Func(func(out call.Outcome) {
		if before != nil && out.Err == nil { // it was put in before this one, or never will be
			if first, ok := before.Result(); ok {
				out.Err = first.Err
			}
		}
		k.Finish(call.Outcome{Err: out.Err})
	}), build)
	if err != nil {
		n.last, n.size = nil, 0
	}
	return err
}

// await waits until those under way are in the mailbox.
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

// noticeLevel is how much it matters that a coroutine is not told.
func noticeLevel(err error) slog.Level {
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDisconnected) || errors.Is(err, context.Canceled) { // it has ended, or its runtime
		return slog.LevelDebug
	}
	return slog.LevelWarn
}
