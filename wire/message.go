package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// Kind says what a frame is. Numbers are part of the protocol: they are never reused.
type Kind uint8

// The kinds of frames. PROTOCOL.md describes each, field by field.
const (
	KindPulse     Kind = 1  // the sender lives
	KindBye       Kind = 2  // the sender closes the link on purpose
	KindMessage   Kind = 3  // into a mailbox, no answer
	KindDeliver   Kind = 4  // into a mailbox, answered when it is there
	KindAsk       Kind = 5  // into a mailbox as a request, answered by the coroutine
	KindWait      Kind = 6  // answered with the outcome when the coroutine ends
	KindExit      Kind = 7  // into a watcher's mailbox: a coroutine ended
	KindTerminate Kind = 8  // asks a coroutine to end
	KindLocate    Kind = 9  // asks for a coroutine by its registered name
	KindReply     Kind = 10 // the answer to a frame that carried a call number
	KindCancel    Kind = 11 // the caller has stopped waiting for an answer
	KindPart      Kind = 12 // a part of a frame that is too large to go at once

	KindOffer    Kind = 20 // node to scheduler: what it is, and whether it is free
	KindReserve  Kind = 21 // scheduler to node: serve this computation
	KindServers  Kind = 22 // node to scheduler: a server process came or went
	KindRelease  Kind = 23 // scheduler to node: the computation is over
	KindReleased Kind = 24 // node to scheduler: every server has closed

	KindServerUp    Kind = 25 // server to node: here I am
	KindSetup       Kind = 26 // node to server: serve this computation
	KindReady       Kind = 27 // server to scheduler: set up
	KindCloseServer Kind = 28 // node to server: end the computation
	KindServerDone  Kind = 29 // server to node: the computation has ended here

	KindSubmit           Kind = 30 // client to scheduler: queue this computation; answered when it is active
	KindCloseComputation Kind = 31 // client to scheduler: close the computation; answered when it is closed
	KindRun              Kind = 32 // client to scheduler: run a function at a server
	KindUnrun            Kind = 33 // client to scheduler: the job is not to be started any more
	KindReport           Kind = 34 // client to scheduler: why is no server used? answered in words
	KindStart            Kind = 35 // scheduler to server: start this job
	KindStarted          Kind = 36 // server to client: the job's coroutine
	KindDone             Kind = 37 // server (or scheduler) to client: how the job ended
	KindFreed            Kind = 38 // server to scheduler: the job ended
	KindStatus           Kind = 39 // scheduler to client: a node, server or the computation changed state
	KindAvail            Kind = 40 // node to scheduler, scheduler to client: what a node has to spare
	KindQueued           Kind = 41 // scheduler to client: where in the queue its computation is
	KindNear             Kind = 42 // scheduler to node: which nodes are in your network?
	KindUnstart          Kind = 43 // scheduler to server: the job is not to be started any more
	KindHeard            Kind = 44 // server to scheduler: the client knows of the first jobs that have ended
	KindTally            Kind = 45 // node to server: how many coroutines are there? answered with the number
	KindUnheard          Kind = 46 // scheduler to client: the job has ended at a server that is lost or has closed since
)

// Frame is one unit of what peers say to each other.
type Frame interface {
	// Kind tells which frame it is.
	Kind() Kind
}

// JobID names one run of a function for ever: the client that asked, and its count.
type JobID struct {
	_      struct{} `cbor:",toarray"`
	Client ID
	Seq    uint64
}

// Token is what a computation is known by. Who has it can run, end and reach the files of that computation.
type Token [16]byte

// UnmarshalCBOR implements [cbor.Unmarshaler]. Without it a byte string of any length would do, as would a list of numbers.
func (t *Token) UnmarshalCBOR(b []byte) error {
	var id ID
	if err := id.UnmarshalCBOR(b); err != nil {
		return errors.New("a token is a byte string of 16 bytes")
	}
	*t = Token(id)
	return nil
}

// Failure is an error on its way: nil where there is none.
type Failure = ErrorValue

// Pulse says that the sender lives.
type Pulse struct {
	_ struct{} `cbor:",toarray"`
	// Every is how often the sender will pulse from now on, in nanoseconds.
	Every int64
}

// Bye announces that the sender closes the link.
type Bye struct {
	_      struct{} `cbor:",toarray"`
	Reason string
}

// Message goes into the mailbox of coroutine To: its key in the receiver's runtime, as in all frames.
type Message struct {
	To   uint64
	Body []byte
}

// Deliver is a Message that is answered when it is in the mailbox.
type Deliver struct {
	_    struct{} `cbor:",toarray"`
	Call uint64
	To   uint64
	Body []byte `cbor:"-"` // behind the array
}

// Ask is a Message that arrives as a request and is answered by the coroutine.
type Ask struct {
	_    struct{} `cbor:",toarray"`
	Call uint64
	To   uint64
	Body []byte `cbor:"-"` // behind the array
}

// Wait is answered with the outcome of coroutine Of when it has ended.
type Wait struct {
	_    struct{} `cbor:",toarray"`
	Call uint64
	Of   uint64
}

// Exit tells coroutine To that Coro has ended, and how.
type Exit struct {
	_       struct{} `cbor:",toarray"`
	To      uint64
	Coro    HandleValue
	Outcome Outcome
}

// Outcome is how a coroutine ended, or the answer to a call: an error, or a value.
type Outcome struct {
	_    struct{} `cbor:",toarray"`
	Err  *Failure
	Type string // by which the value's type is known in any; empty when it is not registered
	Body []byte `cbor:"-"` // behind the array
}

// Terminate asks coroutine Of to end.
type Terminate struct {
	_  struct{} `cbor:",toarray"`
	Of uint64
}

// Locate asks for the coroutine registered under Name; the answer holds a HandleValue.
type Locate struct {
	_    struct{} `cbor:",toarray"`
	Call uint64
	Name string
}

// Reply answers the frame that carried Call.
type Reply struct {
	_       struct{} `cbor:",toarray"`
	Call    uint64
	Outcome Outcome
}

// Cancel says that nobody waits any longer for the answer to Call.
type Cancel struct {
	_    struct{} `cbor:",toarray"`
	Call uint64
}

// Kind of a Pulse.
func (*Pulse) Kind() Kind { return KindPulse }

// Kind of a Bye.
func (*Bye) Kind() Kind { return KindBye }

// Kind of a Message.
func (*Message) Kind() Kind { return KindMessage }

// Kind of a Deliver.
func (*Deliver) Kind() Kind { return KindDeliver }

// Kind of an Ask.
func (*Ask) Kind() Kind { return KindAsk }

// Kind of a Wait.
func (*Wait) Kind() Kind { return KindWait }

// Kind of an Exit.
func (*Exit) Kind() Kind { return KindExit }

// Kind of a Terminate.
func (*Terminate) Kind() Kind { return KindTerminate }

// Kind of a Locate.
func (*Locate) Kind() Kind { return KindLocate }

// Kind of a Reply.
func (*Reply) Kind() Kind { return KindReply }

// Kind of a Cancel.
func (*Cancel) Kind() Kind { return KindCancel }

// ErrMalformed is returned for a frame that is not one: the peer is not to be trusted further.
var ErrMalformed = errors.New("malformed frame")

// OversizedError is the ErrMalformed of a frame in parts that is larger than is taken here.
type OversizedError struct {
	Of        Kind
	Size, Max int64 // bytes of its payload, and the most that are taken
}

// Error tells the sizes, and what may be the reason.
func (e *OversizedError) Error() string {
	return fmt.Sprintf("%v: kind %d claims %d bytes, at most %d are taken here (is MaxMessage alike on both sides?)", ErrMalformed, e.Of, e.Size, e.Max)
}

// Unwrap gives ErrMalformed.
func (e *OversizedError) Unwrap() error { return ErrMalformed }

// frameHead is the length of what stands before a frame's payload: its size (4 bytes, big endian,
// of all that follows) and its kind.
const frameHead = 5

// envelope encodes and decodes the frames themselves. User values inside them are byte strings,
// so these limits bind only the frames.
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

// AppendFrame appends f, ready to be written, to dst.
func AppendFrame(dst []byte, f Frame) ([]byte, error) {
	dst, body, err := AppendHead(dst, f)
	return append(dst, body...), err
}

// AppendHead appends f to dst but for its body, the user's encoded value, which belongs right behind.
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

// AppendMessage appends the frame of a message to coroutine to, whose body encode appends.
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

// DecodeFrame decodes the payload of a frame of kind k. Nothing in the result refers to payload.
func DecodeFrame(k Kind, payload []byte) (Frame, error) { return decodeFrame(k, payload, cloneBody) }

// cloneBody copies a body; nil is no body.
func cloneBody(b []byte) []byte { return append([]byte(nil), b...) }

// decodeFrame is DecodeFrame with what is done to a body before the result refers to it.
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
	// A null decodes into an empty frame without an error.
	if len(payload) == 0 || payload[0]>>5 != 4 {
		return nil, fmt.Errorf("%w: kind %d is not an array", ErrMalformed, k)
	}
	rest, err := envelope.dec.UnmarshalFirst(payload, f)
	if err != nil {
		return nil, fmt.Errorf("%w: kind %d: %v", ErrMalformed, k, err) //nolint:errorlint // cbor's error is for reading only
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

// bodyOf returns where a frame holds the user's encoded value, nil for a frame that carries none. It travels as it is, behind
// the array of the other fields: a large one is copied once less, and the array's limits are not its.
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

// BodySize returns how many bytes of the user's encoded value f carries.
func BodySize(f Frame) int {
	if m, ok := f.(*Message); ok {
		return len(m.Body)
	}
	if b := bodyOf(f); b != nil {
		return len(*b)
	}
	return 0
}

// newFrame returns an empty frame of kind k, nil when there is no such kind.
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
