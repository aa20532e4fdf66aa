package discoro

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/wire"
)

// findScheduler returns the link to the scheduler at a location or, without one, to a scheduler
// that Schedule describes. It blocks as Schedule does.
func (p *Computation) findScheduler(ctx context.Context, at []Location) (*link.Link, error) {
	if len(at) > 1 {
		return nil, fmt.Errorf("%d locations given, at most one scheduler is used", len(at))
	}
	if len(at) == 1 {
		l, err := p.rt.linkAt(ctx, at[0])
		if err != nil {
			return nil, err
		}
		if peer, _ := l.Peer(); !l.IsSelf() && peer.Roles&roleScheduler == 0 {
			return nil, fmt.Errorf("the runtime at %v is no scheduler: %w", at[0], ErrNotFound)
		}
		return l, nil
	}
	if p.rt.roles&roleScheduler != 0 {
		return p.rt.net.Self, nil
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
	const advice = "start one in this program with NewScheduler, or give its location, here or in Config.Peers"
	return nil, fmt.Errorf("%s: %s: %w", what, advice, ErrNotFound)
}

// lookForScheduler dials Config.Peers and, with Config.DiscoverPeers, asks the local network. It
// does so at the same time, since it takes Config.MsgTimeout to see that a peer is dead. It blocks
// until there is a link to a scheduler, all have been tried, or ctx ends.
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
		tries := rt.group(len(rt.cfg.peers) + 1)
		for _, peer := range rt.cfg.peers {
			tries.Start(dctx, func() {
				_, _ = rt.net.DialAll(dctx, link.Location(peer), found)
				found()
			})
		}
		if rt.cfg.DiscoverPeers {
			tries.Start(dctx, func() {
				_ = rt.Discover(dctx)
				found()
			})
		}
		tries.Wait()
		k.Finish(call.Outcome{})
	}) {
		return errRuntimeClosed
	}
	_, err := rt.wait(ctx, k)
	return err
}

// linkedScheduler returns a link to a scheduler that is up, nil when there is none.
func (rt *Runtime) linkedScheduler() *link.Link {
	for _, l := range rt.net.All() {
		if peer, up := l.Peer(); up && peer.Roles&roleScheduler != 0 {
			return l
		}
	}
	return nil
}

// Schedule puts the computation into the queue of a scheduler, and blocks until it is active, or
// ctx ends: then it is taken out of the queue, and is over. While Schedule waits, the log has its
// position in the queue.
//
// at names the scheduler; more than one location is an error. Without it, the scheduler is that of
// the computation's own runtime, or else one that the runtime has a link to. Where there is no such
// link, Schedule dials Config.Peers and, with Config.DiscoverPeers, asks the local network as
// [Runtime.Discover] does. It uses the scheduler whose link comes up first.
//
// ErrNotFound: there is no scheduler. ErrExists: the computation was scheduled before. ErrClosed:
// it was closed. ErrDisconnected: the link to the scheduler broke.
func (p *Computation) Schedule(ctx context.Context, at ...Location) error {
	l, err := p.findScheduler(ctx, at)
	if err != nil {
		return fault.Because(err, "schedule")
	}
	submitted, err := p.enqueue(l)
	if err != nil {
		return fault.Because(err, "schedule")
	}
	return p.awaitActive(ctx, l, submitted)
}

// enqueue submits the computation to the scheduler. submitted is finished when the computation
// becomes active, or never will.
func (p *Computation) enqueue(l *link.Link) (submitted *call.Call, err error) {
	p.mu.Lock()
	state := p.state
	if state == compNew {
		p.state, p.sched = compQueued, l
	}
	p.mu.Unlock()
	switch {
	case state == compOver:
		return nil, fmt.Errorf("the computation is closed; make a new one: %w", ErrClosed)
	case state != compNew:
		return nil, fmt.Errorf("the computation was scheduled before; make a new one: %w", ErrExists)
	}
	p.rt.mu.Lock()
	p.rt.comps[p.token] = p
	p.rt.mu.Unlock()
	submitted = call.New(waitSchedule, nil)
	if _, err := l.Ask(submitted, p.submission); err != nil {
		submitted.Finish(call.Outcome{Err: err})
	}
	return submitted, nil
}

// submission returns the frame that submits the computation.
func (p *Computation) submission(call uint64) wire.Frame {
	return &wire.Submit{
		Call: call, Token: p.token, Client: p.rt.peer(), Name: p.rt.cfg.Name, Functions: p.cfg.Functions,
		Pulse: int64(p.cfg.PulseInterval), Ping: int64(p.cfg.PingInterval), Zombie: int64(p.cfg.ZombiePeriod),
		Filters: filtersToWire(p.cfg.NodeFilters),
	}
}

// awaitActive waits until a computation that was submitted is active. If awaitActive returns an
// error, the computation is over.
func (p *Computation) awaitActive(ctx context.Context, l *link.Link, submitted *call.Call) error {
	stop := p.logWait("the computation's turn at the scheduler", func() string { return p.report(l) })
	forget := p.begun.OnDone(submitted.Finish) // a scheduler that closes with this runtime does not answer
	out, err := p.rt.wait(ctx, submitted)
	forget()
	stop()
	switch {
	case err == nil:
		err = out.Err
	case ctx.Err() != nil && l.IsUp():
		err = fmt.Errorf("the computation is not active yet: %s: %w", p.report(l), err)
	}
	if err != nil {
		l.Tell(&wire.CloseComputation{Token: p.token})
		p.end(err)
		return fault.Because(err, "schedule at %v", l.Location())
	}
	p.activate()
	return nil
}

// activate makes the computation active. The scheduler's status comes first, and its answer to
// Schedule after that: a status coroutine may use the computation between the two.
func (p *Computation) activate() {
	p.mu.Lock()
	begins := p.state == compQueued
	if begins {
		p.state, p.beats = compActive, true
	}
	p.mu.Unlock()
	if begins {
		p.rt.net.SetPulse(0, p.cfg.PulseInterval)
		p.begun.Set(call.Outcome{})
	}
}

// Position returns the computation's position in the scheduler's queue: 1 is the next, 0 is the
// active one. It does not block: the scheduler sends each change of the position, which is also
// logged. ErrClosed: the computation is not scheduled, or over.
func (p *Computation) Position(ctx context.Context) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, fault.Because(err, "position")
	}
	p.mu.Lock()
	place, queued := p.place, p.state == compQueued
	p.mu.Unlock()
	if queued {
		return max(place, 1), nil
	}
	_, err := p.active("position")
	return 0, err
}

func (rt *Runtime) putQueued(l *link.Link, f *wire.Queued) {
	if p := rt.computationAt(l, f.Token); p != nil {
		p.applyPosition(f.Position)
	}
}

// applyPosition records the computation's position in the scheduler's queue.
func (p *Computation) applyPosition(place int) {
	p.mu.Lock()
	p.place = place
	queued := p.state == compQueued
	p.mu.Unlock()
	if queued {
		p.rt.log.Info("waiting in the scheduler's queue", slog.Int("position", place))
	}
}
