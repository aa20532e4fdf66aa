package link

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/discoro/discoro/internal/transport"
	"github.com/discoro/discoro/wire"
)

// MissedPulses is how many pulses may be missed before the other side counts as dead.
const MissedPulses = 5

// heartbeat is the interval of a runtime's pulses: by default its own, and while it takes part in
// computations the shortest that one of them asks for.
type heartbeat struct {
	usual   time.Duration // immutable
	every   atomic.Int64  // the interval now, a time.Duration
	changed chan struct{} // capacity 1: every has changed
	look    chan struct{} // capacity 1: there are links in fresh

	mu    sync.Mutex            // guards following; leaf
	asked map[time.Duration]int // how many computations ask for an interval
	fresh map[*Link]bool        // links that are up, or whose peer has changed its interval, since pulses last looked
}

func (h *heartbeat) begin(usual time.Duration) {
	h.usual, h.asked, h.fresh = usual, map[time.Duration]int{}, map[*Link]bool{}
	h.changed, h.look = make(chan struct{}, 1), make(chan struct{}, 1)
	h.every.Store(int64(usual))
}

func (h *heartbeat) now() time.Duration { return time.Duration(h.every.Load()) }

// Pulse returns the interval of this side's signs of life.
func (n *Net) Pulse() time.Duration { return n.beat.now() }

// SetPulse replaces the interval that a computation has asked for; 0 asks for none. The peers are
// notified at once: until they know a shorter interval they would notice the loss of this side
// late.
func (n *Net) SetPulse(was, is time.Duration) { n.beat.change(was, is) }

func (h *heartbeat) change(was, is time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked[was]--
	h.asked[is]++
	every := h.usual
	least := wire.MaxPulse + 1
	for d, n := range h.asked {
		switch {
		case n == 0:
			delete(h.asked, d)
		case d > 0 && n > 0: // n < 0: an interval may be taken back before it is asked for
			least = min(least, d)
			every = least
		}
	}
	if h.every.Swap(int64(every)) != int64(every) {
		select {
		case h.changed <- struct{}{}:
		default:
		}
	}
}

// lookAt makes pulses look at a link that has changed since it last looked.
func (h *heartbeat) lookAt(l *Link) {
	h.mu.Lock()
	h.fresh[l] = true
	h.mu.Unlock()
	select {
	case h.look <- struct{}{}:
	default:
	}
}

// takeFresh returns the links that have changed.
func (h *heartbeat) takeFresh() []*Link {
	h.mu.Lock()
	defer h.mu.Unlock()
	links := slices.Collect(maps.Keys(h.fresh))
	clear(h.fresh)
	return links
}

// SanePulse returns the interval that a frame asks for, within bounds; 0 asks for none.
func SanePulse(ns int64) time.Duration {
	if ns <= 0 {
		return 0
	}
	return min(max(time.Duration(ns), wire.LeastPulse), wire.MaxPulse)
}

// pulses sends signs of life on links over which nothing else goes, and ends links whose other side
// gives none. It ends with the runtime. It sleeps until the next link is due, and then looks at all
// of them. A link that changes meanwhile is looked at alone, as there may be thousands.
func (n *Net) pulses() {
	timer := time.NewTimer(wire.MaxPulse)
	defer timer.Stop()
	due := time.Now().Add(wire.MaxPulse)
	for {
		var links []*Link
		fresh := false
		select {
		case <-timer.C:
			links = n.All()
		case <-n.beat.look:
			links, fresh = n.beat.takeFresh(), true
		case <-n.beat.changed:
			links = n.All()
			for _, l := range links {
				l.announcePulse()
			}
		case <-n.ctx.Done():
			return
		}
		now := time.Now()
		if late := now.Sub(due); late > n.beat.step() {
			n.stoodStill(late)
			due = now
		}
		next := now.Add(n.checkPulses(links, now))
		if fresh && due.Before(next) {
			continue // the timer is set to due
		}
		due = next
		timer.Reset(time.Until(due))
	}
}

// stoodStill gives all peers d more time, because this process has stood still for that long and
// may not have read what they sent.
func (n *Net) stoodStill(d time.Duration) {
	for _, l := range n.All() {
		l.mu.Lock()
		l.heard = l.heard.Add(d)
		l.mu.Unlock()
	}
}

// checkPulses looks at links, and returns the time until the next look.
func (n *Net) checkPulses(links []*Link, now time.Time) time.Duration {
	next := wire.MaxPulse
	for _, l := range links {
		next = min(next, l.checkPulse(now))
	}
	return max(next, n.beat.step())
}

// step is the least time between two looks at the links.
func (h *heartbeat) step() time.Duration {
	return max(min(h.now()/20, 250*time.Millisecond), 5*time.Millisecond)
}

// announcePulse sends the peer this side's interval, if that has changed.
func (l *Link) announcePulse() {
	every := l.net.beat.now()
	l.mu.Lock()
	due := l.state == stateUp && l.announced != every
	if due {
		l.announced = every
	}
	l.mu.Unlock()
	if due {
		l.Tell(&wire.Pulse{Every: int64(every)})
	}
}

// checkPulse looks at one link, and returns the time until the next look. A silence ends the link
// only if two looks have seen it: in a busy process the reader gets a chance between them.
func (l *Link) checkPulse(now time.Time) time.Duration {
	l.mu.Lock()
	up, t, theirs, every := l.state == stateUp, l.conn, l.peer.Pulse, l.net.beat.now()
	wait := every - now.Sub(l.lastSent)
	if l.queue.size() > 0 { // queued frames are a sign of life
		wait = every
	}
	due := wait <= 0 || up && l.announced != every
	l.announced = every
	suspected := l.suspect
	l.mu.Unlock()
	if !up {
		return wire.MaxPulse
	}
	silent := l.silentFor(now, t)
	suspect := silent > MissedPulses*theirs
	if suspect && suspected {
		l.Fail(fmt.Errorf("no sign of life for %v, %d pulses", silent.Round(time.Millisecond), MissedPulses))
		return wire.MaxPulse
	}
	if suspect != suspected {
		l.mu.Lock()
		l.suspect = suspect
		l.mu.Unlock()
	}
	if due {
		l.Tell(&wire.Pulse{Every: int64(every)})
		wait = every
	}
	if suspect {
		return 0
	}
	return min(wait, MissedPulses*theirs-silent+1)
}

// silentFor returns how long nothing has come from the peer, without the time in which this process
// stood still.
func (l *Link) silentFor(now time.Time, t *transport.Conn) time.Duration {
	heard := now.Add(-t.SilentFor(now))
	l.mu.Lock()
	defer l.mu.Unlock()
	if heard.After(l.heard) {
		l.heard = heard
	}
	return now.Sub(l.heard)
}

// HeardPulse records the interval of pulses that the peer has announced, unless it is out of bounds.
func (l *Link) HeardPulse(every time.Duration) {
	if every <= 0 || every > wire.MaxPulse {
		return
	}
	l.mu.Lock()
	changed := l.peer.Pulse != every
	l.peer.Pulse = every
	l.mu.Unlock()
	if changed {
		l.net.beat.lookAt(l)
	}
}
