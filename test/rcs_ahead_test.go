package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/testkit"
)

var (
	// aheadAlone returns its argument, and fails when its server runs another item meanwhile.
	aheadAlone = discoro.Register("ahead.alone", func(c *discoro.Coro, n int) (int, error) {
		if busy, _ := rcsBusy.Get(c); busy > 0 {
			return 0, errors.New("not alone")
		}
		rcsBusy.Set(c, 1)
		defer rcsBusy.Set(c, 0)
		return n, c.Yield()
	})

	// aheadOthers is what the items of a test share.
	aheadOthers sync.Map // of *aheadTest, by name

	// aheadLast returns its item. The long item returns only when all others have ended.
	aheadLast = discoro.Register("ahead.last", func(c *discoro.Coro, it aheadItem) (int, error) {
		v, _ := aheadOthers.Load(it.Test)
		test, _ := v.(*aheadTest)
		if it.Item != test.long {
			if test.left.Add(-1) == 0 {
				close(test.ended)
			}
			return it.Item, nil
		}
		close(test.began)
		return it.Item, c.Blocking(func() error {
			select {
			case <-test.ended:
				return nil
			case <-c.Done():
				return c.Err()
			}
		})
	})

	// aheadKill returns its item. Some items kill their server the first time.
	aheadKill = discoro.Register("ahead.kill", func(_ *discoro.Coro, it aheadVictim) (int, error) {
		if slices.Contains(it.Kills, it.Item) {
			err := os.Mkdir(filepath.Join(it.Dir, fmt.Sprint(it.Item)), 0o700)
			if err == nil {
				err = testkit.Kill(os.Getpid())
			}
			if !errors.Is(err, os.ErrExist) {
				return 0, err
			}
		}
		return it.Item, nil
	})
)

type aheadTest struct {
	long  int           // the item that ends last
	began chan struct{} // closed when it runs
	left  atomic.Int64  // how many others have not ended yet
	ended chan struct{} // closed when all have
}

func newAheadTest(long, others int) *aheadTest {
	test := &aheadTest{long: long, began: make(chan struct{}), ended: make(chan struct{})}
	test.left.Store(int64(others))
	return test
}

type aheadItem struct {
	Test string
	Item int
}

type aheadVictim struct {
	Dir   string
	Kills []int
	Item  int
}

// TestRCSSendsAhead lets short items wait at servers, a bounded number of them, where they run one
// at a time. Without Retries none waits there.
func TestRCSSendsAhead(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 2})
	for retries, want := range [][2]int{{1, 2}, {3, 2 * 16}} {
		s := c.rcs(discoro.RCSConfig{Retries: retries})
		const items = 600
		read, most := 0, 0
		args := func(yield func(int) bool) {
			for read < items {
				read++
				if !yield(read - 1) {
					return
				}
			}
		}
		got := map[int]int{}
		for out := range discoro.AsCompleted(c.ctx, s, aheadAlone, args) {
			if out.Err != nil || out.Value != out.Index || out.Attempts != 1 {
				t.Fatalf("%+v", out)
			}
			got[out.Index]++
			most = max(most, read-len(got))
		}
		for i := range items {
			if got[i] != 1 {
				t.Errorf("retries %d: item %d came %d times", retries, i, got[i])
			}
		}
		if most < want[0] || most > want[1] {
			t.Errorf("retries %d: up to %d items were under way at 2 servers, want %d to %d", retries, most, want[0], want[1])
		}
		c.finish(s)
	}
}

// TestRCSTakesBack lets an item run until all others have ended. Those that wait behind it must run
// elsewhere.
func TestRCSTakesBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 2})
	const items = 200
	for _, long := range []int{0, items / 2, items - 1} {
		s := c.rcs(discoro.RCSConfig{Retries: 1})
		test := newAheadTest(long, items-1)
		name := fmt.Sprintf("%s %d", t.Name(), long)
		aheadOthers.Store(name, test)
		args := make([]aheadItem, items)
		for i := range args {
			args[i] = aheadItem{name, i}
		}
		got, err := discoro.MapResults(c.ctx, s, aheadLast, slices.Values(args))
		if err != nil || !slices.Equal(got, numbers(items)) {
			t.Errorf("the long one is item %d: %v, %v", long, got, err)
		}
		c.finish(s)
	}
}

// TestRCSLeavesAhead leaves a loop while items wait behind one that runs. They are taken back, and
// do not hold the server.
func TestRCSLeavesAhead(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1})
	s := c.rcs(discoro.RCSConfig{Retries: 1})
	const items = 100
	test := newAheadTest(items/2, items)
	aheadOthers.Store(t.Name(), test)
	args := func(yield func(aheadItem) bool) {
		for i := range items {
			if !yield(aheadItem{t.Name(), i}) {
				return
			}
		}
	}
	ctx, cancel := context.WithCancel(c.ctx)
	before := make(chan int64, 1) // how many had run when the long one started; on a slow machine more than those before it
	go func() {
		<-test.began
		before <- items - test.left.Load()
		cancel()
	}()
	var failed []int
	for out := range discoro.AsCompleted(ctx, s, aheadLast, args) {
		switch {
		case out.Err == nil && out.Index != items/2:
		case !errors.Is(out.Err, context.Canceled):
			t.Errorf("%+v", out)
		case out.Index >= 0:
			failed = append(failed, out.Index)
		}
	}
	if !slices.Contains(failed, items/2) || len(failed) > 16 {
		t.Errorf("items that did not end: %v, want %d among the 16 that may be under way", failed, items/2)
	}
	c.finish(s) // which waits for all of them: for ever, if they waited behind the long one
	if ran, want := items-test.left.Load(), <-before; ran != want {
		t.Errorf("%d items have run, want only the %d before the one that was terminated", ran, want)
	}
}

// TestRCSLosesAhead lets items kill their servers while others wait there. Each item ends, and only
// those that have killed a server, or may have, count one more attempt.
func TestRCSLosesAhead(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 2, Processes: true})
	s := c.rcs(discoro.RCSConfig{Retries: 2})
	const items = 600
	kills := []int{100, 250, 400}
	args := make([]aheadVictim, items)
	dir := t.TempDir()
	for i := range args {
		args[i] = aheadVictim{dir, kills, i}
	}
	attempts := 0
	got := map[int]int{}
	for out := range discoro.AsCompleted(c.ctx, s, aheadKill, slices.Values(args)) {
		if out.Err != nil || out.Value != out.Index {
			t.Fatalf("%+v", out)
		}
		got[out.Index]++
		attempts += out.Attempts - 1
	}
	for i := range items {
		if got[i] != 1 {
			t.Errorf("item %d came %d times", i, got[i])
		}
	}
	if attempts != len(kills) {
		t.Errorf("%d attempts too many were counted for %d servers lost", attempts, len(kills))
	}
	c.finish(s)
}
