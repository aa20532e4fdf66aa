package test

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/internal/testkit/live"
)

// BenchmarkClusterStart starts a scheduler and a node with two server processes, runs an empty
// function, and closes everything. It measures the time to the first result, and the time from
// there to the end. Each server process executes the test's program again.
func BenchmarkClusterStart(b *testing.B) {
	var first time.Duration
	for b.Loop() {
		start := time.Now()
		sched, node, comp := startCluster(b, 2)
		if err := runEmpty(b.Context(), comp); err != nil {
			b.Fatal(err)
		}
		first += time.Since(start)
		closeCluster(b, sched, node)
	}
	b.ReportMetric(first.Seconds()*1000/float64(b.N), "first-result-ms")
}

// startCluster starts a scheduler and a node with server processes, and schedules a computation.
func startCluster(b *testing.B, servers int, cfg ...discoro.ComputationConfig) (*discoro.Scheduler, *discoro.Node, *discoro.Computation) {
	b.Helper()
	quiet := discoro.Config{Logger: slog.New(slog.DiscardHandler)}
	sched, err := discoro.NewScheduler(discoro.SchedulerConfig{Config: quiet})
	if err != nil {
		b.Fatal(err)
	}
	quiet.Peers = []string{sched.Location().String()}
	node, err := discoro.NewNode(discoro.NodeConfig{Config: quiet, Servers: servers, Processes: true})
	if err != nil {
		b.Fatal(err)
	}
	comp, err := discoro.NewComputation(sched.Runtime, cfg...)
	if err != nil {
		b.Fatal(err)
	}
	if err := comp.Schedule(b.Context()); err != nil {
		b.Fatal(err)
	}
	return sched, node, comp
}

func closeCluster(b *testing.B, sched *discoro.Scheduler, node *discoro.Node) {
	b.Helper()
	if err := node.Close(); err != nil {
		b.Error(err)
	}
	if err := sched.Close(); err != nil {
		b.Error(err)
	}
}

// BenchmarkClusterKill kills a server process. It measures how long it takes until the client
// notices, and until a fresh server can be used.
func BenchmarkClusterKill(b *testing.B) {
	told := make(chan discoro.Status, 1000)
	status := live.Runtime(b).Spawn("status", func(c *discoro.Coro) (any, error) {
		for {
			msg, err := c.Receive()
			if err != nil {
				return nil, err
			}
			if s, ok := msg.(discoro.Status); ok {
				told <- s
			}
		}
	})
	await := func(kind discoro.StatusKind) {
		for s := range told {
			if s.Kind == kind {
				return
			}
		}
	}
	var known, fresh time.Duration
	for b.Loop() {
		b.StopTimer() // each iteration has a node of its own: a node whose server dies again and again pauses
		sched, node, comp := startCluster(b, 1, discoro.ComputationConfig{Status: status})
		await(discoro.ServerInitialized)
		co, err := comp.Run(b.Context(), faultPid.With(discoro.None{}))
		if err != nil {
			b.Fatal(err)
		}
		pid, err := discoro.Result[int](b.Context(), co)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		start := time.Now()
		if err := testkit.Kill(pid); err != nil {
			b.Fatal(err)
		}
		await(discoro.ServerDisconnected)
		known += time.Since(start)
		await(discoro.ServerInitialized)
		fresh += time.Since(start)
		b.StopTimer()
		closeCluster(b, sched, node)
		b.StartTimer()
	}
	b.ReportMetric(known.Seconds()*1000/float64(b.N), "told-ms")
	b.ReportMetric(fresh.Seconds()*1000/float64(b.N), "fresh-ms")
}

// BenchmarkClusterMemory measures the memory of idle server processes: their resident sets, and the
// part of it that they do not share. They all run the same program.
func BenchmarkClusterMemory(b *testing.B) {
	if _, err := os.Stat("/proc/self/smaps_rollup"); err != nil {
		b.Skip(err)
	}
	for _, servers := range []int{1, 8} {
		b.Run(fmt.Sprintf("servers=%d", servers), func(b *testing.B) {
			var rss, own int
			for b.Loop() {
				sched, node, comp := startCluster(b, servers)
				if err := comp.WaitServers(b.Context(), servers); err != nil {
					b.Fatal(err)
				}
				coros, err := comp.RunServers(b.Context(), faultPid.With(discoro.None{}))
				if err != nil {
					b.Fatal(err)
				}
				rss, own = 0, 0
				for _, co := range coros {
					pid, err := discoro.Result[int](b.Context(), co)
					if err != nil {
						b.Fatal(err)
					}
					rss += memoryOf(b, pid, "Rss:")
					own += memoryOf(b, pid, "Private_Clean:", "Private_Dirty:")
				}
				closeCluster(b, sched, node)
			}
			b.ReportMetric(float64(rss)/float64(servers), "rss-KiB/server")
			b.ReportMetric(float64(own)/float64(servers), "own-KiB/server")
		})
	}
}

// memoryOf adds up, in KiB, what the kernel reports for a process.
func memoryOf(b *testing.B, pid int, keys ...string) (sum int) {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) == 3 && slices.Contains(keys, words[0]) {
			n, err := strconv.Atoi(words[1])
			if err != nil {
				b.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}
