package discoro

import (
	"context"
	"fmt"
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
	for _, peer := range p.rt.cfg.peers { // they may not be up yet
		_, err := p.rt.linkAt(ctx, peer)
		if l := p.rt.linkedScheduler(); l != nil {
			return l, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
	}
	if p.rt.cfg.DiscoverPeers {
		err := p.rt.Discover(ctx)
		if l := p.rt.linkedScheduler(); l != nil {
			return l, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("no scheduler is known: start one in this program with NewScheduler, or give its location, here or in Config.Peers: %w", ErrNotFound)
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
