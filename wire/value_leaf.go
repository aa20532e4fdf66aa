package wire

import (
	"fmt"
	"reflect"
)

// handle is a handle type and its tag.
type handle struct {
	hooks HandleType
	tag   uint64
}

// newHandles gives each handle type its tag. It panics if one is not usable.
func newHandles(types []HandleType) map[reflect.Type]*handle {
	if len(types) > maxHandleTypes {
		panic(fmt.Sprintf("wire: more than %d handle types", maxHandleTypes)) //nolint:forbidigo // misuse
	}
	handles := make(map[reflect.Type]*handle, len(types))
	for i, t := range types {
		if t.Type == nil || t.Type.Kind() != reflect.Pointer || t.Encode == nil || t.Decode == nil {
			panic(fmt.Sprintf("wire: handle type %v lacks a function, or is no pointer", t.Type)) //nolint:forbidigo // misuse
		}
		handles[t.Type] = &handle{hooks: t, tag: uint64(tagHandles + i)}
	}
	return handles
}

// plan returns the functions of a handle type. A handle travels as null if it is nil, and as what
// the hook returns, behind a tag, otherwise.
func (h *handle) plan() (valueEncode, valueDecode) {
	encode := func(e *valueEncoder, v reflect.Value) error {
		if v.IsNil() {
			e.null()
			return nil
		}
		return e.handle(h, v.Interface())
	}
	decode := func(d *valueDecoder, v reflect.Value) error {
		if d.nullInto(v) {
			return nil
		}
		if d.data[d.off]>>5 != majorTag {
			return d.mismatch(h.hooks.Type)
		}
		if _, tag := d.head(); tag != h.tag {
			return mismatch(fmt.Sprintf("tag %d", tag), h.hooks.Type)
		}
		x, err := d.handle(h)
		if err == nil {
			v.Set(x)
		}
		return err
	}
	return encode, decode
}

func encodeAny(e *valueEncoder, v reflect.Value) error { return e.any(v.Interface()) }

// encodeInterface writes the value in an interface with methods. An error whose type is not
// registered does not travel as an error here: what arrives would have only the methods of an
// error.
func encodeInterface(e *valueEncoder, v reflect.Value) error {
	if !v.IsNil() {
		if _, err := e.codec.typeOf(v.Elem().Type()); err != nil {
			return err
		}
	}
	return e.any(v.Interface())
}

func decodeInterface(d *valueDecoder, v reflect.Value) error {
	x, err := d.any()
	if err != nil || x == nil {
		v.SetZero()
		return err
	}
	rv := reflect.ValueOf(x)
	if !rv.Type().AssignableTo(v.Type()) {
		return mismatch(rv.Type().String(), v.Type())
	}
	v.Set(rv)
	return nil
}

func encodeError(e *valueEncoder, v reflect.Value) error {
	if v.IsNil() {
		e.null()
		return nil
	}
	return e.error(v.Interface().(error))
}

func decodeErrorValue(d *valueDecoder, v reflect.Value) error {
	if d.nullInto(v) {
		return nil
	}
	failure, err := d.error()
	if err == nil {
		v.Set(reflect.ValueOf(failure))
	}
	return err
}

func encodeAnySlice(e *valueEncoder, v reflect.Value) error {
	if v.IsNil() {
		e.null()
		return nil
	}
	return e.anySlice(v.Interface().([]any))
}

func decodeAnySlice(d *valueDecoder, v reflect.Value) error {
	if d.nullInto(v) {
		return nil
	}
	return setDecoded(v, d.anySlice)
}

func encodeAnyMap(e *valueEncoder, v reflect.Value) error {
	if v.IsNil() {
		e.null()
		return nil
	}
	return e.anyMap(v.Interface().(map[string]any))
}

func decodeAnyMap(d *valueDecoder, v reflect.Value) error {
	if d.nullInto(v) {
		return nil
	}
	return setDecoded(v, d.anyMap)
}

func setDecoded(v reflect.Value, decode func() (any, error)) error {
	x, err := decode()
	if err == nil {
		v.Set(reflect.ValueOf(x))
	}
	return err
}
