package discoro

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
)

// Outcome is how one item of [AsCompleted] ended.
type Outcome[R any] struct {
	Index    int      // the position of the argument, from 0; -1: see AsCompleted
	Value    R        // the result, when Err is nil
	Err      error    // an error that Execute would return
	Server   Location // where the item ran last
	Attempts int      // how often it was run: more than 1 when servers were lost while they ran it
}

// MapResults runs f with each of args, at most one at a time at each server, and returns the
// results in the order of args. It reads args only as servers become free, or a little ahead; see
// [AsCompleted]. It blocks until every item has ended, or ctx ends: then it terminates what still
// runs and returns.
//
// When items fail, MapResults returns every result that it has, and zero values in place of the
// others, together with errors.Join of the failures. Each failure names the index of its item. When
// ctx ends, its error is among them.
func MapResults[A, R any](ctx context.Context, s *RemoteCoroScheduler, f Func[A, R], args iter.Seq[A]) ([]R, error) {
	var results []R
	var errs []error
	for out := range AsCompleted(ctx, s, f, args) {
		if out.Index < 0 {
			errs = append(errs, out.Err)
			continue
		}
		for len(results) <= out.Index {
			var zero R
			results = append(results, zero)
		}
		results[out.Index] = out.Value
		if out.Err != nil {
			errs = append(errs, fault.Because(out.Err, "item %d", out.Index))
		}
	}
	return results, errors.Join(errs...)
}

// AsCompleted runs f with each of args, at most one at a time at each server, and yields each
// outcome as it comes. The iterator is for one loop, in one goroutine or coroutine.
//
// It reads args only as servers become free. With [RCSConfig].Retries, where items take less than a
// millisecond, it reads up to 15 more for each server. They wait at that server until the item
// before them has ended, and are run elsewhere when that takes long.
//
// An item whose server was lost is run again, as often as RCSConfig.Retries allows, and never at
// two servers at once as far as the client can know: a server that is only cut off terminates what
// it runs when it notices that.
//
// When ctx ends, what runs is terminated. Each item that was under way is yielded with ctx's error,
// and a last Outcome with Index -1 says why the remaining args were not read. Such an Outcome also
// comes when the computation is over or could not be scheduled. When the loop is left early, what
// runs is terminated, too. AsCompleted does not look at ctx while it waits for args to give the
// next argument.
//
// Neither args nor the loop's body holds back a server: both may run other tasks and maps with s,
// however long that takes.
func AsCompleted[A, R any](
	ctx context.Context, s *RemoteCoroScheduler, f Func[A, R], args iter.Seq[A],
) iter.Seq[Outcome[R]] {
	return func(yield func(Outcome[R]) bool) {
		if err := s.awaitReady(ctx); err != nil {
			yield(Outcome[R]{Index: -1, Err: err})
			return
		}
		m := &mapping[A, R]{s: s, f: f, yield: yield, sent: map[int]*item[R]{}, lines: map[*rcsServer]*mapLine[R]{}}
		m.claim.pool, m.claim.notify = &s.pool, func() { m.events.put(mapEvent[R]{}) }
		defer m.leave()
		m.run(ctx, args)
	}
}

// mapping is one AsCompleted under way. It belongs to the goroutine or coroutine of the loop,
// except for claim and events, which have locks of their own.
type mapping[A, R any] struct {
	s     *RemoteCoroScheduler
	f     Func[A, R]
	yield func(Outcome[R]) bool

	fresh  *item[R]         // was read, and has not been sent; nil: none
	again  []*item[R]       // to be run again
	sent   map[int]*item[R] // to servers, by index
	lines  map[*rcsServer]*mapLine[R]
	busy   int          // lines that are not empty
	room   []*rcsServer // where one more item may wait, perhaps
	timer  *time.Timer  // puts a tick; nil: none is due
	claim  rcsClaim     // to the next free server
	events eventQueue[mapEvent[R]]
}

// item is one argument.
type item[R any] struct {
	index    int
	call     Call[R]
	attempts int
	server   Location
	job      *job
	took     time.Duration // from its start to its end, as the client received them

	at    *rcsServer  // the server that it is sent to
	line  *mapLine[R] // that server's
	back  bool        // it is being taken back
	alone bool        // a server that had it was lost: nothing waits behind it
}

// mapEvent is the end of an item, or a tick. An event that is neither makes the mapping check again
// whether a server is free.
type mapEvent[R any] struct {
	tick bool
	item *item[R]
	out  call.Outcome
}

// run reads args and runs an item for each, until all have ended. It waits for a server, or for
// room at one, before it reads the argument that goes there.
func (m *mapping[A, R]) run(ctx context.Context, args iter.Seq[A]) {
	if !m.pump(ctx, true) {
		return
	}
	index := 0
	for arg := range args {
		m.fresh = &item[R]{index: index, call: m.f.With(arg)}
		index++
		if !m.pump(ctx, true) {
			return
		}
	}
	m.pump(ctx, false)
}

// progress is the result of a step of a pump.
type progress int

const (
	goesOn  progress = iota // the pump takes its next step
	hasRoom                 // the next argument may be read
	isLeft                  // the loop has been left: there is nothing more to do
)

// pump sends items to servers and handles their ends: where more is set, until there is room for
// the next argument; otherwise until every item has ended. It returns false when nothing is left to
// do. When pump returns, it holds no server: the code that gives the next argument may need one.
func (m *mapping[A, R]) pump(ctx context.Context, more bool) bool {
	defer m.claim.stepOut()
	for {
		it := m.next()
		switch {
		case more || it != nil:
			m.claim.ask()
		case len(m.sent) == 0:
			return true
		default:
			m.claim.stepOut()
		}
		m.watchLong()
		p, err := m.step(ctx, it, more)
		switch {
		case err != nil:
			m.abort(err, more)
			return false
		case p != goesOn:
			return p == hasRoom
		}
	}
}

// step handles the events that have come. If there are none, it sends the item it to a server, or
// finds out that there is room for the next argument, or waits for an event.
func (m *mapping[A, R]) step(ctx context.Context, it *item[R], more bool) (progress, error) {
	if events := m.events.poll(); len(events) > 0 {
		return m.handle(events), nil
	}
	sv, ok, err := m.serverFor(ctx, it, more)
	switch {
	case err != nil:
		return isLeft, err
	case ok && it == nil:
		return hasRoom, nil
	case ok:
		return m.launch(sv, it), nil
	}
	events, err := m.take(ctx)
	if err != nil {
		return isLeft, err
	}
	return m.handle(events), nil
}

func (m *mapping[A, R]) handle(events []mapEvent[R]) progress {
	for _, e := range events {
		if e.tick {
			m.takeLongBack()
		}
		if e.item != nil && m.itemEnded(e.item, e.out) == isLeft {
			return isLeft
		}
	}
	return goesOn
}

// next returns the next item to send, nil when there is none.
func (m *mapping[A, R]) next() *item[R] {
	if n := len(m.again); n > 0 {
		return m.again[n-1]
	}
	return m.fresh
}

// serverFor takes a server for the item it; ok is false if none is free yet. If it is nil and more
// is set, serverFor only finds out whether a server is free, and does not take it.
func (m *mapping[A, R]) serverFor(ctx context.Context, it *item[R], more bool) (sv *rcsServer, ok bool, err error) {
	if it == nil && !more {
		return nil, false, nil // none is needed
	}
	sv, closed := m.claim.held()
	ended := ctx.Err()
	switch {
	case sv != nil && m.events.some(): // the end of the server's last item comes first
		return nil, false, nil
	case sv != nil && ended != nil: // with servers faster than arguments, nobody would ever wait and see it
		return nil, false, ended
	case sv != nil:
		if it != nil {
			m.claim.take()
		}
		return sv, true, nil
	case closed:
		return nil, false, m.s.errClosed(m.f.name)
	case ended != nil:
		return nil, false, nil //nolint:nilerr // take returns it, with what was waited for
	case len(m.again) > 0: // such an item does not wait behind another
		return nil, false, nil
	}
	if sv = m.ahead(); sv != nil && it == nil {
		m.s.pool.release(sv)
	}
	return sv, sv != nil, nil
}

// take waits for events. While nothing runs, the log has a report of what the mapping waits for.
func (m *mapping[A, R]) take(ctx context.Context) ([]mapEvent[R], error) {
	if len(m.sent) > 0 {
		return m.events.take(ctx, m.s.rt)
	}
	what := "a free server for " + m.f.name
	stop := m.s.comp.logWait(what, m.s.report)
	defer stop()
	events, err := m.events.take(ctx, m.s.rt)
	if err != nil && m.s.comp.scheduler() != nil {
		err = noServer(what, m.s.report(), err)
	}
	return events, err
}

// yieldOutcome runs the loop's body with an outcome.
func (m *mapping[A, R]) yieldOutcome(out Outcome[R]) progress {
	m.claim.stepOut()
	if !m.yield(out) {
		return isLeft
	}
	return goesOn
}

// launch runs an item at a server.
func (m *mapping[A, R]) launch(sv *rcsServer, it *item[R]) progress {
	if it == m.fresh {
		m.fresh = nil
	} else {
		m.again = m.again[:len(m.again)-1]
	}
	it.attempts++
	it.server = sv.loc
	m.enter(sv, it)
	j, err := m.s.start(sv, it.call, func(j *job, out call.Outcome) {
		it.took = time.Since(j.begunAt())
		// This does not wake the mapping: the wake below does, when the server is free again, too.
		m.events.add(mapEvent[R]{item: it, out: out})
	})
	if err != nil {
		return m.itemEnded(it, call.Outcome{Err: err})
	}
	it.job = j
	j.done.OnDone(func(call.Outcome) { m.events.wake() })
	return goesOn
}

// itemEnded yields the outcome of an item, or has the item run again.
func (m *mapping[A, R]) itemEnded(it *item[R], out call.Outcome) progress {
	var lost *ServerLostError
	isLost := errors.As(out.Err, &lost)
	begun := m.exit(it, isLost)
	it.alone = it.alone || isLost
	switch {
	case isLost && !begun:
		it.attempts-- // that was none
		m.again = append(m.again, it)
		return goesOn
	case isLost && it.attempts <= m.s.cfg.Retries:
		m.again = append(m.again, it)
		return goesOn
	case isLost:
		out.Err = attempts(out.Err, it.attempts)
	}
	if turnedAway(out.Err) && it.job != nil && !it.job.hasStarted() {
		if !it.back {
			m.s.pool.drop(it.at)
		}
		it.attempts-- // that was none
		m.again = append(m.again, it)
		return goesOn
	}
	v, err := resultAs[R](m.s.rt, out, m.f.name)
	return m.yieldOutcome(Outcome[R]{Index: it.index, Value: v, Err: err, Server: it.server, Attempts: it.attempts})
}

// abort yields each item that was under way with err, and then an Outcome that says why the
// remaining arguments were not read.
func (m *mapping[A, R]) abort(err error, unread bool) {
	for _, it := range m.sent {
		if m.yieldOutcome(Outcome[R]{Index: it.index, Err: err, Server: it.server, Attempts: it.attempts}) == isLeft {
			return
		}
	}
	for _, it := range m.again {
		if m.yieldOutcome(Outcome[R]{Index: it.index, Err: err, Server: it.server, Attempts: it.attempts}) == isLeft {
			return
		}
	}
	if it := m.fresh; it != nil && m.yieldOutcome(Outcome[R]{Index: it.index, Err: err}) == isLeft {
		return
	}
	if unread {
		m.yieldOutcome(Outcome[R]{Index: -1, Err: fault.Because(err, "map %s: not all arguments were read", m.f.name)})
	}
}

// leave terminates what is under way, and gives back the claim to a server.
func (m *mapping[A, R]) leave() {
	m.claim.quit()
	if m.timer != nil {
		m.timer.Stop()
	}
	for _, it := range m.sent { // those that wait come first: otherwise one of them might start
		if it != it.line.items[0] {
			m.takeBack(it)
		}
	}
	for _, it := range m.sent {
		if it.job == nil {
			continue
		}
		it.job.started.OnDone(func(out call.Outcome) {
			if c, ok := out.Value.(*Coro); ok {
				_ = c.Terminate()
			}
		})
	}
	m.events.close()
}

// eventQueue hands events to one waiter. put never blocks.
type eventQueue[T any] struct {
	mu     sync.Mutex // guards following; leaf
	items  []T
	waiter *call.Call
	closed bool
}

// put adds v, unless the queue is closed, and wakes the waiter.
func (q *eventQueue[T]) put(v T) {
	q.add(v)
	q.wake()
}

// add adds v, unless the queue is closed. A wake must follow.
func (q *eventQueue[T]) add(v T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.items = append(q.items, v)
	}
}

// wake wakes the waiter.
func (q *eventQueue[T]) wake() {
	q.mu.Lock()
	k := q.waiter
	q.waiter = nil
	q.mu.Unlock()
	if k != nil {
		k.Finish(call.Outcome{})
	}
}

// close makes put and add do nothing, and drops what was not taken.
func (q *eventQueue[T]) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed, q.items = true, nil
}

// poll takes all events, without waiting.
func (q *eventQueue[T]) poll() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	q.items = nil
	return items
}

// some reports whether there are events.
func (q *eventQueue[T]) some() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items) > 0
}

// take waits until there are events or ctx ends, and takes them all.
func (q *eventQueue[T]) take(ctx context.Context, rt *Runtime) ([]T, error) {
	for {
		q.mu.Lock()
		items := q.items
		q.items = nil
		k := call.New(waitResults, nil)
		if len(items) == 0 {
			q.waiter = k
		}
		q.mu.Unlock()
		if len(items) > 0 {
			return items, nil
		}
		if _, err := rt.wait(ctx, k); err != nil {
			return nil, err
		}
	}
}
