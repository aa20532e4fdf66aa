package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/internal/testkit/live"
)

// promiseNote writes a file when the run with that number starts, sleeps, waits for the test if it
// shall, and returns the number.
var promiseNote = discoro.Register("promise.note", func(c *discoro.Coro, run promiseRun) (int, error) {
	f, err := os.OpenFile(filepath.Join(run.Dir, fmt.Sprint(run.N)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	if _, err := f.WriteString("ran\n"); err != nil {
		return 0, err
	}
	if err := f.Close(); err != nil {
		return 0, err
	}
	for {
		if err := c.Sleep(time.Duration(run.MS) * time.Millisecond); err != nil || !run.Waits {
			return run.N, err
		}
		if _, err := os.Stat(filepath.Join(run.Dir, promiseGoOn)); err == nil {
			return run.N, nil
		}
	}
})

type promiseRun struct {
	Dir   string
	N, MS int
	Waits bool
}

// promiseGoOn is the file that such runs wait for.
const promiseGoOn = "go on"

// endLog collects the ends that a status coroutine and watchers receive.
type endLog struct {
	mu   sync.Mutex // guards following; leaf
	ends map[*discoro.Coro][]error
	over chan struct{} // closed when the computation is
}

// watcher spawns a coroutine that records each Exit.
func (l *endLog) watcher(rt *discoro.Runtime) *discoro.Coro {
	l.ends, l.over = map[*discoro.Coro][]error{}, make(chan struct{})
	return rt.Spawn("ends", func(c *discoro.Coro) (any, error) {
		for {
			msg, err := c.Receive()
			if err != nil {
				return nil, err
			}
			switch m := msg.(type) {
			case discoro.Exit:
				l.mu.Lock()
				l.ends[m.Coro] = append(l.ends[m.Coro], m.Err)
				l.mu.Unlock()
			case discoro.Status:
				if m.Kind == discoro.ComputationClosed {
					close(l.over)
				}
			}
		}
	})
}

// of returns the ends of one coroutine.
func (l *endLog) of(c *discoro.Coro) []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ends[c]
}

func (l *endLog) count() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ends := range l.ends {
		n += len(ends)
	}
	return n
}

// TestPromise06RunsEndOnce: every Run ends exactly once, and no coroutine runs twice.
func TestPromise06RunsEndOnce(t *testing.T) {
	t.Parallel()
	t.Run("every end", runsEndOnce)
	t.Run("kill in the middle", killInTheMiddle)
}

// runsEndOnce goes through every end of a run. Wait, Result, the monitor and the status coroutine
// receive the same outcome, each of them once.
func runsEndOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1, Processes: true})
	var status, monitors endLog
	comp := c.computation(1, discoro.ComputationConfig{Status: status.watcher(c.sched.Runtime)})
	watcher := monitors.watcher(c.sched.Runtime)
	runs := 0
	for _, tt := range []struct {
		name string
		task discoro.Task
		act  func(co *discoro.Coro) error // after it has started
		is   error
		as   any
	}{
		{name: "result", task: double.With(2)},
		{name: "error", task: faultEnd.With("error"), is: errBoom, as: new(*discoro.RemoteError)},
		{name: "panic", task: faultEnd.With("panic"), as: new(*discoro.PanicError)},
		{name: "Goexit", task: faultEnd.With("goexit")},
		{name: "terminated", task: faultNap.With(3600_000), act: (*discoro.Coro).Terminate, is: discoro.ErrTerminated},
		{name: "server lost", task: faultNap.With(3600_000), as: new(*discoro.ServerLostError), is: discoro.ErrDisconnected, act: func(co *discoro.Coro) error {
			pid := clusterRunAt(c, comp, co.Location(), faultPid.With(discoro.None{}))
			runs++
			return testkit.Kill(pid)
		}},
		{name: "computation closed", task: faultNap.With(3600_000), is: discoro.ErrTerminated, act: func(*discoro.Coro) error {
			return comp.Close(c.ctx)
		}},
	} {
		co, err := comp.Run(c.ctx, tt.task)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		runs++
		if err := co.Monitor(c.ctx, watcher); err != nil {
			t.Fatal(err)
		}
		if tt.act != nil {
			if err := tt.act(co); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
		}
		ended := co.Wait(c.ctx)
		_, again := discoro.Result[any](c.ctx, co)
		c.poll("the monitor", func() bool { return len(monitors.of(co)) > 0 })
		c.poll("the status", func() bool { return len(status.of(co)) > 0 })
		for how, err := range map[string]error{"Wait": ended, "Result": again, "Monitor": monitors.of(co)[0], "Status": status.of(co)[0]} {
			failed := tt.name != "result"
			if failed != (err != nil) || tt.is != nil && !errors.Is(err, tt.is) || tt.as != nil && !errors.As(err, tt.as) {
				t.Errorf("%s: %s says %#v", tt.name, how, err)
			}
		}
	}
	testkit.Next(t, status.over)
	if n, m := status.count(), monitors.count(); n != runs || m != 7 {
		t.Errorf("%d ends were told to the status coroutine, of %d runs, and %d to monitors, of 7", n, runs, m)
	}
	// A run that never starts ends with the error of Run, and there is no coroutine to hear of.
	if _, err := comp.Run(c.ctx, double.With(1)); !errors.Is(err, discoro.ErrClosed) {
		t.Errorf("a run after the end: %v", err)
	}
}

// killInTheMiddle kills one of two server processes in the middle of 200 runs. They have 200 ends,
// and none of them ran twice.
func killInTheMiddle(t *testing.T) {
	t.Parallel()
	const runs = 200
	dir := t.TempDir()
	c := newCluster(t, discoro.NodeConfig{Servers: 2, Processes: true})
	var status, monitors endLog
	comp := c.computation(2, discoro.ComputationConfig{Status: status.watcher(c.sched.Runtime)})
	watcher := monitors.watcher(c.sched.Runtime)
	servers, err := comp.Servers(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	pid := clusterRunAt(c, comp, servers[0], faultPid.With(discoro.None{}))
	type end struct {
		n   int
		co  *discoro.Coro // nil: it has not started
		err error
	}
	ends := make(chan end, runs)
	var waiting atomic.Int32 // at the server that will be killed
	for n := range runs {
		go func() {
			co, err := comp.Run(c.ctx, promiseNote.With(promiseRun{dir, n, 20 + n%7*20, n >= runs/2}))
			if err == nil {
				if n >= runs/2 && co.Location() == servers[0] {
					waiting.Add(1)
				}
				if err = co.Monitor(c.ctx, watcher); err != nil {
					t.Error(err)
				}
				var v int
				if v, err = discoro.Result[int](c.ctx, co); err == nil && v != n {
					err = fmt.Errorf("run %d gave %d", n, v)
				}
			}
			ends <- end{n, co, err}
		}()
	}
	results, lost := 0, 0
	started := map[*discoro.Coro]bool{}
	for i := range runs {
		e := testkit.Next(t, ends)
		text, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(e.n)))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		ran := strings.Count(string(text), "ran\n")
		var gone *discoro.ServerLostError
		switch {
		case ran > 1:
			t.Errorf("run %d ran %d times", e.n, ran)
		case e.err == nil && ran == 1:
			results++
		case errors.As(e.err, &gone) && gone.Server == servers[0]:
			if lost++; lost == 1 {
				if err := os.WriteFile(filepath.Join(dir, promiseGoOn), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		default:
			t.Errorf("run %d, which ran %d times, ended with %v", e.n, ran, e.err)
		}
		if e.co != nil {
			if started[e.co] {
				t.Errorf("two runs have the coroutine %v", e.co)
			}
			started[e.co] = true
		}
		if i == 20 {
			c.poll("a run at the server that lasts until it is killed", func() bool { return waiting.Load() > 0 })
			if err := testkit.Kill(pid); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d results, %d lost with their server", results, lost)
	if results+lost != runs || lost == 0 {
		t.Errorf("%d results and %d lost runs of %d", results, lost, runs)
	}
	if err := comp.Close(c.ctx); err != nil {
		t.Error(err)
	}
	testkit.Next(t, status.over)
	c.poll("every monitor", func() bool { return monitors.count() >= len(started) })
	if n, m := status.count(), monitors.count(); n != len(started)+1 || m != len(started) {
		t.Errorf("%d ends were told to the status coroutine and %d to monitors, of %d runs that had started", n-1, m, len(started))
	}
	for co := range started {
		if n, m := len(status.of(co)), len(monitors.of(co)); n != 1 || m != 1 {
			t.Errorf("%v has %d ends in the status and %d at its monitor", co, n, m)
		}
	}
}

// TestMonitorOfEveryEnd: exactly one Exit for every way to end, for watchers in the same runtime
// and elsewhere. Those of one runtime with another are in TestEveryEnd's table; here are those that
// need a server process or a link.
func TestMonitorOfEveryEnd(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1, Processes: true})
	comp := c.computation(1)
	rt := c.sched.Runtime
	const monitors = 3 // each brings one exit
	type lostBy func(co *discoro.Coro) error
	var checks []func()
	peer := func() (*discoro.Runtime, *discoro.Coro) {
		other := live.Runtime(t)
		return other, other.Spawn("waits", func(c *discoro.Coro) (any, error) { return c.Receive() })
	}
	run := func() *discoro.Coro {
		co, err := comp.Run(c.ctx, faultNap.With(3600_000))
		if err != nil {
			t.Fatal(err)
		}
		return co
	}
	for _, tt := range []struct {
		name string
		make func() (co *discoro.Coro, act lostBy)
		is   error
		as   any
	}{
		{name: "server process killed", is: discoro.ErrDisconnected, as: new(*discoro.ServerLostError), make: func() (*discoro.Coro, lostBy) {
			return run(), func(co *discoro.Coro) error {
				return testkit.Kill(clusterRunAt(c, comp, co.Location(), faultPid.With(discoro.None{})))
			}
		}},
		{name: "run terminated", is: discoro.ErrTerminated, make: func() (*discoro.Coro, lostBy) { return run(), (*discoro.Coro).Terminate }},
		{name: "run gone already", is: discoro.ErrTerminated, make: func() (*discoro.Coro, lostBy) {
			co := run()
			live.Terminate(t, co)
			_ = co.Wait(c.ctx)
			return co, func(*discoro.Coro) error { return nil }
		}},
		{name: "link lost", is: discoro.ErrDisconnected, make: func() (*discoro.Coro, lostBy) {
			other, co := peer()
			return live.HandleAt(t, rt, co), func(*discoro.Coro) error { return rt.Disconnect(other.Location()) }
		}},
		{name: "runtime closed", is: discoro.ErrTerminated, make: func() (*discoro.Coro, lostBy) {
			other, co := peer()
			return live.HandleAt(t, rt, co), func(*discoro.Coro) error {
				if _, err := rt.Locate(c.ctx, "it", other.Location()); err != nil { // behind the monitors
					return err
				}
				return other.Close()
			}
		}},
		{name: "peer process killed", is: discoro.ErrDisconnected, make: func() (*discoro.Coro, lostBy) {
			p, at := live.StartPeer(t, 10*time.Second)
			co, err := rt.Locate(c.ctx, "echo", at)
			if err != nil {
				t.Fatal(err)
			}
			return co, func(*discoro.Coro) error { p.Kill(); return nil }
		}},
		{name: "runtime gone already", is: discoro.ErrDisconnected, make: func() (*discoro.Coro, lostBy) {
			other, co := peer()
			h := live.HandleAt(t, rt, co)
			if err := other.Close(); err != nil {
				t.Fatal(err)
			}
			return h, func(*discoro.Coro) error { return nil }
		}},
	} {
		co, act := tt.make()
		var log endLog
		watcher := log.watcher(rt)
		for range monitors {
			if err := co.Monitor(c.ctx, watcher); err != nil {
				t.Errorf("%s: Monitor: %v", tt.name, err)
			}
		}
		if err := act(co); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if tt.name == "server process killed" {
			if err := comp.WaitServers(c.ctx, 1); err != nil {
				t.Fatal(err)
			}
		}
		c.poll("the exits of "+tt.name, func() bool { return log.count() >= monitors })
		for _, err := range log.of(co) {
			if !errors.Is(err, tt.is) || tt.as != nil && !errors.As(err, tt.as) {
				t.Errorf("%s: an exit with %v", tt.name, err)
			}
		}
		checks = append(checks, func() {
			if n, of := log.count(), len(log.of(co)); n != monitors || of != monitors {
				t.Errorf("%s: %d exits, %d of them of that coroutine, for %d monitors", tt.name, n, of, monitors)
			}
		})
	}
	if err := comp.Close(c.ctx); err != nil {
		t.Error(err)
	}
	for _, check := range checks { // late, so that one more would have come
		check()
	}
}
