package wire

import (
	"fmt"
	"reflect"
	"slices"
	"sync"
)

// fillSlice makes the plan of a slice. It travels as null if it is nil, as a byte string if its
// elements are bytes, and as an array otherwise.
func (b *planBuilder) fillSlice(p *valuePlan) *TravelError {
	elem, err := b.plan(p.typ.Elem())
	if err != nil {
		return err.below("[]")
	}
	if isByte(elem.typ) {
		p.plain = reflect.Slice
		p.encode, p.decode = encodeBytes, decodeBytes
		return nil
	}
	if fast := fastSlices[p.typ]; fast != nil {
		p.encode, p.decode = fast()
		return nil
	}
	p.encode = func(e *valueEncoder, v reflect.Value) error {
		if v.IsNil() {
			e.null()
			return nil
		}
		return e.elements(elem, v, int64(v.Len())*elem.size)
	}
	p.decode = func(d *valueDecoder, v reflect.Value) error {
		if d.nullInto(v) {
			return nil
		}
		n, err := d.open(majorArray, p.typ)
		if err != nil {
			return err
		}
		if err := d.take(int64(n) * elem.size); err != nil {
			return err
		}
		s := reflect.MakeSlice(p.typ, n, n)
		v.Set(s)
		return d.elements(elem, s)
	}
	return nil
}

// isByte reports whether a slice of t travels as a byte string.
func isByte(t reflect.Type) bool {
	return t.Kind() == reflect.Uint8 && !marshals(t) && !marshalings[byCBOR].unmarshal.ownedBy(t)
}

// fillArray makes the plan of an array. It travels as a byte string if its elements are bytes, and
// as an array otherwise.
func (b *planBuilder) fillArray(p *valuePlan) *TravelError {
	elem, err := b.plan(p.typ.Elem())
	if err != nil {
		return err.below("[]")
	}
	p.exactKey = elem.exactKey
	if isByte(elem.typ) {
		p.encode, p.decode = encodeByteArray, decodeByteArray
		return nil
	}
	p.encode = func(e *valueEncoder, v reflect.Value) error { return e.elements(elem, v, 0) }
	p.decode = func(d *valueDecoder, v reflect.Value) error {
		if err := d.array(v.Len(), p.typ); err != nil {
			return err
		}
		return d.elements(elem, v)
	}
	return nil
}

// elements writes the elements of a slice or array.
func (e *valueEncoder) elements(elem *valuePlan, v reflect.Value, memory int64) error {
	n := v.Len()
	if err := e.open(majorArray, n, memory); err != nil {
		return err
	}
	for i := range n {
		if err := elem.encode(e, v.Index(i)); err != nil {
			return atIndex(err, i)
		}
	}
	e.close()
	return nil
}

// elements reads as many elements as v has.
func (d *valueDecoder) elements(elem *valuePlan, v reflect.Value) error {
	for i := range v.Len() {
		if err := elem.decode(d, v.Index(i)); err != nil {
			return atIndex(err, i)
		}
	}
	return nil
}

func encodeBytes(e *valueEncoder, v reflect.Value) error {
	if v.IsNil() {
		e.null()
	} else {
		e.bytes(v.Bytes())
	}
	return nil
}

func decodeBytes(d *valueDecoder, v reflect.Value) error {
	if d.nullInto(v) {
		return nil
	}
	b, err := d.bytes(v.Type())
	v.SetBytes(d.result(b))
	return err
}

func encodeByteArray(e *valueEncoder, v reflect.Value) error {
	n := v.Len()
	e.head(majorBytes, uint64(n))
	e.out = slices.Grow(e.out, n)
	for i := range n {
		e.out = append(e.out, byte(v.Index(i).Uint()))
	}
	return nil
}

func decodeByteArray(d *valueDecoder, v reflect.Value) error {
	b, err := d.bytes(v.Type())
	if err != nil {
		return err
	}
	if len(b) != v.Len() {
		return mismatch(fmt.Sprintf("%d bytes", len(b)), v.Type())
	}
	copy(v.Bytes(), b)
	return nil
}

// fillPointer makes the plan of a pointer. It travels as null if it is nil, and as what it points
// to otherwise. A pointer to a nil pointer, slice, map or interface arrives as nil.
func (b *planBuilder) fillPointer(p *valuePlan) *TravelError {
	for t, steps := p.typ, 0; t.Kind() == reflect.Pointer; t, steps = t.Elem(), steps+1 {
		if steps > maxTypeLevels {
			return refuse(p.typ, "a pointer to pointers without end")
		}
	}
	elem, err := b.plan(p.typ.Elem())
	if err != nil {
		return err
	}
	p.encode = func(e *valueEncoder, v reflect.Value) error {
		if v.IsNil() {
			e.null()
			return nil
		}
		e.memory += elem.size
		return elem.encode(e, v.Elem())
	}
	p.decode = func(d *valueDecoder, v reflect.Value) error {
		if d.nullInto(v) {
			return nil
		}
		if err := d.take(elem.size); err != nil {
			return err
		}
		target := reflect.New(elem.typ)
		v.Set(target)
		return elem.decode(d, target.Elem())
	}
	return nil
}

// mapPlan encodes and decodes maps of one type.
type mapPlan struct {
	typ       reflect.Type
	key, elem *valuePlan
	mixedKey  bool      // a key may contain an interface, and that a value without ==
	scratch   sync.Pool // of *mapScratch
}

// mapScratch is what iterating over a map needs.
type mapScratch struct {
	key, elem reflect.Value // addressable, zero between uses
	iter      reflect.MapIter
}

// fillMap makes the plan of a map. It travels as null if it is nil, and as a map otherwise.
func (b *planBuilder) fillMap(p *valuePlan) *TravelError {
	if reason := badKey(p.typ.Key(), b.codec); reason != "" {
		return &TravelError{Path: "[key]", Type: p.typ.Key(), Reason: reason}
	}
	key, err := b.plan(p.typ.Key())
	if err != nil {
		return err.below("[key]")
	}
	elem, err := b.plan(p.typ.Elem())
	if err != nil {
		return err.below("[]")
	}
	m := &mapPlan{typ: p.typ, key: key, elem: elem, mixedKey: !key.exactKey}
	m.scratch.New = func() any {
		return &mapScratch{key: reflect.New(key.typ).Elem(), elem: reflect.New(elem.typ).Elem()}
	}
	p.encode, p.decode = m.encode, m.decode
	return nil
}

// badKey returns why keys of type t would be useless where they arrive; empty if they are not.
func badKey(t reflect.Type, c *Codec) string {
	switch t.Kind() { //nolint:exhaustive // the others are fine, or cannot travel
	case reflect.Pointer:
		if c.handles[t] == nil {
			return "a pointer in a map's key arrives as another pointer"
		}
	case reflect.Array:
		return badKey(t.Elem(), c)
	case reflect.Struct:
		if t == timeType || marshals(t) {
			return ""
		}
		for f := range t.Fields() {
			if reason := badKey(f.Type, c); reason != "" {
				return reason
			}
		}
	}
	return ""
}

// entriesMemory returns how much memory n entries of a map count.
func entriesMemory(n int, keySize, elemSize int64) int64 {
	return mapMemory + 2*int64(n)*(keySize+elemSize)
}

func (m *mapPlan) encode(e *valueEncoder, v reflect.Value) error {
	if v.IsNil() {
		e.null()
		return nil
	}
	if err := e.open(majorMap, v.Len(), entriesMemory(v.Len(), m.key.size, m.elem.size)); err != nil {
		return err
	}
	s := m.scratch.Get().(*mapScratch)
	defer m.release(s)
	var seen map[string]bool
	if !m.key.exactKey {
		seen = make(map[string]bool, v.Len())
	}
	s.iter.Reset(v)
	for s.iter.Next() {
		s.key.SetIterKey(&s.iter)
		s.elem.SetIterValue(&s.iter)
		if err := m.encodeEntry(e, s, seen); err != nil {
			return atKey(err, s.key)
		}
	}
	e.close()
	return nil
}

// encodeEntry writes the entry in s. If seen is not nil, it holds the keys so far.
func (m *mapPlan) encodeEntry(e *valueEncoder, s *mapScratch, seen map[string]bool) error {
	start := len(e.out)
	if err := m.key.encode(e, s.key); err != nil {
		return err
	}
	if seen != nil {
		key := string(e.out[start:])
		if seen[key] {
			return ErrValueKey
		}
		seen[key] = true
	}
	return m.elem.encode(e, s.elem)
}

func (m *mapPlan) release(s *mapScratch) {
	s.iter.Reset(reflect.Value{})
	s.key.SetZero()
	s.elem.SetZero()
	m.scratch.Put(s)
}

func (m *mapPlan) decode(d *valueDecoder, v reflect.Value) error {
	if d.nullInto(v) {
		return nil
	}
	n, err := d.open(majorMap, m.typ)
	if err != nil {
		return err
	}
	if err := d.take(entriesMemory(n, m.key.size, m.elem.size)); err != nil {
		return err
	}
	made := reflect.MakeMapWithSize(m.typ, n)
	v.Set(made)
	s := m.scratch.Get().(*mapScratch)
	defer m.release(s)
	for range n {
		if err := m.decodeEntry(d, s, made); err != nil {
			return err
		}
	}
	return nil
}

// decodeEntry reads an entry into made.
func (m *mapPlan) decodeEntry(d *valueDecoder, s *mapScratch, made reflect.Value) error {
	s.key.SetZero()
	s.elem.SetZero()
	if err := m.key.decode(d, s.key); err != nil {
		return atStep(err, "[key]")
	}
	if m.mixedKey && !s.key.Comparable() {
		return atStep(mismatch("something without ==", m.key.typ), "[key]")
	}
	if err := m.elem.decode(d, s.elem); err != nil {
		return atKey(err, s.key)
	}
	before := made.Len()
	made.SetMapIndex(s.key, s.elem)
	if made.Len() == before {
		return atKey(ErrValueKey, s.key)
	}
	return nil
}
