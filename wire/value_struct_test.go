package wire

import (
	"errors"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Structs whose fields follow the rules of encoding/json.
type (
	tagged struct {
		Renamed  int            `cbor:"r"`
		JSON     int            `json:"j,omitempty"`
		Both     int            `cbor:"c" json:"x"`
		Skipped  func()         `cbor:"-"`
		Skipped2 chan int       `json:"-"`
		Empty    string         `cbor:",omitempty"`
		EmptyMap map[string]int `cbor:",omitempty"`
		Zero     time.Time      `cbor:",omitzero"`
		ZeroPtr  *whole         `cbor:",omitzero"`
		Number   int            `cbor:"1,keyasint"`
		Negative int            `cbor:"-7,keyasint,omitempty"`
		_        int
	}
	whole struct{ N int } // IsZero is true up to 5
	outer struct {
		inner
		Deep
		Name string // hides inner's
	}
	inner struct {
		Name  string
		Level int // hides Deep's Deeper's
	}
	Deep struct {
		*Deeper
		Twice int
	}
	Deeper struct {
		Level int
		Twice int // hidden by Deep's
		Only  int
	}
	clash struct {
		Left
		Right
	}
	Left  struct{ X, L int }
	Right struct{ X, R int }
)

func (w *whole) IsZero() bool { return w == nil || w.N <= 5 }

// fieldsOf returns the names under which the fields of v travel, as a receiver that has none of
// them sees them.
func fieldsOf(t *testing.T, c *Codec, v any) string {
	t.Helper()
	b, err := c.Append(nil, v, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := valueDecoder{codec: c, data: b}
	n, err := d.open(majorMap, nil)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for range n {
		found = append(found, keyText(d.raw()))
		d.skip()
	}
	return strings.ReplaceAll(strings.Join(found, " "), `"`, "")
}

func TestStructFields(t *testing.T) {
	t.Parallel()
	c := newTestCodec(t)
	for _, test := range []struct {
		v    any
		want string
	}{
		{tagged{}, "r c 1"},
		{tagged{JSON: 1, Empty: "x", EmptyMap: map[string]int{"": 0}, Zero: time.Unix(1, 0), ZeroPtr: &whole{6}, Negative: 2}, "r j c Empty EmptyMap Zero ZeroPtr 1 -7"},
		{tagged{EmptyMap: map[string]int{}, ZeroPtr: &whole{5}}, "r c 1"},
		{outer{}, "Level Twice Name"},
		{outer{Deep: Deep{Deeper: &Deeper{}}}, "Level Only Twice Name"},
		{clash{}, "L R"},
	} {
		if got := fieldsOf(t, c, test.v); got != test.want {
			t.Errorf("%+v has fields %s, want %s", test.v, got, test.want)
		}
		wantSame(t, through(t, c, reflect.Zero(reflect.TypeOf(test.v)).Interface(), nil), reflect.Zero(reflect.TypeOf(test.v)).Interface())
	}
	sent := outer{inner{"hidden", 1}, Deep{&Deeper{2, 3, 4}, 5}, "name"}
	want := outer{inner{Level: 1}, Deep{&Deeper{Only: 4}, 5}, "name"}
	want.inner.Name, want.Deeper.Level, want.Deeper.Twice = "", 0, 0
	wantSame(t, through(t, c, sent, nil), want)
}

// TestManyFields has heads of more than one byte, and fields that may be left out.
func TestManyFields(t *testing.T) {
	t.Parallel()
	c := newTestCodec(t)
	var fields []reflect.StructField
	for i := range 300 {
		name := "F" + strings.Repeat("x", i)
		fields = append(fields, reflect.StructField{Name: name, Type: intType, Tag: `cbor:",omitempty"`})
	}
	for _, n := range []int{1, 23, 24, 64, 65, 255, 256, 300} {
		typ := reflect.StructOf(fields[:n])
		for _, set := range []int{0, 1, n / 2, n} {
			v := reflect.New(typ).Elem()
			for i := range set {
				v.Field(i).SetInt(int64(i + 1))
			}
			wantSame(t, through(t, c, v.Interface(), nil), v.Interface())
		}
	}
}

// Versions of one struct: a field that is added later does not break an older peer, unless that
// decodes strictly.
type (
	version1 struct{ A int }
	version2 struct {
		A int
		B []any
		C *version2
	}
)

func TestUnknownFields(t *testing.T) {
	t.Parallel()
	c := newTestCodec(t)
	b, err := c.Append(nil, version2{1, []any{int8(1), []string{"x"}}, &version2{}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var old version1
	if err := c.Decode(b, &old, nil); err != nil || old.A != 1 {
		t.Errorf("newer into older: %+v, %v", old, err)
	}
	err = c.DecodeStrict(b, &old, nil)
	if !errors.Is(err, ErrValueField) || !strings.Contains(err.Error(), `"B" in a wire.version1`) {
		t.Errorf("strictly: %v", err)
	}
	if b, err = c.Append(nil, old, nil); err != nil {
		t.Fatal(err)
	}
	var recent version2
	if err := c.DecodeStrict(b, &recent, nil); err != nil || recent.A != 1 || recent.B != nil {
		t.Errorf("older into newer: %+v, %v", recent, err)
	}
}

// Types that marshal themselves, and types that only seem to.
type (
	upper   string // MarshalCBOR by value
	sealed  struct{ s string }
	textual struct{ s string }
	colour  int // has MarshalText, travels as a number
	onlyIn  struct{ X int }
	onlyOut struct{ X int }
	stamped struct { // has MarshalBinary of time.Time, which would lose Host
		time.Time
		Host string
	}
	stampedPtr struct {
		*big.Int
		Host string
	}
	ownStamp struct { // has one of its own
		time.Time
		Host string
	}
	panicky struct{ X int }
	failing struct{ X int }
	broken  struct{ X int }
)

func (u upper) MarshalCBOR() ([]byte, error) {
	return append([]byte{0x60 | byte(len(u))}, strings.ToUpper(string(u))...), nil
}

func (u *upper) UnmarshalCBOR(b []byte) error {
	*u = upper(strings.ToLower(string(b[1:])))
	return nil
}
func (s *sealed) MarshalBinary() ([]byte, error)   { return []byte(s.s), nil }
func (s *sealed) UnmarshalBinary(b []byte) error   { s.s = string(b); return nil }
func (x textual) MarshalText() ([]byte, error)     { return []byte(x.s), nil }
func (x *textual) UnmarshalText(b []byte) error    { x.s = string(b); return nil }
func (c colour) MarshalText() ([]byte, error)      { return []byte("red"), nil }
func (c *colour) UnmarshalText([]byte) error       { return errForeign }
func (o onlyOut) MarshalCBOR() ([]byte, error)     { return []byte{1}, nil }
func (o *onlyIn) UnmarshalCBOR(b []byte) error     { o.X = len(b); return nil }
func (s ownStamp) MarshalBinary() ([]byte, error)  { return []byte(s.Host), nil }
func (s *ownStamp) UnmarshalBinary(b []byte) error { s.Host = string(b); return nil }
func (panicky) MarshalCBOR() ([]byte, error)       { panic("no way") }
func (*panicky) UnmarshalCBOR([]byte) error        { panic("no way back") }
func (failing) MarshalCBOR() ([]byte, error)       { return nil, errForeign }
func (*failing) UnmarshalCBOR([]byte) error        { return errForeign }
func (broken) MarshalCBOR() ([]byte, error)        { return []byte{0x82, 1}, nil }
func (*broken) UnmarshalCBOR([]byte) error         { return nil }

func TestMarshalers(t *testing.T) {
	t.Parallel()
	c := newTestCodec(t)
	now := time.Now()
	for _, v := range []any{
		upper("up"),
		[]upper{"a"},
		map[upper]upper{"k": "v"},
		&sealed{"s"},
		sealed{"t"},
		[]sealed{{"u"}},
		map[string]sealed{"k": {"v"}},
		textual{"x"},
		[]*textual{{"y"}, nil},
		map[textual]int{{"k"}: 1},
		colour(3),
		[]colour{1},
		struct{ S, T any }{},
		stamped{now, "host"},
		&stampedPtr{big.NewInt(3), "host"},
		stampedPtr{},
		ownStamp{Host: "only this"},
	} {
		wantSame(t, through(t, c, v, nil), v)
	}
	wantSame(t, through(t, c, onlyIn{300}, nil), onlyIn{6})
}

func TestMarshalersFail(t *testing.T) {
	t.Parallel()
	c := newTestCodec(t)
	for _, test := range []struct {
		v    any
		want string
	}{
		{[]panicky{{1}}, "encode []wire.panicky: panic: no way"},
		{struct{ F failing }{}, ".F: MarshalCBOR: foreign handle"},
		{map[string]broken{"k": {}}, `["k"]: MarshalCBOR: malformed value at byte 1`},
	} {
		b, err := c.Append([]byte("x"), test.v, nil)
		if err == nil || !strings.Contains(err.Error(), test.want) || string(b) != "x" {
			t.Errorf("%T: %x, %v; want %s", test.v, b, err, test.want)
		}
	}
	for _, into := range []any{&panicky{}, &[]panicky{}, &failing{}} {
		if err := c.Decode([]byte{0x81, 1}, into, nil); err == nil || !strings.Contains(err.Error(), "decode ") {
			t.Errorf("%T: %v", into, err)
		}
	}
}
