package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// Kind is the kind of a frame. The numbers are part of the protocol and are never reused.
type Kind uint8

// The kinds of frames. PROTOCOL.md describes each, field by field.
const (
	KindPulse     Kind = 1  // a sign of life
	KindBye       Kind = 2  // the sender closes the link in order
	KindMessage   Kind = 3  // a message for a mailbox; not answered
	KindDeliver   Kind = 4  // a message for a mailbox; answered when it is there
	KindAsk       Kind = 5  // a request for a mailbox; answered by the coroutine
	KindWait      Kind = 6  // wait for the end of a coroutine; answered with its outcome
	KindExit      Kind = 7  // for the mailbox of a watcher: a coroutine has ended
	KindTerminate Kind = 8  // ask a coroutine to end
	KindLocate    Kind = 9  // find a coroutine by its registered name
	KindReply     Kind = 10 // the answer to a frame with a call number
	KindCancel    Kind = 11 // the caller no longer waits for the answer
	KindPart      Kind = 12 // a part of a frame that is too large to be sent at once

	KindOffer    Kind = 20 // node to scheduler: what the node is, and whether it is free
	KindReserve  Kind = 21 // scheduler to node: serve this computation
	KindServers  Kind = 22 // node to scheduler: servers came or went
	KindRelease  Kind = 23 // scheduler to node: end the service to this computation
	KindReleased Kind = 24 // node to scheduler: all its servers have closed

	KindServerUp    Kind = 25 // server to node: the server has started
	KindSetup       Kind = 26 // node to server: serve this computation
	KindReady       Kind = 27 // server to scheduler: it is set up, or cannot be
	KindCloseServer Kind = 28 // node to server: end the computation
	KindServerDone  Kind = 29 // server to node: the computation has ended at the server

	KindSubmit           Kind = 30 // client to scheduler: queue this computation; answered when it is active
	KindCloseComputation Kind = 31 // client to scheduler: close the computation; answered when it is closed
	KindRun              Kind = 32 // client to scheduler: run a function at a server
	KindUnrun            Kind = 33 // client to scheduler: do not start the job any more
	KindReport           Kind = 34 // client to scheduler: why does a job not start; answered in words
	KindStart            Kind = 35 // scheduler to server: start this job
	KindStarted          Kind = 36 // server to client: the job has started, as this coroutine
	KindDone             Kind = 37 // server or scheduler to client: the job has ended
	KindFreed            Kind = 38 // server to scheduler: the job has ended
	KindStatus           Kind = 39 // scheduler to client: a node, a server or the computation has changed state
	KindAvail            Kind = 40 // node to scheduler to client: the spare CPU, memory and disk of a node
	KindQueued           Kind = 41 // scheduler to client: the position of the computation in the queue
	KindNear             Kind = 42 // scheduler to node: which nodes are in the local network of the node
	KindUnstart          Kind = 43 // scheduler to server: do not start the job any more
	KindHeard            Kind = 44 // server to scheduler: the client knows of some jobs that have ended
	KindTally            Kind = 45 // node to server: how many coroutines are there; answered with the number
	KindUnheard          Kind = 46 // scheduler to client: a job has ended at a server that has gone since
)

// Frame is one unit of what peers send to each other.
type Frame interface {
	// Kind returns the kind of the frame.
	Kind() Kind
}

// JobID names one run of a function, and is never reused: the client that asked for the run, and
// its count.
type JobID struct {
	_      struct{} `cbor:",toarray"`
	Client ID
	Seq    uint64
}

// Token names a computation. A runtime that knows it can start runs, end them, and reach the files
// of the computation.
type Token [16]byte

// UnmarshalCBOR implements [cbor.Unmarshaler]. Without it a byte string of any length, or a list of
// numbers, would be accepted.
func (t *Token) UnmarshalCBOR(b []byte) error {
	var id ID
	if err := id.UnmarshalCBOR(b); err != nil {
		return errors.New("a token is a byte string of 16 bytes")
	}
	*t = Token(id)
	return nil
}

// Failure is an error in a frame; nil when there is none.
type Failure = ErrorValue

// Pulse is a sign of life of the sender.
type Pulse struct {
	_ struct{} `cbor:",toarray"`
	// Every is how often the sender sends a pulse from now on, in nanoseconds.
	Every int64
}

// Bye announces that the sender closes the link.
type Bye struct {
	_      struct{} `cbor:",toarray"`
	Reason string
}

// Message is a message to the mailbox of coroutine To. In all frames, a coroutine is named by its
// key in the runtime that it runs in.
type Message struct {
	To   uint64
	Body []byte
}

// Deliver is a [Message] that is answered when it is in the mailbox.
type Deliver struct {
	_    struct{} `cbor:",toarray"`
	Call uint64
	To   uint64
	Body []byte `cbor:"-"` // behind the array
}

// Ask is a [Message] that arrives as a request. It is answered when the coroutine replies.
type Ask struct {
	_    struct{} `cbor:",toarray"`
	Call uint64
	To   uint64
	Body []byte `cbor:"-"` // behind the array
}

// Wait asks for the outcome of coroutine Of. It is answered when the coroutine has ended.
type Wait struct {
	_    struct{} `cbor:",toarray"`
	Call uint64
	Of   uint64
}

// Exit notifies coroutine To that Coro has ended, and how.
type Exit struct {
	_       struct{} `cbor:",toarray"`
	To      uint64
	Coro    HandleValue
	Outcome Outcome
}

// Outcome is how a coroutine ended, or the answer to a call: an error or a value.
type Outcome struct {
	_    struct{} `cbor:",toarray"`
	Err  *Failure
	Type string // the name of the value's type; empty if it is not registered
	Body []byte `cbor:"-"` // behind the array
}

// Terminate asks coroutine Of to end.
type Terminate struct {
	_  struct{} `cbor:",toarray"`
	Of uint64
}

// Locate asks for the coroutine registered under Name. The answer holds a [HandleValue].
type Locate struct {
	_    struct{} `cbor:",toarray"`
	Call uint64
	Name string
}

// Reply is the answer to the frame with that Call.
type Reply struct {
	_       struct{} `cbor:",toarray"`
	Call    uint64
	Outcome Outcome
}

// Cancel withdraws the question Call: its sender no longer waits for the answer.
type Cancel struct {
	_    struct{} `cbor:",toarray"`
	Call uint64
}

// Kind implements [Frame].
func (*Pulse) Kind() Kind { return KindPulse }

// Kind implements [Frame].
func (*Bye) Kind() Kind { return KindBye }

// Kind implements [Frame].
func (*Message) Kind() Kind { return KindMessage }

// Kind implements [Frame].
func (*Deliver) Kind() Kind { return KindDeliver }

// Kind implements [Frame].
func (*Ask) Kind() Kind { return KindAsk }

// Kind implements [Frame].
func (*Wait) Kind() Kind { return KindWait }

// Kind implements [Frame].
func (*Exit) Kind() Kind { return KindExit }

// Kind implements [Frame].
func (*Terminate) Kind() Kind { return KindTerminate }

// Kind implements [Frame].
func (*Locate) Kind() Kind { return KindLocate }

// Kind implements [Frame].
func (*Reply) Kind() Kind { return KindReply }

// Kind implements [Frame].
func (*Cancel) Kind() Kind { return KindCancel }

// ErrMalformed is returned for bytes that are not a frame. The caller must end the link.
var ErrMalformed = errors.New("malformed frame")

// OversizedError is the [ErrMalformed] of a frame in parts that is larger than this side accepts.
type OversizedError struct {
	Of        Kind
	Size, Max int64 // of its payload, and the most that is accepted, in bytes
}

// Error returns the sizes, and the likely reason.
func (e *OversizedError) Error() string {
	return fmt.Sprintf("%v: kind %d claims %d bytes, at most %d are accepted here (is MaxMessage the same on both sides?)",
		ErrMalformed, e.Of, e.Size, e.Max)
}

// Unwrap returns [ErrMalformed].
func (e *OversizedError) Unwrap() error { return ErrMalformed }

// frameHead is the length of a frame's head: the size of all that follows it (4 bytes, big endian),
// and the kind.
const frameHead = 5

// envelope encodes and decodes the frames themselves. User values inside them are byte strings, so
// these limits apply to the frames only.
var envelope = mustEnvelope()

type envelopeModes struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

func mustEnvelope() envelopeModes {
	enc, err := cbor.EncOptions{}.EncMode()
	if err != nil {
		panic(err) //nolint:forbidigo // constant options
	}
	dec, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		MaxNestedLevels:   8,
		MaxArrayElements:  1 << 16,
		MaxMapPairs:       1 << 12,
		BigIntDec:         cbor.BigIntDecodePointer,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	}.DecMode()
	if err != nil {
		panic(err) //nolint:forbidigo // constant options
	}
	return envelopeModes{enc: enc, dec: dec}
}

// AppendFrame appends f to dst, ready to be written.
func AppendFrame(dst []byte, f Frame) ([]byte, error) {
	dst, body, err := AppendHead(dst, f)
	return append(dst, body...), err
}

// AppendHead appends f to dst except its body, the user's encoded value. The caller writes the body
// right after the head.
func AppendHead(dst []byte, f Frame) (head, body []byte, err error) {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, byte(f.Kind()))
	if m, ok := f.(*Message); ok {
		dst, body = binary.AppendUvarint(dst, m.To), m.Body
	} else {
		array, err := envelope.enc.Marshal(f)
		if err != nil {
			return dst[:start], nil, fmt.Errorf("encode frame %d: %w", f.Kind(), err)
		}
		dst = append(dst, array...)
		if b := bodyOf(f); b != nil {
			body = *b
		}
	}
	size := len(dst) - start - 4 + len(body)
	if size > maxFrameSize {
		return dst[:start], nil, fmt.Errorf("encode frame %d: %d bytes do not fit a frame", f.Kind(), size)
	}
	binary.BigEndian.PutUint32(dst[start:], uint32(size))
	return dst, body, nil
}

// AppendMessage appends the frame of a message to coroutine to. The function encode appends the
// body.
func AppendMessage(dst []byte, to uint64, encode func(dst []byte) ([]byte, error)) ([]byte, error) {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, byte(KindMessage))
	dst = binary.AppendUvarint(dst, to)
	dst, err := encode(dst)
	if err != nil {
		return dst[:start], err
	}
	size := len(dst) - start - 4
	if size > maxFrameSize {
		return dst[:start], fmt.Errorf("encode message: %d bytes do not fit a frame", size)
	}
	binary.BigEndian.PutUint32(dst[start:], uint32(size))
	return dst, nil
}

// DecodeFrame decodes the payload of a frame of kind k. The result does not refer to payload.
func DecodeFrame(k Kind, payload []byte) (Frame, error) { return decodeFrame(k, payload, cloneBody) }

// cloneBody copies a body; nil when it is empty.
func cloneBody(b []byte) []byte { return append([]byte(nil), b...) }

// decodeFrame is DecodeFrame. The result refers to what keep returns for its body.
func decodeFrame(k Kind, payload []byte, keep func([]byte) []byte) (Frame, error) {
	if k == KindMessage {
		m := &Message{}
		if err := m.decode(payload, keep); err != nil {
			return nil, err
		}
		return m, nil
	}
	f := newFrame(k)
	if f == nil {
		return nil, fmt.Errorf("%w: kind %d", ErrMalformed, k)
	}
	// A null would be decoded into an empty frame without an error.
	if len(payload) == 0 || payload[0]>>5 != 4 {
		return nil, fmt.Errorf("%w: kind %d is not an array", ErrMalformed, k)
	}
	rest, err := envelope.dec.UnmarshalFirst(payload, f)
	if err != nil {
		return nil, fmt.Errorf("%w: kind %d: %v", ErrMalformed, k, err) //nolint:errorlint // cbor's error is for people only
	}
	if body := bodyOf(f); body != nil {
		*body = keep(rest)
	} else if len(rest) > 0 {
		return nil, fmt.Errorf("%w: kind %d has %d bytes too many", ErrMalformed, k, len(rest))
	}
	return f, nil
}

// decode decodes the payload of a message.
func (m *Message) decode(payload []byte, keep func([]byte) []byte) error {
	to, n := binary.Uvarint(payload)
	if n <= 0 {
		return fmt.Errorf("%w: message without a recipient", ErrMalformed)
	}
	m.To, m.Body = to, keep(payload[n:])
	return nil
}

// bodyOf returns where a frame holds the user's encoded value; nil for a frame that carries none.
// The value travels as it is, behind the array of the other fields: so a large one is copied once
// less, and the limits of the array do not apply to it.
func bodyOf(f Frame) *[]byte {
	switch f := f.(type) {
	case *Deliver:
		return &f.Body
	case *Ask:
		return &f.Body
	case *Publish:
		return &f.Body
	case *PublishDeliver:
		return &f.Body
	case *Run:
		return &f.Call.Arg
	case *Start:
		return &f.Call.Arg
	case *Reply:
		return &f.Outcome.Body
	case *Done:
		return &f.Outcome.Body
	case *Exit:
		return &f.Outcome.Body
	}
	return nil
}

// BodySize returns the size of the user's encoded value in f, in bytes.
func BodySize(f Frame) int {
	if m, ok := f.(*Message); ok {
		return len(m.Body)
	}
	if b := bodyOf(f); b != nil {
		return len(*b)
	}
	return 0
}

// newFrame returns an empty frame of kind k; nil if there is no such kind.
func newFrame(k Kind) Frame {
	if int(k) < len(frameKinds) && frameKinds[k] != nil {
		return frameKinds[k]()
	}
	if f := newChannelFrame(k); f != nil {
		return f
	}
	return newClusterFrame(k)
}

var frameKinds = [...]func() Frame{
	KindPulse:     func() Frame { return &Pulse{} },
	KindBye:       func() Frame { return &Bye{} },
	KindMessage:   func() Frame { return &Message{} },
	KindDeliver:   func() Frame { return &Deliver{} },
	KindAsk:       func() Frame { return &Ask{} },
	KindWait:      func() Frame { return &Wait{} },
	KindExit:      func() Frame { return &Exit{} },
	KindTerminate: func() Frame { return &Terminate{} },
	KindLocate:    func() Frame { return &Locate{} },
	KindReply:     func() Frame { return &Reply{} },
	KindCancel:    func() Frame { return &Cancel{} },
}
