package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// What can be wrong with a value, for errors.Is. The errors themselves are a [CheckError] or a
// [ValueError].
var (
	// ErrValueMalformed is returned for bytes that are not one well-formed data item of definite
	// length.
	ErrValueMalformed = errors.New("malformed value")
	// ErrValueText is returned for a string that is not valid UTF-8. Such bytes can travel as
	// []byte.
	ErrValueText = errors.New("string is not valid UTF-8")
	// ErrValueDepth is returned for a value that is nested too deeply, such as one that contains
	// itself.
	ErrValueDepth = errors.New("nested too deeply, or a cycle")
	// ErrValueSize is returned for a value with too many items, or of more bytes or memory than
	// allowed.
	ErrValueSize = errors.New("too large a value")
)

// The bounds for which a zero field of [Limits] stands.
const (
	DefaultMaxDepth  = 32
	DefaultMaxItems  = 1 << 24
	DefaultMaxMemory = 512 << 20
	DefaultMaxBytes  = 1 << 30
)

// maxCheckDepth is the largest possible Limits.MaxDepth: the scan's stack has a fixed size.
const maxCheckDepth = 64

// Limits bounds an encoded value. A zero field stands for its default.
type Limits struct {
	MaxDepth  int  // of arrays and maps inside one another; at most 64
	MaxItems  int  // data items: each number, string, array, map, key and tag is one
	MaxMemory int  // bytes of memory that the decoded value may take
	MaxBytes  int  // encoded bytes
	NoTags    bool // a tag is an error
}

// withDefaults fills in the zero fields.
func (l Limits) withDefaults() Limits {
	l.MaxDepth = min(limitOr(l.MaxDepth, DefaultMaxDepth), maxCheckDepth)
	l.MaxItems = limitOr(l.MaxItems, DefaultMaxItems)
	l.MaxMemory = limitOr(l.MaxMemory, DefaultMaxMemory)
	l.MaxBytes = min(limitOr(l.MaxBytes, DefaultMaxBytes), math.MaxInt32)
	return l
}

func limitOr(limit, otherwise int) int {
	if limit > 0 {
		return limit
	}
	return otherwise
}

// memoryBudget returns how much memory the decoded value of n encoded bytes may take: 64 bytes for
// each byte and a megabyte, but never more than MaxMemory. The elements of slices, the entries of
// maps and what pointers and interfaces lead to count by the sizes of their types. Strings do not
// count: each is as long as its encoding. Both sides count in the same way, so that a value which
// cannot be decoded within its budget fails where it is encoded.
func (l *Limits) memoryBudget(n int) int64 {
	return min(int64(l.MaxMemory), 1<<20+64*int64(n))
}

// CheckError is what is wrong with encoded data, and where.
type CheckError struct {
	Offset int    // bytes from the start to where the error was found
	What   string // in words
	Err    error  // one of the ErrValue sentinels
}

// Error returns what is wrong, and at which byte.
func (e *CheckError) Error() string {
	if e.What == "" {
		return fmt.Sprintf("%v at byte %d", e.Err, e.Offset)
	}
	return fmt.Sprintf("%v at byte %d: %s", e.Err, e.Offset, e.What)
}

// Unwrap returns the sentinel.
func (e *CheckError) Unwrap() error { return e.Err }

// The major types of CBOR: the top three bits of the first byte of an item.
const (
	majorUint   = 0
	majorNegInt = 1
	majorBytes  = 2
	majorText   = 3
	majorArray  = 4
	majorMap    = 5
	majorTag    = 6
	majorSimple = 7
)

// The low five bits of an item's first byte. Up to infoDirect they are the argument itself. Above
// it they say how many bytes of argument follow.
const (
	infoDirect = 23
	info8      = 24
	info16     = 25
	info32     = 26
	info64     = 27
	infoIndef  = 31

	maxHead = 9 // bytes of the longest head

	simpleByte = majorSimple<<5 | info8 // a simple value whose number follows
)

// Check returns nil if data is exactly one CBOR data item that a decoder can safely read: it is
// well-formed and of definite lengths only, no length exceeds the data, texts are valid UTF-8, and
// the limits hold. It takes any input, and is one pass without allocation or recursion.
func Check(data []byte, limits Limits) error {
	limits = limits.withDefaults()
	_, err := scanValue(data, &limits)
	return err
}

// scanValue checks data and counts its items. The limits have no zero fields.
//
// All state is in local variables: that makes it fast. The functions below find out what went
// wrong. Every item takes at least one byte, so the items announced so far can never be more than
// the bytes of data. This bounds what lengths can claim, also those of containers inside one
// another.
func scanValue(data []byte, limits *Limits) (items int, err error) {
	if len(data) > limits.MaxBytes {
		return 0, &CheckError{Err: ErrValueSize, What: fmt.Sprintf("%d bytes, more than %d", len(data), limits.MaxBytes)}
	}
	var (
		stack  [maxCheckDepth]int32 // items still to come in the containers around the innermost one
		depth  int                  // open containers
		left   = 1                  // items still to come in the innermost one
		off    int                  // of the next byte
		tagged bool                 // the next item is the content of a tag
	)
	items = 1 // announced so far
	for {
		for left == 0 {
			if depth == 0 {
				return items, scanEnd(data, off, items, limits)
			}
			depth--
			left = int(stack[depth])
		}
		if off >= len(data) {
			return items, malformedAt(off, "the data ends inside the value")
		}
		first := data[off]
		off++
		left--
		arg := uint64(first & 31)
		if arg > infoDirect {
			size := 1 << ((arg - info8) & 3)
			if arg > info64 || len(data)-off < size {
				return items, badHead(off, first)
			}
			arg = headArgument(data[off:], size)
			off += size
		}
		inTag := tagged
		tagged = false
		switch first >> 5 {
		case majorUint, majorNegInt:
			continue
		case majorSimple:
			if first == simpleByte && arg < 32 {
				return items, malformedAt(off, "simple value below 32 in two bytes")
			}
			continue
		case majorBytes, majorText:
			if arg > uint64(len(data)-off) {
				return items, malformedAt(off, "length beyond the data")
			}
			end := off + int(arg)
			if first>>5 == majorText && !validText(data[off:end]) {
				return items, &CheckError{Offset: off, Err: ErrValueText}
			}
			off = end
			continue
		case majorTag:
			if limits.NoTags {
				return items, malformedAt(off, "a tag")
			}
			tagged = true
			if !inTag {
				items++
				left++
				continue
			}
			arg = 1 // a tag inside a tag counts as a container of one
		case majorMap:
			arg = min(arg, uint64(len(data))) * 2
		}
		if arg > uint64(len(data)) || int(arg) > len(data)-items ||
			items+int(arg) > limits.MaxItems || depth >= limits.MaxDepth {
			return items, badContainer(off, arg, depth, len(data)-items, limits)
		}
		items += int(arg)
		stack[depth] = int32(left)
		depth++
		left = int(arg)
	}
}

// validText is utf8.Valid, but faster for short words, such as keys and names.
func validText(b []byte) bool {
	if len(b) > 16 {
		return utf8.Valid(b)
	}
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return utf8.Valid(b)
		}
	}
	return true
}

// headArgument reads the argument of size bytes at the start of b.
func headArgument(b []byte, size int) uint64 {
	switch size {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	}
	return binary.BigEndian.Uint64(b)
}

// scanEnd returns the result of a scan that found a whole value, which ends at off.
func scanEnd(data []byte, off, items int, limits *Limits) error {
	if off != len(data) {
		return malformedAt(off, "more data after the value")
	}
	if items > limits.MaxItems {
		return tooManyItems(off, limits)
	}
	return nil
}

// badHead returns what is wrong with an item whose first byte announces an argument that is not
// there.
func badHead(off int, first byte) error {
	switch {
	case first&31 <= info64:
		return malformedAt(off, "the data ends inside the value")
	case first&31 == infoIndef:
		return malformedAt(off, "indefinite length")
	}
	return malformedAt(off, fmt.Sprintf("reserved first byte %#02x", first))
}

// badContainer returns what is wrong with an array, map or tag of n items, when at most room items
// can follow.
func badContainer(off int, n uint64, depth, room int, limits *Limits) error {
	switch {
	case n > math.MaxInt32 || int(n) > room:
		return malformedAt(off, "length beyond the data")
	case depth >= limits.MaxDepth:
		return &CheckError{Offset: off, Err: ErrValueDepth, What: fmt.Sprintf("more than %d levels", limits.MaxDepth)}
	}
	return tooManyItems(off, limits)
}

func tooManyItems(off int, limits *Limits) error {
	return &CheckError{Offset: off, Err: ErrValueSize, What: fmt.Sprintf("more than %d items", limits.MaxItems)}
}

func malformedAt(off int, what string) error {
	return &CheckError{Offset: off, Err: ErrValueMalformed, What: what}
}
