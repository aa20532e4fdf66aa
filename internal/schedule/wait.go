package schedule

import (
	"container/list"
	"fmt"
	"iter"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// runQueue holds the runs that wait for a server, in the order in which they came.
//
// Runs that may go anywhere have a list of their own: when the first of them has to wait, so do the
// others. A hundred thousand runs may wait before thousands of servers are ready, and each server
// is an event.
type runQueue struct {
	anywhere list.List                    // of *wire.Run
	bound    list.List                    // of *wire.Run: those for one server or node
	at       map[wire.JobID]*list.Element // in either list
	bytes    int                          // the sum of runBytes
}

// Bounds of the waiting runs of clients in other runtimes. A run costs such a client nothing while
// it waits here.
const (
	maxWaiting      = 1 << 20 // runs
	maxWaitingBytes = 1 << 30 // of their arguments and names
)

// runBytes returns the size of the parts of a run that its client chooses, in bytes.
func runBytes(f *wire.Run) int {
	return len(f.Call.Arg) + len(f.Call.Func) + len(f.Call.Type) + len(f.Where.Node) + len(f.Where.Host)
}

// full returns why f cannot wait as well; nil when it can.
func (q *runQueue) full(f *wire.Run) error {
	if q.len() < maxWaiting && q.bytes+runBytes(f) <= maxWaitingBytes {
		return nil
	}
	return fmt.Errorf("%d runs, with %d bytes of arguments and names, wait for a server at the scheduler, "+
		"which keeps at most %d and %d: start fewer at a time, or use RemoteCoroScheduler, "+
		"whose arguments wait at the client: %w",
		q.len(), q.bytes, maxWaiting, maxWaitingBytes, fault.Rejected)
}

// add appends a run.
func (q *runQueue) add(f *wire.Run) {
	if q.at == nil {
		q.at = map[wire.JobID]*list.Element{}
	}
	q.at[f.Job] = q.listOf(f).PushBack(f)
	q.bytes += runBytes(f)
}

// remove removes a run and returns it; nil when it does not wait.
func (q *runQueue) remove(id wire.JobID) *wire.Run {
	e := q.at[id]
	if e == nil {
		return nil
	}
	delete(q.at, id)
	f := e.Value.(*wire.Run)
	q.listOf(f).Remove(e)
	q.bytes -= runBytes(f)
	return f
}

func (q *runQueue) len() int { return len(q.at) }

func (q *runQueue) has(id wire.JobID) bool { return q.at[id] != nil }

// all returns every run that waits. The current run may be removed during the iteration.
func (q *runQueue) all() iter.Seq[*wire.Run] {
	return func(yield func(*wire.Run) bool) {
		for _, l := range []*list.List{&q.bound, &q.anywhere} {
			for e := l.Front(); e != nil; {
				f, next := e.Value.(*wire.Run), e.Next()
				if !yield(f) {
					return
				}
				e = next
			}
		}
	}
}

// place removes the runs that try returns true for. It returns false for a run that has to wait.
func (q *runQueue) place(try func(*wire.Run) bool) {
	for f := range q.all() {
		switch {
		case try(f):
			q.remove(f.Job)
		case q.listOf(f) == &q.anywhere:
			return // the others would have to wait, too
		}
	}
}

// listOf returns the list that f belongs in.
func (q *runQueue) listOf(f *wire.Run) *list.List {
	if f.Where == (wire.Where{}) {
		return &q.anywhere
	}
	return &q.bound
}
