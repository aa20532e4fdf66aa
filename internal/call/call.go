package call

import (
	"sync"

	"github.com/discoro/discoro/wire"
)

// Outcome is how a coroutine ended, or the answer to a call.
type Outcome struct {
	Value  any           // what a coroutine of this runtime returned
	Remote *wire.Outcome // the value as it came from another runtime, still encoded
	Err    error         // why there is no value
}

// Answerer takes the answer to a call. Finish never blocks, and is called once.
type Answerer interface{ Finish(Outcome) }

// Func is a function as an Answerer.
type Func func(Outcome)

// Finish calls f.
func (f Func) Finish(out Outcome) { f(out) }

// Waker is a waiter that Finish can wake: a coroutine.
type Waker interface {
	// Wake ends the waiter's wait number seq. It never blocks.
	Wake(seq uint64)
}

// Call is one wait for one answer. One goroutine or coroutine waits; any may finish it.
type Call struct {
	why string // immutable: what the waiter waits for
	of  any    // immutable: the coroutine that the waiter waits for; nil: none

	mu    sync.Mutex // guards following; leaf
	done  bool
	out   Outcome
	waker Waker         // waits
	seq   uint64        // of waker's wait
	ch    chan struct{} // made by Done, closed by Finish
}

// New returns a call. why says what is waited for, and of for whom, as the state of a coroutine
// that waits shows them; of may be nil.
func New(why string, of any) *Call { return &Call{why: why, of: of} }

// Why returns what is waited for.
func (c *Call) Why() string { return c.why }

// Of returns whom the call waits for, as New got it.
func (c *Call) Of() any { return c.of }

// Finish answers c. Only the first answer counts. It never blocks.
func (c *Call) Finish(out Outcome) {
	c.mu.Lock()
	if c.done {
		c.mu.Unlock()
		return
	}
	c.done, c.out = true, out
	waker, seq, ch := c.waker, c.seq, c.ch
	c.mu.Unlock()
	if ch != nil {
		close(ch)
	}
	if waker != nil {
		waker.Wake(seq)
	}
}

// Result returns the answer, and whether there is one.
func (c *Call) Result() (Outcome, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out, c.done
}

// Attach makes Finish wake wait number seq of w. It returns false when c is finished already; then
// nobody wakes w.
func (c *Call) Attach(w Waker, seq uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waker, c.seq = w, seq
	return !c.done
}

// Done returns a channel that is closed when c is finished.
func (c *Call) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ch == nil {
		c.ch = make(chan struct{})
		if c.done {
			close(c.ch)
		}
	}
	return c.ch
}
