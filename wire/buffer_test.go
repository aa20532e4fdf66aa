package wire

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// TestReaderBuffers reads frames of all sizes that arrive in pieces of all sizes.
func TestReaderBuffers(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	var stream []byte
	var sizes []int
	for range 3000 {
		size := rnd.IntN(100)
		switch rnd.IntN(20) {
		case 0:
			size = rnd.IntN(2 * inPlace)
		case 1:
			size = rnd.IntN(PartSize - 64)
		}
		f, err := AppendFrame(nil, &Message{To: uint64(len(sizes)), Body: bytes.Repeat([]byte{byte(size)}, size)})
		if err != nil {
			t.Fatal(err)
		}
		stream, sizes = append(stream, f...), append(sizes, size)
	}
	for name, r := range map[string]io.Reader{
		"at once": bytes.NewReader(stream),
		"bytes":   iotest.OneByteReader(bytes.NewReader(stream)),
		"halves":  iotest.HalfReader(bytes.NewReader(stream)),
		"error":   iotest.DataErrReader(bytes.NewReader(stream)),
		"pieces":  &pieces{r: bytes.NewReader(stream), rnd: rand.New(rand.NewPCG(3, 4))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reader := NewReader(r, 1<<20)
			for i, size := range sizes {
				f, _, err := reader.Next()
				if err != nil {
					t.Fatalf("frame %d: %v", i, err)
				}
				m := f.(*Message)
				if m.To != uint64(i) || !bytes.Equal(m.Body, bytes.Repeat([]byte{byte(size)}, size)) {
					t.Fatalf("frame %d of %d bytes came as %d with %d", i, size, m.To, len(m.Body))
				}
			}
			if _, _, err := reader.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %v", err)
			}
		})
	}
}

// pieces is a stream that arrives in pieces of any size, as from a network: small ones, one byte
// less than the buffer, and as much as fits.
type pieces struct {
	r   io.Reader
	rnd *rand.Rand
}

func (p *pieces) Read(b []byte) (int, error) {
	return p.r.Read(b[:max(1, min(len(b), []int{len(b), len(b) - 1, p.rnd.IntN(smallBuffer), p.rnd.IntN(readBuffer)}[p.rnd.IntN(4)]))])
}

// TestIdleReader checks how much memory the reader of an idle link holds, also after much has
// arrived on it.
func TestIdleReader(t *testing.T) {
	t.Parallel()
	little, err := AppendFrame(nil, &Pulse{Every: 1})
	if err != nil {
		t.Fatal(err)
	}
	burst, err := AppendFrame(nil, &Message{To: 1, Body: make([]byte, inPlace-100)})
	if err != nil {
		t.Fatal(err)
	}
	in, out := io.Pipe()
	defer func() { _ = out.Close() }()
	r := NewReader(in, 1<<20)
	next := func(sent []byte, frames int) {
		t.Helper()
		go func() { _, _ = out.Write(sent) }()
		for range frames {
			if _, _, err := r.Next(); err != nil {
				t.Fatal(err)
			}
		}
	}
	next(bytes.Repeat(little, 3), 3)
	if r.in.large != nil || len(r.in.b) > smallBuffer {
		t.Errorf("a few pulses have a buffer of %d bytes", len(r.in.b))
	}
	next(bytes.Repeat(burst, 40), 40)
	if r.in.large == nil {
		t.Errorf("much that came at once had a buffer of %d bytes", len(r.in.b))
	}
	next(little, 1)
	next(little, 1)
	if r.in.large != nil || len(r.in.b) > smallBuffer {
		t.Errorf("idle after a burst it has a buffer of %d bytes", len(r.in.b))
	}
}
