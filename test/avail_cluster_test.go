package test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/internal/testkit/live"
)

// TestNodeAvail checks that a status coroutine receives a NodeAvail from each node after its
// NodeDiscovered, through a scheduler in the client's runtime and through another one.
func TestNodeAvail(t *testing.T) {
	t.Parallel()
	for name, private := range map[string]bool{"private scheduler": true, "scheduler elsewhere": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, discoro.NodeConfig{Servers: 1})
			client := c.sched.Runtime
			if !private {
				client = live.Runtime(t)
			}
			heard := make(chan any, 100)
			status := client.Spawn("status", func(c *discoro.Coro) (any, error) {
				for {
					msg, err := c.Receive()
					if err != nil {
						return nil, err
					}
					heard <- msg
				}
			})
			comp, err := discoro.NewComputation(client, discoro.ComputationConfig{Status: status})
			if err != nil {
				t.Fatal(err)
			}
			if err := comp.Schedule(c.ctx, c.sched.Location()); err != nil {
				t.Fatal(err)
			}
			discovered := false
			for {
				var msg any
				select {
				case msg = <-heard:
				case <-c.ctx.Done():
					t.Fatal("no NodeAvail came")
				}
				switch msg := msg.(type) {
				case discoro.Status:
					discovered = discovered || msg.Kind == discoro.NodeDiscovered
				case discoro.NodeAvail:
					if !discovered || msg.Node != c.node.Location().String() || msg.Memory == 0 || msg.Disk == 0 || msg.CPU < 0 || msg.CPU > 100 {
						t.Errorf("discovered=%v, %+v", discovered, msg)
					}
					if err := comp.Close(c.ctx); err != nil {
						t.Error(err)
					}
					return
				}
			}
		})
	}
}

// TestNodeFilters uses a node that fits, and says why it does not use the other one.
func TestNodeFilters(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1})
	run := func(f discoro.NodeFilter) error {
		comp, err := discoro.NewComputation(c.sched.Runtime, discoro.ComputationConfig{NodeFilters: []discoro.NodeFilter{f}})
		if err != nil {
			t.Fatal(err)
		}
		if err := comp.Schedule(c.ctx); err != nil {
			t.Fatal(err)
		}
		ctx := testkit.Context(t)
		if f.CPUs > 1 || f.Disk > 1 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
			defer cancel()
		}
		err = comp.WaitServers(ctx, 1)
		if closeErr := comp.Close(c.ctx); closeErr != nil {
			t.Error(closeErr)
		}
		return err
	}
	if err := run(discoro.NodeFilter{Addr: `127\.`, Platform: "linux|darwin", CPUs: 1, Memory: 1, Disk: 1}); err != nil {
		t.Errorf("a node that fits: %v", err)
	}
	for says, f := range map[string]discoro.NodeFilter{
		"it has 1 server, filter 1 wants 2": {CPUs: 2},
		"bytes of disk free":                {Disk: 1 << 62},
	} {
		if err := run(f); !errors.Is(err, discoro.ErrNoServer) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want ErrNoServer with %q", err, says)
		}
	}
	if _, err := discoro.NewComputation(c.sched.Runtime, discoro.ComputationConfig{NodeFilters: []discoro.NodeFilter{{Addr: "("}}}); err == nil {
		t.Error("a pattern that is none was taken")
	}
}
