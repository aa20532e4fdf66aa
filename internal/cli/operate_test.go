package cli

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

func (*busyRole) Banner() string                { return "busy" }
func (*busyRole) Status(context.Context) string { return "" }
func (*busyRole) CloseActive(func())            {}
func (r *busyRole) Leave()                      { r.leaves++ }
func (*busyRole) Left() <-chan struct{}         { return nil }
func (*busyRole) Close() error                  { return nil }

// TestSignalTwice has a signal come twice at once, as coreutils' timeout sends it, and once more.
func TestSignalTwice(t *testing.T) {
	quietStdout(t)
	for _, last := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		synctest.Test(t, func(t *testing.T) {
			signals := &Signals{c: make(chan os.Signal)}
			ended := make(chan error, 1)
			r := &busyRole{}
			go func() { ended <- Operate(t.Context(), r, true, signals) }()
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

// quietStdout keeps Operate from printing among the tests. Such a test is not parallel.
func quietStdout(t *testing.T) {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	old := os.Stdout
	os.Stdout = null
	t.Cleanup(func() {
		os.Stdout = old
		_ = null.Close()
	})
}
