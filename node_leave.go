package discoro

import (
	"log/slog"
	"time"

	"github.com/discoro/discoro/internal/hours"
)

// When a node takes nothing new: it drains, has served what it was to serve, or is outside its hours of service.

// away says why nothing new is taken; empty when it is.
func (l *nodeLoop) away() string {
	switch {
	case l.draining || l.closing:
		return "it is leaving"
	case l.phase != hours.Open:
		return "it is outside its hours of service, " + l.cfg.hours.String()
	}
	return ""
}

// leave makes the node drain: schedulers are told, and release it when it runs no job. over is closed when it is free.
func (l *nodeLoop) leave() {
	if l.draining {
		return
	}
	l.draining = true
	l.offer()
	l.onFree(func() { close(l.over) })
}

// countServed leaves when the computation that has ended was the last that was to be served.
func (l *nodeLoop) countServed() {
	l.served++
	if l.cfg.Serve > 0 && l.served >= l.cfg.Serve && !l.draining {
		l.rt.log.Info("all that was to be served is served: leaving", slog.Int("computations", l.served))
		l.leave()
	}
}

// clockLook is how often the clock is looked at, at least: somebody may set it.
const clockLook = time.Minute

// lookAtClock does what the hours of service say, and has itself called again.
func (l *nodeLoop) lookAtClock() {
	if !l.cfg.hours.Limited() || l.closing {
		return
	}
	l.stopClock()
	p, left := l.cfg.hours.At(l.cfg.now())
	l.alarm = time.AfterFunc(min(left, clockLook), func() { l.asks.Put((*nodeLoop).lookAtClock) })
	if p == l.phase {
		return
	}
	l.phase = p
	l.rt.log.Info("hours of service", slog.Bool("open", p == hours.Open), slog.Bool("ended", p == hours.Closed))
	if p == hours.Closed {
		l.release("its hours of service have ended", false)
	}
	l.offer()
}

// stopClock ends lookAtClock.
func (l *nodeLoop) stopClock() {
	if l.alarm != nil {
		l.alarm.Stop()
	}
}
