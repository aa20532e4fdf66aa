package test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/internal/testkit/live"
)

// TestPromise07Kill kills each role in turn by SIGKILL while 1,000 items run. The others notice it,
// name what was lost, and go on.
func TestPromise07Kill(t *testing.T) {
	t.Parallel()
	t.Run("server", killServer)
	t.Run("node", killNode)
	t.Run("half the nodes", killHalfTheNodes)
	t.Run("scheduler", killScheduler)
	t.Run("client", killClient)
}

// farCluster is a private scheduler, and nodes in processes of their own.
func farCluster(t *testing.T, nodes, servers int) (c *cluster, procs []*roleProcess) {
	t.Helper()
	sched, err := discoro.NewScheduler()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIn(t, "scheduler", sched.Close) })
	c = &cluster{T: t, sched: sched, ctx: testkit.Context(t)}
	procs = make([]*roleProcess, nodes)
	var wg sync.WaitGroup
	for i := range procs {
		wg.Go(func() { procs[i] = startRole(t, "node", 0, sched.Location(), servers) })
	}
	wg.Wait()
	return c, procs
}

// mapNaps maps naps of a millisecond, and calls kill when a fifth of them have ended. Every item
// must have one result.
func (c *cluster) mapNaps(s *discoro.RemoteCoroScheduler, items int, kill func()) (again int) {
	c.Helper()
	seen := make([]int, items)
	done := 0
	for out := range discoro.AsCompleted(c.ctx, s, faultNap, slices.Values(slices.Repeat([]int{1}, items))) {
		if out.Err != nil || out.Value != 1 {
			c.Fatalf("item %d: %d, %v", out.Index, out.Value, out.Err)
		}
		if seen[out.Index]++; seen[out.Index] > 1 {
			c.Errorf("item %d came again", out.Index)
		}
		again += out.Attempts - 1
		if done++; done == items/5 {
			kill()
		}
	}
	if done != items {
		c.Errorf("%d results of %d items", done, items)
	}
	return again
}

func killServer(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 2, Processes: true})
	st := &toldLog{}
	comp := c.computation(2, discoro.ComputationConfig{Status: st.coro(c.sched.Runtime)})
	s, err := discoro.NewRemoteCoroScheduler(comp, discoro.RCSConfig{Retries: 3})
	if err != nil {
		t.Fatal(err)
	}
	st.relay(s.StatusCoro())
	servers, err := comp.Servers(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	pid := clusterRunAt(c, comp, servers[0], faultPid.With(discoro.None{}))
	var lost, fresh time.Duration
	again := c.mapNaps(s, 1000, func() {
		start := time.Now()
		if err := testkit.Kill(pid); err != nil {
			t.Fatal(err)
		}
		c.poll("word of the lost server", func() bool {
			return st.has(discoro.ServerDisconnected, func(s discoro.Status) bool { return s.Server == servers[0] && s.Reason != "" })
		})
		lost = time.Since(start)
		c.poll("a fresh server", func() bool {
			return st.has(discoro.ServerInitialized, func(s discoro.Status) bool { return !slices.Contains(servers, s.Server) })
		})
		fresh = time.Since(start)
	})
	t.Logf("the client knows after %v, a fresh server is ready after %v", lost, fresh)
	if again > 1 {
		t.Errorf("%d items ran again, of one that can have been lost", again)
	}
	c.finish(s)
	st.check(t)
}

func killNode(t *testing.T) {
	t.Parallel()
	c, nodes := farCluster(t, 2, 2)
	st := &toldLog{}
	comp := c.computation(4, discoro.ComputationConfig{Status: st.coro(c.sched.Runtime)})
	s, err := discoro.NewRemoteCoroScheduler(comp, discoro.RCSConfig{Retries: 3})
	if err != nil {
		t.Fatal(err)
	}
	st.relay(s.StatusCoro())
	victim := nodes[0].location(t)
	again := c.mapNaps(s, 1000, func() {
		nodes[0].kill()
		c.poll("word of the lost node", func() bool {
			return st.has(discoro.NodeDisconnected, func(s discoro.Status) bool { return s.Node == victim.String() && s.Reason != "" })
		})
	})
	if again > 2 {
		t.Errorf("%d items ran again, of two that can have been lost", again)
	}
	if n := st.count(discoro.ServerDisconnected); n != 2 {
		t.Errorf("told of %d lost servers, of 2", n)
	}
	// Another runtime at the same address joins the computation.
	startRole(t, "node", victim.Port, c.sched.Location(), 2)
	if err := comp.WaitServers(c.ctx, 4); err != nil {
		t.Fatal(err)
	}
	if n := clusterRunAt(c, comp, discoro.NodeAddr(victim.String()), double.With(4)); n != 8 {
		t.Errorf("at the restarted node: %d", n)
	}
	c.finish(s)
	st.check(t)
}

func killHalfTheNodes(t *testing.T) {
	t.Parallel()
	c, nodes := farCluster(t, 4, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // a lot of work for a busy machine
	defer cancel()
	c.ctx = ctx
	s := c.rcs(discoro.RCSConfig{Retries: 3})
	again := c.mapNaps(s, 10_000, func() {
		nodes[0].kill()
		nodes[1].kill()
	})
	if again > 2 {
		t.Errorf("%d items ran again, of two that can have been lost", again)
	}
	c.finish(s)
}

func killScheduler(t *testing.T) {
	t.Parallel()
	sched := startRole(t, "scheduler", 0)
	at := sched.location(t)
	startRole(t, "node", 0, at, 2)
	c := &cluster{T: t, ctx: testkit.Context(t)}
	schedule := func() (*discoro.Computation, *discoro.RemoteCoroScheduler) {
		t.Helper()
		comp, err := discoro.NewComputation(c.newClient())
		if err != nil {
			t.Fatal(err)
		}
		if err := comp.Schedule(c.ctx, at); err != nil {
			t.Fatal(err)
		}
		if err := comp.WaitServers(c.ctx, 2); err != nil {
			t.Fatal(err)
		}
		s, err := discoro.NewRemoteCoroScheduler(comp)
		if err != nil {
			t.Fatal(err)
		}
		return comp, s
	}
	comp, s := schedule()
	results, failed := 0, error(nil)
	for out := range discoro.AsCompleted(c.ctx, s, faultNap, slices.Values(slices.Repeat([]int{1}, 1000))) {
		if out.Err != nil {
			failed = out.Err
			continue
		}
		if results++; results == 200 {
			sched.kill()
		}
	}
	if results < 200 || results == 1000 || !errors.Is(failed, discoro.ErrDisconnected) {
		t.Errorf("%d results, and %v", results, failed)
	}
	if _, err := comp.Run(c.ctx, double.With(1)); !errors.Is(err, discoro.ErrDisconnected) || !strings.Contains(err.Error(), at.String()) {
		t.Errorf("a run then: %v", err)
	}
	// The nodes connect to the scheduler that replaces it.
	startRole(t, "scheduler", at.Port)
	_, s = schedule()
	c.mapNaps(s, 100, func() {})
	c.finish(s)
}

// killClient kills a client whose items run, and another in the queue. The last in the queue gets
// the servers.
func killClient(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 2, Processes: true})
	at := c.sched.Location()
	first := startRole(t, "client", at)
	if first.said != "running" {
		t.Fatalf("the client said %q", first.said)
	}
	queued := c.newClient()
	waits, err := discoro.NewComputation(queued)
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { gone <- waits.Schedule(c.ctx, at) }()
	c.place(waits, 1)
	last, err := discoro.NewComputation(c.newClient())
	if err != nil {
		t.Fatal(err)
	}
	turn := make(chan error, 1)
	go func() { turn <- last.Schedule(c.ctx, at) }()
	c.place(last, 2)
	if err := queued.Close(); err != nil {
		t.Fatal(err)
	}
	if err := testkit.Next(t, gone); err == nil {
		t.Error("a closed client had its turn")
	}
	c.place(last, 1)
	first.kill()
	if err := testkit.Next(t, turn); err != nil {
		t.Fatal(err)
	}
	if err := last.WaitServers(c.ctx, 2); err != nil {
		t.Fatal(err)
	}
	s, err := discoro.NewRemoteCoroScheduler(last)
	if err != nil {
		t.Fatal(err)
	}
	c.mapNaps(s, 100, func() {})
	c.finish(s)
}

// place waits until a computation has that place in the queue.
func (c *cluster) place(comp *discoro.Computation, want int) {
	c.Helper()
	c.poll("the place in the queue", func() bool {
		n, err := comp.Position(c.ctx)
		return err == nil && n == want
	})
}

// TestLongComputation lets a function compute for longer than five pulses without yielding. Its
// server does not count as lost.
func TestLongComputation(t *testing.T) {
	t.Parallel()
	const pulse = 600 * time.Millisecond // even a busy machine is silent for less than five
	c := newCluster(t, discoro.NodeConfig{Servers: 1, Processes: true, MinPulseInterval: pulse})
	st := &toldLog{}
	comp := c.computation(1, discoro.ComputationConfig{PulseInterval: pulse, Status: st.coro(c.sched.Runtime)})
	if n := clusterRunAt(c, comp, c.server(comp), faultSpin.With(8*pulse)); n == 0 {
		t.Error("it has not computed")
	}
	if st.count(discoro.ServerDisconnected) > 0 {
		t.Error("its server was taken for dead")
	}
	if err := comp.Close(c.ctx); err != nil {
		t.Error(err)
	}
}

// faultSpin computes for that long without yielding.
var faultSpin = discoro.Register("fault.spin", func(_ *discoro.Coro, d time.Duration) (n int, _ error) {
	for start := time.Now(); time.Since(start) < d; {
		for range 1000 {
			n++
		}
	}
	return n, nil
})

// toldLog records what a status coroutine receives, and passes it on.
type toldLog struct {
	mu    sync.Mutex // guards following; leaf
	all   []discoro.Status
	next  *discoro.Coro
	early []any // what came before next was known
}

func (l *toldLog) coro(rt *discoro.Runtime) *discoro.Coro {
	return rt.Spawn("status", func(c *discoro.Coro) (any, error) {
		for {
			msg, err := c.Receive()
			if err != nil {
				return nil, err
			}
			l.mu.Lock()
			if s, ok := msg.(discoro.Status); ok {
				l.all = append(l.all, s)
			}
			next := l.next
			if next == nil {
				l.early = append(l.early, msg)
			}
			l.mu.Unlock()
			if next != nil {
				_ = next.Send(msg)
			}
		}
	})
}

// relay passes on everything.
func (l *toldLog) relay(next *discoro.Coro) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, msg := range l.early {
		_ = next.Send(msg)
	}
	l.next, l.early = next, nil
}

func (l *toldLog) has(kind discoro.StatusKind, ok func(discoro.Status) bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.all, func(s discoro.Status) bool { return s.Kind == kind && ok(s) })
}

func (l *toldLog) count(kind discoro.StatusKind) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.all {
		if s.Kind == kind {
			n++
		}
	}
	return n
}

// check compares what it received with the order that is promised.
func (l *toldLog) check(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	live.CheckStatuses(t, l.all)
}
