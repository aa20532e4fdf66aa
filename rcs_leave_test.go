package discoro

import (
	"context"
	"errors"
	"slices"
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
