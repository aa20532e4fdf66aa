package loop

import (
	"slices"
	"sync"
	"testing"
)

func TestInbox(t *testing.T) {
	t.Parallel()
	b := NewInbox[int]()
	if !b.Put(1) || !b.Put(2) {
		t.Error("an open inbox takes nothing")
	}
	<-b.More()
	if got := b.Take(nil); !slices.Equal(got, []int{1, 2}) {
		t.Errorf("took %v", got)
	}
	spare := []int{7, 8}
	if got := b.Take(spare); len(got) != 0 || spare[0] != 0 {
		t.Errorf("took %v from an empty inbox; spare is %v", got, spare)
	}
	b.Put(3)
	if left := b.Close(); !slices.Equal(left, []int{3}) {
		t.Errorf("closed with %v left", left)
	}
	if b.Put(4) || len(b.Take(nil)) != 0 {
		t.Error("a closed inbox takes items")
	}
}

// TestActorTakesTurns puts events from many goroutines, and from the handler itself: one is handled
// at a time, those of a goroutine in order.
func TestActorTakesTurns(t *testing.T) {
	t.Parallel()
	const putters, each = 8, 1000
	type event struct{ from, n int }
	var a Actor[event]
	last := map[int]int{} // without a lock: the race detector would see two at once
	again, inside := 0, false
	a.Handle = func(e event) {
		if inside {
			t.Error("called again while it runs")
		}
		inside = true
		switch {
		case e.from < 0:
			again++
		case e.n != last[e.from]+1:
			t.Errorf("%d of %d came after %d", e.n, e.from, last[e.from])
		default:
			last[e.from] = e.n
			a.Put(event{from: -1})
		}
		inside = false
	}
	var wg sync.WaitGroup
	for from := range putters {
		wg.Go(func() {
			for n := range each {
				a.Put(event{from, n + 1})
			}
		})
	}
	wg.Wait()
	a.Handle = func(event) {}
	if a.Put(event{}); again != putters*each || len(a.queue) != 0 {
		t.Errorf("%d events of %d put by the handler; %d wait", again, putters*each, len(a.queue))
	}
}
