package test

import (
	"cmp"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/discorotest"
	"github.com/discoro/discoro/internal/testkit"
)

// memCluster is a scheduler and nodes in memory, each at a host of its own: "sched", "n1", ...
type memCluster struct {
	*testing.T
	net   *discorotest.Network
	sched *discoro.Scheduler
	nodes []*discoro.Node
	ctx   context.Context
}

// inMemory runs a test in fake time, with a scheduler and that many nodes of two servers each,
// which dial the scheduler.
func inMemory(t *testing.T, nodes int, cfg discoro.SchedulerConfig, node discoro.NodeConfig, test func(c *memCluster)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &memCluster{T: t, net: discorotest.NewNetwork(t, true), ctx: t.Context()}
		cfg.Config = c.at("sched", cfg.Config)
		sched, err := discoro.NewScheduler(cfg)
		if err != nil {
			t.Fatal(err)
		}
		c.sched = sched
		c.closes(sched.Close)
		node.Peers = []string{sched.Location().String()}
		for range nodes {
			c.node(node)
		}
		t.Cleanup(func() { // before they close
			c.net.Heal("sched")
			for i := range c.nodes {
				c.net.Heal(fmt.Sprint("n", i+1))
			}
		})
		test(c)
	})
}

// at returns cfg at a host. It logs nothing unless it has a logger.
func (c *memCluster) at(host string, cfg discoro.Config) discoro.Config {
	cfg.Logger = cmp.Or(cfg.Logger, testkit.Quiet())
	return c.net.At(host, cfg)
}

// closes closes a role when the test ends.
func (c *memCluster) closes(f func() error) {
	c.Cleanup(func() {
		if err := f(); err != nil {
			c.Error(err)
		}
	})
}

// node starts one more node.
func (c *memCluster) node(cfg discoro.NodeConfig) *discoro.Node {
	c.Helper()
	cfg.Config = c.at(fmt.Sprint("n", len(c.nodes)+1), cfg.Config)
	cfg.Servers = cmp.Or(cfg.Servers, 2)
	n, err := discoro.NewNode(cfg)
	if err != nil {
		c.Fatal(err)
	}
	c.nodes = append(c.nodes, n)
	c.closes(n.Close)
	return n
}

// client starts a runtime at a host of its own.
func (c *memCluster) client(name string) *discoro.Runtime {
	c.Helper()
	return c.net.Runtime(c.T, name, discoro.Config{Logger: testkit.Quiet()})
}

// statuses is what a status coroutine has received, in order.
type statuses struct {
	coro *discoro.Coro
	all  chan any
}

func (c *memCluster) statuses(rt *discoro.Runtime) *statuses {
	s := &statuses{all: make(chan any, 10_000)}
	s.coro = rt.Spawn("statuses", func(c *discoro.Coro) (any, error) {
		for {
			msg, err := c.Receive()
			if err != nil {
				return nil, err
			}
			s.all <- msg
		}
	})
	return s
}

// schedule returns a computation of rt that is active and has that many servers.
func (c *memCluster) schedule(rt *discoro.Runtime, servers int, cfg discoro.ComputationConfig) *discoro.Computation {
	c.Helper()
	p, err := discoro.NewComputation(rt, cfg)
	if err != nil {
		c.Fatal(err)
	}
	if err := p.Schedule(c.ctx, c.sched.Location()); err != nil {
		c.Fatal(err)
	}
	if err := p.WaitServers(c.ctx, servers); err != nil {
		c.Fatal(err)
	}
	return p
}

// memNap sleeps, and returns how long.
var memNap = discoro.Register("mem.nap", func(c *discoro.Coro, d time.Duration) (time.Duration, error) { return d, c.Sleep(d) })
