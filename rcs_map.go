package discoro

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"
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
			errs = append(errs, fmt.Errorf("item %d: %w", out.Index, out.Err))
		}
	}
	return results, errors.Join(errs...)
}

// AsCompleted runs f with each of args, one at a server at a time, and yields each outcome as it comes. It reads args only
// as servers come free; with RCSConfig.Retries, where items take less than a millisecond, up to 15 more for each server, which wait
// there for their turn, and are run elsewhere when it does not come soon. An item whose server was lost is run again as RCSConfig.Retries allows, never at two servers at
// once, as far as can be known here: a server that is merely cut off ends what it runs when it notices that, too. When ctx
// ends, or the loop is left, what runs is terminated; with ctx, each item that was under way is yielded with ctx's error, and
// last an Outcome with Index -1 tells why the rest was not read. While args gives no next argument, ctx is not looked at. The
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

// mapping is one AsCompleted under way. It belongs to who ranges over it, but for events.
type mapping[A, R any] struct {
	s     *RemoteCoroScheduler
	f     Func[A, R]
	yield func(Outcome[R]) bool

	again  []*item[R]       // to be run again
	under  map[int]*item[R] // sent to a server
	lines  map[*rcsServer]*mapLine[R]
	busy   int          // lines that are not empty
	room   []*rcsServer // where one more item may wait, perhaps
	timer  *time.Timer  // puts a tick; nil: no
	got    *future      // the last wait for a server
	asked  func() bool  // takes it back; nil: it is over
	events eventQueue[mapEvent[R]]
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

// mapEvent is a server that was waited for, an item's end, or a tick.
type mapEvent[R any] struct {
	tick   bool
	server *rcsServer
	item   *item[R]
	out    outcome
}

// run goes on until every item has ended. A server, or room at one, is waited for before the argument is read that it is to have.
func (m *mapping[A, R]) run(ctx context.Context, args iter.Seq[A]) {
	sv, ok := m.pump(ctx, true)
	if !ok {
		return
	}
	index := 0
	for arg := range args {
		if ok = m.launch(sv, &item[R]{index: index, call: m.f.With(arg)}); !ok {
			return
		}
		index++
		if sv, ok = m.pump(ctx, true); !ok {
			return
		}
	}
	m.s.pool.release(sv)
	m.pump(ctx, false)
}

// pump handles events until there is a server for the next argument or, when none is wanted, until every item has ended. It
// reports false when nothing more is to be done.
func (m *mapping[A, R]) pump(ctx context.Context, want bool) (*rcsServer, bool) {
	for {
		if want || len(m.again) > 0 {
			m.ask()
		} else if len(m.under) == 0 {
			return nil, true
		}
		m.watchLong()
		events := m.events.poll()
		if len(events) == 0 && want && len(m.again) == 0 && ctx.Err() == nil {
			if sv := m.ahead(); sv != nil {
				return sv, true
			}
		}
		var err error
		if len(events) == 0 {
			events, err = m.take(ctx)
		}
		if err != nil {
			if len(m.under) == 0 && m.s.comp.scheduler() != nil {
				err = noServer("a free server for "+m.f.name, m.s.report(), err)
			}
			m.abort(err, want)
			return nil, false
		}
		var got *rcsServer
		for i, e := range events {
			ok := true
			switch {
			case e.tick:
				m.takeLongBack()
			case e.item != nil:
				ok = m.ended(e.item, e.out)
			case e.server == nil:
				m.asked = nil
				m.abort(m.s.errClosed(m.f.name), want)
				ok = false
			default:
				m.asked, got = nil, e.server
			}
			if !ok {
				m.putBack(append(events[i+1:], mapEvent[R]{server: got}))
				return nil, false
			}
		}
		switch n := len(m.again); {
		case got == nil:
		case ctx.Err() != nil: // servers may come faster than arguments, and never be waited for
			m.s.pool.release(got)
			m.abort(ctx.Err(), want)
			return nil, false
		case n > 0:
			it := m.again[n-1]
			m.again = m.again[:n-1]
			if !m.launch(got, it) {
				return nil, false
			}
		case want:
			return got, true
		default:
			m.s.pool.release(got)
		}
	}
}

// take waits for events; while nothing runs it says what it waits for.
func (m *mapping[A, R]) take(ctx context.Context) ([]mapEvent[R], error) {
	if len(m.under) == 0 {
		stop := m.s.comp.explain("a free server for "+m.f.name, m.s.report)
		defer stop()
	}
	return m.events.take(ctx, m.s.rt)
}

// ask waits for one more server.
func (m *mapping[A, R]) ask() {
	if m.asked != nil {
		return
	}
	got := &future{}
	m.got, m.asked = got, m.s.pool.acquire(got)
	got.onDone(func(out outcome) {
		sv := serverIn(out)
		if !m.events.put(mapEvent[R]{server: sv}) {
			m.s.pool.release(sv) // the loop was left
		}
	})
}

// launch runs an item at a server; it reports false when the loop was left.
func (m *mapping[A, R]) launch(sv *rcsServer, it *item[R]) bool {
	it.attempts++
	it.server = sv.loc
	m.enter(sv, it)
	j, err := m.s.start(sv, it.call)
	if err != nil {
		return m.ended(it, outcome{err: err})
	}
	it.job = j
	j.done.onDone(func(out outcome) {
		it.took = time.Since(j.begunAt())
		m.events.put(mapEvent[R]{item: it, out: out})
	})
	return true
}

// ended takes the end of an item: it is run again, or yielded.
func (m *mapping[A, R]) ended(it *item[R], out outcome) bool {
	var lost *ServerLostError
	isLost := errors.As(out.err, &lost)
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
		out.err = attempts(out.err, it.attempts)
	}
	if turnedAway(out.err) && it.job != nil && !it.job.ran() {
		if !it.back {
			m.s.pool.drop(it.at)
		}
		it.attempts-- // that was none
		m.again = append(m.again, it)
		return true
	}
	v, err := resultAs[R](m.s.rt, out, m.f.name)
	return m.yield(Outcome[R]{Index: it.index, Value: v, Err: err, Server: it.server, Attempts: it.attempts})
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
		if !m.yield(Outcome[R]{Index: it.index, Err: err, Server: it.server, Attempts: it.attempts}) {
			return
		}
	}
	for _, it := range m.again {
		if !m.yield(Outcome[R]{Index: it.index, Err: err, Server: it.server, Attempts: it.attempts}) {
			return
		}
	}
	if unread {
		m.yield(Outcome[R]{Index: -1, Err: fmt.Errorf("discoro: map %s: not all arguments were read: %w", m.f.name, err)})
	}
}

// leave ends what is under way and gives back what was waited for.
func (m *mapping[A, R]) leave() {
	if m.asked != nil {
		m.asked()
	}
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
		it.job.started.onDone(func(out outcome) {
			if c, ok := out.val.(*Coro); ok {
				_ = c.Terminate()
			}
		})
	}
	m.putBack(m.events.close())
}

// putBack releases servers among events that nobody will handle.
func (m *mapping[A, R]) putBack(events []mapEvent[R]) {
	for _, e := range events {
		if e.server != nil {
			m.s.pool.release(e.server)
		}
	}
}

// eventQueue brings events to one waiter. put never blocks.
type eventQueue[T any] struct {
	mu     sync.Mutex // guards following; leaf
	items  []T
	waiter *call
	closed bool
}

// put adds v; it reports false when nobody will take it.
func (q *eventQueue[T]) put(v T) bool {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return false
	}
	q.items = append(q.items, v)
	k := q.waiter
	q.waiter = nil
	q.mu.Unlock()
	if k != nil {
		k.finish(outcome{})
	}
	return true
}

// close makes put fail, and returns what was not taken.
func (q *eventQueue[T]) close() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	items := q.items
	q.items = nil
	return items
}

// poll takes the events that there are.
func (q *eventQueue[T]) poll() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	q.items = nil
	return items
}

// take waits until there are events or ctx ends, and takes them all.
func (q *eventQueue[T]) take(ctx context.Context, rt *Runtime) ([]T, error) {
	for {
		q.mu.Lock()
		items := q.items
		q.items = nil
		k := &call{why: waitResults}
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
