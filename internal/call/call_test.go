package call

import (
	"errors"
	"testing"
)

var errTest = errors.New("test")

// waiter counts wakes of its waits.
type waiter map[uint64]int

func (w waiter) Wake(seq uint64) { w[seq]++ }

func TestCall(t *testing.T) {
	t.Parallel()
	c := New("Ask", 7)
	if c.Why() != "Ask" || c.Of() != 7 {
		t.Errorf("the call is for %q of %v", c.Why(), c.Of())
	}
	if _, done := c.Result(); done {
		t.Error("a new call is finished")
	}
	w, early := waiter{}, c.Done()
	if !c.Attach(w, 3) {
		t.Error("a new call cannot be waited for")
	}
	c.Finish(Outcome{Value: 1})
	c.Finish(Outcome{Err: errTest})
	if out, done := c.Result(); !done || out.Value != 1 || out.Err != nil {
		t.Errorf("the answer is %v, %v, want the first", out, done)
	}
	if w[3] != 1 || len(w) != 1 {
		t.Errorf("wakes: %v, want one, of wait 3", w)
	}
	<-early
	<-c.Done() // also when nobody has asked for it before
	late := New("Ask", nil)
	late.Finish(Outcome{})
	<-late.Done()
	if late.Attach(w, 4) || w[4] != 0 {
		t.Error("a finished call was waited for, or woke somebody")
	}
}

func TestFuture(t *testing.T) {
	t.Parallel()
	var f Future
	var got []error
	note := func(out Outcome) { got = append(got, out.Err) }
	f.OnDone(note)
	forget := f.OnDone(note)
	f.OnDone(note)
	forget()
	if _, done := f.Peek(); done || f.IsDone() {
		t.Error("a new future is set")
	}
	f.Set(Outcome{Err: errTest})
	f.Set(Outcome{})
	f.OnDone(note)() // at once; there is nothing to forget
	if out, done := f.Peek(); !done || !errors.Is(out.Err, errTest) || !f.IsDone() {
		t.Errorf("the answer is %v, %v, want the first", out, done)
	}
	if len(got) != 3 {
		t.Fatalf("%d functions were called, want 3", len(got))
	}
	for _, err := range got {
		if !errors.Is(err, errTest) {
			t.Errorf("called with %v, want the first answer", err)
		}
	}
}
