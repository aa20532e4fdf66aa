package discoro

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
)

// RCSConfig configures a [RemoteCoroScheduler]. Its hooks run as coroutines at the client; they may work through the
// computation (RunAt(c, server, ...)), and what they wait for, they wait for without the turn.
type RCSConfig struct {
	// ProcStatus gets each Status. At ServerInitialized an error means that the server is not to be used.
	ProcStatus func(c *Coro, s Status) error
	// ProcAvailable sets a server up before it is used; an error means that it is not to be used. So does a panic, here and in ProcStatus.
	ProcAvailable func(c *Coro, server Location) error
	// ProcClose is told that a server is about to be closed (ServerInitialized: it can still be used), or has been
	// (ServerClosed).
	ProcClose func(c *Coro, kind StatusKind, server Location)
	// Retries is how often a task is run again whose server was lost; 0: not. With Retries, MapResults and AsCompleted
	// send short items to a server before it is their turn there: several times as many are run a second.
	Retries int
}

// RemoteCoroScheduler runs CPU-bound functions: at most one at a server at a time. The verbs that return typed results are functions:
// [Execute], [ExecuteAt], [MapResults], [AsCompleted]. In asyncoro it has the same name. Its methods are safe for concurrent use.
type RemoteCoroScheduler struct {
	rt     *Runtime     // immutable
	comp   *Computation // immutable
	cfg    RCSConfig    // immutable
	status *Coro        // immutable
	turn   uint64       // immutable: servers start its tasks one at a time

	pool rcsPool // the servers, one task each

	mu      sync.Mutex   // guards following; leaf
	running int          // tasks that have not ended
	idle    []*call.Call // wait for running to be 0
}

// NewRemoteCoroScheduler returns a scheduler of comp's runs. When comp has not been scheduled, it is now, at the scheduler
// that Computation.Schedule finds, without waiting for its turn. The verbs wait for comp's turn, whoever scheduled it. When comp has a status
// coroutine of its own, that must relay the Status messages it gets to StatusCoro; otherwise StatusCoro becomes comp's.
// ErrClosed: comp is over; ErrNotFound: there is no scheduler.
func NewRemoteCoroScheduler(comp *Computation, cfg ...RCSConfig) (*RemoteCoroScheduler, error) {
	c, err := one(cfg)
	if err != nil {
		return nil, err
	}
	switch {
	case comp == nil:
		return nil, errors.New("discoro: remote coroutine scheduler: the computation is nil")
	case c.Retries < 0:
		return nil, fmt.Errorf("discoro: RCSConfig.Retries: %d is negative", c.Retries)
	}
	s := &RemoteCoroScheduler{rt: comp.rt, comp: comp, cfg: c, turn: comp.rt.lastJob.Add(1)}
	s.pool.servers, s.pool.setting = map[Location]*rcsServer{}, map[*rcsServer]error{}
	s.status = comp.rt.Spawn("rcs", s.watch)
	fresh, servers, err := comp.attach(s.status)
	if err != nil {
		_ = s.status.Terminate()
		return nil, err
	}
	comp.over.OnDone(func(call.Outcome) { s.pool.close() }) // whether or not somebody relays that
	for loc, node := range servers {
		_ = s.status.Send(Status{Kind: ServerInitialized, Node: node, Server: loc})
	}
	if !fresh {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), comp.timeout)
	defer cancel()
	var turn *call.Call
	l, err := comp.findScheduler(ctx, nil)
	if err == nil {
		turn, err = comp.enqueue(l)
	}
	if err != nil {
		comp.detach(s.status)
		_ = s.status.Terminate()
		return nil, fault.Because(err, "schedule")
	}
	s.rt.start(func() { _ = comp.awaitTurn(s.rt.ctx, l, turn) }) // its error ends the computation, too
	return s, nil
}

// attach makes c the status coroutine unless there is one. It tells whether the computation is still to be scheduled, and
// which servers it has.
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

// detach takes back that c is the status coroutine.
func (p *Computation) detach(c *Coro) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status == c {
		p.status = nil
	}
}

// tells reports whether c is the status coroutine.
func (p *Computation) tells(c *Coro) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status == c
}

// StatusCoro returns the coroutine that must get every Status of the computation.
func (s *RemoteCoroScheduler) StatusCoro() *Coro { return s.status }

// watch is the body of the status coroutine.
func (s *RemoteCoroScheduler) watch(c *Coro) (any, error) {
	defer s.pool.close()
	var hooks []*Coro
	seen := map[Location]*rcsServer{} // those that were initialized, and have not closed
	for {
		msg, err := c.Receive()
		if err != nil {
			return nil, err
		}
		st, ok := msg.(Status)
		if !ok {
			continue // an Exit: the jobs tell of that themselves
		}
		switch st.Kind { //nolint:exhaustive // the others only go to the hook
		case ServerInitialized:
			if seen[st.Server] != nil {
				continue // who relays may have it from before attach told of it
			}
			sv := &rcsServer{loc: st.Server}
			seen[st.Server] = sv
			s.pool.setUp(sv, nil)
			hooks := c.Spawn("rcs-server", func(c *Coro) (any, error) { return nil, s.serverInitialized(c, st) })
			hooks.local.onEnd(func() { s.serverSetUp(sv, hooks.local.outcomeNow().Err) }) // also when one has panicked
			continue
		case ServerClosed, ServerDisconnected:
			if sv := seen[st.Server]; sv != nil {
				s.pool.drop(sv)
				hooks = append(hooks, s.spawnClose(ServerClosed, st.Server)...)
			}
			delete(seen, st.Server)
		}
		if h := s.spawnStatus(c, st); h != nil {
			hooks = append(hooks, h)
		}
		if st.Kind == ComputationClosed {
			s.pool.close() // nobody is to wait for the hooks
			for _, h := range hooks {
				_ = h.endedBy(c)
			}
			return nil, nil
		}
		hooks = slices.DeleteFunc(hooks, func(h *Coro) bool { return h.Err() != nil }) // those that have ended
	}
}

func (s *RemoteCoroScheduler) spawnStatus(c *Coro, st Status) *Coro {
	if s.cfg.ProcStatus == nil {
		return nil
	}
	return c.Spawn("rcs-status", func(c *Coro) (any, error) { return nil, s.cfg.ProcStatus(c, st) })
}

// serverInitialized runs the hooks for a new server.
func (s *RemoteCoroScheduler) serverInitialized(c *Coro, st Status) error {
	if s.cfg.ProcStatus != nil {
		if err := s.cfg.ProcStatus(c, st); err != nil {
			return err
		}
	}
	if s.cfg.ProcAvailable != nil {
		return s.cfg.ProcAvailable(c, st.Server)
	}
	return nil
}

// serverSetUp uses a server if its hooks, which have ended, agree.
func (s *RemoteCoroScheduler) serverSetUp(sv *rcsServer, err error) {
	switch {
	case s.comp.nodeOf(sv.loc) == "": // it may be lost by now
		s.pool.drop(sv)
	case err != nil:
		s.pool.setUp(sv, err)
		s.rt.log.Warn("a server is not used: it could not be set up", slog.String("server", sv.loc.String()), slog.Any("err", err))
	default:
		s.pool.add(sv)
	}
}

// spawnClose runs the hook for servers that are about to close, or have closed.
func (s *RemoteCoroScheduler) spawnClose(kind StatusKind, servers ...Location) []*Coro {
	if s.cfg.ProcClose == nil {
		return nil
	}
	hooks := make([]*Coro, len(servers))
	for i, server := range servers {
		hooks[i] = s.rt.Spawn("rcs-close", func(c *Coro) (any, error) { s.cfg.ProcClose(c, kind, server); return nil, nil })
	}
	return hooks
}

// awaitServer waits for a free server.
func (s *RemoteCoroScheduler) awaitServer(ctx context.Context, fn string) (*rcsServer, error) {
	if err := s.awaitReady(ctx); err != nil {
		return nil, err
	}
	got := &call.Future{}
	cancel := s.pool.acquire(got, false)
	if !got.IsDone() {
		what := "a free server for " + fn
		stop := s.comp.explain(what, s.report)
		_, err := s.rt.waitFuture(ctx, got, waitRun, nil)
		stop()
		if err != nil {
			if !cancel() { // it was given in this moment, or is about to be
				got.OnDone(func(out call.Outcome) { s.pool.release(serverIn(out)) })
			}
			return nil, noServer(what, s.report(), err)
		}
	}
	out, _ := got.Peek()
	if sv := serverIn(out); sv != nil {
		return sv, nil
	}
	return nil, s.errClosed(fn)
}

// report says what a task waits for: servers, or one that is free.
func (s *RemoteCoroScheduler) report() string {
	parts := []string{s.comp.report(s.comp.scheduler())}
	switch own := s.pool.report(); {
	case own != "":
		parts = append(parts, own)
	case s.comp.hasServers() && !s.comp.tells(s.status):
		parts = append(parts, "StatusCoro has not heard of them: the computation's status coroutine must send it every Status")
	}
	return strings.Join(parts, "; ")
}

// hasServers reports whether the computation has any.
func (p *Computation) hasServers() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.servers) > 0
}

func (s *RemoteCoroScheduler) errClosed(fn string) error {
	if _, err := s.comp.active("run " + fn); err != nil {
		return err
	}
	return fmt.Errorf("discoro: run %s: the remote coroutine scheduler is finished: %w", fn, ErrClosed)
}

// awaitReady waits until the computation's turn has come.
func (s *RemoteCoroScheduler) awaitReady(ctx context.Context) error {
	out, err := s.rt.waitFuture(ctx, &s.comp.begun, waitSchedule, nil)
	if err == nil {
		err = out.Err
	}
	if err != nil {
		return fault.Because(err, "the computation is not scheduled")
	}
	return nil
}

// begin counts a task; end is to be called when it has ended.
func (s *RemoteCoroScheduler) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running++
}

func (s *RemoteCoroScheduler) end() {
	s.mu.Lock()
	s.running--
	var idle []*call.Call
	if s.running == 0 {
		idle, s.idle = s.idle, nil
	}
	s.mu.Unlock()
	for _, k := range idle {
		k.Finish(call.Outcome{})
	}
}

// start runs a task at a server that was acquired; the server is released when the task has ended, and ended, unless it is nil, is
// told before that.
func (s *RemoteCoroScheduler) start(sv *rcsServer, t Task, ended func(j *job, out call.Outcome)) (*job, error) {
	s.begin()
	j, err := s.comp.post(sv.loc.place(), s.turn, t)
	if err != nil {
		s.pool.release(sv)
		s.end()
		return nil, err
	}
	j.done.OnDone(func(out call.Outcome) {
		if ended != nil {
			ended(j, out)
		}
		var lost *ServerLostError
		if errors.As(out.Err, &lost) && lost.Server == sv.loc {
			s.pool.drop(sv) // its status may come later, and the task is not to be run there again
		}
		s.pool.release(sv)
		s.end()
	})
	return j, nil
}

// Schedule runs t at a server that runs nothing else for this scheduler, and returns its coroutine once it has started. It
// waits for such a server, and then for the start, at most until ctx ends; see Computation.Run for the errors.
func (s *RemoteCoroScheduler) Schedule(ctx context.Context, t Task) (*Coro, error) {
	spec, err := specOf(s.rt, t)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil { // with a server that is free it could have started before anybody looks
		return nil, fault.Because(err, "run %s", spec.fn)
	}
	for {
		sv, err := s.awaitServer(ctx, spec.fn)
		if err != nil {
			return nil, err
		}
		j, err := s.start(sv, t, nil)
		if err != nil {
			return nil, err
		}
		c, err := s.comp.awaitStart(ctx, j)
		if err == nil || !turnedAway(err) || ctx.Err() != nil {
			return c, err
		}
		s.pool.drop(sv) // another will do
	}
}

// turnedAway reports whether a run that has not started ended because its server went before it came there, or its node takes no
// jobs any more.
func turnedAway(err error) bool { return errors.Is(err, ErrNotFound) || errors.Is(err, ErrNoServer) }

// Submit runs t at the least loaded server, however many run there; see Computation.Run.
func (s *RemoteCoroScheduler) Submit(ctx context.Context, t Task) (*Coro, error) {
	return s.submit(ctx, func() (*Coro, error) { return s.comp.Run(ctx, t) })
}

// SubmitAt runs t at a place, however many run there; see Computation.RunAt.
func (s *RemoteCoroScheduler) SubmitAt(ctx context.Context, where Place, t Task) (*Coro, error) {
	return s.submit(ctx, func() (*Coro, error) { return s.comp.RunAt(ctx, where, t) })
}

func (s *RemoteCoroScheduler) submit(ctx context.Context, run func() (*Coro, error)) (*Coro, error) {
	if err := s.awaitReady(ctx); err != nil {
		return nil, err
	}
	s.begin()
	c, err := run()
	if err != nil {
		s.end()
		return nil, err
	}
	if c.job == nil {
		s.end()
		return c, nil
	}
	c.job.done.OnDone(func(call.Outcome) { s.end() })
	return c, nil
}

// Execute is Schedule that waits for the result. When the server is lost the task is run again as RCSConfig.Retries allows; when
// they are used up the error is a *ServerLostError. What the function returns or panics with is a [*RemoteError] or
// [*PanicError], and is not tried again. When ctx ends the coroutine is terminated.
func Execute[R any](ctx context.Context, s *RemoteCoroScheduler, t Call[R]) (R, error) {
	var zero R
	for attempt := 0; ; attempt++ {
		c, err := s.Schedule(ctx, t)
		var v R
		if err == nil {
			v, err = resultOrTerminate[R](ctx, c)
		}
		var lost *ServerLostError
		if !errors.As(err, &lost) {
			return v, err
		}
		if attempt >= s.cfg.Retries || ctx.Err() != nil {
			return zero, attempts(err, attempt+1)
		}
	}
}

// attempts tells how often a task was tried whose servers were lost.
func attempts(err error, n int) error {
	if n == 1 {
		return err
	}
	return fault.Because(err, "given up after %d attempts, each of which lost its server", n)
}

// ExecuteAt is SubmitAt that waits for the result, without retries. When ctx ends the coroutine is terminated.
func ExecuteAt[R any](ctx context.Context, s *RemoteCoroScheduler, where Place, t Call[R]) (R, error) {
	c, err := s.SubmitAt(ctx, where, t)
	if err != nil {
		var zero R
		return zero, err
	}
	return resultOrTerminate[R](ctx, c)
}

func resultOrTerminate[R any](ctx context.Context, c *Coro) (R, error) {
	v, err := Result[R](ctx, c)
	if err != nil && ctx.Err() != nil {
		_ = c.Terminate()
	}
	return v, err
}

// Finish waits until every task that was run with this scheduler has ended, or ctx ends. With close it then runs the
// ProcClose hooks while the servers can still be used, closes the computation, and runs the hooks again; from then on the verbs
// return ErrClosed. Without close the scheduler can be used on. The error is ctx's, or that of [Computation.Close], and nothing of
// the tasks; a Finish that failed may be called again.
func (s *RemoteCoroScheduler) Finish(ctx context.Context, close bool) error {
	if err := s.awaitIdle(ctx); err != nil {
		return err
	}
	if !close {
		return nil
	}
	servers := s.pool.close()
	hooks := s.spawnClose(ServerInitialized, servers...)
	for _, c := range hooks {
		_ = c.Wait(ctx) // what the hook ended with is nobody's error
		if err := ctx.Err(); err != nil {
			return fault.Because(err, "finish: ProcClose")
		}
	}
	err := s.comp.Close(ctx)
	if err != nil || !s.comp.tells(s.status) {
		_ = s.status.Terminate() // nobody will tell it that the computation is closed
	}
	return errors.Join(err, s.status.endedBy(ctx))
}

// awaitIdle waits until no task runs.
func (s *RemoteCoroScheduler) awaitIdle(ctx context.Context) error {
	k := call.New(waitFinish, nil)
	s.mu.Lock()
	if s.running == 0 {
		s.mu.Unlock()
		return nil
	}
	s.idle = append(s.idle, k)
	s.mu.Unlock()
	if _, err := s.rt.wait(ctx, k); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.idle = slices.DeleteFunc(s.idle, func(o *call.Call) bool { return o == k })
		return fault.Because(err, "finish: still running: %s", fault.Count(s.running, "task"))
	}
	return nil
}

// endedBy waits until c has ended, however.
func (c *Coro) endedBy(ctx context.Context) error {
	if err := c.Wait(ctx); err != nil && ctx.Err() != nil {
		return err
	}
	return nil
}
