package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata anew")

const goldenFrames = "testdata/frames.txt"

// ignoreBlank ignores the field that makes cbor write an array.
var ignoreBlank = cmp.FilterPath(func(p cmp.Path) bool {
	f, ok := p.Last().(cmp.StructField)
	return ok && f.Name() == "_"
}, cmp.Ignore())

// allFrames returns one frame of every kind, with every field set.
func allFrames(tb testing.TB) []Frame {
	tb.Helper()
	var frames []Frame
	for k := range 256 {
		f := newFrame(Kind(k))
		if f == nil {
			continue
		}
		if f.Kind() != Kind(k) {
			tb.Errorf("kind %d makes a frame of kind %d", k, f.Kind())
		}
		fill(reflect.ValueOf(f).Elem(), k)
		frames = append(frames, f)
	}
	return frames
}

// fill sets every field to a value that depends only on n.
func fill(v reflect.Value, n int) {
	switch v.Kind() { //nolint:exhaustive // frames have no others
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), n+i)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n+1)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n+i)
		}
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(n))
	case reflect.Float64:
		v.SetFloat(float64(n) + 0.5)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(n))
	default:
		panic(fmt.Sprintf("no value for a %v", v.Type()))
	}
}

// TestGoldenFrames compares the bytes of every kind of frame with the stored ones. A change of them
// is a new version of the protocol.
func TestGoldenFrames(t *testing.T) {
	t.Parallel()
	var got strings.Builder
	for _, f := range allFrames(t) {
		b, err := AppendFrame(nil, f)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "%d %s %s\n", f.Kind(), reflect.TypeOf(f).Elem().Name(), hex.EncodeToString(b))
	}
	if *update {
		if err := os.WriteFile(goldenFrames, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenFrames)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("frames have changed (-was +is); if that is intended, raise Protocol, and write the file with -update:\n%s", diff)
	}
}

func TestFramesRoundTrip(t *testing.T) {
	t.Parallel()
	frames := allFrames(t)
	var stream []byte
	for _, f := range frames {
		var err error
		if stream, err = AppendFrame(stream, f); err != nil {
			t.Fatal(err)
		}
	}
	r := NewReader(iotest.OneByteReader(bytes.NewReader(stream)), 1<<20)
	for _, want := range frames {
		got, _, err := r.Next()
		if err != nil {
			t.Fatalf("kind %d: %v", want.Kind(), err)
		}
		if diff := cmp.Diff(want, got, ignoreBlank, cmp.Exporter(func(reflect.Type) bool { return true })); diff != "" {
			t.Errorf("kind %d (-sent +got):\n%s", want.Kind(), diff)
		}
	}
	if _, _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("behind the last frame: %v, want EOF", err)
	}
}

// TestAppendMessage checks that the fast path makes the same bytes as the slow one.
func TestAppendMessage(t *testing.T) {
	t.Parallel()
	for _, to := range []uint64{0, 1, 127, 128, math.MaxUint64} {
		slow, err := AppendFrame(nil, &Message{To: to, Body: []byte("body")})
		if err != nil {
			t.Fatal(err)
		}
		fast, err := AppendMessage(nil, to, func(b []byte) ([]byte, error) { return append(b, "body"...), nil })
		if err != nil || !bytes.Equal(slow, fast) {
			t.Errorf("to %d: %x, %v; want %x", to, fast, err, slow)
		}
	}
	before := []byte("before")
	after, err := AppendMessage(before, 1, func(b []byte) ([]byte, error) { return append(b, "half"...), io.ErrShortBuffer })
	if !errors.Is(err, io.ErrShortBuffer) || string(after) != "before" {
		t.Errorf("a failed encoding leaves %q, %v", after, err)
	}
}

func TestDecodeFrameRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		kind    Kind
		payload string // hex
	}{
		"no such kind":                       {0, "80"},
		"no such kind, high":                 {255, "80"},
		"message without a recipient":        {KindMessage, ""},
		"message, recipient cut":             {KindMessage, "ff"},
		"message, recipient beyond 64 bits":  {KindMessage, "ffffffffffffffffffff7f"},
		"nothing":                            {KindPulse, ""},
		"null":                               {KindPulse, "f6"},
		"undefined":                          {KindWait, "f7"},
		"a map":                              {KindPulse, "a0"},
		"a number":                           {KindPulse, "01"},
		"too few fields":                     {KindWait, "8101"},
		"too many fields":                    {KindWait, "83010203"},
		"cut":                                {KindWait, "8201"},
		"something behind":                   {KindWait, "82010203"},
		"text for a number":                  {KindWait, "82016161"},
		"negative where it cannot be":        {KindWait, "820120"},
		"a float for a number":               {KindWait, "8201fb3ff8000000000000"},
		"a big number":                       {KindWait, "8201c249010000000000000000"},
		"a tag":                              {KindWait, "8201c102"},
		"without an end":                     {KindWait, "9f0102ff"},
		"text without an end":                {KindBye, "817f6161ff"},
		"text that is no UTF-8":              {KindBye, "8161ff"},
		"claims 2^31 fields":                 {KindWait, "9a80000000"},
		"claims 2^63 fields":                 {KindWait, "9b8000000000000000"},
		"claims a text of 2^31 bytes":        {KindBye, "817a80000000"},
		"claims a text of 2^63 bytes":        {KindBye, "817b8000000000000000"},
		"claims 2^32 servers":                {KindServers, "8450000102030405060708090a0b0c0d0e0f9affffffff"},
		"a token of one byte":                {KindRelease, "814101"},
		"a token of 17 bytes":                {KindRelease, "8151000102030405060708090a0b0c0d0e0f10"},
		"a token that is a list":             {KindRelease, "8190000102030405060708090a0b0c0d0e0f"},
		"a token that is null":               {KindRelease, "81f6"},
		"nested beyond all bounds":           {KindBye, "81" + strings.Repeat("81", 1000) + "00"},
		"a call number that is a list":       {KindCancel, "818101"},
		"an identity that is null":           {KindUnrun, "8250000102030405060708090a0b0c0d0e0f82f600"},
		"an outcome that is a number":        {KindReply, "820101"},
		"a job without an outcome":           {KindDone, "8182" + "50000102030405060708090a0b0c0d0e0f" + "01"},
		"a handle that is a text":            {KindStarted, "84" + "8250000102030405060708090a0b0c0d0e0f01" + "6161" + "83" + "50000102030405060708090a0b0c0d0e0f" + "6001" + "00"},
		"a function call that is a function": {KindStart, "8350000102030405060708090a0b0c0d0e0f8250000102030405060708090a0b0c0d0e0f0100"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			payload, err := hex.DecodeString(tt.payload)
			if err != nil {
				t.Fatal(err)
			}
			if f, err := DecodeFrame(tt.kind, payload); !errors.Is(err, ErrMalformed) {
				t.Errorf("%+v, %v; want ErrMalformed", f, err)
			}
		})
	}
}

// endless returns zeros without end, and counts them.
type endless struct{ n int64 }

func (e *endless) Read(p []byte) (int, error) {
	clear(p)
	e.n += int64(len(p))
	return len(p), nil
}

func TestReaderRefusesClaims(t *testing.T) {
	t.Parallel()
	for _, size := range []uint32{0, maxPiece + 2, 1<<20 + 2, 1 << 31, math.MaxUint32} {
		rest := &endless{}
		head := binary.BigEndian.AppendUint32(nil, size)
		r := NewReader(io.MultiReader(bytes.NewReader(append(head, byte(KindMessage))), rest), 1<<20)
		if _, _, err := r.Next(); !errors.Is(err, ErrMalformed) {
			t.Errorf("size %d: %v, want ErrMalformed", size, err)
		}
		if rest.n > readBuffer {
			t.Errorf("size %d: %d bytes were read for it", size, rest.n)
		}
	}
}

// inParts encodes a frame in parts of that size.
func inParts(tb testing.TB, f Frame, number uint64, size int) [][]byte {
	tb.Helper()
	whole, err := AppendFrame(nil, f)
	if err != nil {
		tb.Fatal(err)
	}
	var parts [][]byte
	for chunk := range slices.Chunk(whole, size) {
		parts = append(parts, append(AppendPart(nil, number, len(chunk)), chunk...))
	}
	return parts
}

// TestPartsRefused checks what a peer can do wrong with parts. Each costs it the link, and this
// side only bounded memory.
func TestPartsRefused(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	claim := func(size uint32, kind Kind) []byte {
		return append(binary.BigEndian.AppendUint32(nil, size), byte(kind), 7)
	}
	part := func(number uint64, b []byte) []byte { return append(AppendPart(nil, number, len(b)), b...) }
	small := inParts(t, &Message{To: 1, Body: make([]byte, 100)}, 1, 60)
	for name, tt := range map[string]struct {
		stream []byte
		want   string
	}{
		"no number":       {[]byte{0, 0, 0, 1, byte(KindPart)}, "without a number"},
		"no bytes":        {part(1, nil), "without a number or bytes"},
		"short first":     {part(1, []byte{0, 0, 0, 9}), "first part of 4 bytes"},
		"too large":       {part(1, claim(limit+2, KindMessage)), "MaxMessage"},
		"2 GiB":           {part(1, claim(math.MaxUint32, KindMessage)), "MaxMessage"},
		"no kind":         {part(1, claim(0, KindMessage)), "claims -1 bytes"},
		"parts in parts":  {part(1, claim(100, KindPart)), "claims"},
		"too many bytes":  {slices.Concat(small[0], small[0]), "more"},
		"too many frames": {slices.Concat(part(1, claim(100, 3)), part(2, claim(100, 3)), part(3, claim(100, 3)), part(4, claim(100, 3)), part(5, claim(100, 3))), "at the same time"},
		"no such kind":    {part(1, []byte{0, 0, 0, 2, 200, 7}), "kind 200"},
		"in one piece":    {append(claim(maxPiece+2, KindPart), make([]byte, maxPiece+2)...), "in one piece"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := NewReader(bytes.NewReader(tt.stream), limit).Next()
			if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want ErrMalformed with %q", err, tt.want)
			}
		})
	}
}

// TestReaderGrowsWithBytes checks that a claim alone costs little memory. It is not parallel,
// because it counts the allocations of the whole process.
func TestReaderGrowsWithBytes(t *testing.T) {
	const claim = 1 << 30
	first := append(binary.BigEndian.AppendUint32(nil, claim), byte(KindMessage))
	sent := append(AppendPart(nil, 1, len(first)), first...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := NewReader(bytes.NewReader(sent), claim).Next()
	runtime.ReadMemStats(&after)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a frame that is cut: %v, want unexpected EOF", err)
	}
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > maxGuess+1<<20 {
		t.Errorf("a claim of 1 GiB with nothing behind it took %d bytes", allocated)
	}
}

// TestPartsInterleave sends frames in parts, alternately, with whole frames between them.
func TestPartsInterleave(t *testing.T) {
	t.Parallel()
	var turns [MaxParted][][]byte
	sizes := [MaxParted]int{1, PartSize, 3*PartSize + 1, maxGuess + 5}
	for i := range turns {
		turns[i] = inParts(t, &Message{To: uint64(i), Body: bytes.Repeat([]byte{byte(i)}, sizes[i])}, uint64(i+1), PartSize)
	}
	whole, err := AppendFrame(nil, &Message{To: 99})
	if err != nil {
		t.Fatal(err)
	}
	var stream []byte
	wholes := 0
	for more := true; more; {
		more = false
		for i := range turns {
			if len(turns[i]) > 0 {
				stream = append(append(stream, turns[i][0]...), whole...)
				turns[i] = turns[i][1:]
				wholes++
				more = true
			}
		}
	}
	r := NewReader(iotest.HalfReader(bytes.NewReader(stream)), 1<<30)
	for range wholes + MaxParted {
		f, _, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		m := f.(*Message)
		switch {
		case m.To == 99:
			wholes--
		case !bytes.Equal(m.Body, bytes.Repeat([]byte{byte(m.To)}, sizes[m.To])):
			t.Errorf("frame %d came wrong, with %d bytes", m.To, len(m.Body))
		}
	}
	if _, _, err := r.Next(); !errors.Is(err, io.EOF) || wholes != 0 {
		t.Errorf("at the end %d whole frames are missing, and the error is %v", wholes, err)
	}
}

// TestReaderKeepsErrors checks that the reader returns the error that ended the connection.
func TestReaderKeepsErrors(t *testing.T) {
	t.Parallel()
	whole := slices.Concat(inParts(t, &Message{To: 1, Body: make([]byte, 3*readBuffer)}, 1, PartSize)...)
	for _, n := range []int{0, 1, frameHead, frameHead + 1, PartSize, 2*PartSize + 1, len(whole) - 1} {
		for _, cause := range []error{io.ErrClosedPipe, io.EOF} {
			r := NewReader(io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(cause)), 1<<20)
			want := cause
			if n > 0 && errors.Is(cause, io.EOF) {
				want = io.ErrUnexpectedEOF
			}
			if _, _, err := r.Next(); !errors.Is(err, want) {
				t.Errorf("after %d bytes: %v, want %v", n, err, want)
			}
		}
	}
}

func FuzzDecodeFrame(f *testing.F) {
	for _, frame := range allFrames(f) {
		b, err := AppendFrame(nil, frame)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[4], b[frameHead:])
		f.Add(b[4], []byte{0xf6})
	}
	f.Fuzz(func(t *testing.T, kind byte, payload []byte) {
		frame, err := DecodeFrame(Kind(kind), payload)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v is not ErrMalformed", err)
			}
			return
		}
		again, err := AppendFrame(nil, frame)
		if err != nil {
			t.Fatalf("what was decoded does not encode: %v", err)
		}
		twice, err := DecodeFrame(Kind(again[4]), again[frameHead:])
		if err != nil {
			t.Fatalf("what was encoded does not decode: %v", err)
		}
		if third, err := AppendFrame(nil, twice); err != nil || !bytes.Equal(again, third) {
			t.Fatalf("%x became %x, %v", again, third, err)
		}
	})
}

func FuzzReader(f *testing.F) {
	var stream []byte
	for _, frame := range allFrames(f) {
		var err error
		if stream, err = AppendFrame(stream, frame); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(stream)
	f.Add([]byte{0, 0, 0, 0, 1})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 3})
	f.Add([]byte{0, 1, 0, 3, 3, 0})
	parts := inParts(f, &Message{To: 1, Body: make([]byte, 100)}, 1, 30)
	f.Add(slices.Concat(append(parts, stream)...))
	f.Add(slices.Concat(append(parts[:2], inParts(f, &Deliver{Call: 1, To: 1, Body: make([]byte, 100)}, 2, 30)...)...))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := NewReader(bytes.NewReader(stream), 1<<20)
		total := 0
		for {
			_, size, err := r.Next()
			if err != nil {
				break
			}
			total += size
		}
		if total > len(stream) {
			t.Fatalf("%d bytes came out of %d", total, len(stream))
		}
	})
}
