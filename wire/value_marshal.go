package wire

import (
	"encoding"
	"fmt"
	"reflect"
	"runtime"
)

// The methods with which types marshal themselves. Those of CBOR come first. Those of package
// encoding count only in pairs.
type (
	cborMarshaler   interface{ MarshalCBOR() ([]byte, error) }
	cborUnmarshaler interface{ UnmarshalCBOR(data []byte) error }
)

// marshaling is one way in which types marshal themselves.
type marshaling struct {
	marshal, unmarshal methodOf
	encode             func(e *valueEncoder, x any) error // x is a pointer to the value
	decode             func(d *valueDecoder, x any) error // into the value that x points to
}

// methodOf finds one method of a type. The names are constants at the calls of MethodByName:
// otherwise the linker would keep every method of every type in the program.
type methodOf struct {
	in   reflect.Type // the interface that has it
	look func(t reflect.Type) (reflect.Method, bool)
}

var marshalings = [...]marshaling{
	byCBOR: {
		methodOf{reflect.TypeFor[cborMarshaler](), func(t reflect.Type) (reflect.Method, bool) {
			return t.MethodByName("MarshalCBOR")
		}},
		methodOf{reflect.TypeFor[cborUnmarshaler](), func(t reflect.Type) (reflect.Method, bool) {
			return t.MethodByName("UnmarshalCBOR")
		}},
		encodeCBOR, decodeCBOR,
	},
	byBinary: {
		methodOf{reflect.TypeFor[encoding.BinaryMarshaler](), func(t reflect.Type) (reflect.Method, bool) {
			return t.MethodByName("MarshalBinary")
		}},
		methodOf{reflect.TypeFor[encoding.BinaryUnmarshaler](), func(t reflect.Type) (reflect.Method, bool) {
			return t.MethodByName("UnmarshalBinary")
		}},
		encodeBinary, decodeBinary,
	},
	byText: {
		methodOf{reflect.TypeFor[encoding.TextMarshaler](), func(t reflect.Type) (reflect.Method, bool) {
			return t.MethodByName("MarshalText")
		}},
		methodOf{reflect.TypeFor[encoding.TextUnmarshaler](), func(t reflect.Type) (reflect.Method, bool) {
			return t.MethodByName("UnmarshalText")
		}},
		encodeText, decodeText,
	},
}

// The positions in marshalings.
const (
	byCBOR = iota
	byBinary
	byText
)

// fillMarshaler makes p if its type marshals itself, and reports whether it does.
func (b *planBuilder) fillMarshaler(p *valuePlan) (bool, *TravelError) {
	m := marshalingOf(p.typ)
	if m == nil {
		return false, lacksUnmarshal(p.typ)
	}
	p.encode = func(e *valueEncoder, v reflect.Value) error { return m.encode(e, pointerTo(v)) }
	p.decode = func(d *valueDecoder, v reflect.Value) error { return m.decode(d, v.Addr().Interface()) }
	return true, nil
}

// lacksUnmarshal refuses a type that has MarshalCBOR, and so an encoding of its own, but nothing to
// decode it.
func lacksUnmarshal(t reflect.Type) *TravelError {
	if mayMarshal(t) && marshalings[byCBOR].marshal.ownedBy(t) {
		return refuse(t, "it has MarshalCBOR but not UnmarshalCBOR")
	}
	return nil
}

// fillUnmarshaler makes p decode with the UnmarshalCBOR of its type, if that is all the type has:
// such a method checks what arrives.
func fillUnmarshaler(p *valuePlan) {
	if m := &marshalings[byCBOR]; mayMarshal(p.typ) && m.unmarshal.ownedBy(p.typ) {
		p.exactKey, p.plain, p.flat = false, reflect.Invalid, nil
		p.decode = func(d *valueDecoder, v reflect.Value) error { return m.decode(d, v.Addr().Interface()) }
	}
}

// mayMarshal reports whether methods of t count. A pointer travels as what it points to, and an
// interface as what it holds.
func mayMarshal(t reflect.Type) bool {
	return t.Kind() != reflect.Pointer && t.Kind() != reflect.Interface
}

// pointerTo returns a pointer to v, or to a copy of v.
func pointerTo(v reflect.Value) any {
	if v.CanAddr() {
		return v.Addr().Interface()
	}
	box := reflect.New(v.Type())
	box.Elem().Set(v)
	return box.Interface()
}

// marshals reports whether values of t marshal themselves.
func marshals(t reflect.Type) bool { return marshalingOf(t) != nil }

// marshalingOf returns how values of t marshal themselves; nil if they do not. MarshalText counts
// only for structs that have no other way to travel. Numbers that have names, for instance, travel
// as numbers.
func marshalingOf(t reflect.Type) *marshaling {
	if !mayMarshal(t) {
		return nil
	}
	for i := range marshalings {
		m := &marshalings[i]
		if i == byText && !opaque(t) {
			continue
		}
		if m.marshal.ownedBy(t) && m.unmarshal.ownedBy(t) {
			return m
		}
	}
	return nil
}

// opaque reports whether t is a struct with fields none of which is exported or embedded.
func opaque(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	hidden := false
	for f := range t.Fields() {
		if f.IsExported() || f.Anonymous {
			return false
		}
		hidden = hidden || f.Name != "_"
	}
	return hidden
}

// ownedBy reports whether t, or a pointer to t, has the method itself. A method that it has only
// because it embeds another type would marshal that type alone, and lose the other fields silently.
func (m methodOf) ownedBy(t reflect.Type) bool {
	if !t.Implements(m.in) {
		t = reflect.PointerTo(t)
	}
	return t.Implements(m.in) && !m.promotedTo(t)
}

// promotedTo reports whether t has the method from a field that it embeds. The compiler has written
// such a method.
func (m methodOf) promotedTo(t reflect.Type) bool {
	if !embeds(t) {
		return false
	}
	method, ok := m.look(t)
	if !ok {
		return false
	}
	pc := method.Func.Pointer()
	fn := runtime.FuncForPC(pc)
	if fn == nil {
		return false
	}
	file, _ := fn.FileLine(pc)
	return file == "<autogenerated>"
}

// embeds reports whether t, or what t points to, is a struct with an embedded field.
func embeds(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return false
	}
	for f := range t.Fields() {
		if f.Anonymous {
			return true
		}
	}
	return false
}

func encodeCBOR(e *valueEncoder, x any) error {
	b, err := x.(cborMarshaler).MarshalCBOR()
	if err != nil {
		return fmt.Errorf("MarshalCBOR: %w", err)
	}
	limits := e.codec.limits
	limits.MaxDepth -= e.depth
	items, err := scanValue(b, &limits)
	if err != nil {
		return fmt.Errorf("MarshalCBOR: %w", err)
	}
	e.items += items
	e.out = append(e.out, b...)
	return nil
}

func decodeCBOR(d *valueDecoder, x any) error {
	if err := x.(cborUnmarshaler).UnmarshalCBOR(d.raw()); err != nil {
		return fmt.Errorf("UnmarshalCBOR: %w", err)
	}
	return nil
}

func encodeBinary(e *valueEncoder, x any) error {
	b, err := x.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return fmt.Errorf("MarshalBinary: %w", err)
	}
	e.bytes(b)
	return nil
}

func decodeBinary(d *valueDecoder, x any) error {
	b, err := d.bytes(reflect.TypeOf(x).Elem())
	if err != nil {
		return err
	}
	if err := x.(encoding.BinaryUnmarshaler).UnmarshalBinary(b); err != nil {
		return fmt.Errorf("UnmarshalBinary: %w", err)
	}
	return nil
}

func encodeText(e *valueEncoder, x any) error {
	b, err := x.(encoding.TextMarshaler).MarshalText()
	if err != nil {
		return fmt.Errorf("MarshalText: %w", err)
	}
	return e.text(string(b))
}

func decodeText(d *valueDecoder, x any) error {
	b, err := d.string(reflect.TypeOf(x).Elem())
	if err != nil {
		return err
	}
	if err := x.(encoding.TextUnmarshaler).UnmarshalText(b); err != nil {
		return fmt.Errorf("UnmarshalText: %w", err)
	}
	return nil
}
