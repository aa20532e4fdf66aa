package wire

import (
	"io"
	"sync"
)

// The sizes of buffers for reading from a stream.
const (
	readBuffer  = 64 << 10 // while much arrives
	smallBuffer = 512      // otherwise: most links of a large cluster are idle, and would hold little but their buffers
)

// largeBuffers holds large buffers that nobody uses.
var largeBuffers = sync.Pool{New: func() any { b := make([]byte, readBuffer); return &b }}

// inBuffer holds bytes that were read from a stream and not used yet. Its buffer is small until a
// read has filled it, or the caller asks for more than it holds. It is small again after a read
// that brought little.
type inBuffer struct {
	r     io.Reader // immutable
	b     []byte    // the buffer in use
	small []byte    // the small buffer, while b is the large one
	large *[]byte   // b, when it is the large one; nil otherwise
	start int       // b[start:end] was read and not used yet
	end   int
	last  int   // how many bytes the last read brought
	full  bool  // the last read has filled the buffer
	err   error // the error of the last read, not returned yet
}

// peek returns the next n bytes, at most readBuffer, and does not use them up. They are valid until
// the next call. It returns fewer bytes together with an error.
func (b *inBuffer) peek(n int) ([]byte, error) {
	for b.end-b.start < n {
		if err := b.fill(n); err != nil {
			return b.b[b.start:b.end], err
		}
	}
	return b.b[b.start : b.start+n], nil
}

// discard uses up n bytes that peek has returned.
func (b *inBuffer) discard(n int) { b.start += n }

// Read implements [io.Reader].
func (b *inBuffer) Read(p []byte) (int, error) {
	if b.start == b.end {
		if len(p) >= readBuffer && b.err == nil {
			return b.r.Read(p)
		}
		if err := b.fill(min(len(p), readBuffer)); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.b[b.start:b.end])
	b.start += n
	return n, nil
}

// fill reads once, into a buffer with room for n bytes in all. It returns an error if no byte
// arrived.
func (b *inBuffer) fill(n int) error {
	if err := b.err; err != nil {
		b.err = nil
		return err
	}
	b.makeRoom(n)
	b.last, b.err = b.r.Read(b.b[b.end:])
	b.end += b.last
	b.full = b.end == len(b.b)
	if b.last > 0 {
		return nil
	}
	err := b.err
	b.err = nil
	return err
}

// makeRoom chooses the buffer, and moves the bytes in it to its start.
func (b *inBuffer) makeRoom(n int) {
	have := b.b[b.start:b.end]
	switch {
	case b.large == nil && (n > smallBuffer || b.full):
		b.small, b.large = b.b, largeBuffers.Get().(*[]byte)
		b.b = *b.large
	case b.large != nil && len(have) == 0 && n <= smallBuffer && b.last < smallBuffer:
		largeBuffers.Put(b.large)
		b.b, b.small, b.large = b.small, nil, nil
	}
	b.start, b.end = 0, copy(b.b, have)
}
