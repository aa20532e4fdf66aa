package discorotest

import (
	"bytes"
	"log/slog"
	"sync"
	"testing"
)

// testLog writes to a test's log until the test ends. Writing there later would end the program.
type testLog struct {
	t testing.TB // immutable

	mu    sync.Mutex // guards following; held while a line is logged, which calls nothing of ours
	ended bool
}

// handler returns a handler that writes to the log, with times short enough for a test.
func (l *testLog) handler() slog.Handler {
	return slog.NewTextHandler(l, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			a.Value = slog.StringValue(a.Value.Time().Format("15:04:05.000"))
		}
		return a
	}})
}

// Write implements [io.Writer].
func (l *testLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.t.Logf("%s", bytes.TrimSuffix(line, []byte("\n")))
	}
	return len(line), nil
}

func (l *testLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}
