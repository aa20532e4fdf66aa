package discorotest

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"go.uber.org/goleak"
)

// baseline is what there was when a cluster started.
type baseline struct {
	alone      bool            // no other test ran
	goroutines []goleak.Option // goroutines that may be left
	open       map[string]bool // sockets and files
}

func newBaseline(ignore []goleak.Option) *baseline {
	return &baseline{
		alone:      runningTests() <= 1,
		goroutines: append(slices.Clone(ignore), goleak.IgnoreCurrent()),
		open:       openFiles(),
	}
}

// leftTime is how long things that are ending may take to end.
const leftTime = time.Second

// checkLeft fails the test when something is left of it.
func (c *Cluster) checkLeft() {
	c.report(c.leftGoroutines)
	c.report(c.leftFolders)
	if c.before.alone && runningTests() <= 1 {
		if err := goleak.Find(c.before.goroutines...); err != nil {
			c.t.Errorf("discorotest: goroutines are left: %v", err)
		}
		c.report(c.leftOpen)
	}
}

// report fails the test if find still finds something after leftTime.
func (c *Cluster) report(find func() []string) {
	end := time.Now().Add(leftTime)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	left := find()
	for ; len(left) > 0 && time.Now().Before(end); left = find() {
		<-tick.C
	}
	for _, what := range left {
		c.t.Errorf("discorotest: %s", what)
	}
}

// leftGoroutines returns goroutines that coroutines of the cluster have started, and coroutines
// that have not ended. It knows them by their profiler labels, which a goroutine inherits from the
// one that starts it.
func (c *Cluster) leftGoroutines() []string {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return []string{err.Error()}
	}
	ours := regexp.MustCompile(`"runtime":"[^"]*` + c.mark + `[-"]`)
	var left []string
	for block := range strings.SplitSeq(profile.String(), "\n\n") {
		if ours.MatchString(block) {
			left = append(left, "a goroutine of a coroutine is left:\n"+block)
		}
	}
	return left
}

// leftFolders returns what is left in the nodes' folders.
func (c *Cluster) leftFolders() []string {
	dirs, err := filepath.Glob(filepath.Join(c.folder, "*", "discoro-*"))
	if err != nil {
		return []string{err.Error()}
	}
	var left []string
	for _, dir := range dirs {
		left = append(left, "a folder of a node is left: "+dir)
	}
	return left
}

// leftOpen returns the sockets and files that are open and were not open before.
func (c *Cluster) leftOpen() []string {
	var left []string
	for what := range maps.Keys(openFiles()) {
		if !c.before.open[what] {
			left = append(left, what+" is left open")
		}
	}
	slices.Sort(left)
	return left
}

// openFiles returns the sockets and files that this process has open, on systems with /proc.
func openFiles() map[string]bool {
	const fds = "/proc/self/fd"
	open := map[string]bool{}
	entries, err := os.ReadDir(fds)
	if err != nil {
		return open
	}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(fds, e.Name()))
		switch {
		case err != nil, target == "/dev/null", strings.HasPrefix(target, "/proc/"): // among them the folder being read
		case strings.HasPrefix(target, "socket:"):
			open[fmt.Sprintf("the socket %s%s", target, socketName(e.Name()))] = true
		case strings.HasPrefix(target, "/"):
			open["the file "+target] = true
		}
	}
	return open
}

// waiting are functions in which tests and benchmarks wait: for subtests, for other tests, or for
// their bubble.
var waiting = []string{
	"\ntesting.(*T).Run(", "\ntesting.(*T).Parallel(", "\ntesting.tRunner.func", "\ntesting.(*B).run(", "\ntesting/synctest.Test(",
}

// runningTests counts the tests and benchmarks of this process that run, without those that wait.
func runningTests() int {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	count := 0
	for stack := range bytes.SplitSeq(buf, []byte("\n\n")) {
		runs := bytes.Contains(stack, []byte("\ntesting.tRunner(")) || bytes.Contains(stack, []byte("\ntesting.(*B).runN("))
		for _, waits := range waiting {
			runs = runs && !bytes.Contains(stack, []byte(waits))
		}
		if runs {
			count++
		}
	}
	return count
}
