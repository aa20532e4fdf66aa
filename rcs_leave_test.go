package discoro

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestRCSNodeLeaves drains a node in the middle of a map: no item fails, and none runs twice.
func TestRCSNodeLeaves(t *testing.T) {
	inMemory(t, 2, SchedulerConfig{}, NodeConfig{}, func(c *memCluster) {
		p, err := NewComputation(c.sched.Runtime)
		if err != nil {
			t.Fatal(err)
		}
		s, err := NewRemoteCoroScheduler(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Schedule(c.ctx); err != nil && !errors.Is(err, ErrExists) {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := p.WaitServers(c.ctx, 4); err != nil {
			t.Fatal(err)
		}
		drained := make(chan error, 1)
		done := 0
		for out := range AsCompleted(c.ctx, s, timesNap, slices.Values(slices.Repeat([]time.Duration{time.Second}, 100))) {
			if out.Err != nil || out.Attempts != 1 {
				t.Errorf("item %d, after %d attempts: %v", out.Index, out.Attempts, out.Err)
			}
			if done++; done == 20 {
				go func() { drained <- c.nodes[0].Drain(c.ctx) }()
				synctest.Wait()
			}
		}
		if err := <-drained; err != nil || done != 100 {
			t.Errorf("%d items, %v", done, err)
		}
		for range 4 { // of Execute, too
			if _, err := Execute(c.ctx, s, timesNap.With(0)); err != nil {
				t.Error(err)
			}
		}
		if err := s.Finish(c.ctx, true); err != nil {
			t.Error(err)
		}
	})
}

// TestRCSSubmitAt runs several at one place, however many run there, and ends one with its context.
func TestRCSSubmitAt(t *testing.T) {
	inMemory(t, 1, SchedulerConfig{}, NodeConfig{}, func(c *memCluster) {
		p := c.schedule(c.sched.Runtime, 2, ComputationConfig{})
		s, err := NewRemoteCoroScheduler(p)
		if err != nil {
			t.Fatal(err)
		}
		servers, err := p.Servers(c.ctx)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		var coros []*Coro
		for range 10 {
			co, err := s.SubmitAt(c.ctx, servers[0], timesNap.With(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			coros = append(coros, co)
		}
		if d, err := ExecuteAt(c.ctx, s, NodeAddr(c.nodes[0].Location().String()), timesNap.With(time.Second)); d != time.Second || err != nil {
			t.Errorf("at the node: %v, %v", d, err)
		}
		co, err := s.Submit(c.ctx, timesNap.With(time.Second))
		if err != nil || co.Location() != servers[1] {
			t.Errorf("%v, %v: want it at the least loaded server", co, err)
		}
		ctx, cancel := context.WithTimeout(c.ctx, time.Second)
		defer cancel()
		if _, err := ExecuteAt(ctx, s, servers[0], timesNap.With(time.Hour)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("at the deadline: %v", err)
		}
		for _, where := range []Place{Location{"nowhere", 1}, NodeAddr("nowhere:1")} {
			if _, err := ExecuteAt(c.ctx, s, where, timesNap.With(0)); !errors.Is(err, ErrNotFound) {
				t.Errorf("at %v: %v", where, err)
			}
		}
		if err := s.Finish(c.ctx, true); err != nil { // waits for the naps, but for the one that was terminated
			t.Error(err)
		}
		if took := time.Since(start); took < time.Minute || took > 2*time.Minute {
			t.Errorf("it took %v", took)
		}
		for _, co := range coros {
			if co.Location() != servers[0] || co.Wait(c.ctx) != nil {
				t.Errorf("%v, %v", co, co.Wait(c.ctx))
			}
		}
	})
}

// TestRCSContextOfSlowArguments ends the context while a free server is there whenever an argument is: nothing is ever waited for.
func TestRCSContextOfSlowArguments(t *testing.T) {
	inMemory(t, 1, SchedulerConfig{}, NodeConfig{}, func(c *memCluster) {
		s, err := NewRemoteCoroScheduler(c.schedule(c.sched.Runtime, 2, ComputationConfig{}))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
		defer cancel()
		read := 0
		args := func(yield func(time.Duration) bool) {
			for range 60 {
				<-time.After(time.Second)
				if read++; !yield(time.Millisecond) {
					return
				}
			}
		}
		got, err := MapResults(ctx, s, timesNap, args)
		if !errors.Is(err, context.DeadlineExceeded) || len(got) > 12 || read > 12 {
			t.Errorf("%d arguments were read, %d results: %v", read, len(got), err)
		}
		if _, err := MapResults(c.ctx, s, timesNap, slices.Values([]time.Duration{1, 1, 1})); err != nil {
			t.Error(err)
		}
		if err := s.Finish(c.ctx, true); err != nil {
			t.Error(err)
		}
	})
}

// TestRCSRelayedLate relays statuses from before the RemoteCoroScheduler was there: each server is set up once.
func TestRCSRelayedLate(t *testing.T) {
	inMemory(t, 1, SchedulerConfig{}, NodeConfig{}, func(c *memCluster) {
		told := c.statuses(c.sched.Runtime)
		p := c.schedule(c.sched.Runtime, 2, ComputationConfig{Status: told.coro})
		setUp := 0 // by coroutines of one runtime
		s, err := NewRemoteCoroScheduler(p, RCSConfig{ProcAvailable: func(co *Coro, _ Location) error {
			setUp++
			return co.Sleep(time.Second)
		}})
		if err != nil {
			t.Fatal(err)
		}
		relay := func() {
			synctest.Wait()
			for len(told.all) > 0 {
				if err := s.StatusCoro().Send(<-told.all); err != nil {
					t.Error(err)
				}
			}
		}
		relay()
		if _, err := MapResults(c.ctx, s, timesNap, slices.Values([]time.Duration{1, 1, 1})); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if setUp != 2 {
			t.Errorf("2 servers were set up %d times", setUp)
		}
		if err := p.Close(c.ctx); err != nil {
			t.Error(err)
		}
		relay()
		if err := s.Finish(c.ctx, true); err != nil {
			t.Error(err)
		}
	})
}

// TestRCSNotRelayed ends a computation whose status coroutine relays nothing: who waits for a server does not wait on.
func TestRCSNotRelayed(t *testing.T) {
	inMemory(t, 1, SchedulerConfig{}, NodeConfig{}, func(c *memCluster) {
		p := c.schedule(c.sched.Runtime, 2, ComputationConfig{Status: c.statuses(c.sched.Runtime).coro})
		s, err := NewRemoteCoroScheduler(p, RCSConfig{ProcAvailable: func(*Coro, Location) error { return errors.New("none will do") }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(c.ctx, time.Hour)
		defer cancel()
		ended := make(chan error, 1)
		go func() {
			_, err := Execute(ctx, s, timesNap.With(0))
			ended <- err
		}()
		synctest.Wait()
		if err := p.Close(c.ctx); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("ended with %v", err)
		}
		if err := s.Finish(c.ctx, true); err != nil {
			t.Error(err)
		}
	})
}

// TestRCSReport shows what is said of servers that are ready and yet not free: they could not be set up, they still are, they are at
// work, or nobody has told of them.
func TestRCSReport(t *testing.T) {
	inMemory(t, 1, SchedulerConfig{}, NodeConfig{}, func(c *memCluster) {
		says := func(s *RemoteCoroScheduler, want ...string) {
			t.Helper()
			ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
			defer cancel()
			_, err1 := s.Schedule(ctx, timesNap.With(0))
			_, err2 := MapResults(ctx, s, timesNap, slices.Values([]time.Duration{1}))
			for _, err := range []error{err1, err2} {
				for _, text := range append(want, "2 of 2 servers ready") {
					if !errors.Is(err, ErrNoServer) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), text) {
						t.Errorf("%v; want %q in it", err, text)
					}
				}
			}
		}
		finish := func(s *RemoteCoroScheduler, p *Computation) {
			t.Helper()
			if err := errors.Join(p.Close(c.ctx), s.Finish(c.ctx, true)); err != nil {
				t.Error(err)
			}
		}
		p := c.schedule(c.sched.Runtime, 2, ComputationConfig{})
		servers, err := p.Servers(c.ctx)
		if err != nil {
			t.Fatal(err)
		}
		first := servers[0]
		s, err := NewRemoteCoroScheduler(p, RCSConfig{ProcAvailable: func(co *Coro, server Location) error {
			if server == first {
				return errors.New("no such model")
			}
			return co.Sleep(time.Hour)
		}})
		if err != nil {
			t.Fatal(err)
		}
		says(s, "being set up: 1, refused by ProcStatus or ProcAvailable: 1 ("+first.String()+": no such model)")
		finish(s, p)

		p = c.schedule(c.sched.Runtime, 2, ComputationConfig{})
		if servers, err = p.Servers(c.ctx); err != nil {
			t.Fatal(err)
		}
		if s, err = NewRemoteCoroScheduler(p, RCSConfig{ProcAvailable: func(_ *Coro, server Location) error {
			if server == servers[0] {
				panic("no such model")
			}
			runtime.Goexit()
			return nil
		}}); err != nil {
			t.Fatal(err)
		}
		says(s, "refused by ProcStatus or ProcAvailable: 2 ("+servers[0].String()+": panic: no such model)")
		finish(s, p)

		p = c.schedule(c.sched.Runtime, 2, ComputationConfig{})
		if s, err = NewRemoteCoroScheduler(p); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := s.Schedule(c.ctx, timesNap.With(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		says(s, "servers at work: 2")
		finish(s, p)

		status := c.statuses(c.sched.Runtime)
		if p, err = NewComputation(c.sched.Runtime, ComputationConfig{Status: status.coro}); err != nil {
			t.Fatal(err)
		}
		if s, err = NewRemoteCoroScheduler(p); err != nil {
			t.Fatal(err)
		}
		says(s, "must send it every Status")
		finish(s, p)
	})
}

var (
	usesLostRuns atomic.Int64
	usesLost     = Register("leave.uses-lost", func(*Coro, None) (None, error) {
		usesLostRuns.Add(1)
		return None{}, fmt.Errorf("its own: %w", &ServerLostError{Server: Location{Addr: "10.0.0.1", Port: 1}, Func: "other", Cause: ErrDisconnected})
	})
)

// TestRCSFunctionLosesServer has a function fail because it has lost a server that it used itself: it is not run again, as its own is there.
func TestRCSFunctionLosesServer(t *testing.T) {
	inMemory(t, 1, SchedulerConfig{}, NodeConfig{}, func(c *memCluster) {
		p := c.schedule(c.sched.Runtime, 2, ComputationConfig{})
		s, err := NewRemoteCoroScheduler(p, RCSConfig{Retries: 3})
		if err != nil {
			t.Fatal(err)
		}
		usesLostRuns.Store(0)
		_, executed := Execute(c.ctx, s, usesLost.With(None{}))
		_, mapped := MapResults(c.ctx, s, usesLost, slices.Values([]None{{}}))
		for _, err := range []error{executed, mapped} {
			var r *RemoteError
			if !errors.As(err, &r) || r.Func != "leave.uses-lost" || !strings.Contains(r.Msg, "its own: ") || !errors.Is(err, ErrDisconnected) {
				t.Errorf("%T: %v", err, err)
			}
		}
		if n := usesLostRuns.Load(); n != 2 {
			t.Errorf("it was run %d times, want twice", n)
		}
		if err := s.Finish(c.ctx, true); err != nil {
			t.Error(err)
		}
	})
}

// TestRCSFinishEnds has the context of a Finish end while a hook is about to end well: the error is the context's.
func TestRCSFinishEnds(t *testing.T) {
	inMemory(t, 1, SchedulerConfig{}, NodeConfig{}, func(c *memCluster) {
		p := c.schedule(c.sched.Runtime, 2, ComputationConfig{})
		ctx, cancel := context.WithCancel(c.ctx)
		s, err := NewRemoteCoroScheduler(p, RCSConfig{ProcClose: func(*Coro, StatusKind, Location) { cancel() }})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Execute(c.ctx, s, timesNap.With(0)); err != nil {
			t.Fatal(err)
		}
		if err := s.Finish(ctx, true); !errors.Is(err, context.Canceled) {
			t.Errorf("Finish returned %v", err)
		}
		if err := s.Finish(c.ctx, true); err != nil {
			t.Error(err)
		}
	})
}
