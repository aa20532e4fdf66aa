package discoro

import (
	"bytes"
	"regexp"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"

	"github.com/discoro/discoro/internal/testkit"
)

// TestWatchPeersFullMailbox sends a watcher in another runtime more changes than its mailbox may
// hold.
func TestWatchPeersFullMailbox(t *testing.T) {
	t.Parallel()
	a, b := testRuntime(t, Config{Name: "a"}), testRuntime(t, Config{Name: "b"})
	home := testRuntime(t, Config{Name: "watcher's", MaxMailbox: 1})
	connect(t, a, home.Location())
	w, let, got := gated(t, home, "watcher")
	a.WatchPeers(locate(t, a, home, "watcher"))
	const rounds = 5
	for range rounds {
		connect(t, a, b.Location())
		upLink(t, a, b)
		if err := a.Disconnect(b.Location()); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, "changes wait for room", func() bool { return waiting(w) > 0 })
	for n := range 1 + 2*rounds {
		let <- struct{}{}
		s := status(t, got)
		if n == 0 {
			continue // the watcher's own runtime
		}
		if s.Name != "b" || s.Online != (n%2 == 1) {
			t.Fatalf("change %d is %+v", n, s)
		}
	}
	if s := stateOf(t, w); s.Refused != 0 {
		t.Errorf("%d were refused", s.Refused)
	}
}

// goroutineCount finds how many goroutines a record of a profile stands for.
var goroutineCount = regexp.MustCompile(`(?m)^(\d+) @`)

// TestRunnersHaveNoLabels has a coroutine start a runner, which goes on by itself. Profiles must
// not count the runner as the coroutine.
func TestRunnersHaveNoLabels(t *testing.T) {
	t.Parallel()
	rt := testRuntime(t, Config{})
	over, ran := make(chan struct{}), make(chan struct{})
	c := rt.Spawn("starts a runner", func(c *Coro) (any, error) {
		c.Spawn("next", func(*Coro) (any, error) { close(ran); return nil, nil })
		return nil, c.Blocking(func() error { <-over; return nil })
	})
	<-ran
	count := func() int {
		var buf bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&buf, 1); err != nil {
			t.Fatal(err)
		}
		n := 0
		for record := range strings.SplitSeq(buf.String(), "\n\n") {
			if strings.Contains(record, `"coro":"starts a runner"`) {
				k, err := strconv.Atoi(goroutineCount.FindStringSubmatch(record)[1])
				if err != nil {
					t.Fatalf("%v in %s", err, record)
				}
				n += k
			}
		}
		return n
	}
	if n := count(); n != 1 {
		t.Errorf("%d goroutines have the coroutine's labels", n)
	}
	close(over)
	if err := c.Wait(testkit.Context(t)); err != nil {
		t.Error(err)
	}
}
