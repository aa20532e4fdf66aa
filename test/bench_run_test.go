package test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/discoro/discoro"
)

// echoEnv makes the test's program an echo server, the yardstick's other process.
const echoEnv = "DISCORO_TEST_ECHO"

// serveEcho prints where it listens, and sends back what it receives until its connection ends.
func serveEcho() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	conn, err := ln.Accept()
	if err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil //nolint:nilerr // the benchmark is over
		}
		if _, err := conn.Write(buf[:n]); err != nil {
			return err
		}
	}
}

// startEcho starts the echo server in a process, and connects to it.
func startEcho(b *testing.B) net.Conn {
	b.Helper()
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), echoEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	conn, err := net.Dial("tcp", strings.TrimSpace(addr))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = conn.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	return conn
}

// roundTrips measures n exchanges of 64 bytes over bare TCP.
func roundTrips(b *testing.B, conn net.Conn, n int) time.Duration {
	b.Helper()
	buf := make([]byte, 64)
	start := time.Now()
	for range n {
		if _, err := conn.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, buf); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start)
}

// benchCluster starts a private scheduler, a node with server processes, and a computation.
func benchCluster(b *testing.B, servers int, cfg discoro.Config) (*discoro.Scheduler, *discoro.Computation) {
	b.Helper()
	ctx := b.Context()
	cfg.Logger = slog.New(slog.DiscardHandler)
	sched, err := discoro.NewScheduler(discoro.SchedulerConfig{Config: cfg})
	if err != nil {
		b.Fatal(err)
	}
	cfg.Peers = []string{sched.Location().String()}
	node, err := discoro.NewNode(discoro.NodeConfig{Config: cfg, Servers: servers, Processes: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := node.Close(); err != nil {
			b.Error(err)
		}
		if err := sched.Close(); err != nil {
			b.Error(err)
		}
	})
	comp, err := discoro.NewComputation(sched.Runtime)
	if err != nil {
		b.Fatal(err)
	}
	if err := comp.Schedule(ctx); err != nil {
		b.Fatal(err)
	}
	if err := comp.WaitServers(ctx, servers); err != nil {
		b.Fatal(err)
	}
	return sched, comp
}

var empty = discoro.Register("bench.empty", func(*discoro.Coro, discoro.None) (discoro.None, error) {
	return discoro.None{}, nil
})

func runEmpty(ctx context.Context, comp *discoro.Computation) error {
	c, err := comp.Run(ctx, empty.With(discoro.None{}))
	if err != nil {
		return err
	}
	return c.Wait(ctx)
}

// BenchmarkRun runs an empty function and waits for its result. The yardstick is a round trip over
// bare TCP to another process. That has the same number of hops: with a private scheduler the call
// goes directly to the server's process.
func BenchmarkRun(b *testing.B) {
	for _, secret := range []string{"", "a secret for benchmarks"} {
		name := "plain"
		if secret != "" {
			name = "secret"
		}
		b.Run(name+"/sequential", func(b *testing.B) {
			sched, comp := benchCluster(b, 1, discoro.Config{Secret: secret})
			conn := startEcho(b)
			roundTrips(b, conn, 1000)
			before := sched.Traffic()
			var yard time.Duration
			yards := 0
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				if err := runEmpty(b.Context(), comp); err != nil {
					b.Fatal(err)
				}
				if i%64 == 0 { // alternately, for a machine that is busy at times
					b.StopTimer()
					yard += roundTrips(b, conn, 64)
					yards += 64
					b.StartTimer()
				}
			}
			b.StopTimer()
			report(b, sched, before)
			per := float64(yard.Nanoseconds()) / float64(yards)
			b.ReportMetric(per, "tcp-ns/op")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/per, "x-tcp")
		})
		b.Run(name+"/inflight=64", func(b *testing.B) {
			sched, comp := benchCluster(b, 1, discoro.Config{Secret: secret})
			conn := startEcho(b)
			roundTrips(b, conn, 1000)
			yard := roundTrips(b, conn, 5000)
			before := sched.Traffic()
			b.ResetTimer()
			inFlight(b, 64, func() error { return runEmpty(b.Context(), comp) })
			b.StopTimer()
			yard += roundTrips(b, conn, 5000)
			report(b, sched, before)
			per := float64(yard.Nanoseconds()) / 10000
			b.ReportMetric(per, "tcp-ns/op")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/per, "x-tcp")
		})
	}
}

// BenchmarkMapResults maps a trivial function over two server processes, one item an iteration.
// With Retries, short items are sent ahead.
func BenchmarkMapResults(b *testing.B) {
	for _, retries := range []int{0, 1} {
		b.Run(fmt.Sprintf("retries=%d", retries), func(b *testing.B) {
			sched, comp := benchCluster(b, 2, discoro.Config{})
			rcs, err := discoro.NewRemoteCoroScheduler(comp, discoro.RCSConfig{Retries: retries})
			if err != nil {
				b.Fatal(err)
			}
			before := sched.Traffic()
			b.ResetTimer()
			got, err := discoro.MapResults(b.Context(), rcs, double, slices.Values(make([]int, b.N)))
			b.StopTimer()
			if err != nil || len(got) != b.N {
				b.Fatalf("%d results of %d, %v", len(got), b.N, err)
			}
			report(b, sched, before)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "items/s")
		})
	}
}

// inFlight calls f b.N times, n at a time.
func inFlight(b *testing.B, n int, f func() error) {
	b.Helper()
	work := make(chan struct{})
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for range work {
				if err := f(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	wg.Wait()
}

// report reports the traffic on the client's links for each operation.
func report(b *testing.B, sched *discoro.Scheduler, before discoro.Traffic) {
	b.Helper()
	now := sched.Traffic()
	frames := now.FramesSent - before.FramesSent + now.FramesReceived - before.FramesReceived
	b.ReportMetric(float64(frames)/float64(b.N), "frames/op")
	b.ReportMetric(float64(now.Writes-before.Writes)/float64(b.N), "writes/op")
}
