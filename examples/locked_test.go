package examples

import (
	"bytes"
	"sync"
)

// locked is a buffer that is read while a program writes to it.
type locked struct {
	mu  sync.Mutex // guards following; leaf
	buf bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *locked) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
