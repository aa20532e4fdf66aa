//go:build !amd64 && !arm64

package discoro

import (
	"bytes"
	"runtime"
	"strconv"
)

// goroutineID identifies the calling goroutine; see goid_asm.go. Where there is no assembly for the processor the
// number is read from the head of the stack trace, which costs about a microsecond.
func goroutineID() uintptr {
	var buf [64]byte
	line := bytes.TrimPrefix(buf[:runtime.Stack(buf[:], false)], []byte("goroutine "))
	digits, _, _ := bytes.Cut(line, []byte(" "))
	id, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil {
		return 0
	}
	return uintptr(id)
}
