package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// built is the program, built once.
var built string

func TestMain(m *testing.M) {
	code, err := buildAndRun(m)
	if err == nil && code == 0 {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "wordcount-test-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	built = filepath.Join(dir, "wordcount")
	if out, err := exec.Command("go", "build", "-o", built, ".").CombinedOutput(); err != nil {
		return 1, fmt.Errorf("%w: %s", err, out)
	}
	return m.Run(), nil
}

// bed is where one test runs the program: a copy of it, by which its processes are known, and its temporary folder.
type bed struct {
	*testing.T
	exe string
	tmp string
	env []string
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{T: t, exe: filepath.Join(t.TempDir(), "wordcount"), tmp: t.TempDir()}
	if err := os.Link(built, b.exe); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, pid := range b.processes() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return b
}

// program is one run of it.
type program struct {
	*bed
	cmd    *exec.Cmd
	out    bytes.Buffer
	errs   bytes.Buffer
	listen chan string // what it says on standard error of where nodes may join
	read   chan struct{}
	kill   *time.Timer
}

var joinLine = regexp.MustCompile(`-peers (\S+)`)

// start runs the program in a folder.
func (b *bed) start(dir string, args ...string) *program {
	b.Helper()
	p := &program{bed: b, cmd: exec.Command(b.exe, args...), listen: make(chan string, 1), read: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = append(append(os.Environ(), "TMPDIR="+b.tmp), b.env...)
	p.cmd.Stdout = &p.out
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	p.kill = time.AfterFunc(time.Minute, func() { _ = p.cmd.Process.Signal(syscall.SIGQUIT) }) // it hangs: show where
	go func() {
		defer close(p.read)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			fmt.Fprintln(&p.errs, lines.Text())
			if m := joinLine.FindStringSubmatch(lines.Text()); m != nil {
				select {
				case p.listen <- m[1]:
				default:
				}
			}
		}
	}()
	return p
}

// end waits for the program's end, and checks its status, and that it leaves nothing behind.
func (p *program) end(status int) {
	p.Helper()
	<-p.read
	_ = p.cmd.Wait() // its status is looked at below
	p.kill.Stop()
	if got := p.cmd.ProcessState.ExitCode(); got != status {
		p.Errorf("exit status %d, want %d; standard error:\n%s", got, status, p.errs.String())
	}
}

// clean checks that no process and no temporary folder is left.
func (b *bed) clean() {
	b.Helper()
	b.poll("the end of all processes", func() bool { return len(b.processes()) == 0 })
	left, err := filepath.Glob(filepath.Join(b.tmp, "*"))
	if err != nil || len(left) > 0 {
		b.Errorf("left behind: %v, %v", left, err)
	}
}

// poll waits for what the system does not tell of.
func (b *bed) poll(what string, ok func() bool) {
	b.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			b.Fatalf("waited in vain for %s", what)
		}
	}
}

// processes are those of the program, by id.
func (b *bed) processes() (pids []int) {
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		b.Fatal(err)
	}
	for _, link := range links {
		if exe, err := os.Readlink(link); err == nil && exe == b.exe {
			pid, _ := strconv.Atoi(strings.Split(link, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

// busyServer waits until a server process has counted for a while, and returns its id.
func (p *program) busyServer() (pid int) {
	p.Helper()
	p.poll("a server at work", func() bool {
		for _, pid = range p.processes() {
			if pid != p.cmd.Process.Pid && ticks(pid) >= 3 {
				return true
			}
		}
		return false
	})
	return pid
}

// ticks is how many hundredths of a second a process has computed.
func ticks(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 12 {
		return 0
	}
	n, _ := strconv.Atoi(fields[11])
	return n
}

// lastLine is the last line of what the program printed.
func (p *program) lastLine() string {
	lines := strings.Split(strings.TrimRight(p.out.String(), "\n"), "\n")
	return lines[len(lines)-1]
}

// wantOneLine checks that standard error is one line that says what it must.
func (p *program) wantOneLine(says string) {
	p.Helper()
	if text := p.errs.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, says) || !strings.HasPrefix(text, "wordcount: ") {
		p.Errorf("standard error is not one line with %q:\n%s", says, text)
	}
}

// small makes a folder of 4 files and 8 words.
func small(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.go": "one two\nthree", "empty.go": "", "deep/b.go": "  four\t\tfive  \n\n", "deep/er/c.go": "größe 世界 eight", "deep/d.txt": "no",
	} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// large makes a folder that takes a while, of so many words.
func large(t *testing.T) (dir string, files, words int) {
	t.Helper()
	dir = t.TempDir()
	var text strings.Builder
	const perFile = 300_000
	for i := range perFile {
		fmt.Fprintf(&text, "word%d ", i%5000)
	}
	files = 60
	for i := range files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%d.go", i)), []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, files, files * perFile
}

// TestNoWordStandsOut counts a folder in which every word is rare: the servers have to count it again, in full.
func TestNoWordStandsOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var text strings.Builder
	for i := range 2_000_000 {
		fmt.Fprintf(&text, "%d ", i%50_000)
	}
	for _, name := range []string{"a.go", "b.go", "c.go"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text.String()+strings.Repeat(name+" ", 50)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := newBed(t)
	p := b.start(dir, ".")
	p.end(0)
	if got := p.lastLine(); !strings.HasPrefix(got, "files=3 words=6000150 ") {
		t.Errorf("last line %q", got)
	}
	if got, want := p.out.String(), "      120 0\n      120 1\n      120 10\n      120 100\n      120 1000\n      120 10000\n"; !strings.HasPrefix(got, want) {
		t.Errorf("printed\n%s\nwant first\n%s", got, want)
	}
	b.clean()
}

func TestSmallFolder(t *testing.T) {
	t.Parallel()
	dir := small(t)
	for name, run := range map[string]struct {
		dir  string
		args []string
	}{
		"by its path":   {t.TempDir(), []string{"-servers", "2", dir}},
		"where it runs": {dir, []string{"-servers", "1", "."}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			p := b.start(run.dir, run.args...)
			p.end(0)
			if got := p.lastLine(); got != "files=4 words=8 servers=1" { // one batch: one server
				t.Errorf("the last line is %q", got)
			}
			if p.errs.Len() > 0 {
				t.Errorf("standard error:\n%s", p.errs.String())
			}
			b.clean()
		})
	}
}

// TestJoin has servers come from another program only, with and without a secret.
func TestJoin(t *testing.T) {
	t.Parallel()
	for name, env := range map[string][]string{"plain": nil, "secret": {"DISCORO_SECRET=not in the process list"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := small(t)
			b, other := newBed(t), newBed(t)
			b.env, other.env = env, env
			p := b.start(dir, "-listen", "127.0.0.1:0", "-no-servers", "-timeout", "50s", ".")
			node := other.start(dir, "-node", "-servers", "2", "-peers", <-p.listen)
			p.end(0)
			if got := p.lastLine(); got != "files=4 words=8 servers=1" {
				t.Errorf("the last line is %q", got)
			}
			b.clean()
			if err := node.cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			node.end(0)
			other.clean()
		})
	}
}

// TestNodeKilled kills a node: neither its servers nor their folders stay.
func TestNodeKilled(t *testing.T) {
	t.Parallel()
	dir, files, words := large(t)
	b, other := newBed(t), newBed(t)
	p := b.start(dir, "-listen", "127.0.0.1:0", "-servers", "1", "-timeout", "50s", ".")
	node := other.start(dir, "-node", "-servers", "2", "-peers", <-p.listen)
	node.busyServer()
	if err := node.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	node.end(-1)
	other.clean()
	p.end(0)
	if want := fmt.Sprintf("files=%d words=%d servers=", files, words); !strings.HasPrefix(p.lastLine(), want) {
		t.Errorf("the last line is %q, want %s", p.lastLine(), want)
	}
	b.clean()
}

func TestServerKilled(t *testing.T) {
	t.Parallel()
	dir, files, words := large(t)
	b := newBed(t)
	p := b.start(dir, "-servers", "2", ".")
	if err := syscall.Kill(p.busyServer(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.end(0)
	if want := fmt.Sprintf("files=%d words=%d servers=", files, words); !strings.HasPrefix(p.lastLine(), want) {
		t.Errorf("the last line is %q, want %s", p.lastLine(), want)
	}
	b.clean()
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	dir, _, _ := large(t)
	b := newBed(t)
	p := b.start(dir, "-servers", "2", ".")
	p.busyServer()
	start := time.Now()
	for _, pid := range b.processes() { // as a terminal does
		_ = syscall.Kill(pid, syscall.SIGINT)
	}
	p.end(1)
	if took := time.Since(start); took > 8*time.Second {
		t.Errorf("it took %v", took)
	}
	p.wantOneLine("wordcount: interrupted")
	b.clean()
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	dir := small(t)
	for name, test := range map[string]struct {
		args   []string
		status int
		says   string
	}{
		"no servers":      {[]string{"-no-servers", "-timeout", "500ms", dir}, 1, "no node is known to the scheduler"},
		"no folder":       {[]string{filepath.Join(dir, "none")}, 1, "cannot read the folder"},
		"no files":        {[]string{t.TempDir()}, 1, "no .go file below"},
		"port in use":     {[]string{"-listen", taken.Addr().String(), dir}, 1, "address already in use"},
		"open, no secret": {[]string{"-listen", "0.0.0.0:0", dir}, 1, "Secret"},
		"unknown flag":    {[]string{"-nonsense"}, 2, "-nonsense"},
		"bad value":       {[]string{"-servers", "many"}, 2, "-servers"},
		"bad listen":      {[]string{"-listen", "7070"}, 2, "HOST:PORT"},
		"bad peers":       {[]string{"-node", "-peers", "somewhere"}, 2, "host:port"},
		"node, no peers":  {[]string{"-node"}, 2, "-peers"},
		"peers, servers":  {[]string{"-peers", "127.0.0.1:1", "-servers", "2"}, 2, "-servers"},
		"bad port":        {[]string{"-listen", "127.0.0.1:http", dir}, 2, "65535"},
		"node, no node":   {[]string{"-node", "-peers", "127.0.0.1:1", "-no-servers"}, 2, "-node"},
		"two folders":     {[]string{dir, dir}, 2, "too many arguments"},
		"negative":        {[]string{"-retries", "-1"}, 2, "-retries"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			p := b.start(dir, test.args...)
			p.end(test.status)
			p.wantOneLine(test.says)
			if p.out.Len() > 0 {
				t.Errorf("standard output:\n%s", p.out.String())
			}
			b.clean()
		})
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	p := newBed(t).start(t.TempDir(), "-h")
	p.end(0)
	if !strings.Contains(p.out.String(), "-listen") || p.errs.Len() > 0 {
		t.Errorf("standard output:\n%s\nstandard error:\n%s", p.out.String(), p.errs.String())
	}
}
