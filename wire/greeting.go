package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// The messages of the greeting. Type greeting, in handshake.go, exchanges them.

// greetingKind is the kind of a greeting message.
type greetingKind uint8

// The messages of a greeting, in the order in which they are sent.
const (
	greetKnock   greetingKind = 1   // dialer: knockBody
	greetHello   greetingKind = 2   // listener, then dialer: helloBody
	greetWelcome greetingKind = 3   // listener: no body
	greetRefuse  greetingKind = 255 // either: see Refusal; the same in every version
)

// greetingHead is the length of the preamble of each message: magic, version, kind and length of
// the body.
const greetingHead = 8

// greetingMagic begins each message. Its first byte is neither text nor the start of a TLS record.
const greetingMagic = "\xd1sco"

// knockBody is the dialer's first message.
type knockBody struct {
	_     struct{} `cbor:",toarray"`
	Proof []byte   // 32 bytes, or none without a secret
}

// helloBody is what each side sends after the other side has proved itself.
type helloBody struct {
	_     struct{} `cbor:",toarray"`
	Proof []byte   // of the listener; the dialer's proof was in its knock
	Hello Hello
}

// The CBOR modes of the greeting: nothing in it is optional, nested or large.
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

// decodeGreeting decodes a body. Each message has exactly one encoding. decodeGreeting encodes the
// result again and compares. That catches other encodings that cbor accepts, such as null, numbers
// that are longer than necessary, or a text instead of bytes.
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

// appendGreeting appends a message: preamble and body.
func appendGreeting(dst []byte, kind greetingKind, body any) ([]byte, error) {
	dst = append(append(dst, greetingMagic...), Protocol, byte(kind), 0, 0)
	switch body := body.(type) {
	case nil:
	case *Refusal:
		dst = body.appendTo(dst)
	default:
		b, err := greetingEnc.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("greeting: %w", err)
		}
		dst = append(dst, b...)
	}
	if len(dst) > MaxHello {
		return nil, fmt.Errorf("greeting: own message has %d bytes, of at most %d", len(dst), MaxHello)
	}
	binary.BigEndian.PutUint16(dst[greetingHead-2:], uint16(len(dst)-greetingHead))
	return dst, nil
}

// versionsDiffer returns a text that is true on both sides.
func versionsDiffer(refusing, refused uint8) string {
	return fmt.Sprintf("the one who refuses speaks protocol %d of discoro, the other protocol %d: update the older one",
		refusing, refused)
}
