package testkit

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// Life is what the program of a test does in place of its tests, in a process that the test starts.
// The value of the environment variable Env says what exactly.
type Life struct {
	Env   string
	Serve func(value string) error
}

// Main is for TestMain. It runs the tests and looks for goroutines that they have left. In a process
// where the variable of a life is set, it runs that life instead. It does not return.
func Main(m *testing.M, lives ...Life) {
	for _, l := range lives {
		value := os.Getenv(l.Env)
		if value == "" {
			continue
		}
		_ = os.Unsetenv(l.Env) // the life's own child processes are none
		exit(l.Serve(value))
	}
	if code := m.Run(); code != 0 {
		os.Exit(code)
	}
	exit(goleak.Find())
}

func exit(err error) {
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Exit(0)
}

// Kill ends a process at once, as kill -9 does.
func Kill(pid int) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return errors.Join(p.Kill(), p.Release())
}

// Signal sends a process a signal. On Windows, which has no signals, the test is skipped unless s is
// os.Kill.
func Signal(tb testing.TB, p *os.Process, s os.Signal) {
	tb.Helper()
	if runtime.GOOS == "windows" && s != os.Kill {
		tb.Skip("Windows has no signals, and a process can only be killed")
	}
	if err := p.Signal(s); err != nil {
		tb.Fatal(err)
	}
}

// PeerEnv is the variable of live.PeerLife. Its value is the time between pulses.
const PeerEnv = "DISCORO_TEST_PEER"

// Process is a process with a Life.
type Process struct {
	Line string // the first line that it printed

	tb    testing.TB    // immutable
	cmd   *exec.Cmd     // immutable
	stdin io.Closer     // immutable
	ended chan struct{} // closed when the process has exited
}

// StartProcess starts the test's program with a Life, and returns when it has printed its first line.
// The process ends with the test, or before.
func StartProcess(tb testing.TB, env, value string) *Process {
	tb.Helper()
	exe, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	p := &Process{tb: tb, cmd: exec.Command(exe), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env+"="+value, "TMPDIR="+tb.TempDir()) // it may be killed, and leave files
	p.cmd.Stderr = os.Stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait()
	}()
	tb.Cleanup(p.Kill)
	if err != nil {
		tb.Fatal(err)
	}
	p.Line = strings.TrimSpace(line)
	return p
}

// Signal sends the process a signal.
func (p *Process) Signal(s os.Signal) {
	p.tb.Helper()
	Signal(p.tb, p.cmd.Process, s)
}

// Kill ends the process at once, and waits for that.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	_ = p.stdin.Close()
	<-p.ended
}

// Pid returns the process's id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }
