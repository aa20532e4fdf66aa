package test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/stopwatch"
)

// TestCorosSayWhatTheyWaitFor lets coroutines wait in the methods of roles and channels. The
// listing names each wait.
func TestCorosSayWhatTheyWaitFor(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1})
	rt := c.sched.Runtime
	comp := c.computation(1)
	waits, err := discoro.NewComputation(rt)
	if err != nil {
		t.Fatal(err)
	}
	ch, err := rt.NewChannel("news")
	if err != nil {
		t.Fatal(err)
	}
	nap, err := comp.Run(c.ctx, faultNap.With(3600_000))
	if err != nil {
		t.Fatal(err)
	}
	for state, wait := range map[string]func(ctx context.Context) error{
		"Schedule":    func(ctx context.Context) error { return waits.Schedule(ctx) },
		"WaitServers": func(ctx context.Context) error { return comp.WaitServers(ctx, 100) },
		"Deliver":     func(ctx context.Context) error { _, err := ch.Deliver(ctx, 1, 100); return err },
		"Drain":       c.node.Drain, // comes last, as it changes the node
	} {
		w := rt.Spawn(state, func(co *discoro.Coro) (any, error) { return nil, wait(co) })
		c.poll(state, func() bool {
			for _, s := range rt.Coros() {
				if s.Coro == w && s.State != "running" && s.State != "ready" {
					if s.State != state {
						t.Errorf("%s: it is in %q", state, s.State)
					}
					return true
				}
			}
			return false
		})
		_ = w.Terminate()
		if err := w.Wait(c.ctx); !errors.Is(err, discoro.ErrTerminated) {
			t.Errorf("%s: %v", state, err)
		}
	}
	if err := nap.Terminate(); err != nil {
		t.Fatal(err)
	}
}

var closesNode = discoro.Register("review.closesNode", func(c *discoro.Coro, _ discoro.None) ([]string, error) {
	node := nodeToClose
	var errs []string
	for _, f := range []func() error{
		node.Close,
		func() error { return node.Drain(c) },
		func() error { return c.Blocking(node.Close) },
	} {
		if err := f(); err != nil {
			errs = append(errs, err.Error())
		}
	}
	return errs, nil
})

var nodeToClose *discoro.Node

// TestNodeClosedByItsServers closes a node in a coroutine of its server in the same process, which
// is refused at once.
func TestNodeClosedByItsServers(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1})
	nodeToClose = c.node
	comp := c.computation(1)
	job, err := comp.Run(c.ctx, closesNode.With(discoro.None{}))
	if err != nil {
		t.Fatal(err)
	}
	watch := stopwatch.Start(t)
	errs, err := discoro.Result[[]string](c.ctx, job)
	if err != nil || len(errs) != 3 {
		t.Errorf("%q, %v", errs, err)
	}
	watch.Within("it", 3*time.Second)
	if err := comp.Close(c.ctx); err != nil {
		t.Fatal(err)
	}
}

// TestWaitNamesTheCoroutine ends the context of waits for coroutines of this and of another
// runtime. The error names the coroutine.
func TestWaitNamesTheCoroutine(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1})
	rt, comp := c.sched.Runtime, c.computation(1)
	job, err := comp.Run(c.ctx, faultNap.With(3600_000))
	if err != nil {
		t.Fatal(err)
	}
	local := rt.Spawn("sleeper", func(co *discoro.Coro) (any, error) { return nil, co.Sleep(time.Hour) })
	if err := local.Register("sleeper"); err != nil {
		t.Fatal(err)
	}
	elsewhere, err := c.newClient().Locate(c.ctx, "sleeper", rt.Location())
	if err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithDeadline(c.ctx, time.Now())
	defer cancel()
	for _, co := range []*discoro.Coro{job, local, elsewhere} {
		_, err := discoro.Result[int](over, co)
		for _, err := range []error{err, co.Wait(over)} {
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "wait for "+co.String()) {
				t.Errorf("%v: %v", co, err)
			}
		}
	}
}
