package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func someHead() *FileHead {
	h := &FileHead{Op: FileSend, Dir: "some/where", Name: "file", Size: 1 << 40, Mode: 0o755, Overwrite: true}
	for i := range h.Key {
		h.Key[i], h.Proof[i] = byte(i), byte(0xf0+i)
	}
	return h
}

// TestFileHeadAndAnswers checks that heads and answers arrive as they were, in whatever pieces, and
// what their bytes are.
func TestFileHeadAndAnswers(t *testing.T) {
	t.Parallel()
	b, err := AppendFileHead(nil, someHead())
	if err != nil {
		t.Fatal(err)
	}
	const golden = "00418801" + "50f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff" + "6a736f6d652f7768657265" + "6466696c65" + "1b0000010000000000" + "1901ed" + "f5" +
		"50000102030405060708090a0b0c0d0e0f" + "4f74ceb3"
	if got := hex.EncodeToString(b); got != golden {
		t.Errorf("a head is\n%s, want\n%s", got, golden)
	}
	got, err := ReadFileHead(iotest.OneByteReader(bytes.NewReader(b)))
	if diff := cmp.Diff(someHead(), got, ignoreBlank); err != nil || diff != "" {
		t.Errorf("a head came as %v, %v", diff, err)
	}
	for n := range b {
		if _, err := ReadFileHead(bytes.NewReader(b[:n])); n > 1 && !errors.Is(err, io.ErrUnexpectedEOF) || err == nil {
			t.Errorf("%d bytes of a head: %v", n, err)
		}
	}
	for _, a := range []*FileAnswer{{}, {Go: true}, {Err: &Failure{Msg: "no", Codes: []string{"discoro.exists"}}}} {
		b, err := AppendFileAnswer(nil, a)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadFileAnswer(iotest.OneByteReader(bytes.NewReader(b)))
		if diff := cmp.Diff(a, got, ignoreBlank); err != nil || diff != "" {
			t.Errorf("an answer came as %v, %v", diff, err)
		}
	}
	long := &FileAnswer{Err: &Failure{Msg: "no", Stack: strings.Repeat("x", maxFileAnswer)}}
	b, err = AppendFileAnswer(nil, long)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := ReadFileAnswer(bytes.NewReader(b)); err != nil || a.Err == nil || a.Err.Msg != "no" {
		t.Errorf("a long answer came as %+v, %v", a, err)
	}
}

// TestBadFileHeads checks that both sides refuse what is not a valid head.
func TestBadFileHeads(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*FileHead){
		"no operation":      func(h *FileHead) { h.Op = 0 },
		"another operation": func(h *FileHead) { h.Op = FileFetch + 1 },
		"a negative size":   func(h *FileHead) { h.Size = -1 },
		"a long name":       func(h *FileHead) { h.Name = strings.Repeat("x", MaxFile+1) },
		"a long folder":     func(h *FileHead) { h.Dir = strings.Repeat("x", MaxDir+1) },
		"no text":           func(h *FileHead) { h.Name = "\xff" },
	} {
		h := someHead()
		change(h)
		if _, err := AppendFileHead(nil, h); err == nil {
			t.Errorf("%s is sent", name)
		}
		array, err := envelope.enc.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		b := append(binary.BigEndian.AppendUint16(nil, uint16(len(array))), array...)
		if _, err := ReadFileHead(bytes.NewReader(NewFileSums(h.Key).Append(b, array))); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s arrives: %v", name, err)
		}
	}
}

// TestFileSums checks that a sum is that of one block at one place in one file.
func TestFileSums(t *testing.T) {
	t.Parallel()
	key, other := NewID(), NewID()
	blocks := [][]byte{bytes.Repeat([]byte{1}, FileBlock), bytes.Repeat([]byte{2}, FileBlock), {3}}
	sums := NewFileSums(key).Skip()
	var sent [][]byte
	for _, b := range blocks {
		sent = append(sent, sums.Append(nil, b))
	}
	check := NewFileSums(key).Skip()
	for i, b := range blocks {
		if !check.Check(b, sent[i]) {
			t.Errorf("block %d has another sum", i)
		}
	}
	for i, b := range blocks {
		at := func(key ID, skip int) *FileSums {
			s := NewFileSums(key).Skip()
			for range skip {
				s.count()
			}
			return s
		}
		if at(other, i).Check(b, sent[i]) || at(key, i+1).Check(b, sent[i]) {
			t.Errorf("block %d has the sum of another key or place", i)
		}
		for _, bit := range []int{0, len(b)*8/2 + 3, len(b)*8 - 1} {
			b[bit/8] ^= 1 << (bit % 8)
			if at(key, i).Check(b, sent[i]) {
				t.Errorf("block %d with bit %d changed has the same sum", i, bit)
			}
			b[bit/8] ^= 1 << (bit % 8)
		}
		if at(key, i).Check(b[1:], sent[i]) {
			t.Errorf("a part of block %d has the same sum", i)
		}
	}
}

// FuzzFile reads heads and answers of any form. Everything that is accepted has exactly one
// encoding.
func FuzzFile(f *testing.F) {
	b, err := AppendFileHead(nil, someHead())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	if b, err = AppendFileAnswer(nil, &FileAnswer{Err: &Failure{Msg: "no"}}); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{0, 1, 0xf6})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := ReadFileHead(bytes.NewReader(b)); err == nil {
			again, err := AppendFileHead(nil, h)
			if err != nil || !bytes.HasPrefix(b, again) {
				t.Errorf("a head came as %+v, %v", h, err)
			}
		}
		if a, err := ReadFileAnswer(bytes.NewReader(b)); err == nil {
			again, err := AppendFileAnswer(nil, a)
			if err != nil || !bytes.HasPrefix(b, again) {
				t.Errorf("an answer came as %+v, %v", a, err)
			}
		}
	})
}
