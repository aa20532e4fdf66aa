package wire

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
)

// Codec turns user values (arguments, results, messages) into bytes and back. A process needs only
// one; it is safe for concurrent use. The bytes are plain CBOR (RFC 8949) of definite lengths.
//
// Each Go type is compiled once into a [valuePlan] that encodes and decodes it. Plans never change,
// so registering a type later costs nothing where no interface is involved. Hooks are called
// without locks held.
//
// # What travels
//
//   - Booleans, numbers except complex ones, strings of valid UTF-8, []byte, [time.Time] (instant and
//     offset), [big.Int], and slices, arrays, maps, structs and pointers of what travels. Nil slices,
//     maps and pointers stay nil, empty ones stay empty. A pointer to something nil arrives as nil, and
//     a value that several pointers share arrives several times.
//   - Structs travel by field names, as in encoding/json: with tags named cbor, or else json, with
//     omitempty, omitzero and keyasint, and without unexported fields. A struct with a field _ tagged
//     toarray is an array of its fields.
//   - Types with MarshalCBOR and UnmarshalCBOR, or MarshalBinary and UnmarshalBinary, marshal
//     themselves; structs without exported fields also do so with MarshalText and UnmarshalText. A
//     method that a struct has only because it embeds another type is not used: it would lose the other
//     fields.
//   - Handles travel as live handles, and values in a place of type error as errors.
//   - A value in any, or in another interface, arrives as a value of the same type: nil, booleans,
//     numbers, strings, [time.Time], [time.Duration], struct{}, registered types, pointers to these,
//     handles, and slices and maps of all of those, of any and of error. In any, an error whose type is
//     not registered travels as an error.
//
// A value may be nested 32 levels deep. Arrays, maps and structs count one level, a value in an
// interface that travels with the name of its type counts two. A value that contains itself is an
// error.
type Codec struct {
	hooks     Hooks                    // immutable
	limits    Limits                   // immutable; without zero fields
	handles   map[reflect.Type]*handle // immutable; key: the pointer type
	errorPlan *valuePlan               // immutable; for ErrorValue

	plans    atomic.Pointer[planTable] // of all types met so far; a change replaces the table
	types    atomic.Pointer[typeTable] // the types that travel in any; a change replaces the table
	encoders sync.Pool                 // of *valueEncoder
	decoders sync.Pool                 // of *valueDecoder

	mu sync.Mutex // guards replacing plans and types; leaf
}

// Hooks are what a codec needs to know of the runtime that it works for. All fields are optional.
type Hooks struct {
	// Handles are the pointer types that travel as live handles. Their order is part of the protocol. At most 8.
	Handles []HandleType
	// EncodeError returns what travels of an error, which is never nil.
	EncodeError func(err error) ErrorValue
	// DecodeError returns the error that arrives.
	DecodeError func(v ErrorValue) error
	// Limits bound every value. Both sides of a link need the same.
	Limits Limits
}

// HandleType is a pointer type whose values travel by name: the receiver gets its own pointer for
// that name. Both functions are called with the ctx that was given to the method of [Codec].
type HandleType struct {
	Type reflect.Type // such as *Coro
	// Encode returns what travels of v, a value of Type that is not nil.
	Encode func(v, ctx any) (HandleValue, error)
	// Decode returns the value of Type that hv names. It returns the same value each time, so that
	// == holds.
	Decode func(hv HandleValue, ctx any) (any, error)
}

// HandleValue is what travels of a handle to a coroutine or a channel: which runtime it lives in,
// where that runtime is, and which coroutine or channel of that runtime it is.
type HandleValue struct {
	_    struct{} `cbor:",toarray"`
	ID   ID       // of the runtime
	Host string
	Port int
	Key  uint64 // in that runtime: random, at most 63 bits, not 0; whoever knows it can use the coroutine or channel
	Seq  uint64 // in that runtime, for people: counted from 1
	Name string
}

// ErrorValue is what travels of an error. Empty fields take no space. A field that is added later
// does not break an older peer.
type ErrorValue struct {
	Msg   string   `cbor:"1,keyasint,omitempty"` // the text
	Codes []string `cbor:"2,keyasint,omitempty"` // registered names of the sentinels in the error's chain
	Kind  string   `cbor:"3,keyasint,omitempty"` // which type of error it becomes; "": an error with these codes
	Func  string   `cbor:"4,keyasint,omitempty"` // the function that failed
	Host  string   `cbor:"5,keyasint,omitempty"` // where it failed
	Port  int      `cbor:"6,keyasint,omitempty"`
	Value string   `cbor:"7,keyasint,omitempty"` // of a panic
	Stack string   `cbor:"8,keyasint,omitempty"` // of a panic
}

// NewCodec returns a codec. It panics if the hooks are not usable.
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

// ErrorValue returns what travels of err, ready for a frame and of valid UTF-8. It returns nil for
// nil.
func (c *Codec) ErrorValue(err error) *ErrorValue {
	if err == nil {
		return nil
	}
	v := c.hooks.EncodeError(err)
	v.clean()
	return &v
}

// Error returns the error that v stands for. It returns nil for nil.
func (c *Codec) Error(v *ErrorValue) error {
	if v == nil {
		return nil
	}
	if err := c.hooks.DecodeError(*v); err != nil {
		return err
	}
	return errors.New(v.Msg)
}

// clean replaces invalid UTF-8, which the texts of errors that quote file names may hold. An error
// always travels.
func (v *ErrorValue) clean() {
	for _, s := range []*string{&v.Msg, &v.Kind, &v.Func, &v.Host, &v.Value, &v.Stack} {
		*s = strings.ToValidUTF8(*s, "\uFFFD")
	}
	for i, code := range v.Codes {
		if clean := strings.ToValidUTF8(code, "\uFFFD"); clean != code {
			v.Codes = append([]string(nil), v.Codes...) // the slice may belong to somebody else
			v.Codes[i] = clean
		}
	}
}

// Append appends the encoding of v to dst, for a receiver that knows v's type and gives
// [Codec.Decode] a pointer to one. If v cannot be encoded, or a peer with the same registrations
// could not decode it, Append returns dst as it was and a [ValueError]. It does not judge the size
// of the result: that is for the caller.
//
// If the type that the receiver knows is an interface, use [Codec.AppendAs] or [Codec.AppendAny].
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

// AppendAs is Append for a receiver that knows v as a t, to which v must be assignable. It differs
// from Append if t is any, error or another interface.
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

// AppendAny appends the encoding of v together with its type: [Codec.DecodeAny] returns a value of
// the same type. It returns a [ValueError] as Append does. The error wraps [ErrTypeUnknown] if the
// type of v, or of a value in an interface inside v, is neither built in nor registered.
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

// appendPlan encodes v, whose type is that of plan.
func (c *Codec) appendPlan(dst []byte, plan *valuePlan, v reflect.Value, ctx any) (out []byte, err error) {
	e := c.newEncoder(dst, ctx)
	defer e.finish(plan.typ, &out, &err)
	return nil, plan.encode(e, v)
}

// Decode decodes data, which Append wrote, into what the pointer into points to; that should be
// zero. It ignores fields that the type does not have, and leaves fields alone that data does not
// have. The result never refers to data. Decode never panics, whatever the data; after an error,
// what into points to is not to be used.
func (c *Codec) Decode(data []byte, into, ctx any) error { return c.decodeInto(data, into, ctx, false) }

// DecodeStrict is Decode, except that a field that the type does not have is an error which wraps
// [ErrValueField].
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

// DecodeAny decodes data, which AppendAny wrote. The error wraps [ErrTypeUnknown] if data holds a
// type that is not registered in this program.
func (c *Codec) DecodeAny(data []byte, ctx any) (any, error) {
	if v, ok := c.decodeFlat(data); ok {
		return v, nil
	}
	return c.decodeAny(data, ctx, false)
}

// DecodeAnyOwn is DecodeAny of data that the caller no longer uses. The result may refer to data,
// if a byte string in it makes up most of data.
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

// DecodeNamed decodes data, which Append wrote for a value whose type has the [Codec.TypeName]
// name.
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

// CanTravel returns nil, or a [TravelError] that names what keeps values of type t from travelling.
// Unexported fields do not travel, so a struct that has no other fields is refused unless it
// marshals itself. Interfaces are accepted: whether the type of the value in one is registered
// shows when the value is encoded.
func (c *Codec) CanTravel(t reflect.Type) error {
	_, err := c.planOf(t)
	return err
}

// RegisterType makes values of type t, and pointers to them, travel inside interfaces under name.
// Every program that receives them must register its own version of t under that name. Registering
// the same pair again does nothing. It returns an error if the name or the type is already
// registered otherwise, or if values of t cannot travel.
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

// TypeName returns the name under which values of type t travel inside an interface: the registered
// name, or one such as "int32", "[]string" or "map[string]*shop.Order". It returns "" if they
// cannot.
func (c *Codec) TypeName(t reflect.Type) string {
	if t == nil {
		return ""
	}
	return c.types.Load().nameOf(t)
}
