package discoro

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/internal/turn"
)

// localCoro is a coroutine that runs in this runtime. The handle that users see is embedded in it.
type localCoro struct {
	Coro           // immutable
	task turn.Task // the coroutine as the turn sees it; runs Run

	fn        func(c *Coro) (any, error) // owned by the coroutine; nil once it runs
	pc        uintptr                    // immutable: where fn's code is; 0: isJob
	serves    *serverJob                 // immutable: the job that it or its spawner runs; nil: none
	public    uint64                     // guarded by Runtime.mu: its key; 0: no other runtime knows it
	g         atomic.Uintptr             // its goroutine while it runs
	yield     func(struct{}) bool        // owned by the coroutine: gives the turn to the runner
	box       mailbox                    // the messages; its fields say who may use them
	blocking  bool                       // owned by the coroutine: inside Blocking
	forgotten bool                       // guarded by Runtime.mu: no longer in the runtime's tables
	term      atomic.Bool                // it was terminated; written under mu, read by anybody
	sent      uint32                     // owned by the coroutine: sent messages that out does not count yet
	away      atomic.Bool                // it was once subscribed to a channel of another runtime
	joining   atomic.Int32               // its subscriptions to such channels that are under way

	mu      sync.Mutex // guards following; leaf
	waiting waitKind
	ending  bool         // its end has begun; of an abandoned one too, whose function still runs
	ended   bool         // its end can be seen: how no longer changes
	waitNo  uint64       // the number of the current wait: a wake-up for an earlier one does nothing
	room    *mailRoom    // what waits for room in box; nil: nothing has
	since   int64        // when it began what it does now, by the turn's clock
	call    *call.Call   // what it waits for when waiting is inCall
	out     uint64       // messages that it has sent, as far as they are counted
	how     call.Outcome // how it ended
	watches []*watch     // to be notified of its end
	life    *life        // the coroutine as a context; nil: nobody has asked for it
	grace   *time.Timer  // calls abandon; nil: it was not terminated
	names   []string     // the names that it is registered under
}

// life is a coroutine as a context, which is cancelled when the coroutine is terminated or has
// ended.
type life struct {
	ctx    context.Context //nolint:containedctx // the coroutine's own
	cancel context.CancelCauseFunc
}

// waitKind is what a coroutine waits for.
type waitKind uint8

const (
	inNothing  waitKind = iota // it runs
	inBlocking                 // it runs without the turn
	inTurn                     // it can run, and waits for its turn
	inReceive
	inSleep
	inCall // it waits for localCoro.call
)

// watch is a request to be notified when a coroutine ends.
type watch struct {
	to call.Answerer
	at int // guarded by localCoro.mu: its index in watches
}

// newLocal returns a coroutine that has not been started.
func (rt *Runtime) newLocal(name string, fn func(c *Coro) (any, error), seq uint64) *localCoro {
	l := &localCoro{fn: fn, pc: codeOf(fn), waiting: inTurn, since: rt.turn.Now()}
	l.Coro = Coro{rt: rt, home: rt.id, loc: rt.loc, seq: seq, name: name, local: l}
	l.task.Owner = l
	return l
}

// isJob reports whether the coroutine itself runs a job of a computation. A coroutine that a job
// spawned serves the same job, but runs a function of its own.
func (l *localCoro) isJob() bool { return l.serves != nil && l.pc == 0 }

// Run runs the coroutine's function. The turn calls it, in the coroutine's own goroutine.
func (l *localCoro) Run(yield func(struct{}) bool) {
	l.yield = yield
	l.g.Store(turn.GoroutineID())
	pprof.SetGoroutineLabels(l.rt.profiles.labels(l))
	out := call.Outcome{Err: errGoexit}
	defer func() {
		if p := recover(); p != nil {
			out = call.Outcome{Err: l.panicked(p)}
		}
		l.g.Store(0)
		l.yield = nil
		l.finish(out)
	}()
	l.running()
	fn := l.fn
	l.fn = nil
	if l.term.Load() {
		out = call.Outcome{Err: ErrTerminated}
		return
	}
	val, err := runMarked(fn, &l.Coro, l.mark())
	// errors.Is may call methods of the user. Here, a panic of theirs is a panic of the function.
	if errors.Is(err, context.Canceled) && l.term.Load() {
		val, err = nil, ErrTerminated
	}
	out = call.Outcome{Value: val, Err: err}
}

// panicked logs a panic and returns the error for it.
func (l *localCoro) panicked(value any) error {
	err := &PanicError{Value: value, Stack: trimStack(debug.Stack())}
	l.logger().Warn("coroutine panicked", slog.Any("panic", value), slog.String("stack", err.Stack))
	return err
}

// finish ends the coroutine: nothing more is put into its mailbox, and all that wait for its end
// are notified. Only the first call counts.
func (l *localCoro) finish(out call.Outcome) {
	l.mu.Lock()
	first := !l.ending
	l.ending = true
	l.mu.Unlock()
	if first {
		l.end(out)
	}
}

// end carries out the end once ending is set, in an order that others rely on: the names are free
// before any watcher is notified, and all watchers are notified before Close counts the coroutine
// as ended.
func (l *localCoro) end(out call.Outcome) {
	l.rt.freeNames(l)
	l.mu.Lock()
	l.ended, l.how = true, out
	life, watches, names := l.life, l.watches, l.names
	l.watches, l.names, l.box.first, l.box.last = nil, nil, nil, nil
	waiting := l.room.drain()
	if l.grace != nil {
		l.grace.Stop()
	}
	l.mu.Unlock()
	if life != nil {
		life.cancel(ErrTerminated)
	}
	for _, w := range watches {
		w.to.Finish(out)
	}
	for _, w := range waiting {
		w.to.Finish(call.Outcome{Err: errEnded(&l.Coro)})
	}
	l.rt.keepEnd(l, out)
	l.rt.forget(l, names)
}

func (l *localCoro) logger() *slog.Logger {
	log := l.rt.log.With(slog.String("coro", l.Coro.String()))
	if l.serves != nil {
		log = log.With(slog.String("func", l.serves.fn), slog.String("server", l.rt.loc.String()),
			slog.String("computation", l.serves.comp))
	}
	return log
}

// put puts v into the mailbox, even a full one, and makes the coroutine run if it waits in Receive.
func (l *localCoro) put(v any) error {
	l.mu.Lock()
	if l.ending {
		l.mu.Unlock()
		return errEnded(&l.Coro)
	}
	l.box.putLocked(v)
	woken := l.waiting == inReceive
	if woken {
		l.readyLocked()
	}
	l.mu.Unlock()
	if woken {
		l.rt.turn.Put(&l.task)
	}
	return nil
}

func errEnded(c *Coro) error {
	return fault.New("discoro: coroutine "+c.String()+" has ended", ErrNotFound)
}

// parkLocked records that the coroutine waits, and returns the number of the wait. The caller
// unlocks and then calls yieldTurn.
func (l *localCoro) parkLocked(kind waitKind) uint64 {
	l.waiting = kind
	l.waitNo++
	l.countLocked()
	return l.waitNo
}

// countLocked records when the coroutine began what it does now, and counts the messages that it
// has received and sent until then. The coroutine itself calls it when it gives up the turn, so
// that to receive or send a message takes neither a lock nor an atomic for the count.
func (l *localCoro) countLocked() {
	l.since = l.rt.turn.Now()
	l.box.countLocked()
	l.out += uint64(l.sent)
	l.sent = 0
}

// readyLocked records that the coroutine can run. The caller unlocks and then puts it into the
// turn's queue.
func (l *localCoro) readyLocked() {
	l.waiting = inTurn
	l.since = l.rt.turn.Now()
}

// yieldTurn gives the turn to the runner. It returns when the coroutine was woken and its turn has
// come.
func (l *localCoro) yieldTurn() {
	l.yield(struct{}{})
	l.running()
}

// running records that the coroutine no longer waits.
func (l *localCoro) running() {
	l.mu.Lock()
	l.waiting = inNothing
	l.since = l.rt.turn.Now()
	l.call = nil
	l.mu.Unlock()
}

// Wake makes the coroutine run if it still is in its wait number waitNo.
func (l *localCoro) Wake(waitNo uint64) {
	l.mu.Lock()
	woken := l.waitNo == waitNo && l.waiting > inTurn
	if woken {
		l.readyLocked()
	}
	l.mu.Unlock()
	if woken {
		l.rt.turn.Put(&l.task)
	}
}

// receive returns the next message. It waits without a bound when timeout is negative.
func (l *localCoro) receive(timeout time.Duration) (any, error) {
	var timer *time.Timer
	for {
		if l.term.Load() {
			return nil, ErrTerminated
		}
		if v, ok := l.box.take(); ok {
			if l.rt.cfg.MaxMailbox > 0 {
				l.admit()
			}
			return v, nil
		}
		l.mu.Lock()
		if l.box.refillLocked() || l.term.Load() {
			l.mu.Unlock()
			continue
		}
		if timeout == 0 {
			l.mu.Unlock()
			return nil, fmt.Errorf("discoro: receive: %w", ErrTimeout)
		}
		waitNo := l.parkLocked(inReceive)
		l.mu.Unlock()
		if timeout > 0 {
			timer = time.AfterFunc(timeout, func() { l.Wake(waitNo) })
			timeout = 0
		}
		l.yieldTurn()
		if timer != nil {
			timer.Stop()
		}
	}
}

func (l *localCoro) sleep(d time.Duration) error {
	l.mu.Lock()
	if l.term.Load() {
		l.mu.Unlock()
		return ErrTerminated
	}
	waitNo := l.parkLocked(inSleep)
	l.mu.Unlock()
	timer := time.AfterFunc(d, func() { l.Wake(waitNo) })
	l.yieldTurn()
	timer.Stop()
	return l.termErr()
}

func (l *localCoro) yieldOnce() error {
	if err := l.termErr(); err != nil || l.rt.turn.Idle() {
		return err
	}
	l.mu.Lock()
	l.countLocked()
	l.waiting = inTurn
	l.mu.Unlock()
	l.rt.turn.Put(&l.task)
	l.yieldTurn()
	return l.termErr()
}

func (l *localCoro) termErr() error {
	if l.term.Load() {
		return ErrTerminated
	}
	return nil
}

// isDone reports whether the coroutine was terminated or has ended.
func (l *localCoro) isDone() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended || l.term.Load()
}

// context returns the coroutine as a context of package context.
func (l *localCoro) context() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.life == nil {
		l.life = &life{}
		l.life.ctx, l.life.cancel = context.WithCancelCause(l.rt.profiles.labels(l))
		if l.ended || l.term.Load() {
			l.life.cancel(ErrTerminated)
		}
	}
	return l.life.ctx
}

// leave gives up the turn for Blocking.
func (l *localCoro) leave() {
	l.mu.Lock()
	l.waiting = inBlocking
	l.countLocked()
	l.mu.Unlock()
	l.blocking = true
	l.rt.turn.Release(&l.task)
}

// reenter takes the turn back after Blocking.
func (l *localCoro) reenter() {
	l.mu.Lock()
	abandoned := l.ending
	if !abandoned {
		l.readyLocked()
	}
	l.mu.Unlock()
	l.blocking = false
	if abandoned {
		return
	}
	l.rt.turn.Enter(&l.task)
	l.running()
}

// terminate makes every yield point return ErrTerminated from now on. When the function has not
// ended after the grace period, it is abandoned.
func (l *localCoro) terminate() {
	l.mu.Lock()
	if l.ending || l.term.Load() {
		l.mu.Unlock()
		return
	}
	l.term.Store(true)
	l.grace = time.AfterFunc(l.rt.grace, l.abandon)
	woken := l.waiting > inTurn
	if woken {
		l.readyLocked()
	}
	life := l.life
	l.mu.Unlock()
	if life != nil {
		life.cancel(ErrTerminated)
	}
	if woken {
		l.rt.turn.Put(&l.task)
	}
}

// abandon gives up on a terminated coroutine that neither yields nor returns.
func (l *localCoro) abandon() {
	l.mu.Lock()
	if l.ending {
		l.mu.Unlock()
		return
	}
	if l.waiting > inBlocking { // it waits for the turn, so it could not see yet that it was terminated
		l.grace.Reset(l.rt.grace)
		l.mu.Unlock()
		return
	}
	l.ending = true
	l.mu.Unlock()
	l.rt.turn.Abandon(&l.task)
	l.logger().Warn("coroutine abandoned: it was terminated and neither yields nor returns",
		slog.Duration("grace", l.rt.grace), slog.String("stack", stackOf(l)))
	l.end(call.Outcome{Err: fault.New(
		fmt.Sprintf("discoro: %v neither yielded nor returned within %v and was abandoned: %v",
			&l.Coro, l.rt.grace, ErrTerminated),
		ErrTerminated,
	)})
	l.rt.stuck(l) // last, because it may lead to the end of the process
}

// wait waits for the coroutine's end, or until ctx ends.
func (l *localCoro) wait(ctx context.Context) (call.Outcome, error) {
	if l.g.Load() == turn.GoroutineID() {
		return call.Outcome{}, fmt.Errorf("discoro: coroutine %v waits for itself: %w", &l.Coro, ErrRejected)
	}
	l.mu.Lock()
	out, ended := l.how, l.ended
	l.mu.Unlock()
	if ended {
		return out, nil
	}
	k := call.New(waitEnd, &l.Coro)
	w := &watch{to: k}
	if l.watch(w) {
		return l.outcomeNow(), nil
	}
	out, err := l.rt.wait(ctx, k)
	if err != nil {
		l.unwatch(w)
		return call.Outcome{}, fault.Because(err, "wait for %v", &l.Coro)
	}
	return out, nil
}

// outcomeNow returns how the coroutine has ended.
func (l *localCoro) outcomeNow() call.Outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.how
}

// onEnd calls call when the coroutine has ended, at once if it has. stop undoes that.
func (l *localCoro) onEnd(f func()) (stop func()) {
	w := &watch{to: call.Func(func(call.Outcome) { f() })}
	if l.watch(w) {
		f()
	}
	return func() { l.unwatch(w) }
}

// watch registers w, which is notified when the coroutine has ended. If the coroutine has ended
// already, watch returns true, and w is not notified.
func (l *localCoro) watch(w *watch) (ended bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		w.at = len(l.watches)
		l.watches = append(l.watches, w)
	}
	return l.ended
}

// unwatch undoes watch.
func (l *localCoro) unwatch(w *watch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.at >= len(l.watches) || l.watches[w.at] != w {
		return // unwatch was called before, or the coroutine has ended
	}
	last := len(l.watches) - 1
	l.watches[w.at] = l.watches[last]
	l.watches[w.at].at = w.at
	l.watches[last] = nil
	l.watches = l.watches[:last]
}

// isCaller reports whether the calling goroutine is the coroutine's own, and has the turn.
func (l *localCoro) isCaller() bool {
	return l.g.Load() == turn.GoroutineID() && !l.blocking
}
