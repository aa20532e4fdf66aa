package discorotest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/seam"
	"github.com/discoro/discoro/internal/testnet"
)

// Config describes a [Cluster]. The zero Config is one node with one server.
type Config struct {
	Nodes   int // number of nodes; 0: 1
	Servers int // number of servers of each node; 0: Node.Servers, or 1 if that is 0 too
	// InMemory makes a cluster without sockets, which can run in a bubble of testing/synctest. Its
	// nodes cannot have Processes.
	InMemory bool
	// Secret protects every link. Without it links are not encrypted.
	Secret string
	// Scheduler is the configuration of the scheduler, except for the fields above. Discovery is
	// off unless UDPPort is set.
	Scheduler discoro.SchedulerConfig
	// Node is the configuration of every node, except for the fields above. The scheduler is added
	// to Peers. Discovery is off unless UDPPort is set. MinPulseInterval defaults to 10 ms, so that
	// a computation can have the short PulseInterval that a test needs.
	Node discoro.NodeConfig
	// Logger receives the log of the cluster; nil: the test's log, from level Info.
	Logger *slog.Logger
	// Ignore lists goroutines that may be left when the test ends; see [goleak.Option]. It does not
	// apply to goroutines that coroutines have started.
	Ignore []goleak.Option
}

// Cluster is a scheduler and nodes in the test's process. It closes when the test ends. Its methods
// are safe for concurrent use, but a method that fails ends the test, so call them from the test's
// goroutine.
type Cluster struct {
	Scheduler *discoro.Scheduler // its Runtime is the client's, too
	Nodes     []*discoro.Node

	t       testing.TB
	cfg     Config
	mark    string // immutable: how the names of the cluster's runtimes end
	folder  string // immutable: parent of the nodes' folders
	log     *testLog
	network *testnet.Network // immutable; nil with processes
	before  *baseline
}

// clusters counts the clusters of this process. The number distinguishes their goroutines.
var clusters atomic.Int64

// startTime bounds the start of a cluster, and of a computation on it.
const startTime = time.Minute

// New starts a cluster and returns when every server of every node is up. It ends the test if the
// configuration is wrong, or if the servers are not up within a minute. When tb ends, the cluster
// closes, and fails tb if something is left.
func New(tb testing.TB, cfg Config) *Cluster {
	tb.Helper()
	if cfg.Nodes < 0 || cfg.Servers < 0 {
		tb.Fatalf("discorotest: %d nodes with %d servers each", cfg.Nodes, cfg.Servers)
	}
	if cfg.InMemory && cfg.Node.Processes {
		tb.Fatal("discorotest: server processes cannot be in memory: leave out InMemory, or Node.Processes")
	}
	cfg.Nodes = cmp.Or(cfg.Nodes, 1)
	c := &Cluster{t: tb, cfg: cfg, mark: fmt.Sprintf("#%d", clusters.Add(1)), folder: tb.TempDir(), log: &testLog{t: tb}}
	c.before = newBaseline(cfg.Ignore)
	switch {
	case cfg.InMemory:
		c.network = testnet.NewInMemory()
	case !cfg.Node.Processes:
		c.network = testnet.New()
	}
	tb.Cleanup(c.close)
	c.start()
	c.await()
	return c
}

// start starts the scheduler and the nodes.
func (c *Cluster) start() {
	c.t.Helper()
	cfg := c.cfg.Scheduler
	c.complete(&cfg.Config, "scheduler")
	sched, err := discoro.NewScheduler(cfg)
	if err != nil {
		c.t.Fatalf("discorotest: start the scheduler: %v", err)
	}
	c.Scheduler = sched
	for i := range c.cfg.Nodes {
		cfg := c.cfg.Node
		c.complete(&cfg.Config, fmt.Sprintf("node%d", i))
		cfg.DestPath = filepath.Join(c.folder, fmt.Sprintf("node%d", i))
		cfg.Servers = cmp.Or(c.cfg.Servers, cfg.Servers, 1)
		cfg.MinPulseInterval = cmp.Or(cfg.MinPulseInterval, 10*time.Millisecond)
		cfg.Peers = append([]string{sched.Location().String()}, cfg.Peers...)
		node, err := discoro.NewNode(cfg)
		if err != nil {
			c.t.Fatalf("discorotest: start node %d: %v", i, err)
		}
		c.Nodes = append(c.Nodes, node)
	}
}

// complete fills in what all runtimes of the cluster have in common.
func (c *Cluster) complete(cfg *discoro.Config, name string) {
	cfg.Name = cmp.Or(cfg.Name, name) + c.mark
	cfg.UDPPort = cmp.Or(cfg.UDPPort, -1)
	cfg.Secret = cmp.Or(c.cfg.Secret, cfg.Secret)
	if !c.cfg.InMemory {
		cfg.Addr = cmp.Or(cfg.Addr, "127.0.0.1") // with a secret the default is all addresses
	}
	if c.network != nil {
		seam.Tune(cfg, seam.Tuning{Host: c.network.Host(name)})
	}
	if cfg.Logger == nil {
		cfg.Logger = c.cfg.Logger
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(c.log.handler())
	}
}

// servers returns how many servers the cluster should have.
func (c *Cluster) servers() int {
	each := cmp.Or(c.cfg.Servers, c.cfg.Node.Servers, 1)
	if each < 0 { // that many CPUs are left unused
		each += runtime.GOMAXPROCS(0)
	}
	return each * c.cfg.Nodes
}

// await waits until all servers are up and all nodes have a link to the scheduler.
func (c *Cluster) await() {
	c.t.Helper()
	c.poll(startTime, func() string {
		up := 0
		for _, n := range c.Nodes {
			up += len(n.Servers())
		}
		if up < c.servers() {
			return fmt.Sprintf("%d of %d servers are up", up, c.servers())
		}
		linked := map[discoro.Location]bool{}
		for _, loc := range c.Scheduler.Peers() {
			linked[loc] = true
		}
		for i, n := range c.Nodes {
			if !linked[n.Location()] {
				return fmt.Sprintf("the scheduler has no link to node %d", i)
			}
		}
		return ""
	})
}

// poll waits until missing returns nothing.
func (c *Cluster) poll(limit time.Duration, missing func() string) {
	c.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(limit)
	for {
		what := missing()
		if what == "" {
			return
		}
		if time.Now().After(end) {
			c.t.Fatalf("discorotest: after %v %s", limit, what)
		}
		<-tick.C
	}
}

// Computation returns a computation of the scheduler's runtime that is scheduled and has its
// servers: all of the cluster, or at least one if cfg.NodeFilters or cfg.Functions may exclude
// some. If it does not get them within a minute, it ends tb with the scheduler's report. The
// computation is closed when tb ends, which is the cluster's test or a subtest of it.
func (c *Cluster) Computation(tb testing.TB, cfg discoro.ComputationConfig) *discoro.Computation {
	tb.Helper()
	comp, err := discoro.NewComputation(c.Scheduler.Runtime, cfg)
	if err != nil {
		tb.Fatalf("discorotest: %v", err)
	}
	tb.Cleanup(func() {
		c.heal()
		ctx, cancel := context.WithTimeout(context.Background(), startTime)
		defer cancel()
		if err := comp.Close(ctx); err != nil && !errors.Is(err, discoro.ErrClosed) {
			tb.Errorf("discorotest: close the computation: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(tb.Context(), startTime)
	defer cancel()
	if err := comp.Schedule(ctx); err != nil {
		tb.Fatalf("discorotest: %v", err)
	}
	want := c.servers()
	if len(cfg.NodeFilters) > 0 || len(cfg.Functions) > 0 {
		want = 1
	}
	if err := comp.WaitServers(ctx, want); err != nil {
		tb.Fatalf("discorotest: %v", err)
	}
	return comp
}

// Client returns a new runtime, for another client of the scheduler. Nodes that are cut off do not
// reach it either. It closes when tb ends.
func (c *Cluster) Client(tb testing.TB, name string) *discoro.Runtime {
	tb.Helper()
	var cfg discoro.Config
	c.complete(&cfg, name)
	rt, err := discoro.NewRuntime(cfg)
	if err != nil {
		tb.Fatalf("discorotest: start client %s: %v", name, err)
	}
	tb.Cleanup(func() {
		c.heal()
		if err := rt.Close(); err != nil {
			tb.Errorf("discorotest: close client %s: %v", name, err)
		}
	})
	return rt
}

// Cut cuts node i and its servers off from all others, silently: what is sent waits, and no error
// appears. Both sides notice when five pulses are missed. Nodes with Processes cannot be cut off.
func (c *Cluster) Cut(i int) {
	c.t.Helper()
	c.host(i).Cut()
}

// Heal undoes Cut. What has waited arrives, unless its link has ended meanwhile. Then the node
// connects again.
func (c *Cluster) Heal(i int) {
	c.t.Helper()
	c.host(i).Heal()
}

func (c *Cluster) host(i int) *testnet.Host {
	c.t.Helper()
	if c.network == nil {
		c.t.Fatal("discorotest: a node of server processes cannot be cut off: leave out Node.Processes")
	}
	if i < 0 || i >= len(c.Nodes) {
		c.t.Fatalf("discorotest: there is no node %d: the cluster has %d", i, len(c.Nodes))
	}
	return c.network.Host(fmt.Sprintf("node%d", i))
}

// KillServer ends the server at loc at once, as kill -9 would: its links break, and its node starts
// a fresh server. A server process is really killed. A server in this process cannot be, so its
// coroutines are terminated.
func (c *Cluster) KillServer(loc discoro.Location) {
	c.t.Helper()
	var servers []string
	for _, n := range c.Nodes {
		err := seam.KillServer(n, loc)
		if err == nil {
			return
		}
		for _, s := range n.Servers() {
			servers = append(servers, s.String())
		}
	}
	c.t.Fatalf("discorotest: there is no server at %v; there are %s", loc, strings.Join(servers, ", "))
}

func (c *Cluster) heal() {
	if c.network != nil {
		c.network.Heal()
	}
}

// close closes everything, and fails the test if something is left.
func (c *Cluster) close() {
	defer c.log.end()
	c.heal()
	var wg sync.WaitGroup
	for i, n := range c.Nodes {
		wg.Go(func() { c.closed(fmt.Sprintf("node %d", i), n.Close()) })
	}
	wg.Wait()
	if c.Scheduler != nil {
		c.closed("the scheduler", c.Scheduler.Close())
	}
	if !c.t.Failed() { // a test that has failed may well leave something
		c.checkLeft()
	}
}

func (c *Cluster) closed(what string, err error) {
	if err != nil {
		c.t.Errorf("discorotest: close %s: %v", what, err)
	}
}
