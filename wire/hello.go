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
)

// maxHelloText bounds Name, Host and Build of a hello, each, in bytes.
const maxHelloText = 256

// Bounds of the time between two pulses.
const (
	LeastPulse = 10 * time.Millisecond // the least that a computation may ask for
	MaxPulse   = time.Hour             // the most that a runtime may announce, or a computation ask for
)

// ID is the identity of one start of a runtime: random, never an address. In CBOR it is a byte
// string of 16 bytes.
type ID [16]byte

// NewID returns an ID that no other start of a runtime has.
func NewID() ID {
	var id ID
	rand.Read(id[:]) // never fails: it ends the program instead
	return id
}

// String returns the first 8 hex digits, for people and logs.
func (id ID) String() string { return hex.EncodeToString(id[:4]) }

// Compare orders IDs, for decisions that both sides of a link must make alike. It is negative if id
// comes before other.
func (id ID) Compare(other ID) int { return bytes.Compare(id[:], other[:]) }

// IsZero reports whether id belongs to no runtime.
func (id ID) IsZero() bool { return id == ID{} }

// UnmarshalCBOR implements [cbor.Unmarshaler]. Without it a byte string of any length would be
// accepted.
func (id *ID) UnmarshalCBOR(b []byte) error {
	const head = 0x40 | byte(len(id)) // a byte string of that length
	if len(b) != 1+len(id) || b[0] != head {
		return errors.New("an id is a byte string of 16 bytes")
	}
	copy(id[:], b[1:])
	return nil
}

// Hello is how a peer introduces itself. The Hello that [Dial] or [Accept] returns is checked:
// texts are valid UTF-8 of at most 256 bytes, Port and Pulse are within their bounds, and ID is not
// zero.
type Hello struct {
	_        struct{}      `cbor:",toarray"`
	ID       ID            // of this start of the runtime
	Name     string        // of the runtime; cut to 256 bytes when it is sent
	Host     string        // of the announced location; at most 256 bytes
	Port     int           // of the announced location; 0 if the runtime does not listen
	Build    string        // the program: module path and version, Go version; cut as Name is
	Registry uint64        // a hash of the registered names, for texts; never a reason to refuse
	Epoch    uint64        // for the runtime; not used here
	Roles    uint32        // for the runtime; not used here
	Pulse    time.Duration // how often this side sends a pulse; more than 0, at most MaxPulse
}

// sendable returns h with Name and Build cut to their bounds, or what else is wrong with h.
func (h Hello) sendable() (Hello, error) {
	h.Name, h.Build = cutText(h.Name, maxHelloText), cutText(h.Build, maxHelloText)
	if fault := h.fault(); fault != "" {
		return Hello{}, errors.New("own hello: " + fault)
	}
	return h, nil
}

// fault returns what is wrong with a hello; empty when nothing is.
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

// cutText returns the start of s as valid UTF-8 of at most n bytes.
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
