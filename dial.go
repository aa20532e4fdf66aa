package discoro

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/transport"
	"github.com/discoro/discoro/wire"
)

// linkTo returns the link to another runtime, dialling when there is none. It never blocks.
func (rt *Runtime) linkTo(id wire.ID, loc Location) *link {
	if id == rt.id {
		return rt.self
	}
	if id.IsZero() { // a handle that was made up: nobody has that identity, and anybody would do for a dial
		return rt.deadLink(id, loc, fmt.Errorf("no runtime has the identity zero: %w", ErrNotFound))
	}
	l, fresh := rt.linkFor(id, loc)
	switch {
	case l == nil:
		return rt.deadLink(id, loc, errRuntimeClosed)
	case fresh && !rt.start(func() { rt.dialLink(l, loc) }):
		l.endDial(ErrClosed)
	}
	return l
}

// deadLink returns a link that is down and in no table.
func (rt *Runtime) deadLink(id wire.ID, loc Location, cause error) *link {
	l := rt.newLink(id, loc, linkDown)
	l.err = errDown(loc, cause)
	close(l.ready)
	close(l.ended)
	close(l.told)
	return l
}

// linkIf returns the link to another runtime if there is one.
func (rt *Runtime) linkIf(id wire.ID) *link {
	if id == rt.id {
		return rt.self
	}
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return rt.links[id]
}

// linkOf returns the link to the runtime that c runs in.
func (rt *Runtime) linkOf(c *Coro) *link {
	if rt != c.rt { // a handle of another runtime in this process
		return rt.linkTo(c.home, c.loc)
	}
	if l := c.link.Load(); l != nil {
		select {
		case <-l.ended:
		default:
			return l
		}
	}
	l := rt.linkTo(c.home, c.loc)
	c.link.Store(l)
	return l
}

// linkAt returns the link to whatever runtime is at loc. It blocks until that has been dialled, or ctx ends.
func (rt *Runtime) linkAt(ctx context.Context, loc Location) (*link, error) {
	if loc == rt.loc {
		return rt.self, nil
	}
	if loc.Addr == "" || loc.Port == 0 {
		return nil, fault.New(fmt.Sprintf("connect to %q: it is not the location of a runtime", loc), ErrDisconnected)
	}
	for _, l := range rt.allLinks() {
		if l.leadsTo(loc) {
			return l, nil
		}
	}
	var l *link
	var err error
	dctx, stop := context.WithCancel(rt.ctx)
	defer stop()
	k := call.New(waitConnect, nil)
	if !rt.start(func() {
		l, err = rt.dial(dctx, loc, nil)
		k.Finish(call.Outcome{})
	}) {
		return nil, fmt.Errorf("connect to %v: %w", loc, errRuntimeClosed)
	}
	if _, err := rt.wait(ctx, k); err != nil {
		return nil, fmt.Errorf("connect to %v: %w", loc, err)
	}
	return l, err
}

// dialLink makes l come up, or fail. linkFor has booked it.
func (rt *Runtime) dialLink(l *link, loc Location) {
	_, err := rt.dial(rt.ctx, loc, l)
	l.endDial(err)
}

// Between two attempts of one dial.
const (
	firstPause = 20 * time.Millisecond
	mostPause  = time.Second
	// busyTries is how often a dial tries when the peer hangs up without a word, as one that is busy does.
	busyTries = 8
)

// dial connects to the runtime at loc, which must be that of the link want unless that is nil, and returns the link to it,
// which is up. It tries at most Config.MsgTimeout.
func (rt *Runtime) dial(ctx context.Context, loc Location, want *link) (*link, error) {
	a := &dialAttempt{rt: rt, loc: loc, want: want}
	err := rt.cfg.protect.Ready(ctx) // may take longer than a dial
	if err == nil {
		ctx, cancel := context.WithTimeoutCause(ctx, rt.cfg.MsgTimeout, ErrTimeout)
		defer cancel()
		err = a.run(ctx)
	}
	if err == nil {
		a.leave(nil)
		return a.link, nil
	}
	is := []error{ErrDisconnected, err}
	if r := refusedAs(err); r != nil {
		is = append(is, r)
	}
	if rt.ctx.Err() != nil {
		is = append(is, ErrClosed)
	}
	err = fault.New(fmt.Sprintf("connect to %v: %v", loc, err), is...)
	a.leave(err)
	return nil, err
}

// dialAttempt is one dial, which may take several connections.
type dialAttempt struct {
	rt    *Runtime // immutable
	loc   Location // immutable
	want  *link    // immutable: nil is any runtime
	link  *link    // to the runtime that was found at loc
	added bool     // this dial is booked with link
}

// run tries until the link is up, another connection has made it so, or trying again is of no use.
func (a *dialAttempt) run(ctx context.Context) error {
	pause, hungUp := firstPause, 0
	for {
		err := a.once(ctx)
		if err == nil {
			return nil
		}
		again := isDuplicate(err) && a.link != nil // the other side dials too, or there is a link already
		if isHangUp(err) && ctx.Err() == nil {
			hungUp++
			again = hungUp < busyTries
		}
		if !again {
			return err
		}
		var ready chan struct{} // nil: never
		if a.link != nil {
			ready = a.link.ready
		}
		wait := pause
		if hungUp > 0 {
			wait = pause/2 + rand.N(pause) // many may dial at once, and would all come again at once
		}
		if !waitFor(ctx, wait, ready) {
			return err
		}
		if a.link != nil {
			if _, up := a.link.isUp(); up {
				return nil
			}
			if down := a.link.cause(); down != nil && a.want != nil {
				return down
			}
		}
		pause = min(2*pause, mostPause)
	}
}

// waitFor waits until done is closed or d is over; it reports false when ctx ended first.
func waitFor(ctx context.Context, d time.Duration, done <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func isDuplicate(err error) bool {
	var r *wire.Refusal
	return errors.As(err, &r) && r.Code == wire.RefuseDuplicate
}

// isHangUp reports whether the peer took the connection and closed it without a word.
func isHangUp(err error) bool {
	var r *wire.Refusal
	if errors.As(err, &r) {
		return r.Code == wire.RefuseBusy
	}
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// once tries one connection.
func (a *dialAttempt) once(ctx context.Context) error {
	rt := a.rt
	raw, err := rt.dialRaw(ctx, a.loc)
	if err != nil {
		return err
	}
	var c *claim
	conn, peer, err := wire.Dial(ctx, raw, rt.cfg.protect, rt.hello(), func(peer wire.Hello) (refusal *wire.Refusal) {
		c, refusal = a.claim(peer)
		return refusal
	})
	if c == nil {
		return err
	}
	var t *transport.Conn
	if err == nil {
		t, err = transport.New(ctx, conn, true)
	}
	if err != nil {
		a.link.release(c, err)
		return err
	}
	if !a.link.up(c, t, peer) {
		return duplicate() // the other side's connection was faster, or the link has ended
	}
	return nil
}

// dialRaw connects to a location.
func (rt *Runtime) dialRaw(ctx context.Context, to Location) (net.Conn, error) {
	if h := rt.cfg.host; h != nil {
		return h.Dial(ctx, rt.loc.String(), to.String())
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", to.String())
}

// claim finds the link that the connection is for, and claims that.
func (a *dialAttempt) claim(peer wire.Hello) (*claim, *wire.Refusal) {
	if a.want != nil && peer.ID != a.want.id {
		return nil, &wire.Refusal{Code: wire.RefuseClosed, Text: "the runtime that was there has ended; another has its address"}
	}
	if a.want != nil {
		a.link = a.want
	} else if !a.join(peer.ID) {
		return nil, &wire.Refusal{Code: wire.RefuseClosed, Text: "the dialer is closing"}
	}
	return a.link.claimDialled(a.loc)
}

// join books the dial with the link of the table; it reports false when the runtime is closing.
func (a *dialAttempt) join(id wire.ID) bool {
	if a.added && a.link.id == id && a.link.cause() == nil {
		return true
	}
	a.leave(errors.New("another dial took over"))
	for {
		l, fresh := a.rt.linkFor(id, a.loc)
		if l == nil {
			a.link = nil
			return false
		}
		if fresh || l.addDial() {
			a.link, a.added = l, true
			return true
		}
	}
}

// leave takes the dial out of the link's books.
func (a *dialAttempt) leave(err error) {
	if a.added {
		a.added = false
		a.link.endDial(err)
	}
}
