package files

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// wantFiles fails the test when dir has other files than these.
func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	if got := filesBelow(t, dir); !slices.Equal(got, want) {
		t.Errorf("in the folder are %q, want %q", got, want)
	}
}

func wantContent(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s has %q, %v; want %q", path, got, err, want)
	}
}

// encode is Config.Encode for tests: sentinels travel by their texts.
func encode(err error) *wire.Failure {
	if err == nil {
		return nil
	}
	f := &wire.Failure{Msg: err.Error()}
	for _, is := range []error{
		fault.Rejected, fault.Exists, fault.TooLarge, fault.Closed, fault.Disconnected, fault.NotFound,
	} {
		if errors.Is(err, is) {
			f.Msg += " [" + is.Error() + "]"
		}
	}
	return f
}

// says reports whether a failure is of the kind is.
func says(f *wire.Failure, is error) bool {
	return f != nil && strings.Contains(f.Msg, "["+is.Error()+"]")
}

// folderAt returns the folder of a runtime, as long as the test lasts.
func folderAt(t *testing.T, path string) *Folder {
	t.Helper()
	return New(t.Context(), Config{
		ID: wire.NewID(), Path: func() string { return path }, MaxSize: 1 << 20, Encode: encode, Log: discard,
	})
}

// pipeStream is the receiver's end of a stream in memory.
type pipeStream struct {
	net.Conn

	posted [][]byte
}

func (s *pipeStream) Post(b []byte) { s.posted = append(s.posted, b) }
func (s *pipeStream) Drop()         { s.posted = nil }

func (s *pipeStream) Came(ctx context.Context) (int, error) {
	stop := context.AfterFunc(ctx, func() { _ = s.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	b := s.posted[0]
	s.posted = s.posted[1:]
	return io.ReadFull(s.Conn, b)
}

// peer is who asks over a stream in memory.
type peer struct {
	net.Conn

	t        *testing.T
	answered chan error // what Answer has returned
}

// ask sends a head to the folder.
func ask(t *testing.T, f *Folder, h *wire.FileHead) *peer {
	t.Helper()
	near, far := net.Pipe()
	p := &peer{near, t, make(chan error, 1)}
	t.Cleanup(func() { near.Close() })
	go func() {
		err := f.Answer(&pipeStream{Conn: far}, func(*wire.FileHead) error { return fault.NotFound })
		far.Close()
		p.answered <- err
	}()
	b, err := wire.AppendFileHead(nil, h)
	if err != nil {
		t.Fatal(err)
	}
	p.write(b)
	return p
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) answer() *wire.FileAnswer {
	p.t.Helper()
	a, err := wire.ReadFileAnswer(p)
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

// sendHead returns the head of a file.
func sendHead(dir, name string, size int) *wire.FileHead {
	return &wire.FileHead{Op: wire.FileSend, Dir: dir, Name: name, Size: int64(size), Key: wire.NewID()}
}

// blocks returns the bytes of a file that fits into a block.
func blocks(h *wire.FileHead, content string) []byte {
	return wire.NewFileSums(h.Key).Skip().Append([]byte(content), []byte(content))
}

// TestAnswerReceives receives a file, and deletes it.
func TestAnswerReceives(t *testing.T) {
	t.Parallel()
	dest := t.TempDir()
	f := folderAt(t, dest)
	h := sendHead("some/where", "file", len("content"))
	p := ask(t, f, h)
	if a := p.answer(); !a.Go {
		t.Fatalf("the first answer is %+v", a)
	}
	if got := filesBelow(t, dest); len(got) != 3 || !isOwnName(filepath.Base(got[2])) {
		t.Errorf("meanwhile there are %q", got)
	}
	p.write(blocks(h, "content"))
	if a := p.answer(); a.Err != nil {
		t.Errorf("the last answer is %+v", a.Err)
	}
	if err := <-p.answered; err != nil {
		t.Error(err)
	}
	wantFiles(t, dest, "some/", "some/where/", "some/where/file")
	wantContent(t, filepath.Join(dest, "some", "where", "file"), "content")
	p = ask(t, f, &wire.FileHead{Op: wire.FileDelete, Dir: "some/where", Name: "file"})
	if a := p.answer(); a.Err != nil {
		t.Errorf("the deletion: %+v", a.Err)
	}
	<-p.answered
	wantFiles(t, dest, "some/", "some/where/")
}

// TestAnswerBadNames has a peer use names that our senders refuse to use.
func TestAnswerBadNames(t *testing.T) {
	t.Parallel()
	outer := t.TempDir()
	dest := filepath.Join(outer, "dest")
	outside := put(t, outer, "outside", "mine")
	if err := os.Mkdir(dest, 0o700); err != nil {
		t.Fatal(err)
	}
	f := folderAt(t, dest)
	try := func(op wire.FileOp, dir, name string) {
		t.Helper()
		h := &wire.FileHead{Op: op, Dir: dir, Name: name, Size: 1, Overwrite: true}
		if _, err := wire.AppendFileHead(nil, h); err != nil {
			return // a head cannot have it
		}
		p := ask(t, f, h)
		if a := p.answer(); a.Go || !says(a.Err, fault.Rejected) {
			t.Errorf("operation %d on %.40q in %.40q: %+v", op, name, dir, a)
		}
		if err := <-p.answered; err != nil {
			t.Errorf("operation %d on %.40q in %.40q: the peer broke the protocol: %v", op, name, dir, err)
		}
	}
	for _, op := range []wire.FileOp{wire.FileSend, wire.FileDelete} {
		for _, name := range badNames {
			try(op, "", name)
			if name != "" && name != "a/b" { // which are good folders
				try(op, name, "file")
			}
		}
		try(op, "..", "outside")
		try(op, "", "../outside")
		try(op, outer, "outside")
	}
	wantFiles(t, dest)
	wantContent(t, outside, "mine")
}
