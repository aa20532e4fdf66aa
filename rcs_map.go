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
	Index    int      // of the argument, from 0
	Value    R        // the result, when Err is nil
	Err      error    // as Execute returns it
	Server   Location // where it ran last
	Attempts int      // how often it was run: more than 1 when servers were lost while they ran it
}

// MapResults runs f with each of args, one at a server at a time, and returns the results in the order of args. It
// reads args only as servers come free, or a little ahead; see AsCompleted. When items fail it returns every result it has, zero values in the place of those
// that failed, together with errors.Join of the failures, each of which tells its index. When ctx ends, what runs is
// terminated and MapResults returns; ctx's error is among the failures.
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

// AsCompleted runs f with each of args, one at a server at a time, and yields each outcome as it comes. It reads args only
// as servers come free; with RCSConfig.Retries, where items take less than a millisecond, up to 15 more for each server, which wait
// there for their turn, and are run elsewhere when it does not come soon. An item whose server was lost is run again as RCSConfig.Retries allows, never at two servers at
// once, as far as can be known here: a server that is merely cut off ends what it runs when it notices that, too. When ctx
// ends, or the loop is left, what runs is terminated; with ctx, each item that was under way is yielded with ctx's error, and
// last an Outcome with Index -1 tells why the rest was not read. While args gives no next argument, ctx is not looked at. Neither
// args nor the loop's body keeps a server waiting: both may run tasks, and maps, with s, and what takes long there holds up nobody else. The
// same Outcome tells that the computation is over or could not be scheduled. It is to be ranged over once, by one goroutine or coroutine.
func AsCompleted[A, R any](ctx context.Context, s *RemoteCoroScheduler, f Func[A, R], args iter.Seq[A]) iter.Seq[Outcome[R]] {
	return func(yield func(Outcome[R]) bool) {
		if err := s.awaitReady(ctx); err != nil {
			yield(Outcome[R]{Index: -1, Err: err})
			return
		}
		m := &mapping[A, R]{s: s, f: f, yield: yield, under: map[int]*item[R]{}, lines: map[*rcsServer]*mapLine[R]{}}
		defer m.leave()
		m.run(ctx, args)
	}
}

// mapping is one AsCompleted under way. It belongs to who ranges over it, but for events and what mu guards.
type mapping[A, R any] struct {
	s     *RemoteCoroScheduler
	f     Func[A, R]
	yield func(Outcome[R]) bool

	fresh  *item[R]         // was read, and has not been sent; nil: none
	again  []*item[R]       // to be run again
	under  map[int]*item[R] // sent to a server
	lines  map[*rcsServer]*mapLine[R]
	busy   int          // lines that are not empty
	room   []*rcsServer // where one more item may wait, perhaps
	timer  *time.Timer  // puts a tick; nil: no
	cancel func() bool  // takes back the last wait for a server; nil: there was none
	events eventQueue[mapEvent[R]]

	mu     sync.Mutex   // guards following; leaf
	got    *call.Future // the wait for a server; nil: it is over
	server *rcsServer   // was given, and is not used yet
	closed bool         // none is given any more
	out    bool         // user code runs, which may need a server itself: what is given now others may have
	passed bool         // they had it: the next wait is the first in the line
}

// item is one argument.
type item[R any] struct {
	index    int
	call     Call[R]
	attempts int
	server   Location
	job      *job
	took     time.Duration // from its start to its end, as word of them came

	at    *rcsServer  // whose it is while it is sent there
	line  *mapLine[R] // that server's
	back  bool        // it is being taken back
	alone bool        // a server where it was has been lost: nothing is to wait behind it
}

// mapEvent is an item's end, a tick, or only word that a wait for a server is over.
type mapEvent[R any] struct {
	tick bool
	item *item[R]
	out  call.Outcome
}

// run goes on until every item has ended. A server, or room at one, is waited for before the argument is read that it is to have.
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

// pump handles events, and sends items to servers, until there is room for the next argument or, when none is wanted, until
// every item has ended. It reports false when nothing more is to be done. It keeps no server for who is to give that argument.
func (m *mapping[A, R]) pump(ctx context.Context, want bool) bool {
	defer m.stepOut()
	for {
		it := m.next()
		switch {
		case want || it != nil:
			m.ask()
		case len(m.under) == 0:
			return true
		default:
			m.stepOut()
		}
		m.watchLong()
		events := m.events.poll()
		if len(events) == 0 {
			sv, err := m.serve(ctx, it, want)
			switch {
			case err != nil:
			case sv == nil:
				events, err = m.take(ctx)
			case it == nil:
				return true
			case !m.launch(sv, it):
				return false
			}
			if err != nil {
				m.abort(err, want)
				return false
			}
		}
		for _, e := range events {
			if e.tick {
				m.takeLongBack()
			}
			if e.item != nil && !m.ended(e.item, e.out) {
				return false
			}
		}
	}
}

// next returns the item that is to be sent next, nil when there is none.
func (m *mapping[A, R]) next() *item[R] {
	if n := len(m.again); n > 0 {
		return m.again[n-1]
	}
	return m.fresh
}

// serve returns a server for it, nil when there is none yet. Without an item it tells, when one is wanted, whether there is a
// server; that is kept no longer than the user's code lets it.
func (m *mapping[A, R]) serve(ctx context.Context, it *item[R], want bool) (*rcsServer, error) {
	if it == nil && !want {
		return nil, nil //nolint:nilnil // none is needed
	}
	m.mu.Lock()
	sv, closed := m.server, m.closed
	m.mu.Unlock()
	switch ended := ctx.Err() != nil; {
	case sv != nil && m.events.some(): // the end of what ran there, first
		return nil, nil //nolint:nilnil // who waits is told
	case sv != nil && ended: // servers may come faster than arguments, and never be waited for
		return nil, ctx.Err()
	case sv != nil && it != nil:
		m.mu.Lock()
		m.server = nil
		m.mu.Unlock()
		return sv, nil
	case sv != nil:
		return sv, nil
	case closed:
		return nil, m.s.errClosed(m.f.name)
	case ended:
		return nil, nil //nolint:nilnil,nilerr // who waits is told
	case len(m.again) > 0:
		return nil, nil //nolint:nilnil // it is not to wait behind another
	}
	if sv = m.ahead(); sv != nil && it == nil {
		m.s.pool.release(sv)
	}
	return sv, nil
}

// take waits for events; while nothing runs it says what it waits for.
func (m *mapping[A, R]) take(ctx context.Context) ([]mapEvent[R], error) {
	if len(m.under) > 0 {
		return m.events.take(ctx, m.s.rt)
	}
	what := "a free server for " + m.f.name
	stop := m.s.comp.explain(what, m.s.report)
	defer stop()
	events, err := m.events.take(ctx, m.s.rt)
	if err != nil && m.s.comp.scheduler() != nil {
		err = noServer(what, m.s.report(), err)
	}
	return events, err
}

// ask waits for one more server.
func (m *mapping[A, R]) ask() {
	var got *call.Future
	m.mu.Lock()
	m.out = false
	first := m.passed
	if m.got == nil && m.server == nil && !m.closed {
		got = &call.Future{}
		m.got, m.passed = got, false
	}
	m.mu.Unlock()
	if got == nil {
		return
	}
	m.cancel = m.s.pool.acquire(got, first)
	got.OnDone(func(out call.Outcome) { m.given(serverIn(out)) })
}

// given takes the server that was waited for, nil when there will be none, unless user code runs: then others may have it.
func (m *mapping[A, R]) given(sv *rcsServer) {
	m.mu.Lock()
	m.got = nil
	m.closed = m.closed || sv == nil
	pass := m.out && sv != nil
	if pass {
		m.passed = true
	} else {
		m.server = sv
	}
	m.mu.Unlock()
	if pass {
		m.s.pool.release(sv)
		return
	}
	m.events.put(mapEvent[R]{})
}

// stepOut lets others have the server that this waits for, or has, until the next ask: user code is to run.
func (m *mapping[A, R]) stepOut() {
	m.mu.Lock()
	sv := m.server
	m.server, m.out = nil, true
	m.passed = m.passed || sv != nil
	m.mu.Unlock()
	m.s.pool.release(sv)
}

// tell yields an outcome.
func (m *mapping[A, R]) tell(out Outcome[R]) bool {
	m.stepOut()
	return m.yield(out)
}

// launch runs an item at a server; it reports false when the loop was left.
func (m *mapping[A, R]) launch(sv *rcsServer, it *item[R]) bool {
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
		m.events.add(mapEvent[R]{item: it, out: out}) // without a wake: in a moment there is the server, too
	})
	if err != nil {
		return m.ended(it, call.Outcome{Err: err})
	}
	it.job = j
	j.done.OnDone(func(call.Outcome) { m.events.wake() })
	return true
}

// ended takes the end of an item: it is run again, or yielded.
func (m *mapping[A, R]) ended(it *item[R], out call.Outcome) bool {
	var lost *ServerLostError
	isLost := errors.As(out.Err, &lost)
	begun := m.exit(it, isLost)
	it.alone = it.alone || isLost
	if isLost && !begun {
		it.attempts--
		m.again = append(m.again, it)
		return true
	}
	if isLost {
		if it.attempts <= m.s.cfg.Retries {
			m.again = append(m.again, it)
			return true
		}
		out.Err = attempts(out.Err, it.attempts)
	}
	if turnedAway(out.Err) && it.job != nil && !it.job.ran() {
		if !it.back {
			m.s.pool.drop(it.at)
		}
		it.attempts-- // that was none
		m.again = append(m.again, it)
		return true
	}
	v, err := resultAs[R](m.s.rt, out, m.f.name)
	return m.tell(Outcome[R]{Index: it.index, Value: v, Err: err, Server: it.server, Attempts: it.attempts})
}

// ran reports whether the job was started somewhere.
func (j *job) ran() bool {
	return j.startedAs() != nil
}

// begunAt returns when word came that the job has started; zero: it has not.
func (j *job) begunAt() time.Time {
	j.comp.mu.Lock()
	defer j.comp.mu.Unlock()
	return j.begun
}

// abort yields what was under way with err, and why the rest was not read.
func (m *mapping[A, R]) abort(err error, unread bool) {
	for _, it := range m.under {
		if !m.tell(Outcome[R]{Index: it.index, Err: err, Server: it.server, Attempts: it.attempts}) {
			return
		}
	}
	for _, it := range m.again {
		if !m.tell(Outcome[R]{Index: it.index, Err: err, Server: it.server, Attempts: it.attempts}) {
			return
		}
	}
	if it := m.fresh; it != nil && !m.tell(Outcome[R]{Index: it.index, Err: err}) {
		return
	}
	if unread {
		m.tell(Outcome[R]{Index: -1, Err: fault.Because(err, "map %s: not all arguments were read", m.f.name)})
	}
}

// leave ends what is under way and gives back what was waited for.
func (m *mapping[A, R]) leave() {
	if m.cancel != nil {
		m.cancel()
	}
	m.stepOut() // what is given all the same, others may have
	if m.timer != nil {
		m.timer.Stop()
	}
	for _, it := range m.under { // first, lest their turn comes
		if it != it.line.items[0] {
			m.takeBack(it)
		}
	}
	for _, it := range m.under {
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

// eventQueue brings events to one waiter. put never blocks.
type eventQueue[T any] struct {
	mu     sync.Mutex // guards following; leaf
	items  []T
	waiter *call.Call
	closed bool
}

// put adds v, unless the queue is closed, and wakes who waits.
func (q *eventQueue[T]) put(v T) {
	q.add(v)
	q.wake()
}

// add adds v, unless the queue is closed; a wake must follow.
func (q *eventQueue[T]) add(v T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.items = append(q.items, v)
	}
}

// wake wakes who waits.
func (q *eventQueue[T]) wake() {
	q.mu.Lock()
	k := q.waiter
	q.waiter = nil
	q.mu.Unlock()
	if k != nil {
		k.Finish(call.Outcome{})
	}
}

// close makes put fail, and drops what was not taken.
func (q *eventQueue[T]) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed, q.items = true, nil
}

// poll takes the events that there are.
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
