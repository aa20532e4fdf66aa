package test

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

	"github.com/discoro/discoro"
)

// TestRCSNodeLeaves drains a node in the middle of a map. No item fails, and none runs twice.
func TestRCSNodeLeaves(t *testing.T) {
	inMemory(t, 2, discoro.SchedulerConfig{}, discoro.NodeConfig{}, func(c *memCluster) {
		p, err := discoro.NewComputation(c.sched.Runtime)
		if err != nil {
			t.Fatal(err)
		}
		s, err := discoro.NewRemoteCoroScheduler(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Schedule(c.ctx); err != nil && !errors.Is(err, discoro.ErrExists) {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := p.WaitServers(c.ctx, 4); err != nil {
			t.Fatal(err)
		}
		drained := make(chan error, 1)
		done := 0
		for out := range discoro.AsCompleted(c.ctx, s, memNap, slices.Values(slices.Repeat([]time.Duration{time.Second}, 100))) {
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
			if _, err := discoro.Execute(c.ctx, s, memNap.With(0)); err != nil {
				t.Error(err)
			}
		}
		if err := s.Finish(c.ctx, true); err != nil {
			t.Error(err)
		}
	})
}

// TestRCSSubmitAt runs several tasks at one place at the same time, and ends one of them with its
// context.
func TestRCSSubmitAt(t *testing.T) {
	inMemory(t, 1, discoro.SchedulerConfig{}, discoro.NodeConfig{}, func(c *memCluster) {
		p := c.schedule(c.sched.Runtime, 2, discoro.ComputationConfig{})
		s, err := discoro.NewRemoteCoroScheduler(p)
		if err != nil {
			t.Fatal(err)
		}
		servers, err := p.Servers(c.ctx)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		var coros []*discoro.Coro
		for range 10 {
			co, err := s.SubmitAt(c.ctx, servers[0], memNap.With(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			coros = append(coros, co)
		}
		if d, err := discoro.ExecuteAt(c.ctx, s, discoro.NodeAddr(c.nodes[0].Location().String()), memNap.With(time.Second)); d != time.Second || err != nil {
			t.Errorf("at the node: %v, %v", d, err)
		}
		co, err := s.Submit(c.ctx, memNap.With(time.Second))
		if err != nil || co.Location() != servers[1] {
			t.Errorf("%v, %v: want it at the least loaded server", co, err)
		}
		ctx, cancel := context.WithTimeout(c.ctx, time.Second)
		defer cancel()
		if _, err := discoro.ExecuteAt(ctx, s, servers[0], memNap.With(time.Hour)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("at the deadline: %v", err)
		}
		for _, where := range []discoro.Place{discoro.Location{Addr: "nowhere", Port: 1}, discoro.NodeAddr("nowhere:1")} {
			if _, err := discoro.ExecuteAt(c.ctx, s, where, memNap.With(0)); !errors.Is(err, discoro.ErrNotFound) {
				t.Errorf("at %v: %v", where, err)
			}
		}
		if err := s.Finish(c.ctx, true); err != nil { // waits for the naps, except for the one that was terminated
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

// TestRCSContextOfSlowArguments ends the context of a map that never waits, as a server is free
// whenever an argument comes.
func TestRCSContextOfSlowArguments(t *testing.T) {
	inMemory(t, 1, discoro.SchedulerConfig{}, discoro.NodeConfig{}, func(c *memCluster) {
		s, err := discoro.NewRemoteCoroScheduler(c.schedule(c.sched.Runtime, 2, discoro.ComputationConfig{}))
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
		got, err := discoro.MapResults(ctx, s, memNap, args)
		if !errors.Is(err, context.DeadlineExceeded) || len(got) > 12 || read > 12 {
			t.Errorf("%d arguments were read, %d results: %v", read, len(got), err)
		}
		if _, err := discoro.MapResults(c.ctx, s, memNap, slices.Values([]time.Duration{1, 1, 1})); err != nil {
			t.Error(err)
		}
		if err := s.Finish(c.ctx, true); err != nil {
			t.Error(err)
		}
	})
}

// TestRCSRelayedLate relays statuses that are older than the RemoteCoroScheduler. Each server is
// set up once.
func TestRCSRelayedLate(t *testing.T) {
	inMemory(t, 1, discoro.SchedulerConfig{}, discoro.NodeConfig{}, func(c *memCluster) {
		told := c.statuses(c.sched.Runtime)
		p := c.schedule(c.sched.Runtime, 2, discoro.ComputationConfig{Status: told.coro})
		setUp := 0 // by coroutines of one runtime
		s, err := discoro.NewRemoteCoroScheduler(p, discoro.RCSConfig{ProcAvailable: func(co *discoro.Coro, _ discoro.Location) error {
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
		if _, err := discoro.MapResults(c.ctx, s, memNap, slices.Values([]time.Duration{1, 1, 1})); err != nil {
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

// TestRCSNotRelayed ends a computation whose status coroutine relays nothing. A wait for a server
// ends, too.
func TestRCSNotRelayed(t *testing.T) {
	inMemory(t, 1, discoro.SchedulerConfig{}, discoro.NodeConfig{}, func(c *memCluster) {
		p := c.schedule(c.sched.Runtime, 2, discoro.ComputationConfig{Status: c.statuses(c.sched.Runtime).coro})
		s, err := discoro.NewRemoteCoroScheduler(p, discoro.RCSConfig{ProcAvailable: func(*discoro.Coro, discoro.Location) error { return errors.New("none will do") }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(c.ctx, time.Hour)
		defer cancel()
		ended := make(chan error, 1)
		go func() {
			_, err := discoro.Execute(ctx, s, memNap.With(0))
			ended <- err
		}()
		synctest.Wait()
		if err := p.Close(c.ctx); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, discoro.ErrClosed) {
			t.Errorf("ended with %v", err)
		}
		if err := s.Finish(c.ctx, true); err != nil {
			t.Error(err)
		}
	})
}

// TestRCSReport shows what the report says of servers that are ready but not free: their setup has
// failed, they are being set up, they are at work, or no status was relayed.
func TestRCSReport(t *testing.T) {
	inMemory(t, 1, discoro.SchedulerConfig{}, discoro.NodeConfig{}, func(c *memCluster) {
		says := func(s *discoro.RemoteCoroScheduler, want ...string) {
			t.Helper()
			ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
			defer cancel()
			_, err1 := s.Schedule(ctx, memNap.With(0))
			_, err2 := discoro.MapResults(ctx, s, memNap, slices.Values([]time.Duration{1}))
			for _, err := range []error{err1, err2} {
				for _, text := range append(want, "2 of 2 servers ready") {
					if !errors.Is(err, discoro.ErrNoServer) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), text) {
						t.Errorf("%v; want %q in it", err, text)
					}
				}
			}
		}
		finish := func(s *discoro.RemoteCoroScheduler, p *discoro.Computation) {
			t.Helper()
			if err := errors.Join(p.Close(c.ctx), s.Finish(c.ctx, true)); err != nil {
				t.Error(err)
			}
		}
		p := c.schedule(c.sched.Runtime, 2, discoro.ComputationConfig{})
		servers, err := p.Servers(c.ctx)
		if err != nil {
			t.Fatal(err)
		}
		first := servers[0]
		s, err := discoro.NewRemoteCoroScheduler(p, discoro.RCSConfig{ProcAvailable: func(co *discoro.Coro, server discoro.Location) error {
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

		p = c.schedule(c.sched.Runtime, 2, discoro.ComputationConfig{})
		if servers, err = p.Servers(c.ctx); err != nil {
			t.Fatal(err)
		}
		if s, err = discoro.NewRemoteCoroScheduler(p, discoro.RCSConfig{ProcAvailable: func(_ *discoro.Coro, server discoro.Location) error {
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

		p = c.schedule(c.sched.Runtime, 2, discoro.ComputationConfig{})
		if s, err = discoro.NewRemoteCoroScheduler(p); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := s.Schedule(c.ctx, memNap.With(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		says(s, "servers at work: 2")
		finish(s, p)

		status := c.statuses(c.sched.Runtime)
		if p, err = discoro.NewComputation(c.sched.Runtime, discoro.ComputationConfig{Status: status.coro}); err != nil {
			t.Fatal(err)
		}
		if s, err = discoro.NewRemoteCoroScheduler(p); err != nil {
			t.Fatal(err)
		}
		says(s, "must send it every Status")
		finish(s, p)
	})
}

var (
	usesLostRuns atomic.Int64
	usesLost     = discoro.Register("leave.uses-lost", func(*discoro.Coro, discoro.None) (discoro.None, error) {
		usesLostRuns.Add(1)
		return discoro.None{}, fmt.Errorf("its own: %w", &discoro.ServerLostError{Server: discoro.Location{Addr: "10.0.0.1", Port: 1}, Func: "other", Cause: discoro.ErrDisconnected})
	})
)

// TestRCSFunctionLosesServer runs a function that fails because it has lost a server that it used
// itself. It is not run again, as its own server is there.
func TestRCSFunctionLosesServer(t *testing.T) {
	inMemory(t, 1, discoro.SchedulerConfig{}, discoro.NodeConfig{}, func(c *memCluster) {
		p := c.schedule(c.sched.Runtime, 2, discoro.ComputationConfig{})
		s, err := discoro.NewRemoteCoroScheduler(p, discoro.RCSConfig{Retries: 3})
		if err != nil {
			t.Fatal(err)
		}
		usesLostRuns.Store(0)
		_, executed := discoro.Execute(c.ctx, s, usesLost.With(discoro.None{}))
		_, mapped := discoro.MapResults(c.ctx, s, usesLost, slices.Values([]discoro.None{{}}))
		for _, err := range []error{executed, mapped} {
			var r *discoro.RemoteError
			if !errors.As(err, &r) || r.Func != "leave.uses-lost" || !strings.Contains(r.Msg, "its own: ") || !errors.Is(err, discoro.ErrDisconnected) {
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

// TestRCSFinishEnds ends the context of a Finish just before a hook ends without an error. The
// error is that of the context.
func TestRCSFinishEnds(t *testing.T) {
	inMemory(t, 1, discoro.SchedulerConfig{}, discoro.NodeConfig{}, func(c *memCluster) {
		p := c.schedule(c.sched.Runtime, 2, discoro.ComputationConfig{})
		ctx, cancel := context.WithCancel(c.ctx)
		s, err := discoro.NewRemoteCoroScheduler(p, discoro.RCSConfig{ProcClose: func(*discoro.Coro, discoro.StatusKind, discoro.Location) { cancel() }})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := discoro.Execute(c.ctx, s, memNap.With(0)); err != nil {
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
