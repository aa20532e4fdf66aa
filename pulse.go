package discoro

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/discoro/discoro/wire"
)

// missedPulses is after how many pulses without a sign of life the other side counts as dead.
const missedPulses = 5

// maxPulse bounds what a peer may say of the time between its pulses.
const maxPulse = time.Hour

// leastPulse bounds what a computation may ask for.
const leastPulse = 10 * time.Millisecond

// heartbeat is how often a runtime gives signs of life: its own default, and while it has a part in computations as often as
// the most demanding of them wants.
type heartbeat struct {
	usual   time.Duration // immutable
	every   atomic.Int64  // now
	changed chan struct{} // capacity 1: every has changed

	mu    sync.Mutex            // guards following; leaf
	asked map[time.Duration]int // how many want that
}

func (h *heartbeat) begin(usual time.Duration) {
	h.usual, h.asked, h.changed = usual, map[time.Duration]int{}, make(chan struct{}, 1)
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
	least := maxPulse + 1
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

// sanePulse bounds what a frame says of a computation's pulses; 0 is not said.
func sanePulse(ns int64) time.Duration {
	if ns <= 0 {
		return 0
	}
	return min(max(time.Duration(ns), leastPulse), maxPulse)
}

// pulses sends signs of life on links that are otherwise silent, and ends links whose other side gives none. It ends
// with the runtime.
func (rt *Runtime) pulses() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(max(min(rt.beat.now()/20, 250*time.Millisecond), 5*time.Millisecond))
		select {
		case <-timer.C:
			now := time.Now()
			for _, l := range rt.allLinks() {
				l.checkPulse(now)
			}
		case <-rt.beat.changed:
			for _, l := range rt.allLinks() {
				l.announcePulse()
			}
		case <-rt.ctx.Done():
			return
		}
	}
}

// announcePulse tells the peer how often it will hear from this side, when that has changed.
func (l *link) announcePulse() {
	every := l.rt.beat.now()
	l.mu.Lock()
	due := l.state == linkUp && l.announced != every
	if due {
		l.announced = every
	}
	l.mu.Unlock()
	if due {
		l.tell(&wire.Pulse{Every: int64(every)})
	}
}

// checkPulse does for one link what pulses does for all. A silence must have been there at two looks: after this process
// itself has stood still, its reader comes first.
func (l *link) checkPulse(now time.Time) {
	l.mu.Lock()
	up, t, theirs, every := l.state == linkUp, l.t, l.peer.Pulse, l.rt.beat.now()
	due := l.queue.size() == 0 && now.Sub(l.lastSent) >= every || // what is queued is a sign of life
		up && l.announced != every
	l.announced = every
	suspected := l.suspect
	l.mu.Unlock()
	if !up {
		return
	}
	silent := t.silentFor(now)
	suspect := silent > missedPulses*theirs
	if suspect && suspected {
		l.fail(fmt.Errorf("no sign of life for %v, %d pulses", silent.Round(time.Millisecond), missedPulses))
		return
	}
	if suspect != suspected {
		l.mu.Lock()
		l.suspect = suspect
		l.mu.Unlock()
	}
	if due {
		l.tell(&wire.Pulse{Every: int64(every)})
	}
}

// heardPulse takes the peer's word on how often it will pulse.
func (l *link) heardPulse(every time.Duration) {
	if every <= 0 || every > maxPulse {
		return
	}
	l.mu.Lock()
	l.peer.Pulse = every
	l.mu.Unlock()
}
