package discoro

import (
	"slices"
	"testing"
	"time"
)

// TestSimulatedCluster has a scheduler with more nodes than a machine has room for, each at a host of its own.
func TestSimulatedCluster(t *testing.T) {
	const nodes, servers, items = 40, 2, 4000
	inMemory(t, nodes, SchedulerConfig{}, NodeConfig{Servers: servers}, func(c *memCluster) {
		comp := c.schedule(c.sched.Runtime, nodes*servers, ComputationConfig{})
		rcs, err := NewRemoteCoroScheduler(comp)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		at := map[Location]int{}
		seen := make([]int, items)
		for out := range AsCompleted(c.ctx, rcs, hostNap, numbers(items)) {
			if out.Err != nil || out.Value != out.Index {
				t.Fatalf("item %d: %d, %v", out.Index, out.Value, out.Err)
			}
			seen[out.Index]++
			at[out.Server]++
		}
		if i := slices.IndexFunc(seen, func(n int) bool { return n != 1 }); i >= 0 {
			t.Errorf("item %d came %d times", i, seen[i])
		}
		if took, want := time.Since(start), items/(nodes*servers)*hostNapTime; took != want {
			t.Errorf("it took %v, want %v with every server busy all the time", took, want)
		}
		for server, n := range at {
			if n != items/(nodes*servers) {
				t.Errorf("%v had %d items, want as many as each other", server, n)
			}
		}
		if err := rcs.Finish(c.ctx, true); err != nil {
			t.Error(err)
		}
	})
}
