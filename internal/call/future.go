package call

import (
	"slices"
	"sync"
)

// Future is an answer that any number of callers may wait for. The zero value has none yet.
type Future struct {
	mu    sync.Mutex // guards following; leaf
	done  bool
	out   Outcome
	thens []*then
}

// then is a function that is called when a future is set. It has an address, by which OnDone's
// stop finds it.
type then struct {
	call func(Outcome)
}

// Set answers f. Only the first answer counts. It calls the functions that OnDone got, which do
// not block.
func (f *Future) Set(out Outcome) {
	f.mu.Lock()
	if f.done {
		f.mu.Unlock()
		return
	}
	f.done, f.out = true, out
	thens := f.thens
	f.thens = nil
	f.mu.Unlock()
	for _, t := range thens {
		t.call(out)
	}
}

// OnDone calls call once f is set, at once if it is set already. call must not block. stop makes
// OnDone forget call; where f has just been set, call may run all the same.
func (f *Future) OnDone(call func(Outcome)) (stop func()) {
	t := &then{call: call}
	f.mu.Lock()
	done, out := f.done, f.out
	if !done {
		f.thens = append(f.thens, t)
	}
	f.mu.Unlock()
	if done {
		call(out)
		return func() {}
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if i := slices.Index(f.thens, t); i >= 0 {
			f.thens = slices.Delete(f.thens, i, i+1)
		}
	}
}

// IsDone reports whether f is set.
func (f *Future) IsDone() bool {
	_, done := f.Peek()
	return done
}

// Peek returns the answer, and whether there is one. It does not wait.
func (f *Future) Peek() (Outcome, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.out, f.done
}
