package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/discoro/discoro/examples/internal/procs"
	"github.com/discoro/discoro/internal/stopwatch"
)

// built is the folder of the program, built once.
var built string

func TestMain(m *testing.M) {
	procs.Run(m, &built, func() error { return goleak.Find() }, ".")
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
	if err := os.Link(filepath.Join(built, "wordcount"), b.exe); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range b.processes() {
			_ = p.Kill()
		}
	})
	return b
}

// program is one run of it.
type program struct {
	*bed
	*procs.Program
}

// start runs the program in a folder.
func (b *bed) start(dir string, args ...string) *program {
	b.Helper()
	cmd := exec.Command(b.exe, args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "TMPDIR="+b.tmp), b.env...)
	return &program{b, procs.Start(b.T, cmd)}
}

// clean checks that no process and no temporary folder is left.
func (b *bed) clean() {
	b.Helper()
	procs.Poll(b.T, "the end of all processes", func() bool { return len(b.processes()) == 0 })
	left, err := filepath.Glob(filepath.Join(b.tmp, "*"))
	if err != nil || len(left) > 0 {
		b.Errorf("left behind: %v, %v", left, err)
	}
}

// processes are those of the program.
func (b *bed) processes() (all []*os.Process) {
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		b.Fatal(err)
	}
	for _, link := range links {
		if exe, err := os.Readlink(link); err == nil && exe == b.exe {
			pid, _ := strconv.Atoi(strings.Split(link, "/")[2])
			if p, err := os.FindProcess(pid); err == nil {
				all = append(all, p)
			}
		}
	}
	return all
}

// busyServer waits until a server process has counted for a while, and returns it.
func (p *program) busyServer() (server *os.Process) {
	p.Helper()
	if runtime.GOOS != "linux" {
		p.Skip("which processes there are, and what they have done, is looked at on Linux alone")
	}
	procs.Poll(p.T, "a server at work", func() bool {
		for _, server = range p.processes() {
			if server.Pid != p.Cmd.Process.Pid && ticks(server.Pid) >= 3 {
				return true
			}
		}
		return false
	})
	return server
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
	lines := strings.Split(strings.TrimRight(p.Out.String(), "\n"), "\n")
	return lines[len(lines)-1]
}

// wantOneLine checks that standard error is one line that says what it must.
func (p *program) wantOneLine(says string) {
	p.Helper()
	if text := p.Err.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, says) || !strings.HasPrefix(text, "wordcount: ") {
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
	p.End(0)
	if got := p.lastLine(); !strings.HasPrefix(got, "files=3 words=6000150 ") {
		t.Errorf("last line %q", got)
	}
	if got, want := p.Out.String(), "      120 0\n      120 1\n      120 10\n      120 100\n      120 1000\n      120 10000\n"; !strings.HasPrefix(got, want) {
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
			p.End(0)
			if got := p.lastLine(); got != "files=4 words=8 servers=1" { // one batch: one server
				t.Errorf("the last line is %q", got)
			}
			if p.Err.String() != "" {
				t.Errorf("standard error:\n%s", p.Err.String())
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
			p := b.start(dir, "-listen", "127.0.0.1:0", "-no-servers", "-timeout", "150s", ".")
			node := other.start(dir, "-node", "-servers", "2", "-peers", p.Location())
			p.End(0)
			if got := p.lastLine(); got != "files=4 words=8 servers=1" {
				t.Errorf("the last line is %q", got)
			}
			b.clean()
			if err := node.Cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			node.End(0)
			other.clean()
		})
	}
}

// TestNodeKilled kills a node: neither its servers nor their folders stay.
func TestNodeKilled(t *testing.T) {
	t.Parallel()
	dir, files, words := large(t)
	b, other := newBed(t), newBed(t)
	p := b.start(dir, "-listen", "127.0.0.1:0", "-servers", "1", "-timeout", "150s", ".")
	node := other.start(dir, "-node", "-servers", "2", "-peers", p.Location())
	node.busyServer()
	if err := node.Cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	node.End(-1)
	other.clean()
	p.End(0)
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
	if err := p.busyServer().Kill(); err != nil {
		t.Fatal(err)
	}
	p.End(0)
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
	watch := stopwatch.Start(t)
	for _, process := range b.processes() { // as a terminal does
		_ = process.Signal(os.Interrupt)
	}
	p.End(130)
	watch.Within("its end", 8*time.Second)
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
			p.End(test.status)
			p.wantOneLine(test.says)
			if p.Out.String() != "" {
				t.Errorf("standard output:\n%s", p.Out.String())
			}
			b.clean()
		})
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	p := newBed(t).start(t.TempDir(), "-h")
	p.End(0)
	if !strings.Contains(p.Out.String(), "-listen") || p.Err.String() != "" {
		t.Errorf("standard output:\n%s\nstandard error:\n%s", p.Out.String(), p.Err.String())
	}
}
