package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestSumIsRight counts batches of which the rare words are left out: whatever the sum says that it is sure of is what
// one count of everything says.
func TestSumIsRight(t *testing.T) {
	t.Parallel()
	sure, unsure := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		want := counts{Freq: map[string]int{}}
		total := sum{counts: counts{Freq: map[string]int{}}, seen: map[string]int{}}
		for range rapid.IntRange(1, 5).Draw(t, "batches") {
			words := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "a", "a", "a", "b", "b", "b", "c", "c", "d", "e", "f"}), 0, 60).Draw(t, "words")
			text := []byte(strings.Join(words, " "))
			want.count(text)
			c := countBatch(batch{Texts: [][]byte{text}, All: true})
			c.leaveOut(rapid.IntRange(0, 3).Draw(t, "rest"))
			total.add(c)
		}
		n := rapid.IntRange(1, 4).Draw(t, "n")
		top, ok := total.top(n)
		if total.Words != want.Words {
			t.Fatalf("%d words, want %d", total.Words, want.Words)
		}
		if !ok {
			unsure++
			return
		}
		sure++
		if wantTop := mostFrequent(want.Freq, n); !slices.Equal(top, wantTop) {
			t.Fatalf("sure of %q, want %q", top, wantTop)
		}
		for _, word := range top {
			if total.Freq[word] != want.Freq[word] {
				t.Fatalf("sure of %d times %q, want %d", total.Freq[word], word, want.Freq[word])
			}
		}
	})
	if sure == 0 || unsure == 0 {
		t.Errorf("sure %d times, not sure %d times: the test shows too little", sure, unsure)
	}
}

// TestBatchLeavesOut shows that what a batch leaves out is rare, and that it says how rare.
func TestBatchLeavesOut(t *testing.T) {
	t.Parallel()
	text := []byte(strings.Repeat("often ", 30_000) + strings.Repeat("twice thrice ", 2) + "thrice " + strings.Repeat("often ", 29_995))
	c := countBatch(batch{Texts: [][]byte{text}})
	if want := map[string]int{"often": 59_995, "thrice": 3}; c.Words != 60_000 || c.Rest != 3 {
		t.Errorf("%d words, rest %d, %v; want rest 3 of %v", c.Words, c.Rest, c.Freq, want)
	}
	if want := map[string]int{"often": 59_995}; !maps.Equal(c.Freq, want) {
		t.Errorf("%v, want %v", c.Freq, want)
	}
}
