package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"strconv"
)

// structPlan encodes and decodes structs of one type: as a map from field names, or as an array if
// the type is tagged so.
type structPlan struct {
	typ    reflect.Type
	fields []structField
	byName map[string]int // positions in fields of those with a name
	byInt  map[int64]int  // positions in fields of those with a number
}

// fillStruct makes the plan of a struct.
func (b *planBuilder) fillStruct(p *valuePlan) *TravelError {
	fields, toArray, err := collectFields(p.typ, b.codec)
	if err != nil {
		return err
	}
	if len(fields) == 0 && hides(p.typ) {
		return refuse(p.typ, "it has no exported field and does not marshal itself")
	}
	s := &structPlan{typ: p.typ, fields: fields, byName: map[string]int{}, byInt: map[int64]int{}}
	p.exactKey = len(fields) == p.typ.NumField()
	for i := range fields {
		f := &fields[i]
		if f.plan, err = b.plan(f.typ); err != nil {
			return err.below("." + p.typ.FieldByIndex(f.index).Name)
		}
		if f.memory = s.pointedTo(f); toArray && f.memory > 0 {
			return &TravelError{Path: "." + f.name, Type: f.typ, Reason: "a toarray struct cannot embed a pointer to a struct"}
		}
		p.exactKey = p.exactKey && f.plan.exactKey && f.omit == omitNever
		if f.isInt {
			s.byInt[f.number] = i
		} else {
			s.byName[f.name] = i
		}
	}
	p.flat = s.flatten(toArray)
	if toArray {
		p.encode, p.decode = s.encodeArray, s.decodeArray
	} else {
		p.encode, p.decode = s.encodeMap, s.decodeMap
	}
	return nil
}

// hides reports whether the struct t has a field that would not travel although no tag asks for
// that.
func hides(t reflect.Type) bool {
	for f := range t.Fields() {
		if embedded := f.Anonymous && f.Type.Kind() == reflect.Struct; embedded && !hides(f.Type) {
			continue
		}
		if f.Name != "_" && fieldTag(f) != "-" {
			return true
		}
	}
	return false
}

// pointedTo returns the size of the structs, embedded by pointer, that contain f; 0 if there are
// none.
func (s *structPlan) pointedTo(f *structField) (size int64) {
	t := s.typ
	for _, i := range f.index {
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
			size += int64(t.Size())
		}
		t = t.Field(i).Type
	}
	return size
}

// encodeMap writes the fields behind their keys. The head has room for the number of all fields,
// and is set at the end to the number of those that were written.
func (s *structPlan) encodeMap(e *valueEncoder, v reflect.Value) error {
	start := len(e.out)
	if err := e.open(majorMap, len(s.fields), 0); err != nil {
		return err
	}
	written := 0
	for i := range s.fields {
		f := &s.fields[i]
		fv := f.in(v)
		if !fv.IsValid() || f.omit != omitNever && f.omitted(fv) {
			continue
		}
		e.items++
		e.memory += f.memory
		e.out = append(e.out, f.key...)
		if err := f.plan.encode(e, fv); err != nil {
			return atStep(err, "."+f.goName(s.typ))
		}
		written++
	}
	if written < len(s.fields) {
		setHeadArgument(e.out[start:], written)
	}
	e.close()
	return nil
}

// setHeadArgument changes the argument of the head at the start of b to n, which is smaller.
func setHeadArgument(b []byte, n int) {
	switch b[0] & 31 {
	case info8:
		b[1] = byte(n)
	case info16:
		binary.BigEndian.PutUint16(b[1:], uint16(n))
	default: // a struct has fewer than 2^16 fields
		b[0] = b[0]&^31 | byte(n)
	}
}

// in returns the field of the struct v. It returns an invalid value if the field belongs to an
// embedded pointer that is nil.
func (f *structField) in(v reflect.Value) reflect.Value {
	if len(f.index) == 1 {
		return v.Field(f.index[0])
	}
	for _, i := range f.index {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return reflect.Value{}
			}
			v = v.Elem()
		}
		v = v.Field(i)
	}
	return v
}

// omitted reports whether the field is left out if its value is v.
func (f *structField) omitted(v reflect.Value) bool {
	switch f.omit {
	case omitEmpty:
		switch v.Kind() { //nolint:exhaustive // the others are never empty, or empty when zero
		case reflect.Slice, reflect.Map, reflect.String, reflect.Array:
			return v.Len() == 0
		case reflect.Struct:
			return false
		}
		return v.IsZero()
	case omitZero:
		return v.IsZero() || saysZero(v)
	case omitNever:
	}
	return false
}

// saysZero returns the result of the method IsZero of v; false if it has none.
func saysZero(v reflect.Value) bool {
	x := v.Interface()
	if v.Kind() != reflect.Pointer && v.Kind() != reflect.Interface {
		x = pointerTo(v)
	}
	z, ok := x.(interface{ IsZero() bool })
	return ok && z.IsZero()
}

// goName returns the name of the field in the program.
func (f *structField) goName(in reflect.Type) string {
	return in.FieldByIndex(f.index).Name
}

// decodeMap reads fields behind their keys. They are most often in the order of their declaration.
func (s *structPlan) decodeMap(d *valueDecoder, v reflect.Value) error {
	n, err := d.open(majorMap, s.typ)
	if err != nil {
		return err
	}
	seen := newFieldSet(len(s.fields))
	next := 0
	for range n {
		i, err := s.decodeKey(d, next)
		if err != nil {
			return err
		}
		if i < 0 {
			d.skip()
			continue
		}
		f := &s.fields[i]
		if !seen.add(i) {
			return atStep(ErrValueKey, "."+f.goName(s.typ))
		}
		fv, err := f.settable(d, v)
		if err != nil {
			return err
		}
		if err := f.plan.decode(d, fv); err != nil {
			return atStep(err, "."+f.goName(s.typ))
		}
		next = i + 1
	}
	return nil
}

// decodeKey reads a key and returns the position of its field; negative if there is none.
func (s *structPlan) decodeKey(d *valueDecoder, next int) (int, error) {
	if next < len(s.fields) && bytes.HasPrefix(d.data[d.off:], s.fields[next].key) {
		d.off += len(s.fields[next].key)
		return next, nil
	}
	var i int
	var ok bool
	start := d.off
	if d.data[start]>>5 == majorText {
		name, _ := d.string(stringType)
		i, ok = s.byName[string(name)]
	} else {
		n, err := d.int(64, stringType)
		if err != nil {
			return 0, err
		}
		i, ok = s.byInt[n]
	}
	if ok {
		return i, nil
	}
	if d.strict {
		return 0, fmt.Errorf("%w %s in a %v", ErrValueField, keyText(d.data[start:d.off]), s.typ)
	}
	return -1, nil
}

// keyText returns an encoded key as a text.
func keyText(raw []byte) string {
	d := valueDecoder{data: raw}
	if name, err := d.string(stringType); err == nil {
		return strconv.Quote(string(name))
	}
	n, _ := d.int(64, stringType)
	return strconv.FormatInt(n, 10)
}

// settable returns the field of the struct v. It makes the structs that are embedded by pointer on
// the way.
func (f *structField) settable(d *valueDecoder, v reflect.Value) (reflect.Value, error) {
	if len(f.index) == 1 {
		return v.Field(f.index[0]), nil
	}
	for _, i := range f.index {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				if err := d.take(int64(v.Type().Elem().Size())); err != nil {
					return v, err
				}
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.Field(i)
	}
	return v, nil
}

// encodeArray writes the fields in order.
func (s *structPlan) encodeArray(e *valueEncoder, v reflect.Value) error {
	if err := e.open(majorArray, len(s.fields), 0); err != nil {
		return err
	}
	for i := range s.fields {
		f := &s.fields[i]
		if err := f.plan.encode(e, f.in(v)); err != nil {
			return atStep(err, "."+f.goName(s.typ))
		}
	}
	e.close()
	return nil
}

// decodeArray reads all fields in order.
func (s *structPlan) decodeArray(d *valueDecoder, v reflect.Value) error {
	if err := d.array(len(s.fields), s.typ); err != nil {
		return err
	}
	for i := range s.fields {
		f := &s.fields[i]
		if err := f.plan.decode(d, f.in(v)); err != nil {
			return atStep(err, "."+f.goName(s.typ))
		}
	}
	return nil
}

// fieldSet records which fields of a struct have been read.
type fieldSet struct {
	few  uint64 // for at most 64 fields
	many []bool // for more fields
}

func newFieldSet(n int) fieldSet {
	if n <= 64 {
		return fieldSet{}
	}
	return fieldSet{many: make([]bool, n)}
}

// add adds field i, and reports whether it is new.
func (s *fieldSet) add(i int) bool {
	if s.many != nil {
		had := s.many[i]
		s.many[i] = true
		return !had
	}
	bit := uint64(1) << i
	had := s.few&bit != 0
	s.few |= bit
	return !had
}
