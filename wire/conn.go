package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// maxFrameSize bounds what a frame's length field may say.
const maxFrameSize = 1<<31 - 1

// FrameOverhead is the most that a frame adds to the user's value in it.
const FrameOverhead = 4096

// readBuffer is how much is read from a stream at once. A frame that travels whole fits it, and is decoded in place.
const readBuffer = 64 << 10

// What travels in parts.
const (
	// PartSize is the most bytes of a frame, with its head, that travel at once. A larger frame is cut into parts of that
	// size, so that others can go between them.
	PartSize = 48 << 10
	// MaxParted is how many frames may be on their way in parts at the same time.
	MaxParted = 4
	// maxGuess is how many bytes are allocated at once for a frame in parts, whatever it claims to be.
	maxGuess = 8 << 20
)

// AppendPart appends a part of an encoded frame, of at most [PartSize] bytes, which the caller appends right behind. Parts
// with the same number are of the same frame, in order; a number is used for one frame only.
func AppendPart(dst []byte, number uint64, size int) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, byte(KindPart))
	dst = binary.AppendUvarint(dst, number)
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4+size))
	return dst
}

// Reader splits a stream into frames. It is owned by the goroutine that reads the link.
type Reader struct {
	r      *bufio.Reader // owned by the link's reader
	max    int           // immutable: the largest payload that is accepted
	parted []partedFrame // owned by the link's reader: those that are on their way
}

// partedFrame is a frame that comes in parts, with its head, as far as it has come.
type partedFrame struct {
	number uint64
	size   int // all of it
	buf    []byte
}

// NewReader returns a Reader of r that refuses payloads of more than limit bytes.
func NewReader(r io.Reader, limit int) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, readBuffer), max: limit}
}

// Next returns the next frame and how many bytes it was. Nothing in the frame refers to memory of the Reader. Memory
// grows as bytes arrive, whatever length the peer claims.
func (r *Reader) Next() (f Frame, size int, err error) {
	for {
		kind, payload, err := r.piece()
		if err != nil {
			return nil, 0, err
		}
		if kind != KindPart {
			f, err := DecodeFrame(kind, payload)
			return f, frameHead + len(payload), err
		}
		whole, err := r.part(payload)
		if err != nil {
			return nil, 0, err
		}
		if whole != nil {
			f, err := decodeFrame(Kind(whole[4]), whole[frameHead:], func(b []byte) []byte { return b }) // nobody else has it
			return f, len(whole), err
		}
	}
}

// piece returns what the stream has next: a whole frame's kind and payload, or a part. The payload is valid until the
// next call.
func (r *Reader) piece() (Kind, []byte, error) {
	head, err := r.r.Peek(frameHead)
	if err != nil {
		if len(head) > 0 || len(r.parted) > 0 {
			err = cutShort(err)
		}
		return 0, nil, err
	}
	size := int64(binary.BigEndian.Uint32(head)) - 1
	kind := Kind(head[4])
	if size < 0 || size > readBuffer || kind != KindPart && size > int64(r.max) {
		return 0, nil, fmt.Errorf("%w: kind %d claims %d bytes in one piece", ErrMalformed, kind, size)
	}
	if _, err := r.r.Discard(frameHead); err != nil {
		return 0, nil, err
	}
	payload, err := r.r.Peek(int(size))
	if err != nil {
		return 0, nil, cutShort(err)
	}
	// Discard only moves the read position: the bytes stay until the next read.
	_, err = r.r.Discard(int(size))
	return kind, payload, err
}

// part takes in a part; it returns the frame when that was the last.
func (r *Reader) part(payload []byte) ([]byte, error) {
	number, n := binary.Uvarint(payload)
	if n <= 0 || len(payload) == n {
		return nil, fmt.Errorf("%w: a part without a number or bytes", ErrMalformed)
	}
	payload = payload[n:]
	at := 0
	for at < len(r.parted) && r.parted[at].number != number {
		at++
	}
	if at == len(r.parted) {
		p, err := r.firstPart(number, payload)
		if err != nil {
			return nil, err
		}
		r.parted = append(r.parted, p)
	}
	p := &r.parted[at]
	if len(payload) > p.size-len(p.buf) {
		return nil, fmt.Errorf("%w: a frame of %d bytes in parts has %d more", ErrMalformed, p.size, len(payload)-(p.size-len(p.buf)))
	}
	if need := len(p.buf) + len(payload); need > cap(p.buf) {
		grown := make([]byte, len(p.buf), min(p.size, 2*need))
		copy(grown, p.buf)
		p.buf = grown
	}
	p.buf = append(p.buf, payload...)
	if len(p.buf) < p.size {
		return nil, nil
	}
	whole := p.buf
	r.parted = slices.Delete(r.parted, at, at+1)
	return whole, nil
}

// firstPart looks at the first part of a frame.
func (r *Reader) firstPart(number uint64, payload []byte) (partedFrame, error) {
	if len(r.parted) == MaxParted {
		return partedFrame{}, fmt.Errorf("%w: more than %d frames in parts at the same time", ErrMalformed, MaxParted)
	}
	if len(payload) < frameHead {
		return partedFrame{}, fmt.Errorf("%w: a first part of %d bytes", ErrMalformed, len(payload))
	}
	size := int64(binary.BigEndian.Uint32(payload)) - 1
	kind := Kind(payload[4])
	if size < 0 || size > int64(r.max) || kind == KindPart {
		return partedFrame{}, fmt.Errorf("%w: kind %d claims %d bytes, at most %d are taken here (is MaxMessage alike on both sides?)",
			ErrMalformed, kind, size, r.max)
	}
	whole := frameHead + int(size)
	return partedFrame{number: number, size: whole, buf: make([]byte, 0, min(whole, maxGuess))}, nil
}

// cutShort is what an error means inside a frame.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
