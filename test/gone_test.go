package test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/discoro/discoro"
)

// TestSchedulerGone closes the scheduler of a client in another runtime, and of one in its own.
func TestSchedulerGone(t *testing.T) {
	t.Parallel()
	for _, own := range []bool{false, true} {
		t.Run(fmt.Sprintf("own=%v", own), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, discoro.NodeConfig{Servers: 1})
			var comp *discoro.Computation
			want := discoro.ErrDisconnected
			if own {
				comp, want = c.computation(1), discoro.ErrClosed
			} else {
				_, comp = c.client(1)
			}
			waits := make(chan error, 2)
			go func() { waits <- comp.WaitServers(c.ctx, 5) }()
			go func() {
				co, err := comp.Run(c.ctx, faultNap.With(3600_000))
				if err == nil {
					err = co.Wait(c.ctx)
				}
				waits <- err
			}()
			port := c.sched.Location().Port
			if err := c.sched.Close(); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := <-waits; err == nil || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a wait ended with %v", err)
				}
			}
			if _, err := comp.Run(c.ctx, double.With(1)); !errors.Is(err, want) {
				t.Errorf("a run without a scheduler: %v", err)
			}
			if err := comp.Close(c.ctx); err != nil {
				t.Errorf("close: %v", err)
			}
			// The node is free, and connects to the next scheduler at that location.
			next, err := discoro.NewScheduler(discoro.SchedulerConfig{Config: discoro.Config{TCPPort: port}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { closeIn(t, "second scheduler", next.Close) })
			c.sched = next
			if n := clusterRunAt(c, c.computation(1), discoro.NodeAddr(c.node.Location().String()), double.With(2)); n != 4 {
				t.Errorf("%d", n)
			}
		})
	}
}

// TestClientGone ends a client that has not closed its computation. The next one of the queue gets
// the servers.
func TestClientGone(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 2})
	first, comp := c.client(2)
	if _, err := comp.Run(c.ctx, faultNap.With(3600_000)); err != nil {
		t.Fatal(err)
	}
	second, err := discoro.NewComputation(c.newClient())
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(c.ctx, 50*time.Millisecond)
	defer cancel()
	third, err := discoro.NewComputation(c.sched.Runtime)
	if err != nil {
		t.Fatal(err)
	}
	if err := third.Schedule(short); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "queue") {
		t.Errorf("scheduled behind another: %v", err)
	}
	scheduled := make(chan error, 1)
	go func() { scheduled <- second.Schedule(c.ctx, c.sched.Location()) }()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-scheduled; err != nil {
		t.Fatal(err)
	}
	if err := second.WaitServers(c.ctx, 2); err != nil {
		t.Fatal(err)
	}
	if err := second.Close(c.ctx); err != nil {
		t.Error(err)
	}
}

// TestNodeGoes closes one of two nodes in the middle of a map. What it ran is run again at the
// other one.
func TestNodeGoes(t *testing.T) {
	t.Parallel()
	for _, processes := range []bool{false, true} {
		t.Run(fmt.Sprintf("processes=%v", processes), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, discoro.NodeConfig{Servers: 1})
			other, err := discoro.NewNode(discoro.NodeConfig{
				Config: discoro.Config{Peers: []string{c.sched.Location().String()}}, Servers: 1, Processes: processes,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { closeIn(t, "other node", other.Close) })
			comp := c.computation(2)
			rcs, err := discoro.NewRemoteCoroScheduler(comp, discoro.RCSConfig{Retries: 1})
			if err != nil {
				t.Fatal(err)
			}
			seen, again := 0, 0
			for out := range discoro.AsCompleted(c.ctx, rcs, faultNap, slices.Values(slices.Repeat([]int{20}, 30))) {
				if out.Err != nil {
					t.Fatalf("item %d: %v", out.Index, out.Err)
				}
				if out.Attempts > 1 {
					again++
				}
				if seen++; seen == 5 {
					go func() { _ = other.Close() }()
				}
			}
			if seen != 30 || again > 1 {
				t.Errorf("%d results, %d of them run again", seen, again)
			}
			if err := rcs.Finish(c.ctx, true); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSharedNode lets two schedulers ask for the same node.
func TestSharedNode(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1})
	other, err := discoro.NewScheduler()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIn(t, "other scheduler", other.Close) })
	node, err := discoro.NewNode(discoro.NodeConfig{Servers: 1, Config: discoro.Config{
		Peers: []string{c.sched.Location().String(), other.Location().String()},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIn(t, "shared node", node.Close) })
	first := c.computation(2)
	second, err := discoro.NewComputation(other.Runtime)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Schedule(c.ctx); err != nil {
		t.Fatal(err)
	}
	c.poll("the reason", func() bool { return strings.Contains(c.reason(second), "it serves another computation") })
	if err := first.Close(c.ctx); err != nil {
		t.Fatal(err)
	}
	if err := second.WaitServers(c.ctx, 1); err != nil {
		t.Fatal(err)
	}
	if err := second.Close(c.ctx); err != nil {
		t.Error(err)
	}
}
