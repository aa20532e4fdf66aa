package wire

import (
	"cmp"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// structField is one field of a struct as it travels.
type structField struct {
	name   string // its name as it travels
	isInt  bool   // it travels under number instead
	number int64
	key    []byte       // its name or number, encoded
	index  []int        // its position; more than one step in embedded structs
	typ    reflect.Type // the type of the field
	omit   omission
	named  bool // a tag gives its name

	plan   *valuePlan
	memory int64 // of the structs embedded by pointer that decoding makes
}

// omission says when a field is left out.
type omission uint8

const (
	omitNever omission = iota
	omitEmpty          // tag omitempty: false, 0, nil, or of length 0
	omitZero           // tag omitzero: the zero of its type, or its method IsZero returns true
)

// fieldCollector finds the fields of a struct, by the rules of encoding/json. Tags are those named
// cbor, or else json. The fields of embedded structs belong to the struct, unless other fields of
// the same name hide them. Unexported fields are left out.
type fieldCollector struct {
	codec  *Codec
	fields []structField
	next   []embeddedStruct // found at this depth, to be collected next
}

// embeddedStruct is a struct whose fields are to be collected.
type embeddedStruct struct {
	typ    reflect.Type
	index  []int
	sealed *TravelError // why its fields cannot be set; nil if they can
}

// collectFields returns the fields of t that travel, in the order of their declaration, and whether
// t is tagged to travel as an array.
func collectFields(t reflect.Type, c *Codec) (fields []structField, toArray bool, err *TravelError) {
	fc := fieldCollector{codec: c}
	seen := map[reflect.Type]bool{}
	for level := []embeddedStruct{{typ: t}}; len(level) > 0; level, fc.next = fc.next, nil {
		count := map[reflect.Type]int{}
		for _, s := range level {
			count[s.typ]++
		}
		for _, s := range level {
			if seen[s.typ] || count[s.typ] > 1 { // it is hidden, or two hide each other
				continue
			}
			if err := fc.collect(s); err != nil {
				return nil, false, err
			}
		}
		for _, s := range level {
			seen[s.typ] = true
		}
	}
	return dominantFields(fc.fields), taggedToArray(t), nil
}

// taggedToArray reports whether t has a field "_" whose tag contains toarray.
func taggedToArray(t reflect.Type) bool {
	for f := range t.Fields() {
		if f.Name == "_" && slices.Contains(strings.Split(f.Tag.Get("cbor"), ","), "toarray") {
			return true
		}
	}
	return false
}

// fieldTag returns the tag that says how f travels.
func fieldTag(f reflect.StructField) string {
	return cmp.Or(f.Tag.Get("cbor"), f.Tag.Get("json"))
}

// collect adds the fields of s to fields, and the structs that s embeds to next.
func (fc *fieldCollector) collect(s embeddedStruct) *TravelError {
	for i := range s.typ.NumField() {
		f := s.typ.Field(i)
		index := append(slices.Clone(s.index), i)
		tag := fieldTag(f)
		if tag == "-" || f.Name == "_" {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if inner := fc.embedded(f); inner != nil && name == "" {
			sealed := s.sealed
			if f.Type.Kind() == reflect.Pointer && !f.IsExported() {
				reason := "an embedded pointer to an unexported struct cannot be set"
				sealed = &TravelError{Path: "." + f.Name, Type: f.Type, Reason: reason}
			}
			fc.next = append(fc.next, embeddedStruct{typ: inner, index: index, sealed: sealed})
			continue
		}
		if !f.IsExported() {
			continue
		}
		if s.sealed != nil {
			return s.sealed
		}
		field, err := newStructField(f, name, options)
		if err != nil {
			return err
		}
		field.index = index
		fc.fields = append(fc.fields, field)
	}
	return nil
}

// embedded returns the struct that f embeds; nil if f is another field. Types that travel in a way
// of their own are never taken apart.
func (fc *fieldCollector) embedded(f reflect.StructField) reflect.Type {
	t := f.Type
	if t.Kind() == reflect.Pointer {
		if fc.codec.handles[t] != nil {
			return nil
		}
		t = t.Elem()
	}
	if !f.Anonymous || t.Kind() != reflect.Struct {
		return nil
	}
	if f.IsExported() && (t == timeType || t == bigIntType || marshals(t)) {
		return nil
	}
	return t
}

// newStructField returns a field as its tag describes it.
func newStructField(f reflect.StructField, name, options string) (structField, *TravelError) {
	field := structField{name: name, typ: f.Type, named: name != ""}
	if name == "" {
		field.name = f.Name
	}
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "omitempty":
			field.omit = omitEmpty
		case "omitzero":
			field.omit = omitZero
		case "keyasint":
			field.isInt = true
		}
	}
	if !field.isInt {
		if !utf8.ValidString(field.name) {
			return field, &TravelError{Path: "." + f.Name, Type: f.Type, Reason: "its tag is not valid UTF-8"}
		}
		field.key = append(appendHead(nil, majorText, uint64(len(field.name))), field.name...)
		return field, nil
	}
	n, err := strconv.ParseInt(field.name, 10, 64)
	if err != nil {
		return field, &TravelError{Path: "." + f.Name, Type: f.Type, Reason: "its tag says keyasint, but has no number"}
	}
	field.number = n
	if n < 0 {
		field.key = appendHead(nil, majorNegInt, uint64(^n))
	} else {
		field.key = appendHead(nil, majorUint, uint64(n))
	}
	return field, nil
}

// dominantFields returns for each name the field that is least deep, or else the one that a tag
// names, or else none. They are in the order of their declaration.
func dominantFields(fields []structField) []structField {
	groups := map[string][]structField{}
	for _, f := range fields {
		groups[string(f.key)] = append(groups[string(f.key)], f)
	}
	var kept []structField
	for _, group := range groups {
		slices.SortFunc(group, func(a, b structField) int {
			return cmp.Or(cmp.Compare(len(a.index), len(b.index)), cmp.Compare(boolInt(b.named), boolInt(a.named)))
		})
		if len(group) == 1 || len(group[0].index) != len(group[1].index) || group[0].named != group[1].named {
			kept = append(kept, group[0])
		}
	}
	slices.SortFunc(kept, func(a, b structField) int { return slices.Compare(a.index, b.index) })
	return kept
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
