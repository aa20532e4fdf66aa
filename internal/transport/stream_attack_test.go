package transport

import (
	"bytes"
	"context"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/discoro/discoro/internal/testkit"
)

// TestStuckStreams fills all streams of a peer, with and without posted memory. Frames still go
// over the connection in both directions, and the memory that is held is bounded.
func TestStuckStreams(t *testing.T) {
	t.Parallel()
	a, b := transports(t)
	const posted = 3 << 20
	var writers sync.WaitGroup
	defer writers.Wait()
	defer a.Close()
	streams := map[*inStream]bool{}
	for i := range MaxStreams {
		s, err := a.Open()
		if err != nil {
			t.Fatal(err)
		}
		writers.Go(func() {
			for piece := make([]byte, 100_000); ; {
				if _, err := s.Write(piece); err != nil {
					return
				}
			}
		})
		r, err := b.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			r.Post(make([]byte, posted))
		}
		streams[r.(yamuxPeerStream).inStream] = i%2 == 0
	}
	testkit.Eventually(t, "they are all full", func() bool {
		for s := range streams {
			s.mu.Lock()
			window := s.window
			s.mu.Unlock()
			if window > 0 {
				return false
			}
		}
		return true
	})
	for _, way := range [][2]*Conn{{a, b}, {b, a}} {
		message, got := bytes.Repeat([]byte("a message"), 1000), make([]byte, 9000)
		for range 100 {
			if err := way[0].Write(message); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(way[1].Frames, got); err != nil || !bytes.Equal(got, message) {
				t.Fatal("a message came otherwise", err)
			}
		}
	}
	for s, some := range streams {
		s.mu.Lock()
		if s.full > 1 || !some && len(s.early) != streamWindow || some && len(s.early) > streamWindow {
			t.Errorf("it holds %d bytes", len(s.early))
		}
		s.mu.Unlock()
	}
}

// TestAnythingBelowFrames lets a peer send any frames of yamux, and ends the connection anywhere.
// All reads of its streams return when the connection ends, or earlier, and no stream counts twice.
func TestAnythingBelowFrames(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		one := func(all ...uint32) uint32 { return all[random.IntN(len(all))] }
		script := yamuxFrame(yamuxTypeWindow, yamuxFlagOpen, 1, 0)
		for range rapid.IntRange(0, 40).Draw(t, "frames") {
			kind := byte(one(0, 0, 0, 0, 1, 1, 1, 3))
			flags := uint16(one(0, 0, 0, 0, 1, 1, 1, 2, 4, 5, 8, 9, 12, 13))
			length := one(0, 0, 1, 10, 11, 12, 13, 5000, 5000, 70_000)
			if kind == 3 {
				length = 0
			}
			script = append(script, yamuxFrame(kind, flags, one(1, 2, 3, 3, 5, 5, 7, 9), length)...)
			if kind == yamuxTypeData {
				script = append(script, make([]byte, length)...)
			}
		}
		if random.IntN(10) == 0 {
			script = append(script, yamuxFrame(byte(one(0, 1, 2, 4)), 0, one(1, 3, 99), math.MaxUint32)...)
		}
		script = script[:len(script)-random.IntN(min(len(script)-yamuxHeader+1, 100))]

		near, far := net.Pipe()
		var all sync.WaitGroup
		all.Go(func() { _, _ = io.Copy(io.Discard, near) })
		all.Go(func() {
			defer near.Close()
			for len(script) > 0 {
				n := min(len(script), 1+random.IntN(1+random.IntN(9000)))
				if _, err := near.Write(script[:n]); err != nil {
					return
				}
				script = script[n:]
			}
		})
		b, err := New(context.Background(), far, false)
		if err == nil {
			all.Go(func() { _, _ = io.Copy(io.Discard, b.Frames) })
			for n := byte(0); ; n++ {
				s, err := b.Accept()
				if err != nil {
					break
				}
				all.Go(func() {
					if n%2 == 0 {
						for _, size := range []int{1, 1000, 100} {
							s.Post(make([]byte, size))
						}
						_, _ = s.Came(context.Background())
						s.Drop()
					}
					_, _ = io.Copy(io.Discard, s)
					b.Release()
					_ = s.Close()
				})
			}
			b.Close()
		}
		all.Wait()
		if b != nil && len(b.watched.streams.open) > MaxStreams {
			t.Errorf("%d streams are left", len(b.watched.streams.open))
		}
	})
}
