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
	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/wire"
)

// serverJob is what a coroutine runs for a computation.
type serverJob struct {
	fn   string // immutable
	comp string // immutable: for logs
	dir  string // immutable: the folder for the computation's files
	lane uint64 // immutable: no other job of this lane starts meanwhile; 0: none
}

// startJob starts a job. If another job of its lane runs, it puts the job into the lane.
func (l *serverLoop) startJob(f *wire.Start) {
	c := l.comp
	if c == nil || c.token != f.Token {
		l.rt.log.Debug("a job came for another computation", slog.String("func", f.Call.Func))
		return
	}
	if held, ok := c.lanes[f.Lane]; ok && !c.closing {
		c.lanes[f.Lane] = append(held, f)
		return
	}
	l.launch(c, f)
}

// launch starts a coroutine for a job. It reports false when the job cannot run.
func (l *serverLoop) launch(c *servedComp, f *wire.Start) bool {
	fn, err := registry.find(f.Call.Func, l.rt.build)
	if err == nil && c.closing {
		err = errRunClosing(f)
	}
	if err != nil {
		l.sendDone(c, f.Job, failed(err))
		return false
	}
	call := &f.Call
	body := func(co *Coro) (any, error) {
		growStack(1)
		return fn.run(co, call)
	}
	if _, ok := c.lanes[f.Lane]; !ok && f.Lane != 0 {
		c.lanes[f.Lane] = nil // nothing waits yet
	}
	l.rt.spawn(fn.name, body, func(co *localCoro) {
		co.serves, co.pc = &serverJob{fn: fn.name, comp: c.name, dir: c.dir, lane: f.Lane}, 0
		c.running[f.Job] = co
		c.client.Tell(&wire.Started{
			Token: c.token, Job: f.Job, Coro: l.rt.handleValue(&co.Coro), Server: l.rt.peer(), At: time.Now().UnixNano(),
		})
		co.onEnd(func() { l.jobEnded(c, f.Job, co) })
	})
	return true
}

// errRunClosing is the error of a job that comes while the computation is closing.
func errRunClosing(f *wire.Start) error {
	return fmt.Errorf("discoro: run %s: the computation is closing: %w", f.Call.Func, ErrClosed)
}

// nextInLane starts the job that waits for the end of another in its lane.
func (l *serverLoop) nextInLane(lane uint64) {
	c := l.comp
	for held := c.lanes[lane]; len(held) > 0; held = c.lanes[lane] {
		f := held[0]
		held[0], c.lanes[lane] = nil, held[1:]
		if l.launch(c, f) {
			return
		}
	}
	delete(c.lanes, lane)
}

// takeBack drops a job that waits in its lane.
func (l *serverLoop) takeBack(f *wire.Unstart) {
	c := l.comp
	if c == nil || c.token != f.Token {
		return
	}
	for lane, held := range c.lanes {
		i := slices.IndexFunc(held, func(s *wire.Start) bool { return s.Job == f.Job })
		if i < 0 {
			continue
		}
		fn := held[i].Call.Func
		c.lanes[lane] = slices.Delete(held, i, i+1)
		l.sendDone(c, f.Job, failed(fmt.Errorf("discoro: run %s: taken back before it started: %w", fn, ErrNoServer)))
		return
	}
}

// jobEnded sends the outcome of a job. It runs in the goroutine in which the coroutine has ended.
func (l *serverLoop) jobEnded(c *servedComp, id wire.JobID, co *localCoro) {
	out := co.outcomeNow()
	failure := out.Err != nil && !errors.Is(out.Err, ErrTerminated)
	lost := (errors.Is(out.Err, ErrTerminated) || errors.Is(out.Err, ErrClosed)) && l.rt.isClosing()
	if lost {
		// The server has ended the job, or did not start it. The client may run it elsewhere.
		failure = false
		cause := fmt.Errorf("the server is closing: %w", ErrClosed)
		out.Err = &ServerLostError{Server: l.rt.loc, Func: co.serves.fn, Cause: cause}
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
	l.sendDone(c, id, o)
	l.box.Put(serverEvent{own: jobEnded(id)})
}

// sendDone sends Done with the outcome of a job to the client, and Freed to the scheduler. If both
// are one runtime, the Done is for both.
func (l *serverLoop) sendDone(c *servedComp, id wire.JobID, o *wire.Outcome) {
	c.client.Tell(&wire.Done{Token: c.token, Job: id, Outcome: *o})
	if c.client == c.scheduler {
		return
	}
	c.scheduler.Tell(&wire.Freed{Token: c.token, Job: id})
	c.freed.Add(1)
	if c.asking.CompareAndSwap(false, true) {
		time.AfterFunc(heardAfter, c.askHeard)
	}
}

// jobEnded is the event that a job's coroutine has ended.
type jobEnded wire.JobID

// handle starts the job that has waited for the end of this one.
func (e jobEnded) handle(l *serverLoop) {
	c, id := l.comp, wire.JobID(e)
	if c == nil {
		return
	}
	if co := c.running[id]; co != nil && co.serves.lane != 0 {
		l.nextInLane(co.serves.lane)
	}
	delete(c.running, id)
	l.closedIfIdle()
}

// functionStuck is the event that a terminated function does not end. Its value is the function's
// name.
type functionStuck string

// handle notifies the node, so that the server is replaced. The node may kill the server at once.
// Therefore handle first asks the client something, behind the end of the job: an answer shows that
// the client knows of that end, or is gone.
func (e functionStuck) handle(l *serverLoop) {
	c, fn := l.comp, string(e)
	if c == nil || c.closing {
		return
	}
	heard := call.Func(func(call.Outcome) { l.node.Tell(&wire.ServerDone{Token: c.token, Stuck: []string{fn}}) })
	if _, err := c.client.Ask(heard, func(call uint64) wire.Frame { return &wire.Locate{Call: call} }); err != nil {
		heard(call.Outcome{})
	}
}

// endJobs terminates all coroutines, those that the jobs have spawned included. Jobs that wait in
// their lanes end without having started.
func (l *serverLoop) endJobs() {
	c := l.comp
	for lane, held := range c.lanes {
		for _, f := range held {
			l.sendDone(c, f.Job, failed(errRunClosing(f)))
		}
		c.lanes[lane] = nil
	}
	for _, co := range l.rt.allCoros() {
		co.terminate()
	}
}

// heardAfter is the delay between the end of a job and the question whether the client knows of it.
// So one question covers many jobs.
const heardAfter = 100 * time.Millisecond

// askHeard sends the client a question, to find out whether the client has received Started and
// Done of all jobs that have ended by now. These frames can be lost with the link. The scheduler
// does not see that link, so it must keep the jobs until the answer arrives. Any answer is enough:
// those frames are small and went out before the question. Without an answer the link has ended,
// and so has the computation here.
func (c *servedComp) askHeard() {
	n := c.freed.Load()
	answer := call.Func(func(out call.Outcome) {
		if out.Err != nil && !errors.Is(out.Err, ErrNotFound) {
			return
		}
		if c.done.Load() { // the server may serve the computation again, and this is not about that
			return
		}
		c.scheduler.Tell(&wire.Heard{Token: c.token, Jobs: n - c.heard})
		c.heard = n
		c.asking.Store(false)
		if c.freed.Load() > n && c.asking.CompareAndSwap(false, true) {
			time.AfterFunc(heardAfter, c.askHeard)
		}
	})
	_, _ = c.client.Ask(answer, func(call uint64) wire.Frame { return &wire.Locate{Call: call} })
}

// closeComp closes the computation. Its coroutines are terminated; when they have ended, the node
// is notified. With over, the computation closes everywhere; otherwise it goes on elsewhere, and
// the client first has to know everything that happened here.
func (l *serverLoop) closeComp(over bool) {
	c := l.comp
	if over {
		c.done.Store(true)
	}
	if !c.closing {
		c.closing = true
		l.rt.files.Close()
		l.endJobs()
	}
	l.closedIfIdle()
}

// awaitFor is how long a server that closes waits for its client, in addition to the silence that
// ends the link to it: what the server has sent may be large, and the link slow.
const awaitFor = time.Minute

// awaitClient puts the event clientDone when the client knows everything that happened here, large
// results included, or cannot learn it: the link to it has ended, or it has not answered in time.
// Only after that the scheduler learns that the server has closed, and then ends the jobs that the
// client does not know of. So of the two reports of a job's end, which travel over two links, the
// server's arrives first, and the scheduler's says nothing new unless the server's was lost.
func (l *serverLoop) awaitClient(c *servedComp) {
	if c.awaiting {
		return
	}
	c.awaiting = true
	done := func() { l.box.Put(serverEvent{own: clientDone{c}}) }
	if _, up := c.client.Peer(); !up { // nothing was sent, or all is lost
		done()
		return
	}
	timer := time.AfterFunc(link.MissedPulses*cmp.Or(c.pulse, l.rt.cfg.pulse)+awaitFor, done)
	err := c.client.AskLast(call.Func(func(call.Outcome) {
		timer.Stop()
		done()
	}))
	if err != nil {
		timer.Stop()
		done()
	}
}

// clientDone is the event that awaitClient puts.
type clientDone struct{ comp *servedComp }

func (e clientDone) handle(l *serverLoop) {
	e.comp.done.Store(true)
	l.closedIfIdle()
}

// growStack makes the goroutine's stack at once as large as decoding an argument and encoding a
// result need. Otherwise it would grow in several steps, and each step copies the stack, which took
// a sixth of the time of a small run.
//
//go:noinline
func growStack(i int) byte {
	var room [5 << 10]byte
	room[i] = 1
	return room[i+1]
}
