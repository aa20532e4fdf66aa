package discoro

import (
	"cmp"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/discoro/discoro/internal/testnet"
)

// memCluster is a scheduler and nodes on a network in memory, each at a host of its own: "sched",
// "n1", ...
type memCluster struct {
	*testing.T
	net   *testnet.Network
	sched *Scheduler
	nodes []*Node
	ctx   context.Context
}

// inMemory runs a test in fake time, with a scheduler and that many nodes of two servers each,
// which dial the scheduler.
func inMemory(t *testing.T, nodes int, cfg SchedulerConfig, node NodeConfig, test func(c *memCluster)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &memCluster{T: t, net: testnet.NewInMemory(), ctx: t.Context()}
		cfg.host, cfg.Logger = c.net.Host("sched"), cmp.Or(cfg.Logger, discard)
		sched, err := NewScheduler(cfg)
		if err != nil {
			t.Fatal(err)
		}
		c.sched = sched
		t.Cleanup(func() {
			if err := sched.Close(); err != nil {
				t.Error(err)
			}
		})
		node.Peers = []string{sched.Location().String()}
		for range nodes {
			c.node(node)
		}
		t.Cleanup(c.net.Heal)
		test(c)
	})
}

// node starts one more node.
func (c *memCluster) node(cfg NodeConfig) *Node {
	c.Helper()
	cfg.host, cfg.Logger = c.net.Host(fmt.Sprint("n", len(c.nodes)+1)), discard
	if cfg.Servers == 0 {
		cfg.Servers = 2
	}
	n, err := NewNode(cfg)
	if err != nil {
		c.Fatal(err)
	}
	c.nodes = append(c.nodes, n)
	c.Cleanup(func() {
		if err := n.Close(); err != nil {
			c.Error(err)
		}
	})
	return n
}

// client starts a runtime at a host of its own.
func (c *memCluster) client(name string) *Runtime {
	c.Helper()
	return testRuntime(c.T, Config{Name: name, tuning: tuning{host: c.net.Host(name)}, Logger: discard})
}

// statuses is what a status coroutine has received, in order.
type statuses struct {
	coro *Coro
	all  chan any
}

func (c *memCluster) statuses(rt *Runtime) *statuses {
	s := &statuses{all: make(chan any, 10_000)}
	s.coro = rt.Spawn("statuses", func(c *Coro) (any, error) {
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

// take returns what has come, except NodeAvail messages, which it counts.
func (s *statuses) take() (lines []string, avail int) {
	synctest.Wait()
	for {
		select {
		case msg := <-s.all:
			if _, ok := msg.(NodeAvail); ok {
				avail++
				continue
			}
			lines = append(lines, fmt.Sprint(msg))
		default:
			return lines, avail
		}
	}
}

// schedule returns a computation of rt that is active and has that many servers.
func (c *memCluster) schedule(rt *Runtime, servers int, cfg ComputationConfig) *Computation {
	c.Helper()
	p, err := NewComputation(rt, cfg)
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

var timesNap = Register("times.nap", func(c *Coro, d time.Duration) (time.Duration, error) { return d, c.Sleep(d) })
