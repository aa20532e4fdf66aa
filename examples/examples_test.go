package examples

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/discoro/discoro/examples/internal/procs"
)

// built is the folder with the programs, built once.
var built string

func TestMain(m *testing.M) {
	var packages []string
	for name := range programs {
		packages = append(packages, "./"+name)
	}
	procs.Run(m, &built, func() error { return goleak.Find() }, packages...)
}

// want is what a program that ends by itself has to print: lines, each as a regular expression for the whole of it.
type want struct {
	args      []string
	lines     []string
	some      bool // there may be other lines
	unordered bool // the lines may come in any order
}

// programs are the examples that have no test of their own.
var programs = map[string]want{
	"client1": {
		args:  []string{"testdata"},
		lines: []string{"4e40bfdae6cdc9353075d9e1473b7854a1b834bb60146d6f16cb640fff79996c  testdata/a.txt", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  testdata/deep/empty.txt"},
	},
	"client2": {
		lines: []string{"coroutines: 20 created, 0 running, 20 done, 0 failed", `node +127\.0\.0\.1:\d+ +NodeClosed +CPU .* free, memory \d+ MB.*`, "server .* ServerClosed .*", "664579 primes below 10000000, in 20 coroutines"},
		some:  true,
	},
	"client3": {
		lines: []string{`series 0: mean -0\.016, deviation 1\.012, median -0\.011`, `series 9: mean  9\.005, deviation 1\.000, median  8\.998`},
		some:  true,
	},
	"client4": {
		args:  []string{"testdata"},
		lines: []string{"a.txt: 1 lines, 6 words, 4 different: 2 be, 2 to, 1 not"},
	},
	"client5": {
		lines: []string{
			`job 0: 1 1 \+ 10 \* = 20`, `job 0: 1 2 \+ 20 \* = 60`, `job 0: 1 3 \+ 30 \* = 120`, `job 0: 1 4 \+ 40 \* = 200`, `job 0: 1 5 \+ 50 \* = 300`,
			`job 1: 2 1 \+ 10 \* = 30`, `job 1: 2 2 \+ 20 \* = 80`, `job 1: 2 3 \+ 30 \* = 150`, `job 1: 2 4 \+ 40 \* = 240`, `job 1: 2 5 \+ 50 \* = 350`,
		},
	},
	"client6":         stream,
	"client6_channel": stream,
	"client7": {
		lines: []string{"job 0: 1571034 hits", "job 9: 1569567 hits", "pi is about 3.1412: 15706234 of 20000000 darts hit, in 10 jobs"},
		some:  true, unordered: true,
	},
	"client8": {
		lines: []string{
			"1..999999: 837799 takes the most steps to 1, 524; meanwhile 10 messages came, with a sum of 55",
			"1000000..1999999: 1723519 takes the most steps to 1, 556; meanwhile 10 messages came, with a sum of 55",
			"2000000..2999999: 2298025 takes the most steps to 1, 559; meanwhile 10 messages came, with a sum of 55",
		},
	},
	"client9": {
		args: []string{"-words", "be,is", "testdata"},
		lines: []string{
			"a server is set up: 4 words of 2 files", `"be": 2 times, files: 1`, `"is": 0 times, files: 0`,
			"the servers have answered 2 questions from memory, and cleaned up",
		},
		some: true, // the second server may be set up in time, too
	},
	"cloud": {
		lines: []string{
			`the client announces 127\.0\.0\.2, the node 127\.0\.0\.3`, "the sum of 1/n² is 1.644934, after 100000000 terms, and pi 3.141593",
			"connections to the node through its router: 1; to the client through ssh: [12]",
		},
	},
	"remote_coro": {
		lines: []string{`found the coroutine "tally" of another program`, "asked, it says: 500500", "it has ended, with the result: 500500"},
	},
	"remote_channel": {
		lines: []string{
			`found the channel "news" of another program`,
			"reader 1 has 100 messages, in order; the last: the last", "reader 2 has 100 messages, in order; the last: the last",
		},
	},
}

// stream is what both examples do that stream prices.
var stream = want{
	lines: []string{
		`tick \d+: the price (rises|falls) to [\d.]+, average [\d.]+`,
		`500000 ticks followed, \d{7} bytes kept`, `1000000 messages received in .* s: \d+ messages/s`,
	},
	some: true,
}

// TestAll holds every example to having a test, here or its own, and a place in README's table.
func TestAll(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, examples, _ := strings.Cut(string(readme), "\n## Examples\n")
	var listed []string
	for _, row := range regexp.MustCompile(`(?m)^\|.*\| (.*) \|$`).FindAllStringSubmatch(examples, -1) {
		listed = append(listed, regexp.MustCompile(`[a-z0-9_]+`).FindAllString(row[1], -1)...)
	}
	mains, err := filepath.Glob("*/main.go")
	if err != nil || len(mains) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, main := range mains {
		dir := filepath.Dir(main)
		if !slices.Contains(listed, dir) {
			t.Errorf("examples/%s is not in README's table", dir)
		}
		tests, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		_, here := programs[dir]
		if dir == "scheduler" {
			continue // what node's test starts
		}
		if here == (len(tests) > 0) {
			t.Errorf("examples/%s: want a row in programs or tests of its own, and not both", dir)
		}
	}
}

func TestExamples(t *testing.T) {
	t.Parallel()
	for name, want := range programs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want.check(t, run(t, name, want.args...))
		})
	}
}

// TestNobody runs the clients where there is no node: they give up, and say why in one line.
func TestNobody(t *testing.T) {
	t.Parallel()
	for name := range programs {
		if !strings.HasPrefix(name, "client") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, name, "-no-servers", "-timeout", "300ms")
			p.End(1)
			text := p.Err.String()
			if strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, name+": ") || !strings.Contains(text, "deadline") {
				t.Errorf("standard error:\n%s", text)
			}
		})
	}
}

// TestWrongArguments shows that what makes no sense is said in one line, at once.
func TestWrongArguments(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		code int
		says string
		args []string
	}{
		{2, "flag provided but not defined", []string{"client1", "-nonsense"}},
		{2, "too many arguments", []string{"client1", "one", "two"}},
		{2, "too many arguments", []string{"client3", "one"}},
		{2, "-peers", []string{"client1", "-peers", "nowhere"}},
		{2, "-listen", []string{"client1", "-listen", "nowhere"}},
		{2, "-node needs", []string{"client1", "-node"}},
		{2, "do not go with -peers", []string{"client1", "-servers", "1", "-peers", "127.0.0.1:1"}},
		{2, "-ticks", []string{"client6", "-ticks", "-1"}},
		{2, "-ticks", []string{"client6", "-ticks", "9223372036854775808"}},
		{2, "-ticks", []string{"client6_channel", "-ticks", "9223372036854775807"}},
		{1, "no such file", []string{"client4", "/nonexistent"}},
		{2, "two programs", []string{"remote_coro", "-serve", "-find"}},
		{2, "two programs", []string{"remote_channel", "-serve", "-find"}},
		{2, "need -peers", []string{"cloud", "-listen", "127.0.0.1:0"}},
		{2, "need -peers", []string{"cloud", "-ext-addr", "example.com"}},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			t.Parallel()
			p := start(t, tt.args[0], tt.args[1:]...)
			code := p.Wait()
			text := p.Err.String()
			if code != tt.code || strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, tt.args[0]+": ") || !strings.Contains(text, tt.says) {
				t.Errorf("exit code %d, standard error:\n%s", code, text)
			}
		})
	}
}

// TestInterrupt has Ctrl-C end programs that would go on for hours: at once, in one line, and with nothing left.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"client6", "client6_channel"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, name, "-ticks", "100000000000", "-timeout", "10h")
			p.Says(&p.Out, regexp.MustCompile(`(tick) \d+:`))
			if err := p.Cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			p.End(130)
			if text := p.Err.String(); text != name+": interrupted\n" {
				t.Errorf("standard error:\n%s", text)
			}
		})
	}
}

// TestWrongNode has nodes of another example, which do not have the functions: the client says what to start instead.
func TestWrongNode(t *testing.T) {
	t.Parallel()
	node := start(t, "client3", "-node", "-servers", "1", "-listen", "127.0.0.1:0")
	for _, args := range [][]string{{"client8"}, {"client1", "."}} { // one error, and one for each file
		p := start(t, args[0], append([]string{"-peers", node.Location()}, args[1:]...)...)
		p.End(1)
		text, says := p.Err.String(), "the nodes must be of this program: "+args[0]+" -node -listen HOST:PORT\n"
		if strings.Count(text, "\n") != 1 || strings.Count(text, "is not registered") > 2 || !strings.HasSuffix(text, says) {
			t.Errorf("standard error:\n%s", text)
		}
	}
	node.Interrupt()
}

// TestElsewhere has the servers at a node in another process, with a secret: one that the client dials, and one that dials.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	const secret = "-secret=not for anybody else"
	t.Run("client dials", func(t *testing.T) {
		t.Parallel()
		for name, want := range programs {
			if !strings.HasPrefix(name, "client") {
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				node := start(t, name, "-node", "-servers", "2", "-listen", "127.0.0.1:0", secret)
				want.check(t, run(t, name, append([]string{secret, "-peers", node.Location()}, want.args...)...))
				node.Interrupt()
			})
		}
	})
	t.Run("node dials", func(t *testing.T) {
		t.Parallel()
		want := programs["client1"]
		p := start(t, "client1", append([]string{"-no-servers", "-listen", "127.0.0.1:0", secret}, want.args...)...)
		node := start(t, "client1", "-node", "-servers", "1", "-peers", p.Location(), secret)
		p.End(0)
		want.check(t, p.Out.String())
		node.Interrupt()
	})
}

// start starts an example in this folder; its temporary files are to be gone at the end.
func start(t *testing.T, name string, args ...string) *procs.Program {
	t.Helper()
	tmp := t.TempDir()
	t.Cleanup(func() { // runs after the program's end
		left, err := filepath.Glob(filepath.Join(tmp, "*"))
		if (err != nil || len(left) > 0) && !t.Failed() {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
	cmd := exec.Command(filepath.Join(built, name), args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "XDG_RUNTIME_DIR="+t.TempDir()) // where nodes of other runs lock their names, too
	return procs.Start(t, cmd)
}

// run runs an example, which is to end well, and returns what it printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	p := start(t, name, args...)
	p.End(0)
	return p.Out.String()
}

// check compares what a program printed.
func (w want) check(t *testing.T, out string) {
	t.Helper()
	rest := strings.Split(strings.TrimRight(out, "\n"), "\n")
	var skipped []string
	for _, pattern := range w.lines {
		i := slices.IndexFunc(rest, regexp.MustCompile("^(?:"+pattern+")$").MatchString)
		switch {
		case i < 0:
			t.Errorf("no line %q where it should be, in:\n%s", pattern, out)
		case w.unordered:
			rest = slices.Delete(rest, i, i+1)
		default:
			skipped, rest = append(skipped, rest[:i]...), rest[i+1:]
		}
	}
	if skipped = append(skipped, rest...); !w.some && len(skipped) > 0 {
		t.Errorf("more lines than wanted: %q", skipped)
	}
}
