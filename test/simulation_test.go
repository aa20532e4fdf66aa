package test

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/testkit"
)

// simulation is the state of TestSimulatedCluster.
type simulation struct {
	*memCluster
	nodes      int
	runs       int                  // so far
	lap        func() time.Duration // the real time since the last call
	goroutines int                  // the most at any time
}

// The size of a simulated cluster.
const (
	simServers = 8 // of each node
	simCallers = 8 // that call Run at the same time
)

// simRan counts how often each run of TestSimulatedCluster took place.
var simRan []atomic.Int32

var simNap = discoro.Register("sim.nap", func(c *discoro.Coro, run int) (int, error) {
	simRan[run].Add(1)
	return -run, c.Sleep(hostNapTime)
})

// TestSimulatedCluster runs 100,000 runs on a scheduler with 1,000 nodes of 8 servers, while 50
// nodes go silent. Under the race detector, which limits goroutines, the cluster is small; .ci/run
// runs the test without it, too.
func TestSimulatedCluster(t *testing.T) {
	s := &simulation{nodes: 1000, lap: realLaps(t)}
	if testkit.RaceDetector {
		s.nodes = 20
	}
	n := s.servers()
	simRan = make([]atomic.Int32, n*25/2)
	inMemory(t, s.nodes, discoro.SchedulerConfig{}, discoro.NodeConfig{Servers: simServers}, func(c *memCluster) {
		s.memCluster = c
		comp := c.schedule(c.sched.Runtime, n, discoro.ComputationConfig{})
		up := s.lap()
		for range 3 {
			s.placed(comp, n*5/2)
		}
		placed := s.lap()
		rcs, err := discoro.NewRemoteCoroScheduler(comp, discoro.RCSConfig{Retries: 1})
		if err != nil {
			t.Fatal(err)
		}
		s.busy(rcs, 3*n)
		busy := s.lap()
		s.lossy(rcs, 2*n)
		lossy := s.lap()
		if err := rcs.Finish(s.ctx, true); err != nil {
			t.Error(err)
		}
		t.Logf("%d nodes of %d servers are up after %v. Runs that the scheduler places: %s; of a RemoteCoroScheduler: %s; with %d nodes that go silent: %s. %d goroutines, %d MiB",
			s.nodes, simServers, up, rate(3*n*5/2, placed), rate(3*n, busy), s.nodes/20, rate(2*n, lossy), s.goroutines, memoryHeld()>>20)
	})
	t.Logf("%d runs; all has closed after %v", s.runs, s.lap())
}

func rate(runs int, took time.Duration) string {
	return fmt.Sprintf("%d in %v (%.0f/s)", runs, took.Round(time.Millisecond), float64(runs)/took.Seconds())
}

func (s *simulation) servers() int { return s.nodes * simServers }

// take reserves the numbers of n runs.
func (s *simulation) take(n int) (first int) {
	first = s.runs
	s.runs += n
	return first
}

// placed lets the scheduler place n runs, all of which run at the same time.
func (s *simulation) placed(comp *discoro.Computation, n int) {
	s.Helper()
	first := s.take(n)
	coros := make([]*discoro.Coro, n)
	var wg sync.WaitGroup
	for caller := range simCallers {
		wg.Go(func() {
			for i := caller; i < n; i += simCallers {
				co, err := comp.Run(s.ctx, simNap.With(first+i))
				if err != nil {
					s.Error(err)
					return
				}
				coros[i] = co
			}
		})
	}
	wg.Wait() // in no time
	s.goroutines = max(s.goroutines, runtime.NumGoroutine())
	if s.Failed() {
		return
	}
	at, host := map[discoro.Location]int{}, map[string]int{}
	for i, co := range coros {
		at[co.Location()]++
		host[co.Location().Addr]++
		if v, err := discoro.Result[int](s.ctx, co); err != nil || v != -(first+i) {
			s.Fatalf("run %d: %d, %v", first+i, v, err)
		}
		if ran := simRan[first+i].Load(); ran != 1 {
			s.Errorf("run %d took place %d times", first+i, ran)
		}
	}
	for loc, have := range at {
		if have != n/s.servers() && have != n/s.servers()+1 {
			s.Errorf("server %v has %d of %d runs at %d servers", loc, have, n, s.servers())
		}
	}
	for name, have := range host {
		if have != n/s.nodes {
			s.Errorf("node %s has %d of %d runs at %d nodes", name, have, n, s.nodes)
		}
	}
	if len(at) != s.servers() || len(host) != s.nodes {
		s.Errorf("%d of %d servers of %d of %d nodes have runs", len(at), s.servers(), len(host), s.nodes)
	}
}

// busy maps n runs, one a server at a time: every server is always busy.
func (s *simulation) busy(rcs *discoro.RemoteCoroScheduler, n int) {
	s.Helper()
	start := time.Now()
	at, again := s.mapped(rcs, n, func() {})
	if took, want := time.Since(start), time.Duration(n/s.servers())*hostNapTime; took != want || again != 0 {
		s.Errorf("it took %v, and %d runs a second attempt; want %v with every server busy all the time", took, again, want)
	}
	for loc, have := range at {
		if have != n/s.servers() {
			s.Errorf("%v had %d of %d runs at %d servers, want as many as each other", loc, have, n, s.servers())
		}
	}
}

// lossy maps n runs while a twentieth of the nodes goes silent.
func (s *simulation) lossy(rcs *discoro.RemoteCoroScheduler, n int) {
	s.Helper()
	start := time.Now()
	lost := s.nodes / 20
	_, again := s.mapped(rcs, n, func() {
		for i := range lost {
			s.net.Cut(fmt.Sprint("n", i+1))
		}
	})
	if again != lost*simServers {
		s.Errorf("%d runs had a second attempt, want one for each of the %d servers that were lost", again, lost*simServers)
	}
	const silence = 5 * 2 * discoro.MinPulseInterval
	if took := time.Since(start); took < silence/2 || took > silence+time.Second {
		s.Errorf("it took %v, want at most %v until the nodes are given up", took, silence)
	}
}

// mapped maps n runs, and calls half when half of them have ended. It returns at which servers they
// ended, and how many ran again.
func (s *simulation) mapped(rcs *discoro.RemoteCoroScheduler, n int, half func()) (at map[discoro.Location]int, again int) {
	s.Helper()
	first := s.take(n)
	at = map[discoro.Location]int{}
	came, attempts := make([]int, n), make([]int, n)
	items := func(yield func(int) bool) {
		for i := range n {
			if !yield(first + i) {
				return
			}
		}
	}
	left := n
	for out := range discoro.AsCompleted(s.ctx, rcs, simNap, items) {
		if out.Err != nil || out.Value != -(first+out.Index) {
			s.Fatalf("run %d: %d, %v", first+out.Index, out.Value, out.Err)
		}
		came[out.Index]++
		attempts[out.Index] = out.Attempts
		at[out.Server]++
		again += out.Attempts - 1
		if left--; left == n/2 {
			half()
		}
	}
	for i, times := range came {
		// An attempt may not have started: the frame may have been on its way to a node that was
		// cut off.
		if ran := int(simRan[first+i].Load()); times != 1 || ran < 1 || ran > attempts[i] {
			s.Errorf("run %d came %d times, and took place %d times in %d attempts", first+i, times, ran, attempts[i])
		}
	}
	return at, again
}

// realLaps returns a function that returns the real time since its last call, by a clock outside
// the test's bubble.
func realLaps(t *testing.T) (lap func() time.Duration) {
	t.Helper()
	ask, answer := make(chan struct{}), make(chan time.Duration)
	go func() {
		last := time.Now()
		for range ask {
			now := time.Now()
			answer <- now.Sub(last)
			last = now
		}
	}()
	t.Cleanup(func() { close(ask) })
	return func() time.Duration {
		ask <- struct{}{}
		return <-answer
	}
}

// memoryHeld returns how much memory the process has from the system.
func memoryHeld() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Sys - m.HeapReleased
}
