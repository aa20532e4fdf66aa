package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"time"
	"unicode/utf8"
)

// The items that consist of one byte, or begin with it.
const (
	falseByte   = 0xf4
	trueByte    = 0xf5
	nullByte    = 0xf6
	float16Byte = 0xf9
	float32Byte = 0xfa
	float64Byte = 0xfb
)

// What counts as memory beyond the sizes of Go types; see Limits.memoryBudget.
const (
	mapMemory    = 48  // of a map without entries
	handleMemory = 128 // of a handle
	errorMemory  = 256 // of an error
	zoneMemory   = 128 // of the zone of a time
)

// valueEncoder is the state of one call of Append: the bytes so far, and their counts. It belongs
// to that call. It counts levels, items and bytes as it goes: a value that contains itself would
// otherwise overflow the stack, which nothing can recover from.
type valueEncoder struct {
	codec  *Codec
	ctx    any    // of the caller, for hooks
	out    []byte // the bytes so far, behind those of the caller
	start  int    // where the value begins in out
	depth  int    // of open arrays and maps
	items  int    // written so far
	memory int64  // that the decoded value will take
}

// newEncoder returns an encoder for a value that is appended to dst.
func (c *Codec) newEncoder(dst []byte, ctx any) *valueEncoder {
	e := c.encoders.Get().(*valueEncoder)
	e.ctx, e.out, e.start, e.depth, e.items, e.memory = ctx, dst, len(dst), 0, 0, 0
	return e
}

// finish is deferred by the call that e was made for. It checks the size, turns a panic of a method
// of a user into an error, completes errors, and sets the results.
func (e *valueEncoder) finish(t reflect.Type, out *[]byte, err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("panic: %v", r)
	} else if *err == nil {
		*err = e.checkWhole()
	}
	*out = e.out
	if *err != nil {
		*out = e.out[:e.start]
		*err = completed(*err, "encode", t)
	}
	e.ctx, e.out = nil, nil
	e.codec.encoders.Put(e)
}

// checkSize returns an error if the value so far exceeds the limits. It is called at each
// container, so that a value which contains a part many times does not grow without end.
func (e *valueEncoder) checkSize() error {
	l, size := &e.codec.limits, len(e.out)-e.start
	switch {
	case size > l.MaxBytes:
		return fmt.Errorf("%w: more than %d bytes", ErrValueSize, l.MaxBytes)
	case e.items > l.MaxItems:
		return fmt.Errorf("%w: more than %d items", ErrValueSize, l.MaxItems)
	case e.memory > int64(l.MaxMemory):
		return fmt.Errorf("%w: %d bytes of memory, more than %d", ErrValueSize, e.memory, l.MaxMemory)
	}
	return nil
}

// checkWhole is checkSize for the whole value. It also returns an error if the value takes so much
// more memory than bytes that no decoder would accept it.
func (e *valueEncoder) checkWhole() error {
	size := len(e.out) - e.start
	if budget := e.codec.limits.memoryBudget(size); e.memory > budget {
		return fmt.Errorf("%w: %d bytes of memory for %d encoded bytes, more than %d", ErrValueSize, e.memory, size, budget)
	}
	return e.checkSize()
}

// head writes the first bytes of an item.
func (e *valueEncoder) head(major byte, n uint64) {
	e.items++
	e.out = appendHead(e.out, major, n)
}

// appendHead appends the first bytes of an item.
func appendHead(b []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n <= infoDirect:
		return append(b, major|byte(n))
	case n <= math.MaxUint8:
		return append(b, major|info8, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, major|info16), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, major|info32), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|info64), n)
}

// open begins an array or map of n elements or entries, which take that much memory once decoded.
func (e *valueEncoder) open(major byte, n int, memory int64) error {
	if e.depth >= e.codec.limits.MaxDepth {
		return fmt.Errorf("%w: more than %d levels", ErrValueDepth, e.codec.limits.MaxDepth)
	}
	e.depth++
	e.head(major, uint64(n))
	e.memory += memory
	return e.checkSize()
}

// close ends an array or map.
func (e *valueEncoder) close() { e.depth-- }

func (e *valueEncoder) null() {
	e.items++
	e.out = append(e.out, nullByte)
}

func (e *valueEncoder) bool(v bool) {
	e.items++
	if v {
		e.out = append(e.out, trueByte)
	} else {
		e.out = append(e.out, falseByte)
	}
}

func (e *valueEncoder) int(v int64) {
	e.items++
	e.out = appendInt(e.out, v)
}

// appendInt appends an integer.
func appendInt(b []byte, v int64) []byte {
	if v < 0 {
		return appendHead(b, majorNegInt, uint64(^v))
	}
	return appendHead(b, majorUint, uint64(v))
}

func (e *valueEncoder) float32(v float32) {
	e.items++
	e.out = binary.BigEndian.AppendUint32(append(e.out, float32Byte), math.Float32bits(v))
}

func (e *valueEncoder) float64(v float64) {
	e.items++
	e.out = binary.BigEndian.AppendUint64(append(e.out, float64Byte), math.Float64bits(v))
}

func (e *valueEncoder) text(s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("%w: send []byte", ErrValueText)
	}
	e.head(majorText, uint64(len(s)))
	e.out = append(e.out, s...)
	return nil
}

func (e *valueEncoder) bytes(b []byte) {
	e.head(majorBytes, uint64(len(b)))
	e.out = append(e.out, b...)
}

// time writes [seconds since 1970, nanoseconds, seconds east of UTC]. The instant and the offset
// survive; the name of the zone and the monotonic clock do not.
func (e *valueEncoder) time(t time.Time) error {
	if err := e.open(majorArray, 3, 0); err != nil {
		return err
	}
	_, offset := t.Zone()
	if offset != int(int32(offset)) {
		return fmt.Errorf("%w: zone %d s east of UTC", ErrValueType, offset)
	}
	if offset != 0 {
		e.memory += zoneMemory
	}
	e.int(t.Unix())
	e.int(int64(t.Nanosecond()))
	e.int(int64(offset))
	e.close()
	return nil
}

// error writes what travels of err.
func (e *valueEncoder) error(err error) error {
	e.memory += errorMemory
	v := e.codec.hooks.EncodeError(err)
	v.clean()
	return e.codec.errorPlan.encode(e, reflect.ValueOf(&v).Elem())
}

// handle writes the handle v, which is not nil: the tag of h, and what the hook returns for v.
func (e *valueEncoder) handle(h *handle, v any) error {
	hv, err := h.hooks.Encode(v, e.ctx)
	if err != nil {
		return fmt.Errorf("%v: %w", h.hooks.Type, err)
	}
	e.head(majorTag, h.tag)
	if err := e.open(majorArray, handleFields, handleMemory); err != nil {
		return err
	}
	e.bytes(hv.ID[:])
	if err := e.text(hv.Host); err != nil {
		return err
	}
	e.int(int64(hv.Port))
	e.head(majorUint, hv.Key)
	e.head(majorUint, hv.Seq)
	if err := e.text(hv.Name); err != nil {
		return err
	}
	e.close()
	return nil
}

// any writes v together with its type. Values whose types CBOR itself distinguishes are written as
// they are, others behind a tag.
func (e *valueEncoder) any(v any) error {
	switch v := v.(type) {
	case nil:
		e.null()
	case bool:
		e.bool(v)
	case string:
		return e.text(v)
	case int:
		e.int(int64(v))
	case float64:
		e.float64(v)
	case float32:
		e.float32(v)
	case []byte:
		if v == nil {
			return e.typed(v)
		}
		e.bytes(v)
	case []any:
		if v == nil {
			return e.typed(v)
		}
		return e.anySlice(v)
	case map[string]any:
		if v == nil {
			return e.typed(v)
		}
		return e.anyMap(v)
	default:
		if tag, n, ok := wholeNumber(v); ok {
			e.memory += taggedSizes[tag-tagFirst]
			e.head(majorTag, tag)
			e.int(n)
			return nil
		}
		return e.typed(v)
	}
	return nil
}

// wholeNumber returns the number that v is and the tag of its type, if it is one of the common
// types with a tag. The method typed writes the other types.
func wholeNumber(v any) (tag uint64, n int64, ok bool) {
	switch v := v.(type) {
	case int8:
		return tagInt8, int64(v), true
	case int16:
		return tagInt16, int64(v), true
	case int32:
		return tagInt32, int64(v), true
	case int64:
		return tagInt64, v, true
	case uint8:
		return tagUint8, int64(v), true
	case uint16:
		return tagUint16, int64(v), true
	case uint32:
		return tagUint32, int64(v), true
	case time.Duration:
		return tagDuration, int64(v), true
	}
	return 0, 0, false
}

// anySlice writes the elements of v, each with its type.
func (e *valueEncoder) anySlice(v []any) error {
	if err := e.open(majorArray, len(v), int64(len(v))*anySize); err != nil {
		return err
	}
	for i := range v {
		if err := e.any(v[i]); err != nil {
			return atIndex(err, i)
		}
	}
	e.close()
	return nil
}

// anyMap writes the entries of v, each value with its type.
func (e *valueEncoder) anyMap(v map[string]any) error {
	if err := e.open(majorMap, len(v), entriesMemory(len(v), stringSize, anySize)); err != nil {
		return err
	}
	for key, x := range v {
		if err := e.text(key); err != nil {
			return atKey(err, reflect.ValueOf(key))
		}
		if err := e.any(x); err != nil {
			return atKey(err, reflect.ValueOf(key))
		}
	}
	e.close()
	return nil
}

// typed writes v, which is not nil, behind the name or tag of its type. A value whose type has
// neither travels as an error if it is one.
func (e *valueEncoder) typed(v any) error {
	t := reflect.TypeOf(v)
	at := e.codec.types.Load().entryOf(t)
	if at == nil {
		var err error
		if at, err = e.codec.typeOf(t); err != nil {
			if failure, ok := v.(error); ok {
				e.head(majorTag, tagError)
				return e.error(failure)
			}
			return err
		}
	}
	rv := reflect.ValueOf(v)
	if at.handle != nil && !rv.IsNil() {
		return e.handle(at.handle, v)
	}
	return e.prefixed(at, rv)
}

// prefixed writes v behind the name or tag of at.
func (e *valueEncoder) prefixed(at *typeEntry, v reflect.Value) error {
	e.memory += at.plan.size
	e.items += at.prefixItems
	e.out = append(e.out, at.prefix...)
	if !at.named {
		return at.plan.encode(e, v)
	}
	if e.depth >= e.codec.limits.MaxDepth {
		return fmt.Errorf("%w: more than %d levels", ErrValueDepth, e.codec.limits.MaxDepth)
	}
	e.depth++
	if err := at.plan.encode(e, v); err != nil {
		return atStep(err, ".("+at.name+")")
	}
	e.depth--
	return e.checkSize()
}
