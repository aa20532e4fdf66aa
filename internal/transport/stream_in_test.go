package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// scriptConn returns bytes in pieces of given sizes, and records what is written.
type scriptConn struct {
	net.Conn
	bytes   []byte
	sizes   func() int
	written []byte
}

func (c *scriptConn) Read(p []byte) (int, error) {
	if len(c.bytes) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.sizes())], c.bytes)
	c.bytes = c.bytes[n:]
	return n, nil
}

func (c *scriptConn) Write(p []byte) (int, error) {
	c.written = append(c.written, p...)
	return len(p), nil
}

func (c *scriptConn) Close() error { return nil }

// TestBypass lets frames of several streams come in pieces of any size. yamux receives the stream
// of frames unchanged, and of the peer's streams the headers. Their bodies come in order, with and
// without posted memory.
func TestBypass(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		conn := &scriptConn{sizes: func() int { return 1 + random.IntN(1+random.IntN(5000)) }}
		ids := []uint32{1, 3, 5}
		bodies, forYamux := map[uint32][]byte{}, []byte(nil)
		add := func(frame, body []byte) {
			conn.bytes = append(append(conn.bytes, frame...), body...)
			if id := binary.BigEndian.Uint32(frame[4:]); id != 1 {
				bodies[id] = append(bodies[id], body...)
				if frame[1] == yamuxTypeData {
					clear(frame[8:])
				}
				body = nil
			}
			forYamux = append(append(forYamux, frame...), body...)
		}
		for _, id := range ids {
			add(yamuxFrame(yamuxTypeWindow, yamuxFlagOpen, id, 0), nil)
		}
		for range rapid.IntRange(0, 30).Draw(t, "frames") {
			id, body := ids[random.IntN(len(ids))], make([]byte, random.IntN(1+random.IntN(20_000)))
			for i := range body {
				body[i] = byte(random.Uint32())
			}
			add(yamuxFrame(yamuxTypeData, 0, id, uint32(len(body))), body)
		}
		add(yamuxFrame(yamuxTypeData, 4, 3, 2), []byte{8, 9}) // the last on its stream, and a body with it
		add(yamuxFrame(yamuxTypeWindow, 4, 5, 0), nil)

		c := newWatchedConn(conn, len(ids))
		c.scan.framesNext = true
		var got []byte
		read := func() error {
			p := make([]byte, 4096)
			n, err := c.Read(p)
			got = append(got, p[:n]...)
			return err
		}
		for len(got) < len(ids)*yamuxHeader {
			if err := read(); err != nil {
				t.Fatal(err)
			}
		}
		type posting struct {
			in     PeerStream
			id     uint32
			posted [][]byte
		}
		var all []posting
		for _, id := range ids[1:] {
			p := posting{in: yamuxPeerStream{inStream: c.streams.accept(id)}, id: id}
			for left := len(bodies[id]); left > 0 && random.IntN(4) > 0; { // the rest is read
				p.posted = append(p.posted, make([]byte, 1+random.IntN(left)))
				left -= len(p.posted[len(p.posted)-1])
				p.in.Post(p.posted[len(p.posted)-1])
			}
			all = append(all, p)
		}
		var err error
		for err == nil {
			err = read()
		}
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if !bytes.Equal(got, forYamux) {
			t.Fatalf("yamux got %d bytes, want %d", len(got), len(forYamux))
		}
		for _, p := range all {
			var body []byte
			for _, b := range p.posted {
				if n, err := p.in.Came(context.Background()); n != len(b) || err != nil {
					t.Fatalf("of %d bytes came %d, %v", len(b), n, err)
				}
				body = append(body, b...)
			}
			rest, err := io.ReadAll(p.in)
			if body = append(body, rest...); err != nil || !bytes.Equal(body, bodies[p.id]) {
				t.Fatalf("on stream %d came %d bytes, want %d: %v", p.id, len(body), len(bodies[p.id]), err)
			}
		}
	})
}

// TestPeerStreamEnds shows what ends a stream of the peer: exactly what yamux takes for an end, or
// yamux would keep a stream that has ended here.
func TestPeerStreamEnds(t *testing.T) {
	t.Parallel()
	const closes, resets, goAway = 4, 8, 3
	for name, tt := range map[string]struct {
		frame []byte
		bytes int
		over  bool
	}{
		"a close":                  {yamuxFrame(yamuxTypeWindow, closes, 3, 0), 0, true},
		"a reset":                  {yamuxFrame(yamuxTypeWindow, resets, 3, 0), 0, true},
		"no data, and a close":     {yamuxFrame(yamuxTypeData, closes, 3, 0), 0, true},
		"data, and a close":        {append(yamuxFrame(yamuxTypeData, closes, 3, 10), make([]byte, 10)...), 10, true},
		"some data before a close": {append(yamuxFrame(yamuxTypeData, closes, 3, 100), make([]byte, 10)...), 10, false},
		"some data before a reset": {append(yamuxFrame(yamuxTypeData, resets, 3, 100), make([]byte, 10)...), 10, false},
		"what looks like a close":  {yamuxFrame(goAway, closes, 3, 0), 0, false},
		"another's close":          {yamuxFrame(yamuxTypeWindow, closes, 5, 0), 0, false},
	} {
		c := newWatchedConn(&scriptConn{}, 1)
		if _, err := c.scan.sift(append(yamuxFrame(yamuxTypeWindow, yamuxFlagOpen, 3, 0), tt.frame...)); err != nil {
			t.Fatal(err)
		}
		in := c.streams.accept(3)
		n, _, over := in.readEarly(make([]byte, 1000))
		if n > 0 {
			_, _, over = in.readEarly(make([]byte, 1000))
		}
		if n != tt.bytes || over != tt.over {
			t.Errorf("%s: %d bytes came, and it is over: %v", name, n, over)
		}
		_ = c.Close()
		if _, _, over := in.readEarly(make([]byte, 1000)); !over {
			t.Errorf("%s: the connection has ended, and it has not", name)
		}
	}
}

// TestBreachStays shows that nothing is read behind a breach of the protocol. yamux would read on
// where what it drops is cut off.
func TestBreachStays(t *testing.T) {
	t.Parallel()
	conn := &scriptConn{sizes: func() int { return yamuxHeader }}
	conn.bytes = append(yamuxFrame(yamuxTypePing, 1, 0, 1), yamuxFrame(yamuxTypeWindow, yamuxFlagOpen, 3, 0)...)
	c := newWatchedConn(conn, 1)
	for range 2 {
		if n, err := c.Read(make([]byte, 4096)); n != 0 || !errors.Is(err, errPinged) {
			t.Errorf("%d bytes came, %v", n, err)
		}
	}
}

// TestPeerStreamWindow shows how much the peer is granted, and that sending more is an error.
func TestPeerStreamWindow(t *testing.T) {
	t.Parallel()
	conn := &scriptConn{sizes: func() int { return 1 << 20 }}
	granted := func() int {
		sum := 0
		for update := range slices.Chunk(conn.written, yamuxHeader) {
			if update[1] != yamuxTypeWindow || binary.BigEndian.Uint32(update[4:]) != 7 {
				t.Errorf("%x was written", update)
			}
			sum += int(binary.BigEndian.Uint32(update[8:]))
		}
		conn.written = nil
		return sum
	}
	s := newInStream(newWatchedConn(conn, 1), 7)
	send := func(n int) {
		t.Helper()
		if err := s.expect(uint32(n)); err != nil {
			t.Fatal(err)
		}
		s.take(make([]byte, n))
	}
	send(leastGrant - 1)
	if n, err := io.ReadFull(s, make([]byte, leastGrant-1)); n != leastGrant-1 || err != nil || granted() != 0 {
		t.Errorf("a little was read: %d, %v", n, err)
	}
	s.Post(make([]byte, streamWindow))
	if n := granted(); n != leastGrant-1 {
		t.Errorf("for room as large as the window %d bytes were granted", n)
	}
	if err := s.expect(streamWindow); err != nil { // a body is under way, for which there is room
		t.Fatal(err)
	}
	s.take(make([]byte, 10))
	s.Post(make([]byte, 1000))
	if n := granted(); n != 1000 {
		t.Errorf("for more room %d bytes were granted", n)
	}
	s.take(make([]byte, streamWindow-10))
	if n, err := s.Came(t.Context()); n != streamWindow || err != nil {
		t.Errorf("came %d, %v", n, err)
	}
	send(999)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	cancel(cause)
	if n, err := s.Came(ctx); n != 999 || !errors.Is(err, cause) || granted() != 0 {
		t.Errorf("came %d, %v", n, err)
	}
	s.Drop()
	if n := granted(); n != streamWindow-1 { // of the room that was dropped a byte was still to come
		t.Errorf("when what was posted is dropped %d bytes are granted", n)
	}
	send(streamWindow)
	if err := s.expect(1); err == nil || !strings.Contains(err.Error(), "may send 0") {
		t.Errorf("more than the window: %v", err)
	}
	s.end()
	if n, err := io.Copy(io.Discard, s); n != streamWindow || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	s.Post(make([]byte, 10))
	if n, err := s.Came(t.Context()); n != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("beyond the end came %d, %v", n, err)
	}
}
