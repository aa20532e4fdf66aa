package discoro

import (
	"testing"

	"pgregory.net/rapid"
)

// TestMailbox compares a mailbox with a plain slice, over any sequence of what senders and the
// receiver do.
func TestMailbox(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m mailbox
		var want []int
		next := 0
		take := func() (v any, ok bool) {
			if v, ok = m.take(); !ok && m.refillLocked() {
				v, ok = m.take()
			}
			return v, ok
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				for range rapid.IntRange(1, 3*segmentItems).Draw(t, "n") {
					m.putLocked(next)
					want = append(want, next)
					next++
				}
			},
			"take": func(t *rapid.T) {
				for range rapid.IntRange(1, 3*segmentItems).Draw(t, "n") {
					v, ok := take()
					if ok != (len(want) > 0) || ok && v != want[0] {
						t.Fatalf("took %v, %v of %d", v, ok, len(want))
					}
					if ok {
						want = want[1:]
					}
				}
			},
			"untake": func(*rapid.T) {
				if v, ok := take(); ok {
					m.untake(v)
				}
			},
		})
		for len(want) > 0 {
			if v, ok := take(); !ok || v != want[0] {
				t.Fatalf("took %v, %v; want %d", v, ok, want[0])
			}
			want = want[1:]
		}
		if _, ok := take(); ok {
			t.Fatal("one too many")
		}
	})
}

// TestMailboxGivesMemoryBack empties a mailbox that was full. It keeps two small segments, and no
// message.
func TestMailboxGivesMemoryBack(t *testing.T) {
	var m mailbox
	for range 2 {
		for i := range 100 * segmentItems {
			m.putLocked(i)
		}
		for m.refillLocked() {
			for ok := true; ok; {
				_, ok = m.take()
			}
		}
		kept := 0
		for _, s := range []*segment{m.out, m.first} {
			for ; s != nil; s = s.next {
				kept++
				if cap(s.items) > segmentItems {
					t.Errorf("a segment of %d", cap(s.items))
				}
				for _, v := range s.items[:cap(s.items)] {
					if v != nil {
						t.Fatal("a message is kept alive")
					}
				}
			}
		}
		if kept > 2 {
			t.Errorf("%d segments are kept", kept)
		}
	}
}
