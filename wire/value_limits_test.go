package wire

import (
	"errors"
	"runtime"
	"strings"
	"testing"
)

// TestDepthIsTheSame checks around the limit that exactly what can be encoded can be decoded.
func TestDepthIsTheSame(t *testing.T) {
	t.Parallel()
	r := newRegistry()
	wide := NewCodec(Hooks{Handles: testHooks().Handles, Limits: Limits{MaxDepth: 60}})
	c := newTestCodec(t)
	if err := wide.RegisterType("test.tree", c.types.Load().byName["test.tree"].typ); err != nil {
		t.Fatal(err)
	}
	now := anyValues(r)[52]
	for name, leaf := range map[string]any{
		"int": 1, "string": "x", "empty": []any{}, "nil map": map[string]any(nil), "map": map[string]any{"a": 1},
		"time": now, "error": failure("x"), "coro": r.coro(1), "tree": tree{}, "trees": []*tree{{}}, "int8": int8(1),
	} {
		accepted := 0
		for n := range 40 {
			v := []any{leaf}
			for range n {
				v = []any{v}
			}
			b, err := wide.AppendAny(nil, v, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, errEncode := c.AppendAny(nil, v, nil)
			_, errDecode := c.DecodeAny(b, r)
			if errEncode == nil {
				accepted++
			}
			if (errEncode == nil) != (errDecode == nil) || errEncode != nil && !errors.Is(errEncode, ErrValueDepth) {
				t.Errorf("%s in %d levels: encode %v, decode %v", name, n, errEncode, errDecode)
			}
		}
		if accepted < 28 {
			t.Errorf("%s: %d levels", name, accepted)
		}
	}
}

// wideStruct takes 1 KiB in memory, and as little as a byte on the wire.
type wideStruct struct {
	F [64]string `cbor:",omitzero"`
	P *wideStruct
	M map[uint8]wideStruct `cbor:",omitempty"`
}

// TestMemory checks that small data cannot make large values, and that nothing is encoded that the
// receiver would refuse for that reason.
func TestMemory(t *testing.T) {
	t.Parallel()
	c := newTestCodec(t)
	for _, n := range []int{1, 10, 1000, 10000, 100000} {
		b, err := c.Append(nil, make([]wideStruct, n), nil)
		if ok := n <= 1000; ok != (err == nil) || !ok && !errors.Is(err, ErrValueSize) {
			t.Errorf("%d structs: %v", n, err)
		}
		if err != nil { // what it would have been
			b = append(appendHead(nil, majorArray, uint64(n)), strings.Repeat("\xa0", n)...)
		}
		var into []wideStruct
		if errDecode := c.Decode(b, &into, nil); (errDecode == nil) != (err == nil) {
			t.Errorf("%d structs: encode %v, decode %v", n, err, errDecode)
		}
	}
	full := make([]wideStruct, 2000)
	for i := range full {
		full[i].F[0] = "something"
	}
	wantSame(t, through(t, c, full, nil), full)
}

// TestBombs decodes small data that claims to be large, or expands. It is not parallel, because it
// counts all memory.
func TestBombs(t *testing.T) {
	c, r := newTestCodec(t), newRegistry()
	const n = 1 << 17
	array := func(element string) string {
		return string(appendHead(nil, majorArray, n)) + strings.Repeat(element, n)
	}
	for _, bomb := range []struct{ name, data string }{
		{"structs", named("[]test.tree", array("\xa0"))},
		{"pointers", named("[]*test.tree", array("\xa0"))},
		{"riches", named("[]*test.rich", array("\xa0"))},
		{"slices", named("[][][]test.rich", array("\x80"))},
		{"nils", named("[][][]test.rich", array("\xf6"))},
		{"maps", named("[]map[string]any", array("\xa0"))},
		{"nothing", named("[]struct{}", array("\xa0"))},
		{"strings", named("[]string", array("\x60"))},
		{"types", array(named("[]struct{}", "\xf6"))},
		{"times", array("\xd8\xeb\x83\x00\x00\x01")},
		{"errors", array("\xd8\xe1\xa0")},
		{"handles", array("\xd8\xf8\x86\x500123456789abcdef\x60\x00\x01\x01\x60")},
		{"anys", array("\x80")},
		{"any maps", array("\xa0")},
		{"any bytes", array("\x40")},
		{"int64s", array("\xd8\xe5\x01")},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := c.DecodeAny([]byte(bomb.data), r)
		runtime.ReadMemStats(&after)
		took := int(after.TotalAlloc-before.TotalAlloc) / len(bomb.data)
		t.Logf("%-10s %3d bytes of memory a byte: %v", bomb.name, took, err)
		if took > 100 || err != nil && !errors.Is(err, ErrValueSize) {
			t.Errorf("%s: %d bytes of memory for each of data, %v", bomb.name, took, err)
		}
	}
}

// named returns the encoding of a value of a type of that name in an interface.
func named(name, content string) string {
	return "\xd8\xe0\x82" + string(appendHead(nil, majorText, uint64(len(name)))) + name + content
}

// TestShared checks that a value which contains a part many times is an error, and is not encoded
// without end.
func TestShared(t *testing.T) {
	t.Parallel()
	c := NewCodec(Hooks{Limits: Limits{MaxItems: 1 << 16, MaxBytes: 1 << 20}})
	var v any = "x"
	for range 30 {
		v = []any{v, v}
	}
	if _, err := c.AppendAny(nil, v, nil); !errors.Is(err, ErrValueSize) {
		t.Errorf("2^30 strings: %v", err)
	}
	text := strings.Repeat("x", 1<<16)
	texts := make([]any, 1<<14)
	for i := range texts {
		texts[i] = []any{text}
	}
	if _, err := c.AppendAny(nil, texts, nil); !errors.Is(err, ErrValueSize) {
		t.Errorf("1 GB of strings: %v", err)
	}
}

// TestTypesFromData checks that a peer cannot make this program keep more and more types.
func TestTypesFromData(t *testing.T) {
	t.Parallel()
	c := newTestCodec(t)
	var bases []string
	for name, entry := range c.types.Load().byName {
		if entry.typ.Comparable() && entry.typ.Kind() != 0 && !strings.HasPrefix(name, "*") {
			bases = append(bases, name)
		}
	}
	refused := 0
	for _, a := range bases {
		for _, b := range bases {
			for _, elem := range bases {
				name := "map[" + a + "]map[" + b + "]" + elem
				_, err := c.DecodeAny([]byte(named(name, "\xf6")), nil)
				if errors.Is(err, ErrValueSize) {
					if refused++; refused > 100 {
						return
					}
				} else if err != nil {
					t.Fatal(name, err)
				}
			}
		}
	}
	t.Errorf("%d types kept, %d refused", len(c.types.Load().byType), refused)
}
