package wire

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	nested := func(head string, n int) string { return strings.Repeat(head, n) + "\x01" }
	for _, test := range []struct {
		data   string
		limits Limits
		want   error // nil: it passes
	}{
		{"\x00", Limits{}, nil},
		{"\x1b\xff\xff\xff\xff\xff\xff\xff\xff", Limits{}, nil},
		{"\xf6", Limits{}, nil},
		{"\xf8\x20", Limits{}, nil},
		{"\xfb\x00\x00\x00\x00\x00\x00\x00\x00", Limits{}, nil},
		{"\x60", Limits{}, nil},
		{"\x62\xc3\xa9", Limits{}, nil},
		{"\x78\x18" + strings.Repeat("é", 12), Limits{}, nil},
		{"\x41\xff", Limits{}, nil},
		{"\x80", Limits{}, nil},
		{"\xa1\x01\x02", Limits{}, nil},
		{"\x83\x01\x82\x02\x03\xa1\x61k\x80", Limits{}, nil},
		{"\xc1\x01", Limits{}, nil},
		{"\xc1\xc1\x01", Limits{}, nil},
		{nested("\x81", 32), Limits{}, nil},
		{nested("\xa1\x01", 32), Limits{}, nil},
		{nested("\xc1", 33), Limits{}, nil},
		{nested("\x81", 64), Limits{MaxDepth: 1000}, nil},
		{"\x84\x01\x01\x01\x01", Limits{MaxItems: 5}, nil},

		{"", Limits{}, ErrValueMalformed},
		{"\x00\x00", Limits{}, ErrValueMalformed},
		{"\x18", Limits{}, ErrValueMalformed},
		{"\x1b\x00", Limits{}, ErrValueMalformed},
		{"\x1c", Limits{}, ErrValueMalformed},
		{"\x1f", Limits{}, ErrValueMalformed},
		{"\x5f\x40\xff", Limits{}, ErrValueMalformed},
		{"\x9f\xff", Limits{}, ErrValueMalformed},
		{"\xbf\xff", Limits{}, ErrValueMalformed},
		{"\xff", Limits{}, ErrValueMalformed},
		{"\xf8\x1f", Limits{}, ErrValueMalformed},
		{"\x61", Limits{}, ErrValueMalformed},
		{"\x7b\xff\xff\xff\xff\xff\xff\xff\xff", Limits{}, ErrValueMalformed},
		{"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", Limits{}, ErrValueMalformed},
		{"\xbb\x80\x00\x00\x00\x00\x00\x00\x00", Limits{}, ErrValueMalformed},
		{"\x9a\x00\x01\x00\x00" + strings.Repeat("\x01", 65535), Limits{}, ErrValueMalformed},
		{"\x82\x82\x01\x01", Limits{}, ErrValueMalformed},
		{"\xa1\x01", Limits{}, ErrValueMalformed},
		{"\xc1", Limits{}, ErrValueMalformed},
		{"\x61\xff", Limits{}, ErrValueText},
		{"\x78\x18" + strings.Repeat("x", 23) + "\xc3", Limits{}, ErrValueText},
		{nested("\x81", 33), Limits{}, ErrValueDepth},
		{nested("\xa1\x01", 33), Limits{}, ErrValueDepth},
		{nested("\xc1", 34), Limits{}, ErrValueDepth},
		{nested("\x81", 65), Limits{MaxDepth: 1000}, ErrValueDepth},
		{nested("\x81", 3), Limits{MaxDepth: 2}, ErrValueDepth},
		{"\x84\x01\x01\x01\x01", Limits{MaxItems: 4}, ErrValueSize},
		{"\xc1\x01", Limits{MaxItems: 1}, ErrValueSize},
		{"\x41x", Limits{MaxBytes: 1}, ErrValueSize},
		{"\xc1\x01", Limits{NoTags: true}, ErrValueMalformed},
	} {
		err := Check([]byte(test.data), test.limits)
		if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%.20x %+v: %v, want %v", test.data, test.limits, err, test.want)
		}
	}
}

// TestCheckFlat checks that the cost of a check does not depend on what lengths claim.
func TestCheckFlat(t *testing.T) {
	t.Parallel()
	deep := bytes.Repeat([]byte{0x9a, 0x00, 0x00, 0xff, 0xff}, 30)
	if err := Check(append(deep, make([]byte, 70000)...), Limits{}); !errors.Is(err, ErrValueMalformed) {
		t.Errorf("%v", err)
	}
}

// library checks as Check does with the default limits, except for the validity of texts and the
// number of items.
func library(tb testing.TB) cbor.DecMode {
	tb.Helper()
	dm, err := cbor.DecOptions{
		IndefLength:      cbor.IndefLengthForbidden,
		MaxNestedLevels:  DefaultMaxDepth,
		MaxArrayElements: 1<<31 - 1,
		MaxMapPairs:      1<<31 - 1,
	}.DecMode()
	if err != nil {
		tb.Fatal(err)
	}
	return dm
}

// FuzzCheck compares Check with the check of the cbor library.
func FuzzCheck(f *testing.F) {
	c, r := newTestCodec(f), newRegistry()
	for _, v := range anyValues(r) {
		b, err := c.AppendAny(nil, v, nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("\x9f\x01\xff"))
	f.Add([]byte("\xc1\xc1\xc1\x81\xd9\xd9\xf7\x01"))
	dm := library(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		err := Check(data, Limits{})
		wellformed := dm.Wellformed(data)
		switch {
		case err == nil && wellformed != nil:
			t.Fatalf("%x passes; the library says %v", data, wellformed)
		case err != nil && wellformed == nil && !errors.Is(err, ErrValueText):
			t.Fatalf("%x: %v; the library lets it pass", data, err)
		case wellformed == nil:
			// The library checks texts only when it decodes them.
			var v any
			decoded := dm.Unmarshal(data, &v)
			if errText := decoded != nil && strings.Contains(decoded.Error(), "invalid UTF-8"); errText && err == nil || err != nil && decoded == nil {
				t.Fatalf("%x: %v; the library says %v", data, err, decoded)
			}
		}
		if err == nil {
			// Bounds are exact: with the number of items as the limit the check passes, with one
			// less it does not.
			items, _ := scanValue(data, &Limits{MaxDepth: 32, MaxItems: 1 << 30, MaxBytes: 1 << 30})
			if err := Check(data, Limits{MaxItems: items}); err != nil {
				t.Fatalf("%x: %v with %d items", data, err, items)
			}
			if err := Check(data, Limits{MaxItems: items - 1}); items > 1 && !errors.Is(err, ErrValueSize) {
				t.Fatalf("%x: %v with %d items", data, err, items-1)
			}
			d := valueDecoder{data: data}
			if d.skip(); d.off != len(data) {
				t.Fatalf("%x: skip goes to %d", data, d.off)
			}
		}
	})
}
