//go:build !linux

package bench

import (
	"errors"
	"net"
	"testing"
	"time"
)

func echoOnCore(net.Conn) error { return errors.ErrUnsupported }

// pingPongOnCores is on Linux only.
func (y *yardstick) pingPongOnCores(b *testing.B, _ int) time.Duration {
	b.Helper()
	b.Skip("a thread cannot be kept on a core here")
	return 0
}
