package discoro

import (
	"log/slog"
	"time"

	"github.com/discoro/discoro/wire"
)

// SetGrace gives terminated coroutines of rt so long to end, from now on.
func SetGrace(rt *Runtime, d time.Duration) { rt.grace = d }

// Nobody returns rt's handle of a coroutine of home that there never was.
func Nobody(rt, home *Runtime) *Coro {
	return rt.liveHandle(wire.HandleValue{ID: home.id, Host: home.loc.Addr, Port: home.loc.Port, Key: 1 << 40, Seq: 1 << 40, Name: "nobody"})
}

// NoChannel returns rt's handle of a channel of owner that there never was.
func NoChannel(rt, owner *Runtime) *Channel {
	return rt.liveChannel(wire.HandleValue{ID: owner.id, Host: owner.loc.Addr, Port: owner.loc.Port, Key: 1 << 40, Seq: 1 << 40, Name: "nothing"})
}

// Watches counts who is told when c, a coroutine of this runtime, ends.
func Watches(c *Coro) int {
	l := c.local
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.watches)
}

// Known reports whether c's runtime still knows of c, which runs there.
func Known(c *Coro) bool {
	c.rt.mu.Lock()
	defer c.rt.mu.Unlock()
	return c.rt.coros[c.seq] != nil
}

// discard is the logger of tests whose coroutines are meant to fail.
var discard = slog.New(slog.DiscardHandler)
