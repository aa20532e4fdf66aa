package wire

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"
)

type (
	page struct {
		Path string
		Done chan int
	}
	site struct {
		Pages map[string][]*page
		Next  *site
	}
	loop    *loop
	none    struct{}
	locked  struct{ Mu sync.Mutex }
	lockedE struct {
		sync.Mutex
		N int
	}
)

func TestCanTravel(t *testing.T) {
	t.Parallel()
	c := newTestCodec(t)
	for _, test := range []struct {
		typ  reflect.Type
		want string // empty: it can
	}{
		{reflect.TypeFor[page](), "field page.Done (chan int): channels cannot travel"},
		{reflect.TypeFor[site](), "field site.Pages[][].Done (chan int): channels cannot travel"},
		{reflect.TypeFor[[]page](), "field []wire.page[].Done (chan int)"},
		{reflect.TypeFor[chan int](), "chan int: channels cannot travel"},
		{reflect.TypeFor[func()](), "func(): functions cannot travel"},
		{reflect.TypeFor[struct{ F []func() }](), "F[] (func()): functions"},
		{reflect.TypeFor[uintptr](), "uintptr: addresses"},
		{reflect.TypeFor[unsafe.Pointer](), "unsafe.Pointer: addresses"},
		{reflect.TypeFor[complex64](), "complex numbers"},
		{reflect.TypeFor[map[string]complex128](), "[] (complex128)"},
		{reflect.TypeFor[map[*int]int](), "[key] (*int): a pointer in a map's key"},
		{reflect.TypeFor[map[struct{ P *int }]int](), "a pointer in a map's key"},
		{reflect.TypeFor[map[[2]*int]int](), "a pointer in a map's key"},
		{reflect.TypeFor[coro](), "it lives where it is"},
		{reflect.TypeFor[[]conduit](), "it lives where it is"},
		{reflect.TypeFor[locked](), "field locked.Mu (sync.Mutex): it has no exported field"},
		{reflect.TypeFor[atomic.Int64](), "it has no exported field"},
		{reflect.TypeFor[struct{ sync.Mutex }](), "it has no exported field"},
		{reflect.TypeFor[loop](), "a pointer to pointers without end"},
		{reflect.TypeFor[onlyOut](), "it has MarshalCBOR but not UnmarshalCBOR"},
		{reflect.TypeFor[struct {
			X int `cbor:"x,keyasint"`
		}](), "its tag says keyasint, but has no number"},
		{reflect.TypeFor[struct {
			_ struct{} `cbor:",toarray"`
			*Deeper
		}](), "toarray"},
		{reflect.TypeFor[struct {
			*inner
		}](), "an embedded pointer to an unexported struct cannot be set"},

		{reflect.TypeFor[lockedE](), ""},
		{reflect.TypeFor[struct{ none }](), ""},
		{reflect.TypeFor[struct{}](), ""},
		{reflect.TypeFor[any](), ""},
		{reflect.TypeFor[error](), ""},
		{reflect.TypeFor[shape](), ""},
		{reflect.TypeFor[*coro](), ""},
		{reflect.TypeFor[map[*coro]any](), ""},
		{reflect.TypeFor[chain](), ""},
		{reflect.TypeFor[onlyIn](), ""},
		{reflect.TypeFor[rich](), ""},
		{reflect.TypeFor[[]map[string][3]***int](), ""},
	} {
		err := c.CanTravel(test.typ)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: %v, want %s", test.typ, err, test.want)
		}
		var te *TravelError
		if err != nil && (!errors.As(err, &te) || te.Root != test.typ) {
			t.Errorf("%v: %#v", test.typ, err)
		}
	}
}

// TestCannotTravel checks that a type which was refused once is refused again, also as a part of
// other types.
func TestCannotTravel(t *testing.T) {
	t.Parallel()
	c := newTestCodec(t)
	for range 2 {
		for _, v := range []any{page{}, &site{}, []*site{}, struct{ P page }{}} {
			var te *TravelError
			if _, err := c.Append(nil, v, nil); !errors.As(err, &te) {
				t.Errorf("Append(%T): %v", v, err)
			}
			if _, err := c.AppendAny(nil, v, nil); !errors.As(err, &te) {
				t.Errorf("AppendAny(%T): %v", v, err)
			}
			if err := c.Decode([]byte{0xa0}, reflect.New(reflect.TypeOf(v)).Interface(), nil); !errors.As(err, &te) {
				t.Errorf("Decode(%T): %v", v, err)
			}
		}
	}
}

func TestEncodeErrors(t *testing.T) {
	t.Parallel()
	c := newTestCodec(t)
	cycle := &tree{Name: "a"}
	cycle.Kids = []*tree{cycle}
	anys := []any{nil}
	anys[0] = anys
	maps := map[string]any{}
	maps["self"] = []any{maps}
	type bare []bare
	bares := bare{nil}
	bares[0] = bares
	for _, test := range []struct {
		v    any
		is   error
		want string
	}{
		{cycle, ErrValueDepth, "encode test"},
		{anys, ErrValueDepth, "[0][0]"},
		{maps, ErrValueDepth, `["self"][0]["self"]`},
		{&chain{}, ErrTypeUnknown, "wire.chain, in a *wire.chain: call discoro.RegisterType[wire.chain](\"wire.chain\")"},
		{stranger{}, ErrTypeUnknown, "type not registered: wire.stranger: call discoro.RegisterType[wire.stranger](\"wire.stranger\")"},
		{[]stranger{}, ErrTypeUnknown, "wire.stranger, in a []wire.stranger"},
		{map[string][]stranger{}, ErrTypeUnknown, "wire.stranger, in a map[string][]wire.stranger"},
		{map[stranger]int{}, ErrTypeUnknown, "wire.stranger, in a map[wire.stranger]int"},
		{tree{Kids: []*tree{{Any: []any{1, stranger{}}}}}, ErrTypeUnknown, "encode any.(test.tree).Kids[0].Any[1]: type not registered"},
		{[]any{map[string]any{"k": &stranger{}}}, ErrTypeUnknown, `encode any[0]["k"]: `},
		{rich{Shape: shapeError{}}, ErrTypeUnknown, ".Shape: "},
		{[2]int{}, ErrTypeUnknown, "[2]int"},
		{"a\xff", ErrValueText, "encode any: string is not valid UTF-8: send []byte"},
		{[]string{"", "\xff"}, ErrValueText, "[1]: "},
		{map[string]int{"\xff": 1}, ErrValueText, `["\xff"]: `},
		{order{Name: "\xff"}, ErrValueText, "encode any.(test.order).Name: string is not valid UTF-8: send []byte"},
		{map[any]any{&order{}: 1, &order{ID: 0}: 2}, ErrValueKey, "duplicate map key"},
	} {
		b, err := c.AppendAny([]byte("x"), test.v, nil)
		if test.want == "encode test" {
			test.want = "nested too deeply, or a cycle: more than 32 levels"
		}
		if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.want) || string(b) != "x" {
			t.Errorf("%T: %x, %v; want %s", test.v, b, err, test.want)
		}
	}
	if _, err := c.Append(nil, bares, nil); !errors.Is(err, ErrValueDepth) {
		t.Errorf("a slice that holds itself: %v", err)
	}
	ring := &chain{}
	ring.Next = &chain{Next: ring}
	if _, err := c.Append(nil, ring, nil); !errors.Is(err, ErrValueDepth) || len(err.Error()) > 300 {
		t.Errorf("a ring: %v", err)
	}
}

// shapeError is an error that is a shape. It does not travel as a shape, because what arrives would
// not be one.
type shapeError struct{ X int }

func (shapeError) Error() string { return "no shape" }
func (shapeError) Area() float64 { return 0 }

func TestDecodeErrors(t *testing.T) {
	t.Parallel()
	c, r := newTestCodec(t), newRegistry()
	type m = map[string]any
	for _, test := range []struct {
		data string
		into any
		is   error
		want string
	}{
		{"\x01", order{}, ErrValueType, "decode order: wrong type of data: number for a wire.order"},
		{"\xf6", order{}, ErrValueType, "null for a wire.order"},
		{"\xa1\x62ID\xf6", order{}, ErrValueType, "decode order.ID: wrong type of data: null for a int"},
		{"\xa1\x64Name\x41x", order{}, ErrValueType, ".Name: wrong type of data: bytes for a string"},
		{"\xa2\x62ID\x01\x62ID\x01", order{}, ErrValueKey, ".ID: duplicate map key"},
		{"\xa1\xf5\x01", order{}, ErrValueType, "bool for a string"},
		{"\x82\x01\x01\x01", point{}, ErrValueMalformed, "more data"},
		{"\x81\x01", point{}, ErrValueType, "array of 1 elements instead of 2"},
		{"\xa2\x61a\x01\x61a\x02", map[string]int{}, ErrValueKey, `["a"]: duplicate`},
		{"\xa2\x61a\x01\x61a\x02", m{}, ErrValueKey, `["a"]: duplicate`},
		{"\x18\x80", int8(0), ErrValueType, "number 128 for a int8"},
		{"\x38\x80", int8(0), ErrValueType, "number -1-128 for a int8"},
		{"\x20", uint(0), ErrValueType, "number -1-0 for a uint"},
		{"\x19\x01\x00", uint8(0), ErrValueType, "number 256"},
		{"\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00", 0, ErrValueType, "float for a int"},
		{"\xfb\x7f\xef\xff\xff\xff\xff\xff\xff", float32(0), ErrValueType, "for a float32"},
		{"\x1b\x00\x20\x00\x00\x00\x00\x00\x01", 0.0, ErrValueType, "number 9007199254740993 for a float64"},
		{"\xf9\x7e\x00", 0.0, ErrValueType, "float for a float64"},
		{"\x43abc", [2]byte{}, ErrValueType, "3 bytes for a [2]uint8"},
		{"\x61\xff", "", ErrValueText, "decode string: string is not valid UTF-8 at byte 1"},
		{"\x9f\xff", []int{}, ErrValueMalformed, "indefinite length"},
		{"", 0, ErrValueMalformed, "ends"},
		{"\xd8\xf8\x86\x41\x01\x60\x00\x01\x01\x60", (*coro)(nil), ErrValueType, "id of 1 bytes"},
		{"\xd8\xf9\x01", (*coro)(nil), ErrValueType, "tag 249"},
		{"\x01", (*coro)(nil), ErrValueType, "number for a *wire.coro"},
	} {
		into := reflect.New(reflect.TypeOf(test.into))
		err := c.Decode([]byte(test.data), into.Interface(), r)
		if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%x into a %T: %v; want %s", test.data, test.into, err, test.want)
		}
	}
	for _, into := range []any{nil, 1, (*int)(nil), order{}} {
		if err := c.Decode([]byte{1}, into, nil); !errors.Is(err, ErrValueType) {
			t.Errorf("into %#v: %v", into, err)
		}
	}
}

func TestDecodeAnyErrors(t *testing.T) {
	t.Parallel()
	c, r := newTestCodec(t), newRegistry()
	for _, test := range []struct {
		data string
		is   error
		want string
	}{
		{"\xd8\xe0\x82\x67no.such\xa0", ErrTypeUnknown, `decode any: type not registered: "no.such": this program must call discoro.RegisterType with that name`},
		{"\x81\xd8\xe0\x82\x69[]no.such\xa0", ErrTypeUnknown, `decode any[0]: type not registered: "[]no.such"`},
		{"\xd8\xe0\x82\x6bmap[any]err\xa0", ErrTypeUnknown, ""},
		{"\xd8\xe0\x82\x60\x01", ErrTypeUnknown, `""`},
		{"\xd8\xe0\x82\x78\x1b[][][][][][][][][][][][]int8\x01", ErrTypeUnknown, "more than 8 slices and maps"},
		{"\xd8\xe0\x82\x73map[[]string]string\xa0", ErrTypeUnknown, "map[[]string]string"},
		{"\xd8\xe0\x82\x75map[test.words]string\xa0", ErrTypeUnknown, "map[test.words]string"},
		{"\xd8\xe0\x01", ErrValueType, "number"},
		{"\xd8\xe0\x82\x01\x02", ErrValueType, "number"},
		{"\xc1\x01", ErrTypeUnknown, "tag 1, which this program does not know"},
		{"\xd8\xfa\x80", ErrTypeUnknown, "tag 250"},
		{"\xda\xff\xff\xff\xff\x01", ErrTypeUnknown, "tag 4294967295"},
		{"\xd8\xe2\x18\x80", ErrValueType, "number 128 for a int8"},
		{"\xd8\xe2\x61x", ErrValueType, "string for a int8"},
		{"\xd8\xeb\x80", ErrValueType, "array of 0 elements instead of 3 for a time.Time"},
		{"\xd8\xe1\x01", ErrValueType, "number for a wire.ErrorValue"},
		{"\xf7", ErrValueType, "simple value"},
		{"\xf9\x00\x00", ErrValueType, "float"},
		{"\xa1\x01\x02", ErrValueType, "number for a string"},
		{"\xd8\xe0\x82\x6cmap[any]int8\xa1\x80\x01", ErrValueType, "without =="},
		{"\x1b\xff\xff\xff\xff\xff\xff\xff\xff", ErrValueType, "number 18446744073709551615 for a int"},
	} {
		v, err := c.DecodeAny([]byte(test.data), r)
		if v != nil || !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, %v; want %s", test.data, v, err, test.want)
		}
	}
	// A value for an interface with methods must have them.
	var s shape
	if err := c.Decode([]byte{1}, &s, r); !errors.Is(err, ErrValueType) || !strings.Contains(err.Error(), "int for a wire.shape") {
		t.Errorf("an int for a shape: %v", err)
	}
}

// TestDecodeCopies checks that a decoded value does not change with the data.
func TestDecodeCopies(t *testing.T) {
	t.Parallel()
	c, r := newTestCodec(t), newRegistry()
	for _, v := range append(anyValues(r), []any{[]byte("bytes"), "string", map[string]any{"key": []byte("x")}}) {
		b, err := c.AppendAny(nil, v, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.DecodeAny(b, r)
		if err != nil {
			t.Fatal(err)
		}
		copy(b, bytes.Repeat([]byte{0xff}, len(b)))
		wantSame(t, got, v)
	}
}
