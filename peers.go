package discoro

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/wire"
)

// Connect makes a link to the runtime at addr, "host:port", and returns its announced location. It blocks until the
// link is up, at most Config.MsgTimeout or until ctx ends. ErrDisconnected: nobody answers there; ErrUnauthorized: the
// secrets or certificates do not fit; ErrRejected: another protocol version, this very runtime, or refused for another
// reason.
func (rt *Runtime) Connect(ctx context.Context, addr string) (Location, error) {
	loc, err := ParseLocation(addr)
	if err != nil {
		return Location{}, err
	}
	l, err := rt.linkAt(ctx, loc)
	if err != nil {
		return Location{}, fmt.Errorf("discoro: %w", err)
	}
	if l.isSelf() {
		return Location{}, fmt.Errorf("discoro: connect to %v: that is this runtime itself: %w", loc, ErrRejected)
	}
	return l.location(), nil
}

// Disconnect closes the link to the runtime at loc; what was on it ends with ErrDisconnected on both sides. Config.Peers
// are dialled again. It blocks until what is queued has been sent, at most a second. ErrNotFound: there is no link to loc.
func (rt *Runtime) Disconnect(loc Location) error {
	links := slices.DeleteFunc(rt.allLinks(), func(l *link) bool { return l.location() != loc })
	if len(links) == 0 && rt.isClosing() {
		return fmt.Errorf("discoro: disconnect %v: %w", loc, errRuntimeClosed)
	}
	if len(links) == 0 {
		return fmt.Errorf("discoro: disconnect %v: no link to it: %w", loc, ErrNotFound)
	}
	ctx, cancel := context.WithTimeout(rt.ctx, time.Second)
	defer cancel()
	for _, l := range links {
		k := call.New(waitDisconnect, nil)
		if !rt.start(func() {
			l.bye(ctx, rt.String()+" disconnects")
			k.Finish(call.Outcome{})
		}) {
			return nil // Close does it
		}
		if _, err := rt.wait(context.Background(), k); err != nil {
			return err
		}
	}
	return nil
}

// Peers returns the locations of the runtimes that there is a link to, sorted.
func (rt *Runtime) Peers() []Location {
	var locs []Location
	for _, l := range rt.allLinks() {
		if _, up := l.isUp(); up {
			locs = append(locs, l.location())
		}
	}
	slices.SortFunc(locs, func(a, b Location) int { return cmp.Or(cmp.Compare(a.Addr, b.Addr), cmp.Compare(a.Port, b.Port)) })
	return locs
}

// Between two dials of one of Config.Peers.
const (
	peerPause     = 100 * time.Millisecond
	mostPeerPause = 30 * time.Second
)

// keepPeer keeps a runtime connected, one of Config.Peers most often, for as long as this one lives: every address of a name. came, where
// there is one, is told of the links after each dial.
func (rt *Runtime) keepPeer(peer Location, came func([]*link)) {
	pause, told := peerPause, false
	for {
		links, err := rt.dialAll(rt.ctx, peer, nil)
		if rt.ctx.Err() != nil {
			return
		}
		if err != nil {
			level := slog.LevelDebug
			if !told {
				level = slog.LevelWarn // once; it is tried for ever
			}
			rt.log.Log(rt.ctx, level, "cannot reach a peer; trying again", slog.String("peer", peer.String()), slog.Any("err", err))
		}
		told = err != nil
		if came != nil {
			came(links)
		}
		wait := pause/2 + rand.N(pause) // not all peers at once when this one is back
		start := time.Now()
		if rt.untilOneEnds(links, wait, err != nil) && time.Since(start) > wait { // it held
			pause = peerPause
		} else {
			pause = min(2*pause, mostPeerPause)
		}
		if err == nil && rt.pause(peerPause/2+rand.N(pause)) != nil {
			return
		}
	}
}

// untilOneEnds waits until one of links has ended, which it reports, or the runtime; where limited, no longer than d.
func (rt *Runtime) untilOneEnds(links []*link, d time.Duration, limited bool) bool {
	var timeout <-chan time.Time // nil: never
	if limited {
		timer := time.NewTimer(d)
		defer timer.Stop()
		timeout = timer.C
	}
	for {
		rt.mu.Lock()
		lost := rt.lost
		rt.mu.Unlock()
		if slices.ContainsFunc(links, func(l *link) bool { return l.cause() != nil }) {
			return true
		}
		select {
		case <-lost:
		case <-timeout:
			return false
		case <-rt.ctx.Done():
			return false
		}
	}
}

// dialAll connects to every address of peer, but for this runtime's own, and returns the links, or the errors. up, where there is one, is
// called as soon as one of these is linked.
func (rt *Runtime) dialAll(ctx context.Context, peer Location, up func()) ([]*link, error) {
	lctx, cancel := context.WithTimeout(ctx, rt.cfg.MsgTimeout)
	defer cancel()
	addrs, err := rt.cfg.lookup(lctx, peer.Addr)
	if err != nil {
		return nil, err
	}
	type result struct {
		l   *link
		err error
	}
	results := make(chan result, len(addrs))
	for _, a := range addrs {
		if !rt.start(func() {
			l, err := rt.linkAt(ctx, Location{Addr: a, Port: peer.Port})
			if err == nil && up != nil {
				up()
			}
			results <- result{l, err}
		}) {
			return nil, ErrClosed
		}
	}
	var links []*link
	var errs []error
	for range addrs {
		r := <-results // soon, and at once when ctx ends
		var refusal *wire.Refusal
		switch {
		case errors.As(r.err, &refusal) && refusal.Code == wire.RefuseSelf:
		case r.err != nil:
			errs = append(errs, r.err)
		case !r.l.isSelf():
			links = append(links, r.l)
		}
	}
	return links, errors.Join(errs...)
}
