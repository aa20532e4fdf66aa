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

// MissedPulses is after how many pulses without a sign of life the other side counts as dead.
const MissedPulses = 5

// MaxPulse bounds what a peer may say of the time between its pulses.
const MaxPulse = wire.MaxPulse

// LeastPulse bounds what a computation may ask for.
const LeastPulse = wire.LeastPulse

// heartbeat is how often a runtime gives signs of life: its own default, and while it has a part in computations as often as
// the most demanding of them wants.
type heartbeat struct {
	usual   time.Duration // immutable
	every   atomic.Int64  // now
	changed chan struct{} // capacity 1: every has changed
	look    chan struct{} // capacity 1: links are in fresh

	mu    sync.Mutex            // guards following; leaf
	asked map[time.Duration]int // how many want that
	fresh map[*Link]bool        // that came up, or whose peer pulses at another interval, since pulses looked last
}

func (h *heartbeat) begin(usual time.Duration) {
	h.usual, h.asked, h.fresh = usual, map[time.Duration]int{}, map[*Link]bool{}
	h.changed, h.look = make(chan struct{}, 1), make(chan struct{}, 1)
	h.every.Store(int64(usual))
}

func (h *heartbeat) now() time.Duration { return time.Duration(h.every.Load()) }

// change takes back what a computation asked for, and books what one asks for; 0 is nothing. pulses tells the
// peers at once: who dies without a word before they know is missed late.
func (h *heartbeat) change(was, is time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked[was]--
	h.asked[is]++
	every := h.usual
	least := MaxPulse + 1
	for d, n := range h.asked {
		switch {
		case n == 0:
			delete(h.asked, d)
		case d > 0 && n > 0: // what is taken back may be so before it is booked
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

// lookAt makes pulses look at a link that is not as it was when it looked last.
func (h *heartbeat) lookAt(l *Link) {
	h.mu.Lock()
	h.fresh[l] = true
	h.mu.Unlock()
	select {
	case h.look <- struct{}{}:
	default:
	}
}

// takeFresh returns the links that are to be looked at.
func (h *heartbeat) takeFresh() []*Link {
	h.mu.Lock()
	defer h.mu.Unlock()
	links := slices.Collect(maps.Keys(h.fresh))
	clear(h.fresh)
	return links
}

// SanePulse bounds what a frame says of a computation's pulses; 0 is not said.
func SanePulse(ns int64) time.Duration {
	if ns <= 0 {
		return 0
	}
	return min(max(time.Duration(ns), LeastPulse), MaxPulse)
}

// pulses sends signs of life on links that are otherwise silent, and ends links whose other side gives none. It sleeps until
// the next link is due, and ends with the runtime. With thousands of links, whose peers come one by one, it looks at those that
// have changed only, and at all when one is due.
func (n *Net) pulses() {
	timer := time.NewTimer(MaxPulse)
	defer timer.Stop()
	due := time.Now().Add(MaxPulse)
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
			continue // the timer is set to that
		}
		due = next
		timer.Reset(time.Until(due))
	}
}

// stoodStill keeps peers from being blamed for what they may have said while this process did not run: they have as much longer to be heard.
func (n *Net) stoodStill(d time.Duration) {
	for _, l := range n.All() {
		l.mu.Lock()
		l.heard = l.heard.Add(d)
		l.mu.Unlock()
	}
}

// checkPulses looks at links, and returns when to look again.
func (n *Net) checkPulses(links []*Link, now time.Time) time.Duration {
	next := MaxPulse
	for _, l := range links {
		next = min(next, l.checkPulse(now))
	}
	return max(next, n.beat.step())
}

// step is the least time between two looks at the links.
func (h *heartbeat) step() time.Duration {
	return max(min(h.now()/20, 250*time.Millisecond), 5*time.Millisecond)
}

// announcePulse tells the peer how often it will hear from this side, when that has changed.
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

// checkPulse does for one link what pulses does for all, and returns when it is to be looked at again. A silence must have been
// there at two looks: when this process is busy, its reader comes first.
func (l *Link) checkPulse(now time.Time) time.Duration {
	l.mu.Lock()
	up, t, theirs, every := l.state == stateUp, l.t, l.peer.Pulse, l.net.beat.now()
	wait := every - now.Sub(l.lastSent)
	if l.queue.size() > 0 { // what is queued is a sign of life
		wait = every
	}
	due := wait <= 0 || up && l.announced != every
	l.announced = every
	suspected := l.suspect
	l.mu.Unlock()
	if !up {
		return MaxPulse
	}
	silent := l.silentFor(now, t)
	suspect := silent > MissedPulses*theirs
	if suspect && suspected {
		l.Fail(fmt.Errorf("no sign of life for %v, %d pulses", silent.Round(time.Millisecond), MissedPulses))
		return MaxPulse
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

// silentFor tells how long nothing has come from the peer while this process ran.
func (l *Link) silentFor(now time.Time, t *transport.Conn) time.Duration {
	heard := now.Add(-t.SilentFor(now))
	l.mu.Lock()
	defer l.mu.Unlock()
	if heard.After(l.heard) {
		l.heard = heard
	}
	return now.Sub(l.heard)
}

// HeardPulse takes the peer's word on how often it will pulse.
func (l *Link) HeardPulse(every time.Duration) {
	if every <= 0 || every > MaxPulse {
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
