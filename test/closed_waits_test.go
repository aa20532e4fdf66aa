package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/testkit"
)

var closedNap = discoro.Register("closed.nap", func(c *discoro.Coro, d time.Duration) (int, error) { return 1, c.Sleep(d) })

// TestOwnCloseEndsWaits closes a client's runtime during each kind of wait, and then waits again.
// All of that ends with ErrClosed, whatever else the error is.
func TestOwnCloseEndsWaits(t *testing.T) {
	t.Parallel()
	for _, private := range []bool{false, true} {
		t.Run(fmt.Sprintf("its own scheduler=%v", private), func(t *testing.T) {
			inMemory(t, 1, discoro.SchedulerConfig{}, discoro.NodeConfig{Servers: 1}, func(c *memCluster) { testOwnClose(c, private) })
		})
	}
}

func testOwnClose(t *memCluster, private bool) {
	c := t
	rt := c.sched.Runtime
	if !private {
		rt = c.client("client")
	}
	must := func(t *memCluster, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	other := c.net.Runtime(c.T, "other", discoro.Config{Logger: testkit.Quiet(), MaxMailbox: 1})
	mute := other.Spawn("mute", func(c *discoro.Coro) (any, error) { <-c.Done(); return nil, nil })
	must(t, mute.Register("mute"))
	must(t, mute.Send("its mailbox is full"))
	news, err := other.NewChannel("news")
	must(t, err)
	must(t, news.Register("news"))
	far, err := rt.Locate(c.ctx, "mute", other.Location())
	must(t, err)
	farNews, err := rt.LocateChannel(c.ctx, "news", other.Location())
	must(t, err)
	own, err := rt.NewChannel("own")
	must(t, err)

	comp, err := discoro.NewComputation(rt)
	must(t, err)
	must(t, comp.Schedule(c.ctx, c.sched.Location()))
	must(t, comp.WaitServers(c.ctx, 1))
	rcs, err := discoro.NewRemoteCoroScheduler(comp)
	must(t, err)
	co, err := rcs.Schedule(c.ctx, closedNap.With(time.Hour))
	must(t, err)
	second, err := discoro.NewComputation(rt)
	must(t, err)
	third, err := discoro.NewComputation(rt)
	must(t, err)
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, make([]byte, 1<<20), 0o600))
	held := make(chan struct{}) // the transfer is in its Progress

	bound := context.Background()
	waits := map[string]func() error{
		"Wait of a run":   func() error { return co.Wait(bound) },
		"Result of a run": func() error { _, err := discoro.Result[int](bound, co); return err },
		"WaitServers":     func() error { return comp.WaitServers(bound, 100) },
		"Schedule":        func() error { return second.Schedule(bound, c.sched.Location()) },
		"RCS Schedule":    func() error { _, err := rcs.Schedule(bound, closedNap.With(0)); return err },
		"Execute":         func() error { _, err := discoro.Execute(bound, rcs, closedNap.With(0)); return err },
		"MapResults": func() error {
			_, err := discoro.MapResults(bound, rcs, closedNap, func(yield func(time.Duration) bool) { yield(0) })
			return err
		},
		"Wait of a coroutine":    func() error { return far.Wait(bound) },
		"Ask":                    func() error { _, err := discoro.Ask[int](bound, far, 1); return err },
		"Deliver":                func() error { return far.Deliver(bound, 1) },
		"Deliver to a channel":   func() error { _, err := farNews.Deliver(bound, 1, 2); return err },
		"Deliver to its channel": func() error { _, err := own.Deliver(bound, 1, 2); return err },
		"SendFile": func() error {
			return rt.SendFile(bound, other.Location(), file, discoro.FileOptions{Progress: func(int64, int64) {
				<-held
			}})
		},
	}
	type ended struct {
		what string
		err  error
	}
	ends := make(chan ended, len(waits))
	for what, wait := range waits {
		go func() { ends <- ended{what, wait()} }()
	}
	synctest.Wait()
	closed := make(chan error, 1)
	go func() { closed <- rt.Close() }()
	synctest.Wait()
	close(held)
	for range waits {
		var e ended
		select {
		case e = <-ends:
		case <-time.After(time.Hour):
			t.Fatal("something waits on")
		}
		if !errors.Is(e.err, discoro.ErrClosed) {
			t.Errorf("%s: %v", e.what, e.err)
		}
	}
	must(t, <-closed)
	for what, again := range waits {
		if err := again(); !errors.Is(err, discoro.ErrClosed) {
			t.Errorf("%s, closed: %v", what, err)
		}
	}
	for what, verb := range map[string]func() error{
		"Connect":       func() error { _, err := rt.Connect(bound, other.Location().String()); return err },
		"Locate":        func() error { _, err := rt.Locate(bound, "mute"); return err },
		"Locate there":  func() error { _, err := rt.Locate(bound, "mute", other.Location()); return err },
		"Send":          func() error { return far.Send(1) },
		"Terminate":     func() error { return far.Terminate() },
		"Channel Send":  func() error { return farNews.Send(1) },
		"Subscribe":     func() error { return farNews.Subscribe(bound, far) },
		"NewChannel":    func() error { _, err := rt.NewChannel("x"); return err },
		"Schedule anew": func() error { return third.Schedule(bound, c.sched.Location()) },
		"Run":           func() error { _, err := comp.Run(bound, closedNap.With(0)); return err },
		"Position":      func() error { _, err := comp.Position(bound); return err },
		"Spawn":         func() error { return rt.Spawn("x", func(*discoro.Coro) (any, error) { return nil, nil }).Wait(bound) },
		"DeleteFile":    func() error { return rt.DeleteFile(bound, other.Location(), "file") },
		"Disconnect":    func() error { return rt.Disconnect(other.Location()) },
	} {
		if err := verb(); !errors.Is(err, discoro.ErrClosed) {
			t.Errorf("%s, closed: %v", what, err)
		}
	}
	_ = mute.Terminate()
}

// TestCloseWhileQueued closes a computation in the queue. Schedule returns that as its error.
func TestCloseWhileQueued(t *testing.T) {
	inMemory(t, 1, discoro.SchedulerConfig{}, discoro.NodeConfig{Servers: 1}, func(c *memCluster) {
		c.schedule(c.sched.Runtime, 1, discoro.ComputationConfig{})
		for _, rt := range []*discoro.Runtime{c.sched.Runtime, c.client("client")} {
			p, err := discoro.NewComputation(rt)
			if err != nil {
				t.Fatal(err)
			}
			scheduled := make(chan error, 1)
			go func() { scheduled <- p.Schedule(context.Background(), c.sched.Location()) }()
			synctest.Wait()
			if err := p.Close(c.ctx); err != nil {
				t.Error(err)
			}
			if err := <-scheduled; !errors.Is(err, discoro.ErrClosed) || !strings.Contains(err.Error(), "while it was queued") {
				t.Errorf("Schedule returned %v", err)
			}
		}
	})
}
