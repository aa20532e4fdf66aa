package discoro

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/internal/transport"
	"github.com/discoro/discoro/wire"
)

// openFile opens a stream and sends b on it.
func (h *hostile) openFile(b []byte) net.Conn {
	h.t.Helper()
	s, err := h.session.OpenStream()
	if err != nil {
		h.t.Fatal(err)
	}
	_, _ = s.Write(b) // the runtime may have ended the link
	return s
}

func encodedHead(t *testing.T, head *wire.FileHead) []byte {
	t.Helper()
	b, err := wire.AppendFileHead(nil, head)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fileAnswer asks for an operation, and closes the stream as peers of ours do.
func (h *hostile) fileAnswer(head *wire.FileHead) *wire.FileAnswer {
	h.t.Helper()
	s := h.openFile(encodedHead(h.t, head))
	a, err := wire.ReadFileAnswer(s)
	if err != nil {
		h.t.Fatal(err)
	}
	s.Close()
	_, _ = io.Copy(io.Discard, s)
	return a
}

// hostileFiles has a proven peer send on a stream what is no head of a file: the link ends. It is part of
// TestPromise11BadInput.
func hostileFiles(t *testing.T) {
	t.Parallel()
	good := &wire.FileHead{Op: wire.FileSend, Name: "file", Size: 1 << 40, Key: wire.NewID()}
	head := encodedHead(t, good)
	flipped := bytes.Clone(head)
	flipped[len(flipped)-wire.FileSum-20] ^= 1 // in the key, or the name: the sum shows it
	for name, b := range map[string][]byte{
		"a head of nothing":    {0, 0},
		"a head without limit": {255, 255},
		"a head of null":       {0, 1, 0xf6},
		"garbage":              append([]byte{1, 0}, bytes.Repeat([]byte{7}, 300)...),
		"a changed head":       flipped,
	} {
		rt := testRuntime(t, Config{})
		h := newHostile(t, rt, false)
		l := h.link(rt)
		h.openFile(append(b, make([]byte, 300)...))
		if err := waitEnded(t, l); !strings.Contains(err.Error(), wire.ErrMalformed.Error()) {
			t.Errorf("%s: the link ended with %v", name, err)
		}
		wantFiles(t, rt.DestPath())
	}
}

// hostileStreams has a peer keep its streams, with files that never end: it blocks nobody but itself.
func hostileStreams(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{})
	h := newHostile(t, rt, false)
	l := h.link(rt)
	huge := encodedHead(t, &wire.FileHead{
		Op: wire.FileSend, Name: "huge", Size: 1<<63 - 1, Mode: 1<<32 - 1, Key: wire.NewID(),
	})
	s := h.openFile(huge) // nothing is allocated, neither memory nor disk
	if a, err := wire.ReadFileAnswer(s); err != nil || !a.Go {
		t.Fatalf("%+v, %v", a, err)
	}
	var open []net.Conn
	for range transport.MaxStreams - 1 {
		open = append(open, h.openFile(head2(t))) // half a head
	}
	stillServes(t, rt)
	if len(filesBelow(t, rt.DestPath())) != 1 {
		t.Errorf("there are %q", filesBelow(t, rt.DestPath()))
	}
	// A damaged block ends its transfer and no other.
	if _, err := s.Write(make([]byte, wire.FileBlock+wire.FileSum)); err != nil {
		t.Fatal(err)
	}
	if a, err := wire.ReadFileAnswer(s); err != nil || a.Err == nil || !strings.Contains(a.Err.Msg, "damaged") {
		t.Errorf("a damaged block: %+v, %v", a, err)
	}
	wantFiles(t, rt.DestPath())
	// The stream counts until the peer has closed it as well.
	s.Close()
	if _, err := io.Copy(io.Discard, s); err != nil {
		t.Error(err)
	}
	open = append(open, h.openFile(nil))
	if err := l.Cause(); err != nil {
		t.Fatal(err)
	}
	_, _ = h.session.OpenStream()
	if err := waitEnded(t, l); !strings.Contains(err.Error(), "files on their way at once") {
		t.Errorf("one stream too many: %v", err)
	}
	for _, s := range open {
		s.Close()
	}
	wantFiles(t, rt.DestPath())
}

func head2(t *testing.T) []byte {
	t.Helper()
	b := encodedHead(t, &wire.FileHead{Op: wire.FileDelete, Name: "x", Key: wire.NewID()})
	return b[:len(b)/2]
}

// hostileReceiver sends files to a hostile peer: whatever that answers, the sender gets an error and goes
// on.
func hostileReceiver(t *testing.T) {
	t.Parallel()
	path, _ := someFile(t, "file", 3<<20)
	long := func(n uint32) []byte { return []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)} }
	goOn, err := wire.AppendFileAnswer(nil, &wire.FileAnswer{Go: true})
	if err != nil {
		t.Fatal(err)
	}
	early, err := wire.AppendFileAnswer(nil, &wire.FileAnswer{Err: encodeError(errors.New("enough"))})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		answer []byte
		ends   bool // the link ends
		says   string
	}{
		"an answer without limit":  {long(1<<32 - 1), true, "malformed"},
		"an answer of nothing":     {long(0), true, "malformed"},
		"no array":                 {append(long(1), 0xf6), true, "malformed"},
		"go, and garbage":          {append(bytes.Clone(goOn), append(long(3), 1, 2, 3)...), true, "malformed"},
		"go, and no more":          {append(bytes.Clone(goOn), early...), false, "enough"},
		"an end without an answer": {nil, true, "ended"},
	} {
		rt := testRuntime(t, Config{})
		h := newHostile(t, rt, false)
		l := h.link(rt)
		sent := make(chan error, 1)
		go func() { sent <- rt.SendFile(testkit.Context(t), Location(l.Location()), path) }()
		s, err := h.session.AcceptStream()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := wire.ReadFileHead(s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Write(tt.answer); err != nil && !tt.ends { // else the link may have ended before Write returned
			t.Errorf("%s: %v", name, err)
		}
		if tt.answer == nil {
			s.Close()
		}
		err = testkit.Next(t, sent)
		if err == nil || !strings.Contains(err.Error(), tt.says) || errors.Is(err, ErrDisconnected) != tt.ends {
			t.Errorf("%s: %v", name, err)
		}
		if ended := l.Cause() != nil; ended != tt.ends {
			t.Errorf("%s: the link has ended: %v", name, ended)
		}
	}
}

// forgedFiles has a proven peer ask for the files of a computation whose token it does not know.
func forgedFiles(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{})
	comp, err := NewComputation(rt)
	if err != nil {
		t.Fatal(err)
	}
	rt.mu.Lock()
	rt.comps[comp.token] = comp
	rt.mu.Unlock()
	h := newHostile(t, rt, false)
	key := wire.NewID()
	fetch := func(proof wire.Token) error {
		return values.Error(h.fileAnswer(&wire.FileHead{Op: wire.FileFetch, Proof: proof, Key: key}).Err)
	}
	for name, proof := range map[string]wire.Token{
		"no token": {}, "the token itself": comp.token,
		"a proof for another runtime": comp.token.Prove(wire.NewID(), key),
		"a proof for another head":    comp.token.Prove(rt.id, wire.NewID()),
	} {
		if err := fetch(proof); !errors.Is(err, ErrNotFound) {
			t.Errorf("a computation's files with %s: %v", name, err)
		}
	}
	if err := fetch(comp.token.Prove(rt.id, key)); err != nil {
		t.Errorf("with the token: %v", err)
	}
	wantFiles(t, filepath.Clean(rt.DestPath()))
}

// TestFileTokenStays has a server and a client send a file to a peer that claims to be a server of their
// computation: it does not learn the token of the computation, with which it could act for them.
func TestFileTokenStays(t *testing.T) {
	t.Parallel()
	path, _ := someFile(t, "file", 10)
	token := wire.Token(wire.NewID())
	send := func(rt *Runtime, to func(at Location)) {
		t.Helper()
		h := newHostile(t, rt, false) // it claims to have all the roles
		l := h.link(rt)
		to(Location(l.Location()))
		sent := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { sent <- rt.SendFile(ctx, Location(l.Location()), path) }()
		s, err := h.session.AcceptStream()
		if err != nil {
			t.Fatal(err)
		}
		head, err := wire.ReadFileHead(s)
		if err != nil || head.Proof == token || head.Proof != token.Prove(h.id, head.Key) {
			t.Errorf("the head is %+v, %v", head, err)
		}
		cancel()
		<-sent
	}
	server := testRuntime(t, Config{Name: "server"})
	server.files.Serve(token, t.TempDir(), func() {})
	send(server, func(Location) {})
	client := testRuntime(t, Config{Name: "client"})
	send(client, func(at Location) {
		p, err := NewComputation(client)
		if err != nil {
			t.Fatal(err)
		}
		p.token, p.known = token, map[Location]string{at: ""} // a server of the computation was there, and now the peer is
		client.mu.Lock()
		client.comps[token] = p
		client.mu.Unlock()
	})
}
