package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
)

// The header of a yamux frame: version, type, flags (2 bytes), stream (4), length (4).
const (
	yamuxHeader     = 12
	yamuxTypeData   = 0
	yamuxTypeWindow = 1
	yamuxTypePing   = 2
	yamuxFlagOpen   = 1
	yamuxFlagReset  = 8
	yamuxFlagsEnd   = 4 | yamuxFlagReset // of one side, or of the stream
)

// opensStream reports whether a header opens a stream.
func opensStream(h []byte) bool { return binary.BigEndian.Uint16(h[2:])&yamuxFlagOpen != 0 }

// isDataHeader reports whether p is a header that a body follows.
func isDataHeader(p []byte) bool {
	return len(p) == yamuxHeader && p[1] == yamuxTypeData && binary.BigEndian.Uint32(p[8:]) != 0
}

// The breaches that would cost memory without limit: yamux answers each ping in a goroutine of its
// own, and each open stream may hold a window of unread bytes. A correct peer does neither.
var (
	errPinged = errors.New("the peer sent a ping of yamux, which is no part of the protocol")
	errOpened = fmt.Errorf("the peer has more than %d files on their way at once", MaxStreams)
)

// IsBreach reports whether err says that the peer has tried to make this side hold memory without
// limit. A correct peer never does that.
func IsBreach(err error) bool { return errors.Is(err, errPinged) || errors.Is(err, errOpened) }

// The breaches after which a frame's stream is ambiguous: yamux would put one stream in the place
// of another.
var (
	errOpenedOurs = errors.New("the peer has opened a stream of yamux under a number of this side's")
	errResetEarly = errors.New("the peer has reset a stream of yamux before it was opened")
	// errOpenedTwice: yamux would take it for another stream where the first has been reset.
	errOpenedTwice = errors.New("the peer has opened a stream of yamux twice")
)

// yamuxScan follows the frames of yamux in the bytes that come in.
type yamuxScan struct {
	streams    *peerStreams      // immutable
	own        *ownStreams       // immutable
	mayOpen    atomic.Int32      // streams that the peer may still open
	framesNext bool              // the next stream that the peer opens is the stream of frames
	even       bool              // the peer's streams have even numbers, not odd ones
	head       [yamuxHeader]byte // the start of a header whose rest has not come
	have       int               // bytes of head
	body       uint32            // bytes of the current body that have not come
	past       *inStream         // receives the body; nil: yamux does
	last       bool              // the body is the last on its stream
}

// room returns memory for the next bytes to come. It returns nil unless they belong to a stream of
// the peer that has memory for them.
func (s *yamuxScan) room() []byte {
	if s.past == nil || s.body == 0 {
		return nil
	}
	return s.past.room(s.body)
}

// read records that n bytes were read into what room returned.
func (s *yamuxScan) read(n int) {
	s.past.read(n)
	s.bodyCame(n)
}

// bodyCame counts n bytes of a body.
func (s *yamuxScan) bodyCame(n int) {
	s.body -= uint32(n)
	if s.body == 0 && s.past != nil && s.last {
		s.streams.ended(s.past)
	}
}

// unread moves the start of a header that sift has kept back into p, and returns its length.
func (s *yamuxScan) unread(p []byte) int {
	n := copy(p, s.head[:s.have])
	s.have = 0
	return n
}

// sift examines the next bytes. It takes out those that are not for yamux and keeps the start of a
// header whose rest has not come. It returns how many bytes are left, at the front of p.
func (s *yamuxScan) sift(p []byte) (int, error) {
	left := 0
	for at := 0; at < len(p); {
		next := p[at:]
		if s.body > 0 {
			n := int(min(int64(s.body), int64(len(next))))
			if s.past != nil {
				s.past.take(next[:n])
			} else {
				left += move(p[left:], next[:n])
			}
			s.bodyCame(n)
			at += n
			continue
		}
		if len(next) < yamuxHeader {
			s.have = copy(s.head[:], next)
			break
		}
		if err := s.header(next[:yamuxHeader]); err != nil {
			return 0, err
		}
		left += move(p[left:], next[:yamuxHeader])
		at += yamuxHeader
	}
	return left, nil
}

// move is copy, for the usual case that the bytes are in place already.
func move(to, from []byte) int {
	if &to[0] == &from[0] {
		return len(from)
	}
	return copy(to, from)
}

// header examines a whole header. If the body bypasses yamux, it changes the length to zero.
func (s *yamuxScan) header(h []byte) error {
	kind, flags, id := h[1], binary.BigEndian.Uint16(h[2:]), binary.BigEndian.Uint32(h[4:])
	s.past = nil
	switch kind {
	case yamuxTypePing:
		return errPinged
	case yamuxTypeData:
		s.body = binary.BigEndian.Uint32(h[8:])
	case yamuxTypeWindow:
		s.own.mayMore(id, binary.BigEndian.Uint32(h[8:]))
	default:
		return nil // about no stream: yamux does not look at its flags
	}
	if flags&yamuxFlagOpen != 0 {
		if err := s.opened(id); err != nil {
			return err
		}
	}
	if flags&yamuxFlagReset != 0 {
		s.own.reset(id)
	}
	if last := flags&yamuxFlagsEnd != 0; s.body > 0 || last {
		if in := s.streams.find(id); in != nil {
			return s.bypass(h, in, last)
		}
	}
	return nil
}

// opened records that the peer opens a stream.
func (s *yamuxScan) opened(id uint32) error {
	if s.even != (id%2 == 0) {
		return errOpenedOurs
	}
	if s.mayOpen.Add(-1) < 0 {
		return errOpened
	}
	if s.framesNext {
		s.framesNext = false
		return nil
	}
	return s.streams.opened(id)
}

// bypass directs the body of a frame to a stream of the peer. The stream ends behind the last body.
func (s *yamuxScan) bypass(h []byte, in *inStream, last bool) error {
	if s.body == 0 {
		s.streams.ended(in)
		return nil
	}
	s.past, s.last = in, last
	clear(h[8:])
	return in.expect(s.body)
}
