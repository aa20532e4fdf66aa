package wire

import "reflect"

// fastSlices has the plans of common slices, which read and write their elements without
// reflection.
var fastSlices = map[reflect.Type]func() (valueEncode, valueDecode){
	reflect.TypeFor[[]int]():     intSlice[int],
	reflect.TypeFor[[]int32]():   intSlice[int32],
	reflect.TypeFor[[]int64]():   intSlice[int64],
	reflect.TypeFor[[]float32](): float32Slice,
	reflect.TypeFor[[]float64](): float64Slice,
	reflect.TypeFor[[]string]():  stringSlice,
}

// fastSlice returns the functions of []T for those of T.
func fastSlice[T any](put func(*valueEncoder, T) error, get func(*valueDecoder) (T, error)) (valueEncode, valueDecode) {
	typ := reflect.TypeFor[[]T]()
	size := int64(typ.Elem().Size())
	encode := func(e *valueEncoder, v reflect.Value) error {
		if v.IsNil() {
			e.null()
			return nil
		}
		s := sliceIn[T](v)
		if err := e.open(majorArray, len(s), int64(len(s))*size); err != nil {
			return err
		}
		for i := range s {
			if err := put(e, s[i]); err != nil {
				return atIndex(err, i)
			}
		}
		e.close()
		return nil
	}
	decode := func(d *valueDecoder, v reflect.Value) error {
		if d.nullInto(v) {
			return nil
		}
		n, err := d.open(majorArray, typ)
		if err != nil {
			return err
		}
		if err := d.take(int64(n) * size); err != nil {
			return err
		}
		s := make([]T, n)
		*v.Addr().Interface().(*[]T) = s
		for i := range s {
			if s[i], err = get(d); err != nil {
				return atIndex(err, i)
			}
		}
		return nil
	}
	return encode, decode
}

// sliceIn returns the slice that v holds.
func sliceIn[T any](v reflect.Value) []T {
	if v.CanAddr() {
		return *v.Addr().Interface().(*[]T) // avoids the copy that Interface makes
	}
	return v.Interface().([]T)
}

func intSlice[T int | int32 | int64]() (valueEncode, valueDecode) {
	typ := reflect.TypeFor[T]()
	bits := typ.Bits()
	return fastSlice(
		func(e *valueEncoder, n T) error {
			e.int(int64(n))
			return nil
		},
		func(d *valueDecoder) (T, error) {
			n, err := d.int(bits, typ)
			return T(n), err
		})
}

func float32Slice() (valueEncode, valueDecode) {
	return fastSlice(
		func(e *valueEncoder, f float32) error {
			e.float32(f)
			return nil
		},
		func(d *valueDecoder) (float32, error) { return d.float32(float32Type) })
}

func float64Slice() (valueEncode, valueDecode) {
	return fastSlice(
		func(e *valueEncoder, f float64) error {
			e.float64(f)
			return nil
		},
		func(d *valueDecoder) (float64, error) { return d.float(float64Type) })
}

func stringSlice() (valueEncode, valueDecode) {
	return fastSlice(
		(*valueEncoder).text,
		func(d *valueDecoder) (string, error) {
			b, err := d.string(stringType)
			return string(b), err
		})
}
