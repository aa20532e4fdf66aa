package wire

import (
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Types for tests. newTestCodec registers them, except those that say otherwise.
type (
	order struct {
		ID    int
		Name  string
		Value float64
	}
	celsius float64
	words   []string
	grid    map[string][]int
	point   struct {
		_    struct{} `cbor:",toarray"`
		X, Y int
	}
	tree struct {
		Name string
		Kids []*tree
		Any  any
	}
	shape  interface{ Area() float64 }
	square struct{ Side float64 }
	shapes []shape

	stranger struct{ X int } // not registered
	chain    struct {        // not registered
		Next *chain
	}
)

func (s square) Area() float64 { return s.Side * s.Side }

// rich has a field of every kind.
type rich struct {
	Bool     bool
	Int8     int8
	Int      int
	Uint64   uint64
	Float32  float32
	Float64  float64
	String   string
	Bytes    []byte
	Digest   [4]byte
	Pair     [2]string
	Time     time.Time
	TimePtr  *time.Time
	Duration time.Duration
	Big      *big.Int
	Any      any
	Err      error
	Shape    shape
	Coro     *coro
	Conduit  *conduit
	Order    order
	OrderPtr *order
	Words    words
	Anys     []any
	AnyMap   map[string]any
	Handles  map[*coro]*conduit
	Strings  map[string]string
	Points   map[point]celsius
	Mixed    map[any]any
	Tree     *tree
	Short    string   `cbor:"s,omitempty"`
	Numbered int      `cbor:"-5,keyasint"`
	Hidden   chan int `cbor:"-"`
}

// coro is a handle type, as *discoro.Coro is, and conduit another.
type (
	coro    struct{ seq uint64 }
	conduit struct{ seq uint64 }
)

// registry stands for a runtime: it has the one pointer of each handle.
type registry struct {
	mu       sync.Mutex // guards following; leaf
	coros    map[uint64]*coro
	conduits map[uint64]*conduit
}

func newRegistry() *registry {
	return &registry{coros: map[uint64]*coro{}, conduits: map[uint64]*conduit{}}
}

func (r *registry) coro(seq uint64) *coro {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.coros[seq] == nil {
		r.coros[seq] = &coro{seq: seq}
	}
	return r.coros[seq]
}

func (r *registry) conduit(seq uint64) *conduit {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conduits[seq] == nil {
		r.conduits[seq] = &conduit{seq: seq}
	}
	return r.conduits[seq]
}

var (
	errNoRegistry = errors.New("no registry")
	errForeign    = errors.New("foreign handle")
)

// testHooks are hooks whose decoders expect a *registry as ctx.
func testHooks() Hooks {
	return Hooks{
		Handles: []HandleType{
			{Type: reflect.TypeFor[*coro](), Encode: encodeCoro, Decode: decodeCoro},
			{Type: reflect.TypeFor[*conduit](), Encode: encodeConduit, Decode: decodeConduit},
		},
		EncodeError: func(err error) ErrorValue {
			v := ErrorValue{Msg: err.Error()}
			if errors.Is(err, errNoRegistry) {
				v.Codes = []string{"test.noregistry"}
			}
			return v
		},
		DecodeError: func(v ErrorValue) error { return &arrivedError{v} },
	}
}

func encodeCoro(v, _ any) (HandleValue, error) {
	seq := v.(*coro).seq
	if seq == 0 {
		return HandleValue{}, errForeign
	}
	return HandleValue{ID: ID{1, 2, 3}, Host: "10.0.0.7", Port: 51347, Key: 1<<62 | seq, Seq: seq, Name: fmt.Sprint("coro-", seq)}, nil
}

func decodeCoro(hv HandleValue, ctx any) (any, error) {
	r, ok := ctx.(*registry)
	if !ok {
		return nil, errNoRegistry
	}
	if hv.Seq == 0 {
		return nil, errForeign
	}
	return r.coro(hv.Seq), nil
}

func encodeConduit(v, _ any) (HandleValue, error) {
	return HandleValue{Key: v.(*conduit).seq}, nil
}

func decodeConduit(hv HandleValue, ctx any) (any, error) { return ctx.(*registry).conduit(hv.Key), nil }

// arrivedError is what an error arrives as in tests.
type arrivedError struct{ ErrorValue }

func (e *arrivedError) Error() string { return e.Msg }

func failure(msg string) error { return &arrivedError{ErrorValue{Msg: msg}} }

// newTestCodec returns a codec with the handles and types above.
func newTestCodec(tb testing.TB) *Codec {
	tb.Helper()
	c := NewCodec(testHooks())
	for name, typ := range map[string]reflect.Type{
		"test.order":   reflect.TypeFor[order](),
		"test.celsius": reflect.TypeFor[celsius](),
		"test.words":   reflect.TypeFor[words](),
		"test.grid":    reflect.TypeFor[grid](),
		"test.point":   reflect.TypeFor[point](),
		"test.tree":    reflect.TypeFor[tree](),
		"test.square":  reflect.TypeFor[square](),
		"test.shapes":  reflect.TypeFor[shapes](),
		"test.rich":    reflect.TypeFor[rich](),
	} {
		if err := c.RegisterType(name, typ); err != nil {
			tb.Fatal(err)
		}
	}
	return c
}

// throughAny sends v through an interface and returns what arrives.
func throughAny(tb testing.TB, c *Codec, v any, r *registry) any {
	tb.Helper()
	b, err := c.AppendAny(nil, v, nil)
	if err != nil {
		tb.Fatalf("AppendAny(%#v): %v", v, err)
	}
	got, err := c.DecodeAny(b, r)
	if err != nil {
		tb.Fatalf("DecodeAny of %#v, %x: %v", v, b, err)
	}
	return got
}

// through sends v to a receiver that knows its type.
func through(tb testing.TB, c *Codec, v any, r *registry) any {
	tb.Helper()
	b, err := c.Append(nil, v, nil)
	if err != nil {
		tb.Fatalf("Append(%#v): %v", v, err)
	}
	into := reflect.New(reflect.TypeOf(v))
	if err := c.Decode(b, into.Interface(), r); err != nil {
		tb.Fatalf("Decode of %#v, %x: %v", v, b, err)
	}
	return into.Elem().Interface()
}

// same makes cmp treat two values as equal when one is what should arrive of the other.
var same = cmp.Options{
	cmpopts.EquateNaNs(),
	cmp.Exporter(func(reflect.Type) bool { return true }),
	cmp.Comparer(func(a, b *coro) bool { return a == b }),
	cmp.Comparer(func(a, b *conduit) bool { return a == b }),
	cmp.Comparer(func(a, b *big.Int) bool { return a == b || a != nil && b != nil && a.Cmp(b) == 0 }),
	cmp.Comparer(func(a, b time.Time) bool {
		_, offsetA := a.Zone()
		_, offsetB := b.Zone()
		return a.Equal(b) && offsetA == offsetB
	}),
	cmp.Comparer(func(a, b error) bool {
		if a == nil || b == nil {
			return a == nil && b == nil
		}
		return a.Error() == b.Error()
	}),
}

// wantSame reports the differences between what was sent and what arrived.
func wantSame(tb testing.TB, got, want any) {
	tb.Helper()
	if diff := cmp.Diff(want, got, same); diff != "" {
		tb.Errorf("%T arrived as %T (-want +got):\n%s", want, got, diff)
	}
}

// richExample returns a rich with something in every field.
func richExample(r *registry) rich {
	now := time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.FixedZone("CEST", 7200))
	return rich{
		Bool: true, Int8: -8, Int: 1 << 30, Uint64: 1 << 63, Float32: 1.5, Float64: 2.5, String: "text",
		Bytes: []byte{1, 2}, Digest: [4]byte{1, 2, 3, 4}, Pair: [2]string{"a", "b"},
		Time: now, TimePtr: &now, Duration: time.Minute, Big: new(big.Int).Lsh(big.NewInt(-3), 100),
		Any: int16(3), Err: failure("oops"), Shape: square{2}, Coro: r.coro(1), Conduit: r.conduit(1),
		Order: order{1, "one", 1}, OrderPtr: &order{ID: 2}, Words: words{"w"},
		Anys: []any{uint8(1), order{ID: 3}, nil, r.coro(2)}, AnyMap: map[string]any{"k": []int32{1}},
		Handles: map[*coro]*conduit{r.coro(1): r.conduit(1), r.coro(3): nil}, Strings: map[string]string{"a": "b"},
		Points: map[point]celsius{{X: 1}: 2}, Mixed: map[any]any{int8(1): "x", r.coro(1): now},
		Tree: &tree{Name: "root", Kids: []*tree{{Name: "kid", Any: celsius(1)}, nil}}, Short: "s", Numbered: 5,
	}
}
