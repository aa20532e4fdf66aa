package wire

import (
	"io"
	"sync"
)

// How much is read from a stream at once.
const (
	readBuffer  = 64 << 10 // while much comes
	smallBuffer = 512      // else: most links of a large cluster are idle, and a buffer for each is most of what they hold
)

// largeBuffers are not in use.
var largeBuffers = sync.Pool{New: func() any { b := make([]byte, readBuffer); return &b }}

// inBuffer is what was read from a stream and not used yet. Its buffer is small until a read has filled it, or more is asked
// for; it is small again when a read has brought little.
type inBuffer struct {
	r     io.Reader // immutable
	b     []byte    // the buffer
	small []byte    // the small one, while b is large
	large *[]byte   // b, when it is the large one
	start int       // what is in b, from here
	end   int       // to here
	last  int       // bytes that the last read brought
	full  bool      // it has filled the buffer
	err   error     // of the last read
}

// peek returns the next n bytes, at most readBuffer, without using them up; they are valid until the next call. Fewer come
// with an error.
func (b *inBuffer) peek(n int) ([]byte, error) {
	for b.end-b.start < n {
		if err := b.fill(n); err != nil {
			return b.b[b.start:b.end], err
		}
	}
	return b.b[b.start : b.start+n], nil
}

// discard uses up bytes that were peeked.
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

// fill reads once, into a buffer that has room for n bytes in all. It returns an error when nothing came.
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

// makeRoom chooses the buffer, and moves what is in it to its beginning.
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
