package test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/discoro/discoro"
)

var (
	rcsBusy discoro.Var[int]
	// rcsAlone fails when its server runs another of it.
	rcsAlone = discoro.Register("rcs.alone", func(c *discoro.Coro, n int) (int, error) {
		if busy, _ := rcsBusy.Get(c); busy > 0 {
			return 0, errors.New("not alone")
		}
		rcsBusy.Set(c, 1)
		defer rcsBusy.Set(c, 0)
		return n, c.Sleep(time.Millisecond)
	})
)

// rcs returns a scheduler of a new computation.
func (c *cluster) rcs(cfg ...discoro.RCSConfig) *discoro.RemoteCoroScheduler {
	c.Helper()
	comp, err := discoro.NewComputation(c.sched.Runtime)
	if err != nil {
		c.Fatal(err)
	}
	s, err := discoro.NewRemoteCoroScheduler(comp, cfg...)
	if err != nil {
		c.Fatal(err)
	}
	return s
}

// finish closes what rcs made; all tasks must have ended, and every server must be free by then.
func (c *cluster) finish(s *discoro.RemoteCoroScheduler) {
	c.Helper()
	if err := s.Finish(c.ctx, true); err != nil {
		c.Error(err)
	}
}

func numbers(n int) []int {
	args := make([]int, n)
	for i := range args {
		args[i] = i
	}
	return args
}

func TestRCSOneTaskAServer(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 3})
	s := c.rcs()
	var wg sync.WaitGroup
	for range 4 { // several maps at once, and single tasks between
		wg.Go(func() {
			got, err := discoro.MapResults(c.ctx, s, rcsAlone, slices.Values(numbers(20)))
			if err != nil || !slices.Equal(got, numbers(20)) {
				t.Errorf("%v, %v", got, err)
			}
		})
		wg.Go(func() {
			for i := range 10 {
				if n, err := discoro.Execute(c.ctx, s, rcsAlone.With(i)); n != i || err != nil {
					t.Errorf("%d, %v", n, err)
				}
			}
		})
	}
	wg.Wait()
	c.finish(s)
}

func TestRCSReadsLazily(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 2})
	s := c.rcs()
	read := 0 // not guarded: arguments are read by who ranges
	args := func(yield func(int) bool) {
		for i := range 1000 {
			read++
			if !yield(i) {
				return
			}
		}
	}
	got := 0
	for out := range discoro.AsCompleted(c.ctx, s, rcsAlone, args) {
		if out.Err != nil {
			t.Fatal(out.Err)
		}
		got++
		if ahead := read - got; ahead > 2 {
			t.Fatalf("%d arguments were read for 2 servers, with %d results", read, got)
		}
		if got == 10 {
			break
		}
	}
	// The two that were under way are terminated, and their servers free again.
	if got, err := discoro.MapResults(c.ctx, s, rcsAlone, slices.Values(numbers(5))); err != nil || !slices.Equal(got, numbers(5)) {
		t.Errorf("%v, %v", got, err)
	}
	c.finish(s)
}

func TestRCSBreakTerminates(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 2})
	s := c.rcs()
	for out := range discoro.AsCompleted(c.ctx, s, faultNap, slices.Values([]int{1, 3600_000, 3600_000})) {
		if out.Index != 0 || out.Err != nil {
			t.Errorf("%+v", out)
		}
		break
	}
	c.finish(s) // waits for the naps, unless they were terminated
}

func TestRCSContextEnds(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 2})
	s := c.rcs()
	ctx, cancel := context.WithCancel(c.ctx)
	outs := map[int]error{}
	for out := range discoro.AsCompleted(ctx, s, faultNap, slices.Values([]int{1, 3600_000, 3600_000, 1, 1})) {
		if _, ok := outs[out.Index]; ok {
			t.Errorf("item %d comes again", out.Index)
		}
		outs[out.Index] = out.Err
		if out.Index == 0 {
			cancel()
		}
	}
	cancel()
	if outs[0] != nil {
		t.Errorf("item 0: %v", outs[0])
	}
	if err := outs[-1]; !errors.Is(err, context.Canceled) {
		t.Errorf("the rest: %v", err)
	}
	for i, err := range outs {
		if i > 0 && !errors.Is(err, context.Canceled) {
			t.Errorf("item %d: %v", i, err)
		}
	}
	if _, err := discoro.Execute(ctx, s, double.With(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	c.finish(s)
}

// TestRCSContextRaces ends waits for a server just as one comes free: no server may be lost that
// way.
func TestRCSContextRaces(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1})
	s := c.rcs()
	for i := range 100 {
		ctx, cancel := context.WithCancel(c.ctx)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				_, _ = discoro.Execute(ctx, s, double.With(i))
				cancel()
			})
		}
		wg.Wait()
		cancel()
	}
	if n, err := discoro.Execute(c.ctx, s, double.With(4)); n != 8 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	c.finish(s)
}

var rcsRoot = discoro.Register("rcs.root", func(_ *discoro.Coro, n int) (int, error) {
	for i := range n + 1 {
		if i*i == n {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%d is no square", n)
})

func TestRCSFailuresAndResults(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 2})
	s := c.rcs()
	got, err := discoro.MapResults(c.ctx, s, rcsRoot, slices.Values([]int{1, 3, 4, 5}))
	if !slices.Equal(got, []int{1, 0, 2, 0}) || err == nil {
		t.Fatalf("%v, %v", got, err)
	}
	for _, says := range []string{"item 1: rcs.root at ", "item 3: rcs.root at ", "3 is no square", "5 is no square"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("%q is not in: %v", says, err)
		}
	}
	if got, err := discoro.MapResults(c.ctx, s, double, slices.Values([]int{})); len(got) != 0 || err != nil {
		t.Errorf("nothing to do: %v, %v", got, err)
	}
	c.finish(s)
	if _, err := discoro.MapResults(c.ctx, s, double, slices.Values([]int{1})); !errors.Is(err, discoro.ErrClosed) {
		t.Errorf("after Finish: %v", err)
	}
	if err := s.Finish(c.ctx, true); err != nil {
		t.Errorf("finished twice: %v", err)
	}
}

// hookLog notes what hooks were called with.
type hookLog struct {
	mu    sync.Mutex // guards following; leaf
	lines []string
}

func (l *hookLog) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func (l *hookLog) count(prefix string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

func TestRCSHooks(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 3})
	comp, err := discoro.NewComputation(c.sched.Runtime)
	if err != nil {
		t.Fatal(err)
	}
	var log hookLog
	var mu sync.Mutex
	refused := map[discoro.Location]bool{}
	s, err := discoro.NewRemoteCoroScheduler(comp, discoro.RCSConfig{
		ProcStatus: func(_ *discoro.Coro, st discoro.Status) error {
			log.add("status %v", st.Kind)
			mu.Lock()
			defer mu.Unlock()
			if st.Kind == discoro.ServerInitialized && len(refused) == 0 {
				refused[st.Server] = true
				return errors.New("not this one")
			}
			return nil
		},
		ProcAvailable: func(co *discoro.Coro, server discoro.Location) error {
			mu.Lock()
			second := len(refused) == 1
			if second {
				refused[server] = true
			}
			mu.Unlock()
			if second {
				return errors.New("nor this")
			}
			got, err := comp.RunAt(co, server, double.With(3))
			if err != nil {
				return err
			}
			n, err := discoro.Result[int](co, got)
			log.add("available %d", n)
			return err
		},
		ProcClose: func(co *discoro.Coro, kind discoro.StatusKind, server discoro.Location) {
			_, err := comp.RunAt(co, server, double.With(3))
			log.add("close %v %v", kind, err == nil)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for out := range discoro.AsCompleted(c.ctx, s, rcsAlone, slices.Values(numbers(20))) {
		if out.Err != nil || refused[out.Server] {
			t.Errorf("item %d at %v: %v", out.Index, out.Server, out.Err)
		}
	}
	c.finish(s)
	for prefix, want := range map[string]int{
		"status ComputationScheduled": 1, "status ServerInitialized": 3, "status ServerClosed": 3, "status ComputationClosed": 1,
		"available 6": 1, "close ServerInitialized true": 1, "close ServerInitialized false": 0, "close ServerClosed false": 3,
	} {
		if n := log.count(prefix); n != want {
			t.Errorf("%d times %q, want %d: %q", n, prefix, want, log.lines)
		}
	}
}

// TestRCSFinishUnused finishes schedulers that never had their turn, or a server.
func TestRCSFinishUnused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1})
	first := c.computation(1)
	c.finish(c.rcs()) // queued behind first
	if err := first.Close(c.ctx); err != nil {
		t.Fatal(err)
	}
	c.finish(c.rcs())
	if _, err := discoro.NewRemoteCoroScheduler(first); !errors.Is(err, discoro.ErrClosed) {
		t.Errorf("of a closed computation: %v", err)
	}
	if _, err := discoro.NewRemoteCoroScheduler(nil); err == nil {
		t.Error("of no computation")
	}
}
