package discoro

import (
	"slices"
	"testing"

	"github.com/discoro/discoro/internal/call"
)

// TestEndBehindLoss delivers the ends of items after the loss of their server, in every order. The
// first of the items that did not end counts the attempt, and no other does.
func TestEndBehindLoss(t *testing.T) {
	t.Parallel()
	const items = 4
	for ended := range items { // how many of them have ended
		for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 0, 2}, {2, 0, 3, 1}} {
			m := &mapping[int, int]{s: &RemoteCoroScheduler{cfg: RCSConfig{Retries: 2}}, sent: map[int]*item[int]{}, lines: map[*rcsServer]*mapLine[int]{}}
			sv := &rcsServer{}
			var all []*item[int]
			for i := range items {
				it := &item[int]{index: i, attempts: 1}
				m.enter(sv, it)
				all = append(all, it)
			}
			sent := 0
			for _, i := range order {
				if i >= ended {
					m.itemEnded(all[i], call.Outcome{Err: &ServerLostError{}})
					continue
				}
				for ; sent <= i; sent++ { // ends come in order, losses in any order
					m.exit(all[sent], false)
				}
			}
			var attempts []int
			for _, it := range all[ended:] {
				attempts = append(attempts, it.attempts)
			}
			want := slices.Repeat([]int{0}, items-ended)
			want[0] = 1
			if !slices.Equal(attempts, want) || len(m.again) != items-ended || m.busy != 0 || len(m.sent) != 0 {
				t.Errorf("%d ended, in the order %v: attempts %v, want %v; %d run again, %d busy", ended, order, attempts, want, len(m.again), m.busy)
			}
		}
	}
}

// TestTakenBackBehindLoss takes back an item, and ends the one before it, after the loss of their
// server. The attempt counts for the third one.
func TestTakenBackBehindLoss(t *testing.T) {
	t.Parallel()
	m := &mapping[int, int]{s: &RemoteCoroScheduler{cfg: RCSConfig{Retries: 2}}, sent: map[int]*item[int]{}, lines: map[*rcsServer]*mapLine[int]{}}
	sv := &rcsServer{}
	var all []*item[int]
	for i := range 3 {
		it := &item[int]{index: i, attempts: 1}
		m.enter(sv, it)
		all = append(all, it)
	}
	m.itemEnded(all[2], call.Outcome{Err: &ServerLostError{}})
	m.exit(all[1], false)
	m.exit(all[0], false)
	for i, it := range all { // the caller of exit takes off that of the second one
		if it.attempts != 1 {
			t.Errorf("item %d: attempts %d, want 1", i, it.attempts)
		}
	}
}
