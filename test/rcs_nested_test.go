package test

import (
	"iter"
	"slices"
	"testing"

	"github.com/discoro/discoro"
)

// TestRCSTaskInLoop runs tasks, and another map, in the body of a loop, on a cluster with one
// server.
func TestRCSTaskInLoop(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1})
	for retries := range 2 {
		s := c.rcs(discoro.RCSConfig{Retries: retries})
		ended := 0
		for out := range discoro.AsCompleted(c.ctx, s, aheadAlone, slices.Values(numbers(20))) {
			if out.Err != nil || out.Value != out.Index || out.Attempts != 1 {
				t.Fatalf("%+v", out)
			}
			ended++
			if n, err := discoro.Execute(c.ctx, s, aheadAlone.With(100)); n != 100 || err != nil {
				t.Fatalf("retries %d, in the body: %d, %v", retries, n, err)
			}
			if got, err := discoro.MapResults(c.ctx, s, aheadAlone, slices.Values(numbers(3))); !slices.Equal(got, numbers(3)) || err != nil {
				t.Fatalf("retries %d, in the body: %v, %v", retries, got, err)
			}
		}
		if ended != 20 {
			t.Errorf("retries %d: %d items ended, want 20", retries, ended)
		}
		c.finish(s)
	}
}

// TestRCSTaskInArgs passes the results of one map to the next as arguments, on a cluster with one
// server.
func TestRCSTaskInArgs(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1})
	for retries := range 2 {
		s := c.rcs(discoro.RCSConfig{Retries: retries})
		const items, stages = 20, 3
		var stage func(n int) iter.Seq[int]
		stage = func(n int) iter.Seq[int] {
			if n == 0 {
				return slices.Values(numbers(items))
			}
			return func(yield func(int) bool) {
				for out := range discoro.AsCompleted(c.ctx, s, aheadAlone, stage(n-1)) {
					if out.Err != nil || out.Attempts != 1 {
						t.Errorf("retries %d, stage %d: %+v", retries, n, out)
					}
					if !yield(out.Value) {
						return
					}
				}
			}
		}
		if got := slices.Sorted(stage(stages)); !slices.Equal(got, numbers(items)) {
			t.Errorf("retries %d: %v", retries, got)
		}
		c.finish(s)
	}
}

// TestRCSBlockedArgs runs a task while a map waits for its next argument. The map holds no server
// meanwhile.
func TestRCSBlockedArgs(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 1})
	s := c.rcs()
	args := func(yield func(int) bool) {
		for i := range 3 {
			if n, err := discoro.Execute(c.ctx, s, aheadAlone.With(100)); n != 100 || err != nil {
				t.Errorf("before argument %d: %d, %v", i, n, err)
				return
			}
			if !yield(i) {
				return
			}
		}
	}
	if got, err := discoro.MapResults(c.ctx, s, aheadAlone, args); !slices.Equal(got, numbers(3)) || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	c.finish(s)
}

// TestRCSPanicInMap lets the arguments, and the body, of a loop panic. The map holds no server
// after that.
func TestRCSPanicInMap(t *testing.T) {
	t.Parallel()
	c := newCluster(t, discoro.NodeConfig{Servers: 2})
	for retries := range 2 {
		s := c.rcs(discoro.RCSConfig{Retries: retries})
		for i := range 4 {
			inArgs := i%2 == 0
			args := func(yield func(int) bool) {
				for n := 0; ; n++ {
					if inArgs && n == 10*i {
						panic("args")
					}
					if !yield(n) {
						return
					}
				}
			}
			func() {
				defer func() {
					if recover() == nil {
						t.Error("no panic came through")
					}
				}()
				for out := range discoro.AsCompleted(c.ctx, s, aheadAlone, args) {
					if !inArgs && out.Index == 10*i {
						panic("body")
					}
				}
			}()
			got, err := discoro.MapResults(c.ctx, s, aheadAlone, slices.Values(numbers(50)))
			if err != nil || !slices.Equal(got, numbers(50)) {
				t.Fatalf("retries %d, after panic %d: %v, %v", retries, i, got, err)
			}
		}
		c.finish(s)
	}
}
