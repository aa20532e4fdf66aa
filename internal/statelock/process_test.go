//go:build unix

package statelock

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// holderEnv makes the test's program a process that has a lock: it names the file.
const holderEnv = "DISCORO_TEST_HOLDER"

func TestMain(m *testing.M) {
	if path := os.Getenv(holderEnv); path != "" {
		hold(path)
	}
	os.Exit(m.Run())
}

// hold locks a file until both signals that end a node at once have come, and then exits with 130.
func hold(path string) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	l, err := open(path)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	l.Note("h:1")
	fmt.Println("locked")
	<-signals
	<-signals
	os.Exit(130)
}

// startHolder starts a process that has locked a file, and returns it and the file.
func startHolder(t *testing.T) (cmd *exec.Cmd, path string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "lock")
	cmd = exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), holderEnv+"="+path, "GORACE=atexit_sleep_ms=0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatalf("it said %q, %v", line, err)
	}
	return cmd, path
}

// take ends the process that has locked a file.
func take(ctx context.Context, path string, cfg Config) error {
	cfg.Log = discard
	l, err := takeOver(ctx, path, cfg)
	if err == nil {
		l.Unlock()
	}
	return err
}

// TestTakeOver asks a process to end that has the lock.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	cmd, path := startHolder(t)
	if got, want := heldBy(path), fmt.Sprintf("process %d at h:1", cmd.Process.Pid); got != want {
		t.Errorf("held by %q, want %q", got, want)
	}
	if err := take(t.Context(), path, Config{Grace: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("it ended with %v", cmd.ProcessState)
	}
}

// TestTakeOverStopped kills a process that cannot end: it is stopped.
func TestTakeOverStopped(t *testing.T) {
	t.Parallel()
	cmd, path := startHolder(t)
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := take(t.Context(), path, Config{Grace: 50 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != -1 {
		t.Errorf("it ended with %v", cmd.ProcessState)
	}
}

// TestTakeOverEnds stops waiting for a process that is stopped, at a signal and with a context.
func TestTakeOverEnds(t *testing.T) {
	t.Parallel()
	cmd, path := startHolder(t)
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	signals := make(chan os.Signal, 1)
	signals <- os.Interrupt
	var interrupted *InterruptError
	err := take(t.Context(), path, Config{Grace: time.Hour, Signals: signals})
	if !errors.As(err, &interrupted) || !strings.Contains(err.Error(), "interrupt came while") {
		t.Errorf("interrupted: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := take(ctx, path, Config{Grace: time.Hour}); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("it was killed: %v", cmd.ProcessState)
	}
}
