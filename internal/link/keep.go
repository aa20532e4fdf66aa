package link

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// The pause between two dials of Keep grows from peerPause to MostPeerPause.
const (
	peerPause = 100 * time.Millisecond
	// MostPeerPause is the longest pause between two dials of the same peer by Keep, give or take a half.
	MostPeerPause = 30 * time.Second
)

// Keep keeps links to the runtime at peer until ctx ends, one to each address of its name, and dials
// again when one has ended. It blocks. came is called with the links after each dial, unless it is nil.
func (n *Net) Keep(peer Location, came func([]*Link)) {
	pause, warned := peerPause, false
	for {
		links, err := n.DialAll(n.ctx, peer, nil)
		if n.ctx.Err() != nil {
			return
		}
		if err != nil {
			level := slog.LevelDebug
			if !warned {
				level = slog.LevelWarn // once, as it tries for ever
			}
			n.cfg.Log.Log(n.ctx, level, "cannot reach a peer; trying again",
				slog.String("peer", peer.String()), slog.Any("err", err))
		}
		warned = err != nil
		if came != nil {
			came(links)
		}
		wait := pause/2 + rand.N(pause) // so that the peers of a runtime do not all dial at the same time when it is back
		start := time.Now()
		if n.untilOneEnds(links, wait, err != nil) && time.Since(start) > wait { // the links have held
			pause = peerPause
		} else {
			pause = min(2*pause, MostPeerPause)
		}
		if err == nil && n.pause(peerPause/2+rand.N(pause)) != nil {
			return
		}
	}
}

// untilOneEnds waits until one of links has ended, and then returns true. It returns false when the
// runtime ends its goroutines before that, or, if limited, when d is over.
func (n *Net) untilOneEnds(links []*Link, d time.Duration, limited bool) bool {
	var timeout <-chan time.Time // nil: never
	if limited {
		timer := time.NewTimer(d)
		defer timer.Stop()
		timeout = timer.C
	}
	for {
		n.mu.Lock()
		lost := n.lost
		n.mu.Unlock()
		if slices.ContainsFunc(links, func(l *Link) bool { return l.Cause() != nil }) {
			return true
		}
		select {
		case <-lost:
		case <-timeout:
			return false
		case <-n.ctx.Done():
			return false
		}
	}
}

// DialAll connects to every address of peer, except those of this runtime itself, and returns the links
// and the errors. It calls up as soon as one of them is linked, unless up is nil.
func (n *Net) DialAll(ctx context.Context, peer Location, up func()) ([]*Link, error) {
	lctx, cancel := context.WithTimeout(ctx, n.cfg.MsgTimeout)
	defer cancel()
	addrs, err := n.cfg.Lookup(lctx, peer.Addr)
	if err != nil {
		return nil, err
	}
	type result struct {
		l   *Link
		err error
	}
	results := make(chan result, len(addrs))
	for _, a := range addrs {
		if !n.host.Start(func() {
			l, err := n.At(ctx, Location{Addr: a, Port: peer.Port})
			if err == nil && up != nil {
				up()
			}
			results <- result{l, err}
		}) {
			return nil, fault.Closed
		}
	}
	var links []*Link
	var errs []error
	for range addrs {
		r := <-results // each dial ends in time, and at once when ctx ends
		var refusal *wire.Refusal
		switch {
		case errors.As(r.err, &refusal) && refusal.Code == wire.RefuseSelf:
		case r.err != nil:
			errs = append(errs, r.err)
		case !r.l.IsSelf():
			links = append(links, r.l)
		}
	}
	return links, errors.Join(errs...)
}
