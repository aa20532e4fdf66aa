package test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/discoro/discoro"
	"github.com/discoro/discoro/internal/testkit"
)

// mainEnv makes the test's program a node or a scheduler.
const mainEnv = "DISCORO_TEST_MAIN"

func serveMain(kind string) error {
	switch kind {
	case "node":
		discoro.NodeMain()
	case "scheduler":
		discoro.SchedulerMain()
	}
	return nil
}

// mainBed is a scheduler in this process, and a folder for the programs that a test starts.
type mainBed struct {
	*cluster
	dir string
	env []string
}

func newMainBed(t *testing.T, cfg discoro.Config) *mainBed {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	sched, err := discoro.NewScheduler(discoro.SchedulerConfig{Config: cfg})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIn(t, "scheduler", sched.Close) })
	return &mainBed{cluster: &cluster{T: t, sched: sched, ctx: ctx}, dir: t.TempDir()}
}

// mainProgram is a node or a scheduler that is a process.
type mainProgram struct {
	*mainBed
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    testkit.Log
	errs   testkit.Log
	exited chan struct{} // closed when the process has ended
}

// start starts a program and does not wait for it.
func (b *mainBed) start(kind string, args ...string) *mainProgram {
	b.Helper()
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	p := &mainProgram{mainBed: b, cmd: exec.Command(exe, args...), exited: make(chan struct{})}
	p.cmd.Env = append(append(os.Environ(), mainEnv+"="+kind, "XDG_RUNTIME_DIR="+b.dir, "TMPDIR="+b.dir, "GORACE=atexit_sleep_ms=0"), b.env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.errs
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // exits checks the exit code
		close(p.exited)
	}()
	b.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		if b.Failed() {
			b.Logf("%s %q said:\n%s%s", kind, args, p.out.String(), p.errs.String())
		}
	})
	return p
}

// node starts a node with one server that connects to the scheduler, and waits until it is up.
func (b *mainBed) node(args ...string) *mainProgram {
	b.Helper()
	p := b.start("node", append([]string{"-c", "1", "-u", "-1", "--peer", b.sched.Location().String()}, args...)...)
	p.says("functions: ")
	return p
}

// says waits until the program has written text to standard output.
func (p *mainProgram) says(text string) {
	p.Helper()
	p.poll(text, func() bool { return p.hasEnded() || strings.Contains(p.out.String(), text) })
	if !strings.Contains(p.out.String(), text) {
		p.Fatalf("ended, and has not said %q", text)
	}
}

func (p *mainProgram) hasEnded() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

func (p *mainProgram) tell(line string) {
	p.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.Fatal(err)
	}
}

func (p *mainProgram) signal(s os.Signal) {
	p.Helper()
	testkit.Signal(p, p.cmd.Process, s)
}

// exits waits until the program has ended, and checks the exit code; -1: it was killed.
func (p *mainProgram) exits(code int) {
	p.Helper()
	select {
	case <-p.exited:
	case <-p.ctx.Done():
		p.Fatal("it does not end")
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.Errorf("exit code %d, want %d; standard error:\n%s", got, code, p.errs.String())
	}
}

// job starts a run that waits for a message, and returns it and its server's process.
func (b *mainBed) job(comp *discoro.Computation) (job *discoro.Coro, pid int) {
	b.Helper()
	pid = clusterRunAt(b.cluster, comp, b.server(comp), faultPid.With(discoro.None{}))
	job, err := comp.Run(b.ctx, nodeEcho.With(discoro.None{}))
	if err != nil {
		b.Fatal(err)
	}
	return job, pid
}

// isGone waits until there is no process with that number.
func (b *mainBed) isGone(pid int) {
	b.Helper()
	b.poll("the end of a server's process", func() bool {
		process, err := os.FindProcess(pid)
		if err != nil {
			return true
		}
		return errors.Is(errors.Join(process.Signal(syscall.Signal(0)), process.Release()), os.ErrProcessDone)
	})
}

var tableLine = regexp.MustCompile(`(?m)^1 +127\.0\.0\.1:\d+ +1 +serving$`)

func TestNodeMainCommands(t *testing.T) {
	t.Parallel()
	b := newMainBed(t, discoro.Config{})
	n := b.node("-n", "the one")
	comp := b.computation(1)
	job, pid := b.job(comp)
	b.poll("the table", func() bool { n.tell("status"); return tableLine.MatchString(n.out.String()) })
	n.says("node the one at 127.0.0.1:")
	n.says("test.double")
	n.says("only this machine can reach it")
	n.says("serves computation ")
	n.tell("dance")
	n.says(`no command "dance"; there are status, close, quit or exit, terminate`)
	n.tell("close")
	if err := job.Wait(b.ctx); !errors.Is(err, discoro.ErrTerminated) {
		t.Errorf("the job ended with %v", err)
	}
	n.says("nothing is served")
	n.tell("Quit ")
	n.exits(0)
	b.isGone(pid)
	left, err := filepath.Glob(filepath.Join(b.dir, "discoro-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// TestNodeMainDrains ends a node's standard input, after which it goes on, and then sends it
// SIGTERM while a job runs.
func TestNodeMainDrains(t *testing.T) {
	t.Parallel()
	b := newMainBed(t, discoro.Config{})
	n := b.node()
	if err := n.in.Close(); err != nil {
		t.Fatal(err)
	}
	comp := b.computation(1)
	job, pid := b.job(comp)
	server, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Signal(t, server, syscall.SIGTERM) // whoever ends a service signals all its processes
	n.signal(syscall.SIGTERM)
	n.says("leaving")
	if err := job.Send("end"); err != nil {
		t.Fatal(err)
	}
	if text, err := discoro.Result[string](b.ctx, job); text != "end" || err != nil {
		t.Errorf("the job: %q, %v", text, err)
	}
	n.exits(0)
	b.isGone(pid)
}

// piped starts a node whose standard output, and with errs standard error, goes into a pipe.
func (b *mainBed) piped(errs bool, args ...string) (cmd *exec.Cmd, in io.Writer, read *os.File) {
	b.Helper()
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd = exec.CommandContext(b.ctx, exe, append([]string{"-c", "1", "-u", "-1", "--peer", b.sched.Location().String()}, args...)...)
	cmd.Env = append(os.Environ(), mainEnv+"=node", "XDG_RUNTIME_DIR="+b.dir, "TMPDIR="+b.dir, "GORACE=atexit_sleep_ms=0")
	read, write, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = read.Close() })
	if cmd.Stdout = write; errs {
		cmd.Stderr = write
	}
	in, err = cmd.StdinPipe()
	if err == nil {
		err = errors.Join(cmd.Start(), write.Close())
	}
	if err != nil {
		b.Fatal(err)
	}
	return cmd, in, read
}

// TestNodeMainWithoutReader closes the pipe that a node writes to. The node goes on.
func TestNodeMainWithoutReader(t *testing.T) {
	t.Parallel()
	b := newMainBed(t, discoro.Config{})
	cmd, in, read := b.piped(true, "--debug")
	if _, err := bufio.NewReader(read).ReadByte(); err != nil {
		t.Fatal(err)
	}
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	comp := b.computation(1)
	if v := clusterRunAt(b.cluster, comp, b.server(comp), double.With(4)); v != 8 {
		t.Errorf("a job: %d", v)
	}
	if _, err := io.WriteString(in, "status\nquit\n"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestNodeMainWithFullOutput leaves a node's output unread until the pipe is full. The node still
// obeys its commands.
func TestNodeMainWithFullOutput(t *testing.T) {
	t.Parallel()
	b := newMainBed(t, discoro.Config{})
	cmd, in, _ := b.piped(false)
	if _, err := io.WriteString(in, strings.Repeat("nonsense\n", 10_000)+"quit\n"); err != nil { // many answers
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestNodeMainSecondSignal(t *testing.T) {
	t.Parallel()
	b := newMainBed(t, discoro.Config{})
	n := b.node("--daemon")
	job, pid := b.job(b.computation(1))
	n.signal(syscall.SIGHUP)
	n.signal(os.Interrupt)
	n.says("leaving")
	n.signal(syscall.SIGTERM)
	n.exits(130)
	if err := job.Wait(b.ctx); err == nil {
		t.Error("the job has ended well")
	}
	b.isGone(pid)
}

func TestNodeMainTerminate(t *testing.T) {
	t.Parallel()
	b := newMainBed(t, discoro.Config{})
	n := b.node()
	job, pid := b.job(b.computation(1))
	n.tell("terminate")
	n.exits(0)
	if err := job.Wait(b.ctx); err == nil {
		t.Error("the job has ended well")
	}
	b.isGone(pid)
}

// TestNodeMainOneOfAName starts a second node of a name: beside one that runs, after one that was
// killed, and in place of one.
func TestNodeMainOneOfAName(t *testing.T) {
	t.Parallel()
	b := newMainBed(t, discoro.Config{})
	first := b.node("-n", "alone")
	comp := b.computation(1)
	_, pid := b.job(comp)
	second := b.start("node", "-n", "alone")
	second.exits(1)
	if says := fmt.Sprintf("node alone runs on this machine already, process %d at 127.0.0.1:", first.cmd.Process.Pid); !strings.Contains(second.errs.String(), says) {
		t.Errorf("the second said %q, not %q", second.errs.String(), says)
	}
	b.node("-n", "another").tell("quit")
	first.signal(os.Kill)
	first.exits(-1)
	b.isGone(pid) // the node's end ends its server
	third := b.node("-n", "alone")
	_, pid = b.job(comp)
	fourth := b.node("-n", "alone", "--phoenix")
	third.exits(130)
	b.isGone(pid)
	if err := comp.WaitServers(b.ctx, 1); err != nil {
		t.Error(err)
	}
	fourth.tell("exit")
	fourth.exits(0)
	fifth := b.node("-n", "alone", "--phoenix") // there is no node to end
	fifth.tell("quit")
	fifth.exits(0)
}

// TestNodeMainCPUs counts servers by the CPUs that the process may use.
func TestNodeMainCPUs(t *testing.T) {
	t.Parallel()
	b := newMainBed(t, discoro.Config{})
	b.env = []string{"GOMAXPROCS=3"}
	for c, says := range map[string]string{"0": "servers: 3, processes", "-1": "servers: 2, processes"} {
		n := b.start("node", "-u", "-1", "-n", "cpus"+c, "-c", c)
		n.says(says)
		n.tell("terminate")
		n.exits(0)
	}
	n := b.start("node", "-u", "-1", "-c", "-3")
	n.exits(2)
	if says := "-c: -3 leaves none of the 3 CPUs"; !strings.Contains(n.errs.String(), says) {
		t.Errorf("it said %q, not %q", n.errs.String(), says)
	}
}

func TestNodeMainServe(t *testing.T) {
	t.Parallel()
	b := newMainBed(t, discoro.Config{})
	n := b.node("--serve", "1")
	if err := b.computation(1).Close(b.ctx); err != nil {
		t.Fatal(err)
	}
	n.exits(0)
}

// TestNodeMainSecret gives the secret in the environment, which the list of processes does not
// show.
func TestNodeMainSecret(t *testing.T) {
	t.Parallel()
	const secret = "a secret of some length"
	b := newMainBed(t, discoro.Config{Secret: secret, Addr: "127.0.0.1"})
	comp := b.computation(0)
	b.env = []string{"DISCORO_SECRET=" + secret}
	n := b.node("-i", "127.0.0.1")
	n.says("links are protected by a secret")
	if v := clusterRunAt(b.cluster, comp, b.server(comp), nodeEnv.With("DISCORO_SECRET")); v != "" {
		t.Errorf("functions, and what they start, have %q in their environment", v)
	}
	if strings.Contains(n.out.String()+n.errs.String(), secret) {
		t.Error("it shows the secret")
	}
	n.tell("terminate")
	n.exits(0)
}

func TestMainExitCodes(t *testing.T) {
	t.Parallel()
	b := newMainBed(t, discoro.Config{})
	taken := fmt.Sprint(b.sched.Location().Port)
	saved := filepath.Join(b.dir, "saved")
	runs := []struct {
		kind, args string
		code       int
		says       string
	}{
		{"node", "--help", 0, "--tcp_ports PORTS"},
		{"scheduler", "--help", 0, "--node HOST:PORT"},
		{"node", "--node a:1", 2, "-node"},
		{"scheduler", "-c 1", 2, "-c"},
		{"node", "--tcp_ports 1-x", 2, `--tcp_ports: "1-x"`},
		{"node", "--min_pulse_interval 200", 2, "--min_pulse_interval: 3m20s is more than"},
		{"node", "--peer nowhere", 2, `discoro: --peer: location "nowhere": `},
		{"node", "-n b -t " + taken, 1, "address already in use"},
		{"scheduler", "-t " + taken, 1, "address already in use"},
		{"node", "-n d --certfile none", 2, "--certfile: with KeyFile and CAFile: CAFile is missing"},
		{"scheduler", "--node nowhere", 2, `discoro: --node: location "nowhere": `},
		{"scheduler", "--ping_interval 1", 2, "--ping_interval: 1s is less"},
		{"scheduler", "-i 0.0.0.0", 2, "--ip_addr: "},
		{"node", "-n c -t " + taken + " --save_config " + saved, 0, "saved to " + saved},
		{"node", "-n c --config " + saved, 1, "address already in use"},
	}
	for _, r := range runs {
		p := b.start(r.kind, strings.Fields(r.args)...)
		p.exits(r.code)
		if said := p.out.String() + p.errs.String(); !strings.Contains(said, r.says) {
			t.Errorf("%s %s said %q, want %q", r.kind, r.args, said, r.says)
		}
	}
}

// TestSchedulerMain runs a scheduler as a process, with a node and two clients in its queue.
func TestSchedulerMain(t *testing.T) {
	t.Parallel()
	b := newMainBed(t, discoro.Config{})
	s := b.start("scheduler", "-u", "-1", "-n", "chief", "--zombie_period", "0")
	s.says("commands: ")
	m := regexp.MustCompile(`scheduler chief at (\S+),`).FindStringSubmatch(s.out.String())
	at, err := discoro.ParseLocation(m[1])
	if err != nil {
		t.Fatal(err)
	}
	n := b.start("node", "-c", "1", "-u", "-1", "--peer", at.String())
	comps := make([]*discoro.Computation, 3)
	for i := range comps {
		if comps[i], err = discoro.NewComputation(b.newClient()); err != nil {
			t.Fatal(err)
		}
	}
	if err := comps[0].Schedule(b.ctx, at); err != nil {
		t.Fatal(err)
	}
	if v := clusterRunAt(b.cluster, comps[0], b.server(comps[0]), double.With(4)); v != 8 {
		t.Errorf("a job: %d", v)
	}
	queued := make(chan error, 1)
	go func() { queued <- comps[1].Schedule(b.ctx, at) }()
	b.poll("the queue", func() bool {
		s.tell("status")
		return strings.Contains(s.out.String(), "queue, number 1: computation ")
	})
	b.poll("the node", func() bool { s.tell("status"); return strings.Contains(s.out.String(), "1 of 1 servers ready") })
	s.tell("close")
	s.says("nothing is served")
	if err := <-queued; err != nil {
		t.Fatal(err)
	}
	s.tell("quit")
	s.says("leaving")
	if err := comps[2].Schedule(b.ctx, at); !errors.Is(err, discoro.ErrRejected) || !strings.Contains(err.Error(), "the scheduler is leaving") {
		t.Errorf("scheduled at one that is leaving: %v", err)
	}
	if v := clusterRunAt(b.cluster, comps[1], b.server(comps[1]), double.With(5)); v != 10 {
		t.Errorf("a job of the last: %d", v)
	}
	if err := comps[1].Close(b.ctx); err != nil {
		t.Fatal(err)
	}
	s.exits(0)
	n.signal(syscall.SIGTERM)
	n.exits(0)
}

// TestMainsFindEachOther starts programs that know only the port of discovery.
func TestMainsFindEachOther(t *testing.T) {
	t.Parallel()
	b := newMainBed(t, discoro.Config{})
	port := fmt.Sprint(testkit.UDPPort(t))
	first := b.start("node", "-c", "1", "-n", "first", "-u", port)
	first.says("functions: ")
	s := b.start("scheduler", "-u", port)
	s.says("commands: ")
	second := b.start("node", "-c", "1", "-n", "second", "-u", port, "--discover_peers")
	for _, name := range []string{" (first) ", " (second) "} {
		b.poll(name, func() bool { s.tell("status"); return strings.Contains(s.out.String(), name) })
	}
	for _, p := range []*mainProgram{first, second, s} {
		p.tell("quit")
		p.exits(0)
	}
}

// TestNodeMainInterruptedWait interrupts a node that waits for another to end. It ends at once, and
// the other one is not killed.
func TestNodeMainInterruptedWait(t *testing.T) {
	t.Parallel()
	b := newMainBed(t, discoro.Config{})
	first := b.node("-n", "slow")
	first.signal(testkit.SigStop)
	second := b.start("node", "-n", "slow", "--phoenix")
	b.poll("it waits", func() bool { return strings.Contains(second.errs.String(), "ending the node that runs") })
	second.signal(os.Interrupt)
	second.exits(130)
	if says := "interrupt came while it waited for another node to end"; !strings.Contains(second.errs.String(), says) {
		t.Errorf("it said %q, not %q", second.errs.String(), says)
	}
	first.signal(testkit.SigCont)
	b.poll("the end of the first, by the signals that it was sent", first.hasEnded)
	if first.cmd.ProcessState.ExitCode() < 0 {
		t.Error("it was killed")
	}
}
