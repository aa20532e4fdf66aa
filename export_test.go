package discoro

import (
	"log/slog"
	"time"
)

// SetGrace gives terminated coroutines of rt so long to end, from now on.
func SetGrace(rt *Runtime, d time.Duration) { rt.grace = d }

// Nobody returns rt's handle of a coroutine of home that there never was.
func Nobody(rt, home *Runtime) *Coro { return rt.handle(home.id, home.loc, 1<<40, "nobody") }

// Watches counts who is told when c, a coroutine of this runtime, ends.
func Watches(c *Coro) int {
	l := c.local
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.watches)
}

// Known reports whether c's runtime still knows of c, which runs there.
func Known(c *Coro) bool { return c.rt.coroutine(c.seq) != nil }

// discard is the logger of tests whose coroutines are meant to fail.
var discard = slog.New(slog.DiscardHandler)
