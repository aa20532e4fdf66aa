package discorotest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/discorotest"
	"github.com/discoro/discoro/internal/stopwatch"
)

func TestMain(m *testing.M) {
	discoro.Init()
	goleak.VerifyTestMain(m)
}

var (
	double = discoro.Register("double", func(_ *discoro.Coro, n int) (int, error) { return 2 * n, nil })
	wait   = discoro.Register("wait", func(c *discoro.Coro, _ discoro.None) (any, error) { return c.Receive() })
	pid    = discoro.Register("pid", func(*discoro.Coro, discoro.None) (int, error) { return os.Getpid(), nil })
	// leak starts a goroutine that nobody ends but the test.
	leak    = discoro.Register("leak", func(*discoro.Coro, discoro.None) (discoro.None, error) { go leaked(); return discoro.None{}, nil })
	endLeak = make(chan struct{})
)

func leaked() { <-endLeak }

// kinds are the clusters that every test of faults is for.
var kinds = []struct {
	name string
	cfg  discorotest.Config
}{
	{"loopback", discorotest.Config{}},
	{"secret", discorotest.Config{Secret: "correct horse battery staple"}},
	{"memory", discorotest.Config{InMemory: true}},
	{"processes", discorotest.Config{Node: discoro.NodeConfig{Processes: true}}},
}

// forKinds runs a test on clusters of every kind.
func forKinds(t *testing.T, test func(t *testing.T, cfg discorotest.Config)) {
	t.Helper()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			if k.cfg.InMemory {
				synctest.Test(t, func(t *testing.T) { test(t, k.cfg) })
				return
			}
			test(t, k.cfg)
		})
	}
}

func TestCluster(t *testing.T) {
	forKinds(t, func(t *testing.T, cfg discorotest.Config) {
		t.Helper()
		cfg.Nodes, cfg.Servers = 3, 2
		cluster := discorotest.New(t, cfg)
		servers := 0
		for _, n := range cluster.Nodes {
			servers += len(n.Servers())
		}
		if len(cluster.Nodes) != 3 || servers != 6 {
			t.Fatalf("%d nodes with %d servers", len(cluster.Nodes), servers)
		}
		comp := cluster.Computation(t, discoro.ComputationConfig{})
		rcs, err := discoro.NewRemoteCoroScheduler(comp)
		if err != nil {
			t.Fatal(err)
		}
		got, err := discoro.MapResults(t.Context(), rcs, double, slices.Values([]int{1, 2, 3}))
		if err != nil || !slices.Equal(got, []int{2, 4, 6}) {
			t.Errorf("%v, %v", got, err)
		}
	})
}

// TestTemplates has what the cluster is made of come through.
func TestTemplates(t *testing.T) {
	cluster := discorotest.New(t, discorotest.Config{
		Scheduler: discoro.SchedulerConfig{Config: discoro.Config{Name: "boss"}},
		Node:      discoro.NodeConfig{Config: discoro.Config{Name: "mule"}, Servers: 3},
	})
	if name := cluster.Scheduler.Name(); !strings.HasPrefix(name, "boss") {
		t.Errorf("the scheduler's name is %s", name)
	}
	if name := cluster.Nodes[0].Name(); !strings.HasPrefix(name, "mule") || len(cluster.Nodes[0].Servers()) != 3 {
		t.Errorf("node %s has the servers %v", name, cluster.Nodes[0].Servers())
	}
	client := cluster.Client(t, "client")
	comp, err := discoro.NewComputation(client)
	if err != nil {
		t.Fatal(err)
	}
	if err := comp.Schedule(t.Context(), cluster.Scheduler.Location()); err != nil {
		t.Fatal(err)
	}
	if err := comp.WaitServers(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
}

// TestCPUsLeftOut has as many CPUs left out as leave one.
func TestCPUsLeftOut(t *testing.T) {
	cluster := discorotest.New(t, discorotest.Config{Node: discoro.NodeConfig{Servers: 1 - runtime.GOMAXPROCS(0)}})
	if servers := cluster.Nodes[0].Servers(); len(servers) != 1 {
		t.Errorf("the servers that New has waited for are %v, want one", servers)
	}
}

func TestCutAndHeal(t *testing.T) {
	forKinds(t, func(t *testing.T, cfg discorotest.Config) {
		t.Helper()
		if cfg.Node.Processes {
			return // see TestMistakes
		}
		cfg.Nodes, cfg.Servers = 2, 2
		cluster := discorotest.New(t, cfg)
		const pulse = 400 * time.Millisecond
		comp := cluster.Computation(t, discoro.ComputationConfig{PulseInterval: pulse})
		co, err := comp.RunAt(t.Context(), discoro.NodeAddr(cluster.Nodes[1].Location().String()), wait.With(discoro.None{}))
		if err != nil {
			t.Fatal(err)
		}
		watch := stopwatch.Start(t)
		cluster.Cut(1)
		var lost *discoro.ServerLostError
		if err := co.Wait(t.Context()); !errors.As(err, &lost) {
			t.Errorf("the coroutine at the node that is cut off ended with %v", err)
		}
		if took, late := watch.Stop(); took+late < 4*pulse {
			t.Errorf("the cut showed after %v, before five pulses were missed", took)
		}
		for range 4 { // the others go on
			if _, err := discoro.Result[int](t.Context(), run(t, comp, double.With(1))); err != nil {
				t.Error(err)
			}
		}
		cluster.Heal(1)
		if err := comp.WaitServers(t.Context(), 4); err != nil {
			t.Errorf("after the cut: %v", err)
		}
	})
}

// run runs a task anywhere.
func run(t *testing.T, comp *discoro.Computation, task discoro.Task) *discoro.Coro {
	t.Helper()
	co, err := comp.Run(t.Context(), task)
	if err != nil {
		t.Fatal(err)
	}
	return co
}

func TestKillServer(t *testing.T) {
	forKinds(t, func(t *testing.T, cfg discorotest.Config) {
		t.Helper()
		cluster := discorotest.New(t, cfg)
		comp := cluster.Computation(t, discoro.ComputationConfig{})
		server := cluster.Nodes[0].Servers()[0]
		before, err := discoro.Result[int](t.Context(), run(t, comp, pid.With(discoro.None{})))
		if err != nil {
			t.Fatal(err)
		}
		co := run(t, comp, wait.With(discoro.None{}))
		cluster.KillServer(server)
		var lost *discoro.ServerLostError
		if err := co.Wait(t.Context()); !errors.As(err, &lost) || lost.Server != server {
			t.Errorf("the coroutine at the server that was killed ended with %v", err)
		}
		after, err := discoro.Result[int](t.Context(), run(t, comp, pid.With(discoro.None{})))
		if err != nil || (after != before) != cfg.Node.Processes {
			t.Errorf("process %d before, %d after, %v", before, after, err)
		}
		if servers := cluster.Nodes[0].Servers(); len(servers) != 1 || servers[0] == server {
			t.Errorf("the servers are %v; %v was killed", servers, server)
		}
	})
}

// spy is a test that may fail without failing ours.
type spy struct {
	testing.TB
	ctx      context.Context
	cleanups []func()
	said     []string
	failed   bool
}

type failNow struct{}

func (s *spy) Context() context.Context { return s.ctx }
func (s *spy) Cleanup(f func())         { s.cleanups = append(s.cleanups, f) }
func (s *spy) Failed() bool             { return s.failed }
func (s *spy) Errorf(f string, args ...any) {
	s.failed = true
	s.said = append(s.said, fmt.Sprintf(f, args...))
}
func (s *spy) Fatalf(f string, args ...any) { s.Errorf(f, args...); panic(failNow{}) }
func (s *spy) Fatal(args ...any)            { s.Fatalf("%s", fmt.Sprint(args...)) }
func (s *spy) Logf(string, ...any)          {}

// spied runs a test, and returns what it said when it failed.
func spied(t *testing.T, test func(s *spy)) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := &spy{TB: t, ctx: ctx}
	guard := func(f func()) {
		defer func() {
			if p := recover(); p != nil {
				if _, ok := p.(failNow); !ok {
					panic(p)
				}
			}
		}()
		f()
	}
	guard(func() { test(s) })
	cancel()
	for _, f := range slices.Backward(s.cleanups) {
		guard(f)
	}
	return strings.Join(s.said, "\n")
}

func TestWhatIsLeft(t *testing.T) {
	for _, test := range []struct {
		name string
		left func(s *spy, cluster *discorotest.Cluster) (end func())
		says []string
	}{
		{"nothing", func(*spy, *discorotest.Cluster) func() { return func() {} }, nil},
		{"a goroutine of a coroutine", func(s *spy, cluster *discorotest.Cluster) func() {
			comp := cluster.Computation(s, discoro.ComputationConfig{})
			co, err := comp.Run(s.Context(), leak.With(discoro.None{}))
			if err != nil {
				s.Fatal(err)
			}
			if err := co.Wait(s.Context()); err != nil {
				s.Fatal(err)
			}
			return func() { endLeak <- struct{}{} }
		}, []string{"leaked", `"coro":"leak"`}},
		{"a goroutine", func(*spy, *discorotest.Cluster) func() {
			go leaked()
			return func() { endLeak <- struct{}{} }
		}, []string{"discorotest_test.leaked"}},
		{"a socket", func(s *spy, _ *discorotest.Cluster) func() {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				s.Fatal(err)
			}
			return func() { _ = ln.Close() }
		}, []string{"the socket", "127.0.0.1:", "left open"}},
		{"a file", func(s *spy, _ *discorotest.Cluster) func() {
			f, err := os.Create(s.TempDir() + "/forgotten")
			if err != nil {
				s.Fatal(err)
			}
			return func() { _ = f.Close() }
		}, []string{"forgotten", "left open"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var end func()
			said := spied(t, func(s *spy) {
				end = test.left(s, discorotest.New(s, discorotest.Config{}))
			})
			end()
			if len(test.says) == 0 && said != "" {
				t.Errorf("it said %s", said)
			}
			for _, want := range test.says {
				if !strings.Contains(said, want) {
					t.Errorf("it said %q, and not %q", said, want)
				}
			}
		})
	}
}

// TestWhatIsLeftInFakeTime leaves a file open in a bubble, while the test around it waits.
func TestWhatIsLeftInFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f *os.File
		said := spied(t, func(s *spy) {
			discorotest.New(s, discorotest.Config{InMemory: true})
			var err error
			if f, err = os.Create(s.TempDir() + "/forgotten"); err != nil {
				s.Fatal(err)
			}
		})
		_ = f.Close()
		if !strings.Contains(said, "forgotten is left open") {
			t.Errorf("it said %q, and nothing of the file", said)
		}
	})
}

func TestMistakes(t *testing.T) {
	processes := discoro.NodeConfig{Processes: true}
	for want, test := range map[string]func(s *spy){
		"leave out Node.Processes": func(s *spy) { discorotest.New(s, discorotest.Config{Node: processes}).Cut(0) },
		"cannot be in memory":      func(s *spy) { discorotest.New(s, discorotest.Config{InMemory: true, Node: processes}) },
		"-1 nodes":                 func(s *spy) { discorotest.New(s, discorotest.Config{Nodes: -1}) },
		"no node 1":                func(s *spy) { discorotest.New(s, discorotest.Config{}).Cut(1) },
		"no server at 127.0.0.1:1; ": func(s *spy) {
			discorotest.New(s, discorotest.Config{}).KillServer(discoro.Location{Addr: "127.0.0.1", Port: 1})
		},
		"Config.MaxMailbox": func(s *spy) {
			discorotest.New(s, discorotest.Config{Node: discoro.NodeConfig{Config: discoro.Config{MaxMailbox: -1}}})
		},
		"PulseInterval": func(s *spy) {
			discorotest.New(s, discorotest.Config{}).Computation(s, discoro.ComputationConfig{PulseInterval: -1})
		},
	} {
		if said := spied(t, test); !strings.Contains(said, want) {
			t.Errorf("it said %q, and not %q", said, want)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			cluster := discorotest.New(t, discorotest.Config{Nodes: 2, InMemory: i%2 == 0})
			comp := cluster.Computation(t, discoro.ComputationConfig{})
			if n, err := discoro.Result[int](t.Context(), run(t, comp, double.With(i))); n != 2*i || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		})
	}
}

// TestExamples runs what the documentation shows.
func TestExamples(outer *testing.T) {
	for name, example := range map[string]func(){"cluster": Example, "cut": ExampleCluster_Cut, "network": ExampleNewNetwork} {
		outer.Run(name, func(inner *testing.T) {
			t = inner
			example()
		})
	}
}

func BenchmarkRun(b *testing.B) {
	cluster := discorotest.New(b, discorotest.Config{})
	comp := cluster.Computation(b, discoro.ComputationConfig{})
	for b.Loop() {
		co, err := comp.Run(b.Context(), double.With(1))
		if err != nil {
			b.Fatal(err)
		}
		if err := co.Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
