package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Types that have a fast path, and types that have none.
type (
	flatAll struct {
		Bool     bool
		Int8     int8
		Int      int
		Uint8    uint8
		Uint64   uint64
		Float32  float32
		Float64  float64
		String   string
		Bytes    []byte
		Duration time.Duration
		Numbered int `cbor:"-5,keyasint"`
		Hidden   int `cbor:"-"`
		Unit     celsius
	}
	flatBase  struct{ Base string }
	flatInner struct {
		flatBase
		Point point
		Order order
		Last  int32
	}
	flatLong struct{ F1, F2, F3, F4, F5, F6, F7, F8, F9, F10, F11, F12, F13, F14, F15, F16, F17, F18, F19, F20, F21, F22, F23, F24, F25 int }

	notFlatOmit struct {
		A int `cbor:",omitempty"`
	}
	notFlatZero struct {
		A int `cbor:",omitzero"`
	}
	notFlatAny   struct{ A any }
	notFlatSlice struct {
		A int
		B []int
	}
	notFlatEmpty struct {
		A int
		B struct{}
	}
	notFlatPointer struct {
		*FlatExported
		A int
	}
	FlatExported struct{ X int }
	notFlatTime  struct{ A time.Time }
	notFlatCheck struct{ A int } // has UnmarshalCBOR
	notFlatField struct{ A notFlatCheck }
	notFlatEven  struct{ A flatEven }
	flatEven     int // has UnmarshalCBOR
)

var errChecked = errors.New("checked")

func (*notFlatCheck) UnmarshalCBOR([]byte) error { return errChecked }
func (*flatEven) UnmarshalCBOR([]byte) error     { return errChecked }

// flatValues are values that have a fast path.
func flatValues() []any {
	full := flatAll{
		true, -128, math.MinInt, 255, math.MaxUint64, math.MaxFloat32, math.Inf(-1), strings.Repeat("é", 20), []byte("bytes"),
		time.Hour, 70000, 0, 1.5,
	}
	return []any{
		order{},
		order{42, "hello world", 3.5},
		&order{-1, "x", math.Copysign(0, -1)},
		point{X: 1, Y: -300},
		flatAll{},
		full, &full,
		flatAll{Bytes: []byte{}, Int8: 127, Int: math.MaxInt, Uint8: 24, String: strings.Repeat("s", 300)},
		flatInner{flatBase{"base"}, point{X: 1, Y: 2}, order{3, "three", 3}, math.MinInt32},
		flatLong{F1: 1, F24: 24, F25: 25},
	}
}

// newFlatCodec returns a codec that knows the types above.
func newFlatCodec(tb testing.TB, limits Limits) *Codec {
	tb.Helper()
	hooks := testHooks()
	hooks.Limits = limits
	c := NewCodec(hooks)
	for _, v := range []any{
		order{},
		point{},
		flatAll{},
		flatInner{},
		flatLong{},
		notFlatOmit{},
		notFlatZero{},
		notFlatAny{},
		notFlatSlice{},
		notFlatEmpty{},
		notFlatTime{},
		notFlatCheck{},
		notFlatField{},
		notFlatEven{},
		notFlatPointer{},
		celsius(0),
	} {
		t := reflect.TypeOf(v)
		if err := c.RegisterType("test.a_long_name_of_"+t.Name(), t); err != nil {
			tb.Fatal(err)
		}
	}
	return c
}

// bothWaysDecode decodes data on the fast path and on the slow one, reports where the results
// differ, and returns whether there is a fast path.
func bothWaysDecode(tb testing.TB, c *Codec, data []byte) bool {
	tb.Helper()
	got, ok := c.decodeFlat(data)
	if !ok {
		return false
	}
	want, err := c.decodeAny(data, nil, false)
	if err != nil {
		tb.Fatalf("%x: %#v the short way, %v the long way", data, got, err)
	}
	if reflect.TypeOf(got) != reflect.TypeOf(want) {
		tb.Fatalf("%x: a %T the short way, a %T the long way", data, got, want)
	}
	a, errA := c.appendAny(nil, got, nil)
	b, errB := c.appendAny(nil, want, nil)
	if errA != nil || errB != nil || !bytes.Equal(a, b) { // encodings, because NaN is not equal to NaN
		tb.Fatalf("%x: %#v the short way, %#v the long way; %v, %v", data, got, want, errA, errB)
	}
	return true
}

// TestFlat checks that the fast path exists, and has the same results.
func TestFlat(t *testing.T) {
	c := newFlatCodec(t, Limits{})
	for _, v := range flatValues() {
		dst := []byte("before")
		short, ok := c.appendFlat(dst, v)
		long, err := c.appendAny(dst, v, nil)
		if !ok || err != nil || !bytes.Equal(short, long) {
			t.Fatalf("%#v: %x, %v the short way, %x, %v the long way", v, short, ok, long, err)
		}
		data := short[len(dst):]
		if !bothWaysDecode(t, c, data) {
			t.Errorf("%#v: %x: no short way back", v, data)
		}
		for range 2 { // the second time with a scratch that was used before
			got, err := c.DecodeAny(data, nil)
			if err != nil {
				t.Fatal(err)
			}
			wantSame(t, got, v)
		}
	}
}

// TestFlatItems puts items of all kinds in the place of fields of all kinds.
func TestFlatItems(t *testing.T) {
	c := newFlatCodec(t, Limits{})
	kinds := []any{
		false, 0, int8(0), int16(0), int32(0), int64(0), uint(0), uint8(0), uint16(0), uint32(0), uint64(0),
		float32(0), 0.0, celsius(0), "", []byte(nil), time.Duration(0),
	}
	items := []string{
		"\x40", "\x41a", "\x58\x01a", "\x41", "\x60", "\x61a", "\x78\x01a", "\x61\xff", "\x78\x05a", "\x5f\xff", "\x7f\xff", "\x80", "\x81\x00", "\xa0",
		"\xc1\x00", "\xe0", "\xf3", "\xf4", "\xf5", "\xf6", "\xf7", "\xf8\x14", "\xf8\xff", "\xf9\x3c\x00", "\xfa\x3f\x80\x00\x00", "\xfa\x7f\xa0\x00\x01",
		"\xfa\x7f\x80\x00\x00", "\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00", "\xfb\x7f\xf4\x00\x00\x00\x00\x00\x01", "\xfb\x7f\xef\xff\xff\xff\xff\xff\xff", "\xfb", "\xff", "",
	}
	for _, bits := range []int{0, 4, 5, 7, 8, 15, 16, 31, 32, 53, 63, 64} {
		for _, off := range []uint64{0, 1, 2} {
			for _, major := range []byte{majorUint, majorNegInt} {
				n := uint64(1)<<bits - off
				items = append(items, string(appendHead(nil, major, n)), string(binary.BigEndian.AppendUint64([]byte{major<<5 | info64}, n)))
			}
		}
	}
	passed := 0
	for i, x := range kinds {
		name := "one" + string(rune('a'+i))
		if err := c.RegisterType(name, reflect.StructOf([]reflect.StructField{{Name: "A", Type: reflect.TypeOf(x)}})); err != nil {
			t.Fatal(err)
		}
		for _, item := range items {
			lead := namedLead + string(appendHead(nil, majorText, uint64(len(name)))) + name + "\xa1\x61A"
			if bothWaysDecode(t, c, []byte(lead+item)) {
				passed++
			}
		}
	}
	if passed < 200 {
		t.Errorf("only %d took the short way", passed)
	}
}

// TestFlatScalars checks that strings and numbers have a fast path, up to the limits and no
// further.
func TestFlatScalars(t *testing.T) {
	for _, most := range []int{1, 8, 9, 10, 32, 33, 34, 35, 300} {
		c := newFlatCodec(t, Limits{MaxBytes: most})
		for _, v := range []any{
			0, -1, math.MaxInt, math.MinInt, "", "a", "\xff", "é", strings.Repeat("a", 23), strings.Repeat("a", 24),
			strings.Repeat("a", 25), strings.Repeat("é", 100), strings.Repeat("a", 300),
		} {
			long, err := c.appendAny(nil, v, nil)
			if short, ok := c.appendFlat(nil, v); ok && (err != nil || !bytes.Equal(short, long)) {
				t.Errorf("%d: %#v: %x the short way, %x, %v the long way", most, v, short, long, err)
			}
			got, err2 := c.AppendAny([]byte("x"), v, nil)
			if want := append([]byte("x"), long...); (err == nil) != (err2 == nil) || !bytes.Equal(got, want) {
				t.Errorf("%d: %#v: %x, %v", most, v, got, err2)
			}
		}
	}
	c := newFlatCodec(t, Limits{})
	for _, data := range []string{"", "\x60", "\x60\x00", "\x61", "\x61a", "\x61\xff", "\x61aa", "\x78", "\x78\x00", "\x78\x01a", "\x79\x00\x01a", "\x7f\xff", "\x78\x01", "\x78\xffa"} {
		want := data == "\x61a" || data == "\x78\x01a" || data == "\x78\x00"
		if got := bothWaysDecode(t, c, []byte(data)); got != want {
			t.Errorf("%x: a short way: %v", data, got)
		}
	}
}

// TestFlatOwnsResult checks that a decoded value does not refer to the data, or to the scratch that
// the next one is decoded into.
func TestFlatOwnsResult(t *testing.T) {
	c := newFlatCodec(t, Limits{})
	sent := flatAll{String: "text", Bytes: []byte("bytes")}
	data, err := c.AppendAny(nil, sent, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.DecodeAnyOwn(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := c.AppendAny(nil, flatAll{Int: 1, String: "other"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	next, err := c.DecodeAnyOwn(other, nil)
	if err != nil {
		t.Fatal(err)
	}
	clear(data)
	large, err := c.AppendAny(nil, flatAll{Bytes: make([]byte, ownBytes)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := c.decodeFlat(large); ok {
		t.Error("the short way copies what the long way refers to")
	}
	wantSame(t, got, sent)
	wantSame(t, next, flatAll{Int: 1, String: "other"})
}

// TestFlatNot checks which values have no fast path, and that they travel without.
func TestFlatNot(t *testing.T) {
	c := newFlatCodec(t, Limits{})
	for _, v := range []any{
		nil, int8(1), celsius(1),
		[]int{1},
		struct{}{},
		(*order)(nil), (*int)(nil),
		notFlatOmit{},
		notFlatZero{},
		notFlatAny{},
		notFlatSlice{},
		notFlatEmpty{},
		notFlatTime{},
		notFlatCheck{},
		&notFlatCheck{},
		notFlatField{},
		notFlatEven{},
		notFlatPointer{},
		stranger{},
		order{Name: "\xff"},
	} {
		if b, ok := c.appendFlat([]byte("x"), v); ok || string(b) != "x" {
			t.Errorf("%#v has a short way: %x", v, b)
		}
		data, err := c.AppendAny(nil, v, nil)
		if err == nil {
			_, ok := c.decodeFlat(data)
			if ok {
				t.Errorf("%#v has a short way back", v)
			}
		}
	}
	for _, v := range []any{notFlatCheck{}, &notFlatCheck{}, notFlatField{}, notFlatEven{}} {
		data, err := c.AppendAny(nil, v, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.DecodeAny(data, nil); !errors.Is(err, errChecked) {
			t.Errorf("%#v: %v", v, err)
		}
	}
}

// TestFlatDamaged damages encodings at all places. The fast path must accept nothing that the slow
// path refuses.
func TestFlatDamaged(t *testing.T) {
	c := newFlatCodec(t, Limits{})
	passed := 0
	for _, v := range flatValues() {
		data, err := c.AppendAny(nil, v, nil)
		if err != nil {
			t.Fatal(err)
		}
		try := func(parts ...[]byte) {
			if bothWaysDecode(t, c, bytes.Join(parts, nil)) {
				passed++
			}
		}
		for i := range data {
			if bytes.HasPrefix(data[i:], []byte("ssss")) {
				continue // in a long text
			}
			try(data[:i])
			try(data[:i], data[i+1:])
			for b := range 256 {
				if i > len(namedLead) { // before that, a difference means another type
					try(data[:i], []byte{byte(b)}, data[i+1:])
				}
			}
			for _, insert := range []string{"\x00", "\x18", "\x61", "\xc1", "\xf6", "\xf9\x00\x00", "\x19\x00", "\x19\x01", "\x5f"} {
				try(data[:i], []byte(insert), data[i:])
				try(data[:i], []byte(insert), data[i+1:])
			}
		}
		try(data, []byte{0})
	}
	if passed < 1000 {
		t.Errorf("only %d took the short way", passed)
	}
}

// TestFlatLimits checks that the fast path keeps the limits as the slow path does.
func TestFlatLimits(t *testing.T) {
	free := newFlatCodec(t, Limits{})
	short := 0
	for n := 1; n < 64; n++ {
		for _, limits := range []Limits{{MaxDepth: n}, {MaxItems: n}, {MaxBytes: 4 * n}, {MaxMemory: 4 * n}} {
			c := newFlatCodec(t, limits)
			for _, v := range flatValues() {
				got, ok := c.appendFlat(nil, v)
				want, err := c.appendAny(nil, v, nil)
				if ok != (err == nil) || ok && !bytes.Equal(got, want) {
					t.Fatalf("%+v: %#v: %x the short way, %x, %v the long way", limits, v, got, want, err)
				}
				data, err := free.AppendAny(nil, v, nil)
				if err != nil {
					t.Fatal(err)
				}
				_, err = c.decodeAny(data, nil, false)
				if ok := bothWaysDecode(t, c, data); ok != (err == nil) {
					t.Fatalf("%+v: %#v: %v the short way back, %v the long way", limits, v, ok, err)
				}
				if ok {
					short++
				}
			}
		}
	}
	if short == 0 {
		t.Error("nothing took the short way")
	}
	if b, ok := newFlatCodec(t, Limits{NoTags: true}).appendFlat(nil, order{}); ok {
		t.Errorf("%x without tags", b)
	}
}

// TestTypeIndex checks that names and types that share a slot are all found.
func TestTypeIndex(t *testing.T) {
	c := NewCodec(Hooks{})
	fields := []reflect.StructField{{Name: "A", Type: intType}}
	for i := range 300 {
		name := "n" + strings.Repeat("x", i%90) + string(rune('a'+i%26)) + string(rune('a'+i/26))
		fields[0].Name = strings.ToUpper(name)
		typ := reflect.StructOf(fields)
		if err := c.RegisterType(name, typ); err != nil {
			t.Fatal(err)
		}
	}
	for typ, name := range c.types.Load().registered {
		v := reflect.New(typ).Elem()
		v.Field(0).SetInt(7)
		for _, x := range []any{v.Interface(), v.Addr().Interface()} {
			data, ok := c.appendFlat(nil, x)
			if !ok || !bytes.Contains(data, []byte(name)) {
				t.Fatalf("%s: %x, %v", name, data, ok)
			}
			if got, ok := c.decodeFlat(data); !ok || !reflect.DeepEqual(got, x) {
				t.Fatalf("%s: %#v, %v", name, got, ok)
			}
		}
	}
}
