package discoro

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/schedule"
	"github.com/discoro/discoro/wire"
)

// ComputationConfig describes a [Computation].
type ComputationConfig struct {
	// Functions are the names that every server must have registered; a node without one is ignored, with that reason.
	Functions []string
	// Files are paths of files at the client. Each is sent to every server's folder, see [Coro.Dir], before the server is used, under
	// its last name and with its executable bits; to servers that come later, too, as it is then. NewComputation fails when one
	// cannot be read. A server that one cannot be sent to is ignored, with that reason.
	Files []string
	// Status receives [Status], [Exit] and [NodeAvail] messages; see Status for their order.
	Status *Coro
	// NodeFilters say which nodes are used, in order; see [NodeFilter]. None: all.
	NodeFilters []NodeFilter
	// Timeout bounds control messages of the computation; 0: Config.MsgTimeout.
	Timeout time.Duration
	// PulseInterval is how often client, scheduler, nodes and servers give each other signs of life, where nothing else is sent, and
	// nodes their [NodeAvail], while the computation is active. Who gives none for five of them is taken for lost. 0:
	// 2*MinPulseInterval. Nodes do not serve a computation that asks for less than MinPulseInterval or more than
	// MaxPulseInterval, unless NodeConfig has other bounds. A function that computes for long without yielding does not
	// keep its server from pulsing.
	PulseInterval time.Duration
	// PingInterval is how often the scheduler looks for nodes, on its local network and near SchedulerConfig.Nodes, while the
	// computation is active: for those that were started late, or whose answers were lost. At least MinPulseInterval;
	// 0: as SchedulerConfig.PingInterval says.
	PingInterval time.Duration
	// ZombiePeriod is how long the computation may be idle, with nothing running at its servers, no server being set up, nothing submitted
	// and no file on its way to a server, before the scheduler closes it. Messages are nothing that it sees. Servers tell it of files with each
	// 512 KiB that come, and once a second at most: give them more time than that. 0: as SchedulerConfig.ZombiePeriod says, which is none for a private scheduler.
	ZombiePeriod time.Duration

	tuning
}

// Computation is what a client runs functions through: it is queued at a scheduler, has every server to itself while its
// turn lasts, and Close ends what still runs. In asyncoro: Computation. Its methods are safe for concurrent use.
type Computation struct {
	rt      *Runtime          // immutable
	cfg     ComputationConfig // immutable
	token   wire.Token        // immutable: who has it can run, and end, things of this computation
	timeout time.Duration     // immutable

	mu      sync.Mutex // guards following; leaf
	status  *Coro
	sched   *link // where it is scheduled
	state   compState
	why     error               // it is over because of that
	servers map[Location]string // initialized ones, and their node
	known   map[Location]string // all that ever were initialized, and their node
	place   int                 // in the scheduler's queue; 0: it has not said
	beats   bool                // the runtime pulses for it
	changed []*call.Call        // wait for servers to change
	told    outbox              // what the status coroutine is told
	begun   call.Future         // set when its turn has come, or will not
	over    call.Future         // set when it has ended
}

type compState uint8

const (
	compNew compState = iota
	compQueued
	compActive
	compClosing
	compOver
)

// NewComputation returns a computation of the client rt. It does nothing before Schedule. An error names the field of cfg that is
// wrong.
func NewComputation(rt *Runtime, cfg ...ComputationConfig) (*Computation, error) {
	c, err := one(cfg)
	if err != nil {
		return nil, err
	}
	if rt == nil {
		return nil, errors.New("discoro: computation: the runtime is nil")
	}
	if err := c.checkTimes(); err != nil {
		return nil, err
	}
	if slices.Contains(c.Functions, "") {
		return nil, errors.New("discoro: ComputationConfig.Functions: a name is empty")
	}
	if err := schedule.CheckFilters(filtersToWire(c.NodeFilters)); err != nil {
		return nil, err
	}
	if c.Files, err = settleFiles(c.Files); err != nil {
		return nil, fault.Because(err, "ComputationConfig.Files")
	}
	p := &Computation{rt: rt, cfg: c, status: c.Status, timeout: c.Timeout, servers: map[Location]string{}, known: map[Location]string{}}
	if p.timeout == 0 {
		p.timeout = rt.cfg.MsgTimeout
	}
	if p.cfg.PulseInterval == 0 {
		p.cfg.PulseInterval = 2 * rt.net.beat.usual
	}
	rand.Read(p.token[:])
	return p, nil
}

// checkTimes checks what is a duration.
func (cfg *ComputationConfig) checkTimes() error {
	for _, f := range []struct {
		field string
		d     time.Duration
	}{{"Timeout", cfg.Timeout}, {"PulseInterval", cfg.PulseInterval}, {"PingInterval", cfg.PingInterval}, {"ZombiePeriod", cfg.ZombiePeriod}} {
		if f.d < 0 {
			return fmt.Errorf("discoro: ComputationConfig.%s: %v is negative", f.field, f.d)
		}
	}
	if p := cfg.PulseInterval; p != 0 && (p < leastPulse || p > maxPulse) {
		return fmt.Errorf("discoro: ComputationConfig.PulseInterval: %v is not between %v and %v, and nodes take %v to %v unless they were told otherwise",
			p, leastPulse, maxPulse, MinPulseInterval, MaxPulseInterval)
	}
	if least := cmp.Or(cfg.leastPing, MinPulseInterval); cfg.PingInterval != 0 && cfg.PingInterval < least {
		return fmt.Errorf("discoro: ComputationConfig.PingInterval: %v is less than MinPulseInterval, %v", cfg.PingInterval, least)
	}
	return nil
}

// active returns the link to the scheduler while the computation can run things.
func (p *Computation) active(verb string) (*link, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.state {
	case compActive:
		return p.sched, nil
	case compNew, compQueued:
		return nil, fmt.Errorf("discoro: %s: the computation is not scheduled yet: %w", verb, ErrClosed)
	case compClosing, compOver:
	}
	if p.why != nil {
		return nil, fault.Because(p.why, "%s: the computation is over", verb)
	}
	return nil, fmt.Errorf("discoro: %s: the computation is closed: %w", verb, ErrClosed)
}

// WaitServers blocks until at least n servers can be used, or ctx ends; first until the computation's turn has come. While it
// waits it logs, ever more rarely, which nodes are known and why each is not used; when ctx ends the error is ErrNoServer
// with that report, and ctx's error. ErrClosed: the computation is not scheduled, or over.
func (p *Computation) WaitServers(ctx context.Context, n int) error {
	p.mu.Lock()
	l := p.sched
	p.mu.Unlock()
	what := "wait for " + fault.Count(n, "server")
	if l == nil {
		_, err := p.active(what)
		return err
	}
	stop := p.explain(what, func() string { return p.report(l) })
	defer stop()
	for {
		k := call.New(waitServers, nil)
		p.mu.Lock()
		enough, over := len(p.servers) >= n && p.state == compActive, p.state == compClosing || p.state == compOver
		if !enough && !over {
			p.changed = append(p.changed, k)
		}
		p.mu.Unlock()
		if enough {
			return nil
		}
		if over {
			_, err := p.active(what)
			return err
		}
		if _, err := p.rt.wait(ctx, k); err != nil {
			p.mu.Lock()
			p.changed = slices.DeleteFunc(p.changed, func(o *call.Call) bool { return o == k })
			p.mu.Unlock()
			return noServer(what, p.report(l), err)
		}
	}
}

// noServer makes the error of a wait for servers that a context ended.
func noServer(what, report string, cause error) error {
	return fault.New(fmt.Sprintf("discoro: %s: %v: no server: %s", what, cause, report), ErrNoServer, cause)
}

// report asks the scheduler what the computation waits for.
func (p *Computation) report(l *link) string { return p.reportOf(l, wire.JobID{}) }

// reportOf is report of what one of the computation's runs waits for.
func (p *Computation) reportOf(l *link, job wire.JobID) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	out, err := l.request(ctx, waitReport, func(call uint64) wire.Frame { return &wire.Report{Call: call, Token: p.token, Job: job} })
	if err == nil {
		err = out.Err
	}
	if err != nil {
		return fmt.Sprintf("the scheduler at %v does not say why (%v)", l.location(), err)
	}
	text, err := resultAs[string](p.rt, out, "report")
	if err != nil {
		return err.Error()
	}
	return text
}

// explainFirst is when a wait for a server is first explained in the log.
const explainFirst = 2 * time.Second

// explain logs, after 2 s and then ever more rarely, what is waited for and why; stop ends that.
func (p *Computation) explain(what string, why func() string) (stop func()) {
	var mu sync.Mutex // guards following; leaf
	ended, next := false, explainFirst
	var timer *time.Timer
	say := func() {
		report := why()
		mu.Lock()
		next *= 2
		if !ended {
			timer.Reset(next)
		}
		silent := ended
		mu.Unlock()
		if !silent {
			p.rt.log.Warn("still waiting", slog.String("for", what), slog.String("because", report))
		}
	}
	mu.Lock()
	timer = time.AfterFunc(next, func() { p.rt.start(say) })
	mu.Unlock()
	return func() {
		mu.Lock()
		defer mu.Unlock()
		ended = true
		timer.Stop()
	}
}

// Close ends the computation: what still runs is terminated, each server removes its files and variables, and the next
// computation gets the servers. It blocks until the scheduler says that it is done, or ctx ends. While it waits it logs, ever
// more rarely, which nodes are not done. Closing again returns nil.
func (p *Computation) Close(ctx context.Context) error {
	p.mu.Lock()
	state, l := p.state, p.sched
	if state == compActive {
		p.state = compClosing
	}
	p.mu.Unlock()
	switch state {
	case compNew:
		p.end(ErrClosed)
		return nil
	case compOver:
		return nil
	case compQueued, compActive, compClosing:
	}
	p.wakeWaiters()
	if state != compClosing {
		l.tell(&wire.CloseComputation{Token: p.token})
	}
	stopTelling := p.explain("all servers to close", func() string { return p.report(l) })
	_, err := p.rt.waitFuture(ctx, &p.over, waitClose, nil)
	stopTelling()
	if err != nil {
		return fault.Because(err, "close: not all servers have closed: %s", p.report(l))
	}
	return nil
}

// isClosing reports whether Close waits for the servers to close.
func (p *Computation) isClosing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state == compClosing
}

// computationAt returns the computation of this client that has that token and is scheduled over l,
// nil when there is none: what another peer says of it does not count.
func (rt *Runtime) computationAt(l *link, token wire.Token) *Computation {
	rt.mu.Lock()
	p := rt.comps[token]
	rt.mu.Unlock()
	if p == nil || p.scheduler() != l {
		return nil
	}
	return p
}

func (rt *Runtime) putStatus(l *link, f *wire.Status) {
	if p := rt.computationAt(l, f.Token); p != nil {
		p.hear(f)
	}
}

// hear takes what the scheduler tells of the computation. It runs on the link's reader.
func (p *Computation) hear(f *wire.Status) {
	s := statusOf(f)
	if s.Kind == ComputationClosed {
		p.mu.Lock()
		queued := p.state == compQueued
		p.mu.Unlock()
		err := ErrClosed
		switch {
		case s.Reason != "":
			err = fault.New(s.Reason, ErrClosed)
		case queued: // who waits in Schedule has not asked for it
			err = fmt.Errorf("closed while it was queued: %w", ErrClosed)
		}
		p.endWith(err, s)
		return
	}
	if s.Kind == ComputationScheduled {
		p.begin()
	}
	p.mu.Lock()
	if p.state == compOver {
		p.mu.Unlock()
		return
	}
	p.told.put(s)
	switch s.Kind { //nolint:exhaustive // the other kinds change nothing here
	case ServerInitialized:
		p.servers[s.Server], p.known[s.Server] = s.Node, s.Node
		p.told.release(s.Server, s.Node)
	case ServerClosed, ServerDisconnected:
		delete(p.servers, s.Server)
	}
	p.mu.Unlock()
	p.flush()
	p.wakeWaiters()
}

func (p *Computation) wakeWaiters() {
	p.mu.Lock()
	changed := p.changed
	p.changed = nil
	p.mu.Unlock()
	for _, k := range changed {
		k.Finish(call.Outcome{})
	}
}

// end makes the computation over; jobs that still run end with why.
func (p *Computation) end(why error) {
	p.endWith(why, Status{Kind: ComputationClosed, Reason: why.Error()})
}

func (p *Computation) endWith(why error, last Status) {
	p.mu.Lock()
	if p.state == compOver {
		p.mu.Unlock()
		return
	}
	asked, beats := p.state == compClosing, p.beats
	p.state, p.why = compOver, why
	p.mu.Unlock()
	if beats {
		p.rt.net.beat.change(p.cfg.PulseInterval, 0)
	}
	if asked {
		why = fault.New(why.Error(), ErrTerminated, why)
	}
	p.rt.mu.Lock()
	delete(p.rt.comps, p.token)
	var jobs []*job
	for _, j := range p.rt.jobs {
		if j.comp == p {
			jobs = append(jobs, j)
		}
	}
	p.rt.mu.Unlock()
	for _, j := range jobs {
		j.finish(call.Outcome{Err: fault.Because(why, "run %s: the computation is over", j.fn)})
	}
	p.mu.Lock()
	clear(p.servers)
	p.told.close(last)
	p.mu.Unlock()
	p.flush()
	p.wakeWaiters()
	p.begun.Set(call.Outcome{Err: why})
	p.over.Set(call.Outcome{})
}

// peer is how the runtime is named in frames.
func (rt *Runtime) peer() wire.Peer {
	return wire.Peer{ID: rt.id, Host: rt.loc.Addr, Port: rt.loc.Port}
}
