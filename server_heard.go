package discoro

import (
	"errors"
	"time"

	"github.com/discoro/discoro/wire"
)

// heardAfter is how long jobs have ended before the client is asked whether it knows of them: so many at once.
const heardAfter = 100 * time.Millisecond

// askHeard asks whether the client knows that jobs began that have ended: what it was told of that may be lost with the link, and
// the scheduler, who knows nothing of links to the client, must keep them until then. An answer says so, whatever it is: what
// tells of a beginning is small, and goes out before the question does. Without one the link is at its end, and so is the computation here.
func (c *servedComp) askHeard() {
	n := c.freed.Load()
	answer := answerFunc(func(out outcome) {
		if out.err != nil && !errors.Is(out.err, ErrNotFound) {
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
