package wire

import (
	"maps"
	"math/big"
	"reflect"
	"sync"
	"time"
)

// valuePlan says how values of one type are encoded and decoded. It is made once, and does not
// change once others can find it. Plans of recursive types refer to each other, so a plan looks up
// what it needs of another plan only when it runs.
type valuePlan struct {
	typ    reflect.Type
	size   int64 // of typ in memory
	encode valueEncode
	decode valueDecode

	// exactKey says that two values are different exactly if their encodings are, also after they
	// have travelled. Map keys of other types are compared when they are encoded.
	exactKey bool

	// plain is the plainKind of a type that is one number, boolean or string; Slice for a byte string;
	// Invalid for all other types.
	plain reflect.Kind
	flat  *flatPlan // the fast path of a struct; nil if it has none

	// scratch holds pointers to zero values, to decode into.
	scratch sync.Pool
}

type (
	// valueEncode writes v.
	valueEncode func(e *valueEncoder, v reflect.Value) error
	// valueDecode reads into v, which can be set and should be zero. After an error v is not to be
	// used.
	valueDecode func(d *valueDecoder, v reflect.Value) error
)

// planTable maps types to their plans. It is immutable.
type planTable map[reflect.Type]*valuePlan

// planOf returns the plan of t, or a [TravelError].
func (c *Codec) planOf(t reflect.Type) (*valuePlan, error) {
	if p := (*c.plans.Load())[t]; p != nil {
		return p, nil
	}
	b := planBuilder{codec: c, fresh: planTable{}}
	p, err := b.plan(t)
	if err != nil {
		err.Root = t
		return nil, err
	}
	c.addPlans(b.fresh)
	return p, nil
}

// addPlans lets others find fresh plans. Two plans of one type that are made at the same time are
// equal.
func (c *Codec) addPlans(fresh planTable) {
	c.mu.Lock()
	defer c.mu.Unlock()
	table := maps.Clone(*c.plans.Load())
	maps.Copy(table, fresh)
	c.plans.Store(&table)
}

// planBuilder makes the plan of a type and of all types in it. Others can find none of them before
// all are made: a type that cannot travel makes those useless that contain it.
type planBuilder struct {
	codec *Codec
	fresh planTable // finished or being made
}

// plan returns the plan of t. The plan of a recursive type is still empty while it is being made.
func (b *planBuilder) plan(t reflect.Type) (*valuePlan, *TravelError) {
	if p := b.fresh[t]; p != nil {
		return p, nil
	}
	if p := (*b.codec.plans.Load())[t]; p != nil {
		return p, nil
	}
	p := &valuePlan{typ: t, size: int64(t.Size())}
	p.scratch.New = func() any { return reflect.New(t).Interface() }
	b.fresh[t] = p
	if err := b.fill(p); err != nil {
		return nil, err
	}
	return p, nil
}

// fill makes p for its type. It looks first for types that travel in a way of their own, then at
// the kind.
func (b *planBuilder) fill(p *valuePlan) *TravelError {
	if h := b.codec.handles[p.typ]; h != nil {
		p.encode, p.decode = h.plan()
		return nil
	}
	if b.codec.handles[reflect.PointerTo(p.typ)] != nil {
		return refuse(p.typ, "it lives where it is; a pointer to it travels")
	}
	switch p.typ {
	case timeType:
		p.encode, p.decode = encodeTime, decodeTime
		return nil
	case bigIntType:
		p.encode, p.decode = encodeBigInt, decodeBigInt
		return nil
	case anyType:
		p.encode, p.decode = encodeAny, decodeInterface
		return nil
	case errorType:
		p.encode, p.decode = encodeError, decodeErrorValue
		return nil
	case anySliceType:
		p.encode, p.decode = encodeAnySlice, decodeAnySlice
		return nil
	case anyMapType:
		p.encode, p.decode = encodeAnyMap, decodeAnyMap
		return nil
	}
	done, err := b.fillMarshaler(p)
	if done || err != nil {
		return err
	}
	if err := b.fillKind(p); err != nil {
		return err
	}
	fillUnmarshaler(p)
	return nil
}

// fillKind makes p by the kind of its type.
func (b *planBuilder) fillKind(p *valuePlan) *TravelError {
	switch p.typ.Kind() {
	case reflect.Bool, reflect.String,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64:
		p.exactKey, p.plain = true, plainKind(p.typ)
		p.encode, p.decode = scalarPlan(p.typ)
		return nil
	case reflect.Slice:
		return b.fillSlice(p)
	case reflect.Array:
		return b.fillArray(p)
	case reflect.Map:
		return b.fillMap(p)
	case reflect.Struct:
		return b.fillStruct(p)
	case reflect.Pointer:
		return b.fillPointer(p)
	case reflect.Interface:
		p.encode, p.decode = encodeInterface, decodeInterface
		return nil
	case reflect.Chan:
		return refuse(p.typ, "channels cannot travel; a *discoro.Channel can")
	case reflect.Func:
		return refuse(p.typ, "functions cannot travel; register it and send its name")
	case reflect.Complex64, reflect.Complex128:
		return refuse(p.typ, "complex numbers cannot travel; send two floats")
	case reflect.Uintptr, reflect.UnsafePointer, reflect.Invalid:
	}
	return refuse(p.typ, "addresses mean nothing elsewhere")
}

// refuse returns the error of a type that cannot travel.
func refuse(t reflect.Type, reason string) *TravelError {
	return &TravelError{Type: t, Reason: reason}
}

// scalarPlan returns the functions of a type that is one number, boolean or string.
func scalarPlan(t reflect.Type) (valueEncode, valueDecode) {
	switch t.Kind() { //nolint:exhaustive // fillKind passes no others
	case reflect.Bool:
		return encodeBool, decodeBool(t)
	case reflect.String:
		return encodeString, decodeString(t)
	case reflect.Float32:
		return encodeFloat32, decodeFloat32(t)
	case reflect.Float64:
		return encodeFloat64, decodeFloat64(t)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return encodeUint, decodeUint(t)
	}
	return encodeInt, decodeInt(t)
}

func encodeBool(e *valueEncoder, v reflect.Value) error {
	e.bool(v.Bool())
	return nil
}

func decodeBool(t reflect.Type) valueDecode {
	return func(d *valueDecoder, v reflect.Value) error {
		b, err := d.bool(t)
		v.SetBool(b)
		return err
	}
}

func encodeString(e *valueEncoder, v reflect.Value) error { return e.text(v.String()) }

func decodeString(t reflect.Type) valueDecode {
	return func(d *valueDecoder, v reflect.Value) error {
		b, err := d.string(t)
		v.SetString(string(b))
		return err
	}
}

func encodeInt(e *valueEncoder, v reflect.Value) error {
	e.int(v.Int())
	return nil
}

func decodeInt(t reflect.Type) valueDecode {
	bits := t.Bits()
	return func(d *valueDecoder, v reflect.Value) error {
		n, err := d.int(bits, t)
		v.SetInt(n)
		return err
	}
}

func encodeUint(e *valueEncoder, v reflect.Value) error {
	e.head(majorUint, v.Uint())
	return nil
}

func decodeUint(t reflect.Type) valueDecode {
	bits := t.Bits()
	return func(d *valueDecoder, v reflect.Value) error {
		n, err := d.uint(bits, t)
		v.SetUint(n)
		return err
	}
}

func encodeFloat32(e *valueEncoder, v reflect.Value) error {
	e.float32(float32(v.Float()))
	return nil
}

func decodeFloat32(t reflect.Type) valueDecode {
	return func(d *valueDecoder, v reflect.Value) error {
		f, err := d.float32(t)
		v.SetFloat(float64(f))
		return err
	}
}

func encodeFloat64(e *valueEncoder, v reflect.Value) error {
	e.float64(v.Float())
	return nil
}

func decodeFloat64(t reflect.Type) valueDecode {
	return func(d *valueDecoder, v reflect.Value) error {
		f, err := d.float(t)
		v.SetFloat(f)
		return err
	}
}

func encodeTime(e *valueEncoder, v reflect.Value) error {
	if v.CanAddr() {
		return e.time(*v.Addr().Interface().(*time.Time)) // avoids the copy that Interface makes
	}
	return e.time(v.Interface().(time.Time))
}

func decodeTime(d *valueDecoder, v reflect.Value) error {
	t, err := d.time()
	*v.Addr().Interface().(*time.Time) = t
	return err
}

// bigIntType is the only type of the standard library that needs tags of CBOR itself.
var bigIntType = reflect.TypeFor[big.Int]()

// The tags of integers of any size.
const (
	tagBigUint   = 2
	tagBigNegInt = 3 // the content is n for the number -1-n
)

func encodeBigInt(e *valueEncoder, v reflect.Value) error {
	n, tag := pointerTo(v).(*big.Int), uint64(tagBigUint)
	if n.Sign() < 0 {
		n, tag = new(big.Int).Not(n), tagBigNegInt
	}
	e.head(majorTag, tag)
	e.bytes(n.Bytes())
	return nil
}

func decodeBigInt(d *valueDecoder, v reflect.Value) error {
	if d.data[d.off]>>5 != majorTag {
		return d.mismatch(v.Type())
	}
	_, tag := d.head()
	if tag != tagBigUint && tag != tagBigNegInt {
		return mismatch("another tag", v.Type())
	}
	b, err := d.bytes(v.Type())
	if err != nil {
		return err
	}
	n := v.Addr().Interface().(*big.Int)
	n.SetBytes(b)
	if tag == tagBigNegInt {
		n.Not(n)
	}
	return nil
}
