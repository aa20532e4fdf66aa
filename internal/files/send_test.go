package files

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// errLost is why a stream in memory has ended.
var errLost = errors.New("the link has ended")

// testPeer is a peer in memory. far owns the other end of each stream.
type testPeer struct {
	far     func(s *farStream)
	refuse  error // why no stream is opened
	closing bool  // no goroutine is started

	streams sync.WaitGroup // what far does
	sending atomic.Int32   // streams that share the link
	ended   atomic.Int32   // streams of which nothing is left
}

func (p *testPeer) OpenStream(ctx context.Context) (Stream, error) {
	if p.refuse != nil {
		return nil, p.refuse
	}
	s := &nearStream{peer: p, gone: make(chan struct{})}
	f := &farStream{}
	f.in, s.out = io.Pipe()
	s.in, f.out = io.Pipe()
	s.unbind = context.AfterFunc(ctx, func() { s.cut(f, context.Cause(ctx)) })
	s.halt = func() { f.in.CloseWithError(os.ErrDeadlineExceeded) }
	p.streams.Go(func() {
		p.far(f)
		_, _ = io.Copy(io.Discard, f.in)
		f.out.Close()
		close(s.gone)
	})
	return s, nil
}

func (p *testPeer) Start(f func()) bool {
	if !p.closing {
		go f()
	}
	return !p.closing
}

func (p *testPeer) Decode(f *wire.Failure) error {
	if f == nil {
		return nil
	}
	return errors.New(f.Msg)
}

// nearStream is the end of a stream that this side has opened.
type nearStream struct {
	peer   *testPeer
	in     *io.PipeReader
	out    *io.PipeWriter
	unbind func() bool
	halt   func()
	gone   chan struct{} // closed when the far side has closed
}

func (s *nearStream) cut(f *farStream, err error) {
	s.in.CloseWithError(err)
	f.in.CloseWithError(err)
}

func (s *nearStream) Read(b []byte) (int, error)  { return s.in.Read(b) }
func (s *nearStream) Write(b []byte) (int, error) { return s.out.Write(b) }
func (s *nearStream) Close() error                { return s.out.Close() }
func (s *nearStream) Halt()                       { s.unbind(); s.halt() }

func (s *nearStream) Share() (done func()) {
	s.peer.sending.Add(1)
	return func() { s.peer.sending.Add(-1) }
}

func (s *nearStream) End() {
	s.out.Close()
	_, _ = io.Copy(io.Discard, s.in)
	<-s.gone
	s.peer.ended.Add(1)
}

func (s *nearStream) Lost(ctx context.Context, _ error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errLost
}

// farStream is the end of a stream that the peer has opened.
type farStream struct {
	in     *io.PipeReader
	out    *io.PipeWriter
	posted [][]byte
}

func (s *farStream) Read(b []byte) (int, error)  { return s.in.Read(b) }
func (s *farStream) Write(b []byte) (int, error) { return s.out.Write(b) }
func (s *farStream) Post(b []byte)               { s.posted = append(s.posted, b) }
func (s *farStream) Drop()                       { s.posted = nil }

func (s *farStream) Came(context.Context) (int, error) {
	b := s.posted[0]
	s.posted = s.posted[1:]
	return io.ReadFull(s.in, b)
}

// say writes an answer.
func (s *farStream) say(a *wire.FileAnswer) {
	b, err := wire.AppendFileAnswer(nil, a)
	if err == nil {
		_, err = s.Write(b)
	}
	if err != nil {
		panic(err)
	}
}

// receiver is a peer that has a folder.
func receiver(f *Folder) *testPeer {
	return &testPeer{far: func(s *farStream) {
		_ = f.Answer(s, func(*wire.FileHead) error { return fault.NotFound })
	}}
}

// at does an operation at a peer, and returns the result. It fails the test unless there is exactly one.
//
//nolint:revive // the context is the operation's
func at(t *testing.T, ctx context.Context, op *Op, p *testPeer) error {
	t.Helper()
	if err := op.Open(); err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	var results []error
	op.At(ctx, p, func(err error) { results = append(results, err) })
	if len(results) != 1 {
		t.Fatalf("there are %d results: %v", len(results), results)
	}
	if p.refuse == nil && p.ended.Load() != 1 || p.sending.Load() != 0 {
		t.Errorf("%d streams have ended, and %d send", p.ended.Load(), p.sending.Load())
	}
	p.streams.Wait()
	return results[0]
}

// sendOf returns the operation that sends a new file with that many bytes.
func sendOf(t *testing.T, size int) (*Op, string) {
	t.Helper()
	content := strings.Repeat("content ", size/8+1)[:size]
	op, err := Send(put(t, t.TempDir(), "file", content), "dir", false)
	if err != nil {
		t.Fatal(err)
	}
	return op, content
}

// TestSendAt sends files of several sizes to a peer and to the runtime itself, and deletes them.
func TestSendAt(t *testing.T) {
	t.Parallel()
	for _, self := range []bool{false, true} {
		for _, size := range []int{0, 1, wire.FileBlock - 1, wire.FileBlock, wire.FileBlock + 1, 2*wire.FileBlock + 17} {
			dest := t.TempDir()
			f := New(t.Context(), Config{Path: func() string { return dest }, Encode: encode, Log: discard})
			do := func(op *Op) error {
				if !self {
					return at(t, t.Context(), op, receiver(f))
				}
				if err := op.Open(); err != nil {
					t.Fatal(err)
				}
				defer op.Close()
				return f.Do(t.Context(), op)
			}
			op, content := sendOf(t, size)
			var sent []int64
			op.Progress = func(n, total int64) error {
				if sent = append(sent, n); total != int64(size) {
					t.Errorf("%d bytes of %d, of %d", n, total, size)
				}
				return nil
			}
			if err := do(op); err != nil {
				t.Fatal(err)
			}
			if !slices.IsSorted(sent) || sent[len(sent)-1] != int64(size) {
				t.Errorf("the progress of %d bytes was %d", size, sent)
			}
			wantFiles(t, dest, "dir/", "dir/file")
			wantContent(t, filepath.Join(dest, "dir", "file"), content)
			op, err := Delete("dir/file")
			if err == nil {
				err = do(op)
			}
			if err != nil {
				t.Error(err)
			}
			wantFiles(t, dest, "dir/")
		}
	}
}

// TestSendEnds ends transfers in the middle, in every way that a sender has: the result says why, and the
// receiver keeps nothing.
func TestSendEnds(t *testing.T) {
	t.Parallel()
	ouch := errors.New("ouch")
	for name, tt := range map[string]struct {
		progress func(cancel context.CancelCauseFunc, path string) error
		want     error
		says     string
	}{
		"an error of the progress": {func(context.CancelCauseFunc, string) error { return ouch }, ouch, ""},
		"an exit of the progress": {func(context.CancelCauseFunc, string) error {
			runtime.Goexit()
			return nil
		}, ErrExited, ""},
		"the context": {func(cancel context.CancelCauseFunc, _ string) error {
			cancel(ouch)
			return nil
		}, ouch, ""},
		"a file that becomes shorter": {func(_ context.CancelCauseFunc, path string) error {
			return os.Truncate(path, 3)
		}, nil, "changed while it was sent"},
	} {
		dest := t.TempDir()
		op, _ := sendOf(t, 5*wire.FileBlock)
		ctx, cancel := context.WithCancelCause(t.Context())
		op.Progress = func(int64, int64) error { return tt.progress(cancel, op.path) }
		f := New(t.Context(), Config{Path: func() string { return dest }, Encode: encode, Log: discard})
		err := at(t, ctx, op, receiver(f))
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
		f.AwaitIdle()
		wantFiles(t, dest)
		cancel(nil)
	}
}

// TestSendToHostile sends files to peers that answer what no peer of ours answers.
func TestSendToHostile(t *testing.T) {
	t.Parallel()
	readHead := func(s *farStream) {
		if _, err := wire.ReadFileHead(s); err != nil {
			t.Error(err)
		}
	}
	for name, tt := range map[string]struct {
		far  func(s *farStream)
		size int
		want string
	}{
		"no answer": {func(s *farStream) {
			readHead(s)
			s.out.Close()
		}, 10, errLost.Error()},
		"half an answer": {func(s *farStream) {
			readHead(s)
			_, _ = s.Write([]byte{0, 0})
			s.out.Close()
		}, 10, errLost.Error()},
		"garbage": {func(s *farStream) {
			readHead(s)
			_, _ = s.Write([]byte{0, 0, 0, 1, 0xf6})
		}, 10, errLost.Error()},
		"a refusal": {func(s *farStream) {
			readHead(s)
			s.say(&wire.FileAnswer{Err: &wire.Failure{Msg: "no"}})
		}, 10, "no"},
		"an error in the middle": {func(s *farStream) {
			readHead(s)
			s.say(&wire.FileAnswer{Go: true})
			_, _ = io.CopyN(io.Discard, s, 100)
			s.say(&wire.FileAnswer{Err: &wire.Failure{Msg: "full"}})
		}, 5 * wire.FileBlock, "full"},
		"a go without an end": {func(s *farStream) {
			readHead(s)
			s.say(&wire.FileAnswer{Go: true})
			s.out.Close()
		}, 5 * wire.FileBlock, errLost.Error()},
		"success before the file is sent": {func(s *farStream) {
			readHead(s)
			s.say(&wire.FileAnswer{Go: true})
			s.say(&wire.FileAnswer{})
		}, 5 * wire.FileBlock, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			op, _ := sendOf(t, tt.size)
			err := at(t, t.Context(), op, &testPeer{far: tt.far})
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// TestSendStuck sends to a peer that says that it has the file and takes no bytes: the end of the
// context ends the transfer.
func TestSendStuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		op, _ := sendOf(t, 5*wire.FileBlock)
		ctx, cancel := context.WithCancelCause(t.Context())
		result := make(chan error, 1)
		go func() {
			result <- at(t, ctx, op, &testPeer{far: func(s *farStream) {
				_, _ = wire.ReadFileHead(s)
				s.say(&wire.FileAnswer{Go: true})
				s.say(&wire.FileAnswer{})
				<-ctx.Done()
			}})
		}()
		synctest.Wait()
		select {
		case err := <-result:
			t.Errorf("it is over: %v", err)
		default:
		}
		cancel(fault.Closed)
		<-result // what the peer says counts, or what the context does
	})
}

// TestSendRefused does operations where no stream can be opened, or no goroutine started.
func TestSendRefused(t *testing.T) {
	t.Parallel()
	op, _ := sendOf(t, 10)
	if err := at(t, t.Context(), op, &testPeer{refuse: errLost}); !errors.Is(err, errLost) {
		t.Errorf("no stream: %v", err)
	}
	dest := t.TempDir()
	p := receiver(folderAt(t, dest))
	p.closing = true
	op, _ = sendOf(t, 10)
	if err := at(t, t.Context(), op, p); !errors.Is(err, fault.Closed) {
		t.Errorf("no goroutine: %v", err)
	}
	wantFiles(t, dest)
	err := at(t, t.Context(), Fetch(), receiver(folderAt(t, dest)))
	if err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("nothing is fetched: %v", err)
	}
}

// TestProve shows a token to the runtime that it is for, and to no other.
func TestProve(t *testing.T) {
	t.Parallel()
	token, to := wire.Token(wire.NewID()), wire.NewID()
	op := Fetch()
	if err := op.Open(); err != nil {
		t.Fatal(err)
	}
	op.Prove(token, to)
	if !token.Proves(&op.head, to) || token.Proves(&op.head, wire.NewID()) || op.head.Proof == token {
		t.Errorf("the head is %+v", op.head)
	}
	if op.Prove(wire.Token{}, to); op.head.Proof != (wire.Token{}) {
		t.Errorf("no token gives the proof %x", op.head.Proof)
	}
}
