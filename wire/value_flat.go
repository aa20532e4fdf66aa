package wire

import (
	"encoding/binary"
	"math"
	"reflect"
	"slices"
	"sync"
	"unicode/utf8"
)

// flatPlan is the fast path of a struct whose fields, and those of structs inside it, are numbers,
// booleans, strings and byte strings that are never left out. All encodings of such a struct
// consist of the same constant bytes with the fields between them. So the levels, the items and the
// memory that they take are known beforehand.
//
// The fast path gives up at everything that is not exactly so, and the slow path starts from the
// beginning. The slow path accepts more, such as fields in another order, and returns what is
// wrong. What the fast path accepts, the slow path must accept with the same result.
type flatPlan struct {
	typ   reflect.Type
	steps []flatStep // one for each field, in the order in which they travel
	items int        // in an encoding
	depth int        // of maps and arrays inside one another

	scratch sync.Pool // of *flatScratch
}

// flatStep is a field of a flatPlan.
type flatStep struct {
	lead  string       // the bytes before it: heads and keys
	index []int        // its position in the struct
	kind  reflect.Kind // its plainKind
	most  uint64       // the largest argument in the head of an integer
}

// flatScratch is a struct to decode into. Copying it into the result saves an allocation.
type flatScratch struct {
	v      reflect.Value   // addressable, zero between uses
	fields []reflect.Value // of v, one for each step
}

// flatten returns the fast path of s; nil if it has none. The plans of the fields are complete.
func (s *structPlan) flatten(toArray bool) *flatPlan {
	p := &flatPlan{typ: s.typ, items: 1, depth: 1}
	major := byte(majorMap)
	if toArray {
		major = majorArray
	}
	lead := appendHead(nil, major, uint64(len(s.fields)))
	for i := range s.fields {
		f := &s.fields[i]
		if f.omit != omitNever || f.memory > 0 {
			return nil
		}
		if !toArray {
			lead = append(lead, f.key...)
			p.items++
		}
		if !p.add(f, string(lead)) {
			return nil
		}
		lead = nil
	}
	if len(p.steps) == 0 {
		return nil
	}
	p.scratch.New = func() any { return p.newScratch() }
	return p
}

// add adds the steps of a field of the struct. It returns false if the field has no fast path.
func (p *flatPlan) add(f *structField, lead string) bool {
	if inner := f.plan.flat; inner != nil {
		for i, step := range inner.steps {
			step.index = slices.Concat(f.index, step.index)
			if i == 0 {
				step.lead = lead + step.lead
			}
			p.steps = append(p.steps, step)
		}
		p.items += inner.items
		p.depth = max(p.depth, 1+inner.depth)
		return true
	}
	step := flatStep{lead: lead, index: f.index, kind: f.plan.plain}
	switch step.kind { //nolint:exhaustive // the others have no bounds
	case reflect.Invalid:
		return false
	case reflect.Int64:
		step.most = 1<<(f.typ.Bits()-1) - 1
	case reflect.Uint64:
		step.most = math.MaxUint64 >> (64 - f.typ.Bits())
	}
	p.steps = append(p.steps, step)
	p.items++
	return true
}

// plainKind returns the kind of a scalar type t. Int64 and Uint64 stand for integers of all sizes.
func plainKind(t reflect.Type) reflect.Kind {
	switch kind := t.Kind(); kind { //nolint:exhaustive // the others have one size
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return reflect.Int64
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return reflect.Uint64
	default:
		return kind
	}
}

func (p *flatPlan) newScratch() *flatScratch {
	s := &flatScratch{v: reflect.New(p.typ).Elem()}
	for i := range p.steps {
		s.fields = append(s.fields, s.v.FieldByIndex(p.steps[i].index))
	}
	return s
}

// append writes the struct v, unless a text in it is not valid UTF-8.
func (p *flatPlan) append(out []byte, v reflect.Value) ([]byte, bool) {
	for i := range p.steps {
		step := &p.steps[i]
		out = append(out, step.lead...)
		field := v
		for _, at := range step.index {
			field = field.Field(at)
		}
		switch step.kind { //nolint:exhaustive // plainKind returns no others
		case reflect.Int64:
			out = appendInt(out, field.Int())
		case reflect.Uint64:
			out = appendHead(out, majorUint, field.Uint())
		case reflect.Float64:
			out = binary.BigEndian.AppendUint64(append(out, float64Byte), math.Float64bits(field.Float()))
		case reflect.Float32:
			out = binary.BigEndian.AppendUint32(append(out, float32Byte), math.Float32bits(float32(field.Float())))
		case reflect.Bool:
			if field.Bool() {
				out = append(out, trueByte)
			} else {
				out = append(out, falseByte)
			}
		case reflect.String:
			s := field.String()
			if !utf8.ValidString(s) {
				return nil, false
			}
			out = append(appendHead(out, majorText, uint64(len(s))), s...)
		case reflect.Slice:
			if field.IsNil() {
				out = append(out, nullByte)
			} else {
				b := field.Bytes()
				out = append(appendHead(out, majorBytes, uint64(len(b))), b...)
			}
		}
	}
	return out, true
}

// fill reads data, which has not been checked, into fields. It returns false unless data is exactly
// what append writes. Heads may be longer than necessary: the slow path accepts these, too.
func (p *flatPlan) fill(data []byte, fields []reflect.Value) bool {
	for i := range p.steps {
		step := &p.steps[i]
		n := len(step.lead)
		if len(data) <= n || string(data[:n]) != step.lead {
			return false
		}
		first := data[n]
		data = data[n+1:]
		arg := uint64(first & 31)
		if arg > infoDirect {
			size := 1 << ((arg - info8) & 3)
			if arg > info64 || len(data) < size {
				return false
			}
			arg = headArgument(data, size)
			data = data[size:]
		}
		field, major := fields[i], first>>5
		switch {
		case step.kind == reflect.Int64 && major == majorUint && arg <= step.most:
			field.SetInt(int64(arg))
		case step.kind == reflect.Int64 && major == majorNegInt && arg <= step.most:
			field.SetInt(^int64(arg))
		case step.kind == reflect.String && major == majorText &&
			arg <= uint64(len(data)) && validText(data[:arg]):
			field.SetString(string(data[:arg]))
			data = data[arg:]
		case step.kind == reflect.Float64 && first == float64Byte:
			field.SetFloat(math.Float64frombits(arg))
		case step.kind == reflect.Bool && (first == trueByte || first == falseByte):
			field.SetBool(first == trueByte)
		case step.kind == reflect.Uint64 && major == majorUint && arg <= step.most:
			field.SetUint(arg)
		case step.kind == reflect.Float32 && first == float32Byte:
			field.SetFloat(float64(math.Float32frombits(uint32(arg))))
		case step.kind == reflect.Slice && major == majorBytes &&
			arg <= uint64(len(data)) && arg < ownBytes:
			field.SetBytes(append([]byte{}, data[:arg]...))
			data = data[arg:]
		case step.kind == reflect.Slice && first == nullByte: // it is nil
		default:
			return false
		}
	}
	return len(data) == 0
}

// fits reports whether encodings of p behind the name of a type are within the limits, except that
// of their size. They take that much memory once decoded.
func (p *flatPlan) fits(l *Limits, memory int64) bool {
	return !l.NoTags && p.depth+1 <= l.MaxDepth && p.items+namedItems <= l.MaxItems &&
		memory <= l.memoryBudget(0)
}

// appendFlat is AppendAny for values with a fast path: certain structs, pointers to them, and
// strings and ints. It calls no method of a user.
func (c *Codec) appendFlat(dst []byte, v any) ([]byte, bool) {
	switch v := v.(type) {
	case int:
		return appendInt(dst, int64(v)), c.limits.MaxBytes >= maxHead
	case string:
		if len(v) > c.limits.MaxBytes-maxHead || !utf8.ValidString(v) {
			return dst, false
		}
		return append(appendHead(dst, majorText, uint64(len(v))), v...), true
	}
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Struct && t.Kind() != reflect.Pointer {
		return dst, false
	}
	at := c.types.Load().entryOf(t)
	if at == nil || at.flat == nil {
		return dst, false
	}
	rv := reflect.ValueOf(v)
	if t.Kind() == reflect.Pointer {
		if rv = rv.Elem(); !rv.IsValid() {
			return dst, false
		}
	}
	out, ok := at.flat.append(append(dst, at.prefix...), rv)
	if !ok || len(out)-len(dst) > c.limits.MaxBytes {
		return dst, false
	}
	return out, true
}

// shortText splits data into a text of less than 256 bytes and what follows it. It returns false if
// data does not begin with one.
func shortText(data []byte) (text, rest []byte, ok bool) {
	if len(data) < 2 || data[0]>>5 != majorText {
		return nil, nil, false
	}
	n, rest := int(data[0])-majorText<<5, data[1:]
	if n == info8 {
		n, rest = int(rest[0]), rest[1:]
	} else if n > infoDirect {
		return nil, nil, false
	}
	if n > len(rest) {
		return nil, nil, false
	}
	return rest[:n], rest[n:], true
}

// decodeFlat is DecodeAny for data with a fast path: a struct with a flatPlan, or a short text. It
// calls no method of a user.
func (c *Codec) decodeFlat(data []byte) (any, bool) {
	if len(data) <= len(namedLead) || string(data[:len(namedLead)]) != namedLead {
		text, rest, ok := shortText(data)
		if !ok || len(rest) > 0 || !validText(text) || len(data) > c.limits.MaxBytes {
			return nil, false
		}
		return string(text), true
	}
	name, rest, ok := shortText(data[len(namedLead):])
	if !ok || len(data) > c.limits.MaxBytes {
		return nil, false
	}
	at := c.types.Load().entryCalled(name)
	if at == nil || at.flat == nil {
		return nil, false
	}
	p := at.flat
	s := p.scratch.Get().(*flatScratch)
	var v any
	ok = p.fill(rest, s.fields)
	switch {
	case ok && at.typ == p.typ:
		v = s.v.Interface()
	case ok: // at.typ is a pointer to it
		target := reflect.New(p.typ)
		target.Elem().Set(s.v)
		v = target.Interface()
	}
	s.v.SetZero()
	p.scratch.Put(s)
	return v, ok
}
