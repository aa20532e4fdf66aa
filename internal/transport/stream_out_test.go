package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/discoro/discoro/internal/testkit"
)

// ownStream returns a stream that this side has opened on c, as yamux opens one.
func ownStream(t *testing.T, c *watchedConn, id uint32) *outStream {
	t.Helper()
	if _, err := c.Write(yamuxFrame(yamuxTypeWindow, yamuxFlagOpen, id, 0)); err != nil {
		t.Fatal(err)
	}
	back, _ := net.Pipe()
	return c.own.stream(id, back)
}

// TestOwnStreamWindow sends more than the peer takes. Write waits for a window update of its own
// stream; a deadline ends the wait, and so does the end of the connection.
func TestOwnStreamWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		below := &recordConn{}
		c := newWatchedConn(below, 1)
		s := ownStream(t, c, 3)
		peer := func(id, n uint32) {
			t.Helper()
			if _, err := c.scan.sift(yamuxFrame(yamuxTypeWindow, 0, id, n)); err != nil {
				t.Fatal(err)
			}
		}
		sent := func() int {
			synctest.Wait()
			sum := 0
			for _, w := range below.writes[1:] {
				if !isDataHeader(w[:yamuxHeader]) || binary.BigEndian.Uint32(w[4:]) != 3 || int(binary.BigEndian.Uint32(w[8:])) != len(w)-yamuxHeader {
					t.Errorf("a frame of %d bytes begins with %x", len(w), w[:yamuxHeader])
				}
				sum += len(w) - yamuxHeader
			}
			return sum
		}
		write := func(n int) <-chan error {
			done := make(chan error, 1)
			go func() {
				_, err := s.Write(make([]byte, n))
				done <- err
			}()
			return done
		}
		done := write(firstWindow + 100)
		if n := sent(); n != firstWindow {
			t.Errorf("at first %d bytes are sent", n)
		}
		peer(5, 50)
		if n := sent(); n != firstWindow {
			t.Errorf("with a window of another stream %d bytes are sent", n)
		}
		peer(3, 99)
		if n := sent(); n != firstWindow+99 {
			t.Errorf("with 99 more %d bytes are sent", n)
		}
		peer(3, 1)
		if err := <-done; err != nil || sent() != firstWindow+100 {
			t.Errorf("%d bytes are sent, %v", sent(), err)
		}

		done = write(1)
		synctest.Wait()
		_ = s.SetDeadline(longAgo)
		if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("with a deadline: %v", err)
		}
		_ = s.SetDeadline(time.Time{})
		for range 5 { // far beyond what it can count
			peer(3, math.MaxUint32)
		}
		if err := <-write(1); err != nil {
			t.Errorf("without a deadline: %v", err)
		}

		s.window = 0
		done = write(1)
		synctest.Wait()
		c.endStreams()
		if err := <-done; !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("at the end of the connection: %v", err)
		}
		s = ownStream(t, c, 5)
		if err := <-write(1); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("behind the end of the connection: %v", err)
		}
		_ = s.Close()
		if len(c.own.open) != 1 {
			t.Errorf("%d streams are open, want 1", len(c.own.open))
		}
	})
}

// TestOwnStreamReset lets the peer reset a stream on which a Write waits. That Write returns, and
// no other.
func TestOwnStreamReset(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newWatchedConn(&recordConn{}, 1)
		s, other := ownStream(t, c, 3), ownStream(t, c, 5)
		write := func(s *outStream) <-chan error {
			done := make(chan error, 1)
			go func() {
				_, err := s.Write(make([]byte, firstWindow+1))
				done <- err
			}()
			synctest.Wait()
			return done
		}
		done, goesOn := write(s), write(other)
		for _, id := range []uint32{3, 7} {
			if _, err := c.scan.sift(yamuxFrame(yamuxTypeWindow, yamuxFlagReset, id, 0)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		select {
		case err := <-done:
			if !errors.Is(err, errReset) {
				t.Errorf("the one that was reset: %v", err)
			}
		default:
			t.Error("the one that was reset waits on")
		}
		select {
		case err := <-goesOn:
			t.Errorf("the other: %v", err)
		default:
		}
		c.endStreams()
		if err := <-goesOn; !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the other at the end of the connection: %v", err)
		}
		if _, err := s.Write([]byte{1}); !errors.Is(err, errReset) {
			t.Errorf("behind the end of the connection: %v", err)
		}
	})
}

// TestOwnStreamsToYamux sends over several streams at once, and frames in between, to a side that
// has plain yamux. Everything comes, in order.
func TestOwnStreamsToYamux(t *testing.T) {
	t.Parallel()
	near, far := testkit.TCPPair(t)
	cfg := yamuxConfig()
	mux, err := yamux.Server(far, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer mux.Close()
	a, err := New(context.Background(), near, true)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	frames, err := mux.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		sendAndCompare(t, writerFunc(func(p []byte) (int, error) { return len(p), a.Write(p) }), frames, 0)
	})
	for i := range uint64(5) {
		out, err := a.Open()
		if err != nil {
			t.Fatal(err)
		}
		in, err := mux.Accept()
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			defer in.Close()
			sendAndCompare(t, out, in, i+1)
			_ = out.Close()
			if n, err := in.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
				t.Errorf("behind the end came %d bytes, %v", n, err)
			}
		})
	}
	all.Wait()
	if n := len(a.watched.own.open); n > 0 {
		t.Errorf("%d streams are left", n)
	}
}

// resetSession opens streams as yamux does when the peer resets them before they are opened:
// nothing about them goes over the connection.
type resetSession struct {
	Session

	own *ownStreams
}

func (s resetSession) Open() (net.Conn, error) {
	c, err := s.Session.Open()
	if err == nil {
		s.own.closed(c.(*yamux.Stream).StreamID())
	}
	return c, err
}

// TestOwnStreamResetEarly lets the peer reset the stream that will be opened next: opening it is an
// error.
func TestOwnStreamResetEarly(t *testing.T) {
	t.Parallel()
	a, _ := transports(t)
	a.session = resetSession{a.session, &a.watched.own}
	if s, err := a.Open(); s != nil || !errors.Is(err, errResetEarly) {
		t.Errorf("got %v, %v", s, err)
	}
}

// TestOpenedOurs lets the peer open a stream under the number that this side uses next. yamux would
// replace one with the other, and whoever reads the first would wait forever.
func TestOpenedOurs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		id   uint32
		want error
	}{{2, nil}, {3, errOpenedOurs}} {
		near, far := testkit.TCPPair(t)
		a, err := New(t.Context(), near, true)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := far.Write(yamuxFrame(yamuxTypeWindow, yamuxFlagOpen, tt.id, 0)); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Accept(); !errors.Is(err, tt.want) {
			t.Errorf("stream %d: %v, want %v", tt.id, err, tt.want)
		}
		a.Close()
	}
}

// TestWriteBypassFails lets the connection fail in the middle of a frame that bypasses yamux.
// Nothing else is written, and the peer reads the end.
func TestWriteBypassFails(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer far.Close()
	below := &recordConn{Conn: near, limited: true, room: yamuxHeader + 20, err: io.ErrClosedPipe}
	c := newWatchedConn(below, 1)
	s := ownStream(t, c, 3)
	if _, err := s.Write(make([]byte, 100)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write: %v", err)
	}
	_ = far.SetReadDeadline(longAgo)
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("the connection goes on: %v", err)
	}
	s.window = 0
	if _, err := s.Write(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("behind it: %v", err)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// sendAndCompare writes pieces of random sizes, and reads them at the other side.
func sendAndCompare(t *testing.T, to io.Writer, from net.Conn, seed uint64) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	content := make([]byte, 3<<20)
	for i := range content {
		content[i] = byte(random.Uint32())
	}
	var sent sync.WaitGroup
	defer sent.Wait()
	sent.Go(func() {
		for left := content; len(left) > 0; {
			n := min(len(left), 1+random.IntN(600_000))
			if _, err := to.Write(left[:n]); err != nil {
				t.Error(err)
				return
			}
			left = left[n:]
		}
	})
	got := make([]byte, len(content))
	if n, err := io.ReadFull(from, got); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes came, or others, %v", n, err)
		_ = from.Close()
	}
}
