package discoro

import (
	"cmp"
	"errors"
	"time"

	"github.com/discoro/discoro/internal/call"
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
	over := func() { l.box.Put(roleEvent{settled: c}) }
	if _, up := c.client.isUp(); !up { // and nothing was said, or all is lost
		over()
		return
	}
	timer := time.AfterFunc(missedPulses*cmp.Or(c.pulse, l.rt.beat.usual)+settleFor, over)
	err := c.client.askLast(call.Func(func(call.Outcome) {
		timer.Stop()
		over()
	}))
	if err != nil {
		timer.Stop()
		over()
	}
}
