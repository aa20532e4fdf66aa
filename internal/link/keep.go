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

// Between two dials of one of Config.Peers.
const (
	peerPause     = 100 * time.Millisecond
	MostPeerPause = 30 * time.Second
)

// Keep keeps a runtime connected, one of Config.Peers most often, for as long as this one lives: every address of a name. came, where
// there is one, is told of the links after each dial.
func (n *Net) Keep(peer Location, came func([]*Link)) {
	pause, told := peerPause, false
	for {
		links, err := n.DialAll(n.ctx, peer, nil)
		if n.ctx.Err() != nil {
			return
		}
		if err != nil {
			level := slog.LevelDebug
			if !told {
				level = slog.LevelWarn // once; it is tried for ever
			}
			n.cfg.Log.Log(n.ctx, level, "cannot reach a peer; trying again", slog.String("peer", peer.String()), slog.Any("err", err))
		}
		told = err != nil
		if came != nil {
			came(links)
		}
		wait := pause/2 + rand.N(pause) // not all peers at once when this one is back
		start := time.Now()
		if n.untilOneEnds(links, wait, err != nil) && time.Since(start) > wait { // it held
			pause = peerPause
		} else {
			pause = min(2*pause, MostPeerPause)
		}
		if err == nil && n.pause(peerPause/2+rand.N(pause)) != nil {
			return
		}
	}
}

// untilOneEnds waits until one of links has ended, which it reports, or the runtime; where limited, no longer than d.
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

// DialAll connects to every address of peer, but for this runtime's own, and returns the links, or the errors. up, where there is one, is
// called as soon as one of these is linked.
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
		r := <-results // soon, and at once when ctx ends
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
