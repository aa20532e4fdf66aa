package discoro

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/discoro/discoro/internal/stopwatch"
	"github.com/discoro/discoro/internal/testkit"
)

var promiseFile = Register("promise.file", func(c *Coro, _ None) (None, error) {
	if err := os.WriteFile(filepath.Join(c.Dir(), "left behind"), []byte("text"), 0o600); err != nil {
		return None{}, err
	}
	return None{}, c.Sleep(time.Hour)
})

// TestPromise09Close: Close returns in time and leaves no goroutine, socket, file, lock or process. It is not parallel: it
// looks at all that the process has.
func TestPromise09Close(t *testing.T) { //nolint:tparallel // it counts what the whole process has
	for _, processes := range []bool{false, true} {
		t.Run(fmt.Sprintf("everything/processes=%v", processes), func(t *testing.T) { closeEverything(t, processes) })
	}
	t.Run("a peer that stands still", closeWithFrozenPeer)
	t.Run("a coroutine that ignores it", closeWithStuckCoroutine)
	t.Run("while greeting", closeDuringGreeting)
	t.Run("what is queued", closeSendsWhatIsQueued)
}

// belongings are what the process has that others can see: open files and sockets, children.
func belongings(t *testing.T) []string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Log("open files and children are looked at on Linux alone")
		return nil
	}
	var all []string
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil {
			all = append(all, fd.Name()+" "+to)
		}
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has just ended
		}
		_, rest, _ := strings.Cut(string(text), ") ") // behind the program's name: state, parent
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) {
			all = append(all, "child "+string(text))
		}
	}
	return all
}

// closeEverything closes a scheduler, a node, a client and a computation in the middle of its work.
func closeEverything(t *testing.T, processes bool) {
	t.Helper()
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	// One that came and went first: what Go itself keeps, such as its poller, is there from then on.
	if err := testRuntime(t, Config{Logger: discard}).Close(); err != nil {
		t.Fatal(err)
	}
	before, goroutines := belongings(t), goleak.IgnoreCurrent()
	ctx := testkit.Context(t)
	sched, err := NewScheduler(SchedulerConfig{Config: Config{Logger: discard}})
	if err != nil {
		t.Fatal(err)
	}
	node, err := NewNode(NodeConfig{
		Config: Config{Logger: discard, Peers: []string{sched.Location().String()}}, Servers: 2, Processes: processes,
	})
	if err != nil {
		t.Fatal(err)
	}
	client, err := NewRuntime(Config{Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	comp, err := NewComputation(client)
	if err == nil {
		err = comp.Schedule(ctx, sched.Location())
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if _, err := comp.Run(ctx, promiseFile.With(None{})); err != nil {
			t.Fatal(err)
		}
	}
	left := client.DestPath() // made when it is first asked for
	if info, err := os.Stat(left); err != nil || filepath.Dir(left) != temp || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
		t.Errorf("the client's folder is %s, below %s: %v, %v", left, temp, info, err)
	}
	during := len(belongings(t))
	if runtime.GOOS == "linux" && during <= len(before) {
		t.Errorf("%d belongings were seen, and %d before: the test is blind", during, len(before))
	}
	for _, role := range []struct {
		name  string
		close func() error
	}{{"client", client.Close}, {"node", node.Close}, {"scheduler", sched.Close}} {
		watch := stopwatch.Start(t)
		if err := role.close(); err != nil {
			t.Errorf("the %s: %v", role.name, err)
		}
		watch.Within("closing the "+role.name, defaultGrace+closeGrace)
		if err := role.close(); err != nil {
			t.Errorf("the %s, again: %v", role.name, err)
		}
	}
	for _, has := range belongings(t) {
		if !slices.Contains(before, has) {
			t.Errorf("left behind: %s", has)
		}
	}
	if err := goleak.Find(goroutines); err != nil {
		t.Error(err)
	}
	files, err := filepath.Glob(filepath.Join(temp, "*"))
	if err != nil || len(files) != 0 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

// closeWithFrozenPeer closes a runtime with a peer that neither reads nor closes, and much to be sent to it.
func closeWithFrozenPeer(t *testing.T) {
	t.Helper()
	peer := startPeer(t, time.Minute)
	before, goroutines := belongings(t), goleak.IgnoreCurrent()
	rt, err := NewRuntime(Config{Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	c, err := rt.Locate(testkit.Context(t), "echo", peer.Loc)
	if err != nil {
		t.Fatal(err)
	}
	peer.Signal(testkit.SigStop)
	for range 4 {
		if err := c.Send(make([]byte, 1<<20)); err != nil {
			t.Error(err)
		}
	}
	watch := stopwatch.Start(t)
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
	watch.Within("Close", 2*time.Second+time.Second) // it waits 2 s for the peer to read
	for _, has := range belongings(t) {
		if !slices.Contains(before, has) && !strings.HasPrefix(has, "child") { // its state has changed
			t.Errorf("left behind: %s", has)
		}
	}
	if err := goleak.Find(goroutines); err != nil {
		t.Error(err)
	}
}

// closeWithStuckCoroutine closes a runtime whose coroutine does not end: only that is left, until it ends.
func closeWithStuckCoroutine(t *testing.T) {
	t.Helper()
	before, goroutines := belongings(t), goleak.IgnoreCurrent()
	rt, err := NewRuntime(Config{Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	SetGrace(rt, 50*time.Millisecond)
	running, stuck := make(chan struct{}), make(chan struct{})
	rt.Spawn("stuck", func(*Coro) (any, error) {
		close(running)
		<-stuck
		return nil, nil
	})
	testkit.Next(t, running)
	watch := stopwatch.Start(t)
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
	watch.Within("Close", 5*time.Second)
	for _, has := range belongings(t) {
		if !slices.Contains(before, has) {
			t.Errorf("left behind: %s", has)
		}
	}
	close(stuck)
	if err := goleak.Find(goroutines); err != nil {
		t.Error(err)
	}
}
