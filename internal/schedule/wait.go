package schedule

import (
	"container/list"
	"fmt"
	"iter"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// runQueue holds the runs that wait for a server, in the order in which they came. Of those that may go anywhere none is looked
// at when the first has to wait: a hundred thousand may be there before thousands of servers are, each of which is an event.
type runQueue struct {
	anywhere list.List                    // of *wire.Run
	bound    list.List                    // of *wire.Run: for one server or node
	at       map[wire.JobID]*list.Element // in either
	bytes    int                          // of their arguments and names
}

// of returns the list that f belongs in.
func (q *runQueue) of(f *wire.Run) *list.List {
	if f.Where == (wire.Where{}) {
		return &q.anywhere
	}
	return &q.bound
}

// add puts a run behind the others.
func (q *runQueue) add(f *wire.Run) {
	if q.at == nil {
		q.at = map[wire.JobID]*list.Element{}
	}
	q.at[f.Job] = q.of(f).PushBack(f)
	q.bytes += runBytes(f)
}

// remove takes a run out, and returns it; nil when it does not wait.
func (q *runQueue) remove(id wire.JobID) *wire.Run {
	e := q.at[id]
	if e == nil {
		return nil
	}
	delete(q.at, id)
	f := e.Value.(*wire.Run)
	q.of(f).Remove(e)
	q.bytes -= runBytes(f)
	return f
}

func (q *runQueue) len() int { return len(q.at) }

// Bounds of what waits for a server, when its client is elsewhere: what it holds here it would not hold itself.
const (
	maxWaiting      = 1 << 20
	maxWaitingBytes = 1 << 30 // of arguments and names
)

// runBytes is how many bytes of a run its client chooses.
func runBytes(f *wire.Run) int {
	return len(f.Call.Arg) + len(f.Call.Func) + len(f.Call.Type) + len(f.Where.Node) + len(f.Where.Host)
}

// full says why f cannot wait, too; nil when it can.
func (q *runQueue) full(f *wire.Run) error {
	if q.len() < maxWaiting && q.bytes+runBytes(f) <= maxWaitingBytes {
		return nil
	}
	return fmt.Errorf("%d runs, with %d bytes of arguments and names, wait for a server at the scheduler, which keeps at most %d and %d: "+
		"start fewer at a time, or use RemoteCoroScheduler, whose arguments wait at the client: %w",
		q.len(), q.bytes, maxWaiting, maxWaitingBytes, fault.Rejected)
}

func (q *runQueue) has(id wire.JobID) bool { return q.at[id] != nil }

// all returns every run that waits; each may be removed when it comes.
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

// place takes out the runs that try deals with, which reports false of one that has to wait.
func (q *runQueue) place(try func(*wire.Run) bool) {
	for f := range q.all() {
		switch {
		case try(f):
			q.remove(f.Job)
		case f.Where == (wire.Where{}):
			return
		}
	}
}
