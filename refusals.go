package discoro

import (
	"log/slog"
	"maps"
	"sync"
	"time"
)

// refusals lets what strangers do into the log one line an address and 10 s, with a count of what was left out: else
// they could fill a disk.
type refusals struct {
	mu    sync.Mutex // guards following; leaf
	of    map[string]*stranger
	swept time.Time // when those of long ago were last forgotten
}

// stranger is what is known of one address.
type stranger struct {
	last time.Time // of the last line
	more int       // left out since
}

const (
	refusalPause = 10 * time.Second
	maxRefused   = 1024 // addresses; beyond that all others count as one
)

// warn logs a warning, if one is due for that address.
func (r *refusals) warn(log *slog.Logger, addr, msg string, attrs ...any) {
	more, due := r.due(addr, time.Now())
	if !due {
		return
	}
	if more > 0 {
		attrs = append(attrs, slog.Int("more", more))
	}
	log.Warn(msg, attrs...) //nolint:sloglint // the callers' messages are constants
}

// due counts one more; it reports whether a line is due, and how many were left out before.
func (r *refusals) due(addr string, now time.Time) (more int, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == nil {
		r.of = map[string]*stranger{}
	}
	e := r.of[addr]
	if e == nil && len(r.of) >= maxRefused && now.Sub(r.swept) >= refusalPause {
		r.swept = now
		maps.DeleteFunc(r.of, func(_ string, old *stranger) bool { return now.Sub(old.last) >= refusalPause })
	}
	if e == nil && len(r.of) >= maxRefused {
		addr = "others"
		e = r.of[addr]
	}
	if e == nil {
		e = &stranger{}
		r.of[addr] = e
	}
	if !e.last.IsZero() && now.Sub(e.last) < refusalPause {
		e.more++
		return 0, false
	}
	more = e.more
	e.last, e.more = now, 0
	return more, true
}
