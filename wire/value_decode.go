package wire

import (
	"fmt"
	"math"
	"reflect"
	"time"
)

// valueDecoder is the state of one call of Decode: its position in the data, and the memory used so
// far. It belongs to that call. The data has been checked, so every item is whole. (If that were
// wrong, an index out of range would become an error.)
type valueDecoder struct {
	codec  *Codec
	ctx    any    // of the caller, for hooks
	data   []byte // of the caller; the result does not refer to it unless own is set
	off    int    // of the next item
	memory int64  // that may still be used
	strict bool   // a field that the type does not have is an error
	own    bool   // a byte string that is most of the data may refer to the data
}

// newDecoder returns a decoder for data.
func (c *Codec) newDecoder(data []byte, ctx any) *valueDecoder {
	d := c.decoders.Get().(*valueDecoder)
	d.ctx, d.data, d.off, d.strict, d.own = ctx, data, 0, false, false
	d.memory = c.limits.memoryBudget(len(data))
	return d
}

// check checks the data before anything of it is decoded.
func (d *valueDecoder) check() error {
	_, err := scanValue(d.data, &d.codec.limits)
	return err
}

// finish is deferred by the call that d was made for. It turns a panic, of a method of a user or
// because of data that the check should have refused, into an error, and completes errors.
func (d *valueDecoder) finish(t reflect.Type, err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("panic: %v", r)
	}
	if *err != nil {
		*err = completed(*err, "decode", t)
	}
	d.ctx, d.data = nil, nil
	d.codec.decoders.Put(d)
}

// take counts n bytes of memory that are about to be used.
func (d *valueDecoder) take(n int64) error {
	d.memory -= n
	if d.memory < 0 {
		return fmt.Errorf("%w: more than %d bytes of memory for %d encoded bytes",
			ErrValueSize, d.codec.limits.memoryBudget(len(d.data)), len(d.data))
	}
	return nil
}

// head reads the first bytes of an item.
func (d *valueDecoder) head() (major byte, n uint64) {
	first := d.data[d.off]
	d.off++
	major, n = first>>5, uint64(first&31)
	if n > infoDirect {
		size := 1 << ((n - info8) & 3)
		n = headArgument(d.data[d.off:], size)
		d.off += size
	}
	return major, n
}

// nullInto reads a null into v, and reports whether there is one.
func (d *valueDecoder) nullInto(v reflect.Value) bool {
	if d.data[d.off] != nullByte {
		return false
	}
	d.off++
	v.SetZero()
	return true
}

// skip skips an item with everything in it.
func (d *valueDecoder) skip() {
	for left := 1; left > 0; left-- {
		switch major, n := d.head(); major {
		case majorBytes, majorText:
			d.off += int(n)
		case majorArray:
			left += int(n)
		case majorMap:
			left += 2 * int(n)
		case majorTag:
			left++
		}
	}
}

// raw returns the bytes of an item with everything in it.
func (d *valueDecoder) raw() []byte {
	start := d.off
	d.skip()
	return d.data[start:d.off]
}

// string reads the bytes of a text. The result refers to the data.
func (d *valueDecoder) string(t reflect.Type) ([]byte, error) { return d.chunk(majorText, t) }

// bytes reads a byte string. The result refers to the data.
func (d *valueDecoder) bytes(t reflect.Type) ([]byte, error) { return d.chunk(majorBytes, t) }

// ownBytes is the size of the shortest byte string that is not copied if the decoder owns the data.
const ownBytes = 4 << 10

// result returns b, a part of the data, for the caller of Decode.
func (d *valueDecoder) result(b []byte) []byte {
	if d.own && len(b) >= ownBytes && len(b) >= len(d.data)/2 {
		return b[:len(b):len(b)]
	}
	return append([]byte{}, b...)
}

func (d *valueDecoder) chunk(want byte, t reflect.Type) ([]byte, error) {
	if d.data[d.off]>>5 != want {
		return nil, d.mismatch(t)
	}
	_, n := d.head()
	b := d.data[d.off : d.off+int(n)]
	d.off += int(n)
	return b, nil
}

// open begins an array or map, and returns its number of elements or entries.
func (d *valueDecoder) open(want byte, t reflect.Type) (int, error) {
	if d.data[d.off]>>5 != want {
		return 0, d.mismatch(t)
	}
	_, n := d.head()
	return int(n), nil
}

// array begins an array that must have n elements.
func (d *valueDecoder) array(n int, t reflect.Type) error {
	got, err := d.open(majorArray, t)
	if err == nil && got != n {
		return mismatch(fmt.Sprintf("array of %d elements instead of %d", got, n), t)
	}
	return err
}

// int reads a number that fits into that many bits, those of t.
func (d *valueDecoder) int(bits int, t reflect.Type) (int64, error) {
	if d.data[d.off]>>5 > majorNegInt {
		return 0, d.mismatch(t)
	}
	major, n := d.head()
	if n > 1<<(bits-1)-1 {
		return 0, outOfRange(major, n, t)
	}
	if major == majorNegInt {
		return ^int64(n), nil
	}
	return int64(n), nil
}

// uint reads a number that fits into that many bits, those of t.
func (d *valueDecoder) uint(bits int, t reflect.Type) (uint64, error) {
	if d.data[d.off]>>5 > majorNegInt {
		return 0, d.mismatch(t)
	}
	major, n := d.head()
	if major == majorNegInt || bits < 64 && n>>bits != 0 {
		return 0, outOfRange(major, n, t)
	}
	return n, nil
}

func outOfRange(major byte, n uint64, t reflect.Type) error {
	if major == majorNegInt {
		return mismatch(fmt.Sprintf("number -1-%d", n), t)
	}
	return mismatch(fmt.Sprintf("number %d", n), t)
}

// float reads a number. It accepts an integer that a float64 holds exactly.
func (d *valueDecoder) float(t reflect.Type) (float64, error) {
	first := d.data[d.off]
	switch {
	case first == float64Byte:
		_, n := d.head()
		return math.Float64frombits(n), nil
	case first == float32Byte:
		_, n := d.head()
		return float64(math.Float32frombits(uint32(n))), nil
	case first>>5 <= majorNegInt:
		major, n := d.head()
		if n > 1<<53 {
			return 0, outOfRange(major, n, t)
		}
		if major == majorNegInt {
			return float64(^int64(n)), nil
		}
		return float64(n), nil
	}
	return 0, d.mismatch(t)
}

// float32 reads a number that is not too large for t.
func (d *valueDecoder) float32(t reflect.Type) (float32, error) {
	f, err := d.float(t)
	if abs := math.Abs(f); err == nil && abs > math.MaxFloat32 && !math.IsInf(f, 0) {
		return 0, mismatch(fmt.Sprintf("number %v", f), t)
	}
	return float32(f), err
}

// bool reads a boolean.
func (d *valueDecoder) bool(t reflect.Type) (bool, error) {
	first := d.data[d.off]
	if first != falseByte && first != trueByte {
		return false, d.mismatch(t)
	}
	d.off++
	return first == trueByte, nil
}

// time reads what [valueEncoder.time] writes.
func (d *valueDecoder) time() (time.Time, error) {
	if err := d.array(3, timeType); err != nil {
		return time.Time{}, err
	}
	sec, err := d.int(64, timeType)
	if err != nil {
		return time.Time{}, err
	}
	nsec, err := d.uint(30, timeType)
	if err != nil {
		return time.Time{}, err
	}
	offset, err := d.int(32, timeType)
	if err != nil {
		return time.Time{}, err
	}
	return d.inZone(time.Unix(sec, int64(nsec)), int(offset))
}

// inZone returns t in UTC, in the local zone or in a zone without a name, whichever has that offset
// at t.
func (d *valueDecoder) inZone(t time.Time, offset int) (time.Time, error) {
	if offset == 0 {
		return t.UTC(), nil
	}
	if err := d.take(zoneMemory); err != nil {
		return time.Time{}, err
	}
	if _, local := t.Zone(); local == offset {
		return t, nil
	}
	return t.In(time.FixedZone("", offset)), nil
}

// error reads what [valueEncoder.error] writes.
func (d *valueDecoder) error() (error, error) {
	if err := d.take(errorMemory); err != nil {
		return nil, err
	}
	var v ErrorValue
	if err := d.codec.errorPlan.decode(d, reflect.ValueOf(&v).Elem()); err != nil {
		return nil, err
	}
	return d.codec.Error(&v), nil
}

// handle reads the content of the tag of h, and returns the pointer that the hook gives for it.
func (d *valueDecoder) handle(h *handle) (reflect.Value, error) {
	hv, err := d.handleValue(h.hooks.Type)
	if err != nil {
		return reflect.Value{}, err
	}
	v, err := h.hooks.Decode(hv, d.ctx)
	if err != nil {
		return reflect.Value{}, fmt.Errorf("%v: %w", h.hooks.Type, err)
	}
	rv := reflect.ValueOf(v)
	if !rv.IsValid() || rv.Type() != h.hooks.Type || rv.IsNil() {
		return reflect.Value{}, fmt.Errorf("%v: the hook made %T of it", h.hooks.Type, v)
	}
	return rv, nil
}

// handleFields is the number of fields of a HandleValue.
const handleFields = 6

func (d *valueDecoder) handleValue(t reflect.Type) (hv HandleValue, err error) {
	if err := d.array(handleFields, t); err != nil {
		return hv, err
	}
	if err := d.take(handleMemory); err != nil {
		return hv, err
	}
	id, err := d.bytes(t)
	if err != nil {
		return hv, err
	}
	if copy(hv.ID[:], id) != len(id) || len(id) != len(hv.ID) {
		return hv, mismatch(fmt.Sprintf("id of %d bytes", len(id)), t)
	}
	host, err := d.string(t)
	if err != nil {
		return hv, err
	}
	port, err := d.int(64, t)
	if err != nil {
		return hv, err
	}
	if hv.Key, err = d.uint(64, t); err != nil {
		return hv, err
	}
	if hv.Seq, err = d.uint(64, t); err != nil {
		return hv, err
	}
	name, err := d.string(t)
	hv.Host, hv.Port, hv.Name = string(host), int(port), string(name)
	return hv, err
}

// mismatch returns the error of the next item, which does not fit t.
func (d *valueDecoder) mismatch(t reflect.Type) error {
	first := d.data[d.off]
	switch first {
	case nullByte:
		return mismatch("null", t)
	case falseByte, trueByte:
		return mismatch("bool", t)
	case float16Byte, float32Byte, float64Byte:
		return mismatch("float", t)
	}
	if first>>5 == majorTag {
		_, n := d.head()
		return mismatch(fmt.Sprintf("tag %d", n), t)
	}
	return mismatch(majorNames[first>>5], t)
}

var majorNames = [8]string{"number", "negative number", "bytes", "string", "array", "map", "tag", "simple value"}
