package bench

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Small is the small message of the benchmarks.
type Small struct {
	ID    int
	Name  string
	Value float64
}

const name16 = "sixteen letters."

func small(i int) Small { return Small{i, name16, float64(i) / 4} }

func (m Small) right() bool { return m.Value == float64(m.ID)/4 && m.Name == name16 }

const (
	pairs    = 100      // senders, and receivers, of the rows "100 to 100"
	inFlight = 64       // calls that wait for their results
	blobSize = 64 << 10 // of a large message
	flowing  = 200      // large messages sent when a stream counts as flowing
)

// newBlob returns the large message with that number.
func newBlob(i int) []byte {
	blob := make([]byte, blobSize)
	binary.BigEndian.PutUint64(blob, uint64(i))
	return blob
}

// blobNumber returns the number of a large message, -1 when it is not whole.
func blobNumber(blob []byte) int {
	if len(blob) != blobSize {
		return -1
	}
	return int(binary.BigEndian.Uint64(blob))
}

// share is how many of n fall to the i-th of so many, dealt out in turn.
func share(n, among, i int) int { return (n - i + among - 1) / among }

// shares is how many of n messages reach the i-th receiver when each sender deals its own share out in turn.
func shares(n, i int) int {
	sum := 0
	for s := range pairs {
		sum += share(share(n, pairs, s), pairs, i)
	}
	return sum
}

// check compares what came with what was sent: n messages, numbered from 0.
func check(n, count, sum, wrong int) error {
	if count != n || sum != n*(n-1)/2 || wrong > 0 {
		return fmt.Errorf("of %d messages came %d, %d of them wrong; the sum of their numbers is %d", n, count, wrong, sum)
	}
	return nil
}

// quantile sorts values and returns the one that so much of them are below.
func quantile(values []float64, q float64) float64 {
	slices.Sort(values)
	return values[min(int(q*float64(len(values))), len(values)-1)]
}
