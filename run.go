package discoro

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/wire"
)

// job is one run of a function, at its client.
type job struct {
	id   wire.JobID   // immutable
	comp *Computation // immutable
	fn   string       // immutable
	size int          // immutable: bytes of the argument
	arg  any          // immutable: for CoroInfo; the argument as the client has passed it

	started call.Future // its value is the *Coro
	done    call.Future // the job's outcome
	coro    *Coro       // once it has started; guarded by Computation.mu
	begun   time.Time   // when the client learned that; guarded by Computation.mu
	ended   bool        // guarded by Computation.mu
	server  wire.Peer   // where it runs, once it has started; guarded by Runtime.mu
}

// Run runs t at the least loaded server of the least loaded node, and returns its coroutine when it
// has started there. It blocks while there is no server, at most until ctx ends: then the error is
// ErrNoServer with a report of the nodes, and ctx's error. The log has that report while Run waits.
// ctx does not bind a coroutine that has started.
//
// ErrNotRegistered: the server's program does not have the function. ErrTooLarge: the argument is
// too large. ErrRejected: too many runs wait for servers at the scheduler of another runtime. A
// [*ServerLostError]: the server was lost before the client learned that the run has started.
// ErrClosed: the computation is not scheduled, or over.
func (p *Computation) Run(ctx context.Context, t Task) (*Coro, error) {
	return p.run(ctx, wire.Where{}, t)
}

// RunAt is Run at a given place. ErrNotFound: no server or node there serves the computation.
func (p *Computation) RunAt(ctx context.Context, where Place, t Task) (*Coro, error) {
	if where == nil {
		return nil, fmt.Errorf("discoro: run at: the place is nil")
	}
	w := where.place()
	if w.Node == "" && w.Port == 0 { // to the scheduler, that would mean anywhere
		return nil, fmt.Errorf("discoro: run at %q: it is neither a server's location nor a node's: %w", where, ErrNotFound)
	}
	return p.run(ctx, w, t)
}

func (p *Computation) run(ctx context.Context, where wire.Where, t Task) (*Coro, error) {
	j, err := p.post(where, 0, t)
	if err != nil {
		return nil, err
	}
	return p.awaitStart(ctx, j)
}

// post sends a run to the scheduler. At a server, one run of a lane starts after another; runs of
// lane 0 do not wait for each other.
func (p *Computation) post(where wire.Where, lane uint64, t Task) (*job, error) {
	s, err := specOf(p.rt, t)
	if err != nil {
		return nil, err
	}
	j := p.newJob(s) // before the look at the computation: when that ends, it ends all jobs in the table
	l, err := p.active("run " + s.fn)
	if err != nil {
		j.finish(call.Outcome{Err: err})
		return nil, err
	}
	if err := l.Post(&wire.Run{Token: p.token, Job: j.id, Where: where, Lane: lane, Call: s.wire()}); err != nil {
		j.finish(call.Outcome{Err: err})
		return nil, fault.Because(err, "run %s", s.fn)
	}
	return j, nil
}

// newJob makes a job, and puts it into the runtime's table.
func (p *Computation) newJob(s *callSpec) *job {
	rt := p.rt
	j := &job{id: wire.JobID{Client: rt.id, Seq: rt.lastJob.Add(1)}, comp: p, fn: s.fn, size: len(s.encoded), arg: s.arg}
	rt.mu.Lock()
	rt.jobs[j.id.Seq] = j
	rt.mu.Unlock()
	return j
}

// awaitStart waits until j has started.
func (p *Computation) awaitStart(ctx context.Context, j *job) (*Coro, error) {
	k := call.New(waitRun, nil)
	stop := j.started.OnDone(k.Finish)
	out, ok := k.Result()
	if !ok {
		stopLog := p.logWait(j.what(), func() string { return p.reportOf(p.scheduler(), j.id) })
		var err error
		out, err = p.rt.wait(ctx, k)
		stopLog()
		if err != nil {
			stop()
			return nil, p.unrun(j, err)
		}
	}
	if out.Err != nil {
		return nil, out.Err
	}
	c, _ := out.Value.(*Coro)
	return c, nil
}

// unrun gives up a job that has not started before a context ended with cause. If the job starts
// nevertheless, it is terminated.
func (p *Computation) unrun(j *job, cause error) error {
	l := p.scheduler()
	l.Tell(&wire.Unrun{Token: p.token, Job: j.id})
	report := p.reportOf(l, j.id) // the answer comes behind the answer to Unrun: a job without a server has ended by then
	waited := j.done.IsDone()
	j.started.OnDone(func(out call.Outcome) {
		if c, ok := out.Value.(*Coro); ok {
			_ = c.Terminate() // nobody else has a handle of it
		}
	})
	if !waited {
		return fault.Because(cause, "%s: %s", j.what(), report)
	}
	return noServer("run "+j.fn, p.report(l), cause)
}

// what returns the text for a wait for the job's start. It mentions a large argument, which may be
// the reason for the wait.
func (j *job) what() string {
	if j.size < link.LargeFrame {
		return "run " + j.fn
	}
	return fmt.Sprintf("run %s with an argument of %d bytes", j.fn, j.size)
}

// finish ends the job at the client. Only the first end counts.
func (j *job) finish(out call.Outcome) {
	rt, p := j.comp.rt, j.comp
	rt.mu.Lock()
	delete(rt.jobs, j.id.Seq)
	closing := rt.closing
	rt.mu.Unlock()
	if closing {
		out.Err = lostByClose(out.Err)
	}
	p.mu.Lock()
	if j.ended {
		p.mu.Unlock()
		return
	}
	j.ended = true
	c := j.coro
	if c == nil && out.Err == nil {
		err := fmt.Errorf("discoro: run %s: a server has sent its end without its start: %w", j.fn, ErrDisconnected)
		out = call.Outcome{Err: err}
	}
	if c != nil && p.status != nil {
		p.outbox.putJob(p.known, c.loc, Exit{Coro: c, Err: out.Err, out: out})
	}
	p.mu.Unlock()
	if c != nil {
		p.flush()
		j.started.Set(call.Outcome{Value: c})
	} else {
		j.started.Set(out)
	}
	j.done.Set(out)
}

// lostByClose returns the error of a job that ends while its client closes. With their links, the
// client loses all servers; the error names the reason.
func lostByClose(err error) error {
	var lost *ServerLostError
	if !errors.As(err, &lost) || errors.Is(err, ErrClosed) {
		return err
	}
	cause := fault.New(fmt.Sprintf("%v (%s)", errRuntimeClosed, fault.Bare(lost.Cause)), ErrClosed, lost.Cause)
	return &ServerLostError{Server: lost.Server, Func: lost.Func, Cause: cause}
}

// startedAs returns the job's coroutine, nil when it has not started.
func (j *job) startedAs() *Coro {
	j.comp.mu.Lock()
	defer j.comp.mu.Unlock()
	return j.coro
}

// hasStarted reports whether the job has started somewhere.
func (j *job) hasStarted() bool { return j.startedAs() != nil }

// begunAt returns when the client learned that the job has started; zero: it has not started.
func (j *job) begunAt() time.Time {
	j.comp.mu.Lock()
	defer j.comp.mu.Unlock()
	return j.begun
}

// jobOf returns a job that has not ended. It returns nil for a peer that does not know the token of
// the job's computation.
func (rt *Runtime) jobOf(id wire.JobID, token wire.Token) *job {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	j := rt.jobs[id.Seq]
	if j == nil || id.Client != rt.id || j.comp.token != token {
		return nil
	}
	return j
}

// jobStarted records that a job has started at a server.
func (rt *Runtime) jobStarted(l *link.Link, f *wire.Started) {
	j := rt.jobOf(f.Job, f.Token)
	if j == nil {
		return
	}
	rt.mu.Lock()
	j.server = f.Server
	rt.mu.Unlock()
	c := rt.jobHandle(j, f.Coro)
	p := j.comp
	p.mu.Lock()
	if j.coro != nil || j.ended {
		p.mu.Unlock()
		return
	}
	j.coro, j.begun = c, time.Now()
	if p.status != nil {
		p.outbox.putJob(p.known, c.loc, Status{
			Kind: CoroCreated, Node: p.known[c.loc], Server: c.loc,
			Coro: CoroInfo{Coro: c, Func: j.fn, Arg: j.arg, Start: time.Unix(0, f.At)},
		})
	}
	p.mu.Unlock()
	p.flush()
	j.started.Set(call.Outcome{Value: c})
	if cause := l.Cause(); cause != nil { // the link has ended meanwhile, and did not find this job at the server
		rt.loseJob(j, cause)
	}
}

// loseJob ends a job whose server is lost. If the computation is closing, the job counts as
// terminated: the server has terminated it, or would have.
func (rt *Runtime) loseJob(j *job, cause error) {
	rt.mu.Lock()
	server := peerLocation(j.server)
	rt.mu.Unlock()
	var err error = &ServerLostError{Server: server, Func: j.fn, Cause: cause}
	if j.comp.isClosing() {
		text := fmt.Sprintf("discoro: %s: terminated, as the computation closes: %v", j.fn, fault.Bare(err))
		err = fault.New(text, ErrTerminated, err)
	}
	j.finish(call.Outcome{Err: err})
}

// nodeOf returns the node of a server that can be used; it is empty for any other server.
func (p *Computation) nodeOf(server Location) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.servers[server]
}

// jobHandle returns the handle of a job's coroutine, which knows its job. The end of a job arrives
// here by itself. So Wait and Result on this handle need no frame, and they know the end even when
// the server has forgotten it.
func (rt *Runtime) jobHandle(j *job, hv wire.HandleValue) *Coro {
	key := handleKey{hv.ID, hv.Key}
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if c := rt.handles.getLocked(key); c != nil {
		return c
	}
	c := rt.newHandleLocked(hv)
	c.job = j
	return c
}

// jobDone records how a job has ended. The frame comes from the job's server, or from the
// scheduler.
func (rt *Runtime) jobDone(f *wire.Done) {
	j := rt.jobOf(f.Job, f.Token)
	if j == nil {
		return
	}
	c := j.startedAs()
	out := rt.outcomeOf(&f.Outcome, c)
	j.finish(out)
}

// jobUnheard ends a job that the scheduler knows to have ended at a server that is lost or closed.
// It leaves a job alone if the client knows that the job has started: such a job ends by a frame of
// the server, or with the link to the server.
func (rt *Runtime) jobUnheard(f *wire.Unheard) {
	j := rt.jobOf(f.Job, f.Token)
	if j == nil {
		return
	}
	rt.mu.Lock()
	started := j.server != (wire.Peer{})
	rt.mu.Unlock()
	if !started {
		j.finish(call.Outcome{Err: values.Error(f.Err)})
	}
}

// loseJobsAt ends the jobs that run at a runtime whose link has ended, and the computations that
// are scheduled there.
func (rt *Runtime) loseJobsAt(id wire.ID, cause error) {
	rt.mu.Lock()
	var lost []*job
	for _, j := range rt.jobs {
		if j.server.ID == id {
			lost = append(lost, j)
		}
	}
	var comps []*Computation
	for _, p := range rt.comps {
		comps = append(comps, p)
	}
	rt.mu.Unlock()
	for _, j := range lost {
		rt.loseJob(j, cause)
	}
	for _, p := range comps {
		if l := p.scheduler(); l != nil && l.ID == id {
			p.end(cause)
		}
	}
}

// scheduler returns the link to the scheduler, nil when the computation is not scheduled.
func (p *Computation) scheduler() *link.Link {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sched
}

// Each says where [Computation.RunEach] runs.
type Each int

// The values of Each.
const (
	EachNode   Each = 1 // at the least loaded server of every node
	EachServer Each = 2 // at every server
)

// RunEach runs t at each node or at each server that serves the computation now, and returns the
// coroutines that have started. It blocks until all have started, or ctx ends. The error joins the
// errors of the runs that have not started; see [Computation.Run]. ErrClosed: the computation is
// not scheduled, or over.
func (p *Computation) RunEach(ctx context.Context, where Each, t Task) ([]*Coro, error) {
	if where != EachNode && where != EachServer {
		return nil, fmt.Errorf("discoro: run each: %d is neither EachNode nor EachServer", where)
	}
	if _, err := p.active("run each"); err != nil {
		return nil, err
	}
	return p.runEach(ctx, p.targets(where, ""), t)
}

// RunNodes runs t at the least loaded server of every node; see [Computation.RunEach].
func (p *Computation) RunNodes(ctx context.Context, t Task) ([]*Coro, error) {
	return p.RunEach(ctx, EachNode, t)
}

// RunServers runs t at every server; see [Computation.RunEach].
func (p *Computation) RunServers(ctx context.Context, t Task) ([]*Coro, error) {
	return p.RunEach(ctx, EachServer, t)
}

// RunNodeServers runs t at every server of a node, "host:port", or of all nodes of a host, "host";
// see [Computation.RunEach]. ErrNotFound: no such node serves the computation.
func (p *Computation) RunNodeServers(ctx context.Context, node string, t Task) ([]*Coro, error) {
	if _, err := p.active("run"); err != nil {
		return nil, err
	}
	where := p.targets(EachServer, node)
	if node == "" || len(where) == 0 {
		return nil, fmt.Errorf("discoro: run: no server of node %q serves the computation: %w", node, ErrNotFound)
	}
	return p.runEach(ctx, where, t)
}

// targets lists the places of a run at each node or at each server, of all nodes or of one.
func (p *Computation) targets(each Each, node string) []wire.Where {
	p.mu.Lock()
	defer p.mu.Unlock()
	nodes := map[string]bool{}
	var where []wire.Where
	for server, n := range p.servers {
		switch {
		case node != "" && !isNode(n, node):
		case each == EachServer:
			where = append(where, server.place())
		case !nodes[n]:
			nodes[n] = true
			where = append(where, wire.Where{Node: n})
		}
	}
	slices.SortFunc(where, func(a, b wire.Where) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port))
	})
	return where
}

func (p *Computation) runEach(ctx context.Context, where []wire.Where, t Task) ([]*Coro, error) {
	var errs []error
	jobs := make([]*job, 0, len(where))
	for _, w := range where {
		j, err := p.post(w, 0, t)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		jobs = append(jobs, j)
	}
	coros := make([]*Coro, 0, len(jobs))
	for _, j := range jobs {
		c, err := p.awaitStart(ctx, j)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		coros = append(coros, c)
	}
	return coros, errors.Join(errs...)
}

// Nodes returns the locations of the nodes that serve the computation now, sorted: those with a
// server that can be used. It does not block. ErrClosed: the computation is not scheduled, or over.
func (p *Computation) Nodes(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Because(err, "nodes")
	}
	if _, err := p.active("nodes"); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Compact(slices.Sorted(maps.Values(p.servers))), nil
}

// Servers returns the locations of the servers that can be used now, sorted. It does not block; see
// [Computation.WaitServers]. ErrClosed: the computation is not scheduled, or over.
func (p *Computation) Servers(ctx context.Context) ([]Location, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Because(err, "servers")
	}
	if _, err := p.active("servers"); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.SortedFunc(maps.Keys(p.servers), compareLocations), nil
}

// isNode reports whether name, "host:port" or "host", names the node at addr.
func isNode(addr, name string) bool {
	if addr == name {
		return true
	}
	host, _, err := net.SplitHostPort(addr)
	return err == nil && host == name
}
