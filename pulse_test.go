package discoro

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/discoro/discoro/internal/stopwatch"
	"github.com/discoro/discoro/internal/testkit"
	"github.com/discoro/discoro/internal/testnet"
	"github.com/discoro/discoro/wire"
)

// frozenPeerIsNoticed shows the bounds on both sides: a silence of less than 5 pulses is none, one of more ends the link.
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
		case <-la.ended:
			t.Fatalf("a lost the link: %v", la.cause())
		case <-lb.ended:
			t.Fatalf("b lost the link: %v", lb.cause())
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
	for _, l := range []*link{la, lb} {
		if err := waitEnded(t, l); !errors.Is(err, ErrDisconnected) || !strings.Contains(err.Error(), "no sign of life") {
			t.Errorf("ended with %v", err)
		}
	}
	watch.Within("noticing it", missedPulses*pulse+time.Second)
}

// TestStandingStill has both ends' processes stand still for longer than five pulses, and the other one for a while more: neither takes the
// other for dead. It is not parallel: nothing else here goes on either.
func TestStandingStill(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no such signals")
	}
	const pulse = 400 * time.Millisecond
	peer := StartPeer(t, pulse)
	a := testRuntime(t, Config{Name: "a", tuning: tuning{pulse: pulse}})
	echo, err := a.Locate(testkit.Context(t), "echo", peer.Loc)
	if err != nil {
		t.Fatal(err)
	}
	l := a.net.all()[0]
	// The shell outlives what ends the tests, as a Ctrl-C: nobody else would let the two go on.
	stop := fmt.Sprintf("trap '' HUP INT QUIT TERM; kill -STOP %[1]d %[2]d; sleep %[3]g; kill -CONT %[2]d; sleep %[4]g; kill -CONT %[1]d",
		peer.Pid(), os.Getpid(), (2 * missedPulses * pulse).Seconds(), pulse.Seconds())
	if out, err := exec.Command("sh", "-c", stop).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if n, err := Ask[int](testkit.Context(t), echo, 7); n != 7 || err != nil || l.cause() != nil {
		t.Errorf("asked after both stood still: %d, %v; the link ended with %v", n, err, l.cause())
	}
}

// TestSilenceIsSeenInTime cuts a silent link at any time of its pulses, also after these have changed while pulses slept: both sides end it
// within five of the other's pulses and a second, and not after three.
func TestSilenceIsSeenInTime(t *testing.T) {
	t.Parallel()
	for _, pulse := range []time.Duration{100 * time.Millisecond, MinPulseInterval, time.Hour} {
		for _, tenths := range []int{0, 3, 7, 10} {
			synctest.Test(t, func(t *testing.T) {
				net := testnet.NewInMemory()
				a := testRuntime(t, Config{Name: "a", tuning: tuning{host: net.Host("a")}, Logger: discard})
				b := testRuntime(t, Config{Name: "b", tuning: tuning{host: net.Host("b")}, Logger: discard})
				connect(t, a, b.Location())
				links := []*link{upLink(t, a, b), upLink(t, b, a)}
				for _, rt := range []*Runtime{a, b} {
					<-time.After(time.Minute)
					rt.net.beat.change(0, pulse)
				}
				<-time.After(time.Minute + time.Duration(tenths)*pulse/10)
				cut := time.Now()
				net.Host("a").Cut()
				for _, l := range links {
					<-l.ended
					took := time.Since(cut)
					if took < 4*pulse-time.Second || took > missedPulses*pulse+time.Second {
						t.Errorf("a pulse of %v, cut %d tenths of it later: it took %v", pulse, tenths, took)
					}
				}
				net.Heal()
			})
		}
	}
}

// TestPulseChanges shows that a peer is measured by the pulse that it announced last.
func TestPulseChanges(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{tuning: tuning{pulse: 10 * time.Second}})
	la, lb := upLink(t, a, b), upLink(t, b, a)
	for _, every := range []time.Duration{-1, 0, maxPulse + 1} { // not believed
		lb.tell(&wire.Pulse{Every: int64(every)})
	}
	lb.tell(&wire.Pulse{Every: int64(50 * time.Millisecond)})
	if err := waitEnded(t, la); !strings.Contains(err.Error(), "no sign of life") {
		t.Errorf("ended with %v", err)
	}
}

// TestPulsesOnlyWhereSilent shows that frames are signs of life.
func TestPulsesOnlyWhereSilent(t *testing.T) {
	t.Parallel()
	a, b := twoRuntimes(t, Config{})
	l := upLink(t, a, b)
	sent := func() uint64 { return a.Traffic().FramesSent }
	before := sent()
	l.checkPulse(time.Now())
	if n := sent() - before; n != 0 {
		t.Errorf("%d frames on a link that has just been used", n)
	}
	l.checkPulse(time.Now().Add(a.net.beat.now() + time.Second))
	if n := sent() - before; n != 1 {
		t.Errorf("%d frames on a link that is silent, want a pulse", n)
	}
}
