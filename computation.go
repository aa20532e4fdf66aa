package discoro

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/schedule"
	"github.com/discoro/discoro/wire"
)

// ComputationConfig describes a [Computation].
type ComputationConfig struct {
	// Functions are the names of functions that every node must have registered. A node without one
	// of them is ignored, with that reason.
	Functions []string
	// Files are paths of files at the client. Before a server is used, each file is sent to its
	// folder, see [Coro.Dir], under the last element of the path and with its executable bits. A
	// server that starts later receives the file as it is then. NewComputation fails when a file
	// cannot be read. A server that a file cannot be sent to is ignored, with that reason.
	Files []string
	// Status is the coroutine that receives [Status], [Exit] and [NodeAvail] messages; see [Status]
	// for their order. It may be a coroutine of another runtime. nil: nobody receives them.
	Status *Coro
	// NodeFilters say which nodes are used; see [NodeFilter]. Without any, all nodes are.
	NodeFilters []NodeFilter
	// Timeout bounds control messages of the computation; 0: Config.MsgTimeout.
	Timeout time.Duration
	// PulseInterval is how often client, scheduler, nodes and servers send each other signs of
	// life, where they send nothing else, while the computation is active. Nodes also send their
	// [NodeAvail] that often. A runtime that sends nothing for five intervals counts as lost. 0:
	// 2*MinPulseInterval. A node does not serve a computation that asks for less than
	// MinPulseInterval or more than MaxPulseInterval, unless its NodeConfig has other bounds. A
	// function that computes for long without yielding does not keep its server from sending signs
	// of life.
	PulseInterval time.Duration
	// PingInterval is how often the scheduler looks for nodes, on its local network and near
	// SchedulerConfig.Nodes, while the computation is active. So it finds nodes that were started
	// late, and nodes whose answers were lost. At least MinPulseInterval; 0:
	// SchedulerConfig.PingInterval.
	PingInterval time.Duration
	// ZombiePeriod is how long the computation may be idle before the scheduler closes it. It is
	// idle while nothing runs at its servers, no server is being set up, nothing is submitted and
	// no file is on its way to a server. The scheduler does not see messages between coroutines. Of
	// files it learns with each 512 KiB that a server receives, at most once a second: allow more
	// time than such a part takes. 0: SchedulerConfig.ZombiePeriod, which is none for a private
	// scheduler.
	ZombiePeriod time.Duration

	tuning
}

// Computation runs the functions of a client at servers. It waits in the queue of a scheduler, has
// all servers to itself while it is active, and ends with Close. Its methods are safe for
// concurrent use. In asyncoro: Computation.
type Computation struct {
	rt      *Runtime          // immutable
	cfg     ComputationConfig // immutable
	token   wire.Token        // immutable: whoever has it can run, and end, coroutines of this computation
	timeout time.Duration     // immutable

	mu      sync.Mutex // guards following; leaf
	status  *Coro
	sched   *link.Link // to the scheduler; nil: not scheduled; never changes after that
	state   compState
	why     error               // of compOver
	servers map[Location]string // those that can be used, and their nodes
	known   map[Location]string // all that ever could be used, and their nodes
	place   int                 // in the scheduler's queue; 0: not known yet
	beats   bool                // the runtime sends signs of life for it
	changed []*call.Call        // wait for servers to change
	outbox  outbox              // for the status coroutine
	begun   call.Future         // set when it becomes active, or never will
	over    call.Future         // set when it is over
}

// Words for the end of something, here and in the files of jobs and of the roles:
//
//   - closing: the end has been decided; what runs is being ended, and nothing new starts
//   - closed: the end that was decided is complete
//   - lost: the end came without a decision, with a broken link or a dead process
//   - over: closed or lost
//   - ended: of a coroutine, a run, an item or a loop: over, whatever the reason
//   - left: of a role: it takes nothing new, has nothing left to do, and is to be closed

// compState is where a computation is at its client.
type compState uint8

const (
	compNew     compState = iota // not scheduled
	compQueued                   // in the queue of its scheduler
	compActive                   // it has the servers
	compClosing                  // Close waits for the servers to close
	compOver
)

// NewComputation returns a computation of the client rt. It does nothing before it is scheduled. An
// error names the field of cfg that is wrong.
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
	p := &Computation{
		rt: rt, cfg: c, status: c.Status, timeout: c.Timeout,
		servers: map[Location]string{}, known: map[Location]string{},
	}
	if p.timeout == 0 {
		p.timeout = rt.cfg.MsgTimeout
	}
	if p.cfg.PulseInterval == 0 {
		p.cfg.PulseInterval = 2 * rt.cfg.pulse
	}
	rand.Read(p.token[:])
	return p, nil
}

// checkTimes checks the durations.
func (cfg *ComputationConfig) checkTimes() error {
	for _, f := range []struct {
		field string
		d     time.Duration
	}{
		{"Timeout", cfg.Timeout},
		{"PulseInterval", cfg.PulseInterval},
		{"PingInterval", cfg.PingInterval},
		{"ZombiePeriod", cfg.ZombiePeriod},
	} {
		if f.d < 0 {
			return fmt.Errorf("discoro: ComputationConfig.%s: %v is negative", f.field, f.d)
		}
	}
	if p := cfg.PulseInterval; p != 0 && (p < wire.LeastPulse || p > wire.MaxPulse) {
		const text = "discoro: ComputationConfig.PulseInterval: %v is not between %v and %v," +
			" and nodes accept %v to %v unless their NodeConfig differs"
		return fmt.Errorf(text, p, wire.LeastPulse, wire.MaxPulse, MinPulseInterval, MaxPulseInterval)
	}
	if least := cmp.Or(cfg.leastPing, MinPulseInterval); cfg.PingInterval != 0 && cfg.PingInterval < least {
		return fmt.Errorf("discoro: ComputationConfig.PingInterval: %v is less than MinPulseInterval, %v",
			cfg.PingInterval, least)
	}
	return nil
}

// active returns the link to the scheduler while the computation is active.
func (p *Computation) active(verb string) (*link.Link, error) {
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

// WaitServers blocks until the computation is active and at least n servers can be used, or ctx
// ends. While it waits, the log says which nodes are known and why each of them is not used: after
// 2 seconds, and then less and less often.
//
// When ctx ends, the error is ErrNoServer with that report, and ctx's error. ErrClosed: the
// computation is not scheduled, or over.
func (p *Computation) WaitServers(ctx context.Context, n int) error {
	p.mu.Lock()
	l := p.sched
	p.mu.Unlock()
	what := "wait for " + fault.Count(n, "server")
	if l == nil {
		_, err := p.active(what)
		return err
	}
	stop := p.logWait(what, func() string { return p.report(l) })
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

// noServer is the error of a wait for servers that ended with a context.
func noServer(what, report string, cause error) error {
	return fault.New(fmt.Sprintf("discoro: %s: %v: no server: %s", what, cause, report), ErrNoServer, cause)
}

// report asks the scheduler what the computation waits for. It takes a second at most.
func (p *Computation) report(l *link.Link) string { return p.reportOf(l, wire.JobID{}) }

// reportOf is report for one of the computation's runs.
func (p *Computation) reportOf(l *link.Link, job wire.JobID) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	out, err := l.Request(ctx, waitReport, nil, func(call uint64) wire.Frame {
		return &wire.Report{Call: call, Token: p.token, Job: job}
	})
	if err == nil {
		err = out.Err
	}
	if err != nil {
		return fmt.Sprintf("the scheduler at %v does not say why (%v)", l.Location(), err)
	}
	text, err := resultAs[string](p.rt, out, "report")
	if err != nil {
		return err.Error()
	}
	return text
}

// firstLogged is how long a wait lasts before the log first says why.
const firstLogged = 2 * time.Second

// logWait logs what is waited for, and why: after firstLogged, and then less and less often, until
// stop is called.
func (p *Computation) logWait(what string, why func() string) (stop func()) {
	var mu sync.Mutex // guards following; leaf
	stopped, next := false, firstLogged
	var timer *time.Timer
	log := func() {
		report := why()
		mu.Lock()
		next *= 2
		if !stopped {
			timer.Reset(next)
		}
		silent := stopped
		mu.Unlock()
		if !silent {
			p.rt.log.Warn("still waiting", slog.String("for", what), slog.String("because", report))
		}
	}
	mu.Lock()
	timer = time.AfterFunc(next, func() { p.rt.start(log) })
	mu.Unlock()
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
	}
}

// Close ends the computation. What still runs is terminated, each server removes the computation's
// files and variables, and the next computation of the queue gets the servers. A computation that
// is queued is taken out of the queue.
//
// Close blocks until the scheduler confirms that all servers have closed, or ctx ends; the
// computation goes on closing then. While it waits, the log says which nodes are not done: after 2
// seconds, and then less and less often. Closing a computation that is over returns nil.
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
		l.Tell(&wire.CloseComputation{Token: p.token})
	}
	stop := p.logWait("all servers to close", func() string { return p.report(l) })
	_, err := p.rt.waitFuture(ctx, &p.over, waitClose, nil)
	stop()
	if err != nil {
		return fault.Because(err, "close: not all servers have closed: %s", p.report(l))
	}
	return nil
}

// isClosing reports whether the computation is closing.
func (p *Computation) isClosing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state == compClosing
}

// computationAt returns the computation of this client with that token. It returns nil when there
// is none, or when l is not the link to its scheduler: frames of other peers about a computation do
// not count.
func (rt *Runtime) computationAt(l *link.Link, token wire.Token) *Computation {
	rt.mu.Lock()
	p := rt.comps[token]
	rt.mu.Unlock()
	if p == nil || p.scheduler() != l {
		return nil
	}
	return p
}

func (rt *Runtime) putStatus(l *link.Link, f *wire.Status) {
	if p := rt.computationAt(l, f.Token); p != nil {
		p.applyStatus(f)
	}
}

// applyStatus records what the scheduler says of the computation, and hands it to the status
// coroutine. It runs on the link's reader.
func (p *Computation) applyStatus(f *wire.Status) {
	s := statusOf(f)
	if s.Kind == ComputationClosed {
		p.mu.Lock()
		queued := p.state == compQueued
		p.mu.Unlock()
		err := ErrClosed
		switch {
		case s.Reason != "":
			err = fault.New(s.Reason, ErrClosed)
		case queued: // without a reason, whoever waits in Schedule would not know who closed it
			err = fmt.Errorf("closed while it was queued: %w", ErrClosed)
		}
		p.endWith(err, s)
		return
	}
	if s.Kind == ComputationScheduled {
		p.activate()
	}
	p.mu.Lock()
	if p.state == compOver {
		p.mu.Unlock()
		return
	}
	p.outbox.put(s)
	switch s.Kind { //nolint:exhaustive // the other kinds change nothing here
	case ServerInitialized:
		p.servers[s.Server], p.known[s.Server] = s.Node, s.Node
		p.outbox.release(s.Server, s.Node)
	case ServerClosed, ServerDisconnected:
		delete(p.servers, s.Server)
	}
	p.mu.Unlock()
	p.flush()
	p.wakeWaiters()
}

// wakeWaiters wakes all callers that wait for the servers to change.
func (p *Computation) wakeWaiters() {
	p.mu.Lock()
	changed := p.changed
	p.changed = nil
	p.mu.Unlock()
	for _, k := range changed {
		k.Finish(call.Outcome{})
	}
}

// end makes the computation over. Its jobs that have not ended end with why.
func (p *Computation) end(why error) {
	p.endWith(why, Status{Kind: ComputationClosed, Reason: why.Error()})
}

// endWith is end with the last message for the status coroutine.
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
		p.rt.net.SetPulse(p.cfg.PulseInterval, 0)
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
	p.outbox.close(last)
	p.mu.Unlock()
	p.flush()
	p.wakeWaiters()
	p.begun.Set(call.Outcome{Err: why})
	p.over.Set(call.Outcome{})
}

// peer returns how frames name the runtime.
func (rt *Runtime) peer() wire.Peer {
	return wire.Peer{ID: rt.id, Host: rt.loc.Addr, Port: rt.loc.Port}
}

// attach makes c the status coroutine, unless there is one. fresh reports that the computation has
// not been scheduled; servers are those that it has.
func (p *Computation) attach(c *Coro) (fresh bool, servers map[Location]string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == compOver || p.state == compClosing {
		return false, nil, fmt.Errorf("discoro: the computation is over: %w", ErrClosed)
	}
	if p.status == nil {
		p.status = c
	}
	return p.state == compNew, maps.Clone(p.servers), nil
}

// detach undoes attach.
func (p *Computation) detach(c *Coro) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status == c {
		p.status = nil
	}
}

// isStatusCoro reports whether c is the status coroutine.
func (p *Computation) isStatusCoro(c *Coro) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status == c
}

// hasServers reports whether the computation has any.
func (p *Computation) hasServers() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.servers) > 0
}
