package discoro

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/discoro/discoro/internal/call"
	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// heardAfter is how long jobs have ended before the client is asked whether it knows of them: so many at once.
const heardAfter = 100 * time.Millisecond

// askHeard asks whether the client knows that jobs began that have ended: what it was told of that may be lost with the link, and
// the scheduler, who knows nothing of links to the client, must keep them until then. An answer says so, whatever it is: what
// tells of a beginning is small, and goes out before the question does. Without one the link is at its end, and so is the computation here.
func (c *servedComp) askHeard() {
	n := c.freed.Load()
	answer := call.Func(func(out call.Outcome) {
		if out.Err != nil && !errors.Is(out.Err, ErrNotFound) {
			return
		}
		if c.settled.Load() { // it may serve the computation anew: this is not of that
			return
		}
		c.scheduler.tell(&wire.Heard{Token: c.token, Jobs: n - c.heard})
		c.heard = n
		c.asking.Store(false)
		if c.freed.Load() > n && c.asking.CompareAndSwap(false, true) {
			time.AfterFunc(heardAfter, c.askHeard)
		}
	})
	_, _ = c.client.ask(answer, func(call uint64) wire.Frame { return &wire.Locate{Call: call} })
}

// closeComp ends the computation: its coroutines are terminated and, when they have ended, the node is told; when the computation goes
// on elsewhere, its client has heard everything first.
func (l *serverLoop) closeComp(over bool) {
	c := l.comp
	if over {
		c.settled.Store(true)
	}
	if !c.closing {
		c.closing = true
		l.rt.files.Close()
		l.endJobs()
	}
	l.closedIfIdle()
}

// settleFor is how long a server that closes waits for its client, beyond the silence that ends the link to it: what it has said may
// be much, and go over a slow link.
const settleFor = time.Minute

// settle sees to it that the client has heard everything before the server closes, large results included, or cannot: the link to it has
// ended, or it has not answered in time. The scheduler is told of the end of that server only after that, and then ends what
// the client has not heard of.
func (l *serverLoop) settle(c *servedComp) {
	if c.settling {
		return
	}
	c.settling = true
	over := func() { l.box.Put(serverEvent{own: clientSettled{c}}) }
	if _, up := c.client.isUp(); !up { // and nothing was said, or all is lost
		over()
		return
	}
	timer := time.AfterFunc(missedPulses*cmp.Or(c.pulse, l.rt.net.beat.usual)+settleFor, over)
	err := c.client.askLast(call.Func(func(call.Outcome) {
		timer.Stop()
		over()
	}))
	if err != nil {
		timer.Stop()
		over()
	}
}

// clientSettled is the event that the computation's client has heard everything, or cannot.
type clientSettled struct{ comp *servedComp }

func (e clientSettled) handle(l *serverLoop) {
	e.comp.settled.Store(true)
	l.closedIfIdle()
}

// serverJob is what a coroutine runs for a computation.
type serverJob struct {
	fn   string // immutable
	comp string // immutable: for logs
	dir  string // immutable: the folder for the computation's files
	turn uint64 // immutable: nothing else of this turn starts meanwhile; 0: whatever does
}

// startJob starts a coroutine for a run, when it is its turn.
func (l *serverLoop) startJob(f *wire.Start) {
	c := l.comp
	if c == nil || c.token != f.Token {
		l.rt.log.Debug("a job came for another computation", slog.String("func", f.Call.Func))
		return
	}
	if held, ok := c.turns[f.Lane]; ok && !c.closing {
		c.turns[f.Lane] = append(held, f)
		return
	}
	l.launch(c, f)
}

// launch starts a coroutine for a run; it reports false when it cannot be run.
func (l *serverLoop) launch(c *servedComp, f *wire.Start) bool {
	fn, err := registry.find(f.Call.Func, l.rt.build)
	if err == nil && c.closing {
		err = errRunClosing(f)
	}
	if err != nil {
		l.tellDone(c, f.Job, failed(err))
		return false
	}
	call := &f.Call
	body := func(co *Coro) (any, error) {
		growStack(1)
		return fn.run(co, call)
	}
	if _, ok := c.turns[f.Lane]; !ok && f.Lane != 0 {
		c.turns[f.Lane] = nil // nothing waits yet
	}
	l.rt.spawn(fn.name, body, func(co *localCoro) {
		co.serves, co.pc = &serverJob{fn: fn.name, comp: c.name, dir: c.dir, turn: f.Lane}, 0
		c.running[f.Job] = co
		c.client.tell(&wire.Started{Token: c.token, Job: f.Job, Coro: l.rt.handleValue(&co.Coro), Server: l.rt.peer(), At: time.Now().UnixNano()})
		co.onEnd(func() { l.jobEnded(c, f.Job, co) })
	})
	return true
}

func errRunClosing(f *wire.Start) error {
	return fmt.Errorf("discoro: run %s: the computation is closing: %w", f.Call.Func, ErrClosed)
}

// nextInTurn starts what waited for the end of a job.
func (l *serverLoop) nextInTurn(turn uint64) {
	c := l.comp
	for held := c.turns[turn]; len(held) > 0; held = c.turns[turn] {
		f := held[0]
		held[0], c.turns[turn] = nil, held[1:]
		if l.launch(c, f) {
			return
		}
	}
	delete(c.turns, turn)
}

// takeBack drops a job that waits for its turn.
func (l *serverLoop) takeBack(f *wire.Unstart) {
	c := l.comp
	if c == nil || c.token != f.Token {
		return
	}
	for turn, held := range c.turns {
		i := slices.IndexFunc(held, func(s *wire.Start) bool { return s.Job == f.Job })
		if i < 0 {
			continue
		}
		fn := held[i].Call.Func
		c.turns[turn] = slices.Delete(held, i, i+1)
		l.tellDone(c, f.Job, failed(fmt.Errorf("discoro: run %s: taken back before it started: %w", fn, ErrNoServer)))
		return
	}
}

// jobEnded tells how a job ended. It runs where the coroutine ended.
func (l *serverLoop) jobEnded(c *servedComp, id wire.JobID, co *localCoro) {
	out := co.outcomeNow()
	failure := out.Err != nil && !errors.Is(out.Err, ErrTerminated)
	lost := (errors.Is(out.Err, ErrTerminated) || errors.Is(out.Err, ErrClosed)) && l.rt.isClosing()
	if lost {
		// The server ended it, or did not start it any more; its client may want to run it elsewhere.
		failure = false
		out.Err = &ServerLostError{Server: l.rt.loc, Func: co.serves.fn, Cause: fmt.Errorf("the server is closing: %w", ErrClosed)}
	}
	o, err := encodeOutcome(l.rt, out)
	if err != nil {
		o = failed(fault.New(fault.Because(err, "result of %s at %v", co.serves.fn, l.rt.loc).Error(), err))
		out.Err, failure = err, true
	}
	if !lost {
		nameRun(o.Err, out.Err, co.serves.fn, l.rt.loc)
	}
	if failure {
		co.logger().Info("a function failed", slog.Any("err", out.Err))
	}
	l.rt.ends.keep(l.rt.exported(co), o)
	l.tellDone(c, id, o)
	l.box.Put(serverEvent{own: jobEnded(id)})
}

// tellDone tells the client how a job ended, and the scheduler that it did; once when they are one runtime.
func (l *serverLoop) tellDone(c *servedComp, id wire.JobID, o *wire.Outcome) {
	c.client.tell(&wire.Done{Token: c.token, Job: id, Outcome: *o})
	if c.client == c.scheduler {
		return
	}
	c.scheduler.tell(&wire.Freed{Token: c.token, Job: id})
	c.freed.Add(1)
	if c.asking.CompareAndSwap(false, true) {
		time.AfterFunc(heardAfter, c.askHeard)
	}
}

// jobEnded is the event that a job's coroutine has ended.
type jobEnded wire.JobID

// handle starts what has waited for the job's end.
func (e jobEnded) handle(l *serverLoop) {
	c, id := l.comp, wire.JobID(e)
	if c == nil {
		return
	}
	if co := c.running[id]; co != nil && co.serves.turn != 0 {
		l.nextInTurn(co.serves.turn)
	}
	delete(c.running, id)
	l.closedIfIdle()
}

// functionStuck is the event that a function will not end. Its value is the function's name.
type functionStuck string

// handle sends the node word of the function, so that the server is replaced. The node may kill the
// server at once. Therefore the client is asked first, behind the end of the job: an answer shows
// that it knows of that end, or has gone.
func (e functionStuck) handle(l *serverLoop) {
	c, fn := l.comp, string(e)
	if c == nil || c.closing {
		return
	}
	heard := call.Func(func(call.Outcome) { l.node.tell(&wire.ServerDone{Token: c.token, Stuck: []string{fn}}) })
	if _, err := c.client.ask(heard, func(call uint64) wire.Frame { return &wire.Locate{Call: call} }); err != nil {
		heard(call.Outcome{})
	}
}

// endJobs terminates every coroutine but those that have ended: the computation's, and those that they spawned. What waits for its
// turn does not start any more.
func (l *serverLoop) endJobs() {
	c := l.comp
	for turn, held := range c.turns {
		for _, f := range held {
			l.tellDone(c, f.Job, failed(errRunClosing(f)))
		}
		c.turns[turn] = nil
	}
	for _, co := range l.rt.allCoros() {
		co.terminate()
	}
}

// growStack makes the goroutine's stack as large as decoding an argument and encoding a result take, at once: it would grow in
// several steps, each of which copies what is there by then.
//
//go:noinline
func growStack(i int) byte {
	var room [5 << 10]byte
	room[i] = 1
	return room[i+1]
}
