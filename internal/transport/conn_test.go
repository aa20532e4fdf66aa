package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/testkit"
)

// yamuxFrame is a header of yamux, made by hand.
func yamuxFrame(kind byte, flags uint16, stream, length uint32) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0, kind}, flags)
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, stream), length)
}

// transports returns both ends of a connection; a has dialled.
func transports(t *testing.T) (a, b *Conn) {
	t.Helper()
	near, far := testkit.TCPPair(t)
	opened := make(chan *Conn, 1)
	go func() {
		b, err := New(t.Context(), far, false)
		if err != nil {
			t.Error(err)
		}
		opened <- b
	}()
	a, err := New(t.Context(), near, true)
	if err != nil {
		t.Fatal(err)
	}
	b = testkit.Next(t, opened)
	t.Cleanup(a.Close)
	t.Cleanup(b.Close)
	return a, b
}

// TestStreams opens streams beside the stream of frames: each side ends its own half, and a stream
// that both sides have ended makes room for another.
func TestStreams(t *testing.T) {
	t.Parallel()
	a, b := transports(t)
	for _, from := range []*Conn{a, b} {
		to := b
		if from == b {
			to = a
		}
		for i := range 2*MaxStreams + 1 { // each after the one before it
			s, err := from.Open()
			if err != nil {
				t.Fatal(err)
			}
			r, err := to.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Write([]byte("there")); err != nil {
				t.Fatal(err)
			}
			s.Close()
			got, err := io.ReadAll(r)
			if string(got) != "there" || err != nil {
				t.Fatalf("stream %d brought %q, %v", i, got, err)
			}
			if _, err := r.Write([]byte("and back")); err != nil {
				t.Fatal(err)
			}
			to.Release()
			r.Close()
			got, err = io.ReadAll(s)
			if string(got) != "and back" || err != nil {
				t.Fatalf("stream %d brought back %q, %v", i, got, err)
			}
		}
	}
	s, err := a.Open()
	if err != nil {
		t.Fatal(err)
	}
	_ = s.SetReadDeadline(time.Now())
	if _, err := s.Read(make([]byte, 1)); err == nil {
		t.Error("a read beyond its deadline")
	}
	b.Close()
	_ = s.SetReadDeadline(time.Time{})
	if _, err := s.Read(make([]byte, 1)); err == nil {
		t.Error("a read beyond the connection's end")
	}
	if _, err := a.Accept(); err == nil {
		t.Error("a stream came beyond the connection's end")
	}
}

// TestWatchedConnJoins shows the writes to the connection below for everything that yamux writes.
func TestWatchedConnJoins(t *testing.T) {
	t.Parallel()
	head := func(kind byte, length uint32) []byte { return yamuxFrame(kind, 0, 1, length) }
	body := func(n int) []byte { return bytes.Repeat([]byte{7}, n) }
	likeHead := head(yamuxTypeData, 5) // a body that looks like a header
	tests := []struct {
		name   string
		writes [][]byte
		want   []int // sizes of the writes below
	}{
		{"header and body", [][]byte{head(yamuxTypeData, 10), body(10)}, []int{22}},
		{"twice", [][]byte{head(yamuxTypeData, 1), body(1), head(yamuxTypeData, 2), body(2)}, []int{13, 14}},
		{"a window update", [][]byte{head(1, 1000)}, []int{12}},
		{"a ping", [][]byte{head(yamuxTypePing, 1)}, []int{12}},
		{"going away", [][]byte{head(3, 0)}, []int{12}},
		{"no data", [][]byte{head(yamuxTypeData, 0), head(1, 5)}, []int{12, 12}},
		{"a body like a header", [][]byte{head(yamuxTypeData, 12), likeHead, head(1, 1)}, []int{24, 12}},
		{"the largest", [][]byte{head(yamuxTypeData, maxWrite), body(maxWrite)}, []int{12 + maxWrite}},
	}
	for _, tt := range tests {
		below := &recordConn{}
		c := newWatchedConn(below, 0)
		for i, p := range tt.writes {
			if n, err := c.Write(p); n != len(p) || err != nil {
				t.Errorf("%s: write %d: %d, %v", tt.name, i, n, err)
			}
		}
		var sizes []int
		for _, w := range below.writes {
			sizes = append(sizes, len(w))
		}
		if fmt.Sprint(sizes) != fmt.Sprint(tt.want) || !bytes.Equal(bytes.Join(below.writes, nil), bytes.Join(tt.writes, nil)) {
			t.Errorf("%s: written as %v, want %v", tt.name, sizes, tt.want)
		}
	}
}

// TestWatchedConnOverTCP writes bodies of all sizes to a socket, and reads them there.
func TestWatchedConnOverTCP(t *testing.T) {
	t.Parallel()
	a, b := testkit.TCPPair(t)
	c := newWatchedConn(a, 0)
	for _, size := range []int{1, copyJoined, copyJoined + 1, maxWrite} {
		head, body := yamuxFrame(yamuxTypeData, 0, 1, uint32(size)), bytes.Repeat([]byte{byte(size)}, size)
		var written sync.WaitGroup
		written.Go(func() {
			for _, p := range [][]byte{head, body} {
				if n, err := c.Write(p); n != len(p) || err != nil {
					t.Errorf("write of %d bytes: %d, %v", len(p), n, err)
				}
			}
		})
		got := make([]byte, len(head)+size)
		if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, slices.Concat(head, body)) {
			t.Fatalf("a body of %d bytes came wrong: %v", size, err)
		}
		written.Wait()
	}
	b.Close()
	var err error
	for err == nil { // the kernel takes some before it knows
		if _, err = c.Write(yamuxFrame(yamuxTypeData, 0, 1, maxWrite)); err == nil {
			_, err = c.Write(make([]byte, maxWrite))
		}
	}
}

// TestWatchedConnErrors shows that Write returns the first error or short write of the connection
// below, and how much of the body was written.
func TestWatchedConnErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		body, room, want int
		err              error
	}{
		{10, 0, 0, io.ErrClosedPipe},
		{10, 5, 0, io.ErrClosedPipe},
		{10, 12, 0, io.ErrClosedPipe},
		{10, 15, 3, io.ErrClosedPipe},
		{10, 15, 3, nil}, // short
		{maxWrite, 5, 0, io.ErrClosedPipe},
		{maxWrite, 20, 8, io.ErrClosedPipe},
	} {
		c := newWatchedConn(&recordConn{limited: true, room: tt.room, err: tt.err}, 0)
		if _, err := c.Write(yamuxFrame(yamuxTypeData, 0, 1, uint32(tt.body))); err != nil {
			t.Fatal(err)
		}
		n, err := c.Write(make([]byte, tt.body))
		if n != tt.want || err == nil || tt.err != nil && !errors.Is(err, tt.err) || tt.err == nil && !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("%+v: %d, %v", tt, n, err)
		}
	}
}

// recordConn records what is written.
type recordConn struct {
	net.Conn
	writes  [][]byte
	limited bool
	room    int
	err     error
}

func (c *recordConn) Write(p []byte) (int, error) {
	if c.limited && len(p) > c.room {
		n := c.room
		c.room = 0
		return n, c.err
	}
	c.room -= len(p)
	c.writes = append(c.writes, bytes.Clone(p))
	return len(p), nil
}
