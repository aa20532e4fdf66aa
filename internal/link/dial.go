package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/transport"
	"github.com/discoro/discoro/wire"
)

// dialLink makes l come up, or fail. linkFor has booked it.
func (n *Net) dialLink(l *Link, loc Location) {
	_, err := n.dial(n.ctx, loc, l)
	l.endDial(err)
}

// Between two attempts of one dial.
const (
	firstPause = 20 * time.Millisecond
	mostPause  = time.Second
	// BusyTries is how often a dial tries when the peer hangs up without a word, as one that is busy does.
	BusyTries = 8
)

// dial connects to the runtime at loc, which must be that of the link want unless that is nil, and returns the link to it,
// which is up. It tries at most Config.MsgTimeout.
func (n *Net) dial(ctx context.Context, loc Location, want *Link) (*Link, error) {
	a := &dialAttempt{net: n, loc: loc, want: want}
	err := n.cfg.Protect.Ready(ctx) // may take longer than a dial
	if err == nil {
		ctx, cancel := context.WithTimeoutCause(ctx, n.cfg.MsgTimeout, fault.Timeout)
		defer cancel()
		err = a.run(ctx)
	}
	if err == nil {
		a.leave(nil)
		return a.link, nil
	}
	is := []error{fault.Disconnected, err}
	if r := refusedAs(err); r != nil {
		is = append(is, r)
	}
	if n.ctx.Err() != nil {
		is = append(is, fault.Closed)
	}
	err = fault.New(fmt.Sprintf("connect to %v: %v", loc, err), is...)
	a.leave(err)
	return nil, err
}

// dialAttempt is one dial, which may take several connections.
type dialAttempt struct {
	net   *Net     // immutable
	loc   Location // immutable
	want  *Link    // immutable: nil is any runtime
	link  *Link    // to the runtime that was found at loc
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
			again = hungUp < BusyTries
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
			if _, up := a.link.Peer(); up {
				return nil
			}
			if down := a.link.Cause(); down != nil && a.want != nil {
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
	raw, err := a.net.cfg.Dial(ctx, a.loc)
	if err != nil {
		return err
	}
	var c *claim
	conn, peer, err := wire.Dial(ctx, raw, a.net.cfg.Protect, a.net.hello(), func(peer wire.Hello) (refusal *wire.Refusal) {
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

// claim finds the link that the connection is for, and claims that.
func (a *dialAttempt) claim(peer wire.Hello) (*claim, *wire.Refusal) {
	if a.want != nil && peer.ID != a.want.ID {
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
	if a.added && a.link.ID == id && a.link.Cause() == nil {
		return true
	}
	a.leave(errors.New("another dial took over"))
	for {
		l, fresh := a.net.linkFor(id, a.loc)
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
