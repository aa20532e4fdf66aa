package wire

import (
	"fmt"
	"reflect"
	"time"
)

// any reads what [valueEncoder.any] writes.
func (d *valueDecoder) any() (any, error) {
	first := d.data[d.off]
	switch first >> 5 {
	case majorUint, majorNegInt:
		n, err := d.int(intBits, intType)
		return int(n), err
	case majorBytes:
		b, err := d.bytes(bytesType)
		return d.result(b), err
	case majorText:
		s, err := d.string(stringType)
		return string(s), err
	case majorArray:
		return d.anySlice()
	case majorMap:
		return d.anyMap()
	case majorTag:
		_, tag := d.head()
		return d.tagged(tag)
	}
	switch first {
	case nullByte:
		d.off++
		return nil, nil
	case float32Byte:
		return d.float32(float32Type)
	case float64Byte:
		return d.float(float64Type)
	}
	return d.bool(anyType)
}

// anySlice reads an array of values of any type.
func (d *valueDecoder) anySlice() (any, error) {
	n, err := d.open(majorArray, anySliceType)
	if err != nil {
		return nil, err
	}
	if err := d.take(int64(n) * anySize); err != nil {
		return nil, err
	}
	v := make([]any, n)
	for i := range v {
		if v[i], err = d.any(); err != nil {
			return nil, atIndex(err, i)
		}
	}
	return v, nil
}

// anyMap reads a map from strings to values of any type.
func (d *valueDecoder) anyMap() (any, error) {
	n, err := d.open(majorMap, anyMapType)
	if err != nil {
		return nil, err
	}
	if err := d.take(entriesMemory(n, stringSize, anySize)); err != nil {
		return nil, err
	}
	v := make(map[string]any, n)
	for i := range n {
		b, err := d.string(stringType)
		if err != nil {
			return nil, err
		}
		key := string(b)
		x, err := d.any()
		if err != nil {
			return nil, atKey(err, reflect.ValueOf(key))
		}
		if v[key] = x; len(v) != i+1 {
			return nil, atKey(ErrValueKey, reflect.ValueOf(key))
		}
	}
	return v, nil
}

// tagged reads the content of a tag.
func (d *valueDecoder) tagged(tag uint64) (any, error) {
	switch {
	case tag == tagNamed:
		return d.named()
	case tag == tagError:
		return d.error()
	case tag >= tagFirst && tag < tagFirst+uint64(len(taggedTypes)):
		return d.scalar(tag)
	case tag >= tagHandles && tag < tagHandles+uint64(len(d.codec.hooks.Handles)):
		v, err := d.handle(d.codec.handles[d.codec.hooks.Handles[tag-tagHandles].Type])
		if err != nil {
			return nil, err
		}
		return v.Interface(), nil
	}
	return nil, fmt.Errorf("%w: tag %d, which this program does not know", ErrTypeUnknown, tag)
}

// scalar reads a value of the type that has this tag.
func (d *valueDecoder) scalar(tag uint64) (any, error) {
	t := taggedTypes[tag-tagFirst]
	if err := d.take(taggedSizes[tag-tagFirst]); err != nil {
		return nil, err
	}
	switch tag {
	case tagTime:
		return d.time()
	case tagDuration:
		n, err := d.int(64, t)
		return time.Duration(n), err
	case tagInt8, tagInt16, tagInt32, tagInt64:
		n, err := d.int(t.Bits(), t)
		return signed(tag, n), err
	}
	n, err := d.uint(t.Bits(), t)
	return unsigned(tag, n), err
}

// signed converts n to the type that has this tag.
func signed(tag uint64, n int64) any {
	switch tag {
	case tagInt8:
		return int8(n)
	case tagInt16:
		return int16(n)
	case tagInt32:
		return int32(n)
	}
	return n
}

// unsigned converts n to the type that has this tag.
func unsigned(tag, n uint64) any {
	switch tag {
	case tagUint:
		return uint(n)
	case tagUint8:
		return uint8(n)
	case tagUint16:
		return uint16(n)
	case tagUint32:
		return uint32(n)
	}
	return n
}

// named reads the name of a type, and a value of that type.
func (d *valueDecoder) named() (any, error) {
	if err := d.array(2, anyType); err != nil {
		return nil, err
	}
	name, err := d.string(anyType)
	if err != nil {
		return nil, err
	}
	at, err := d.codec.types.Load().find(name, d.codec)
	if err != nil {
		return nil, err
	}
	if err := d.take(at.plan.size); err != nil {
		return nil, err
	}
	p := at.plan.scratch.Get() // decoding into it and copying saves an allocation
	v := reflect.ValueOf(p).Elem()
	err = at.plan.decode(d, v)
	x := v.Interface()
	v.SetZero()
	at.plan.scratch.Put(p)
	if err != nil {
		return nil, atStep(err, ".("+at.name+")")
	}
	return x, nil
}
