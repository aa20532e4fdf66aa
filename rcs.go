package discoro

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
)

// RCSConfig configures a [RemoteCoroScheduler]. Its hooks run as coroutines of the client. They may
// use the computation, for example with RunAt(c, server, ...), and give up the turn while they
// wait.
type RCSConfig struct {
	// ProcStatus is called with each Status. After ServerInitialized, an error or a panic keeps the
	// server from being used.
	ProcStatus func(c *Coro, s Status) error
	// ProcAvailable sets up a server before it is used. An error or a panic keeps it from being
	// used.
	ProcAvailable func(c *Coro, server Location) error
	// ProcClose is called before a server is closed, with ServerInitialized, while it can still be
	// used, and when a server has closed or is lost, with ServerClosed.
	ProcClose func(c *Coro, kind StatusKind, server Location)
	// Retries is how often a task is run again after its server was lost; 0: never. With Retries,
	// MapResults and AsCompleted send short items to a server before the item there has ended, so
	// that a server runs several times as many of them per second.
	Retries int
}

// RemoteCoroScheduler runs CPU-bound functions: at most one at a time at each server. The verbs
// that return typed results are functions: [Execute], [ExecuteAt], [MapResults], [AsCompleted]. Its
// methods, and these functions, are safe for concurrent use. In asyncoro it has the same name.
type RemoteCoroScheduler struct {
	rt     *Runtime     // immutable
	comp   *Computation // immutable
	cfg    RCSConfig    // immutable
	status *Coro        // immutable
	lane   uint64       // immutable: servers start its tasks one after another

	pool rcsPool // the servers

	mu      sync.Mutex   // guards following; leaf
	running int          // tasks that have not ended
	idle    []*call.Call // wait for running to be 0
}

// NewRemoteCoroScheduler returns a scheduler of tasks for comp. A computation that has not been
// scheduled is put into the queue of the scheduler that [Computation.Schedule] finds. That may
// block for ComputationConfig.Timeout; NewRemoteCoroScheduler does not wait until comp is active.
// Execute, MapResults and the others wait until comp is active.
//
// If comp has a status coroutine, that coroutine must send each Status that it receives on to
// StatusCoro. Otherwise StatusCoro becomes the status coroutine of comp. ErrClosed: comp is closing
// or over. ErrNotFound: there is no scheduler.
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
	s := &RemoteCoroScheduler{rt: comp.rt, comp: comp, cfg: c, lane: comp.rt.lastJob.Add(1)}
	s.pool.servers, s.pool.setting = map[Location]*rcsServer{}, map[*rcsServer]error{}
	s.status = comp.rt.Spawn("rcs", s.watch)
	fresh, servers, err := comp.attach(s.status)
	if err != nil {
		_ = s.status.Terminate()
		return nil, err
	}
	comp.over.OnDone(func(call.Outcome) { s.pool.close() }) // also where nobody relays ComputationClosed
	for loc, node := range servers {
		_ = s.status.Send(Status{Kind: ServerInitialized, Node: node, Server: loc})
	}
	if !fresh {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), comp.timeout)
	defer cancel()
	var submitted *call.Call
	l, err := comp.findScheduler(ctx, nil)
	if err == nil {
		submitted, err = comp.enqueue(l)
	}
	if err != nil {
		comp.detach(s.status)
		_ = s.status.Terminate()
		return nil, fault.Because(err, "schedule")
	}
	s.rt.start(func() { _ = comp.awaitActive(s.rt.ctx, l, submitted) }) // with an error, the computation is over
	return s, nil
}

// StatusCoro returns the coroutine that must receive every Status of the computation; see
// [NewRemoteCoroScheduler].
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
			continue // an Exit: start follows the jobs themselves
		}
		switch st.Kind { //nolint:exhaustive // the others only go to the hook
		case ServerInitialized:
			if seen[st.Server] != nil {
				continue // attach has named it, and the relayed message comes after that
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
			s.pool.close() // without waiting for the hooks
			for _, h := range hooks {
				_ = h.endedBy(c)
			}
			return nil, nil
		}
		hooks = slices.DeleteFunc(hooks, func(h *Coro) bool { return h.Err() != nil }) // those that have ended
	}
}

// spawnStatus runs the hook for a status. It returns nil when there is none.
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

// serverSetUp puts a server into the pool when its hooks have ended without an error.
func (s *RemoteCoroScheduler) serverSetUp(sv *rcsServer, err error) {
	switch {
	case s.comp.nodeOf(sv.loc) == "": // it was lost meanwhile
		s.pool.drop(sv)
	case err != nil:
		s.pool.setUp(sv, err)
		s.rt.log.Warn("a server is not used: it could not be set up",
			slog.String("server", sv.loc.String()), slog.Any("err", err))
	default:
		s.pool.add(sv)
	}
}

// spawnClose runs the hook for servers that are about to be closed, or have closed.
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
		stop := s.comp.logWait(what, s.report)
		_, err := s.rt.waitFuture(ctx, got, waitRun, nil)
		stop()
		if err != nil {
			if !cancel() { // a server was given at this moment, or is about to be
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

// report returns a text that says what a task waits for.
func (s *RemoteCoroScheduler) report() string {
	parts := []string{s.comp.report(s.comp.scheduler())}
	switch own := s.pool.report(); {
	case own != "":
		parts = append(parts, own)
	case s.comp.hasServers() && !s.comp.isStatusCoro(s.status):
		const relay = "StatusCoro has not heard of them: the computation's status coroutine must send it every Status"
		parts = append(parts, relay)
	}
	return strings.Join(parts, "; ")
}

// errClosed is the error of a run that no server will be given to.
func (s *RemoteCoroScheduler) errClosed(fn string) error {
	if _, err := s.comp.active("run " + fn); err != nil {
		return err
	}
	return fmt.Errorf("discoro: run %s: the remote coroutine scheduler is finished: %w", fn, ErrClosed)
}

// awaitReady waits until the computation is active.
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

// begin counts a task. end must be called when it has ended.
func (s *RemoteCoroScheduler) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running++
}

// end counts a task that has ended.
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

// start runs a task at a server that was acquired. When the task has ended, start calls ended,
// unless that is nil, and then releases the server.
func (s *RemoteCoroScheduler) start(sv *rcsServer, t Task, ended func(j *job, out call.Outcome)) (*job, error) {
	s.begin()
	j, err := s.comp.post(sv.loc.place(), s.lane, t)
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
			s.pool.drop(sv) // its status may come later, and the task must not run there again
		}
		s.pool.release(sv)
		s.end()
	})
	return j, nil
}

// Schedule runs t at a server that runs nothing else for s, and returns its coroutine when it has
// started. It blocks until such a server is free and t has started there, or ctx ends. For the
// errors see [Computation.Run].
func (s *RemoteCoroScheduler) Schedule(ctx context.Context, t Task) (*Coro, error) {
	spec, err := specOf(s.rt, t)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil { // with a free server, t could start before the first look at ctx
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
		s.pool.drop(sv) // and try another
	}
}

// turnedAway reports whether a run has ended before its start because its server has gone, or its
// node takes no more jobs.
func turnedAway(err error) bool { return errors.Is(err, ErrNotFound) || errors.Is(err, ErrNoServer) }

// Submit runs t at the least loaded server, whatever else runs there; see [Computation.Run].
func (s *RemoteCoroScheduler) Submit(ctx context.Context, t Task) (*Coro, error) {
	return s.submit(ctx, func() (*Coro, error) { return s.comp.Run(ctx, t) })
}

// SubmitAt runs t at a place, whatever else runs there; see [Computation.RunAt].
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

// Execute runs t as [RemoteCoroScheduler.Schedule] does, and waits for its result. When ctx ends,
// the coroutine is terminated.
//
// When the server is lost, t is run again, as often as RCSConfig.Retries allows; after that the
// error is a [*ServerLostError]. An error that the function returns is a [*RemoteError], a panic is
// a [*PanicError]; the function is not run again then.
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

// attempts returns err, the loss of a server, with the number of times that the task was run.
func attempts(err error, n int) error {
	if n == 1 {
		return err
	}
	return fault.Because(err, "given up after %d attempts, each of which lost its server", n)
}

// ExecuteAt runs t as [RemoteCoroScheduler.SubmitAt] does, and waits for its result. It does not
// run t again. When ctx ends, the coroutine is terminated.
func ExecuteAt[R any](ctx context.Context, s *RemoteCoroScheduler, where Place, t Call[R]) (R, error) {
	c, err := s.SubmitAt(ctx, where, t)
	if err != nil {
		var zero R
		return zero, err
	}
	return resultOrTerminate[R](ctx, c)
}

// resultOrTerminate waits for the result of c, and terminates c when ctx ends before that.
func resultOrTerminate[R any](ctx context.Context, c *Coro) (R, error) {
	v, err := Result[R](ctx, c)
	if err != nil && ctx.Err() != nil {
		_ = c.Terminate()
	}
	return v, err
}

// Finish blocks until every task that was run with s has ended, or ctx ends. Without close, s can
// be used as before.
//
// With close, Finish then runs the ProcClose hooks while the servers can still be used, closes the
// computation, and runs the hooks again. From then on the verbs return ErrClosed.
//
// The error is that of ctx or of [Computation.Close]; errors of tasks are not part of it. A Finish
// that failed may be called again.
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
		_ = c.Wait(ctx) // an error of the hook is not one of Finish
		if err := ctx.Err(); err != nil {
			return fault.Because(err, "finish: ProcClose")
		}
	}
	err := s.comp.Close(ctx)
	if err != nil || !s.comp.isStatusCoro(s.status) {
		_ = s.status.Terminate() // it will not receive ComputationClosed
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

// endedBy waits until c has ended, and ignores how. The error is ctx's.
func (c *Coro) endedBy(ctx context.Context) error {
	if err := c.Wait(ctx); err != nil && ctx.Err() != nil {
		return err
	}
	return nil
}
