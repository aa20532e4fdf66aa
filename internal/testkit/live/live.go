// Package live has what tests share that use discoro as programs do: runtimes, and coroutines in them.
//
// The package has no state and no lock. It starts no goroutine itself; runtimes close when the test
// ends.
package live

import (
	"testing"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/testkit"
)

// Runtime starts a runtime that logs nothing, has no discovery, and closes when the test ends.
func Runtime(tb testing.TB) *discoro.Runtime {
	tb.Helper()
	return RuntimeWith(tb, discoro.Config{Logger: testkit.Quiet()})
}

// RuntimeWith starts a runtime with cfg, which closes when the test ends. Its log appears if the test
// fails, unless cfg has a logger. It has no discovery unless cfg has a port.
func RuntimeWith(tb testing.TB, cfg discoro.Config) *discoro.Runtime {
	tb.Helper()
	if cfg.UDPPort == 0 {
		cfg.UDPPort = -1
	}
	if cfg.Logger == nil {
		log := &testkit.Log{}
		cfg.Logger = log.Logger()
		tb.Cleanup(func() {
			if tb.Failed() {
				tb.Log(cfg.Name + ":\n" + log.String())
			}
		})
	}
	rt, err := discoro.NewRuntime(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := rt.Close(); err != nil {
			tb.Errorf("close %s: %v", cfg.Name, err)
		}
	})
	return rt
}

// Collector spawns a coroutine whose result is what it received before the message "enough".
func Collector(rt *discoro.Runtime) *discoro.Coro {
	return rt.Spawn("collector", func(c *discoro.Coro) (any, error) {
		var got []any
		for {
			msg, err := c.Receive()
			if err != nil || msg == "enough" {
				return got, err
			}
			got = append(got, msg)
		}
	})
}

// Send sends msg to c.
func Send(tb testing.TB, c *discoro.Coro, msg any) {
	tb.Helper()
	if err := c.Send(msg); err != nil {
		tb.Error(err)
	}
}

// Terminate terminates c.
func Terminate(tb testing.TB, c *discoro.Coro) {
	tb.Helper()
	if err := c.Terminate(); err != nil {
		tb.Error(err)
	}
}

// HandleAt returns the handle that the runtime here has of c, a coroutine of this process.
func HandleAt(tb testing.TB, here *discoro.Runtime, c *discoro.Coro) *discoro.Coro {
	tb.Helper()
	if here == c.Runtime() {
		return c
	}
	if err := c.Register("it"); err != nil {
		tb.Fatal(err)
	}
	if _, err := here.Connect(testkit.Context(tb), c.Location().String()); err != nil {
		tb.Fatal(err)
	}
	h, err := here.Locate(testkit.Context(tb), "it", c.Location())
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// UntilWaiting returns when c, a coroutine of rt, waits for something other than its turn.
func UntilWaiting(tb testing.TB, rt *discoro.Runtime, c *discoro.Coro) {
	tb.Helper()
	testkit.Eventually(tb, "it waits", func() bool {
		for _, s := range rt.Coros() {
			if s.Coro == c {
				return s.State != "running" && s.State != "ready"
			}
		}
		return false
	})
}
