package discoro

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/discoro/discoro/internal/call"
)

// TestRCSOfAQueuedComputation makes a RemoteCoroScheduler for a computation in the queue of its
// scheduler. The verbs wait until the computation is active, and end with it.
func TestRCSOfAQueuedComputation(t *testing.T) {
	inMemory(t, 1, SchedulerConfig{}, NodeConfig{}, func(c *memCluster) {
		first := c.schedule(c.sched.Runtime, 2, ComputationConfig{})
		rcsOf := func() (*Computation, *RemoteCoroScheduler, chan error) {
			p, err := NewComputation(c.sched.Runtime)
			if err != nil {
				t.Fatal(err)
			}
			scheduled := make(chan error, 1)
			go func() { scheduled <- p.Schedule(c.ctx) }()
			synctest.Wait()
			s, err := NewRemoteCoroScheduler(p)
			if err != nil {
				t.Fatal(err)
			}
			return p, s, scheduled
		}
		_, s, scheduled := rcsOf()
		closed, sClosed, _ := rcsOf()
		verbs := map[string]func(ctx context.Context, s *RemoteCoroScheduler) error{
			"Submit": func(ctx context.Context, s *RemoteCoroScheduler) error {
				_, err := s.Submit(ctx, timesNap.With(1))
				return err
			},
			"Execute": func(ctx context.Context, s *RemoteCoroScheduler) error {
				_, err := Execute(ctx, s, timesNap.With(1))
				return err
			},
			"MapResults": func(ctx context.Context, s *RemoteCoroScheduler) error {
				_, err := MapResults(ctx, s, timesNap, func(yield func(time.Duration) bool) { yield(1) })
				return err
			},
		}
		all := func(ctx context.Context, s *RemoteCoroScheduler) map[string]chan error {
			ended := map[string]chan error{}
			for name, verb := range verbs {
				e := make(chan error, 1)
				ended[name] = e
				go func() { e <- verb(ctx, s) }()
			}
			synctest.Wait()
			return ended
		}
		ctx, cancel := context.WithTimeout(c.ctx, time.Second)
		defer cancel()
		for name, e := range all(ctx, s) {
			if err := <-e; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s in the queue: %v", name, err)
			}
		}
		ended := all(c.ctx, s)
		endedClosed := all(c.ctx, sClosed)
		if err := closed.Close(c.ctx); err != nil {
			t.Error(err)
		}
		for name, e := range endedClosed {
			if err := <-e; !errors.Is(err, ErrClosed) {
				t.Errorf("%s, closed in the queue: %v", name, err)
			}
		}
		if err := first.Close(c.ctx); err != nil {
			t.Error(err)
		}
		for name, e := range ended {
			if err := <-e; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := <-scheduled; err != nil {
			t.Error(err)
		}
		if err := s.Finish(c.ctx, true); err != nil {
			t.Error(err)
		}
	})
}

// TestRCSServerReplacedWhileSetUp loses a server while ProcAvailable sets it up, and starts another
// one at its location. That one is used when it has been set up itself.
func TestRCSServerReplacedWhileSetUp(t *testing.T) {
	inMemory(t, 1, SchedulerConfig{}, NodeConfig{Servers: 1, TCPPorts: []string{"4000"}}, func(c *memCluster) {
		p, err := NewComputation(c.sched.Runtime)
		if err != nil {
			t.Fatal(err)
		}
		setUp := make(chan struct{}, 2)
		s, err := NewRemoteCoroScheduler(p, RCSConfig{ProcAvailable: func(co *Coro, _ Location) error {
			defer func() { setUp <- struct{}{} }()
			return co.Sleep(10 * time.Second)
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.WaitServers(c.ctx, 1); err != nil {
			t.Fatal(err)
		}
		server := c.nodes[0].Servers()[0]
		<-time.After(5 * time.Second)
		if err := c.nodes[0].killServer(server); err != nil {
			t.Fatal(err)
		}
		if _, err := Execute(c.ctx, s, timesNap.With(0)); err != nil {
			t.Error(err)
		}
		if len(setUp) != 2 {
			t.Errorf("a task ran when %d of 2 servers had been set up", len(setUp))
		}
		if at := c.nodes[0].Servers(); len(at) != 1 || at[0] != server {
			t.Errorf("the server was at %v, another came at %v", server, at)
		}
		if err := s.Finish(c.ctx, true); err != nil {
			t.Error(err)
		}
	})
}

// TestRCSPoolDropsOnce drops a server when another one is at its location already.
func TestRCSPoolDropsOnce(t *testing.T) {
	t.Parallel()
	p := &rcsPool{servers: map[Location]*rcsServer{}, setting: map[*rcsServer]error{}}
	old, fresh := &rcsServer{loc: Location{"h", 1}}, &rcsServer{loc: Location{"h", 1}}
	p.add(old)
	p.drop(old)
	p.add(fresh)
	p.drop(old)
	got := &call.Future{}
	p.acquire(got, false)
	out, _ := got.Peek()
	if sv := serverIn(out); sv != fresh {
		t.Errorf("acquired %+v, want the one that came last", sv)
	}
	late := &rcsServer{loc: Location{"h", 2}}
	p.drop(late)
	p.add(late)
	if len(p.free) != 0 {
		t.Errorf("a server that is gone was added")
	}
}

// TestRCSAgainWhenThereIsAScheduler makes a RemoteCoroScheduler for a computation that found no
// scheduler at first.
func TestRCSAgainWhenThereIsAScheduler(t *testing.T) {
	inMemory(t, 1, SchedulerConfig{}, NodeConfig{}, func(c *memCluster) {
		rt, err := NewRuntime(Config{tuning: tuning{host: c.net.Host("client")}, Logger: discard})
		if err != nil {
			t.Fatal(err)
		}
		defer rt.Close()
		p, err := NewComputation(rt)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewRemoteCoroScheduler(p); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		if _, err := rt.Connect(c.ctx, c.sched.Location().String()); err != nil {
			t.Fatal(err)
		}
		s, err := NewRemoteCoroScheduler(p)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
		defer cancel()
		if _, err := Execute(ctx, s, timesNap.With(0)); err != nil {
			t.Error(err)
		}
		if err := s.Finish(c.ctx, true); err != nil {
			t.Error(err)
		}
	})
}
