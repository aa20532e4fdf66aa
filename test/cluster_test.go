package test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/testkit"
)

// cluster is a private scheduler and a node, for one test.
type cluster struct {
	*testing.T
	sched *discoro.Scheduler
	node  *discoro.Node
	ctx   context.Context
}

// newCluster starts a scheduler and a node. Both close when the test ends.
func newCluster(t *testing.T, cfg discoro.NodeConfig) *cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	sched, err := discoro.NewScheduler(discoro.SchedulerConfig{Config: cfg.Config})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIn(t, "scheduler", sched.Close) })
	cfg.Peers = []string{sched.Location().String()}
	node, err := discoro.NewNode(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIn(t, "node", node.Close) })
	return &cluster{T: t, sched: sched, node: node, ctx: ctx}
}

// closeIn closes a role, and logs how long that took.
func closeIn(t *testing.T, what string, f func() error) {
	t.Helper()
	start := time.Now()
	if err := f(); err != nil {
		t.Errorf("close the %s: %v", what, err)
	}
	t.Logf("closing the %s took %v", what, time.Since(start))
}

// computation returns a scheduled computation with all the node's servers.
func (c *cluster) computation(servers int, cfg ...discoro.ComputationConfig) *discoro.Computation {
	c.Helper()
	comp, err := discoro.NewComputation(c.sched.Runtime, cfg...)
	if err != nil {
		c.Fatal(err)
	}
	if err := comp.Schedule(c.ctx); err != nil {
		c.Fatal(err)
	}
	if err := comp.WaitServers(c.ctx, servers); err != nil {
		c.Fatal(err)
	}
	return comp
}

var (
	double = discoro.Register("test.double", func(_ *discoro.Coro, n int) (int, error) { return 2 * n, nil })
	fails  = discoro.Register("test.fails", func(_ *discoro.Coro, msg string) (discoro.None, error) {
		return discoro.None{}, fmt.Errorf("%s: %w", msg, errBoom)
	})
	failsBare = discoro.Register("test.fails-bare", func(*discoro.Coro, discoro.None) (discoro.None, error) {
		return discoro.None{}, errBoom
	})
	panics = discoro.Register("test.panics", func(_ *discoro.Coro, msg string) (int, error) { panic(msg) })
)

var errBoom = errors.New("boom")

func init() { discoro.RegisterError("test.boom", errBoom) }

func TestRunAndResult(t *testing.T) {
	for _, processes := range []bool{false, true} {
		t.Run(fmt.Sprintf("processes=%v", processes), func(t *testing.T) {
			c := newCluster(t, discoro.NodeConfig{Servers: 2, Processes: processes})
			comp := c.computation(2)
			co, err := comp.Run(c.ctx, double.With(21))
			if err != nil {
				t.Fatal(err)
			}
			if n, err := discoro.Result[int](c.ctx, co); n != 42 || err != nil {
				t.Fatalf("result %d, %v; want 42", n, err)
			}
			if err := comp.Close(c.ctx); err != nil {
				t.Fatal(err)
			}
		})
	}
}

var logs = discoro.Register("test.logs", func(c *discoro.Coro, msg string) (discoro.None, error) {
	c.Logger().Info(msg)
	return discoro.None{}, nil
})

// TestLoggerOfARun checks the attributes in the log of a run's coroutine.
func TestLoggerOfARun(t *testing.T) {
	t.Parallel()
	var out testkit.Log
	c := newCluster(t, discoro.NodeConfig{Config: discoro.Config{Logger: slog.New(slog.NewTextHandler(&out, nil))}, Servers: 1})
	co, err := c.computation(1).Run(c.ctx, logs.With("hello"))
	if err == nil {
		err = co.Wait(c.ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`msg=hello coro=%s func=test\.logs server=%s computation=[0-9a-f]{8}\n`,
		regexp.QuoteMeta(co.String()), regexp.QuoteMeta(co.Location().String()))
	if !regexp.MustCompile(want).MatchString(out.String()) {
		t.Errorf("the log has no %s:\n%s", want, out.String())
	}
}

func TestMapResults(t *testing.T) {
	c := newCluster(t, discoro.NodeConfig{Servers: 2, Processes: true})
	comp, err := discoro.NewComputation(c.sched.Runtime)
	if err != nil {
		t.Fatal(err)
	}
	rcs, err := discoro.NewRemoteCoroScheduler(comp)
	if err != nil {
		t.Fatal(err)
	}
	args := make([]int, 1000)
	want := make([]int, len(args))
	for i := range args {
		args[i], want[i] = i, 2*i
	}
	got, err := discoro.MapResults(c.ctx, rcs, double, slices.Values(args))
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("%v, %v", got, err)
	}
	if err := rcs.Finish(c.ctx, true); err != nil {
		t.Fatal(err)
	}
}

func TestFailuresReachTheClient(t *testing.T) {
	c := newCluster(t, discoro.NodeConfig{Servers: 1})
	comp := c.computation(1)
	wait := func(task discoro.Task) error {
		co, err := comp.Run(c.ctx, task)
		if err != nil {
			return err
		}
		return co.Wait(c.ctx)
	}
	err := wait(fails.With("it went"))
	var remote *discoro.RemoteError
	if !errors.As(err, &remote) || !errors.Is(err, errBoom) || remote.Func != "test.fails" || remote.Location != c.node.Servers()[0] {
		t.Errorf("a failing function: %#v", err)
	}
	err = wait(failsBare.With(discoro.None{}))
	if !errors.As(err, &remote) || !errors.Is(err, errBoom) || remote.Func != "test.fails-bare" || remote.Location.IsZero() {
		t.Errorf("a function that returns a registered error itself: %#v", err)
	}
	err = wait(panics.With("ouch"))
	var p *discoro.PanicError
	if !errors.As(err, &p) || p.Value != "ouch" || !strings.Contains(p.Stack, "cluster_test.go") || strings.Contains(p.Stack, "iter.Pull") {
		t.Errorf("a panicking function: %#v", err)
	}
	err = wait(discoro.Named("test.dobule", 3))
	if !errors.Is(err, discoro.ErrNotRegistered) || !strings.Contains(err.Error(), "test.double") {
		t.Errorf("an unknown function: %v", err)
	}
	err = wait(discoro.Named("test.double", "three"))
	if !errors.Is(err, discoro.ErrType) || !strings.Contains(err.Error(), "test.double") {
		t.Errorf("a wrong argument: %v", err)
	}
}
