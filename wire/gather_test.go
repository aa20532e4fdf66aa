package wire

import (
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
)

// writeLog keeps what is written, one string for each Write.
type writeLog struct {
	net.Conn

	writes []string
	err    error
}

func (c *writeLog) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	c.writes = append(c.writes, string(p))
	return len(p), nil
}

func TestGatherConn(t *testing.T) {
	t.Parallel()
	below := &writeLog{}
	c := &GatherConn{Conn: below}
	write := func(texts ...string) {
		t.Helper()
		for _, text := range texts {
			if n, err := c.Write([]byte(text)); n != len(text) || err != nil {
				t.Errorf("write %q: %d, %v", text, n, err)
			}
		}
	}
	for range 2 {
		write("a", "b")
		c.Hold()
		write("c", "d", "e")
		if err := c.Flush(); err != nil {
			t.Error(err)
		}
	}
	if want := []string{"a", "b", "cde", "a", "b", "cde"}; !slices.Equal(below.writes, want) {
		t.Errorf("written %q, want %q", below.writes, want)
	}
	if c.NetConn() != below {
		t.Error("NetConn is not the connection below")
	}
	below.writes = nil
	long := strings.Repeat("x", gatherMost-1)
	c.Hold()
	write(long, "y", long, "z")
	if err := c.Flush(); err != nil {
		t.Error(err)
	}
	if want := []string{long + "y", long + "z"}; !slices.Equal(below.writes, want) {
		t.Errorf("of much there were %d writes, want %d", len(below.writes), len(want))
	}
	c.Hold()
	below.err, c.buf = io.ErrClosedPipe, []byte(long)
	if _, err := c.Write([]byte("y")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a write of much: %v", err)
	}
	below.err = nil
	write("f")
	below.err = io.ErrClosedPipe
	if err := c.Flush(); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("flush: %v", err)
	}
	if _, err := c.Write([]byte("g")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write: %v", err)
	}
}
