package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestReadLines reads a command after a line that is too long to be one.
func TestReadLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<20)
	var got []string
	for line := range readLines(strings.NewReader("status\r\n\n"+long+"\nclose\n"+long), nil) {
		got = append(got, line[:min(len(line), 8)])
	}
	if want := []string{"status", "", "xxxxxxxx", "close", "xxxxxxxx"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// busyRole is a role that never leaves.
type busyRole struct{ leaves int }

func (*busyRole) Banner() string                { return "busy" }
func (*busyRole) Status(context.Context) string { return "" }
func (*busyRole) CloseActive(func())            {}
func (r *busyRole) Leave()                      { r.leaves++ }
func (*busyRole) Left() <-chan struct{}         { return nil }
func (*busyRole) Close() error                  { return nil }

// TestSignalTwice sends a signal twice at once, as coreutils' timeout does, and then once more.
func TestSignalTwice(t *testing.T) {
	t.Parallel()
	for _, last := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		synctest.Test(t, func(t *testing.T) {
			signals := &Signals{c: make(chan os.Signal)}
			ended := make(chan error, 1)
			r := &busyRole{}
			go func() { ended <- operate(t.Context(), r, nil, io.Discard, signals) }()
			signals.c <- syscall.SIGTERM
			signals.c <- syscall.SIGTERM
			synctest.Wait()
			if r.leaves != 1 || len(ended) != 0 {
				t.Errorf("it left %d times, and has ended %d times", r.leaves, len(ended))
			}
			if last == syscall.SIGTERM {
				<-time.After(signalEcho)
			}
			signals.c <- last
			var exit *exitError
			if err := <-ended; !errors.As(err, &exit) || exit.code != Forced {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

// scriptedRole records what its operator wants, and leaves at once.
type scriptedRole struct {
	calls []string
	over  chan struct{}
}

func (r *scriptedRole) Banner() string                { return "role at h:1" }
func (r *scriptedRole) Status(context.Context) string { return "all is well\n" }
func (r *scriptedRole) Left() <-chan struct{}         { return r.over }

func (r *scriptedRole) CloseActive(closed func()) {
	r.calls = append(r.calls, "close")
	closed()
}

func (r *scriptedRole) Leave() {
	r.calls = append(r.calls, "leave")
	close(r.over)
}

func (r *scriptedRole) Close() error {
	r.calls = append(r.calls, "end")
	return os.ErrClosed
}

// TestCommands gives each command.
func TestCommands(t *testing.T) {
	t.Parallel()
	for input, want := range map[string]struct{ calls, says string }{
		"dance\nstatus\n\n Terminate\n": {"end", "role at h:1\ncommands: status, close, quit or exit, terminate\n" +
			"there is no command \"dance\"; there are status, close, quit or exit, terminate\nall is well\nending at once\n"},
		"quit":        {"leave end", "leaving: "},
		"EXIT\r\n":    {"leave end", "leaving: "},
		"close\nquit": {"close leave end", "role at h:1\n"},
	} {
		var out bytes.Buffer
		r := &scriptedRole{over: make(chan struct{})}
		err := operate(t.Context(), r, strings.NewReader(input), &out, &Signals{})
		if got := strings.Join(r.calls, " "); got != want.calls || !errors.Is(err, os.ErrClosed) {
			t.Errorf("%q: the role was asked to %s, and it ended with %v", input, got, err)
		}
		if !strings.Contains(out.String(), want.says) {
			t.Errorf("%q: it said %q, not %q", input, &out, want.says)
		}
	}
}

// TestEndOfInput ends standard input, after which the role goes on until its context ends. Nobody reads what
// it says.
func TestEndOfInput(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, out := io.Pipe()
		defer out.Close()
		r := &scriptedRole{over: make(chan struct{})}
		ended := make(chan error, 1)
		go func() {
			ended <- operate(ctx, r, strings.NewReader(strings.Repeat("status\n", 10*maxUnshown)+"close\n"), out, &Signals{})
		}()
		synctest.Wait()
		if len(ended) > 0 || !slices.Equal(r.calls, []string{"close"}) {
			t.Errorf("the role was asked to %q", r.calls)
		}
		cancel()
		if err := <-ended; !errors.Is(err, os.ErrClosed) || !slices.Equal(r.calls, []string{"close", "end"}) {
			t.Errorf("ended with %v after %q", err, r.calls)
		}
	})
}
