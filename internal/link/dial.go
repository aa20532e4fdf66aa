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

// dialLink is a dial that brings l up, or ends it. linkFor has counted it.
func (n *Net) dialLink(l *Link, loc Location) {
	_, err := n.dial(n.ctx, loc, l)
	l.endDial(err)
}

// The pause between two connections of one dial grows from firstPause to mostPause.
const (
	firstPause = 20 * time.Millisecond
	mostPause  = time.Second
	// BusyTries is how many connections a dial tries when the peer closes them at once, as a busy one
	// does.
	BusyTries = 8
)

// dial connects to the runtime at loc and returns the link to it, which is up. If want is not nil,
// that runtime must be want's. dial gives up after Config.MsgTimeout.
func (n *Net) dial(ctx context.Context, loc Location, want *Link) (*Link, error) {
	a := &dialAttempt{net: n, loc: loc, want: want}
	err := n.cfg.Protect.Ready(ctx) // which may take longer than a dial
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

// dialAttempt is one dial. It may try several connections.
type dialAttempt struct {
	net   *Net     // immutable
	loc   Location // immutable
	want  *Link    // immutable: the link to bring up; nil: any runtime will do
	link  *Link    // to the runtime that was found at loc
	added bool     // link counts this dial
}

// run tries connections until the link is up, over this dial's connection or another one, or until
// another try would be useless.
func (a *dialAttempt) run(ctx context.Context) error {
	pause, hungUp := firstPause, 0
	for {
		err := a.once(ctx)
		if err == nil {
			return nil
		}
		again := isDuplicate(err) && a.link != nil // the other side dials too, or there is a link
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
			wait = pause/2 + rand.N(pause) // so that peers that dial at the same time do not all come back at the same time
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

// waitFor waits until done is closed or d is over. It returns false if ctx has ended before that.
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

// isHangUp reports whether the peer accepted the connection and then closed it silently.
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
	admit := func(peer wire.Hello) (refusal *wire.Refusal) {
		c, refusal = a.claim(peer)
		return refusal
	}
	conn, peer, err := wire.Dial(ctx, raw, a.net.cfg.Protect, a.net.hello(), admit)
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
		return duplicate() // the other side's connection has won, or the link has ended
	}
	return nil
}

// claim finds the link that a connection to peer is for, and claims it for the connection.
func (a *dialAttempt) claim(peer wire.Hello) (*claim, *wire.Refusal) {
	if a.want != nil && peer.ID != a.want.ID {
		const text = "the runtime that was there has ended; another has its address"
		return nil, &wire.Refusal{Code: wire.RefuseClosed, Text: text}
	}
	if a.want != nil {
		a.link = a.want
	} else if !a.join(peer.ID) {
		return nil, &wire.Refusal{Code: wire.RefuseClosed, Text: "the dialer is closing"}
	}
	return a.link.claimDialled(a.loc)
}

// join makes the link of the table count this dial. It returns false when the runtime is closing.
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

// leave makes the link stop counting this dial, which has ended with err.
func (a *dialAttempt) leave(err error) {
	if a.added {
		a.added = false
		a.link.endDial(err)
	}
}
