package wire

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
)

// Codec turns user values (arguments, results, messages) into bytes and back. There is one a process; it is safe for
// concurrent use. What it writes is plain CBOR (RFC 8949) of definite lengths.
//
// Each Go type is compiled once into a [valuePlan] that encodes and decodes it; plans never change, so registering a
// type later costs nothing where no interface is involved. Hooks are called without locks held.
//
// # What travels
//
//   - Truth values, numbers but complex ones, strings of valid UTF-8, []byte, [time.Time] (instant and offset),
//     [big.Int], and slices, arrays, maps, structs and pointers of what travels. Nil slices, maps and pointers stay nil,
//     empty ones empty. A pointer to something nil arrives as nil, and what several pointers share arrives several times.
//   - Structs travel by field names, like in encoding/json: with tags named cbor, or else json, with omitempty, omitzero
//     and keyasint, and without unexported fields. A struct with a field _ tagged toarray is an array of its fields.
//   - Types with MarshalCBOR and UnmarshalCBOR, or MarshalBinary and UnmarshalBinary, marshal themselves; structs without
//     exported fields also by MarshalText and UnmarshalText. A method that a struct has only because it embeds something
//     is left alone, as it would lose the other fields.
//   - Handles, as live handles, and values in a place of type error, as errors.
//   - What is in any, or another interface, arrives as the very type that was sent: nil, truth values, numbers, strings,
//     [time.Time], [time.Duration], struct{}, registered types, pointers to these, handles, and slices and maps of all of
//     those, in any and error as well. In any, an error whose type is not registered travels as an error.
//
// A value may be nested 32 levels deep, counting arrays, maps and structs, and two for what is in an interface by its
// type's name; one that contains itself is an error.
type Codec struct {
	hooks     Hooks                    // immutable
	limits    Limits                   // immutable; filled in
	handles   map[reflect.Type]*handle // immutable; by pointer type
	errorPlan *valuePlan               // immutable; of ErrorValue

	plans    atomic.Pointer[planTable] // of all types met; a table is immutable, changes replace it
	types    atomic.Pointer[typeTable] // the types that travel in any; likewise
	encoders sync.Pool                 // of *valueEncoder
	decoders sync.Pool                 // of *valueDecoder

	mu sync.Mutex // guards replacing plans and types; leaf
}

// Hooks is what the codec must know of the runtime it works for. All fields are optional.
type Hooks struct {
	// Handles are the pointer types that travel as live handles. Their order is part of the protocol. At most 8.
	Handles []HandleType
	// EncodeError gives what travels of an error, which is never nil.
	EncodeError func(err error) ErrorValue
	// DecodeError gives the error that arrives.
	DecodeError func(v ErrorValue) error
	// Limits bound every value; both sides of a link need the same.
	Limits Limits
}

// HandleType is a pointer type whose values travel by name: what arrives is the receiver's own pointer for it.
// Both functions get the ctx that was given to the method of [Codec] that is at work.
type HandleType struct {
	Type reflect.Type // such as *Coro
	// Encode gives what travels of v, a value of Type that is not nil.
	Encode func(v, ctx any) (HandleValue, error)
	// Decode gives the value of Type that hv names; the same each time, for == to hold.
	Decode func(hv HandleValue, ctx any) (any, error)
}

// HandleValue is what travels of a handle: which runtime it lives in, where that is, and which one it is there.
type HandleValue struct {
	_    struct{} `cbor:",toarray"`
	ID   ID       // of the runtime
	Host string
	Port int
	Key  uint64 // within the runtime: random, at most 63 bits, not 0; who has it can reach what the handle is of
	Seq  uint64 // likewise, for people: counted from 1
	Name string
}

// ErrorValue is what travels of an error. Fields left empty take no space; a field added later does not break an
// older peer.
type ErrorValue struct {
	Msg   string   `cbor:"1,keyasint,omitempty"` // the text
	Codes []string `cbor:"2,keyasint,omitempty"` // registered names of the sentinels in the error's chain
	Kind  string   `cbor:"3,keyasint,omitempty"` // which type to make of it: "" an error with these codes
	Func  string   `cbor:"4,keyasint,omitempty"` // the function that failed
	Host  string   `cbor:"5,keyasint,omitempty"` // where it failed
	Port  int      `cbor:"6,keyasint,omitempty"`
	Value string   `cbor:"7,keyasint,omitempty"` // of a panic
	Stack string   `cbor:"8,keyasint,omitempty"` // of a panic
}

// NewCodec makes a codec. It panics when the hooks are not usable.
func NewCodec(h Hooks) *Codec {
	if h.EncodeError == nil {
		h.EncodeError = func(err error) ErrorValue { return ErrorValue{Msg: err.Error()} }
	}
	if h.DecodeError == nil {
		h.DecodeError = func(v ErrorValue) error { return errors.New(v.Msg) }
	}
	c := &Codec{hooks: h, limits: h.Limits.withDefaults(), handles: newHandles(h.Handles)}
	c.plans.Store(&planTable{})
	c.encoders.New = func() any { return &valueEncoder{codec: c} }
	c.decoders.New = func() any { return &valueDecoder{codec: c} }
	plan, err := c.planOf(reflect.TypeFor[ErrorValue]())
	if err != nil {
		panic(err) //nolint:forbidigo // a constant type
	}
	c.errorPlan = plan
	c.types.Store(newTypeTable(c))
	return c
}

// ErrorValue is what travels of err, ready for a frame: nil for nil, and of valid UTF-8.
func (c *Codec) ErrorValue(err error) *ErrorValue {
	if err == nil {
		return nil
	}
	v := c.hooks.EncodeError(err)
	v.clean()
	return &v
}

// Error is the error that v stands for, nil for nil.
func (c *Codec) Error(v *ErrorValue) error {
	if v == nil {
		return nil
	}
	if err := c.hooks.DecodeError(*v); err != nil {
		return err
	}
	return errors.New(v.Msg)
}

// clean replaces what is no valid UTF-8, as texts of errors that quote file names may hold: an error always travels.
func (v *ErrorValue) clean() {
	for _, s := range []*string{&v.Msg, &v.Kind, &v.Func, &v.Host, &v.Value, &v.Stack} {
		*s = strings.ToValidUTF8(*s, "\uFFFD")
	}
	for i, code := range v.Codes {
		if clean := strings.ToValidUTF8(code, "\uFFFD"); clean != code {
			v.Codes = append([]string(nil), v.Codes...) // not ours to change
			v.Codes[i] = clean
		}
	}
}

// Append appends the encoding of v to dst, for a receiver who knows v's type and gives [Codec.Decode] a pointer to one.
// It returns dst as it was together with a [ValueError] when v cannot be encoded, or could not be decoded by a peer
// with the same registrations. The size of the result is for the caller to judge.
//
// Where the type that the receiver knows is an interface, use [Codec.AppendAs] or [Codec.AppendAny].
func (c *Codec) Append(dst []byte, v, ctx any) ([]byte, error) {
	if v == nil {
		return append(dst, nullByte), nil
	}
	plan, err := c.planOf(reflect.TypeOf(v))
	if err != nil {
		return dst, err
	}
	return c.appendPlan(dst, plan, reflect.ValueOf(v), ctx)
}

// AppendAs is Append for a receiver who knows v as a t, which v must be assignable to: it differs where t is any,
// error or another interface.
func (c *Codec) AppendAs(dst []byte, t reflect.Type, v, ctx any) ([]byte, error) {
	plan, err := c.planOf(t)
	if err != nil {
		return dst, err
	}
	box := reflect.New(t).Elem()
	if v != nil {
		rv := reflect.ValueOf(v)
		if !rv.Type().AssignableTo(t) {
			return dst, &ValueError{Op: "encode", Type: t, Err: mismatch(rv.Type().String(), t)}
		}
		box.Set(rv)
	}
	return c.appendPlan(dst, plan, box, ctx)
}

// AppendAny appends the encoding of v together with its type: [Codec.DecodeAny] returns a value of the very same type.
// It returns a [ValueError] as Append does, which wraps [ErrTypeUnknown] when v's type, or that of a value in an
// interface inside it, is neither built in nor registered.
func (c *Codec) AppendAny(dst []byte, v, ctx any) ([]byte, error) {
	if out, ok := c.appendFlat(dst, v); ok {
		return out, nil
	}
	return c.appendAny(dst, v, ctx)
}

// appendAny is AppendAny for values of all types.
func (c *Codec) appendAny(dst []byte, v, ctx any) (out []byte, err error) {
	e := c.newEncoder(dst, ctx)
	defer e.finish(anyType, &out, &err)
	return nil, e.any(v)
}

// appendPlan encodes v, of plan's type.
func (c *Codec) appendPlan(dst []byte, plan *valuePlan, v reflect.Value, ctx any) (out []byte, err error) {
	e := c.newEncoder(dst, ctx)
	defer e.finish(plan.typ, &out, &err)
	return nil, plan.encode(e, v)
}

// Decode decodes data, which Append wrote, into what the pointer into points to, which should be zero. Fields that
// the type does not have are ignored; what data does not mention stays as it was. The result never refers to data.
// It never panics, on any data; after an error, what into points to is not to be used.
func (c *Codec) Decode(data []byte, into, ctx any) error { return c.decodeInto(data, into, ctx, false) }

// DecodeStrict is Decode, but a field that the type does not have is an error that wraps [ErrValueField].
func (c *Codec) DecodeStrict(data []byte, into, ctx any) error {
	return c.decodeInto(data, into, ctx, true)
}

func (c *Codec) decodeInto(data []byte, into, ctx any, strict bool) (err error) {
	rv := reflect.ValueOf(into)
	if rv.Kind() != reflect.Pointer || rv.IsNil() {
		return &ValueError{Op: "decode", Err: fmt.Errorf("%w: into a %T, not a pointer", ErrValueType, into)}
	}
	plan, err := c.planOf(rv.Type().Elem())
	if err != nil {
		return err
	}
	d := c.newDecoder(data, ctx)
	defer d.finish(plan.typ, &err)
	d.strict = strict
	if err := d.check(); err != nil {
		return err
	}
	return plan.decode(d, rv.Elem())
}

// DecodeAny decodes data, which AppendAny wrote. An error wraps [ErrTypeUnknown] when data holds a type that is not
// registered in this program.
func (c *Codec) DecodeAny(data []byte, ctx any) (any, error) {
	if v, ok := c.decodeFlat(data); ok {
		return v, nil
	}
	return c.decodeAny(data, ctx, false)
}

// DecodeAnyOwn is DecodeAny of data that nobody else has from now on: what is decoded may refer to it, where that is a
// byte string that makes up most of it.
func (c *Codec) DecodeAnyOwn(data []byte, ctx any) (any, error) {
	if v, ok := c.decodeFlat(data); ok {
		return v, nil
	}
	return c.decodeAny(data, ctx, true)
}

// decodeAny is DecodeAny for values of all types.
func (c *Codec) decodeAny(data []byte, ctx any, own bool) (v any, err error) {
	d := c.newDecoder(data, ctx)
	d.own = own
	defer d.finish(anyType, &err)
	if err := d.check(); err != nil {
		return nil, err
	}
	if v, err = d.any(); err != nil {
		return nil, err
	}
	return v, nil
}

// DecodeNamed decodes data, which Append wrote of a value whose type [Codec.TypeName] calls name.
func (c *Codec) DecodeNamed(name string, data []byte, ctx any) (any, error) {
	at, err := c.types.Load().find([]byte(name), c)
	if err != nil {
		return nil, &ValueError{Op: "decode", Err: err}
	}
	box := reflect.New(at.typ)
	if err := c.Decode(data, box.Interface(), ctx); err != nil {
		return nil, err
	}
	return box.Elem().Interface(), nil
}

// CanTravel returns nil, or a [TravelError] that names what keeps values of type t from travelling. Unexported fields
// are left out, so a struct that has no other is refused unless it marshals itself. Interfaces are accepted: whether
// what they hold is registered shows when a value is encoded.
func (c *Codec) CanTravel(t reflect.Type) error {
	_, err := c.planOf(t)
	return err
}

// RegisterType makes values of type t, and pointers to them, travel inside interfaces under name, which every program
// that they travel to must register for its version of t. Registering the same pair again does nothing. An error
// tells that the name or the type is taken, or that values of t cannot travel.
func (c *Codec) RegisterType(name string, t reflect.Type) error {
	if err := registrable(name, t); err != nil {
		return err
	}
	entry, err := newTypeEntry(name, t, c)
	if err != nil {
		return fmt.Errorf("register type %q: %w", name, err)
	}
	pointer, err := newTypeEntry("*"+name, reflect.PointerTo(t), c)
	if err != nil {
		return fmt.Errorf("register type %q: %w", name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	table, err := c.types.Load().withRegistered(entry, pointer)
	if err == nil {
		c.types.Store(table)
	}
	return err
}

// TypeName is the name by which values of type t travel inside an interface: the registered one, or such as "int32",
// "[]string", "map[string]*shop.Order"; empty when they cannot.
func (c *Codec) TypeName(t reflect.Type) string {
	if t == nil {
		return ""
	}
	return c.types.Load().nameOf(t)
}
