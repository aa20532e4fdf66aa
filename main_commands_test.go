package discoro

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestReadLines reads commands behind a line that is none, and too long for one.
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

func (*busyRole) banner() string                { return "busy" }
func (*busyRole) status(context.Context) string { return "" }
func (*busyRole) closeActive(func())            {}
func (r *busyRole) leave()                      { r.leaves++ }
func (*busyRole) left() <-chan struct{}         { return nil }
func (*busyRole) Close() error                  { return nil }

// TestSignalTwice has a signal come twice at once, as coreutils' timeout sends it, and once more.
func TestSignalTwice(t *testing.T) {
	quietStdout(t)
	for _, last := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		synctest.Test(t, func(t *testing.T) {
			signals := make(chan os.Signal)
			ended := make(chan error, 1)
			r := &busyRole{}
			go func() { ended <- operate(t.Context(), r, commonOptions{Daemon: true}, signals, func() {}) }()
			signals <- syscall.SIGTERM
			signals <- syscall.SIGTERM
			synctest.Wait()
			if r.leaves != 1 || len(ended) != 0 {
				t.Errorf("it left %d times, and has ended %d times", r.leaves, len(ended))
			}
			if last == syscall.SIGTERM {
				<-time.After(signalEcho)
			}
			signals <- last
			var exit *exitError
			if err := <-ended; !errors.As(err, &exit) || exit.code != exitForced {
				t.Errorf("ended with %v", err)
			}
		})
	}
}
