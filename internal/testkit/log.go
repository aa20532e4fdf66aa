package testkit

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
)

// Log is what a logger or a process has written. It is safe for concurrent use.
type Log struct {
	mu  sync.Mutex // guards following; leaf
	buf bytes.Buffer
}

// Write implements [io.Writer].
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String returns everything that was written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Count returns how many times text was written.
func (l *Log) Count(text string) int { return strings.Count(l.String(), text) }

// Logger returns a logger that writes to l, from level Debug.
func (l *Log) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Quiet returns a logger that writes nowhere, for tests whose coroutines fail on purpose.
func Quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
