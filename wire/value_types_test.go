package wire

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestRegisterType(t *testing.T) {
	t.Parallel()
	c := newTestCodec(t)
	for _, test := range []struct {
		name string
		typ  reflect.Type
		want string // empty: it is fine
	}{
		{"test.order", reflect.TypeFor[order](), ""}, // again
		{"stranger", reflect.TypeFor[stranger](), ""},
		{"with space, é", reflect.TypeFor[[3]int](), ""},
		{"strangers", reflect.TypeFor[[]stranger](), ""},
		{"anonymous", reflect.TypeFor[struct{ X int }](), ""},
		{"addr", reflect.TypeFor[netip.Addr](), ""},
		{"test.order", reflect.TypeFor[point2](), "the name is taken by wire.order"},
		{"other", reflect.TypeFor[order](), `wire.order is registered as "test.order"`},
		{"", reflect.TypeFor[point2](), "a name has 1 to 100"},
		{strings.Repeat("x", 101), reflect.TypeFor[point2](), "a name has 1 to 100"},
		{"[]x", reflect.TypeFor[point2](), "none of"},
		{"*x", reflect.TypeFor[point2](), "none of"},
		{"x\n", reflect.TypeFor[point2](), "printable"},
		{"x\xff", reflect.TypeFor[point2](), "printable"},
		{"int", reflect.TypeFor[point2](), "built in"},
		{"time.Time", reflect.TypeFor[point2](), "built in"},
		{"when", reflect.TypeFor[time.Time](), "built in"},
		{"number", reflect.TypeFor[int](), "built in"},
		{"bytes", reflect.TypeFor[[]byte](), "built in"},
		{"shape", reflect.TypeFor[shape](), "is an interface; register the types that it holds"},
		{"any thing", reflect.TypeFor[any](), "is an interface"},
		{"pointer", reflect.TypeFor[*point2](), "register wire.point2, and *wire.point2 travels too"},
		{"handle", reflect.TypeFor[*coro](), "register wire.coro"},
		{"coro", reflect.TypeFor[coro](), "it lives where it is"},
		{"page", reflect.TypeFor[page](), "field page.Done (chan int): channels cannot travel"},
		{"nothing", nil, "no type"},
	} {
		err := c.RegisterType(test.name, test.typ)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("RegisterType(%q, %v): %v, want %s", test.name, test.typ, err, test.want)
		}
	}
	for _, v := range []any{
		stranger{1},
		&stranger{2},
		[3]int{1, 2, 3},
		[]stranger{{1}},
		[][]stranger{{{1}}},
		struct{ X int }{1},
		&[3]int{},
		map[netip.Addr]stranger{netip.MustParseAddr("::1"): {}},
	} {
		wantSame(t, throughAny(t, c, v, nil), v)
	}
}

type point2 struct{ X int }

// TestRegisterLate registers a type after it could not travel, for both directions.
func TestRegisterLate(t *testing.T) {
	t.Parallel()
	sender, receiver := newTestCodec(t), newTestCodec(t)
	sent := []any{[]map[string]*stranger{{"k": {1}}}}
	if _, err := sender.AppendAny(nil, sent, nil); !errors.Is(err, ErrTypeUnknown) {
		t.Errorf("not registered: %v", err)
	}
	if err := sender.RegisterType("stranger", reflect.TypeFor[stranger]()); err != nil {
		t.Fatal(err)
	}
	b, err := sender.AppendAny(nil, sent, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := receiver.DecodeAny(b, nil); !errors.Is(err, ErrTypeUnknown) || !strings.Contains(err.Error(), `"[]map[string]*stranger"`) {
		t.Errorf("not registered: %v", err)
	}
	if err := receiver.RegisterType("stranger", reflect.TypeFor[stranger]()); err != nil {
		t.Fatal(err)
	}
	got, err := receiver.DecodeAny(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, got, any(sent))
}

func TestTypeName(t *testing.T) {
	t.Parallel()
	c := newTestCodec(t)
	for _, test := range []struct {
		typ  reflect.Type
		want string
	}{
		{nil, ""},
		{reflect.TypeFor[int32](), "int32"},
		{reflect.TypeFor[rune](), "int32"},
		{reflect.TypeFor[byte](), "uint8"},
		{reflect.TypeFor[[]byte](), "[]byte"},
		{reflect.TypeFor[[][]byte](), "[][]byte"},
		{reflect.TypeFor[string](), "string"},
		{reflect.TypeFor[struct{}](), "struct{}"},
		{reflect.TypeFor[any](), "any"},
		{reflect.TypeFor[error](), "error"},
		{reflect.TypeFor[[]any](), "[]any"},
		{reflect.TypeFor[time.Time](), "time.Time"},
		{reflect.TypeFor[time.Duration](), "time.Duration"},
		{reflect.TypeFor[*coro](), "*wire.coro"},
		{reflect.TypeFor[order](), "test.order"},
		{reflect.TypeFor[*order](), "*test.order"},
		{reflect.TypeFor[map[string]*order](), "map[string]*test.order"},
		{reflect.TypeFor[map[point][][]celsius](), "map[test.point][][]test.celsius"},
		{reflect.TypeFor[map[*coro]any](), "map[*wire.coro]any"},
		{reflect.TypeFor[*int](), "*int"},
		{reflect.TypeFor[[][][][][][][][]int](), "[][][][][][][][]int"},
		{reflect.TypeFor[[][][][][][][][][]int](), ""},
		{reflect.TypeFor[**order](), ""},
		{reflect.TypeFor[[]stranger](), ""},
		{reflect.TypeFor[map[stranger]int](), ""},
		{reflect.TypeFor[[3]int](), ""},
		{reflect.TypeFor[coro](), ""},
		{reflect.TypeFor[shape](), ""},
		{reflect.TypeFor[chan int](), ""},
		{reflect.TypeFor[struct{ X int }](), ""},
	} {
		got := c.TypeName(test.typ)
		if got != test.want {
			t.Errorf("TypeName(%v) is %q, want %q", test.typ, got, test.want)
		}
		if got == "" {
			continue
		}
		if entry, err := c.types.Load().find([]byte(got), c); err != nil || entry.typ != test.typ {
			t.Errorf("%q is not found as %v: %v", got, test.typ, err)
		}
	}
}
