package test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/statelock"
	"github.com/discoro/discoro/internal/testkit"
)

// stressRun does what its item says. It fails when another item runs at its server, or when its
// item runs at another server, too.
var stressRun = discoro.Register("stress.run", func(c *discoro.Coro, it stressItem) (int, error) {
	if busy, _ := rcsBusy.Get(c); busy > 0 {
		return 0, errors.New("not alone at its server")
	}
	rcsBusy.Set(c, 1)
	defer rcsBusy.Set(c, 0)
	f, err := statelock.LockFile(filepath.Join(it.Dir, fmt.Sprintf("%d-%d", it.Map, it.Item)))
	if err != nil {
		return 0, fmt.Errorf("at two servers at once: %w", err)
	}
	defer f.Close()
	runs, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if _, err := f.WriteAt([]byte{0}, runs.Size()); err != nil {
		return 0, err
	}
	if err := c.Sleep(it.For); err != nil {
		return 0, err
	}
	switch {
	case it.Kills > runs.Size():
		return 0, testkit.Kill(os.Getpid())
	case it.Fails:
		return 0, errBoom
	}
	return it.Item, nil
})

type stressItem struct {
	Dir       string
	Map, Item int
	For       time.Duration
	Kills     int64 // how many servers
	Fails     bool
}

// TestRCSStress runs maps and tasks at the same servers. Their items take no time or a while, fail,
// and kill servers; loops are left early, and end with their context. Each item ends once, as it
// should, and no server is lost to the others.
func TestRCSStress(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 3, Processes: true})
	const retries, items = 2, 200
	s := c.rcs(discoro.RCSConfig{Retries: retries})
	dir := t.TempDir()
	var wg sync.WaitGroup
	var ended atomic.Int64
	for n := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(n), 1))
			args := make([]stressItem, items)
			for i := range args {
				args[i] = stressItem{Dir: dir, Map: n, Item: i, Fails: rng.IntN(20) == 0}
				if rng.IntN(10) == 0 {
					args[i].For = time.Duration(rng.IntN(int(10 * time.Millisecond)))
				}
			}
			args[rng.IntN(items)].Kills = 1
			killer := rng.IntN(items)
			if n == 0 {
				args[killer].Kills = retries + 10
			}
			ctx, cancel := context.WithCancel(c.ctx)
			defer cancel()
			seen := map[int]bool{}
			for out := range discoro.AsCompleted(ctx, s, stressRun, slices.Values(args)) {
				if ctx.Err() != nil {
					continue
				}
				if out.Index < 0 || seen[out.Index] {
					t.Errorf("map %d: came again, or not at all: %+v", n, out)
					return
				}
				seen[out.Index] = true
				var lost *discoro.ServerLostError
				switch it := args[out.Index]; {
				case it.Kills > retries:
					if !errors.As(out.Err, &lost) || out.Attempts != retries+1 {
						t.Errorf("map %d, who kills every server: %+v", n, out)
					}
				case it.Fails:
					if !errors.Is(out.Err, errBoom) {
						t.Errorf("map %d, who fails: %+v", n, out)
					}
				case out.Err != nil || out.Value != out.Index || out.Attempts > retries+1:
					t.Errorf("map %d: %+v", n, out)
				}
				if n == 1 && len(seen) == items/2 {
					cancel()
				}
				if n == 2 && len(seen) == items/2 {
					break
				}
			}
			if n != 1 && n != 2 && len(seen) != items {
				t.Errorf("map %d: %d items ended, want %d", n, len(seen), items)
			}
			ended.Add(int64(len(seen)))
		})
	}
	wg.Go(func() {
		for i := range 50 {
			if n, err := discoro.Execute(c.ctx, s, stressRun.With(stressItem{Dir: dir, Map: 100, Item: i})); n != i || err != nil {
				t.Errorf("task %d: %d, %v", i, n, err)
			}
		}
	})
	wg.Wait()
	t.Logf("%d items ended", ended.Load())
	all := make([]stressItem, items)
	for i := range all {
		all[i] = stressItem{Dir: dir, Map: 200, Item: i}
	}
	got, err := discoro.MapResults(c.ctx, s, stressRun, slices.Values(all))
	if err != nil || !slices.Equal(got, numbers(items)) {
		t.Errorf("afterwards: %v, %v", got, err)
	}
	c.finish(s)
}
