package discoro

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/schedule"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/wire"
)

var (
	unheardRan = make(chan int, 10)
	unheardRun = Register("unheard.run", func(_ *Coro, n int) (int, error) {
		unheardRan <- n
		return n, nil
	})
)

// farClient is a client whose scheduler is in another runtime, as is the node. What a server sends
// to the client goes through a proxy; nothing else does.
type farClient struct {
	*testing.T

	ctx   context.Context
	sched *Scheduler
	node  *Node
	comp  *Computation
}

// newFarClient starts all of that. between starts the proxy on a listener, to the client's
// location.
func newFarClient(t *testing.T, cfg NodeConfig, between func(ln net.Listener, client Location)) *farClient {
	t.Helper()
	f := &farClient{T: t, ctx: testkit.Context(t)}
	ln, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Skip("the client needs a second address: ", err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	quiet := Config{Addr: "127.0.0.1", UDPPort: -1, Logger: discard}
	if f.sched, err = NewScheduler(SchedulerConfig{Config: quiet}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.sched.Close() })
	at := quiet
	at.Peers = []string{f.sched.Location().String()}
	cfg.Config, cfg.Servers = at, 1
	if f.node, err = NewNode(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.node.Close() })
	at.ExtAddr, at.TCPPort = "127.0.0.2", port
	client := testRuntime(t, at)
	between(ln, Location{Addr: "127.0.0.1", Port: port})
	if f.comp, err = NewComputation(client); err != nil {
		t.Fatal(err)
	}
	if err := f.comp.Schedule(f.ctx, f.sched.Location()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.comp.Close(context.Background()) })
	if err := f.comp.WaitServers(f.ctx, 1); err != nil {
		t.Fatal(err)
	}
	return f
}

// execute runs a function, and returns its result.
func execute[R any](f *farClient, c Call[R]) (R, error) {
	co, err := f.comp.Run(f.ctx, c)
	if err != nil {
		var zero R
		return zero, err
	}
	return Result[R](f.ctx, co)
}

// schedCount is the event that a test asks for the scheduler's counts.
type schedCount struct{ counts chan<- schedule.Counts }

func (e schedCount) handle(l *schedLoop, _ time.Time) { e.counts <- l.state.Counts() }

// counts returns how much the scheduler has of everything.
func (l *schedLoop) counts() schedule.Counts {
	counts := make(chan schedule.Counts, 1)
	l.box.Put(schedEvent{own: schedCount{counts}})
	return <-counts
}

// eventuallyAt waits until cond holds for the scheduler's counts.
func (f *farClient) eventuallyAt(what string, cond func(schedule.Counts) bool) {
	f.Helper()
	testkit.Eventually(f.T, what, func() bool { return cond(f.sched.loop.counts()) })
}

// TestUnheardRuns lets runs start and end at a server while the client, whose scheduler is in
// another runtime, receives nothing of that. Then the link breaks. The runs end as at any lost
// server.
func TestUnheardRuns(t *testing.T) {
	t.Parallel()
	var p *proxy
	f := newFarClient(t, NodeConfig{}, func(ln net.Listener, client Location) { p = proxyAt(t, ln, client) })
	if n, err := execute(f, unheardRun.With(1)); n != 1 || err != nil {
		t.Fatalf("before: %d, %v", n, err)
	}
	<-unheardRan

	p.Freeze()
	results := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := execute(f, unheardRun.With(2))
			results <- err
		}()
		<-unheardRan
	}
	p.Cut()
	p.Thaw()
	for range 2 {
		var lost *ServerLostError
		if err := <-results; !errors.As(err, &lost) || lost.Func != "unheard.run" {
			t.Errorf("a run of which nothing was heard ended with %v", err)
		}
	}
	if err := f.comp.WaitServers(f.ctx, 1); err != nil {
		t.Error(err)
	}
	if n, err := execute(f, unheardRun.With(3)); n != 3 || err != nil {
		t.Errorf("after: %d, %v", n, err)
	}
	<-unheardRan
}

// TestUnheardRunsOfANodeThatDrains drains the node before the link breaks that nothing of the runs
// came over. They end as at a lost server, too.
func TestUnheardRunsOfANodeThatDrains(t *testing.T) {
	t.Parallel()
	for _, processes := range []bool{false, true} {
		t.Run(fmt.Sprintf("processes=%v", processes), func(t *testing.T) {
			t.Parallel()
			var p *proxy
			f := newFarClient(t, NodeConfig{Processes: processes}, func(ln net.Listener, client Location) { p = proxyAt(t, ln, client) })
			p.Freeze()
			results := make(chan error, 2)
			for range 2 {
				go func() {
					_, err := execute(f, unheardLarge.With(1))
					results <- err
				}()
			}
			f.eventuallyAt("both runs have ended at the server", func(s schedule.Counts) bool {
				return s.Jobs == 0 && s.Unheard == 2
			})
			drained := make(chan error, 1)
			go func() { drained <- f.node.Drain(f.ctx) }()
			f.eventuallyAt("the node is released", func(s schedule.Counts) bool { return s.Releasing == 1 })
			select {
			case err := <-results:
				t.Fatalf("a run has ended with %v", err)
			default:
			}
			p.Cut()
			p.Thaw()
			for range 2 {
				var lost *ServerLostError
				if err := <-results; !errors.As(err, &lost) || lost.Func != "unheard.large" {
					t.Errorf("a run of which nothing was heard ended with %v", err)
				}
			}
			if err := <-drained; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDrainOverASlowLink drains a node while a large result is on its way. The server's process
// waits until it has arrived.
func TestDrainOverASlowLink(t *testing.T) {
	t.Parallel()
	f := newFarClient(t, NodeConfig{Processes: true}, func(ln net.Listener, client Location) { slowProxyAt(t, ln, client, 3<<20/2) })
	const large = 6 << 20
	co, err := f.comp.Run(f.ctx, unheardLarge.With(large))
	if err != nil {
		t.Fatal(err)
	}
	f.eventuallyAt("the run has ended at the server", func(s schedule.Counts) bool { return s.Jobs == 0 })
	drained := make(chan error, 1)
	go func() { drained <- f.node.Drain(f.ctx) }()
	if b, err := Result[[]byte](f.ctx, co); len(b) != large || err != nil {
		t.Errorf("a result of %d bytes, %v", len(b), err)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// TestServerAsksWhatIsHeard makes a server ask its client what it knows of, with an answer and
// without.
func TestServerAsksWhatIsHeard(t *testing.T) {
	t.Parallel()
	server, client := twoRuntimes(t, Config{Addr: "127.0.0.1"})
	sched := testRuntime(t, Config{Addr: "127.0.0.1"})
	connect(t, server, sched.Location())
	c := &servedComp{client: upLink(t, server, client), scheduler: upLink(t, server, sched)}
	c.freed.Store(3)
	c.asking.Store(true)
	c.askHeard()
	testkit.Eventually(t, "the client has answered", func() bool { return !c.asking.Load() })
	if c.heard != 3 {
		t.Errorf("of 3 jobs it knows of %d", c.heard)
	}
	c.done.Store(true)
	c.freed.Store(4)
	c.askHeard()
	over := make(chan struct{})
	if err := c.client.AskLast(call.Func(func(call.Outcome) { close(over) })); err != nil {
		t.Fatal(err)
	}
	<-over
	if c.heard != 3 {
		t.Errorf("of jobs of a service that is over it tells: %d", c.heard)
	}
	c.done.Store(false)
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	testkit.Eventually(t, "the link is down", func() bool { return c.client.Cause() != nil })
	c.freed.Store(4)
	c.asking.Store(true)
	c.askHeard()
	if c.heard != 3 || !c.asking.Load() {
		t.Errorf("without an answer it knows of %d", c.heard)
	}
}

// TestEndWithoutBeginning makes a server, or a scheduler, send the end of runs that never started.
// Whoever waits for the coroutine gets an error, and never a coroutine that is nil.
func TestEndWithoutBeginning(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{})
	comp, err := NewComputation(rt)
	if err != nil {
		t.Fatal(err)
	}
	for name, frame := range map[string]func(id wire.JobID){
		"a result":   func(id wire.JobID) { rt.jobDone(&wire.Done{Token: comp.token, Job: id}) },
		"no failure": func(id wire.JobID) { rt.jobUnheard(&wire.Unheard{Token: comp.token, Job: id}) },
	} {
		j := comp.newJob(&callSpec{fn: "some.run"})
		frame(j.id)
		if c, err := comp.awaitStart(testkit.Context(t), j); c != nil || !errors.Is(err, ErrDisconnected) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}
