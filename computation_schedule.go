package discoro

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
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
		return p.rt.net.self, nil
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
			try(func() { _, _ = rt.net.dialAll(dctx, peer, found) })
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
	for _, l := range rt.net.all() {
		if peer, up := l.isUp(); up && peer.Roles&roleScheduler != 0 {
			return l
		}
	}
	return nil
}

// Schedule queues the computation at a scheduler and blocks until its turn has come, or ctx ends. Without a location the
// scheduler is the one of the computation's own runtime, or else one among the runtimes that it has links to. When there is none
// yet, the runtime's Config.Peers are dialled, and with Config.DiscoverPeers the local network is asked, as [Runtime.Discover] does: all
// at the same time, and the scheduler that is linked first is used.
// ErrNotFound: there is none; ErrExists: it was scheduled before; ErrDisconnected: the link to the scheduler broke. When ctx
// ends the computation is taken out of the queue and is over.
func (p *Computation) Schedule(ctx context.Context, at ...Location) error {
	l, err := p.findScheduler(ctx, at)
	if err != nil {
		return fault.Because(err, "schedule")
	}
	turn, err := p.enqueue(l)
	if err != nil {
		return fault.Because(err, "schedule")
	}
	return p.awaitTurn(ctx, l, turn)
}

// enqueue submits the computation; turn is finished when its turn has come.
func (p *Computation) enqueue(l *link) (turn *call.Call, err error) {
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
	turn = call.New(waitSchedule, nil)
	if _, err := l.ask(turn, p.submission); err != nil {
		turn.Finish(call.Outcome{Err: err})
	}
	return turn, nil
}

// submission is what the scheduler is told.
func (p *Computation) submission(call uint64) wire.Frame {
	return &wire.Submit{
		Call: call, Token: p.token, Client: p.rt.peer(), Name: p.rt.cfg.Name, Functions: p.cfg.Functions,
		Pulse: int64(p.cfg.PulseInterval), Ping: int64(p.cfg.PingInterval), Zombie: int64(p.cfg.ZombiePeriod),
		Filters: filtersToWire(p.cfg.NodeFilters),
	}
}

// awaitTurn waits for the turn of a computation that is queued.
func (p *Computation) awaitTurn(ctx context.Context, l *link, turn *call.Call) error {
	stop := p.explain("the computation's turn at the scheduler", func() string { return p.report(l) })
	forget := p.begun.OnDone(turn.Finish) // also when the scheduler of its own runtime closes, which answers nobody
	out, err := p.rt.wait(ctx, turn)
	forget()
	stop()
	switch {
	case err == nil:
		err = out.Err
	case ctx.Err() != nil && l.stateNow() == linkUp:
		err = fmt.Errorf("the computation's turn has not come: %s: %w", p.report(l), err)
	}
	if err != nil {
		l.tell(&wire.CloseComputation{Token: p.token})
		p.end(err)
		return fault.Because(err, "schedule at %v", l.location())
	}
	p.begin()
	return nil
}

// begin notes that the turn has come. The scheduler's status says so before its answer to Schedule is there, and a status
// coroutine may use the computation then.
func (p *Computation) begin() {
	p.mu.Lock()
	begins := p.state == compQueued
	if begins {
		p.state, p.beats = compActive, true
	}
	p.mu.Unlock()
	if begins {
		p.rt.net.beat.change(0, p.cfg.PulseInterval)
		p.begun.Set(call.Outcome{})
	}
}

// Position returns the computation's place in the scheduler's queue: 1 is the next, 0 that its turn has come. It does not block: the
// scheduler tells of changes, and the log has each. ErrClosed: the computation is not scheduled, or over.
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

func (rt *Runtime) putQueued(l *link, f *wire.Queued) {
	if p := rt.computationAt(l, f.Token); p != nil {
		p.hearPlace(f.Position)
	}
}

// hearPlace takes the scheduler's word on the place in its queue.
func (p *Computation) hearPlace(place int) {
	p.mu.Lock()
	p.place = place
	queued := p.state == compQueued
	p.mu.Unlock()
	if queued {
		p.rt.log.Info("waiting in the scheduler's queue", slog.Int("position", place))
	}
}
