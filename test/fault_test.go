package test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/testkit"
)

// Functions that fail in every way.
var (
	faultPid = discoro.Register("fault.pid", func(*discoro.Coro, discoro.None) (int, error) { return os.Getpid(), nil })
	// faultNap sleeps for that many milliseconds and returns the number.
	faultNap = discoro.Register("fault.nap", func(c *discoro.Coro, ms int) (int, error) {
		return ms, c.Sleep(time.Duration(ms) * time.Millisecond)
	})
	// faultKillAt kills its server if the item is that one, and otherwise returns the item.
	faultKillAt = discoro.Register("fault.killAt", func(_ *discoro.Coro, item [2]int) (int, error) {
		if item[0] == item[1] {
			if err := testkit.Kill(os.Getpid()); err != nil {
				return 0, err
			}
			select {}
		}
		return item[0], nil
	})
	faultEnd = discoro.Register("fault.end", func(c *discoro.Coro, how string) (int, error) {
		switch how {
		case "exit":
			os.Exit(3)
		case "goexit":
			runtime.Goexit()
		case "panic":
			panic("ouch")
		case "error":
			return 0, fmt.Errorf("at work: %w", errBoom)
		}
		msg, err := c.Receive()
		if r, ok := msg.(*discoro.Request); ok {
			err = r.Reply(true) // from now on
		}
		for n := 0; err == nil; n++ { // it neither yields nor returns
			faultSpins = n
		}
		return 0, err
	})
)

// faultSpins keeps a processor busy.
var faultSpins int

func TestKillServerWithRetries(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 2, Processes: true})
	comp := c.computation(2)
	rcs, err := discoro.NewRemoteCoroScheduler(comp, discoro.RCSConfig{Retries: 3})
	if err != nil {
		t.Fatal(err)
	}
	before, err := comp.Servers(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	pid := clusterRunAt(c, comp, before[0], faultPid.With(discoro.None{}))
	const items = 200
	seen := map[int]int{}
	attempts := 0
	for out := range discoro.AsCompleted(c.ctx, rcs, faultNap, slices.Values(slices.Repeat([]int{5}, items))) {
		if out.Err != nil || out.Value != 5 {
			t.Fatalf("item %d: %d, %v", out.Index, out.Value, out.Err)
		}
		seen[out.Index]++
		attempts += out.Attempts
		if len(seen) == 20 {
			if err := testkit.Kill(pid); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range items {
		if seen[i] != 1 {
			t.Errorf("item %d came %d times", i, seen[i])
		}
	}
	if attempts != items && attempts != items+1 {
		t.Errorf("%d attempts, want %d and at most the one that was lost", attempts, items)
	}
	if err := comp.WaitServers(c.ctx, 2); err != nil {
		t.Fatal(err)
	}
	after, err := comp.Servers(c.ctx)
	if err != nil || slices.Contains(after, before[0]) || !slices.Contains(after, before[1]) {
		t.Errorf("servers %v, %v; before the kill %v", after, err, before)
	}
	if err := rcs.Finish(c.ctx, true); err != nil {
		t.Error(err)
	}
}

// TestLostServerTellsHow lets a server process exit. The node's log has the exit status, although
// the link ends first.
func TestLostServerTellsHow(t *testing.T) {
	t.Parallel()
	var log testkit.Log
	cfg := discoro.NodeConfig{Servers: 1, Processes: true}
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	c := newCluster(t, cfg)
	comp := c.computation(1)
	co, err := comp.Run(c.ctx, faultEnd.With("exit"))
	if err == nil {
		err = co.Wait(c.ctx)
	}
	var lost *discoro.ServerLostError
	if !errors.As(err, &lost) {
		t.Errorf("the job ended with %v", err)
	}
	c.poll("the exit status in the log", func() bool { return strings.Contains(log.String(), "exit status 3") })
}

// clusterRunAt runs a task at a server and returns its result.
func clusterRunAt[R any](c *cluster, comp *discoro.Computation, at discoro.Place, task discoro.Call[R]) R {
	c.Helper()
	co, err := comp.RunAt(c.ctx, at, task)
	if err != nil {
		c.Fatal(err)
	}
	v, err := discoro.Result[R](c.ctx, co)
	if err != nil {
		c.Fatal(err)
	}
	return v
}

func TestKillServerWithoutRetries(t *testing.T) {
	t.Parallel()
	for _, retries := range []int{0, 2} {
		t.Run(fmt.Sprintf("retries=%d", retries), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, discoro.NodeConfig{Servers: 2, Processes: true})
			comp, err := discoro.NewComputation(c.sched.Runtime)
			if err != nil {
				t.Fatal(err)
			}
			rcs, err := discoro.NewRemoteCoroScheduler(comp, discoro.RCSConfig{Retries: retries})
			if err != nil {
				t.Fatal(err)
			}
			const bad = 7
			args := make([][2]int, 30)
			for i := range args {
				args[i] = [2]int{i, bad}
			}
			results, err := discoro.MapResults(c.ctx, rcs, faultKillAt, slices.Values(args))
			for i, v := range results {
				if i != bad && v != i {
					t.Errorf("item %d gave %d", i, v)
				}
			}
			var lost *discoro.ServerLostError
			if !errors.As(err, &lost) || lost.Func != "fault.killAt" || lost.Server.IsZero() || len(results) != len(args) {
				t.Fatalf("%d results, %v", len(results), err)
			}
			if text := err.Error(); !strings.Contains(text, "item 7") || strings.Count(text, "item") != 1 ||
				strings.Contains(text, "given up after 3 attempts") != (retries > 0) {
				t.Errorf("the error must name item 7 alone, and how often it was tried: %v", text)
			}
			if err := rcs.Finish(c.ctx, true); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEnds(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1, Processes: true})
	comp := c.computation(1)
	for _, test := range []struct {
		how      string
		is       error // nil: see as
		as       any
		says     string
		replaced bool
	}{
		{how: "error", is: errBoom, as: new(*discoro.RemoteError), says: "fault.end at "},
		{how: "panic", as: new(*discoro.PanicError), says: "ouch"},
		{how: "goexit", says: "runtime.Goexit"},
		{how: "exit", is: discoro.ErrDisconnected, as: new(*discoro.ServerLostError), replaced: true},
		{how: "spin", is: discoro.ErrTerminated, replaced: true},
	} {
		server := c.server(comp)
		co, err := comp.Run(c.ctx, faultEnd.With(test.how))
		if err == nil && test.how == "spin" {
			if _, err = discoro.Ask[bool](c.ctx, co, nil); err == nil {
				err = co.Terminate()
			}
		}
		if err == nil { // otherwise the process ended before it reported that the job had started
			err = co.Wait(c.ctx)
		}
		switch {
		case err == nil, test.is != nil && !errors.Is(err, test.is), test.as != nil && !errors.As(err, test.as), !strings.Contains(err.Error(), test.says):
			t.Errorf("%s: %#v %v", test.how, err, err)
		}
		if test.replaced {
			c.awaitOther(comp, server)
		}
		if n := clusterRunAt(c, comp, c.server(comp), double.With(4)); n != 8 {
			t.Errorf("after %s: %d", test.how, n)
		}
		if now := c.server(comp); now != server && !test.replaced {
			t.Errorf("after %s the server is %v, and was %v", test.how, now, server)
		}
	}
	if err := comp.Close(c.ctx); err != nil {
		t.Error(err)
	}
}

// server waits for the only server of the computation.
func (c *cluster) server(comp *discoro.Computation) discoro.Location {
	c.Helper()
	if err := comp.WaitServers(c.ctx, 1); err != nil {
		c.Fatal(err)
	}
	servers, err := comp.Servers(c.ctx)
	if err != nil || len(servers) != 1 {
		c.Fatalf("servers %v, %v", servers, err)
	}
	return servers[0]
}

// awaitOther waits until another server has replaced server.
func (c *cluster) awaitOther(comp *discoro.Computation, server discoro.Location) {
	c.Helper()
	c.poll("a fresh server", func() bool {
		servers, err := comp.Servers(c.ctx)
		return err == nil && len(servers) == 1 && servers[0] != server
	})
}

// poll waits until ok returns true. It is for conditions that have no channel to wait on.
func (c *cluster) poll(what string, ok func() bool) {
	c.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			c.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestNoNode(t *testing.T) {
	t.Parallel()
	sched, err := discoro.NewScheduler()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIn(t, "scheduler", sched.Close) })
	comp, err := discoro.NewComputation(sched.Runtime)
	if err != nil {
		t.Fatal(err)
	}
	if err := comp.Schedule(t.Context()); err != nil {
		t.Fatal(err)
	}
	rcs, err := discoro.NewRemoteCoroScheduler(comp)
	if err != nil {
		t.Fatal(err)
	}
	for name, wait := range map[string]func(ctx context.Context) error{
		"WaitServers": func(ctx context.Context) error { return comp.WaitServers(ctx, 1) },
		"Run":         func(ctx context.Context) error { _, err := comp.Run(ctx, double.With(1)); return err },
		"RCS.Schedule": func(ctx context.Context) error {
			_, err := rcs.Schedule(ctx, double.With(1))
			return err
		},
		"Execute": func(ctx context.Context) error { _, err := discoro.Execute(ctx, rcs, double.With(1)); return err },
		"MapResults": func(ctx context.Context) error {
			_, err := discoro.MapResults(ctx, rcs, double, slices.Values([]int{1}))
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		err := wait(ctx)
		cancel()
		if !errors.Is(err, discoro.ErrNoServer) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no node is known") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := rcs.Finish(t.Context(), true); err != nil {
		t.Error(err)
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1})
	comp := c.computation(1)
	_, err := comp.Run(c.ctx, discoro.Named("test.double", make(chan int)))
	if err == nil || !strings.Contains(err.Error(), "argument of test.double") {
		t.Errorf("an argument that cannot travel: %v", err)
	}
	_, err = comp.Run(c.ctx, discoro.Call[int]{})
	if err == nil {
		t.Error("an empty call was run")
	}
	_, err = comp.RunAt(c.ctx, nil, double.With(1))
	if err == nil {
		t.Error("a run at no place")
	}
	_, err = comp.RunAt(c.ctx, discoro.NodeAddr("nobody:1"), double.With(1))
	if !errors.Is(err, discoro.ErrNotFound) {
		t.Errorf("a run at an unknown node: %v", err)
	}
	_, err = discoro.NewScheduler(discoro.SchedulerConfig{Config: discoro.Config{TCPPort: c.sched.Location().Port}})
	if !errors.Is(err, syscall.EADDRINUSE) || strings.Contains(err.Error(), "\n") {
		t.Errorf("a port in use: %v", err)
	}
	if err := comp.Schedule(c.ctx); !errors.Is(err, discoro.ErrExists) {
		t.Errorf("scheduled twice: %v", err)
	}
	if err := comp.Close(c.ctx); err != nil {
		t.Error(err)
	}
	if _, err := comp.Run(c.ctx, double.With(1)); !errors.Is(err, discoro.ErrClosed) {
		t.Errorf("a run after Close: %v", err)
	}
	fresh, err := discoro.NewComputation(c.newClient())
	if err != nil {
		t.Fatal(err)
	}
	if err := fresh.Schedule(c.ctx, c.node.Location()); !errors.Is(err, discoro.ErrNotFound) {
		t.Errorf("scheduled at a node: %v", err)
	}
}

// newClient starts a runtime for a client.
func (c *cluster) newClient() *discoro.Runtime {
	c.Helper()
	rt, err := discoro.NewRuntime()
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { closeIn(c.T, "client", rt.Close) })
	return rt
}

// client starts a client of the cluster's scheduler in a runtime of its own, and schedules a
// computation.
func (c *cluster) client(servers int) (*discoro.Runtime, *discoro.Computation) {
	c.Helper()
	rt := c.newClient()
	comp, err := discoro.NewComputation(rt)
	if err != nil {
		c.Fatal(err)
	}
	if err := comp.Schedule(c.ctx, c.sched.Location()); err != nil {
		c.Fatal(err)
	}
	if err := comp.WaitServers(c.ctx, servers); err != nil {
		c.Fatal(err)
	}
	return rt, comp
}

func TestCloseEndsJobs(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 2})
	comp := c.computation(2)
	var coros []*discoro.Coro
	for range 10 {
		co, err := comp.Run(c.ctx, faultNap.With(3600_000))
		if err != nil {
			t.Fatal(err)
		}
		coros = append(coros, co)
	}
	if err := comp.Close(c.ctx); err != nil {
		t.Fatal(err)
	}
	for _, co := range coros {
		if err := co.Wait(c.ctx); !errors.Is(err, discoro.ErrTerminated) {
			t.Errorf("%v ended with %v", co, err)
		}
	}
}

// reason returns why the computation has no server now.
func (c *cluster) reason(comp *discoro.Computation) string {
	ctx, cancel := context.WithTimeout(c.ctx, 10*time.Millisecond)
	defer cancel()
	if err := comp.WaitServers(ctx, 1); err != nil {
		return err.Error()
	}
	return ""
}
