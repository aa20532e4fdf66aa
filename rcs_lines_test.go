package discoro

import (
	"slices"
	"testing"

	"github.com/discoro/discoro/internal/call"
)

// TestEndBehindLoss has words of the ends of items come behind word that their server is lost, in every order: whichever item was the
// first of those that did not end counts the attempt, and no other.
func TestEndBehindLoss(t *testing.T) {
	t.Parallel()
	const items = 4
	for ended := range items { // so many of them have ended
		for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 0, 2}, {2, 0, 3, 1}} {
			m := &mapping[int, int]{s: &RemoteCoroScheduler{cfg: RCSConfig{Retries: 2}}, sent: map[int]*item[int]{}, lines: map[*rcsServer]*mapLine[int]{}}
			sv := &rcsServer{}
			var all []*item[int]
			for i := range items {
				it := &item[int]{index: i, attempts: 1}
				m.enter(sv, it)
				all = append(all, it)
			}
			told := 0
			for _, i := range order {
				if i >= ended {
					m.itemEnded(all[i], call.Outcome{Err: &ServerLostError{}})
					continue
				}
				for ; told <= i; told++ { // ends are told in their order, losses in any
					m.exit(all[told], false)
				}
			}
			var attempts []int
			for _, it := range all[ended:] {
				attempts = append(attempts, it.attempts)
			}
			want := slices.Repeat([]int{0}, items-ended)
			want[0] = 1
			if !slices.Equal(attempts, want) || len(m.again) != items-ended || m.busy != 0 || len(m.sent) != 0 {
				t.Errorf("%d ended, told as %v: attempts %v, want %v; %d run again, %d busy", ended, order, attempts, want, len(m.again), m.busy)
			}
		}
	}
}

// TestTakenBackBehindLoss has an item be taken back, and the one before it end, behind word that their server is lost: the attempt is
// the third's.
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
	for i, it := range all { // who calls exit takes off that of the second
		if it.attempts != 1 {
			t.Errorf("item %d: attempts %d, want 1", i, it.attempts)
		}
	}
}
