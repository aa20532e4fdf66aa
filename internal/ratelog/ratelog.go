package ratelog

import (
	"log/slog"
	"maps"
	"sync"
	"time"
)

const (
	// Pause is the least time between two lines with the same key.
	Pause = 10 * time.Second
	// maxKeys bounds the memory of a Log. All further keys count as one.
	maxKeys = 1024
)

// A Log limits log lines by key, such as a peer's address. The zero Log is ready to use, and safe
// for concurrent use.
type Log struct {
	mu    sync.Mutex // guards following; leaf
	of    map[string]*entry
	swept time.Time // when old keys were last removed
}

// entry is the state of one key.
type entry struct {
	last time.Time // of the last line
	more int       // calls since then that were not logged
}

// Warn logs a warning to log, unless less than [Pause] has passed since the last one with this key.
// A line that follows suppressed ones has their number as the attribute "more".
func (l *Log) Warn(log *slog.Logger, key, msg string, attrs ...any) {
	more, due := l.Due(key, time.Now())
	if !due {
		return
	}
	if more > 0 {
		attrs = append(attrs, slog.Int("more", more))
	}
	log.Warn(msg, attrs...) //nolint:sloglint // the callers' messages are constants
}

// Due counts a call with this key. It reports whether a line is due now, and how many calls were
// suppressed since the last line. It is for callers that log at another level than Warn does.
func (l *Log) Due(key string, now time.Time) (more int, due bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = map[string]*entry{}
	}
	e := l.of[key]
	if e == nil && len(l.of) >= maxKeys && now.Sub(l.swept) >= Pause {
		l.swept = now
		maps.DeleteFunc(l.of, func(_ string, old *entry) bool { return now.Sub(old.last) >= Pause })
	}
	if e == nil && len(l.of) >= maxKeys {
		key = "others"
		e = l.of[key]
	}
	if e == nil {
		e = &entry{}
		l.of[key] = e
	}
	if !e.last.IsZero() && now.Sub(e.last) < Pause {
		e.more++
		return 0, false
	}
	more = e.more
	e.last, e.more = now, 0
	return more, true
}
