package wire

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

// maxHelloText bounds Name, Host and Build of a hello, each, in bytes.
const maxHelloText = 256

// Bounds of the time between two pulses.
const (
	LeastPulse = 10 * time.Millisecond // the least that a computation may ask for
	MaxPulse   = time.Hour             // the most that a runtime may announce, or a computation ask for
)

// ID is the identity of one start of a runtime: random, never an address. It is a byte string of 16 bytes in cbor.
type ID [16]byte

// NewID returns an ID that no other start of any runtime has.
func NewID() ID {
	var id ID
	rand.Read(id[:]) // never fails: it ends the program instead
	return id
}

// String returns the first 8 hex digits, for people and logs.
func (id ID) String() string { return hex.EncodeToString(id[:4]) }

// Compare orders IDs, for decisions that both sides of a link must take alike: negative when id comes before other.
func (id ID) Compare(other ID) int { return bytes.Compare(id[:], other[:]) }

// IsZero reports whether id is nobody's.
func (id ID) IsZero() bool { return id == ID{} }

// UnmarshalCBOR implements [cbor.Unmarshaler]. Without it a byte string of any length would do.
func (id *ID) UnmarshalCBOR(b []byte) error {
	const head = 0x40 | byte(len(id)) // a byte string of that length
	if len(b) != 1+len(id) || b[0] != head {
		return errors.New("an id is a byte string of 16 bytes")
	}
	copy(id[:], b[1:])
	return nil
}

// Hello is who a peer says it is. What comes out of [Dial] and [Accept] is checked: texts are valid UTF-8 of at most 256
// bytes, Port is one, Pulse is within its bounds, ID is not zero.
type Hello struct {
	_        struct{}      `cbor:",toarray"`
	ID       ID            // of this start of the runtime
	Name     string        // of the runtime; cut to 256 bytes when it is sent
	Host     string        // announced location; at most 256 bytes
	Port     int           // announced location; 0 where nobody listens
	Build    string        // what program this is: module path and version, Go version; cut like Name
	Registry uint64        // hash of the registered names; for messages to people, never a reason to refuse
	Epoch    uint64        // for the runtime; not looked at here
	Roles    uint32        // for the runtime; not looked at here
	Pulse    time.Duration // how often this side will send a pulse; more than 0, at most an hour
}

// sendable returns h with Name and Build in a form that fits, or says what else is wrong with it.
func (h Hello) sendable() (Hello, error) {
	h.Name, h.Build = cutText(h.Name, maxHelloText), cutText(h.Build, maxHelloText)
	if fault := h.fault(); fault != "" {
		return Hello{}, errors.New("own hello: " + fault)
	}
	return h, nil
}

// fault says what is wrong with a hello, or nothing.
func (h Hello) fault() string {
	for _, t := range []struct{ what, text string }{{"name", h.Name}, {"host", h.Host}, {"build", h.Build}} {
		if len(t.text) > maxHelloText || !utf8.ValidString(t.text) {
			return "its " + t.what + " is longer than 256 bytes, or not UTF-8"
		}
	}
	switch {
	case h.ID.IsZero():
		return "its id is zero"
	case h.Port < 0 || h.Port > 1<<16-1:
		return fmt.Sprintf("its port is %d", h.Port)
	case h.Pulse <= 0 || h.Pulse > MaxPulse:
		return fmt.Sprintf("its pulse is %v, of more than 0 and at most 1h", h.Pulse)
	}
	return ""
}

// cutText makes valid UTF-8 of at most n bytes of s.
func cutText(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// knockBody is the dialer's first message.
type knockBody struct {
	_     struct{} `cbor:",toarray"`
	Proof []byte   // 32 bytes, or none where there is no secret
}

// helloBody is what both sides say once the other has proven itself.
type helloBody struct {
	_     struct{} `cbor:",toarray"`
	Proof []byte   // the listener's; the dialer has given its own in the knock
	Hello Hello
}

// The greeting's own cbor modes: nothing in it is optional, nested or large.
var greetingEnc, greetingDec = greetingModes()

func greetingModes() (cbor.EncMode, cbor.DecMode) {
	enc, encErr := cbor.EncOptions{NilContainers: cbor.NilContainerAsEmpty}.EncMode()
	dec, decErr := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		MaxNestedLevels:  4,
		MaxArrayElements: 16,
		MaxMapPairs:      16,
	}.DecMode()
	if err := errors.Join(encErr, decErr); err != nil {
		panic(err) //nolint:forbidigo // misuse: the options above contradict each other
	}
	return enc, dec
}

// decodeGreeting decodes a body. Every message has exactly one encoding: whatever else cbor would let pass, such as null,
// numbers that are longer than need be or a text where bytes are due, does not come out again as it went in.
func decodeGreeting[T knockBody | helloBody](body []byte, into *T) error {
	if err := greetingDec.Unmarshal(body, into); err != nil {
		return malformedGreeting("its cbor")
	}
	again, err := greetingEnc.Marshal(into)
	if err != nil || !bytes.Equal(again, body) {
		return malformedGreeting("its cbor")
	}
	return nil
}
