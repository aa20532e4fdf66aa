package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
)

// anyValues arrive from an interface as values of the same type.
func anyValues(r *registry) []any {
	cest, lmt := time.FixedZone("CEST", 7200), time.FixedZone("LMT", 3208)
	now := time.Date(2024, 5, 6, 7, 8, 9, 123456789, cest)
	return []any{
		nil, true, false,
		struct{}{},
		0, 1, -1, 23, 24, -24, -25, 255, 256, 65535, 65536, math.MaxInt, math.MinInt,
		int8(math.MinInt8), int8(math.MaxInt8), int16(math.MinInt16), int32(math.MinInt32), int64(math.MaxInt64), int64(math.MinInt64),
		uint(math.MaxUint), uint8(255), uint16(65535), uint32(math.MaxUint32), uint64(math.MaxUint64), uint64(0),
		float32(1.5), float32(math.Inf(1)), float32(math.NaN()), float32(math.MaxFloat32),
		3.25, math.Pi, math.Inf(-1), math.NaN(), math.Copysign(0, -1), math.MaxFloat64, math.SmallestNonzeroFloat64,
		"", "text", "日本語", strings.Repeat("long", 1000), []byte(nil),
		[]byte{},
		[]byte("bytes"),
		[]byte{0xff, 0},
		now, now.UTC(), now.In(lmt), now.In(time.FixedZone("", -10801)), now.Local(), time.Now(),
		time.Time{},
		time.Unix(0, 0),
		time.Date(-5000, 1, 1, 0, 0, 0, 1, time.UTC), time.Date(20000, 1, 1, 0, 0, 0, 0, lmt), time.Time{}.In(lmt),
		time.Duration(0), 3 * time.Hour, time.Duration(-1),
		order{7, "seven", 7.5},
		&order{8, "eight", 0}, (*order)(nil), celsius(21.5),
		words{"a", ""},
		words(nil),
		words{},
		grid{"x": {1, 2}, "y": nil},
		grid(nil),
		point{X: 3, Y: -4},
		&point{X: 1},
		square{2},
		shapes{square{1}, nil, &square{2}},
		tree{Name: "root", Kids: []*tree{{Name: "kid", Any: int8(3)}, nil}, Any: order{ID: 1}},
		[]int32{1, -2},
		[]int32(nil),
		[]int{},
		[]bool{true},
		[]string{"a", ""},
		[]float64{1, math.NaN()},
		[]float32{1},
		[]uint16{1},
		[]int64{-1},
		[][]string{{"a"}, nil, {}},
		[]time.Time{now, {}},
		[]time.Duration{1},
		[]celsius{1, 2},
		[]order{{}, {ID: 1}},
		[]*order{nil, {ID: 2}},
		[][]byte{{1}, nil},
		[]*int{new(int), nil},
		[]struct{}{{}, {}},
		new(int32), (*string)(nil),
		[]any{nil, 1, int32(2), "x", []any{}, map[string]any{"k": uint8(1)}},
		[]any(nil),
		[]any{},
		map[string]any{"a": int16(1), "b": nil, "c": []int64{1}, "": order{}},
		map[string]any(nil),
		map[string]any{},
		map[string]int{"one": 1},
		map[string]int(nil),
		map[string]time.Duration{"s": time.Second},
		map[string]order{"o": {}},
		map[string]*order{"p": {ID: 3}, "nil": nil},
		map[string][]map[string]string{"a": {{"b": "c"}, nil}},
		map[int]string{1: "x"},
		map[celsius]bool{1: true},
		map[point]int{{X: 1}: 2},
		map[time.Duration]int{1: 1},
		map[bool]uint8{true: 1},
		map[any]any{1: int8(1), int8(1): 2, "x": nil, nil: 3, point{X: 1}: 4},
		[]map[string]any{{"k": []any{1.5}}},
		r.coro(1), (*coro)(nil), r.conduit(1),
		[]*coro{r.coro(1), r.coro(2), nil, r.coro(1)},
		map[string]*coro{"a": r.coro(3)},
		map[*coro]int{r.coro(1): 1, r.coro(2): 2},
		map[*coro]*conduit{r.coro(1): r.conduit(1)},
		[]any{r.coro(1), r.conduit(2)},
		failure("failed"),
		[]error{nil, failure("oops")},
		map[string]error{"e": failure("e")},
		richExample(r), &rich{},
		[]*rich{nil, {}},
	}
}

func TestAnyKeepsTypes(t *testing.T) {
	t.Parallel()
	c, r := newTestCodec(t), newRegistry()
	for _, v := range anyValues(r) {
		wantSame(t, throughAny(t, c, v, r), v)
	}
}

func TestAnyKeepsTypesInside(t *testing.T) {
	t.Parallel()
	c, r := newTestCodec(t), newRegistry()
	for _, v := range anyValues(r) {
		wantSame(t, throughAny(t, c, []any{v, v}, r), []any{v, v})
		wantSame(t, throughAny(t, c, map[string]any{"k": v}, r), map[string]any{"k": v})
		wantSame(t, throughAny(t, c, []any{map[string]any{"k": []any{v}}}, r), []any{map[string]any{"k": []any{v}}})
		wantSame(t, throughAny(t, c, &tree{Any: tree{Any: v}}, r), &tree{Any: tree{Any: v}})
		wantSame(t, through(t, c, tree{Kids: []*tree{{Any: v}}}, r), tree{Kids: []*tree{{Any: v}}})
	}
}

func TestStaticTypes(t *testing.T) {
	t.Parallel()
	c, r := newTestCodec(t), newRegistry()
	type embedded struct {
		order
		*Point2
		Extra stranger
	}
	for _, v := range append(anyValues(r)[1:],
		stranger{1}, []stranger{{1}}, chain{&chain{}}, embedded{order{ID: 1}, &Point2{2}, stranger{3}}, embedded{},
		[3]int{1, 2, 3}, [0]int{}, [2][]byte{{1}}, [2]bool{true}, map[[2]int]string{{1, 2}: "x"}, map[stranger]int{{1}: 2},
		*big.NewInt(-5), big.NewInt(0), (*big.Int)(nil), new(big.Int).Lsh(big.NewInt(1), 1000),
		netip.MustParseAddr("10.1.2.3"), url.URL{Scheme: "http", Host: "x"}, cbor.RawMessage{0x01}, big.NewRat(1, 3),
		struct{ A any }{int8(1)}, struct{ P *any }{}, struct{ E []error }{[]error{failure("x")}}, rune('x'), [][][]int{{{1}}},
		map[string]stranger{"a": {1}}, map[time.Time]int{time.Unix(1, 2).UTC(): 3}, map[string]**int{"nil": nil},
	) {
		wantSame(t, through(t, c, v, r), v)
		wantSame(t, throughAs(t, c, reflect.TypeOf(v), v, r), v)
	}
}

// Point2 is exported, so that a struct that embeds a pointer to it can be decoded.
type Point2 struct{ Z int }

// throughAs is through for a receiver that knows v as a typ.
func throughAs(tb testing.TB, c *Codec, typ reflect.Type, v any, r *registry) any {
	tb.Helper()
	b, err := c.AppendAs(nil, typ, v, nil)
	if err != nil {
		tb.Fatalf("AppendAs(%v, %#v): %v", typ, v, err)
	}
	into := reflect.New(typ)
	if err := c.Decode(b, into.Interface(), r); err != nil {
		tb.Fatalf("Decode of %#v, %x: %v", v, b, err)
	}
	return into.Elem().Interface()
}

func TestAppendAsInterface(t *testing.T) {
	t.Parallel()
	c, r := newTestCodec(t), newRegistry()
	for _, v := range anyValues(r) {
		wantSame(t, throughAs(t, c, anyType, v, r), v)
	}
	wantSame(t, throughAs(t, c, errorType, errors.New("x"), r), failure("x"))
	wantSame(t, throughAs(t, c, errorType, nil, r), nil)
	wantSame(t, throughAs(t, c, reflect.TypeFor[shape](), square{2}, r), square{2})
	wantSame(t, throughAs(t, c, reflect.TypeFor[shape](), nil, r), nil)
	if _, err := c.AppendAs(nil, errorType, 1, nil); !errors.Is(err, ErrValueType) {
		t.Errorf("an int as an error: %v", err)
	}
}

func TestDecodeNamed(t *testing.T) {
	t.Parallel()
	c, r := newTestCodec(t), newRegistry()
	for _, v := range anyValues(r)[1:] {
		name := c.TypeName(reflect.TypeOf(v))
		if _, isError := v.(error); isError {
			continue
		}
		b, err := c.Append(nil, v, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.DecodeNamed(name, b, r)
		if err != nil {
			t.Fatalf("%T as %q: %v", v, name, err)
		}
		wantSame(t, got, v)
	}
	if _, err := c.DecodeNamed("no.such", []byte{1}, r); !errors.Is(err, ErrTypeUnknown) {
		t.Errorf("unknown name: %v", err)
	}
}

func TestHandles(t *testing.T) {
	t.Parallel()
	c, r := newTestCodec(t), newRegistry()
	type msg struct {
		From  *coro
		Peers map[*coro]string
		Any   any
	}
	a, b := r.coro(1), r.coro(2)
	got := through(t, c, msg{From: a, Peers: map[*coro]string{a: "a", b: "b"}, Any: []any{a, map[*coro]int{b: 1}}}, r).(msg)
	if got.From != a || got.Peers[a] != "a" || got.Peers[b] != "b" || got.Any.([]any)[0] != any(a) {
		t.Errorf("handles are not interned: %+v", got)
	}
	if _, err := c.Append(nil, msg{From: &coro{}}, nil); !errors.Is(err, errForeign) || !strings.Contains(err.Error(), "msg.From") {
		t.Errorf("the hook's error: %v", err)
	}
	data, err := c.Append(nil, a, nil)
	if err != nil {
		t.Fatal(err)
	}
	var into *coro
	if err := c.Decode(data, &into, nil); !errors.Is(err, errNoRegistry) {
		t.Errorf("without ctx: %v", err)
	}
	var other *conduit
	if err := c.Decode(data, &other, r); !errors.Is(err, ErrValueType) {
		t.Errorf("a handle for another type: %v", err)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	c, r := newTestCodec(t), newRegistry()
	type msg struct {
		Err  error
		Errs []error
		Any  any
	}
	sent := msg{fmt.Errorf("wrapped: %w", errNoRegistry), []error{nil, errForeign}, errForeign}
	got := through(t, c, sent, r).(msg)
	wantSame(t, got.Errs, sent.Errs)
	wantSame(t, []error{got.Err}, []error{sent.Err})
	wantSame(t, got.Any, failure(errForeign.Error()))
	var arrived *arrivedError
	if !errors.As(got.Err, &arrived) || len(arrived.Codes) != 1 || arrived.Codes[0] != "test.noregistry" {
		t.Errorf("%#v", got.Err)
	}
	bad := through(t, c, msg{Err: errors.New("open \xff: failed")}, r).(msg)
	if bad.Err.Error() != "open \uFFFD: failed" {
		t.Errorf("an error's text that is not UTF-8 arrived as %q", bad.Err)
	}
	if v := c.ErrorValue(nil); v != nil || c.Error(nil) != nil {
		t.Error("nil error")
	}
	if v := c.ErrorValue(errForeign); c.Error(v).Error() != errForeign.Error() {
		t.Errorf("%+v", v)
	}
}

func TestZeroHooks(t *testing.T) {
	t.Parallel()
	c := NewCodec(Hooks{})
	if got := throughAny(t, c, []error{errForeign, nil}, nil).([]error); got[0].Error() != errForeign.Error() || got[1] != nil {
		t.Errorf("%v", got)
	}
}

// TestConcurrent registers types while values of others travel.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	c, r := newTestCodec(t), newRegistry()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 50 {
				typ := reflect.ArrayOf(g*50+i, reflect.TypeFor[stranger]())
				if err := c.RegisterType(fmt.Sprint("array-", g, "-", i), typ); err != nil {
					t.Error(err)
				}
				v := reflect.New(typ).Interface()
				b, err := c.AppendAny(nil, v, nil)
				if err != nil {
					t.Error(err)
				}
				if got, err := c.DecodeAny(b, r); err != nil || !reflect.DeepEqual(got, v) {
					t.Error(err)
				}
				through(t, c, richExample(r), r)
			}
		})
	}
	wg.Wait()
}

// TestGolden compares what is written with what was written when the protocol was made. PROTOCOL.md
// shows some of it. DISCORO_UPDATE=1 writes it again.
func TestGolden(t *testing.T) {
	t.Parallel()
	c, r := newTestCodec(t), newRegistry()
	at := time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.FixedZone("", 7200))
	var b strings.Builder
	for _, v := range []any{
		nil, true, 0, -1, 1000, "text",
		[]byte{1, 2},
		1.5, float32(1.5), int8(-1), int16(1), int32(1), int64(1), uint(1), uint8(1),
		uint16(1), uint32(1), uint64(1), at,
		time.Time{},
		time.Minute, failure("oops"), errNoRegistry, r.coro(7), (*coro)(nil), r.conduit(7),
		[]any{1, "a", nil},
		map[string]any{"k": int8(1)},
		[]int32{1, 2},
		[]byte(nil),
		map[string]time.Duration{"k": 1},
		struct{}{},
		order{1, "one", 2.5},
		&order{1, "one", 2.5}, (*order)(nil),
		[]*order{nil, {ID: 1}},
		point{X: 1, Y: 2},
		celsius(1.5),
		[]*coro{r.coro(1)},
		tagged2{Name: "x", Number: 1},
		big.Int{},
		*big.NewInt(-256),
	} {
		encoded, err := c.AppendAny(nil, v, nil)
		if errors.Is(err, ErrTypeUnknown) {
			encoded, err = c.Append(nil, v, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%-30T %x\n", v, encoded)
	}
	const file = "testdata/values.golden"
	if os.Getenv("DISCORO_UPDATE") != "" {
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Error(diff)
	}
}

// tagged2 travels as a map with a number for a key. It is not registered.
type tagged2 struct {
	Name   string `cbor:"n"`
	Number int    `cbor:"1,keyasint,omitempty"`
	Left   []int  `cbor:",omitempty"`
}

// TestAppendKeepsPrefix checks that dst is preserved, also after an error.
func TestAppendKeepsPrefix(t *testing.T) {
	t.Parallel()
	c := newTestCodec(t)
	prefix := binary.BigEndian.AppendUint32(nil, 0xdecafbad)
	b, err := c.AppendAny(prefix, []any{1}, nil)
	if err != nil || len(b) != len(prefix)+2 {
		t.Fatalf("%x, %v", b, err)
	}
	b, err = c.AppendAny(prefix, []any{"long enough", stranger{}}, nil)
	if err == nil || string(b) != string(prefix) {
		t.Errorf("after an error %x, %v", b, err)
	}
	if b, err = c.Append(prefix, nil, nil); err != nil || len(b) != len(prefix)+1 {
		t.Errorf("nil: %x, %v", b, err)
	}
}
