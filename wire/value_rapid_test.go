package wire

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// drawTime draws any instant in any zone.
func drawTime(t *rapid.T) time.Time {
	sec := rapid.Int64Range(-1<<40, 1<<40).Draw(t, "sec")
	at := time.Unix(sec, rapid.Int64Range(0, 999999999).Draw(t, "nsec"))
	if rapid.Bool().Draw(t, "utc") {
		return at.UTC()
	}
	return at.In(time.FixedZone("zone", rapid.IntRange(-86400, 86400).Draw(t, "offset")))
}

// drawAny draws a value that travels in an interface, nested at most depth levels deep.
func drawAny(t *rapid.T, r *registry, depth int) any {
	kinds := 24
	if depth > 0 {
		kinds = 36
	}
	inner := func() any { return drawAny(t, r, depth-1) }
	n := func() int { return rapid.IntRange(0, 3).Draw(t, "n") }
	switch rapid.IntRange(0, kinds).Draw(t, "kind") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return rapid.Int().Draw(t, "int")
	case 3:
		return rapid.Int8().Draw(t, "int8")
	case 4:
		return rapid.Int16().Draw(t, "int16")
	case 5:
		return rapid.Int32().Draw(t, "int32")
	case 6:
		return rapid.Int64().Draw(t, "int64")
	case 7:
		return rapid.Uint().Draw(t, "uint")
	case 8:
		return rapid.Uint8().Draw(t, "uint8")
	case 9:
		return rapid.Uint16().Draw(t, "uint16")
	case 10:
		return rapid.Uint32().Draw(t, "uint32")
	case 11:
		return rapid.Uint64().Draw(t, "uint64")
	case 12:
		return math.Float32frombits(rapid.Uint32().Draw(t, "float32"))
	case 13:
		return math.Float64frombits(rapid.Uint64().Draw(t, "float64"))
	case 14:
		return rapid.String().Draw(t, "string")
	case 15:
		return rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
	case 16:
		return drawTime(t)
	case 17:
		return time.Duration(rapid.Int64().Draw(t, "duration"))
	case 18:
		return failure(rapid.String().Draw(t, "error"))
	case 19:
		return r.coro(rapid.Uint64Min(1).Draw(t, "coro"))
	case 20:
		return celsius(rapid.Float64().Draw(t, "celsius"))
	case 21:
		return &order{rapid.Int().Draw(t, "id"), rapid.String().Draw(t, "name"), rapid.Float64().Draw(t, "value")}
	case 22:
		return rapid.SliceOf(rapid.Int32()).Draw(t, "int32s")
	case 23:
		return rapid.MapOf(rapid.String(), rapid.SliceOf(rapid.String())).Draw(t, "map")
	case 24:
		return map[point]celsius{{X: rapid.Int().Draw(t, "x")}: 1}
	case 25, 26, 27:
		v := make([]any, n())
		for i := range v {
			v[i] = inner()
		}
		return v
	case 28, 29, 30:
		v := map[string]any{}
		for range n() {
			v[rapid.String().Draw(t, "key")] = inner()
		}
		return v
	case 31:
		return tree{Name: "t", Any: inner(), Kids: []*tree{{Any: inner()}, nil}}
	case 32:
		return []*tree{{Any: inner()}}
	case 33:
		return [][]any{{inner()}, nil}
	case 34:
		return map[string][]any{"k": {inner()}}
	case 35:
		v := richExample(r)
		v.Any, v.AnyMap = inner(), map[string]any{"k": inner()}
		return v
	default:
		return map[any]any{rapid.Int8().Draw(t, "key"): inner(), "other": inner()}
	}
}

// TestRapidAny sends values of any shape through interfaces.
func TestRapidAny(t *testing.T) {
	t.Parallel()
	c, r := newTestCodec(t), newRegistry()
	rapid.Check(t, func(rt *rapid.T) {
		v := drawAny(rt, r, 4)
		b, err := c.AppendAny(nil, v, nil)
		if err != nil {
			rt.Fatalf("%#v: %v", v, err)
		}
		if err := Check(b, Limits{}); err != nil {
			rt.Fatalf("%#v: %x: %v", v, b, err)
		}
		got, err := c.DecodeAny(b, r)
		if err != nil {
			rt.Fatalf("%#v: %x: %v", v, b, err)
		}
		if diff := cmp.Diff(v, got, same); diff != "" {
			rt.Fatal(diff)
		}
	})
}

// typeDrawer draws types and values of them.
type typeDrawer struct {
	t     *rapid.T
	r     *registry
	plain bool // only what the library knows as well
}

var plainTypes = []reflect.Type{
	boolType, intType, float32Type, float64Type, stringType, bytesType,
	reflect.TypeFor[int8](), reflect.TypeFor[int16](), reflect.TypeFor[int32](), reflect.TypeFor[int64](),
	reflect.TypeFor[uint](), reflect.TypeFor[uint8](), reflect.TypeFor[uint16](), reflect.TypeFor[uint32](), reflect.TypeFor[uint64](),
	reflect.TypeFor[time.Duration](), reflect.TypeFor[celsius](), reflect.TypeFor[order](), reflect.TypeFor[point](), reflect.TypeFor[grid](),
	reflect.TypeFor[outer](), reflect.TypeFor[upper](), reflect.TypeFor[sealed](),
}

var otherTypes = []reflect.Type{
	anyType, errorType, timeType, reflect.TypeFor[*coro](), reflect.TypeFor[*conduit](), reflect.TypeFor[tree](), bigIntType,
	anySliceType, anyMapType, reflect.TypeFor[rich](), reflect.TypeFor[textual](),
}

var keyTypes = []reflect.Type{
	stringType, intType, boolType, reflect.TypeFor[uint8](), reflect.TypeFor[celsius](), reflect.TypeFor[point](), reflect.TypeFor[[2]int](),
}

// typ draws a type.
func (d typeDrawer) typ(depth int) reflect.Type {
	kind := 0
	if depth > 0 {
		kind = rapid.IntRange(0, 7).Draw(d.t, "kind")
	}
	switch kind {
	case 3:
		return reflect.SliceOf(d.typ(depth - 1))
	case 4:
		return reflect.ArrayOf(rapid.IntRange(0, 3).Draw(d.t, "len"), d.typ(depth-1))
	case 5:
		return reflect.MapOf(rapid.SampledFrom(keyTypes).Draw(d.t, "key"), d.typ(depth-1))
	case 6:
		elem := d.typ(depth - 1)
		switch elem.Kind() { //nolint:exhaustive // a pointer to nil arrives as nil
		case reflect.Slice, reflect.Map, reflect.Pointer, reflect.Interface:
			return elem
		}
		if elem == reflect.TypeFor[coro]() {
			return elem
		}
		return reflect.PointerTo(elem)
	case 7:
		var fields []reflect.StructField
		for i := range rapid.IntRange(0, 5).Draw(d.t, "fields") {
			tag := rapid.SampledFrom([]string{"", fmt.Sprintf(`cbor:"n%d"`, i), fmt.Sprintf(`cbor:"%d,keyasint"`, i*30), `cbor:",omitzero"`}).Draw(d.t, "tag")
			fields = append(fields, reflect.StructField{Name: fmt.Sprint("F", i), Type: d.typ(depth - 1), Tag: reflect.StructTag(tag)})
		}
		return reflect.StructOf(fields)
	}
	if kind == 2 && !d.plain {
		return rapid.SampledFrom(otherTypes).Draw(d.t, "type")
	}
	return rapid.SampledFrom(plainTypes).Draw(d.t, "type")
}

// fill sets v, which can be set, to a random value.
func (d typeDrawer) fill(v reflect.Value, depth int) {
	switch p := v.Addr().Interface().(type) {
	case *any:
		*p = drawAny(d.t, d.r, 1)
	case *error:
		*p = failure("e")
	case *time.Time:
		*p = drawTime(d.t)
	case **coro:
		*p = d.r.coro(rapid.Uint64Range(1, 9).Draw(d.t, "coro"))
	case **conduit:
		*p = d.r.conduit(rapid.Uint64Range(1, 9).Draw(d.t, "conduit"))
	case *rich:
		*p = richExample(d.r)
	case *big.Int:
		p.SetInt64(rapid.Int64().Draw(d.t, "big"))
	case *upper:
		*p = upper(rapid.StringMatching("[a-z]{0,9}").Draw(d.t, "upper"))
	case *textual:
		*p = textual{rapid.String().Draw(d.t, "text")}
	case *sealed:
		*p = sealed{rapid.String().Draw(d.t, "text")}
	default:
		d.fillKind(v, depth)
	}
}

func (d typeDrawer) fillKind(v reflect.Value, depth int) {
	n := 0
	if depth > 0 {
		n = rapid.IntRange(0, 3).Draw(d.t, "n")
	}
	switch v.Kind() { //nolint:exhaustive // interfaces and what cannot travel stay as they are
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(d.t, "bool"))
	case reflect.String:
		v.SetString(rapid.String().Draw(d.t, "string"))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(d.t, "int"))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(rapid.Uint64().Draw(d.t, "uint"))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(rapid.Float32().Draw(d.t, "float")))
	case reflect.Slice:
		if rapid.Bool().Draw(d.t, "nil") {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			d.fill(v.Index(i), depth-1)
		}
	case reflect.Array:
		for i := range v.Len() {
			d.fill(v.Index(i), depth-1)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range n {
			key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			d.fill(key, depth-1)
			d.fill(elem, depth-1)
			v.SetMapIndex(key, elem)
		}
	case reflect.Pointer:
		if n > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			d.fill(v.Elem(), depth-1)
		}
	case reflect.Struct:
		for _, f := range v.Fields() {
			if f.CanSet() && v.Type() != reflect.TypeFor[outer]() {
				d.fill(f, depth-1)
			}
		}
	}
}

// TestRapidTypes sends values of types of any shape.
func TestRapidTypes(t *testing.T) {
	t.Parallel()
	c, r := newTestCodec(t), newRegistry()
	rapid.Check(t, func(rt *rapid.T) {
		d := typeDrawer{t: rt, r: r}
		typ := d.typ(4)
		v := reflect.New(typ).Elem()
		d.fill(v, 4)
		b, err := c.AppendAs(nil, typ, v.Interface(), nil)
		if err != nil {
			rt.Fatalf("%v: %v", typ, err)
		}
		into := reflect.New(typ)
		if err := c.DecodeStrict(b, into.Interface(), r); err != nil {
			rt.Fatalf("%v: %x: %v", typ, b, err)
		}
		if diff := cmp.Diff(v.Interface(), into.Elem().Interface(), same); diff != "" {
			rt.Fatalf("%v: %s", typ, diff)
		}
	})
}

// TestRapidLibrary checks that types without interfaces, handles and times are encoded as the library encodes them.
func TestRapidLibrary(t *testing.T) {
	t.Parallel()
	c := newTestCodec(t)
	enc, err := cbor.EncOptions{NaNConvert: cbor.NaNConvertNone, InfConvert: cbor.InfConvertNone}.EncMode()
	if err != nil {
		t.Fatal(err)
	}
	dec, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden}.DecMode()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		d := typeDrawer{t: rt, plain: true}
		typ := d.typ(4)
		v := reflect.New(typ).Elem()
		d.fill(v, 4)
		ours, err := c.Append(nil, v.Interface(), nil)
		if err != nil {
			rt.Fatalf("%v: %v", typ, err)
		}
		theirs, err := enc.Marshal(v.Interface())
		if err != nil || len(theirs) != len(ours) { // maps are in any order
			rt.Fatalf("%v: the library writes %x, %v, we %x", typ, theirs, err, ours)
		}
		a, b := reflect.New(typ), reflect.New(typ)
		if err := c.Decode(theirs, a.Interface(), nil); err != nil {
			rt.Fatalf("%v: %x: %v", typ, theirs, err)
		}
		if err := dec.Unmarshal(ours, b.Interface()); err != nil {
			rt.Fatalf("%v: %x: the library says %v", typ, ours, err)
		}
		if diff := cmp.Diff(v.Interface(), a.Elem().Interface(), same); diff != "" {
			rt.Fatalf("theirs, by us: %v: %s", typ, diff)
		}
		if diff := cmp.Diff(v.Interface(), b.Elem().Interface(), same); diff != "" {
			rt.Fatalf("ours, by them: %v: %s", typ, diff)
		}
	})
}

// fuzzSeeds adds encodings that the codec itself has made.
func fuzzSeeds(f *testing.F, c *Codec, r *registry) {
	f.Helper()
	for _, v := range anyValues(r) {
		b, err := c.AppendAny(nil, v, nil)
		if err != nil {
			f.Fatal(err)
		}
		if len(b) < 1000 {
			f.Add(b)
		}
	}
	b, err := c.Append(nil, richExample(r), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(named("map[any]any", "\xa1\xf6\xf6")))
	f.Add([]byte(named("[]any", "\x81"+named("any", "\x01"))))
	f.Add([]byte(strings.Repeat("\x81", 32) + "\x01"))
}

// FuzzDecodeAny decodes any data. What it decodes must travel again, and arrive equal.
func FuzzDecodeAny(f *testing.F) {
	c, r := newTestCodec(f), newRegistry()
	fuzzSeeds(f, c, r)
	f.Fuzz(func(t *testing.T, data []byte) {
		bothWaysDecode(t, c, data)
		v, err := c.DecodeAny(data, r)
		if err != nil {
			var ve *ValueError
			if v != nil || !errors.As(err, &ve) {
				t.Fatalf("%x: %#v, %#v", data, v, err)
			}
			return
		}
		again, err := c.AppendAny(nil, v, nil)
		if errors.Is(err, ErrValueKey) {
			return // keys that are pointers to equal values
		}
		if err != nil {
			t.Fatalf("%x: %#v: %v", data, v, err)
		}
		got, err := c.DecodeAny(again, r)
		if err != nil {
			t.Fatalf("%x: %#v: %x: %v", data, v, again, err)
		}
		if len(again) < 200 { // cmp is slow, and cannot tell maps with NaN keys apart
			b, _ := c.AppendAny(nil, got, nil)
			if len(b) != len(again) {
				t.Fatalf("%x: %#v: %x, then %x", data, v, again, b)
			}
		}
	})
}

// FuzzDecodeStruct decodes any data into a struct with fields of all kinds.
func FuzzDecodeStruct(f *testing.F) {
	c, r := newTestCodec(f), newRegistry()
	fuzzSeeds(f, c, r)
	f.Fuzz(func(t *testing.T, data []byte) {
		var v, got rich
		if err := c.DecodeStrict(data, &v, r); err != nil {
			return
		}
		again, err := c.Append(nil, v, nil)
		if errors.Is(err, ErrValueKey) {
			return
		}
		if err != nil {
			t.Fatalf("%x: %+v: %v", data, v, err)
		}
		if err := c.DecodeStrict(again, &got, r); err != nil {
			t.Fatalf("%x: %+v: %x: %v", data, v, again, err)
		}
		if b, err := c.Append(nil, got, nil); err != nil || len(b) != len(again) {
			t.Fatalf("%x: %+v: %x, then %x, %v", data, v, again, b, err)
		}
	})
}
