//go:build amd64 || arm64

package discoro

// goroutineID identifies the calling goroutine among those that live: no two have the same, and it does not
// change. It is how an inside-only method knows that a coroutine's own goroutine called it, and not a helper
// that the coroutine started; no other means is cheap enough for every Receive.
func goroutineID() uintptr
