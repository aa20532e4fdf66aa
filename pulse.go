package discoro

import (
	"fmt"
	"time"

	"github.com/discoro/discoro/wire"
)

// missedPulses is after how many pulses without a sign of life the other side counts as dead.
const missedPulses = 5

// maxPulse bounds what a peer may say of the time between its pulses.
const maxPulse = time.Hour

// pulses sends signs of life on links that are otherwise silent, and ends links whose other side gives none. It ends
// with the runtime.
func (rt *Runtime) pulses() {
	tick := max(min(rt.pulse/20, 250*time.Millisecond), 5*time.Millisecond)
	for rt.pause(tick) == nil {
		now := time.Now()
		for _, l := range rt.allLinks() {
			l.checkPulse(now)
		}
	}
}

// checkPulse does for one link what pulses does for all. A silence must have been there at two looks: after this process
// itself has stood still, its reader comes first.
func (l *link) checkPulse(now time.Time) {
	l.mu.Lock()
	up, t, theirs := l.state == linkUp, l.t, l.peer.Pulse
	due := l.queue.size() == 0 && now.Sub(l.lastSent) >= l.rt.pulse // what is queued is a sign of life
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
		l.tell(&wire.Pulse{Every: int64(l.rt.pulse)})
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
