//go:build amd64 || arm64

package turn

// GoroutineID identifies the calling goroutine among those that live: no two have the same ID, and
// a goroutine keeps its ID. An inside-only method learns from it whether the coroutine's own
// goroutine calls, or a helper that the coroutine started. No other means is cheap enough for every
// Receive.
func GoroutineID() uintptr
