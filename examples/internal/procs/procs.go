// Package procs runs programs in the tests of the examples, as their users do.
package procs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Run builds the programs of packages into a folder, sets dir to it, and runs the tests. If they passed
// it runs check. Then it ends the process. TestMain calls it.
func Run(m *testing.M, dir *string, check func() error, packages ...string) {
	code, err := buildAndRun(m, dir, packages)
	if err == nil && code == 0 {
		err = check()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M, dir *string, packages []string) (code int, err error) {
	if *dir, err = os.MkdirTemp("", "examples-test-"); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(*dir)) }()
	args := append([]string{"build", "-o", *dir}, packages...)
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return 1, fmt.Errorf("%w: %s", err, out)
	}
	return m.Run(), nil
}

// Output is what a program has written so far.
type Output struct {
	mu  sync.Mutex // guards following; leaf
	buf bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

// String returns everything that was written.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Program is one run of a program.
type Program struct {
	Cmd      *exec.Cmd
	Out, Err Output // standard output and standard error

	tb   testing.TB
	kill *time.Timer
}

// Start starts a program. After 3 minutes it makes a program that still runs print its stacks and end.
// No program runs on after the test.
func Start(tb testing.TB, cmd *exec.Cmd) *Program {
	tb.Helper()
	p := &Program{Cmd: cmd, tb: tb}
	cmd.Stdout, cmd.Stderr = &p.Out, &p.Err
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	p.kill = time.AfterFunc(3*time.Minute, func() { _ = cmd.Process.Signal(syscall.SIGQUIT) })
	tb.Cleanup(func() {
		if cmd.ProcessState == nil { // the test failed
			_ = cmd.Process.Kill()
			p.Wait()
		}
	})
	return p
}

// Wait waits for the end of the program, and returns its exit code, or -1 after a signal.
func (p *Program) Wait() int {
	_ = p.Cmd.Wait() // the code says more
	p.kill.Stop()
	return p.Cmd.ProcessState.ExitCode()
}

// End waits for the program's end, and checks its exit code.
func (p *Program) End(code int) {
	p.tb.Helper()
	if got := p.Wait(); got != code {
		p.tb.Fatalf("%v: exit code %d, want %d; standard output:\n%s\nstandard error:\n%s", p.Cmd.Args, got, code, &p.Out, &p.Err)
	}
}

// Interrupt ends the program as Ctrl-C does, and checks that it ends well.
func (p *Program) Interrupt() {
	p.tb.Helper()
	if err := p.Cmd.Process.Signal(os.Interrupt); err != nil {
		p.tb.Fatal(err)
	}
	p.End(0)
}

var peersFlag = regexp.MustCompile(`-peers (\S+)`)

// Location waits until the program has written to standard error where it can be reached.
func (p *Program) Location() string {
	p.tb.Helper()
	return p.Says(&p.Err, peersFlag)
}

// Says waits until the program has written a match of pattern, and returns the group in it.
func (p *Program) Says(out *Output, pattern *regexp.Regexp) (group string) {
	p.tb.Helper()
	Poll(p.tb, fmt.Sprintf("%v to say %v", p.Cmd.Args, pattern), func() bool {
		m := pattern.FindStringSubmatch(out.String())
		if m != nil {
			group = m[1]
		}
		return m != nil
	})
	return group
}

// Poll waits for a condition that the system does not report.
func Poll(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	deadline := time.NewTimer(3 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			tb.Fatalf("waited in vain for %s", what)
		}
	}
}
