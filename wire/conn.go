package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// maxFrameSize bounds the length field of a frame.
const maxFrameSize = 1<<31 - 1

// FrameOverhead is the most bytes that a frame adds to the user's value in it.
const FrameOverhead = 4096

// The bounds of frames that travel in parts.
const (
	// PartSize is the most bytes of a frame, with its head, that travel at once. A message of 64
	// KiB still does. A larger frame is cut into parts of that size, so that other frames can
	// travel between them.
	PartSize = 72 << 10
	// MaxParted is the most frames that may be on their way in parts at the same time.
	MaxParted = 4
	// maxPiece bounds the size of a whole frame or part on the stream: the kind, a part's number
	// and PartSize.
	maxPiece = PartSize + 16
	// maxGuess is the most bytes that are allocated at once for a frame in parts, whatever size it
	// claims.
	maxGuess = 8 << 20
)

// How the payloads of whole frames are kept in memory.
const (
	// inPlace is the largest payload that is decoded where it was read. A larger payload gets
	// memory of its own.
	inPlace = 4 << 10
	// slabSize is the size of a slab: a piece of memory that small bodies share.
	slabSize = 8 << 10
	// slabBody is the largest body that shares a slab. A program that keeps a larger body keeps no
	// other bytes alive with it.
	slabBody = 512
)

// AppendPart appends the head of a part of an encoded frame. The caller appends the part itself, of
// size bytes and at most [PartSize]. Parts with the same number belong to the same frame, in order.
// A number is used for one frame only.
func AppendPart(dst []byte, number uint64, size int) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, byte(KindPart))
	dst = binary.AppendUvarint(dst, number)
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4+size))
	return dst
}

// Reader splits a stream into frames. It is owned by the goroutine that reads the link.
type Reader struct {
	in     inBuffer      // owned by the link's reader
	max    int           // immutable: the size of the largest payload that is accepted
	parted []partedFrame // owned by the link's reader: the frames that arrive in parts
	slab   []byte        // owned by the link's reader: its free end takes small bodies
	msg    Message       // owned by the link's reader: the latest message
}

// partedFrame is a frame that arrives in parts, with its head, as far as it has arrived.
type partedFrame struct {
	number uint64
	size   int // of the whole frame
	buf    []byte
}

// NewReader returns a Reader of r that refuses payloads of more than limit bytes.
func NewReader(r io.Reader, limit int) *Reader {
	return &Reader{in: inBuffer{r: r, b: make([]byte, smallBuffer)}, max: limit}
}

// Next returns the next frame and its size in bytes. A *[Message] is valid until the next call; its
// body, and all other frames, stay valid. Memory grows as bytes arrive, whatever length the peer
// claims.
func (r *Reader) Next() (f Frame, size int, err error) {
	for {
		kind, size, err := r.head()
		if err != nil {
			return nil, 0, err
		}
		if kind != KindPart {
			f, err := r.whole(kind, size)
			return f, frameHead + size, err
		}
		whole, err := r.part(size)
		if err != nil {
			return nil, 0, err
		}
		if whole != nil {
			f, err := r.decode(Kind(whole[4]), whole[frameHead:], own)
			return f, len(whole), err
		}
	}
}

// head reads the head of a whole frame or a part: its kind, and the size of its payload.
func (r *Reader) head() (Kind, int, error) {
	head, err := r.in.peek(frameHead)
	if err != nil {
		if len(head) > 0 || len(r.parted) > 0 {
			err = cutShort(err)
		}
		return 0, 0, err
	}
	size := int64(binary.BigEndian.Uint32(head)) - 1
	kind := Kind(head[4])
	if size < 0 || size >= maxPiece || kind != KindPart && size > int64(r.max) {
		return 0, 0, fmt.Errorf("%w: kind %d claims %d bytes in one piece", ErrMalformed, kind, size)
	}
	r.in.discard(frameHead)
	return kind, int(size), nil
}

// whole reads the payload of a frame that travels whole.
func (r *Reader) whole(kind Kind, size int) (Frame, error) {
	if size > inPlace {
		payload := make([]byte, size)
		if _, err := io.ReadFull(&r.in, payload); err != nil {
			return nil, cutShort(err)
		}
		return r.decode(kind, payload, own)
	}
	payload, err := r.in.peek(size)
	if err != nil {
		return nil, cutShort(err)
	}
	f, err := r.decode(kind, payload, r.keep)
	r.in.discard(size)
	return f, err
}

// own leaves a body where it is, in memory that nobody else uses.
func own(b []byte) []byte { return b }

// keep copies a body.
func (r *Reader) keep(b []byte) []byte {
	switch {
	case len(b) == 0:
		return nil
	case len(b) > slabBody:
		return bytes.Clone(b)
	case len(b) > cap(r.slab)-len(r.slab):
		r.slab = make([]byte, 0, slabSize)
	}
	start := len(r.slab)
	r.slab = append(r.slab, b...)
	return r.slab[start:len(r.slab):len(r.slab)]
}

// decode is decodeFrame without an allocation for a message.
func (r *Reader) decode(kind Kind, payload []byte, keep func([]byte) []byte) (Frame, error) {
	if kind != KindMessage {
		return decodeFrame(kind, payload, keep)
	}
	if err := r.msg.decode(payload, keep); err != nil {
		return nil, err
	}
	return &r.msg, nil
}

// part reads a part with a payload of that size. If it is the last part, part returns the whole
// frame.
func (r *Reader) part(size int) ([]byte, error) {
	head, err := r.in.peek(min(size, binary.MaxVarintLen64))
	if err != nil {
		return nil, cutShort(err)
	}
	number, n := binary.Uvarint(head)
	if n <= 0 || n == size {
		return nil, fmt.Errorf("%w: a part without a number or bytes", ErrMalformed)
	}
	r.in.discard(n)
	size -= n
	at := slices.IndexFunc(r.parted, func(p partedFrame) bool { return p.number == number })
	if at < 0 {
		p, err := r.firstPart(number, size)
		if err != nil {
			return nil, err
		}
		at = len(r.parted)
		r.parted = append(r.parted, p)
	}
	p := &r.parted[at]
	have := len(p.buf)
	if size > p.size-have {
		return nil, fmt.Errorf("%w: a frame of %d bytes in parts has %d more", ErrMalformed, p.size, size-(p.size-have))
	}
	if need := have + size; need > cap(p.buf) {
		grown := make([]byte, have, min(p.size, 2*need))
		copy(grown, p.buf)
		p.buf = grown
	}
	p.buf = p.buf[:have+size]
	if _, err := io.ReadFull(&r.in, p.buf[have:]); err != nil {
		return nil, cutShort(err)
	}
	if len(p.buf) < p.size {
		return nil, nil
	}
	whole := p.buf
	r.parted = slices.Delete(r.parted, at, at+1)
	return whole, nil
}

// firstPart reads the head of a frame from the start of its first part, which has that size.
func (r *Reader) firstPart(number uint64, size int) (partedFrame, error) {
	if len(r.parted) == MaxParted {
		return partedFrame{}, fmt.Errorf("%w: more than %d frames in parts at the same time", ErrMalformed, MaxParted)
	}
	if size < frameHead {
		return partedFrame{}, fmt.Errorf("%w: a first part of %d bytes", ErrMalformed, size)
	}
	head, err := r.in.peek(frameHead)
	if err != nil {
		return partedFrame{}, cutShort(err)
	}
	claim := int64(binary.BigEndian.Uint32(head)) - 1
	kind := Kind(head[4])
	switch {
	case claim < 0 || kind == KindPart:
		return partedFrame{}, fmt.Errorf("%w: the first part of kind %d claims %d bytes", ErrMalformed, kind, claim)
	case claim > int64(r.max):
		return partedFrame{}, &OversizedError{Of: kind, Size: claim, Max: int64(r.max)}
	}
	whole := frameHead + int(claim)
	return partedFrame{number: number, size: whole, buf: make([]byte, 0, min(whole, maxGuess))}, nil
}

// cutShort returns the error to report for err inside a frame, where the end of the stream is
// unexpected.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
