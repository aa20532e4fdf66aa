package link

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/discoro/discoro/internal/testnet"
	"github.com/discoro/discoro/wire"
)

// TestSilenceIsSeenInTime cuts a silent link at any time between its pulses, also after their interval has
// changed. Both sides end it within five of the other's pulses and a second, and not after three.
func TestSilenceIsSeenInTime(t *testing.T) {
	t.Parallel()
	for _, pulse := range []time.Duration{100 * time.Millisecond, time.Second, time.Hour} {
		for _, tenths := range []int{0, 3, 7, 10} {
			synctest.Test(t, func(t *testing.T) {
				net := testnet.NewInMemory()
				a, b := newMemoryHost(t, net.Host("a"), Config{}), newMemoryHost(t, net.Host("b"), Config{})
				la, lb := connect(t, a, b)
				for _, h := range []*testHost{a, b} {
					<-time.After(time.Minute)
					h.net.SetPulse(0, pulse)
				}
				<-time.After(time.Minute + time.Duration(tenths)*pulse/10)
				cut := time.Now()
				net.Host("a").Cut()
				for _, l := range []*Link{la, lb} {
					<-l.ended
					took := time.Since(cut)
					if took < 4*pulse-time.Second || took > MissedPulses*pulse+time.Second {
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
	_, _, la, lb := twoHosts(t, Config{Pulse: 10 * time.Second})
	for _, every := range []time.Duration{-1, 0, wire.MaxPulse + 1} { // out of bounds
		lb.Tell(&wire.Pulse{Every: int64(every)})
	}
	lb.Tell(&wire.Pulse{Every: int64(50 * time.Millisecond)})
	if err := waitEnded(t, la); !strings.Contains(err.Error(), "no sign of life") {
		t.Errorf("ended with %v", err)
	}
}

// TestPulsesOnlyWhereSilent shows that frames are signs of life.
func TestPulsesOnlyWhereSilent(t *testing.T) {
	t.Parallel()
	a, _, l, _ := twoHosts(t, Config{})
	sent := func() uint64 { return a.net.Traffic().FramesSent }
	before := sent()
	l.checkPulse(time.Now())
	if n := sent() - before; n != 0 {
		t.Errorf("%d frames on a link that has just been used", n)
	}
	l.checkPulse(time.Now().Add(a.net.Pulse() + time.Second))
	if n := sent() - before; n != 1 {
		t.Errorf("%d frames on a link that is silent, want a pulse", n)
	}
}
