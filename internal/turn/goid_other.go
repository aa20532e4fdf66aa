//go:build !amd64 && !arm64

package turn

import (
	"bytes"
	"runtime"
	"strconv"
)

// GoroutineID identifies the calling goroutine among those that live; see goid_asm.go. For
// processors without assembly here, the ID is read from the head of the stack trace, which takes
// about a microsecond.
func GoroutineID() uintptr {
	var buf [64]byte
	line := bytes.TrimPrefix(buf[:runtime.Stack(buf[:], false)], []byte("goroutine "))
	digits, _, _ := bytes.Cut(line, []byte(" "))
	id, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil {
		return 0
	}
	return uintptr(id)
}
