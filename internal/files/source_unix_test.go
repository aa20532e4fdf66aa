//go:build unix

package files

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestSourceBecomesAPipe opens a pipe that has no writer, as if it had replaced a file: that does not wait.
func TestSourceBecomesAPipe(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	go func() {
		f, err := openNow(pipe)
		if err == nil {
			err = f.Close()
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("it waits for a writer")
		f, err := os.OpenFile(pipe, os.O_WRONLY, 0) // so that it goes on
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			t.Error(err)
		}
		<-opened
	}
}
