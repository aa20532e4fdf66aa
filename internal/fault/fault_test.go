package fault_test

import (
	"context"
	"errors"
	"testing"

	"github.com/discoro/discoro/internal/fault"
)

func TestBecauseKeepsOnePrefix(t *testing.T) {
	t.Parallel()
	err := fault.Because(fault.Closed, "connect to %s", "h:1")
	err = fault.Because(err, "run f")
	if got, want := err.Error(), "discoro: run f: connect to h:1: closed"; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
	if !errors.Is(err, fault.Closed) {
		t.Error("the cause is lost")
	}
	if got := fault.Bare(err); got != "run f: connect to h:1: closed" {
		t.Errorf("bare text %q", got)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	err := fault.New("the text", fault.Closed, fault.NotFound)
	if err.Error() != "the text" || !errors.Is(err, fault.Closed) || !errors.Is(err, fault.NotFound) || errors.Is(err, fault.Exists) {
		t.Errorf("%v wraps other errors than it was given", err)
	}
	if !fault.IsPlain(err) || fault.IsPlain(fault.Because(err, "x")) || fault.IsPlain(fault.Closed) {
		t.Error("IsPlain is about the error itself")
	}
}

func TestTerminatedIsCanceled(t *testing.T) {
	t.Parallel()
	if !errors.Is(fault.Terminated, context.Canceled) {
		t.Error("code that knows contexts only does not see the end")
	}
}

func TestCount(t *testing.T) {
	t.Parallel()
	for n, want := range []string{"0 servers", "1 server", "2 servers"} {
		if got := fault.Count(n, "server"); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
}
