package wire

import (
	"bytes"
	"reflect"
	"strconv"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// benchValues are what the benchmarks send. The first one is like most messages.
func benchValues() []struct {
	name string
	v    any
} {
	orders := make([]order, 100)
	counts := make(map[string]int, 100)
	for i := range orders {
		orders[i] = order{i, "hello world", 3.5}
		counts[string(rune('a'+i))] = i
	}
	return []struct {
		name string
		v    any
	}{
		{"order", order{42, "hello world", 3.5}},
		{"orders", orders},
		{"floats", make([]float64, 1000)},
		{"counts", counts},
	}
}

// smallMessage is like most messages: a small struct that is registered, under a name of 16 bytes.
type smallMessage struct {
	ID    int
	Name  string
	Value float64
}

// BenchmarkSmallMessage encodes a message in one runtime, and decodes it in another, which owns the
// bytes.
func BenchmarkSmallMessage(b *testing.B) {
	c := newTestCodec(b)
	if err := c.RegisterType("test.messageType", reflect.TypeFor[smallMessage]()); err != nil {
		b.Fatal(err)
	}
	benchBothWays(b, c, smallMessage{123456, "some name", 3.25})
}

// BenchmarkLarge measures values whose parts are all that counts.
func BenchmarkLarge(b *testing.B) {
	counts := make(map[string]int, 60_000)
	for i := range 60_000 {
		counts["word-"+strconv.Itoa(i)] = i
	}
	chunks := make([][]byte, 64)
	for i := range chunks {
		chunks[i] = make([]byte, 64<<10)
	}
	nested := tree{Name: "root"}
	for range 1000 {
		nested.Kids = append(nested.Kids, &tree{Name: "kid", Kids: []*tree{{Name: "grandchild", Any: celsius(1)}}, Any: order{1, "one", 1}})
	}
	orders := make([]order, 10_000)
	for i := range orders {
		orders[i] = order{i, "hello world", 3.5}
	}
	for _, bench := range []struct {
		name string
		v    any
	}{
		{"counts", counts},
		{"chunks", chunks},
		{"nested", nested},
		{"orders", orders},
		{"rich", richExample(newRegistry())},
	} {
		b.Run(bench.name, func(b *testing.B) { benchBothWays(b, newTestCodec(b), bench.v) })
	}
}

// benchBothWays measures encoding v and decoding it.
func benchBothWays(b *testing.B, c *Codec, v any) {
	b.Helper()
	r := newRegistry()
	var buf []byte
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var err error
			if buf, err = c.AppendAny(buf[:0], v, r); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(buf)), "wire-B")
	})
	b.Run("decode", func(b *testing.B) {
		data, err := c.AppendAny(nil, v, r)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.DecodeAnyOwn(data, r); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAppendAny(b *testing.B) {
	c, r := newTestCodec(b), newRegistry()
	for _, bench := range append(benchValues(), []struct {
		name string
		v    any
	}{
		{"pointer", &order{42, "hello world", 3.5}},
		{"int", 42},
		{"int32", int32(42)},
		{"string", "hello world"},
		{"anys", []any{1, "two", 3.0, int8(4)}},
		{"json", map[string]any{"id": 42, "name": "hello world", "tags": []any{"a", "b"}}},
		{"coro", r.coro(1)},
		{"rich", richExample(r)},
	}...) {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				var err error
				if buf, err = c.AppendAny(buf[:0], bench.v, r); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(buf)), "wire-B")
		})
	}
}

func BenchmarkDecodeAny(b *testing.B) {
	c, r := newTestCodec(b), newRegistry()
	for _, bench := range append(benchValues(), []struct {
		name string
		v    any
	}{
		{"pointer", &order{42, "hello world", 3.5}},
		{"int32", int32(42)},
		{"string", "hello world"},
		{"json", map[string]any{"id": 42, "name": "hello world", "tags": []any{"a", "b"}}},
		{"coro", r.coro(1)},
		{"rich", richExample(r)},
	}...) {
		data, err := c.AppendAny(nil, bench.v, r)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.DecodeAny(data, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLibrary compares the codec with the cbor library, on types that both know. The library
// enforces no limits on what it writes and checks no texts. The benchmark "check" measures what
// that would cost.
func BenchmarkLibrary(b *testing.B) {
	c := newTestCodec(b)
	enc, err := cbor.EncOptions{}.UserBufferEncMode()
	if err != nil {
		b.Fatal(err)
	}
	dec, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	}.DecMode()
	if err != nil {
		b.Fatal(err)
	}
	for _, bench := range benchValues() {
		data, err := c.Append(nil, bench.v, nil)
		if err != nil {
			b.Fatal(err)
		}
		var buf []byte
		var buffer bytes.Buffer
		for _, way := range []struct {
			name string
			run  func() error
		}{
			{"check", func() error { return Check(data, Limits{}) }},
			{"encode/ours", func() (err error) { buf, err = c.Append(buf[:0], bench.v, nil); return err }},
			{"encode/library", func() error { buffer.Reset(); return enc.MarshalToBuffer(bench.v, &buffer) }},
			{"decode/ours", func() error { return c.Decode(data, reflect.New(reflect.TypeOf(bench.v)).Interface(), nil) }},
			{"decode/library", func() error { return dec.Unmarshal(data, reflect.New(reflect.TypeOf(bench.v)).Interface()) }},
		} {
			b.Run(bench.name+"/"+way.name, func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(data)))
				for b.Loop() {
					if err := way.run(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
