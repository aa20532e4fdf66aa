package discoro

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/discoro/discoro/internal/link"
	"github.com/discoro/discoro/internal/stopwatch"
	"github.com/discoro/discoro/internal/testkit"
)

// frozenPeerIsNoticed checks both bounds: a silence of less than five pulses does not end the link, and a
// longer one does.
func frozenPeerIsNoticed(t *testing.T) {
	t.Parallel()
	const pulse = 250 * time.Millisecond // five of them have to be more than a busy machine stands still
	b := testRuntime(t, Config{Name: "b", tuning: tuning{pulse: pulse}})
	a := testRuntime(t, Config{Name: "a", tuning: tuning{pulse: pulse}})
	p := newProxy(t, b.Location())
	connect(t, a, p.location())
	la, lb := upLink(t, a, b), upLink(t, b, a)
	hold := func(d time.Duration) {
		t.Helper()
		select {
		case <-la.Ended():
			t.Fatalf("a lost the link: %v", la.Cause())
		case <-lb.Ended():
			t.Fatalf("b lost the link: %v", lb.Cause())
		case <-time.After(d):
		}
	}
	hold(6 * pulse) // pulses keep it
	p.Freeze()
	hold(2 * pulse)
	p.Thaw()
	hold(6 * pulse)
	watch := stopwatch.Start(t)
	p.Freeze()
	for _, l := range []*link.Link{la, lb} {
		if err := waitEnded(t, l); !errors.Is(err, ErrDisconnected) || !strings.Contains(err.Error(), "no sign of life") {
			t.Errorf("ended with %v", err)
		}
	}
	watch.Within("noticing it", link.MissedPulses*pulse+time.Second)
}

// TestStandingStill stops the processes of both ends for longer than five pulses, and the other one a
// little longer. Neither takes the other for dead. The test is not parallel, because it stops this whole
// process.
func TestStandingStill(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no such signals")
	}
	const pulse = 400 * time.Millisecond
	peer := startPeer(t, pulse)
	a := testRuntime(t, Config{Name: "a", tuning: tuning{pulse: pulse}})
	echo, err := a.Locate(testkit.Context(t), "echo", peer.Loc)
	if err != nil {
		t.Fatal(err)
	}
	l := a.net.All()[0]
	// The shell outlives what ends the tests, as a Ctrl-C: nobody else would let the two go on.
	stop := fmt.Sprintf("trap '' HUP INT QUIT TERM; "+
		"kill -STOP %[1]d %[2]d; sleep %[3]g; kill -CONT %[2]d; sleep %[4]g; kill -CONT %[1]d",
		peer.Pid(), os.Getpid(), (2 * link.MissedPulses * pulse).Seconds(), pulse.Seconds())
	if out, err := exec.Command("sh", "-c", stop).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if n, err := Ask[int](testkit.Context(t), echo, 7); n != 7 || err != nil || l.Cause() != nil {
		t.Errorf("asked after both stood still: %d, %v; the link ended with %v", n, err, l.Cause())
	}
}
