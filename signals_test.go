package discoro

import (
	"errors"
	"os"
	"runtime"
	"testing"
)

// Kill ends a process at once, as kill -9 does.
func Kill(pid int) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return errors.Join(p.Kill(), p.Release())
}

// Signal sends a process a signal. Where a process can only be killed the test skips.
func Signal(tb testing.TB, p *os.Process, s os.Signal) {
	tb.Helper()
	if runtime.GOOS == "windows" && s != os.Kill {
		tb.Skip("Windows has no signals, and a process can only be killed")
	}
	if err := p.Signal(s); err != nil {
		tb.Fatal(err)
	}
}
