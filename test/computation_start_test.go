package test

import (
	"context"
	"errors"
	"testing"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/testkit/live"
)

// onCluster runs a test on a scheduler, and a node with one server.
func onCluster(t *testing.T, test func(ctx context.Context, sched *discoro.Scheduler) error) {
	t.Helper()
	c := newCluster(t, discoro.NodeConfig{Servers: 1})
	if err := test(c.ctx, c.sched); err != nil {
		t.Error(err)
	}
}

// TestScheduledMeansUsable uses a computation in its status coroutine as soon as that receives
// ComputationScheduled. That is before Schedule has returned, as both run in one runtime.
func TestScheduledMeansUsable(t *testing.T) {
	t.Parallel()
	onCluster(t, func(ctx context.Context, sched *discoro.Scheduler) error {
		var comp *discoro.Computation
		status := sched.Spawn("status", func(c *discoro.Coro) (any, error) {
			s, err := discoro.ReceiveAs[discoro.Status](c)
			if err != nil || s.Kind != discoro.ComputationScheduled {
				return nil, errors.Join(err, errors.New("first came "+s.String()))
			}
			_, err = comp.Servers(c)
			return nil, errors.Join(err, comp.WaitServers(c, 1))
		})
		comp, err := discoro.NewComputation(sched.Runtime, discoro.ComputationConfig{Status: status})
		if err != nil {
			return err
		}
		caller := sched.Spawn("caller", func(c *discoro.Coro) (any, error) { return nil, comp.Schedule(c) })
		return errors.Join(caller.Wait(ctx), status.Wait(ctx), comp.Close(ctx))
	})
}

// TestWaitServersInQueue waits for the servers of computations in the queue, also right after
// NewRemoteCoroScheduler has queued them.
func TestWaitServersInQueue(t *testing.T) {
	t.Parallel()
	onCluster(t, func(ctx context.Context, sched *discoro.Scheduler) error {
		var before *discoro.Computation
		for range 2 {
			comp, err := discoro.NewComputation(sched.Runtime)
			if err != nil {
				return err
			}
			if err := comp.WaitServers(ctx, 1); !errors.Is(err, discoro.ErrClosed) {
				t.Errorf("before Schedule: %v", err)
			}
			if _, err := discoro.NewRemoteCoroScheduler(comp); err != nil {
				return err
			}
			if err := comp.Schedule(ctx); !errors.Is(err, discoro.ErrExists) {
				t.Errorf("scheduled twice: %v", err)
			}
			waited := sched.Spawn("wait", func(c *discoro.Coro) (any, error) { return nil, comp.WaitServers(c, 1) })
			if before != nil {
				if err := before.Close(ctx); err != nil {
					return err
				}
			}
			if err := waited.Wait(ctx); err != nil {
				return err
			}
			before = comp
		}
		return before.Close(ctx)
	})
}

// TestWaitServersOfQueuedEnds closes a computation in the queue during a wait for its servers.
func TestWaitServersOfQueuedEnds(t *testing.T) {
	t.Parallel()
	onCluster(t, func(ctx context.Context, sched *discoro.Scheduler) error {
		active, err := discoro.NewComputation(sched.Runtime)
		if err != nil {
			return err
		}
		if err := active.Schedule(ctx); err != nil {
			return err
		}
		queued, err := discoro.NewComputation(sched.Runtime)
		if err != nil {
			return err
		}
		scheduled := sched.Spawn("schedule", func(c *discoro.Coro) (any, error) { return nil, queued.Schedule(c) })
		waited := sched.Spawn("wait", func(c *discoro.Coro) (any, error) { return nil, queued.WaitServers(c, 1) })
		live.UntilWaiting(t, sched.Runtime, scheduled)
		live.UntilWaiting(t, sched.Runtime, waited)
		if err := queued.Close(ctx); err != nil {
			return err
		}
		for _, c := range []*discoro.Coro{scheduled, waited} {
			if err := c.Wait(ctx); !errors.Is(err, discoro.ErrClosed) {
				t.Errorf("%s: %v", c.Name(), err)
			}
		}
		return active.Close(ctx)
	})
}

// TestRunNowhere runs a function at places that do not exist, and at every server of a computation
// that is not active. Nothing starts, and an error says why.
func TestRunNowhere(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1})
	comp := c.computation(1)
	for _, where := range []discoro.Place{discoro.NodeAddr(""), discoro.Location{}, discoro.Location{Addr: c.node.Location().Addr}, discoro.NodeAddr("nobody")} {
		if _, err := comp.RunAt(c.ctx, where, double.With(1)); !errors.Is(err, discoro.ErrNotFound) {
			t.Errorf("run at %#v: %v", where, err)
		}
	}
	if _, err := comp.RunNodeServers(c.ctx, "", double.With(1)); !errors.Is(err, discoro.ErrNotFound) {
		t.Errorf("run at every server of no node: %v", err)
	}
	unscheduled, err := discoro.NewComputation(c.sched.Runtime)
	if err != nil {
		t.Fatal(err)
	}
	if err := comp.Close(c.ctx); err != nil {
		t.Fatal(err)
	}
	for _, comp := range []*discoro.Computation{unscheduled, comp} {
		_, nodes := comp.RunNodes(c.ctx, double.With(1))
		_, servers := comp.RunServers(c.ctx, double.With(1))
		_, ofNode := comp.RunNodeServers(c.ctx, c.node.Location().String(), double.With(1))
		for _, err := range []error{nodes, servers, ofNode} {
			if !errors.Is(err, discoro.ErrClosed) {
				t.Errorf("run without a turn: %v", err)
			}
		}
	}
}
