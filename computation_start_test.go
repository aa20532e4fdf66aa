package discoro_test

import (
	"context"
	"errors"
	"testing"

	"github.com/discoro/discoro"
)

// TestScheduledMeansUsable has a status coroutine use the computation as soon as it hears that the turn has come: that is before
// Schedule has returned, as both are coroutines of one runtime.
func TestScheduledMeansUsable(t *testing.T) {
	t.Parallel()
	err := onCluster(t.Context(), 1, func(ctx context.Context, sched *discoro.Scheduler, _ *discoro.Node) error {
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
	if err != nil {
		t.Error(err)
	}
}

// TestWaitServersInQueue waits for servers of computations whose turn is still to come: what NewRemoteCoroScheduler has queued
// counts at once.
func TestWaitServersInQueue(t *testing.T) {
	t.Parallel()
	err := onCluster(t.Context(), 1, func(ctx context.Context, sched *discoro.Scheduler, _ *discoro.Node) error {
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
	if err != nil {
		t.Error(err)
	}
}

// TestWaitServersOfQueuedEnds closes a computation in the queue while somebody waits for its servers.
func TestWaitServersOfQueuedEnds(t *testing.T) {
	t.Parallel()
	err := onCluster(t.Context(), 1, func(ctx context.Context, sched *discoro.Scheduler, _ *discoro.Node) error {
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
		untilWaiting(t, sched.Runtime, scheduled)
		untilWaiting(t, sched.Runtime, waited)
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
	if err != nil {
		t.Error(err)
	}
}
