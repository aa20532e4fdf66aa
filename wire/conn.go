package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxFrameSize bounds what a frame's length field may say.
const maxFrameSize = 1<<31 - 1

// FrameOverhead is the most that a frame adds to the user's value in it.
const FrameOverhead = 4096

// readBuffer is how much is read from a stream at once; a frame that fits is decoded in place.
const readBuffer = 64 << 10

// Reader splits a stream into frames. It is owned by the goroutine that reads the link.
type Reader struct {
	r   *bufio.Reader // owned by the link's reader
	max int           // immutable: the largest payload that is accepted
	big []byte        // owned by the link's reader: holds a payload larger than readBuffer
}

// NewReader returns a Reader of r that refuses payloads of more than limit bytes.
func NewReader(r io.Reader, limit int) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, readBuffer), max: limit}
}

// Next returns the next frame's kind and payload. The payload is valid until the next call.
// Memory grows only as bytes arrive, whatever length the peer claims.
func (r *Reader) Next() (Kind, []byte, error) {
	head, err := r.r.Peek(frameHead)
	if err != nil {
		if len(head) > 0 {
			err = cutShort(err)
		}
		return 0, nil, err
	}
	size := int64(binary.BigEndian.Uint32(head)) - 1
	kind := Kind(head[4])
	if size < 0 || size > int64(r.max) {
		return 0, nil, fmt.Errorf("%w: kind %d claims %d bytes, at most %d are taken here (is MaxMessage alike on both sides?)",
			ErrMalformed, kind, size, r.max)
	}
	if _, err := r.r.Discard(frameHead); err != nil {
		return 0, nil, err
	}
	if size <= readBuffer {
		payload, err := r.r.Peek(int(size))
		if err != nil {
			return 0, nil, cutShort(err)
		}
		// Discard only moves the read position: the bytes stay until the next read.
		_, err = r.r.Discard(int(size))
		return kind, payload, err
	}
	payload, err := r.large(int(size))
	return kind, payload, err
}

// large reads a payload that does not fit the buffer, growing as the bytes come.
func (r *Reader) large(size int) ([]byte, error) {
	buf := r.big[:0]
	for len(buf) < size {
		step := min(size-len(buf), max(readBuffer, len(buf)))
		start := len(buf)
		buf = grow(buf, step)
		if _, err := io.ReadFull(r.r, buf[start:]); err != nil {
			return nil, cutShort(err)
		}
	}
	r.big = nil
	if size <= 16*readBuffer {
		r.big = buf // worth keeping for the next one
	}
	return buf, nil
}

// cutShort is what an error means inside a frame.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func grow(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b[:len(b)+n]
	}
	out := make([]byte, len(b)+n)
	copy(out, b)
	return out
}

// Buffered tells whether a further frame's beginning has been read already, so that answers can be batched.
func (r *Reader) Buffered() bool { return r.r.Buffered() >= frameHead }
