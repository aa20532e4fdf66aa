package discoro

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/files"
	"github.com/discoro/discoro/internal/testkit"
)

// slowFile is a link of few bytes a second, and a large file on its way over it.
type slowFile struct {
	t    *testing.T
	a, b *Runtime
	path string
	to   Location
	sent chan error
}

// newSlowFile begins to send a file from a to b, and returns when b has some of it. The link carries
// perSecond bytes a second.
//
//nolint:revive // the context is the transfer's
func newSlowFile(t *testing.T, ctx context.Context, cfg Config, perSecond int) *slowFile {
	t.Helper()
	cfg.Name = "b"
	s := &slowFile{t: t, b: testRuntime(t, cfg), sent: make(chan error, 1)}
	cfg.Name = "a"
	s.a = testRuntime(t, cfg)
	s.to = slowProxy(t, s.b.Location(), perSecond)
	connect(t, s.a, s.to)
	s.path, _ = someFile(t, "large", 32<<20)
	go func() { s.sent <- s.a.SendFile(ctx, s.to, s.path, FileOptions{Dir: "some/where"}) }()
	testkit.Eventually(t, "some of it is there", func() bool { return s.temporary() > 0 })
	return s
}

// temporary returns how many bytes of an incomplete file are there; -1: there is no such file.
func (s *slowFile) temporary() int64 {
	s.t.Helper()
	for _, name := range filesBelow(s.t, s.b.DestPath()) {
		if strings.Contains(name, "/."+files.OwnPrefix) {
			if info, err := os.Stat(filepath.Join(s.b.DestPath(), name)); err == nil {
				return info.Size()
			}
		}
	}
	return -1
}

// nothingLeft waits until the receiver has removed what it had of the file.
func (s *slowFile) nothingLeft() {
	s.t.Helper()
	testkit.Eventually(s.t, "nothing of it is left", func() bool { return len(filesBelow(s.t, s.b.DestPath())) == 0 })
}

// TestFileTransferBreaks ends transfers in the middle, in every way in which they end.
func TestFileTransferBreaks(t *testing.T) {
	t.Parallel()
	const speed = 1 << 20
	t.Run("the link", func(t *testing.T) {
		t.Parallel()
		s := newSlowFile(t, testkit.Context(t), Config{}, speed)
		upLink(t, s.b, s.a).Fail(errors.New("cut"))
		if err := testkit.Next(t, s.sent); !errors.Is(err, ErrDisconnected) || !strings.Contains(err.Error(), "large") {
			t.Errorf("SendFile returned %v", err)
		}
		s.nothingLeft()
	})
	t.Run("the context", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		s := newSlowFile(t, ctx, Config{}, speed)
		cancel()
		if err := testkit.Next(t, s.sent); !errors.Is(err, context.Canceled) || errors.Is(err, ErrDisconnected) {
			t.Errorf("SendFile returned %v", err)
		}
		s.nothingLeft()
		if err := upLink(t, s.a, s.b).Cause(); err != nil {
			t.Error(err)
		}
		testkit.Eventually(t, "its stream is free", func() bool { return upLink(t, s.a, s.b).Load().Streams == 0 })
	})
	t.Run("the sender closes", func(t *testing.T) {
		t.Parallel()
		s := newSlowFile(t, testkit.Context(t), Config{}, speed)
		if err := s.a.Close(); err != nil {
			t.Error(err)
		}
		if err := testkit.Next(t, s.sent); !errors.Is(err, ErrDisconnected) {
			t.Errorf("SendFile returned %v", err)
		}
		s.nothingLeft()
	})
	t.Run("the receiver closes", func(t *testing.T) {
		t.Parallel()
		dest := t.TempDir()
		s := newSlowFile(t, testkit.Context(t), Config{DestPath: dest}, speed)
		if err := s.b.Close(); err != nil {
			t.Error(err)
		}
		wantFiles(t, dest)
		if err := testkit.Next(t, s.sent); !errors.Is(err, ErrDisconnected) {
			t.Errorf("SendFile returned %v", err)
		}
	})
	t.Run("the file", func(t *testing.T) {
		t.Parallel()
		s := newSlowFile(t, testkit.Context(t), Config{}, speed)
		if err := os.Truncate(s.path, 10); err != nil {
			t.Fatal(err)
		}
		if err := testkit.Next(t, s.sent); err == nil || !strings.Contains(err.Error(), "changed while it was sent") {
			t.Errorf("SendFile returned %v", err)
		}
		s.nothingLeft()
	})
	t.Run("the coroutine", func(t *testing.T) {
		t.Parallel()
		a, b := twoRuntimes(t, Config{})
		path, _ := someFile(t, "file", 32<<20) // large: the transfer must not be over before the coroutine ends
		hold, began := make(chan struct{}), make(chan struct{})
		var once sync.Once
		c := a.Spawn("sends", func(c *Coro) (any, error) {
			return nil, a.SendFile(c, b.Location(), path, FileOptions{Progress: func(int64, int64) {
				once.Do(func() { close(began) })
				<-hold
			}})
		})
		testkit.Next(t, began)
		// The coroutine has given up the turn, and shows what it waits for.
		other := a.Spawn("other", func(*Coro) (any, error) { return 7, nil })
		if n, err := Result[int](testkit.Context(t), other); n != 7 || err != nil {
			t.Errorf("another coroutine: %d, %v", n, err)
		}
		for _, s := range a.Coros() {
			if s.Coro == c && s.State != "SendFile" {
				t.Errorf("it waits in %q", s.State)
			}
		}
		_ = c.Terminate()
		if err := c.Wait(testkit.Context(t)); !errors.Is(err, ErrTerminated) {
			t.Errorf("it ended with %v", err)
		}
		close(hold)
		testkit.Eventually(t, "nothing of it is left", func() bool { return len(filesBelow(t, b.DestPath())) == 0 })
	})
	t.Run("the runtime, which sends to itself", func(t *testing.T) {
		t.Parallel()
		dest := t.TempDir()
		a := testRuntime(t, Config{DestPath: dest})
		path, _ := someFile(t, "file", 1<<20)
		sent, closed := make(chan error, 1), make(chan error, 1)
		var once sync.Once
		go func() {
			sent <- a.SendFile(testkit.Context(t), a.Location(), path, FileOptions{Progress: func(int64, int64) {
				once.Do(func() { go func() { closed <- a.Close() }() })
				<-a.ctx.Done()
			}})
		}()
		if err := testkit.Next(t, sent); !errors.Is(err, ErrClosed) || errors.Is(err, context.Canceled) {
			t.Errorf("SendFile returned %v", err)
		}
		if err := testkit.Next(t, closed); err != nil {
			t.Error(err)
		}
		wantFiles(t, dest)
	})
	t.Run("the progress", func(t *testing.T) {
		t.Parallel()
		a, b := twoRuntimes(t, Config{})
		path, _ := someFile(t, "file", 1<<20)
		for _, to := range []*Runtime{a, b} {
			err := a.SendFile(testkit.Context(t), to.Location(), path, FileOptions{Progress: func(int64, int64) { panic("ouch") }})
			var p *PanicError
			if !errors.As(err, &p) || p.Value != "ouch" || !strings.Contains(p.Stack, "file_faults_test.go") {
				t.Errorf("SendFile returned %v", err)
			}
			testkit.Eventually(t, "nothing of it is left", func() bool { return len(filesBelow(t, to.DestPath())) == 0 })
		}
	})
}

// TestFileReceiverKilled kills the process that a file goes to.
func TestFileReceiverKilled(t *testing.T) {
	t.Parallel()
	p := startPeer(t, time.Second)
	a := testRuntime(t, Config{})
	connect(t, a, p.Loc)
	path, _ := someFile(t, "large", 64<<20)
	ctx := testkit.Context(t)
	err := a.SendFile(ctx, p.Loc, path, FileOptions{Progress: func(sent, _ int64) {
		if sent == 16<<20 {
			p.Kill()
		}
	}})
	if !errors.Is(err, ErrDisconnected) {
		t.Errorf("SendFile returned %v", err)
	}
}

// TestProgressEnds checks that Progress is not called after SendFile has returned.
func TestProgressEnds(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{})
	path, _ := someFile(t, "file", 8<<20)
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		var returned, late atomic.Bool
		err := a.SendFile(ctx, b.Location(), path, FileOptions{Overwrite: true, Progress: func(sent, _ int64) {
			if returned.Load() {
				late.Store(true)
			}
			if sent == 1<<20 {
				cancel()
			}
		}})
		returned.Store(true)
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if late.Load() {
			t.Error("Progress was called late")
		}
		cancel()
	}
}

// TestFileBesideMessages sends files over a slow link: round trips and pulses go on meanwhile.
func TestFileBesideMessages(t *testing.T) {
	t.Parallel()
	const speed, pulse = 4 << 20, 500 * time.Millisecond
	s := newSlowFile(t, testkit.Context(t), Config{tuning: tuning{pulse: pulse}}, speed)
	if err := spawnEcho(s.b, "echo"); err != nil {
		t.Fatal(err)
	}
	for range 3 { // beside the first
		go func() { _ = s.a.SendFile(t.Context(), s.to, s.path, FileOptions{Dir: "some/where", Overwrite: true}) }()
	}
	testkit.Eventually(t, "they all flow", func() bool { return upLink(t, s.a, s.b).Load().Sending == 4 })
	echo := locate(t, s.a, s.b, "echo")
	for i := range 20 {
		before := s.temporary()
		if n, err := Ask[int](testkit.Context(t), echo, i); n != i || err != nil {
			t.Fatalf("round trip %d: %d, %v", i, n, err)
		}
		// A message waits behind what the kernel holds, and a piece of each file.
		if moved := s.temporary() - before; moved > 8<<20 {
			t.Errorf("round trip %d took as long as %d bytes of a file", i, moved)
		}
	}
	frames := s.b.Traffic().FramesReceived
	testkit.Eventually(t, "signs of life come", func() bool { return s.b.Traffic().FramesReceived >= frames+2 })
	select {
	case err := <-s.sent:
		t.Errorf("the file was sent before all that: %v", err)
	default:
	}
}
