package transport

import (
	"context"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// TestAnythingToOwnStreams lets a peer send any frames of yamux while this side sends over streams
// of its own. All reads and writes return when the connection ends, or earlier.
func TestAnythingToOwnStreams(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		one := func(all ...uint32) uint32 { return all[random.IntN(len(all))] }
		var script []byte
		for range rapid.IntRange(0, 60).Draw(t, "frames") {
			kind := byte(one(0, 1, 1, 1, 1, 1))
			flags := uint16(one(0, 0, 0, 0, 0, 0, 2, 2, 4, 6, 8, 1))
			length := one(0, 1, 1, 10, 100_000, 1<<20)
			switch {
			case kind == yamuxTypeData:
				length = one(0, 1, 100)
			case random.IntN(20) == 0:
				length = math.MaxUint32
			}
			script = append(script, yamuxFrame(kind, flags, one(1, 2, 3, 3, 5, 5, 7, 9), length)...)
			if kind == yamuxTypeData {
				script = append(script, make([]byte, length)...)
			}
		}
		near, far := net.Pipe()
		var all sync.WaitGroup
		all.Go(func() { _, _ = io.Copy(io.Discard, far) })
		a, err := New(context.Background(), near, true)
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			defer far.Close()
			for len(script) > 0 {
				n := min(len(script), 1+random.IntN(100))
				if _, err := far.Write(script[:n]); err != nil {
					return
				}
				script = script[n:]
			}
		})
		all.Go(func() { _, _ = io.Copy(io.Discard, a.Frames) })
		ids := []uint32{}
		for range 4 {
			s, err := a.Open()
			if err != nil {
				break // the connection has ended, and the stream with it
			}
			ids = append(ids, s.(*outStream).id)
			all.Go(func() {
				for piece := make([]byte, 100_000); err == nil; {
					_, err = s.Write(piece)
				}
				_ = s.Close()
				_, _ = io.Copy(io.Discard, s)
			})
		}
		for err == nil {
			_, err = a.Accept()
		}
		a.Close()
		all.Wait()
		for _, id := range ids {
			if a.watched.own.open[id] != nil {
				t.Errorf("stream %d is left", id)
			}
		}
	})
}
