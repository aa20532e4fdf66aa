package discoro

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/discoro/discoro/internal/call"
)

// findScheduler returns the link to the scheduler to use.
func (p *Computation) findScheduler(ctx context.Context, at []Location) (*link, error) {
	if len(at) > 1 {
		return nil, fmt.Errorf("%d locations given, at most one scheduler is used", len(at))
	}
	if len(at) == 1 {
		l, err := p.rt.linkAt(ctx, at[0])
		if err != nil {
			return nil, err
		}
		if peer, _ := l.isUp(); !l.isSelf() && peer.Roles&roleScheduler == 0 {
			return nil, fmt.Errorf("the runtime at %v is no scheduler: %w", at[0], ErrNotFound)
		}
		return l, nil
	}
	if p.rt.roles&roleScheduler != 0 {
		return p.rt.self, nil
	}
	if l := p.rt.linkedScheduler(); l != nil {
		return l, nil
	}
	err := p.rt.lookForScheduler(ctx)
	if l := p.rt.linkedScheduler(); l != nil {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for a scheduler: %w", err)
	}
	what := "no scheduler is known"
	if peers := p.rt.cfg.Peers; len(peers) > 0 {
		what = fmt.Sprintf("none of Config.Peers is a scheduler that answers (%s)", strings.Join(peers, ", "))
	}
	return nil, fmt.Errorf("%s: start one in this program with NewScheduler, or give its location, here or in Config.Peers: %w", what, ErrNotFound)
}

// lookForScheduler dials Config.Peers, which may not be up yet, and asks the local network where Config.DiscoverPeers says so: all at
// the same time, as a peer may be dead, which takes Config.MsgTimeout to see. It blocks until there is a link to a scheduler, all
// have been tried, or ctx ends.
func (rt *Runtime) lookForScheduler(ctx context.Context) error {
	dctx, stop := context.WithCancel(rt.ctx)
	defer stop()
	k := call.New(waitConnect, nil)
	found := func() {
		if rt.linkedScheduler() != nil {
			k.Finish(call.Outcome{})
		}
	}
	if !rt.start(func() {
		var all sync.WaitGroup // counts goroutines of the runtime, and is waited for here
		try := func(f func()) {
			all.Add(1)
			if !rt.start(func() { defer all.Done(); f(); found() }) {
				all.Done()
			}
		}
		for _, peer := range rt.cfg.peers {
			try(func() { _, _ = rt.dialAll(dctx, peer, found) })
		}
		if rt.cfg.DiscoverPeers {
			try(func() { _ = rt.Discover(dctx) })
		}
		all.Wait()
		k.Finish(call.Outcome{})
	}) {
		return errRuntimeClosed
	}
	_, err := rt.wait(ctx, k)
	return err
}

// linkedScheduler returns a link to a scheduler that is up.
func (rt *Runtime) linkedScheduler() *link {
	for _, l := range rt.allLinks() {
		if peer, up := l.isUp(); up && peer.Roles&roleScheduler != 0 {
			return l
		}
	}
	return nil
}
